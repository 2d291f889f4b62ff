"""AGC unit by unit, by hand."""

from pathlib import Path

import pytest
import torch
from torch import nn

from callbacks.gradients.adaptive_clipping import AdaptiveClipping, adaptive_clip_, unit_norms
from callbacks.optimizers.sgd import SGD
from callbacks.technique import NoEffect
from tests.callbacks.technique_checks import accuracy_in_company, assert_resumes, assert_same, copy, fit, make_mlp
from zoo.errors import ZooError


@pytest.mark.parametrize("shape", [(6, 5), (6, 2, 3, 3), (6,), ()])
def test_equals_a_loop_over_units(shape: tuple[int, ...]) -> None:
    weight = nn.Parameter(torch.randn(shape))
    with torch.no_grad():
        weight.view(-1)[:2] = 0
    weight.grad = torch.randn(shape) * 0.05
    gradient = weight.grad.clone()
    clipped = adaptive_clip_(weight, 0.02, 1e-3)
    units = range(shape[0]) if len(shape) > 1 else [...]
    for unit, acted in zip(units, clipped.flatten()):
        w, g = weight.detach()[unit], gradient[unit]
        limit = 0.02 * max(w.norm().item(), 1e-3)
        assert bool(acted) == (g.norm().item() > limit)
        torch.testing.assert_close(weight.grad[unit], g * min(1, limit / g.norm().item()))


def test_leaves_small_and_zero_gradients_alone() -> None:
    weight = nn.Parameter(torch.randn(4, 3))
    weight.grad = torch.zeros(4, 3)
    weight.grad[0] = 1e-4
    before = weight.grad.clone()
    assert not adaptive_clip_(weight, 0.02).any()
    assert torch.equal(weight.grad, before)


def test_units_move_by_a_share_of_their_length() -> None:
    start, module = make_mlp("none", 0), make_mlp("none", 0)
    fit(module, SGD(lr=1.0, weight_decay=0.0), AdaptiveClipping(0.01, exclude=""), max_steps=1)
    for before, after in zip(start.parameters(), module.parameters()):
        share = unit_norms(after - before) / unit_norms(before).clamp(min=1e-3)
        assert share.max().item() < 0.01 * 1.01


def test_the_excluded_head_gets_its_whole_gradient() -> None:
    plain, clipped = make_mlp(), make_mlp()
    fit(plain, SGD(lr=1.0), max_steps=1)
    fit(clipped, SGD(lr=1.0), AdaptiveClipping(1e-4), max_steps=1)
    assert torch.equal(plain.head.weight, clipped.head.weight)
    assert not torch.equal(
        plain.get_parameter("backbone.0.linear.weight"), clipped.get_parameter("backbone.0.linear.weight")
    )


def test_identity_at_a_wide_bound() -> None:
    plain, clipped = make_mlp(), make_mlp()
    fit(plain, SGD(lr=0.1), max_epochs=1)
    fit(clipped, SGD(lr=0.1), AdaptiveClipping(1e9), max_epochs=1)
    assert_same(copy(plain), copy(clipped))


def test_errors_resume_and_learning(tmp_path: Path) -> None:
    with pytest.raises(ZooError, match="clipping must be positive and finite, got 0"):
        AdaptiveClipping(0)
    with pytest.raises(ZooError, match="eps must be positive"):
        AdaptiveClipping(eps=0)
    with pytest.raises(ZooError, match=r"exclude='\[' is no regular expression"):
        AdaptiveClipping(exclude="[")
    with pytest.raises(NoEffect, match=r"exclude='\.' excludes every trainable parameter of MLP"):
        fit(make_mlp(), AdaptiveClipping(exclude="."), max_steps=1)
    assert_resumes(lambda: [AdaptiveClipping(0.05)], tmp_path)
    assert accuracy_in_company(AdaptiveClipping(0.16)) > 0.9
