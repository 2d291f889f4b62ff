"""What the forward of a network takes: names, which sizes may vary, and examples to trace and to compare with."""

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from zoo.errors import ZooError
from zoo.gan import GAN
from zoo.module import SupervisedModule, ZooModule
from zoo.rnn import RNN
from zoo.tabular import TabularModule
from zoo.tasks.real_values import RealValues


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
        module, shape = self.module, _example_shape(self.module)
        if isinstance(module, GAN):
            z = torch.randn(batch, module.generator.latent_dim, generator=generator)
            labels = torch.randint(max(module.generator.num_classes, 1), (batch,), generator=generator)
            return (z, labels) if module.conditional else (z,)
        assert isinstance(module, SupervisedModule)
        if "tokens" in module.takes:
            return (torch.randint(module.task.out_features, (batch, steps), generator=generator),)
        varies = "steps" in self.dynamic[0].values()
        sizes = (batch, steps, *shape[2:]) if varies else (batch, *shape[1:])
        x = torch.randn(sizes, generator=generator)
        if isinstance(module, TabularModule) and module.categorical is not None:
            for column, table in enumerate(module.categorical.tables, module.num_numerical):
                codes = cast(nn.Embedding, table).num_embeddings
                x[:, column] = torch.randint(codes, (batch,), generator=generator)
        if "sequences" in module.takes and isinstance(module.task, RealValues) and not varies:
            series = module.task.num_targets  # a forecaster takes them in original units
            x[..., :series] = x[..., :series] * module.task.std.cpu() + module.task.mean.cpu()
        if "lengths" in self.names:
            lengths = torch.randint(1, steps + 1, (batch,), generator=generator)
            lengths[0] = steps
            return x, lengths
        return (x,)


def inputs_of(module: ZooModule) -> Inputs:
    """What ``module.forward`` takes.

    Raises:
        ZooError: that cannot be told.
    """
    batch, both = {0: "batch"}, {0: "batch", 1: "steps"}
    if isinstance(module, GAN):
        return (
            Inputs(module, ("z", "labels"), (batch, batch)) if module.conditional else Inputs(module, ("z",), (batch,))
        )
    window: int | None = getattr(module, "window", None)
    if "tokens" in module.takes:
        return Inputs(module, ("tokens",), (both,), window)
    _example_shape(module)
    if isinstance(module, RNN):
        return Inputs(module, ("x", "lengths"), (both, batch))
    return Inputs(module, ("x",), (both if "sequences" in module.takes and window is None else batch,))


def _example_shape(module: ZooModule) -> tuple[int, ...]:
    example = module.example_input_array
    if isinstance(example, Tensor):
        return tuple(example.shape)
    if isinstance(module, GAN):
        return ()
    raise ZooError(
        f"{type(module).__name__} does not say what it takes; set example_input_array in its __init__ to export it"
    )
