"""Test-time augmentation: the views, the mean in probability space, every stage, training untouched."""

from pathlib import Path

import pytest
import torch

from callbacks.augmentation import test_time_augmentation as tta
from callbacks.averaging.ema import EMA
from callbacks.technique import NoEffect, UnsupportedModule
from tests.callbacks.augmentation.augmentation_checks import (
    assert_same_weights,
    digits,
    digits_cnn,
    fit,
    wine,
    wine_mlp,
)
from tests.tools import StopAt, Stopped, quiet_trainer
from zoo.errors import ZooError
from zoo.mlp import MLP
from zoo.module import ZooModule, plain_answer
from zoo.task import Classification, Regression, Task
from zoo.tasks.ensemble import combine


def test_views() -> None:
    x = torch.arange(12.0).view(1, 1, 3, 4)
    plain, up, down, left, right = tta.views(x, False, 1)
    assert torch.equal(plain, x)
    assert torch.equal(up[0, 0], x[0, 0, [1, 2, 2]])
    assert torch.equal(down[0, 0], x[0, 0, [0, 0, 1]])
    assert torch.equal(left[0, 0], x[0, 0][:, [1, 2, 3, 3]])
    assert torch.equal(right[0, 0], x[0, 0][:, [0, 0, 1, 2]])
    mirrored = tta.views(x, True, 1)
    assert len(mirrored) == 10
    assert torch.equal(mirrored[5], x.flip(-1))
    assert len(tta.views(x, True, 0)) == 2


def test_the_mean_is_taken_over_probabilities() -> None:
    logits = [torch.randn(4, 3) for _ in range(5)] + [torch.tensor([[200.0, -200.0, 0.0]]).expand(4, 3)]
    task = Classification(3)
    expected = torch.stack([z.softmax(1) for z in logits]).mean(0)
    averaged = combine(task, torch.stack(logits, 1))
    torch.testing.assert_close(task.decode(averaged), expected)
    assert averaged.isfinite().all()
    torch.testing.assert_close(combine(task, torch.stack([logits[0]] * 3, 1)).softmax(1), logits[0].softmax(1))


def test_real_values_are_averaged_in_original_units() -> None:
    task = Regression()
    task.fit_targets(torch.tensor([1.0, 5.0, 30.0]))
    outputs = [torch.randn(4, 1) for _ in range(3)]
    expected = torch.stack([task.decode(z) for z in outputs]).mean(0)
    torch.testing.assert_close(task.decode(combine(task, torch.stack(outputs, 1))), expected)


@pytest.mark.parametrize("stage", ["predict", "test", "validate"])
def test_every_stage(stage: str) -> None:
    model, data = fit(digits_cnn(), digits(), epochs=1), digits()
    trainer = quiet_trainer(callbacks=[tta.TestTimeAugmentation(flip=True, shift=1)])
    data.setup("test")
    split = data.splits["val" if stage == "validate" else "test"]
    x, model = data.transform_batch(split.x), model.eval()
    with torch.no_grad():
        expected = torch.stack([model(view).softmax(1) for view in tta.views(x, True, 1)]).mean(0)
    if stage == "predict":
        torch.testing.assert_close(torch.cat(trainer.predict(model, datamodule=data)), expected)
    else:
        (found,) = getattr(trainer, stage)(model, datamodule=data, verbose=False)
        name = "val" if stage == "validate" else "test"
        accuracy = (expected.argmax(1) == split.y).float().mean().item()
        loss = -expected.log()[torch.arange(len(x)), split.y].mean().item()
        assert found[f"{name}/accuracy"] == pytest.approx(accuracy, abs=1e-6)
        assert found[f"{name}/loss"] == pytest.approx(loss, rel=1e-4)
    assert model.answer is plain_answer  # as it was


def test_training_is_untouched_and_validation_is_not(tmp_path: Path) -> None:
    plain = fit(digits_cnn(), digits(), EMA(0.9))
    augmented = fit(digits_cnn(), digits(), EMA(0.9), tta.TestTimeAugmentation(shift=1))
    assert_same_weights(plain, augmented)
    assert plain.trainer.callback_metrics["val/loss"] != augmented.trainer.callback_metrics["val/loss"]
    assert plain.trainer.callback_metrics["train/loss"] == augmented.trainer.callback_metrics["train/loss"]


def test_resumes_and_fits_twice(tmp_path: Path) -> None:
    technique = tta.TestTimeAugmentation()
    whole = fit(digits_cnn(), digits(), technique)
    with pytest.raises(Stopped):
        fit(digits_cnn(), digits(), technique, StopAt(tmp_path / "last.ckpt", 1, 1))
    model = fit(digits_cnn(), digits(), technique, ckpt=tmp_path / "last.ckpt")
    assert_same_weights(whole, model)
    assert whole.trainer.callback_metrics == model.trainer.callback_metrics
    assert model.answer is plain_answer


def test_refusals() -> None:
    with pytest.raises(NoEffect, match="TestTimeAugmentation adds no view; set flip to true or shift to 1 or more"):
        fit(digits_cnn(), digits(), tta.TestTimeAugmentation(flip=False))
    with pytest.raises(UnsupportedModule, match=r"TestTimeAugmentation flips and shifts images \(B, C, H, W\)"):
        fit(wine_mlp(), wine(), tta.TestTimeAugmentation())
    with pytest.raises(ZooError, match="shift counts pixels and must not be negative, got -1"):
        tta.TestTimeAugmentation(shift=-1)
    with pytest.raises(UnsupportedModule, match="TestTimeAugmentation does not support ZooModule"):
        tta.TestTimeAugmentation().setup(quiet_trainer(), ZooModule(), "test")

    class Tokens(Task):
        out_features = 4
        metrics = check_targets = None

    model = MLP(4, Classification(4), [4])
    model.task = Tokens(torch.nn.CrossEntropyLoss())
    with pytest.raises(UnsupportedModule, match="does not support the task Tokens"):
        tta.TestTimeAugmentation().setup(quiet_trainer(), model, "fit")
