"""What a person sees of a robust evaluation: a table with the ball, and what the attack did to a few images."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from torch import Tensor

from zoo.attacks.ball import Norm


class Shown(NamedTuple):
    """Images before and after an attack, pixels in [0, 1] of shape (n, C, H, W), and the classes seen in them (n,)."""

    clean: Tensor
    adversarial: Tensor
    clean_class: Tensor
    adversarial_class: Tensor


def ball(epsilon: float, norm: Norm) -> str:
    """The ball as papers write it: Linf 8/255, L2 0.5."""
    levels = epsilon * 255
    in_levels = norm == "linf" and abs(levels - round(levels)) < 0.01 and levels < 32
    return f"{norm.capitalize()} {f'{round(levels)}/255' if in_levels else f'{epsilon:g}'}"


def print_table(title: str, rows: list[tuple[str, float, int]]) -> None:
    """Print one row an attack: its name, the accuracy that it leaves in [0, 1], and the number of images.

    The deviation beside it is that of a share of so many independent images, sqrt(p (1 - p) / n).
    """
    table = Table(box=SIMPLE_HEAD, pad_edge=False, title=title, title_justify="left")
    table.add_column("attack")
    for heading in ("accuracy, %", "±", "images"):
        table.add_column(heading, justify="right")
    for name, accuracy, count in rows:
        deviation = (accuracy * (1 - accuracy) / count) ** 0.5
        table.add_row(name, f"{100 * accuracy:.2f}", f"{100 * deviation:.2f}", f"{count:,}")
    console = Console()
    (console if console.is_terminal else Console(width=110)).print(table)


def picture(shown: Shown, epsilon: float, norm: Norm, names: list[str] | None) -> Figure:
    """Three rows of images: clean, adversarial, and their difference, where grey is none.

    Classes are shown by ``names``, or by number where there are none. With "linf" black and white are epsilon away from
    grey, with "l2" the largest difference of all is.
    """
    difference = shown.adversarial - shown.clean
    scale = epsilon if norm == "linf" else difference.abs().max().clamp(min=1e-6).item()
    rows = [shown.clean, shown.adversarial, 0.5 + difference / (2 * scale)]
    count = len(shown.clean)
    figure = Figure(figsize=(1.2 * max(count, 4), 4.4), dpi=150, layout="constrained")
    figure.suptitle(f"Adversarial examples, {ball(epsilon, norm)}", x=0.01, ha="left", fontsize=11)
    axes = figure.subplots(3, count, squeeze=False)
    titles = [shown.clean_class, shown.adversarial_class, None]
    for row, images, classes in zip(axes, rows, titles):
        for k, axis in enumerate(row):
            axis.imshow(to_bytes(images[k]), interpolation="nearest")
            axis.set_axis_off()
            if classes is not None:
                axis.set_title(names[int(classes[k])] if names else str(int(classes[k])), fontsize=8)
    for row, label in zip(axes, ("clean", "adversarial", "difference")):
        row[0].text(-0.15, 0.5, label, transform=row[0].transAxes, rotation=90, va="center", ha="right", fontsize=8)
    return figure


def to_bytes(image: Tensor) -> NDArray[np.uint8]:
    """An image of pixels in [0, 1] (C, H, W) as uint8 (H, W, 3); a grey one gets three equal channels."""
    levels = (image * 255).round().clamp(0, 255).to(torch.uint8).cpu()
    return np.asarray(levels.permute(1, 2, 0).expand(-1, -1, 3).numpy())


def save_picture(figure: Figure, folder: Path) -> Path:
    """Write ``figures/adversarial_examples.png`` into a run's folder."""
    file = folder / "figures" / "adversarial_examples.png"
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file)
    return file
