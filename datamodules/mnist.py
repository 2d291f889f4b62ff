"""MNIST: the handwritten digits that everybody starts with."""

from typing import TYPE_CHECKING

from datamodules.idx import IdxImages

if TYPE_CHECKING:
    from torchvision import datasets


class MNIST(IdxImages):
    """70,000 handwritten digits, grey, 28 x 28 pixels, 10 classes: 60,000 to train and validate, 10,000 to test.

    Source: LeCun, Bottou, Bengio and Haffner, "Gradient-based learning applied to document recognition", 1998
    (CC BY-SA 3.0). Good for a first run and for tests of an idea; too easy to tell good networks from better ones.
    A mirrored digit is another sign, so do not augment with flips.

    Args:
        root: folder of all data sets, with ``MNIST/raw`` in it; None is ZOO_DATA, else a cache folder.
        batch_size, val_fraction, augment, split_seed, eval_batch_size, drop_last, num_workers: see ImageDataModule.
    """

    classes = tuple("0123456789")
    mean, std = (0.1307,), (0.3081,)

    def dataset(self) -> "type[datasets.MNIST]":
        from torchvision import datasets

        return datasets.MNIST
