"""Throughput: what is counted, how much arithmetic a step is, and what a run says of it."""

import pytest
import torch

from callbacks.reporting.throughput import Throughput, count, peak_flops, training_flops
from tests.callbacks.sequence_checks import differences
from tests.callbacks.transformer_checks import gpt, train
from zoo.batch import Batch
from zoo.errors import ZooError


def test_what_counts() -> None:
    assert count(Batch(torch.zeros(4, 8, dtype=torch.int64))) == (32, "tokens")
    assert count(Batch(torch.zeros(4, 8, 3), lengths=torch.tensor([8, 1, 2, 3]))) == (14, "tokens")
    assert count(Batch(torch.zeros(4, 8))) == (4, "samples")
    assert count(Batch(torch.zeros(4, 3, 8, 8))) == (4, "samples")


def test_the_arithmetic_of_a_step() -> None:
    """Two operations for each weight of a matrix and token, three times over; attention is extra."""
    module = gpt(width=32, layers=2, block={"soft_cap": 30.0}).train()  # its products are plain ones
    x = torch.zeros(4, 16, dtype=torch.int64)
    matrices = sum(p.numel() for name, p in module.named_parameters() if p.ndim == 2 and "table" not in name)
    attention = 2 * (2 * 2 * 4 * 16 * 16 * 32)  # layers, two products of (B, T, T) by width
    state = torch.random.get_rng_state()
    assert training_flops(module, Batch(x, x)) == 3 * (2 * 64 * matrices + attention)
    assert module.training
    assert torch.equal(torch.random.get_rng_state(), state)


def test_known_devices() -> None:
    assert peak_flops("NVIDIA H100 80GB HBM3") == 989e12
    assert peak_flops("NVIDIA H100 PCIe") == 756e12
    assert peak_flops("NVIDIA A100-SXM4-40GB") == 312e12
    assert peak_flops("NVIDIA A10") == 125e12
    assert peak_flops("a toaster") is None


def test_a_run_says_its_speed_and_stays_as_it_is(capfd) -> None:
    plain, ours = gpt(dropout=0.1), gpt(dropout=0.1)
    train(plain, epochs=1)
    speed = Throughput(skip=2)
    trainer = train(ours, speed, epochs=1)
    assert not differences(plain, ours)
    assert 100 < speed.measured(trainer)["tokens_per_second"] < 1e8
    assert "tokens a second" in "".join(capfd.readouterr())


def test_errors() -> None:
    with pytest.raises(ZooError, match="skip must not be negative"):
        Throughput(-1)
