"""Rebuild the model of a run from what its folder holds: the configuration, and the weights of its best epoch."""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
import yaml
from jsonargparse import ArgumentParser, set_parsing_settings
from lightning.pytorch import LightningDataModule

from zoo.errors import ZooError
from zoo.init_from import read_weights
from zoo.module import ZooModule

_T = TypeVar("_T")

# Class paths outside these packages are refused unless the user trusts a package by name.
ALLOWED = [
    "zoo", "datamodules", "callbacks", "torch.nn", "torch.optim", "torchvision", "torchmetrics", "lightning.pytorch",
]  # fmt: skip


def restrict_imports(*trusted: str) -> None:
    """Let jsonargparse build classes of ``ALLOWED`` and of trusted packages alone, in the whole process from now on."""
    set_parsing_settings(
        import_path_denylist=["*"],
        import_path_allowlist=[*ALLOWED, *trusted],
        instantiate_subclass_spec_in_any=False,
    )


def model_from_run(run: Path) -> ZooModule:
    """The trained model of a run folder, on the CPU and in evaluation mode.

    Nothing in the folder is executed: the configuration is plain YAML whose class paths are held against an allow-list
    (see ``restrict_imports``), the checkpoint is read with ``weights_only``. The random state is left as it was.

    Args:
        run: a folder with config.yaml and checkpoints/best.ckpt, as ``zoo fit`` leaves it.

    Raises:
        ZooError: the folder is no run, its configuration names no model of the zoo, or its weights are another's.
    """
    _require_run(run)
    weights = read_weights(run)
    with torch.random.fork_rng(devices=[]):  # fresh weights are drawn on the CPU
        model = _build(run, "model", ZooModule)
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise ZooError(f"the weights in {run} are not those of the model in its config.yaml: {error}") from error
    return model.eval()


def data_from_run(run: Path) -> LightningDataModule:
    """The data of a run as its configuration describes them; nothing is read yet.

    Raises:
        ZooError: the folder is no run, or its configuration names no data.
    """
    _require_run(run)
    return _build(run, "data", LightningDataModule)


def _require_run(run: Path) -> None:
    if not (run / "config.yaml").is_file():
        what = "has no config.yaml" if run.is_dir() else "is no folder"
        raise ZooError(
            f"{run} is not the folder of a run: it {what}; give one that `zoo fit` made, such as runs/R/latest"
        )


def _build(run: Path, key: str, base: type[_T]) -> _T:
    """What the section ``key`` of a run's configuration describes."""
    file = run / "config.yaml"
    return build((yaml.safe_load(file.read_text()) or {}).get(key), key, base, str(file))


def build(section: Any, key: str, base: type[_T], source: str, trusted: Sequence[str] = ()) -> _T:
    """The object that a section of a configuration describes; class paths are held against the allow-list.

    Args:
        section: ``{"class_path", "init_args"}``.
        key: what it is called there: "model" or "data".
        base: what it has to be.
        source: where it stands, for errors.
        trusted: packages that class paths may come from beside the project's own.

    Raises:
        ZooError: it cannot be built, or is something else.
    """
    restrict_imports(*trusted)
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument(f"--{key}", type=base)
    try:
        # A copy: the parser writes into what it is given.
        built = parser.instantiate(parser.parse_object({key: copy.deepcopy(section)}))[key]
    except ZooError:
        raise
    except Exception as error:  # jsonargparse reports some of these as errors of its own kind
        reason = " ".join(str(error).split())[:300]
        raise ZooError(f"{source} describes no {key} that can be built: {reason}") from error
    if not isinstance(built, base):
        raise ZooError(f"{source} names no {key}; it is not the configuration of a run")
    return built
