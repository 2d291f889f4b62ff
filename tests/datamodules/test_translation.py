"""Parallel texts: tokens and back, batches, what a checkpoint knows, files that cannot be read."""

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from datamodules.bpe import BEGIN, BPE, END
from datamodules.multi30k import Multi30k
from datamodules.translation import PairSplit, TranslationDataModule
from datamodules.translation_files import TranslationFiles
from zoo.errors import DataError
from zoo.tasks import translation as task

WORDS = {"dog": "Hund", "cat": "Katze", "house": "Haus", "sees": "sieht", "big": "groß", "the": "das"}


def sentences(count: int, seed: int) -> list[tuple[str, str]]:
    generator = torch.Generator().manual_seed(seed)
    found = []
    for _ in range(count):
        size = int(torch.randint(1, 8, (1,), generator=generator))
        words = [list(WORDS)[i] for i in torch.randint(0, len(WORDS), (size,), generator=generator).tolist()]
        found.append((" ".join(words), " ".join(WORDS[word] for word in words)))
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for seed, (split, count) in enumerate((("train", 60), ("val", 11), ("test", 9))):
        pairs = sentences(count, seed)
        for side, language in enumerate(("en", "de")):
            (tmp_path / f"{split}.{language}").write_text("".join(f"{pair[side]}\n" for pair in pairs), "utf-8")
    return tmp_path


def make(folder: Path, **options: Any) -> TranslationFiles:
    data = TranslationFiles(**{"folder": str(folder), "batch_size": 8, "vocabulary_size": 290, "pool": 3, **options})
    data.setup("fit")
    return data


def test_bpe_gives_texts_back_to_the_letter() -> None:
    texts = ["a house", "ein großes  Haus ", " \t😀\x00", "<end>", "", "haus<begin>"]
    bpe = BPE.trained_on([" ".join(WORDS.values())] * 3, 300)
    for text, tokens in zip(texts, bpe.encode_each(texts)):
        assert torch.equal(bpe.encode(text), torch.tensor(tokens, dtype=torch.int64))
        assert bpe.decode(torch.tensor([BEGIN, *tokens, END, -100], dtype=torch.int64)) == text
        assert not {BEGIN, END} & set(tokens)
    assert len(bpe.encode("das Haus sieht")) < 8
    assert BPE(bpe.state).encode("Hund Katze").tolist() == bpe.encode("Hund Katze").tolist()
    assert BPE.trained_on([" ".join(WORDS.values())] * 3, 300).state == bpe.state, "training is a function of the text"
    with pytest.raises(DataError, match="vocabulary_size must be at least 258, of which 256 are the bytes, got 257"):
        BPE.trained_on([], 257)
    assert (BEGIN, END) == (task.BEGIN, task.END)


def test_batches_are_the_texts(folder: Path) -> None:
    data = make(folder)
    assert data.vocabulary_size == 290
    assert data.source_vocabulary_size is None
    seen = []
    for x, y, lengths, indices in data.train_dataloader():
        assert x.dtype == y.dtype == lengths.dtype == torch.int64
        for row, index in enumerate(indices.tolist()):
            source, target = (data.texts["train"][side][index] for side in (0, 1))
            length, step = int(lengths[row]), int((y[row] != -100).sum())
            assert data.source_vocabulary.decode(x[row, :length]) == source
            assert data.vocabulary.decode(y[row]) == target
            assert x[row, length - 1] == y[row, step - 1] == END
            assert not x[row, length:].any()
            assert (y[row, step:] == -100).all()
            seen.append(index)
    assert sorted(seen) == list(range(60))
    order = torch.cat([batch[3] for batch in data.test_dataloader()])
    assert order.tolist() == list(range(9))
    total = sum(len(text) + 1 for text in data.vocabulary.encode_each(data.texts["train"].targets))
    assert len(data.train_targets) == total


def test_encodings_know_the_training_split_alone_and_may_be_two(folder: Path) -> None:
    before = make(folder).vocabulary.state
    for split in ("val", "test"):
        (folder / f"{split}.en").write_text("something else\n")
        (folder / f"{split}.de").write_text("etwas anderes\n")
    assert make(folder).vocabulary.state == before
    data = make(folder, shared=False)
    assert data.source_vocabulary_size == 290
    assert len(data.vocabulary.encode("Hund Katze")) < len(data.source_vocabulary.encode("Hund Katze"))
    assert len(data.vocabulary.encode("dog cat")) > len(data.source_vocabulary.encode("dog cat"))


