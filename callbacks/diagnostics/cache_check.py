"""Does generation with kept keys and values say what reading the whole text anew says?"""

import inspect
from typing import Protocol, cast, runtime_checkable

import torch
from torch import Tensor, nn

from callbacks.diagnostics.sequence_checks import OF_SIZE
from zoo.batch import Batch
from zoo.module import SupervisedModule

STEPS = 6


@runtime_checkable
class GeneratesCached(Protocol):
    """A model that goes on with texts, with or without a cache, through its layer ``head``."""

    head: nn.Module

    def generate(self, prompt: Tensor, steps: int, temperature: float = 1.0, *, cached: bool = True) -> Tensor: ...


def generates_cached(module: SupervisedModule) -> bool:
    """Whether the model can generate in both ways."""
    return isinstance(module, GeneratesCached) and "cached" in inspect.signature(module.generate).parameters


def read_cache(module: SupervisedModule, batch: Batch) -> str | None:
    """Let the model go on with the beginnings of two texts in both ways, taking the likeliest token each time.

    Returns:
        None where the logits agree, but for rounding, while both have written the same; or where they first differ.
    """
    prompt = batch.x[:2, : max(1, batch.x.shape[1] // 2)]
    steps = min(STEPS, batch.x.shape[1] - prompt.shape[1] + 1)
    (kept, fast), (anew, slow) = (_generate(cast(GeneratesCached, module), prompt, steps, c) for c in (True, False))
    for step, (ours, theirs) in enumerate(zip(fast, slow)):
        half = theirs.is_floating_point() and theirs.element_size() < 4
        difference, size = (ours.double() - theirs.double()).abs().max().item(), theirs.abs().max().item()
        if difference > OF_SIZE[half] * max(size, 1.0):
            return f"by {difference:.2g} at generated token {step} (logits are up to {size:.2g})"
        length = prompt.shape[1] + step + 1
        if not torch.equal(kept[:, :length], anew[:, :length]):
            return None  # two likeliest tokens that rounding decides between
    return None


def _generate(module: GeneratesCached, prompt: Tensor, steps: int, cached: bool) -> tuple[Tensor, list[Tensor]]:
    """The text, and the logits of each step (B, vocabulary)."""
    said: list[Tensor] = []
    handle = module.head.register_forward_hook(lambda layer, args, output: said.append(output.detach().clone()))
    try:
        tokens = module.generate(prompt, steps, temperature=0.0, cached=cached)
    finally:
        handle.remove()
    return tokens, [logits if logits.ndim == 2 else logits[:, -1] for logits in said]
