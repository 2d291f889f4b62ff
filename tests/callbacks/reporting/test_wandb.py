"""What reaches Weights & Biases, read back from the file of an offline run and from a server on loopback."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import wandb
import yaml
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from callbacks.reporting.wandb import as_picture, choose_mode, wandb_run
from tests.wandb_fake import ENTITY, SWEEP, FakeServer
from tests.wandb_run import OfflineRun, read_run
from zoo.errors import ZooError
from zoo.redact import MASK

REPOSITORY = Path(__file__).resolve().parents[3]
TOKEN = "tok-3141592653589793"  # stands for a secret
CONFIG = {
    "recipe": "line/noise",
    "model": {"class_path": "Line", "init_args": {"widths": [8, 8], "dropout": 0.1, "norm": None}},
    "data": {"class_path": "Noise", "init_args": {"api_token": TOKEN, "root": f"https://me:{TOKEN}@example.org/x"}},
}


class Line(LightningModule):
    """One linear layer; a secret among its hyperparameters, as a foreign module may have."""

    def __init__(self, hub_token: str = TOKEN, width: int = 1) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.layer = nn.Linear(2, width)

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        loss = (self.layer(batch[0]) - 1).square().mean()
        self.log("train/loss", loss)
        return loss

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        self.log("val/loss", (self.layer(batch[0]) - 1).square().mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.fixture
def run_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A run folder with a config.yaml and a figure; no account, no key, no network."""
    for name in [n for n in os.environ if n.startswith("WANDB")]:
        monkeypatch.delenv(name)
    home = tmp_path / "home"
    home.mkdir()
    for name in ("WANDB_CONFIG_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(name, str(home))
    monkeypatch.setenv("NETRC", str(home / "netrc"))
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    folder = tmp_path / "run"
    (folder / "figures").mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    Image.fromarray(_gradient()).save(folder / "figures" / "ramp.png")
    monkeypatch.setenv("ZOO_RUN_DIR", str(folder))
    monkeypatch.chdir(tmp_path)
    wandb.teardown()  # W&B reads the environment once per process
    yield folder
    wandb.teardown()


def _gradient() -> np.ndarray:
    return np.arange(8 * 6 * 3, dtype=np.uint8).reshape(8, 6, 3)


def _fit(folder: Path, images: dict[str, Any] | None = None, epochs: int = 2) -> OfflineRun:
    torch.manual_seed(0)
    logger = wandb_run({"project": "tests", "offline": False, "log_model": False, "save_dir": "."})
    checkpoints = ModelCheckpoint(folder / "checkpoints", "best", monitor="val/loss", save_last=True)
    options: dict[str, Any] = {"enable_progress_bar": False, "enable_model_summary": False, "log_every_n_steps": 1}
    trainer = Trainer(max_epochs=epochs, logger=logger, callbacks=[checkpoints], accelerator="cpu", **options)
    loader = DataLoader(TensorDataset(torch.randn(8, 2)), batch_size=4)
    trainer.fit(Line(), loader, loader)
    for name, image in (images or {}).items():
        logger.log_image(name, [image])
    wandb.finish()
    wandb.teardown()  # the process that writes the file may still be at it when `finish` returns
    return read_run(folder)


def _picture(run: OfflineRun, name: str) -> np.ndarray:
    (row,) = run.series(name)
    paths = row.get("filenames") or [row["path"]]
    return np.asarray(Image.open(run.folder / "files" / paths[0]))


def test_an_offline_run_holds_config_history_figures_and_the_best_model(run_folder: Path) -> None:
    ramp = torch.arange(0, 256, 5).float().div(255).reshape(1, 4, 13)
    run = _fit(run_folder, images={"samples": ramp})

    assert run.folder.parent == run_folder / "wandb"
    assert run.folder.name.startswith("offline-run-")
    assert {key: run.config[key] for key in ("recipe", "model")} == {key: CONFIG[key] for key in ("recipe", "model")}
    assert run.config["width"] == 1  # the module's own hyperparameters

    assert len(run.series("train/loss")) == 4
    losses = run.series("val/loss")
    assert len(losses) == 2
    assert losses[1] < losses[0]

    assert np.array_equal(_picture(run, "figures/ramp"), _gradient())
    assert np.array_equal(_picture(run, "samples"), np.arange(0, 256, 5).reshape(4, 13))

    (artifact,) = run.artifacts
    assert (artifact.type, set(artifact.aliases)) == ("model", {"best", "latest"})
    metadata = json.loads(artifact.metadata)
    assert metadata.pop("score") == pytest.approx(losses[1])
    expected = {"recipe": "line/noise", "monitor": "val/loss", "mode": "min", "epoch": 1, "global_step": 4}
    assert metadata == expected
    files = {entry.path: Path(entry.local_path) for entry in artifact.manifest.contents}
    assert set(files) == {"model.ckpt", "config.yaml"}
    assert all(path.is_relative_to(run_folder) for path in files.values())
    logged = torch.load(files["model.ckpt"], weights_only=True)["state_dict"]
    best = torch.load(run_folder / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    assert torch.equal(logged["layer.weight"], best["layer.weight"])


def test_no_secret_reaches_anything_that_is_written(run_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["zoo", "fit", f"--data.api_token={TOKEN}"])
    run = _fit(run_folder)
    assert run.config["data"] == {
        "class_path": "Noise",
        "init_args": {"api_token": MASK, "root": f"https://{MASK}@example.org/x"},
    }
    assert run.config["hub_token"] == MASK
    written = [path for path in (run_folder / "wandb").rglob("*") if path.is_file()]
    assert len(written) > 5
    assert [path for path in written if TOKEN.encode() in path.read_bytes()] == []
    # The checkpoint does hold it, so the search above would have found a copy.
    assert TOKEN.encode() in (run_folder / "checkpoints" / "best.ckpt").read_bytes()


def test_arguments_are_recorded_when_they_hold_no_secret(run_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["zoo", "fit", "--model.width=3"])
    assert list(_fit(run_folder, epochs=1).environment.args) == ["fit", "--model.width=3"]


def test_a_git_remote_is_recorded_without_its_user(run_folder: Path) -> None:
    subprocess.run(["git", "init", "-q"], check=True)
    remote = f"https://{TOKEN}:x-oauth-basic@example.org/x.git"
    subprocess.run(["git", "remote", "add", "origin", remote], check=True)
    run = _fit(run_folder, epochs=1)
    assert run.environment.git.remote_url == f"https://{MASK}@example.org/x.git"
    written = [path for path in (run_folder / "wandb").rglob("*") if path.is_file()]
    assert [path for path in written if TOKEN.encode() in path.read_bytes()] == []


def test_the_model_is_left_out_on_request(run_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_LOG_MODEL", "false")
    run = _fit(run_folder, epochs=1)
    assert run.artifacts == []
    assert run.series("figures/ramp")


def test_without_a_key_a_run_is_offline_and_says_how_to_send_it(
    run_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert choose_mode() == "offline"
    (line,) = capsys.readouterr().err.splitlines()
    assert f"wandb sync {run_folder}/wandb/offline-run-*" in line


@pytest.mark.parametrize("source", ["environment", "netrc", "mode"])
def test_a_key_or_a_chosen_mode_is_respected(run_folder: Path, monkeypatch: pytest.MonkeyPatch, source: str) -> None:
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    if source == "environment":
        monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    elif source == "netrc":
        Path(os.environ["NETRC"]).write_text(f"machine 127.0.0.1:9\n  login user\n  password {'0' * 40}\n")
    else:
        monkeypatch.setenv("WANDB_MODE", "online")
    assert choose_mode() is None


def test_the_key_of_another_host_is_no_key(run_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    Path(os.environ["NETRC"]).write_text(f"machine example.org\n  login user\n  password {'0' * 40}\n")
    assert choose_mode() == "offline"


def test_all_checkpoints_are_refused() -> None:
    with pytest.raises(ZooError, match="log_model 'all' is not supported"):
        wandb_run({"log_model": "all"})


# Pictures and secrets, without W&B ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (torch.tensor([[[0.0, 0.5, 1.0]]]), [[0, 128, 255]]),
        (torch.tensor([[[0.0, 1.0]]], dtype=torch.bfloat16), [[0, 255]]),
        (torch.tensor([[True, False]]), [[255, 0]]),
        (torch.tensor([[[1, 2]], [[3, 4]], [[5, 6]]], dtype=torch.uint8), [[[1, 3, 5], [2, 4, 6]]]),
        (np.array([[[1, 2, 3]]], dtype=np.int64), [[[1, 2, 3]]]),
    ],
)
def test_pictures_keep_their_pixels(image: Any, expected: Any) -> None:
    assert np.asarray(as_picture(image)).tolist() == expected


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (torch.tensor([[[-1.0, 1.0]]]), r"grid has values from -1 to 1, not in \[0, 1\]; undo the normalisation"),
        (torch.tensor([[[0.0, float("nan")]]]), "values from nan"),
        (np.array([[256]]), r"not in \[0, 255\]"),
        (torch.zeros(2, 4, 4), r"grid has shape \(4, 4, 2\)"),
    ],
)
def test_pictures_out_of_range_are_refused(image: Any, message: str) -> None:
    with pytest.raises(ZooError, match=message):
        as_picture(image, "grid")


# A server on loopback -------------------------------------------------------------------------------------------------


def _python(*arguments: str) -> list[str]:
    return [sys.executable, "-m", *arguments]


def _run(command: list[str], environment: dict[str, str]) -> str:
    """Run a command in the current folder; its output."""
    given = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1", **environment}
    done = subprocess.run(command, env=given, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert done.returncode == 0, done.stdout
    return done.stdout


def _check_uploaded(server: FakeServer, metric: str) -> None:
    assert server.unknown == []
    (run,) = server.runs.values()
    assert run.config["model"]["class_path"]
    assert run.exitcode == 0
    assert np.isfinite(run.summary[metric])
    assert any(metric in row for row in run.history)
    (artifact,) = server.artifacts.values()
    assert artifact["committed"]
    assert artifact["artifactTypeName"] == "model"
    assert artifact["metadata"]["monitor"]
    assert len(server.uploads["artifact/model.ckpt"]) > 1000


def test_an_offline_run_is_sent_by_wandb_sync(run_folder: Path, tmp_path: Path) -> None:
    run = _fit(run_folder)
    with FakeServer() as server:
        _run(_python("wandb", "sync", str(run.folder)), server.environment(tmp_path / "home"))
        _check_uploaded(server, "val/loss")
        uploaded = Image.open(run.folder / "files" / run.series("figures/ramp")[0]["path"])
        assert np.array_equal(np.asarray(uploaded), _gradient())
        assert not any(TOKEN.encode() in body for body in server.bodies)


@pytest.mark.slow
def test_wandb_is_not_imported_before_it_is_used() -> None:
    code = "import sys, callbacks.reporting.wandb; sys.exit('wandb' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=False).returncode == 0


ONE_EPOCH = ["--trainer.max_epochs=1", "--trainer.accelerator=cpu", "--trainer.devices=1"]


@pytest.mark.slow
@pytest.mark.parametrize("logger", [["-c", "trainer/wandb"], ["--trainer.logger=WandbLogger"]])
def test_zoo_fit_without_an_account(run_folder: Path, monkeypatch: pytest.MonkeyPatch, logger: list[str]) -> None:
    monkeypatch.delenv("ZOO_RUN_DIR")
    output = _run(_python("zoo", "fit", "-c", "cnn/digits", *ONE_EPOCH, *logger), {"ZOO_RUNS": "runs"})
    assert "no key found, so this run is recorded offline" in output
    folder = (Path("runs") / "cnn" / "digits" / "latest").resolve()
    run = read_run(folder)
    assert run.folder.parent == folder / "wandb"
    assert "anonymous" not in output  # the warning of an option that W&B has dropped
    assert run.config == yaml.safe_load((folder / "config.yaml").read_text())
    assert len(run.series("val/loss")) == 1
    (artifact,) = run.artifacts
    assert json.loads(artifact.metadata)["recipe"] == "cnn/digits"


@pytest.mark.slow
def test_zoo_fit_online(run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ZOO_RUN_DIR")
    with FakeServer() as server:
        environment = {**server.environment(tmp_path / "home"), "ZOO_RUNS": "runs"}
        secret = f'--trainer.logger.config={{"api_key": "{TOKEN}"}}'
        _run(_python("zoo", "fit", "-c", "cnn/digits", "-c", "trainer/wandb", *ONE_EPOCH, secret), environment)
        _check_uploaded(server, "val/accuracy")
        assert not any(TOKEN.encode() in body for body in server.bodies)
        assert next(iter(server.runs.values())).config["api_key"] == MASK
    written = [path for path in Path("runs").glob("cnn/digits/2*/wandb/**/*") if path.is_file()]
    assert len(written) > 5
    assert [path for path in written if TOKEN.encode() in path.read_bytes()] == []


@pytest.mark.slow
def test_a_sweep_runs_the_real_fit(run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ZOO_RUN_DIR")
    sweep = yaml.safe_load((REPOSITORY / "configs" / "sweeps" / "digits.yaml").read_text())
    sweep["command"] = [*sweep["command"][:-1], *ONE_EPOCH, "${args}"]
    Path("sweep.yaml").write_text(yaml.safe_dump(sweep))
    with FakeServer(trials=3) as server:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # the agent asks env for `python`
        environment = {**server.environment(tmp_path / "home"), "ZOO_RUNS": "runs", "PATH": path}
        created = _run(_python("wandb", "sweep", "sweep.yaml"), environment)
        assert f"wandb agent {ENTITY}/zoo/{SWEEP}" in created
        _run(_python("wandb", "agent", f"{ENTITY}/zoo/{SWEEP}"), environment)
        assert server.unknown == []
        assert sorted(server.runs) == ["trial1", "trial2", "trial3"]
        for run, dropout in zip(server.runs.values(), [0.0, 0.5, 0.0]):
            assert (run.sweep, run.exitcode) == (SWEEP, 0)
            # What the agent chose, and what `zoo fit` made of it.
            assert run.config["model.dropout"] == run.config["model"]["init_args"]["dropout"] == dropout
            assert run.config["optimizer.lr"] == run.config["optimizer"]["init_args"]["lr"]
            assert 0 <= run.summary["val/accuracy"] <= 1
        assert [run.config["seed_everything"] for run in server.runs.values()] == [0, 1, 2]
    assert len({path.resolve() for path in Path("runs").glob("cnn/digits/*/env.json")}) == 3
