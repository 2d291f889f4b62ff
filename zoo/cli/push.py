"""``zoo push``: weights with their card to a folder, the Hugging Face Hub or Weights & Biases."""

import argparse
import os
import re
import tempfile
from pathlib import Path
from typing import Any

from callbacks.reporting.wandb import choose_mode
from zoo.cli.card import model_card
from zoo.cli.trained import network
from zoo.errors import ZooError
from zoo.export.formats import need
from zoo.notice import notice
from zoo.pretrained import Pretrained
from zoo.redact import redact
from zoo.sharing import CARD, WEIGHTS, write_weights


def push(argv: list[str]) -> None:
    """Write weights, configuration, preprocessing and card where others find them; zoo.load takes them from there.

    Keys are those of `hf auth login` and `wandb login`; this command neither takes nor keeps one.
    """
    parser = argparse.ArgumentParser(prog="zoo push", description=push.__doc__, allow_abbrev=False)
    parser.add_argument("source", metavar="RUN|NAME", help="folder of a run, or a name of `zoo list pretrained`")
    parser.add_argument("target", help="a folder, hub:USER/NAME, or wandb:[ENTITY/]PROJECT/NAME")
    parser.add_argument("--public", action="store_true", help="of a new repository of the Hub; private otherwise")
    arguments = parser.parse_args(argv)
    scheme, colon, rest = arguments.target.partition(":")
    loaded, source = network(arguments.source), Path(arguments.source)
    if colon and scheme == "hub":
        place = push_to_hub(loaded, rest, source, private=not arguments.public)
    elif colon and scheme == "wandb":
        place = push_to_wandb(loaded, rest, source)
    else:
        place = str(write_folder(loaded, Path(arguments.target), source))
    print(f"weights and card in {place}")


def write_folder(loaded: Pretrained, folder: Path, source: Path, load_from: str | None = None) -> Path:
    """A folder with ``model.safetensors`` and ``README.md``, which ``zoo.load`` takes.

    Raises:
        ZooError: what is needed to pack the network is not at hand.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_weights(loaded, folder / WEIGHTS)
    (folder / CARD).write_text(redact(model_card(loaded, source, load_from or str(folder))))
    return folder


def push_to_hub(loaded: Pretrained, repo: str, source: Path, private: bool = True, api: Any = None) -> str:
    """Upload to a repository of the Hub, which is made where there is none.

    Args:
        loaded: the network.
        repo: ``user/name``.
        source: the folder of its run, where there is one, for the card.
        private: of a repository that is made.
        api: a ``huggingface_hub.HfApi``; by default one with the key of `hf auth login`.

    Returns:
        where it is, as ``zoo.load`` takes it.

    Raises:
        ZooError: the name is none, there is no key, or the Hub refuses.
    """
    need("huggingface_hub", extra="hub")
    if not re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", repo):
        raise ZooError(f"hub:{repo}: a repository is named hub:USER/NAME")
    if api is None:
        from huggingface_hub import HfApi

        api = HfApi()
    place = f"hub:{repo}"
    with tempfile.TemporaryDirectory() as name:
        folder = write_folder(loaded, Path(name), source, place)
        try:
            api.create_repo(repo_id=repo, exist_ok=True, private=private)
            api.upload_folder(repo_id=repo, folder_path=str(folder), commit_message=f"zoo push of {_title(loaded)}")
        except Exception as error:
            reason = redact(" ".join(str(error).split()))[:300]
            raise ZooError(f"{place}: the upload failed: {reason} (logged in? `hf auth login`)") from error
    return place


def push_to_wandb(loaded: Pretrained, target: str, source: Path) -> str:
    """Log an artifact of the type "model", in a run of its own; recorded offline where there is no key.

    Args:
        loaded: the network.
        target: ``project/name``, or ``entity/project/name``.
        source: the folder of its run, where there is one, for the card.

    Returns:
        where it is, as ``zoo.load`` takes it.

    Raises:
        ZooError: the name is none, or the service refuses.
    """
    if not re.fullmatch(r"([\w.-]+/){1,2}[\w.-]+", target):
        raise ZooError(f"wandb:{target}: an artifact is named wandb:PROJECT/NAME or wandb:ENTITY/PROJECT/NAME")
    import wandb

    *entity, project, name = target.split("/")
    place = f"wandb:{target}:latest"
    # An offline run has its files read when it is synced, so they have to stay.
    kept = (source if source.is_dir() else Path(os.environ.get("ZOO_RUNS", "runs"))) / "wandb"
    kept.mkdir(parents=True, exist_ok=True)
    settings = wandb.Settings(console="off", silent=True, x_disable_stats=True, x_disable_meta=True)
    try:
        with wandb.init(
            project=project, entity=entity[0] if entity else None, job_type="push", dir=str(kept.parent),
            mode=choose_mode(), settings=settings,
        ) as run:  # fmt: skip
            folder = write_folder(loaded, Path(run.dir).parent / "artifact", source, place)
            artifact = wandb.Artifact(name, "model", metadata=_metadata(loaded))
            for file in (WEIGHTS, CARD):
                artifact.add_file(str(folder / file), file, policy="immutable", skip_cache=True)
            run.log_artifact(artifact)
            if run.offline:
                notice(f"recorded offline; to send it: wandb sync {Path(run.dir).parent}")
    except (wandb.Error, OSError) as error:
        raise ZooError(f"wandb:{target}: {redact(' '.join(str(error).split()))[:300]}") from error
    return place


def _metadata(loaded: Pretrained) -> dict[str, Any]:
    known: dict[str, Any] = {"recipe": _title(loaded), "network": type(loaded.module).__name__}
    if loaded.entry is not None:
        known |= {"metric": loaded.entry.measured.name, "value": loaded.entry.measured.value}
    return known


def _title(loaded: Pretrained) -> str:
    return str(loaded.config.get("recipe") or type(loaded.module).__name__)
