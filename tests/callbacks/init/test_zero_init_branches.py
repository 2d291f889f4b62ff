"""Branches that start silent: the network is its shortcuts, and learns from there."""

from pathlib import Path

import pytest
import torch

from callbacks.init.gpt2 import GPT2
from callbacks.init.zero_init_branches import ZeroInitBranches, zero_
from callbacks.technique import NoEffect, UnsupportedModule
from tests.callbacks.sequence_checks import check_resume
from tests.callbacks.transformer_checks import gpt, start, tokens, train
from zoo.errors import ZooError

MATRIX_SKIP = "it is for networks that name the ends of their branches; its own tests have it in company"


def test_the_weight_becomes_zero() -> None:
    assert not zero_(torch.ones(3, 4)).any()


@pytest.mark.parametrize("cap", [None, 30.0])
def test_the_network_starts_as_its_shortcuts(cap: float | None) -> None:
    module = start(gpt(layers=3, block={"soft_cap": cap}), GPT2(), ZeroInitBranches()).eval()
    x = module.embedding(torch.arange(8)[None])
    first, context = module.transformer.begin(x)
    for block in module.transformer.blocks:
        assert torch.equal(block(first, context), first)


def test_only_the_ends_are_touched_and_they_learn() -> None:
    module = gpt()
    before = {name: p.clone() for name, p in module.named_parameters()}
    start(module, ZeroInitBranches())
    changed = {name for name, p in module.named_parameters() if not torch.equal(p, before[name])}
    assert changed == {f"{name}.{kind}" for name in module.branches for kind in ("weight", "bias")}
    train(module, ZeroInitBranches(), steps=3)
    assert all(layer.weight.any() for layer in module.branches.values())


def test_layers_second_fit_and_resume(tmp_path: Path) -> None:
    module = start(gpt(), ZeroInitBranches(layers="feed_forward"))
    silent = {name for name, layer in module.branches.items() if not layer.weight.any()}
    assert silent == {name for name in module.branches if "feed_forward" in name}
    check_resume(lambda: gpt(dropout=0.1), tokens, lambda: [GPT2(), ZeroInitBranches()], tmp_path)


def test_errors(mlp) -> None:
    with pytest.raises(NoEffect, match=r"layers='norm' matches nothing in GPT, which has: transformer\.blocks\.0"):
        start(gpt(), ZeroInitBranches("norm"))
    with pytest.raises(UnsupportedModule, match="ZeroInitBranches does not support MLP: it needs a HasBranches"):
        start(mlp, ZeroInitBranches())
    module = gpt()
    module.pretrained = {"transformer"}
    with pytest.raises(ZooError, match="would overwrite the pretrained weights of transformer"):
        start(module, ZeroInitBranches())
