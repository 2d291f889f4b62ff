"""Several quantiles at once, which cannot cross."""

import torch
import torch.nn.functional as F
from torch import Tensor

from zoo.errors import ZooError
from zoo.losses.base import Reduction, RegressionLoss, check_coverage


class Quantile(RegressionLoss):
    """Pinball loss max(tau e, (tau - 1) e) of the error e = target - quantile, mean over the quantiles.

    The network puts out the middle quantile and the gaps between neighbours (a softplus makes them positive), so that
    quantiles are in order by construction, and what happens in the tails does not move the prediction.

    Source: Koenker and Bassett, "Regression Quantiles", 1978, eq. 2.

    Args:
        quantiles: rising levels in (0, 1); several of them must hold 0.5, which becomes the prediction. A single one
            is the prediction itself.
        reduction: over samples and targets.
    """

    def __init__(
        self,
        quantiles: list[float] = [0.05, 0.5, 0.95],  # noqa: B006  never changed; a list reads best in --help
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__(reduction)
        fine = bool(quantiles) and all(
            low < high for low, high in zip([0.0, *quantiles], [*quantiles, 1.0], strict=True)
        )
        self.require(fine, f"quantiles must rise and lie in (0, 1), got {quantiles}")
        fine = len(quantiles) == 1 or 0.5 in quantiles
        self.require(fine, f"several quantiles must hold 0.5, which is the prediction, got {quantiles}")
        self.quantiles = list(quantiles)
        self.middle = 0 if len(quantiles) == 1 else quantiles.index(0.5)

    @property
    def outputs_per_target(self) -> int:
        return len(self.quantiles)

    def values(self, outputs: Tensor) -> Tensor:
        """Raw outputs (..., k) to quantiles (..., k), in rising order."""
        middle = outputs[..., self.middle : self.middle + 1]
        above = middle + F.softplus(outputs[..., self.middle + 1 :]).cumsum(-1)
        below = middle - F.softplus(outputs[..., : self.middle]).flip(-1).cumsum(-1).flip(-1)
        return torch.cat([below, middle, above], -1)

    def per_value(self, outputs: Tensor, target: Tensor) -> Tensor:
        error = target[..., None] - self.values(outputs)
        tau = error.new_tensor(self.quantiles)
        return torch.maximum(tau * error, (tau - 1) * error).mean(-1)

    @property
    def location(self) -> int:
        return self.middle

    @property
    def usual_coverage(self) -> float | None:
        """That between the outermost quantiles, where they lie as far from 0 as from 1."""
        low, high = self.quantiles[0], self.quantiles[-1]
        return high - low if low < high and abs(low + high - 1) < 1e-6 else None

    def interval(self, outputs: Tensor, coverage: float) -> tuple[Tensor, Tensor]:
        check_coverage(coverage)
        places = [self._place((1 - coverage) / 2), self._place((1 + coverage) / 2)]
        if None in places:
            low, high = round((1 - coverage) / 2, 6), round((1 + coverage) / 2, 6)
            raise ZooError(
                f"an interval of coverage {coverage} lies between the quantiles {low} and {high}, but Quantile was"
                f" trained for {self.quantiles}"
            )
        low_values, high_values = (self.values(outputs)[..., place] for place in places)
        return low_values, high_values

    def _place(self, level: float) -> int | None:
        return next((place for place, known in enumerate(self.quantiles) if abs(known - level) < 1e-6), None)
