"""What init schemes of recurrent layers share: which layers those are, and where their gates lie.

torch stacks the gates along the first dimension of W_hh (G H, H) and of each bias (G H,):

| layer | G | gates | what keeps the state |
|---|---|---|---|
| LSTM | 4 | input, forget, cell, output | the forget gate f: c' = f c + i g |
| GRU | 3 | reset, update, new | the update gate z: h' = z h + (1 - z) n |
| RNN | 1 | | none |
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from callbacks.init.rules import assign, bias_names, weight_blocks
from callbacks.init.scheme import InitScheme
from callbacks.technique import UnsupportedModule
from zoo.module import ZooModule


class Gates(NamedTuple):
    """Where the gates that say how long a state lasts stand among those of a layer.

    Attributes:
        number: G.
        keep: the one that multiplies the old state.
        write: the one that multiplies what is new, where it is a gate of its own.
    """

    number: int
    keep: int | None = None
    write: int | None = None


def gates_of(layer: nn.Module) -> Gates:
    """The gates of a recurrent layer or cell."""
    if isinstance(layer, nn.LSTM | nn.LSTMCell):
        return Gates(4, keep=1, write=0)
    return Gates(3, keep=1) if isinstance(layer, nn.GRU | nn.GRUCell) else Gates(1)


class RecurrentScheme(InitScheme, ABC):
    """Base of the schemes for recurrent layers alone: a subclass says how W_hh of one gate is filled; the rest stays.

    Args:
        layers: a regular expression that is searched in the names of the recurrent layers, such as
            ``encoder.layers.0.forwards``; all of them when null.
    """

    inputs = ("sequences", "tokens")

    def __init__(self, layers: str | None = None) -> None:
        super().__init__(layers)

    def select(self, module: ZooModule) -> dict[str, nn.Module]:
        """Recurrent layers that pass the filter, by name."""
        found = {name: m for name, m in module.named_modules() if isinstance(m, nn.RNNBase | nn.RNNCellBase)}
        if not found:
            raise UnsupportedModule(
                f"{self.name} does not support {type(module).__name__}: it has no recurrent layer; drop {self.name} or"
                " choose a recurrent network"
            )
        return self.restrict(module, found)

    @torch.no_grad()
    def fill(self, module: ZooModule) -> None:
        """Fill the state-to-state matrices, gate by gate."""
        for layer in self.select(module).values():
            for name, gates in weight_blocks(layer).items():
                if name.startswith("weight_hh"):
                    weight: Tensor = getattr(layer, name)
                    precise = weight.detach().to(torch.promote_types(weight.dtype, torch.float32), copy=True)
                    for block in precise.unflatten(0, (gates, -1)):  # each (H, H)
                        self.init_(block)
                    assign(layer, name, precise)


class GateBias(RecurrentScheme, ABC):
    """Base of the schemes that set the biases of the gates that keep and write the state; other biases stay.

    torch's layers add two bias vectors. What is wanted goes into ``bias_ih`` whole, and the same gates of ``bias_hh``
    become zero, so that the sum is what the formula says.

    Attributes:
        writes: whether the gate that writes is set too, where there is one.
    """

    writes: ClassVar[bool] = False

    @abstractmethod
    def init_(self, weight: Tensor) -> None:
        """Fill in place: (1, H) of the gate that keeps; (2, H), with the one that writes, where ``writes``."""

    @torch.no_grad()
    def fill(self, module: ZooModule) -> None:
        for name, layer in self.select(module).items():
            gates = gates_of(layer)
            if gates.keep is None:
                raise UnsupportedModule(
                    f"{self.name}: {name} is a {type(layer).__name__}, which has no gates; use an LSTM or GRU, or leave"
                    " it out with layers"
                )
            chosen = [gates.keep] if gates.write is None or not self.writes else [gates.keep, gates.write]
            for ours, theirs in _bias_pairs(self, name, layer):
                wanted = ours.new_empty(len(chosen), len(ours) // gates.number)
                self.init_(wanted)
                ours.view(gates.number, -1)[chosen] = wanted
                theirs.view(gates.number, -1)[chosen] = 0


def _bias_pairs(scheme: InitScheme, name: str, layer: nn.Module) -> Iterator[tuple[Tensor, Tensor]]:
    """(bias_ih, bias_hh) of each depth and direction."""
    names = bias_names(layer)
    if not names:
        raise UnsupportedModule(f"{scheme.name}: {name} has no biases; build it with bias=True, or drop {scheme.name}")
    biases = [getattr(layer, each) for each in names]
    yield from zip(biases[::2], biases[1::2], strict=True)
