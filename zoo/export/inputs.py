"""What the forward of a network takes: names, which sizes may vary, and examples to trace and to compare with."""

import inspect
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from zoo.encoder_decoder import EncoderDecoder
from zoo.errors import ZooError
from zoo.forecasting import Forecaster
from zoo.gan import GAN
from zoo.module import SupervisedModule, ZooModule
from zoo.tabular import TabularModule

STEPS, TARGET_STEPS = "steps", "target_steps"


@dataclass(frozen=True)
class Inputs:
    """Of one network.

    Attributes:
        module: the network.
        names: of the arguments of ``forward``.
        dynamic: for each argument its dimensions that may have any size, by what they are: "batch", "steps".
        longest: the most steps, where they may vary and have an end.
    """

    module: ZooModule
    names: tuple[str, ...]
    dynamic: tuple[dict[int, str], ...]
    longest: int | None = None

    def draw(self, batch: int, steps: int, seed: int = 0) -> tuple[Tensor, ...]:
        """An example of each argument, a function of weights and arguments alone.

        Args:
            batch: samples.
            steps: of a sequence, where that may vary; no more than ``longest`` are drawn.
            seed: of the draw.
        """
        steps = min(steps, self.longest or steps)
        generator = torch.Generator().manual_seed(seed)
        return tuple(self._draw(name, batch, steps, generator) for name in self.names)

    def _draw(self, name: str, batch: int, steps: int, generator: torch.Generator) -> Tensor:
        module = self.module

        def whole(below: int, *shape: int) -> Tensor:
            return torch.randint(below, shape, generator=generator)

        match name:
            case "z":
                return torch.randn(batch, cast(GAN, module).generator.latent_dim, generator=generator)
            case "labels":
                return whole(cast(GAN, module).generator.num_classes, batch)
            case "tokens":
                return whole(cast(SupervisedModule, module).task.out_features, batch, steps)
            case "source":
                return whole(cast(EncoderDecoder, module).source_embedding.num_embeddings, batch, steps)
            case "target":
                return whole(cast(EncoderDecoder, module).embedding.num_embeddings, batch, max(1, steps - 2))
            case "lengths":
                lengths = 1 + whole(steps, batch)
                lengths[0] = steps
                return lengths
        shape = _example_shape(module)
        sizes = (batch, steps, *shape[2:]) if STEPS in self.dynamic[0].values() else (batch, *shape[1:])
        x = torch.randn(sizes, generator=generator)
        if isinstance(module, TabularModule) and module.categorical is not None:
            for column, table in enumerate(module.categorical.tables, module.num_numerical):
                x[:, column] = whole(cast(nn.Embedding, table).num_embeddings, batch)
        if isinstance(module, Forecaster):  # which takes its series in original units
            task, series = module.forecasting, x[..., : module.series]
            x[..., : module.series] = series * task.std.cpu() + task.mean.cpu()
        return x


def inputs_of(module: ZooModule) -> Inputs:
    """What ``module.forward`` takes.

    Raises:
        ZooError: that cannot be told.
    """
    batch, both = {0: "batch"}, {0: "batch", 1: STEPS}
    if isinstance(module, GAN):
        names = ("z", "labels") if module.conditional else ("z",)
        return Inputs(module, names, (batch,) * len(names))
    asked = [name for name in inspect.signature(module.forward).parameters if name != "self"]
    dynamic = {"tokens": both, "source": both, "target": {0: "batch", 1: TARGET_STEPS}, "lengths": batch}
    if asked[0] not in dynamic:  # numbers, whatever they are called
        _example_shape(module)
        varies = "sequences" in module.takes and not isinstance(module, Forecaster)
        dynamic = {**dynamic, asked[0]: both if varies else batch}
    if unknown := [name for name in asked if name not in dynamic]:
        raise ZooError(f"{type(module).__name__}.forward takes {unknown[0]}, of which no example can be drawn")
    return Inputs(module, tuple(asked), tuple(dynamic[name] for name in asked), _longest(module))


def _longest(module: ZooModule) -> int | None:
    """Most steps of a network that attends to all of them."""
    if isinstance(module, Forecaster):
        return None
    window: int | None = getattr(module, "window", None)
    context: int | None = getattr(getattr(module, "encoder", None), "context", None)
    if window is None and context is not None:
        return context - (getattr(module, "class_token", None) is not None)  # which stands in front
    return window


def _example_shape(module: ZooModule) -> tuple[int, ...]:
    example = module.example_input_array
    if isinstance(example, Tensor):
        return tuple(example.shape)
    raise ZooError(
        f"{type(module).__name__} does not say what it takes; set example_input_array in its __init__ to export it"
    )
