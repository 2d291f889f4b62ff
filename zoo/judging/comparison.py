"""All that is measured of samples against the data, at once."""

import math
from typing import NamedTuple

from zoo.judging.classes import class_divergence, class_histogram
from zoo.judging.density_coverage import density_coverage
from zoo.judging.features import Seen
from zoo.judging.frechet import frechet_distance
from zoo.judging.kernel import kernel_distance
from zoo.judging.precision_recall import precision_recall
from zoo.judging.spread import mean_distance


class Comparison(NamedTuple):
    """How samples compare to the data; each field is documented where its function is.

    Attributes:
        frechet, kernel: distances, from 0.
        precision, density: whether the samples are like the data.
        recall, coverage: whether all the data are among the samples.
        class_kl: divergence of the classes, in nats; NaN where the data have none.
        spread: mean distance of two samples, over that of two of the data.
    """

    frechet: float
    kernel: float
    precision: float
    recall: float
    density: float
    coverage: float
    class_kl: float
    spread: float


def compare(real: Seen, fake: Seen, num_classes: int) -> Comparison:
    """Compare made samples with real ones."""
    class_kl = math.nan
    if real.classes is not None and fake.classes is not None:
        histograms = [class_histogram(seen.classes, num_classes) for seen in (real, fake)]  # type: ignore[arg-type]
        class_kl = class_divergence(*histograms)
    precision, recall = precision_recall(real.features, fake.features)
    density, coverage = density_coverage(real.features, fake.features)
    return Comparison(
        frechet=frechet_distance(real.features, fake.features),
        kernel=kernel_distance(real.features, fake.features),
        precision=precision,
        recall=recall,
        density=density,
        coverage=coverage,
        class_kl=class_kl,
        spread=mean_distance(fake.features) / mean_distance(real.features),
    )
