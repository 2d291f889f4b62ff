"""The plug-in contract, held by tiny techniques: support, effect, conflict, and leaving no trace."""

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.demos.boring_classes import BoringModel
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from callbacks.technique import Conflict, NoEffect, Technique, UnsupportedModule
from tests.tools import quiet_trainer
from zoo.cnn import LeNet
from zoo.mlp import MLP
from zoo.module import SupervisedModule, ZooModule, task_objective
from zoo.task import Classification

BATCHES = 10
X = torch.rand(BATCHES * 4, 6, generator=torch.Generator().manual_seed(0))
Y = torch.arange(BATCHES * 4) % 3


def make_mlp() -> MLP:
    torch.manual_seed(0)
    return MLP(6, Classification(3), hidden=[5])


def fit(module: Any, *callbacks: Callback, **settings: Any) -> Trainer:
    trainer = quiet_trainer(callbacks=list(callbacks), **settings)
    trainer.fit(module, DataLoader(TensorDataset(X, Y), batch_size=4))
    return trainer


def slots(module: SupervisedModule) -> tuple[Any, ...]:
    shared = (module.initializers, module.batch_transforms, module.penalties, module.optimizer_wrappers)
    single = (module.optimizer_factories, module.schedule_factories, module.slot_owners)
    return (*[dict(slot) for slot in (*shared, *single)], module.objective)


class Plug(Technique):
    """A technique whose ``attach`` is given."""

    def __init__(self, how: Callable[["Plug", ZooModule], None], name: str = "Plug") -> None:
        self.how, self.title = how, name

    @property
    def name(self) -> str:
        return self.title

    def attach(self, module: ZooModule) -> None:
        self.how(self, module)


@torch.no_grad()
def halve(module: ZooModule) -> None:
    for parameter in module.parameters():
        parameter.mul_(0.5)


def decay(module: Any, batch: Any = None, output: Any = None) -> Tensor:
    return sum((p.square().sum() for p in module.parameters()), torch.zeros(()))


def decayed_loss(module: SupervisedModule, batch: Any) -> Any:
    output = task_objective(module, batch)
    return output._replace(loss=output.loss + decay(module, batch, output))


def sgd(network: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(network.parameters(), lr=0.1)


def by_hand(optimizer: torch.optim.Optimizer, total: int) -> Any:
    return torch.optim.lr_scheduler.ConstantLR(optimizer)


WAYS: dict[str, Callable[[Plug, ZooModule], None]] = {
    "initializer": lambda t, m: t.add_initializer(m, halve),
    "transform": lambda t, m: t.add_batch_transform(m, lambda m, b: b._replace(x=b.x + 1)),
    "penalty": lambda t, m: t.add_penalty(m, decay),
    "wrapper": lambda t, m: t.add_optimizer_wrapper(m, lambda o: torch.optim.Rprop(o.param_groups)),
    "objective": lambda t, m: t.claim(m, "objective", decayed_loss),
    "factory": lambda t, m: t.claim(m, "optimizer_factories", sgd, "network"),
    "schedule": lambda t, m: t.claim(m, "schedule_factories", by_hand, "network"),
}


# Leaving no trace -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
def test_detached_after_a_fit(way: str) -> None:
    module = make_mlp()
    before = slots(module)
    fit(module, Plug(WAYS[way]))
    assert slots(module) == before


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("hook", ["on_fit_start", "on_train_batch_start"])
def test_detached_after_an_exception(way: str, hook: str) -> None:
    def fail(*args: Any) -> None:
        raise RuntimeError("power cut")

    cut = Callback()
    setattr(cut, hook, fail)
    module = make_mlp()
    before = slots(module)
    with pytest.raises(RuntimeError, match="power cut"):
        fit(module, Plug(WAYS[way]), cut)
    assert slots(module) == before


@pytest.mark.parametrize("way", ["transform", "penalty", "objective", "factory"])
def test_a_second_fit_is_with_or_without_it_as_asked(way: str) -> None:
    def train(*rounds: bool) -> Tensor:
        module = make_mlp()
        technique = Plug(WAYS[way])
        for wanted in rounds:
            fit(module, *[technique] * wanted)
        return module.head.weight.detach().clone()

    assert not torch.equal(train(True), train(False))
    for first in (True, False):
        with_it, without = train(first, True), train(first, False)
        assert not torch.equal(with_it, without)
    # After a fit with it, a fit without it does what a module would do that never knew it.
    module, other = make_mlp(), make_mlp()
    fit(module, Plug(WAYS[way]))
    other.load_state_dict(module.state_dict())
    fit(module)
    fit(other)
    assert torch.equal(module.head.weight, other.head.weight)


@pytest.mark.parametrize(("slot", "way"), [("optimizer_factories", "factory"), ("schedule_factories", "schedule")])
def test_what_was_set_by_hand_comes_back(slot: str, way: str) -> None:
    module = make_mlp()
    own: Any = (lambda n: torch.optim.Adagrad(n.parameters())) if way == "factory" else by_hand
    getattr(module, slot)["network"] = own
    fit(module, Plug(WAYS[way]))
    assert getattr(module, slot) == {"network": own}


def test_a_second_fit_keeps_what_an_initialiser_filled() -> None:
    module = make_mlp()
    technique = Plug(WAYS["initializer"])
    before = module.head.weight.detach().clone()
    fit(module, technique, max_epochs=0)
    assert torch.equal(module.head.weight, before / 2)
    fit(module, technique, max_epochs=0)
    assert torch.equal(module.head.weight, before / 2)
    fit(module, technique)  # nor is it NoEffect


# Effect ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "idle",
    [
        lambda t, m: None,
        lambda t, m: t.add_batch_transform(m, lambda m, batch: batch),
        lambda t, m: t.add_penalty(m, lambda m, batch, output: torch.zeros(())),
    ],
)
@pytest.mark.parametrize("batches", [1, 3, BATCHES])
def test_a_technique_that_changes_nothing(idle: Callable[[Plug, ZooModule], None], batches: int) -> None:
    seen = min(batches, Technique.patience)
    message = rf"^Plug has changed nothing in the first {seen} training batches; check its strength and its filters, or"
    with pytest.raises(NoEffect, match=message):
        fit(make_mlp(), Plug(idle), limit_train_batches=batches)


