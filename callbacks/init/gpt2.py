"""GPT-2's init: small normal weights, smaller still where residual branches end."""

import math

import torch
from torch import Tensor

from callbacks.init.branches import HasBranches
from callbacks.init.rules import assign
from callbacks.init.scheme import InitScheme
from zoo.errors import ZooError
from zoo.module import ZooModule


def gpt2_(weight: Tensor, std: float = 0.02, branches: int | None = None) -> Tensor:
    """Fill with N(0, std^2), or, for a layer that ends one of so many residual branches, N(0, std^2 / branches).

    The variances of independent branches add up, so that the residual stream grows by std^2 in all whatever the depth.
    Radford et al., "Language models are unsupervised multitask learners", 2019, section 2.3; the 0.02 is that of
    Radford et al. 2018.
    """
    return torch.nn.init.normal_(weight, std=std if branches is None else std / math.sqrt(branches))


class GPT2(InitScheme):
    """Fill every layer and embedding from N(0, std^2), and the last layer of each residual branch with less.

    Args:
        std: 0.02 is GPT-2's, for widths about 1,000; 1 / sqrt(width) keeps it in proportion for others.
        layers: see InitScheme.
    """

    supports = HasBranches

    def __init__(self, std: float = 0.02, layers: str | None = None) -> None:
        super().__init__(layers)
        if std <= 0:
            raise ZooError(f"GPT2: std must be positive, got {std}")
        self.std = std

    def init_(self, weight: Tensor) -> None:
        gpt2_(weight, self.std)

    @torch.no_grad()
    def fill(self, module: ZooModule) -> None:
        super().fill(module)
        assert isinstance(module, HasBranches)
        ends, chosen = module.branches, self.select(module)
        for name in ends.keys() & chosen.keys():
            weight = torch.empty_like(ends[name].weight)
            assign(ends[name], "weight", gpt2_(weight, self.std, len(ends)))
