"""Muon with AdamW as one optimizer."""

import io
from pathlib import Path

import pytest
import torch
from torch import nn

from callbacks.optimizers.groups import ParameterRule
from callbacks.optimizers.muon import Muon, MuonWithAdamW, hidden_matrices, muon_update, orthogonalize
from callbacks.schedules.one_cycle import OneCycle
from tests.callbacks.optimizers.optimizer_checks import (
    accuracy_on_digits,
    assert_resumes,
    loss_ratio_on_a_quadratic,
    make_mlp,
)
from tests.tools import quiet_trainer
from zoo.cnn import ResNet
from zoo.errors import ZooError
from zoo.layers.transformer import BlockDesign
from zoo.mlp import MLP
from zoo.task import Classification, LanguageModeling
from zoo.transformer import GPT


@pytest.mark.parametrize("shape", [(16, 16), (8, 32), (32, 8)])
def test_singular_values_come_near_one_and_directions_stay(shape: tuple[int, int]) -> None:
    for seed in range(10):
        torch.manual_seed(seed)
        matrix = torch.randn(shape, dtype=torch.float64)
        left, values, right = torch.linalg.svd(matrix, full_matrices=False)
        turned = left.T @ orthogonalize(matrix, dtype=torch.float64) @ right.T
        kept = values > 0.02 * values.norm()  # five rounds do not lift what is almost zero
        diagonal = turned.diagonal()
        assert diagonal[kept].min() > 0.6
        assert diagonal.max() < 1.3
        torch.testing.assert_close(turned, torch.diag(diagonal), rtol=0, atol=1e-9)


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("shape", [(16, 16), (8, 32), (32, 8)])
def test_equals_torch_on_matrices(nesterov: bool, shape: tuple[int, int]) -> None:
    ours, theirs = (nn.Parameter(torch.ones(shape)) for _ in range(2))
    reference = torch.optim.Muon([theirs], lr=0.1, weight_decay=0.3, momentum=0.9, nesterov=nesterov)
    average = torch.zeros(shape)
    for _ in range(5):
        gradient = torch.randn(shape)
        theirs.grad = gradient.clone()
        reference.step()
        update = muon_update(gradient, average, 0.9, nesterov, torch.bfloat16)
        ours.data.mul_(1 - 0.1 * 0.3).add_(update, alpha=-0.1)
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)


def test_filters_count_as_rows() -> None:
    gradient = torch.randn(8, 4, 3, 3)
    flat = muon_update(gradient.flatten(1), torch.zeros(8, 36))
    for layout in (torch.contiguous_format, torch.channels_last):
        filters = gradient.contiguous(memory_format=layout)
        update = muon_update(filters, torch.zeros_like(filters))
        assert update.shape == gradient.shape
        torch.testing.assert_close(update.flatten(1), flat, rtol=1e-4, atol=1e-5)


def test_hidden_matrices_are_those_between_the_first_and_the_last_layer() -> None:
    mlp = make_mlp(norm="batch")
    assert [id(p) for p in hidden_matrices(mlp)] == [id(mlp.backbone[1].linear.weight)]
    resnet = ResNet(1, Classification(10), blocks=[1, 1], width=8)
    names = {id(p): name for name, p in resnet.named_parameters()}
    found = [names[id(p)] for p in hidden_matrices(resnet)]
    assert found[0] == "backbone.3.conv1.weight"
    assert "backbone.4.shortcut.0.weight" in found
    assert not {"backbone.0.weight", "head.weight"} & set(found)
    gpt = GPT(9, 8, LanguageModeling(9), 8, 1, block=BlockDesign(heads=2))
    names = {id(p): name for name, p in gpt.named_parameters()}
    parts = ["attention.query", "attention.key", "attention.value", "attention.out", "feed_forward.expand"]
    expected = [f"transformer.blocks.0.{part}.weight" for part in [*parts, "feed_forward.contract"]]
    assert [names[id(p)] for p in hidden_matrices(gpt)] == expected
    with pytest.raises(ZooError, match="MLP has no trainable one between its first and its last layer"):
        Muon().build(MLP(64, Classification(10), hidden=[32]))


