"""torch.compile as a plug-in: the network as it stands when the first step is due, in place."""

import time
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, fx, nn

from callbacks.technique import Technique, UnsupportedModule
from zoo.errors import ZooError
from zoo.layers.blocks import blocks
from zoo.module import SupervisedModule, ZooModule
from zoo.notice import notice

_TOLD = 3  # lines about recompilation; then no more


class WatchedBackend:
    """A backend of torch.compile that counts what it compiles, and leaves a graph as it is where it cannot.

    Args:
        name: of torch's backend.

    Attributes:
        graphs: how many were compiled so far.
        seconds: how long that took.
        failures: the first lines of what went wrong, of each graph that runs as it is.
    """

    def __init__(self, name: str) -> None:
        self.backend: Callable[..., Callable[..., Any]] = torch._dynamo.lookup_backend(name)
        self.graphs, self.seconds = 0, 0.0
        self.failures: list[str] = []

    def __call__(self, graph: fx.GraphModule, inputs: Sequence[Tensor]) -> Callable[..., Any]:
        start = time.perf_counter()
        self.graphs += 1
        try:
            return self.backend(graph, inputs)
        except Exception as error:
            self.failures.append((str(error).strip().splitlines() or [type(error).__name__])[0][:200])
            return graph.forward
        finally:
            self.seconds += time.perf_counter() - start


class Compile(Technique):
    """Compile the training pass, after all other techniques have changed the network; names stay the same.

    ``nn.Module.compile`` compiles in place, so that checkpoints hold the same names. What the first step compiled is
    told in one line, and so is each later recompilation (another length, a smaller last batch) and each part that
    torch cannot compile and runs as it is. Results agree with the plain network to rounding, but dropout draws other
    numbers. Evaluation is not compiled: its shapes and missing gradients would want graphs of their own.

    Args:
        what: "model" as one graph, or "blocks", each on its own: compiled in a fraction of the time, since all of a
            stack share one graph, and almost as fast.
        dynamic: compile for all shapes from the start; null finds out with the second shape.
        backend: "inductor" makes kernels; "aot_eager" and "eager" only trace, to see whether a network compiles.

    Raises:
        ZooError: a backend that torch does not have.
        UnsupportedModule: in a fit, for recurrent layers, which torch runs as they are and more slowly, and for
            "blocks" where the network has none.
        NoEffect: in a fit, when nothing was compiled.
    """

    supports = SupervisedModule

    def __init__(
        self, what: Literal["model", "blocks"] = "model", dynamic: bool | None = None, backend: str = "inductor"
    ) -> None:
        if backend not in torch._dynamo.list_backends(exclude_tags=None):
            known = ", ".join(torch._dynamo.list_backends())
            raise ZooError(f"Compile: torch has no backend {backend!r}; it has {known}")
        self.what, self.dynamic, self.backend = what, dynamic, backend
        self._compiled: list[tuple[nn.Module, Any]] = []
        self._backend: WatchedBackend | None = None
        self._told: tuple[int, int] = (0, 0)  # graphs and lines

    def attach(self, module: ZooModule) -> None:
        for name, part in module.named_modules():
            if isinstance(part, nn.RNNBase | nn.RNNCellBase):
                raise UnsupportedModule(
                    f"{self.name}: {name} is {type(part).__name__}, which torch.compile runs as it is, only slower;"
                    f" drop {self.name}"
                )
        if self.what == "blocks" and not blocks(module):
            raise UnsupportedModule(
                f"{self.name}: {type(module).__name__} has no list of layers called blocks; use what=model"
            )

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._restore()  # a fit that was broken off

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        # Here rather than in setup: hooks and parametrisations of others are in place, whatever the order of the list,
        # and what looks at the network before the first step has done so.
        if self._compiled:
            return
        assert isinstance(pl_module, ZooModule)
        torch._dynamo.reset()  # of an earlier fit, whose graphs would count as recompilations
        self._backend, self._told = WatchedBackend(self.backend), (0, 0)
        for part in [pl_module] if self.what == "model" else blocks(pl_module).values():
            part.compile(backend=self._backend, dynamic=self.dynamic)
            self._compiled.append((part, part._compiled_call_impl))

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._tell(f"step {trainer.global_step}")
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for part, _ in self._compiled:
            part._compiled_call_impl = None  # what nn.Module.compile has set

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for part, compiled in self._compiled:
            part._compiled_call_impl = compiled

    def _tell(self, when: str) -> None:
        watch, (graphs, lines) = self._backend, self._told
        if watch is None or watch.graphs == graphs:
            return
        self.acted()
        new, more = watch.graphs - graphs, ""
        if lines + 1 == _TOLD:
            more = "; more of them are not told"
        if watch.failures:
            more += f"; {len(watch.failures)} run as they are: {watch.failures[0]}"
            watch.failures = []
        if lines < _TOLD or "run as they are" in more:
            verb = "compiled" if lines == 0 else f"recompiled at {when} (other shapes):"
            notice(f"Compile: {verb} {new} graph{'s' if new > 1 else ''} in {watch.seconds:.1f} s{more}")
        watch.seconds, self._told = 0.0, (watch.graphs, lines + 1)

    def detach(self, module: ZooModule) -> None:
        super().detach(module)
        self._restore()

    def _restore(self) -> None:
        for part, _ in self._compiled:
            part._compiled_call_impl = None
        self._compiled = []

    def no_effect_hint(self) -> str:
        return "torch has compiled nothing of what a step calls; drop Compile"
