"""What the calendar says about a time, as numbers in [-0.5, 0.5]."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def calendar_features(times: NDArray[np.datetime64], step: np.timedelta64) -> Tensor:
    """Position within the hour, day, week, month and year, each as position / its largest value - 0.5.

    The encoding of H. Zhou et al., "Informer: Beyond efficient transformer for long sequence time-series forecasting",
    2021.

    Args:
        times: (R,).
        step: from one row to the next; what cannot change within it is left out.

    Returns:
        float32 (R, k): minute of the hour (for steps below an hour), hour of the day (below a day), day of the week,
        of the month and of the year.
    """
    minutes = times.astype("datetime64[m]").astype(np.int64)
    days = times.astype("datetime64[D]")
    columns = []
    if step < np.timedelta64(1, "h"):
        columns.append(minutes % 60 / 59)
    if step < np.timedelta64(1, "D"):
        columns.append(minutes // 60 % 24 / 23)
    columns.append((days.astype(np.int64) + 3) % 7 / 6)  # 1970-01-01 was a Thursday; Monday is 0
    columns.append((days - times.astype("datetime64[M]")).astype(np.int64) / 30)
    columns.append((days - times.astype("datetime64[Y]")).astype(np.int64) / 365)
    return torch.from_numpy(np.stack(columns, 1) - 0.5).float()


def calendar_size(step: np.timedelta64) -> int:
    """How many features ``calendar_features`` makes for this step."""
    return 3 + int(step < np.timedelta64(1, "D")) + int(step < np.timedelta64(1, "h"))
