"""Does attention stay healthy? Its entropy, the range of its scores and the size of the logits, layer by layer."""

from contextlib import ExitStack
from typing import Any, NamedTuple

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from zoo.errors import ZooError
from zoo.layers.attention import Attention
from zoo.module import ZooModule
from zoo.notice import notice

ROWS = 2  # sequences of a batch that are looked at
COLLAPSED = 0.02  # share of the entropy of reading all steps alike; trained layers lie between 0.2 and 0.9
WIDE = 60.0  # range of scores within a step; bf16 tells no two apart that differ by less than 1/256 of it
DRIFTED = 30.0  # of log Z, which has no reason to leave 0


class Look(NamedTuple):
    """What a look at one attention layer has found.

    Attributes:
        entropy: of what a step reads, mean over heads and steps, as a share of its largest value, in [0, 1].
        score_range: the largest difference between two scores of a step, at most about 100, where float32 ends.
    """

    entropy: float
    score_range: float


def look(weights: Tensor) -> Look:
    """Judge weights (B, heads, T, S), whose rows add up to 1; steps that can read a single one do not count."""
    w = weights.float()
    seen = (w > 0).sum(3)
    many = seen > 1
    if not many.any():
        return Look(1.0, 0.0)
    entropy = -(w * w.clamp(min=torch.finfo(torch.float32).tiny).log()).sum(3) / seen.clamp(min=2).log()
    smallest = w.masked_fill(w == 0, torch.inf).amin(3)
    spread = (w.amax(3).log() - smallest.log())[many]
    return Look(entropy[many].mean().item(), spread.max().item())


def advise(module: nn.Module, drifted: bool, techniques: set[str]) -> str:
    """What to add first, given the layers and the techniques (by name) that a run has."""
    if drifted and "ZLoss" not in techniques:
        return "add -c techniques/regularizers/z_loss"
    layers = [layer for layer in module.modules() if isinstance(layer, Attention)]
    if any(isinstance(layer.query_norm, nn.Identity) for layer in layers):
        return "set --model.block.qk_norm true"
    if any(layer.soft_cap is None for layer in layers):
        return "set --model.block.soft_cap 50"
    return "lower the learning rate or warm it up longer"


class AttentionHealth(Callback):
    """Looks at attention on two sequences of a batch now and then, logs what it sees, and says once what to add.

    Logged, per attention layer in the order of the network: ``train/attention_entropy/<i>``, the entropy of what a step
    reads as a share of its largest value, and ``train/score_range/<i>``, the largest difference between two scores;
    and ``train/log_z``, the mean size of the log-normaliser of the logits. A layer that reads one step alone has
    collapsed: it gets hardly any gradient, and the loss is about to spike (Zhai et al., "Stabilizing transformer
    training by preventing attention entropy collapse", 2023); scores that grow come before it (Dehghani et al.,
    "Scaling vision transformers to 22 billion parameters", 2023). An alarm needs two bad looks in a row.

    The weights are computed once more from what the layers were given, without gradients and random numbers, so that a
    run is the same with and without; a compiled network takes the steps that are looked at as it is written.

    Args:
        every: steps between two looks.

    Raises:
        ZooError: every is less than 1; in a fit, a network without attention layers.
    """

    def __init__(self, every: int = 100) -> None:
        if every < 1:
            raise ZooError(f"AttentionHealth: every must be at least 1 step, got {every}")
        self.every = every
        self._handles: list[RemovableHandle] = []
        self._uncompiled = ExitStack()
        self._looks: list[Look] = []
        self._log_z: float | None = None
        self._bad, self._told = 0, False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not any(isinstance(layer, Attention) for layer in pl_module.modules()):
            raise ZooError(
                f"AttentionHealth looks at attention layers, and {type(pl_module).__name__} has none; drop it"
            )
        self._bad, self._told = 0, False
        self._remove()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self._remove()
        if trainer.global_step % self.every or pl_module.device_mesh is not None:
            return  # weights in parts have no entropy of their own
        if any(part._compiled_call_impl is not None for part in pl_module.modules()):
            # Hooks would break a compiled network into parts, and have it compiled anew at every look.
            self._uncompiled.enter_context(torch.compiler.set_stance("force_eager"))
        for layer in pl_module.modules():
            if isinstance(layer, Attention):
                self._handles.append(layer.register_forward_pre_hook(self._look, with_kwargs=True))
        head = getattr(pl_module, "head", None)
        if isinstance(head, nn.Linear):
            self._handles.append(head.register_forward_hook(self._measure))

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        if not self._handles:
            return
        self._remove(keep=True)  # before blocks are recomputed
        assert isinstance(pl_module, ZooModule)
        logged = {f"train/attention_entropy/{i}": found.entropy for i, found in enumerate(self._looks)}
        logged |= {f"train/score_range/{i}": found.score_range for i, found in enumerate(self._looks)}
        logged |= {} if self._log_z is None else {"train/log_z": self._log_z}
        pl_module.log_step(logged, trainer.global_step)
        self._judge(trainer, pl_module)
        self._remove()

    def _judge(self, trainer: Trainer, module: ZooModule) -> None:
        signs = []
        for index, found in enumerate(self._looks):
            if found.entropy < COLLAPSED:
                signs.append(f"attention layer {index} reads single steps (entropy {found.entropy:.1%} of its largest)")
            elif found.score_range > WIDE:
                signs.append(f"scores of attention layer {index} differ by {found.score_range:.0f}")
        drifted = self._log_z is not None and self._log_z > DRIFTED
        if drifted:
            signs.append(f"log Z of the logits is {self._log_z:.0f}")
        self._bad = self._bad + 1 if signs else 0
        if self._bad >= 2 and not self._told:
            self._told = True
            techniques = {type(callback).__name__ for callback in trainer.callbacks}  # type: ignore[attr-defined]
            advice = advise(module, drifted and len(signs) == 1, techniques)
            notice(f"AttentionHealth: step {trainer.global_step}, {', '.join(signs[:3])}; {advice}")

    @torch.no_grad()
    def _look(self, layer: Attention, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        names = ("x", "memory", "mask", "causal", "turns")
        given = {**dict(zip(names, args)), **{name: kwargs[name] for name in names if name in kwargs}}
        rows = len(given["x"])
        for name in ("x", "memory", "mask"):
            part = given.get(name)
            if isinstance(part, Tensor) and len(part) == rows:
                given[name] = part[:ROWS]
        turns = given.get("turns")
        if turns is not None and turns.cos.ndim == 4:  # each row has its own
            given["turns"] = type(turns)(turns.cos[:ROWS], turns.sin[:ROWS])
        self._looks.append(look(layer.weights(**given)))

    @torch.no_grad()
    def _measure(self, head: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
        self._log_z = output[:ROWS].float().logsumexp(-1).abs().mean().item()

    def _remove(self, keep: bool = False) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []
        self._uncompiled.close()
        if not keep:
            self._looks, self._log_z = [], None

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._remove()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._remove()
