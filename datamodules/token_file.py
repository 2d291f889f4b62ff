"""Corpora larger than memory: token numbers in a raw file, which a run maps and never reads as a whole.

python -m datamodules.token_file --out corpus/train.bin books/*.txt
python -m datamodules.token_file --out corpus/val.bin --encoding corpus/train.bin held_out.txt
"""

import argparse
import json
from collections.abc import Iterable, Iterator
from functools import cached_property
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from datamodules.base import ZooDataModule
from datamodules.bpe import BPE, END
from datamodules.order import BatchLoader, BatchOrder
from datamodules.token_windows import WindowOrder
from zoo.errors import DataError, ZooError

_AT_ONCE = 1000  # documents that are encoded together


class Sidecar(NamedTuple):
    """What ``<file>.json`` says of a file of tokens.

    Attributes:
        dtype: "uint16" or "uint32", little-endian.
        tokens: how many there are.
        vocabulary_size: the numbers are smaller.
        document_end: the token behind each document; None where the file is one text.
        encoding: what the numbers mean, as ``BPE.state``; None where nobody says.
    """

    dtype: str
    tokens: int
    vocabulary_size: int
    document_end: int | None = None
    encoding: str | None = None


def write_tokens(
    file: Path,
    pieces: Iterable[list[int]],
    vocabulary_size: int,
    document_end: int | None = None,
    encoding: str | None = None,
) -> Sidecar:
    """Write token numbers and their sidecar, piece by piece, so that no more than a piece is held in memory.

    Numbers are of 16 bits where the vocabulary allows it.

    Raises:
        DataError: a number is outside the vocabulary; says which, and its position.
    """
    dtype, count = "uint16" if vocabulary_size <= 2**16 else "uint32", 0
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("wb") as handle:
        for piece in pieces:
            tokens = np.asarray(piece, dtype=np.int64)
            _check_range(tokens, vocabulary_size, file, count)
            handle.write(tokens.astype(_little(dtype)).tobytes())
            count += len(tokens)
    sidecar = Sidecar(dtype, count, vocabulary_size, document_end, encoding)
    _beside(file).write_text(json.dumps(sidecar._asdict()) + "\n")
    return sidecar


def write_documents(file: Path, documents: Iterable[str], encoding: BPE, vocabulary_size: int | None = None) -> Sidecar:
    """Write texts as tokens, each with END behind it; they are read as they come."""
    stream = iter(documents)
    batches = iter(lambda: list(islice(stream, _AT_ONCE)), [])
    pieces = ([*tokens, END] for batch in batches for tokens in encoding.encode_each(batch))
    return write_tokens(file, pieces, vocabulary_size or len(encoding), END, encoding.state)


def read_sidecar(file: Path) -> Sidecar:
    """What is known of a file of tokens.

    Raises:
        DataError: one of the two is not there, or they do not fit each other.
    """
    beside = _beside(file)
    for path in (file, beside):
        if not path.is_file():
            raise DataError(f"no file {path}; python -m datamodules.token_file writes tokens and what is known of them")
    try:
        sidecar = Sidecar(**json.loads(beside.read_text()))
        size = sidecar.tokens * _little(sidecar.dtype).itemsize
    except (TypeError, ValueError, KeyError) as error:
        raise DataError(f"{beside} is no description of tokens ({error}); write the file anew") from None
    if file.stat().st_size != size:
        raise DataError(
            f"{file} has {file.stat().st_size:,} bytes instead of the {size:,} of {sidecar.tokens:,} tokens; it was"
            " cut off or changed, write it anew"
        )
    return sidecar


