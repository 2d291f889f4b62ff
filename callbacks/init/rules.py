"""Which tensors of which layer an init scheme fills, and how: the rules for each type of layer, in one place.

| layer | weights | biases | notes |
|---|---|---|---|
| linear | by the scheme | 0 | |
| convolution | by the scheme, group by group | 0 | each group is a small convolution of its own |
| transposed convolution | as the convolution that it is | 0 | fan_in = in_channels / groups * kernel size |
| embedding | by the scheme | | (num_embeddings, embedding_dim); the padding row stays 0 |
| RNN, LSTM, GRU and their cells | by the scheme, gate by gate | 0 | W_ih, W_hh and the projection of an LSTM |
| multi-head attention | by the scheme; query, key, value one by one | 0 | |
| norms, PReLU and all others | untouched | untouched | |

Gains and biases of normalisation layers are left at the 1 and 0 with which torch makes them: no scheme here speaks of
them, and so it does not matter whether ``ZeroInitResidual`` comes before or after another scheme. The layer's weight
under a parametrisation (weight norm, spectral norm) is set through it; a weight that two layers share is filled once.
"""

from collections.abc import Callable
from typing import TypeAlias, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.nn.utils import parametrize

from zoo.errors import ZooError

Fill: TypeAlias = Callable[[Tensor], None]


def weight_blocks(layer: nn.Module) -> dict[str, int]:
    """Weights that a scheme fills, each with the number of independent matrices stacked along its first dimension.

    Returns:
        parameter name -> number of blocks (groups, gates, or 1); empty for a layer that has no such weights.
    """
    match layer:
        case _ConvNd():
            return {"weight": layer.groups}
        case nn.Linear() | nn.Embedding() | nn.EmbeddingBag():
            return {"weight": 1}
        case nn.RNNBase():
            gates = {"LSTM": 4, "GRU": 3}.get(layer.mode, 1)
            kinds = {"weight_ih": gates, "weight_hh": gates, **({"weight_hr": 1} if layer.proj_size else {})}
            return {f"{kind}_{place}": blocks for place in _places(layer) for kind, blocks in kinds.items()}
        case nn.RNNCellBase():
            gates = 4 if isinstance(layer, nn.LSTMCell) else 3 if isinstance(layer, nn.GRUCell) else 1
            return {"weight_ih": gates, "weight_hh": gates}
        case nn.MultiheadAttention():
            if layer.in_proj_weight is not None:
                return {"in_proj_weight": 3}
            return {"q_proj_weight": 1, "k_proj_weight": 1, "v_proj_weight": 1}
        case _:
            return {}


def bias_names(layer: nn.Module) -> list[str]:
    """Biases that start at zero, of a layer that has ``weight_blocks``."""
    match layer:
        case nn.RNNBase():
            return [f"bias_{kind}_{place}" for place in _places(layer) for kind in ("ih", "hh")] if layer.bias else []
        case nn.RNNCellBase():
            return ["bias_ih", "bias_hh"] if layer.bias else []
        case nn.MultiheadAttention():
            return [] if layer.in_proj_bias is None else ["in_proj_bias"]
        case _ConvNd() | nn.Linear():
            return [] if layer.bias is None else ["bias"]
        case _:
            return []


@torch.no_grad()
def fill_layer(layer: nn.Module, fill: Fill, done: set[int]) -> None:
    """Fill all weights of one layer and set its biases to zero.

    Args:
        layer: any module; one without ``weight_blocks`` is left as it is.
        fill: writes one block in place. A block is a contiguous float32 (or float64) tensor in the layout of a
            convolution or linear layer, (out, in, *kernel), whatever the layout and precision of the layer.
        done: identities of the parameters that were filled before; those are skipped, and new ones are added.
    """
    for name, blocks in weight_blocks(layer).items():
        source = id(_stored(layer, name))
        if source in done:
            continue
        done.add(source)
        weight = cast(Tensor, getattr(layer, name))
        stacked = weight.detach().unflatten(0, (blocks, -1))  # (blocks, out, in, *kernel)
        if isinstance(layer, _ConvTransposeNd):
            stacked = stacked.transpose(1, 2)  # torch stores (in, out, *kernel)
        # A copy, because schemes flatten blocks and factorise them, which needs a contiguous float32.
        stacked = stacked.to(torch.promote_types(weight.dtype, torch.float32)).clone(
            memory_format=torch.contiguous_format
        )
        for block in stacked:
            fill(block)
        if isinstance(layer, _ConvTransposeNd):
            stacked = stacked.transpose(1, 2)
        filled = stacked.flatten(0, 1)
        if isinstance(layer, nn.Embedding | nn.EmbeddingBag) and layer.padding_idx is not None:
            filled[layer.padding_idx] = 0
        assign(layer, name, filled)
    for name in bias_names(layer):
        cast(Tensor, getattr(layer, name)).zero_()


@torch.no_grad()
def assign(layer: nn.Module, name: str, value: Tensor) -> None:
    """Write ``value`` into a weight, through its parametrisation where it has one.

    Raises:
        ZooError: the parametrisation cannot be turned round, or cannot express the value (weight norm and zeros).
    """
    weight = cast(Tensor, getattr(layer, name))
    if not parametrize.is_parametrized(layer, name):
        weight.copy_(value)
        return
    kinds = ", ".join(type(step).__name__ for step in _parametrizations(layer, name))
    try:
        setattr(layer, name, torch.empty_like(weight).copy_(value))
    except (NotImplementedError, RuntimeError) as error:
        reason = str(error).splitlines()[0] or "it has no right_inverse"
        raise ZooError(f"its {name} is parametrised by {kinds} and cannot be set: {reason}") from error
    _settle(layer, name)
    if not cast(Tensor, getattr(layer, name)).isfinite().all():
        raise ZooError(f"its {name} is parametrised by {kinds}, which cannot express this value")


def _settle(layer: nn.Module, name: str, looks: int = 30) -> None:
    """Let a parametrisation that learns by being used, as spectral norm does, forget the value before."""
    steps = _parametrizations(layer, name)
    training = steps.training
    steps.train()
    for _ in range(looks):
        getattr(layer, name)
    steps.train(training)


def _places(layer: nn.RNNBase) -> list[str]:
    """Suffixes of the parameters of each layer and direction: l0, l0_reverse, l1, ..."""
    directions = ["", "_reverse"] if layer.bidirectional else [""]
    return [f"l{depth}{direction}" for depth in range(layer.num_layers) for direction in directions]


def _parametrizations(layer: nn.Module, name: str) -> parametrize.ParametrizationList:
    return cast(parametrize.ParametrizationList, cast(nn.ModuleDict, layer.parametrizations)[name])


def _stored(layer: nn.Module, name: str) -> Tensor:
    """The parameter behind a weight: itself, or the first one that its parametrisation keeps."""
    if parametrize.is_parametrized(layer, name):
        return cast(Tensor, next(_parametrizations(layer, name).parameters()))
    return cast(Tensor, getattr(layer, name))
