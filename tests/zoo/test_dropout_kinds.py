"""Kinds of dropout: rates and expectations over many draws, what is dropped together, identity, gradients, places."""

from collections.abc import Callable
from typing import Any, get_args

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.cnn import LeNet, ResidualBlock, ResNet
from zoo.errors import ZooError
from zoo.layers.drop_block import DropBlock, drop_block
from zoo.layers.dropout import DropoutLayer, DropPath, depth_rates, dropouts, keep_mask
from zoo.layers.dropout_kind import Dropout, dropout_before_head, dropout_in_maps, make_dropout
from zoo.layers.embedding_dropout import EmbeddingDropout
from zoo.layers.gaussian_dropout import GaussianDropout
from zoo.layers.locked_dropout import LockedDropout
from zoo.mlp import MLP
from zoo.tabular import FTTransformer
from zoo.task import Classification

CODES = torch.arange(60).view(4, 15) % 7
SHAPES: dict[str, tuple[int, ...]] = {"drop_path": (4, 6, 5), "embedding": (4, 15, 5), "locked": (4, 6, 5)}
LAYERS: dict[str, Callable[[float], nn.Module]] = {
    "gaussian": GaussianDropout, "dropblock": DropBlock, "locked": LockedDropout, "drop_path": DropPath,
    "embedding": lambda p: EmbeddingDropout(7, p),
}  # fmt: skip


def apply(layer: nn.Module, x: Tensor) -> Tensor:
    return layer(x, CODES) if isinstance(layer, EmbeddingDropout) else layer(x)


def sample(name: str, **options: Any) -> Tensor:
    torch.manual_seed(0)
    return torch.randn(SHAPES.get(name, (4, 3, 6, 5)), **options)


@pytest.mark.parametrize("name", LAYERS)
def test_identity_in_evaluation_and_at_zero(name: str) -> None:
    x = sample(name)
    assert apply(LAYERS[name](0.0), x) is x
    assert apply(LAYERS[name](0.7).eval(), x) is x


@pytest.mark.parametrize("name", LAYERS)
def test_gradients_and_precision(name: str) -> None:
    def forward(x: Tensor) -> Tensor:
        torch.manual_seed(3)  # the same mask each time
        return apply(LAYERS[name](0.4), x)

    x = sample(name, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(forward, x, fast_mode=True)
    assert forward(x.bfloat16()).dtype == torch.bfloat16
    assert not torch.equal(forward(x), x)


@pytest.mark.parametrize("p", [-0.1, 1.0, float("nan")])
def test_rates_out_of_range(p: float) -> None:
    for make in LAYERS.values():
        with pytest.raises(ZooError, match=r"probability must lie in \[0, 1\), got"):
            make(p)
    for kind in get_args(Dropout):
        with pytest.raises(ZooError, match=r"^dropout must lie in \[0, 1\), got"):
            make_dropout(kind, p)
    with pytest.raises(ZooError, match="block_size must be at least 1 pixel, got 0"):
        DropBlock(0.1, 0)
    with pytest.raises(ZooError, match="needs the rows of the table, got num_embeddings=0"):
        EmbeddingDropout(0, 0.1)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.8])
def test_gaussian_noise_has_the_moments_of_dropout(p: float) -> None:
    torch.manual_seed(0)
    n = 400_000
    noise, variance = GaussianDropout(p)(torch.ones(n)), p / (1 - p)
    assert abs(noise.mean().item() - 1) < 5 * (variance / n) ** 0.5
    assert noise.var().item() == pytest.approx(variance, rel=5 * (2 / n) ** 0.5)
    assert nn.Dropout(p)(torch.ones(n)).var().item() == pytest.approx(variance, rel=0.02)


@pytest.mark.parametrize(("p", "block"), [(0.1, 1), (0.1, 3), (0.4, 3), (0.3, 5)])
def test_every_pixel_is_dropped_with_p_exactly(p: float, block: int) -> None:
    """At the edge, in a corner and inside alike; draws of one pixel are independent from map to map."""
    torch.manual_seed(0)
    maps = 20_000
    out = drop_block(torch.ones(maps, 1, 7, 6), p, block, training=True)
    torch.testing.assert_close(out.unique(), torch.tensor([0.0, 1 / (1 - p)]))
    kept = (out > 0).float().mean((0, 1))
    assert (kept - (1 - p)).abs().max() < 5 * (p * (1 - p) / maps) ** 0.5


