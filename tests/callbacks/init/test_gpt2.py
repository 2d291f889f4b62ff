"""GPT-2's init: the spreads of each kind of layer, and a residual stream that does not grow with depth."""

from pathlib import Path

import pytest
import torch

from callbacks.init.gpt2 import GPT2, gpt2_
from callbacks.technique import UnsupportedModule
from tests.callbacks.sequence_checks import check_resume
from tests.callbacks.transformer_checks import gpt, start, tokens, train
from zoo.errors import ZooError

MATRIX_SKIP = "it is for networks that name the ends of their branches; its own tests have it in company"


def test_the_spread_of_a_weight(std_over_seeds) -> None:
    assert std_over_seeds(lambda w: gpt2_(w, 0.03), 64, 32) == pytest.approx(0.03, rel=0.02)
    assert std_over_seeds(lambda w: gpt2_(w, 0.03, 9), 64, 32) == pytest.approx(0.01, rel=0.02)


def test_every_kind_of_layer() -> None:
    module = start(gpt(width=128, layers=3), GPT2(0.02))
    ends = set(module.branches)
    assert len(ends) == 6
    for name, layer in module.named_modules():
        if isinstance(layer, torch.nn.Linear | torch.nn.Embedding):
            expected = 0.02 / 6**0.5 if name in ends else 0.02
            assert layer.weight.std().item() == pytest.approx(expected, rel=0.05), name
            if getattr(layer, "bias", None) is not None:
                assert not layer.bias.any(), name
    assert module.head.weight is module.embedding.weight


def test_the_stream_grows_alike_at_every_depth() -> None:
    def growth(layers: int) -> float:
        module = start(gpt(width=64, layers=layers), GPT2(0.125))  # 1 / sqrt(width)
        x = module.embedding(torch.arange(16)[None])
        with torch.no_grad():
            first, context = module.transformer.begin(x)
            last = first
            for block in module.transformer.blocks:
                last = block(last, context)
            return (last - first).square().mean().item()

    assert 0.4 < growth(16) / growth(2) < 2.5


def test_layers_and_resume(tmp_path: Path) -> None:
    module = gpt()
    before = {name: p.clone() for name, p in module.named_parameters()}
    start(module, GPT2(layers="contract"))
    changed = {name for name, p in module.named_parameters() if not torch.equal(p, before[name])}
    assert changed == {f"transformer.blocks.{i}.feed_forward.contract.{kind}" for i in (0, 1)
                       for kind in ("weight", "bias")}  # fmt: skip
    check_resume(lambda: gpt(dropout=0.1), tokens, lambda: [GPT2()], tmp_path)


def test_a_second_fit_keeps_what_was_learnt() -> None:
    module = gpt()
    train(module, GPT2(), steps=2)
    learnt = module.embedding.weight.clone()
    start(module, GPT2())
    assert torch.equal(module.embedding.weight, learnt)


def test_errors(mlp) -> None:
    with pytest.raises(ZooError, match="GPT2: std must be positive, got 0"):
        GPT2(0)
    with pytest.raises(UnsupportedModule, match="GPT2 does not support MLP: it needs a HasBranches"):
        start(mlp, GPT2())
