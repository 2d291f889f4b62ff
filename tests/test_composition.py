"""Any two techniques that support a network train together, or say in one line that they do not.

Generated from the fragments in ``configs/techniques``: a new technique is in here without an edit. Two that are paired
train six steps, and again from a checkpoint of the fourth: weights and statistics have to agree to the bit, and the
module has to be as it was found. Or a ``Conflict`` names both and what to drop. There is no third outcome.

The default suite takes pairs that share a slot or a hook, and some partners more for each technique, chosen by a hash;
``-m slow`` takes every pair on the three main networks, and both orders of those that share something. A pair costs two
fits and about 0.09 s of one core. For 60 techniques that are 725 pairs (about a minute) and 4,403 pairs (about seven).
"""

import itertools
import logging
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer

from callbacks.optimizers.sgd import SGD
from callbacks.technique import Conflict, NoEffect, Technique, UnsupportedModule
from tests.composition import (
    FAMILIES,
    FRAGMENTS,
    InMemoryIO,
    SavesMidway,
    build,
    chance,
    changed,
    different,
    entries,
    light_trainers,
    network,
    own,
    run,
    sections,
    settings,
    takes,
    traces,
)
from zoo.cli import facts
from zoo.module import SupervisedModule, ZooModule

Make = Callable[[SupervisedModule], list[Technique]]
# Partners by hash of each technique in the default suite.
PARTNERS = {"mlp": 4, "cnn": 2, "tabular": 2, "tabm": 1, "ft": 1, "rnn": 1, "transformer": 1}
# On these, which differ from their neighbours in the network alone, that is all.
FEW = {"tabm", "ft", "rnn", "transformer"}
# Hooks that every technique has from its base say nothing about what it does.
COMMON = {"on_train_batch_end", "on_train_end"}


@pytest.fixture(autouse=True)
def _quick_and_quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    for name in ("lightning.pytorch", "lightning.fabric"):
        caplog.set_level(logging.ERROR, name)
    with light_trainers():
        yield


# Which pairs ----------------------------------------------------------------------------------------------------------


@cache
def classes(fragment: str) -> list[str]:
    """The techniques of a fragment, by class name."""
    return [str(entry["class_path"]).rsplit(".", 1)[-1] for entry in entries(fragment)]


@cache
def touched(fragment: str) -> set[str]:
    """Slots and hooks that a fragment's techniques use."""
    found = [facts.facts(name) for name in classes(fragment)]
    return {touch for of_one in found for touch in (*of_one.shared, *of_one.claimed, *of_one.hooks)} - COMMON


@cache
def supporting(family: str) -> list[str]:
    """The fragments that a family supports, as their sources say; ``test_what_the_source_says`` holds that to runs."""
    found = [fragment for fragment in FRAGMENTS if "MATRIX_SKIP" not in own(fragment)]
    return [fragment for fragment in found if all(takes(family, name) for name in classes(fragment))]


def can_meet(first: str, second: str) -> bool:
    return first != second and not sections(first) & sections(second)


@cache
def pairs(family: str, exhaustive: bool) -> dict[str, list[tuple[str, str]]]:
    """For each fragment the pairs, in order of application, that its test runs."""
    known = supporting(family)
    near = {
        frozenset((first, second))
        for first in known
        for second in sorted((s for s in known if can_meet(first, s)), key=lambda s: chance(family, first, s))[
            : len(known) if exhaustive else PARTNERS[family]
        ]
    }
    found: dict[str, list[tuple[str, str]]] = {fragment: [] for fragment in known}
    for first, second in itertools.combinations(known, 2):
        shares = can_meet(first, second) and bool(touched(first) & touched(second)) and family not in FEW
        if not shares and frozenset((first, second)) not in near:
            continue
        order = (first, second) if chance(family, first, second, "order") < 0.5 else (second, first)
        found[order[0]].append(order)
        if exhaustive and shares:
            found[order[1]].append(order[::-1])
    return found


# What happens to them -------------------------------------------------------------------------------------------------


