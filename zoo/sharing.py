"""Weights for and from elsewhere: repositories of the Hugging Face Hub, artifacts of Weights & Biases, local folders.

Only files of weights are fetched, which hold no code; what they say of their network goes through the same checks as
any configuration. Keys are found where the two services keep them, and are never asked for here.
"""

import re
import shutil
from pathlib import Path

from zoo.errors import ZooError
from zoo.export.formats import need
from zoo.gan import GAN
from zoo.pretrained import Pretrained
from zoo.redact import redact
from zoo.weights import file as weights_file
from zoo.weights.portable import portable

WEIGHTS, CARD = "model.safetensors", "README.md"


def write_weights(loaded: Pretrained, path: Path) -> None:
    """A weights file in full precision, as ``zoo.load`` takes it; of a game the generator alone.

    Raises:
        ZooError: the preprocessing is not known.
    """
    if not loaded.config:
        raise ZooError(f"{loaded.name} cannot be packed without its data: point ZOO_DATA at them")
    omitted = ("discriminator",) if isinstance(loaded.module, GAN) else ()
    weights = {k: v for k, v in loaded.module.state_dict().items() if k.split(".")[0] not in omitted}
    weights_file.write(path, weights, portable(loaded.config), loaded.preprocessing, omitted)


def from_hub(source: str) -> Path:
    """The folder of a repository's weights and card.

    Args:
        source: ``user/name``, or ``user/name@revision``.

    Raises:
        ZooError: no such repository or revision, it holds no weights of the zoo, or the Hub cannot be reached.
    """
    need("huggingface_hub", extra="hub")
    from huggingface_hub import snapshot_download

    name, _, revision = source.partition("@")
    if not re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)?", name):
        raise ZooError(f"hub:{source}: a repository is named hub:USER/NAME, or hub:USER/NAME@REVISION")
    try:
        folder = Path(snapshot_download(name, revision=revision or None, allow_patterns=[WEIGHTS, CARD]))
    except Exception as error:  # of the network, of the service, of its cache: a dozen classes
        raise ZooError(f"hub:{source} cannot be fetched: {_one_line(error)}") from error
    if not (folder / WEIGHTS).is_file():
        raise ZooError(f"hub:{source} holds no {WEIGHTS}; it was not written by zoo push")
    return folder


def from_wandb(source: str) -> Path:
    """The folder of an artifact: one of ``zoo push``, or the best checkpoint that a run has logged.

    Args:
        source: ``entity/project/artifact:version``; the entity may be left out.

    Raises:
        ZooError: no such artifact, it holds no weights, or the service cannot be reached.
    """
    import wandb

    if not re.fullmatch(r"([\w.-]+/){1,2}[\w.-]+:[\w.-]+", source):
        raise ZooError(
            f"wandb:{source}: an artifact is named wandb:ENTITY/PROJECT/NAME:VERSION, such as :latest or :v3"
        )
    try:
        folder = Path(wandb.Api().artifact(source, type="model").download())
    except Exception as error:
        raise ZooError(f"wandb:{source} cannot be fetched: {_one_line(error)}") from error
    checkpoint = folder / "model.ckpt"
    if checkpoint.is_file() and (folder / "config.yaml").is_file():
        best = folder / "checkpoints" / "best.ckpt"  # as the folder of a run has it
        best.parent.mkdir(exist_ok=True)
        shutil.copyfile(checkpoint, best)
    elif not any(folder.glob("*.safetensors")):
        raise ZooError(f"wandb:{source} holds neither {WEIGHTS} nor model.ckpt with its config.yaml")
    return folder


def _one_line(error: Exception) -> str:
    text: str = redact(" ".join(str(error).split()))
    return text[:300] or type(error).__name__
