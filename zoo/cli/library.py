"""What there is, and networks by name: the parts of ``zoo.list`` and ``zoo.create``."""

from collections.abc import Iterable
from fnmatch import fnmatchcase
from importlib import import_module
from inspect import Parameter, signature
from typing import TYPE_CHECKING, Any

from zoo.cli import catalog
from zoo.cli.compose import did_you_mean
from zoo.cli.sources import models, tasks
from zoo.cli.support import families
from zoo.errors import ZooError
from zoo.weights import index

if TYPE_CHECKING:
    from zoo.module import ZooModule
    from zoo.task import Task

_KINDS = {"recipes": catalog.recipes, "models": catalog.models, "data": catalog.data, "techniques": catalog.techniques}


def listed(kind: str, pattern: str) -> list[str]:
    """See ``zoo.list``."""
    names: Iterable[str]
    if kind == "pretrained":
        names = index.entries()
    elif kind in _KINDS:
        names = [entry.name for entry in _KINDS[kind]()]
    else:
        known = ["pretrained", *_KINDS]
        raise ZooError(f"zoo.list knows no {kind!r}{did_you_mean(kind, known)} ({', '.join(known)})")
    return sorted(name for name in names if fnmatchcase(name, pattern))


def created(family: str, task: "str | Task | None", arguments: dict[str, Any]) -> "ZooModule":
    """See ``zoo.create``."""
    cls = _family(family)
    wanted = signature(cls, eval_str=True).parameters
    own = {name: value for name, value in arguments.items() if name in wanted}
    rest = {name: value for name, value in arguments.items() if name not in wanted}
    if "task" in wanted:
        if task is None or isinstance(task, str):
            task_class = _task(task, wanted["task"])
            asked = signature(task_class).parameters
            of_task = {name: value for name, value in arguments.items() if name in asked}
            rest = {name: value for name, value in rest.items() if name not in asked}
            _require(task_class, asked.values(), of_task)
            task = task_class(**of_task)
        own["task"] = task
    elif task is not None:
        raise ZooError(f"{cls.__name__} takes no task")
    if rest:
        name = next(iter(rest))
        raise ZooError(f"neither {cls.__name__} nor its task has an argument {name!r}{did_you_mean(name, [*wanted])}")
    _require(cls, wanted.values(), own)
    module: ZooModule = cls(**own)
    return module


def _family(family: str) -> Any:
    word = family.rsplit(".", 1)[-1]
    known = [name for classes in families().values() for name in classes]
    found = next((name for name in known if name.lower() == word.lower()), None)
    if found is None:
        raise ZooError(f"no family {family!r}{did_you_mean(word, known)} ({', '.join(sorted(known))})")
    return getattr(import_module(f"zoo.{models().file(found).stem}"), found)


def _task(name: str | None, parameter: Parameter) -> Any:
    from zoo import task
    from zoo.cli.spelling import classes_in

    if name is None:
        base = next(iter(classes_in(parameter.annotation)), task.Task)
        return task.Classification if base is task.Task else base
    if name not in tasks():
        raise ZooError(f"no task {name!r}{did_you_mean(name, tasks())} ({', '.join(sorted(tasks()))})")
    return getattr(task, name)


def _require(cls: Any, parameters: Iterable[Parameter], given: dict[str, Any]) -> None:
    lacking = [p.name for p in parameters if p.default is p.empty and p.name not in given]
    if lacking:
        raise ZooError(f"{cls.__name__} needs {' and '.join(lacking)}")
