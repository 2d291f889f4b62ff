"""The metrics that given weights reach on a split, measured by the run's own data, task and callbacks."""

import os
import tempfile
from pathlib import Path
from typing import Any

import yaml

from zoo.cli.arguments import SECTIONS, Prepared
from zoo.cli.cli import ZooCLI, run
from zoo.cli.run_folder import VARIABLE
from zoo.errors import ZooError
from zoo.module import ZooModule
from zoo.pretrained import fill
from zoo.weights.file import Stored

# In one process, at full precision and without a trace, wherever and however the run was.
_HERE = {
    "accelerator": "cpu", "devices": "1", "num_nodes": "1", "strategy": "auto", "precision": "32-true",
    "logger": "false", "enable_progress_bar": "false", "enable_model_summary": "false",
}  # fmt: skip


class OtherData(ZooError):
    """The data at hand are not those that the weights were measured on."""


def measure(stored: Stored, name: str, split: str) -> dict[str, float]:
    """All metrics of a split, "val" or "test", by their names without it.

    The split is downloaded if its files are missing.

    Args:
        stored: the weights, and the configuration of their run.
        name: what they are called in errors.
        split: "val" or "test".

    Raises:
        OtherData: the data's content is another than the weights were measured on.
    """
    command = "test" if split == "test" else "validate"
    config = {key: stored.config[key] for key in SECTIONS if key in stored.config}

    class Measurement(ZooCLI):
        """A test or a validation of weights that are no checkpoint."""

        def _fill(self) -> None:
            if not isinstance(self.model, ZooModule):
                raise ZooError(f"{name} is no network of the zoo")
            fill(self.model, stored, name)
            if stored.fingerprint is not None:
                self.datamodule.prepare_data()
                if (found := fingerprint(self.datamodule)) != stored.fingerprint:
                    raise OtherData(
                        f"{name} was measured on data with the sha256 {stored.fingerprint[:12]}; here it is"
                        f" {str(found)[:12]}"
                    )

        before_test = before_validate = _fill

        def after_test(self) -> None:
            """Nothing is kept or printed."""

        after_validate = after_test

    options = [f"--trainer.{key}={value}" for key, value in _HERE.items()]
    argv = [command, f"--config={yaml.safe_dump(config, sort_keys=False)}", *options]
    before = os.environ.get(VARIABLE)
    try:
        with tempfile.TemporaryDirectory() as folder:
            done = run(Prepared(command, argv, config, run=Path(folder)), Measurement)
            found = {key: float(value) for key, value in done.trainer.callback_metrics.items()}
    finally:
        os.environ.pop(VARIABLE, None)
        if before is not None:
            os.environ[VARIABLE] = before
    prefix = f"{split}/"
    return {key.removeprefix(prefix): value for key, value in found.items() if key.startswith(prefix)}


def fingerprint(data: Any) -> str | None:
    """What tells the content of data from other data of their name; None where it is the same everywhere."""
    found: str | None = getattr(data, "fingerprint", None)
    return found
