"""SAM and ASAM against the formula by hand, and as a good neighbour: metrics, statistics, masks, hooks, resume."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.demos.boring_classes import BoringModel
from torch import Tensor, nn
from torch.nn import functional as F

from callbacks.gradients.gradient_clipping import GradientClipping
from callbacks.optimizers.adamw import AdamW
from callbacks.optimizers.perturbed_step import untracked_statistics
from callbacks.optimizers.sam import SAM, ascent
from callbacks.optimizers.selection import OptimizerSelection
from callbacks.optimizers.sgd import SGD
from callbacks.technique import Conflict, NoEffect, UnsupportedModule
from tests.callbacks.technique_checks import accuracy_in_company, assert_resumes, assert_same, copy, fit, make_mlp
from zoo.errors import NonFiniteError, ZooError
from zoo.mlp import MLP

LR, RHO = 0.1, 0.5


class Batches(Callback):
    """The inputs and labels of each training batch."""

    def __init__(self) -> None:
        self.seen: list[tuple[Tensor, Tensor]] = []

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self.seen.append((batch[0].flatten(1), batch[1]))


def gradient(module: MLP, batch: tuple[Tensor, Tensor]) -> list[Tensor]:
    return list(torch.autograd.grad(F.cross_entropy(module(batch[0]), batch[1]), list(module.parameters())))


@pytest.mark.parametrize("adaptive", [False, True])
def test_equals_the_papers_recursion(adaptive: bool) -> None:
    """Foret et al. 2021, algorithm 1; Kwon et al. 2021, algorithm 1: four steps by hand."""
    batches, module, expected = Batches(), make_mlp("none", 0), make_mlp("none", 0)
    fit(module, SGD(lr=LR, weight_decay=0.0), SAM(RHO, adaptive), batches, max_steps=4)
    for batch in batches.seen[:4]:
        weights = [p.detach().clone() for p in expected.parameters()]
        g = gradient(expected, batch)
        width = [w.abs() + 0.01 if adaptive and w.ndim > 1 else torch.ones_like(w) for w in weights]
        length = sum(((t * v) ** 2).sum() for t, v in zip(width, g)) ** 0.5
        with torch.no_grad():
            for p, t, v in zip(expected.parameters(), width, g):
                p += RHO * t**2 * v / length
        steepest = gradient(expected, batch)
        with torch.no_grad():
            for p, w, v in zip(expected.parameters(), weights, steepest):
                p.copy_(w - LR * v)
    torch.testing.assert_close(copy(module), copy(expected), rtol=1e-4, atol=1e-6)


def test_the_ascent_has_length_rho_and_raises_the_loss() -> None:
    module, x = make_mlp("none", 0), torch.randn(32, 64)
    batch = (x, torch.randint(0, 10, (32,)))
    for p, g in zip(module.parameters(), gradient(module, batch)):
        p.grad = g
    steps = ascent(list(module.parameters()), 0.3)
    assert torch.cat([s.flatten() for s in steps]).norm().item() == pytest.approx(0.3, rel=1e-4)
    before = F.cross_entropy(module(x), batch[1])
    with torch.no_grad():
        for p, s in zip(module.parameters(), steps):
            p += s
    assert F.cross_entropy(module(x), batch[1]) > before
    still = [nn.Parameter(torch.ones(3))]
    still[0].grad = torch.zeros(3)
    assert ascent([*still], 1.0)[0].tolist() == [0, 0, 0]


def test_two_gradients_a_step_and_no_more() -> None:
    class Count(Callback):
        backward = forward = steps = 0

        def on_after_backward(self, trainer: Any, pl_module: Any) -> None:
            self.backward += 1

        def on_train_batch_end(self, trainer: Any, pl_module: Any, *rest: Any) -> None:
            self.steps = trainer.global_step

    module, count = make_mlp(), Count()

    def forwarded(*_: Any) -> None:
        count.forward += module.training

    handle = module.backbone.register_forward_hook(forwarded)
    fit(module, AdamW(), SAM(), count, max_epochs=1)
    handle.remove()
    assert (count.backward, count.forward) == (2 * count.steps, 2 * count.steps)
    assert count.steps > 3


def test_training_metrics_are_those_of_the_first_evaluation() -> None:
    """At a learning rate of almost zero they equal those of the plain optimizer, whatever the radius."""

    def metrics(*more: Callback) -> dict[str, float]:
        trainer = fit(make_mlp(), SGD(lr=1e-12, weight_decay=0.0), *more, max_epochs=1)
        return {name: value.item() for name, value in trainer.callback_metrics.items() if name.startswith("train/")}

    assert metrics(SAM(2.0)) == metrics()


def test_running_statistics_are_updated_once_a_step() -> None:
    plain, sharp = make_mlp(), make_mlp()
    fit(plain, SGD(lr=1e-12, weight_decay=0.0), max_epochs=1)
    fit(sharp, SGD(lr=1e-12, weight_decay=0.0), SAM(2.0), max_epochs=1)
    for (name, buffer), other in zip(plain.named_buffers(), sharp.buffers()):
        torch.testing.assert_close(buffer, other, rtol=1e-5, atol=1e-6, msg=name)


def test_untracked_statistics_still_normalise_by_the_batch() -> None:
    norms = nn.Sequential(nn.BatchNorm1d(4), nn.BatchNorm1d(4).eval())
    x = torch.randn(8, 4)
    expected, before = None, copy(norms)
    with untracked_statistics(norms):
        inside = norms(x)
        assert_same(copy(norms), before)
    expected = norms(x)
    assert torch.equal(inside, expected)
    assert all(norm.track_running_stats for norm in norms)  # type: ignore[union-attr]


def test_both_evaluations_draw_the_same_dropout_mask() -> None:
    masks: list[Tensor] = []
    module = make_mlp("none", 0.5, (32,))

    def see(layer: nn.Module, inputs: Any, output: Tensor) -> None:
        if layer.training:
            masks.append((output == 0) & (inputs[0] != 0))

    handle = module.backbone[0].dropout.register_forward_hook(see)  # type: ignore[union-attr]
    fit(module, SGD(lr=0.1), SAM(1e-6), max_steps=2)
    handle.remove()
    assert len(masks) == 4
    assert torch.equal(masks[0], masks[1])
    assert torch.equal(masks[2], masks[3])
    assert not torch.equal(masks[0], masks[2])


def test_clipping_sees_the_gradient_that_is_stepped_with() -> None:
    start, module = make_mlp("none", 0), make_mlp("none", 0)
    fit(module, SGD(lr=1.0, weight_decay=0.0), SAM(), GradientClipping(1e-3), max_steps=1)
    moved = torch.cat([(a - b).flatten() for a, b in zip(start.parameters(), module.parameters())])
    assert moved.norm().item() == pytest.approx(1e-3, rel=1e-2)


def test_the_optimizer_stays_itself() -> None:
    trainer = fit(make_mlp(), AdamW(), SAM(), max_epochs=1)
    assert type(trainer.optimizers[0]) is torch.optim.AdamW
    assert trainer.optimizers[0].param_groups[0]["fused"]


def test_weights_return_when_the_second_evaluation_fails() -> None:
    module, start = make_mlp("none", 0), make_mlp("none", 0)
    with pytest.raises(NonFiniteError):
        fit(module, SGD(lr=0.1), SAM(1e38), max_steps=1)
    assert_same(copy(module), copy(start))
    assert not module.revisiting


def test_a_second_fit_evaluates_twice_and_one_without_it_once() -> None:
    module, technique = make_mlp(), SAM()
    backward: list[int] = []

    class Count(Callback):
        def on_after_backward(self, trainer: Any, pl_module: Any) -> None:
            backward.append(trainer.global_step)

    fit(module, technique, Count(), max_steps=1)
    fit(module, technique, Count(), max_steps=1)
    assert len(backward) == 4
    fit(module, Count(), max_steps=1)
    assert len(backward) == 5


def test_errors() -> None:
    with pytest.raises(ZooError, match="rho must not be negative, got -1"):
        SAM(-1)
    with pytest.raises(ZooError, match="eta must be positive, got 0"):
        SAM(eta=0)
    with pytest.raises(NoEffect, match="SAM: rho is 0"):
        fit(make_mlp(), SAM(0), max_steps=1)
    with pytest.raises(Conflict, match=r"SAM and trainer\.accumulate_grad_batches=2 .* set it to 1"):
        fit(make_mlp(), SAM(), accumulate_grad_batches=2, max_steps=1)
    with pytest.raises(Conflict, match="SAM and LBFGS"):
        fit(make_mlp(), OptimizerSelection("LBFGS", weight_decay=0.0), SAM(), max_steps=1)
    with pytest.raises(UnsupportedModule, match="SAM does not support BoringModel"):
        fit(BoringModel(), SAM(), max_steps=1)


@pytest.mark.parametrize("adaptive", [False, True])
def test_resumes_to_the_bit(tmp_path: Path, adaptive: bool) -> None:
    assert_resumes(lambda: [SAM(0.1, adaptive)], tmp_path)


def test_learns_in_company() -> None:
    assert accuracy_in_company(SAM(0.05)) > 0.93
    assert accuracy_in_company(SAM(0.5, adaptive=True)) > 0.93
