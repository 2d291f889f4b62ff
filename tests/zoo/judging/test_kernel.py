"""The kernel distance against a loop over all pairs; unbiased: its mean is 0 for samples of one distribution."""

import pytest
import torch
from torch import Tensor
from torchmetrics.image.kid import poly_mmd

from zoo.judging.kernel import cubic_kernel, kernel_distance


def by_loop(x: Tensor, y: Tensor) -> float:
    def k(a: Tensor, b: Tensor) -> float:
        return float((sum(p * q for p, q in zip(a.tolist(), b.tolist())) / len(a) + 1) ** 3)

    n, m = len(x), len(y)
    real = sum(k(x[i], x[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    fake = sum(k(y[i], y[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    return real + fake - 2 * sum(k(a, b) for a in x for b in y) / (n * m)


@pytest.mark.parametrize("block", [1, 4, 1000])
def test_equals_a_loop(block: int) -> None:
    x, y = torch.randn(9, 5).double(), (torch.randn(7, 5) * 1.5 + 0.3).double()
    assert kernel_distance(x, y, block=block) == pytest.approx(by_loop(x, y), rel=1e-10)


def test_equals_torchmetrics() -> None:
    x, y = torch.randn(60, 8).double(), torch.randn(60, 8).double() + 0.5
    assert kernel_distance(x, y) == pytest.approx(float(poly_mmd(x, y)), rel=1e-9)


def test_unbiased() -> None:
    generator = torch.Generator().manual_seed(0)
    values = torch.tensor(
        [kernel_distance(*torch.randn(2, 20, 3, generator=generator).unbind(0)) for _ in range(400)]
    )  # fmt: skip
    assert abs(values.mean()) < 4 * values.std() / 20
    assert (values < 0).any()


def test_another_kernel() -> None:
    x, y = torch.randn(8, 3), torch.randn(8, 3)
    linear = kernel_distance(x, y, lambda a, b: a @ b.mT)
    assert linear != pytest.approx(kernel_distance(x, y, cubic_kernel))
