"""Checkpoints are whole or not there: saves that are cut off, files that were damaged, files that would run code."""

import multiprocessing
import os
import pickle
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from zoo import checkpoint_io
from zoo.checkpoint_io import AtomicCheckpointIO
from zoo.errors import ResumeError

OLD = {"weights": torch.arange(5000.0), "epoch": 1}
NEW = {"weights": torch.arange(5000.0) + 1, "epoch": 2}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A folder that does not exist yet, and a checkpoint in it."""
    path = tmp_path / "run" / "checkpoints" / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint(OLD, path)
    return path


def epoch_of(file: Path) -> int:
    """The epoch of a checkpoint that is whole."""
    loaded = AtomicCheckpointIO().load_checkpoint(file)
    assert torch.equal(loaded["weights"], torch.arange(5000.0) + loaded["epoch"] - 1)
    return int(loaded["epoch"])


def names(file: Path) -> set[str]:
    return {path.name for path in file.parent.iterdir()}


def test_saved_loaded_and_replaced(file: Path) -> None:
    assert epoch_of(file) == 1
    AtomicCheckpointIO().save_checkpoint(NEW, file)
    assert epoch_of(file) == 2
    assert names(file) == {"last.ckpt", "last.ckpt.sha256"}


def test_the_digest_is_what_sha256sum_writes(file: Path) -> None:
    import hashlib

    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert (file.parent / "last.ckpt.sha256").read_text() == f"{digest}  last.ckpt\n"


class Full:
    """Something that cannot be pickled, found after other things were."""

    def __reduce__(self) -> Any:
        raise OSError(28, "No space left on device")


def test_an_exception_within_a_save_leaves_the_old_file(file: Path) -> None:
    with pytest.raises(OSError, match="No space left"):
        AtomicCheckpointIO().save_checkpoint({**NEW, "last": Full()}, file)
    assert epoch_of(file) == 1
    assert names(file) == {"last.ckpt", "last.ckpt.sha256"}


def kill(*args: Any, **kwargs: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def half(checkpoint: Any, stream: Any) -> None:
    stream.write(b"PK\x03\x04 half a checkpoint")
    stream.flush()
    kill()


def replace_and_die(source: Any, target: Any, replace: Any = os.replace) -> None:
    replace(source, target)
    kill()


def empty_and_die(path: Path, text: str) -> None:
    path.touch()
    kill()


def save_until(file: Path, owner: Any, name: str, death: Any) -> None:
    setattr(owner, name, death)  # in a process of its own, which ends here
    AtomicCheckpointIO().save_checkpoint(NEW, file)


@pytest.mark.parametrize(
    ("owner", "name", "death", "epoch"),
    [
        (torch, "save", half, 1),
        (os, "fsync", kill, 1),
        (os, "replace", kill, 1),
        (os, "replace", replace_and_die, 2),
        (Path, "write_text", empty_and_die, 2),
        (checkpoint_io, "_sync_folder", kill, 2),
    ],
    ids=["half written", "written", "synced", "renamed", "digest empty", "digest written"],
)
def test_a_save_that_is_killed(file: Path, owner: Any, name: str, death: Any, epoch: int) -> None:
    process = multiprocessing.get_context("fork").Process(target=save_until, args=(file, owner, name, death))
    process.start()
    process.join(30)
    assert process.exitcode == -signal.SIGKILL
    assert epoch_of(file) == epoch
    AtomicCheckpointIO().save_checkpoint(NEW, file)
    assert names(file) == {"last.ckpt", "last.ckpt.sha256"}, "the next save sweeps the parts"
    assert epoch_of(file) == 2


def test_parts_of_other_files_are_left_alone(file: Path) -> None:
    other = file.parent / ".best.ckpt.x.part"
    other.touch()
    AtomicCheckpointIO().save_checkpoint(NEW, file)
    assert other.exists()


@pytest.mark.parametrize("place", [0, 700, -700, -1])
def test_a_flipped_bit(file: Path, place: int) -> None:
    content = bytearray(file.read_bytes())
    content[place] ^= 1
    file.write_bytes(content)
    with pytest.raises(ResumeError) as caught:
        AtomicCheckpointIO().load_checkpoint(file)
    text = f"{file} was altered or cut short: its sha256 is not the one in last.ckpt.sha256"
    assert str(caught.value) == text


@pytest.mark.parametrize("length", [0, 1, 1000])
@pytest.mark.parametrize("digest", [True, False])
def test_a_truncated_file(file: Path, length: int, digest: bool) -> None:
    file.write_bytes(file.read_bytes()[:length])
    if not digest:
        (file.parent / "last.ckpt.sha256").unlink()
    with pytest.raises(ResumeError, match="altered or cut short" if digest else "not a checkpoint") as caught:
        AtomicCheckpointIO().load_checkpoint(file)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


class Evil:
    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self) -> Any:
        return Path.touch, (self.witness,)


@pytest.mark.parametrize("container", ["zip", "pickle"])
@pytest.mark.parametrize("weights_only", [None, False, True])
def test_a_file_that_would_run_code(tmp_path: Path, container: str, weights_only: bool | None) -> None:
    witness, file = tmp_path / "witness", tmp_path / "evil.ckpt"
    if container == "zip":
        torch.save({"state_dict": Evil(witness)}, file)
    else:
        file.write_bytes(pickle.dumps({"state_dict": Evil(witness)}, protocol=2))
    with pytest.raises(ResumeError, match=r"evil.ckpt is not a checkpoint that can be read safely: ") as caught:
        AtomicCheckpointIO().load_checkpoint(file, weights_only=weights_only)
    assert "\n" not in str(caught.value)
    assert not witness.exists()


def test_the_environment_cannot_loosen_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    torch.save({"state_dict": Evil(tmp_path / "witness")}, tmp_path / "evil.ckpt")
    with pytest.raises(ResumeError):
        AtomicCheckpointIO().load_checkpoint(tmp_path / "evil.ckpt")
    assert not (tmp_path / "witness").exists()


@pytest.mark.parametrize("path", ["nowhere.ckpt", "https://example.org/last.ckpt", "."])
def test_what_is_no_local_file(path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ResumeError, match=r"^no checkpoint "):
        AtomicCheckpointIO().load_checkpoint(path)


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_permissions_follow_the_umask(tmp_path: Path, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        AtomicCheckpointIO().save_checkpoint(NEW, tmp_path / "last.ckpt")
        assert os.umask(umask) == umask, "the process keeps its umask"
    finally:
        os.umask(before)
    for name in ("last.ckpt", "last.ckpt.sha256"):
        assert (tmp_path / name).stat().st_mode & 0o777 == mode


def test_removed_with_its_digest(file: Path) -> None:
    AtomicCheckpointIO().remove_checkpoint(file)
    assert names(file) == set()
    AtomicCheckpointIO().remove_checkpoint(file)  # not there is no error
