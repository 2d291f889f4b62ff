"""The drawings of a run's figures: numbers in, a picture out.

Nothing here knows of trainers or files. Matplotlib is imported when a figure is drawn, and used through its objects
alone: no pyplot, no backend or style that another part of the program would see. The two colours are of the palette of
Okabe and Ito, "Color Universal Design", 2008, which people with any kind of colour vision can tell apart.
"""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Floats: TypeAlias = NDArray[np.floating]
Ints: TypeAlias = NDArray[np.integer]

BLUE, VERMILLION = "#0072B2", "#D55E00"
INK, SOFT, FAINT = "#222222", "#666666", "#DDDDDD"
_HUES = (BLUE, VERMILLION, SOFT)
_DPI = 150
# A confusion matrix of more classes leaves out zeros, and all but so many of the largest counts: text is slow.
_FEW_CLASSES, _MAX_COUNTS, _MAX_TARGETS = 12, 1000, 4


class Curve(NamedTuple):
    """One logged quantity over time, both (n,); 1.0 is the end of the first epoch."""

    epochs: Floats
    values: Floats


class Bins(NamedTuple):
    """Predictions grouped by their confidence; one entry for each bin that is not empty."""

    confidence: Floats
    accuracy: Floats
    samples: Ints


def confusion_matrix(true: Ints, predicted: Ints, num_classes: int) -> Ints:
    """How often class i was taken for class j, int64 (num_classes, num_classes); both arguments are labels (N,)."""
    pairs = true.astype(np.int64) * num_classes + predicted
    return np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)


def calibration_bins(confidence: Floats, correct: NDArray[np.bool_], bins: int = 15) -> Bins:
    """Mean confidence, accuracy and size of the groups that equal intervals of the confidence make.

    Guo et al., "On calibration of modern neural networks", 2017, eq. 2.

    Args:
        confidence: probability of the predicted class, (N,), in [0, 1]; ``correct`` says whether it was right, (N,).
        bins: intervals between 0 and 1.
    """
    place = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    count = np.bincount(place, minlength=bins)
    filled = count > 0
    means = [np.bincount(place, weights=w, minlength=bins)[filled] / count[filled] for w in (confidence, correct)]
    return Bins(means[0], means[1], count[filled])


