"""Time warp: let each sequence run faster here and slower there, from its first step to its last."""

import torch
from torch import Tensor

from callbacks.augmentation.series import lengths_of, require_series, resample, resample_batch
from callbacks.technique import Technique
from zoo.batch import Batch
from zoo.errors import ZooError
from zoo.module import SupervisedModule, ZooModule
from zoo.task import Classification, MultiLabel, Regression, Tagging


def warped_time(log_speed: Tensor, lengths: Tensor, steps: int) -> Tensor:
    """Where each step of the warped sequence is read: tau_t = (L - 1) S_t / S_{L-1}, with S_t = v_1 + ... + v_t.

    The speed v is exp(log_speed), whose logarithm runs in straight lines from knot to knot over the sequence's length.
    tau increases, tau_0 = 0 and tau_{L-1} = L - 1.

    Args:
        log_speed: at the knots, which lie evenly from the first step to the last, float (B, K), K >= 2.
        lengths: L of each sequence, int64 (B,).
        steps: T, at least the largest L.

    Returns:
        float (B, T); behind a sequence's end it has no meaning, but stays within [0, L - 1].
    """
    last = (lengths - 1).unsqueeze(1)  # (B, 1)
    step = torch.arange(steps, device=lengths.device)
    at = step.minimum(last) / last.clamp(min=1) * (log_speed.shape[1] - 1)  # (B, T), counted in knots
    speed = resample(log_speed.unsqueeze(2), at).squeeze(2).exp()
    travelled = speed.masked_fill((step == 0) | (step > last), 0).cumsum(1)
    return last * (travelled / travelled[:, -1:].clamp(min=1e-12)).clamp(max=1)


class TimeWarp(Technique):
    """Read each training sequence at a smoothly varying speed; its length, first and last step stay.

    Um et al., "Data augmentation of wearable sensor data for Parkinson's disease monitoring using convolutional neural
    networks", 2017; here the logarithm of the speed is drawn at knots, so that time never runs backwards. Values
    between two steps lie on the straight line, tags are those of the nearest step.

    Args:
        std: of the logarithm of the speed at a knot; 0 changes nothing, 0.2 is a fifth faster or slower, 1 is wild.
        knots: places between the ends where the speed is drawn; more make quicker changes.
    """

    supports = SupervisedModule
    inputs = ("sequences",)
    # Not what is forecast, which would no longer follow on the inputs.
    tasks = (Classification, MultiLabel, Regression, Tagging)

    def __init__(self, std: float = 0.2, knots: int = 4) -> None:
        if not std >= 0:
            raise ZooError(f"TimeWarp: std must not be negative, got {std}; 0.1 to 0.5 are usual")
        if knots < 1:
            raise ZooError(f"TimeWarp: knots must be at least 1, got {knots}; 2 to 8 are usual")
        self.std, self.knots = std, knots

    def attach(self, module: ZooModule) -> None:
        self.add_batch_transform(module, self.transform)

    def transform(self, module: ZooModule, batch: Batch) -> Batch:
        """The batch with warped sequences."""
        if self.std == 0:
            return batch
        x = require_series(self.name, batch)
        lengths = lengths_of(batch)
        log_speed = self.std * torch.randn(len(x), self.knots + 2, device=x.device)  # the two ends as well
        return resample_batch(batch, warped_time(log_speed, lengths, x.shape[1]), lengths)

    def no_effect_hint(self) -> str:
        return f"std is {self.std}; it has to be positive"
