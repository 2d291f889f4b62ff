"""z-loss: the formula, the steps that count, and a normaliser that stays near 1."""

from pathlib import Path

import pytest
import torch

from callbacks.optimizers.adamw import AdamW
from callbacks.regularizers.z_loss import ZLoss, z_loss
from callbacks.technique import NoEffect, UnsupportedModule
from tests.callbacks.sequence_checks import check_resume
from tests.callbacks.technique_checks import fit, make_mlp
from tests.callbacks.transformer_checks import gpt, tokens, train
from zoo.batch import Batch
from zoo.errors import ZooError
from zoo.mlp import MLP
from zoo.task import Output, Regression


def test_the_formula() -> None:
    logits, weight = 3 * torch.randn(5, 4), torch.tensor([1.0, 0, 2, 3, 0])
    squares = logits.double().exp().sum(1).log().square()
    torch.testing.assert_close(z_loss(logits).double(), squares.mean())
    torch.testing.assert_close(z_loss(logits, weight).double(), (squares[0] + 2 * squares[2] + 3 * squares[3]) / 6)
    assert z_loss(logits.log_softmax(1)).item() == pytest.approx(0, abs=1e-10)
    assert z_loss(torch.full((1, 2), 1000.0)).isfinite()


def test_steps_without_a_label_do_not_count() -> None:
    module, x = gpt(), torch.randint(20, (2, 6))
    y = x.clone()
    y[1, 3:] = -100
    ZLoss(0.5).attach(module)
    logits = torch.randn(2, 6, module.head.out_features)
    said = module.penalties["ZLoss"](module, Batch(x, y), Output(torch.zeros(()), logits))
    expected = 0.5 * z_loss(torch.cat([logits[0], logits[1, :3]]))
    torch.testing.assert_close(said, expected)
    weighted = module.penalties["ZLoss"](
        module, Batch(x, y, weight=torch.tensor([0.0, 2])), Output(torch.zeros(()), logits)
    )
    torch.testing.assert_close(weighted, 0.5 * z_loss(logits[1, :3]))


@pytest.mark.parametrize("shape", [(4, 10), (4, 3, 10)], ids=["one", "members"])
def test_samples_count_by_their_weight(shape: tuple[int, ...]) -> None:
    module, logits, weight = make_mlp(), torch.randn(shape), torch.tensor([0.0, 1, 0, 0])
    ZLoss(1.0).attach(module)
    said = module.penalties["ZLoss"](module, Batch(logits, weight=weight), Output(torch.zeros(()), logits))
    torch.testing.assert_close(said, z_loss(logits[1].reshape(-1, 10)))


def test_the_normaliser_stays_near_one() -> None:
    def log_z(*callbacks: ZLoss) -> float:
        module = gpt()
        train(module, AdamW(lr=1e-2), *callbacks, epochs=2)
        x = torch.arange(32)[None] % module.head.out_features
        with torch.no_grad():
            return module.eval()(x).logsumexp(2).abs().mean().item()

    assert log_z(ZLoss(0.1)) < 0.5 < log_z()


def test_errors_and_resume(tmp_path: Path) -> None:
    with pytest.raises(ZooError, match=r"ZLoss: strength must not be negative, got -1"):
        ZLoss(-1)
    with pytest.raises(NoEffect, match="ZLoss: strength is 0"):
        fit(make_mlp(), ZLoss(0), max_steps=1)
    with pytest.raises(UnsupportedModule, match="ZLoss does not support the task Regression"):
        fit(MLP(64, Regression()), ZLoss(), max_steps=1)
    check_resume(lambda: gpt(dropout=0.1), tokens, lambda: [ZLoss()], tmp_path)
