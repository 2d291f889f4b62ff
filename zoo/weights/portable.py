"""What of a run's configuration may travel with its weights."""

import copy
from typing import Any

from zoo.redact import redact

# What says which network it is, how it was trained, and on what.
_KEPT = ("recipe", "init_from", "seed_everything", "model", "data", "optimizer", "schedule", "init", "trainer")


def portable(config: dict[str, Any]) -> dict[str, Any]:
    """A copy without what belongs to one machine alone: folders of data, and secrets."""
    kept = copy.deepcopy({key: config[key] for key in _KEPT if key in config})
    arguments = (kept.get("data") or {}).get("init_args") or {}
    if "root" in arguments:
        arguments["root"] = None  # ZOO_DATA, or the cache folder
    trainer = kept.get("trainer") or {}
    for key in ("default_root_dir", "logger"):
        if key in trainer:
            trainer[key] = None
    plain: dict[str, Any] = redact(kept)
    return plain
