"""Manifold MixUp: the features that are mixed, where, once, and its refusals."""

from pathlib import Path

import pytest
import torch
from torch import nn

from callbacks.augmentation.manifold_mixup import ManifoldMixUp, mixing_layers
from callbacks.augmentation.mixing import draw_share
from callbacks.augmentation.mixup import MixUp
from callbacks.technique import NoEffect, UnsupportedModule
from tests.callbacks.augmentation.augmentation_checks import (
    assert_same_weights,
    check_resume,
    check_second_fit,
    diabetes,
    diabetes_mlp,
    digits,
    digits_cnn,
    fit,
)
from zoo.batch import Batch
from zoo.cnn import LeNet
from zoo.errors import ZooError
from zoo.mlp import MLP
from zoo.task import Classification


def small() -> MLP:
    torch.manual_seed(0)
    return MLP(4, Classification(3), [5, 5], activation="tanh")


BATCH = Batch(torch.randn(6, 4, generator=torch.Generator().manual_seed(1)), torch.tensor([0, 1, 2, 0, 1, 2]))


@pytest.mark.parametrize("layer", [0, 1])
def test_mixes_the_output_of_a_layer(layer: int) -> None:
    model, technique = small(), ManifoldMixUp(1.0, layers=[f"backbone.{layer}"])
    technique.attach(model)
    torch.manual_seed(5)
    mixed = technique.transform(model, BATCH)
    torch.manual_seed(5)
    torch.rand(())
    permutation = torch.randperm(6)
    torch.randint(1, ())
    share = draw_share(1.0)
    assert torch.equal(mixed.x, BATCH.x)
    logits = model(mixed.x)
    hidden = BATCH.x
    for index, block in enumerate(model.backbone):
        hidden = block(hidden)
        if index == layer:
            hidden = share * hidden + (1 - share) * hidden[permutation]
    torch.testing.assert_close(logits, model.head(hidden))
    torch.testing.assert_close(mixed.y.sum(1), torch.ones(6))
    # One forward pass only: the next sees plain features, and no hook is left.
    torch.testing.assert_close(model(mixed.x), model.head(model.backbone(BATCH.x)))
    assert not any(m._forward_hooks for m in model.modules())


def test_before_a_linear_head_logits_are_mixed() -> None:
    """At the last layer of the backbone, features and logits mix alike: an independent look at the same formula."""
    torch.manual_seed(0)
    model, technique = MLP(4, Classification(6), [5, 5]), ManifoldMixUp(1.0, layers=["backbone.1"])
    technique.attach(model)
    plain = model(BATCH.x)
    mixed = technique.transform(model, Batch(BATCH.x, torch.arange(6)))
    torch.testing.assert_close(model(mixed.x), mixed.y @ plain)  # row i of y holds the shares of the samples in i


def test_at_the_input_it_is_mixup() -> None:
    first = fit(digits_cnn(), digits(), MixUp(1.0), epochs=1)

    class AtInput(ManifoldMixUp):
        def mix(self, module, batch, permutation):
            return MixUp.mix(MixUp(1.0), module, batch, permutation)  # the same draws, without the choice of a layer

    assert_same_weights(first, fit(digits_cnn(), digits(), AtInput(1.0, layers=["input"]), epochs=1))
    model, technique = small(), ManifoldMixUp(1.0, layers=["input"])
    technique.attach(model)
    mixed = technique.transform(model, BATCH)
    assert not torch.equal(mixed.x, BATCH.x)
    assert not any(m._forward_hooks for m in model.modules())


def test_every_layer_gets_its_turn() -> None:
    model, technique = small(), ManifoldMixUp()
    technique.attach(model)
    counts = dict.fromkeys(mixing_layers(model), 0)
    assert list(counts) == ["input", "backbone.0", "backbone.1"]
    n = 900
    for _ in range(n):
        technique.transform(model, BATCH)
        counts[technique._pending[0] if technique._pending else "input"] += 1
    technique.detach(model)
    assert all(count / n == pytest.approx(1 / 3, abs=5 * (2 / 9 / n) ** 0.5) for count in counts.values())


def test_default_layers_are_blocks_and_no_norms() -> None:
    assert mixing_layers(digits_cnn()) == ["input", "backbone.0", "backbone.3", "backbone.4"]
    assert mixing_layers(LeNet(1, 8, Classification(10), norm="batch"))[:3] == ["input", "backbone.0", "backbone.4"]


def test_resumes_to_the_bit(tmp_path: Path) -> None:
    check_resume(digits_cnn, digits, lambda: ManifoldMixUp(p=0.8), tmp_path)


def test_second_fit_and_regression() -> None:
    check_second_fit(diabetes_mlp(), diabetes(), ManifoldMixUp(1.0), "ManifoldMixUp")


def test_learns_digits() -> None:
    model = fit(digits_cnn(), digits(64), ManifoldMixUp(1.0), epochs=6)
    assert model.trainer.callback_metrics["val/accuracy"] > 0.8


def test_a_layer_that_does_not_run_is_an_error() -> None:
    model = digits_cnn()
    model.unused = nn.Linear(2, 2)
    with pytest.raises(ZooError, match="ManifoldMixUp: the forward pass did not run unused, so that targets were"):
        fit(model, digits(), ManifoldMixUp(layers=["unused"]))
    assert not model.unused._forward_hooks


def test_no_effect_unknown_layers_and_unsupported() -> None:
    with pytest.raises(NoEffect, match="ManifoldMixUp has changed nothing"):
        fit(digits_cnn(), digits(), ManifoldMixUp(alpha=0.0), epochs=1)
    with pytest.raises(ZooError, match=r"ResNet has no layer 'backbone.99'; it has, among others: input, backbone.0"):
        fit(digits_cnn(), digits(), ManifoldMixUp(layers=["backbone.99"]))
    with pytest.raises(ZooError, match="layers is empty"):
        ManifoldMixUp(layers=[])
    with pytest.raises(UnsupportedModule, match="needs a loss that takes soft targets"):
        fit(digits_cnn(nn.MultiMarginLoss()), digits(), ManifoldMixUp())
    bare = MLP(4, Classification(3), [])
    with pytest.raises(UnsupportedModule, match="finds no backbone with layers in MLP; name them with layers"):
        ManifoldMixUp().attach(bare)
