"""Histograms of classes and their divergence; which classes are lost."""

import math

import pytest
import torch

from zoo.judging.classes import class_divergence, class_histogram, lost_classes


def test_histogram() -> None:
    histogram = class_histogram(torch.tensor([0, 2, 2, 3]), 5)
    assert histogram.tolist() == [0.25, 0, 0.5, 0.25, 0]


def test_divergence() -> None:
    even, one = torch.full((8,), 1 / 8).double(), torch.eye(8)[3].double()
    assert class_divergence(even, even) == 0
    assert class_divergence(even, one) == pytest.approx(math.log(8))
    assert class_divergence(one, even) == math.inf
    p, q = torch.tensor([0.5, 0.3, 0.2, 0.0]).double(), torch.tensor([0.1, 0.9, 0.0, 0.0]).double()
    assert class_divergence(p, q) == pytest.approx(0.1 * math.log(0.2) + 0.9 * math.log(3))


def test_lost() -> None:
    real = torch.tensor([0.5, 0.3, 0.2, 0.0])
    assert lost_classes(real, torch.tensor([0.9, 0.07, 0.03, 0.0])) == [1, 2]
    assert lost_classes(real, real) == []
