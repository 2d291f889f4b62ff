"""One safetensors file that says all of itself: weights, the configuration that they belong to, the preprocessing."""

import json
import os
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from zoo.errors import ZooError
from zoo.preprocessing import Preprocessing, describe, rebuild

_OURS = "preprocessing."
_KEY = "zoo"
_FORMAT = 1


class Stored(NamedTuple):
    """What a weights file holds.

    Attributes:
        weights: state of the module, in the precision of the file.
        config: the configuration of the run: model, data, seed_everything, trainer and so on, as plain data.
        preprocessing: what it was described as, see ``zoo.preprocessing.describe``; None where there is none.
        omitted: submodules that have no weights here, such as the discriminator of a game.
        fingerprint: of the data where their content may differ from one machine to another.
    """

    weights: dict[str, Tensor]
    config: dict[str, Any]
    preprocessing: dict[str, Any] | None
    omitted: tuple[str, ...] = ()
    fingerprint: str | None = None

    def build_preprocessing(self) -> Preprocessing | None:
        """The preprocessing, ready to use."""
        return None if self.preprocessing is None else rebuild(self.preprocessing)


def write(
    path: Path,
    weights: dict[str, Tensor],
    config: dict[str, Any],
    preprocessing: Preprocessing | None,
    omitted: tuple[str, ...] = (),
    fingerprint: str | None = None,
) -> None:
    """Write a weights file, whole or not at all; see Stored for what it holds."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    tensors = {name: tensor.clone() for name, tensor in tensors.items()}  # tied weights share memory
    described = None if preprocessing is None else describe(preprocessing)
    if described is not None:
        arguments = described["init_args"]
        learnt = {key: value for key, value in arguments.items() if isinstance(value, Tensor)}
        tensors |= {_OURS + key: value.contiguous().clone() for key, value in learnt.items()}
        described["init_args"] = {key: value for key, value in arguments.items() if key not in learnt}
    about = {
        "format": _FORMAT, "config": config, "preprocessing": described, "omitted": omitted, "fingerprint": fingerprint,
    }  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    # One key alone: safetensors writes several in random order, and equal content shall have an equal sha256.
    part.write_bytes(save(tensors, {_KEY: json.dumps(about, sort_keys=True)}))
    os.replace(part, path)


def read(content: bytes, source: str) -> Stored:
    """Read the content of a weights file; nothing in it can run.

    Raises:
        ZooError: it is damaged, or no file of the zoo.
    """
    try:
        tensors = load(content)
        size = int.from_bytes(content[:8], "little")
        header = json.loads(content[8 : 8 + size])
    except (SafetensorError, ValueError) as error:
        raise ZooError(f"{source} is cut short or damaged, or is no safetensors file ({error})") from None
    try:
        about = json.loads(header["__metadata__"][_KEY])
        found = about["format"]
    except (KeyError, TypeError, ValueError):
        raise ZooError(
            f"{source} holds weights alone and does not say of which network; --init_from takes such a file"
        ) from None
    if found != _FORMAT:
        raise ZooError(f"{source} has format {found}, this version reads {_FORMAT}; update lightning-zoo")
    described = about["preprocessing"]
    if described is not None:
        described["init_args"] |= {
            key.removeprefix(_OURS): tensor for key, tensor in tensors.items() if key.startswith(_OURS)
        }
    weights = {name: tensor for name, tensor in tensors.items() if not name.startswith(_OURS)}
    return Stored(weights, about["config"], described, tuple(about["omitted"]), about["fingerprint"])


def rounded(module: torch.nn.Module, dtype: torch.dtype) -> dict[str, Tensor]:
    """The module's state with its parameters in ``dtype``; buffers, such as scales and bins, keep their precision."""
    parameters = {name for name, parameter in module.named_parameters(remove_duplicate=False)}
    return {
        name: tensor.to(dtype) if name in parameters and tensor.is_floating_point() else tensor
        for name, tensor in module.state_dict().items()
    }
