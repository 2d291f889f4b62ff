"""What the tests of techniques for transformers share: a tiny GPT on a small real text."""

from typing import Any

import torch
from lightning.pytorch import Callback, Trainer

from tests.callbacks.sequence_checks import Text, fit, text, vocabulary_size
from zoo.layers.transformer import BlockDesign
from zoo.task import LanguageModeling
from zoo.transformer import GPT

WINDOW = 32


def gpt(width: int = 16, layers: int = 2, dropout: float = 0.0, block: dict[str, Any] | None = None,
        **arguments: Any) -> GPT:  # fmt: skip
    torch.manual_seed(0)
    size = vocabulary_size()
    design = BlockDesign(**{"heads": 2, **(block or {})})
    return GPT(size, WINDOW, LanguageModeling(size, "character"), width, layers, dropout=dropout, block=design,
               **arguments)  # fmt: skip


def tokens(**arguments: Any) -> Text:
    return text(mode="shuffle", **arguments)


def train(module: GPT, *callbacks: Callback, epochs: int = 1, steps: int | None = None, **settings: Any) -> Trainer:
    limits = {"max_steps": steps, "limit_val_batches": 0} if steps is not None else {}
    return fit(module, tokens(), *callbacks, epochs=epochs if steps is None else -1, **limits, **settings)


def start(module: GPT, *schemes: Callback) -> GPT:
    """The module with the weights with which training would begin."""
    fit(module, tokens(), *schemes, epochs=0)
    return module
