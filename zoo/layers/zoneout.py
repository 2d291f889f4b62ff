"""Zoneout: some units of a recurrent layer keep their old state for a step."""

from typing import TypeAlias, cast

import torch
from torch import Tensor, nn

from zoo.layers.dropout import DropoutLayer

# What a layer goes on from: (h,) or, of an LSTM, (h, c), each (1, B, width).
LayerState: TypeAlias = tuple[Tensor, ...]


class Zoneout(DropoutLayer):
    """Each unit of a new state keeps its old value with probability p; in evaluation the mean of both is taken.

    s_t = d s_{t-1} + (1 - d) s~_t, with d ~ Bernoulli(p) for each unit, sample and step, and p for d in evaluation.
    Krueger et al., "Zoneout: regularizing RNNs by randomly preserving hidden activations", 2017, section 3.

    Args:
        p: probability in [0, 1) of keeping the old value.
    """

    called = "zoneout"

    def forward(self, new: Tensor, old: Tensor) -> Tensor:
        """Two states of one shape -> the state to go on from."""
        if self.p == 0:
            return new
        if not self.training:
            return torch.lerp(new, old, self.p)
        return torch.where(torch.rand(new.shape, device=new.device) < self.p, old, new)


def read_with_zoneout(
    layer: nn.RNNBase, x: Tensor, state: LayerState | None, zoneout: Zoneout
) -> tuple[Tensor, LayerState]:
    """What ``layer(x, state)`` gives, with zoneout on every part of the state, in a loop over the steps.

    Args:
        layer: one layer in one direction, batch first.
        x: (B, T, in_features).
        state: to begin with; None is zeros.
        zoneout: acts behind each step.

    Returns:
        outputs (B, T, width), and the state after step T.
    """
    outputs = []
    for step in x.split(1, 1):
        given = state if state is None or len(state) > 1 else state[0]
        _, end = layer(step, given)
        new = cast(LayerState, end if isinstance(end, tuple) else (end,))
        old = state or tuple(torch.zeros_like(part) for part in new)
        state = tuple(zoneout(n, o) for n, o in zip(new, old, strict=True))
        outputs.append(state[0][0])  # (B, width)
    assert state is not None
    return torch.stack(outputs, 1), state
