"""The block and the stack: equal to torch's layers with the same weights, and each switch by hand."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.errors import ZooError
from zoo.layers.attention import Attention
from zoo.layers.dropout import DropPath
from zoo.layers.feed_forward import FeedForward
from zoo.layers.position import sinusoids
from zoo.layers.transformer import BlockDesign, Context, Residual, Transformer, TransformerBlock

WIDTH, STEPS = 16, 6
VALID = torch.arange(STEPS) < torch.tensor([[6], [4], [1]])


def draw(steps: int = STEPS, seed: int = 1) -> Tensor:
    return torch.randn(3, steps, WIDTH, generator=torch.Generator().manual_seed(seed))


def make(layers: int = 2, position: Any = "none", context: int = STEPS, **arguments: Any) -> Transformer:
    torch.manual_seed(0)
    options = {
        name: arguments.pop(name) for name in [*arguments] if name in ("dropout", "drop_path", "causal", "cross")
    }
    return Transformer(WIDTH, layers, BlockDesign(**arguments), context, position, **options).eval()


def of_attention(ours: Attention, name: str) -> dict[str, Tensor]:
    parts = (ours.query, ours.key, ours.value)
    return {
        f"{name}.in_proj_weight": torch.cat([part.weight for part in parts]),
        f"{name}.in_proj_bias": torch.cat([part.bias for part in parts]),
        f"{name}.out_proj.weight": ours.out.weight,
        f"{name}.out_proj.bias": ours.out.bias,
    }


def of_block(block: Any, names: dict[str, str]) -> dict[str, Tensor]:
    """The weights of a block by the names that torch has for them."""
    found = of_attention(block.attention, "self_attn")
    if block.cross_attention is not None:
        found |= of_attention(block.cross_attention, "multihead_attn")
    for theirs, ours in {"linear1": "feed_forward.expand", "linear2": "feed_forward.contract", **names}.items():
        found |= {f"{theirs}.{key}": value for key, value in block.get_submodule(ours).state_dict().items()}
    return found


# Against torch --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("activation", ["gelu", "relu"])
@pytest.mark.parametrize("place", ["pre", "post"])
def test_an_encoder_equals_torchs(place: str, activation: Any, padded: bool, causal: bool) -> None:
    ours = make(norm_place=place, activation=activation, causal=causal)
    layer = nn.TransformerEncoderLayer(
        WIDTH, 4, 4 * WIDTH, 0.0, activation, batch_first=True, norm_first=place == "pre"
    )
    theirs = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
    names = {"norm1": "attention_residual.norm", "norm2": "feed_forward_residual.norm"}
    for mine, other in zip(ours.blocks, theirs.layers, strict=True):
        other.load_state_dict(of_block(mine, names))
    x, mask = draw(), VALID if padded else None
    later = torch.ones(STEPS, STEPS, dtype=torch.bool).triu(1) if causal else None
    expected = ours.norm(theirs(x, later, None if mask is None else ~mask))  # in training mode: no fast path
    said = ours(x, mask)
    valid = torch.ones_like(VALID) if mask is None else mask
    torch.testing.assert_close(said[valid], expected[valid])


@pytest.mark.parametrize("place", ["pre", "post"])
def test_a_decoder_equals_torchs(place: str) -> None:
    ours = make(norm_place=place, causal=True, cross=True)
    layer = nn.TransformerDecoderLayer(WIDTH, 4, 4 * WIDTH, 0.0, "gelu", batch_first=True, norm_first=place == "pre")
    theirs = nn.TransformerDecoder(layer, 2)
    names = {
        "norm1": "attention_residual.norm", "norm2": "cross_residual.norm", "norm3": "feed_forward_residual.norm",
    }  # fmt: skip
    for mine, other in zip(ours.blocks, theirs.layers, strict=True):
        other.load_state_dict(of_block(mine, names))
    x, memory = draw(4, seed=2), draw()
    later = torch.ones(4, 4, dtype=torch.bool).triu(1)
    expected = ours.norm(theirs(x, memory, later, memory_key_padding_mask=~VALID))
    torch.testing.assert_close(ours(x, memory=memory, memory_mask=VALID), expected)


# Switches -------------------------------------------------------------------------------------------------------------


def test_deep_scales_the_shortcut() -> None:
    block = TransformerBlock(WIDTH, BlockDesign(norm_place="deep"), alpha=3.0).eval()
    x = draw()
    x1 = F.layer_norm(3 * x + block.attention(x), (WIDTH,))
    expected = F.layer_norm(3 * x1 + block.feed_forward(x1), (WIDTH,))
    torch.testing.assert_close(block(x, Context()), expected)
    assert make(layers=8, norm_place="deep").blocks[0].attention_residual.alpha == 2.0  # type: ignore[union-attr]
    assert make(norm_place="post").blocks[0].attention_residual.alpha == 1.0  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("activation", "f"),
    [("relu_squared", lambda h: h.relu() ** 2), ("swiglu", lambda h: h[..., :40] * F.silu(h[..., 40:]))],
    ids=["relu_squared", "swiglu"],
)
def test_feed_forward_by_hand(activation: Any, f: Any) -> None:
    layer, x = FeedForward(WIDTH, 4, activation, True, 0.5).eval(), draw()
    hidden = x @ layer.expand.weight.T + layer.expand.bias
    torch.testing.assert_close(layer(x), f(hidden) @ layer.contract.weight.T + layer.contract.bias)


@pytest.mark.parametrize("width", [48, 96, 384])
def test_a_gate_has_as_many_parameters(width: int) -> None:
    plain, gated = (
        sum(p.numel() for p in FeedForward(width, 4, activation, False, 0).parameters())  # type: ignore[arg-type]
        for activation in ("gelu", "swiglu")
    )
    assert gated == pytest.approx(plain, rel=0.05)


def test_layer_scale_is_a_factor_of_each_channel() -> None:
    residual, x = Residual(WIDTH, BlockDesign(layer_scale=0.1), 0.0, 0.0, 1.0), draw()
    with torch.no_grad():
        residual.scale[3] = 2.0  # type: ignore[index]
    expected = 0.1 * residual.norm(x)
    expected[..., 3] *= 20
    torch.testing.assert_close(residual(x, lambda y: y), x + expected)


def test_drop_path_leaves_out_branches_of_samples() -> None:
    residual = Residual(WIDTH, BlockDesign(), 0.0, 0.25, 1.0).train()
    x = torch.randn(4000, 1, WIDTH)
    change = (residual(x, lambda y: y) - x).detach()
    kept = change.abs().amax((1, 2)) > 0
    assert float(kept.float().mean()) == pytest.approx(0.75, abs=4 * (0.25 * 0.75 / 4000) ** 0.5)
    torch.testing.assert_close(change[kept], residual.norm(x)[kept] / 0.75)
    rates = [layer.p for layer in make(layers=3, drop_path=0.2).modules() if isinstance(layer, DropPath)]
    assert rates == pytest.approx([0, 0, 0.1, 0.1, 0.2, 0.2])


@pytest.mark.parametrize("position", ["none", "rotary", "sinusoidal", "learned"])
def test_only_positions_tell_steps_apart(position: Any) -> None:
    ours, x, order = make(position=position), draw(), torch.randperm(STEPS)
    alike = torch.allclose(ours(x[:, order]), ours(x)[:, order], atol=1e-5)
    assert alike == (position == "none")


def test_added_positions() -> None:
    x = draw()
    torch.testing.assert_close(make(position="sinusoidal")(x), make()(x + sinusoids(STEPS, WIDTH)))
    learned = make(position="learned")
    assert learned.added is not None
    table: Any = learned.added.table
    torch.testing.assert_close(learned(x, places=torch.tensor([5, 3, 3, 0, 1, 2]))[:, 3:4],
                               learned.norm(_blocks(learned, x + table[[5, 3, 3, 0, 1, 2]]))[:, 3:4])  # fmt: skip


def _blocks(stack: Transformer, x: Tensor) -> Tensor:
    for block in stack.blocks:
        x = block(x, Context())
    return x


@pytest.mark.parametrize("position", ["rotary", "sinusoidal", "learned"])
def test_what_is_masked_is_not_read(position: Any) -> None:
    ours, x = make(position=position), draw()
    other = x.where(VALID[..., None], 100 * torch.randn(3, STEPS, WIDTH))
    torch.testing.assert_close(ours(x, VALID)[VALID], ours(other, VALID)[VALID])
    pairs = VALID[:, None] & torch.ones(STEPS, STEPS, dtype=torch.bool).tril()
    causal = make(position=position, causal=True)
    torch.testing.assert_close(ours(x, pairs)[VALID], causal(x, VALID)[VALID])


def test_branches_are_the_last_layers() -> None:
    ours = make(cross=True)
    assert [*ours.branches()] == [
        f"blocks.{k}.{name}"
        for k in (0, 1)
        for name in ("attention.out", "feed_forward.contract", "cross_attention.out")
    ]
    assert all(ours.get_submodule(name) is layer for name, layer in ours.branches().items())
    x = draw()
    with torch.no_grad():
        for layer in ours.branches().values():
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
    torch.testing.assert_close(ours(x, memory=x), ours.norm(x))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: make(norm="none", norm_place="deep"), "^block: norm_place=deep scales shortcuts"),
        (lambda: make(expansion=0.0), "^block: expansion must be positive, got 0.0$"),
        (lambda: make(layers=0), "^a transformer has a width, layers and a context of at least 1, got 16, 0 and 6$"),
        (lambda: make()(draw(7)), "^the transformer was built for 6 steps, got 7; shorten sequences or"),
        (lambda: make(drop_path=1.0), r"^drop path probability must lie in \[0, 1\), got 1.0$"),
    ],
    ids=["deep", "expansion", "layers", "context", "drop_path"],
)
def test_what_cannot_work(call: Any, message: str) -> None:
    with pytest.raises(ZooError, match=message):
        call()
