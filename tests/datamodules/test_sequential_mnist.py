"""Digits as sequences: the same pixels as MNIST, in order or in one fixed other order."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from datamodules.images import ImageDataModule
from datamodules.mnist import MNIST
from datamodules.raw_pixels import RawPixels
from datamodules.sequential_mnist import SequentialMNIST
from zoo.errors import DataError
from zoo.preprocessing import describe, rebuild


@pytest.mark.parametrize(("steps", "shape"), [("pixels", (784, 1)), ("rows", (28, 28))])
@pytest.mark.parametrize("permute", [None, 3])
def test_pixels_are_those_of_mnist(
    steps: str, shape: tuple[int, int], permute: int | None, write_idx: Callable[[str], Path]
) -> None:
    root = str(write_idx("MNIST"))
    data = SequentialMNIST(root, steps, permute)  # type: ignore[arg-type]
    images = MNIST(root)
    for module in (data, images):
        module.setup("fit")
    assert (data.window, data.num_channels, data.num_classes) == (*shape, 10)
    raw = torch.randint(0, 256, (5, 1, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    x, expected = data.transform_batch(raw), images.transform_batch(raw).flatten(1)
    assert x.shape == (5, *shape)
    flat = x.flatten(1)
    assert torch.equal(flat, expected) == (permute is None)
    assert torch.equal(flat.sort(1).values, expected.sort(1).values)
    made = data.preprocessing()
    assert isinstance(made, RawPixels)
    again = rebuild(describe(made))
    assert torch.equal(again(raw[:, 0].numpy())[0], x), "what a person has gives what the network was trained on"


def test_the_permutation_is_one_for_all_images_and_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = (torch.arange(784) % 256).to(torch.uint8).view(1, 1, 28, 28).expand(2, 1, 28, 28)
    first = SequentialMNIST(permute=0).transform_batch(numbers)
    assert torch.equal(first[0], first[1])
    monkeypatch.setenv("PL_GLOBAL_SEED", "7")
    assert torch.equal(SequentialMNIST(permute=0).transform_batch(numbers), first)
    assert not torch.equal(SequentialMNIST(permute=1).transform_batch(numbers), first)


def test_it_is_no_image() -> None:
    with pytest.raises(
        DataError, match="asks for in_channels, which SequentialMNIST does not have: its samples are seq"
    ):
        _ = SequentialMNIST().in_channels
    with pytest.raises(DataError, match="asks for image_size"):
        _ = SequentialMNIST().image_size


def test_real_files(real_root: Callable[[str], str]) -> None:
    data: ImageDataModule = SequentialMNIST(real_root("MNIST/raw/train-images-idx3-ubyte"), eval_batch_size=16)
    data.setup("fit")
    assert [len(data.splits[name]) for name in ("train", "val", "test")] == [54_001, 5_999, 10_000]  # type: ignore[arg-type]