def render(figure: "Figure") -> NDArray[np.uint8]:
    """The figure's pixels, uint8 (H, W, 3)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]
    return np.array(canvas.buffer_rgba())[..., :3].copy()  # type: ignore[no-untyped-call]


def draw_learning_curves(curves: Mapping[str, Curve], quantities: Sequence[str], best: float | None) -> "Figure":
    """Training against validation over epochs, one panel a quantity, and the learning rates when they were logged.

    Args:
        curves: by name, such as ``train/loss``, ``val/loss``, ``lr``.
        quantities: what to draw, without its stage: "loss", "accuracy".
        best: the epoch to mark.
    """
    rates = _distinct({name: curve for name, curve in curves.items() if is_learning_rate(name)})
    panels = [*quantities, *(["learning rate"] if rates else [])]
    last = max((curve.epochs[-1] for curve in curves.values()), default=0)
    about = f"{math.ceil(last)} epoch{'s' if last > 1 else ''}"
    about += f" · dashed: epoch {best:g}, the best by validation" if best is not None else ""
    columns = min(len(panels), 3)
    rows = math.ceil(len(panels) / columns)
    figure, axes = new_figure(4.3 * columns, 3.2 * rows + 0.7, "Learning curves", about, rows, columns)
    for panel, ax in zip(panels, axes, strict=False):
        if panel == "learning rate":
            lines = [(name, rates[name], _HUES[k % len(_HUES)]) for k, name in enumerate(rates)]
        else:
            stages = (("train", SOFT), ("val", VERMILLION))
            lines = [(s, curves[f"{s}/{panel}"], c) for s, c in stages if f"{s}/{panel}" in curves]
        for name, curve, colour in lines:
            marker = "o" if len(curve.epochs) <= 20 else None
            name = {"train": "training", "val": "validation"}.get(name, plain(name, 24))
            ax.plot(curve.epochs, curve.values, color=colour, label=name, marker=marker, markersize=3, linewidth=1.6)
        if best is not None:
            ax.axvline(best, color=INK, linewidth=0.9, linestyle=(0, (4, 3)), zorder=0)
        values = np.concatenate([curve.values for _, curve, _ in lines] or [np.ones(1)])
        if values.min() > 0 and values.max() > 30 * values.min():
            ax.set_yscale("log")
        elif panel == "learning rate" and values.max() > 0:
            ax.set_ylim(0, values.max() * 1.08)
        reached = dict(zip(*curves.get(f"val/{panel}", ((), ())), strict=True)).get(best)
        title = panel.replace("_", " ") + ("" if reached is None else f" · validation {reached:.4g}")
        ax.set_title(title, loc="left", fontsize=10, color=INK)
        ax.set(xlabel="epoch", xlim=(0, 1.03 * last))
        ax.locator_params(axis="x", integer=True, nbins=8)
        ax.grid(axis="y", color=FAINT, linewidth=0.6)
        if len(lines) > 1 or panel != "learning rate":  # one rate needs no name
            ax.legend(frameon=False, fontsize=8, labelcolor=INK)
    for ax in axes[len(panels) :]:
        ax.remove()
    return figure


def draw_confusion_matrix(matrix: Ints, classes: Sequence[str], about: str) -> "Figure":
    """Counts (C, C), a row for each true class, coloured by their share of the row; the worst mistakes in words.

    ``about``, here and below, says which samples and which weights the figure shows.
    """
    from matplotlib.colors import PowerNorm

    size = len(classes)
    cell = float(np.clip(6.0 / size, 0.14, 0.6))  # inches
    names = [plain(name, 16) for name in classes]
    right = np.trace(matrix) / max(matrix.sum(), 1)
    margin = 0.09 * max(map(len, names)) + 0.9
    side = max(cell * size, 3.0)
    inches, about = (side + margin + 1.1, side + margin + 0.7), f"{about}\n{_confusions(matrix, names)}"
    figure, (ax,) = new_figure(*inches, f"Confusion matrix: {right:.1%} right", about)
    share = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    # The root brings out the small shares off the diagonal, which are what one looks for.
    image = ax.imshow(share, cmap="Blues", norm=PowerNorm(0.5, 0, 1))
    bar = figure.colorbar(image, ax=ax, fraction=0.04, shrink=min(1, 5 / side), pad=0.02, format="{x:.0%}")
    bar.set_ticks([0, 0.01, 0.05, 0.2, 0.5, 1])
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=8, length=0, labelcolor=SOFT)
    bar.set_label("share of the true class", fontsize=8, color=SOFT)
    font = float(np.clip(cell * 72 / 1.9, 5, 9))
    turned = max(map(len, names)) * font * 0.6 > cell * 72
    ax.set_xticks(range(size), names, rotation=90 if turned else 0, fontsize=font)
    ax.set_yticks(range(size), names, fontsize=font)
    ax.set(xlabel="predicted", ylabel="true")
    ax.spines[:].set_visible(False)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_ticks(np.arange(size + 1) - 0.5, minor=True)
    ax.grid(which="minor", color="white", linewidth=min(1.2, 3 * cell))
    ax.tick_params(which="both", length=0)
    digits = min(10, cell * 72 * 0.85 / (0.62 * len(str(matrix.max()))))  # points: the longest count fits its cell
    largest = np.argsort(-matrix, axis=None, kind="stable")[:_MAX_COUNTS]
    for i, j in zip(*np.unravel_index(largest, matrix.shape), strict=True):
        if size > _FEW_CLASSES and not matrix[i, j]:
            break
        colour = "white" if share[i, j] > 0.4 else (INK if matrix[i, j] else "#BBBBBB")
        ax.text(j, i, str(matrix[i, j]), ha="center", va="center", color=colour, fontsize=digits, in_layout=False)
    return figure


def draw_residuals(true: Floats, predicted: Floats, targets: Sequence[str], about: str) -> "Figure":
    """Predicted against true values (N, T), and their differences, in original units; a row a target, 4 at most."""
    shown = min(len(targets), _MAX_TARGETS)
    if shown < len(targets):
        about = f"{about} · the first {shown} of {len(targets)} targets"
    figure, axes = new_figure(8.6, 3.6 * shown + 0.7, "Predicted and true values", about, shown, 2)
    for k in range(shown):
        scatter, histogram = axes[2 * k], axes[2 * k + 1]
        t, p = true[:, k].astype(np.float64), predicted[:, k].astype(np.float64)
        residual, name = p - t, plain(targets[k], 30)
        ends = [min(t.min(), p.min()), max(t.max(), p.max())]
        alpha = float(np.clip(60 / len(t) ** 0.7, 0.08, 0.7))
        scatter.plot(ends, ends, color=SOFT, linewidth=1, linestyle=(0, (4, 3)), zorder=0)
        scatter.scatter(t, p, s=14, color=BLUE, alpha=alpha, linewidths=0)
        scatter.set(xlabel=f"true {name}", ylabel=f"predicted {name}", aspect="equal", adjustable="datalim")
        spread = t.var() * len(t)
        r2 = f" · R² {1 - (residual**2).sum() / spread:.3f}" if spread > 0 else ""
        scatter.set_title(f"RMSE {math.sqrt((residual**2).mean()):.4g}{r2}", loc="left", fontsize=10, color=INK)
        histogram.hist(residual, bins=int(np.clip(math.sqrt(len(t)) * 1.5, 8, 60)), color=BLUE, alpha=0.75)
        histogram.axvline(0, color=INK, linewidth=1)
        histogram.axvline(residual.mean(), color=VERMILLION, linewidth=1.4, linestyle=(0, (4, 3)))
        title = f"mean error {residual.mean():+.3g} (dashed) · absolute {np.abs(residual).mean():.4g}"
        histogram.set_title(title, loc="left", fontsize=10, color=INK)
        histogram.set(xlabel=f"predicted - true {name}", ylabel="samples")
    return figure


def draw_image_grid(
    images: NDArray[np.uint8], true: Ints, probabilities: Floats, classes: Sequence[str], about: str
) -> "Figure":
    """Images (n, H, W, 3) with what they were taken for, how surely, and what they are; wrong ones are marked."""
    count = len(images)
    columns = min(count, 8)
    rows = math.ceil(count / columns)
    size = (max(1.35 * columns, 5.0), 1.68 * rows + 0.7)
    figure, axes = new_figure(*size, "Predictions, the most wrong first", about, rows, columns)
    predicted = probabilities.argmax(1)
    for k, ax in enumerate(axes):
        ax.set_axis_off()
        if k >= count:
            continue
        ax.imshow(images[k], interpolation="nearest")
        wrong = predicted[k] != true[k]
        said = (
            f"{'✗' if wrong else '✓'} {plain(classes[predicted[k]], 11)} · {_percent(probabilities[k, predicted[k]])}"
        )
        ax.set_title(said, fontsize=8, color=VERMILLION if wrong else BLUE, pad=13 if wrong else 3)
        if wrong:
            right = f"true {plain(classes[true[k]], 11)} · {_percent(probabilities[k, true[k]])}"
            ax.annotate(right, (0.5, 1), (0, 3), "axes fraction", "offset points", ha="center", fontsize=8, color=INK)
    return figure


def draw_calibration(bins: Bins, error: float, about: str) -> "Figure":
    """How often the network is right when it says that it is sure; ``error`` is the expected calibration error."""
    title = f"Calibration: expected error {error:.3f}"
    figure, (top, bottom) = new_figure(5.2, 6.0, title, about, 2, 1, heights=(3, 1))
    top.plot([0, 1], [0, 1], color=SOFT, linewidth=1, linestyle=(0, (4, 3)), zorder=0, label="perfectly calibrated")
    low, high = wilson(bins.accuracy, bins.samples)
    top.vlines(bins.confidence, low, high, color=BLUE, alpha=0.35, linewidth=3, label="95 % interval")
    top.plot(bins.confidence, bins.accuracy, color=BLUE, marker="o", markersize=5, linewidth=1.4, label="measured")
    top.set(ylabel="share that is right", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    top.grid(color=FAINT, linewidth=0.6)
    top.legend(frameon=False, fontsize=8, labelcolor=INK)
    bottom.bar(bins.confidence, bins.samples, width=0.03, color=BLUE, alpha=0.75)
    bottom.set(xlabel="probability of the predicted class", ylabel="samples", xlim=(-0.02, 1.02))
    return figure


def is_learning_rate(name: str) -> bool:
    """Whether a logged quantity is a learning rate: ``lr``, ``train/lr``, ``lr/generator``, ``lr-AdamW``.

    >>> [is_learning_rate(name) for name in ("lr-AdamW", "train/lr", "val/loss")]
    [True, True, False]
    """
    return name.split("-")[0] == "lr" or "lr" in name.split("/")


def new_figure(
    width: float, height: float, title: str, about: str, rows: int = 1, columns: int = 1, heights: Sequence[float] = ()
) -> "tuple[Figure, list[Axes]]":
    """A white figure of so many inches, with its title and a quieter line at the top left."""
    from matplotlib.figure import Figure

    figure = Figure((width, height), _DPI, facecolor="white", layout="constrained")
    engine = figure.get_layout_engine()
    assert engine is not None
    top = 0.63 + 0.17 * about.count("\n")  # inches
    engine.set(rect=(0, 0, 1, 1 - top / height), h_pad=0.08)  # type: ignore[call-arg]
    left = 0.12 / width
    figure.text(left, 1 - 0.12 / height, title, va="top", fontsize=13, fontweight="bold", color=INK)
    figure.text(left, 1 - 0.37 / height, about, va="top", fontsize=9, color=SOFT, linespacing=1.3)
    axes = figure.subplots(rows, columns, squeeze=False, height_ratios=heights or None).ravel().tolist()
    for ax in axes:
        ax.set_facecolor("white")
        ax.spines[["top", "right"]].set_visible(False)
        ax.spines[["left", "bottom"]].set_color(SOFT)
        ax.tick_params(labelsize=8, color=SOFT, labelcolor=INK)
        for axis in (ax.xaxis, ax.yaxis):
            axis.label.set(fontsize=9, color=INK)
    return figure, axes


def _confusions(matrix: Ints, names: Sequence[str]) -> str:
    """The most frequent mistakes in words."""
    wrong = matrix - np.diag(np.diag(matrix))
    worst = np.argsort(-wrong, axis=None, kind="stable")[:2]
    pairs = [divmod(int(place), len(names)) for place in worst]
    said = [f"{names[i]} taken for {names[j]} ({wrong[i, j]})" for i, j in pairs if wrong[i, j]]
    return "most frequent: " + ", ".join(said) if said else "no mistakes"


def wilson(share: Floats, count: Ints) -> tuple[Floats, Floats]:
    """The 95 % interval of a share measured on so many samples (Wilson 1927), which also holds for 0 and 1."""
    z2 = 1.96**2
    centre = share + z2 / (2 * count)
    half = np.sqrt(z2 * (share * (1 - share) / count + z2 / (4 * count**2)))
    return (centre - half) / (1 + z2 / count), (centre + half) / (1 + z2 / count)


def _distinct(curves: dict[str, Curve]) -> dict[str, Curve]:
    """Without those that equal an earlier one: parameter groups often share their learning rate."""
    first = {curve.values.tobytes(): name for name, curve in reversed(curves.items())}
    return {name: curves[name] for name in curves if name in first.values()}


def _percent(probability: float) -> str:
    return f"{probability:.0%}" if 0.01 <= probability <= 0.995 else ("<1%" if probability < 0.01 else "100%")


def plain(name: str, length: int) -> str:
    """A name from the data, cut short and shown as it is: Matplotlib reads formulas between dollars."""
    name = " ".join(name.split())
    return (name if len(name) <= length else name[: length - 1] + "…").replace("$", r"\$")
