"""``zoo sample`` on a run of the command line: the kept generator, labels, truncation, files; errors in one line."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from callbacks.reporting.samples import sample_grid
from zoo.cli.main import main
from zoo.cli.sample import load_game

SMALL = ["--trainer.max_epochs=2", "--trainer.enable_progress_bar=false", "--data.batch_size=256"]
THIN = ["--model.generator.width=8", "--model.discriminator.width=8"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A conditional game on digits, with an average of the generator."""
    folder = tmp_path_factory.mktemp("games")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ZOO_RUNS", str(folder))
        patch.delenv("ZOO_RUN_DIR", raising=False)
        main(["fit", "-c", "gan/digits_conditional", *SMALL, *THIN])
    return folder / "gan" / "digits_conditional" / "latest"


def error_of(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    with pytest.raises(SystemExit) as exit_:
        main([str(argument) for argument in arguments])
    assert exit_.value.code == 2
    return capsys.readouterr().err


def test_a_run_leaves_what_a_run_leaves(run: Path) -> None:
    assert {file.name for file in (run / "checkpoints").glob("*.ckpt")} == {"best.ckpt", "last.ckpt"}
    assert {file.name for file in (run / "figures").iterdir()} == {
        "latent_walk.png",
        "learning_curves.png",
        "samples.png",
    }
    picture = np.asarray(Image.open(run / "figures" / "samples.png"))
    assert np.array_equal(picture, sample_grid(load_game(run).sample(64)))  # of the generator that was kept


def test_pictures_and_numbers(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["sample", str(run), "--num", "20", "--label", "3", "--truncation", "0.7", "--out", str(tmp_path / "a.png")])
    main(["sample", str(run), "--num", "20", "--label", "3", "--truncation", "0.7", "--out", str(tmp_path / "a.npy")])
    assert f"20 samples in {tmp_path / 'a.npy'}" in capsys.readouterr().out
    samples = np.load(tmp_path / "a.npy")
    assert samples.shape == (20, 1, 8, 8)
    expected = load_game(run).sample(20, torch.full((20,), 3), 0.7)
    assert np.array_equal(samples, expected.numpy())
    assert np.array_equal(np.asarray(Image.open(tmp_path / "a.png")), sample_grid(expected))
    main(["sample", str(run), "--num", "20", "--label", "4", "--truncation", "0.7", "--out", str(tmp_path / "b.npy")])
    assert not np.array_equal(np.load(tmp_path / "b.npy"), samples)


def test_other_commands_take_a_game(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["test", str(run)])
    assert "test/fake_logit" in capsys.readouterr().out
    main(["predict", str(run), "--out", str(tmp_path / "samples.csv")])
    assert len((tmp_path / "samples.csv").read_text().splitlines()) == 1 + 359
    main(["list", "models"])
    assert "GAN " in capsys.readouterr().out
    main(["show", "gan/digits"])
    assert "zoo fit -c gan/digits" in capsys.readouterr().out


def test_errors(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "label 12 is outside 0..9" in error_of(capsys, "sample", run, "--label", 12)
    assert "truncation must be positive, got -1.0" in error_of(capsys, "sample", run, "--truncation", -1)
    assert "written as .png (a grid) or .npy" in error_of(capsys, "sample", run, "--out", "a.jpg")
    assert "no weights for 'nowhere'" in error_of(capsys, "sample", "nowhere")
    assert "knows no class 'cat'; there are 0, 1" in error_of(capsys, "sample", run, "--label", "cat")


def test_weights_of_the_package_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    main(["sample", "gan/digits", "--num", "16"])
    assert "16 samples in digits.png" in capsys.readouterr().out
    picture = np.asarray(Image.open("digits.png"))
    assert np.array_equal(picture, sample_grid(load_game("gan/digits").sample(16)))


def test_a_classifier_makes_no_samples(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ZOO_RUN_DIR", raising=False)
    main(
        [
            "fit",
            "-c",
            "mlp/digits",
            "--model.hidden=[4]",
            "--trainer.max_epochs=1",
            "--trainer.enable_progress_bar=false",
        ]
    )
    assert "is a MLP, which makes no samples" in error_of(capsys, "sample", "runs/mlp/digits/latest")
    told = error_of(capsys, "fit", "-c", "gan/digits_conditional", *THIN, "--data.normalize=train")
    assert "set --data.normalize symmetric" in told
    assert "'network'; it has: generator, discriminator" in error_of(
        capsys, "fit", "-c", "gan/digits", "-c", "techniques/optimizers/adam"
    )
