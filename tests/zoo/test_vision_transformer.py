"""ViT and CCT: equal to torchvision's, published sizes, shapes, pools by hand, layers by depth, and that they learn."""

from functools import partial
from typing import Any

import pytest
import torch
import torchvision
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.vision_transformer import VisionTransformer

from callbacks.augmentation.manifold_mixup import mixing_layers
from callbacks.finetuning.gradual_unfreezing import layer_groups
from callbacks.optimizers.groups import layers, parameter_groups
from zoo.errors import ZooError
from zoo.layers.dropout import DropPath
from zoo.layers.image_tokens import ImageTokens, Patches, grid_sinusoids
from zoo.layers.position import sinusoids
from zoo.layers.token_pool import make_pool
from zoo.layers.transformer import BlockDesign
from zoo.task import Classification, Regression
from zoo.vision_transformer import CCT, ViT

TASK = Classification(10)


def vit(**arguments: Any) -> Any:
    torch.manual_seed(0)
    return ViT(**{"in_channels": 1, "image_size": 8, "task": Classification(10), "patch_size": 2, "width": 16,
                  "layers": 2, **arguments})  # fmt: skip


def cct(**arguments: Any) -> Any:
    torch.manual_seed(0)
    return CCT(**{"in_channels": 1, "image_size": 8, "task": Classification(10), "width": 16, "layers": 2, **arguments})


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


# Sizes and published networks -----------------------------------------------------------------------------------------


def test_vit_equals_torchvisions() -> None:
    ours = vit(in_channels=3).eval()
    theirs: Any = VisionTransformer(8, 2, 2, 4, 16, 64, num_classes=10, norm_layer=partial(nn.LayerNorm, eps=1e-5))
    tokens, stack, _ = ours.backbone
    blocks, norm = stack.blocks, stack.norm
    weights: dict[str, Tensor] = {
        "class_token": tokens.class_token[None, None],
        "encoder.pos_embedding": tokens.positions[None],
        "conv_proj.weight": tokens.tokenizer.linear.weight.view(16, 3, 2, 2),
        "conv_proj.bias": tokens.tokenizer.linear.bias,
    }
    for k, block in enumerate(blocks):
        a, name = block.attention, f"encoder.layers.encoder_layer_{k}"
        for part in ("weight", "bias"):
            joined = torch.cat([getattr(each, part) for each in (a.query, a.key, a.value)])
            weights[f"{name}.self_attention.in_proj_{part}"] = joined
    for prefix, part in {
        "encoder.ln": norm, "heads.head": ours.head,
        **{f"encoder.layers.encoder_layer_{k}.{theirs}": block.get_submodule(mine)
           for k, block in enumerate(blocks) for theirs, mine in {
               "self_attention.out_proj": "attention.out", "ln_1": "attention_residual.norm",
               "ln_2": "feed_forward_residual.norm", "mlp.0": "feed_forward.expand", "mlp.3": "feed_forward.contract",
           }.items()},
    }.items():  # fmt: skip
        weights |= {f"{prefix}.{key}": value for key, value in part.state_dict().items()}
    theirs.load_state_dict(weights)
    x = torch.randn(5, 3, 8, 8)
    torch.testing.assert_close(ours(x), theirs(x))


def test_vit_b_16_has_the_size_of_torchvisions() -> None:
    with torch.device("meta"):
        ours = ViT(3, 224, Classification(1000), 16, 768, 12, block=BlockDesign(heads=12))
        assert count(ours) == count(torchvision.models.vit_b_16())


