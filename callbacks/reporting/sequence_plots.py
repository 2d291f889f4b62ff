"""The drawings of sequences and forecasts: numbers in, a picture out, in the manner of ``plots``."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from callbacks.reporting.plots import BLUE, FAINT, INK, SOFT, VERMILLION, Floats, Ints, new_figure, plain, wilson

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MAX_SERIES, _MAX_GROUPS = 3, 8
_DASHED, _DOTTED = (0, (4, 3)), (0, (1, 2))


class LengthGroups(NamedTuple):
    """Sequences grouped by their length; one entry for each group, the shortest first."""

    shortest: Ints
    longest: Ints
    samples: Ints
    accuracy: Floats


class Window(NamedTuple):
    """One window with its forecast, in original units: past (P, S), the others (H, S)."""

    name: str  # "worst", "median" or "best"
    error: float  # mean squared error in standardised units, over all steps and series
    past: Floats
    truth: Floats
    forecast: Floats
    low: Floats | None
    high: Floats | None


class Forecasts(NamedTuple):
    """How well the validation split is forecast.

    Attributes:
        windows: the worst, the median and the best by their error; of equal errors the first.
        by_step: the mean squared error in standardised units at each step, (H,): of "network" and of naive forecasts.
        inside: share of the true values that lie in their interval at each step, (H,); None without intervals.
        coverage: the share that the intervals promise; None without.
        about: which windows and which weights.
    """

    windows: list[Window]
    by_step: dict[str, Floats]
    inside: Floats | None
    coverage: float | None
    about: str


def length_groups(lengths: Ints, correct: Ints, most: int = _MAX_GROUPS) -> LengthGroups:
    """Accuracy of sequences of like length.

    Args:
        lengths: steps of each sequence, (N,); ``correct`` says whether each was right, (N,).
        most: groups at the most. Sequences of one length stay together; the groups are about equally large.
    """
    known, counts = np.unique(lengths, return_counts=True)
    # The group of a length is that of its middle sample when all stand in order.
    middle = np.cumsum(counts) - counts / 2
    group = np.arange(len(known)) if len(known) <= most else (middle * most / len(lengths)).astype(np.int64)
    rows = []
    for number in np.unique(group):
        own = known[group == number]
        members = (lengths >= own[0]) & (lengths <= own[-1])
        rows.append((own[0], own[-1], members.sum(), correct[members].mean()))
    shortest, longest, samples, accuracy = (np.array(column) for column in zip(*rows, strict=True))
    return LengthGroups(shortest, longest, samples, accuracy)


def draw_length_accuracy(groups: LengthGroups, about: str) -> "Figure":
    """Accuracy by the length of a sequence, with 95 % intervals, and how many sequences each group has."""
    total = (groups.accuracy * groups.samples).sum() / groups.samples.sum()
    places = np.arange(len(groups.samples))
    names = [f"{a}" if a == b else f"{a} to {b}" for a, b in zip(groups.shortest, groups.longest)]
    size = max(5.2, 0.8 * len(names) + 1.2), 5.0
    figure, (top, bottom) = new_figure(*size, "Accuracy by length", about, 2, 1, heights=(3, 1))
    low, high = wilson(groups.accuracy, groups.samples)
    top.axhline(total, color=SOFT, linewidth=1, linestyle=_DASHED, zorder=0, label=f"all sequences, {total:.1%}")
    top.vlines(places, low, high, color=BLUE, alpha=0.35, linewidth=3, label="95 % interval")
    top.plot(places, groups.accuracy, color=BLUE, marker="o", markersize=5, linewidth=0)
    top.set(ylabel="share that is right", ylim=(max(-0.02, low.min() - 0.1), 1.02))
    top.grid(axis="y", color=FAINT, linewidth=0.6)
    top.legend(frameon=False, fontsize=8, labelcolor=INK, loc="lower left", ncols=2)
    bottom.bar(places, groups.samples, width=0.6, color=BLUE, alpha=0.75)
    bottom.set(xlabel="steps of the sequence", ylabel="sequences")
    for ax in (top, bottom):
        ax.set_xticks(places, names if ax is bottom else [""] * len(names))
        ax.set_xlim(-0.6, len(names) - 0.4)
    return figure


def draw_forecasts(seen: Forecasts, series: Sequence[str], gap: int = 0) -> "Figure":
    """The worst, the median and the best window with what followed and what was forecast; 3 series at the most.

    Args:
        seen: what to draw.
        series: names of the series.
        gap: steps between a window and the first step that is forecast.
    """
    columns = min(len(series), _MAX_SERIES)
    about = seen.about + (f" · the first {columns} of {len(series)} series" if columns < len(series) else "")
    title = "Forecasts: worst, median and best window"
    rows = len(seen.windows)
    figure, axes = new_figure(max(4.1 * columns, 8.4), 2.3 * rows + 1.0, title, about, rows, columns)
    for place, ax in enumerate(axes):
        window, k = seen.windows[place // columns], place % columns
        past = np.arange(1 - len(window.past), 1)
        future = np.arange(1, len(window.truth) + 1) + gap
        ax.axvline(0.5 + gap / 2, color=FAINT, linewidth=1, zorder=0)
        ax.plot(past, window.past[:, k], color=SOFT, linewidth=1.1, label="past")
        ax.plot(future, window.truth[:, k], color=BLUE, linewidth=1.3, label="truth")
        ax.plot(future, window.forecast[:, k], color=VERMILLION, linewidth=1.5, label="forecast")
        if window.low is not None and window.high is not None:
            label = f"{seen.coverage:.0%} interval"
            low, high = window.low[:, k], window.high[:, k]
            ax.fill_between(future, low, high, color=VERMILLION, alpha=0.18, linewidth=0, label=label)
        if len(future) == 1:  # a line through one point is not seen
            ax.plot(future, window.truth[:, k], "o", future, window.forecast[:, k], "o", markersize=4)
            ax.lines[-2].set_color(BLUE)
            ax.lines[-1].set_color(VERMILLION)
        name = plain(series[k], 24)
        ax.set_title(f"{window.name} · MSE {window.error:.3g} · {name}" if k == 0 else name, loc="left", fontsize=10,
                     color=INK)  # fmt: skip
        ax.locator_params(axis="x", integer=True, nbins=7)
        ax.grid(axis="y", color=FAINT, linewidth=0.6)
        if place >= len(axes) - columns:
            ax.set_xlabel("steps from the end of the window")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="upper right", ncols=len(labels), frameon=False, fontsize=8, labelcolor=INK,
                  bbox_to_anchor=(0.995, 1 - 0.06 / figure.get_figheight()))  # fmt: skip
    return figure


def draw_horizon_error(seen: Forecasts) -> "Figure":
    """The error at each step of the horizon beside naive forecasts', and how many values the intervals hold there."""
    panels = 1 if seen.inside is None else 2
    total = float(seen.by_step["network"].mean())
    title = f"Error by step of the horizon: MSE {total:.4g} over all"
    figure, axes = new_figure(6.2, 3.4 * panels + 0.7, title, seen.about, panels, 1)
    steps = np.arange(1, len(seen.by_step["network"]) + 1)
    marker = "o" if len(steps) <= 12 else None
    styles = {"network": (VERMILLION, "solid", 1.8)}
    for name, values in seen.by_step.items():
        colour, line, width = styles.get(name, (SOFT, _DASHED if name == "last value" else _DOTTED, 1.3))
        label = f"{name}, {values.mean():.4g}"
        axes[0].plot(steps, values, color=colour, linestyle=line, linewidth=width, label=label, marker=marker,
                     markersize=3)  # fmt: skip
    axes[0].set(ylabel="MSE, standardised", ylim=(0, None))
    axes[0].legend(frameon=False, fontsize=8, labelcolor=INK)
    if seen.inside is not None and seen.coverage is not None:
        axes[1].axhline(
            seen.coverage, color=SOFT, linewidth=1, linestyle=_DASHED, label=f"promised, {seen.coverage:.0%}"
        )
        label = f"measured, {seen.inside.mean():.1%}"
        axes[1].plot(steps, seen.inside, color=BLUE, linewidth=1.6, marker=marker, markersize=3, label=label)
        axes[1].set(
            ylabel="share of values in their interval", ylim=(min(seen.inside.min(), seen.coverage) - 0.05, 1.01)
        )
        axes[1].legend(frameon=False, fontsize=8, labelcolor=INK)
    for ax in axes:
        ax.grid(axis="y", color=FAINT, linewidth=0.6)
        ax.set_xlabel("step of the horizon")
        ax.locator_params(axis="x", integer=True, nbins=8)
    return figure


