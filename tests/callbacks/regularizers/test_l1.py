"""L1 against its gradient by hand; which weights it takes; its errors."""

from pathlib import Path

import pytest
import torch
from lightning.pytorch.demos.boring_classes import BoringModel
from torch import nn

from callbacks.optimizers.sgd import SGD
from callbacks.regularizers.l1 import L1, l1_norm
from callbacks.regularizers.l2 import L2
from callbacks.regularizers.weights import compile_match, select_weights
from callbacks.technique import NoEffect, UnsupportedModule
from tests.callbacks.technique_checks import accuracy_in_company, assert_resumes, fit, make_mlp
from zoo.errors import ZooError


def test_value_and_gradient() -> None:
    weights = [torch.tensor([[1.0, -2.0]], requires_grad=True), torch.tensor([0.0, 3.0], requires_grad=True)]
    norm = l1_norm([*weights])
    assert norm.item() == 6
    norm.backward()
    assert weights[0].grad is not None
    assert weights[1].grad is not None
    assert weights[0].grad.tolist() == [[1, -1]]
    assert weights[1].grad.tolist() == [0, 1]


def test_matrices_alone_unless_asked() -> None:
    network = make_mlp()
    everything, heads = compile_match("L1", ""), compile_match("L1", r"^head\.")
    assert all(p.ndim == 2 for p in select_weights(network, everything).values())
    assert set(select_weights(network, heads)) == {"head.weight"}
    assert set(select_weights(network, heads, vectors=True)) == {"head.weight", "head.bias"}
    network.head.requires_grad_(False)
    assert not select_weights(network, heads)


def test_elastic_net_is_both_together() -> None:
    """One step of SGD with both differs from one without by lr (l1 sign(w) + l2 w)."""
    start, plain, both = make_mlp(), make_mlp(), make_mlp()
    fit(plain, SGD(lr=0.1), max_steps=1)
    fit(both, SGD(lr=0.1), L1(0.02), L2(0.5), max_steps=1)
    for name, before in start.named_parameters():
        pull = 0.1 * (0.02 * before.sign() + 0.5 * before) if before.ndim > 1 else torch.zeros_like(before)
        torch.testing.assert_close(
            plain.get_parameter(name) - both.get_parameter(name), pull.detach(), rtol=1e-3, atol=1e-6
        )


def test_shrinks_the_weights_it_matches_and_no_others() -> None:
    def small(network: nn.Module, name: str) -> float:
        return (network.get_parameter(name).abs() < 0.02).float().mean().item()

    plain, sparse = make_mlp(), make_mlp()
    fit(plain, SGD(lr=0.3), max_epochs=6)
    fit(sparse, SGD(lr=0.3), L1(3e-3, match="backbone.0"), max_epochs=6)
    first, second = "backbone.0.linear.weight", "backbone.1.linear.weight"
    assert small(sparse, first) > small(plain, first) + 0.1
    assert abs(small(sparse, second) - small(plain, second)) < 0.05


def test_a_later_fit_without_it_is_without_it() -> None:
    module = make_mlp()
    technique = L1(1e-3)
    fit(module, technique, max_steps=2)
    assert module.penalties == {}
    fit(module, technique, max_steps=2)
    assert module.penalties == {}


def test_errors() -> None:
    with pytest.raises(ZooError, match="L1: strength must not be negative, got -1"):
        L1(-1)
    with pytest.raises(ZooError, match=r"L1: match='\(' is no regular expression"):
        L1(1, match="(")
    with pytest.raises(NoEffect, match="L1: strength is 0"):
        fit(make_mlp(), L1(0), max_steps=1)
    with pytest.raises(NoEffect, match=r"L1\[haed\]: no trainable matrix or filter of MLP has a name with 'haed'"):
        fit(make_mlp(), L1(1, match="haed"), max_steps=1)
    with pytest.raises(UnsupportedModule, match="L1 does not support BoringModel"):
        fit(BoringModel(), L1(1), max_steps=1)


def test_resumes_and_learns_in_company(tmp_path: Path) -> None:
    assert_resumes(lambda: [L1(1e-4)], tmp_path)
    assert accuracy_in_company(L1(1e-5)) > 0.93
