"""WeightDrop: a plain layer with masked weights, one mask a batch, whole weights and names elsewhere, resume."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from callbacks.averaging.ema import EMA
from callbacks.optimizers.sam import SAM
from callbacks.regularizers.weight_drop import WeightDrop, weight_drop
from callbacks.technique import Conflict, NoEffect, UnsupportedModule
from tests.callbacks.sequence_checks import check_resume, fit, language_model, text, vowels, vowels_rnn
from tests.callbacks.technique_checks import make_mlp
from zoo.errors import ZooError
from zoo.layers.dropout import keep_mask
from zoo.module import ZooModule

LAYERS = {
    "lstm": lambda: nn.LSTM(3, 6, num_layers=2, bidirectional=True, batch_first=True),
    "gru": lambda: nn.GRU(3, 6, batch_first=True),
    "rnn": lambda: nn.RNN(3, 6, batch_first=True),
    "projected": lambda: nn.LSTM(3, 6, batch_first=True, proj_size=4),
}


class Holder(ZooModule):
    def __init__(self, layer: nn.RNNBase) -> None:
        super().__init__()
        self.layer = layer


def attached(layer: nn.RNNBase, p: float = 0.5) -> tuple[Holder, WeightDrop]:
    module, technique = Holder(layer), WeightDrop(p)
    technique.attach(module)
    return module, technique


def outputs(layer: nn.Module, x: Tensor) -> Tensor:
    return layer(x)[0]


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
def test_equals_a_plain_layer_with_masked_weights_in_value_and_gradient(kind: str) -> None:
    torch.manual_seed(0)
    layer, theirs, x = LAYERS[kind](), LAYERS[kind](), torch.randn(2, 5, 3)
    theirs.load_state_dict(layer.state_dict())
    module, technique = attached(layer)
    ours = outputs(module.layer, x)
    names = [name for name in layer.state_dict() if name.startswith("weight_hh")]
    masks = dict(zip(names, technique._masks.values(), strict=True))
    with torch.no_grad():
        for name, mask in masks.items():
            getattr(theirs, name).mul_(mask)
    expected = outputs(theirs, x)
    torch.testing.assert_close(ours, expected)
    (ours**2).sum().backward()
    (expected**2).sum().backward()
    for name, parameter in layer.named_parameters():
        grad = getattr(theirs, name).grad
        torch.testing.assert_close(parameter.grad, grad * masks[name] if name in masks else grad)


def test_the_share_that_is_dropped_and_the_mean() -> None:
    weight = torch.ones(400, 100)
    for p in (0.2, 0.5):
        dropped = weight_drop(weight, keep_mask(weight, (400, 100), p))
        share = (dropped == 0).float().mean().item()
        assert share == pytest.approx(p, abs=4 * (p * (1 - p) / 40_000) ** 0.5)
        assert dropped.max().item() == pytest.approx(1 / (1 - p))
        assert dropped.mean().item() == pytest.approx(1, abs=4 * (p / (1 - p) / 40_000) ** 0.5)


def test_one_mask_a_batch_for_all_calls() -> None:
    module, technique = attached(nn.LSTM(3, 6, batch_first=True))
    x = torch.randn(2, 5, 3)
    whole = outputs(module.layer, x)
    torch.testing.assert_close(outputs(module.layer, x), whole)  # a second look within the step
    state, steps = None, []
    for step in range(5):  # as a decoder goes
        out, state = module.layer(x[:, step : step + 1], state)
        steps.append(out)
    torch.testing.assert_close(torch.cat(steps, 1), whole)
    technique.on_train_batch_start(None, module, None, 1)  # type: ignore[arg-type]
    assert not torch.allclose(outputs(module.layer, x), whole)


def test_evaluation_and_looks_without_gradients_use_the_whole_weights() -> None:
    layer, x = nn.LSTM(3, 6, batch_first=True), torch.randn(2, 5, 3)
    plain = outputs(layer, x)
    module, technique = attached(layer)
    assert not torch.allclose(outputs(module.layer, x), plain)
    with torch.no_grad():
        assert torch.equal(outputs(module.layer, x), plain)
    assert torch.equal(outputs(module.layer.eval(), x), plain)
    technique.detach(module)
    assert torch.equal(outputs(module.layer.train(), x), plain)
    assert not layer._forward_hooks
    assert not layer._forward_pre_hooks


def test_weights_are_restored_after_a_call_that_failed() -> None:
    layer = nn.LSTM(3, 6, batch_first=True)
    module, _ = attached(layer)
    with pytest.raises(RuntimeError):
        module.layer(torch.randn(2, 5, 4))
    assert all(a is b for a, b in zip(layer._flat_weights, layer.parameters(), strict=True))


def test_a_checkpoint_is_that_of_the_plain_network(tmp_path: Path) -> None:
    plain, dropped = language_model(), language_model()
    fit(plain, text(), epochs=1)
    trainer = fit(dropped, text(), WeightDrop(), EMA(0.9), epochs=1)
    assert plain.state_dict().keys() == dropped.state_dict().keys()
    assert all(isinstance(p, nn.Parameter) and p.is_leaf for p in dropped.parameters())
    trainer.save_checkpoint(tmp_path / "some.ckpt")
    saved = torch.load(tmp_path / "some.ckpt", weights_only=True)["state_dict"]
    fresh = language_model()
    fresh.load_state_dict(saved)
    x = torch.randint(10, (2, 9))
    assert torch.equal(fresh.eval()(x), dropped.eval()(x))


def test_all_weights_are_trained_and_batches_differ() -> None:
    module = vowels_rnn(bidirectional=True)
    before = {name: p.detach().clone() for name, p in module.named_parameters()}
    seen: list[Tensor] = []

    class Look(WeightDrop):
        def on_train_batch_end(self, *arguments: Any) -> None:
            super().on_train_batch_end(*arguments)
            seen.append(torch.stack([*self._masks.values()]))

    fit(module, vowels(), Look(0.3), epochs=1)
    assert all(not torch.equal(p, before[name]) for name, p in module.named_parameters())
    assert len({tuple(masks.flatten().tolist()) for masks in seen}) == len(seen) > 1
    assert not torch.equal(seen[0][0], seen[0][1])  # nor are the directions the same


@pytest.mark.parametrize("make", [language_model, vowels_rnn], ids=["stateful", "padded"])
def test_resumes_to_the_bit(make: Any, tmp_path: Path) -> None:
    check_resume(make, text if make is language_model else vowels, lambda: [WeightDrop(0.5), EMA(0.9)], tmp_path)


def test_both_looks_of_sam_see_one_network() -> None:
    """The mask of the first look is kept for the second."""
    count: list[int] = []

    class Count(WeightDrop):
        def on_train_batch_end(self, *arguments: Any) -> None:
            super().on_train_batch_end(*arguments)
            count.append(len(self._masks))

    module = vowels_rnn()
    fit(module, vowels(), Count(0.5), SAM(0.05), epochs=1)
    assert set(count) == {1}


def test_second_fit() -> None:
    module, technique = vowels_rnn(), WeightDrop()
    layer = module.encoder.layers[0].forwards
    for _ in range(2):
        fit(module, vowels(), technique, epochs=1)
        assert not layer._forward_hooks
        assert not technique._masks


def test_learns_vowels() -> None:
    trainer = fit(vowels_rnn(32), vowels(), WeightDrop(0.3), epochs=12)
    assert trainer.callback_metrics["val/accuracy"].item() > 0.5


def test_refusals() -> None:
    with pytest.raises(ZooError, match=r"WeightDrop: p is a probability in \[0, 1\), got 1"):
        WeightDrop(1)
    with pytest.raises(ZooError, match=r"WeightDrop: match='\(' is no regular expression"):
        WeightDrop(match="(")
    with pytest.raises(NoEffect, match="WeightDrop: p is 0, which changes nothing"):
        fit(vowels_rnn(), vowels(), WeightDrop(0))
    with pytest.raises(NoEffect, match=r"no recurrent layer has a name with 'decoder' .* encoder.layers.0.forwards\)"):
        fit(vowels_rnn(), vowels(), WeightDrop(match="decoder"))
    with pytest.raises(UnsupportedModule, match="WeightDrop does not support MLP: it has no LSTM, GRU or RNN"):
        WeightDrop().attach(make_mlp())
    with pytest.raises(Conflict, match="WeightDrop stands twice"):
        fit(vowels_rnn(), vowels(), WeightDrop(), WeightDrop(match="0"))
