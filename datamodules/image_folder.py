"""A user's own pictures, one folder for each class."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.utils.data import Dataset

from datamodules.augment import ImageTransform
from datamodules.base import TensorSplit
from datamodules.checks import check_labels, stratified_split
from datamodules.image_files import FileSplit, image_paths, pixel_statistics, read_images
from datamodules.images import ImageDataModule
from zoo.errors import DataError
from zoo.notice import notice
from zoo.randomness import permutation

# Mean and deviation of ImageNet's training images, which all torchvision backbones were trained with.
_IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_TEST_FRACTION = 0.2
# Enough for three digits of a mean, where not all pictures are in memory.
_STATISTICS_SAMPLE = 2000


class ImageFolder(ImageDataModule):
    """Your pictures: ``<root>/train/<class>/*.jpg`` (png, webp, ...), and ``val`` and ``test`` in the same form if any.

    Where there is no ``val`` folder, a share of every class of train is held out; where there is no ``test`` folder,
    20 % of every class are, the same ones whatever ``split_seed`` says. Pictures that show the same thing (frames of a
    film, crops of a photo) belong in one split: give your own folders then, or the scores will flatter.

    All pictures are decoded once and kept as bytes when they take less than ``memory_limit``; otherwise every batch
    is read from the files, and ``num_workers`` should be about the number of processor cores.

    Args:
        root: the folder with ``train`` in it.
        image_size: height and width in pixels that pictures are brought to; 224 for most pretrained backbones.
        normalize: by mean and deviation of the training pictures, by ImageNet's for a pretrained backbone, or pixels to
            [-1, 1] for a GAN.
        batch_size, val_fraction, augment, split_seed, eval_batch_size, drop_last, num_workers: see ImageDataModule.

    Raises:
        DataError: no such folder, fewer than two classes, or a class folder without pictures.
    """

    channels = 3
    memory_limit: ClassVar[int] = 2 << 30
    """Bytes that the pictures of all splits may take in each process."""

    def __init__(
        self,
        root: str,
        image_size: int = 64,
        normalize: Literal["train", "imagenet", "symmetric"] = "train",
        batch_size: int | Literal["full"] = 64,
        val_fraction: float = 0.1,
        augment: list[ImageTransform] | None = None,
        split_seed: int = 0,
        eval_batch_size: int = 256,
        drop_last: bool = False,
        num_workers: int = 0,
    ) -> None:
        super().__init__(batch_size, val_fraction, augment, split_seed, eval_batch_size, drop_last, num_workers)
        if image_size < 1:
            raise DataError(f"ImageFolder: image_size must be at least 1 pixel, got {image_size}")
        self.root, self.size, self.normalize = Path(root).expanduser(), image_size, normalize
        self.classes = tuple(folder.name for folder in _class_folders(self.root / "train"))
        if len(self.classes) < 2:
            raise DataError(
                f"ImageFolder: {self.root / 'train'} has {len(self.classes)} class folders, at least 2 needed"
            )
        self.mean, self.std = ((0.5,) * 3, (0.5,) * 3) if normalize == "symmetric" else _IMAGENET

    def load(self) -> dict[str, Dataset[Any]]:
        listed = {name: self._list(name) for name in ("train", "val", "test") if (self.root / name).is_dir()}
        self._check_counts(listed)
        if "test" not in listed:
            notice(
                f"ImageFolder: no folder {self.root / 'test'}; {_TEST_FRACTION:.0%} of every class of train are the"
                " test split, the same in every run"
            )
            self._carve(listed, "test", _TEST_FRACTION, "image folder test split")
        if "val" not in listed:
            self._carve(listed, "val", self.val_fraction, self.split_seed, "split")
        splits = self._read(listed)
        if self.normalize == "train":
            self.mean, self.std = pixel_statistics(self._sample(splits["train"]))
        return splits

    def check(self, split: Dataset[Any], where: str) -> None:
        super().check(split, where)
        if isinstance(split, FileSplit):
            check_labels(split.y, self.num_classes, where)

    @property
    def train_targets(self) -> Tensor | None:
        split = self.splits["train"]
        return split.y if isinstance(split, FileSplit) else super().train_targets

    def state_dict(self) -> dict[str, Any]:
        """Adds what the network's outputs and inputs mean."""
        return {**super().state_dict(), "classes": list(self.classes), "mean": list(self.mean), "std": list(self.std)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Normalise as the network was trained, and refuse other classes than it was trained on."""
        super().load_state_dict(state)
        if list(self.classes) != state["classes"]:
            raise DataError(
                f"ImageFolder: the checkpoint tells apart {', '.join(state['classes'])}; {self.root / 'train'} has"
                f" {', '.join(self.classes)}"
            )
        self.mean, self.std = tuple(state["mean"]), tuple(state["std"])

    def _list(self, name: str) -> tuple[list[Path], Tensor]:
        """The files of a split's folder and their labels, class by class."""
        paths: list[Path] = []
        labels: list[int] = []
        for folder in _class_folders(self.root / name):
            if folder.name not in self.classes:
                raise DataError(f"ImageFolder: {folder} is a class that {self.root / 'train'} does not have")
            found = image_paths(folder)
            paths += found
            labels += [self.classes.index(folder.name)] * len(found)
        return paths, torch.tensor(labels, dtype=torch.int64)

    def _check_counts(self, listed: dict[str, tuple[list[Path], Tensor]]) -> None:
        carved = [name for name in ("val", "test") if name not in listed]
        needed = 1 + len(carved)
        counts = torch.bincount(listed["train"][1], minlength=self.num_classes)
        for name, count in zip(self.classes, counts.tolist(), strict=True):
            if count < needed:
                out_of_it = f" (1 for train, 1 for each of {' and '.join(carved)} out of it)" if carved else ""
                raise DataError(
                    f"ImageFolder: class {name!r} has too few images in {self.root / 'train' / name}: {count}, at least"
                    f" {needed} needed{out_of_it}"
                )

    @staticmethod
    def _carve(listed: dict[str, tuple[list[Path], Tensor]], name: str, fraction: float, *order: int | str) -> None:
        """Move a share of every class from train to the split ``name``."""
        paths, y = listed["train"]
        kept, held_out = stratified_split(y, fraction, permutation(len(y), *order))
        listed["train"] = [paths[i] for i in kept.tolist()], y[kept]
        listed[name] = [paths[i] for i in held_out.tolist()], y[held_out]

    def _read(self, listed: dict[str, tuple[list[Path], Tensor]]) -> dict[str, Dataset[Any]]:
        total = sum(len(paths) for paths, _ in listed.values()) * self.in_features
        if total > self.memory_limit:
            return {name: FileSplit(paths, y, self.size) for name, (paths, y) in listed.items()}
        return {name: TensorSplit(read_images(paths, self.size), y) for name, (paths, y) in listed.items()}

    def _sample(self, split: Dataset[Any]) -> Tensor:
        """The training pictures, or as many of them as the statistics need."""
        if isinstance(split, TensorSplit):
            return split.x
        assert isinstance(split, FileSplit)
        chosen = permutation(len(split), "image folder statistics")[:_STATISTICS_SAMPLE]
        return read_images([split.paths[i] for i in chosen.tolist()], self.size)


def _class_folders(folder: Path) -> Sequence[Path]:
    if not folder.is_dir():
        raise DataError(f"ImageFolder: no folder {folder}; put the pictures of class x into {folder / 'x'}")
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
