"""The pieces that ``zoo check`` looks at when no recipe is named: every family and every loss, at tiny sizes."""

import importlib
import inspect
import pkgutil
import typing
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

import zoo
from zoo import losses
from zoo.batch import Batch
from zoo.errors import ZooError
from zoo.gradient_check import Checked, check_gradients
from zoo.losses.base import ClassificationLoss, Loss, MultiLabelLoss, RegressionLoss
from zoo.module import SupervisedModule, ZooModule
from zoo.task import Classification, Forecasting, LanguageModeling, MultiLabel, Regression, Task, Translation

CLASSES, SAMPLES, STEPS = 3, 4, 8
# Above so many numbers a full Jacobian takes longer than a person waits; random directions then have to do.
FULL_BELOW = 600
# What a family gets for arguments of these names; smooth where there is a choice.
TINY: dict[str, Any] = {
    "in_features": 5, "in_channels": 1, "image_size": 8, "width": 4, "heads": 2, "members": 2, "resolution": 3,
    "embedding_size": 2, "num_channels": 1, "window": 9, "segment": 3, "kernel": 3, "vocabulary_size": 5,
    "patch": 3, "stride": 2, "context": 8, "dropout": 0.0, "activation": "tanh", "pool": "avg", "downsample": "stride",
}  # fmt: skip
# What is a list in some families, with an entry for each layer, and one number in others.
TINY_LAYERS = {"blocks": 1, "hidden": 4, "layers": 1}
# Families and losses that cannot be checked like that, and why.
LEFT_OUT = {
    "PretrainedBackbone": "the network is torchvision's",
    "BetaNLL": "its weights are held fixed in the backward pass, so its gradient is not the slope of its value",
}
# torch's losses that tasks take.
TORCH_LOSSES: dict[type[Task], dict[str, nn.Module]] = {
    Classification: {
        "CrossEntropyLoss": nn.CrossEntropyLoss(),
        "CrossEntropyLoss, label smoothing 0.1": nn.CrossEntropyLoss(label_smoothing=0.1),
        "MultiMarginLoss": nn.MultiMarginLoss(),
    },
    MultiLabel: {
        "BCEWithLogitsLoss": nn.BCEWithLogitsLoss(),
        "MultiLabelSoftMarginLoss": nn.MultiLabelSoftMarginLoss(),
    },
    Regression: {
        "MSELoss": nn.MSELoss(),
        "L1Loss": nn.L1Loss(),
        "SmoothL1Loss": nn.SmoothL1Loss(),
        "HuberLoss": nn.HuberLoss(),
        "PoissonNLLLoss": nn.PoissonNLLLoss(),
    },
}
KIND_OF_TASK: dict[type[Loss], type[Task]] = {
    ClassificationLoss: Classification, MultiLabelLoss: MultiLabel, RegressionLoss: Regression,
}  # fmt: skip


class Row(NamedTuple):
    """One line of the table: what was checked, and what came of it or why nothing did."""

    what: str
    result: Checked | None
    why_not: str = ""


def family_classes() -> list[type[ZooModule]]:
    """Every family that a user may choose: the subclasses of ZooModule in ``zoo/`` that no other builds on."""
    found = []
    for info in pkgutil.iter_modules(zoo.__path__, "zoo."):
        if not info.name.startswith(("zoo.cli", "zoo.__main__", "zoo._")):
            module = importlib.import_module(info.name)
            found += [c for _, c in inspect.getmembers(module, inspect.isclass) if c.__module__ == info.name]
    families = [cls for cls in found if issubclass(cls, ZooModule) and cls not in (ZooModule, SupervisedModule)]
    return [cls for cls in families if not any(cls in other.__mro__[1:] for other in families)]


def tiny(family: type[SupervisedModule], task: Task) -> SupervisedModule:
    """A family at a size at which every parameter can be moved; ZooError where an argument has no tiny value."""
    arguments: dict[str, Any] = {}
    for name, parameter in inspect.signature(family).parameters.items():
        if name == "task":
            arguments[name] = task
        elif name in TINY_LAYERS:
            value = TINY_LAYERS[name]
            arguments[name] = [value] if "list" in str(parameter.annotation) else value
        elif name in TINY and _allowed(TINY[name], parameter.annotation):
            arguments[name] = TINY[name]
        elif parameter.default is parameter.empty:
            raise ZooError(f"{family.__name__}: zoo check knows no tiny value for {name}; add one to TINY")
    return family(**arguments)


