"""Learn from what another network says: its probabilities tell more than the labels."""

from pathlib import Path
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from callbacks.distillation.teacher import Teacher
from callbacks.technique import NoEffect, Technique
from zoo.batch import Batch
from zoo.errors import ZooError
from zoo.module import SupervisedModule, ZooModule, task_objective
from zoo.task import Classification, Output, Regression, Task


def soft_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """T^2 KL(softmax(v / T) || softmax(z / T)) of each sample, (B,).

    The factor T^2 keeps the gradient's size, which falls with 1 / T^2. Hinton, Vinyals and Dean, "Distilling the
    knowledge in a neural network", 2015, section 2; they write the cross-entropy, whose gradient is the same.

    Args:
        student: logits z, (B, C).
        teacher: logits v, (B, C).
        temperature: T, positive.
    """
    theirs = (teacher.float() / temperature).log_softmax(1)
    ours = (student.float() / temperature).log_softmax(1)
    return temperature**2 * F.kl_div(ours, theirs, reduction="none", log_target=True).sum(1)


def answer_loss(student: Tensor, teacher: Tensor, own: Task, other: Task) -> Tensor:
    """Mean squared difference of what both predict, in the student's standardised units, for each sample, (B,)."""
    ours, theirs = own.target(own.decode(student)), own.target(other.decode(teacher))
    return (ours - theirs).square().mean(1)


class LogitDistillation(Technique):
    """Train on ``alpha * soft + (1 - alpha) * hard``: the teacher's softened answer and the task's own loss.

    The teacher is any run of the same task. It is frozen, in evaluation mode, and sees each batch as the student does:
    augmented and mixed. For classes the soft part is ``soft_loss``, for real values the squared difference.

    Args:
        teacher: folder of the teacher's run, such as runs/cnn/digits/latest; its best epoch is used. A run that is
            resumed goes on with the folder that it began with, whatever "latest" has become.
        alpha: share of the soft part, in [0, 1]; 0.5 to 0.9 are usual, 1 leaves the labels out.
        temperature: T, positive; 1 copies the probabilities, 2 to 8 bring out what lies below the first.

    Raises:
        ZooError: a number out of range; in a fit a folder that is no run, or a teacher of another task.
        NoEffect: in a fit, when ``alpha`` is 0.
        UnsupportedModule: in a fit, for a task that is neither Classification nor Regression.
    """

    supports = SupervisedModule
    tasks = (Classification, Regression)

    def __init__(self, teacher: str, alpha: float = 0.7, temperature: float = 4.0) -> None:
        if not 0 <= alpha <= 1:
            raise ZooError(f"LogitDistillation: alpha is a share in [0, 1], got {alpha}; 0.5 to 0.9 are usual")
        if not temperature > 0:
            raise ZooError(f"LogitDistillation: temperature must be positive, got {temperature}; 2 to 8 are usual")
        self.teacher, self.alpha, self.temperature = teacher, alpha, temperature
        self._teacher: Teacher | None = None

    def attach(self, module: ZooModule) -> None:
        assert isinstance(module, SupervisedModule)
        if self.alpha == 0:
            raise NoEffect("LogitDistillation: alpha is 0, which leaves the teacher out; raise it or drop it")
        self._teacher = Teacher(Path(self.teacher), self.name)
        self._teacher.check_task(module)
        self.claim(module, "objective", self._objective)

    def _objective(self, module: SupervisedModule, batch: Batch) -> Output:
        assert self._teacher is not None
        hard = task_objective(module, batch)
        answer, task = self._teacher.predict(batch, module.device), module.task
        if isinstance(task, Classification):
            soft = soft_loss(hard.prediction, answer, self.temperature)
        else:
            soft = answer_loss(hard.prediction, answer, task, self._teacher.model.task)
        mean = soft.mean() if batch.weight is None else (soft * batch.weight).sum() / batch.weight.sum()
        return Output(self.alpha * mean + (1 - self.alpha) * hard.loss, hard.prediction)

    def detach(self, module: ZooModule) -> None:
        super().detach(module)
        self._teacher = None

    def state_dict(self) -> dict[str, Any]:
        return {"teacher": str(self._teacher.run)} if self._teacher is not None else {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if self._teacher is not None and state_dict:
            self._teacher.become(Path(state_dict["teacher"]))
