"""What a network says, in words."""

import pytest
import torch

from zoo.losses import Quantile
from zoo.predictions import Labels, Values, prediction
from zoo.task import Classification, Forecasting, LanguageModeling, MultiLabel, Regression, Tagging, Task


def test_classes_have_their_names_and_probabilities() -> None:
    said = prediction(Classification(3), torch.tensor([[0.0, 5, 0], [9, 0, 0]]), ("a", "b", "c"))
    assert isinstance(said, Labels)
    assert (said.labels, said.classes) == (["b", "a"], ("a", "b", "c"))
    assert torch.allclose(said.probabilities.sum(1), torch.ones(2))
    assert prediction(Classification(3), torch.eye(3), ()).classes == ("0", "1", "2"), "numbers where nobody named them"


def test_several_labels_are_a_list() -> None:
    said = prediction(MultiLabel(3), torch.tensor([[4.0, -4, 4], [-4, -4, -4]]), ("a", "b", "c"))
    assert isinstance(said, Labels)
    assert said.labels == [["a", "c"], []]


def test_tags_end_where_their_sequence_does() -> None:
    raw = torch.tensor([[[5.0, 0], [0, 5], [5, 0]], [[0, 5], [5, 0], [0, 0]]])
    said = prediction(Tagging(2), raw, ("x", "y"), torch.tensor([3, 1]))
    assert isinstance(said, Labels)
    assert said.labels == [["x", "y", "x"], ["y"]]
    assert said.probabilities[1, 1:].isnan().all()
    assert not said.probabilities[0].isnan().any()


def test_a_language_model_says_what_comes_next() -> None:
    raw = torch.zeros(2, 3, 4)
    raw[0, 2, 1] = raw[1, 0, 3] = 9
    said = prediction(LanguageModeling(4), raw, ("a", "b", "c", "d"), torch.tensor([3, 1]))
    assert isinstance(said, Labels)
    assert said.labels == ["b", "d"]
    assert said.probabilities.shape == (2, 4)


@pytest.mark.parametrize("task", [Regression(2), Forecasting(2, 3)], ids=["regression", "forecasting"])
def test_values_are_in_original_units(task: Task) -> None:
    task.fit_targets(torch.tensor([[0.0, 10], [2, 30]]))
    shape = (1, *task.target_shape)  # type: ignore[attr-defined]
    said = prediction(task, torch.zeros(shape), ("u", "v"))
    assert isinstance(said, Values)
    assert said.values.shape == shape
    assert said.values.reshape(-1, 2)[0].tolist() == [1, 20]
    assert (said.targets, said.lower, said.coverage) == (("u", "v"), None, None)


def test_a_loss_that_knows_of_intervals_gives_them() -> None:
    task = Regression(1, loss=Quantile([0.05, 0.5, 0.95]))
    said = prediction(task, torch.tensor([[-1.0, 0, 1]]), ("u",))
    assert isinstance(said, Values)
    assert said.lower is not None
    assert said.upper is not None
    assert float(said.lower) <= float(said.values) <= float(said.upper)
    assert said.coverage == pytest.approx(0.9)
