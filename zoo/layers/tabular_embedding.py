"""Vectors for the features of a table: one for each number, one for each category."""

import math
from collections.abc import Sequence
from typing import Literal, TypeAlias, cast

import torch
from torch import Tensor, nn

from zoo.errors import ZooError

NumericalEmbedding: TypeAlias = Literal["none", "piecewise_linear", "piecewise_linear_relu", "periodic"]


def piecewise_linear_encoding(x: Tensor, edges: Tensor) -> Tensor:
    """Where a number lies among bins b_0 < b_1 < ... < b_T: e_t = (x - b_(t-1)) / (b_t - b_(t-1)), cut to [0, 1].

    Bins left of x are 1, bins right of it 0. The first bin is not cut below and the last not above, so that values
    outside all bins are still told apart. Gorishniy et al., "On embeddings for numerical features in tabular deep
    learning", 2022, eq. 1.

    Args:
        x: any shape.
        edges: increasing, (T + 1,) with T at least 1.

    Returns:
        The shape of ``x`` and a last dimension T.
    """
    scale, shift, low, high = _bins(edges, len(edges) - 1)
    return torch.minimum(torch.maximum(x[..., None] * scale + shift, low), high)


def bin_edges(column: Tensor, bins: int) -> Tensor:
    """Edges of at most ``bins`` bins that hold equally many rows, all of them values that occur.

    A value with more rows than a bin has room for is an edge of its own, and the others share the rest: quantiles of
    all rows would spend nearly all edges on the zeros of a column that is mostly zero.

    Args:
        column: values of one feature in the training rows, (N,).
        bins: T at most.

    Returns:
        Increasing, (T' + 1,) with T' <= T; a single edge where the column is constant.
    """
    values, counts = column.unique(return_counts=True)
    if len(values) <= bins + 1:
        return values
    heavy = counts > len(column) / bins  # fewer than T values
    others = values[~heavy].repeat_interleave(counts[~heavy])
    levels = torch.linspace(0, 1, bins + 1 - int(heavy.sum()), dtype=column.dtype, device=column.device)
    return torch.cat([values[heavy], others.quantile(levels, interpolation="lower")]).unique()


class LinearEmbedding(nn.Module):
    """e_j = x_j w_j + b_j for each feature j: (B, n) -> (B, n, size). Gorishniy et al. 2021, section 3.3.

    Args:
        num_features: n.
        size: length of each vector.
    """

    def __init__(self, num_features: int, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(_uniform(num_features, size))
        self.bias = nn.Parameter(_uniform(num_features, size))

    def forward(self, x: Tensor) -> Tensor:
        return torch.addcmul(self.bias, x[..., None], self.weight)


class BinnedEmbedding(nn.Module):
    """Base of the embeddings that encode each feature by bins of the training rows: PLE, (B, n) -> (B, n, bins).

    Args:
        num_features: n.
        size: length of each vector, 8 to 32.
        bins: T at most, fewer where a feature has fewer values; 16 to 128, more for targets that jump.
    """

    scale: Tensor
    shift: Tensor
    low: Tensor
    high: Tensor
    fitted: Tensor

    def __init__(self, num_features: int, size: int, bins: int) -> None:
        super().__init__()
        if bins < 1:
            raise ZooError(f"piecewise_linear needs at least 1 bin, got {bins}")
        self.bins = bins
        self.weight = nn.Parameter(torch.zeros(num_features, bins, size))
        # Until training rows are seen: the quantiles of N(0, 1), without its infinite ends.
        levels = torch.linspace(0, 1, bins + 1, dtype=torch.double).clamp(1e-3, 1 - 1e-3)
        parts = _bins(torch.special.ndtri(levels), bins)
        for name, part in zip(("scale", "shift", "low", "high"), parts, strict=True):
            self.register_buffer(name, part.float().repeat(num_features, 1))
        self.register_buffer("fitted", torch.tensor(False))

    def fit(self, x: Tensor) -> None:
        """Take the bins from training rows (N, n), once: the weights belong to them."""
        if self.fitted:
            return
        for feature, column in enumerate(x.double().T):
            parts = _bins(bin_edges(column, self.bins), self.bins)
            for buffer, part in zip((self.scale, self.shift, self.low, self.high), parts, strict=True):
                buffer[feature] = part
        self.fitted.fill_(True)

    def encode(self, x: Tensor) -> Tensor:
        """PLE of each feature, (B, n) -> (B, n, bins); bins that a feature lacks are 0."""
        return torch.minimum(torch.maximum(x[..., None] * self.scale + self.shift, self.low), self.high)

    def project(self, x: Tensor) -> Tensor:
        """V_j PLE(x_j), (B, n) -> (B, n, size)."""
        return torch.einsum("bnt,ntd->bnd", self.encode(x), self.weight)


class PiecewiseLinearEmbedding(BinnedEmbedding):
    """e_j = x_j w_j + b_j + V_j PLE(x_j): (B, n) -> (B, n, size), with V = 0 at the start.

    The encoding gives every feature a piecewise linear function of its own, with kinks at ``bin_edges`` of the training
    rows; the linear part makes the start as smooth as without it. Gorishniy et al. 2022, section 3.2 and eq. 1; the
    form with a linear part is that of Gorishniy et al., "TabM", 2025, appendix.

    Args:
        num_features, size, bins: see BinnedEmbedding.
    """

    def __init__(self, num_features: int, size: int, bins: int) -> None:
        super().__init__(num_features, size, bins)
        self.linear = LinearEmbedding(num_features, size)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.linear(x)) + self.project(x)


