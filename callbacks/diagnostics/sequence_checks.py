"""Does a network read padding, or the future? Two forward passes that must agree, and where they first do not."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from zoo.batch import Batch
from zoo.layers.padding import padding_mask
from zoo.module import SupervisedModule
from zoo.rnn_language_model import CarriedState
from zoo.task import Forecasting, LanguageModeling

# Differences are held against how much the sequences of a batch differ, and against the size of the outputs, which
# rounding goes with: 1e-7 of it in fp32, 1e-2 in bf16. What is meant to be found is a share of 1e-2 to 1 of the first.
OF_SPREAD, OF_SIZE = (1e-3, 5e-2), (1e-5, 2e-2)  # single and half precision
ROWS = 4  # sequences that are looked at
PADDING = 8  # steps that are added where the sequences of a batch are all equally long


@runtime_checkable
class SaysCausal(Protocol):
    """A network that says whether its output at a step depends on the steps up to it alone."""

    causal: bool


@runtime_checkable
class CarriesState(Protocol):
    """A network whose states go on from batch to batch."""

    carried: dict[str, CarriedState]


class Finding(NamedTuple):
    """Two passes that should have agreed and did not."""

    row: int
    difference: float
    spread: float  # largest difference between two sequences within the first pass
    place: str

    def __str__(self) -> str:
        return (
            f"by {self.difference:.2g} in sequence {self.row} of the batch (sequences differ by {self.spread:.2g}),"
            f" which first shows in {self.place}"
        )


def read_padding(module: SupervisedModule, batch: Batch, multiple: int = 1) -> Finding | None:
    """Compare what the network says of short sequences on their own and padded to the length of their batch.

    Args:
        module: in evaluation mode.
        batch: sequences with ``lengths``, padded with zeros; the shortest ``ROWS`` of them are looked at.
        multiple: the number of steps of a batch is a multiple of this.

    Returns:
        None where the answers agree, but for rounding.
    """
    assert batch.lengths is not None
    rows = batch.lengths.argsort(stable=True)[:ROWS]
    padded = Batch(*[part[rows] if isinstance(part, Tensor) else part for part in batch])
    lengths, steps = batch.lengths[rows], padded.x.shape[1]
    shortest = -(-int(lengths.max()) // multiple) * multiple
    if shortest >= steps:
        steps = shortest + -(-PADDING // multiple) * multiple
    tight, padded = (padded._replace(x=_resized(padded.x, size)) for size in (shortest, steps))
    return compare(module, tight, padded, padding_mask(lengths, shortest))


def read_future(module: SupervisedModule, batch: Batch) -> Finding | None:
    """Change all steps behind a quarter, a half and almost all of them, and compare what is said of those before.

    Args:
        module: in evaluation mode, with an output at every step.
        batch: the first ``ROWS`` sequences are looked at; numbers (B, T, C) or tokens (B, T).
    """
    batch = Batch(*[part[:ROWS] if isinstance(part, Tensor) else part for part in batch])
    steps = batch.x.shape[1]
    step = torch.arange(steps, device=batch.x.device)
    valid = torch.ones(batch.size, steps, dtype=torch.bool, device=batch.x.device)
    if batch.lengths is not None:
        valid = padding_mask(batch.lengths, steps)
    for last in sorted({steps // 4, steps // 2, steps - 2} & set(range(steps - 1))):
        future = valid & (step > last)
        other = batch.x.where(~_like(future, batch.x), _changed(batch.x, module))
        finding = compare(module, batch, batch._replace(x=other), valid & (step <= last))
        if finding is not None:
            return finding
    return None


def read_targets(module: SupervisedModule, batch: Batch) -> Finding | None:
    """Change the targets of a forecast, which a decoder may be fed in training, and compare what is forecast."""
    batch = Batch(*[part[:ROWS] if isinstance(part, Tensor) else part for part in batch])
    return compare(module, batch, batch._replace(y=1 - 2 * batch.y), None)


def must_be_causal(module: SupervisedModule) -> bool:
    """Whether the network says that it is, or has to be since it predicts what comes next."""
    says = isinstance(module, SaysCausal) and bool(module.causal)
    return module.task.per_step and (says or isinstance(module.task, LanguageModeling))


def forecasts(module: SupervisedModule) -> bool:
    """Whether the targets are the future of the inputs."""
    return isinstance(module.task, Forecasting)


def compare(module: SupervisedModule, first: Batch, second: Batch, steps: Tensor | None) -> Finding | None:
    """Both batches must get the same outputs, at ``steps`` (B, T) where each step has one.

    A network that answers with one constant, as one with a last layer of zeros does, would pass whatever it reads:
    its weights are stirred first, so the caller puts them back.
    """
    seen, answers = _pass(module, first)
    if _spread(answers) == 0:
        for parameter in (p for p in module.parameters() if p.is_floating_point()):
            parameter.add_(0.1 * torch.randn_like(parameter))
        seen, answers = _pass(module, first)
    seen_again, again = _pass(module, second)
    difference = _difference(answers, again, steps if module.task.per_step else None)
    if difference is None:
        difference = torch.full((len(answers),), torch.inf)  # not even the shapes agree
    if float(difference.max()) <= _allowed(answers):
        return None
    row = int(difference.argmax())
    return Finding(row, float(difference[row]), _spread(answers), _blame(seen, seen_again, steps))


class _Call(NamedTuple):
    """One call of a layer: its first input and its first output, where these are tensors."""

    name: str
    kind: str
    given: Any
    said: Any


def _pass(module: SupervisedModule, batch: Batch) -> tuple[list[_Call], Tensor]:
    """Every layer's call in the order in which they end, and the network's answer."""
    with _watched(module) as calls, _from_rest(module):
        answers = module.forward_batch(batch)
    return calls, answers


@contextmanager
def _watched(module: nn.Module) -> Iterator[list[_Call]]:
    calls: list[_Call] = []

    def note(name: str) -> Any:
        def hook(layer: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            calls.append(_Call(name, type(layer).__name__, inputs[0] if inputs else None, _tensor(output)))

        return hook

    handles = [layer.register_forward_hook(note(name)) for name, layer in module.named_modules() if name]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _from_rest(module: nn.Module) -> Iterator[None]:
    """Within it a state that is carried from batch to batch is zero; behind it, what it was."""
    carried = list(module.carried.values()) if isinstance(module, CarriesState) else []
    before = [(state.start, state.end) for state in carried]
    for state in carried:
        state.restart()
    try:
        yield
    finally:
        for state, (start, end) in zip(carried, before):
            state.start, state.end = start, end


def _blame(first: list[_Call], second: list[_Call], steps: Tensor | None) -> str:
    """The first layer that differs between two passes, or what it is given."""
    for one, other in zip(first, second):
        if _differs(one.given, other.given, steps):
            return f"what is given to {one.name} ({one.kind})"
        if _differs(one.said, other.said, steps):
            return f"{one.name} ({one.kind})"
    return "the output itself"


def _differs(first: Any, second: Any, steps: Tensor | None) -> bool:
    if not isinstance(first, Tensor) or not isinstance(second, Tensor) or first.dtype == torch.bool:
        return False
    difference = _difference(first, second, steps)
    return difference is not None and float(difference.max()) > _allowed(first)


def _spread(x: Tensor) -> float:
    """The largest difference between two rows; the size of a single one."""
    x = x.cpu().double()
    return float((x.amax(0) - x.amin(0) if len(x) > 1 else x.abs()).max())


def _allowed(x: Tensor) -> float:
    """The difference from x that rounding may make."""
    half = x.is_floating_point() and x.element_size() < 4
    return OF_SPREAD[half] * _spread(x) + OF_SIZE[half] * float(x.abs().max())


def _difference(first: Tensor, second: Tensor, steps: Tensor | None) -> Tensor | None:
    """Largest difference in each row, (B,), at ``steps`` (B, T) where there is a dimension of steps; None: no telling.

    The dimension of steps is the one that is longer in the second, or else one that is as long as ``steps``.
    """
    unequal = [d for d, (a, b) in enumerate(zip(first.shape, second.shape)) if a != b]
    if first.ndim != second.ndim or len(unequal) > 1 or unequal == [0] or not first.numel():
        return None
    first, second = first.cpu().double(), second.cpu().double()  # some devices have no doubles
    steps = None if steps is None else steps.cpu()
    size = 0 if steps is None else steps.shape[1]
    over = unequal or [d for d in range(1, first.ndim) if first.shape[d] == size][:1]
    if over:
        first, second = first.movedim(over[0], 1), second.movedim(over[0], 1)
        if steps is None or first.shape[:2] != steps.shape or second.shape[1] < size:
            return None
        first, second = (x.where(_like(steps, x), 0) for x in (first, second[:, :size]))
    return (first - second).abs().reshape(len(first), -1).amax(1).nan_to_num(torch.inf)


def _like(mask: Tensor, x: Tensor) -> Tensor:
    """A mask (B, T) with as many dimensions as x (B, T, ...)."""
    return mask.reshape(*mask.shape, *[1] * (x.ndim - 2))


def _changed(x: Tensor, module: SupervisedModule) -> Tensor:
    """Other inputs of the same kind: the next token, or 1 - 2 x, which leaves nothing but 1/3 as it was."""
    if x.is_floating_point():
        return 1 - 2 * x
    size = module.task.out_features if isinstance(module.task, LanguageModeling) else int(x.max()) + 1
    return (x + 1) % size


def _resized(x: Tensor, steps: int) -> Tensor:
    """x (B, T, ...) with zeros behind it, or cut off, to so many steps."""
    missing = steps - x.shape[1]
    return x[:, :steps] if missing <= 0 else torch.cat([x, x.new_zeros(len(x), missing, *x.shape[2:])], 1)


def _tensor(output: Any) -> Any:
    return output[0] if isinstance(output, tuple) and output else output
