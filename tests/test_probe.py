"""Every technique shows that it acts: one fit with it and one without, from its fragment, at the same seed.

What differs is looked for in the run's losses and learning rates, its gradients, its weights and its validation: three
epochs of three steps on the first network of the matrix that supports the technique. And what is asked to do nothing
says so.
"""

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch import Callback, LightningModule, Trainer
from torch.optim import Optimizer

from callbacks.technique import NoEffect, Technique
from tests.composition import (
    FAMILIES,
    FRAGMENTS,
    build,
    changed,
    different,
    entries,
    instance,
    light_trainers,
    named,
    network,
    own,
    run,
    sections,
    settings,
    takes,
    traces,
)
from zoo.errors import ZooError

# Arguments with which a technique that is no choice of an optimizer does nothing when they are 0.
STRENGTHS = {"strength", "std", "p", "alpha", "rho", "eta"}
# Arguments that choose layers or parameters by a regular expression.
FILTERS = {"match", "layers"}


@pytest.fixture(autouse=True)
def _light() -> Iterator[None]:
    with light_trainers():
        yield


class Record(Callback):
    """What can be seen of a run from outside."""

    def __init__(self) -> None:
        self.seen: dict[str, list[float]] = {"losses": [], "rates": [], "gradients": [], "evaluated": []}

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        self.seen["rates"].append(optimizer.param_groups[0]["lr"])
        self.seen["gradients"] += [p.grad.norm().item() for p in pl_module.parameters() if p.grad is not None]

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
        self.seen["losses"].append(pl_module.last_loss)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.seen["evaluated"] = [value.item() for value in trainer.callback_metrics.values()]


class WatchesEffect(Callback):
    """In which batch the techniques had all acted."""

    def __init__(self, techniques: list[Technique]) -> None:
        self.techniques, self.acted_by = techniques, 0
        self.batches = 0

    def on_train_batch_end(self, *_: Any) -> None:
        self.batches += 1
        if not self.acted_by and all(technique._has_acted for technique in self.techniques):
            self.acted_by = self.batches


def family_of(fragment: str) -> str:
    """The first family of the matrix that supports a fragment."""
    names = [str(entry["class_path"]).rsplit(".", 1)[-1] for entry in entries(fragment)]
    for family in FAMILIES:
        if all(takes(family, name) for name in names):
            return family
    pytest.skip("for another kind of module than those of the matrix")


@pytest.mark.parametrize("fragment", FRAGMENTS, ids=lambda name: name.split("/")[-1])
def test_it_acts_and_leaves_no_trace(fragment: str, tmp_path: Path) -> None:
    if reason := own(fragment).get("MATRIX_SKIP"):
        pytest.skip(reason)
    family = family_of(fragment)
    plain, treated = network(family), network(family)
    before = traces(treated)
    without, with_it = Record(), Record()
    asked = settings(fragment)
    run(plain, family, [without], epochs=3, **asked)
    techniques = build(fragment, treated, tmp_path)
    watch = WatchesEffect(techniques)
    run(treated, family, [*techniques, with_it, watch], epochs=3, **asked)

    late = max(technique.patience for technique in techniques) > watch.batches
    assert all(technique._has_acted for technique in techniques)
    assert late or watch.acted_by <= max(technique.patience for technique in techniques)
    differs = [name for name, values in without.seen.items() if values != with_it.seen[name]]
    assert differs or different(plain, treated), f"{fragment} says that it acts, and nothing differs"
    assert not changed(before, traces(treated))


def idle() -> list[Any]:
    """(fragment, argument, value) for everything that a technique can be asked that should change nothing."""
    found = []
    for fragment in FRAGMENTS:
        for entry in entries(fragment) if "MATRIX_SKIP" not in own(fragment) else []:
            for argument, parameter in inspect.signature(named(entry["class_path"])).parameters.items():
                text = "str" in str(parameter.annotation) and "list" not in str(parameter.annotation)
                name = f"{fragment.split('/')[-1]}-{argument}"
                if argument in STRENGTHS and not sections(fragment):
                    found.append(pytest.param(fragment, argument, 0.0, id=name))
                elif argument in FILTERS and text:
                    found.append(pytest.param(fragment, argument, "no_such_name", id=name))
    return found


@pytest.mark.parametrize(("fragment", "argument", "value"), idle())
def test_asked_for_nothing_it_says_so(fragment: str, argument: str, value: Any) -> None:
    family = family_of(fragment)
    (entry,) = entries(fragment)
    asked = {"class_path": entry["class_path"], "init_args": {**(entry.get("init_args") or {}), argument: value}}
    try:
        technique = instance(asked)
    except ZooError:
        return  # refused before any run
    with pytest.raises(NoEffect, match=technique.name.split("[")[0].split("(")[0]):
        run(network(family), family, [technique], epochs=3, **settings(fragment))
