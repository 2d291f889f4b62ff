"""Learn what another network sees: pull hidden features towards a teacher's."""

import difflib
from pathlib import Path
from typing import Any, Literal, TypeAlias

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import LBFGS, Optimizer
from torch.utils.hooks import RemovableHandle

from callbacks.distillation.teacher import Teacher
from callbacks.technique import Conflict, NoEffect, Technique
from zoo.batch import Batch
from zoo.errors import ZooError
from zoo.module import SupervisedModule, ZooModule
from zoo.task import Classification, Output, Regression

Distance: TypeAlias = Literal["mse", "cosine"]


def feature_distance(student: Tensor, teacher: Tensor, distance: Distance) -> Tensor:
    """Distance of features (B, C, ...) of equal channels, mean over places and samples, a scalar.

    "mse" is the mean squared difference (Romero et al., "FitNets", 2015, eq. 3, up to its factor); "cosine" is
    1 - cos of the two vectors at each place, blind to their length. Maps of different size are averaged down to the
    smaller one.
    """
    student, teacher = student.float(), teacher.float()
    if student.ndim == 4 and student.shape != teacher.shape:
        size = min(student.shape[2], teacher.shape[2]), min(student.shape[3], teacher.shape[3])
        student, teacher = (F.adaptive_avg_pool2d(maps, size) for maps in (student, teacher))
    if distance == "mse":
        return F.mse_loss(student, teacher)
    return (1 - F.cosine_similarity(student, teacher, dim=1)).mean()


