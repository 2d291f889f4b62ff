"""Keep weights as bytes: an eight-bit copy of the network when training is over."""

import sys
from pathlib import Path

import torch
from lightning.pytorch import LightningModule, Trainer
from safetensors.torch import load_file, save_file
from torch import Tensor

from callbacks.technique import NoEffect, Technique
from zoo.errors import ZooError
from zoo.kept import borrowed, kept_weights, validation_metrics
from zoo.module import SupervisedModule, ZooModule
from zoo.notice import notice
from zoo.optim import decays

SCALE = ".int8_scale"


def quantize(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Whole numbers q = round(w / s) in [-127, 127] and the scale s = max |w| / 127 of each output channel.

    Symmetric, per channel: Krishnamoorthi, "Quantizing deep convolutional networks for efficient inference", 2018,
    sections 2.2 and 3.1. The error of a weight is at most s / 2.

    Args:
        weight: floats (out, ...).

    Returns:
        q, int8 of the same shape, and s, float32 (out, 1, ...).
    """
    weight = weight.float()
    scale = weight.flatten(1).abs().amax(1).clamp_min(torch.finfo(torch.float32).tiny) / 127
    scale = scale.view(-1, *[1] * (weight.ndim - 1))
    return (weight / scale).round().to(torch.int8), scale


def quantize_state(state: dict[str, Tensor], names: set[str]) -> dict[str, Tensor]:
    """A state_dict with the tensors called ``names`` as int8, each beside its scales; the others as they are."""
    packed = {}
    for name, tensor in state.items():
        if name in names:
            packed[name], packed[name + SCALE] = quantize(tensor)
        else:
            packed[name] = tensor
    return packed


def read_quantized(file: str | Path) -> dict[str, Tensor]:
    """The state_dict in a file that ``WeightQuantization`` wrote, with all weights as floats again."""
    packed = load_file(file)
    scales = {name.removesuffix(SCALE): tensor for name, tensor in packed.items() if name.endswith(SCALE)}
    plain = {name: tensor for name, tensor in packed.items() if not name.endswith(SCALE)}
    return {name: tensor * scales[name] if name in scales else tensor for name, tensor in plain.items()}


class WeightQuantization(Technique):
    """Write a copy of the best weights with matrices and filters as int8 when the fit has ended, and say what it costs.

    The trained weights, checkpoints and training itself are not touched. The file is a quarter of the size; whoever
    reads it (``read_quantized``) computes in floats as before, so it saves room and transfer, not time. torch's own
    int8 kernels, which would, are deprecated together with ``torch.ao.quantization``.

    Args:
        file: where to; null for ``int8.safetensors`` beside the best checkpoint.

    Raises:
        NoEffect: in a fit, when the network has no matrix or filter.
        ZooError: in a fit, when neither a file is named nor a checkpoint kept, or there is no validation split.
    """

    supports = SupervisedModule
    patience = sys.maxsize  # acts when training is over

    def __init__(self, file: str | None = None) -> None:
        self.file = file

    def attach(self, module: ZooModule) -> None:
        if not _matrices(module):
            raise NoEffect(f"WeightQuantization: {type(module).__name__} has no matrix or filter; drop it")

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.file is None and not trainer.checkpoint_callbacks:
            raise ZooError("WeightQuantization: the run keeps no checkpoint to put the copy beside; name a file")
        if not trainer.enable_validation:
            raise ZooError("WeightQuantization measures on the validation split, and this run has none; drop it")

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, SupervisedModule)
        kept = kept_weights(trainer)
        target = Path(self.file) if self.file is not None else kept.file and kept.file.with_name("int8.safetensors")
        if target is None:
            raise ZooError("WeightQuantization: the run kept no best checkpoint to put the copy beside; name a file")
        state = {name: tensor.detach().cpu() for name, tensor in (kept.state or pl_module.state_dict()).items()}
        packed = quantize_state(state, _matrices(pl_module))
        if trainer.is_global_zero:
            target.parent.mkdir(parents=True, exist_ok=True)
            save_file(
                {name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in packed.items()}, target
            )
        trainer.strategy.barrier()
        quality = []
        for weights in (state, read_quantized(target)):
            with borrowed(trainer, pl_module):
                pl_module.load_state_dict(weights)
                quality.append(validation_metrics(trainer, pl_module)[pl_module.task.monitor])
        before, after = (sum(t.numel() * t.element_size() for t in held.values()) / 2**20 for held in (state, packed))
        self.acted()
        notice(
            f"WeightQuantization, {kept.about}: {target.name} holds {after:.3g} MiB, float weights {before:.3g};"
            f" validation {pl_module.task.monitor} {quality[0]:.4f} -> {quality[1]:.4f}"
        )


def _matrices(module: ZooModule) -> set[str]:
    """Names of the floating-point matrices and filters; biases and norms are small and stay as they are."""
    return {
        name for name, parameter in module.named_parameters() if decays(parameter) and parameter.is_floating_point()
    }
