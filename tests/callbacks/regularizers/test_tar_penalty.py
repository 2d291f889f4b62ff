"""Temporal activation regularisation against a loop, padding that does not count, effect, resume and refusals."""

from pathlib import Path
from typing import Any

import pytest
import torch

from callbacks.regularizers.activation_penalty import ActivationPenalty, activation_size
from callbacks.regularizers.outputs import mean_over_steps
from callbacks.regularizers.tar_penalty import TARPenalty, temporal_change
from callbacks.technique import Conflict, NoEffect
from tests.callbacks.sequence_checks import check_resume, fit, language_model, text, vowels, vowels_rnn
from tests.callbacks.technique_checks import make_mlp
from zoo.batch import Batch
from zoo.errors import ZooError

LENGTHS = torch.tensor([3, 6, 1])


def draw() -> torch.Tensor:
    return torch.randn(3, 6, 2, generator=torch.Generator().manual_seed(0))


def test_equals_a_loop_over_the_valid_steps() -> None:
    h = draw()
    squares = [
        (h[row, step + 1] - h[row, step]) ** 2 for row, length in enumerate(LENGTHS) for step in range(length - 1)
    ]
    torch.testing.assert_close(temporal_change(h, LENGTHS), torch.stack(squares).mean())
    torch.testing.assert_close(temporal_change(h), (h[:, 1:] - h[:, :-1]).pow(2).mean())


def test_what_stands_in_the_padding_changes_nothing_and_gets_no_gradient() -> None:
    h = draw().requires_grad_()
    valid = torch.arange(6) < LENGTHS[:, None]
    size = temporal_change(h, LENGTHS)
    torch.testing.assert_close(temporal_change(h.where(valid[..., None], torch.nan), LENGTHS), size)
    size.backward()
    assert not h.grad[~valid].any()


def test_a_state_that_stays_costs_nothing_and_single_steps_neither() -> None:
    assert temporal_change(torch.ones(2, 5, 3)) == 0
    assert temporal_change(draw(), torch.tensor([1, 1, 1])) == 0
    assert TARPenalty().measure([draw()[:, :1]], None) is None


def test_ar_leaves_padding_out_too() -> None:
    h = draw()
    kept = torch.cat([h[row, :length] for row, length in enumerate(LENGTHS)])
    torch.testing.assert_close(activation_size([h], "l2", LENGTHS), kept.square().mean())
    torch.testing.assert_close(activation_size([h], "l1", LENGTHS), kept.abs().mean())
    assert mean_over_steps(h[:, 0], LENGTHS) == h[:, 0].mean()  # not a sequence


@pytest.mark.parametrize("bidirectional", [False, True])
def test_adds_to_the_loss_what_the_encoder_puts_out(bidirectional: bool) -> None:
    module, technique = vowels_rnn(bidirectional=bidirectional, dropout=0.0), TARPenalty(0.5)
    batch = Batch(torch.randn(3, 6, 12), torch.tensor([0, 1, 2]), LENGTHS)
    outputs, _ = module.encoder(batch.x, LENGTHS)
    technique.attach(module)
    output = module.objective(module, batch)
    penalty = module.penalties["TARPenalty[^encoder$]"](module, batch, output)
    torch.testing.assert_close(penalty, 0.5 * temporal_change(outputs, LENGTHS))
    technique.detach(module)
    assert not module.penalties
    assert not module.encoder._forward_hooks


def change(*callbacks: Any) -> float:
    module = language_model(dropout=0.0)
    fit(module, text(), *callbacks, epochs=6)
    data = text()
    data.setup("fit")
    x, *_ = data.splits["val"][torch.arange(4) * 40]
    with torch.no_grad():
        outputs, _ = module.eval().encoder(module.embedding(x))
    return temporal_change(outputs).item()


def test_states_change_less_from_step_to_step() -> None:
    assert change(TARPenalty(5.0)) < 0.7 * change()


def test_resumes_to_the_bit_beside_ar(tmp_path: Path) -> None:
    check_resume(language_model, text, lambda: [TARPenalty(2.0), ActivationPenalty(1.0, "^encoder$")], tmp_path)
    check_resume(vowels_rnn, vowels, lambda: [TARPenalty(2.0)], tmp_path)


def test_second_fit() -> None:
    module, technique = vowels_rnn(), TARPenalty()
    for _ in range(2):
        fit(module, vowels(), technique, epochs=1)
        assert not module.penalties
        assert not module.encoder._forward_hooks


def test_refusals() -> None:
    with pytest.raises(ZooError, match="TARPenalty: strength must not be negative, got -1"):
        TARPenalty(-1)
    with pytest.raises(ZooError, match=r"TARPenalty: match='\(' is no regular expression"):
        TARPenalty(match="(")
    with pytest.raises(NoEffect, match=r"TARPenalty\[\^encoder\$\]: strength is 0"):
        fit(vowels_rnn(), vowels(), TARPenalty(0))
    with pytest.raises(NoEffect, match="no submodule of RNN has a name with 'decoder' in it"):
        fit(vowels_rnn(), vowels(), TARPenalty(match="decoder"))
    with pytest.raises(NoEffect, match=r"what '\^head\$' matches puts out no sequences \(B, T, C\) of two steps"):
        fit(vowels_rnn(), vowels(), TARPenalty(match="^head$"))
    with pytest.raises(NoEffect, match="no submodule of MLP has a name with"):
        TARPenalty().attach(make_mlp())
    with pytest.raises(Conflict, match="stands twice"):
        fit(vowels_rnn(), vowels(), TARPenalty(), TARPenalty())
