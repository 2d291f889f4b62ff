import copy

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from callbacks.init.lsuv import LSUV, as_in_first_step, lsuv_
from callbacks.technique import UnsupportedModule
from zoo.cnn import LeNet, ResNet
from zoo.errors import ZooError
from zoo.mlp import MLP
from zoo.module import ZooModule
from zoo.task import Classification


def output_variances(network: nn.Module, x: Tensor) -> dict[str, float]:
    """Variance of what each convolution and linear layer puts out in training mode, dropout left out."""
    variances: dict[str, float] = {}
    network = copy.deepcopy(network).train()
    for name, layer in network.named_modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.register_forward_hook(
                lambda _, __, out, name=name: variances.update({name: out.var(correction=0).item()})
            )
        if isinstance(layer, nn.Dropout):
            layer.p = 0.0
    network(x)
    return variances


def first_inputs(data) -> Tensor:
    return next(iter(data.train_dataloader()))[0]


NETWORKS = {
    "mlp": lambda: MLP(64, Classification(10), hidden=[32] * 6, activation="tanh", dropout=0.3),
    "mlp_batch_norm": lambda: MLP(64, Classification(10), hidden=[32] * 3, norm="batch"),
    "lenet": lambda: LeNet(1, 8, Classification(10)),
    "resnet": lambda: ResNet(1, Classification(10), blocks=[1, 1], width=8),
    "resnet_without_norm": lambda: ResNet(1, Classification(10), blocks=[1, 1], width=8, norm="none"),
}


@pytest.mark.parametrize("network", NETWORKS)
def test_every_layer_puts_out_unit_variance(network, start, data) -> None:
    torch.manual_seed(0)
    module = start(NETWORKS[network](), LSUV(tolerance=0.01))
    variances = output_variances(module, first_inputs(data))
    assert len(variances) == sum(isinstance(m, nn.Conv2d | nn.Linear) for m in module.modules())
    assert all(variance == pytest.approx(1, abs=0.011) for variance in variances.values())


def test_equals_the_algorithm_of_the_paper(data, mlp) -> None:
    """A whole forward pass for each scaling, as Algorithm 1 is written."""
    data.setup("fit")
    x, slow = first_inputs(data), copy.deepcopy(mlp)
    names = [name for name, m in mlp.named_modules() if isinstance(m, nn.Linear)]
    for name in names:
        for _ in range(10):
            variance = output_variances(slow, x)[name]
            if abs(variance - 1) < 0.01:
                break
            slow.get_submodule(name).weight.data /= variance**0.5
    layers = {name: mlp.get_submodule(name) for name in reversed(names)}
    measured = lsuv_(layers, lambda: mlp(x), tolerance=0.01)
    assert list(measured) == names  # in the order in which they run
    for ours, theirs in zip(mlp.parameters(), slow.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_the_directions_are_those_of_an_orthogonal_matrix(start, mlp) -> None:
    start(mlp, LSUV())
    product = mlp.backbone[1].linear.weight @ mlp.backbone[1].linear.weight.T
    torch.testing.assert_close(product / product[0, 0], torch.eye(32), atol=1e-5, rtol=0)


def test_the_batch_is_augmented_as_in_training(start, data, mlp) -> None:
    data.shift = 5.0
    start(mlp, LSUV(tolerance=0.01))
    assert output_variances(mlp, first_inputs(data) + 5)["head"] == pytest.approx(1, abs=0.011)
    assert output_variances(mlp, first_inputs(data))["head"] < 0.5


def test_a_layer_that_is_used_twice_is_scaled_by_its_first_use() -> None:
    torch.manual_seed(0)
    layer, x = nn.Linear(8, 8), torch.randn(64, 8)
    assert lsuv_({"shared": layer}, lambda: layer(layer(x)), 0.01).keys() == {"shared"}
    assert layer(x).var(correction=0).item() == pytest.approx(1, abs=0.01)


def test_layers_that_are_not_selected_keep_their_weights(start, mlp) -> None:
    before = copy.deepcopy(mlp.backbone)
    start(mlp, LSUV(head_only=True))
    assert all(torch.equal(a, b) for a, b in zip(before.parameters(), mlp.backbone.parameters(), strict=True))


def test_flags_and_running_statistics_are_put_back_even_after_an_error(resnet) -> None:
    resnet.backbone[1].eval()
    flags = {name: m.training for name, m in resnet.named_modules()}
    buffers = {name: b.clone() for name, b in resnet.named_buffers()}

    def use_and_fail() -> None:
        with as_in_first_step(resnet):
            assert not resnet.backbone[3].training
            assert resnet.backbone[3].norm1.training
            assert not resnet.backbone[1].training  # a frozen norm keeps to its statistics
            resnet(torch.randn(4, 1, 8, 8))
            assert resnet.backbone[3].norm1.running_mean.any()
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        use_and_fail()
    assert flags == {name: m.training for name, m in resnet.named_modules()}
    assert all(torch.equal(b, buffers[name]) for name, b in resnet.named_buffers())


def test_a_fit_starts_with_fresh_statistics_and_no_hooks(start, resnet) -> None:
    start(resnet, LSUV())
    norms = [m for m in resnet.modules() if isinstance(m, nn.BatchNorm2d)]
    assert all(not n.running_mean.any() and n.num_batches_tracked == 0 for n in norms)
    assert all(not m._forward_hooks for m in resnet.modules())


def test_a_run_without_datamodule(trainer, mlp) -> None:
    loader = DataLoader(TensorDataset(torch.randn(8, 64), torch.zeros(8).long()))
    with pytest.raises(
        ZooError, match=r"LSUV measures a training batch .* from the datamodule, which this run does not"
    ):
        trainer(LSUV()).fit(mlp, loader)


def test_layers_that_normalise_their_weights_cannot_be_scaled(start) -> None:
    network = ResNet(1, Classification(10), blocks=[1], width=16, norm="weight_standardized")
    with pytest.raises(ZooError, match=r"LSUV: the output of backbone.0 has variance .* after 10 scalings .* layers"):
        start(network, LSUV())


def test_a_dead_layer_is_named() -> None:
    dead = nn.Linear(3, 3, bias=False)
    with pytest.raises(ZooError, match=r"LSUV: the output of dead has variance 0\.0 on the batch; look for dead"):
        lsuv_({"dead": dead}, lambda: dead(torch.zeros(5, 3)))
    assert not dead._forward_hooks


def test_only_supervised_modules(trainer) -> None:
    with pytest.raises(UnsupportedModule, match="LSUV does not support ZooModule: it needs a SupervisedModule"):
        LSUV().setup(trainer(), ZooModule(), "fit")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tolerance": 0.0}, r"LSUV: tolerance must lie between 0 and 1, got 0\.0"),
        ({"max_iterations": 0}, "LSUV: max_iterations must be at least 1, got 0"),
    ],
)
def test_bad_arguments(arguments, message) -> None:
    with pytest.raises(ZooError, match=message):
        LSUV(**arguments)