def _allowed(value: object, annotation: Any) -> bool:
    choices = typing.get_args(annotation) if typing.get_origin(annotation) is typing.Literal else ()
    return not choices or value in choices


def tasks_of(family: type[SupervisedModule]) -> list[Task]:
    """Tasks that a family takes, as its constructor says: one of its own, or any."""
    own = inspect.signature(family).parameters["task"].annotation
    if own is Forecasting:
        return [Forecasting(1, horizon=3)]
    if own is LanguageModeling:
        return [LanguageModeling(TINY["vocabulary_size"])]
    if own is Translation:
        return [Translation(TINY["vocabulary_size"])]
    return [Classification(CLASSES), Regression(1)]


def targets(task: Task) -> Tensor:
    """Targets of a few samples, positive where they are values, so that every loss is defined for them."""
    if isinstance(task, Forecasting):
        return torch.linspace(0.5, 2.0, SAMPLES * task.horizon, dtype=torch.double).reshape(SAMPLES, task.horizon, 1)
    if isinstance(task, LanguageModeling | Translation):
        return torch.arange(SAMPLES * STEPS).reshape(SAMPLES, STEPS) % task.num_classes
    if isinstance(task, Classification):
        return torch.arange(SAMPLES) % task.num_classes
    if isinstance(task, MultiLabel):
        return (torch.arange(SAMPLES * task.num_classes).reshape(SAMPLES, -1) % 2).double()
    return torch.linspace(0.5, 2.0, SAMPLES, dtype=torch.double)


def check_family(family: type[SupervisedModule], task: Task) -> Checked:
    """Back-propagation through a tiny network of the family, dropout off and norms in evaluation."""
    module = tiny(family, task).double().eval()
    example = module.example_input_array
    assert isinstance(example, Tensor)
    shape = (SAMPLES, *example.shape[1:])
    x = torch.randn(shape, dtype=torch.double) if example.is_floating_point() else targets(task).roll(1, 1)
    with torch.no_grad():
        for parameter in module.parameters():  # zeros would hide what is multiplied with them
            parameter.add_(0.1 * torch.randn_like(parameter))
    batch = Batch(x, targets(task))
    tensors = {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}
    small = sum(tensor.numel() for tensor in tensors.values()) <= FULL_BELOW
    return check_gradients(lambda: module.objective(module, batch).loss, tensors, full=small)


def task_with(loss: nn.Module, kind: type[Task]) -> Task:
    """A task with this loss, which has seen its targets."""
    task = Regression(1, loss) if kind is Regression else kind(CLASSES, loss)  # type: ignore[call-arg, arg-type]
    task.fit_targets(targets(task))
    return task.double().eval()


def check_loss(loss: nn.Module, kind: type[Task]) -> Checked:
    """The gradient of a loss by the network's output, every number of it."""
    task = task_with(loss, kind)
    prediction = torch.randn(SAMPLES, task.out_features, dtype=torch.double, requires_grad=True)
    batch = Batch(prediction, targets(task))
    return check_gradients(lambda: task.loss(prediction, batch), {"prediction": prediction}, full=True)


def all_losses() -> dict[str, tuple[nn.Module, type[Task]]]:
    """torch's losses that tasks take and the zoo's, by name, each with the task that it is for."""
    found = {name: (loss, task) for task, made in TORCH_LOSSES.items() for name, loss in made.items()}
    for name, cls in vars(losses).items():
        if inspect.isclass(cls) and issubclass(cls, Loss) and cls.__module__ != "zoo.losses.base":
            kind = next(task for base, task in KIND_OF_TASK.items() if issubclass(cls, base))
            found[name] = cls(), kind  # type: ignore[call-arg]
    return found


def rows() -> Iterator[Row]:
    """Check everything, one line after the other."""
    for family in family_classes():
        if family.__name__ in LEFT_OUT:
            yield Row(family.__name__, None, LEFT_OUT[family.__name__])
            continue
        if not issubclass(family, SupervisedModule):
            yield Row(family.__name__, None, "it has no single loss")
            continue
        for task in tasks_of(family):
            what = f"{family.__name__}, {type(task).__name__}"
            try:
                yield Row(what, check_family(family, task))
            except ZooError as error:
                yield Row(what, None, str(error))
    for name, (loss, kind) in all_losses().items():
        reason = LEFT_OUT.get(name, "")
        yield Row(name, None if reason else check_loss(loss, kind), reason)
