"""Activation checkpointing: the same gradients to the bit, for less that is kept and one more pass through blocks."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from callbacks.averaging.ema import EMA
from callbacks.efficiency.activation_checkpointing import ActivationCheckpointing
from callbacks.technique import UnsupportedModule
from tests.callbacks.sequence_checks import differences
from tests.callbacks.technique_checks import fit as fit_digits
from tests.callbacks.technique_checks import make_mlp
from tests.callbacks.transformer_checks import gpt, tokens, train
from tests.tools import StopAt, Stopped
from zoo.errors import ZooError
from zoo.transformer import GPT

MATRIX_SKIP = "it is for networks with blocks; its own tests have it in company"


def gradients(module: GPT) -> tuple[dict[str, Tensor], int, int]:
    """Of one batch; with the bytes that were kept for the backward pass, and how often blocks' inner layers ran."""
    kept: dict[int, int] = {}
    calls = 0

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.data_ptr()] = tensor.numel() * tensor.element_size()
        return tensor

    def count(*_: Any) -> None:
        nonlocal calls
        calls += 1

    handles = [block.feed_forward.register_forward_hook(count) for block in module.transformer.blocks]
    x = torch.randint(module.embedding.num_embeddings, (4, 32), generator=torch.Generator().manual_seed(0))
    torch.manual_seed(5)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = nn.functional.cross_entropy(module(x).flatten(0, 1), x.flatten())
    bytes_kept = sum(kept.values())
    loss.backward()
    for handle in handles:
        handle.remove()
    return {name: p.grad for name, p in module.named_parameters()}, bytes_kept, calls


def settings() -> dict[str, Any]:
    return {"dropout": 0.2, "drop_path": 0.2, "layers": 4}


@pytest.mark.parametrize(("every", "calls"), [(1, 8), (2, 6), (4, 5)])
def test_same_gradients_for_less_memory(every: int, calls: int) -> None:
    plain, ours = gpt(**settings()), gpt(**settings())
    ActivationCheckpointing(every).attach(ours)
    expected, all_bytes, once = gradients(plain)
    found, fewer_bytes, again = gradients(ours)
    for name, gradient in expected.items():
        assert torch.equal(gradient, found[name]), name
    assert (once, again) == (4, calls)
    assert fewer_bytes < all_bytes * (1 - 0.6 / every)


def test_evaluation_is_not_recomputed_and_a_copy_has_its_own() -> None:
    module = gpt(dropout=0.2)
    ActivationCheckpointing().attach(module)
    other = copy.deepcopy(module)
    with torch.no_grad():
        other.transformer.blocks[0].feed_forward.contract.weight.zero_()
    x = torch.arange(8)[None]
    assert not torch.equal(module.eval()(x), other.eval()(x))


def test_a_run_is_the_same_to_the_bit_and_leaves_no_trace() -> None:
    plain, ours = gpt(dropout=0.2), gpt(dropout=0.2)
    train(plain, EMA(0.9), steps=4)
    train(ours, EMA(0.9), ActivationCheckpointing(), steps=4)
    assert not differences(plain, ours)
    assert all("forward" not in vars(part) for part in ours.modules())
    train(ours, ActivationCheckpointing(), steps=2)  # a second fit


def test_resume(tmp_path: Path) -> None:
    whole, resumed = gpt(dropout=0.2), gpt(dropout=0.2)
    train(whole, ActivationCheckpointing(), epochs=2)
    with pytest.raises(Stopped):
        train(gpt(dropout=0.2), ActivationCheckpointing(), StopAt(tmp_path / "cut.ckpt", 1, 1), epochs=2)
    train(resumed, ActivationCheckpointing(), epochs=2, ckpt=tmp_path / "cut.ckpt")
    assert not differences(whole, resumed)
    assert tokens().window == 32


def test_errors() -> None:
    with pytest.raises(ZooError, match="every must be at least 1, got 0"):
        ActivationCheckpointing(0)
    with pytest.raises(UnsupportedModule, match="MLP has no list of layers called blocks"):
        fit_digits(make_mlp(), ActivationCheckpointing(), max_steps=1)
    module = gpt()
    module.transformer.blocks[1].feed_forward.norm = nn.BatchNorm1d(4)
    with pytest.raises(UnsupportedModule, match=r"transformer\.blocks\.1 has batch norm"):
        train(module, ActivationCheckpointing(), steps=1)
