"""Where a fit starts: trained weights by name, run or file, and layers that stay as they are."""

import re
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.errors import ZooError

if TYPE_CHECKING:
    from torch import Tensor

FREEZE = "callbacks.finetuning.freeze.Freeze"


def starting_weights(source: str) -> "dict[str, Tensor]":
    """The weights to start from: a run folder, a checkpoint, a .safetensors file, a packed name, or ``scheme:rest``.

    Raises:
        ZooError: there are none.
    """
    from zoo.init_from import read_weights
    from zoo.pretrained import FETCHERS
    from zoo.weights import file, index

    path = Path(source)
    scheme, colon, rest = source.partition(":")
    if colon and scheme in FETCHERS:
        module, _, function = FETCHERS[scheme].partition(":")
        folder: Path = getattr(import_module(module), function)(rest)
        return read_weights(next(iter(sorted(folder.glob("*.safetensors"))), folder))
    if path.exists() or path.suffix in (".ckpt", ".safetensors"):
        return read_weights(path)
    try:
        entry = index.find(source)
    except ZooError as error:
        raise ZooError(f"--init_from takes the folder of a run, a file, or a packed name: {error}") from None
    return file.read(index.verified(entry), entry.file).weights


def frozen(parts: list[str]) -> list[dict[str, Any]]:
    """The techniques that ``--freeze PART`` stands for; a plain name means that submodule alone.

    >>> frozen(["backbone"])[0]["init_args"]
    {'match': '^backbone$'}
    """
    return [
        {
            "class_path": FREEZE,
            "init_args": {"match": f"^{re.escape(part)}$" if re.fullmatch(r"[\w.]+", part) else part},
        }
        for part in parts
    ]
