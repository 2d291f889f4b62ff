"""What the clipping techniques share: how often they act, counted on the device and read only when it is logged."""

from typing import Any

from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from callbacks.gradients.gradient_technique import GradientTechnique
from zoo.module import ZooModule


class ClippingTechnique(GradientTechnique):
    """Base of the clipping techniques: means of what they did since the last log, kept in the checkpoint.

    Args:
        network: which network, for families that have several.
    """

    def __init__(self, network: str = "network") -> None:
        super().__init__(network)
        self._sums: dict[str, Tensor | float] = {}
        self._edits = 0

    def count(self, values: dict[str, Tensor]) -> None:
        """Add scalar tensors to the means that are logged next, as ``train/<name>``."""
        self.acted()
        self._edits += 1
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, 0.0) + value.detach()

    def means(self) -> dict[str, float]:
        """Means since the last log."""
        return {name: float(total) / self._edits for name, total in self._sums.items()}

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        if self._edits and trainer.global_step % trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
            assert isinstance(pl_module, ZooModule)
            prefix = "train" if self.network == "network" else f"train/{self.network}"
            means = {f"{prefix}/{name}": value for name, value in self.means().items()}
            pl_module.log_step(means, trainer.global_step - 1)  # the step that was made
            self._sums, self._edits = {}, 0

    def state_dict(self) -> dict[str, Any]:
        return {"sums": {name: float(total) for name, total in self._sums.items()}, "edits": self._edits}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._sums, self._edits = dict(state_dict["sums"]), state_dict["edits"]
