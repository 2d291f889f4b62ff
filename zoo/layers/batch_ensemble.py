"""Linear layers of many networks at once: one shared matrix, and vectors that set the members apart."""

from typing import cast

import torch
from torch import Tensor, nn


class BatchEnsembleLinear(nn.Module):
    """Member i computes ((x * r_i) W^T) * s_i + b_i: (B, k, in) -> (B, k, out); W is shared.

    Wen et al., "BatchEnsemble", 2020, eq. 5. Gorishniy et al., "TabM", 2025, section 3.3: r and s start at 1, except
    for r of the first layer, which alone makes the members differ.

    Args:
        members: k.
        in_features, out_features: of each member.
    """

    def __init__(self, members: int, in_features: int, out_features: int) -> None:
        super().__init__()
        self.shared = nn.Linear(in_features, out_features, bias=False)
        self.scale_in = nn.Parameter(torch.ones(members, in_features))
        self.scale_out = nn.Parameter(torch.ones(members, out_features))
        bound = in_features**-0.5  # as the bias of nn.Linear, one draw a member
        self.bias = nn.Parameter(torch.empty(members, out_features).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        return torch.addcmul(self.bias, cast(Tensor, self.shared(x * self.scale_in)), self.scale_out)


class MemberLinear(nn.Module):
    """A linear layer for each member, nothing shared: (B, k, in) -> (B, k, out).

    Args:
        members: k.
        in_features, out_features: of each member.
    """

    def __init__(self, members: int, in_features: int, out_features: int) -> None:
        super().__init__()
        bound = in_features**-0.5
        self.weight = nn.Parameter(torch.empty(members, in_features, out_features).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(members, out_features).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("bki,kio->bko", x, self.weight) + self.bias
