"""T-Fixup: the gains of the paper, and a transformer without norms that trains."""

from pathlib import Path

import pytest
import torch
from torch import nn

from callbacks.init.gpt2 import GPT2
from callbacks.init.scheme import InitScheme
from callbacks.init.t_fixup import TFixup, t_fixup_embedding_, t_fixup_gain
from callbacks.optimizers.adamw import AdamW
from callbacks.technique import UnsupportedModule
from tests.callbacks.sequence_checks import check_resume
from tests.callbacks.transformer_checks import gpt, start, tokens, train
from zoo.layers.transformer import BlockDesign, Transformer

MATRIX_SKIP = "it is for transformers without norms; its own tests have it in company"
BARE = {"norm": "none"}


def test_the_gains_of_the_paper(std_over_seeds) -> None:
    assert t_fixup_gain(16, cross=False) == pytest.approx(0.335)
    assert t_fixup_gain(9, cross=True) == pytest.approx(1 / 3)
    assert std_over_seeds(lambda w: t_fixup_embedding_(w, 0.5), 50, 64) == pytest.approx(0.5 / 8, rel=0.02)


def test_every_kind_of_layer() -> None:
    module = start(gpt(width=128, layers=16, tied=False, block=BARE), TFixup())
    for name, layer in module.named_modules():
        if isinstance(layer, nn.Linear):
            plain = (2 / (layer.in_features + layer.out_features)) ** 0.5
            scaled = "blocks" in name and not name.endswith((".query", ".key"))
            assert layer.weight.std().item() == pytest.approx((0.335 if scaled else 1) * plain, rel=0.05), name
    assert module.embedding.weight.std().item() == pytest.approx(0.335 * 128**-0.5, rel=0.05)


def test_a_decoder_has_its_own_gain() -> None:
    module = gpt(width=64, block=BARE)
    module.more = Transformer(64, 9, BlockDesign(heads=2, norm="none"), 8, cross=True)
    start(module, TFixup())
    for layer in (module.more.blocks[0].cross_attention.out, module.more.blocks[8].attention.value):
        assert layer.weight.std().item() == pytest.approx(64**-0.5 / 3, rel=0.06)


def test_a_tied_head_shares_the_embedding() -> None:
    module = start(gpt(block=BARE), TFixup())
    assert module.head.weight is module.embedding.weight


def test_a_network_without_norms_trains() -> None:
    """Twelve layers, no norm, no warm-up, a high rate: other inits learn next to nothing of it."""

    def bits(*schemes: InitScheme) -> float:
        module = gpt(width=32, layers=12, block=BARE)
        return train(module, *schemes, AdamW(lr=1e-2), epochs=3).callback_metrics["val/bits_per_character"].item()

    assert bits(TFixup()) < bits(GPT2()) - 0.1


def test_layers_and_resume(tmp_path: Path) -> None:
    module = gpt(block=BARE)
    before = {name: p.clone() for name, p in module.named_parameters()}
    start(module, TFixup(layers="contract"))
    changed = {name for name, p in module.named_parameters() if not torch.equal(p, before[name])}
    assert changed == {f"transformer.blocks.{i}.feed_forward.contract.{kind}" for i in (0, 1)
                       for kind in ("weight", "bias")}  # fmt: skip
    check_resume(lambda: gpt(dropout=0.1, block=BARE), tokens, lambda: [TFixup()], tmp_path)


def test_it_is_for_networks_without_norms(mlp) -> None:
    with pytest.raises(UnsupportedModule, match=r"GPT has some; use --model\.block\.norm none, or drop TFixup"):
        start(gpt(), TFixup())
    with pytest.raises(UnsupportedModule, match="TFixup does not support MLP: it needs a HasBranches"):
        start(mlp, TFixup())
