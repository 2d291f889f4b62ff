"""Attention's health: the measures on known weights, what is logged, the one alarm, and a run that stays as it is."""

from typing import Any

import pytest
import torch

from callbacks.diagnostics.attention_health import AttentionHealth, advise, look
from callbacks.efficiency.activation_checkpointing import ActivationCheckpointing
from callbacks.efficiency.compile import Compile
from callbacks.optimizers.adamw import AdamW
from tests.callbacks.sequence_checks import differences
from tests.callbacks.technique_checks import fit as fit_digits
from tests.callbacks.technique_checks import make_mlp
from tests.callbacks.transformer_checks import gpt, train
from zoo.errors import ZooError
from zoo.module import ZooModule


def test_the_measures() -> None:
    scores = 3 * torch.randn(2, 3, 5, 5)
    causal = torch.ones(5, 5, dtype=torch.bool).tril()
    found = look(scores.masked_fill(~causal, -torch.inf).softmax(3))
    entropies, widest = [], 0.0
    for b in range(2):
        for head in range(3):
            for step in range(1, 5):
                row = scores[b, head, step, : step + 1]
                entropies.append(torch.distributions.Categorical(logits=row).entropy() / torch.tensor(step + 1.0).log())
                widest = max(widest, float(row.max() - row.min()))
    assert found.entropy == pytest.approx(float(torch.stack(entropies).mean()), rel=1e-4)
    assert found.score_range == pytest.approx(widest, rel=1e-3)
    assert look(torch.full((1, 1, 4, 4), 0.25)).entropy == pytest.approx(1)
    alone = look(torch.eye(4)[None, None])
    assert (alone.entropy, alone.score_range) == (1.0, 0.0)  # nothing else could be read


@pytest.mark.parametrize("position", ["learned", "rotary"])
def test_it_logs_each_layer_and_changes_nothing(position, monkeypatch) -> None:
    logged: list[dict[str, float]] = []
    monkeypatch.setattr(ZooModule, "log_step", lambda self, values, step=None: logged.append(values))
    settings: dict[str, Any] = {"dropout": 0.1, "position": position, "layers": 3}
    plain, ours = gpt(**settings), gpt(**settings)
    train(plain, ActivationCheckpointing(), steps=5)
    logged.clear()
    train(ours, ActivationCheckpointing(), AttentionHealth(every=2), steps=5)
    assert not differences(plain, ours)
    looks = [values for values in logged if "train/log_z" in values]
    assert len(looks) == 3
    for values in looks:
        assert len(values) == 7
        assert all(0.9 < values[f"train/attention_entropy/{i}"] <= 1 for i in range(3))
    assert not any(part._forward_pre_hooks or part._forward_hooks for part in ours.modules())


def test_a_compiled_network_is_not_compiled_anew_for_a_look(capfd, monkeypatch) -> None:
    logged: list[dict[str, float]] = []
    monkeypatch.setattr(ZooModule, "log_step", lambda self, values, step=None: logged.append(values))
    train(gpt(), Compile(backend="eager"), AttentionHealth(every=2), steps=5)
    said = "".join(capfd.readouterr())
    assert "Compile: compiled 1 graph in" in said, "hooks within it would break the network into parts"
    assert "recompiled" not in said
    assert len([values for values in logged if "train/log_z" in values]) == 3


def test_collapse_is_told_once(capfd) -> None:
    module = gpt()
    with torch.no_grad():
        for block in module.transformer.blocks:
            block.attention.query.weight.mul_(3000)
    train(module, AdamW(lr=1e-6), AttentionHealth(every=1), steps=5)
    said = "".join(capfd.readouterr())
    assert said.count("AttentionHealth: step 1") == 1
    assert said.count("AttentionHealth") == 1
    assert "set --model.block.qk_norm true" in said


def test_drifting_logits_are_told(capfd) -> None:
    module = gpt(tied=False)
    with torch.no_grad():
        module.head.weight.mul_(100)
    train(module, AdamW(lr=1e-6), AttentionHealth(every=1), steps=3)
    said = "".join(capfd.readouterr())
    assert "log Z of the logits is" in said
    assert "add -c techniques/regularizers/z_loss" in said


def test_advice_in_order() -> None:
    assert "qk_norm" in advise(gpt(), False, set())
    assert "soft_cap" in advise(gpt(block={"qk_norm": True}), False, set())
    assert "lower the learning rate" in advise(gpt(block={"qk_norm": True, "soft_cap": 50.0}), False, set())
    assert "qk_norm" in advise(gpt(), True, {"ZLoss"})


def test_errors() -> None:
    with pytest.raises(ZooError, match="every must be at least 1 step, got 0"):
        AttentionHealth(0)
    with pytest.raises(ZooError, match="AttentionHealth looks at attention layers, and MLP has none; drop it"):
        fit_digits(make_mlp(), AttentionHealth(), max_steps=1)
