"""Weights to folders, the Hub and W&B and back, to the bit; the services are stood in for at their own interface."""

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import zoo
from tests.wandb_run import read_run
from zoo.cli.main import main
from zoo.cli.push import push_to_hub
from zoo.cli.starting import starting_weights
from zoo.errors import ZooError
from zoo.pretrained import Pretrained

NAME = "mlp/digits"
TOKEN = "hf_" + "a1B2" * 8


def error_of(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    with pytest.raises(SystemExit) as exit_:
        main([str(argument) for argument in arguments])
    assert exit_.value.code == 2
    return capsys.readouterr().err


def require_same(ours: Pretrained, theirs: Pretrained) -> None:
    state, other = ours.module.state_dict(), theirs.module.state_dict()
    assert state.keys() == other.keys()
    assert all(torch.equal(tensor, other[name]) for name, tensor in state.items())
    assert ours.preprocessing == theirs.preprocessing


class FakeHub:
    """Keeps what is uploaded in a folder, as a repository would."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.created = folder, {}  # type: Path, dict[str, Any]

    def create_repo(self, **given: Any) -> None:
        self.created = given

    def upload_folder(self, repo_id: str, folder_path: str, commit_message: str) -> None:
        self.folder.mkdir()
        for file in Path(folder_path).iterdir():
            (self.folder / file.name).write_bytes(file.read_bytes())


def test_a_folder_there_and_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["push", NAME, str(tmp_path / "there")])
    assert sorted(file.name for file in (tmp_path / "there").iterdir()) == ["README.md", "model.safetensors"]
    require_same(zoo.load(NAME), zoo.load(tmp_path / "there"))


def test_the_hub_there_and_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = pytest.importorskip("huggingface_hub", reason="pip install 'lightning-zoo[hub]'")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    fake = FakeHub(tmp_path / "repo")
    loaded = zoo.load(NAME)
    assert push_to_hub(loaded, "somebody/digits", Path(NAME), api=fake) == "hub:somebody/digits"
    assert fake.created == {"repo_id": "somebody/digits", "exist_ok": True, "private": True}
    assert "zoo.load('hub:somebody/digits')" in (fake.folder / "README.md").read_text()
    for file in fake.folder.iterdir():
        assert TOKEN.encode() not in file.read_bytes()
    asked = []

    def snapshot_download(name: str, revision: str | None, allow_patterns: list[str]) -> str:
        asked.append((name, revision, allow_patterns))
        return str(fake.folder)

    monkeypatch.setattr(hub, "snapshot_download", snapshot_download)
    require_same(loaded, zoo.load("hub:somebody/digits@v1"))
    assert asked == [("somebody/digits", "v1", ["model.safetensors", "README.md"])]  # nothing that could be code
    assert starting_weights("hub:somebody/digits").keys() >= loaded.module.state_dict().keys()


def test_what_the_hub_refuses_is_one_line_without_a_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = pytest.importorskip("huggingface_hub", reason="pip install 'lightning-zoo[hub]'")
    monkeypatch.setenv("HF_TOKEN", TOKEN)

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(f"401 for Bearer {TOKEN}\n  at https://user:pw@host/x")

    with pytest.raises(ZooError, match="hub:a/b: the upload failed: 401") as error:
        push_to_hub(zoo.load(NAME), "a/b", Path(NAME), api=SimpleNamespace(create_repo=refuse))
    assert TOKEN not in str(error.value)
    monkeypatch.setattr(hub, "snapshot_download", refuse)
    with pytest.raises(ZooError, match="hub:a/b cannot be fetched: 401") as error:
        zoo.load("hub:a/b")
    assert TOKEN not in str(error.value)
    assert "pw@" not in str(error.value)
    monkeypatch.setattr(hub, "snapshot_download", lambda *_, **__: str(tmp_path))
    with pytest.raises(ZooError, match=r"holds no model\.safetensors"):
        zoo.load("hub:a/b")


def test_wandb_there_and_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import wandb

    monkeypatch.setenv("ZOO_RUNS", str(tmp_path))
    monkeypatch.setenv("WANDB_MODE", "offline")
    main(["push", NAME, "wandb:zoo/digits"])
    wandb.teardown()  # the service writes its last records
    run = read_run(tmp_path)
    (artifact,) = run.artifacts
    assert (artifact.name, artifact.type) == ("digits", "model")
    files = {entry.path: Path(entry.local_path) for entry in artifact.manifest.contents}
    assert files.keys() == {"model.safetensors", "README.md"}
    folder = tmp_path / "fetched"
    folder.mkdir()
    for name, file in files.items():
        (folder / name).write_bytes(file.read_bytes())
    asked = []

    class Api:
        def artifact(self, name: str, type: str) -> Any:
            asked.append((name, type))
            return SimpleNamespace(download=lambda: str(folder))

    monkeypatch.setattr(wandb, "Api", Api)
    require_same(zoo.load(NAME), zoo.load("wandb:somebody/zoo/digits:v0"))
    assert asked == [("somebody/zoo/digits:v0", "model")]


def test_wandb_takes_the_checkpoint_that_a_run_has_logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import wandb
    import yaml

    loaded = zoo.load(NAME)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(loaded.config))
    torch.save({"state_dict": loaded.module.state_dict()}, tmp_path / "model.ckpt")
    fetched = SimpleNamespace(download=lambda: str(tmp_path))
    monkeypatch.setattr(wandb, "Api", lambda: SimpleNamespace(artifact=lambda *_, **__: fetched))
    require_same(loaded, zoo.load("wandb:zoo/model-abc:best"))


def test_errors_are_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    pytest.importorskip("huggingface_hub", reason="pip install 'lightning-zoo[hub]'")
    assert "a repository is named hub:USER/NAME" in error_of(capsys, "push", NAME, "hub:../x")
    assert "wandb:PROJECT/NAME" in error_of(capsys, "push", NAME, "wandb:digits")
    with pytest.raises(ZooError, match="such as :latest"):
        zoo.load("wandb:zoo/digits")
    assert not os.listdir(tmp_path)
