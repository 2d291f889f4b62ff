"""Gradual unfreezing: who moves in which epoch, from the head down."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.demos.boring_classes import BoringModel
from torch import Tensor

from callbacks.finetuning.freeze import Freeze
from callbacks.finetuning.gradual_unfreezing import GradualUnfreezing, frozen_groups, layer_groups
from callbacks.optimizers.adamw import AdamW
from callbacks.technique import NoEffect, UnsupportedModule
from tests.callbacks.technique_checks import accuracy_in_company, assert_resumes, assert_same, copy, fit, make_mlp
from zoo.cnn import ResNet
from zoo.errors import ZooError
from zoo.task import Classification


class Epochs(Callback):
    """Weights at the start of training and after each epoch."""

    def __init__(self) -> None:
        self.weights: list[dict[str, Tensor]] = []

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        self.weights.append(copy(pl_module))

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        self.weights.append(copy(pl_module))

    def moved(self) -> list[set[str]]:
        """Names of the layers that changed in each epoch, running statistics included."""
        pairs = zip(self.weights, self.weights[1:])
        return [{_layer(name) for name in a if not torch.equal(a[name], b[name])} for a, b in pairs]


def _layer(name: str) -> str:
    return ".".join(name.split(".")[:2]) if name.startswith("backbone") else name.split(".")[0]


def test_groups_from_the_input_to_the_head() -> None:
    groups = layer_groups(make_mlp())
    assert [{_layer(name) for name in group} for group in groups] == [{"backbone.0"}, {"backbone.1"}, {"head"}]
    resnet = ResNet(1, Classification(10), [1, 1], width=4)
    groups = layer_groups(resnet)
    assert groups[0] == ["backbone.0.weight", "backbone.1.weight", "backbone.1.bias"], "a norm goes with its layer"
    assert sum(map(len, groups)) == len(list(resnet.parameters()))


def test_one_more_group_every_so_many_epochs() -> None:
    assert [frozen_groups(4, epoch, 1) for epoch in range(6)] == [3, 2, 1, 0, 0, 0]
    assert [frozen_groups(3, epoch, 2) for epoch in range(6)] == [2, 2, 1, 1, 0, 0]


def test_layers_move_from_the_head_down() -> None:
    epochs, module = Epochs(), make_mlp()
    trainer = fit(module, AdamW(weight_decay=0.1), GradualUnfreezing(), epochs, max_epochs=4)
    everything = {"head", "backbone.1", "backbone.0"}
    assert epochs.moved() == [{"head"}, {"head", "backbone.1"}, everything, everything]
    steps = {name: trainer.optimizers[0].state[p]["step"].item() for name, p in module.named_parameters()}
    assert steps["head.weight"] == 2 * steps["backbone.0.linear.weight"]


def test_all_is_trainable_and_in_training_mode_after_the_fit() -> None:
    module, technique = make_mlp(), GradualUnfreezing()
    for _ in range(2):
        epochs = Epochs()
        fit(module, technique, epochs, max_epochs=1)
        assert epochs.moved() == [{"head"}]
        assert all(p.requires_grad for p in module.parameters())
        assert module.get_submodule("backbone.0.norm").training


def test_what_another_technique_froze_stays_frozen() -> None:
    for order in ([Freeze(r"^backbone\.0"), GradualUnfreezing()], [GradualUnfreezing(), Freeze(r"^backbone\.0")]):
        epochs = Epochs()
        fit(make_mlp(), *order, epochs, max_epochs=3)
        assert epochs.moved() == [{"head"}, {"head", "backbone.1"}, {"head", "backbone.1"}]


def test_gradients_that_were_computed_all_the_same_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a run of several processes, whose gradients all have to be there when they are averaged."""
    one, several = make_mlp(), make_mlp()
    fit(one, GradualUnfreezing(), max_epochs=2)
    from callbacks.finetuning.frozen import FrozenParts

    freeze = FrozenParts.freeze
    monkeypatch.setattr(FrozenParts, "freeze", lambda self, parameters, keep_gradients: freeze(self, parameters, True))
    fit(several, GradualUnfreezing(), max_epochs=2)
    assert_same(copy(one), copy(several))


def test_errors_and_notices(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ZooError, match="epochs_per_group must be at least 1, got 0"):
        GradualUnfreezing(0)
    with pytest.raises(NoEffect, match="MLP has a single layer group"):
        fit(make_mlp(hidden=()), GradualUnfreezing(), max_steps=1)
    with pytest.raises(UnsupportedModule, match="does not support BoringModel"):
        fit(BoringModel(), GradualUnfreezing(), max_steps=1)
    fit(make_mlp(), GradualUnfreezing(2), max_epochs=4)
    assert "3 layer groups need 5 epochs, the run has 4" in capsys.readouterr().out


@pytest.mark.parametrize("cut", [0, 1, 2])
def test_resumes_to_the_bit(tmp_path: Path, cut: int) -> None:
    assert_resumes(lambda: [GradualUnfreezing()], tmp_path, epochs=4, cut=cut)


def test_learns_in_company() -> None:
    assert accuracy_in_company(GradualUnfreezing(), epochs=8) > 0.85
