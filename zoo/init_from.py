"""Start a run from trained weights alone: no optimizer state, no epoch count, another head if need be."""

from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor

from zoo.checkpoint_io import AtomicCheckpointIO
from zoo.errors import ZooError
from zoo.module import ZooModule


def read_weights(source: Path) -> dict[str, Tensor]:
    """The weights in a run folder (its best), a checkpoint or a safetensors file; nothing in them is executed."""
    file = source / "checkpoints" / "best.ckpt" if source.is_dir() else source
    if not file.is_file():
        raise ZooError(f"no weights at {source}: give a run folder, a .ckpt or a .safetensors file")
    if file.suffix == ".safetensors":
        return load_file(file)
    state: dict[str, Tensor] = AtomicCheckpointIO().load_checkpoint(file)["state_dict"]
    return state


def init_from(module: ZooModule, weights: dict[str, Tensor], source: str) -> list[str]:
    """Copy weights into ``module``; what belongs to the task (head, target scales) may differ in size and is left.

    The submodules that were filled count as pretrained, so that no init scheme overwrites them.

    Args:
        module: the network to start.
        weights: name -> tensor, as ``read_weights`` gives them.
        source: where they come from, for messages.

    Returns:
        Names of the parameters that start afresh.

    Raises:
        ZooError: the weights belong to another network.
    """
    own = module.state_dict()
    fitting = {name: tensor for name, tensor in weights.items() if name in own and own[name].shape == tensor.shape}
    afresh = [name for name in own if name not in fitting]
    foreign = [name for name in afresh if not name.startswith(("head.", "task."))]
    if foreign:
        wanted, found = own[foreign[0]].shape, weights.get(foreign[0])
        why = f"has shape {tuple(found.shape)} there, {tuple(wanted)} here" if found is not None else "is not there"
        raise ZooError(
            f"{source} holds the weights of another network: {foreign[0]} {why}; use the same model, with the same"
            " widths, as the run that they come from"
        )
    module.load_state_dict(fitting, strict=False)
    module.pretrained |= {name.split(".")[0] for name in fitting} - {name.split(".")[0] for name in afresh}
    return afresh
