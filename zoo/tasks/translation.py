"""A target text, token by token, given a source text."""

import math
from collections.abc import Iterable
from typing import cast

import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import MeanMetric, Metric, MetricCollection

from zoo.batch import Batch
from zoo.tasks.base import CONSTANT
from zoo.tasks.language_modeling import Perplexity
from zoo.tasks.step_labels import IGNORED, StepLabels

BEGIN, END = 0, 1  # the token that a decoder reads first, and the one behind the last of every text


class Translation(StepLabels):
    """The tokens of a target given those of a source and the target's own before; y is int64 (B, T), -100 where padded.

    Of the vocabulary, 0 is what a decoder reads first and 1 stands behind the last token of every text. Metrics are
    means over all target tokens of a split, with the tokens before each given as they should be (teacher forcing):
    ``perplexity`` and ``accuracy``, the share of tokens that are the likeliest. Label smoothing is in the loss alone.
    What whole translations are worth is measured in BLEU, by ``zoo test``.

    Args:
        vocabulary_size: different tokens of targets; linked from the data.
        label_smoothing: in [0, 1); 0.1 is usual (Vaswani et al. 2017, section 5.4).
    """

    monitor = "perplexity"
    mode = "min"

    def __init__(self, vocabulary_size: int, label_smoothing: float = 0.0) -> None:
        super().__init__(vocabulary_size, None, label_smoothing, None)

    def naive(self, train: Tensor, batches: Iterable[Batch]) -> dict[str, dict[str, float]]:
        """Every token as often as in the training targets, whatever the source (with one of each added)."""
        counts = torch.bincount(train[train != IGNORED], minlength=self.num_classes).double() + 1
        surprise, likeliest = counts.sum().log() - counts.log(), counts.argmax()
        total, right, tokens = 0.0, 0, 0
        for batch in batches:
            y = batch.y[batch.y != IGNORED].cpu()
            total, tokens = total + surprise[y].sum().item(), tokens + len(y)
            right += int((y == likeliest).sum())
        loss = total / tokens
        return {CONSTANT: {"loss": loss, "perplexity": math.exp(loss), "accuracy": right / tokens}}

    def metrics(self) -> MetricCollection:
        metrics: dict[str, Metric] = {"perplexity": Perplexity(), "accuracy": MeanMetric()}
        return MetricCollection(cast("dict[str, Metric | MetricCollection]", metrics), compute_groups=False)

    def update(self, metrics: MetricCollection | Metric, prediction: Tensor, batch: Batch) -> None:
        assert isinstance(metrics, MetricCollection)
        steps = self.valid(prediction, batch)
        if count := len(steps.y):
            cast(MeanMetric, metrics["perplexity"]).update(F.cross_entropy(steps.logits.float(), steps.y), count)
            cast(MeanMetric, metrics["accuracy"]).update((steps.logits.argmax(1) == steps.y).float().mean(), count)
