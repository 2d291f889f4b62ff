"""A batch is read from whatever a loader yields."""

from typing import Any

import pytest
import torch

from zoo.batch import Batch, as_batch
from zoo.errors import DataError

X, Y = torch.zeros(3, 2), torch.tensor([0, 1, 0])
LENGTHS, WEIGHT = torch.tensor([1, 2, 2]), torch.ones(3)


def test_a_batch_is_left_as_it_is() -> None:
    batch = Batch(X, Y)
    assert as_batch(batch) is batch


@pytest.mark.parametrize("container", [tuple, list])
@pytest.mark.parametrize("fields", [(X,), (X, Y), (X, Y, LENGTHS), (X, Y, LENGTHS, WEIGHT)])
def test_sequences_fill_the_fields_in_order(container: Any, fields: tuple[torch.Tensor, ...]) -> None:
    batch = as_batch(container(fields))
    assert all(given is read for given, read in zip(fields, batch))
    assert all(missing is None for missing in batch[len(fields) :])
    assert batch.size == 3


def test_a_lone_tensor_is_the_input() -> None:
    batch = as_batch(X)
    assert batch.x is X
    assert batch.y is None
    assert batch.size == 3


@pytest.mark.parametrize(("wrong", "kind"), [({"x": X}, "dict"), ((X,) * 5, "tuple"), ([], "list"), (None, "NoneType")])
def test_anything_else_is_refused(wrong: Any, kind: str) -> None:
    with pytest.raises(DataError, match=rf"^a loader yielded {kind}; expected a tensor of inputs or \(x, y"):
        as_batch(wrong)
