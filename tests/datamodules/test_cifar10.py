import hashlib
import pickle
import tarfile
from collections.abc import Callable
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
from torchvision import datasets

from datamodules.base import TensorSplit
from datamodules.cifar10 import CIFAR10
from datamodules.images import ImageDataModule
from zoo.errors import DataError


def pictures(count: int, first: int) -> np.ndarray:
    """(count, 32, 32, 3); the first two reds hold the number of the picture, all blues are 9."""
    images = np.zeros((count, 32, 32, 3), np.uint8)
    numbers = np.arange(first, first + count)
    images[:, 0, 0, 0], images[:, 0, 1, 0] = numbers // 256, numbers % 256
    images[..., 2] = 9
    return images


@pytest.fixture
def root(tmp_path: Path) -> Path:
    labels = np.arange(200, dtype=np.uint8) % 10
    train, test = pictures(200, 0), pictures(40, 200)
    np.savez(tmp_path / "cifar10.npz", x_train=train, y_train=labels, x_test=test, y_test=labels[:40])
    return tmp_path


def numbers(split: object) -> list[int]:
    assert isinstance(split, TensorSplit)
    red = split.x[:, 0, 0, :2].long()
    return (red[:, 0] * 256 + red[:, 1]).tolist()


def test_facts_need_no_files(tmp_path: Path) -> None:
    data = CIFAR10(str(tmp_path))
    assert (data.num_classes, data.in_channels, data.image_size, data.in_features) == (10, 3, 32, 3072)


def test_npz_of_the_same_format(root: Path) -> None:
    data, other = CIFAR10(str(root)), CIFAR10(str(root), split_seed=1)
    for module in (data, other):
        module.prepare_data()
        module.setup("fit")
    train, val, test = (data.splits[name] for name in ("train", "val", "test"))
    assert sorted(numbers(train) + numbers(val)) == list(range(200))
    assert numbers(test) == numbers(other.splits["test"]) == list(range(200, 240))
    assert numbers(val) != numbers(other.splits["val"])
    assert isinstance(val, TensorSplit)
    assert val.x.is_contiguous()
    assert val.y.bincount().tolist() == [2] * 10
    assert (val.x[:, 2] == 9).all(), "channels come first"
    assert [n % 10 for n in numbers(val)] == val.y.tolist(), "labels stay with their images"


def test_real_file(
    real_root: Callable[[str], str], assert_real_images: Callable[[ImageDataModule, tuple[int, int, int]], None]
) -> None:
    assert_real_images(CIFAR10(real_root("cifar10.npz")), (45000, 5000, 10000))


def test_download_makes_the_npz(served: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    checksums = {}
    for name, first in (("data_batch_1", 0), ("test_batch", 100)):
        # As the archive has it: one row a picture, channel after channel.
        rows = pictures(20, first).transpose(0, 3, 1, 2).reshape(20, -1)
        (folder / name).write_bytes(pickle.dumps({"data": rows, "labels": [i % 10 for i in range(20)]}))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": list(CIFAR10.classes)}))
    for path in folder.iterdir():
        checksums[path.name] = hashlib.md5(path.read_bytes()).hexdigest()
    archive = served[0] / "pictures.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder, folder.name)
    tv = datasets.CIFAR10
    monkeypatch.setattr(tv, "url", served[1] + archive.name)
    monkeypatch.setattr(tv, "tgz_md5", hashlib.md5(archive.read_bytes()).hexdigest())
    monkeypatch.setattr(tv, "train_list", [["data_batch_1", checksums["data_batch_1"]]])
    monkeypatch.setattr(tv, "test_list", [["test_batch", checksums["test_batch"]]])
    monkeypatch.setattr(tv, "meta", {**tv.meta, "md5": checksums["batches.meta"]})

    data = CIFAR10(str(tmp_path / "fresh"))
    data.prepare_data()
    data.setup("fit")
    assert sorted(numbers(data.splits["train"]) + numbers(data.splits["val"])) == list(range(20))
    assert numbers(data.splits["test"]) == list(range(100, 120))
    assert [path.name for path in (tmp_path / "fresh").glob("cifar10.npz*")] == ["cifar10.npz"], "no part is left"

    monkeypatch.setattr(tv, "tgz_md5", "0" * 32)
    with pytest.raises(DataError, match=r"cifar10.npz not found in .* and the download failed \(.*corrupted"):
        CIFAR10(str(tmp_path / "again")).prepare_data()


def test_offline_error_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*args: object, **options: object) -> None:
        raise URLError("no route to host")

    monkeypatch.setattr(datasets.cifar, "download_and_extract_archive", offline)
    with pytest.raises(DataError) as caught:
        CIFAR10(str(tmp_path)).prepare_data()
    assert str(caught.value) == (
        f"CIFAR10: cifar10.npz not found in {tmp_path} and the download failed (<urlopen error no route to host>); put"
        " the files there, or point --data.root or the environment variable ZOO_DATA at the folder that has cifar10.npz"
    )


def test_damaged_file_is_named(root: Path) -> None:
    path = root / "cifar10.npz"
    whole = path.read_bytes()
    objects = np.empty(1, object)
    np.savez(root / "objects.npz", x_train=objects, y_train=objects, x_test=objects, y_test=objects)
    np.savez(root / "other.npz", images=np.zeros(3))
    contents = (
        b"",
        b"<html>",
        whole[: len(whole) // 2],
        *((root / name).read_bytes() for name in ("objects.npz", "other.npz")),
    )
    for content in contents:
        path.write_bytes(content)
        with pytest.raises(
            DataError, match=r"CIFAR10: cannot read .*cifar10.npz .*; delete it, and the next"
        ) as caught:
            CIFAR10(str(root)).setup("fit")
        assert "\n" not in str(caught.value)


def test_images_of_another_size_are_refused(root: Path) -> None:
    with np.load(root / "cifar10.npz") as arrays:
        x, y = arrays["x_train"], arrays["y_train"]
    np.savez(root / "cifar10.npz", x_train=x[:, :16], y_train=y, x_test=x, y_test=y)
    with pytest.raises(DataError, match=r"CIFAR10 train: samples are torch.uint8 of shape \(3, 16, 32\), expected"):
        CIFAR10(str(root)).setup("fit")
