"""A figure of the classes that samples show, beside those of the data."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from callbacks.reporting.plots import BLUE, VERMILLION

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST = 60  # bars of more classes would be thinner than a pixel


def draw_class_bars(
    real: NDArray[np.floating], made: NDArray[np.floating], classes: Sequence[str], about: str
) -> "Figure":
    """Shares of the classes among real data and samples, each (C,); of more than 60 classes those that differ most."""
    from matplotlib.figure import Figure  # takes half a second

    shown = np.sort(np.argsort(-np.abs(made - real), kind="stable")[:_MOST])
    figure = Figure(figsize=(max(4.5, 0.35 * len(shown) + 1.5), 3.4), layout="constrained")
    axes = figure.subplots()
    place = np.arange(len(shown))
    axes.bar(place - 0.2, real[shown], 0.4, color=BLUE, label="data")
    axes.bar(place + 0.2, made[shown], 0.4, color=VERMILLION, label="samples")
    names = [classes[k] for k in shown]
    axes.set_xticks(place, names, rotation=90 if max(map(len, names)) > 3 else 0, fontsize=8)
    axes.yaxis.set_major_formatter("{x:.0%}")
    axes.set_title(about, loc="left", fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8, ncols=2)
    return figure
