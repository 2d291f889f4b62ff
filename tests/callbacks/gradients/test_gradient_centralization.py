"""Gradient centralization as a projection, and what it keeps constant."""

from pathlib import Path

import pytest
import torch

from callbacks.gradients.gradient_centralization import GradientCentralization, centralize_
from callbacks.optimizers.sgd import SGD
from callbacks.technique import NoEffect
from tests.callbacks.technique_checks import accuracy_in_company, assert_resumes, assert_same, copy, fit, make_mlp
from zoo.cnn import ResNet
from zoo.task import Classification


@pytest.mark.parametrize("shape", [(5, 4), (6, 2, 3, 3)])
def test_is_the_projection_of_the_paper(shape: tuple[int, ...]) -> None:
    """Yong et al. 2020, eq. 2: P g with P = I - e e^T, e the unit vector of equal entries; twice is once."""
    gradient = torch.randn(shape, dtype=torch.float64)
    columns = gradient[0].numel()
    projection = torch.eye(columns) - torch.full((columns, columns), 1 / columns)
    expected = gradient.flatten(1) @ projection.double()
    torch.testing.assert_close(centralize_(gradient).flatten(1), expected, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(centralize_(gradient.clone()), gradient)


def test_mean_weights_stay_where_they_began() -> None:
    start, module = make_mlp(), make_mlp()
    fit(module, SGD(lr=0.1, weight_decay=0.0), GradientCentralization(), max_epochs=2)
    for name, before in start.named_parameters():
        after = module.get_parameter(name)
        assert not torch.equal(before, after)
        if before.ndim > 1:
            torch.testing.assert_close(after.mean(1), before.mean(1), rtol=0, atol=1e-5)


def test_convolutions_alone() -> None:
    def resnet() -> ResNet:
        torch.manual_seed(0)
        return ResNet(1, Classification(10), [1], width=4)

    plain, central = resnet(), resnet()
    fit(plain, SGD(lr=0.1), max_steps=1)
    fit(central, SGD(lr=0.1), GradientCentralization(linear=False), max_steps=1)
    assert torch.equal(plain.head.weight, central.head.weight)
    name = "backbone.3.conv1.weight"
    assert not torch.equal(plain.get_parameter(name), central.get_parameter(name))


def test_nothing_to_centralise_is_an_error() -> None:
    plain = make_mlp()
    with pytest.raises(NoEffect, match=r"changed nothing .* the network has no convolution with several inputs"):
        fit(plain, GradientCentralization(linear=False), max_epochs=2)


def test_a_weight_with_one_input_still_learns() -> None:
    module = make_mlp("none", 0, (32, 1, 8))
    before = copy(module)
    fit(module, SGD(lr=0.1), GradientCentralization(), max_epochs=1)
    assert not torch.equal(before["backbone.2.linear.weight"], module.state_dict()["backbone.2.linear.weight"])


def test_second_fit_resume_and_learning(tmp_path: Path) -> None:
    first, second = make_mlp(), make_mlp()
    technique = GradientCentralization()
    for module in (first, second):
        fit(module, SGD(lr=0.1), technique, max_epochs=1)
    assert_same(copy(first), copy(second))
    assert_resumes(lambda: [GradientCentralization()], tmp_path)
    assert accuracy_in_company(GradientCentralization()) > 0.93
