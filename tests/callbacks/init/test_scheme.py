import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from callbacks.init.constant import Constant
from callbacks.init.delta_orthogonal import DeltaOrthogonal
from callbacks.init.identity import Identity
from callbacks.init.kaiming_normal import KaimingNormal
from callbacks.init.kaiming_uniform import KaimingUniform
from callbacks.init.lecun_normal import LeCunNormal
from callbacks.init.lsuv import LSUV
from callbacks.init.normal import Normal
from callbacks.init.orthogonal import Orthogonal
from callbacks.init.scheme import InitScheme
from callbacks.init.truncated_normal import TruncatedNormal
from callbacks.init.uniform import Uniform
from callbacks.init.xavier_normal import XavierNormal
from callbacks.init.xavier_uniform import XavierUniform
from callbacks.init.zero_init_residual import ZeroInitResidual
from callbacks.technique import NoEffect, UnsupportedModule
from zoo.errors import ZooError
from zoo.module import ZooModule

SCHEMES: list[type[InitScheme]] = [
    Constant, DeltaOrthogonal, Identity, KaimingNormal, KaimingUniform, LeCunNormal, LSUV, Normal, Orthogonal,
    TruncatedNormal, Uniform, XavierNormal, XavierUniform,
]  # fmt: skip


class Threes(InitScheme):
    def init_(self, weight: Tensor) -> None:
        weight.fill_(3.0)


def parameters(module: nn.Module) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in module.named_parameters()}


def changed(before: dict[str, Tensor], module: nn.Module) -> set[str]:
    return {name for name, p in module.named_parameters() if not torch.equal(p, before[name])}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_each_scheme_fills_all_weights_zeroes_biases_and_leaves_norms(scheme, start, resnet) -> None:
    before = parameters(resnet)
    start(resnet, scheme())
    weights = {name for name, p in resnet.named_parameters() if p.ndim >= 2}
    assert changed(before, resnet) == weights | {"head.bias"}
    assert (resnet.head.bias == 0).all()


@pytest.mark.parametrize("scheme", SCHEMES)
def test_head_only_touches_the_head_alone(scheme, start, mlp) -> None:
    before = parameters(mlp)
    start(mlp, scheme(head_only=True))
    assert changed(before, mlp) == {"head.weight", "head.bias"}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_seed_decides(scheme, start, mlp) -> None:
    other = copy.deepcopy(mlp)
    for module, seed in ((mlp, 1), (other, 1)):
        torch.manual_seed(seed)
        start(module, scheme())
    assert not changed(parameters(mlp), other)


@pytest.mark.parametrize("scheme", [*SCHEMES, ZeroInitResidual])
def test_a_run_with_each_scheme_learns_something(scheme, trainer, resnet, data) -> None:
    technique = scheme()
    trainer(technique, max_epochs=1).fit(resnet, datamodule=data)  # NoEffect is checked at its end
    assert all(p.isfinite().all() for p in resnet.parameters())
    assert resnet.head.bias.abs().sum() > 0


def test_layers_is_searched_in_the_names(start, mlp) -> None:
    before = parameters(mlp)
    start(mlp, Threes(layers=r"\.[12]\.linear"))
    assert changed(before, mlp) == {f"backbone.{i}.linear.{kind}" for i in (1, 2) for kind in ("weight", "bias")}


def test_layers_and_head_only_both_have_to_hold(start, mlp) -> None:
    with pytest.raises(NoEffect, match=r"layers='backbone' matches nothing in MLP, which has: head$"):
        start(mlp, Threes(layers="backbone", head_only=True))


def test_matching_nothing_lists_layers(start, mlp) -> None:
    known = r"backbone.0.linear, backbone.1.linear, backbone.2.linear, head$"
    with pytest.raises(NoEffect, match=rf"Threes\(decoder\): layers='decoder' matches nothing in MLP, .*{known}"):
        start(mlp, Threes(layers="decoder"))