@pytest.mark.parametrize(
    ("make", "millions"),
    [
        (lambda: CCT(3, 32, TASK, 2, 128, 2, block=BlockDesign(2, expansion=1)), 0.28),
        (lambda: CCT(3, 32, TASK, 1, 256, 7, block=BlockDesign(4, expansion=2)), 3.76),
        (lambda: CCT(3, 32, TASK, 2, 256, 7, block=BlockDesign(4, expansion=2)), 3.85),
        (lambda: ViT(3, 32, TASK, 4, 256, 7, block=BlockDesign(4, expansion=2)), 3.72),
    ],
    ids=["cct_2_3x2", "cct_7_3x1", "cct_7_3x2", "vit_lite_7_4"],
)
def test_parameter_counts_are_the_published_ones(make: Any, millions: float) -> None:
    """Hassani et al. 2021, whose queries, keys and values have no bias."""
    module = make()
    biases = sum(
        p.numel() for name, p in module.named_parameters() if name.endswith(("query.bias", "key.bias", "value.bias"))
    )
    assert round((count(module) - biases) / 1e6, 2) == millions


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [8, 9, 28, 31, 64])
@pytest.mark.parametrize("task", [Classification(7), Regression(2)], ids=["classification", "regression"])
@pytest.mark.parametrize("pool", ["class", "mean", "sequence"])
def test_output_shapes(pool: Any, task: Any, size: int, channels: int) -> None:
    x = torch.randn(3, channels, size, size)
    for convolutions in (1, 2):
        assert cct(in_channels=channels, image_size=size, task=task, convolutions=convolutions, pool=pool)(x).shape == (
            3, task.out_features,
        )  # fmt: skip
    patch = {8: 4, 9: 3, 28: 7, 31: 31, 64: 8}[size]
    module = vit(in_channels=channels, image_size=size, task=task, patch_size=patch, pool=pool)
    assert module(x).shape == (3, task.out_features)
    assert module.backbone[0](x).shape == (3, (size // patch) ** 2 + (pool == "class"), 16)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: vit(image_size=9), "^ViT: an image of 9 pixels is not made of whole patches of 2; choose a patch"),
        (lambda: vit(patch_size=16), "^ViT: an image of 8 pixels is not made of whole patches of 16"),
        (lambda: vit(patch_size=0), "^ViT: an image of 8 pixels is not made of whole patches of 0"),
        (lambda: vit(layers=0), "^a transformer has a width, layers and a context of at least 1, got 16, 0"),
        (lambda: cct(convolutions=0), "^CCT: convolutions must be at least 1, got 0 for 8 pixels$"),
        (lambda: vit(width=18), "^attention: width must be a multiple of heads, got width=18 and heads=4$"),
        (lambda: vit(width=18, block=BlockDesign(2), position="sinusoidal"), "need a width that is a multiple of 4"),
        (lambda: vit()(torch.zeros(1, 1, 8, 10)), "^the network was built for images of 8 x 8 pixels, got 8 x 10; set"),
        (lambda: cct()(torch.zeros(1, 1, 7, 7)), "^the network was built for images of 8 x 8 pixels, got 7 x 7; set"),
    ],
    ids=["odd", "large_patch", "no_patch", "layers", "convolutions", "heads", "sinusoids", "oblong", "small"],
)  # fmt: skip
def test_what_cannot_work(call: Any, message: str) -> None:
    with pytest.raises(ZooError, match=message):
        call()


# Tokens and pools -----------------------------------------------------------------------------------------------------


def test_patches_are_a_convolution_with_the_stride_of_its_kernel() -> None:
    layer, x = Patches(3, 5, 4), torch.randn(2, 3, 8, 12)
    expected = F.conv2d(x, layer.linear.weight.view(5, 3, 4, 4), layer.linear.bias, stride=4)
    torch.testing.assert_close(layer(x), expected)


def test_tokens_stand_row_by_row_behind_the_class_token() -> None:
    tokens = ImageTokens(nn.Identity(), 2, (2, 2), 3, "learned", True)
    x = torch.arange(12.0).view(1, 3, 2, 2)
    said = tokens(x)[0] - tokens.positions
    torch.testing.assert_close(said[0], tokens.class_token.data)  # type: ignore[union-attr]
    torch.testing.assert_close(said[1:], torch.tensor([[0.0, 4, 8], [1, 5, 9], [2, 6, 10], [3, 7, 11]]))


def test_grid_sinusoids_say_row_and_column() -> None:
    table = grid_sinusoids(3, 5, 8).view(3, 5, 8)
    for row, column in ((0, 0), (2, 1), (1, 4)):
        torch.testing.assert_close(table[row, column], torch.cat([sinusoids(3, 4)[row], sinusoids(5, 4)[column]]))
    module = vit(position="sinusoidal")
    assert not any("positions" in name for name in module.state_dict())
    assert not module.backbone[0].positions[0].any(), "the class token stands nowhere"


