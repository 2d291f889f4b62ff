"""What the tests of the composition contract share: tiny networks and data, techniques from fragments, two runs.

How a technique is built for these tests: from its fragment, with the values that stand there. One that needs more (a
teacher's run, a strength that shows at this size) says so in its own test file, where no other file has to be edited:

    def for_matrix(module: SupervisedModule, folder: Path) -> Technique: ...   # built for this network
    MATRIX_SKIP = "why it cannot be paired with others here"
"""

import ast
import copy
import hashlib
import importlib
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.plugins.io import CheckpointIO
from lightning.pytorch.trainer.connectors import callback_connector
from torch import nn
from torch.utils.data import Dataset

from callbacks.technique import Technique
from datamodules.base import TensorSplit, ZooDataModule
from tests.tools import quiet_trainer
from zoo.batch import Inputs
from zoo.cli import facts, support
from zoo.cli.compose import find, names, read
from zoo.cnn import ResNet
from zoo.layers.transformer import BlockDesign
from zoo.mlp import MLP
from zoo.module import SupervisedModule
from zoo.profiler import NullProfiler
from zoo.rnn import RNN
from zoo.tabular import FTTransformer, TabM, TabularMLP
from zoo.task import Classification, Regression, Task
from zoo.vision_transformer import ViT

CLASSES, SAMPLES, BATCH = 3, 12, 4  # three steps an epoch
FRAGMENTS = [name for name in names() if name.startswith("techniques/")]
SECTIONS = ("init", "optimizer", "schedule")  # two fragments of one section replace each other
TESTS = Path(__file__).parent / "callbacks"


class InMemory(ZooDataModule):
    """A few samples, the same in every run; images are pixels in [0, 1] that were normalised to [-1, 1].

    Args:
        shape: of one sample.
        batch_size: samples in a step, or "full".
        classes: targets are classes, or else real values.
    """

    def __init__(self, shape: tuple[int, ...], batch_size: int | Literal["full"] = BATCH, classes: bool = True) -> None:
        super().__init__(batch_size=batch_size)
        generator = torch.Generator().manual_seed(0)
        draw = torch.rand if len(shape) == 3 else torch.randn
        self.x = draw(SAMPLES, *shape, generator=generator)
        if len(shape) == 3:
            self.pixel_mean, self.pixel_std = (0.5,), (0.5,)
            self.x = 2 * self.x - 1
        self.y = torch.arange(SAMPLES) % CLASSES if classes else torch.linspace(-1, 1, SAMPLES)

    @property
    def num_classes(self) -> int:
        return CLASSES

    def load(self) -> dict[str, Dataset[Any]]:
        return {"train": TensorSplit(self.x, self.y), "val": TensorSplit(self.x[:BATCH], self.y[:BATCH])}


class Family(NamedTuple):
    """A network that trains in a blink, and the kind and shape of its samples."""

    build: Callable[[Task], SupervisedModule]
    inputs: tuple[Inputs, ...]
    shape: tuple[int, ...]


FAMILIES = {
    "mlp": Family(lambda task: MLP(6, task, [4, 4], norm="batch", dropout=0.1), ("vectors",), (6,)),
    "cnn": Family(lambda task: ResNet(1, task, [1, 1], width=4), ("images", "resizable images"), (1, 8, 8)),
    "tabular": Family(lambda task: TabularMLP(6, task, hidden=[4, 4]), ("vectors",), (6,)),
    "tabm": Family(lambda task: TabM(6, task, hidden=[4, 4], members=2), ("vectors",), (6,)),
    "ft": Family(lambda task: FTTransformer(6, task, width=4, blocks=1, heads=2), ("vectors",), (6,)),
    "rnn": Family(lambda task: RNN(3, task, hidden=4), ("sequences",), (12, 3)),
    "transformer": Family(
        lambda task: ViT(1, 8, task, width=4, layers=2, dropout=0.1, drop_path=0.1, block=BlockDesign(heads=2)),
        ("images",),
        (1, 8, 8),
    ),
}
TASKS: dict[str, Callable[[], Task]] = {
    "Classification": lambda: Classification(CLASSES),
    "Regression": lambda: Regression(1),
}


@cache
def _network(family: str, task: str) -> SupervisedModule:
    torch.manual_seed(0)
    return FAMILIES[family].build(TASKS[task]())


def network(family: str, task: str = "Classification") -> SupervisedModule:
    """A fresh network of a family, with the same weights each time."""
    return copy.deepcopy(_network(family, task))


def takes(family: str, technique: str, task: str = "Classification") -> bool:
    """Whether a family, with its data here, supports a technique, as the sources say."""
    found = facts.facts(technique)
    model = type(network(family)).__name__
    of_these_data = not found.inputs or bool(set(found.inputs) & set(FAMILIES[family].inputs))
    return of_these_data and support.supports_family(found, model) and support.supports_task(found, task)


# Techniques from fragments --------------------------------------------------------------------------------------------


@cache
def _fragment(name: str) -> dict[str, Any]:
    return read(find(name))


def sections(fragment: str) -> set[str]:
    """The one-of-a-kind sections that a fragment fills."""
    return _fragment(fragment).keys() & set(SECTIONS)


def settings(*fragments: str) -> dict[str, Any]:
    """What fragments ask of the run beside their techniques: arguments of the Trainer, and the size of a batch."""
    asked: dict[str, Any] = {}
    for fragment in fragments:
        config = _fragment(fragment)
        of_trainer = config.get("trainer") or {}
        asked |= {key: value for key, value in of_trainer.items() if key not in ("callbacks+", "max_epochs")}
        of_data = (config.get("data") or {}).get("init_args") or {}
        asked |= {"batch_size": of_data["batch_size"]} if "batch_size" in of_data else {}
    return asked


