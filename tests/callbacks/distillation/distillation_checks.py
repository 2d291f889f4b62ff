"""What the tests of distillation share: a teacher's run folder, as ``zoo fit`` leaves it."""

import copy
from pathlib import Path
from typing import Any

import torch
import yaml

from callbacks.distillation.teacher import Teacher
from tests.callbacks.technique_checks import fit
from zoo.cnn import ConvNet, ResNet
from zoo.mlp import MLP
from zoo.module import SupervisedModule
from zoo.rnn import RNN
from zoo.task import Classification, Regression, Task


def save_run(folder: Path, model: MLP, task: dict[str, Any], hidden: list[int], in_features: int = 64) -> Path:
    """Write the two files of a run that a teacher is built from."""
    arguments = {"in_features": in_features, "task": task, "hidden": hidden, "norm": "batch"}
    return write_run(folder, model, {"class_path": "zoo.mlp.MLP", "init_args": arguments})


def write_run(folder: Path, model: SupervisedModule, section: dict[str, Any]) -> Path:
    """The same for any network, with the section ``model`` of its configuration."""
    (folder / "checkpoints").mkdir(parents=True)
    config = {"seed_everything": 0, "model": section}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    torch.save({"state_dict": model.state_dict()}, folder / "checkpoints" / "best.ckpt")
    return folder


def teacher_run(folder: Path, classes: int = 10, epochs: int = 0, seed: int = 7, hidden: int = 48) -> Path:
    """A perceptron wider than the students, trained on digits for some epochs."""
    torch.manual_seed(seed)
    model = MLP(64, Classification(classes), [hidden], norm="batch")
    if epochs:
        fit(model, batch_size=64, max_epochs=epochs)
    task = {"class_path": "zoo.task.Classification", "init_args": {"num_classes": classes}}
    return save_run(folder, model, task, [hidden])


def regression_run(folder: Path, task: Task | None = None) -> Path:
    """An untrained perceptron for the ten columns of diabetes."""
    torch.manual_seed(7)
    task = task or Regression()
    task.mean.fill_(150.0)
    task.std.fill_(70.0)
    return save_run(folder, MLP(10, task, [16], norm="batch"), {"class_path": "zoo.task.Regression"}, [16], 10)


def matrix_run(folder: Path, student: SupervisedModule) -> Path:
    """An untrained teacher that takes what a student of the composition matrix is given."""
    if folder.joinpath("config.yaml").is_file():
        return folder
    task: dict[str, Any] = {"class_path": f"zoo.task.{type(student.task).__name__}"}
    if isinstance(student.task, Classification):
        task["init_args"] = {"num_classes": student.task.num_classes}
    torch.manual_seed(7)
    if isinstance(student, ConvNet):  # images, for which the teacher takes every size
        teacher = ResNet(1, copy.deepcopy(student.task), [1], width=4)
        arguments = {"in_channels": 1, "task": task, "blocks": [1], "width": 4}
        return write_run(folder, teacher, {"class_path": "zoo.cnn.ResNet", "init_args": arguments})
    in_features = 12 * 3 if isinstance(student, RNN) else 6
    return save_run(folder, MLP(in_features, copy.deepcopy(student.task), [5], norm="batch"), task, [5], in_features)


def load(folder: Path) -> MLP:
    """The teacher's network."""
    model = Teacher(folder, "Test").model
    assert isinstance(model, MLP)
    return model
