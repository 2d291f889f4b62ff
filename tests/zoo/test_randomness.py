"""Draws are functions of where they are made: reference values, independence of company, statistics over seeds."""

import random

import numpy as np
import pytest
import torch
from lightning.pytorch import seed_everything

from zoo import randomness
from zoo.randomness import key, permutation, run_seed, seed_step, uniform

# The first outputs of the reference implementation of SplitMix64 for the seed 1234567.
REFERENCE = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821]
GAMMA = 0x9E3779B97F4A7C15


def test_splitmix_is_the_published_one() -> None:
    states = [(1234567 + n * GAMMA) % 2**64 for n in range(5)]
    assert [randomness._splitmix(state) for state in states] == REFERENCE
    tensor = randomness._splitmix_tensor(torch.tensor([randomness._signed(state) for state in states]))
    assert [int(word) % 2**64 for word in tensor] == REFERENCE


def test_key_is_the_same_in_every_process() -> None:
    # Another number here would mean other data orders and masks in every run that is taken up.
    assert key(3, "order", -1) == 5074575893576147182


def test_keys_differ_by_value_and_order() -> None:
    keys = [key(a, name, b) for a in range(20) for name in ("order", "step", "crop") for b in range(20)]
    assert len(set(keys)) == 1200
    assert all(0 <= k < 2**64 for k in keys)


def test_permutation_is_a_function_of_its_parts() -> None:
    first = permutation(100, 1, "order", 2)
    torch.rand(7)  # what others draw changes nothing
    assert torch.equal(first, permutation(100, 1, "order", 2))
    assert not torch.equal(first, permutation(100, 1, "order", 3))
    assert first.sort().values.tolist() == list(range(100))


def test_a_row_depends_on_its_index_alone() -> None:
    whole = uniform(torch.arange(64), 5, 3, "crop")
    chosen = torch.tensor([63, 0, 17, 17])
    assert torch.equal(uniform(chosen, 5, 3, "crop"), whole[chosen])
    assert torch.equal(uniform(chosen, 2, 3, "crop"), whole[chosen][:, :2])  # more draws do not change earlier ones
    assert not torch.equal(uniform(chosen, 5, 4, "crop"), whole[chosen])
    assert not torch.equal(uniform(chosen, 5, 3, "flip"), whole[chosen])


def test_draws_are_uniform_and_independent() -> None:
    size, draws = 4000, 4
    for seed in range(8):
        u = uniform(torch.arange(size), draws, seed).double()
        assert u.dtype == torch.double
        assert u.shape == (size, draws)
        assert 0 <= u.min() < 0.01
        assert 0.99 < u.max() < 1
        # Kolmogorov-Smirnov distance; 2.2 / sqrt(n) is passed once in about 8,000 times.
        sorted_u = u.flatten().sort().values
        grid = torch.arange(1, size * draws + 1, dtype=torch.double) / (size * draws)
        assert (sorted_u - grid).abs().max() < 2.2 / (size * draws) ** 0.5
        # Correlations of the draws of a sample, of neighbouring samples, of two seeds: 5 standard deviations.
        bound = 5 / size**0.5
        columns = torch.cat([u[:-1], u[1:], uniform(torch.arange(size - 1), draws, seed + 1).double()], 1).T
        correlation = torch.corrcoef(columns) - torch.eye(3 * draws)
        assert correlation.abs().max() < bound


def test_seed_step_seeds_all_three_generators() -> None:
    def draw(*place: int) -> tuple[float, float, float]:
        seed_step(*place)
        return torch.rand(()).item(), float(np.random.rand()), random.random()  # noqa: NPY002

    first = draw(1, 2, 0)
    assert draw(1, 2, 0) == first
    for other in ((2, 2, 0), (1, 3, 0), (1, 2, 1), (2, 1, 0)):
        assert not set(draw(*other)) & set(first), "another epoch, batch or rank draws other numbers"


def test_the_seed_of_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_seed() == 0
    seed_step(0, 0, 0)
    before = torch.rand(())
    monkeypatch.setenv("PL_GLOBAL_SEED", "1")
    assert run_seed() == 1
    seed_step(0, 0, 0)
    assert torch.rand(()) != before
    seed_everything(5, verbose=False)
    assert run_seed() == 5
