from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from PIL import Image
from torch import Tensor, nn

from datamodules.base import TensorSplit
from datamodules.image_files import FileSplit
from datamodules.image_folder import ImageFolder
from zoo.errors import DataError


def write(root: Path, split: str, counts: dict[str, int], start: int = 0) -> int:
    """Pictures of 8 x 8 whose pixels all hold the picture's number; returns the next number."""
    number = start
    for name, count in counts.items():
        folder = root / split / name
        folder.mkdir(parents=True, exist_ok=True)
        for _ in range(count):
            Image.fromarray(np.full((8, 8, 3), number, np.uint8)).save(folder / f"{number:03}.png")
            number += 1
    return number


def numbers(data: ImageFolder) -> dict[str, list[int]]:
    data.setup("fit")
    found = {}
    for name, split in data.splits.items():
        assert isinstance(split, TensorSplit)
        found[name] = split.x[:, 0, 0, 0].tolist()
    return found


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """40 cats (0 to 39) and 20 dogs (40 to 59) to train with, nothing else."""
    write(tmp_path, "train", {"cat": 40, "dog": 20})
    return tmp_path


def test_facts_are_known_before_setup(root: Path) -> None:
    data = ImageFolder(str(root), image_size=8)
    assert (data.num_classes, data.in_channels, data.image_size, data.in_features) == (2, 3, 8, 192)
    assert data.classes == ("cat", "dog")
    assert data.splits == {}


def test_val_and_test_are_carved_class_by_class(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = numbers(ImageFolder(str(root), 8, val_fraction=0.25))
    said = capsys.readouterr().out
    assert f"no folder {root / 'test'}; 20% of every class of train are the test split, the same in" in said
    assert sorted(first["train"] + first["val"] + first["test"]) == list(range(60))
    cats = {name: sum(number < 40 for number in split) for name, split in first.items()}
    assert cats == {"train": 24, "val": 8, "test": 8}
    assert {name: len(split) for name, split in first.items()} == {"train": 36, "val": 12, "test": 12}

    other = numbers(ImageFolder(str(root), 8, val_fraction=0.25, split_seed=1))
    assert other["test"] == first["test"]
    assert other["val"] != first["val"]


def test_folders_of_the_user_are_kept(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    following = write(root, "test", {"cat": 2, "dog": 1}, 60)
    write(root, "val", {"dog": 3}, following)
    found = numbers(ImageFolder(str(root), 8))
    assert found == {"train": list(range(60)), "test": [60, 61, 62], "val": [63, 64, 65]}
    assert capsys.readouterr().out == ""


def test_labels_follow_the_sorted_folder_names(root: Path) -> None:
    data = ImageFolder(str(root), 8)
    for name, split in numbers(data).items():
        assert data.splits[name].y.tolist() == [int(number >= 40) for number in split]  # type: ignore[attr-defined]


def test_normalised_by_train_or_imagenet(root: Path) -> None:
    data = ImageFolder(str(root), 8)
    pixels = torch.tensor(numbers(data)["train"]).double() / 255
    assert data.mean == pytest.approx([float(pixels.mean())] * 3)
    assert data.std == pytest.approx([float(pixels.std(correction=0))] * 3)
    x = data.transform_batch(data.splits["train"].x)  # type: ignore[attr-defined]
    assert abs(x.mean()) < 1e-5
    assert abs(x.std(correction=0) - 1) < 1e-5
    imagenet = ImageFolder(str(root), 8, normalize="imagenet")
    imagenet.setup("fit")
    assert imagenet.mean == (0.485, 0.456, 0.406)


@pytest.mark.parametrize("workers", [0, 1])
def test_batches_read_from_files_are_the_same(root: Path, monkeypatch: pytest.MonkeyPatch, workers: int) -> None:
    memory = ImageFolder(str(root), 8, batch_size=10)
    memory.setup("fit")
    monkeypatch.setattr(ImageFolder, "memory_limit", 59 * 192)
    files = ImageFolder(str(root), 8, batch_size=10, num_workers=workers)
    files.setup("fit")
    assert isinstance(files.splits["train"], FileSplit)
    assert files.mean == memory.mean
    assert torch.equal(files.train_targets, memory.train_targets)  # type: ignore[arg-type]
    for a, b in zip(memory.train_dataloader(), files.train_dataloader(), strict=True):
        assert all(torch.equal(left, right) for left, right in zip(a, b, strict=True))


def test_unreadable_picture_is_named_in_setup_or_when_it_is_read(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = root / "train" / "dog" / "050.png"
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(DataError, match=f"^cannot read the image {path} "):
        ImageFolder(str(root), 8).setup("fit")
    monkeypatch.setattr(ImageFolder, "memory_limit", 0)
    data = ImageFolder(str(root), 8, "imagenet")
    data.setup("fit")
    with pytest.raises(DataError, match=f"^cannot read the image {path} .*; replace or remove it$"):
        list(chain(data.train_dataloader(), data.val_dataloader(), data.test_dataloader()))


def test_errors_name_folder_and_class(root: Path, tmp_path: Path) -> None:
    missing = tmp_path / "elsewhere"
    with pytest.raises(DataError, match=f"ImageFolder: no folder {missing}/train; put the pictures of class x into"):
        ImageFolder(str(missing))
    with pytest.raises(DataError, match="image_size must be at least 1 pixel, got 0"):
        ImageFolder(str(root), 0)
    write(tmp_path / "single", "train", {"cat": 3})
    with pytest.raises(DataError, match=r"single/train has 1 class folders, at least 2 needed"):
        ImageFolder(str(tmp_path / "single"))

    write(root, "train", {"emu": 2}, 60)
    with pytest.raises(DataError) as caught:
        ImageFolder(str(root)).setup("fit")
    assert str(caught.value) == (
        f"ImageFolder: class 'emu' has too few images in {root}/train/emu: 2, at least 3 needed (1 for train, 1 for"
        " each of val and test out of it)"
    )
    write(root, "test", {"cat": 1}, 62)
    ImageFolder(str(root), 8).setup("fit")  # two are enough when test has its own folder
    write(root, "test", {"fox": 1}, 63)
    with pytest.raises(DataError, match=f"{root}/test/fox is a class that {root}/train does not have"):
        ImageFolder(str(root), 8).setup("fit")


class Mean(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(192, 2)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return nn.functional.cross_entropy(self.linear(batch[0].flatten(1)), batch[1])

    def test_step(self, batch: Any, batch_idx: int) -> None:
        pass

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.01)


def test_checkpoint_keeps_classes_and_normalisation(root: Path, tmp_path: Path) -> None:
    def trainer() -> Trainer:
        return Trainer(
            accelerator="cpu",
            max_epochs=1,
            limit_val_batches=0,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )

    data, fitting, path = ImageFolder(str(root), 8, batch_size=16), trainer(), str(tmp_path / "x.ckpt")
    fitting.fit(Mean(), data)
    fitting.save_checkpoint(path)
    write(root, "train", {"cat": 30}, 200)  # brighter pictures: other statistics now
    later = ImageFolder(str(root), 8, batch_size=16)
    trainer().test(Mean(), later, ckpt_path=path, weights_only=True)
    assert later.mean == data.mean
    write(root, "train", {"bee": 3}, 240)
    with pytest.raises(DataError, match=r"the checkpoint tells apart cat, dog; .*train has bee, cat, dog"):
        trainer().test(Mean(), ImageFolder(str(root), 8), ckpt_path=path, weights_only=True)
