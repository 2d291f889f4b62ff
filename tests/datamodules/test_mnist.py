import gzip
import hashlib
from collections.abc import Callable
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
from torchvision import datasets

from datamodules.base import TensorSplit
from datamodules.images import ImageDataModule
from datamodules.mnist import MNIST
from zoo.errors import DataError

NAMES = [f"{stem}-{kind}-ubyte" for stem in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")]


def test_facts_need_no_files(tmp_path: Path) -> None:
    data = MNIST(str(tmp_path / "nowhere"))
    assert (data.num_classes, data.in_channels, data.image_size, data.in_features) == (10, 1, 28, 784)
    assert not (tmp_path / "nowhere").exists()


def test_files_of_the_same_format(
    write_idx: Callable[[str], Path], split_numbers: Callable[[ImageDataModule], dict[str, set[int]]]
) -> None:
    root = str(write_idx("MNIST"))
    found = []
    for seed in (0, 0, 1):
        data = MNIST(root, val_fraction=0.2, split_seed=seed)
        data.prepare_data()
        data.setup("fit")
        val, test = data.splits["val"], data.splits["test"]
        assert isinstance(val, TensorSplit)
        assert isinstance(test, TensorSplit)
        assert torch.bincount(val.y).tolist() == [4] * 10
        assert torch.equal(test.y, torch.arange(40) % 10)
        found.append(split_numbers(data))
    first, again, other = found
    assert first["train"] | first["val"] == set(range(200)), "val is carved from the training file"
    assert not first["train"] & first["val"]
    assert first["test"] == other["test"] == set(range(200, 240))
    assert first == again
    assert first["val"] != other["val"]


def test_real_files(
    real_root: Callable[[str], str], assert_real_images: Callable[[ImageDataModule, tuple[int, int, int]], None]
) -> None:
    # Its classes are not of one size, so that a tenth of each, rounded, is 5,999 in all.
    assert_real_images(MNIST(real_root("MNIST/raw/train-images-idx3-ubyte")), (54001, 5999, 10000))


def test_setup_without_files_says_where_it_looked(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        MNIST(str(tmp_path)).setup("fit")
    assert str(caught.value) == (
        f"MNIST: {', '.join(NAMES)} not found in {tmp_path}/MNIST/raw and nothing was downloaded: call prepare_data()"
        " first; put the files there, or point --data.root or the environment variable ZOO_DATA at the folder that has"
        " MNIST/raw/train-images-idx3-ubyte"
    )


def test_offline_error_is_one_line(
    write_idx: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def offline(*args: object, **options: object) -> None:
        raise URLError("no route to host")

    monkeypatch.setattr(datasets.mnist, "download_and_extract_archive", offline)
    root = write_idx("MNIST")
    MNIST(str(root)).prepare_data()  # all files are there: the network is not asked
    (root / "MNIST/raw" / NAMES[1]).unlink()
    with pytest.raises(DataError) as caught:
        MNIST(str(root)).prepare_data()
    assert str(caught.value) == (
        f"MNIST: {NAMES[1]} not found in {root}/MNIST/raw and the download failed (<urlopen error no route to host>);"
        " put the files there, or point --data.root or the environment variable ZOO_DATA at the folder that has"
        f" MNIST/raw/{NAMES[1]}"
    )
    assert f"MNIST: downloading to {root}" in capsys.readouterr().out


@pytest.fixture
def mirror(served: tuple[Path, str], write_idx: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that serves the tiny files to torchvision's own downloader, with their checksums."""
    folder, address = served
    source = write_idx("MNIST") / "MNIST" / "raw"
    resources = []
    for name in NAMES:
        packed = gzip.compress((source / name).read_bytes())
        (folder / f"{name}.gz").write_bytes(packed)
        resources.append((f"{name}.gz", hashlib.md5(packed).hexdigest()))
    monkeypatch.setattr(datasets.MNIST, "mirrors", [address])
    monkeypatch.setattr(datasets.MNIST, "resources", resources)
    return folder


def test_download(mirror: Path, tmp_path: Path) -> None:
    data = MNIST(str(tmp_path / "fresh"))
    data.prepare_data()
    data.setup("fit")
    assert len(data.splits["test"]) == 40  # type: ignore[arg-type]


def test_download_with_a_wrong_checksum_is_refused(mirror: Path, tmp_path: Path) -> None:
    (mirror / f"{NAMES[0]}.gz").write_bytes(gzip.compress(b"something else"))
    with pytest.raises(DataError, match=r"the download failed \(.*corrupted"):
        MNIST(str(tmp_path / "fresh")).prepare_data()


@pytest.mark.parametrize(
    "content", [b"", b"<html>", b"\0\0\x08\x03\0\0\0\xc8\0\0\0\x1c\0\0\0\x1c", b"\0\0\x08\x01\0\0\0\x01x"]
)
def test_damaged_file_is_named(write_idx: Callable[[str], Path], content: bytes) -> None:
    root = write_idx("MNIST")
    path = root / "MNIST" / "raw" / NAMES[0]
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        MNIST(str(root)).setup("fit")
    assert str(caught.value) == (
        f"MNIST: cannot read {path} ({len(content)} bytes are no whole IDX file); delete it, and the next run"
        " fetches it anew"
    )


def test_labels_that_do_not_fit_are_named(write_idx: Callable[[str], Path]) -> None:
    root = write_idx("MNIST")
    labels = root / "MNIST" / "raw" / NAMES[1]
    content = labels.read_bytes()
    labels.write_bytes(content[:8] + b"\x0b" + content[9:])
    with pytest.raises(DataError, match=r"MNIST train: sample 0 has label 11, outside 0..9 \(1 such labels in all\)"):
        MNIST(str(root)).setup("fit")
    labels.write_bytes(content[:7] + b"\x0a" + content[8:18])
    with pytest.raises(DataError, match="MNIST train: 200 inputs but 10 targets"):
        MNIST(str(root)).setup("fit")
