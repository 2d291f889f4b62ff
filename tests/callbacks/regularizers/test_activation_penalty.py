"""The activation penalty against the loss by hand; its hooks come and go."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from callbacks.optimizers.sgd import SGD
from callbacks.regularizers.activation_penalty import ActivationPenalty, activation_size
from callbacks.technique import NoEffect
from tests.callbacks.technique_checks import accuracy_in_company, assert_resumes, fit, make_mlp
from zoo.errors import ZooError


def hooks(module: nn.Module) -> int:
    return sum(len(m._forward_hooks) for m in module.modules())


def test_formula() -> None:
    outputs = [torch.tensor([[1.0, -3.0]]), torch.tensor([2.0])]
    assert activation_size(outputs, "l1").item() == 2 + 2
    assert activation_size(outputs, "l2").item() == 5 + 4


@pytest.mark.parametrize("norm", ["l1", "l2"])
def test_adds_the_size_of_what_the_head_sees(norm: Any) -> None:
    module = make_mlp("none", 0.0)
    sizes, counts = [], []

    def measure(layer: nn.Module, inputs: Any, features: Tensor) -> None:
        if layer.training:
            sizes.append((features.abs().sum() if norm == "l1" else features.norm() ** 2).item() / features.shape[1])
            counts.append(len(features))

    handle = module.backbone.register_forward_hook(measure)
    plain = fit(module, SGD(lr=1e-12), max_epochs=1, batch_size=719).callback_metrics["train/loss"]
    handle.remove()
    penalty = ActivationPenalty(0.5, norm=norm)
    penalised = fit(make_mlp("none", 0.0), SGD(lr=1e-12), penalty, max_epochs=1, batch_size=719)
    difference = (penalised.callback_metrics["train/loss"] - plain).item()
    assert difference == pytest.approx(0.5 * sum(sizes) / sum(counts), rel=1e-3)


def test_hooks_are_removed_and_evaluation_keeps_nothing() -> None:
    module, technique = make_mlp(), ActivationPenalty(1e-3, match="activation")
    for _ in range(2):
        fit(module, technique, max_epochs=1)
        assert hooks(module) == 0
        assert technique._outputs == []

    class Boom(Exception):
        pass

    class Break(SGD):
        def on_train_batch_end(self, *arguments: Any) -> None:
            raise Boom

    with pytest.raises(Boom):
        fit(module, technique, Break(lr=0.1), max_epochs=1)
    assert hooks(module) == 0
    assert module.penalties == {}


def test_makes_features_smaller() -> None:
    def size(*callbacks: ActivationPenalty) -> float:
        module = make_mlp("none", 0.0)
        fit(module, SGD(lr=0.1), *callbacks, max_epochs=4)
        return module.backbone(torch.rand(64, 64, generator=torch.Generator().manual_seed(0))).square().mean().item()

    assert size(ActivationPenalty(2.0)) < 0.7 * size()


def test_errors_resume_and_learning(tmp_path: Path) -> None:
    with pytest.raises(ZooError, match="strength must not be negative"):
        ActivationPenalty(-1)
    with pytest.raises(NoEffect, match=r"ActivationPenalty\[\^backbone\$\]: strength is 0"):
        fit(make_mlp(), ActivationPenalty(0), max_steps=1)
    with pytest.raises(NoEffect, match="no submodule of MLP has a name with 'conv' in it"):
        fit(make_mlp(), ActivationPenalty(1, match="conv"), max_steps=1)
    assert_resumes(lambda: [ActivationPenalty(1e-3)], tmp_path)
    assert accuracy_in_company(ActivationPenalty(1e-3)) > 0.93
