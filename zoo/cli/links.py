"""What a model takes over from its data, so that nothing is typed twice and nothing can disagree."""

import re
from typing import Any

from jsonargparse import Namespace
from lightning.pytorch import LightningDataModule
from lightning.pytorch.cli import LightningArgumentParser

from zoo.errors import ZooError

# (fact that the data state, where the model takes it)
LINKS: tuple[tuple[str, str], ...] = (
    ("in_features", "model.init_args.in_features"),
    ("in_channels", "model.init_args.in_channels"),
    ("cardinalities", "model.init_args.cardinalities"),
    ("image_size", "model.init_args.image_size"),
    ("num_channels", "model.init_args.num_channels"),
    ("vocabulary_size", "model.init_args.vocabulary_size"),
    ("source_vocabulary_size", "model.init_args.source_vocabulary_size"),
    ("document_end", "model.init_args.document_end"),
    ("window", "model.init_args.window"),
    ("num_classes", "model.init_args.task.init_args.num_classes"),
    ("num_targets", "model.init_args.task.init_args.num_targets"),
    ("horizon", "model.init_args.task.init_args.horizon"),
    ("gap", "model.init_args.task.init_args.gap"),
    ("vocabulary_size", "model.init_args.task.init_args.vocabulary_size"),
    ("sample_shape", "model.init_args.generator.init_args.sample_shape"),
    ("sample_shape", "model.init_args.discriminator.init_args.sample_shape"),
    ("num_classes", "model.init_args.generator.init_args.num_classes"),
    ("num_classes", "model.init_args.discriminator.init_args.num_classes"),
)


def add_links(parser: LightningArgumentParser, wanted: set[str]) -> None:
    """Link every fact; ``wanted`` names those that the chosen model takes, and is filled before classes are built."""
    for fact, target in LINKS:
        parser.link_arguments("data", target, compute_fn=Fact(fact, wanted), apply_on="instantiate")


def wanted_facts(section: Namespace) -> set[str]:
    """The facts that the model and the task of a parsed configuration have arguments for."""
    return {fact for fact, target in LINKS if target in section}


class Fact:
    """Reads one fact from the data; an error of one line where the data do not state it.

    Args:
        name: attribute of the DataModule, such as "num_classes".
        wanted: the facts that are asked for; others are not read, since the data need not state them.
    """

    def __init__(self, name: str, wanted: set[str]) -> None:
        self.name = self.__name__ = name
        self.wanted = wanted

    def __call__(self, data: LightningDataModule) -> Any:
        if self.name not in self.wanted:
            return None
        if not hasattr(type(data), self.name) and not hasattr(data, self.name):
            raise ZooError(f"the model asks for {self.name}, which {type(data).__name__} does not state")
        return getattr(data, self.name)


def linked_values(section: Namespace, data: LightningDataModule) -> dict[tuple[str, ...], Any]:
    """The facts that this configuration's model took over, by their place in the configuration."""
    wanted = wanted_facts(section)
    return {tuple(target.split(".")): Fact(fact, wanted)(data) for fact, target in LINKS if target in section}


def refuse_contradictions(section: Namespace, built: Namespace, argv: list[str]) -> None:
    """Raise ZooError where a value was given by hand that differs from what the data state: jsonargparse drops it.

    Args:
        section: the parsed configuration of a command.
        built: the same with its classes built; ``built.data`` states the facts.
        argv: what was parsed. A constructor's own default stands in ``section`` too, and only this tells them apart.
    """
    data = built.get("data")
    for fact, target in LINKS:
        given = section.get(target)
        if data is None or given is None or target not in section:
            continue
        stated = getattr(data, fact)
        named = re.compile(rf"\b{fact}\b")
        of_model = [argument for argument in argv if not argument.startswith("--data")]
        if given != stated and any(named.search(argument) for argument in of_model):
            option = f"--{target.replace('.init_args', '')}"
            raise ZooError(
                f"{option} is given as {given}, but {type(data).__name__} states {fact} = {stated}; leave it out,"
                " models take it over from their data"
            )