def test_blocks_are_squares_of_their_size() -> None:
    """What is dropped is a union of squares: opening it with the square, which overhangs the edge, changes nothing."""
    torch.manual_seed(0)
    x = torch.ones(50, 3, 9, 8)
    dropped = F.pad((DropBlock(0.2, 3)(x) == 0).float(), (2, 2, 2, 2), value=1.0)
    eroded = 1 - F.max_pool2d(1 - dropped, 3, stride=1)
    opened = F.max_pool2d(F.pad(eroded, (2, 2, 2, 2)), 3, stride=1)
    assert torch.equal(opened[..., 2:-2, 2:-2], dropped[..., 2:-2, 2:-2])
    assert 0 < dropped[..., 2:-2, 2:-2].mean() < 1
    single = drop_block(torch.ones(400, 1, 9, 9), 0.01, 3, training=True)[:, :, 3:6, 3:6]
    assert (single == 0).any()


def test_one_pixel_blocks_are_dropout_and_large_ones_are_cut_down() -> None:
    assert DropBlock(0.3, 7)(torch.ones(2, 3, 2, 4)).shape == (2, 3, 2, 4)
    torch.manual_seed(0)
    kept = torch.rand(2, 4, 4, 3).permute(0, 3, 1, 2) >= 0.3
    torch.manual_seed(0)
    assert torch.equal(drop_block(torch.ones(2, 3, 4, 4), 0.3, 1, True) > 0, kept)


@pytest.mark.parametrize("p", [0.2, 0.6])
def test_locked_dropout_has_one_mask_for_all_steps(p: float) -> None:
    torch.manual_seed(0)
    out = LockedDropout(p)(torch.ones(500, 9, 40))
    assert torch.equal(out, out[:, :1].expand_as(out))
    kept = (out[:, 0] > 0).float()
    assert abs(kept.mean().item() - (1 - p)) < 5 * (p * (1 - p) / kept.numel()) ** 0.5
    assert not torch.equal(kept[0], kept[1])
    torch.testing.assert_close(out.unique(), torch.tensor([0.0, 1 / (1 - p)]))


@pytest.mark.parametrize("p", [0.2, 0.6])
def test_embedding_dropout_drops_rows_of_the_table(p: float) -> None:
    torch.manual_seed(0)
    table = nn.Embedding(2000, 4)
    codes = torch.arange(2000).repeat(2).view(2, 2000)
    out = EmbeddingDropout(2000, p)(table(codes), codes)
    assert torch.equal(out[0], out[1])  # a word is gone everywhere
    kept = (out[0] != 0).all(1)
    assert ((out[0] == 0).all(1) == ~kept).all()
    assert abs(kept.float().mean().item() - (1 - p)) < 5 * (p * (1 - p) / 2000) ** 0.5
    masked = table.weight * (kept[:, None] / (1 - p))
    torch.testing.assert_close(out, F.embedding(codes, masked))


def test_keep_mask_is_drawn_in_float32() -> None:
    """In bfloat16 uniform numbers have 8 bits, and a rate of 0.001 would be 0.004 or nothing."""
    torch.manual_seed(0)
    mask = keep_mask(torch.ones(1, dtype=torch.bfloat16), (1_000_000,), 0.001)
    assert (mask == 0).float().mean().item() == pytest.approx(0.001, rel=0.2)


@pytest.mark.parametrize("blocks", [1, 2, 9])
def test_depth_rates(blocks: int) -> None:
    rates = depth_rates(0.3, blocks)
    assert rates == pytest.approx([0.3 * i / (blocks - 1) for i in range(blocks)] if blocks > 1 else [0.3])
    assert rates[-1] == 0.3


# Where they are -------------------------------------------------------------------------------------------------------

KINDS = {"standard": nn.Dropout, "gaussian": GaussianDropout, "alpha": nn.AlphaDropout, "spatial": nn.Dropout2d,
         "dropblock": DropBlock}  # fmt: skip


