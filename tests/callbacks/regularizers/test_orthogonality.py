"""Orthogonality against singular values and torch's cosine similarity."""

from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from callbacks.optimizers.sgd import SGD
from callbacks.regularizers.orthogonality import Orthogonality, orthogonality_defect
from callbacks.technique import NoEffect
from tests.callbacks.technique_checks import accuracy_in_company, assert_resumes, fit, make_mlp


@pytest.mark.parametrize("shape", [(4, 4), (3, 7), (7, 3), (6, 2, 3, 3), (30, 2, 3, 3)])
def test_equals_the_singular_values(shape: tuple[int, ...]) -> None:
    weight = torch.randn(shape, dtype=torch.float64)
    values = torch.linalg.svdvals(weight.flatten(1))
    torch.testing.assert_close(orthogonality_defect(weight), ((values**2 - 1) ** 2).sum())


@pytest.mark.parametrize("shape", [(3, 7), (7, 3), (8, 2, 3, 3)])
def test_is_zero_for_orthogonal_weights(shape: tuple[int, ...]) -> None:
    weight = torch.nn.init.orthogonal_(torch.empty(shape, dtype=torch.float64))
    assert orthogonality_defect(weight) < 1e-20
    assert orthogonality_defect(3 * weight, unit_length=False) < 1e-18
    assert orthogonality_defect(3 * weight) > 1


def test_without_unit_length_it_is_the_inner_products_of_different_rows() -> None:
    weight = torch.randn(3, 5, dtype=torch.float64)
    expected = sum((weight[i] @ weight[j]) ** 2 for i in range(3) for j in range(3) if i != j)
    torch.testing.assert_close(orthogonality_defect(weight, unit_length=False), expected)


def test_makes_rows_orthogonal_while_it_learns() -> None:
    def overlap(*callbacks: Orthogonality) -> float:
        module = make_mlp()
        fit(module, SGD(lr=0.05), *callbacks, max_epochs=4)
        weight = module.get_parameter("backbone.1.linear.weight").detach()
        cosines = F.cosine_similarity(weight[:, None], weight[None], dim=2)
        return (cosines - torch.eye(len(weight))).square().mean().item()

    assert overlap(Orthogonality(1.0)) < 0.5 * overlap()


def test_errors_resume_and_learning(tmp_path: Path) -> None:
    with pytest.raises(NoEffect, match="Orthogonality: strength is 0"):
        fit(make_mlp(), Orthogonality(0), max_steps=1)
    with pytest.raises(NoEffect, match="has a name with 'conv' in it"):
        fit(make_mlp(), Orthogonality(match="conv"), max_steps=1)
    assert_resumes(lambda: [Orthogonality(1e-3)], tmp_path)
    assert accuracy_in_company(Orthogonality(1e-4)) > 0.93
