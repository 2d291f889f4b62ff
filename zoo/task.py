"""What a network is asked: a task owns the loss, the metrics, the scaling of targets and the decoding of outputs."""

from zoo.tasks.base import Output, Task
from zoo.tasks.classification import Classification
from zoo.tasks.multi_label import MultiLabel
from zoo.tasks.regression import Regression

__all__ = ["Classification", "MultiLabel", "Output", "Regression", "Task"]
