"""Running means: weighted by batch size, kept over a save, counted once over processes."""

import numpy as np
import pytest
import torch
from torch import Tensor

import zoo.meter
from zoo.meter import Meter

CPU = torch.device("cpu")


def fill(meter: Meter, sizes: list[int], losses: Tensor, scores: Tensor) -> Meter:
    for size, loss, score in zip(sizes, losses, scores):
        meter.update(size, {"loss": loss, "score": score})
    return meter


def test_means_are_weighted_by_the_size_of_a_batch() -> None:
    sizes, (losses, scores) = [5, 5, 1, 3], torch.rand(2, 4)
    values = fill(Meter(), sizes, losses, scores).compute()
    assert list(values) == ["loss", "score"]
    assert values["loss"].item() == pytest.approx(np.average(losses.numpy(), weights=sizes), rel=1e-6)
    assert values["score"].item() == pytest.approx(np.average(scores.numpy(), weights=sizes), rel=1e-6)


def test_long_epochs_keep_their_digits() -> None:
    values = torch.rand(20_000, generator=torch.Generator().manual_seed(0)) + 1
    meter = Meter()
    for value in values:
        meter.update(32, {"loss": value})
    assert meter.compute()["loss"].item() == pytest.approx(values.double().mean().item(), rel=1e-4)


def test_reset_forgets() -> None:
    meter = fill(Meter(), [4], torch.tensor([9.0]), torch.tensor([9.0]))
    meter.reset()
    assert meter.compute() == {}
    meter.update(2, {"loss": torch.tensor(1.0)})
    assert meter.compute() == {"loss": torch.tensor(1.0)}


def test_no_graph_is_kept() -> None:
    meter = Meter()
    meter.update(1, {"loss": torch.ones((), requires_grad=True) * 2})
    assert not meter.compute()["loss"].requires_grad


def test_half_an_epoch_is_taken_up_again() -> None:
    sizes, (losses, scores) = [5, 4, 3, 2], torch.rand(2, 4)
    whole = fill(Meter(), sizes, losses, scores)
    first = fill(Meter(), sizes[:2], losses[:2], scores[:2])
    second = fill(Meter(), [7], torch.ones(1), torch.ones(1))  # what a meter held before is given up
    second.load_state_dict(first.state_dict(), CPU)
    fill(second, sizes[2:], losses[2:], scores[2:])
    torch.testing.assert_close(second.compute(), whole.compute())


def test_an_empty_meter_is_saved_and_loaded() -> None:
    meter = fill(Meter(), [7], torch.ones(1), torch.ones(1))
    meter.load_state_dict(Meter().state_dict(), CPU)
    assert meter.compute() == {}


def test_saved_totals_are_counted_once_over_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    saved = fill(Meter(), [4, 2], torch.tensor([1.0, 4.0]), torch.tensor([0.0, 3.0])).state_dict()
    total = torch.zeros(3, dtype=torch.double)
    for rank in (0, 1):
        monkeypatch.setattr(zoo.meter, "_rank", lambda rank=rank: rank)
        meter = Meter()
        meter.load_state_dict(saved, CPU)
        total += meter._totals()
    assert total.tolist() == [12.0, 6.0, 6.0]  # sum of losses, of scores, number of samples
