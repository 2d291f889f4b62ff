"""Tiny data sets in the formats of the real ones, and the real ones where they are on this machine."""

import os
import struct
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import torch
from torch import Tensor

from datamodules.base import TensorSplit
from datamodules.images import ImageDataModule


@pytest.fixture
def real_root() -> Callable[[str], str]:
    """The folder that ZOO_DATA names, or a skip where a file is not in it."""

    def find(needed: str) -> str:
        root = os.environ.get("ZOO_DATA", "")
        if not root or not (Path(root) / needed).exists():
            pytest.skip(f"{needed} is not under ZOO_DATA ({root or 'not set'})")
        return root

    return find


class _QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Path, str]]:
    """A folder and the address on this machine at which its files can be downloaded."""
    folder = tmp_path / "served"
    folder.mkdir()
    monkeypatch.setenv("no_proxy", "*")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_QuietHandler, directory=str(folder))) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield folder, f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


def idx_bytes(array: np.ndarray) -> bytes:
    """A uint8 array as the MNIST files have it: 0, 0, type 8, rank, sizes as big-endian words, then the bytes."""
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


def numbered_images(count: int, shape: tuple[int, ...], first: int = 0) -> np.ndarray:
    """Images that are told apart by their first two bytes, which hold their number."""
    images = np.zeros((count, int(np.prod(shape))), np.uint8)
    numbers = np.arange(first, first + count)
    images[:, 0], images[:, 1] = numbers // 256, numbers % 256
    return images.reshape(count, *shape)


@pytest.fixture
def write_idx(tmp_path: Path) -> Callable[[str], Path]:
    """Write 200 training and 40 test images of 28 x 28 for a set of this name; returns the data root."""

    def write(name: str) -> Path:
        folder = tmp_path / name / "raw"
        folder.mkdir(parents=True)
        for stem, count, first in (("train", 200, 0), ("t10k", 40, 200)):
            images = idx_bytes(numbered_images(count, (28, 28), first))
            (folder / f"{stem}-images-idx3-ubyte").write_bytes(images)
            (folder / f"{stem}-labels-idx1-ubyte").write_bytes(idx_bytes(np.arange(count) % 10))
        return tmp_path

    return write


@pytest.fixture
def split_numbers() -> Callable[[ImageDataModule], dict[str, set[int]]]:
    """The numbers of the images in each split of a set made of ``numbered_images``."""

    def numbers(data: ImageDataModule) -> dict[str, set[int]]:
        found = {}
        for name, split in data.splits.items():
            assert isinstance(split, TensorSplit)
            first_bytes = split.x.permute(0, 2, 3, 1) if split.x.shape[1] == 3 else split.x
            first_bytes = first_bytes.flatten(1)[:, :2].long()
            values = (first_bytes[:, 0] * 256 + first_bytes[:, 1]).tolist()
            assert len(set(values)) == len(values)
            found[name] = set(values)
        return found

    return numbers


@pytest.fixture
def assert_real_images() -> Callable[[ImageDataModule, tuple[int, int, int]], None]:
    """What holds of every real image set: sizes, the same share of classes in val, normalised statistics, one split."""

    def check(data: ImageDataModule, sizes: tuple[int, int, int]) -> None:
        data.prepare_data()
        data.setup("fit")
        train, val, test = (data.splits[name] for name in ("train", "val", "test"))
        assert isinstance(train, TensorSplit)
        assert isinstance(val, TensorSplit)
        assert isinstance(test, TensorSplit)
        assert (len(train), len(val), len(test)) == sizes
        assert train.x.shape[1:] == (data.in_channels, data.image_size, data.image_size)
        for split in (train, val, test):
            assert split.y.unique().tolist() == list(range(data.num_classes))
        expected = torch.bincount(torch.cat([train.y, val.y])) * data.val_fraction
        assert (torch.bincount(val.y) - expected).abs().max() <= 0.5
        x = data.transform_batch(train.x[:20000]).double()
        # 20,000 images: the mean of a channel is known to about 1 % of its deviation.
        assert x.mean((0, 2, 3)).abs().max() < 0.02
        assert (x.std((0, 2, 3)) - 1).abs().max() < 0.02

    return check


@pytest.fixture
def assert_table() -> Callable[..., None]:
    """What holds of every table: sizes, one split per seed, standardised by its training rows."""

    def check(kind: type, sizes: tuple[int, int, int]) -> None:
        data, same, other = kind(), kind(), kind(split_seed=1)
        for module in (data, same, other):
            module.prepare_data()
            module.setup("fit")
        splits = [data.splits[name] for name in ("train", "val", "test")]
        assert tuple(len(split) for split in splits) == sizes
        rows = torch.cat([split.x for split in splits])
        raw, _ = data.read()
        assert len(rows) == len(raw)
        assert rows.shape[1] == raw.shape[1] == data.in_features
        # A row of the table is found again by its distance from 0 after undoing the scale: disjoint, and none is lost.
        std, mean = raw_statistics(raw, rows)
        assert torch.allclose((rows.double() * std + mean).sort(0).values, raw.sort(0).values, rtol=1e-4, atol=1e-4)
        train = splits[0].x.double()
        assert train.mean(0).abs().max() < 1e-5
        assert (train.std(0, correction=0) - 1).abs().max() < 1e-5
        assert all(torch.equal(split.x, same.splits[name].x) for name, split in data.splits.items())
        assert not torch.equal(splits[2].x, other.splits["test"].x)

    return check


def raw_statistics(raw: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """(std, mean) of the map from standardised back to raw, from the extremes of each column."""
    low, high = rows.double().amin(0), rows.double().amax(0)
    std = (raw.amax(0) - raw.amin(0)) / (high - low)
    return std, raw.amin(0) - low * std
