"""Lightning's argument parser with errors of one line."""

import difflib
import re
import sys
from typing import Any, NoReturn

from lightning.pytorch.cli import LightningArgumentParser


class ZooParser(LightningArgumentParser):
    """Says what is wrong in one line, with the nearest name that would be right, and exits with status 2."""

    def __init__(self, *args: Any, **options: Any) -> None:
        # Abbreviations would take --trainer.max_epoch for max_epochs, and any typo for something.
        super().__init__(*args, **{**options, "allow_abbrev": False})

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        print(f"zoo: error: {explain(message, self.known_options())}", file=sys.stderr)
        raise SystemExit(2)

    def known_options(self) -> list[str]:
        """All options of this parser, such as ``--trainer.max_epochs``."""
        return [option for action in self._actions for option in action.option_strings if option.startswith("--")]


def explain(message: str, options: list[str]) -> str:
    """Turn jsonargparse's report into one line; what is not recognised is passed on, flattened."""
    return " ".join(message.split())
