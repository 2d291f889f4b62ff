"""Base of what edits gradients between the backward pass and the optimizer's step."""

from abc import ABC, abstractmethod

from lightning.pytorch import LightningModule, Trainer
from torch import Tensor
from torch.optim import Optimizer

from callbacks.technique import Technique, UnsupportedModule
from zoo.module import ZooModule


class GradientTechnique(Technique, ABC):
    """Edits the gradients of one network, in place, before each step of its optimizer.

    They are complete then: accumulated over micro-batches, averaged over processes, and without the loss scale of
    16-bit mixed precision. Several such techniques act in the order in which they stand in the list of callbacks, all
    of them before Lightning's own ``gradient_clip_val``.

    Args:
        network: which network, for families that have several.
    """

    def __init__(self, network: str = "network") -> None:
        self.network = network

    @property
    def name(self) -> str:
        return f"{type(self).__name__}[{self.network}]"

    @property
    def state_key(self) -> str:
        return self.name

    @abstractmethod
    def edit(self, parameters: dict[str, Tensor], trainer: Trainer) -> None:
        """Change ``.grad`` of these parameters (name -> parameter, none without a gradient), in place."""

    def attach(self, module: ZooModule) -> None:
        if self.network not in module.networks():
            names = ", ".join(module.networks())
            raise UnsupportedModule(
                f"{type(self).__name__}: {type(module).__name__} has no network called {self.network!r}; it has:"
                f" {names}"
            )

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        assert isinstance(pl_module, ZooModule)
        index = list(pl_module.networks()).index(self.network)
        if trainer.optimizers[index] is not optimizer:
            return
        own = {id(p) for group in optimizer.param_groups for p in group["params"]}
        found = {name: p for name, p in pl_module.named_parameters() if id(p) in own and p.grad is not None}
        if found:
            self.edit({**found}, trainer)
