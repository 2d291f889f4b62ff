"""What a model takes over from its data, so that nothing is typed twice and nothing can disagree."""

from typing import Any

from jsonargparse import Namespace
from lightning.pytorch import LightningDataModule
from lightning.pytorch.cli import LightningArgumentParser

from zoo.errors import ZooError

# (fact that the data state, where the model takes it)
LINKS: tuple[tuple[str, str], ...] = (
    ("in_features", "model.init_args.in_features"),
    ("in_channels", "model.init_args.in_channels"),
    ("image_size", "model.init_args.image_size"),
    ("num_classes", "model.init_args.task.init_args.num_classes"),
    ("num_targets", "model.init_args.task.init_args.num_targets"),
)


def add_links(parser: LightningArgumentParser) -> None:
    """Link every fact; a model that has no such argument is left alone."""
    for fact, target in LINKS:
        parser.link_arguments("data", target, compute_fn=Fact(fact), apply_on="instantiate")


class Fact:
    """Reads one fact from the data; an error of one line where the data do not state it.

    Args:
        name: attribute of the DataModule, such as "num_classes".
    """

    def __init__(self, name: str) -> None:
        self.name = self.__name__ = name

    def __call__(self, data: LightningDataModule) -> Any:
        if not hasattr(type(data), self.name) and not hasattr(data, self.name):
            raise ZooError(f"the model asks for {self.name}, which {type(data).__name__} does not state")
        return getattr(data, self.name)


def linked_values(section: Namespace, data: LightningDataModule) -> dict[tuple[str, ...], Any]:
    """The facts that this configuration's model took over, by their place in the configuration."""
    values = {}
    for fact, target in LINKS:
        *parents, name = target.split(".")
        holder = section.get(".".join(parents))
        if isinstance(holder, Namespace) and name in accepted(section, target):
            values[tuple(target.split("."))] = Fact(fact)(data)
    return values


def accepted(section: Namespace, target: str) -> list[str]:
    """Names of the arguments that the class at ``target`` accepts."""
    import inspect

    from jsonargparse._util import import_object

    class_path = section.get(target.rsplit(".init_args.", 1)[0] + ".class_path")
    return list(inspect.signature(import_object(class_path)).parameters) if class_path else []
