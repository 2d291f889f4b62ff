"""Lightning's argument parser with errors of one line."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from jsonargparse import Namespace
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.cli import LightningArgumentParser
from lightning.pytorch.loggers import WandbLogger

from callbacks.reporting.wandb import wandb_run
from zoo.cli.errors import explain, zoo_error
from zoo.cli.links import refuse_contradictions
from zoo.cli.spelling import argument_types, classes_in, concrete
from zoo.errors import UsageError, ZooError

# Sections of one class each; what any class of them takes is worth a "did you mean".
_SECTIONS = ("--model", "--data", "--optimizer", "--schedule", "--init")
# Words that Lightning takes in place of a checkpoint's path.
_CHECKPOINT_WORDS = ("best", "last", "hpc")


class ZooParser(LightningArgumentParser):
    """Says what is wrong in one line, with the nearest name that would be right, and leaves with status 2."""

    def __init__(self, *args: Any, **options: Any) -> None:
        # Abbreviations would take --trainer.max_epoch for max_epochs, and any typo for something.
        super().__init__(*args, **{**options, "allow_abbrev": False})

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        if not self.exit_on_error:  # a parser of one class, inside another: its report becomes part of the outer one
            super().error(message, ex)
        raise UsageError(explain(message, self.known_options()))

    def known_options(self) -> dict[str, Any]:
        """All options of this parser and its subcommands, such as ``--trainer.max_epochs``, with their types."""
        commands = self._subcommands_action.choices.values() if self._subcommands_action is not None else []
        options: dict[str, Any] = {}
        for parser in (self, *commands):
            for action in parser._actions:
                for name in action.option_strings:
                    if name.startswith("--") and not name.endswith(("+", ".help")):
                        options[name] = getattr(action, "_typehint", None)
        for section in _SECTIONS:
            for cls in [cls for base in classes_in(options.get(section)) for cls in concrete(base)]:
                for argument, kind in argument_types(cls).items():
                    options.setdefault(f"{section}.{argument}", kind)
        return options

    def instantiate(
        self, namespace: Namespace, instantiate_groups: bool = True, *, instantiators: Any = None
    ) -> Namespace:
        """Build all classes; whatever a constructor complains of becomes a ZooError."""
        if not self.exit_on_error:
            return super().instantiate(namespace, instantiate_groups, instantiators=instantiators)
        _check_settings(namespace)
        raised: list[ZooError] = []

        def build(cls: type, /, *args: Any, **arguments: Any) -> Any:
            # Where a type has alternatives jsonargparse tries them all and drops the errors of most: remember ours.
            try:
                with complaints_of(cls.__name__):
                    # The configuration names Lightning's logger; the run gets the one that records all of it.
                    return wandb_run(arguments) if cls is WandbLogger else cls(*args, **arguments)
            except ZooError as error:
                raised.append(error)
                raise

        known: ZooError | None
        try:
            built = super().instantiate(namespace, instantiate_groups, instantiators=[(build, object, True)])
        except Exception as error:
            known = zoo_error(error) or (raised[-1] if raised and isinstance(error, ValueError) else None)
            if known is None:
                raise
        else:
            refuse_contradictions(namespace, built, self.args)
            return built
        raise known


@contextmanager
def complaints_of(name: str, *also: type[Exception]) -> Iterator[None]:
    """Turn what a library says about the values that it was given into a ZooError that names the class.

    Args:
        name: the class that is built.
        also: errors that are complaints here, beside ValueError and MisconfigurationException.
    """
    kinds: tuple[type[Exception], ...] = (ValueError, MisconfigurationException, *also)
    try:
        yield
    except ZooError:
        raise
    except kinds as error:
        raise ZooError(f"{name}: {' '.join(str(error).split())}") from error


def _check_settings(namespace: Namespace) -> None:
    """Raise ZooError for what jsonargparse lets pass and Lightning would stumble over."""
    trainer = namespace.get("trainer")
    if trainer is not None and not isinstance(trainer, Namespace):
        raise ZooError(f"trainer is a section with keys such as max_epochs, not {trainer!r}")
    path = namespace.get("ckpt_path")
    if isinstance(path, str) and path not in _CHECKPOINT_WORDS and not Path(path).exists():
        raise ZooError(f"--ckpt_path {path}: there is no such file; checkpoints are kept in RUN/checkpoints/")
