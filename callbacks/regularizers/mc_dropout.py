"""MC dropout: ask a network with dropout on several times, for a mean and for how much the answers differ."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn

from callbacks.technique import EvaluationTechnique, NoEffect
from zoo.batch import Batch
from zoo.errors import ZooError
from zoo.layers.dropout import dropouts
from zoo.meter import Meter
from zoo.module import SupervisedModule, ZooModule
from zoo.randomness import key, run_seed
from zoo.task import Classification, Task
from zoo.tasks.ensemble import combine


@contextmanager
def dropout_on(module: nn.Module) -> Iterator[None]:
    """Evaluation mode but for the layers that drop; all flags are put back at the end."""
    flags = {layer: layer.training for layer in module.modules()}
    module.eval()
    for layer, _ in dropouts(module):
        layer.training = True  # of this layer alone: an attention has layers within
    try:
        yield
    finally:
        for layer, flag in flags.items():
            layer.training = flag


@torch.no_grad()
def stochastic_passes(module: nn.Module, forward: Callable[[], Tensor], passes: int, seed: int) -> Tensor:
    """Raw predictions of several passes, each with masks of its own: (B, passes, out).

    Args:
        module: whose dropout is on meanwhile.
        forward: runs the network on one batch, (B, out).
        passes: how many.
        seed: what the masks are a function of; the generators of the run are left as they were.
    """
    device = next(module.parameters()).device
    with torch.random.fork_rng([device] if device.type == "cuda" else []), dropout_on(module):
        torch.manual_seed(seed)
        return torch.stack([forward() for _ in range(passes)], 1)


def uncertainty_of(task: Task, predictions: Tensor) -> dict[str, Tensor]:
    """What raw predictions (B, passes, out) of several passes say together, and how far they agree::

        classification   mean p = E p_i,   entropy H(p),   mutual_information H(p) - E H(p_i)   with H(p) = -sum p log p
        regression       mean E y_i,   std of the y_i, in original units

    The entropy counts all doubt, in nats; the mutual information what comes from not knowing the weights: it is 0 where
    all passes agree, whatever they say. Houlsby et al., "Bayesian active learning for classification and preference
    learning", 2011; Gal and Ghahramani 2016 for mean and variance, here without the noise of
    the targets.

    Returns:
        "mean" (B, num_classes or num_targets) as ``task.decode`` gives it; "entropy" and "mutual_information" (B,), or
        "std" (B, num_targets).
    """
    size, passes = predictions.shape[:2]
    decoded = task.decode(predictions.flatten(0, 1)).unflatten(0, (size, passes))
    mean = decoded.mean(1)
    if not isinstance(task, Classification):
        return {"mean": mean, "std": decoded.std(1)}
    entropy = torch.special.entr(mean).sum(-1)
    shared = torch.special.entr(decoded).sum(-1).mean(1)
    return {"mean": mean, "entropy": entropy, "mutual_information": (entropy - shared).clamp(min=0)}


class MCDropout(EvaluationTechnique):
    """Validate, test and predict with the mean over passes with dropout on, in probability space.

    Gal and Ghahramani, "Dropout as a Bayesian approximation", 2016. Training is as it was, batch norm evaluates
    as ever, and each evaluation costs ``passes`` forward passes. Masks are a function of the seed and of the
    batch's place, so that two tests agree to the bit. Tests log the means of ``uncertainty`` as
    ``test/uncertainty_entropy`` and ``test/uncertainty_mutual_information``, or ``test/uncertainty_std``.

    Args:
        passes: at least 2; 10 for a mean, 30 to 100 for an uncertainty of single samples.
    """

    def __init__(self, passes: int = 20) -> None:
        if passes < 2:
            raise ZooError(f"MCDropout: passes must be at least 2, got {passes}; 10 to 100 are usual")
        self.passes = passes
        self._meter = Meter()

    def attach(self, module: ZooModule) -> None:
        require_dropout(self.name, module)
        self._meter.reset()
        super().attach(module)

    def answer(self, module: SupervisedModule, batch: Batch, index: int) -> Tensor:
        predictions = self.predictions(module, batch, index)
        if module.trainer.testing:
            found = uncertainty_of(module.task, predictions)
            del found["mean"]
            self._meter.update(batch.size, {name: value.mean() for name, value in found.items()})
        return combine(module.task, predictions)

    def predictions(self, module: SupervisedModule, batch: Batch, index: int) -> Tensor:
        """Raw predictions of all passes, (B, passes, out)."""
        seed = key(run_seed(), "mc_dropout", index, module.global_rank)
        return stochastic_passes(module, lambda: module.forward_batch(batch), self.passes, seed)

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        values = self._meter.compute()
        pl_module.log_dict({f"test/uncertainty_{name}": value for name, value in values.items()})
        self._meter.reset()

    def uncertainty(self, module: SupervisedModule, batch: Batch, index: int = 0) -> dict[str, Tensor]:
        """``uncertainty_of`` this batch, with or without a Trainer.

        Args:
            module: on the device of the batch.
            batch: inputs as the network takes them; targets are not looked at.
            index: the batch's place in its loader; batches get masks of their own by it.
        """
        require_dropout(self.name, module)
        return uncertainty_of(module.task, self.predictions(module, batch, index))


def require_dropout(name: str, module: nn.Module) -> None:
    """Raise NoEffect unless a layer of ``module`` drops at all."""
    if not any(getattr(layer, attribute) > 0 for layer, attribute in dropouts(module)):
        raise NoEffect(
            f"{name}: {type(module).__name__} has no dropout with a rate above 0; set --model.dropout, or drop {name}"
        )
