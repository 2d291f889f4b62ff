"""The next token of a text at every step."""

import math
from collections.abc import Iterable
from typing import Literal, cast

import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import MeanMetric, Metric, MetricCollection

from zoo.batch import Batch
from zoo.tasks.base import CONSTANT
from zoo.tasks.step_labels import IGNORED, StepLabels


class Perplexity(MeanMetric):
    """exp of the mean negative log-likelihood of a token, of which batches give means and counts."""

    def compute(self) -> Tensor:
        return super().compute().exp()


class Bits(MeanMetric):
    """The mean negative log-likelihood of a token, in bits."""

    def compute(self) -> Tensor:
        return super().compute() / math.log(2)


class LanguageModeling(StepLabels):
    """The next token at every step; x and y are int64 (B, T), y one token later than x, -100 where it counts not.

    Metrics are means over all tokens of a split: ``perplexity``, the number of tokens among which the model hesitates,
    and bits a token, which are called ``bits_per_character`` where tokens are characters. Label smoothing is in the
    loss alone.

    Args:
        vocabulary_size: different tokens; linked from the data.
        unit: what a token is; only for characters can bits be compared between vocabularies.
        label_smoothing: in [0, 1).
    """

    monitor = "perplexity"
    mode = "min"

    def __init__(
        self, vocabulary_size: int, unit: Literal["character", "token"] = "token", label_smoothing: float = 0.0
    ) -> None:
        super().__init__(vocabulary_size, None, label_smoothing, None)
        self.bits = f"bits_per_{unit}"

    def naive(self, train: Tensor, batches: Iterable[Batch]) -> dict[str, dict[str, float]]:
        """Every token as often as in the training text, whatever came before (with one of each added)."""
        counts = torch.bincount(train[train != IGNORED], minlength=self.num_classes).double() + 1
        surprise = counts.sum().log() - counts.log()
        total, tokens = 0.0, 0
        for batch in batches:
            y = batch.y[batch.y != IGNORED]
            total, tokens = total + surprise[y.cpu()].sum().item(), tokens + len(y)
        loss = total / tokens
        return {CONSTANT: {"loss": loss, "perplexity": math.exp(loss), self.bits: loss / math.log(2)}}

    def metrics(self) -> MetricCollection:
        metrics: dict[str, Metric] = {"perplexity": Perplexity(), self.bits: Bits()}
        return MetricCollection(cast("dict[str, Metric | MetricCollection]", metrics), compute_groups=False)

    def update(self, metrics: MetricCollection | Metric, prediction: Tensor, batch: Batch) -> None:
        steps = self.valid(prediction, batch)
        if len(steps.y):
            metrics.update(F.cross_entropy(steps.logits.float(), steps.y), len(steps.y))