class PiecewiseLinearReLUEmbedding(BinnedEmbedding):
    """e_j = relu(V_j PLE(x_j) + b_j): (B, n) -> (B, n, size).

    No linear part, and bins that tell at the start what lies in them: it fits sharper functions sooner than
    ``PiecewiseLinearEmbedding``, and needs more dropout. Gorishniy et al. 2022, section 3.4, "Q-LR".

    Args:
        num_features, size, bins: see BinnedEmbedding.
    """

    def __init__(self, num_features: int, size: int, bins: int) -> None:
        super().__init__(num_features, size, bins)
        bound = bins**-0.5
        with torch.no_grad():
            self.weight.uniform_(-bound, bound)
        self.bias = nn.Parameter(torch.empty(num_features, size).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        return (self.project(x) + self.bias).relu()


class PeriodicEmbedding(nn.Module):
    """e_j = relu(W_j [sin v, cos v] + b_j) with v = 2 pi c_j x_j: (B, n) -> (B, n, size).

    Gorishniy et al. 2022, eq. 2, with the linear layer and ReLU of "PLR".

    Args:
        num_features: n.
        size: length of each vector.
        frequencies: entries of c_j, which are learned.
        scale: standard deviation of c_j at the start; the most important choice, 0.01 (nearly linear) to 10 (each
            training row for itself).
    """

    def __init__(self, num_features: int, size: int, frequencies: int, scale: float) -> None:
        super().__init__()
        if frequencies < 1 or scale <= 0:
            raise ZooError(f"periodic needs frequencies and a positive scale, got {frequencies} and {scale}")
        self.frequencies = nn.Parameter(torch.randn(num_features, frequencies) * scale)
        bound = (2 * frequencies) ** -0.5
        self.weight = nn.Parameter(torch.empty(num_features, 2 * frequencies, size).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(num_features, size).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        v = 2 * math.pi * self.frequencies * x[..., None]  # (B, n, frequencies)
        waves = torch.cat([v.sin(), v.cos()], -1)
        return (torch.einsum("bnf,nfd->bnd", waves, self.weight) + self.bias).relu()


class CategoricalEmbedding(nn.Module):
    """One vector for each category of each column: codes (B, c) -> (B, c, size); code 0, the unknown, stays 0.

    Args:
        cardinalities: number of codes of each column, at least 1.
        size: length of each vector.
    """

    def __init__(self, cardinalities: Sequence[int], size: int) -> None:
        super().__init__()
        self.tables = nn.ModuleList(nn.Embedding(codes, size, padding_idx=0) for codes in cardinalities)
        for table in self.tables:
            weight = cast(nn.Embedding, table).weight
            with torch.no_grad():
                weight[1:] = _uniform(len(weight) - 1, size)

    def forward(self, codes: Tensor) -> Tensor:
        return torch.stack([table(column) for table, column in zip(self.tables, codes.unbind(1), strict=True)], 1)


def _uniform(rows: int, size: int) -> Tensor:
    """U(-1 / sqrt(size), 1 / sqrt(size)), so that a vector's squared length is 1/3 whatever its size."""
    return torch.empty(rows, size).uniform_(-(size**-0.5), size**-0.5)


def _bins(edges: Tensor, bins: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(scale, shift, low, high), each (bins,), with e = clamp(x * scale + shift, low, high); 0 beyond the last edge."""
    used = len(edges) - 1
    scale, shift, low, high = (edges.new_zeros(bins) for _ in range(4))
    if used > 0:
        width = edges.diff()
        scale[:used], shift[:used], high[:used] = 1 / width, -edges[:-1] / width, 1
        low[0], high[used - 1] = -math.inf, math.inf
    return scale, shift, low, high
