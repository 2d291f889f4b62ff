"""Fashion-MNIST: articles of clothing in the format of MNIST, and a good deal harder."""

from typing import TYPE_CHECKING

from datamodules.idx import IdxImages

if TYPE_CHECKING:
    from torchvision import datasets


class FashionMNIST(IdxImages):
    """70,000 photos of clothes, grey, 28 x 28 pixels, 10 classes: 60,000 to train and validate, 10,000 to test.

    Source: Xiao, Rasul and Vollgraf, "Fashion-MNIST: a novel image dataset for benchmarking machine learning
    algorithms", 2017 (MIT). Shirt, T-shirt, pullover and coat are what networks confuse.

    Args:
        root: folder of all data sets, with ``FashionMNIST/raw`` in it; None is ZOO_DATA, else a cache folder.
        batch_size, val_fraction, augment, split_seed, eval_batch_size, drop_last, num_workers: see ImageDataModule.
    """

    classes = (
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    )
    mean, std = (0.2860,), (0.3530,)

    def dataset(self) -> "type[datasets.MNIST]":
        from torchvision import datasets

        return datasets.FashionMNIST
