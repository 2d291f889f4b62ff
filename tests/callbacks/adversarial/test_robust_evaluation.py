"""Robust evaluation: the number by hand, a run that is not disturbed, a best epoch chosen by it, and the table."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback
from PIL import Image

from callbacks.adversarial import auto_attack as auto_attack_file
from callbacks.adversarial.auto_attack import auto_attack
from callbacks.adversarial.report import Shown, ball, picture, to_bytes
from callbacks.adversarial.robust_evaluation import RobustEvaluation, evenly
from callbacks.averaging.ema import EMA
from callbacks.technique import Conflict, NoEffect, Technique, UnsupportedModule
from datamodules.diabetes import Diabetes
from datamodules.digits import Digits
from tests.callbacks.adversarial.adversarial_checks import EPSILON, pixels_of, small_cnn, split
from tests.callbacks.technique_checks import assert_resumes, assert_same, copy, fit, make_mlp
from tests.tools import quiet_trainer
from zoo.attacks.fgsm import fgsm
from zoo.attacks.pgd import pgd
from zoo.cli.plumbing import default_callbacks
from zoo.errors import ZooError
from zoo.mlp import MLP
from zoo.module import ZooModule
from zoo.task import Regression


def by_hand(module: Any, name: str) -> dict[str, float]:
    """Clean, FGSM and PGD-5 accuracy on a whole split, in one batch."""
    model, (x, y) = pixels_of(module), split(name)

    def right(images: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return model(images).argmax(1) == y

    clean = right(x)
    fast = clean & right(fgsm(model, x, y, EPSILON))
    attacked, generator = x.clone(), torch.Generator().manual_seed(0)
    attacked[clean] = pgd(model, x[clean], y[clean], EPSILON, 5, generator=generator)
    slow = clean & right(attacked)
    names = ("clean_accuracy", "fgsm_accuracy", "robust_accuracy")
    return {name: mask.float().mean().item() for name, mask in zip(names, (clean, fast, slow))}


def test_validation_and_test_log_what_is_computed_by_hand(capsys: pytest.CaptureFixture[str]) -> None:
    """Within the Trainer's inference_mode, which ``zoo test`` runs in."""
    module = small_cnn()
    trainer = fit(module, RobustEvaluation(EPSILON, steps=5), batch_size=64, max_epochs=2)
    expected = by_hand(module, "val")["robust_accuracy"]
    assert trainer.callback_metrics["val/robust_accuracy"].item() == pytest.approx(expected)
    tester = quiet_trainer(callbacks=[RobustEvaluation(EPSILON, steps=5)], inference_mode=True)
    tester.test(module, datamodule=Digits(), verbose=False)
    for name, value in by_hand(module, "test").items():
        assert tester.callback_metrics[f"test/{name}"].item() == pytest.approx(value), name
    printed = capsys.readouterr().out
    assert "accuracy within Linf 0.15" in printed
    assert f"PGD-5         {100 * by_hand(module, 'test')['robust_accuracy']:6.2f}" in printed
    assert "359" in printed


def test_a_run_is_the_same_with_it_and_without() -> None:
    """Weights, statistics and random states: an evaluation changes nothing."""
    modules = [small_cnn(), small_cnn()]
    fit(modules[0], max_epochs=2)
    fit(modules[1], RobustEvaluation(EPSILON, steps=2, restarts=2), max_epochs=2)
    assert_same(copy(modules[0]), copy(modules[1]))
    assert all(p.grad is None or p.grad.abs().sum() > 0 for p in modules[1].parameters())


def test_attacks_the_weights_that_are_validated() -> None:
    """With an average of the weights, that is the average."""
    module = small_cnn()
    trainer = fit(module, EMA(0.9), RobustEvaluation(EPSILON, steps=5), batch_size=64, max_epochs=2)
    expected = by_hand(module, "val")["robust_accuracy"]  # EMA leaves the average in the module
    assert trainer.callback_metrics["val/robust_accuracy"].item() == pytest.approx(expected)


