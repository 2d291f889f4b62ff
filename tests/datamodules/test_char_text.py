"""Characters: vocabulary of the training part, windows and streams by loops, ranks, resume, errors."""

import hashlib
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from datamodules import shakespeare
from datamodules.char_text import CharText, standard_library
from datamodules.shakespeare import Shakespeare
from datamodules.token_windows import StreamOrder, TokenSplit, WindowOrder
from datamodules.vocabulary import Vocabulary
from zoo.errors import DataError, ResumeError

TEXT = "".join(chr(97 + (i * i) % 26) for i in range(2_000))


@pytest.fixture
def file(tmp_path: Path) -> str:
    (tmp_path / "a.txt").write_text(TEXT)
    return str(tmp_path / "a.txt")


def make(file: str, **options: Any) -> CharText:
    data = CharText(**{"file": file, "batch_size": 4, "window": 10, **options})
    data.setup("fit")
    return data


def test_splits_by_position_and_vocabulary(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    data = make(file)
    assert data.vocabulary_size == len(set(TEXT))
    assert data.window == 10
    texts = {name: data.vocabulary.decode(split.tokens) for name, split in data.splits.items()}  # type: ignore[attr-defined]
    assert texts == {"train": TEXT[:1800], "val": TEXT[1800:1900], "test": TEXT[1900:]}
    assert torch.equal(data.train_targets, data.vocabulary.encode(TEXT[:1800]))
    digest = hashlib.sha256(TEXT.encode()).hexdigest()
    assert data.state_dict()["text_sha256"] == digest
    assert f"CharText: 2,000 characters of {file}, sha256 {digest[:12]}" in capsys.readouterr().out


def test_targets_are_the_next_characters(file: str) -> None:
    data = make(file)
    tokens = data.train_targets
    for x, y, starts in data.train_dataloader():
        assert x.dtype == y.dtype == torch.int64
        for row, start in enumerate(starts.tolist()):
            assert torch.equal(x[row], tokens[start : start + 10])
            assert torch.equal(y[row], tokens[start + 1 : start + 11])


@pytest.mark.parametrize(("tokens", "window"), [(11, 10), (12, 10), (20, 10), (21, 10), (1000, 7), (50, 1)])
def test_windows_part_the_text_and_begin_anywhere(tokens: int, window: int) -> None:
    order = WindowOrder(tokens, window, 3, shuffle=True)
    begun, lengths = set(), set()
    for epoch in range(80 * window):
        order.set_epoch(epoch)
        starts = torch.cat(list(order)).sort().values
        assert (starts.diff() == window).all()
        assert int(starts[0]) >= 0
        assert int(starts[-1]) + window + 1 <= tokens, "the last character has one behind it"
        assert int(starts[0]) < 2 * window
        begun |= set(starts.tolist())
        lengths.add(len(starts))
    assert lengths == {len(torch.cat(list(order)))}
    if tokens > 2 * window:
        assert begun == set(range(tokens - window)), "each position begins a window now and then"


def test_evaluation_windows_are_one_behind_the_other() -> None:
    for world in (1, 2, 3):
        starts = [int(s) for r in range(world) for b in WindowOrder(101, 10, 4, False, False, r, world) for s in b]
        assert sorted(starts) == list(range(0, 100, 10))


def test_streams_go_on_where_the_batch_before_ended(file: str) -> None:
    data = make(file, mode="streams")
    tokens = data.train_targets
    rows: list[list[Tensor]] = [[] for _ in range(4)]
    batches = list(data.train_dataloader())
    for x, y, _ in batches:
        assert torch.equal(x[:, 1:], y[:, :-1])
        for row in range(4):
            rows[row].append(x[row])
    length = (1800 - 1) // 4
    for row in range(4):
        assert torch.equal(torch.cat(rows[row]), tokens[row * length : (row + 1) * length])
    for (_, y, _), (x, _, _) in itertools.pairwise(batches):
        assert torch.equal(y[:, -1], x[:, 0])
    assert batches[-1][0].shape == (4, length % 10)
    data.train_dataloader().sampler.set_epoch(1)
    assert torch.equal(next(iter(data.train_dataloader()))[0], batches[0][0]), "each epoch starts anew"
    assert make(file, mode="streams", drop_last=True).splits
    assert all(x.shape == (4, 10) for x, _, _ in make(file, mode="streams", drop_last=True).train_dataloader())


def test_streams_of_ranks_are_others_and_part_the_text() -> None:
    tokens = torch.arange(1000)
    seen: list[int] = []
    for rank in range(3):
        order = StreamOrder(1000, 10, 2, False, rank, 3)
        split = TokenSplit(tokens, 10, order.stream_length)
        batches = [split[starts][0] for starts in order]
        assert len(batches) == len(order)
        for before, after in itertools.pairwise(batches):
            assert torch.equal(before[:, -1] + 1, after[:, 0])
        seen += torch.cat(batches, 1).flatten().tolist()
    assert sorted(seen) == list(range(999 // 6 * 6))


def test_evaluation_streams_are_no_shorter_than_a_window(file: str) -> None:
    data = make(file, mode="streams", eval_batch_size=64)
    batches = list(data.val_dataloader())
    assert batches[0][0].shape == (9, 10)
    assert sum(x.shape[1] for x, _, _ in batches) == 99 // 9


def test_position_in_an_epoch_is_refused_to_other_windows(file: str) -> None:
    state = {**make(file).state_dict(), "batches_done": 2}
    make(file).load_state_dict(state)
    with pytest.raises(ResumeError, match="middle of an epoch with stream_length=0, this run has 449"):
        make(file, mode="streams").load_state_dict({**state, "size": 180})
    with pytest.raises(ResumeError, match="middle of an epoch with size=179, this run has 224"):
        make(file, window=8).load_state_dict(state)


def test_vocabulary() -> None:
    vocabulary = Vocabulary("hello ☃")
    assert vocabulary.characters == " ehlo☃"
    tokens = vocabulary.encode("ho☃ole")
    assert tokens.tolist() == [2, 4, 5, 4, 3, 1]
    assert vocabulary.decode(tokens) == "ho☃ole"
    for strange in ("!", "\U0001f600"):
        with pytest.raises(DataError) as caught:
            vocabulary.encode(f"hello{strange}hello{strange}", "prompt")
        assert str(caught.value) == (
            f"prompt: character {strange!r} at position 5 is not among the 6 that the training text has (2 such in"
            " all); remove it, or train with --data.unknown_token true"
        )
    lenient = Vocabulary("hello ☃", unknown_token=True)
    assert len(lenient) == 7
    assert lenient.encode("h!").tolist() == [3, 0]
    assert lenient.decode(torch.tensor([3, 0])) == "h\N{REPLACEMENT CHARACTER}"


def test_a_checkpoint_numbers_another_text_as_it_was_trained(tmp_path: Path, file: str) -> None:
    state = make(file).state_dict()
    (tmp_path / "b.txt").write_text(TEXT[:500].replace("a", "b") * 4)
    other = make(str(tmp_path / "b.txt"))
    assert other.vocabulary_size == len(set(TEXT)) - 1
    other.load_state_dict(state)
    assert other.vocabulary_size == len(set(TEXT))
    assert other.vocabulary.decode(other.train_targets) == (TEXT[:500].replace("a", "b") * 4)[:1800]


def test_standard_library(capsys: pytest.CaptureFixture[str]) -> None:
    assert standard_library(50_000) == standard_library(100_000)[:50_000]
    data = CharText(limit=50_000)
    data.setup("fit")
    assert data.text.isascii()
    assert "def " in data.text
    assert "CharText: 50,000 characters of the standard library of Python 3." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (b"", {}, r"a.txt is empty$"),
        (b"abc\xff", {}, "a.txt: byte 3 is not UTF-8; save the file as UTF-8"),
        (
            b"abc" * 10,
            {},
            r"CharText train: 27 characters are too few for 1 times 128 and the one behind; lower --data.wi",
        ),
        (
            b"abc" * 999,
            {"mode": "streams"},
            "CharText train: 2,697 characters are too few for 64 times 128 and the one",
        ),
        (b"abc" * 999 + b"!", {}, r"CharText: character '!' at position 2,997 is not among the 3 that the training"),
        (b"abc", {"window": 0}, "window must be at least 1, got 0"),
        (b"abc", {"val_fraction": 1.5}, r"val_fraction must lie in \(0, 1\), got 1.5"),
    ],
)
def test_texts_that_cannot_be_read(tmp_path: Path, content: bytes, options: dict[str, Any], message: str) -> None:
    (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(DataError, match=message):
        CharText(str(tmp_path / "a.txt"), **options).setup("fit")


def test_no_file() -> None:
    with pytest.raises(DataError, match=r"^no file none.txt; give the path of a text file$"):
        CharText("none.txt").setup("fit")


def test_shakespeare_facts_and_download(
    served: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, address = served
    text = Shakespeare.characters * 40
    (folder / "input.txt").write_text(text)
    data = Shakespeare(str(tmp_path / "fresh"))
    assert data.vocabulary_size == 65
    with pytest.raises(DataError, match=r"input.txt not found in .*fresh/tinyshakespeare and nothing was downloaded"):
        data.setup("fit")
    monkeypatch.setattr(shakespeare, "_SOURCE", f"{address}input.txt")
    monkeypatch.setattr(shakespeare, "_SHA256", hashlib.sha256(text.encode()).hexdigest())
    data.prepare_data()
    data.setup("fit")
    assert len(data.vocabulary) == 65
    data.files()[0].write_text("abc")
    with pytest.raises(DataError, match=r"cannot read .*input.txt \(3 different characters instead of 65\); delete it"):
        Shakespeare(str(tmp_path / "fresh")).setup("fit")


def test_real_shakespeare(real_root: Callable[[str], str]) -> None:
    data = Shakespeare(real_root("tinyshakespeare/input.txt"))
    data.setup("fit")
    assert len(data.text) == 1_115_394
    assert len(data.vocabulary) == data.vocabulary_size == 65
    assert len(data.train_targets) == 1_003_855
