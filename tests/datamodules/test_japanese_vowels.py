"""Japanese vowels: the published utterances and split, scaling by training utterances, batches."""

import hashlib
from pathlib import Path

import pytest
import torch

import datamodules
from datamodules.japanese_vowels import JapaneseVowels
from datamodules.ragged import SequenceSplit
from zoo.errors import DataError


def split_of(data: JapaneseVowels, name: str) -> SequenceSplit:
    split = data.splits[name]
    assert isinstance(split, SequenceSplit)
    return split


def test_facts_without_setup() -> None:
    data = JapaneseVowels()
    assert (data.num_channels, data.num_classes) == (12, 9)
    with pytest.raises(DataError, match="asks for window, which JapaneseVowels does not have: its samples are not win"):
        _ = data.window


def test_the_file_is_the_one_that_its_licence_describes() -> None:
    file = Path(datamodules.__file__).parent / "embedded" / "japanese_vowels.npz"
    assert hashlib.sha256(file.read_bytes()).hexdigest() == (
        "6f7a876aaf3e61ad528eab238e2bbddf1b9a30c17523e1696c1a54d5028c6e80"
    )


def test_utterances_are_the_published_ones() -> None:
    sequences = JapaneseVowels().sequences
    assert len(sequences.lengths) == 640
    assert (int(sequences.lengths.min()), int(sequences.lengths.max())) == (7, 29)
    assert torch.bincount(sequences.y[:270]).tolist() == [30] * 9
    assert torch.bincount(sequences.y[270:]).tolist() == [31, 35, 88, 44, 29, 24, 40, 50, 29]
    # The first numbers of the training and of the test file.
    assert sequences.lengths[[0, 270]].tolist() == [20, 19]
    first = sequences.values[sequences.offsets[[0, 270]]]
    assert first[:, :2].tolist() == [[1.860936, -0.207383], [1.635533, 0.024848]]


def test_splits() -> None:
    data, other = JapaneseVowels(), JapaneseVowels(split_seed=1)
    for module in (data, other):
        module.setup("fit")
    assert {name: len(split_of(data, name)) for name in data.splits} == {"train": 216, "val": 54, "test": 370}
    assert torch.bincount(split_of(data, "val").y).tolist() == [6] * 9
    assert torch.equal(torch.cat([data.members["train"], data.members["val"]]).sort().values, torch.arange(270))
    assert not torch.equal(data.members["val"], other.members["val"])
    assert torch.equal(data.members["test"], other.members["test"])
    assert torch.equal(data.train_targets, data.sequences.y[data.members["train"]])


def test_channels_are_standardised_over_the_steps_of_the_training_utterances() -> None:
    data = JapaneseVowels(batch_size="full", eval_batch_size=400)
    data.setup("fit")
    x, _, lengths, _ = next(iter(data.train_dataloader()))
    valid = torch.arange(x.shape[1]) < lengths[:, None]
    steps = x[valid].double()
    assert steps.mean(0).abs().max() < 1e-6
    assert (steps.std(0, correction=0) - 1).abs().max() < 1e-5
    assert not x[~valid].any()


def test_batches_hold_each_utterance_whole() -> None:
    data = JapaneseVowels(batch_size=32, pool=3, pad_to_multiple=8)
    data.setup("fit")
    scaled = data.scaled(data.sequences)
    seen = []
    for x, y, lengths, index in data.train_dataloader():
        assert x.shape[1] == -(-int(lengths.max()) // 8) * 8
        for row, member in enumerate(data.members["train"][index].tolist()):
            first, last = data.sequences.spans[member].tolist()
            assert torch.equal(x[row, : lengths[row]], scaled.values[first : last + 1])
            assert y[row] == data.sequences.y[member]
        seen += index.tolist()
    assert sorted(seen) == list(range(216))
