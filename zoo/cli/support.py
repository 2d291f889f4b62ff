"""Which techniques a family of models, or a task, supports: for ``zoo list techniques --for``."""

from functools import cache

from zoo.cli.compose import did_you_mean
from zoo.cli.facts import Facts, facts
from zoo.cli.sources import MODULE, models, tasks, techniques
from zoo.errors import ZooError

# A family's classes, or one task; of several classes one that supports a technique is enough.
Wanted = tuple[str, list[str]]


@cache
def families() -> dict[str, list[str]]:
    """The classes that a user may choose as a model, by the name of their file: ``{"cnn": ["LeNet", "ResNet"]}``."""
    found = dict[str, list[str]]()
    for name in models().leaves(MODULE):
        if models().file(name).parent.name == "zoo":
            found.setdefault(models().file(name).stem, []).append(name)
    return found


def supports_family(found: Facts, family: str) -> bool:
    """Whether a technique can be used with a class of model."""
    sources = models()
    if found.supports in sources:
        if found.supports not in sources.lineage(family):
            return False
    elif not techniques().members(found.supports) <= sources.members(family):
        return False
    takes = set(sources.words(family, "takes"))
    return not found.inputs or not takes or bool(takes & set(found.inputs))


def supports_task(found: Facts, task: str) -> bool:
    """Whether a technique can be used with a task."""
    return not found.tasks or bool(set(found.tasks) & set(models().lineage(task)))


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
    found = facts(name)
    supported = {"model": supports_family, "task": supports_task}
    return all(any(supported[kind](found, cls) for cls in classes) for kind, classes in wanted)
