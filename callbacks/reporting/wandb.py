"""Weights & Biases: the whole configuration, metrics, figures and the best checkpoint, with or without an account.

``WandbRun`` is Lightning's ``WandbLogger`` with what a run of this project adds. The command line builds it wherever a
configuration says ``WandbLogger``; in Python it is ``Trainer(logger=wandb_run({"project": "digits"}))``.
"""

import netrc
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import numpy as np
import torch
import yaml
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities import rank_zero_only, rank_zero_warn
from numpy.typing import NDArray
from PIL.Image import Image, fromarray
from torch import Tensor

from zoo.errors import ZooError
from zoo.redact import redact

OFFLINE = "Weights & Biases: no key found, so this run is recorded offline; to send it: wandb login, then wandb sync {}"


def as_picture(image: Tensor | NDArray[Any], name: str = "image") -> Image:
    """An image of 8 bits a channel; W&B does not scale floats itself and would show them black.

    Args:
        image: a tensor (C, H, W) or (H, W), or an array (H, W, C) or (H, W); C is 1, 3 or 4; uint8 in [0, 255],
            floats in [0, 1] or bool.
        name: for the error message.

    Raises:
        ZooError: for another shape, or values outside the range: the normalisation has not been undone.
    """
    if isinstance(image, Tensor):
        image = image.detach().cpu()
        image = (image.float() if image.is_floating_point() else image).numpy()
        image = image.transpose(1, 2, 0) if image.ndim == 3 else image  # (C, H, W) -> (H, W, C)
    image = image[..., 0] if image.ndim == 3 and image.shape[-1] == 1 else image
    if image.ndim != 2 and not (image.ndim == 3 and image.shape[-1] in (3, 4)):
        raise ZooError(f"{name} has shape {image.shape}; give a tensor (C, H, W) or an array (H, W, C), C = 1, 3 or 4")
    top = 255 if np.issubdtype(image.dtype, np.integer) else 1
    low, high = image.min(), image.max()
    if not (low >= 0 and high <= top):  # written so that NaN fails
        raise ZooError(f"{name} has values from {low:.3g} to {high:.3g}, not in [0, {top}]; undo the normalisation")
    return fromarray(np.round(image * (255 / top)).astype(np.uint8))


def choose_mode() -> Literal["offline"] | None:
    """``offline`` when no key is to be found, with one line that says so; None leaves the choice to W&B.

    Keys are looked for where W&B looks: the environment, the netrc file, its settings file. ``WANDB_MODE``, or
    ``wandb offline`` typed once in this folder, are never overruled.
    """
    import wandb

    settings = wandb.setup().settings
    if os.environ.get("WANDB_MODE") or settings.mode != "online":
        return None
    if settings.api_key or settings.identity_token_file or _netrc_has(settings.base_url):
        return None
    recorded = Path(os.environ.get("ZOO_RUN_DIR", ".")) / "wandb" / "offline-run-*"
    rank_zero_only(print)(OFFLINE.format(recorded), file=sys.stderr)
    return "offline"


def _netrc_has(url: str) -> bool:
    host = urlsplit(url).netloc
    # W&B's default host has a new name; keys that were stored under the old one still count.
    hosts = [host, "api.wandb.ai"] if host.endswith(".coreweave.com") else [host]
    paths = [os.environ["NETRC"]] if os.environ.get("NETRC") else ["~/.netrc", "~/_netrc"]
    path = next((p for p in (Path(p).expanduser() for p in paths) if p.is_file()), None)
    try:
        return path is not None and any(netrc.netrc(path).authenticators(h) for h in hosts)
    except (netrc.NetrcParseError, OSError):
        return False


def wandb_run(options: Mapping[str, Any]) -> "WandbRun":
    """A ``WandbRun`` from the options of Lightning's ``WandbLogger``, with defaults that fit this project.

    Args:
        options: as ``WandbLogger`` takes them (project, name, version, group, tags, ...). The folder is that of the
            run (environment variable ZOO_RUN_DIR), the project ``zoo`` (or WANDB_PROJECT), unless they say otherwise.
            ``offline`` may go together with ``log_model``. The best checkpoint is always logged at the end, unless
            WANDB_LOG_MODEL is ``false``.

    Raises:
        ZooError: for ``log_model="all"``, which would log every checkpoint.
    """
    if options.get("log_model") == "all":
        raise ZooError("WandbLogger: log_model 'all' is not supported; the best checkpoint is logged at the end")
    # The command line passes every option that it knows; None would displace Lightning's own defaults.
    kept = ("offline", "log_model", "settings")  # settings may hold the key that W&B logs in with
    given = redact({k: v for k, v in options.items() if v is not None and k not in kept})
    if given.get("save_dir", ".") == "." and "dir" not in given:
        given["save_dir"] = os.environ.get("ZOO_RUN_DIR", ".")
    given.setdefault("project", os.environ.get("WANDB_PROJECT", "zoo"))
    given["mode"] = "offline" if options.get("offline") else given.get("mode") or choose_mode()
    run = WandbRun(**given, settings={**_guard(), **(options.get("settings") or {})})
    # Lightning passes on an option that W&B has dropped, and W&B warns of it in every run.
    run._wandb_init.pop("anonymous", None)
    return run


