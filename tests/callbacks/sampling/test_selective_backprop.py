"""SelectiveBackprop: the paper's probabilities, a smaller batch that is otherwise the same, exact resume."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback
from torch import Tensor, nn

from callbacks.augmentation.mixup import MixUp
from callbacks.optimizers.sam import SAM
from callbacks.sampling.selective_backprop import SelectiveBackprop, keep_probability
from callbacks.technique import NoEffect, UnsupportedModule
from tests.callbacks.technique_checks import accuracy_in_company, assert_resumes, assert_same, copy, fit, make_mlp
from zoo.batch import Batch
from zoo.errors import ZooError
from zoo.mlp import MLP
from zoo.module import ZooModule
from zoo.task import Classification, Regression


def test_probability_is_a_power_of_the_percentile() -> None:
    history = torch.tensor([4.0, 1.0, 2.0, 3.0, 2.0])
    losses = torch.tensor([1.0, 2.0, 3.5, 4.0])
    percentiles = torch.tensor([(history <= value).float().mean() for value in losses])
    torch.testing.assert_close(keep_probability(losses, history, 1.0), percentiles)
    torch.testing.assert_close(keep_probability(losses, history, 2.0), percentiles**2)
    assert torch.equal(keep_probability(losses, history, 0.0), torch.ones(4))


def batch_of(n: int, weighted: bool = False) -> Batch:
    torch.manual_seed(0)
    weight = torch.rand(n) if weighted else None
    return Batch(torch.rand(n, 64), torch.randint(10, (n,)), weight=weight)


def select(technique: SelectiveBackprop, module: MLP, batch: Batch) -> Batch:
    technique.attach(module)
    return module.batch_transforms["SelectiveBackprop"](module, batch)


@pytest.mark.parametrize("beta", [1.0, 2.0, 5.0])
def test_share_that_is_kept(beta: float) -> None:
    n = 4000
    kept = select(SelectiveBackprop(beta, history=n), make_mlp(), batch_of(n)).size
    share = sum((rank / n) ** beta for rank in range(1, n + 1)) / n  # about 1 / (beta + 1)
    assert kept / n == pytest.approx(share, abs=5 * (share / n) ** 0.5)


@pytest.mark.parametrize("weighted", [False, True])
def test_a_kept_sample_is_whole_and_hard_ones_are_kept_more_often(weighted: bool) -> None:
    module, batch = make_mlp(), batch_of(2000, weighted)
    kept = select(SelectiveBackprop(1.0, history=2000), module, batch)
    assert module.training
    assert all(part.training for part in module.modules())
    places = [int((batch.x == row).all(1).nonzero()) for row in kept.x[:50]]
    assert torch.equal(batch.y[places], kept.y[:50])
    assert places == sorted(places)
    assert not weighted or torch.equal(batch.weight[places], kept.weight[:50])
    # Each loss in turn, by the formula of the task: the mean percentile of what is kept is 2/3, not 1/2.
    module.eval()
    losses = module.task.sample_losses(module(batch.x), batch) * (batch.weight if weighted else 1)
    own = module.task.sample_losses(module(kept.x), kept) * (kept.weight if weighted else 1)
    percentile = torch.searchsorted(losses.sort().values, own) / 2000
    assert percentile.mean().item() == pytest.approx(2 / 3, abs=0.04)


def test_the_history_is_of_recent_losses() -> None:
    technique, module = SelectiveBackprop(history=30), make_mlp()
    technique.attach(module)
    seen = []
    for seed in range(3):
        batch = batch_of(20)._replace(x=torch.rand(20, 64, generator=torch.Generator().manual_seed(seed)))
        module.batch_transforms["SelectiveBackprop"](module, batch)
        with torch.no_grad():
            seen.append(module.eval().task.sample_losses(module(batch.x), batch))
        module.train()
    torch.testing.assert_close(technique._losses, torch.cat(seen)[-30:])


def test_two_samples_are_kept_at_least_and_a_batch_of_one_passes() -> None:
    technique = SelectiveBackprop(1e6, history=2000)
    module, batch = make_mlp(), batch_of(500)
    kept = select(technique, module, batch)
    losses = module.eval().task.sample_losses(module(batch.x), batch)
    assert torch.equal(kept.x, batch.x[losses.topk(2).indices.sort().values])
    one = batch_of(1)
    assert select(technique, module, one) is one


def test_the_first_pass_changes_nothing_in_the_network() -> None:
    module = make_mlp(norm="batch")
    before = copy(module)
    select(SelectiveBackprop(), module, batch_of(50))
    assert_same(before, copy(module))
    assert all(parameter.grad is None for parameter in module.parameters())


class Sizes(Callback):
    """Notes the batches that the network learns from."""

    def __init__(self) -> None:
        self.seen: list[Tensor] = []

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        pl_module.penalties["Sizes"] = lambda module, batch, output: (self.seen.append(batch.x), torch.zeros(()))[1]

    def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
        pl_module.penalties.pop("Sizes")


def test_sam_looks_at_the_same_samples_twice() -> None:
    sizes = Sizes()
    fit(make_mlp(), SelectiveBackprop(), SAM(), sizes)
    assert len(sizes.seen) == 14
    assert all(torch.equal(a, b) for a, b in zip(sizes.seen[::2], sizes.seen[1::2]))
    assert len({len(x) for x in sizes.seen}) > 2


@pytest.mark.parametrize("order", [1, -1])
def test_mixes_before_and_after(order: int) -> None:
    sizes = Sizes()
    fit(make_mlp(), *[SelectiveBackprop(1.0), MixUp(0.4)][::order], sizes)
    assert sum(len(x) for x in sizes.seen) < 0.65 * 1294


def test_selects_values_too() -> None:
    module = MLP(64, Regression(), [8])
    kept = select(SelectiveBackprop(), module, Batch(torch.rand(90, 64), torch.rand(90)))
    assert 2 <= kept.size < 60


def test_resumes_to_the_bit(tmp_path: Path) -> None:
    assert_resumes(lambda: [SelectiveBackprop(1.0, history=300)], tmp_path)


def test_learns_and_a_second_fit_begins_anew() -> None:
    assert accuracy_in_company(SelectiveBackprop(1.0)) > 0.9
    module, technique = make_mlp(), SelectiveBackprop()
    fit(module, technique)
    assert not module.batch_transforms
    fit(module, technique)
    assert len(technique._losses) == 1024


def test_errors_say_what_to_do() -> None:
    for arguments, message in (({"beta": -1.0}, "beta must not be negative"), ({"history": 1}, "at least 2, got 1")):
        with pytest.raises(ZooError, match=message):
            SelectiveBackprop(**arguments)  # type: ignore[arg-type]
    with pytest.raises(NoEffect, match="beta is 0, which keeps all samples at a higher cost"):
        fit(make_mlp(), SelectiveBackprop(0.0))

    class Mean(nn.Module):
        def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
            return prediction.square().mean()

    with pytest.raises(UnsupportedModule, match="Mean has no `reduction`, so that the loss of each sample"):
        SelectiveBackprop().attach(MLP(64, Classification(10, loss=Mean()), [8]))
    with pytest.raises(UnsupportedModule, match="selects from inputs that are one tensor"):
        select(SelectiveBackprop(), make_mlp(), Batch((1, 2), torch.zeros(2)))
    with pytest.raises(UnsupportedModule, match="SelectiveBackprop does not support ZooModule"):
        SelectiveBackprop().setup(None, ZooModule(), "fit")  # type: ignore[arg-type]
