"""What every run gets unless it says otherwise: logger, checkpoints, progress, figures, and the pieces by name."""

import importlib
import logging
import os
import pkgutil
import warnings
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule
from lightning.pytorch.callbacks import ModelCheckpoint

from callbacks.diagnostics.against_naive import AgainstNaive
from callbacks.diagnostics.attention_health import AttentionHealth
from callbacks.diagnostics.collapse_guard import CollapseGuard
from callbacks.diagnostics.first_loss import FirstLoss
from callbacks.diagnostics.sequence_preflight import SequencePreflight
from callbacks.reporting.attention_maps import AttentionMaps, has_attention
from callbacks.reporting.checkpoint import Checkpoint
from callbacks.reporting.figures import Figures
from callbacks.reporting.interrupt import SaveOnSignal
from callbacks.reporting.latent_walk import LatentWalk
from callbacks.reporting.metrics_csv import MetricsCSV
from callbacks.reporting.progress import Progress
from callbacks.reporting.samples import Samples
from callbacks.reporting.texts import Texts, Writes
from callbacks.reporting.translations import Translates, Translations
from callbacks.technique import Conflict, Technique
from zoo.checkpoint_io import AtomicCheckpointIO
from zoo.errors import ZooError
from zoo.gan import GAN
from zoo.layers.attention import Attention
from zoo.memory import keep_freed_memory
from zoo.module import SupervisedModule
from zoo.profiler import NullProfiler
from zoo.task import LanguageModeling


def import_all_pieces(trusted: list[str]) -> None:
    """Import families, data sets and techniques, so that short class names resolve."""
    for package in ("zoo", "datamodules", "callbacks"):
        for module in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}."):
            if not module.name.startswith(("zoo.cli", "zoo.__main__", "zoo._")):
                importlib.import_module(module.name)
    for package in trusted:
        try:
            importlib.import_module(package)
        except ImportError as error:
            raise ZooError(f"--trust {package}: {error}; is it installed in this environment?") from error


def trainer_defaults() -> dict[str, Any]:
    """Defaults of ``trainer.*`` that differ from Lightning's."""
    return {"logger": False, "enable_model_summary": False, "enable_progress_bar": True, "log_every_n_steps": 50}


def default_callbacks(settings: dict[str, Any], model: LightningModule, folder: Path, command: str) -> dict[str, Any]:
    """Complete the arguments of the Trainer for this run."""
    keep_freed_memory()
    torch.set_flush_denormal(True)  # denormal numbers can make a matrix product 200 times slower
    if not torch.cuda.is_available():
        # Lightning has torch ask the driver's library for GPUs, and Adam asks in every step: up to 0.2 ms without one.
        os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "0"
    callbacks: list[Callback] = list(settings["callbacks"])
    loggers = settings.get("logger")
    loggers = [] if loggers in (None, True, False) else loggers if isinstance(loggers, list) else [loggers]
    if command == "fit":
        loggers = [*loggers, MetricsCSV(folder)]
        if settings.get("enable_checkpointing") is not False and not settings.get("fast_dev_run"):
            if not any(isinstance(callback, ModelCheckpoint) for callback in callbacks):
                callbacks.append(_checkpoint(model, callbacks, folder))
            callbacks.append(SaveOnSignal(folder / "checkpoints"))
        if isinstance(model, SupervisedModule) and {"sequences", "tokens"} & set(model.takes):
            defaults: list[type[Callback]] = [SequencePreflight, AgainstNaive]
            if isinstance(model.task, LanguageModeling):
                defaults.append(FirstLoss)
            if any(isinstance(layer, Attention) for layer in model.modules()):
                defaults.append(AttentionHealth)
            for default in defaults:
                if not any(isinstance(callback, default) for callback in callbacks):
                    callbacks.append(default())
        callbacks.append(Figures(folder))
        if has_attention(model) and not any(isinstance(callback, AttentionMaps) for callback in callbacks):
            callbacks.append(AttentionMaps(folder))
        if isinstance(model, GAN):
            callbacks += _of_games(model, callbacks, folder)
        if isinstance(model, Writes) and not any(isinstance(callback, Texts) for callback in callbacks):
            callbacks.append(Texts(folder))
    translates = command != "predict" and isinstance(model, Translates)
    if translates and not any(isinstance(callback, Translations) for callback in callbacks):
        callbacks.append(Translations(folder))
    if settings.get("enable_progress_bar") is not False:
        callbacks.append(Progress())
    plugins = settings.get("plugins") or []
    return {
        **settings,
        "callbacks": callbacks,
        "logger": loggers,
        "profiler": settings.get("profiler") or NullProfiler(),
        "plugins": [*(plugins if isinstance(plugins, list) else [plugins]), AtomicCheckpointIO()],
        "default_root_dir": str(folder),
    }


def _of_games(model: GAN, callbacks: list[Callback], folder: Path) -> list[Callback]:
    """What shows and guards a game, each unless the user has given one."""
    defaults: list[Callback] = [Samples(folder), CollapseGuard()]
    if len(model.generator.sample_shape) == 3:
        defaults.append(LatentWalk(folder))
    return [ours for ours in defaults if not any(isinstance(callback, type(ours)) for callback in callbacks)]


def _checkpoint(model: LightningModule, callbacks: list[Callback], folder: Path) -> Checkpoint:
    """Keeps the best epoch by what a technique selects, or else by the task's metric."""
    selecting = [callback for callback in callbacks if isinstance(callback, Technique) and callback.selects]
    if len(selecting) > 1:
        names = " and ".join(technique.name for technique in selecting)
        raise Conflict(f"{names} both say which epoch is best; let only one of them select")
    for technique in selecting:
        assert technique.selects is not None
        return Checkpoint(folder / "checkpoints", *technique.selects)
    if isinstance(model, SupervisedModule):
        return Checkpoint(folder / "checkpoints", f"val/{model.task.monitor}", model.task.mode)
    return Checkpoint(folder / "checkpoints")


def quieten() -> None:
    """Silence advice that does not apply, or that Lightning repeats at every run; warnings that matter stay."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in (
        ".*does not have many workers.*",
        ".*is smaller than the logging interval.*",
        ".*Checkpoint directory .* exists and is not empty.*",
        ".*LeafSpec.*is deprecated.*",
        ".*callbacks used to create the checkpoint need to be provided.*",
    ):
        warnings.filterwarnings("ignore", message)