def _guard() -> dict[str, Any]:
    """Settings that keep W&B from recording secrets of the command line and of the git remote."""
    guard: dict[str, Any] = {}
    if redact(sys.argv) is not sys.argv:
        # W&B stores the arguments as they are and copies what the program prints.
        guard |= {"x_disable_meta": True, "console": "off"}
    try:
        asked = ["git", "config", "--get", "remote.origin.url"]
        remote = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
    except OSError:  # no git
        remote = ""
    if redact(remote) is not remote:
        guard["git_remote_url"] = redact(remote)
    return guard


class WandbRun(WandbLogger):
    """Lightning's ``WandbLogger``, which also records the run's config.yaml, its figures and its best checkpoint.

    Built by ``wandb_run``:
    - ``wandb.config`` is the content of ``config.yaml`` in the run folder (ZOO_RUN_DIR), redacted;
    - images are sent with 8 bits a channel;
    - when a fit or test ends well, every figure (PNG) of the run folder and the best checkpoint are logged, once;
    - the model artifact holds ``model.ckpt`` and ``config.yaml``, both redacted, and says where they come from.
    """

    _config: dict[str, Any] | None = None
    _best: ModelCheckpoint | None = None
    _sent: frozenset[tuple[Path, int]] = frozenset()

    @rank_zero_only
    def log_hyperparams(self, params: Any) -> None:
        super().log_hyperparams(redact(params if isinstance(params, Mapping) else vars(params)))

    @rank_zero_only
    def log_image(self, key: str, images: list[Any], step: int | None = None, **kwargs: Any) -> None:
        pictures = [as_picture(i, key) if isinstance(i, Tensor | np.ndarray) else i for i in images]
        super().log_image(key, pictures, step, **kwargs)

    @rank_zero_only
    def save(self) -> None:
        # Lightning calls this first when all `setup` hooks have run, so config.yaml has been written by then.
        super().save()
        path = Path(os.environ.get("ZOO_RUN_DIR", "")) / "config.yaml"
        if self._config is None and "ZOO_RUN_DIR" in os.environ and path.is_file():
            self._config = redact(yaml.safe_load(path.read_text()) or {})
            self.log_hyperparams(self._config)

    def after_save_checkpoint(self, checkpoint_callback: ModelCheckpoint) -> None:
        # One callback may keep the best and another the last; the one that judges is the one that matters.
        if self._best is None or checkpoint_callback.monitor is not None:
            self._best = checkpoint_callback

    @rank_zero_only
    def finalize(self, status: str) -> None:
        if status != "success" or self._experiment is None:
            return
        if "ZOO_RUN_DIR" in os.environ:
            self._log_figures(Path(os.environ["ZOO_RUN_DIR"]))
        if self._best is not None and os.environ.get("WANDB_LOG_MODEL", "true").lower() not in ("false", "0"):
            self._log_checkpoint(self._best)

    def _log_figures(self, folder: Path) -> None:
        import wandb

        figures = [path for path in sorted(folder.rglob("*.png")) if "wandb" not in path.relative_to(folder).parts]
        new = {f"figures/{path.stem}": wandb.Image(str(path)) for path in figures if self._is_new(path)}
        if new:
            self.experiment.log(new)

    def _log_checkpoint(self, callback: ModelCheckpoint) -> None:
        import wandb

        best = Path(callback.best_model_path)
        if not best.is_file() or not self._is_new(best):
            return
        try:
            checkpoint = torch.load(best, map_location="cpu", weights_only=True, mmap=True)
        except pickle.UnpicklingError:
            rank_zero_warn(f"{best} holds more than plain data and was not logged to Weights & Biases")
            return
        # A copy: an offline run's artifact is read when it is synced, and best.ckpt may be another by then.
        folder = Path(self.experiment.dir).parent / "artifact"
        folder.mkdir(exist_ok=True)
        others = {k: v for k, v in checkpoint.items() if k not in ("state_dict", "optimizer_states")}
        if redact(others) is others:
            shutil.copyfile(best, folder / "model.ckpt")
        else:
            torch.save({**checkpoint, **redact(others)}, folder / "model.ckpt")
        (folder / "config.yaml").write_text(yaml.safe_dump(self._config or {}, sort_keys=False))
        score = callback.best_model_score
        metadata = {
            "recipe": (self._config or {}).get("recipe"),
            "monitor": callback.monitor,
            "mode": callback.mode,
            "score": None if score is None else float(score),
            "epoch": checkpoint.get("epoch"),
            "global_step": checkpoint.get("global_step"),
        }
        artifact = wandb.Artifact(self._checkpoint_name or f"model-{self.experiment.id}", "model", metadata=metadata)
        for name in ("model.ckpt", "config.yaml"):
            artifact.add_file(str(folder / name), name, policy="immutable", skip_cache=True)
        self.experiment.log_artifact(artifact, aliases=["best", "latest"])

    def _is_new(self, path: Path) -> bool:
        """Whether this version of a file has not been logged yet; a test after a fit ends a second time."""
        version = (path, path.stat().st_mtime_ns)
        new = version not in self._sent
        self._sent |= {version}
        return new