def build(fragment: str, module: SupervisedModule, folder: Path) -> list[Technique]:
    """The techniques of a fragment, new ones each time; see the head of this file."""
    special = own(fragment)
    if "for_matrix" in special:
        return [special["for_matrix"](module, folder)]
    return [instance(entry) for entry in entries(fragment)]


def entries(fragment: str) -> list[dict[str, Any]]:
    """The class paths and arguments of a fragment's techniques."""
    config = _fragment(fragment)
    given = [config[section] for section in SECTIONS if section in config]
    return given + ((config.get("trainer") or {}).get("callbacks+") or [])


def instance(value: Any) -> Any:
    """Build what a class path and its arguments describe."""
    if isinstance(value, list):
        return [instance(entry) for entry in value]
    if not isinstance(value, dict):
        return value
    if "class_path" not in value:
        return {key: instance(entry) for key, entry in value.items()}
    arguments = {key: instance(entry) for key, entry in (value.get("init_args") or {}).items()}
    return named(value["class_path"])(**arguments)


def named(class_path: str) -> Any:
    """The class that a class path means."""
    module, _, name = class_path.rpartition(".")
    return getattr(importlib.import_module(module), name)


@cache
def own(fragment: str) -> dict[str, Any]:
    """``for_matrix`` and ``MATRIX_SKIP`` of a technique's own test file, where it has them."""
    _, kind, stem = fragment.split("/")
    file = TESTS / kind / f"test_{stem}.py"
    defined = {
        target.id if isinstance(target, ast.Name) else ""
        for node in ast.parse(file.read_text()).body
        for target in (node.targets if isinstance(node, ast.Assign) else [])
    } | {node.name for node in ast.parse(file.read_text()).body if isinstance(node, ast.FunctionDef)}
    wanted = defined & {"for_matrix", "MATRIX_SKIP"}
    if not wanted:
        return {}
    module = importlib.import_module(f"tests.callbacks.{kind}.test_{stem}")
    return {name: getattr(module, name) for name in wanted}


# Runs -----------------------------------------------------------------------------------------------------------------


class InMemoryIO(CheckpointIO):
    """Keeps one checkpoint as bytes and reads it as a resume does: weights, and plain data alone."""

    def __init__(self) -> None:
        self.saved = b""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        self.saved = buffer.getvalue()

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        return torch.load(io.BytesIO(self.saved), map_location, weights_only=True)

    def remove_checkpoint(self, path: Any) -> None:
        self.saved = b""


class SavesMidway(Callback):
    """Saves a checkpoint in the middle of the second epoch, or before it when that is a single step, and lets go on."""

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.num_training_batches == 1 and trainer.current_epoch == 0:
            trainer.save_checkpoint("memory")

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any,
                           batch_idx: int) -> None:  # fmt: skip
        if trainer.num_training_batches > 1 and (trainer.current_epoch, batch_idx) == (1, 0):
            trainer.save_checkpoint("memory")


def run(module: SupervisedModule, family: str, callbacks: list[Callback], io: InMemoryIO | None = None,
        resume: bool = False, epochs: int = 2, batch_size: int | Literal["full"] = BATCH,
        **settings: Any) -> Trainer:  # fmt: skip
    """Train for a few steps: from the start, or from what ``io`` holds."""
    torch.manual_seed(1 if resume else 0)  # what a resumed run draws before it is restored must not matter
    trainer = quiet_trainer(
        callbacks=callbacks, max_epochs=epochs, num_sanity_val_steps=0, profiler=NullProfiler(),
        plugins=[io or InMemoryIO()], **settings,
    )  # fmt: skip
    data = InMemory(FAMILIES[family].shape, batch_size, isinstance(module.task, Classification))
    trainer.fit(module, datamodule=data, ckpt_path="memory" if resume else None, weights_only=resume or None)
    return trainer


@contextmanager
def light_trainers() -> Iterator[None]:
    """Within it a Trainer does not read the metadata of all installed packages, a quarter of what a tiny fit takes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(callback_connector, "_load_external_callbacks", lambda group: [])
        yield


def traces(module: SupervisedModule) -> dict[str, Any]:
    """Everything about a module in which a technique could leave traces, for comparison before and after a fit."""
    slots = ("initializers", "batch_transforms", "penalties", "optimizer_factories", "optimizer_wrappers",
             "schedule_factories", "slot_owners")  # fmt: skip
    left: dict[str, Any] = {slot: dict(getattr(module, slot)) for slot in slots}
    left["objective"] = module.objective
    for name, layer in module.named_modules():
        left[f"{name} class"] = type(layer)
        left[f"{name} attributes"] = sorted(key for key in vars(layer) if not key.startswith("_"))
        for kind in ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks"):
            left[f"{name} {kind}"] = [*getattr(layer, kind).values()]
    for name, parameter in module.named_parameters():
        left[f"{name} trained"] = parameter.requires_grad
    return left


def changed(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Which traces differ, with what they are now."""
    return [f"{key}: {after.get(key)}" for key in before.keys() | after.keys() if before.get(key) != after.get(key)]


def different(first: nn.Module, second: nn.Module) -> list[str]:
    """Names of the weights and statistics that differ by a bit."""
    ours, theirs = first.state_dict(), second.state_dict()
    if ours.keys() != theirs.keys():
        return sorted(ours.keys() ^ theirs.keys())
    return [name for name, tensor in ours.items() if not torch.equal(tensor, theirs[name])]


def chance(*words: str) -> float:
    """A number in [0, 1) that depends on the words alone, on every machine."""
    return int.from_bytes(hashlib.sha256("/".join(words).encode()).digest()[:4]) / 2**32
