from collections.abc import Callable
from pathlib import Path

from datamodules.fashion_mnist import FashionMNIST
from datamodules.images import ImageDataModule


def test_facts_need_no_files(tmp_path: Path) -> None:
    data = FashionMNIST(str(tmp_path))
    assert (data.num_classes, data.in_channels, data.image_size, data.in_features) == (10, 1, 28, 784)


def test_has_its_own_folder(
    write_idx: Callable[[str], Path], split_numbers: Callable[[ImageDataModule], dict[str, set[int]]]
) -> None:
    data = FashionMNIST(str(write_idx("FashionMNIST")))
    data.prepare_data()
    data.setup("fit")
    assert {name: len(numbers) for name, numbers in split_numbers(data).items()} == {
        "train": 180,
        "val": 20,
        "test": 40,
    }


def test_real_files(
    real_root: Callable[[str], str], assert_real_images: Callable[[ImageDataModule, tuple[int, int, int]], None]
) -> None:
    assert_real_images(FashionMNIST(real_root("FashionMNIST/raw/train-images-idx3-ubyte")), (54000, 6000, 10000))


def test_class_names_are_torchvisions() -> None:
    from torchvision import datasets

    assert list(FashionMNIST.classes) == datasets.FashionMNIST.classes
