"""The plug-in contract: a technique fills slots of a module it supports, and refuses to do nothing."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, Literal, TypeVar

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from zoo.batch import Batch, Inputs
from zoo.errors import ZooError
from zoo.module import BatchTransform, Initializer, OptimizerWrapper, Penalty, SupervisedModule, ZooModule
from zoo.task import Classification, Output, Regression, Task

_T = TypeVar("_T")


class UnsupportedModule(ZooError):
    """A technique was given a module that lacks what it plugs into; names both."""


class NoEffect(ZooError):
    """A technique was attached and changed nothing: a filter that matches no layer, a strength of zero."""


class Conflict(ZooError):
    """Two techniques want one slot; names both and what to drop."""


class Technique(Callback):
    """Base of all techniques: a Lightning callback that plugs one training idea into a module's slots.

    A subclass stores its arguments in ``__init__``, names what it needs in ``supports`` and fills slots in
    ``attach`` through ``plug`` and ``claim``, which also watch whether it ever acts. A technique that acts elsewhere
    (on gradients, in a hook) calls ``acted`` when it has changed something.

    Attributes:
        supports: the class, or runtime-checkable protocol, that a module must satisfy.
        inputs: the kinds of inputs that it can work on, of which a family has to take one; empty for all.
        tasks: the tasks that it is for; empty for all.
        rivals: class names of the callbacks beside which it cannot stand in a fit, subclasses included.
        rivalry: why not, in a few words.
        patience: training batches within which the technique has to act before ``NoEffect`` is raised.
        selects: the logged quantity by which the run's best epoch is chosen, with "min" or "max"; None leaves that to
            the task.
    """

    supports: ClassVar[type] = ZooModule
    inputs: ClassVar[tuple[Inputs, ...]] = ()
    tasks: ClassVar[tuple[type[Task], ...]] = ()
    rivals: ClassVar[tuple[str, ...]] = ()
    rivalry: ClassVar[str] = ""
    patience: int = 8
    selects: tuple[str, Literal["min", "max"]] | None = None
    _has_acted: bool = False
    _batches_seen: int = 0
    _displaced: dict[str, Any] = {}  # noqa: RUF012  never changed here: what claimed slots held before

    @property
    def name(self) -> str:
        """The key of this technique in the slots, and its name in messages."""
        return type(self).__name__

    def attach(self, module: ZooModule) -> None:
        """Fill slots of ``module``; called once a fit, before weights are restored and optimizers exist."""
        raise NotImplementedError

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage != "fit":
            return
        if not isinstance(pl_module, ZooModule) or not isinstance(pl_module, self.supports):
            raise self._unsupported(pl_module, self.supports)
        self._require_inputs_and_task(pl_module)
        for other in trainer.callbacks:  # type: ignore[attr-defined]
            if other is not self:
                self._require_peace(other)
        self._has_acted, self._batches_seen = False, 0
        self._or_blame_freezers(pl_module, lambda: self.attach(pl_module))

    def _unsupported(self, module: LightningModule, needed: type) -> UnsupportedModule:
        return UnsupportedModule(
            f"{self.name} does not support {type(module).__name__}: it needs a {needed.__name__}; drop {self.name} or"
            " choose another model"
        )

    def _require_inputs_and_task(self, module: ZooModule) -> None:
        if self.inputs and module.takes and not set(self.inputs) & set(module.takes):
            raise UnsupportedModule(
                f"{self.name} does not support {type(module).__name__}: it works on {' or '.join(self.inputs)}, not on"
                f" {' or '.join(module.takes)}; drop {self.name} or choose another model"
            )
        if self.tasks and isinstance(module, SupervisedModule) and not isinstance(module.task, self.tasks):
            raise UnsupportedModule(
                f"{self.name} does not support the task {type(module.task).__name__}; use"
                f" {' or '.join(task.__name__ for task in self.tasks)}, or drop {self.name}"
            )

    def _require_peace(self, other: Callback) -> None:
        if isinstance(other, Technique) and other.name == self.name:
            raise Conflict(f"{self.name} stands twice in the list of callbacks; drop one of them")
        if any(cls.__name__ in self.rivals for cls in type(other).__mro__):
            raise Conflict(
                f"{self.name} and {type(other).__name__} do not go together: {self.rivalry}; drop one of them"
            )

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit" and isinstance(pl_module, ZooModule):
            self.detach(pl_module)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        # Lightning leaves out teardown when a fit fails.
        if isinstance(pl_module, ZooModule):
            self.detach(pl_module)

    def detach(self, module: ZooModule) -> None:
        """Leave every slot as it was found, so that a later fit without this technique is without it."""
        module.initializers.pop(self.name, None)
        module.batch_transforms.pop(self.name, None)
        module.penalties.pop(self.name, None)
        module.optimizer_wrappers.pop(self.name, None)
        module.frozen.pop(self.name, None)
        for claimed in [slot for slot, owner in module.slot_owners.items() if owner == self.name]:
            del module.slot_owners[claimed]
            slot_name, _, key = claimed.partition(".")
            before = self._displaced.pop(claimed, None)
            if key and before is None:
                getattr(module, slot_name).pop(key, None)
            elif key:
                getattr(module, slot_name)[key] = before
            elif before is not None:
                setattr(module, slot_name, before)

    def acted(self) -> None:
        """Note that the technique has changed something."""
        self._has_acted = True

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        # A subclass that needs this hook calls super().
        self._batches_seen += 1
        if self._batches_seen >= self.patience and not self._has_acted and not _thaws(pl_module):
            self.require_effect(self._batches_seen, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._batches_seen:
            self.require_effect(self._batches_seen, pl_module)

    def require_effect(self, batches: int, module: LightningModule | None = None) -> None:
        """Raise ``NoEffect`` unless the technique has acted, or ``Conflict`` where ``module`` was frozen by another."""
        if self._has_acted:
            return
        error = NoEffect(
            f"{self.name} has changed nothing in the first {batches} training batches; {self.no_effect_hint()}"
        )
        frozen = self._frozen_by_others(module)
        raise self._conflict_with(frozen, error) if frozen else error

    def _or_blame_freezers(self, module: ZooModule, attempt: Callable[[], _T]) -> _T:
        """Make an attempt; that it fails only because another technique has frozen parameters is a ``Conflict``."""
        try:
            return attempt()
        except (NoEffect, UnsupportedModule) as error:
            frozen = self._frozen_by_others(module)
            names = [name for of_one in frozen.values() for name in of_one]
            parameters = [p for name, p in module.named_parameters() if name in names and not p.requires_grad]
            for parameter in parameters:
                parameter.requires_grad_(True)
            try:
                attempt()
            except ZooError:
                raise error from None  # it would have failed anyway
            finally:
                for parameter in parameters:
                    parameter.requires_grad_(False)
            if not parameters:
                raise
            raise self._conflict_with(frozen, error) from error

    def _frozen_by_others(self, module: LightningModule | None) -> dict[str, list[str]]:
        frozen = module.frozen if isinstance(module, ZooModule) else {}
        return {name: of_one.names for name, of_one in frozen.items() if name != self.name and of_one.names}

    def _conflict_with(self, frozen: dict[str, list[str]], error: ZooError) -> Conflict:
        return Conflict(
            f"{' and '.join(frozen)} leaves {self.name} nothing to act on; drop one of them, or freeze less ({error})"
        )

    def no_effect_hint(self) -> str:
        """What a user should look at when the technique did nothing."""
        return f"check its strength and its filters, or drop {self.name}"

    # Slots that techniques share ------------------------------------------------------------------------------------

    def add_initializer(self, module: ZooModule, function: Initializer) -> None:
        """Fill weights before training; acts when any parameter was written to."""

        def watched(module: ZooModule) -> None:
            before = _versions(module)
            function(module)
            if _versions(module) == before:
                raise NoEffect(
                    f"{self.name} has initialised nothing in {type(module).__name__}: {self.no_effect_hint()}"
                )
            self.acted()

        module.initializers[self.name] = watched
        if self.name in module.initialized:  # a second fit keeps what the first has learnt
            self.acted()

    def add_batch_transform(self, module: ZooModule, function: BatchTransform) -> None:
        """Change training batches; acts when a batch comes back as another object."""
        if not isinstance(module, SupervisedModule):  # the only family whose loop reads this slot
            raise self._unsupported(module, SupervisedModule)

        def watched(module: ZooModule, batch: Batch) -> Batch:
            changed = function(module, batch)
            if changed is not batch:
                self.acted()
            return changed

        module.batch_transforms[self.name] = watched

    def add_penalty(self, module: ZooModule, function: Penalty) -> None:
        """Add a scalar to the loss; acts when that scalar has a gradient."""
        if not isinstance(module, SupervisedModule):  # a game has two losses, with slots of their own
            raise self._unsupported(module, SupervisedModule)

        def watched(module: ZooModule, batch: Batch, output: Output) -> Tensor:
            penalty = function(module, batch, output)
            if penalty.requires_grad:
                self.acted()
            return penalty

        module.penalties[self.name] = watched

    def add_optimizer_wrapper(self, module: ZooModule, function: OptimizerWrapper) -> None:
        """Wrap every optimizer; acts when it was asked to."""
        module.optimizer_wrappers[self.name] = self._watch(function)

    # Slots with room for one ----------------------------------------------------------------------------------------

    def claim(self, module: ZooModule, slot: str, function: Callable[..., Any], key: str | None = None) -> None:
        """Take a slot with room for one: ``objective``, or ``optimizer_factories`` of the network ``key``."""
        place = slot if key is None else f"{slot}.{key}"
        owner = module.slot_owners.get(place)
        if owner is not None and owner != self.name:
            raise Conflict(f"{owner} and {self.name} both want the slot {place}; drop one of them")
        if key is not None and key not in module.networks():
            names = ", ".join(module.networks())
            raise UnsupportedModule(
                f"{self.name}: {type(module).__name__} has no network called {key!r}; it has: {names}"
            )
        module.slot_owners[place] = self.name
        if owner is None:
            before = getattr(module, slot)
            self._displaced = {**self._displaced, place: before if key is None else before.get(key)}

        def careful(*args: Any) -> Any:
            return self._or_blame_freezers(module, lambda: function(*args))

        if key is None:
            setattr(module, slot, self._watch(function))
        else:
            getattr(module, slot)[key] = self._watch(careful)

    def _watch(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*args: Any) -> Any:
            self.acted()
            return function(*args)

        return watched


class EvaluationTechnique(Technique, ABC):
    """Base of the techniques that change what a network says in validation, test and prediction, and not its training.

    A subclass gives ``answer``. The slot has room for one of them.
    """

    supports = SupervisedModule
    tasks = (Classification, Regression)  # what ``combine`` averages: class probabilities and real values

    @abstractmethod
    def answer(self, module: SupervisedModule, batch: Batch, index: int) -> Tensor:
        """The raw prediction (B, out) for a batch, which is the ``index``-th of its loader."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        # Every stage evaluates: the same checks and the same slot as while fitting.
        super().setup(trainer, pl_module, "fit")

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        super().teardown(trainer, pl_module, "fit")

    def attach(self, module: ZooModule) -> None:
        self.claim(module, "answer", self.answer)
        self.acted()  # what it does shows in evaluation, not in training batches


def _thaws(module: LightningModule) -> bool:
    """Whether parameters are frozen whose turn to be trained will come."""
    return isinstance(module, ZooModule) and any(frozen.for_now for frozen in module.frozen.values())


def _versions(module: ZooModule) -> list[int]:
    """Counters that torch raises whenever a tensor is written to in place."""
    return [tensor._version for tensor in [*module.parameters(), *module.buffers()]]
