"""Checkpoints that are whole or not there: written beside their target, synced, renamed, and checked when read."""

import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from zoo.errors import ResumeError


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes to a temporary file in the same folder, syncs it and renames it; a sha256 lies beside it.

    Lightning's own writer goes through the system's temporary folder and does not sync, so a crash can leave a
    file cut short under the final name; and torch loads a file with a flipped bit without a word.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        for stale in target.parent.glob(f".{target.name}.*.part"):
            stale.unlink(missing_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent)
        part = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            umask = os.umask(0)
            os.umask(umask)
            part.chmod(0o666 & ~umask)
            digest = _sha256(part)
            # The old digest goes first: for a moment there is none, but never one that belongs to another file.
            _digest_file(target).unlink(missing_ok=True)
            os.replace(part, target)
            _digest_file(target).write_text(f"{digest}  {target.name}\n")
            _sync_folder(target.parent)
        finally:
            part.unlink(missing_ok=True)

    def load_checkpoint(
        self, path: Any, map_location: Callable | None = lambda storage, _: storage, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read a local checkpoint of one's own; never anything that could run code."""
        source = Path(path)
        if not source.is_file():
            raise ResumeError(f"no checkpoint {source}")
        digest = _digest_file(source)
        known = digest.read_text().split() if digest.is_file() else []  # empty when a save was cut off at its very end
        if known and known[0] != _sha256(source):
            raise ResumeError(f"{source} was altered or cut short: its sha256 is not the one in {digest.name}")
        try:
            return torch.load(source, map_location=map_location, weights_only=True)
        except Exception as error:
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise ResumeError(f"{source} is not a checkpoint that can be read safely: {reason}") from error

    def remove_checkpoint(self, path: Any) -> None:
        Path(path).unlink(missing_ok=True)
        _digest_file(Path(path)).unlink(missing_ok=True)


def _digest_file(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
