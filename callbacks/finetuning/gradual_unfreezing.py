"""Gradual unfreezing: train the head first, then one layer more each epoch."""

from lightning.pytorch import LightningModule, Trainer
from torch import nn
from torch.optim import SGD, Optimizer

from callbacks.finetuning.frozen import FrozenParts
from callbacks.technique import NoEffect, Technique
from zoo.errors import ZooError
from zoo.layers.blocks import blocks
from zoo.module import Frozen, ZooModule
from zoo.notice import notice
from zoo.optim import decays


def layer_groups(network: nn.Module) -> list[list[str]]:
    """Names of the trainable parameters, layer by layer, from the input to the head.

    A layer is a child of the network, or of its child ``backbone``, or one of a list of ``blocks`` within; one that has
    only vectors, such as a norm, goes with the layer before it.
    """
    within = blocks(network)
    layers: dict[str, list[str]] = {}
    matrices: set[str] = set()
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            parts = name.split(".")
            layer = ".".join(parts[:2]) if parts[0] == "backbone" else parts[0]
            layer = next((block for block in within if name.startswith(f"{block}.")), layer)
            layers.setdefault(layer, []).append(name)
            matrices |= {layer} if decays(parameter) else set()
    groups: list[list[str]] = []
    for layer, names in layers.items():
        if groups and layer not in matrices:
            groups[-1] += names
        else:
            groups.append(names)
    return groups


def frozen_groups(groups: int, epoch: int, epochs_per_group: int) -> int:
    """How many groups, counted from the input, are still frozen in an epoch counted from 0.

    Howard and Ruder, "Universal language model fine-tuning for text classification", 2018, section 3.3.
    """
    return max(groups - 1 - epoch // epochs_per_group, 0)


def expect_newcomers(optimizer: Optimizer) -> Optimizer:
    """Let ``optimizer`` take parameters that get their first gradient later than others.

    The fused kernel of torch's SGD wants momentum for all parameters or for none, its other kernels do not mind.
    """
    if isinstance(optimizer, SGD):
        for group in optimizer.param_groups:
            group["fused"] = None
    return optimizer


class GradualUnfreezing(Technique):
    """Trains the last layer group in the first epoch and one more group, downwards, every ``epochs_per_group``.

    What is trained is a function of the epoch, so that a resumed run goes on to the bit. The optimizer knows all
    parameters from the start and skips those that have no gradient, weight decay included. The running statistics of
    norms in frozen groups are held.

    In a run of several processes the gradients of frozen groups are computed and dropped, because all processes have
    to agree on which there are; on a single one they are not computed, which saves time.

    Args:
        epochs_per_group: epochs before the next group follows, at least 1.

    Raises:
        ZooError: less than one epoch for a group.
        NoEffect: in a fit, when the network has a single layer group.
    """

    def __init__(self, epochs_per_group: int = 1) -> None:
        if epochs_per_group < 1:
            raise ZooError(f"GradualUnfreezing: epochs_per_group must be at least 1, got {epochs_per_group}")
        self.epochs_per_group = epochs_per_group
        self._frozen = FrozenParts()
        self._groups: list[list[str]] = []

    def attach(self, module: ZooModule) -> None:
        self._frozen.undo()
        self._require_groups(module)
        self.add_optimizer_wrapper(module, expect_newcomers)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # Not in setup: the optimizer is to know all parameters, and techniques that freeze some were not heard yet.
        assert isinstance(pl_module, ZooModule)
        self._or_blame_freezers(pl_module, lambda: self._require_groups(pl_module))
        self._groups = layer_groups(pl_module)
        needed = (len(self._groups) - 1) * self.epochs_per_group + 1
        if 0 <= (trainer.max_epochs or -1) < needed:
            notice(
                f"GradualUnfreezing: {len(self._groups)} layer groups need {needed} epochs, the run has"
                f" {trainer.max_epochs}; the lowest layers are never trained"
            )

        # A run that goes on in the middle of an epoch does not start that epoch again.
        self._follow_epoch(trainer, pl_module)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._follow_epoch(trainer, pl_module)

    def _require_groups(self, module: ZooModule) -> None:
        if len(layer_groups(module)) < 2:
            raise NoEffect(
                f"GradualUnfreezing: {type(module).__name__} has a single layer group, which is trained from the start;"
                " make the network deeper or drop GradualUnfreezing"
            )

    def _follow_epoch(self, trainer: Trainer, pl_module: LightningModule) -> None:
        parameters, modules = dict(pl_module.named_parameters()), dict(pl_module.named_modules())
        count = frozen_groups(len(self._groups), trainer.current_epoch, self.epochs_per_group)
        frozen = [name for group in self._groups[:count] for name in group]
        trained = [name for group in self._groups[count:] for name in group]
        self._frozen.thaw(parameters[name] for name in trained)
        self._frozen.release_statistics(modules[name.rpartition(".")[0]] for name in trained)
        self._frozen.freeze((parameters[name] for name in frozen), keep_gradients=trainer.world_size > 1)
        self._frozen.hold_statistics(modules[name.rpartition(".")[0]] for name in frozen)
        assert isinstance(pl_module, ZooModule)
        pl_module.frozen[self.name] = Frozen(frozen, for_now=True)
        self.acted()  # also in a resumed run whose groups are all trained by now

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        for parameter in self._frozen.parameters:
            parameter.grad = None

    def detach(self, module: ZooModule) -> None:
        super().detach(module)
        self._frozen.undo()
