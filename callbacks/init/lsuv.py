"""LSUV, layer-sequential unit variance: scale each layer by what it does to a real batch."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd

from callbacks.init.rules import assign
from callbacks.init.scheme import InitScheme
from zoo.batch import Batch, as_batch
from zoo.errors import ZooError
from zoo.module import SupervisedModule, ZooModule


@torch.no_grad()
def lsuv_(
    layers: Mapping[str, nn.Module], forward: Callable[[], object], tolerance: float = 0.05, max_iterations: int = 10
) -> dict[str, float]:
    """Divide the weight of each layer by the standard deviation of its output until that is 1.

    W <- W / sqrt(Var(output)) while |Var(output) - 1| >= tolerance, layer by layer in the order in which they run.
    Mishkin and Matas, "All you need is a good init", 2016, Algorithm 1. The layers before do not change any more when
    a layer's turn has come, so one forward pass is enough: each layer is scaled, and run again, where it stands.

    Args:
        layers: convolutions and linear layers by name; those that ``forward`` does not call are left as they are.
        forward: runs the network on one batch.
        tolerance: largest accepted distance of the variance from 1, in (0, 1).
        max_iterations: scalings of one layer; a linear layer needs one, or two when it has a bias.

    Returns:
        the output variance of each layer that was called, in that order.

    Raises:
        ZooError: a layer puts out a constant or something not finite, or scaling its weight changes nothing.
    """
    variances: dict[str, float] = {}

    def hook(name: str) -> Callable[..., Tensor]:
        def scale(layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Tensor) -> Tensor:
            if name in variances:  # a layer that is used twice is scaled by its first use
                return output
            for _ in range(max_iterations):
                variances[name] = _variance(name, output)
                if abs(variances[name] - 1) < tolerance:
                    return output
                assign(layer, "weight", layer.weight / variances[name] ** 0.5)
                output = layer.forward(*args, **kwargs)
            variances[name] = _variance(name, output)
            if abs(variances[name] - 1) >= tolerance:
                raise ZooError(
                    f"LSUV: the output of {name} has variance {variances[name]:.3g} after {max_iterations} scalings of"
                    " its weight; a layer that normalises its own weight cannot be scaled: leave it out with layers"
                )
            return output

        return scale

    handles = [layer.register_forward_hook(hook(name), with_kwargs=True) for name, layer in layers.items()]
    try:
        forward()
    finally:
        for handle in handles:
            handle.remove()
    return variances


class LSUV(InitScheme):
    """Give every convolution and linear layer outputs of variance 1 on a training batch, after an orthogonal init.

    The batch is the first one of the datamodule, augmented as in training; dropout and drop-path are off, batch norm
    normalises by the batch and keeps its running statistics. Recurrent layers and embeddings get the orthogonal init
    alone.

    Args:
        tolerance: largest accepted distance of a variance from 1, in (0, 1); 0.05 is plenty.
        max_iterations: scalings of one layer, at least 1.
        layers, head_only: see InitScheme; layers left out are neither filled nor scaled.
    """

    supports = SupervisedModule

    def __init__(
        self,
        tolerance: float = 0.05,
        max_iterations: int = 10,
        layers: str | None = None,
        head_only: bool = False,
    ) -> None:
        super().__init__(layers, head_only)
        if not 0 < tolerance < 1:
            raise ZooError(f"LSUV: tolerance must lie between 0 and 1, got {tolerance}")
        if max_iterations < 1:
            raise ZooError(f"LSUV: max_iterations must be at least 1, got {max_iterations}")
        self.tolerance = tolerance
        self.max_iterations = max_iterations

    def init_(self, weight: Tensor) -> None:
        nn.init.orthogonal_(weight)

    def fill(self, module: ZooModule) -> None:
        assert isinstance(module, SupervisedModule)
        batch = self.first_batch(module)
        super().fill(module)
        layers = {name: m for name, m in self.select(module).items() if isinstance(m, _ConvNd | nn.Linear)}
        with as_in_first_step(module):
            lsuv_(layers, lambda: module.forward_batch(batch), self.tolerance, self.max_iterations)

    def first_batch(self, module: SupervisedModule) -> Batch:
        """The first training batch, on the module's device."""
        datamodule: LightningDataModule | None = module.trainer.datamodule  # type: ignore[attr-defined]
        if datamodule is None:
            raise ZooError(
                "LSUV measures a training batch before training starts and takes it from the datamodule, which this"
                " run does not have; call trainer.fit(module, datamodule=...), or drop LSUV"
            )
        batch = next(iter(datamodule.train_dataloader()))
        batch = datamodule.on_before_batch_transfer(batch, 0)
        batch = datamodule.transfer_batch_to_device(batch, module.device, 0)
        return as_batch(datamodule.on_after_batch_transfer(batch, 0))


@contextmanager
def as_in_first_step(module: nn.Module) -> Iterator[None]:
    """Evaluation mode, but norms that train see the batch; flags and running statistics are put back at the end."""
    flags = {layer: layer.training for layer in module.modules()}
    norms = [layer for layer in flags if isinstance(layer, _NormBase)]
    statistics = [(buffer, buffer.clone()) for norm in norms for buffer in norm.buffers()]
    module.eval()
    for norm in norms:
        norm.training = flags[norm]
    try:
        yield
    finally:
        for layer, flag in flags.items():
            layer.training = flag
        for buffer, saved in statistics:
            buffer.copy_(saved)


def _variance(name: str, output: Tensor) -> float:
    variance = output.float().var(correction=0).item()
    if not 0 < variance < float("inf"):
        raise ZooError(
            f"LSUV: the output of {name} has variance {variance} on the batch; look for dead or exploding layers below"
            " it, for a batch of one sample, or leave it out with layers"
        )
    return variance
