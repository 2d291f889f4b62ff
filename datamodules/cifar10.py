"""CIFAR-10: small colour photos of animals and vehicles."""

import os
import zipfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from datamodules.downloaded import DownloadedImages


class CIFAR10(DownloadedImages):
    """60,000 colour photos of 32 x 32 pixels in 10 classes: 50,000 to train and validate, 10,000 to test.

    Source: Krizhevsky, "Learning multiple layers of features from tiny images", 2009 (no licence stated; for research).

    It is read from one file, ``<root>/cifar10.npz`` with x_train, y_train, x_test, y_test (images N, 32, 32, 3, uint8).
    Where that is missing it is made once, from torchvision's download or from a ``cifar-10-batches-py`` beside it.

    Args:
        root: folder of all data sets, with ``cifar10.npz`` in it; None is ZOO_DATA, else a cache folder.
        batch_size, val_fraction, augment, split_seed, eval_batch_size, drop_last, num_workers: see ImageDataModule.
    """

    channels, size = 3, 32
    classes = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
    mean, std = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)

    def files(self) -> list[Path]:
        return [self.root / "cifar10.npz"]

    def download(self) -> None:
        from torchvision.datasets import CIFAR10 as Pictures

        train, test = (Pictures(self.root, train=train, download=True) for train in (True, False))
        target = self.files()[0]
        # Beside the target and renamed when it is whole: a run that is killed here leaves no half file to be read.
        part = target.with_name(f"{target.name}.{os.getpid()}.part")
        try:
            with part.open("wb") as file:
                np.savez(
                    file,
                    x_train=train.data,
                    y_train=np.array(train.targets, np.uint8),
                    x_test=test.data,
                    y_test=np.array(test.targets, np.uint8),
                )
                file.flush()
                os.fsync(file.fileno())
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)

    def read(self) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        path = self.files()[0]
        try:
            with np.load(path, allow_pickle=False) as arrays:
                train = _tensors(arrays["x_train"], arrays["y_train"])
                return train, _tensors(arrays["x_test"], arrays["y_test"])
        # No archive, damaged, an array is missing, or it holds objects, which would have to be executed to be read.
        except (zipfile.BadZipFile, EOFError, KeyError, OSError, RuntimeError, TypeError, ValueError) as error:
            raise self.damaged(path, error) from error


def _tensors(images: np.ndarray, labels: np.ndarray) -> tuple[Tensor, Tensor]:
    x = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()  # (N, 32, 32, 3) -> (N, 3, 32, 32)
    return x, torch.from_numpy(labels.astype(np.int64).reshape(-1))