def test_groups_have_their_own_rates() -> None:
    network = make_mlp()
    selection = Muon(lr=0.02, adamw_lr=0.001, weight_decay=0.3, rules=[ParameterRule("head", 2.0)])
    groups = {group["name"]: group for group in selection.build(network).param_groups}
    assert list(groups) == ["muon/decay", "head/decay", "head/no_decay", "decay", "no_decay"]
    assert groups["muon/decay"]["params"] == [network.backbone[1].linear.weight]
    assert groups["muon/decay"]["lr"] == 0.02
    assert groups["head/decay"]["lr"] == pytest.approx(0.002)
    assert groups["decay"]["lr"] == pytest.approx(0.001)
    assert [group["weight_decay"] for group in groups.values()] == [0.3, 0.3, 0.0, 0.3, 0.0]


def test_the_rest_is_trained_as_by_adamw() -> None:
    ours, theirs = make_mlp(), make_mlp()
    optimizer = Muon(adamw_lr=0.01, weight_decay=0.3).build(ours)
    groups = [
        {"params": [p for p in theirs.parameters() if p.ndim == 2], "weight_decay": 0.3},
        {"params": [p for p in theirs.parameters() if p.ndim < 2], "weight_decay": 0.0},
    ]
    reference = torch.optim.AdamW(groups, lr=0.01)
    for _ in range(4):
        for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
            p.grad = torch.randn_like(p)
            q.grad = p.grad.clone()
        optimizer.step()
        reference.step()
    for (name, p), q in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        assert torch.allclose(p, q, rtol=1e-5, atol=1e-7) == (name != "backbone.1.linear.weight"), name


def test_state_goes_through_a_file() -> None:
    def steps(network: MLP, optimizer: MuonWithAdamW, seeds: range) -> None:
        for seed in seeds:
            torch.manual_seed(seed)
            for p in network.parameters():
                p.grad = torch.randn_like(p)
            optimizer.step()

    whole, half = make_mlp(), make_mlp()
    first, second = Muon().build(whole), Muon().build(half)
    steps(whole, first, range(6))
    steps(half, second, range(3))
    buffer = io.BytesIO()
    torch.save({"optimizer": second.state_dict(), "network": half.state_dict()}, buffer)
    buffer.seek(0)
    saved = torch.load(buffer, weights_only=True)
    other = make_mlp()
    other.load_state_dict(saved["network"])
    third = Muon(lr=0.5).build(other)
    third.load_state_dict(saved["optimizer"])
    steps(other, third, range(3, 6))
    for p, q in zip(whole.parameters(), other.parameters(), strict=True):
        assert torch.equal(p, q)


def test_schedules_move_both_parts() -> None:
    optimizer = Muon(lr=0.02, adamw_lr=0.001).build(make_mlp())
    scheduler = OneCycle(warmup=0.5).build(optimizer, 10, quiet_trainer())
    for _ in range(5):
        optimizer.step()
        scheduler.step()  # type: ignore[union-attr]
    rates = {group["name"]: group["lr"] for group in optimizer.param_groups}
    assert rates == {"muon/decay": pytest.approx(0.02), "decay": pytest.approx(0.001), "no_decay": pytest.approx(0.001)}
    assert optimizer.param_groups[0]["momentum"] == optimizer.param_groups[1]["betas"][0] == 0.85


def test_argument_errors() -> None:
    with pytest.raises(ZooError, match="Muon: adamw_lr must be positive"):
        Muon(adamw_lr=0.0)
    with pytest.raises(ZooError, match=r"Muon: momentum must lie in \[0, 1\), got 1.0"):
        Muon(momentum=1.0)


def test_learns(tmp_path: Path) -> None:
    assert loss_ratio_on_a_quadratic(Muon(lr=0.02, adamw_lr=0.05, weight_decay=0.0)) < 0.05
    assert accuracy_on_digits(Muon(adamw_lr=3e-3)) > 0.85
    assert_resumes(Muon, tmp_path)
