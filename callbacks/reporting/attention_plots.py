"""The drawings of attention: numbers in, a picture out, in the manner of ``plots``."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from callbacks.reporting.plots import BLUE, INK, VERMILLION, Floats, new_figure, plain

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_FEW_STEPS = 40  # as many labels of single steps can be read


class ImageMaps(NamedTuple):
    """Images, and how much of each place the answer reads.

    Attributes:
        images: uint8 (n, H, W, 3).
        last: shares of the places in what the pool reads through the last block, (n, rows, columns).
        rollout: the same through all blocks.
        labels: of the images; one that begins with ✗ is marked.
        about: which samples and which weights.
    """

    images: NDArray[np.uint8]
    last: Floats
    rollout: Floats
    labels: list[str]
    about: str


class HeadMaps(NamedTuple):
    """What each head of each layer reads on one sample.

    Attributes:
        weights: for each layer (heads, T, S).
        names: of the layers.
        steps: labels of the T steps; empty for numbers.
        about: which sample and which weights.
    """

    weights: list[Floats]
    names: list[str]
    steps: list[str]
    about: str


def draw_image_maps(seen: ImageMaps) -> "Figure":
    """Images in the first row; below each what its answer reads, through the last block and through all blocks."""
    count = len(seen.images)
    title = "Attention: which places of an image the answer reads"
    figure, axes = new_figure(max(1.25 * count + 1.0, 6.5), 5.0, title, seen.about, 3, count)
    names = ("image", "last block", "all blocks")
    for place, ax in enumerate(axes):
        row, k = divmod(place, count)
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set_visible(False)
        if row == 0:
            ax.imshow(seen.images[k], interpolation="nearest")
            label = plain(seen.labels[k], 16)
            ax.set_title(label, fontsize=8, color=VERMILLION if label.startswith("✗") else BLUE, pad=3)
        else:
            shares = (seen.last, seen.rollout)[row - 1][k]
            ax.imshow(shares, cmap="Blues", vmin=0, vmax=float(shares.max()), interpolation="nearest")
        if k == 0:
            ax.set_ylabel(names[row], fontsize=9, color=INK)
    return figure


def draw_head_maps(seen: HeadMaps) -> "Figure":
    """A heat map for each head, a row for each layer: which step (across) each step (down) reads."""
    rows, columns = len(seen.weights), max(len(weights) for weights in seen.weights)
    side = 1.9 if max(weights.shape[2] for weights in seen.weights) <= _FEW_STEPS else 2.3
    title = "Attention: which step (across) each step (down) reads"
    size = max(side * columns + 0.8, 6.5), (side + 0.25) * rows + 0.9
    figure, axes = new_figure(*size, title, seen.about, rows, columns)
    for place, ax in enumerate(axes):
        layer, head = divmod(place, columns)
        weights = seen.weights[layer]
        if head >= len(weights):
            ax.remove()
            continue
        # The first steps of a causal network have few to read, so that their shares would hide all others.
        most = float(np.quantile(weights[head], 0.99)) or 1.0
        ax.imshow(weights[head], cmap="Blues", vmin=0, vmax=most, interpolation="nearest")
        ax.set_title(f"head {head + 1}", loc="left", fontsize=8, color=INK, pad=2)
        ax.tick_params(length=0, labelsize=4.5 if seen.steps else 7)
        if seen.steps and len(seen.steps) <= _FEW_STEPS:
            for axis, steps in ((ax.xaxis, weights.shape[2]), (ax.yaxis, weights.shape[1])):
                if steps == len(seen.steps):
                    axis.set_ticks(range(steps), [plain(step, 6) for step in seen.steps])
        if head == 0:
            ax.set_ylabel(plain(seen.names[layer], 26), fontsize=8, color=INK)
    return figure


def as_labels(steps: Sequence[str]) -> list[str]:
    """Texts of single tokens with blanks and ends of lines made visible."""
    return [step.replace("\n", "⏎").replace(" ", "␣") for step in steps]
