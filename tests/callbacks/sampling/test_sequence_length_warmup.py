"""Sequence-length warm-up: the ramp, what is cut, whole sequences at the end, resume and refusals."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback

from callbacks.augmentation.time_warp import TimeWarp
from callbacks.sampling.sequence_length_warmup import SequenceLengthWarmup, length_at
from callbacks.sampling.sequences import first_steps
from callbacks.technique import NoEffect, UnsupportedModule
from tests.callbacks.sequence_checks import check_resume, fit, language_model, text, vowels, vowels_rnn
from tests.callbacks.technique_checks import make_mlp
from zoo.batch import Batch
from zoo.errors import ZooError


def test_the_ramp() -> None:
    lengths = [length_at(step / 20, 64, 0.25, 0.5, 8) for step in range(21)]
    assert lengths[0] == 16
    assert lengths[5] == 40  # 64 (0.25 + 0.75 / 2)
    assert lengths == sorted(lengths)
    assert all(length == 64 for length in lengths[10:])
    assert all(length % 8 == 0 for length in lengths)
    assert length_at(0.0, 5, 0.1, 1.0, 8) == 5  # never longer than the data
    assert length_at(0.0, 100, 0.001, 1.0) == 1
    assert length_at(0.0, 20, 1.0, 1.0, 8) == 20


def test_the_first_steps_of_each_kind_of_batch() -> None:
    x, lengths = torch.randn(3, 9, 2), torch.tensor([9, 2, 5])
    tags = torch.randint(4, (3, 9))
    whole = first_steps(Batch(x, torch.arange(3), lengths), 4)
    assert torch.equal(whole.x, x[:, :4])
    assert whole.lengths.tolist() == [4, 2, 4]
    assert torch.equal(whole.y, torch.arange(3))
    assert torch.equal(first_steps(Batch(x, tags, lengths), 4).y, tags[:, :4])
    tokens = first_steps(Batch(tags, tags + 1), 4)
    assert tokens.x.shape == tokens.y.shape == (3, 4)
    assert tokens.lengths is None
    soft = torch.rand(3, 9)  # of classes that happen to be as many as steps
    assert first_steps(Batch(x, soft), 4).y is soft


class Look(Callback):
    """Steps of each batch that the network sees."""

    def __init__(self) -> None:
        self.train: list[int] = []
        self.val: list[int] = []

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        self.handle = pl_module.encoder.register_forward_pre_hook(
            lambda layer, args: (self.train if layer.training else self.val).append(args[0].shape[1])
        )

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        self.handle.remove()


def test_a_run_sees_longer_and_longer_windows_and_evaluates_whole_ones() -> None:
    look = Look()
    fit(language_model(stateful=False), text("shuffle"), SequenceLengthWarmup(0.25, 0.5), look, epochs=2)
    half = len(look.train) // 2
    assert look.train[0] == 8
    assert look.train == sorted(look.train)
    assert set(look.train[half:]) == {32}
    assert len(set(look.train)) == 4
    assert set(look.val) == {32}


def test_padded_sequences() -> None:
    look = Look()
    fit(vowels_rnn(), vowels(), SequenceLengthWarmup(0.25, 1.0, 4), look, epochs=1)
    assert look.train[0] <= 8 < look.train[-1]


@pytest.mark.parametrize("cut", [(0, 2), (1, 1)], ids=["short", "whole"])
def test_resumes_to_the_bit(tmp_path: Path, cut: tuple[int, int]) -> None:
    check_resume(
        lambda: language_model(stateful=False), lambda: text("shuffle"), lambda: [SequenceLengthWarmup()], tmp_path,
        cut=cut,
    )  # fmt: skip


def test_second_fit_and_company() -> None:
    module, technique = vowels_rnn(), SequenceLengthWarmup()
    for _ in range(2):
        fit(module, vowels(), technique, TimeWarp(), epochs=2)
        assert not module.batch_transforms


def test_learns_vowels() -> None:
    trainer = fit(vowels_rnn(32), vowels(), SequenceLengthWarmup(0.5, 0.5, 4), epochs=12)
    assert trainer.callback_metrics["val/accuracy"].item() > 0.5


def test_refusals() -> None:
    with pytest.raises(ZooError, match=r"start and until are shares in \(0, 1\], got 0 and 0.5"):
        SequenceLengthWarmup(0)
    with pytest.raises(ZooError, match="multiple must be at least 1 step, got 0"):
        SequenceLengthWarmup(multiple=0)
    with pytest.raises(NoEffect, match="start is 1 and multiple is 8: no sequence became shorter"):
        fit(vowels_rnn(), vowels(), SequenceLengthWarmup(1))
    with pytest.raises(UnsupportedModule, match="cuts batches short, and a stateful model would go on behind the gap"):
        fit(language_model(), text(), SequenceLengthWarmup())
    with pytest.raises(
        UnsupportedModule, match=r"needs sequences, floats \(B, T, C\) or tokens \(B, T\), got torch.fl"
    ):
        SequenceLengthWarmup().transform(make_mlp(), Batch(torch.rand(2, 5)))
    with pytest.raises(ZooError, match="has to know the length of the run"):
        fit(vowels_rnn(), vowels(), SequenceLengthWarmup(), epochs=-1)
