"""The kernel distance: do made features have the moments of real ones, up to the third order."""

from collections.abc import Callable

from torch import Tensor

from zoo.judging.neighbours import BLOCK


def cubic_kernel(x: Tensor, y: Tensor) -> Tensor:
    """(x . y / D + 1)^3 for all pairs, (N, D) and (M, D) -> (N, M)."""
    return (x @ y.mT / x.shape[1] + 1) ** 3


def kernel_distance(
    real: Tensor, fake: Tensor, kernel: Callable[[Tensor, Tensor], Tensor] = cubic_kernel, block: int = BLOCK
) -> float:
    """Unbiased squared maximum mean discrepancy of real (N, D) and made features (M, D)::

        mean_{i != j} k(x_i, x_j) + mean_{i != j} k(y_i, y_j) - 2 mean_{i, j} k(x_i, y_j)

    The KID of Bińkowski et al., "Demystifying MMD GANs", 2018, after Gretton et al., "A kernel two-sample test", 2012,
    lemma 6; over all pairs rather than a mean over subsets, which has the same expectation and a smaller variance. Its
    expectation does not depend on the number of samples, and it may fall below 0 where the two are alike.

    Args:
        kernel: (N, D) and (M, D) -> (N, M).
        block: rows of the kernel matrix that are held at once.
    """
    real, fake = real.double(), fake.double()

    def total(x: Tensor, y: Tensor) -> float:
        return sum(kernel(rows, y).sum().item() for rows in x.split(block))

    def within(x: Tensor) -> float:
        diagonal = sum(kernel(rows, rows).diagonal().sum().item() for rows in x.split(64))
        return (total(x, x) - diagonal) / (len(x) * (len(x) - 1))

    return within(real) + within(fake) - 2 * total(real, fake) / (len(real) * len(fake))
