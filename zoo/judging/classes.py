"""What samples show: the classes among them against those of the data."""

import torch
from torch import Tensor


def class_histogram(classes: Tensor, num_classes: int) -> Tensor:
    """Share of each class among labels int64 (N,), float64 (num_classes,)."""
    return torch.bincount(classes, minlength=num_classes).double() / len(classes)


def class_divergence(real: Tensor, fake: Tensor) -> float:
    """KL(fake || real) = sum q log(q / p) of histograms p = ``real`` and q = ``fake``, both (C,), in nats.

    0 where they are equal, log C where samples of a single class stand for C equal ones. Samples of a class that the
    data do not have make it infinite; classes without samples do not. Metz et al., "Unrolled generative adversarial
    networks", 2017, section 3.3.1.
    """
    shown = fake > 0
    return (fake[shown] * (fake[shown] / real[shown]).log()).sum().item()


def lost_classes(real: Tensor, fake: Tensor, share: float = 0.25) -> list[int]:
    """Classes of which there are fewer than ``share`` of the samples that the data call for; histograms (C,)."""
    return torch.where(fake < share * real)[0].tolist()
