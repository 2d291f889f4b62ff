"""How good the samples of a game are: distances to held-out data, beside those that real data have from each other."""

import math
from pathlib import Path
from typing import NamedTuple

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn

from callbacks.reporting.class_bars import draw_class_bars
from callbacks.reporting.figures import NamesClasses, keep_picture, warns
from callbacks.reporting.plots import render
from zoo.errors import ZooError
from zoo.gan import GAN
from zoo.judging.choice import default_features, features_from_run, to_pixels
from zoo.judging.classes import class_histogram
from zoo.judging.comparison import Comparison, compare
from zoo.judging.data import Real, data_name, num_classes, real_samples
from zoo.judging.features import Features, Seen
from zoo.judging.frechet import frechet_distance
from zoo.judging.inception import InceptionFeatures
from zoo.notice import notice


class Bench(NamedTuple):
    """What samples are held against: one split.

    Attributes:
        features: what turns samples into features.
        real: the split's samples.
        seen: their features.
        floor: as many training samples in place of made ones: what a generator without fault would reach.
        for_fid: their features for the FID; None without.
    """

    features: Features
    real: Real
    seen: Seen
    floor: Comparison
    for_fid: Seen | None


class Judge(Callback):
    """Compares samples of the generator that is kept with held-out data, after validation and in ``zoo test``.

    Features are those of a classifier: of a run that is given, else of a small one that is trained on the training
    split when the fit begins (``train_classifier``); for data that are no images with classes, the samples' own numbers
    (``PlainFeatures``). The names of what is logged say which, as ``val/frechet_digits_lenet``: such numbers compare
    with none that another network has given, and none of them is an FID. Logged are the fields of ``Comparison``;
    a line shows them beside the floor, for which training data take the place of the samples. ``figures/classes.png``
    shows the classes.

    The noise is the same each time, and the run's own randomness is not touched. With several processes each does the
    same.

    Args:
        classifier: folder of a run that has learnt to tell the classes apart, such as runs/cnn/digits/latest.
        num: samples, as many as the split has at most; all distances depend on it somewhat.
        every_n_epochs: judge after each n-th epoch, and after the last.
        inception: the file of weights that the FID is defined by, for ``val/fid_<data>`` as well; see
            ``InceptionFeatures``.
    """

    def __init__(
        self, classifier: str | None = None, num: int = 5000, every_n_epochs: int = 1, inception: str | None = None
    ) -> None:
        if num < 20 or every_n_epochs < 1:
            raise ZooError(f"Judge: num is at least 20 and every_n_epochs at least 1, got {num} and {every_n_epochs}")
        self.classifier, self.num, self.every_n_epochs, self.inception = classifier, num, every_n_epochs, inception
        self.told: frozenset[str] = frozenset()
        self._features: Features | None = None
        self._for_fid: InceptionFeatures | None = None
        self._benches: dict[str, Bench] = {}

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if not isinstance(pl_module, GAN):
            raise ZooError(f"Judge looks at what a GAN makes, and {type(pl_module).__name__} makes no samples; drop it")
        data, shape = trainer.datamodule, pl_module.generator.sample_shape  # type: ignore[attr-defined]
        self._features, self._for_fid, self._benches = None, None, {}
        try:
            if self.inception is not None:
                self._for_fid = InceptionFeatures(Path(self.inception).expanduser(), *to_pixels(data))
            if self.classifier is not None:
                run = Path(self.classifier).expanduser()
                self._features = features_from_run(run, data, shape, trainer.strategy.root_device)
        except ZooError as error:
            raise ZooError(f"Judge: {error}") from error

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # Here rather than at the first validation, so that what is amiss shows before training.
        if not trainer.fast_dev_run:  # type: ignore[attr-defined]
            self._bench(trainer, pl_module, "val")

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        epoch = trainer.current_epoch + 1
        due = not _fitting(trainer) or epoch % self.every_n_epochs == 0 or epoch == trainer.max_epochs
        if due and not trainer.sanity_checking and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            self._judge(trainer, pl_module, "val")

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._judge(trainer, pl_module, "test")

    def _judge(self, trainer: Trainer, module: LightningModule, split: str) -> None:
        assert isinstance(module, GAN)
        bench, data = self._bench(trainer, module, split), trainer.datamodule  # type: ignore[attr-defined]
        samples = module.sample(len(bench.real.x), bench.real.y if module.conditional else None)
        if not torch.isfinite(samples).all():
            notice("Judge: there are samples that are not finite, so that nothing can be measured")
            return
        made = bench.features(samples)
        comparison = compare(bench.seen, made, num_classes(data))
        about = f"{data_name(data)}_{bench.features.name}"
        logged = {f"{split}/{name}_{about}": value for name, value in comparison._asdict().items()}
        if self._for_fid is not None and bench.for_fid is not None:
            logged[f"{split}/fid_{data_name(data)}"] = frechet_distance(
                bench.for_fid.features, self._for_fid(samples).features
            )
        logged = {name: value for name, value in logged.items() if math.isfinite(value)}
        self.told = frozenset(logged)
        module.log_dict(logged)
        when = f"epoch {trainer.current_epoch + 1}: " if _fitting(trainer) else ""
        notice(f"Judge: {when}{in_words(comparison, bench.floor)}")
        if trainer.is_global_zero and bench.seen.classes is not None and made.classes is not None:
            with warns("classes.png"):
                classes = data.classes if isinstance(data, NamesClasses) else range(num_classes(data))
                real, shown = (class_histogram(c, len(classes)).numpy() for c in (bench.seen.classes, made.classes))
                text = f"{len(samples):,} samples against the {split} split · divergence {comparison.class_kl:.3f}"
                figure = draw_class_bars(real, shown, [str(name) for name in classes], text)
                keep_picture(trainer, Path(trainer.default_root_dir), "classes", render(figure))

    def _bench(self, trainer: Trainer, module: LightningModule, split: str) -> Bench:
        if split not in self._benches:
            assert isinstance(module, GAN)
            data = trainer.datamodule  # type: ignore[attr-defined]
            if self._features is None:
                self._features = default_features(data, module.generator.sample_shape, module.device)
            real = real_samples(data, split, self.num)
            seen, others = self._features(real.x), self._features(real_samples(data, "train", len(real.x)).x)
            floor = compare(seen, others, num_classes(data))
            for_fid = None if self._for_fid is None else self._for_fid(real.x)
            self._benches[split] = Bench(self._features, real, seen, floor, for_fid)
            right = ""
            if seen.classes is not None and real.y is not None:
                right = f" (which knows the class of {(seen.classes == real.y).double().mean():.1%})"
            notice(
                f"Judge: {len(real.x):,} samples against {type(data).__name__} {split}, seen by"
                f" {self._features.name}{right}; in brackets: training data in their place"
            )
        return self._benches[split]


def _fitting(trainer: Trainer) -> bool:
    return trainer.state.fn == TrainerFn.FITTING


def in_words(seen: Comparison, floor: Comparison) -> str:
    """One line of all that was measured, with the floor in brackets."""
    values = zip(Comparison._fields, seen, floor)
    return " · ".join(f"{name} {value:.3g} ({best:.3g})" for name, value, best in values if not math.isnan(value))
