"""Read back what an offline Weights & Biases run wrote: config, history, summary, files, artifacts."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wandb.proto.wandb_internal_pb2 import Record  # type: ignore[attr-defined]  # made at run time

FILE_HEADER, BLOCK, HEADER = 7, 32768, 7
FULL, LAST = 1, 4


@dataclass
class OfflineRun:
    """What one run recorded.

    Attributes:
        folder: the run's folder; files lie below ``files/``.
        config: nested, without W&B's own part.
        history: one dictionary for each row.
        summary: last values.
        files: paths below ``files/`` that would be uploaded.
        artifacts: messages with ``name``, ``type``, ``aliases``, ``metadata`` (JSON) and ``manifest.contents``.
        environment: what was recorded about the machine and the command; None when nothing was.
    """

    folder: Path
    config: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    files: list[str] = field(default_factory=list)
    artifacts: list[Any] = field(default_factory=list)
    environment: Any = None

    def series(self, name: str) -> list[Any]:
        """Values of one quantity, in the order in which they were logged."""
        return [row[name] for row in self.history if name in row]


def read_run(folder: Path) -> OfflineRun:
    """Read the only ``run-*.wandb`` below ``folder``."""
    (path,) = [p for p in folder.rglob("run-*.wandb") if not any(q.is_symlink() for q in p.parents)]
    run = OfflineRun(path.parent)
    for data in _records(path.read_bytes()):
        record = Record.FromString(data)
        match record.WhichOneof("record_type"):
            case "run":
                _update(run.config, record.run.config.update)
            case "config":
                _update(run.config, record.config.update)
            case "history":
                row: dict[str, Any] = {}
                _update(row, record.history.item)
                run.history.append(row)
            case "summary":
                _update(run.summary, record.summary.update)
            case "files":
                run.files += [file.path for file in record.files.files]
            case "artifact":
                run.artifacts.append(record.artifact)
            case "request" if record.request.HasField("log_artifact"):
                run.artifacts.append(record.request.log_artifact.artifact)
            case "environment":
                run.environment = run.environment or type(record.environment)()
                run.environment.MergeFrom(record.environment)
    run.config.pop("_wandb", None)
    return run


def _update(target: dict[str, Any], items: Any) -> None:
    for item in items:
        *path, last = list(item.nested_key) or [item.key]
        place = target
        for name in path:
            place = place.setdefault(name, {})
        place[last] = json.loads(item.value_json)


def _records(data: bytes) -> Iterator[bytes]:
    """Split a log of 32 KiB blocks into records; a record's pieces say whether it ends there (LevelDB's log format)."""
    position, parts = FILE_HEADER, b""
    while position + HEADER <= len(data):
        left = BLOCK - position % BLOCK
        if left < HEADER:  # too short for a header: padding
            position += left
            continue
        length = int.from_bytes(data[position + 4 : position + 6], "little")
        kind = data[position + 6]
        parts += data[position + HEADER : position + HEADER + length]
        position += HEADER + length
        if kind in (FULL, LAST):
            yield parts
            parts = b""
