"""Choosing the optimizer of a network: any ``torch.optim`` class, its parameter groups, and a fused kernel if any."""

import difflib
import inspect
import sys
from typing import Any, TypeAlias

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import nn
from torch.optim import Optimizer

from callbacks.optimizers.groups import ParameterRule, parameter_groups
from callbacks.technique import Conflict, Technique
from zoo.errors import ZooError
from zoo.module import ZooModule
from zoo.optim import may_fuse, supports_fused

Option: TypeAlias = bool | int | float | list[float | None] | str | None


class OptimizerSelection(Technique):
    """Train one network with any optimizer of ``torch.optim``, or of a package that was imported.

    Biases and norms do not decay. Where torch has a fused kernel it is used, unless the run clips gradients or scales
    the loss under 16-bit mixed precision; ``options: {fused: false}`` turns it off.

    Args:
        optimizer: class path of a ``torch.optim.Optimizer``; a bare name such as ``Rprop`` means ``torch.optim.Rprop``.
        lr: learning rate, positive; a schedule multiplies it.
        weight_decay: for matrices and filters; must be 0 for optimizers that take none.
        options: further constructor arguments by torch's names.
        rules: other learning rates or decays by parameter name; the first rule that matches counts.
        layer_decay: in (0, 1]; factor on the learning rate for each layer below the head. 0.65 to 0.9 for fine-tuning
            (Clark et al. 2020, ELECTRA; Bao et al. 2022, BEiT), 1 for training from scratch.
        network: which network, for families that have several.

    Raises:
        ZooError: an argument out of range, a class path that is no optimizer, a rule that matches nothing.
    """

    def __init__(
        self,
        optimizer: str = "torch.optim.AdamW",
        lr: float = 1e-3,
        weight_decay: float = 0.01,
        options: dict[str, Option] | None = None,
        rules: list[ParameterRule] | None = None,
        layer_decay: float = 1.0,
        network: str = "network",
    ) -> None:
        self.optimizer = resolve_optimizer(optimizer)
        self.lr, self.weight_decay, self.options = lr, weight_decay, options or {}
        self.rules, self.layer_decay, self.network = rules or [], layer_decay, network
        # The name under which messages speak of the choice: a subclass is called by its own.
        self.title = self.optimizer.__name__ if type(self) is OptimizerSelection else type(self).__name__
        if not lr > 0:
            raise ZooError(f"{self.title}: lr must be positive, got {lr}")
        if weight_decay < 0:
            raise ZooError(f"{self.title}: weight_decay must be >= 0, got {weight_decay}")
        if not 0 < layer_decay <= 1:
            raise ZooError(f"{self.title}: layer_decay must lie in (0, 1], got {layer_decay}; 1 turns it off")
        self._check_options()

    @property
    def name(self) -> str:
        # Common to all optimizers of a network, so that a run that was broken off leaves no owner behind for the next.
        return f"OptimizerSelection[{self.network}]"

    @property
    def state_key(self) -> str:
        return self.name

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        for other in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(other, OptimizerSelection) and other is not self and other.network == self.network:
                raise Conflict(
                    f"{self.title} and {other.title} both want to be the optimizer of the network {self.network!r};"
                    " drop one of them"
                )
        super().setup(trainer, pl_module, stage)

    def attach(self, module: ZooModule) -> None:
        self.claim(
            module, "optimizer_factories", lambda network: self.build(network, may_fuse(module.trainer)), self.network
        )

    def build(self, network: nn.Module, fuse: bool = True) -> Optimizer:
        """The optimizer of ``network``; ``fuse`` says whether this run may use a fused kernel.

        Raises:
            ZooError: torch refuses an option, or the parameters cannot be grouped as asked.
        """
        decay = self.weight_decay if self._knows("weight_decay") else None
        groups = parameter_groups(network, self.lr, decay, self.rules, self.layer_decay)
        options = {key: tuple(v) if isinstance(v, list) else v for key, v in self.options.items()}
        parameters = [p for group in groups for p in group["params"]]
        if fuse and not {"fused", "foreach", "differentiable"} & set(options):
            options |= {"fused": True} if supports_fused(self.optimizer, parameters) else {}
        return self.construct(network, groups, options)

    def construct(self, network: nn.Module, groups: list[dict[str, Any]], options: dict[str, Any]) -> Optimizer:
        """Call the optimizer's class; its own complaints become errors that name the technique."""
        try:
            return self.optimizer(groups, lr=self.lr, **options)  # type: ignore[call-arg]
        except (ValueError, TypeError, RuntimeError) as error:
            raise ZooError(f"{self.title}: {error}") from None

    def _check_options(self) -> None:
        known = [name for name in inspect.signature(self.optimizer).parameters if name != "params"]
        for key in self.options:
            if key in ("lr", "weight_decay"):
                raise ZooError(f"{self.title}: give {key} as the argument of that name, not among the options")
            if key not in known:
                near = difflib.get_close_matches(key, known, 1)
                hint = f"did you mean {near[0]}?" if near else f"it has: {', '.join(known)}"
                raise ZooError(f"{self.title} has no option {key!r}; {hint}")
        if not self._knows("weight_decay") and (self.weight_decay or any(r.weight_decay for r in self.rules)):
            raise ZooError(f"{self.title} knows no weight decay; set weight_decay to 0, also in its rules")

    def _knows(self, argument: str) -> bool:
        return argument in inspect.signature(self.optimizer).parameters


def resolve_optimizer(path: str) -> type[Optimizer]:
    """The optimizer class that a class path means.

    Only modules that are already imported are looked at: a configuration must not be able to run a package's code.

    Raises:
        ZooError: the module is not imported, or the name is no optimizer there.
    """
    module_name, _, class_name = path.rpartition(".")
    module = sys.modules.get(module_name or "torch.optim")
    if module is None:
        package = path.partition(".")[0]
        raise ZooError(
            f"optimizer={path!r}: {module_name} is not imported, and a configuration does not import it by itself;"
            f" use torch.optim, or import it first (on the command line: --trust {package})"
        )
    found = vars(module).get(class_name)
    if isinstance(found, type) and issubclass(found, Optimizer) and found is not Optimizer:
        return found
    names = [n for n, c in vars(torch.optim).items() if isinstance(c, type) and issubclass(c, Optimizer)]
    names.remove("Optimizer")
    near = difflib.get_close_matches(class_name, names, 1)
    hint = f"did you mean torch.optim.{near[0]}?" if near else f"torch.optim has: {', '.join(sorted(names))}"
    raise ZooError(f"optimizer={path!r} is no torch.optim.Optimizer; {hint}")
