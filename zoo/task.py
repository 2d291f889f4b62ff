"""What a network is asked: a task owns the loss, the metrics, the scaling of targets and the decoding of outputs."""

from zoo.tasks.base import Output, Task
from zoo.tasks.classification import Classification
from zoo.tasks.forecasting import Forecasting
from zoo.tasks.language_modeling import LanguageModeling
from zoo.tasks.multi_label import MultiLabel
from zoo.tasks.regression import Regression
from zoo.tasks.tagging import Tagging
from zoo.tasks.translation import Translation

__all__ = [
    "Classification",
    "Forecasting",
    "LanguageModeling",
    "MultiLabel",
    "Output",
    "Regression",
    "Tagging",
    "Task",
    "Translation",
]
