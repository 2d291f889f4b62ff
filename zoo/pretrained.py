"""Trained networks that take what a person has: weights of the package, of a run, or of a file."""

import copy
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from zoo.batch import Batch
from zoo.checkpoint_io import AtomicCheckpointIO
from zoo.errors import ZooError
from zoo.from_run import build, data_from_run
from zoo.gan import GAN
from zoo.module import SupervisedModule, ZooModule
from zoo.predictions import Prediction, on_cpu, prediction
from zoo.preprocessing import Preprocessing, describe
from zoo.task import LanguageModeling
from zoo.tasks.translation import Translation
from zoo.translating import BEAM
from zoo.weights import file as weights_file
from zoo.weights import index
from zoo.weights.file import Stored
from zoo.weights.index import Entry

# Where weights can be fetched from: "scheme:rest" -> "module:function", which takes the rest and gives a local path.
FETCHERS: dict[str, str] = {"hub": "zoo.sharing:from_hub", "wandb": "zoo.sharing:from_wandb"}


class Pretrained:
    """A trained network with the preprocessing that belongs to it.

    Args:
        module: the network, in evaluation mode.
        preprocessing: from raw samples to inputs; None for a network that takes its inputs as they are.
        name: of the recipe, or where the weights come from.
        config: the configuration of the run, as plain data.
        entry: of the index, for weights that come with the package.

    Attributes:
        module, preprocessing, name, config, entry: as given.
    """

    def __init__(
        self,
        module: ZooModule,
        preprocessing: Preprocessing | None,
        name: str,
        config: dict[str, Any],
        entry: Entry | None = None,
    ) -> None:
        self.module = module.eval()
        self.preprocessing, self.name, self.config, self.entry = preprocessing, name, config, entry

    def __repr__(self) -> str:
        size = sum(parameter.numel() for parameter in self.module.parameters())
        reached = f", {self.entry.measured}" if self.entry else ""
        return f"Pretrained({self.name!r}: {type(self.module).__name__}, {size:,} parameters{reached})"

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the classes or targets; empty where they have none."""
        return self.preprocessing.outputs if self.preprocessing is not None else ()

    def to(self, device: torch.device | str) -> "Pretrained":
        """Move the network; returns itself."""
        self.module.to(device)
        return self

    @torch.no_grad()
    def predict(self, raw: Any, batch_size: int = 256) -> Prediction:
        """Labels with probabilities, or values in original units, of raw samples; on the CPU.

        Args:
            raw: one sample or several, see ``preprocessing``: pictures, rows, sequences, series or texts.
            batch_size: samples at a time.

        Raises:
            ZooError: the samples are not what the network takes, or it makes samples rather than predicting.
        """
        module = self.module
        if not isinstance(module, SupervisedModule):
            raise ZooError(f"{self.name} makes samples and predicts nothing; use sample(num)")
        if isinstance(module.task, Translation):
            raise ZooError(f"{self.name} predicts tokens beside those of a target; use translate(text)")
        x, lengths = self.inputs(raw)
        if lengths is not None and isinstance(module.task, LanguageModeling):
            x, lengths = _latest(x, lengths, getattr(module, "window", None))
        sizes = None if lengths is None else lengths.to(module.device)
        answers = []
        for start in range(0, len(x), batch_size):
            part = slice(start, start + batch_size)
            batch = Batch(x[part].to(module.device), lengths=None if sizes is None else sizes[part])
            answers.append(module.forward_batch(batch))
        return on_cpu(prediction(module.task, torch.cat(answers), self.outputs, sizes))

    def inputs(self, raw: Any) -> tuple[Tensor, Tensor | None]:
        """What the network is given for raw samples: (B, ...), and the lengths (B,) of padded ones."""
        if self.preprocessing is not None:
            return self.preprocessing(raw)
        if not isinstance(raw, Tensor):
            raise ZooError(f"{self.name} has no preprocessing: give the network's own inputs as a tensor (N, ...)")
        return raw, None

    def generate(self, prompt: str | list[str], steps: int = 200, seed: int = 0, **options: Any) -> str | list[str]:
        """Go on with a text; the prompt is part of what comes back.

        Args:
            prompt: one text or several.
            steps: tokens to add.
            seed: of the draws.
            options: of the network's own ``generate``: temperature, top_k and so on.

        Raises:
            ZooError: the network writes no texts.
        """
        write = getattr(self.module, "generate", None)
        text = getattr(self.preprocessing, "text", None)
        if write is None or text is None:
            raise ZooError(f"{self.name} writes no texts; use {self._does()}")
        written = []
        for one in [prompt] if isinstance(prompt, str) else prompt:
            tokens, _ = self.inputs(one)
            with torch.random.fork_rng(_cuda(self.module.device)):
                torch.manual_seed(seed)
                written.append(text(write(tokens.to(self.module.device), steps, **options)[0].cpu()))
        return written[0] if isinstance(prompt, str) else written

    @torch.no_grad()
    def translate(self, source: str | list[str], beam: int = BEAM, **options: Any) -> str | list[str]:
        """Translate a text, or several.

        Args:
            source: one text or several, a sentence or so each.
            beam, options: of the network's own ``translate``: length_penalty and so on.

        Raises:
            ZooError: the network translates nothing.
        """
        translate = getattr(self.module, "translate", None)
        text = getattr(self.preprocessing, "text", None)
        if translate is None or text is None:
            raise ZooError(f"{self.name} translates nothing; use {self._does()}")
        tokens, lengths = self.inputs(source)
        device = self.module.device
        found = translate(tokens.to(device), None if lengths is None else lengths.to(device), beam, **options).cpu()
        texts = [text(row) for row in found]
        return texts[0] if isinstance(source, str) else texts

    def sample(
        self,
        num: int,
        labels: str | int | list[str] | list[int] | None = None,
        truncation: float | None = None,
        seed: int = 0,
    ) -> Tensor:
        """Samples of a generator, (num, *sample_shape); images lie in [0, 1], as ``predict`` takes them.

        Args:
            num: how many.
            labels: class of all samples, or of each; names or numbers. By default all classes in turn.
            truncation, seed: see ``GAN.sample``.

        Raises:
            ZooError: the network is no generator, or knows no such class.
        """
        if not isinstance(self.module, GAN):
            raise ZooError(f"{self.name} makes no samples; use {self._does()}")
        wanted = None if labels is None else torch.tensor(self.class_numbers(labels, num))
        made = self.module.sample(num, wanted, truncation, seed)
        return (made / 2 + 0.5).clamp(0, 1) if len(self.module.generator.sample_shape) == 3 else made

    def class_numbers(self, labels: str | int | list[str] | list[int], num: int) -> list[int]:
        """The class of each of so many samples, of names or numbers; ZooError where there is no such name."""
        each = labels if isinstance(labels, list) else [labels] * num
        names = list(self.outputs)
        for label in each:
            if isinstance(label, str) and label not in names:
                raise ZooError(f"{self.name} knows no class {label!r}; there are {', '.join(names)}")
        return [names.index(label) if isinstance(label, str) else label for label in each]

    def _does(self) -> str:
        """What the network is for, as the method is called."""
        if isinstance(self.module, GAN):
            return "sample"
        return "translate" if hasattr(self.module, "translate") else "predict"


def load(source: str | Path, pretrained: bool = True) -> Pretrained:
    """A trained network; see ``zoo.load``."""
    if not pretrained:
        return _untrained(str(source))
    scheme, colon, rest = str(source).partition(":")
    if colon and scheme in FETCHERS:
        module, _, function = FETCHERS[scheme].partition(":")
        fetch: Callable[[str], Path] = getattr(import_module(module), function)
        return load(fetch(rest))
    path = Path(source)
    if path.is_dir() or path.suffix in (".ckpt", ".safetensors"):
        return _from_path(path)
    entry = index.find(str(source))
    return from_stored(read_entry(entry), entry.name, entry)


def read_entry(entry: Entry, folder: Path = index.FOLDER) -> Stored:
    """The file of an entry of the index, once it is known to be the one that was packed."""
    return weights_file.read(index.verified(entry, folder), str(folder / entry.file))


def _untrained(name: str) -> Pretrained:
    """The network of a name with fresh weights, and the preprocessing that the packed one has."""
    stored = read_entry(index.find(name))
    return Pretrained(build_model(stored.config, name), stored.build_preprocessing(), name, stored.config)


def from_stored(stored: Stored, name: str, entry: Entry | None = None) -> Pretrained:
    """The network of a weights file.

    Raises:
        ZooError: its configuration names no model, or the weights are another's.
    """
    module = build_model(stored.config, name)
    fill(module, stored, name)
    return Pretrained(module, stored.build_preprocessing(), name, stored.config, entry)


def fill(module: ZooModule, stored: Stored, name: str) -> None:
    """Copy the stored weights into a module, which may lack nothing but what was left out of the file.

    Raises:
        ZooError: they are the weights of another network.
    """
    try:
        missing, unexpected = module.load_state_dict(stored.weights, strict=False)
    except RuntimeError as error:
        raise ZooError(f"the weights of {name} are not those of its network: {_one_line(error)}") from None
    lacking = [key for key in missing if key.split(".")[0] not in stored.omitted]
    if lacking or unexpected:
        what = f"no {lacking[0]}" if lacking else f"{unexpected[0]}, which it has not"
        raise ZooError(f"the weights of {name} are not those of its network: there is {what}")


def _from_path(path: Path) -> Pretrained:
    """A run folder, a checkpoint within one, or a weights file."""
    if path.suffix == ".safetensors":
        if not path.is_file():
            raise ZooError(f"no weights file {path}")
        return from_stored(weights_file.read(path.read_bytes(), str(path)), path.stem)
    checkpoint = path / "checkpoints" / "best.ckpt" if path.is_dir() else path
    run = path if path.is_dir() else path.parent.parent
    single = next(iter(sorted(path.glob("*.safetensors"))), None) if path.is_dir() else None
    if single is not None and not checkpoint.is_file():
        return _from_path(single)
    if not (run / "config.yaml").is_file():
        raise ZooError(f"{path} belongs to no run: there is no {run / 'config.yaml'}, which says what the network is")
    if not checkpoint.is_file():
        raise ZooError(f"{run} has no {checkpoint.name}; did the run finish its first epoch?")
    return from_stored(stored_from_run(run, checkpoint), str(path))


def stored_from_run(run: Path, checkpoint: Path | None = None) -> Stored:
    """What a run has kept, in full precision: its weights, its configuration, and the preprocessing of its data.

    Raises:
        ZooError: the folder is no run, or its checkpoint cannot be read safely.
    """
    kept = AtomicCheckpointIO().load_checkpoint(checkpoint or run / "checkpoints" / "best.ckpt")
    config = yaml.safe_load((run / "config.yaml").read_text()) or {}
    described = kept.get("zoo", {}).get("preprocessing")
    if described is None:  # a run of before there was one, or of data that have none
        described = _described_by_data(run)
    return Stored(kept["state_dict"], config, described)


def _described_by_data(run: Path) -> dict[str, Any] | None:
    data = data_from_run(run)
    make = getattr(data, "preprocessing", None)
    if make is None:
        return None
    data.prepare_data()
    data.setup("test")
    found = make()
    return None if found is None else describe(found)


def build_model(config: dict[str, Any], source: str) -> ZooModule:
    """The network that a configuration describes, with fresh weights; the random state is left as it was."""
    section = copy.deepcopy(config.get("model"))
    arguments = section.get("init_args") if isinstance(section, dict) else None
    if isinstance(arguments, dict) and "weights" in arguments:
        arguments["weights"] = None  # those that it began with need not be fetched to be written over
    with torch.random.fork_rng(devices=[]):  # fresh weights are drawn on the CPU
        return build(section, "model", ZooModule, source)


def _latest(x: Tensor, lengths: Tensor, window: int | None) -> tuple[Tensor, Tensor]:
    """The last ``window`` tokens of each text (B, T), which is as far as a transformer looks back."""
    if window is None or x.shape[1] <= window:
        return x, lengths
    columns = (lengths - window).clamp(min=0)[:, None] + torch.arange(window)
    return x.gather(1, columns), lengths.clamp(max=window)


def _cuda(device: torch.device) -> list[torch.device]:
    return [device] if device.type == "cuda" else []


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