class MappedSplit(Dataset[Any]):
    """Windows of a file of tokens, indexed by where they start: ``split[starts] -> (x (B, T), y (B, T), starts)``.

    Args:
        file: with its sidecar.
        window: T.
    """

    def __init__(self, file: Path, window: int) -> None:
        self.file, self.sidecar, self.window = file, read_sidecar(file), window

    def __len__(self) -> int:
        return (self.sidecar.tokens - 1) // self.window

    @cached_property
    def tokens(self) -> NDArray[Any]:
        """All of them, on disk."""
        return np.memmap(self.file, dtype=_little(self.sidecar.dtype), mode="r")

    def __getstate__(self) -> dict[str, Any]:
        # A map that travels to a worker process would be read as a whole.
        return {key: value for key, value in self.__dict__.items() if key != "tokens"}

    def __getitem__(self, starts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        rows = np.stack([self.tokens[start : start + self.window + 1] for start in starts.tolist()]).astype(np.int64)
        for row, start in zip(rows, starts.tolist()):
            _check_range(row, self.sidecar.vocabulary_size, self.file, start)
        windows = torch.from_numpy(rows)
        return windows[:, :-1].contiguous(), windows[:, 1:].contiguous(), starts


class TokenFile(ZooDataModule):
    """Files of tokens, one for each split: a batch is x, int64 (B, T), and y, the token behind each of x.

    An epoch has every window once, in random order, on a grid that is shifted from epoch to epoch (see WindowOrder).
    A file without a sidecar, or with tokens outside its vocabulary, is refused by name and position.

    Args:
        train, val: files, as ``python -m datamodules.token_file`` writes them; of one encoding.
        test: a third; None is ``val``.
        batch_size: windows in a step of one process.
        window: tokens in a row of a batch.
        apart: have a model that can (GPT) read the documents in a window apart, each as if it stood there alone.
        eval_batch_size, drop_last, num_workers: see ZooDataModule.
    """

    def __init__(
        self,
        train: str,
        val: str,
        test: str | None = None,
        batch_size: int = 64,
        window: int = 256,
        apart: bool = False,
        eval_batch_size: int = 64,
        drop_last: bool = False,
        num_workers: int = 0,
    ) -> None:
        super().__init__(batch_size, eval_batch_size, drop_last, num_workers)
        if window < 1:
            raise DataError(f"window must be at least 1, got {window}")
        self._rows, self._window, self.apart = batch_size, window, apart
        self.paths = {name: Path(f).expanduser() for name, f in (("train", train), ("val", val), ("test", test or val))}

    @property
    def vocabulary_size(self) -> int:
        return self.sidecar.vocabulary_size

    @property
    def window(self) -> int:
        return self._window

    @property
    def document_end(self) -> int | None:
        if self.apart and self.sidecar.document_end is None:
            raise DataError(f"{self.paths['train']} does not say which token ends a document; leave out apart")
        return self.sidecar.document_end if self.apart else None

    @cached_property
    def sidecar(self) -> Sidecar:
        """What is known of the training tokens."""
        return read_sidecar(self.paths["train"])

    @cached_property
    def vocabulary(self) -> BPE:
        """What the tokens mean."""
        if self.sidecar.encoding is None:
            raise DataError(f"{self.paths['train']} does not say what its tokens mean")
        return BPE(self.sidecar.encoding)

    def load(self) -> dict[str, Dataset[Any]]:
        splits: dict[str, Dataset[Any]] = {}
        for name, file in self.paths.items():
            split = MappedSplit(file, self.window)
            if split.sidecar._replace(tokens=0) != self.sidecar._replace(tokens=0):
                raise DataError(f"{file} is in another encoding than {self.paths['train']}; write it with that one")
            if split.sidecar.tokens <= self.window:
                raise DataError(f"{file}: {split.sidecar.tokens:,} tokens are too few for {self.window} and one behind")
            splits[name] = split
        return splits

    def train_order(self) -> BatchOrder:
        return self._order("train", self._rows, True)

    def _eval_loader(self, name: str) -> BatchLoader:
        return self._loader(name, self._order(name, self.eval_batch_size, False))

    def _order(self, name: str, rows: int, train: bool) -> BatchOrder:
        split, (rank, world_size) = self.splits[name], self._place()
        assert isinstance(split, MappedSplit)
        return WindowOrder(split.sidecar.tokens, self.window, rows, train, train and self.drop_last, rank, world_size)


def _little(dtype: str) -> np.dtype[Any]:
    return np.dtype({"uint16": "<u2", "uint32": "<u4"}[dtype])


def _beside(file: Path) -> Path:
    return file.with_name(f"{file.name}.json")


def _check_range(tokens: NDArray[Any], vocabulary_size: int, file: Path, first: int) -> None:
    if len(tokens) and (tokens.max() >= vocabulary_size or tokens.min() < 0):
        place = int(np.flatnonzero((tokens >= vocabulary_size) | (tokens < 0))[0])
        raise DataError(
            f"{file}: token {tokens[place]} at position {first + place:,} lies outside 0..{vocabulary_size - 1}"
        )


def _lines(files: list[Path]) -> Iterator[str]:
    for file in files:
        with file.open(encoding="utf-8", newline="") as handle:
            yield from handle


def _documents(files: list[Path], per_line: bool) -> Iterator[str]:
    """Each line, or each stretch of lines between empty ones."""
    text = ""
    for line in chain(_lines(files), ["\n"]):
        if per_line or not line.strip():
            if document := (line if per_line else text).strip("\r\n"):
                yield document
            text = ""
        else:
            text += line


def main(argv: list[str] | None = None) -> None:
    """Write texts as a file of tokens; they are read twice at most, and never held as a whole."""
    parser = argparse.ArgumentParser(description=main.__doc__, prog="python -m datamodules.token_file")
    parser.add_argument("texts", nargs="+", type=Path, help="UTF-8 files; documents are parted by empty lines")
    parser.add_argument("--out", type=Path, required=True, help="the file to write, such as corpus/train.bin")
    parser.add_argument("--lines", action="store_true", help="every line is a document")
    parser.add_argument("--vocabulary_size", type=int, default=16_000, help="of an encoding that learns from the texts")
    parser.add_argument("--encoding", type=Path, help="a file of tokens whose encoding to use instead")
    arguments = parser.parse_args(argv)
    try:
        if arguments.encoding is None:
            size = arguments.vocabulary_size
            encoding = BPE.trained_on(_documents(arguments.texts, arguments.lines), size)
        else:
            known = read_sidecar(arguments.encoding)
            if known.encoding is None:
                raise DataError(f"{arguments.encoding} does not say what its tokens mean")
            encoding, size = BPE(known.encoding), known.vocabulary_size
        written = write_documents(arguments.out, _documents(arguments.texts, arguments.lines), encoding, size)
    except (ZooError, OSError, UnicodeDecodeError) as error:
        parser.error(str(error))
    print(f"{written.tokens:,} tokens of {written.dtype} in {arguments.out}")


if __name__ == "__main__":
    main()