def test_an_initialiser_that_fills_nothing() -> None:
    with pytest.raises(NoEffect, match=r"^Plug has initialised nothing in MLP: check its strength"):
        fit(make_mlp(), Plug(lambda t, m: t.add_initializer(m, lambda m: None)))


def test_acting_once_within_patience_is_enough() -> None:
    class Once(Plug):
        when = 0

        def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
            if batch_idx == self.when:
                self.acted()

    technique = Once(lambda t, m: None)
    technique.when = Technique.patience - 1
    fit(make_mlp(), technique)
    technique.when = Technique.patience
    with pytest.raises(NoEffect):
        fit(make_mlp(), technique)


def test_no_batches_are_no_complaint() -> None:
    fit(make_mlp(), Plug(lambda t, m: None), max_epochs=0)


def test_effect_is_asked_for_in_every_fit() -> None:
    technique, ways = Plug(lambda t, m: ways.pop()(t, m)), [lambda t, m: None, WAYS["penalty"]]
    fit(make_mlp(), technique)
    with pytest.raises(NoEffect):
        fit(make_mlp(), technique)


# Support --------------------------------------------------------------------------------------------------------------


@runtime_checkable
class HasFlights(Protocol):
    """Something that no module here has."""

    flights: int


@runtime_checkable
class HasHead(Protocol):
    head: nn.Module


class NeedsHead(Plug):
    supports = HasHead


class NeedsFlights(Plug):
    supports = HasFlights


class NeedsLeNet(Plug):
    supports = LeNet


@pytest.mark.parametrize(("kind", "needs"), [(NeedsFlights, "HasFlights"), (NeedsLeNet, "LeNet")])
def test_an_unsupported_module_names_both(kind: type[Plug], needs: str) -> None:
    message = rf"^Plug does not support MLP: it needs a {needs}; drop Plug or choose another model$"
    with pytest.raises(UnsupportedModule, match=message):
        fit(make_mlp(), kind(WAYS["penalty"]))


def test_any_module_with_the_attributes_of_a_protocol_will_do() -> None:
    fit(make_mlp(), NeedsHead(WAYS["penalty"]))


def test_a_module_from_elsewhere() -> None:
    with pytest.raises(UnsupportedModule, match=r"^Plug does not support BoringModel: it needs a ZooModule; drop Plug"):
        fit(BoringModel(), Plug(WAYS["penalty"]))


def test_only_training_asks_for_support() -> None:
    loader = DataLoader(TensorDataset(X, Y), batch_size=4)
    trainer = quiet_trainer(callbacks=[NeedsFlights(WAYS["penalty"])])
    trainer.validate(make_mlp(), loader, verbose=False)
    trainer.test(make_mlp(), loader, verbose=False)
    trainer.predict(make_mlp(), loader)


# Conflict -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("way", "place"),
    [
        ("objective", "objective"),
        ("factory", "optimizer_factories.network"),
        ("schedule", "schedule_factories.network"),
    ],
)
def test_two_owners_of_one_slot(way: str, place: str) -> None:
    module = make_mlp()
    before = slots(module)
    with pytest.raises(Conflict, match=rf"^First and Second both want the slot {place}; drop one of them$"):
        fit(module, Plug(WAYS[way], "First"), Plug(WAYS[way], "Second"))
    assert slots(module) == before


def test_a_network_that_the_module_does_not_have() -> None:
    with pytest.raises(UnsupportedModule, match=r"^Plug: MLP has no network called 'critic'; it has: network$"):
        fit(make_mlp(), Plug(lambda t, m: t.claim(m, "optimizer_factories", sgd, "critic")))


def test_two_instances_of_different_names_both_act() -> None:
    def train(*strengths: float) -> Tensor:
        def penalise(strength: float) -> Callable[[Plug, ZooModule], None]:
            return lambda t, m: t.add_penalty(m, lambda m, b, o: strength * decay(m.head))

        module = make_mlp()
        fit(module, *[Plug(penalise(s), f"Plug{n}") for n, s in enumerate(strengths)])
        return module.head.weight.detach()

    torch.testing.assert_close(train(0.1, 0.3), train(0.4))
    assert not torch.allclose(train(0.1, 0.3), train(0.3), atol=1e-4)


# Without the command line ---------------------------------------------------------------------------------------------


def test_a_plain_trainer_and_plain_loaders(tmp_path: Any, capfd: pytest.CaptureFixture[str]) -> None:
    module = make_mlp()
    trainer = Trainer(max_epochs=1, accelerator="cpu", default_root_dir=tmp_path, callbacks=[Plug(WAYS["objective"])])
    loader = DataLoader(TensorDataset(X, Y), batch_size=4)
    trainer.fit(module, loader, loader)
    plain = make_mlp()
    fit(plain)
    assert not torch.equal(plain.head.weight, module.head.weight)
    assert module.objective is task_objective
    assert list(tmp_path.rglob("*.ckpt"))
