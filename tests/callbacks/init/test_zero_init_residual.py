import pytest
import torch

from callbacks.init.kaiming_normal import KaimingNormal
from callbacks.init.zero_init_residual import ZeroInitResidual, zero_init_residual_
from callbacks.technique import NoEffect, UnsupportedModule
from zoo.cnn import ResidualBlock, ResNet
from zoo.errors import ZooError
from zoo.task import Classification


def blocks_of(network: ResNet) -> list[ResidualBlock]:
    return [layer for layer in network.backbone if isinstance(layer, ResidualBlock)]


def test_the_gain_becomes_zero() -> None:
    assert not zero_init_residual_(torch.ones(4)).any()


@pytest.mark.parametrize("norm", ["batch", "layer", "rms", "group", "instance"])
def test_every_block_starts_as_its_shortcut(norm, start) -> None:
    network = ResNet(1, Classification(10), blocks=[2, 1], width=16, norm=norm)
    start(network, ZeroInitResidual())
    x = torch.randn(4, 16, 6, 6)
    for block in blocks_of(network):
        torch.testing.assert_close(block(x), block.shortcut(x).relu())
        x = block(x)


def test_only_the_last_norms_are_touched(start, resnet) -> None:
    before = {name: p.clone() for name, p in resnet.named_parameters()}
    start(resnet, ZeroInitResidual())
    changed = {name for name, p in resnet.named_parameters() if not torch.equal(p, before[name])}
    assert changed == {"backbone.3.last_norm.weight", "backbone.4.last_norm.weight"}


@pytest.mark.parametrize("schemes", [[ZeroInitResidual, KaimingNormal], [KaimingNormal, ZeroInitResidual]])
def test_it_goes_with_another_scheme_in_either_order(schemes, start, resnet) -> None:
    start(resnet, *[scheme() for scheme in schemes])
    assert all(not block.last_norm.weight.any() for block in blocks_of(resnet))
    assert all(block.conv1.weight.any() for block in blocks_of(resnet))


def test_the_gains_learn(trainer, resnet, data) -> None:
    trainer(ZeroInitResidual(), max_epochs=1).fit(resnet, datamodule=data)
    assert all(block.last_norm.weight.any() for block in blocks_of(resnet))


def test_layers_selects_blocks(start, resnet) -> None:
    start(resnet, ZeroInitResidual(layers="backbone.4"))
    assert [bool(block.last_norm.weight.any()) for block in blocks_of(resnet)] == [True, False]


def test_a_pattern_without_a_match(start, resnet) -> None:
    known = "backbone.3.last_norm, backbone.4.last_norm"
    with pytest.raises(NoEffect, match=rf"layers='decoder' matches nothing in ResNet, which has: {known}$"):
        start(resnet, ZeroInitResidual(layers="decoder"))


def test_a_network_without_residual_blocks(start, mlp) -> None:
    with pytest.raises(
        UnsupportedModule,
        match=r"ZeroInitResidual does not support MLP: it needs a HasLastNorms; drop Zero",
    ):
        start(mlp, ZeroInitResidual())


def test_blocks_without_norm(start) -> None:
    network = ResNet(1, Classification(10), blocks=[1], width=8, norm="none")
    with pytest.raises(ZooError, match=r"backbone.3.last_norm is Identity, which has no gain to set to zero"):
        start(network, ZeroInitResidual())


def test_pretrained_blocks_are_refused(start, resnet) -> None:
    resnet.pretrained = {"backbone"}
    with pytest.raises(ZooError, match="would overwrite the pretrained weights of backbone"):
        start(resnet, ZeroInitResidual())
    assert all((block.last_norm.weight == 1).all() for block in blocks_of(resnet))