@pytest.mark.parametrize(("wanted", "sizes"), [(7, [10, 10, 5]), (1, [10, 10]), (30, [10, 10, 5]), (24, [10, 10, 5])])
def test_samples_are_spread_evenly(wanted: int, sizes: list[int]) -> None:
    total, first, chosen = sum(sizes), 0, []
    for size in sizes:
        chosen += [first + int(place) for place in evenly(first, size, wanted, total)]
        first += size
    assert len(chosen) == min(wanted, total)
    gaps = np.diff(chosen)
    assert wanted < 2 or gaps.max() <= -(-total // wanted)


def test_the_cap_is_kept(capsys: pytest.CaptureFixture[str]) -> None:
    technique = RobustEvaluation(EPSILON, steps=1, test_samples=50)
    quiet_trainer(callbacks=[technique]).test(small_cnn(), datamodule=Digits(eval_batch_size=100), verbose=False)
    assert 45 <= technique._meter.count <= 50


def test_resumes_to_the_bit(tmp_path: Path) -> None:
    assert_resumes(lambda: [RobustEvaluation(EPSILON, steps=1, restarts=2)], tmp_path)


def test_the_best_checkpoint_is_that_of_robust_accuracy(tmp_path: Path) -> None:
    def monitor(*callbacks: Callback) -> Any:
        settings = default_callbacks({"callbacks": list(callbacks)}, small_cnn(), tmp_path, "fit")
        return next(c.monitor for c in settings["callbacks"] if hasattr(c, "monitor"))

    assert monitor() == "val/accuracy"
    assert monitor(RobustEvaluation(EPSILON)) == "val/robust_accuracy"
    assert monitor(RobustEvaluation(EPSILON, select=False)) == "val/accuracy"

    class Rival(Technique):
        selects = ("val/loss", "min")

        def attach(self, module: ZooModule) -> None: ...

    with pytest.raises(Conflict, match="RobustEvaluation and Rival both say which epoch is best"):
        monitor(RobustEvaluation(EPSILON), Rival())


def test_the_table_warns_of_masked_gradients(capsys: pytest.CaptureFixture[str]) -> None:
    technique = RobustEvaluation(EPSILON)
    trainer = quiet_trainer(callbacks=[technique])
    technique._meter.update(100, {"clean": torch.tensor(1.0)})
    found = {"clean_accuracy": 1.0, "fgsm_accuracy": 0.4, "robust_accuracy": 0.41}
    technique._report(trainer, found)
    assert "masking" not in capsys.readouterr().out
    technique._report(trainer, {**found, "robust_accuracy": 0.6})
    assert "gradient masking" in capsys.readouterr().out


def test_the_picture_is_in_the_runs_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOO_RUN_DIR", str(tmp_path))
    quiet_trainer(callbacks=[RobustEvaluation(EPSILON, steps=2)]).test(small_cnn(), datamodule=Digits(), verbose=False)
    pixels = np.asarray(Image.open(tmp_path / "figures" / "adversarial_examples.png").convert("L"))
    assert 50 < pixels.mean() < 254
    assert pixels.std() > 20


def test_pictures_are_bytes() -> None:
    """Grey is no difference, black and white are epsilon; every image is uint8."""
    clean = torch.full((1, 1, 2, 2), 0.5)
    shown = Shown(
        clean, clean + 0.1 * torch.tensor([[[[1.0, -1.0], [0.0, 0.0]]]]), torch.tensor([3]), torch.tensor([5])
    )
    drawn = [axis.get_images()[0].get_array() for axis in picture(shown, 0.1, "linf", list("0123456789")).axes]
    assert all(np.asarray(image).dtype == np.uint8 for image in drawn)
    assert np.asarray(drawn[2])[..., 0].tolist() == [[255, 0], [128, 128]]
    assert to_bytes(torch.rand(3, 4, 5)).shape == (4, 5, 3)


def test_the_ball_is_written_as_papers_do() -> None:
    assert [ball(8 / 255, "linf"), ball(0.3, "linf"), ball(0.5, "l2")] == ["Linf 8/255", "Linf 0.3", "L2 0.5"]


def test_autoattack_that_is_missing_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyautoattack", None)
    monkeypatch.setattr(auto_attack_file.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ZooError, match=r"pip install 'lightning-zoo\[autoattack\]', or set autoattack to 0"):
        fit(small_cnn(), RobustEvaluation(EPSILON, autoattack=10), max_steps=1)


@pytest.mark.slow
def test_autoattack_is_at_least_as_strong_as_pgd() -> None:
    pytest.importorskip("pyautoattack", reason="the extra lightning-zoo[autoattack] is not installed")
    module = small_cnn()
    fit(module, batch_size=64, max_epochs=3)
    model, (x, y) = pixels_of(module), split()
    x, y = x[:16], y[:16]
    state = torch.get_rng_state()
    found = auto_attack(model, x, y, 0.05)
    assert torch.equal(state, torch.get_rng_state())
    assert all(p.requires_grad and p.grad is None for p in module.parameters() if p.is_leaf)
    assert (found - x).abs().max() <= 0.05 + 1e-6
    with torch.no_grad():
        ours, theirs = ((model(a).argmax(1) == y).sum() for a in (pgd(model, x, y, 0.05, 20), found))
    assert theirs <= ours


def test_no_effect_and_unsupported() -> None:
    with pytest.raises(NoEffect, match="epsilon is 0, which attacks nothing"):
        fit(small_cnn(), RobustEvaluation(0.0), max_steps=1)
    with pytest.raises(NoEffect, match="no validation batch was seen"):
        fit(small_cnn(), RobustEvaluation(EPSILON), max_steps=1, limit_val_batches=0)
    with pytest.raises(UnsupportedModule, match="RobustEvaluation does not support the task Regression"):
        quiet_trainer(callbacks=[RobustEvaluation(EPSILON)]).test(MLP(10, Regression(1), [4]), datamodule=Diabetes())
    with pytest.raises(ZooError, match="restarts, val_samples and test_samples are 1 or more"):
        RobustEvaluation(EPSILON, restarts=0)
    fit(make_mlp(), RobustEvaluation(EPSILON, steps=1), max_epochs=1)  # an MLP reads images too
