"""Sequences, series and texts become what the splits of their data hold."""

import numpy as np
import pytest
import torch

from datamodules.char_text import CharText
from datamodules.forecasting_csv import ForecastingCSV
from datamodules.japanese_vowels import JapaneseVowels
from datamodules.raw_sequences import RawSequences
from datamodules.raw_text import RawText
from datamodules.raw_windows import RawWindows
from zoo.errors import DataError


def test_raw_utterances_become_what_the_network_was_trained_on() -> None:
    data = JapaneseVowels()
    data.setup("test")
    preprocessing = data.preprocessing()
    assert preprocessing is not None
    assert preprocessing.outputs[0] == "speaker 1"
    sequences, members = data.sequences, data.members["test"][:20]
    spans = sequences.spans[members].tolist()
    raw = [sequences.values[low : high + 1].numpy() for low, high in spans]
    x, lengths = preprocessing(raw)
    expected, _, expected_lengths, _ = data.splits["test"][torch.arange(20)]
    assert torch.equal(x, expected)
    assert lengths is not None
    assert torch.equal(lengths, expected_lengths)
    assert torch.equal(preprocessing(raw[0])[0], expected[:1, : len(raw[0])])


@pytest.mark.parametrize("flags", [False, True])
def test_gaps_are_filled_as_the_data_said(flags: bool) -> None:
    mean, std = torch.tensor([1.0, 2.0]).double(), torch.tensor([2.0, 4.0]).double()
    filled = RawSequences((), ("a", "b"), "forward", flags, mean, std)
    x, _ = filled([[[3.0, 6.0], [np.nan, 2.0]]])
    assert x[0, :, :2].tolist() == [[1, 1], [1, 0]]
    assert x.shape[2] == (4 if flags else 2)
    with pytest.raises(DataError, match="sequence 0, step 1, channel 'a' is missing"):
        RawSequences((), ("a", "b"), "error", False, mean, std)([[[3.0, 6.0], [np.nan, 2.0]]])


@pytest.mark.parametrize("raw", [np.zeros((3, 5)), [np.zeros((4, 2)), np.zeros(4)], np.zeros((0, 2)), [], 3])
def test_what_is_no_sequence(raw: object) -> None:
    preprocessing = RawSequences((), ("a", "b"), "error", False, torch.zeros(2), torch.ones(2))
    with pytest.raises(DataError, match="sequence"):
        preprocessing(raw)


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "calendar"])
def series(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[ForecastingCSV, np.ndarray]:
    times = np.datetime64("2026-01-01T00", "h") + np.arange(200)
    values = np.random.default_rng(0).normal(5, 3, (200, 3))
    file = tmp_path_factory.mktemp("series") / "series.csv"
    rows = [f"{time},{a},{b},{c}" for time, (a, b, c) in zip(times, values.tolist())]
    file.write_text("\n".join(["time,a,b,c", *rows]))
    data = ForecastingCSV(str(file), ["b"], "time", covariates=["c", "a"], window=12, horizon=4, calendar=request.param)
    data.setup("test")
    return data, values[:, [1, 2, 0]]


def test_the_last_steps_become_a_window(series: tuple[ForecastingCSV, np.ndarray]) -> None:
    data, values = series
    preprocessing = data.preprocessing()
    assert isinstance(preprocessing, RawWindows)
    assert preprocessing.outputs == ("b",)
    expected, _, _ = data.splits["test"][torch.tensor([0, 3])]
    ends = data.input_rows("test")[[0, 3], 1].tolist()
    times = np.datetime64("2026-01-01T00", "h") + np.arange(200)
    raw = [(values[: end + 1], times[: end + 1]) if data.calendar else values[: end + 1] for end in ends]
    torch.testing.assert_close(preprocessing(raw)[0], expected)
    torch.testing.assert_close(preprocessing(raw[0])[0], expected[:1])
    if data.calendar:
        with pytest.raises(DataError, match="give a pair of the series and the times"):
            preprocessing(values)
    else:
        with pytest.raises(DataError, match="series 0 has 5 steps; the network looks back over 12"):
            preprocessing(values[:5])


def test_texts_become_tokens_and_tokens_texts() -> None:
    data = CharText(limit=5000)
    data.setup("test")
    preprocessing = data.preprocessing()
    assert isinstance(preprocessing, RawText)
    assert len(preprocessing.outputs) == data.vocabulary_size
    tokens, lengths = preprocessing(["import os", "def"])
    assert tokens.shape == (2, 9)
    assert lengths is not None
    assert lengths.tolist() == [9, 3]
    assert preprocessing.text(tokens[0]) == "import os"
    for wrong in ("", [], ["a", ""], 3):
        with pytest.raises(DataError, match="give a text"):
            preprocessing(wrong)
    with pytest.raises(DataError, match="text 1: character 'é' at position 1"):
        preprocessing(["a", "aé"])
