"""Attention against torch's own with the same weights, and each of its switches against a formula."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from zoo.errors import ZooError
from zoo.layers.attention import Attention
from zoo.layers.position import Rotary, angles, rotate, sinusoids

WIDTH, HEADS, STEPS = 12, 3, 5


def make(**arguments: Any) -> Attention:
    torch.manual_seed(0)
    return Attention(**{"width": WIDTH, "heads": HEADS, **arguments}).eval()


def draw(steps: int = STEPS, rows: int = 2, seed: int = 1) -> Tensor:
    return torch.randn(rows, steps, WIDTH, generator=torch.Generator().manual_seed(seed))


def torchs(ours: Attention) -> nn.MultiheadAttention:
    """Torch's layer with the weights of ours."""
    theirs = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True).eval()
    parts = (ours.query, ours.key, ours.value)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([part.weight for part in parts]))
        theirs.in_proj_bias.copy_(torch.cat([part.bias for part in parts]))
    theirs.out_proj.load_state_dict(ours.out.state_dict())
    return theirs


# Against torch --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("causal", [False, True])
def test_equals_torchs_attention(padded: bool, causal: bool) -> None:
    ours, x = make(), draw()
    valid = torch.tensor([[True] * 5, [True] * 3 + [False] * 2]) if padded else None
    later = torch.ones(STEPS, STEPS, dtype=torch.bool).triu(1) if causal else None
    expected, shares = torchs(ours)(
        x, x, x, None if valid is None else ~valid, attn_mask=later, average_attn_weights=False
    )
    mask = None if valid is None else valid[:, None, None]
    torch.testing.assert_close(ours(x, mask=mask, causal=causal), expected)
    torch.testing.assert_close(ours.weights(x, mask=mask, causal=causal), shares)


def test_a_memory_of_another_length_equals_torchs() -> None:
    ours, x, memory = make(), draw(), draw(steps=8, seed=2)
    valid = torch.arange(8) < torch.tensor([[8], [2]])
    expected, _ = torchs(ours)(x, memory, memory, ~valid)
    torch.testing.assert_close(ours(x, memory, valid[:, None, None]), expected)


def test_gradients_equal_torchs() -> None:
    ours, x, other = make(), draw().requires_grad_(), draw().requires_grad_()
    ours(x).square().sum().backward()
    torchs(ours)(other, other, other)[0].square().sum().backward()
    torch.testing.assert_close(x.grad, other.grad)


def test_half_the_steps_of_a_causal_pass_are_those_of_the_whole() -> None:
    ours, x = make(), draw()
    torch.testing.assert_close(ours(x, causal=True)[:, :3], ours(x[:, :3], causal=True))
    # Queries that are the last of the memory's steps, as with a cache.
    torch.testing.assert_close(ours(x[:, 3:], x, causal=True), ours(x, causal=True)[:, 3:])


