"""Which techniques a family of models, or a task, supports: for ``zoo list techniques --for``."""

import ast
from functools import cache

from zoo.cli.compose import did_you_mean
from zoo.cli.facts import Facts, attributes_of, checks
from zoo.cli.sources import MODULE, models, tasks, techniques
from zoo.errors import ZooError

# A family's classes, or one task; of several classes one that supports a technique is enough.
Wanted = tuple[str, list[str]]


@cache
def families() -> dict[str, list[str]]:
    """The classes that a user may choose as a model, by the name of their file: ``{"cnn": ["LeNet", "ResNet"]}``."""
    sources, found = models(), dict[str, list[str]]()
    parents = {base for name in sources for base in sources.bases(name)}
    for name in sorted(sources):
        if (
            name not in parents
            and not name.startswith("_")
            and MODULE in sources.lineage(name)[1:]
            and sources.file(name).parent.name == "zoo"
        ):
            found.setdefault(sources.file(name).stem, []).append(name)
    return found


def supports_family(found: Facts, family: str) -> bool:
    """Whether a technique can be used with a class of model."""
    sources = models()
    if found.supports in sources:
        if found.supports not in sources.lineage(family):
            return False
    elif found.supports in techniques() and not attributes_of(found.supports) <= sources.members(family):
        return False
    rank = input_rank(family)
    fits_rank = rank is None or found.rank in (None, rank)
    # What flattens its inputs is built for vectors and takes images as well.
    if not fits_rank and (found.built_for is not None or not flattens(family)):
        return False
    return all(_has_layer(family, protocol) for protocol in found.protocols)


@cache
def _has_layer(family: str, protocol: str) -> bool:
    """Whether one of the classes that a family's code names has what a protocol asks for."""
    return any(attributes_of(protocol) <= models().members(cls) for cls in models().mentioned(family))


def supports_task(found: Facts, task: str) -> bool:
    """Whether a technique can be used with a task."""
    return not found.tasks or bool(found.tasks & set(models().lineage(task)))


@cache
def input_rank(family: str) -> int | None:
    """Dimensions of a batch of inputs, from the example input that a family builds; None where there is none."""
    sources = models()
    for cls in sources.lineage(family):
        if cls in sources and "example_input_array" in sources.text(cls):
            for node in ast.walk(sources.node(cls)):
                match node:
                    case ast.Assign(
                        targets=[ast.Attribute(attr="example_input_array")], value=ast.Call(args=[_, *_] as sizes)
                    ):
                        return len(sizes)
    return None


@cache
def flattens(family: str) -> bool:
    """Whether ``forward`` flattens what it is given, so that inputs may have any shape."""
    forward = models().methods(family, below=MODULE).get("forward", [])
    return any("x.flatten(1)" in method.text for method in forward[:1])


def filters(words: list[str]) -> list[Wanted]:
    """What ``--for`` was given, as ("model", its classes) or ("task", [its class]); ZooError for an unknown name."""
    by_file, known_tasks = families(), {task.lower(): task for task in tasks()}
    by_class = {name.lower(): name for names in by_file.values() for name in names}
    found: list[Wanted] = []
    for word in words:
        key = word.lower()
        if key in by_file:
            found.append(("model", by_file[key]))
        elif key in by_class:
            found.append(("model", [by_class[key]]))
        elif key in known_tasks:
            found.append(("task", [known_tasks[key]]))
        else:
            known = [*by_file, *by_class.values(), *known_tasks]
            raise ZooError(
                f"--for {word}: no family, model or task of that name{did_you_mean(word, known)} (families:"
                f" {', '.join(by_file)}; tasks: {', '.join(known_tasks)}; `zoo list models` shows the models)"
            )
    return found


def fits(name: str, wanted: list[Wanted]) -> bool:
    """Whether a technique supports all that is wanted; of a family's classes one is enough."""
    found = checks(name)
    supported = {"model": supports_family, "task": supports_task}
    return all(any(supported[kind](found, cls) for cls in classes) for kind, classes in wanted)