def draw_weights(weights: Floats, labels: Sequence[str], density: Floats, title: str, about: str) -> "Figure":
    """How much each step counts: a row a sequence, and the mean over many by their relative position.

    Args:
        weights: share of each step, (n, T); NaN behind a sequence's end.
        labels: of the rows.
        density: mean share in equal parts of a sequence, times their number: 1 where all steps count the same.
        title: what is shown.
        about: which samples and which weights.
    """
    rows = len(weights)
    figure, (top, bottom) = new_figure(7.4, 0.26 * rows + 3.2, title, about, 2, 1, heights=(0.26 * rows + 0.2, 1.4))
    shown = np.ma.masked_invalid(weights)
    image = top.imshow(shown, aspect="auto", cmap="Blues", vmin=0, vmax=float(np.nanquantile(weights, 0.995)),
                       interpolation="nearest", extent=(0.5, weights.shape[1] + 0.5, rows - 0.5, -0.5))  # fmt: skip
    top.set_facecolor("#F2F2F2")
    top.set_yticks(range(rows), [plain(label, 34) for label in labels], fontsize=8)
    top.tick_params(axis="y", length=0)
    top.spines[:].set_visible(False)
    top.set_xlabel("step")
    top.locator_params(axis="x", integer=True, nbins=10)
    bar = figure.colorbar(image, ax=top, fraction=0.03, pad=0.01, format=lambda x, _: f"{100 * x:.3g}%")
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=8, length=0, labelcolor=SOFT)
    if rows > 3:  # else the words are longer than the bar
        bar.set_label("share of the sequence", fontsize=8, color=SOFT)
    parts = (np.arange(len(density)) + 0.5) / len(density)
    bottom.axhline(1, color=SOFT, linewidth=1, linestyle=_DASHED, zorder=0)
    bottom.plot(parts, density, color=BLUE, linewidth=1.6)
    bottom.set(xlabel="relative position in the sequence", ylabel="times the average", xlim=(0, 1), ylim=(0, None))
    bottom.grid(axis="y", color=FAINT, linewidth=0.6)
    return figure
