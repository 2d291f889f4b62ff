"""Every pair at every size: shapes, labels that matter, a loss that reaches every weight, errors."""

import itertools
from typing import Any

import pytest
import torch
from torch import nn

from zoo.errors import ZooError
from zoo.generators.base import Discriminator, Generator, image_shape
from zoo.generators.conditioning import ConditionalBatchNorm, DiscriminatorHead, join_labels
from zoo.generators.dcgan import DCGANDiscriminator, DCGANGenerator
from zoo.generators.mlp import MLPDiscriminator, MLPGenerator
from zoo.generators.r3gan import R3GANDiscriminator, R3GANGenerator
from zoo.generators.sampling import truncated_normal
from zoo.generators.sngan import SNGANDiscriminator, SNGANGenerator

PAIRS: dict[str, Any] = {
    "mlp": (lambda s, **a: MLPGenerator(s, hidden=[16], **a), lambda s, **a: MLPDiscriminator(s, hidden=[16], **a)),
    "dcgan": (lambda s, **a: DCGANGenerator(s, width=4, **a), lambda s, **a: DCGANDiscriminator(s, width=4, **a)),
    "deep_dcgan": (
        lambda s, **a: DCGANGenerator(s, width=4, depth=2, **a),
        lambda s, **a: DCGANDiscriminator(s, width=4, depth=2, **a),
    ),
    "sngan": (lambda s, **a: SNGANGenerator(s, width=8, **a), lambda s, **a: SNGANDiscriminator(s, width=8, **a)),
    "r3gan": (
        lambda s, **a: R3GANGenerator(s, width=4, depth=1, group_size=4, **a),
        lambda s, **a: R3GANDiscriminator(s, width=4, depth=1, group_size=4, **a),
    ),
}
LABELS: dict[str, list[dict[str, Any]]] = {
    "mlp": [{"conditioning": "concatenation"}],
    "dcgan": [{"conditioning": "concatenation"}, {"conditioning": "batch_norm"}],
    "deep_dcgan": [{"conditioning": "concatenation"}, {"conditioning": "batch_norm"}],
    "sngan": [{"conditioning": "concatenation"}, {"conditioning": "batch_norm"}],
    "r3gan": [{"conditional": True}],
}


def trained_a_little(network: nn.Module) -> nn.Module:
    """Networks that begin with zeros would hide an input that is not connected."""
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.3)
    return network


@pytest.mark.parametrize("name", list(PAIRS))
@pytest.mark.parametrize("shape", [[1, 8, 8], [3, 28, 28], [2, 32, 32], [3, 64, 64]])
def test_shapes_and_gradients(name: str, shape: list[int]) -> None:
    torch.manual_seed(0)
    make_generator, make_discriminator = PAIRS[name]
    generator: Generator = make_generator(shape, latent_dim=6)
    discriminator: Discriminator = make_discriminator(shape)
    assert generator.num_classes == discriminator.num_classes == 0
    x = generator(torch.randn(3, 6))
    assert list(x.shape) == [3, *shape]
    assert x.isfinite().all()
    assert discriminator(x).logits.shape == (3,)
    trained_a_little(generator), trained_a_little(discriminator)
    discriminator(generator(torch.randn(3, 6))).logits.square().sum().backward()
    for network in (generator, discriminator):
        # A bias before a batch norm has no effect.
        dead = [n for n, p in network.named_parameters() if p.grad is None]
        assert not dead


@pytest.mark.parametrize("name", list(PAIRS))
def test_labels_change_what_both_say(name: str) -> None:
    torch.manual_seed(0)
    make_generator, make_discriminator = PAIRS[name]
    y, other = torch.tensor([0, 1, 2]), torch.tensor([1, 1, 0])
    for arguments in LABELS[name]:
        generator = trained_a_little(make_generator([1, 8, 8], num_classes=3, **arguments)).eval()
        z = torch.randn(3, generator.latent_dim)
        changed = (generator(z, y) - generator(z, other)).abs().amax((1, 2, 3)) > 1e-6
        assert changed.tolist() == [True, False, True]
    x = torch.randn(3, 1, 8, 8)
    for conditioning in ("concatenation", "projection"):
        discriminator = trained_a_little(make_discriminator([1, 8, 8], num_classes=3, conditioning=conditioning)).eval()
        changed = (discriminator(x, y).logits - discriminator(x, other).logits).abs() > 1e-6
        assert changed.tolist() == [True, False, True]
        assert discriminator(x, y).classes is None
    classes = make_discriminator([1, 8, 8], num_classes=3, conditioning="auxiliary")(x, y).classes
    assert classes.shape == (3, 3)


