"""Freezing: what stays to the bit, what trains, and that all is as it was afterwards."""

from pathlib import Path

import pytest
import torch
from lightning.pytorch.demos.boring_classes import BoringModel
from torch import nn

from callbacks.finetuning.freeze import Freeze, matching_modules
from callbacks.finetuning.frozen import FrozenParts
from callbacks.optimizers.adamw import AdamW
from callbacks.technique import NoEffect, UnsupportedModule
from tests.callbacks.technique_checks import accuracy_in_company, assert_resumes, assert_same, copy, fit, make_mlp
from zoo.errors import ZooError


def test_matching_modules_hold_what_is_within_them() -> None:
    import re

    found = matching_modules(make_mlp(), re.compile(r"^backbone\.0$"))
    assert set(found) == {f"backbone.0{part}" for part in ("", ".linear", ".norm", ".activation", ".dropout")}


def test_frozen_parts_undo_what_they_did_and_no_more() -> None:
    network = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Linear(2, 2))
    network[0].weight.requires_grad_(False)
    parts = FrozenParts()
    parts.freeze(network.parameters())
    parts.hold_statistics(network.modules())
    assert not any(p.requires_grad for p in network.parameters())
    assert not network[1].training
    parts.undo()
    assert [p.requires_grad for p in network.parameters()] == [False, True, True, True, True, True]
    assert network[1].training


def test_backbone_and_its_statistics_stay_to_the_bit() -> None:
    module, start = make_mlp(), copy(make_mlp())
    trainer = fit(module, AdamW(), Freeze(), max_epochs=2)
    end = copy(module)
    frozen = {name for name in start if name.startswith("backbone.")}
    assert any("running_mean" in name for name in frozen)
    assert_same({name: start[name] for name in frozen}, {name: end[name] for name in frozen})
    assert not torch.equal(start["head.weight"], end["head.weight"])
    assert {id(p) for group in trainer.optimizers[0].param_groups for p in group["params"]} == {
        id(p) for p in module.head.parameters()
    }


def test_statistics_follow_the_data_when_asked_to() -> None:
    module, start = make_mlp(), copy(make_mlp())
    fit(module, Freeze(hold_statistics=False), max_epochs=1)
    assert not torch.equal(start["backbone.0.norm.running_mean"], module.state_dict()["backbone.0.norm.running_mean"])
    assert torch.equal(start["backbone.0.norm.weight"], module.state_dict()["backbone.0.norm.weight"])


def test_all_is_trainable_after_the_fit() -> None:
    module, technique = make_mlp(), Freeze(r"^backbone\.0")
    for _ in range(2):
        before = copy(module)
        fit(module, technique, max_epochs=1)
        assert all(p.requires_grad for p in module.parameters())
        assert all(m.training for m in module.modules() if isinstance(m, nn.BatchNorm1d))
        assert torch.equal(before["backbone.0.linear.weight"], module.state_dict()["backbone.0.linear.weight"])
        assert not torch.equal(before["backbone.1.linear.weight"], module.state_dict()["backbone.1.linear.weight"])


def test_errors() -> None:
    with pytest.raises(ZooError, match="is no regular expression"):
        Freeze("(")
    with pytest.raises(NoEffect, match=r"no trainable submodule of MLP has a name with 'stem' in it; .*backbone, head"):
        fit(make_mlp(), Freeze("stem"), max_steps=1)
    with pytest.raises(ZooError, match="every trainable parameter of MLP; leave out the head"):
        fit(make_mlp(), Freeze("backbone|head"), max_steps=1)
    with pytest.raises(UnsupportedModule, match="does not support BoringModel"):
        fit(BoringModel(), Freeze(), max_steps=1)


def test_resumes_and_learns_in_company(tmp_path: Path) -> None:
    assert_resumes(lambda: [Freeze(r"^backbone\.0$")], tmp_path)
    assert accuracy_in_company(Freeze(r"^backbone\.0$")) > 0.9
