"""Gradient clipping against Lightning's and by hand; what it logs; who else may clip."""

import csv
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor, nn

from callbacks.gradients.clipping import ClippingTechnique
from callbacks.gradients.gradient_clipping import GradientClipping, clip_gradients_
from callbacks.optimizers.sgd import SGD
from callbacks.technique import Conflict, UnsupportedModule
from tests.callbacks.technique_checks import accuracy_in_company, assert_resumes, assert_same, copy, fit, make_mlp
from zoo.errors import ZooError


def parameters_with(*gradients: list[float]) -> list[Tensor]:
    found: list[Tensor] = []
    for gradient in gradients:
        found.append(nn.Parameter(torch.zeros(len(gradient))))
        found[-1].grad = torch.tensor(gradient)
    return found


def test_formulas() -> None:
    parameters = parameters_with([3.0], [0.0, -4.0])
    norm, clipped = clip_gradients_(parameters, 1.0, "norm")
    assert (norm.item(), clipped.item()) == (5, 1)
    torch.testing.assert_close(
        torch.cat([p.grad for p in parameters if p.grad is not None]), torch.tensor([0.6, 0, -0.8])
    )
    parameters = parameters_with([3.0], [0.5, -4.0])
    norm, clipped = clip_gradients_(parameters, 2.0, "value")
    torch.testing.assert_close(norm, torch.tensor(25.25).sqrt())
    assert clipped.item() == 1
    assert [p.grad.tolist() for p in parameters if p.grad is not None] == [[2], [0.5, -2]]
    for by in ("norm", "value"):
        parameters = parameters_with([3.0], [0.5, -4.0])
        assert clip_gradients_(parameters, 10, by)[1].item() == 0  # type: ignore[arg-type]
        assert [p.grad.tolist() for p in parameters if p.grad is not None] == [[3], [0.5, -4]]


@pytest.mark.parametrize(("by", "limit"), [("norm", 0.1), ("value", 0.01)])
def test_equals_lightnings(by: Literal["norm", "value"], limit: float) -> None:
    ours, theirs = make_mlp(), make_mlp()
    fit(ours, SGD(lr=0.5), GradientClipping(limit, by), max_epochs=1)
    fit(theirs, SGD(lr=0.5), gradient_clip_val=limit, gradient_clip_algorithm=by, max_epochs=1)
    # Not to the bit: the norm is summed in another order of the parameters.
    torch.testing.assert_close(copy(ours), copy(theirs), rtol=1e-4, atol=1e-6)


def test_identity_below_the_limit() -> None:
    plain, clipped = make_mlp(), make_mlp()
    fit(plain, SGD(lr=0.5), max_epochs=1)
    fit(clipped, SGD(lr=0.5), GradientClipping(1e6), max_epochs=1)
    assert_same(copy(plain), copy(clipped))


def test_acts_on_accumulated_gradients() -> None:
    """One step on two micro-batches: the norm is clipped once, of their mean."""
    start, module = make_mlp("none", 0), make_mlp("none", 0)
    technique = GradientClipping(1e-3)
    fit(module, SGD(lr=1.0, weight_decay=0.0), technique, accumulate_grad_batches=2, max_steps=1)
    moved = torch.cat([(a - b).flatten() for a, b in zip(start.parameters(), module.parameters())])
    assert moved.norm().item() == pytest.approx(1e-3, rel=1e-2)
    assert technique.state_dict()["edits"] == 1


def test_logs_norm_and_share(tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path)
    fit(make_mlp(), SGD(lr=0.1), GradientClipping(1e-3), logger=logger, log_every_n_steps=3, max_epochs=1)
    logger.finalize("success")
    rows = [row for row in csv.DictReader((Path(logger.log_dir) / "metrics.csv").open()) if row["train/grad_clipped"]]
    assert [row["step"] for row in rows] == ["2", "5"]
    assert all(float(row["train/grad_clipped"]) == 1 and float(row["train/grad_norm"]) > 0.1 for row in rows)


def test_means_are_those_since_the_last_log_and_are_kept_in_a_checkpoint() -> None:
    class Counter(ClippingTechnique):
        def edit(self, parameters: dict[str, Tensor], trainer: Any) -> None:
            raise NotImplementedError

    counter, other = Counter(), Counter()
    for value in (0.0, 1.0, 1.0):
        counter.count({"share": torch.tensor(value)})
    other.load_state_dict(counter.state_dict())
    other.count({"share": torch.tensor(0.0)})
    assert other.means() == {"share": 0.5}


def test_errors_resume_and_learning(tmp_path: Path) -> None:
    with pytest.raises(ZooError, match="limit must be positive and finite, got inf"):
        GradientClipping(float("inf"))
    with pytest.raises(Conflict, match=r"GradientClipping and trainer\.gradient_clip_val=0\.5 both clip"):
        fit(make_mlp(), GradientClipping(), gradient_clip_val=0.5, max_steps=1)
    with pytest.raises(UnsupportedModule, match="MLP has no network called 'generator'; it has: network"):
        fit(make_mlp(), GradientClipping(network="generator"), max_steps=1)
    assert_resumes(lambda: [GradientClipping(0.05)], tmp_path)
    assert accuracy_in_company(GradientClipping(1.0)) > 0.93