def test_a_long_list_of_layers_is_cut(start, resnet) -> None:
    with pytest.raises(NoEffect, match=r"has: (\S+, ){5}\.\.\.$"):
        start(resnet, Threes(layers="decoder"))


def test_a_pattern_that_is_none() -> None:
    with pytest.raises(ZooError, match=r"^Threes: layers='\(' is no regular expression: missing \)"):
        Threes(layers="(")


class Headless(ZooModule):
    def __init__(self) -> None:
        super().__init__()
        self.slope = nn.PReLU()


def test_head_only_without_a_head() -> None:
    module = Headless()
    Threes(head_only=True).attach(module)
    with pytest.raises(UnsupportedModule, match="asks for a layer called head, which Headless does not have"):
        module.initialize()


def test_a_module_without_weights_is_no_effect() -> None:
    module = Headless()
    Threes().attach(module)
    with pytest.raises(NoEffect, match="Threes has initialised nothing in Headless: it has no layers with weights"):
        module.initialize()


def test_pretrained_weights_are_refused(start, mlp) -> None:
    mlp.pretrained = {"backbone"}
    before = parameters(mlp)
    with pytest.raises(ZooError, match=r"pretrained weights of backbone \(backbone.0.linear, 3 .*head_only.*layers"):
        start(mlp, Threes())
    assert not changed(before, mlp)


@pytest.mark.parametrize("scheme", [Threes(head_only=True), Threes(layers="^head$")])
def test_the_new_head_of_a_pretrained_module_is_filled(scheme, start, mlp) -> None:
    mlp.pretrained = {"backbone"}
    before = parameters(mlp)
    start(mlp, scheme)
    assert changed(before, mlp) == {"head.weight", "head.bias"}


def test_a_pretrained_name_covers_what_is_below_it_only(start, mlp) -> None:
    mlp.pretrained = {"head", "back", "backbone.0"}
    before = parameters(mlp)
    start(mlp, Threes(layers="backbone.[12]"))
    assert len(changed(before, mlp)) == 4


def test_later_schemes_win_and_one_class_may_come_twice(start, mlp) -> None:
    start(mlp, Threes(), Constant(1.0, layers="1.linear"), Constant(2.0, head_only=True))
    assert mlp.backbone[0].linear.weight.unique().tolist() == [3.0]
    assert mlp.backbone[1].linear.weight.unique().tolist() == [1.0]
    assert mlp.head.weight.unique().tolist() == [2.0]


def test_a_second_fit_keeps_what_was_learnt(trainer, mlp, data) -> None:
    scheme = Orthogonal()
    trainer(scheme, max_epochs=1).fit(mlp, datamodule=data)
    learnt = parameters(mlp)
    trainer(scheme).fit(mlp, datamodule=data)
    assert not changed(learnt, mlp)
    trainer(scheme, max_epochs=1).fit(mlp, datamodule=data)  # no NoEffect either
    assert changed(learnt, mlp)


def test_a_checkpoint_wins_over_the_scheme(trainer, mlp, data, tmp_path: Path) -> None:
    fresh = copy.deepcopy(mlp)
    first = trainer(Orthogonal(), max_epochs=1)
    first.fit(mlp, datamodule=data)
    first.save_checkpoint(tmp_path / "last.ckpt")
    trainer(Threes(), max_epochs=1).fit(fresh, datamodule=data, ckpt_path=tmp_path / "last.ckpt")
    assert not changed(parameters(mlp), fresh)


def test_an_error_of_a_rule_names_scheme_and_layer(start, mlp) -> None:
    parametrizations.weight_norm(mlp.backbone[1].linear)
    with pytest.raises(ZooError, match=r"^Constant cannot fill backbone.1.linear: its weight is parametrised by"):
        start(mlp, Constant(0.0))


def test_a_module_of_parametrised_layers_alone_counts_as_initialised() -> None:
    module = Headless()
    module.head = parametrizations.weight_norm(nn.Linear(3, 3, bias=False))
    Threes().attach(module)
    module.initialize()
    torch.testing.assert_close(module.head.weight, torch.full((3, 3), 3.0))