def outcome(family: str, make: Make, **asked: Any) -> str:
    """Train six steps and again from the fourth: "trains", "conflict: TEXT", "refused: TEXT", or what is wrong."""
    module, again, io = network(family), network(family), InMemoryIO()
    before = traces(module)
    try:
        run(module, family, [*make(module), SavesMidway()], io, **asked)
        run(again, family, [*make(again)], io, resume=True, **asked)
    except Conflict as error:
        said = f"conflict: {error}"
    except (UnsupportedModule, NoEffect) as error:
        said = f"refused: {error}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    else:
        said = "trains"
        if differ := different(module, again):
            return f"resumed from a checkpoint it ends elsewhere: {', '.join(differ[:3])}"
        if left := changed(before, traces(again)):
            return f"the second fit leaves {left[:3]}"
    if left := changed(before, traces(module)):
        return f"the fit leaves {left[:3]}"
    return said


@cache
def alone(family: str, fragment: str, folder: Path) -> str:
    """What happens to one technique without company."""
    return outcome(family, lambda module: build(fragment, module, folder), **settings(fragment))


def problem(family: str, first: str, second: str, folder: Path) -> str | None:
    """What is wrong with a pair, or None."""

    def make(module: SupervisedModule) -> list[Technique]:
        return [*build(first, module, folder), *build(second, module, folder)]

    said = outcome(family, make, **settings(first, second))
    if said == "trains":
        return None
    if said.startswith("refused: ") and any(alone(family, f, folder).startswith("refused: ") for f in (first, second)):
        return None  # not for this network, whatever the company
    if not said.startswith("conflict: "):
        return said
    named = all(any(name in said for name in classes(fragment)) for fragment in (first, second))
    return None if named and "drop" in said else f"does not name both and what to drop: {said}"


def check(family: str, fragment: str, exhaustive: bool, folder: Path) -> None:
    found = {pair: problem(family, *pair, folder) for pair in pairs(family, exhaustive)[fragment]}
    wrong = [f"({a}, {b}) on {family}: {text}" for (a, b), text in found.items() if text is not None]
    assert not wrong, "\n".join(wrong)


CASES = [pytest.param(family, f, id=f"{family}-{f.split('/')[-1]}") for family in FAMILIES for f in supporting(family)]


@pytest.mark.parametrize(("family", "fragment"), CASES)
def test_pairs_train_or_say_that_they_do_not(family: str, fragment: str, tmp_path: Path) -> None:
    check(family, fragment, exhaustive=False, folder=tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(("family", "fragment"), [case for case in CASES if case.values[0] not in FEW])
def test_every_pair_trains_or_says_that_it_does_not(family: str, fragment: str, tmp_path: Path) -> None:
    check(family, fragment, exhaustive=True, folder=tmp_path)


def test_every_technique_is_here() -> None:
    """One that no network of the matrix supports is for another kind of module, or its tests say why it is missing."""
    covered = {fragment for family in FAMILIES for fragment in supporting(family)}
    for fragment in set(FRAGMENTS) - covered:
        reason = own(fragment).get("MATRIX_SKIP")
        other_kind = any(
            facts.facts(name).supports not in ("ZooModule", "SupervisedModule") for name in classes(fragment)
        )
        assert reason or other_kind, f"{fragment} is in no pair; see the head of tests/composition.py"


# The matrix notices what it is there for ------------------------------------------------------------------------------


class Careless(Technique):
    """A technique with one fault."""

    def __init__(self, fault: str) -> None:
        self.fault, self.steps = fault, 0

    def attach(self, module: ZooModule) -> None:
        self.acted()
        if self.fault == "hook":
            module.register_forward_hook(lambda *_: None)
        elif self.fault == "frozen":
            next(module.parameters()).requires_grad_(False)
        elif self.fault == "error":
            raise KeyError("lost")
        elif self.fault == "conflict":
            raise Conflict("not with each other")

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: Any, optimizer: torch.optim.Optimizer) -> None:
        self.steps += 1  # not in the checkpoint
        if self.fault == "state":
            for parameter in pl_module.parameters():
                parameter.grad.mul_(self.steps)


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        ("hook", "fit leaves [' _forward_hooks"),
        ("frozen", "fit leaves ['backbone.0.linear.weight trained: False']"),
        ("error", "KeyError: 'lost'"),
        ("state", "resumed from a checkpoint it ends elsewhere"),
        ("conflict", "conflict: not with each other"),
        ("none", "trains"),
    ],
)
def test_faults_are_noticed(fault: str, text: str) -> None:
    assert text in outcome("mlp", lambda module: [SGD(), Careless(fault)])
