"""What the sources are read to say is what the classes do."""

import inspect
import logging
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, get_args

import pytest
from lightning.pytorch import Callback, Trainer

from callbacks.technique import NoEffect, Technique, UnsupportedModule
from tests.composition import FAMILIES, FRAGMENTS, TASKS, build, light_trainers, network, own, run, settings, takes
from tests.test_structure import technique_classes
from zoo.batch import Inputs
from zoo.cli import facts, support
from zoo.cli.sources import Sources
from zoo.module import ZooModule

CLASSES = {cls.__name__: cls for cls in technique_classes()}
PAIRED = [fragment for fragment in FRAGMENTS if "MATRIX_SKIP" not in own(fragment)]


@pytest.fixture(autouse=True)
def _quick_and_quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    caplog.set_level(logging.ERROR, "lightning.pytorch")
    with light_trainers():
        yield


@cache
def models() -> dict[str, type[ZooModule]]:
    """Every class that the sources call a model."""
    import importlib

    return {
        name: getattr(importlib.import_module(f"zoo.{file}"), name)
        for file, names in support.families().items()
        for name in names
    }


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_supports_and_hooks_are_those_of_the_class(name: str) -> None:
    cls, found = CLASSES[name], facts.facts(name)
    assert found.supports == cls.supports.__name__
    assert (found.inputs, found.rivals) == (cls.inputs, cls.rivals)
    assert found.tasks == tuple(task.__name__ for task in cls.tasks)
    assert set(cls.inputs) <= set(get_args(Inputs))
    if not getattr(cls.supports, "_is_protocol", False):
        for model in models().values():
            said = support.supports_family(found, model.__name__)
            fits = not cls.inputs or not model.takes or bool(set(cls.inputs) & set(model.takes))
            assert said == (issubclass(model, cls.supports) and fits), f"{name} and {model.__name__}"
    ours = [base for base in cls.__mro__ if base.__module__.startswith("callbacks.") and base is not Technique]
    hooks = {hook for base in ours for hook in vars(base) if hook.startswith("on_") and hasattr(Callback, hook)}
    assert {hook for hook in found.hooks if hook.startswith("on_")} == hooks - {"on_exception"}


class NotesSlots(Callback):
    """The slots that are filled while a run goes on."""

    def __init__(self) -> None:
        self.filled: set[str] = set()

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        self.filled = {slot for slot in facts.SHARED_SLOTS.values() if getattr(pl_module, slot, None)}
        self.filled |= {place.split(".")[0] for place in pl_module.slot_owners}


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("fragment", PAIRED, ids=lambda name: name.split("/")[-1])
def test_what_the_source_says_is_what_a_run_does(fragment: str, task: str, tmp_path: Path) -> None:
    """On every network of the matrix: refused as unsupported where the sources say so, and only there."""
    for family in FAMILIES if task == "Classification" else ("mlp", "cnn"):
        module, notes = network(family, task), NotesSlots()
        techniques = build(fragment, module, tmp_path)
        found = [facts.facts(type(technique).__name__) for technique in techniques]
        model = type(module).__name__
        said = all(takes(family, of_one.name, task) for of_one in found)
        try:
            run(module, family, [*techniques, notes], epochs=1, limit_train_batches=1, limit_val_batches=1,
                **settings(fragment))  # fmt: skip
            refused = ""
        except UnsupportedModule as error:
            refused = str(error)
        except NoEffect:
            refused = ""
        assert said == (not refused), (
            f"{fragment} on {model} for {task}: the source says {'yes' if said else 'no'}, the run says"
            f" {refused or 'yes'}. Let `supports`, `inputs` and `tasks` say what it needs"
        )
        if not refused and notes.filled:
            assert notes.filled == {slot for of_one in found for slot in (*of_one.shared, *of_one.claimed)}


def test_attributes_and_members_are_those_of_the_lineage(tmp_path: Path) -> None:
    (tmp_path / "some.py").write_text(
        inspect.cleandoc('''
        """A file."""
        class Base(Technique):
            supports = SupervisedModule
            tasks: ClassVar[tuple[type[Task], ...]] = (Classification, Regression)
            def attach(self, module):
                self.add_penalty(module, None)
        class Narrow(Base):
            """With less."""

            inputs = ("images",)  # why
            tasks = (Classification,)

            def attach(self, module):
                self.extra: int = 3
    ''')
        + "\n"
    )
    sources = Sources(tmp_path)
    assert sources.lineage("Narrow") == ["Narrow", "Base", "Technique"]
    assert sources.leaves("Technique") == ["Narrow"]
    said = [sources.words("Narrow", attribute) for attribute in ("supports", "inputs", "tasks", "rivals")]
    assert said == [("SupervisedModule",), ("images",), ("Classification",), ()]
    assert sources.words("Base", "tasks") == ("Classification", "Regression")
    assert {"attach", "extra", "tasks"} <= sources.members("Narrow")


def test_a_protocol_is_looked_for_in_the_members_of_a_family() -> None:
    zero_init = facts.facts("ZeroInitResidual")
    assert [name for name in models() if support.supports_family(zero_init, name)] == ["ResNet"]


def test_kinds_of_inputs_decide() -> None:
    cutmix, resizing, swap = (facts.facts(name) for name in ("CutMix", "ProgressiveResizing", "SwapNoise"))
    assert support.supports_family(cutmix, "MLP"), "which flattens images"
    assert support.supports_family(swap, "MLP")
    assert not support.supports_family(resizing, "MLP"), "which is built for vectors of one length"
    assert not support.supports_family(cutmix, "TabularMLP")
    assert not support.supports_family(swap, "ResNet")


def test_rivals_are_named_by_either_or_want_one_slot() -> None:
    assert {"MagnitudePruning", "SWA"} <= set(facts.rivals(facts.facts("EMA")))
    assert "WSD" in facts.rivals(facts.facts("Cosine"))
    assert "Cosine" not in facts.rivals(facts.facts("Cosine"))
    assert facts.rivals(facts.facts("MixUp")) == ["MART"]
    assert not facts.rivals(facts.facts("InputNoise"))
