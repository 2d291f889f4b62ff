"""How a translation is found, token by token: the likeliest at every step, or the best of several that are kept."""

from typing import Protocol

import torch
from torch import Tensor

from zoo.errors import ZooError
from zoo.tasks.step_labels import IGNORED
from zoo.tasks.translation import END

BEAM = 5  # beginnings that are followed where nobody says how many; more than 10 rarely finds better ones


class Continues(Protocol):
    """What says how some beginnings of texts go on."""

    def next(self, tokens: Tensor) -> Tensor:
        """Log-probabilities of the next token, (R, V), of all tokens so far, int64 (R, t)."""

    def select(self, rows: Tensor) -> None:
        """Go on with these of its R rows, int64 (R',)."""


def check_search(beam: int, length_penalty: float, most: int | None) -> None:
    """Raise ZooError where a search keeps nothing, favours short texts, or may write nothing."""
    if beam < 1:
        raise ZooError(f"translate: beam must be at least 1, got {beam}")
    if length_penalty < 0:
        raise ZooError(f"translate: length_penalty must be at least 0, got {length_penalty}")
    if most is not None and most < 1:
        raise ZooError(f"translate: most must be at least 1, got {most}")


def penalty(length: int, strength: float) -> float:
    """((5 + length) / 6)^strength, by which the log-probability of a text is divided.

    Wu et al., "Google's neural machine translation system", 2016, section 7.
    """
    return ((5 + length) / 6) ** strength


def greedy(decoder: Continues, begin: Tensor, most: int) -> Tensor:
    """The likeliest token at every step.

    Rows that have ended leave the batch. The last of ``most`` tokens is END whatever is likeliest.

    Args:
        decoder: what says how texts go on.
        begin: int64 (B, 1), the token that every text begins with.
        most: tokens of a text, END included.

    Returns:
        int64 (B, T), without the first token and with END; -100 behind it.
    """
    found = begin.new_full((len(begin), most), IGNORED)
    rows, tokens = torch.arange(len(begin), device=begin.device), begin
    for step in range(most):
        said = decoder.next(tokens).argmax(1)
        if step == most - 1:
            said = torch.full_like(said, END)
        found[rows, step] = said
        tokens = torch.cat([tokens, said[:, None]], 1)
        going = (said != END).nonzero()[:, 0]
        if not len(going):
            break
        if len(going) < len(rows):
            rows, tokens = rows[going], tokens[going]
            decoder.select(going)
    return _trimmed(found)


def beam_search(decoder: Continues, begin: Tensor, most: int, beam: int, length_penalty: float) -> Tensor:
    """The best of all texts that end while the ``beam`` likeliest beginnings are followed.

    A text is as good as its log-probability by ``penalty`` of its length. The search for a row is over when as many
    texts as ``beam`` have ended, each while it was among the ``beam`` likeliest, or when no beginning can still become
    better than the best of them. The row then leaves the batch.

    Args:
        decoder, begin, most: as in ``greedy``; the decoder has ``beam`` rows for each of ``begin``, side by side.
        beam: beginnings that are kept; 1 is greedy.
        length_penalty: 0 prefers the likeliest text and so short ones; 0.6 to 1 makes up for length.

    Returns:
        As ``greedy``.
    """
    device, size = begin.device, len(begin)
    found = begin.new_full((size, most), IGNORED)
    rows = torch.arange(size, device=device)
    tokens = begin[:, None].expand(size, beam, 1)
    scores = torch.full((size, beam), -torch.inf, device=device)
    scores[:, 0] = 0  # the others are the same text
    best, ended = scores.new_full((size,), -torch.inf), rows.new_zeros(size)
    for length in range(1, most + 1):
        said = decoder.next(tokens.flatten(0, 1)).float().unflatten(0, (-1, beam))  # (rows, beam, V)
        if length == most:
            said[..., :END] = said[..., END + 1 :] = -torch.inf
        vocabulary = said.shape[2]
        # One END for each beginning: of twice as many candidates, at least ``beam`` go on.
        top, place = (scores[:, :, None] + said).flatten(1).topk(2 * beam, 1)
        parent, token = place // vocabulary, place % vocabulary
        ends = (token == END) & top.isfinite()

        endings = top[:, :beam].masked_fill(~ends[:, :beam], -torch.inf) / penalty(length, length_penalty)
        ended += ends[:, :beam].sum(1)
        value, which = endings.max(1)
        better = (value > best).nonzero()[:, 0]
        best = torch.maximum(best, value)
        text = tokens[better, parent[better, which[better]], 1:]
        found[rows[better], : length - 1], found[rows[better], length - 1] = text, END

        order = (token == END).long().argsort(dim=1, stable=True)[:, :beam]
        scores, parent, token = (x.gather(1, order) for x in (top, parent, token))
        hopeless = best >= scores[:, 0] / penalty(most, length_penalty)
        going = ((ended < beam) & ~hopeless).nonzero()[:, 0]
        if length == most or not len(going):
            break
        parent, token, scores = parent[going], token[going], scores[going]
        tokens = torch.cat([tokens[going[:, None], parent], token[:, :, None]], 2)
        rows, best, ended = rows[going], best[going], ended[going]
        decoder.select((going[:, None] * beam + parent).flatten())
    return _trimmed(found)


def _trimmed(found: Tensor) -> Tensor:
    """Without the columns in which no text has a token."""
    return found[:, : int((found != IGNORED).sum(1).max())]
