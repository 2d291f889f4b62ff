"""Free adversarial training: one backward pass gives the gradient of the weights and that of the images."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.plugins.precision import MixedPrecision
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor
from torch.optim import LBFGS, Optimizer

from callbacks.adversarial.classifier import require_images
from callbacks.adversarial.strategy import AdversarialTraining
from callbacks.technique import Conflict
from zoo.batch import Batch
from zoo.errors import ZooError
from zoo.module import SupervisedModule, ZooModule, task_objective
from zoo.task import Output


class FreeTraining(AdversarialTraining):
    """Train on each batch ``replays`` times in a row; every backward pass moves the weights and the perturbation.

    Shafahi, Najibi, Ghiasi, Xu, Dickerson, Studer, Davis, Taylor and Goldstein, "Adversarial training for free!", 2019,
    algorithm 1. The perturbation d grows by epsilon sign(d L / d x), is cut to the ball, and carries over to the next
    batch; it is kept in checkpoints. Images are seen with batch norm and dropout in training mode, as one pass serves
    both ends. An epoch makes ``replays`` steps of the optimizer a batch, so divide ``max_epochs`` by it; the schedule
    and ``global_step`` count batches. Training metrics are those of the first replay.

    Args:
        epsilon: radius in pixel units, linf, up to 1; 8/255 = 0.03137 for colour photos.
        replays: of each batch, 2 or more; 4 to 8 in the paper. More find worse images and forget more between batches.
        warmup: share of the run over which the radius grows from 0.
    """

    def __init__(self, epsilon: float, replays: int = 4, warmup: float = 0.0) -> None:
        super().__init__(epsilon, "linf", warmup)
        if replays < 2:
            raise ZooError(f"FreeTraining: replays must be at least 2, got {replays}; 4 to 8 are usual")
        self.replays = replays
        self._offset: Tensor | None = None  # d, for each place in a batch, (B, C, H, W)
        self._image: Tensor | None = None  # the leaf whose gradient moves d

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit" and trainer.accumulate_grad_batches != 1:
            raise Conflict(
                f"FreeTraining and trainer.accumulate_grad_batches={trainer.accumulate_grad_batches} do not go"
                " together: it steps after every pass; set it to 1"
            )
        plugin = trainer.precision_plugin
        if stage == "fit" and isinstance(plugin, MixedPrecision) and plugin.scaler is not None:
            raise Conflict(
                "FreeTraining and trainer.precision=16-mixed do not go together: the loss scaler evaluates a batch only"
                " once; use bf16-mixed or 32-true"
            )
        super().setup(trainer, pl_module, stage)

    def attach(self, module: ZooModule) -> None:
        super().attach(module)
        self._offset = None  # a resumed run gets its own from the checkpoint later

        def wrap(optimizer: Optimizer) -> Optimizer:
            others = [name for name in module.optimizer_wrappers if name != self.name]
            if others or isinstance(optimizer, LBFGS):
                other = others[0] if others else "LBFGS"
                raise Conflict(f"FreeTraining and {other} do not go together: both change the step; drop one")
            replaying = False

            def replay(optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
                nonlocal replaying
                if replaying:
                    return None
                closure = kwargs.get("closure")
                if closure is None:
                    raise Conflict(
                        "FreeTraining evaluates a batch often, and this optimizer was stepped without closure"
                    )
                assert isinstance(module, SupervisedModule)
                replaying = True
                try:
                    for count in range(self.replays - 1):
                        optimizer.step(partial(self._evaluate, module, closure, count == 0))
                finally:
                    replaying = False
                return args, {**kwargs, "closure": partial(self._evaluate, module, closure, False)}

            optimizer.register_step_pre_hook(replay)
            return optimizer

        self.add_optimizer_wrapper(module, wrap)

    def detach(self, module: ZooModule) -> None:
        super().detach(module)
        self._image = None

    def objective(self, module: SupervisedModule, batch: Batch) -> Output:
        require_images(self.name, batch.x)
        model = self.model(module)
        pixels, radius = model.to_pixels(batch.x), self.radius(module)
        offset = self._offset_for(pixels)
        self._image = (pixels + offset.clamp(-radius, radius)).clamp(0, 1).requires_grad_()
        return task_objective(module, batch._replace(x=model.to_inputs(self._image)))

    def state_dict(self) -> dict[str, Any]:
        return {"offset": self._offset}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._offset = state_dict["offset"]

    def _offset_for(self, pixels: Tensor) -> Tensor:
        """The perturbation of a batch: what the last one left behind; zero for the first, and for another size."""
        offset = self._offset
        if offset is None or offset.shape[1:] != pixels.shape[1:] or len(offset) < len(pixels):
            offset = torch.zeros_like(pixels)
        self._offset = offset.to(pixels.device)
        return self._offset[: len(pixels)]

    def _evaluate(self, module: SupervisedModule, closure: Callable[[], Any], first: bool) -> Any:
        """One pass: gradients for the optimizer's step that follows, and the perturbation's own step."""
        module.revisiting = not first  # metrics count a batch once
        try:
            # The same mixes and dropout masks in every replay: the perturbation belongs to one batch and one network.
            with isolate_rng(include_cuda=module.device.type == "cuda"):
                loss = closure()
        finally:
            module.revisiting = False
        image, offset, radius = self._image, self._offset, self.radius(module)
        assert image is not None
        assert image.grad is not None
        assert offset is not None
        offset[: len(image)] = (offset[: len(image)] + radius * image.grad.sign()).clamp_(-radius, radius)
        return loss
