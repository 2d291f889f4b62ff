"""``zoo check``: every family and every loss, what is wrong is found and named, and the facts of a recipe."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from zoo.cli import check, check_all
from zoo.cli.main import main
from zoo.errors import ZooError
from zoo.gradient_check import Checked, check_gradients, kinks
from zoo.mlp import MLP
from zoo.module import SupervisedModule
from zoo.task import Classification

FAMILIES = [
    family
    for family in check_all.family_classes()
    if issubclass(family, SupervisedModule) and family.__name__ not in check_all.LEFT_OUT
]
LOSSES = {name: of_one for name, of_one in check_all.all_losses().items() if name not in check_all.LEFT_OUT}


class Wrong(torch.autograd.Function):
    """Doubles in the forward pass, and says that it triples."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return 2 * x

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return 3 * gradient


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.__name__)
def test_every_family(family: type[SupervisedModule]) -> None:
    """One that is new is here by itself; where it cannot be built so small, TINY or LEFT_OUT has to say how or why."""
    for task in check_all.tasks_of(family):
        found = check_all.check_family(family, task)
        assert found.passed, (task, found)
        assert found.parameters > 20


@pytest.mark.parametrize("loss", ["CrossEntropyLoss, label smoothing 0.1", "Focal", "BiTempered", "GaussianNLL"])
@pytest.mark.parametrize("family", [f for f in FAMILIES if len(check_all.tasks_of(f)) > 1], ids=lambda f: f.__name__)
def test_every_family_with_a_few_losses(family: type[SupervisedModule], loss: str) -> None:
    criterion, kind = check_all.all_losses()[loss]
    assert check_all.check_family(family, check_all.task_with(criterion, kind)).passed


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss(name: str) -> None:
    found = check_all.check_loss(*LOSSES[name])
    assert found.passed, found
    assert found.deviation < 1e-8


def test_what_is_left_out_is_there_and_really_fails() -> None:
    loss, kind = check_all.all_losses()["BetaNLL"]
    assert not check_all.check_loss(loss, kind).passed, "a reason to leave it out no longer holds"
    known = {family.__name__ for family in check_all.family_classes()} | set(check_all.all_losses())
    assert set(check_all.LEFT_OUT) <= known


def test_a_wrong_gradient_is_found_and_named() -> None:
    right = torch.randn(3, 4, dtype=torch.double, requires_grad=True)
    wrong = torch.randn(4, dtype=torch.double, requires_grad=True)
    found = check_gradients(lambda: (right @ Wrong.apply(wrong)).square().sum(), {"right": right, "wrong": wrong})
    assert not found.passed
    assert found.worst == "wrong"
    assert 0.01 < found.deviation < 1
    assert found.parameters == 16


def test_the_check_leaves_the_weights_alone() -> None:
    weight = torch.randn(5, dtype=torch.double, requires_grad=True)
    before = weight.detach().clone()
    assert check_gradients(lambda: weight.sin().sum(), {"weight": weight}, full=True).passed
    assert torch.equal(weight, before)


def test_a_family_without_a_tiny_size_says_what_it_lacks() -> None:
    class Odd(MLP):
        def __init__(self, in_features: int, task: Any, oddity: int) -> None:
            super().__init__(in_features, task)

    with pytest.raises(ZooError, match="Odd: zoo check knows no tiny value for oddity; add one to TINY"):
        check_all.tiny(Odd, Classification(3))


def test_the_table(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    good, bad = Checked(3, 1e-12, "w", True), Checked(4, 0.5, "head.weight", False)
    left_out = check_all.Row("C", None, "no loss")
    monkeypatch.setattr(check_all, "rows", lambda: iter([check_all.Row("A", good), left_out]))
    main(["check"])
    assert "left out: no loss" in capsys.readouterr().out
    monkeypatch.setattr(check_all, "rows", lambda: iter([check_all.Row("A", good), check_all.Row("B", bad)]))
    with pytest.raises(SystemExit) as left:
        main(["check"])
    assert left.value.code == 1
    assert "NO: head.weight" in capsys.readouterr().out


def test_a_recipe(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    main(["check", "-c", "cnn/digits", "--model.width=4"])
    said = capsys.readouterr().out
    assert "a guess among 10 classes costs ln 10 = 2.303" in said
    assert "reaches 29 of 29 parameter tensors" in said
    assert "can be learnt by heart" in said
    assert "kinks     ReLU" in said
    assert "slopes    passed: largest deviation" in said
    assert not list(tmp_path.iterdir()), "it leaves no run behind"


def test_layers_that_get_no_gradient_are_named(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    main(["check", "-c", "mlp/digits", "-c", "techniques/init/constant", "--model.hidden=[4]"])
    said = capsys.readouterr().out
    assert "not: backbone.0.linear.weight" in said
    assert "is NOT learnt by heart" in said


def test_a_wrong_model_of_a_recipe_fails(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(MLP, "forward", lambda self, x: self.head(Wrong.apply(self.backbone(x.flatten(1)))))
    with pytest.raises(SystemExit) as left:
        main(["check", "-c", "mlp/digits", "--model.hidden=[8]"])
    assert left.value.code == 1
    assert "slopes    FAILED at backbone.0." in capsys.readouterr().out


def test_kinks_are_listed() -> None:
    assert kinks(MLP(3, Classification(2), [4])) == ["ReLU"]
    assert not kinks(MLP(3, Classification(2), [4], activation="tanh"))


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    main(["check", "--help"])
    assert capsys.readouterr().out == check.USAGE
