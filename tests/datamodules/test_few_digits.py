"""A few digits in MNIST's format: how many, which, and the test split of Digits."""

import pytest
import torch

from datamodules.base import TensorSplit
from datamodules.digits import Digits
from datamodules.few_digits import FewDigits
from zoo.errors import DataError


def splits(**arguments: int) -> dict[str, TensorSplit]:
    data = FewDigits(**arguments)
    data.setup("fit")
    return {name: split for name, split in data.splits.items() if isinstance(split, TensorSplit)}


def test_ten_of_each_class_of_which_two_validate() -> None:
    found = splits()
    assert torch.equal(torch.bincount(found["train"].y), torch.full((10,), 8))
    assert torch.equal(torch.bincount(found["val"].y), torch.full((10,), 2))
    assert found["train"].x.shape == (80, 1, 28, 28)
    assert not found["train"].x[:, :, :4].any()  # MNIST's margin
    assert found["train"].x.max() > 200


def test_the_test_split_is_that_of_digits_and_no_image_is_in_two() -> None:
    digits, few = Digits(), splits()
    digits.setup("fit")
    whole = digits.splits["test"]
    assert isinstance(whole, TensorSplit)
    assert torch.equal(few["test"].y, whole.y)
    seen = {name: {tuple(image.flatten().tolist()) for image in split.x} for name, split in few.items()}
    assert not (seen["train"] | seen["val"]) & seen["test"]
    assert not seen["train"] & seen["val"]


def test_split_seed_draws_others() -> None:
    assert torch.equal(splits()["train"].x, splits()["train"].x)
    assert not torch.equal(splits(split_seed=1)["train"].x, splits()["train"].x)


@pytest.mark.parametrize("per_class", [1, 101])
def test_how_many_there_are(per_class: int) -> None:
    with pytest.raises(DataError, match=rf"per_class must lie in 2\.\.100, got {per_class}"):
        FewDigits(per_class)