def test_the_projection_is_the_papers_formula() -> None:
    torch.manual_seed(0)
    head, features, y = DiscriminatorHead(5, "projection", 3), torch.randn(4, 5), torch.tensor([2, 0, 1, 1])
    expected = [head.logit(f) + head.projection.weight[label] @ f for f, label in zip(features, y)]
    torch.testing.assert_close(head(features, y).logits, torch.cat(expected))


def test_conditional_batch_norm_begins_as_a_plain_one() -> None:
    x = torch.randn(6, 4, 3, 3)
    torch.testing.assert_close(ConditionalBatchNorm(4, 3)(x, torch.arange(6) % 3), nn.BatchNorm2d(4)(x))
    assert join_labels(x, None, 0) is x
    planes = join_labels(x, torch.tensor([0, 1, 0, 1, 1, 0]), 2)[:, 4:]
    assert planes[:, 1, 0, 0].tolist() == [0, 1, 0, 1, 1, 0]
    assert planes.sum().item() == 6 * 9


SPECTRAL = [
    lambda: MLPDiscriminator([1, 8, 8], hidden=[16], spectral_norm=True),
    lambda: SNGANDiscriminator([1, 8, 8], width=8),
    lambda: DCGANDiscriminator([1, 8, 8], width=8, norm="none", spectral_norm=True),
    lambda: DCGANDiscriminator([1, 8, 8], width=8, norm="none", spectral_norm=True, depth=1),
]


@pytest.mark.parametrize("make", SPECTRAL)
def test_spectral_norm_holds_every_weight(make: Any) -> None:
    torch.manual_seed(0)
    network = make().train()
    for _ in range(60):  # a power iteration each
        network(torch.randn(2, 1, 8, 8))
    network.eval()
    layers = [m for m in network.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    assert layers
    for layer in layers:
        assert torch.linalg.matrix_norm(layer.weight.flatten(1), 2).item() == pytest.approx(1, rel=0.02)


def test_sizes() -> None:
    found = {size: image_shape("X", [1, size, size])[1:] for size in (8, 16, 20, 24, 28, 32, 48, 64, 128)}
    assert found == {8: (1, 4), 16: (2, 4), 20: (2, 5), 24: (2, 6), 28: (2, 7), 32: (3, 4), 48: (3, 6), 64: (4, 4),
                     128: (5, 4)}  # fmt: skip
    for size, name in itertools.product((6, 9, 30), ("dcgan", "sngan", "r3gan")):
        with pytest.raises(ZooError, match=rf"{size} pixels are not 4 to 7 times a power of 2"):
            PAIRS[name][0]([1, size, size])
    with pytest.raises(ZooError, match="makes square images"):
        DCGANGenerator([2])
    with pytest.raises(ZooError, match="norm weight_standardized"):
        DCGANDiscriminator([1, 8, 8], norm="weight_standardized")
    for network in (DCGANGenerator, DCGANDiscriminator):
        with pytest.raises(ZooError, match=f"{network.__name__}: depth must not be negative, got -1"):
            network([1, 8, 8], depth=-1)
    with pytest.raises(ZooError, match="latent_dim must be at least 1"):
        MLPGenerator([2], latent_dim=0)
    with pytest.raises(ZooError, match="hidden channels do not divide into groups of 16"):
        R3GANDiscriminator([1, 8, 8], width=4, group_size=16)


@pytest.mark.parametrize("bound", [0.5, 1.0, 2.0])
def test_truncated_noise_has_the_variance_of_its_formula(bound: float) -> None:
    z = truncated_normal((100_000,), bound, torch.Generator().manual_seed(0))
    normal = torch.distributions.Normal(0.0, 1.0)
    density, inside = normal.log_prob(torch.tensor(bound)).exp(), 2 * normal.cdf(torch.tensor(bound)) - 1
    assert z.abs().max() <= bound
    assert z.var().item() == pytest.approx((1 - 2 * bound * density / inside).item(), rel=0.02)
    with pytest.raises(ZooError, match="truncation must be positive"):
        truncated_normal((1,), 0.0, torch.Generator())