class FeatureDistillation(Technique):
    """Adds ``strength * feature_distance(projection(student's features), teacher's features)`` for each pair of layers.

    Where two layers differ in width, the student's go through a linear projection (of 1 x 1 for maps) that is trained
    with the student, by its optimizer and with the settings of its last parameter group; it is saved in checkpoints
    beside the student and is not part of it. The teacher is frozen and sees each batch as the student does.

    Args:
        teacher: folder of the teacher's run, such as runs/cnn/digits/latest; its best epoch is used.
        layers: the student's layer -> the teacher's layer, by the names of submodules; their outputs are compared.
        strength: factor, positive; 0.1 to 10. 0 is the student alone.
        distance: "mse" compares values, "cosine" directions.

    Raises:
        ZooError: a number out of range; in a fit a folder that is no run, a teacher of another task, a layer that is
            not there.
        NoEffect: in a fit, when ``strength`` is 0.
        Conflict: in a fit, for L-BFGS, which takes no further parameters.
    """

    supports = SupervisedModule
    tasks = (Classification, Regression)

    def __init__(
        self,
        teacher: str,
        layers: dict[str, str] = {"backbone": "backbone"},  # noqa: B006  never changed; a mapping reads best in --help
        strength: float = 1.0,
        distance: Distance = "mse",
    ) -> None:
        if strength < 0:
            raise ZooError(f"FeatureDistillation: strength must not be negative, got {strength}")
        if not layers:
            raise ZooError("FeatureDistillation: layers is empty; name at least one pair, such as {backbone: backbone}")
        self.teacher, self.layers, self.strength, self.distance = teacher, layers, strength, distance
        self._teacher: Teacher | None = None
        self._projections = nn.ModuleList()
        self._handles: list[RemovableHandle] = []
        self._seen: dict[str, dict[int, Tensor]] = {"student": {}, "teacher": {}}

    def attach(self, module: ZooModule) -> None:
        assert isinstance(module, SupervisedModule)
        if self.strength == 0:
            raise NoEffect("FeatureDistillation: strength is 0, which leaves the teacher out; raise it or drop it")
        self._forget()
        self._teacher = Teacher(Path(self.teacher), self.name)
        self._teacher.check_task(module)
        self._watch_layers(module, self._teacher)
        self._build_projections(module, self._teacher)
        self.add_penalty(module, self._penalty)
        if any(isinstance(p, nn.Linear) for p in self._projections):
            # Not the watched form: a projection that is trained is no sign that the penalty has ever acted.
            module.optimizer_wrappers[self.name] = lambda optimizer: self._train_projections(module, optimizer)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        for seen in self._seen.values():
            seen.clear()  # of forward passes outside of the training step

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        # They are not among the student's parameters, whose gradients are averaged over processes already.
        if trainer.world_size > 1:
            for parameter in self._projections.parameters():
                if parameter.grad is not None:
                    parameter.grad = trainer.strategy.reduce(parameter.grad, reduce_op="mean")

    def _watch_layers(self, student: SupervisedModule, teacher: Teacher) -> None:
        for place, pair in enumerate(self.layers.items()):
            for who, model, name in zip(("student", "teacher"), (student, teacher.model), pair):
                layer = _layer(model, name, f"the {who}, a {type(model).__name__},")
                self._handles.append(layer.register_forward_hook(_keeper(self._seen[who], place, who == "student")))

    def _build_projections(self, student: SupervisedModule, teacher: Teacher) -> None:
        """One for each pair, the identity where the widths agree; both networks are asked with their example inputs."""
        for model in (student, teacher.model):
            modes = [(part, part.training) for part in model.modules()]
            model.eval()
            with torch.enable_grad():  # the student's hook keeps what has a gradient
                model(model.example_input_array)
            for part, mode in modes:
                part.training = mode
        projections: list[nn.Module] = []
        student_features, teacher_features = self._seen["student"], self._seen["teacher"]
        for place, (own, other) in enumerate(self.layers.items()):
            if place not in student_features or place not in teacher_features:
                raise ZooError(
                    f"FeatureDistillation: the forward pass does not run {own} or the teacher's {other}; choose others"
                )
            ours, theirs = student_features[place], teacher_features[place]
            if ours.ndim != theirs.ndim or ours.ndim < 2:
                raise ZooError(
                    f"FeatureDistillation: {own} puts out {ours.ndim} dimensions, the teacher's {other} {theirs.ndim};"
                    " compare layers of one kind, such as {backbone: backbone}"
                )
            widths = ours.shape[1], theirs.shape[1]
            projections.append(nn.Identity() if widths[0] == widths[1] else nn.Linear(*widths, bias=False))
        self._projections = nn.ModuleList(projections)
        for seen in self._seen.values():
            seen.clear()

    def _train_projections(self, module: ZooModule, optimizer: Optimizer) -> Optimizer:
        if isinstance(optimizer, LBFGS):
            raise Conflict(
                "FeatureDistillation trains a projection and LBFGS takes no further parameters; choose layers of equal"
                " width or another optimizer"
            )
        last = {key: value for key, value in optimizer.param_groups[-1].items() if key != "params"}
        self._projections.to(module.device)
        optimizer.add_param_group({**last, "params": list(self._projections.parameters()), "name": "projections"})
        return optimizer

    def _penalty(self, module: ZooModule, batch: Batch, output: Output) -> Tensor:
        assert self._teacher is not None
        self._teacher.predict(batch, module.device)
        student, teacher = self._seen["student"], self._seen["teacher"]
        if len(student) < len(self.layers):
            raise ZooError("FeatureDistillation: the training step did not run all of the student's layers")
        losses = [
            feature_distance(_project(projection, student[place]), teacher[place], self.distance)
            for place, projection in enumerate(self._projections)
        ]
        student.clear()
        return self.strength * torch.stack(losses).sum()

    def detach(self, module: ZooModule) -> None:
        super().detach(module)
        self._forget()

    def _forget(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles, self._teacher = [], None
        for seen in self._seen.values():
            seen.clear()

    def state_dict(self) -> dict[str, Any]:
        if self._teacher is None:
            return {}
        return {"teacher": str(self._teacher.run), "projections": self._projections.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if self._teacher is None or not state_dict:
            return
        self._projections.load_state_dict(state_dict["projections"])
        self._teacher.become(Path(state_dict["teacher"]))


def _project(projection: nn.Module, features: Tensor) -> Tensor:
    """The projection of the channels, dimension 1, at every place."""
    return projection(features.movedim(1, -1)).movedim(-1, 1)


def _keeper(seen: dict[int, Tensor], place: int, with_gradient: bool) -> Any:
    # A closure, not a method: copies of the student, such as an average of its weights, must not copy the teacher.
    def keep(layer: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        if isinstance(output, tuple):  # recurrent layers put out (outputs, state)
            output = output[0]
        if not with_gradient or torch.is_grad_enabled():
            seen[place] = output

    return keep


def _layer(model: nn.Module, name: str, who: str) -> nn.Module:
    known = [known for known, _ in model.named_modules() if known and not known.startswith(("task", "_metrics"))]
    if name not in known:
        near = difflib.get_close_matches(name, known, 3, 0.4) or known[:3]
        raise ZooError(f"FeatureDistillation: {who} has no layer {name!r}; did you mean {', '.join(near)}?")
    return model.get_submodule(name)
