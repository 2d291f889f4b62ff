"""What every optimizer of the zoo shares: which parameters decay, and whether a fused kernel may be used."""

import inspect
from collections.abc import Iterable
from typing import Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.plugins.precision import MixedPrecision
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import Tensor, nn
from torch.optim import Optimizer

from zoo.errors import ResumeError


def decays(parameter: Tensor) -> bool:
    """Whether weight decay is meant for this parameter: a matrix or a filter, not a bias or the gain of a norm.

    Pulling parameters with fewer than two dimensions to zero does not make the function simpler. He et al. 2019, "Bag
    of tricks for image classification with convolutional neural networks", section 3.1.
    """
    return parameter.ndim >= 2


def decay_groups(network: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Split trainable parameters into those that decay and those that do not."""
    trainable = [p for p in network.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trainable if decays(p)], "weight_decay": weight_decay},
        {"params": [p for p in trainable if not decays(p)], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def supports_fused(optimizer: type[Optimizer], parameters: Iterable[Tensor]) -> bool:
    """Whether torch has one kernel for the whole update of these parameters (2 to 5 times faster on many tensors)."""
    if "fused" not in inspect.signature(optimizer).parameters:
        return False
    return all(p.is_floating_point() and p.device.type in ("cpu", "cuda") for p in parameters)


def may_fuse(trainer: Trainer) -> bool:
    """Whether this run leaves the gradients to a fused kernel as it expects them.

    Under 16-bit mixed precision Lightning refuses to clip for a fused optimizer, and with a loss scaler the hooks
    before the step would see gradients that are still scaled, because a fused kernel unscales them itself. Weights
    that are spread over processes in different ways have no kernel in common.
    """
    if isinstance(trainer.strategy, ModelParallelStrategy):
        return False
    plugin = trainer.precision_plugin
    if not isinstance(plugin, MixedPrecision):
        return True
    return not trainer.gradient_clip_val and plugin.scaler is None


def default_optimizer(network: nn.Module, fuse: bool = True) -> Optimizer:
    """AdamW at its usual learning rate of 1e-3, for a run that names no optimizer."""
    groups = decay_groups(network, weight_decay=0.01)
    fused = fuse and supports_fused(torch.optim.AdamW, network.parameters())
    return torch.optim.AdamW(groups, lr=1e-3, fused=fused or None)


def parameter_names(module: nn.Module, optimizer: Optimizer) -> list[str]:
    """The optimizer's class, then one line for each parameter group: what a resume has to find unchanged."""
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    groups = [" ".join(names.get(id(p), "?") for p in group["params"]) for group in optimizer.param_groups]
    return [type(optimizer).__name__, *groups]


def check_same_optimizers(saved: dict[str, list[str]], built: dict[str, list[str]]) -> None:
    """Raise ResumeError unless a resume has the optimizers of its checkpoint, as ``parameter_names`` gives them.

    Lightning would take the old optimizer's state and die with a KeyError many calls later.
    """
    for name, groups in built.items():
        old = saved.get(name, [])
        if old == groups:
            continue
        if not old or old[0] != groups[0]:
            was = old[0] if old else "nothing"
            raise ResumeError(
                f"the checkpoint was trained with {was} for the {name}, this run asks for {groups[0]}; resume with the"
                " same optimizer, or start from the weights alone with --init_from"
            )
        raise ResumeError(
            f"the checkpoint's {groups[0]} for the {name} groups the parameters differently; resume with the same"
            " parameter rules, or start from the weights alone with --init_from"
        )
