"""MC dropout: the mean over passes by hand, uncertainties by formula, every stage, nothing else touched, refusals."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback
from torch import Tensor, nn

from callbacks.augmentation import test_time_augmentation as tta
from callbacks.averaging.ema import EMA
from callbacks.averaging.recalibrate_batch_norm import RecalibrateBatchNorm
from callbacks.optimizers.adamw import AdamW
from callbacks.regularizers.mc_dropout import MCDropout, dropout_on, stochastic_passes, uncertainty_of
from callbacks.technique import Conflict, NoEffect, UnsupportedModule
from datamodules.diabetes import Diabetes
from datamodules.digits import Digits
from tests.callbacks.technique_checks import assert_resumes, assert_same, copy, fit, make_mlp
from tests.tools import quiet_trainer
from zoo.batch import Batch
from zoo.cnn import ResNet
from zoo.errors import ZooError
from zoo.mlp import MLP
from zoo.module import ZooModule, plain_answer
from zoo.randomness import key, run_seed
from zoo.tabular import FTTransformer
from zoo.task import Classification, MultiLabel, Regression


def digits(stage: str, model: nn.Module) -> tuple[Tensor, Tensor]:
    data = Digits()
    data.setup("test")
    split = data.splits[stage]
    return data.transform_batch(split.x), split.y


def by_hand(model: MLP, x: Tensor, index: int, passes: int) -> Tensor:
    """Probabilities of passes with dropout written out, from the seed that the batch has."""
    torch.manual_seed(key(run_seed(), "mc_dropout", index, 0))
    found = []
    for _ in range(passes):
        out = x.flatten(1)
        for block in model.backbone:
            out = block.norm(block.linear(out)).relu()
            out = torch.dropout(out, block.dropout.p, True)
        found.append(model.head(out).softmax(1))
    return torch.stack(found, 1)  # (B, passes, K)


@pytest.mark.parametrize("stage", ["predict", "test", "validate"])
def test_every_stage_uses_the_mean_probability(stage: str) -> None:
    model = make_mlp(dropout=0.3)
    fit(model)
    data = Digits(eval_batch_size=150)
    trainer = quiet_trainer(callbacks=[MCDropout(5)])
    x, y = digits("val" if stage == "validate" else "test", model)
    model.eval()
    with torch.no_grad():
        probabilities = torch.cat([by_hand(model, part, i, 5) for i, part in enumerate(x.split(150))])
    mean = probabilities.mean(1)
    if stage == "predict":
        torch.testing.assert_close(torch.cat(trainer.predict(model, datamodule=data)), mean)
    else:
        (found,) = getattr(trainer, stage)(model, datamodule=data, verbose=False)
        name = "val" if stage == "validate" else "test"
        assert found[f"{name}/accuracy"] == pytest.approx((mean.argmax(1) == y).float().mean().item(), abs=1e-6)
        assert found[f"{name}/loss"] == pytest.approx(-mean.log()[torch.arange(len(y)), y].mean().item(), rel=1e-4)
        if stage == "test":
            entropy = -(mean * mean.log()).sum(1)
            expected = -(probabilities * probabilities.log()).sum(2).mean(1)
            assert found["test/uncertainty_entropy"] == pytest.approx(entropy.mean().item(), rel=1e-4)
            assert found["test/uncertainty_mutual_information"] == pytest.approx(
                (entropy - expected).mean().item(), rel=1e-3
            )
        assert not model.training
    assert model.answer is plain_answer
    assert not model.slot_owners


def test_two_tests_agree_to_the_bit_and_the_seed_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_mlp(dropout=0.5)

    def results() -> dict[str, float]:
        torch.rand(3)  # whatever was drawn before
        (found,) = quiet_trainer(callbacks=[MCDropout(3)]).test(model, datamodule=Digits(), verbose=False)
        return found

    first = results()
    assert first == results()
    monkeypatch.setenv("PL_GLOBAL_SEED", "7")
    assert first != results()


def test_the_generator_of_the_run_is_left_as_it_was() -> None:
    model = make_mlp(dropout=0.5).eval()
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    predictions = stochastic_passes(model, lambda: model(torch.ones(2, 64)), 4, seed=1)
    assert torch.equal(torch.rand(3), expected)
    assert predictions.shape == (2, 4, 10)
    assert not torch.equal(predictions[:, 0], predictions[:, 1])


def test_dropout_alone_is_on() -> None:
    network = ResNet(1, Classification(10), [1, 1], 4, dropout=0.2, drop_path=0.2).train()
    before = copy(network)
    with dropout_on(network):
        on = {type(m).__name__ for m in network.modules() if m.training}
        assert on == {"Dropout", "DropPath"}
        network(torch.randn(3, 1, 8, 8))
    assert all(m.training for m in network.modules())
    assert_same(before, copy(network))  # batch norm kept its statistics
    transformer = FTTransformer(4, Classification(3), width=8, blocks=1, heads=2, dropout=0.5).eval()
    predictions = stochastic_passes(transformer, lambda: transformer(torch.ones(1, 4)), 8, 0)
    assert len(predictions[0].unique(dim=0)) > 1
    assert not any(m.training for m in transformer.modules())


def test_uncertainty_of_classes() -> None:
    probabilities = torch.tensor([[[0.5, 0.5], [0.5, 0.5]], [[1.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [1.0, 0.0]]])
    found = uncertainty_of(Classification(2), probabilities.log().clamp(min=-200))
    half = torch.tensor([[0.5, 0.5], [0.5, 0.5], [1.0, 0.0]])
    torch.testing.assert_close(found["mean"], half)
    # Doubt that all passes share, doubt that comes from the weights alone, and none.
    torch.testing.assert_close(found["entropy"], torch.tensor([math.log(2), math.log(2), 0.0]))
    torch.testing.assert_close(found["mutual_information"], torch.tensor([0.0, math.log(2), 0.0]))


def test_uncertainty_of_values_is_in_original_units() -> None:
    task = Regression(2)
    task.fit_targets(torch.tensor([[1.0, 10.0], [3.0, 50.0]]))  # means 2 and 30, deviations 1 and 20
    predictions = torch.randn(4, 6, 2)
    found = uncertainty_of(task, predictions)
    units = predictions * torch.tensor([1.0, 20.0]) + torch.tensor([2.0, 30.0])
    torch.testing.assert_close(found["mean"], units.mean(1))
    torch.testing.assert_close(found["std"], units.std(1))


def test_uncertainty_of_a_batch_with_and_without_a_trainer() -> None:
    model = make_mlp(dropout=0.5).train()
    x, y = digits("test", model)
    technique, batch = MCDropout(6), Batch(x[:50], y[:50])
    alone = technique.uncertainty(model, batch, index=2)
    assert model.training
    torch.testing.assert_close(alone["mean"], by_hand(model.eval(), x[:50], 2, 6).mean(1))
    assert alone["mean"].shape == (50, 10)
    assert alone["entropy"].shape == alone["mutual_information"].shape == (50,)
    assert not alone["mean"].requires_grad
    assert not torch.equal(technique.uncertainty(model, batch)["mean"], alone["mean"])

    class Ask(Callback):
        def on_test_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, index: int) -> None:
            inside.append(technique.uncertainty(pl_module, Batch(x[:50], y[:50]), index=2))

    inside: list[dict[str, Tensor]] = []
    for callbacks in ([Ask(), technique], [technique, Ask()]):  # before and after the technique's own hook
        quiet_trainer(callbacks=callbacks).test(model, datamodule=Digits(), verbose=False)
    assert_same(alone, inside[0])
    assert_same(alone, inside[-1])


def test_regression_from_end_to_end() -> None:
    torch.manual_seed(0)
    model = MLP(10, Regression(), [16], dropout=0.2)
    trainer = quiet_trainer(callbacks=[MCDropout(8)], max_epochs=3)
    trainer.fit(model, datamodule=Diabetes())
    (found,) = trainer.test(model, datamodule=Diabetes(), verbose=False)
    assert 1 < found["test/uncertainty_std"] < 100  # of a target with a standard deviation of 77
    predicted = torch.cat(trainer.predict(model, datamodule=Diabetes()))
    assert predicted.shape[1] == 1
    assert found["test/rmse"] > 0


def test_training_is_untouched_and_validation_is_not() -> None:
    plain, other = make_mlp(), make_mlp()
    first = fit(plain, EMA(0.9), max_epochs=2).callback_metrics
    second = fit(other, EMA(0.9), MCDropout(4), max_epochs=2).callback_metrics
    assert_same(copy(plain), copy(other))
    assert first["train/loss"] == second["train/loss"]
    assert first["val/loss"] != second["val/loss"]


def test_statistics_of_batch_norm_are_measured_without_it() -> None:
    """Passes between batches are plain ones: dropout would get into the statistics."""
    plain, other = make_mlp(), make_mlp()
    fit(plain, RecalibrateBatchNorm(), max_epochs=1)
    fit(other, RecalibrateBatchNorm(), MCDropout(4), max_epochs=1)
    assert_same(copy(plain), copy(other))


def test_two_processes_validate_as_they_do_afterwards() -> None:
    """Within a fit a validation step runs inside the wrapped module, which must not count as a forward pass."""
    model = make_mlp(dropout=0.4)
    pair: dict[str, Any] = {"strategy": "ddp_fork", "devices": 2, "num_sanity_val_steps": 0}
    trainer = quiet_trainer(callbacks=[MCDropout(4)], **pair)
    trainer.fit(model, datamodule=Digits(batch_size=200))
    within = trainer.callback_metrics["val/loss"].item()
    (after,) = quiet_trainer(callbacks=[MCDropout(4)], **pair).validate(model, datamodule=Digits(), verbose=False)
    (plain,) = quiet_trainer(**pair).validate(model, datamodule=Digits(), verbose=False)
    assert within == pytest.approx(after["val/loss"], rel=1e-5)
    assert abs(within - plain["val/loss"]) > 1e-3


def test_resumes_to_the_bit(tmp_path: Path) -> None:
    assert_resumes(lambda: [MCDropout(3)], tmp_path)


@pytest.mark.parametrize("seed", range(3))
def test_uncertainty_is_higher_where_the_network_is_wrong_and_for_what_it_has_never_seen(seed: int) -> None:
    torch.manual_seed(seed)
    model = MLP(64, Classification(10), [64, 64], dropout=0.5)
    fit(model, AdamW(lr=5e-3), batch_size=64, max_epochs=6)
    x, y = digits("val", model)
    technique = MCDropout(30)
    seen = technique.uncertainty(model, Batch(x))
    wrong = seen["mean"].argmax(1) != y
    assert 0 < wrong.sum() < len(y) / 4
    for name in ("entropy", "mutual_information"):
        assert seen[name][wrong].mean() > 1.3 * seen[name][~wrong].mean()
    scrambled = x.flatten(1)[:, torch.randperm(64)]
    assert technique.uncertainty(model, Batch(scrambled))["entropy"].mean() > 1.3 * seen["entropy"].mean()


def test_refusals() -> None:
    with pytest.raises(ZooError, match="MCDropout: passes must be at least 2, got 1; 10 to 100 are usual"):
        MCDropout(1)
    for act in (lambda: fit(make_mlp(dropout=0.0), MCDropout()),
                lambda: MCDropout().uncertainty(make_mlp(dropout=0.0), Batch(torch.ones(1, 64)))):  # fmt: skip
        with pytest.raises(NoEffect, match=r"MCDropout: MLP has no dropout with a rate above 0; set --model.dropout"):
            act()
    model = MLP(4, MultiLabel(3), [4], dropout=0.1)
    with pytest.raises(UnsupportedModule, match="MCDropout does not support the task MultiLabel"):
        MCDropout().setup(quiet_trainer(), model, "test")
    with pytest.raises(UnsupportedModule, match="MCDropout does not support ZooModule: it needs a SupervisedModule"):
        MCDropout().setup(quiet_trainer(), ZooModule(), "test")
    network = ResNet(1, Classification(10), [1], 4, dropout=0.2)
    with pytest.raises(Conflict, match="TestTimeAugmentation and MCDropout both want the slot answer; drop one"):
        fit(network, tta.TestTimeAugmentation(), MCDropout())
