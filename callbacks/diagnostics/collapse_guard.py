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
from zoo.judging.features import PlainFeatures, Seen
from zoo.notice import notice

_LEAST = 20
WATCHED = ("coverage", "recall", "class_kl", "spread")
# Fragments against each fault, what helps most first; a group that the run has is passed over.
CURES = {
    "collapse": (("relativistic", "r1", "r2"), ("instance_noise",), ("generator_ema",)),
    "astray": (("r1", "r2"), ("instance_noise",), ("generator_ema",)),
}
OTHERWISE = "lower both learning rates, or that of the generator alone"


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


class CollapseGuard(Callback):
    """Looks at a few hundred samples now and then, and tells in one line when modes are lost, and what to add.

    Samples are compared with the validation split by their own numbers (``PlainFeatures``), beside training data of
    the same number, which say what can be reached at all. An alarm needs two bad looks in a row, or one at the run's
    end, and none is given in the first quarter of the run. Samples that are not finite end the run.

    Logs ``val/alarm`` (0 or 1) and, with data and features in their names, what it watches. Every game has one unless
    it is given another; the run's own randomness is not touched, and the time is a few percent of the smallest games'.

    Args:
        num: samples in a look, as many as the validation split has at most.
        looks: over the whole run, at the ends of epochs; 0 for no guard.
        stop: end the run at the alarm.
    """

    def __init__(self, num: int = 500, looks: int = 20, stop: bool = False) -> None:
        if num < _LEAST or looks < 0:
            raise ZooError(f"CollapseGuard: num is at least {_LEAST} and looks at least 0, got {num} and {looks}")
        self.num, self.looks, self.stop = num, looks, stop
        self.bad = 0  # looks in a row
        self.alarm = ""
        self._off = True
        self.told: frozenset[str] = frozenset()

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit":
            self.bad, self.alarm = 0, ""  # a checkpoint is restored later

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not isinstance(pl_module, GAN):
            raise ZooError(
                f"CollapseGuard looks at what a GAN makes, and {type(pl_module).__name__} makes no samples; drop it"
            )
        data: LightningDataModule | None = trainer.datamodule  # type: ignore[attr-defined]
        self._off = not self.looks or bool(trainer.fast_dev_run)  # type: ignore[attr-defined]
        if self._off:
            return
        if not isinstance(data, HasSplits) or len(data.splits["val"]) < _LEAST:
            notice(f"CollapseGuard: {type(data).__name__} has no {_LEAST} validation samples to compare with; no guard")
            self._off = True
            return
        self._real, others = real_samples(data, "val", self.num), real_samples(data, "train", 5 * self.num)
        apart = torch.arange(len(others.x)) % 5 == 0  # what the floor is measured with is not what features know
        kind = "pixels" if len(pl_module.generator.sample_shape) == 3 else "points"
        self._features = PlainFeatures(kind, others.x[~apart], None if others.y is None else others.y[~apart])
        self._classes, self._about = num_classes(data), f"{data_name(data)}_{self._features.name}"
        self._of_real = self._features(self._real.x)
        self._floor = self._look(self._features(others.x[apart][: len(self._real.x)]))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, GAN)
        epoch, last = trainer.current_epoch + 1, trainer.max_epochs or -1
        if self._off or (epoch % max(1, math.ceil(last / self.looks)) and epoch != last):
            return
        samples = pl_module.sample(len(self._real.x), self._real.y if pl_module.conditional else None)
        require_finite(samples, epoch)
        look = self._look(self._features(samples))
        fault, signs = diagnose(look, self._floor)
        early = epoch <= last / 4
        self.bad = self.bad + 1 if fault and not early else 0
        alarmed = self.bad >= 2 or (self.bad > 0 and epoch == last)
        if alarmed and fault != self.alarm:
            present = {type(callback).__module__.rsplit(".", 1)[-1] for callback in trainer.callbacks}  # type: ignore[attr-defined]
            what = "modes are lost" if fault == "collapse" else "the samples are not like the data"
            notice(f"CollapseGuard: epoch {epoch}, {what}: {signs}; {advise(fault, present)}")
        if self.alarm and not fault:
            notice(f"CollapseGuard: epoch {epoch}, all is well again")
        self.alarm = fault if alarmed else ""
        logged = {f"val/guard_{name}_{self._about}": getattr(look.seen, name) for name in WATCHED}
        logged = {name: value for name, value in logged.items() if math.isfinite(value)} | {"val/alarm": float(alarmed)}
        self.told = frozenset(logged)
        pl_module.log_dict(logged)
        if alarmed and self.stop:
            trainer.should_stop = True

    def _look(self, seen: Seen) -> Look:
        comparison = compare(self._of_real, seen, self._classes)
        if seen.classes is None or self._of_real.classes is None:
            return Look(comparison, [], 0.0)
        real, made = (class_histogram(s.classes, self._classes) for s in (self._of_real, seen))  # type: ignore[arg-type]
        lost = lost_classes(real, made)
        return Look(comparison, lost, real[lost].sum().item())

    def state_dict(self) -> dict[str, Any]:
        return {"bad": self.bad, "alarm": self.alarm}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.bad, self.alarm = state_dict["bad"], state_dict["alarm"]


def require_finite(samples: Tensor, epoch: int) -> None:
    """Raise NonFiniteError for samples with NaN or infinite numbers."""
    broken = int((~torch.isfinite(samples)).flatten(1).any(1).sum())
    if broken:
        raise NonFiniteError(
            f"{broken} of {len(samples)} samples of the generator are not finite after epoch {epoch}. Lower the"
            " learning rates, or add -c techniques/gan/r1"
        )
