"""The blocks of a deep network: the parts that are alike and run one behind the other."""

from torch import nn


def is_stack(part: nn.Module) -> bool:
    """Whether a layer is a stack of blocks, and what stands beside them."""
    return isinstance(dict(part.named_children()).get("blocks"), nn.ModuleList)


def blocks(network: nn.Module) -> dict[str, nn.Module]:
    """The blocks of all stacks in a network, by name: what its lists of layers called ``blocks`` hold.

    They are what is recomputed, compiled or spread over devices as a unit.
    """
    return {
        f"{name}.{index}": block
        for name, part in network.named_modules()
        if isinstance(part, nn.ModuleList) and name.rpartition(".")[2] == "blocks"
        for index, block in enumerate(part)
    }
