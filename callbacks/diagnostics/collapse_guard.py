"""A guard over a game: says when modes are lost, when samples leave the data, and what to add against it."""

import math
from typing import Any, NamedTuple

import torch
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from torch import Tensor

from zoo.errors import NonFiniteError, ZooError
from zoo.gan import GAN
from zoo.judging.classes import class_histogram, lost_classes
from zoo.judging.comparison import Comparison, compare
from zoo.judging.data import HasSplits, data_name, num_classes, real_samples
from zoo.judging.features import PlainFeatures
from zoo.notice import notice

_LEAST, _EARLY = 20, 0.25  # samples, and the share of a run without alarms
WATCHED = ("coverage", "recall", "class_kl", "spread")
# Fragments against each fault, what helps most first; a group that the run has is passed over.
CURES = {
    "collapse": (("relativistic", "r1", "r2"), ("instance_noise",), ("generator_ema",)),
    "astray": (("r1", "r2"), ("instance_noise",), ("generator_ema",)),
}
FAULTS = {"collapse": "modes are lost", "astray": "the samples are not like the data"}
OTHERWISE = "lower both learning rates, or the generator's alone (two time scales)"


class Look(NamedTuple):
    """What a guard sees at one time.

    Attributes:
        seen: samples against the data.
        lost: classes of which there are hardly any samples, and their share of the data in [0, 1].
    """

    seen: Comparison
    lost: list[int]
    lost_share: float


def diagnose(look: Look, floor: Look) -> tuple[str, str]:
    """("collapse", "astray" or "" for neither, and what is seen in words).

    Args:
        look: samples against real data.
        floor: other real data of the same number against the same: the best that there is.
    """
    seen, best = look.seen, floor.seen
    signs = []
    if look.lost_share > floor.lost_share + 0.05:
        some = ", ".join(map(str, look.lost[:6])) + (", ..." if len(look.lost) > 6 else "")
        signs.append(f"hardly any samples of {len(look.lost)} classes ({some}), {look.lost_share:.0%} of the data")
    elif seen.class_kl > best.class_kl + 0.25:
        signs.append(f"class divergence {seen.class_kl:.2f} (real data: {best.class_kl:.2f})")
    for name, part in (("coverage", 0.4), ("recall", 0.2), ("spread", 0.5)):
        value, of_real = getattr(seen, name), getattr(best, name)
        if value < part * of_real:
            signs.append(f"{name} {value:.2f} (real data: {of_real:.2f})")
    if signs and seen.precision < 0.1 * best.precision:
        return "astray", f"precision {seen.precision:.2f} (real data: {best.precision:.2f}), " + ", ".join(signs)
    return ("collapse" if signs else ""), ", ".join(signs)


def advise(fault: str, present: set[str]) -> str:
    """What to do about a fault, given the names of the techniques that the run has."""
    for group in CURES[fault]:
        missing = [name for name in group if name not in present]
        if missing:
            return "add " + " ".join(f"-c techniques/gan/{name}" for name in missing)
    return OTHERWISE


class View:
    """What a guard compares samples with, and how.

    Args:
        data: with splits "train" and "val".
        sample_shape: [C, H, W] of images, [F] of points.
        num: samples in a look, as many as the validation split has at most.
    """

    def __init__(self, data: LightningDataModule, sample_shape: list[int], num: int) -> None:
        self.real, others = real_samples(data, "val", num), real_samples(data, "train", 5 * num)
        apart = torch.arange(len(others.x)) % 5 == 0  # what the floor is measured with is not what features know
        kind = "pixels" if len(sample_shape) == 3 else "points"
        self.features = PlainFeatures(kind, others.x[~apart], None if others.y is None else others.y[~apart])
        self.num_classes, self.about = num_classes(data), f"{data_name(data)}_{self.features.name}"
        self.of_real = self.features(self.real.x)
        self.floor = self.look(others.x[apart][: len(self.real.x)])

    def look(self, x: Tensor) -> Look:
        """Compare samples (N, *sample_shape) with the data."""
        seen = self.features(x)
        comparison = compare(self.of_real, seen, self.num_classes)
        if seen.classes is None or self.of_real.classes is None:
            return Look(comparison, [], 0.0)
        real, made = (class_histogram(classes, self.num_classes) for classes in (self.of_real.classes, seen.classes))
        lost = lost_classes(real, made)
        return Look(comparison, lost, real[lost].sum().item())


