"""California housing: a regression table of 20,640 rows that comes with the project."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from datamodules.mixed_table import MixedTableDataModule
from datamodules.table_encoder import Table

_FILE = Path(__file__).parent / "embedded" / "california_housing.npz"


class CaliforniaHousing(MixedTableDataModule):
    """20,640 census block groups of 1990, 8 numbers each, and the median house value in 100,000 $ (0.15 to 5, capped).

    Source: Pace and Barry, "Sparse spatial autoregressions", 1997 (StatLib, public domain); nothing to download.
    Latitude and longitude carry much of the target, in a way that no smooth function of them follows: numerical
    embeddings help.

    Args:
        batch_size, scaling, categories, split_seed, eval_batch_size, drop_last: see MixedTableDataModule.
    """

    features = ("MedInc", "HouseAge", "AveRooms", "AveBedrms", "Population", "AveOccup", "Latitude", "Longitude")
    targets = ("MedHouseVal",)

    def read_table(self) -> tuple[Table, Tensor]:
        with np.load(_FILE, allow_pickle=False) as stored:
            x, y = stored["x"].astype(np.float64), torch.from_numpy(stored["y"])
        return Table(x, np.empty((len(x), 0), dtype=np.str_)), y
