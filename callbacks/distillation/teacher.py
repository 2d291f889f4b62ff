"""A trained network that others learn from: built from a run folder, frozen, and kept out of the student."""

from pathlib import Path

import torch
from torch import Tensor

from zoo.batch import Batch
from zoo.errors import ResumeError, ZooError
from zoo.from_run import model_from_run
from zoo.module import SupervisedModule
from zoo.task import Classification, Regression


class Teacher:
    """The frozen model of another run.

    It belongs to the technique that holds it: it is in no state_dict, no optimizer and no average of the student's.

    Args:
        run: folder of the run, with config.yaml and checkpoints/best.ckpt.
        who: name of the technique, for messages.

    Raises:
        ZooError: the folder is no run, or its model learns from no targets.
    """

    def __init__(self, run: Path, who: str) -> None:
        self.run, self.who = run.resolve(), who  # "latest" is another folder tomorrow
        try:
            model = model_from_run(self.run)
        except ZooError as error:
            raise ZooError(f"{who}: teacher: {error}") from error
        if not isinstance(model, SupervisedModule):
            raise ZooError(f"{who}: the teacher in {run} is a {type(model).__name__}, which predicts no targets")
        self.model = model.requires_grad_(False)

    def become(self, run: Path) -> None:
        """Go on as the teacher that a checkpoint names, where its folder is still there."""
        if run != self.run and (run / "config.yaml").is_file():
            try:
                self.model.load_state_dict(Teacher(run, self.who).model.state_dict())
            except RuntimeError as error:
                raise ResumeError(
                    f"{self.who}: the checkpoint has learnt from {run}, which is another network than the one in"
                    f" {self.run}; resume with the teacher that the run began with"
                ) from error
            self.run = run

    def check_task(self, student: SupervisedModule) -> None:
        """Raise unless teacher and student are asked the same question."""
        own, other = student.task, self.model.task
        assert isinstance(own, Classification | Regression)  # the tasks of the techniques that have a teacher
        if not isinstance(other, type(own)):
            raise ZooError(
                f"{self.who}: the teacher in {self.run} was trained for {type(other).__name__}, the student for"
                f" {type(own).__name__}; choose a teacher of the same task"
            )
        ours, theirs = (_answers(task) for task in (own, other))
        if ours != theirs:
            raise ZooError(
                f"{self.who}: the teacher in {self.run} tells {theirs} apart, the student {ours}; choose a teacher that"
                " was trained on the same targets"
            )

    @torch.no_grad()
    def predict(self, batch: Batch, device: torch.device) -> Tensor:
        """Raw prediction for a batch of the student's, on the student's device.

        Raises:
            ZooError: the teacher cannot take what the student takes.
        """
        self.model.to(device)  # nothing to do after the first batch
        try:
            return self.model.forward_batch(batch)
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, IndexError, TypeError) as error:
            shape = tuple(batch.x.shape) if isinstance(batch.x, Tensor) else type(batch.x).__name__
            raise ZooError(
                f"{self.who}: the teacher in {self.run} cannot take the student's inputs {shape}:"
                f" {str(error).splitlines()[0]}; choose one that was trained on the same data"
            ) from error


def _answers(task: Classification | Regression) -> str:
    return f"{task.num_classes} classes" if isinstance(task, Classification) else f"{task.num_targets} targets"
