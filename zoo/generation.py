"""How a language model writes: one token after the other, drawn from what it expects."""

import torch
from torch import Tensor

from zoo.errors import ZooError


def check_generation(
    prompt: Tensor, vocabulary_size: int, temperature: float, top_k: int | None, top_p: float | None
) -> None:
    """Raise ZooError for an empty prompt, a negative temperature, or a ``top_k`` or ``top_p`` that leaves no token."""
    if prompt.ndim != 2 or prompt.shape[1] < 1:
        raise ZooError(f"generate: a prompt has the shape (B, T), T at least 1, got {tuple(prompt.shape)}")
    if temperature < 0 or (top_k is not None and not 1 <= top_k <= vocabulary_size):
        raise ZooError(
            f"generate: temperature must be at least 0 and top_k lie in 1..{vocabulary_size}, got {temperature},"
            f" {top_k}"
        )
    if top_p is not None and not 0 < top_p <= 1:
        raise ZooError(f"generate: top_p is a share in (0, 1], got {top_p}")


def draw_token(logits: Tensor, temperature: float, top_k: int | None = None, top_p: float | None = None) -> Tensor:
    """One token for each row of logits (B, V), int64 (B,), from torch's global generator.

    Args:
        logits: (B, V).
        temperature: the logits are divided by it; below 1 sticks to the likely, 0 takes the likeliest.
        top_k: draw among the k likeliest alone.
        top_p: draw among the likeliest alone whose probabilities first add up to p. Holtzman et al., "The curious case
            of neural text degeneration", 2020, eq. 2. Behind ``top_k`` where both are given.
    """
    if temperature == 0:
        return logits.argmax(1)
    logits = logits.float() / temperature
    if top_k is not None:
        least = logits.topk(top_k, 1).values[:, -1:]
        logits = logits.masked_fill(logits < least, -torch.inf)
    probabilities = logits.softmax(1)
    if top_p is not None:
        ordered, order = probabilities.sort(1, descending=True)
        before = ordered.cumsum(1) - ordered  # so that the token that crosses p is still in
        probabilities = torch.zeros_like(probabilities).scatter(1, order, ordered.masked_fill(before >= top_p, 0))
    return torch.multinomial(probabilities, 1)[:, 0]
