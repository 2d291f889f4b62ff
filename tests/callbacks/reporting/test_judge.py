"""The judge: its numbers against the functions, the names they have, other classifiers, the FID's refusals, resume."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from lightning.pytorch import Callback

from callbacks.reporting.judge import Judge
from callbacks.reporting.progress import Progress
from datamodules.digits import Digits
from tests.callbacks.technique_checks import make_mlp
from tests.gan_checks import assert_resumes, digits, digits_gan, fit, ring, ring_gan
from tests.tools import quiet_trainer
from zoo.cnn import LeNet
from zoo.errors import ZooError
from zoo.judging import choice
from zoo.judging.classifier import train_classifier
from zoo.judging.comparison import Comparison, compare
from zoo.judging.data import real_samples
from zoo.judging.features import PlainFeatures
from zoo.task import Classification


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(choice, "train_classifier", lambda x, y, classes: train_classifier(x, y, classes, steps=40))
    monkeypatch.chdir(tmp_path)  # pictures go to the run's folder, which is this one


def save_run(folder: Path, **settings: Any) -> LeNet:
    """A run folder as ``zoo fit -c cnn/digits`` leaves it, of a network that was not trained."""
    (folder / "checkpoints").mkdir(parents=True)
    model = LeNet(1, 8, Classification(settings.pop("num_classes", 10)))
    arguments = {"in_channels": 1, "image_size": 8, "task": {"class_path": "zoo.task.Classification",
                 "init_args": {"num_classes": model.head.out_features}}}  # fmt: skip
    config = {
        "model": {"class_path": "zoo.cnn.LeNet", "init_args": arguments},
        "data": {"class_path": "datamodules.digits.Digits", **settings},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    torch.save({"state_dict": model.state_dict()}, folder / "checkpoints" / "best.ckpt")
    return model


def test_numbers_are_those_of_the_functions(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    gan, data, judge = ring_gan(), ring(size=800), Judge(num=150)
    trainer = fit(gan, judge, data=data, max_epochs=2, default_root_dir=tmp_path)
    known, val = real_samples(data, "train", 2000), real_samples(data, "val", 150)
    features = PlainFeatures("points", known.x, known.y)
    expected = compare(features(val.x), features(gan.sample(150)), 8)
    for name, value in expected._asdict().items():
        assert trainer.callback_metrics[f"val/{name}_ring_points"].item() == pytest.approx(value, rel=1e-5), name
    floor = compare(features(val.x), features(real_samples(data, "train", 150).x), 8)
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("zoo: Judge")]
    assert said[0] == (
        "zoo: Judge: 150 samples against Ring val, seen by points (which knows the class of 100.0%); in brackets:"
        " training data in their place"
    )
    assert said[2].startswith(f"zoo: Judge: epoch 2: frechet {expected.frechet:.3g} ({floor.frechet:.3g}) · kernel ")
    assert not any("fid" in name for name in trainer.callback_metrics)
    assert (tmp_path / "figures" / "classes.png").is_file()
    assert {f"val/{name}_ring_points" for name in Comparison._fields} == judge.told


def test_images_are_seen_by_a_small_classifier_and_tested() -> None:
    gan, data = digits_gan(), digits()
    trainer = fit(gan, Judge(), data=data)
    assert 0 <= trainer.callback_metrics["val/coverage_digits_lenet"] <= 1
    tester = quiet_trainer(callbacks=[Judge(num=100)])
    (values,) = tester.test(gan, datamodule=data, verbose=False)
    assert math.isfinite(values["test/frechet_digits_lenet"])
    (values,) = quiet_trainer(callbacks=[Judge(num=100, every_n_epochs=5)]).validate(
        gan, datamodule=data, verbose=False
    )
    assert "val/frechet_digits_lenet" in values


def test_only_every_few_epochs_and_at_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    fit(ring_gan(), Judge(every_n_epochs=2), max_epochs=5)
    said = [line.split(":")[2] for line in capsys.readouterr().out.splitlines() if "Judge: epoch" in line]
    assert said == [" epoch 2", " epoch 4", " epoch 5"]


def test_a_classifier_of_another_run(tmp_path: Path) -> None:
    model = save_run(tmp_path, init_args={"normalize": "train"})
    judge, data = Judge(str(tmp_path)), digits()
    trainer = fit(digits_gan(), judge, data=data)
    assert "val/frechet_digits_lenet" in trainer.callback_metrics
    val = real_samples(data, "val", 30)
    theirs = Digits()
    theirs.setup("fit")
    as_learnt = real_samples(theirs, "val", 30)
    assert torch.equal(val.y, as_learnt.y)
    features = choice.features_from_run(tmp_path, data, [1, 8, 8], torch.device("cpu"))
    torch.testing.assert_close(features(val.x).features, model.backbone(as_learnt.x).double(), rtol=1e-4, atol=1e-5)


def test_training_does_not_feel_it_and_resumes(tmp_path: Path) -> None:
    with_it, without = ring_gan(), ring_gan()
    fit(with_it, Judge(), max_epochs=2)
    fit(without, max_epochs=2)
    for name, value in with_it.state_dict().items():
        assert torch.equal(value, without.state_dict()[name]), name
    assert_resumes(lambda: [Judge()], tmp_path)


def test_conditional_samples_have_the_classes_of_the_data() -> None:
    trainer = fit(ring_gan(conditioning="projection"), Judge())
    assert math.isfinite(trainer.callback_metrics["val/class_kl_ring_points"])


def test_the_table_leaves_out_what_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    fit(ring_gan(), Judge(), Progress(), enable_progress_bar=True)
    header = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("epoch  "))
    assert "frechet" not in header
    assert "val/real_logit" in header


def test_samples_that_are_not_finite_are_not_measured(capsys: pytest.CaptureFixture[str]) -> None:
    class Break(Callback):
        def on_validation_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            pl_module.generator.layers[0].weight.data.fill_(math.nan)

    fit(ring_gan(), Break(), Judge())
    assert "Judge: there are samples that are not finite" in capsys.readouterr().out


def test_no_fid_without_its_network(tmp_path: Path) -> None:
    with pytest.raises(ZooError, match=r"Judge: inception: no file .*; the FID needs pt_inception-2015-12-05-6726825d"):
        fit(digits_gan(), Judge(inception=str(tmp_path / "no.pth")), data=digits())
    torch.save({"weight": torch.zeros(3)}, tmp_path / "pt_inception-2015-12-05-6726825d.pth")  # by name alone
    with pytest.raises(ZooError, match=r"is not pt_inception-.* \(its SHA-256 begins with .*no FID"):
        fit(digits_gan(), Judge(inception=str(tmp_path / "pt_inception-2015-12-05-6726825d.pth")), data=digits())
    with pytest.raises(ZooError, match="Ring does not say how its pixels are normalised"):
        fit(ring_gan(), Judge(inception="x.pth"))


def test_errors(tmp_path: Path) -> None:
    with pytest.raises(ZooError, match="num is at least 20 and every_n_epochs at least 1, got 3 and 1"):
        Judge(num=3)
    with pytest.raises(ZooError, match="Judge looks at what a GAN makes, and MLP makes no samples; drop it"):
        quiet_trainer(callbacks=[Judge()]).fit(make_mlp(), datamodule=Digits(batch_size=500))
    with pytest.raises(ZooError, match=r"Judge: .* is not the folder of a run: it is no folder"):
        fit(digits_gan(), Judge(str(tmp_path / "none")), data=digits())
    save_run(tmp_path / "few", num_classes=4)
    with pytest.raises(ZooError, match="few tells 4 classes apart, and Digits has 10"):
        fit(digits_gan(), Judge(str(tmp_path / "few")), data=digits())
    save_run(tmp_path / "ten")
    with pytest.raises(ZooError, match=r"the LeNet in .*ten cannot take samples of shape \[3, 9, 9\]"):
        choice.features_from_run(tmp_path / "ten", digits(), [3, 9, 9], torch.device("cpu"))