class CollapseGuard(Callback):
    """Looks at a few hundred samples now and then, and tells in one line when modes are lost, and what to add.

    Samples are compared with the validation split by their own numbers (``PlainFeatures``), beside training data of
    the same number, which say what can be reached at all. An alarm needs two bad looks in a row, or one at the run's
    end, and none is given in the first quarter of the run, in which all games look bad. Samples that are not finite
    end the run.

    Logs ``val/alarm`` (0 or 1) and, with data and features in their names, what it watches. Every game has one unless
    it is given another; the run's own randomness is not touched, and a look takes a tenth of a second and the time
    that the samples take.

    Args:
        num: samples in a look, as many as the validation split has at most.
        looks: over the whole run, at the ends of epochs; 0 for no guard.
        warmup: rounds of the game before which there is no alarm.
        stop: end the run at the alarm.
    """

    def __init__(self, num: int = 500, looks: int = 20, warmup: int = 500, stop: bool = False) -> None:
        if num < _LEAST or looks < 0:
            raise ZooError(f"CollapseGuard: num is at least {_LEAST} and looks at least 0, got {num} and {looks}")
        self.num, self.looks, self.warmup, self.stop = num, looks, warmup, stop
        self.bad = 0  # looks in a row
        self.alarm = ""  # the fault that was told
        self.told: frozenset[str] = frozenset()
        self._view: View | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit":
            self.bad, self.alarm, self._view = 0, "", None  # a checkpoint is restored later

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not isinstance(pl_module, GAN):
            raise ZooError(
                f"CollapseGuard looks at what a GAN makes, and {type(pl_module).__name__} makes no samples; drop it"
            )
        data: LightningDataModule | None = trainer.datamodule  # type: ignore[attr-defined]
        if not self.looks or trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        if isinstance(data, HasSplits) and len(data.splits["val"]) >= _LEAST:
            self._view = View(data, pl_module.generator.sample_shape, self.num)
        else:  # every game has a guard: one that cannot work is no reason not to play
            notice(f"CollapseGuard: {type(data).__name__} has no {_LEAST} validation samples to compare with; no guard")

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, GAN)
        before, now = _progress(trainer)
        if self._view is None or (math.floor(before * self.looks) == math.floor(now * self.looks) and now < 1):
            return
        real, epoch = self._view.real, trainer.current_epoch + 1
        samples = pl_module.sample(len(real.x), real.y if pl_module.conditional else None)
        require_finite(samples, epoch)
        look = self._view.look(samples)
        fault, signs = diagnose(look, self._view.floor)
        early = now <= _EARLY or trainer.global_step < self.warmup
        self.bad = self.bad + 1 if fault and not early else 0
        alarmed = self.bad >= 2 or (self.bad > 0 and now >= 1)
        if alarmed and fault != self.alarm:
            present = {type(callback).__module__.rsplit(".", 1)[-1] for callback in trainer.callbacks}  # type: ignore[attr-defined]
            notice(f"CollapseGuard: epoch {epoch}, {FAULTS[fault]}: {signs}; {advise(fault, present)}")
        if self.alarm and not fault:
            notice(f"CollapseGuard: epoch {epoch}, all is well again")
        self.alarm = fault if alarmed else ""
        logged = {f"val/guard_{name}_{self._view.about}": getattr(look.seen, name) for name in WATCHED}
        logged = {name: value for name, value in logged.items() if math.isfinite(value)} | {"val/alarm": float(alarmed)}
        self.told = frozenset(logged)
        pl_module.log_dict(logged)
        if alarmed and self.stop:
            trainer.should_stop = True

    def state_dict(self) -> dict[str, Any]:
        return {"bad": self.bad, "alarm": self.alarm}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.bad, self.alarm = state_dict["bad"], state_dict["alarm"]


def _progress(trainer: Trainer) -> tuple[float, float]:
    """Shares of the run that were done at the beginning and at the end of this epoch; 0 and 1 of one without end."""
    total = trainer.estimated_stepping_batches
    if not math.isfinite(total) or total < 1:
        return 0.0, 1.0
    done, epoch = trainer.global_step, int(trainer.num_training_batches)
    tiny = 1e-9  # three times a third shall be one
    return (done - epoch) / total + tiny, done / total + tiny


def require_finite(samples: Tensor, epoch: int) -> None:
    """Raise NonFiniteError for samples with NaN or infinite numbers."""
    broken = int((~torch.isfinite(samples)).flatten(1).any(1).sum())
    if broken:
        raise NonFiniteError(
            f"{broken} of {len(samples)} samples of the generator are not finite after epoch {epoch}. Lower the"
            " learning rates, or add -c techniques/gan/r1"
        )
