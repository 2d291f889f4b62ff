"""The confidence penalty against torch.distributions."""

from pathlib import Path

import pytest
import torch
from torch.distributions import Categorical

from callbacks.optimizers.sgd import SGD
from callbacks.regularizers.confidence_penalty import ConfidencePenalty, entropy
from callbacks.technique import NoEffect, UnsupportedModule
from tests.callbacks.technique_checks import accuracy_in_company, assert_resumes, fit, make_mlp
from zoo.batch import Batch
from zoo.errors import ZooError
from zoo.mlp import MLP
from zoo.task import Output, Regression


def test_equals_torch_distributions() -> None:
    logits = 5 * torch.randn(20, 7)
    torch.testing.assert_close(entropy(logits), Categorical(logits=logits).entropy())
    sequences = torch.randn(4, 7, 3)  # (B, num_classes, T)
    torch.testing.assert_close(entropy(sequences), Categorical(logits=sequences.transpose(1, 2)).entropy())
    assert entropy(torch.tensor([[1000.0, 0.0]])).item() == 0


def test_weights_of_samples_count() -> None:
    logits, weight = torch.randn(3, 4), torch.tensor([1.0, 0.0, 3.0])
    technique, module = ConfidencePenalty(0.5), make_mlp()
    technique.attach(module)
    output = Output(torch.zeros(()), logits)
    penalty = module.penalties["ConfidencePenalty"]
    h = Categorical(logits=logits).entropy()
    torch.testing.assert_close(penalty(module, Batch(logits), output), -0.5 * h.mean())
    torch.testing.assert_close(penalty(module, Batch(logits, weight=weight), output), -0.5 * (h[0] + 3 * h[2]) / 4)


def test_predictions_become_less_sure() -> None:
    def mean_entropy(*callbacks: ConfidencePenalty) -> float:
        module = make_mlp()
        fit(module, SGD(lr=1.0), *callbacks, max_epochs=4)
        inputs = torch.rand(256, 64, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            return Categorical(logits=module.eval()(inputs)).entropy().mean().item()

    assert mean_entropy(ConfidencePenalty(0.5)) > mean_entropy() + 0.1


def test_errors_resume_and_learning(tmp_path: Path) -> None:
    with pytest.raises(ZooError, match=r"strength must not be negative, got -0\.1"):
        ConfidencePenalty(-0.1)
    with pytest.raises(NoEffect, match="ConfidencePenalty: strength is 0"):
        fit(make_mlp(), ConfidencePenalty(0), max_steps=1)
    with pytest.raises(UnsupportedModule, match="does not support the task Regression; use Classification"):
        fit(MLP(64, Regression()), ConfidencePenalty(), max_steps=1)
    assert_resumes(lambda: [ConfidencePenalty(0.1)], tmp_path)
    assert accuracy_in_company(ConfidencePenalty(0.1)) > 0.93
