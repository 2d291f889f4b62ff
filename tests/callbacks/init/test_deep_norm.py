"""DeepNorm: the gains of the paper, and updates that stay bounded at a depth where post-norm fails."""

from pathlib import Path

import pytest
import torch
from torch import nn

from callbacks.init.deep_norm import DeepNorm, deep_norm_, deep_norm_gain
from callbacks.technique import UnsupportedModule
from tests.callbacks.sequence_checks import check_resume
from tests.callbacks.transformer_checks import gpt, start, tokens
from zoo.layers.transformer import Transformer

MATRIX_SKIP = "it is for transformers with norm_place=deep; its own tests have it in company"
DEEP = {"norm_place": "deep"}


@pytest.mark.parametrize("layers", [1, 6, 100])
def test_the_gains_of_the_paper(layers: int) -> None:
    n = m = layers
    assert deep_norm_gain((2 * n) ** 0.25) == pytest.approx((8 * n) ** -0.25)
    assert deep_norm_gain((3 * m) ** 0.25) == pytest.approx((12 * m) ** -0.25)
    assert deep_norm_gain(0.81 * (n**4 * m) ** (1 / 16)) == pytest.approx(0.87 * (n**4 * m) ** (-1 / 16), rel=0.005)


def test_the_spread_of_a_weight(std_over_seeds) -> None:
    assert std_over_seeds(lambda w: deep_norm_(w, 0.5), 96, 32) == pytest.approx(0.5 * (2 / 128) ** 0.5, rel=0.02)


def test_every_kind_of_layer() -> None:
    module = gpt(width=128, layers=2, block=DEEP)
    embedding = module.embedding.weight.clone()
    start(module, DeepNorm())
    assert torch.equal(module.embedding.weight, embedding)
    for name, layer in module.transformer.blocks.named_modules():
        if isinstance(layer, nn.Linear):
            plain = (2 / (layer.in_features + layer.out_features)) ** 0.5
            gain = 1.0 if name.endswith((".query", ".key")) else 16**-0.25
            assert layer.weight.std().item() == pytest.approx(gain * plain, rel=0.05), name
            assert not layer.bias.any()


def test_each_stack_has_its_own_gain() -> None:
    module = gpt(width=64, layers=4, block=DEEP)
    module.more = Transformer(64, 1, module.transformer.design, 8, cross=True, alpha=3**0.25)
    start(module, DeepNorm())
    cross = module.more.blocks[0].cross_attention
    assert cross.value.weight.std().item() == pytest.approx(12**-0.25 * 64**-0.5, rel=0.06)
    assert cross.query.weight.std().item() == pytest.approx(64**-0.5, rel=0.06)
    inner = module.transformer.blocks[3].attention.value
    assert inner.weight.std().item() == pytest.approx(32**-0.25 * 64**-0.5, rel=0.06)


def test_a_step_moves_a_deep_network_less_than_one_with_post_norm() -> None:
    """The paper's aim: the change of the output by one step of SGD is bounded whatever the depth."""

    def moved(place: str, *schemes: DeepNorm) -> float:
        module = start(gpt(width=32, layers=24, block={"norm_place": place}), *schemes)
        x = torch.randint(module.embedding.num_embeddings, (4, 32), generator=torch.Generator().manual_seed(0))
        before = module(x)
        nn.functional.cross_entropy(before.flatten(0, 1), x.roll(1, 1).flatten()).backward()
        with torch.no_grad():
            for parameter in module.transformer.parameters():
                if parameter.grad is not None:
                    parameter -= 0.05 * parameter.grad
            hidden = module(x) - before
        return hidden.square().mean().item() ** 0.5

    assert moved("deep", DeepNorm()) < 0.5 * moved("post")


def test_layers_and_resume(tmp_path: Path) -> None:
    module = gpt(block=DEEP)
    before = {name: p.clone() for name, p in module.named_parameters()}
    start(module, DeepNorm(layers=r"blocks\.1\.attention\.value"))
    changed = {name for name, p in module.named_parameters() if not torch.equal(p, before[name])}
    assert changed == {f"transformer.blocks.1.attention.value.{kind}" for kind in ("weight", "bias")}
    check_resume(lambda: gpt(dropout=0.1, block=DEEP), tokens, lambda: [DeepNorm()], tmp_path)


def test_it_is_for_deep_shortcuts(mlp) -> None:
    with pytest.raises(UnsupportedModule, match=r"GPT has none; use --model\.block\.norm_place deep, or drop DeepNorm"):
        start(gpt(), DeepNorm())
    with pytest.raises(UnsupportedModule, match="DeepNorm does not support MLP: it needs a HasBranches"):
        start(mlp, DeepNorm())
