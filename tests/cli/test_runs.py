"""Whole runs through the command line, as a user types them."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from zoo.cli.main import main

QUICK = ["--trainer.max_epochs=2", "--model.width=4", "--trainer.enable_progress_bar=false"]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def fit(*options: str, recipe: str = "cnn/digits") -> Path:
    """Train a small network from a recipe; the run's folder."""
    main(["fit", "-c", recipe, *QUICK, *options])
    return Path("runs", recipe, "latest").resolve()


def weights(run: Path, name: str = "last") -> dict[str, torch.Tensor]:
    return torch.load(run / "checkpoints" / f"{name}.ckpt", weights_only=True)["state_dict"]


def table(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as opened:
        return list(csv.DictReader(opened))


def command(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "zoo", *arguments], cwd=cwd, capture_output=True, text=True)


def test_a_run_leaves_what_describes_it(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = fit("--seed_everything=3")
    said = capsys.readouterr().out
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["recipe"] == "cnn/digits"
    assert config["seed_everything"] == 3
    assert config["model"]["init_args"]["in_channels"] == 1, "linked values belong to a complete configuration"
    assert config["model"]["init_args"]["task"]["init_args"]["num_classes"] == 10
    env = json.loads((run / "env.json").read_text())
    assert env["seed"] == 3
    assert env["packages"]["torch"] == torch.__version__.split("+")[0] or env["packages"]["torch"]
    assert env["processor"]
    assert env["seconds"] > 0
    rows = table(run / "metrics.csv")
    assert {"train/loss", "val/loss", "val/accuracy"} <= set(rows[0])
    assert {path.name for path in (run / "checkpoints").glob("*.ckpt")} == {"best.ckpt", "last.ckpt"}
    assert "val/accuracy" in said
    assert "zoo test runs/cnn/digits/" in said


def test_a_second_run_overwrites_nothing(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = fit()
    monkeypatch.delenv("ZOO_RUN_DIR")
    before = (first / "metrics.csv").read_bytes()
    second = fit()
    assert first != second
    assert (first / "metrics.csv").read_bytes() == before
    for name, tensor in weights(first).items():
        assert torch.equal(tensor, weights(second)[name]), "the same seed gives the same run"


def test_test_validate_and_predict_a_run(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = fit()
    config = (run / "config.yaml").read_bytes()
    main(["test", str(run), "--trainer.enable_progress_bar=false"])
    main(["validate", str(run), "--trainer.enable_progress_bar=false"])
    main(["predict", str(run), "--out", "predictions.csv", "--trainer.enable_progress_bar=false"])
    tested = json.loads((run / "test.json").read_text())
    assert 0 <= tested["test/accuracy"] <= 1
    assert "val/accuracy" in json.loads((run / "validate.json").read_text())
    rows = table(Path("predictions.csv"))
    assert len(rows) == 359
    assert sum(float(rows[0][f"probability_{k}"]) for k in range(10)) == pytest.approx(1, abs=1e-3)
    assert (run / "config.yaml").read_bytes() == config, "only fit writes the configuration"


def test_a_resumed_run_goes_on_in_its_folder(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = fit("--trainer.max_epochs=3")
    monkeypatch.delenv("ZOO_RUN_DIR")
    run = fit("--trainer.max_epochs=1", "--schedule=null")
    monkeypatch.delenv("ZOO_RUN_DIR")
    plain = fit("--trainer.max_epochs=3", "--schedule=null")
    monkeypatch.delenv("ZOO_RUN_DIR")
    before = json.loads((run / "env.json").read_text())["seconds"]
    main(["resume", str(run), "--trainer.max_epochs=3", "--trainer.enable_progress_bar=false"])
    assert json.loads((run / "env.json").read_text())["seconds"] > before, "what was cut short counts too"
    for name, tensor in weights(plain).items():
        assert torch.equal(tensor, weights(run)[name]), name
    assert any(not torch.equal(tensor, weights(run)[name]) for name, tensor in weights(whole).items())
    epochs = [row["epoch"] for row in table(run / "metrics.csv") if row["val/loss"]]
    assert epochs == ["0", "1", "2"]


def test_one_flag_swaps_the_optimizer(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = fit("--optimizer=Adam")
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["optimizer"]["class_path"] == "callbacks.optimizers.adam.Adam"
    assert config["optimizer"]["init_args"]["lr"] == 1e-3, "the old optimizer's rate does not survive"
    monkeypatch.delenv("ZOO_RUN_DIR")
    run = fit("-c", "techniques/optimizers/momentum", "-c", "techniques/averaging/ema")
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["optimizer"]["class_path"] == "callbacks.optimizers.momentum.Momentum"
    assert config["trainer"]["callbacks"][0]["class_path"] == "callbacks.averaging.ema.EMA"


def test_starting_from_the_weights_of_a_run(here: Path, monkeypatch: pytest.MonkeyPatch,
                                            capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    run = fit()
    monkeypatch.delenv("ZOO_RUN_DIR")
    again = fit("--init_from", str(run), "--trainer.limit_train_batches=1")
    assert f"starting from the weights of {run}" in capsys.readouterr().out
    assert again != run
    with pytest.raises(SystemExit):
        fit("--init_from", str(run), "--model.width=8")
    assert "holds the weights of another network" in capsys.readouterr().err


def test_two_processes_share_a_folder_and_agree_with_one(here: Path) -> None:
    options = ["-c", "cnn/digits", *QUICK, "--data.drop_last=true"]
    done = command("fit", *options, "-c", "trainer/ddp_cpu", "--data.batch_size=32", cwd=here)
    assert done.returncode == 0, done.stderr
    runs = [path for path in (here / "runs" / "cnn" / "digits").iterdir() if not path.is_symlink()]
    assert len(runs) == 1
    assert {path.name for path in (runs[0] / "checkpoints").glob("*.ckpt")} == {"best.ckpt", "last.ckpt"}
    one = command("test", str(runs[0]), "--trainer.devices=1", "--trainer.strategy=auto", cwd=here)
    assert one.returncode == 0, one.stderr
    alone = json.loads((runs[0] / "test.json").read_text())
    two = command("test", str(runs[0]), cwd=here)
    assert two.returncode == 0, two.stderr
    together = json.loads((runs[0] / "test.json").read_text())
    assert together == pytest.approx(alone, abs=1e-6), "no sample is counted twice"


@pytest.mark.parametrize("recipe", ["mlp/digits", "mlp/diabetes"])
def test_recipes_without_a_download_run(here: Path, recipe: str) -> None:
    main(["fit", "-c", recipe, "--trainer.max_epochs=1", "--trainer.enable_progress_bar=false"])
    run = Path("runs", recipe, "latest").resolve()
    main(["test", str(run), "--trainer.enable_progress_bar=false"])
    assert (run / "test.json").is_file()