@pytest.mark.parametrize("kind", get_args(Dropout))
def test_names(kind: Dropout) -> None:
    layer = make_dropout(kind, 0.3)
    assert type(layer) is KINDS[kind]
    assert layer.p == 0.3
    if kind == "alpha":
        return
    places = [dropout_in_maps(kind, 0.3), dropout_before_head(kind, 0.3)]  # type: ignore[arg-type]
    assert [isinstance(place, nn.Identity) for place in places] == ([False, True] if kind in ("spatial", "dropblock")
                                                                   else [True, False])  # fmt: skip


@pytest.mark.parametrize(
    ("activation", "kind", "expected"),
    [("relu", None, nn.Dropout), ("selu", None, nn.AlphaDropout), ("selu", "standard", nn.Dropout),
     ("relu", "gaussian", GaussianDropout), ("relu", "alpha", nn.AlphaDropout)],
)  # fmt: skip
def test_mlp(activation: Any, kind: Any, expected: type[nn.Module]) -> None:
    module = MLP(6, Classification(3), [8, 8], activation=activation, dropout=0.2, dropout_kind=kind)
    assert [type(block.dropout) for block in module.backbone] == [expected] * 2
    assert [(layer.p, attribute) for layer, attribute in dropouts(module)] == [(0.2, "p")] * 2


@pytest.mark.parametrize("kind", ["standard", "gaussian", "spatial", "dropblock"])
def test_image_networks(kind: Any) -> None:
    torch.manual_seed(0)
    x, inside = torch.randn(4, 1, 8, 8), kind in ("spatial", "dropblock")
    for module in (
        ResNet(1, Classification(3), [1, 1], 8, dropout=0.3, dropout_kind=kind),
        LeNet(1, 8, Classification(3), dropout=0.3, dropout_kind=kind),
    ):
        active = [layer for layer, _ in dropouts(module) if layer.p > 0]  # type: ignore[operator]
        assert [type(layer) for layer in active] == [KINDS[kind]] * (2 if inside else 1)
        assert not torch.equal(module(x), module(x))
        module.eval()
        assert torch.equal(module(x), module(x))
        plain = type(module)(1, *((8,) if isinstance(module, LeNet) else ()), Classification(3))
        assert (
            plain.state_dict().keys()
            == type(module)(
                1, *((8,) if isinstance(module, LeNet) else ()), Classification(3), dropout=0.3, dropout_kind=kind
            )
            .state_dict()
            .keys()
        )


def test_between_the_convolutions_of_a_block() -> None:
    torch.manual_seed(0)
    block: Any = ResidualBlock(4, 4, 1, "relu", "none", 0.0, 0.5, "spatial")
    x = torch.randn(2, 4, 5, 5)
    torch.manual_seed(1)
    found = block(x)
    torch.manual_seed(1)
    hidden = F.dropout2d(F.relu(block.conv1(x)), 0.5)
    torch.testing.assert_close(found, F.relu(x + block.conv2(hidden)))


def test_without_residual_blocks_there_is_no_place() -> None:
    with pytest.raises(ZooError, match=r"ResNet: dropout_kind=spatial acts in residual blocks, and blocks=\[0\] has"):
        ResNet(1, Classification(3), [0], downsample="conv_pool", dropout=0.1, dropout_kind="spatial")
    ResNet(1, Classification(3), [0], downsample="conv_pool", dropout_kind="spatial")


def test_layers_that_drop_are_found() -> None:
    module = nn.Sequential(
        nn.LSTM(2, 3, num_layers=2, dropout=0.1),
        DropPath(0.2),
        nn.Dropout1d(0.3),
        nn.FeatureAlphaDropout(0.4),
        nn.ReLU(),
    )
    assert [getattr(layer, attribute) for layer, attribute in dropouts(module)] == [0.1, 0.2, 0.3, 0.4]
    transformer = FTTransformer(4, Classification(3), blocks=1, dropout=0.15)
    assert [getattr(layer, attribute) for layer, attribute in dropouts(transformer)] == [0.15, 0.15]
    assert all(issubclass(type(make(0.1)), DropoutLayer) for make in LAYERS.values())
