"""Lookahead against its recursion by hand round any optimizer; its state in a checkpoint."""

from pathlib import Path

import pytest
import torch
from lightning.pytorch.demos.boring_classes import BoringModel
from torch import nn

from callbacks.optimizers.lookahead import SLOW, STEPS, Lookahead, look_back_
from callbacks.optimizers.sgd import SGD
from callbacks.technique import NoEffect, UnsupportedModule
from tests.callbacks.technique_checks import accuracy_in_company, assert_resumes, fit, make_mlp
from zoo.errors import ZooError


def test_look_back() -> None:
    fast, slow = [torch.tensor([4.0])], [torch.tensor([2.0])]
    look_back_(fast, slow, 0.25)
    assert (fast[0].item(), slow[0].item()) == (2.5, 2.5)


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "RMSprop", "Adagrad", "NAdam"])
@pytest.mark.parametrize("k", [1, 3])
def test_equals_the_papers_loop(name: str, k: int) -> None:
    """Zhang et al. 2019, algorithm 1, with an inner optimizer that keeps its state."""
    torch.manual_seed(0)
    ours, theirs = (nn.Parameter(torch.ones(4, 3)) for _ in range(2))
    kind = getattr(torch.optim, name)
    optimizer, inner = Lookahead(k, 0.4).wrap(kind([ours], lr=0.1)), kind([theirs], lr=0.1)
    gradients = [torch.randn(4, 3) for _ in range(9)]
    slow = theirs.detach().clone()
    for step, gradient in enumerate(gradients, 1):
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        optimizer.step()
        inner.step()
        if step % k == 0:
            slow = slow + 0.4 * (theirs.detach() - slow)
            theirs.data.copy_(slow)
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_quiet_parameters_join_when_they_get_a_gradient() -> None:
    early, late = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    optimizer = Lookahead(2, 0.5).wrap(torch.optim.Adam([early, late], lr=0.1))
    early.grad = torch.ones(2)
    optimizer.step()
    assert late not in optimizer.state
    late.grad = torch.ones(2)
    optimizer.step()
    # Its first step led from 1 to 0.9, and back half the way.
    torch.testing.assert_close(late.detach(), torch.full((2,), 0.95))
    torch.testing.assert_close(early.detach(), torch.full((2,), 0.9))


def test_state_goes_through_a_checkpoint() -> None:
    weight = nn.Parameter(torch.ones(2))
    optimizer = Lookahead(3, 0.5).wrap(torch.optim.SGD([weight], lr=0.1))
    weight.grad = torch.ones(2)
    optimizer.step()
    saved = optimizer.state_dict()
    other = Lookahead(3, 0.5).wrap(torch.optim.SGD([nn.Parameter(weight.detach().clone())], lr=0.1))
    other.load_state_dict(saved)
    assert other.param_groups[0][STEPS] == 1
    parameter = other.param_groups[0]["params"][0]
    assert other.state[parameter][SLOW].tolist() == [1, 1]


def test_a_fit_steps_as_by_hand_and_a_later_one_is_without() -> None:
    plain, ahead = make_mlp(), make_mlp()
    start = make_mlp()
    fit(plain, SGD(lr=0.1), max_steps=3)
    technique = Lookahead(3, 0.5)
    trainer = fit(ahead, SGD(lr=0.1), technique, max_steps=3)
    for a, b, c in zip(start.parameters(), plain.parameters(), ahead.parameters()):
        torch.testing.assert_close(c, (a + b) / 2, rtol=1e-4, atol=1e-6)
    assert type(trainer.optimizers[0]) is torch.optim.SGD
    assert ahead.optimizer_wrappers == {}
    later = fit(ahead, SGD(lr=0.1), max_steps=1)
    assert STEPS not in later.optimizers[0].param_groups[0]


def test_errors() -> None:
    with pytest.raises(ZooError, match="k must be at least 1, got 0"):
        Lookahead(0)
    with pytest.raises(ZooError, match=r"alpha must lie in \(0, 1\], got 0"):
        Lookahead(alpha=0)
    with pytest.raises(NoEffect, match="alpha is 1, which never goes back"):
        fit(make_mlp(), Lookahead(alpha=1), max_steps=1)
    with pytest.raises(UnsupportedModule, match="Lookahead does not support BoringModel"):
        fit(BoringModel(), Lookahead(), max_steps=1)


@pytest.mark.parametrize("k", [3, 5])
def test_resumes_to_the_bit(tmp_path: Path, k: int) -> None:
    """Cut off between two meetings of the slow and the fast weights."""
    assert_resumes(lambda: [Lookahead(k)], tmp_path)


def test_learns_in_company() -> None:
    assert accuracy_in_company(Lookahead(5, 0.5)) > 0.9
