"""Drawing a token: the shares of each, and what cannot be asked for."""

from typing import Any

import pytest
import torch

from zoo.errors import ZooError
from zoo.generation import check_generation, draw_token

PROBABILITIES = torch.tensor([0.15, 0.5, 0.05, 0.3])


def shares(**arguments: Any) -> torch.Tensor:
    torch.manual_seed(0)
    logits = (PROBABILITIES.log() + 3).expand(20_000, -1)
    return draw_token(logits, **{"temperature": 1.0, **arguments}).bincount(minlength=4) / 20_000


@pytest.mark.parametrize(
    ("arguments", "kept"),
    [
        ({}, [0, 1, 2, 3]),
        ({"top_k": 2}, [1, 3]),
        ({"top_p": 0.5}, [1]),  # the likeliest has it all
        ({"top_p": 0.51}, [1, 3]),  # and the one that crosses p is in
        ({"top_p": 0.94}, [0, 1, 3]),
        ({"top_p": 1.0}, [0, 1, 2, 3]),
        ({"top_k": 3, "top_p": 0.84}, [1, 3]),  # of what top_k left, 0.8 / 0.95 are with two
    ],
)
def test_those_that_are_kept_are_drawn_as_often_as_they_are_likely(arguments: dict[str, Any], kept: list[int]) -> None:
    expected = torch.zeros(4)
    expected[kept] = PROBABILITIES[kept] / PROBABILITIES[kept].sum()
    drawn = shares(**arguments)
    torch.testing.assert_close(drawn, expected, atol=0.015, rtol=0)
    assert drawn[expected == 0].sum() == 0


def test_temperature_is_a_power() -> None:
    powers = PROBABILITIES**2
    torch.testing.assert_close(shares(temperature=0.5), powers / powers.sum(), atol=0.015, rtol=0)
    assert shares(temperature=0)[1] == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"temperature": -1.0}, r"temperature must be at least 0 and top_k lie in 1..20, got -1.0, None"),
        ({"top_k": 21}, r"got 1.0, 21$"),
        ({"top_p": 0.0}, r"top_p is a share in \(0, 1\], got 0.0"),
        (
            {"prompt": torch.zeros(2, 0, dtype=torch.int64)},
            r"a prompt has the shape \(B, T\), T at least 1, got \(2, 0",
        ),
    ],
)
def test_what_cannot_be_asked_for(arguments: dict[str, Any], message: str) -> None:
    usual = {"prompt": torch.zeros(2, 3, dtype=torch.int64), "temperature": 1.0, "top_k": None, "top_p": None}
    with pytest.raises(ZooError, match=message):
        check_generation(vocabulary_size=20, **{**usual, **arguments})
