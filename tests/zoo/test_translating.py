"""Searches: beams against every text there is, and against a plain loop over one row; one beam is greedy."""

import itertools
import math

import pytest
import torch
from torch import Tensor

from zoo.translating import beam_search, greedy, penalty

V = 4  # 0 begins, 1 ends, 2 and 3 are words


class Table:
    """Says what comes next by a table over the last two tokens, another one for each row."""

    def __init__(self, rows: int, beam: int, sharp: float = 1.5, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)
        tables = (sharp * torch.randn(rows, V, V, V, generator=generator)).log_softmax(3)
        self.tables = tables
        self.rows = torch.arange(rows).repeat_interleave(beam)
        self.asked: list[int] = []

    def next(self, tokens: Tensor) -> Tensor:
        self.asked.append(len(tokens))
        before = tokens[:, -2] if tokens.shape[1] > 1 else torch.zeros(len(tokens), dtype=torch.int64)
        return self.tables[self.rows, before, tokens[:, -1]]

    def select(self, rows: Tensor) -> None:
        self.rows = self.rows[rows]


def log_probability(table: Tensor, text: tuple[int, ...], most: int) -> float:
    total, read = 0.0, (0, 0, *text)
    for step in range(len(text)):
        total += float(table[read[step], read[step + 1], read[step + 2]])
    return total


def every_text(most: int) -> list[tuple[int, ...]]:
    words = (0, 2, 3)
    return [(*text, 1) for size in range(most) for text in itertools.product(words, repeat=size)]


def texts(found: Tensor) -> list[tuple[int, ...]]:
    return [tuple(token for token in row if token != -100) for row in found.tolist()]


@pytest.mark.parametrize("length_penalty", [0.0, 0.6, 1.0, 2.0])
def test_a_wide_beam_finds_the_best_of_all_texts(length_penalty: float) -> None:
    most, rows = 5, 12
    everything = every_text(most)
    beam = len(everything) + 1
    decoder = Table(rows, beam)
    found = texts(beam_search(decoder, torch.zeros(rows, 1, dtype=torch.int64), most, beam, length_penalty))

    def worth(table: Tensor, text: tuple[int, ...]) -> float:
        return log_probability(table, text, most) / penalty(len(text), length_penalty)

    best = [max(everything, key=lambda text, table=table: worth(table, text)) for table in decoder.tables]
    assert found == best
    assert len(set(map(len, best))) > 2


def slow_beam(table: Tensor, most: int, beam: int, strength: float) -> tuple[int, ...]:
    """The same search over one row, with lists."""
    live, finished = [(0.0, (0, 0))], []
    for length in range(1, most + 1):
        further = [(score + float(table[text[-2], text[-1], token]), (*text, token))
                   for score, text in live for token in range(V) if length < most or token == 1]  # fmt: skip
        further.sort(key=lambda pair: -pair[0])
        finished += [(s / ((5 + length) / 6) ** strength, t) for s, t in further[:beam] if t[-1] == 1]
        live = [pair for pair in further if pair[1][-1] != 1][:beam]
        best = max((value for value, _ in finished), default=-math.inf)
        if len(finished) >= beam or not live or best >= live[0][0] / ((5 + most) / 6) ** strength:
            break
    return max(finished)[1][2:]


@pytest.mark.parametrize("beam", [1, 2, 3, 5])
@pytest.mark.parametrize("length_penalty", [0.0, 0.6])
def test_equals_a_loop_over_one_row(beam: int, length_penalty: float) -> None:
    rows, most = 60, 9
    decoder = Table(rows, beam, seed=1)
    found = texts(beam_search(decoder, torch.zeros(rows, 1, dtype=torch.int64), most, beam, length_penalty))
    assert found == [slow_beam(table, most, beam, length_penalty) for table in decoder.tables]


def test_one_beam_is_greedy_and_rows_that_have_ended_leave() -> None:
    rows = 60
    begin = torch.zeros(rows, 1, dtype=torch.int64)
    first, second = Table(rows, 1), Table(rows, 1)
    found = greedy(first, begin, 9)
    assert torch.equal(found, beam_search(second, begin, 9, 1, 0.6))
    assert first.asked == second.asked
    lengths = (found != -100).sum(1)
    assert first.asked == [int((lengths > step).sum()) for step in range(len(first.asked))]
    for row, table in zip(texts(found), first.tables):
        for step in range(len(row) - 1):
            read = (0, 0, *row)
            assert row[step] == int(table[read[step], read[step + 1]].argmax())


def test_length_penalty_by_hand() -> None:
    assert penalty(1, 0.6) == 1
    assert penalty(7, 0.0) == 1
    assert penalty(7, 1.0) == 2
