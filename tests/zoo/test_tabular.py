"""The tabular family: what it computes, what it refuses, and that it learns."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from callbacks.optimizers.adamw import AdamW
from datamodules.adult import Adult
from datamodules.california_housing import CaliforniaHousing
from tests.tools import quiet_trainer
from zoo.batch import Batch
from zoo.errors import DataError, ZooError
from zoo.init_from import init_from
from zoo.layers.tabular_embedding import PiecewiseLinearEmbedding
from zoo.losses.gaussian import GaussianNLL
from zoo.losses.ldam import LDAM
from zoo.mlp import MLP
from zoo.module import task_objective
from zoo.tabular import FTTransformer, TabM, TabularMLP, TabularModule
from zoo.task import Classification, MultiLabel, Regression, Task
from zoo.tasks.ensemble import combine

FAMILY: list[type[TabularModule]] = [TabularMLP, TabM, FTTransformer]
# Three numbers, then a column of 4 and one of 6 codes.
CARDINALITIES = [4, 6]
SMALL: dict[str, Any] = {"hidden": [8, 8], "embedding_size": 4, "resolution": 5, "dropout": 0.0}


def rows(count: int = 6) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    codes = [torch.randint(codes, (count, 1), generator=generator) for codes in CARDINALITIES]
    return torch.cat([torch.randn(count, 3, generator=generator), *codes], 1)


def make(kind: type[TabularModule], task: Task | None = None, **arguments: Any) -> Any:
    torch.manual_seed(0)
    settings = {"width": 8, "heads": 2, "dropout": 0.0} if kind is FTTransformer else SMALL
    if kind is TabM:
        settings = {**settings, "members": 3}
    return kind(**{"in_features": 5, "task": task or Classification(3), "cardinalities": CARDINALITIES,
                   **settings, **arguments})  # fmt: skip


def loss(module: Any, x: Tensor, y: Tensor) -> Tensor:
    return module.objective(module, Batch(x, y)).loss


@pytest.mark.parametrize("kind", FAMILY)
@pytest.mark.parametrize("embedding", ["none", "piecewise_linear", "piecewise_linear_relu", "periodic"])
@pytest.mark.parametrize("task", [Classification(3), Regression(2), Regression(1, GaussianNLL()), MultiLabel(4)])
def test_every_member_of_the_family_trains(kind: type[TabularModule], embedding: str, task: Task) -> None:
    module, x = make(kind, task, embedding=embedding), rows()
    assert module(x).shape == (6, task.out_features)
    targets = {
        Classification: torch.arange(6) % 3,
        Regression: torch.randn(6, getattr(task, "num_targets", 1)),
        MultiLabel: torch.randint(2, (6, 4)),
    }
    loss(module, x, targets[type(task)]).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in module.parameters())


def test_without_embeddings_and_hidden_layers_it_is_linear() -> None:
    module = TabularMLP(5, Regression(), hidden=[], embedding="none")
    x = torch.randn(4, 5)
    assert torch.equal(module(x), F.linear(x, module.head.weight, module.head.bias))
    assert sum(p.numel() for p in module.parameters()) == 6


def test_without_embeddings_it_is_the_perceptron() -> None:
    tabular, plain = (
        TabularMLP(5, Regression(), hidden=[7, 6], embedding="none", dropout=0),
        MLP(5, Regression(), [7, 6]),
    )
    plain.load_state_dict(dict(zip(plain.state_dict(), tabular.state_dict().values(), strict=True)))
    x = torch.randn(4, 5)
    assert torch.equal(tabular(x), plain(x))


def test_the_vector_holds_numbers_then_categories() -> None:
    module, x = make(TabularMLP, embedding="none"), rows()
    tables = module.categorical.tables
    expected = torch.cat([x[:, :3], tables[0].weight[x[:, 3].long()], tables[1].weight[x[:, 4].long()]], 1)
    assert torch.equal(module.vector(x), expected)
    assert module.widths == [1, 1, 1, 4, 4]


def test_one_member_is_the_perceptron() -> None:
    many, one = make(TabM, members=1), make(TabularMLP)
    many.numerical, many.categorical = one.numerical, one.categorical
    with torch.no_grad():
        for number in (0, 3):
            layer, linear = many.backbone[number], one.backbone[number]
            layer.scale_in.fill_(1)
            layer.shared.weight.copy_(linear.weight)
            layer.bias[0] = linear.bias
        many.head.weight[0] = one.head.weight.T
        many.head.bias[0] = one.head.bias
    x, y = rows(), torch.arange(6) % 3
    torch.testing.assert_close(many(x).softmax(1), one(x).softmax(1))
    torch.testing.assert_close(loss(many, x, y), loss(one, x, y))


def test_members_differ() -> None:
    first = make(TabM, embedding="none").backbone[0]
    assert set(first.scale_in.unique().tolist()) == {-1.0, 1.0}, "signs where numbers are raw"
    assert torch.equal(first.scale_in[:, 3], first.scale_in[:, 6]), "one draw for each feature"
    predictions = make(TabM).member_predictions(rows())
    assert (predictions[:, 0] - predictions[:, 1]).abs().min() > 1e-4
    assert (make(TabM).backbone[3].scale_in == 1).all()


@pytest.mark.parametrize("weighted", [False, True])
def test_the_loss_is_the_mean_of_the_members_losses(weighted: bool) -> None:
    module, x, y = make(TabM, Classification(3, class_weights=[1.0, 2.0, 5.0])), rows(), torch.arange(6) % 3
    weight = torch.arange(1.0, 7.0) if weighted else None
    batch = Batch(x, y, weight=weight)
    each = [module.task.loss(p, batch) for p in module.member_predictions(x).unbind(1)]
    output = module.objective(module, batch)
    torch.testing.assert_close(output.loss, torch.stack(each).mean())
    assert not torch.isclose(output.loss, module.task.loss(output.prediction, batch))
    assert torch.equal(output.prediction, module(x))


def test_soft_targets() -> None:
    module, x, y = make(TabM), rows(), torch.arange(6) % 3
    hard, soft = loss(module, x, y), loss(module, x, F.one_hot(y, 3).float())
    torch.testing.assert_close(hard, soft)


def test_the_prediction_is_the_mean_of_probabilities_or_values() -> None:
    members = torch.randn(5, 4, 3)
    classes, values, labels = Classification(3), Regression(3), MultiLabel(3)
    torch.testing.assert_close(classes.decode(combine(classes, members)), members.softmax(-1).mean(1))
    torch.testing.assert_close(values.decode(combine(values, members)), members.mean(1))
    torch.testing.assert_close(labels.decode(combine(labels, members)), members.sigmoid().mean(1))
    margins = Classification(3, LDAM())
    assert torch.equal(combine(margins, members), members.mean(1)), (
        "no softmax of these outputs, so outputs are averaged"
    )


def test_the_slot_objective_can_be_taken() -> None:
    module, x, y = make(TabM), rows(), torch.arange(6) % 3
    module.objective = task_objective
    torch.testing.assert_close(loss(module, x, y), F.nll_loss(module(x), y))


def test_the_transformer_does_not_know_the_order_of_columns() -> None:
    module = make(FTTransformer, cardinalities=[], in_features=4, task=Regression())
    x, order = torch.randn(5, 4), [2, 0, 3, 1]
    before = module(x)
    with torch.no_grad():
        for parameter in module.numerical.parameters():
            parameter.copy_(parameter[order])
    torch.testing.assert_close(module(x[:, order]), before)


def test_mixed_codes_are_refused() -> None:
    module, x = make(TabularMLP), rows()
    x[2, 4] = 1.5
    with pytest.raises(
        DataError, match=r"^TabularMLP: category codes are not whole numbers; .* --data.categories one_hot"
    ):
        loss(module, x, torch.arange(6) % 3)


@pytest.mark.parametrize(
    ("kind", "arguments", "message"),
    [
        (TabularMLP, {"in_features": 1}, r"^TabularMLP: in_features=1 columns cannot end in cardinalities=\[4, 6\]$"),
        (TabularMLP, {"hidden": [4, 0]}, r"^TabularMLP: widths must be positive, got hidden=\[4, 0\]$"),
        (TabularMLP, {"embedding_size": 0}, "^TabularMLP: embedding_size must be at least 1, got 0$"),
        (TabM, {"dropout": 1.0}, r"^TabM: dropout must lie in \[0, 1\), got 1.0$"),
        (TabM, {"members": 0}, r"^TabM needs members and hidden layers, got members=0 and hidden=\[8, 8\]$"),
        (FTTransformer, {"width": 9}, "^FTTransformer: width must be a multiple of heads"),
    ],
)
def test_arguments_that_cannot_work(kind: type[TabularModule], arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ZooError, match=message):
        make(kind, **arguments)


def test_bins_come_from_the_training_rows_and_stay(tmp_path: Path) -> None:
    data, module = CaliforniaHousing(), TabularMLP(8, Regression(), **SMALL)
    trainer = quiet_trainer(tmp_path, limit_train_batches=1, limit_val_batches=1)
    trainer.fit(module, datamodule=data)
    expected = PiecewiseLinearEmbedding(8, 4, 5)
    expected.fit(data.train_inputs)
    assert isinstance(module.numerical, PiecewiseLinearEmbedding)
    assert torch.equal(module.numerical.scale, expected.scale)
    trainer.save_checkpoint(tmp_path / "a.ckpt")

    class Shifted(CaliforniaHousing):
        @property
        def train_inputs(self) -> Tensor:
            return super().train_inputs * 3

    for again in (module, TabularMLP(8, Regression(), **SMALL)):
        if again is not module:
            init_from(again, torch.load(tmp_path / "a.ckpt", weights_only=True)["state_dict"], "a.ckpt")
        quiet_trainer(tmp_path, limit_train_batches=1, limit_val_batches=1).fit(again, datamodule=Shifted())
        assert isinstance(again.numerical, PiecewiseLinearEmbedding)
        assert torch.equal(again.numerical.scale, expected.scale)


def test_without_training_rows_the_bins_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    loader = DataLoader(TensorDataset(torch.randn(8, 5), torch.randn(8, 1)), batch_size=8)
    quiet_trainer(tmp_path).fit(TabularMLP(5, Regression(), **SMALL), loader)
    assert (
        "TabularMLP: no training rows to take bins from; they are the quantiles of N(0, 1)" in capsys.readouterr().out
    )


def fitted(module: Any, data: Any, epochs: int, folder: Path) -> dict[str, float]:
    trainer = quiet_trainer(folder, max_epochs=epochs, callbacks=[AdamW(lr=3e-3)])
    trainer.fit(module, datamodule=data)
    return {name: float(value) for name, value in trainer.callback_metrics.items()}


@pytest.mark.parametrize("kind", FAMILY)
def test_learns_california_in_one_epoch(kind: type[TabularModule], tmp_path: Path) -> None:
    arguments = {"members": 4} if kind is TabM else {"width": 16, "blocks": 1} if kind is FTTransformer else {}
    torch.manual_seed(0)
    module = kind(in_features=8, task=Regression(), **arguments)  # type: ignore[call-arg, arg-type]
    # A linear fit of the raw features explains 0.61 of the variance, the mean 0.
    assert fitted(module, CaliforniaHousing(batch_size=128), 1, tmp_path)["val/r2"] > 0.65


@pytest.mark.parametrize("categories", ["codes", "one_hot"])
def test_learns_adult_in_one_epoch(categories: Any, tmp_path: Path) -> None:
    data = Adult(batch_size=256, categories=categories)
    torch.manual_seed(0)
    if categories == "codes":
        module: Any = TabularMLP(data.in_features, Classification(2), data.cardinalities, hidden=[64], resolution=16)
    else:
        module = MLP(data.in_features, Classification(2), hidden=[64])
    # Always "no" is right for 0.76 of the rows.
    assert fitted(module, data, 1, tmp_path)["val/accuracy"] > 0.84