@pytest.mark.parametrize("shared", [True, False])
def test_a_checkpoint_numbers_other_texts_as_it_was_trained(folder: Path, tmp_path: Path, shared: bool) -> None:
    data = make(folder, shared=shared)
    state = data.state_dict()
    assert all(isinstance(value, int | str | None) for value in state.values())
    expected = data.splits["test"][torch.arange(9)][1]
    for language in ("en", "de"):
        (folder / f"train.{language}").write_text("xyz zyx\n" * 50)
    other = make(folder)
    assert other.vocabulary.state != data.vocabulary.state
    other.load_state_dict(state)
    assert torch.equal(other.splits["test"][torch.arange(9)][1], expected)
    assert other.source_vocabulary.state == data.source_vocabulary.state


def test_long_pairs_are_left_out_of_training_alone(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = make(folder, longest=6)
    train, test = data.splits["train"], data.splits["test"]
    assert isinstance(train, PairSplit)
    assert max(int(train.sources.lengths.max()), int(train.targets.lengths.max())) <= 6
    assert len(test) == 9  # type: ignore[arg-type]
    left_out = 60 - len(train)
    assert (
        f"TranslationFiles train: {left_out} of 60 pairs, longer than 6 tokens, are left out" in capsys.readouterr().out
    )


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (b"one\n", {}, r"train.en has 1 lines and train.de 60; line k of one has to be the translation of line k"),
        (b"\xff\n" * 60, {}, "train.en: byte 0 is not UTF-8"),
        (None, {}, "no file .*train.en; give the path of a text file"),
        (b"", {}, "train.en is empty"),
        (b"a\n", {"pool": 0}, "pool must be at least 1, got 0"),
        (b"a\n", {"vocabulary_size": 100}, "vocabulary_size must be at least 258"),
    ],
    ids=["lines", "bytes", "missing", "empty", "pool", "size"],
)
def test_files_that_cannot_be_read(folder: Path, content: bytes | None, options: dict[str, Any], message: str) -> None:
    file = folder / "train.en"
    file.unlink()
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(DataError, match=message):
        make(folder, **options)


def test_lines_end_at_ends_of_lines_alone(folder: Path) -> None:
    (folder / "val.en").write_bytes("a\x0bb\u2028c\r\nd".encode())
    (folder / "val.de").write_text("a\nd\n")
    data: TranslationDataModule = make(folder)
    assert data.texts["val"].sources == ["a\x0bb\u2028c", "d"]


def test_multi30k_from_files_that_are_not_there(tmp_path: Path) -> None:
    data = Multi30k(str(tmp_path))
    with pytest.raises(DataError, match=r"Multi30k: train.en, .* not found in .*multi30k and nothing was downloaded"):
        data.setup("fit")
    for file in data.files():
        file.parent.mkdir(exist_ok=True)
        file.write_text("a\nb\n")
    with pytest.raises(DataError, match=r"cannot read .*train.en \(2 lines instead of 29,000\); delete it"):
        data.setup("fit")


def test_what_another_host_sends_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def send(url: str, file: str, **_: Any) -> None:
        Path(file).write_bytes(gzip.compress(b"another text\n"))

    monkeypatch.setattr("torch.hub.download_url_to_file", send)
    data = Multi30k(str(tmp_path))
    with pytest.raises(DataError, match=r"train.en.gz from there is another file than the known one: its sha256"):
        data.prepare_data()
    assert not any(path.is_file() for path in data.files())


def test_real_multi30k(real_root: Callable[[str], str]) -> None:
    data = Multi30k(real_root("multi30k/train.en"), source="de")
    assert data.vocabulary_size == 8000
    assert {name: len(data.read(name).sources) for name in ("train", "val", "test")} == {
        "train": 29_000, "val": 1_014, "test": 1_000,
    }  # fmt: skip
    assert data.read("train").sources[2] == "Ein kleines Mädchen klettert in ein Spielhaus aus Holz."