@pytest.mark.parametrize("name", ["class", "mean", "sequence"])
def test_a_pool_is_the_mean_with_its_weights(name: Any) -> None:
    pool, x = make_pool(name, 6), torch.randn(4, 5, 6)
    weights = pool.weights(x)
    torch.testing.assert_close(weights.sum(1), torch.ones(4))
    torch.testing.assert_close(pool(x), torch.einsum("bt,btc->bc", weights, x))
    if name == "sequence":
        scores = x @ pool.score.weight[0] + pool.score.bias  # type: ignore[union-attr, index, operator]
        torch.testing.assert_close(weights, scores.exp() / scores.exp().sum(1, keepdim=True))


def test_without_positions_a_vit_sees_a_bag_of_patches() -> None:
    x = torch.randn(2, 1, 8, 8)
    other = torch.cat([x[..., 4:], x[..., :4]], 3)
    blind = vit(position="none").eval()
    torch.testing.assert_close(blind(x), blind(other))
    seeing = vit().eval()
    assert not torch.allclose(seeing(x), seeing(other), atol=1e-5)


# What goes by depth ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [vit, cct], ids=["vit", "cct"])
def test_the_blocks_are_seen_by_what_goes_by_depth(make: Any) -> None:
    module = make(layers=3, pool="mean", drop_path=0.2)
    block = "backbone.1.blocks"
    assert layers(module) == [["backbone.0."], [f"{block}.0."], [f"{block}.1."], [f"{block}.2.", "backbone.1.norm."],
                              ["head."]]  # fmt: skip
    groups = layer_groups(module)
    assert [len(group) for group in groups] == [len([n for n, _ in module.named_parameters() if n.startswith(tuple(p))])
                                                for p in layers(module)]  # fmt: skip
    rates = {name: group["lr"] for group in parameter_groups(module, 1.0, None, layer_decay=0.5)
             for name, p in module.named_parameters() if any(p is q for q in group["params"])}  # fmt: skip
    assert rates["backbone.0.positions"] == 0.5**4
    assert rates["backbone.1.blocks.1.attention.query.weight"] == 0.5**2
    assert rates["head.weight"] == 1.0
    assert mixing_layers(module) == ["input", "backbone.0", *(f"{block}.{k}" for k in range(3))]
    assert [layer.p for layer in module.modules() if isinstance(layer, DropPath)] == pytest.approx(
        [0, 0, 0.1, 0.1, 0.2, 0.2]
    )


@pytest.mark.parametrize("make", [vit, cct], ids=["vit", "cct"])
def test_branches(make: Any) -> None:
    module = make(pool="mean").eval()
    assert [*module.branches] == [
        f"backbone.1.blocks.{k}.{name}" for k in (0, 1) for name in ("attention.out", "feed_forward.contract")
    ]
    assert all(module.get_submodule(name) is layer for name, layer in module.branches.items())
    with torch.no_grad():
        for layer in module.branches.values():
            layer.weight.zero_()
            layer.bias.zero_()
    x = torch.randn(2, 1, 8, 8)
    tokens, norm = module.backbone[0], module.backbone[1].norm
    torch.testing.assert_close(module(x), module.head(norm(tokens(x)).mean(1)))


@pytest.mark.parametrize("place", ["pre", "post", "deep"])
def test_every_parameter_has_a_gradient(place: Any) -> None:
    design = BlockDesign(2, 1, "rms", place, "swiglu", qk_norm=True, layer_scale=0.1)
    for make in (vit, cct):
        module = make(block=design, drop_path=0.1, dropout=0.1)
        module.training_step((torch.randn(4, 1, 8, 8), torch.arange(4)), 0).backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in module.parameters())


@pytest.mark.parametrize("pool", ["class", "mean", "sequence"])
@pytest.mark.parametrize("make", [vit, cct], ids=["vit", "cct"])
def test_learns_64_digits_by_heart(make: Any, pool: Any) -> None:
    pixels, labels = load_digits(return_X_y=True)
    x, y = torch.tensor(pixels[:64]).float().view(-1, 1, 8, 8) / 16, torch.tensor(labels[:64])
    module = make(pool=pool, layers=1)
    optimizer = torch.optim.Adam(module.parameters(), 0.01)
    for _ in range(50):
        optimizer.zero_grad()
        module.training_step((x, y), 0).backward()
        optimizer.step()
    assert (module.eval()(x).argmax(1) == y).all()
