"""What decays, and that every trainable parameter is in exactly one group."""

import torch
from torch import nn

from zoo.cnn import ResNet
from zoo.optim import decay_groups, decays, default_optimizer, parameter_names, supports_fused
from zoo.task import Classification


def make_network() -> ResNet:
    return ResNet(1, Classification(10), [1, 1], width=8, activation="prelu")


def test_matrices_and_filters_decay_biases_gains_and_slopes_do_not() -> None:
    network = make_network()
    decaying = {name for name, parameter in network.named_parameters() if decays(parameter)}
    weights = {
        f"{name}.weight" for name, m in network.named_modules() if isinstance(m, nn.Conv2d | nn.Linear | nn.Embedding)
    }
    assert decaying == weights
    assert len(decaying) < len(list(network.parameters()))


def test_groups_part_the_trainable_parameters() -> None:
    network = make_network()
    network.head.requires_grad_(False)
    decaying, rest = decay_groups(network, 0.3)
    assert (decaying["weight_decay"], rest["weight_decay"]) == (0.3, 0.0)
    assert all(p.ndim >= 2 for p in decaying["params"])
    assert all(p.ndim < 2 for p in rest["params"])
    grouped = [id(p) for group in (decaying, rest) for p in group["params"]]
    assert sorted(grouped) == sorted(id(p) for p in network.parameters() if p.requires_grad)


def test_a_group_without_parameters_is_left_out() -> None:
    assert [group["weight_decay"] for group in decay_groups(nn.Linear(2, 2, bias=False), 0.3)] == [0.3]
    assert [group["weight_decay"] for group in decay_groups(nn.BatchNorm1d(2), 0.3)] == [0.0]


def test_fused_where_torch_has_a_kernel() -> None:
    parameters = [torch.zeros(2)]
    assert supports_fused(torch.optim.AdamW, parameters)
    assert not supports_fused(torch.optim.Rprop, parameters)
    assert not supports_fused(torch.optim.AdamW, [torch.zeros(2, dtype=torch.long)])
    assert not supports_fused(torch.optim.AdamW, [torch.zeros(2, device="meta")])


def test_the_default_is_adamw_and_moves_gains_without_decay() -> None:
    network = nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3))
    optimizer = default_optimizer(network)
    assert type(optimizer) is torch.optim.AdamW
    assert optimizer.param_groups[0]["lr"] == 1e-3
    assert optimizer.param_groups[0]["fused"] is True
    assert default_optimizer(network, fuse=False).param_groups[0]["fused"] is None
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    changed = {name for name, p in network.named_parameters() if not torch.equal(p, before[name])}
    assert changed == {"0.weight"}  # a step without a gradient is decay alone
    torch.testing.assert_close(network[0].weight, before["0.weight"] * (1 - 1e-3 * 0.01))


def test_names_of_the_groups() -> None:
    network = nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3))
    assert parameter_names(network, default_optimizer(network)) == ["AdamW", "0.weight", "0.bias 1.weight 1.bias"]