# Switches -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("soft_cap", [None, 5.0])
@pytest.mark.parametrize("kv_heads", [1, 2])
def test_grouped_heads_equal_repeated_ones(kv_heads: int, soft_cap: float | None) -> None:
    grouped = make(heads=6, kv_heads=kv_heads, soft_cap=soft_cap)
    full = make(heads=6, soft_cap=soft_cap)
    for name in ("query", "out"):
        getattr(full, name).load_state_dict(getattr(grouped, name).state_dict())
    with torch.no_grad():
        for name in ("key", "value"):
            few, many = getattr(grouped, name), getattr(full, name)
            assert few.out_features == kv_heads * 2
            repeated = few.weight.view(kv_heads, 2, WIDTH).repeat_interleave(6 // kv_heads, 0)
            many.weight.copy_(repeated.flatten(0, 1))
            many.bias.copy_(few.bias.view(kv_heads, 2).repeat_interleave(6 // kv_heads, 0).flatten())
    x = draw()
    torch.testing.assert_close(grouped(x, causal=True), full(x, causal=True))
    torch.testing.assert_close(grouped.weights(x), full.weights(x))


def test_query_key_norm_by_hand() -> None:
    layer, x = make(qk_norm=True), draw()
    with torch.no_grad():
        layer.query_norm.weight.copy_(torch.tensor([1.0, 2.0, 0.5, 1.5]))  # type: ignore[union-attr, operator]

    def normed(linear: nn.Linear, gain: Tensor) -> Tensor:
        heads = linear(x).view(2, STEPS, HEADS, 4).transpose(1, 2)
        return heads / (heads.square().mean(3, keepdim=True) + torch.finfo().eps).sqrt() * gain

    query, key = normed(layer.query, layer.query_norm.weight), normed(layer.key, torch.ones(4))  # type: ignore[arg-type]
    torch.testing.assert_close(layer.weights(x), (query @ key.transpose(2, 3) / 2).softmax(3))
    value = layer.value(x).view(2, STEPS, HEADS, 4).transpose(1, 2)
    read = (layer.weights(x) @ value).transpose(1, 2).reshape(2, STEPS, WIDTH)
    torch.testing.assert_close(layer(x), layer.out(read))


def test_query_key_norm_bounds_scores() -> None:
    with torch.no_grad():
        plain, normed = make(), make(qk_norm=True)
        for layer in (plain, normed):
            layer.query.weight.mul_(1000)
        assert float(plain.weights(draw()).amax()) > 0.999
        assert float(normed.weights(draw()).amax()) < 0.9  # scores within +- sqrt(head_width)


def test_soft_cap_by_hand() -> None:
    capped, plain, x = make(soft_cap=0.5), make(), draw()
    query, key = (layer(x).view(2, STEPS, HEADS, 4).transpose(1, 2) for layer in (plain.query, plain.key))
    scores = query @ key.transpose(2, 3) / math.sqrt(4)
    later = torch.ones(STEPS, STEPS, dtype=torch.bool).triu(1)
    wanted = (0.5 * torch.tanh(scores / 0.5)).masked_fill(later, -torch.inf).softmax(3)
    torch.testing.assert_close(capped.weights(x, causal=True), wanted)
    value = plain.value(x).view(2, STEPS, HEADS, 4).transpose(1, 2)
    read = (wanted @ value).transpose(1, 2).reshape(2, STEPS, WIDTH)
    torch.testing.assert_close(capped(x, causal=True), plain.out(read))
    torch.testing.assert_close(make(soft_cap=1e4)(x), plain(x), atol=1e-5, rtol=1e-5)  # too high to matter


@pytest.mark.parametrize("soft_cap", [None, 5.0])
def test_dropout_of_weights_in_training_alone(soft_cap: float | None) -> None:
    layer, x = make(dropout=0.5, soft_cap=soft_cap), draw()
    torch.testing.assert_close(layer(x), make(soft_cap=soft_cap)(x))
    layer.train()
    assert not torch.equal(layer(x), layer(x))
    torch.manual_seed(0)
    with torch.no_grad():
        mean = torch.stack([layer(x) for _ in range(4000)]).mean(0)
    torch.testing.assert_close(mean, layer.eval()(x), atol=0.02, rtol=0)


# Positions ------------------------------------------------------------------------------------------------------------


def test_rotary_scores_depend_on_the_distance_alone() -> None:
    query, key = torch.randn(2, 1, 1, 1, 8)
    rotary = Rotary(100, 8)

    def score(at: int, other: int) -> float:
        turned = [rotate(x, rotary(torch.tensor([place]))) for x, place in ((query, at), (key, other))]
        return float((turned[0] * turned[1]).sum())

    assert score(5, 2) == pytest.approx(score(80, 77), abs=1e-4)
    assert score(40, 40) == pytest.approx(float((query * key).sum()), abs=1e-5)
    assert abs(score(5, 2) - score(5, 3)) > 1e-3


def test_rotary_is_a_product_of_complex_numbers() -> None:
    x, rotary = torch.randn(2, 3, 7, 8, dtype=torch.double), Rotary(7, 8)
    turned = rotate(x, rotary(torch.arange(7)))
    as_complex = torch.complex(x[..., :4], x[..., 4:]) * torch.polar(torch.ones(7, 4).double(), angles(7, 8).double())
    torch.testing.assert_close(turned, torch.cat([as_complex.real, as_complex.imag], 3), atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(turned.norm(dim=3), x.norm(dim=3), atol=1e-6, rtol=1e-6)


def test_rows_may_have_places_of_their_own() -> None:
    layer, x, rotary = make(heads=2, width=WIDTH), draw(), Rotary(20, 6)
    places = torch.tensor([[0, 1, 2, 3, 4], [7, 9, 11, 13, 15]])
    together = layer(x, turns=rotary(places))
    for row in range(2):
        torch.testing.assert_close(together[row : row + 1], layer(x[row : row + 1], turns=rotary(places[row])))
    torch.testing.assert_close(layer(x, turns=rotary(torch.arange(5))), layer(x, turns=rotary(torch.arange(5) + 9)))


def test_sinusoids_by_hand() -> None:
    table = sinusoids(50, 6)
    for step, pair in ((0, 0), (3, 1), (49, 2)):
        angle = step / 10_000 ** (2 * pair / 6)
        assert float(table[step, 2 * pair]) == pytest.approx(math.sin(angle), abs=1e-6)
        assert float(table[step, 2 * pair + 1]) == pytest.approx(math.cos(angle), abs=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"heads": 5}, "^attention: width must be a multiple of heads, got width=12 and heads=5$"),
        ({"heads": 0}, "^attention: width must be a multiple of heads"),
        ({"heads": 6, "kv_heads": 4}, "^attention: heads must be a multiple of kv_heads, got 6 and 4$"),
        ({"soft_cap": 0.0}, "^attention: soft_cap must be positive, got 0.0$"),
    ],
    ids=["heads", "no_heads", "kv_heads", "soft_cap"],
)
def test_arguments_that_cannot_work(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ZooError, match=message):
        make(**arguments)


def test_an_odd_width_cannot_be_turned() -> None:
    with pytest.raises(ZooError, match=r"need an even width, got 3$"):
        Rotary(4, 3)
