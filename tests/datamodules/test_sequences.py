"""Sequences of any length: padding by a loop, tags, tokens, no leak, resume, errors."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from datamodules.ragged import IGNORED, Sequences, SequenceSplit, add_padding
from datamodules.sequences import SequenceDataModule
from tests.tools import StopAt, Stopped, quiet_trainer
from zoo.errors import DataError, ResumeError
from zoo.module import SupervisedModule
from zoo.task import Classification

LENGTHS = [5, 1, 9, 3, 3, 7, 2, 8, 4, 6] * 6
OFFSETS = torch.tensor([0, *LENGTHS]).cumsum(0)


class Steps(SequenceDataModule):
    """Sequences whose class is the sign of their mean."""

    channels = ("a", "b")
    classes = ("low", "high")

    def __init__(self, change: dict[str, Tensor] = {}, tags: bool = False, **options: Any) -> None:  # noqa: B006
        super().__init__(**{"batch_size": 8, **options})
        self.change, self.per_step = change, tags

    def read(self) -> Sequences:
        values = torch.randn(int(OFFSETS[-1]), 2, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
        y = torch.arange(len(LENGTHS)) % 2
        values += 0.5 * torch.repeat_interleave(y, torch.tensor(LENGTHS))[:, None]
        made = Sequences(values, OFFSETS, (values[:, 0] > 0).long() if self.per_step else y)
        return made._replace(**self.change)


class Mean(SupervisedModule):
    """A linear layer on the mean of the valid steps."""

    def __init__(self) -> None:
        super().__init__(Classification(2))
        torch.manual_seed(0)
        self.head = nn.Linear(2, 2)

    def forward_batch(self, batch: Any) -> Tensor:
        return self.head(batch.x.sum(1) / batch.lengths[:, None])


@pytest.mark.parametrize("multiple", [1, 4])
@pytest.mark.parametrize("per_step", [False, True])
@pytest.mark.parametrize("tokens", [False, True])
def test_batches_equal_a_loop(multiple: int, per_step: bool, tokens: bool) -> None:
    generator = torch.Generator().manual_seed(1)
    steps = int(OFFSETS[-1])
    values = (
        torch.randint(1, 9, (steps,), generator=generator) if tokens else torch.randn(steps, 2, generator=generator)
    )
    y = torch.arange(steps) if per_step else torch.arange(len(LENGTHS))
    members = torch.tensor([3, 0, 2, 11, 17, 25])
    split = SequenceSplit(add_padding(Sequences(values, OFFSETS, y), per_step), members, per_step, multiple)
    x, found, lengths, index = split[torch.tensor([4, 0, 2])]
    assert index.tolist() == [4, 0, 2]
    assert lengths is not None
    assert x.shape[1] == -(-max(LENGTHS[m] for m in (17, 3, 2)) // multiple) * multiple
    for row, member in enumerate((17, 3, 2)):
        first, end = int(OFFSETS[member]), int(OFFSETS[member + 1])
        assert int(lengths[row]) == end - first
        assert torch.equal(x[row, : end - first], values[first:end])
        assert not x[row, end - first :].any()
        if per_step:
            assert found[row, : end - first].tolist() == list(range(first, end))
            assert (found[row, end - first :] == IGNORED).all()
        else:
            assert int(found[row]) == member
    assert len(split.y) == (sum(LENGTHS[m] for m in members.tolist()) if per_step else 6)


def test_lengths_are_none_where_nothing_is_padded() -> None:
    sequences = add_padding(Sequences(torch.arange(12.0)[:, None], torch.tensor([0, 4, 8, 12]), torch.arange(3)))
    index = torch.arange(3)
    assert SequenceSplit(sequences, index)[index][2] is None
    assert SequenceSplit(sequences, index, pad_to_multiple=3)[index][2].tolist() == [4, 4, 4]  # type: ignore[union-attr]


def test_what_is_not_train_changes_neither_scaler_nor_training_batches() -> None:
    data = Steps()
    data.setup("fit")
    other = torch.ones(int(OFFSETS[-1]), dtype=torch.bool)
    for first, last in data.input_rows("train").tolist():
        other[first : last + 1] = False
    wild = data.sequences.values.masked_fill(other[:, None], 1e12)
    changed = Steps({"values": wild})
    changed.setup("fit")
    assert torch.equal(data.fitted_rows, data.input_rows("train"))
    assert torch.equal(changed.scaler.mean, data.scaler.mean)
    assert torch.equal(changed.scaler.std, data.scaler.std)
    batches = zip(data.train_dataloader(), changed.train_dataloader(), strict=True)
    assert all(torch.equal(ours, theirs) for first, second in batches for ours, theirs in zip(first, second))
    rows = torch.cat([data.input_rows(name) for name in ("train", "val", "test")])
    assert torch.equal(rows[rows[:, 0].argsort()], data.sequences.spans), "each sequence is in one split"


def test_tags_are_padded_and_class_facts_follow() -> None:
    data = Steps(tags=True)
    data.setup("fit")
    x, y, lengths, _ = next(iter(data.val_dataloader()))
    assert y.shape == x.shape[:2]
    assert torch.equal(y == IGNORED, torch.arange(x.shape[1]) >= lengths[:, None])
    assert len(data.train_targets) == int((data.input_rows("train").diff() + 1).sum())


def test_a_batch_reaches_the_model_with_its_lengths() -> None:
    data = Steps()
    trainer = quiet_trainer()
    seen = []

    class Look(Mean):
        def forward_batch(self, batch: Any) -> Tensor:
            seen.append(batch)
            return super().forward_batch(batch)

    trainer.fit(Look(), datamodule=data)
    assert all(batch.lengths is not None and batch.x.shape[1] == batch.lengths.max() for batch in seen)


def fit(data: Steps, *callbacks: Any, ckpt: Path | None = None, epochs: int = 3) -> Mean:
    module = Mean()
    trainer = quiet_trainer(callbacks=list(callbacks), max_epochs=epochs)
    trainer.fit(module, datamodule=data, ckpt_path=ckpt, weights_only=True if ckpt else None)
    return module


def test_resumes_to_the_bit_within_buckets(tmp_path: Path) -> None:
    whole = fit(Steps(pool=3))
    with pytest.raises(Stopped):
        fit(Steps(pool=3), StopAt(tmp_path / "cut.ckpt", 1, 2))
    resumed = fit(Steps(pool=3), ckpt=tmp_path / "cut.ckpt")
    assert torch.equal(whole.head.weight, resumed.head.weight)
    with pytest.raises(ResumeError, match=r"middle of an epoch with pool=3, this run has 1; resume with pool=3"):
        fit(Steps(), ckpt=tmp_path / "cut.ckpt")


def test_the_checkpoint_scales_new_data(tmp_path: Path) -> None:
    data = Steps()
    module = fit(data, epochs=1)
    module.trainer.save_checkpoint(tmp_path / "a.ckpt")
    later = Steps({"values": data.sequences.values * 100})
    quiet_trainer().test(module, later, ckpt_path=tmp_path / "a.ckpt", weights_only=True)
    assert torch.equal(later.scaler.mean, data.scaler.mean)
    (x, _, _, _), (theirs, _, _, _) = (next(iter(module.test_dataloader())) for module in (data, later))
    unscaled = [v.double() * data.scaler.std + data.scaler.mean for v in (x, theirs)]
    first = data.input_rows("test")[0, 0]
    assert torch.allclose(unscaled[0][0, 0], data.sequences.values[first], atol=1e-5)
    assert torch.allclose(unscaled[1][0, 0], 100 * data.sequences.values[first], atol=1e-3)


def test_missing_values(capsys: pytest.CaptureFixture[str]) -> None:
    values = Steps().sequences.values
    values[7, 1] = values[20, 0] = math.nan
    with pytest.raises(DataError) as caught:
        Steps({"values": values}).setup("fit")
    assert str(caught.value) == (
        "Steps: sequence 2, step 1, channel 'b' is missing (2 values in all); fill it, or set --data.missing to"
        " forward, zero or mean"
    )
    data = Steps({"values": values}, missing="forward", missing_flags=True)
    data.setup("fit")
    assert data.num_channels == 4
    assert next(iter(data.train_dataloader()))[0].shape[2] == 4
    shown = f"Steps: 2 of {values.numel()} values are missing, and filled in inputs (forward)"
    assert shown in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"offsets": torch.tensor([0, 5, 5, 9])}, "Steps: sequence 1 has length 0; remove it"),
        ({"offsets": torch.tensor([0])}, "Steps: there are no sequences"),
        ({"y": torch.full((60,), 2)}, r"Steps: sample 0 has label 2, outside 0..1 \(60 such labels in all\)"),
        ({"values": torch.full((288, 2), math.inf)}, "Steps: sequence 0, step 0, channel 'a' is infinite; correct it"),
    ],
)
def test_sequences_that_no_network_takes(change: dict[str, Tensor], message: str) -> None:
    with pytest.raises(DataError, match=message):
        Steps(change).setup("fit")


def test_settings_that_cannot_work() -> None:
    with pytest.raises(DataError, match="pool must be at least 1, got 0"):
        Steps(pool=0)
    with pytest.raises(DataError, match=r"val_fraction must lie in \(0, 1\), got 1"):
        Steps(val_fraction=1.0).setup("fit")
    with pytest.raises(DataError, match="asks for num_targets, which Steps does not have: its targets are classes"):
        _ = Steps().num_targets
