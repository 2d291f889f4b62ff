"""Parameter groups: decay, rules, depth."""

import pytest
import torch
from torch import nn

from callbacks.optimizers.groups import ParameterRule, layers, parameter_groups
from tests.callbacks.optimizers.optimizer_checks import make_mlp
from zoo.cnn import ResNet
from zoo.errors import ZooError
from zoo.task import Classification, LanguageModeling
from zoo.transformer import GPT


def by_name(network: nn.Module, groups: list[dict]) -> dict[str, tuple[float, float | None]]:
    """Each parameter's learning rate and decay."""
    names = {id(p): name for name, p in network.named_parameters()}
    return {names[id(p)]: (g["lr"], g.get("weight_decay")) for g in groups for p in g["params"]}


def test_biases_and_norms_do_not_decay() -> None:
    network = make_mlp(norm="batch")
    found = by_name(network, parameter_groups(network, 0.1, 0.5))
    assert found.keys() == dict(network.named_parameters()).keys()
    assert {name for name, (_, decay) in found.items() if decay == 0.5} == {
        "backbone.0.linear.weight", "backbone.1.linear.weight", "head.weight",
    }  # fmt: skip
    assert {decay for name, (_, decay) in found.items() if "norm" in name or "bias" in name} == {0.0}


def test_first_matching_rule_counts() -> None:
    network = make_mlp()
    rules = [ParameterRule(r"head\.weight", 10.0, 0.25), ParameterRule("head", 3.0), ParameterRule("bias$", 2.0, 0.125)]
    found = by_name(network, parameter_groups(network, 0.1, 0.5, rules))
    assert found["head.weight"] == (pytest.approx(1.0), 0.25)
    assert found["head.bias"] == (pytest.approx(0.3), 0.0)
    assert found["backbone.0.linear.bias"] == (pytest.approx(0.2), 0.125)  # a rule's decay holds for biases as well
    assert found["backbone.0.linear.weight"] == (0.1, 0.5)


def test_group_names_are_unique_and_say_what_they_are() -> None:
    groups = parameter_groups(make_mlp(), 0.1, 0.5, [ParameterRule("head", 3.0)], layer_decay=0.5)
    names = [group["name"] for group in groups]
    assert names == [
        "layer_0/decay", "layer_0/no_decay", "layer_1/decay", "layer_1/no_decay",
        "layer_2/head/decay", "layer_2/head/no_decay",
    ]  # fmt: skip


def test_rule_that_matches_nothing() -> None:
    with pytest.raises(ZooError, match=r"match='haed' matches no trainable parameter.*head\.weight"):
        parameter_groups(make_mlp(), 0.1, 0.5, [ParameterRule("haed")])


def test_rule_that_earlier_rules_leave_nothing() -> None:
    rules = [ParameterRule("head"), ParameterRule("head.bias")]
    with pytest.raises(
        ZooError, match=r"match='head.bias' is left with nothing: earlier rules took head\.bias; put it"
    ):
        parameter_groups(make_mlp(), 0.1, 0.5, rules)


def test_rule_errors() -> None:
    with pytest.raises(ZooError, match=r"match='\(' is no regular expression"):
        ParameterRule("(")
    with pytest.raises(ZooError, match="lr_scale must be positive, got 0; to keep parameters fixed, freeze them"):
        ParameterRule("head", 0)
    with pytest.raises(ZooError, match="weight_decay must be >= 0, got -1"):
        ParameterRule("head", weight_decay=-1)


def test_learning_rate_falls_with_depth() -> None:
    network = make_mlp()
    found = by_name(network, parameter_groups(network, 1.0, 0.0, [ParameterRule("backbone.0", 2.0)], layer_decay=0.5))
    assert found["head.weight"][0] == 1.0
    assert found["backbone.1.linear.weight"][0] == 0.5
    assert found["backbone.0.linear.weight"][0] == 0.25 * 2.0


def test_layers_of_a_resnet() -> None:
    network = ResNet(1, Classification(10), blocks=[1, 1], width=8)
    # stem and its norm, two residual blocks, head; activations and pooling have no parameters
    assert layers(network) == [["backbone.0.", "backbone.1."], ["backbone.3."], ["backbone.4."], ["head."]]


def test_layers_behind_a_wrapper_and_parameters_beside_layers() -> None:
    class Wrapped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3), nn.Linear(3, 1))
            self.position = nn.Parameter(torch.zeros(2, 2))

    network = Wrapped()
    assert layers(network) == [["model.0.", "model.1."], ["model.2."]]
    assert by_name(network, parameter_groups(network, 1.0, None, layer_decay=0.5))["position"] == (0.5, None)


def test_layer_decay_wants_two_layers() -> None:
    with pytest.raises(ZooError, match=r"layer_decay=0.5 has no effect on Linear, a single layer"):
        parameter_groups(nn.Linear(2, 2), 1.0, 0.0, layer_decay=0.5)


def test_tied_parameters_are_kept_once_and_found_by_any_name() -> None:
    network = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    network[1].weight = network[0].weight
    groups = parameter_groups(network, 1.0, 0.0, [ParameterRule("1.weight", 5.0)])
    assert sum(len(group["params"]) for group in groups) == 3
    assert by_name(network, groups)["0.weight"][0] == 5.0


def test_frozen_parameters_are_left_out() -> None:
    network = make_mlp()
    network.backbone.requires_grad_(False)
    assert by_name(network, parameter_groups(network, 1.0, 0.0)).keys() == {"head.weight", "head.bias"}
    with pytest.raises(ZooError, match="match='backbone' matches no trainable parameter"):
        parameter_groups(network, 1.0, 0.0, [ParameterRule("backbone")])
    network.requires_grad_(False)
    with pytest.raises(ZooError, match="MLP has no trainable parameter"):
        parameter_groups(network, 1.0, 0.0)


def test_without_decay_there_is_one_group() -> None:
    assert [group["name"] for group in parameter_groups(make_mlp(), 1.0, None)] == ["all"]


def test_the_blocks_of_a_stack_are_layers() -> None:
    """Positions go with the embedding before them, the last norm with the last block."""
    network = GPT(9, 6, LanguageModeling(9), 16, 2, tied=False)
    stack = "transformer.blocks"
    assert layers(network) == [
        ["embedding.", "transformer.added."], [f"{stack}.0."], [f"{stack}.1.", "transformer.norm."], ["head."]
    ]  # fmt: skip
    groups = parameter_groups(network, 1.0, None, layer_decay=0.5)
    assert [group["lr"] for group in groups] == [0.125, 0.25, 0.5, 1.0]
