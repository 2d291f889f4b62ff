"""How fast a run is: tokens or samples a second, and on a GPU what share of its arithmetic the model uses."""

import time
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from zoo.batch import Batch, as_batch
from zoo.errors import ZooError
from zoo.module import SupervisedModule, ZooModule
from zoo.notice import notice

# Dense bf16 (or, before Ampere, fp16) products of the tensor cores, FLOP/s, from the data sheets of the maker.
PEAKS = {
    "H200": 989e12, "H100 PCIe": 756e12, "H100 NVL": 835e12, "H100": 989e12, "A100": 312e12, "A10G": 70e12,
    "A10": 125e12, "L40S": 362e12, "L4": 121e12, "V100": 125e12, "T4": 65e12, "RTX 4090": 165e12, "RTX 3090": 71e12,
}  # fmt: skip


def peak_flops(device: str) -> float | None:
    """What a GPU can do at best in 16 bits, FLOP/s, by its name; None for one that is not known here."""
    return next((peak for name, peak in PEAKS.items() if all(word in device for word in name.split())), None)


def count(batch: Batch) -> tuple[int, str]:
    """How much a batch is: the tokens or steps of sequences, or else samples."""
    x = batch.x
    if isinstance(x, Tensor) and (x.ndim == 3 or (x.ndim == 2 and not x.is_floating_point())):
        return (int(x.shape[0] * x.shape[1]) if batch.lengths is None else int(batch.lengths.sum())), "tokens"
    return batch.size, "samples"


def training_flops(module: SupervisedModule, batch: Batch) -> int:
    """Floating-point operations of a training step's products: three times those of the forward pass, as torch counts.

    The backward pass multiplies twice as much; what checkpointing computes again is no work of the model. Flags and
    random numbers are left as they were.
    """
    flags = [(part, part.training) for part in module.modules()]
    devices = [batch.x.device] if isinstance(batch.x, Tensor) and batch.x.is_cuda else []
    module.eval()  # for statistics of norms must not move
    try:
        eager = torch.compiler.set_stance("force_eager")  # kernels of a compiled network are not counted
        with torch.random.fork_rng(devices), torch.no_grad(), eager, FlopCounterMode(display=False) as counter:
            module.forward_batch(batch)
    finally:
        for part, flag in flags:
            part.training = flag
    return 3 * int(counter.get_total_flops())


class Throughput(Callback):
    """Logs tokens (or samples) a second of all processes, and on a known GPU the model FLOPs utilisation.

    Logged every ``log_every_n_steps`` steps as ``train/tokens_per_second`` and ``train/mfu``, and told once at the end
    of the fit. The time is that of whole steps, data included, validation not; the first steps do not count. The
    utilisation (Chowdhery et al., "PaLM", 2022) is the arithmetic that the model needs by what the devices could have
    done in 16 bits; a step in float32 has a low one.

    Args:
        skip: steps at the beginning that do not count, in which memory is taken and kernels are chosen.

    Raises:
        ZooError: skip is negative.
    """

    def __init__(self, skip: int = 10) -> None:
        if skip < 0:
            raise ZooError(f"Throughput: skip must not be negative, got {skip}")
        self.skip = skip

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        device = trainer.strategy.root_device
        self._peak = peak_flops(torch.cuda.get_device_name(device)) if device.type == "cuda" else None
        self._done, self._units, self._seconds, self._unit, self._flops = 0, 0, 0.0, "samples", 0.0
        self._since: float | None = None

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if self._peak is not None and not self._flops and isinstance(pl_module, SupervisedModule):
            batch = as_batch(batch)
            self._flops = training_flops(pl_module, batch) / count(batch)[0]

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        units, self._unit = count(as_batch(batch))
        self._done += 1
        now = time.perf_counter()  # a GPU has finished too: every loss is looked at (``require_finite``)
        if self._since is not None and self._done > self.skip:
            self._units += units * self._readers(trainer)
            self._seconds += now - self._since
            if trainer.global_step % trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
                assert isinstance(pl_module, ZooModule)
                pl_module.log_step({f"train/{name}": value for name, value in self.measured(trainer).items()},
                                   trainer.global_step - 1)  # fmt: skip
        self._since = now

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._since = None  # evaluation is not training

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._since = None

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        measured = self.measured(trainer)
        if measured:
            speed = measured[f"{self._unit}_per_second"]
            used = f", {measured['mfu']:.1%} of the GPU's arithmetic (MFU)" if "mfu" in measured else ""
            notice(f"Throughput: {speed:,.0f} {self._unit} a second{used}")

    @staticmethod
    def _readers(trainer: Trainer) -> int:
        """Processes that read different data."""
        mesh = trainer.lightning_module.device_mesh
        return trainer.world_size if mesh is None else int(mesh["data_parallel"].size())

    def measured(self, trainer: Trainer) -> dict[str, float]:
        """Units a second so far, and the share of the devices' arithmetic where it is known; empty before the first."""
        if not self._seconds:
            return {}
        speed = self._units / self._seconds
        found = {f"{self._unit}_per_second": speed}
        if self._peak is not None and self._flops:
            found["mfu"] = speed * self._flops / (self._peak * trainer.world_size)
        return found
