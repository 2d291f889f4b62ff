import pytest
import torch

from datamodules.checks import check_inputs, check_labels, check_shape, check_values, stratified_split
from zoo.errors import DataError


def message(check: object, *arguments: object) -> str:
    with pytest.raises(DataError) as caught:
        check(*arguments)  # type: ignore[operator]
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_inputs() -> None:
    x = torch.zeros(6, 2, 3)
    check_inputs(x, torch.zeros(6), "Set train")
    assert message(check_inputs, x, torch.zeros(5), "Set train") == "Set train: 6 inputs but 5 targets"
    x[2, 1, 0] = torch.nan
    x[4, 0, 0] = torch.inf
    assert message(check_inputs, x, torch.zeros(6), "Set train") == (
        "Set train: sample 2 is nan at (1, 0) (2 such samples in all); remove them or fill the gaps"
    )


def test_shape_and_dtype() -> None:
    x = torch.zeros(6, 1, 4, 4, dtype=torch.uint8)
    check_shape(x, (1, 4, 4), torch.uint8, "Set val")
    assert message(check_shape, x, (3, 4, 4), torch.uint8, "Set val") == (
        "Set val: samples are torch.uint8 of shape (1, 4, 4), expected torch.uint8 of shape (3, 4, 4)"
    )
    assert "samples are torch.float32" in message(check_shape, x.float(), (1, 4, 4), torch.uint8, "Set val")


@pytest.mark.parametrize("wrong", [-1, 3])
def test_labels(wrong: int) -> None:
    y = torch.tensor([0, 1, 2, 1])
    check_labels(y, 3, "Set train")
    y[1] = y[3] = wrong
    assert message(check_labels, y, 3, "Set train") == (
        f"Set train: sample 1 has label {wrong}, outside 0..2 (2 such labels in all)"
    )
    assert "labels are torch.float32 of shape (4,), expected torch.int64" in message(
        check_labels, y.float(), 3, "Set train"
    )
    assert "of shape (4, 1)" in message(check_labels, y[:, None], 3, "Set train")


@pytest.mark.parametrize("shape", [(5,), (5, 2)])
def test_values(shape: tuple[int, ...]) -> None:
    y = torch.ones(shape)
    check_values(y, "Set test")
    y[3] = torch.nan
    assert message(check_values, y, "Set test") == (
        "Set test: the target of sample 3 is NaN or infinite (1 such samples in all); remove them"
    )
    assert message(check_values, y.int(), "Set test") == "Set test: targets are torch.int32; regression takes floats"


def test_stratified_split_parts_every_class_by_the_same_share() -> None:
    y = torch.tensor([0] * 100 + [1] * 50 + [2] * 10)[torch.randperm(160, generator=torch.Generator().manual_seed(0))]
    kept, held_out = stratified_split(y, 0.2, torch.randperm(160, generator=torch.Generator().manual_seed(1)))
    assert torch.equal(torch.cat([kept, held_out]).sort().values, torch.arange(160))
    assert torch.bincount(y[held_out]).tolist() == [20, 10, 2]
    again = stratified_split(y, 0.2, torch.randperm(160, generator=torch.Generator().manual_seed(1)))
    assert torch.equal(held_out, again[1])
    other = stratified_split(y, 0.2, torch.randperm(160, generator=torch.Generator().manual_seed(2)))
    assert not torch.equal(held_out, other[1])


def test_stratified_split_leaves_one_of_a_class_on_both_sides() -> None:
    y = torch.tensor([0, 0, 1, 1])
    for fraction in (0.01, 0.99):
        kept, held_out = stratified_split(y, fraction, torch.arange(4))
        assert y[kept].tolist() == y[held_out].tolist() == [0, 1]


def test_stratified_split_errors() -> None:
    order = torch.arange(3)
    assert "class 7 has a single sample" in message(stratified_split, torch.tensor([7, 1, 1]), 0.5, order)
    for fraction in (0.0, 1.0, -0.1):
        assert f"must lie in (0, 1), got {fraction}" in message(stratified_split, torch.zeros(3).int(), fraction, order)
