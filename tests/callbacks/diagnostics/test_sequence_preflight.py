"""Preflight of sequences: each check finds a planted fault, all recipes pass, and a run is the same to the bit."""

import random
import re
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn

from callbacks.diagnostics.sequence_checks import read_future, read_padding, read_targets
from callbacks.diagnostics.sequence_preflight import CHECKS, Check, SequencePreflight
from datamodules.char_text import CharText
from datamodules.japanese_vowels import JapaneseVowels
from datamodules.sequence_csv import SequenceCSV
from tests.callbacks.diagnostics.preflight_checks import Overlaps, ScalesEverything, fault, fit, linear, series
from tests.tools import quiet_trainer
from zoo.batch import Batch
from zoo.cli.compose import names
from zoo.cli.main import main as zoo
from zoo.errors import ZooError
from zoo.forecasting import DLinear
from zoo.layers.readout import Readout
from zoo.module import SupervisedModule
from zoo.recurrent_forecaster import RecurrentForecaster
from zoo.rnn import RNN
from zoo.rnn_language_model import RNNLanguageModel
from zoo.task import Classification, Forecasting, LanguageModeling, Tagging

RECIPES = [name for name in names() if name.startswith("rnn/")]
ALIKE = ["--trainer.max_epochs=1", "--trainer.limit_train_batches=1", "--trainer.limit_val_batches=1",
         "--trainer.enable_progress_bar=false", "--trainer.enable_checkpointing=false"]  # fmt: skip


# Padding -------------------------------------------------------------------------------------------------------------


class ReadsPadding(RNN):
    """Forgets the lengths of its sequences."""

    def forward_batch(self, batch: Batch) -> Tensor:
        return cast(Tensor, self(batch.x))


class ReadsPaddingBackwards(RNN):
    """Reads out well, but its second direction begins with the padding."""

    def forward_batch(self, batch: Batch) -> Tensor:
        outputs, _ = self.encoder(batch.x)
        assert self.readout is not None
        return cast(Tensor, self.head(self.readout(outputs, batch.lengths)))


@pytest.mark.parametrize("readout", ["last", "mean", "attention"])
def test_a_network_that_reads_padding(readout: Readout) -> None:
    said = fault(JapaneseVowels(), ReadsPadding(12, Classification(9), 8, readout=readout))
    assert re.match(r"ReadsPadding: padded steps change the answer by \S+ in sequence \d of the batch", said)
    # The recurrent layer is innocent, for its valid steps are the same.
    assert f"first shows in readout ({readout.capitalize()}Readout)" in said
    assert said.endswith("SequencePreflight with checks that leave out 'padding' lets it pass")


def test_a_second_direction_that_begins_with_padding() -> None:
    module = ReadsPaddingBackwards(12, Classification(9), 8, bidirectional=True, readout="mean")
    assert "first shows in what is given to encoder.layers.0.backwards (LSTM)" in fault(JapaneseVowels(), module)


@pytest.mark.parametrize("lengths", [[5, 9, 3, 7, 9, 4], [9, 9, 9, 9, 9]])
@pytest.mark.parametrize("multiple", [1, 4])
def test_padding_is_found_whatever_the_lengths(lengths: list[int], multiple: int) -> None:
    steps = -(-max(lengths) // multiple) * multiple
    x = torch.randn(len(lengths), steps, 12)
    x *= (torch.arange(steps) < torch.tensor(lengths)[:, None])[..., None]
    batch = Batch(x, torch.zeros(len(lengths)), torch.tensor(lengths))
    for task in (Classification(3), Tagging(3)):
        with torch.no_grad():
            assert read_padding(RNN(12, task, 8, 2, bidirectional=True).eval(), batch, multiple) is None
    with torch.no_grad():
        assert read_padding(ReadsPadding(12, Classification(3), 8).eval(), batch, multiple) is not None


def test_a_last_layer_of_zeros_hides_nothing() -> None:
    module = ReadsPadding(12, Classification(9), 8)
    nn.init.zeros_(module.head.weight)
    assert "padded steps change the answer" in fault(JapaneseVowels(), module)
    assert not module.head.weight.any(), "the weights are those of before"


# The future ----------------------------------------------------------------------------------------------------------


def steps_csv(folder: Path) -> SequenceCSV:
    rows = ["id,value,tag", *[f"{i},{(7 * i + 3 * t) % 11},{'ab'[t % 2]}" for i in range(12) for t in range(5 + i % 4)]]
    (folder / "steps.csv").write_text("\n".join(rows) + "\n")
    return SequenceCSV(str(folder / "steps.csv"), "id", "tag", kind="tagging", val_fraction=0.4)


def test_a_tagger_that_says_it_is_causal_and_is_not(tmp_path: Path) -> None:
    module = RNN(1, Tagging(2), 8, bidirectional=True)
    fit(steps_csv(tmp_path), module, SequencePreflight())  # it does not say so
    module = RNN(1, Tagging(2), 8, bidirectional=True)
    module.causal = True
    said = fault(steps_csv(tmp_path), module)
    assert said.startswith("RNN: later steps change the answer at earlier ones by")
    assert "first shows in what is given to encoder.layers.0.backwards (LSTM)" in said


class Peeks(RNNLanguageModel):
    """A language model with a convolution that reaches one token ahead."""

    causal = False  # what it says does not matter: it predicts the next token

    def __init__(self, vocabulary_size: int, task: LanguageModeling) -> None:
        super().__init__(vocabulary_size, task, 8, 8)
        self.mix = nn.Conv1d(8, 8, 3, padding=1)

    def logits(self, features: Tensor) -> Tensor:
        return super().logits(self.mix(features.mT).mT)


def test_a_language_model_that_peeks() -> None:
    data = CharText(limit=20_000, window=16)
    data.setup("fit")
    said = fault(data, Peeks(data.vocabulary_size, LanguageModeling(data.vocabulary_size)))
    assert "first shows in mix (Conv1d)" in said


@pytest.mark.parametrize("steps", [1, 2, 3, 40])
def test_causal_networks_pass_at_every_length(steps: int) -> None:
    tokens = torch.randint(30, (5, steps))
    with torch.no_grad():
        model = RNNLanguageModel(30, LanguageModeling(30), 8, 8, stateful=True).eval()
        assert read_future(model, Batch(tokens, tokens)) is None
        assert model.carried["eval"].end is None, "no state stays behind"
        x = torch.randn(5, steps, 3)
        assert read_future(RNN(3, Tagging(4), 8, 2).eval(), Batch(x, lengths=torch.full((5,), steps))) is None


class Oracle(RecurrentForecaster):
    """Feeds the true values in evaluation too."""

    def forward_batch(self, batch: Batch) -> Tensor:
        x, statistics = self.normalize(batch.x)
        return self.denormalize(self.decode_steps(x, self.normalize_targets(batch.y, statistics)), statistics)


def test_a_forecast_from_its_own_targets(tmp_path: Path) -> None:
    data = series(tmp_path)
    data.setup("fit")
    oracle = Oracle(1, 8, Forecasting(1, 4), hidden=4, decoder="autoregressive", teacher_forcing="always")
    assert "Oracle: the targets change the forecast in evaluation" in fault(data, oracle)
    x, y = torch.randn(3, 8, 1), torch.randn(3, 4, 1)
    honest = RecurrentForecaster(1, 8, Forecasting(1, 4), hidden=4, decoder="autoregressive").eval()
    with torch.no_grad():
        assert read_targets(honest, Batch(x, y)) is None


# The run ------------------------------------------------------------------------------------------------------------


class Normed(RNN):
    """With batch norm, dropout and a state of numpy's and Python's generators that is drawn from."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more, dropout=0.3)
        self.norm = nn.BatchNorm1d(self.head.in_features)
        self.norm.eval()  # an odd flag that must stay as it is

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        outputs, _ = self.encoder(x, lengths)
        assert self.readout is not None
        return cast(Tensor, self.head(self.dropout(self.norm(self.readout(outputs, lengths)))))


class Witness(Callback):
    """What a run looks like before its first step."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.flags = [module.training for module in pl_module.modules()]
        self.weights = {name: value.clone() for name, value in pl_module.state_dict().items()}
        numpy = cast(tuple[Any, ...], np.random.get_state())  # noqa: NPY002
        self.generators = [torch.get_rng_state().tolist(), random.getstate(), numpy[1].tolist()]
        self.stage, self.hooks = trainer.state.stage, sum(len(m._forward_hooks) for m in pl_module.modules())
        carried = pl_module.carried if isinstance(pl_module, RNNLanguageModel) else {}
        self.states = [(state.start, state.end) for state in carried.values()]


def speakers() -> tuple[Any, SupervisedModule]:
    return JapaneseVowels(), Normed(12, Classification(9), 8)


def text() -> tuple[Any, SupervisedModule]:
    data = CharText(limit=20_000, window=16, batch_size=8, mode="streams", eval_batch_size=4)
    data.setup("fit")
    size = data.vocabulary_size
    return data, RNNLanguageModel(size, LanguageModeling(size), 8, 8, dropout=0.2, stateful=True)


@pytest.mark.parametrize("make", [speakers, text], ids=["speakers", "text"])
def test_a_run_is_the_same_with_and_without(make: Any, capsys: pytest.CaptureFixture[str]) -> None:
    ends = []
    for preflight in ([], [SequencePreflight()]):
        torch.manual_seed(0)
        data, module = make()
        before, after = Witness(), Witness()
        callbacks = [before, *preflight, after]
        fit(data, module, *callbacks, max_epochs=2, limit_train_batches=4, num_sanity_val_steps=1)
        assert vars(before).keys() == vars(after).keys()
        for name in ("flags", "generators", "stage", "hooks"):
            assert getattr(before, name) == getattr(after, name), name
        assert all(s is t for one, other in zip(before.states, after.states) for s, t in zip(one, other))
        assert all(torch.equal(before.weights[name], after.weights[name]) for name in before.weights)
        ends.append(module.state_dict())
    assert "preflight passed in" in capsys.readouterr().out
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


def test_a_run_that_goes_on_is_not_checked_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, module = speakers()
    fit(data, module, SequencePreflight()).save_checkpoint(tmp_path / "last.ckpt")
    assert capsys.readouterr().out.count("preflight passed") == 1
    trainer = quiet_trainer(max_epochs=2, limit_train_batches=1, callbacks=[SequencePreflight()])
    data, module = speakers()
    trainer.fit(module, datamodule=data, ckpt_path=tmp_path / "last.ckpt", weights_only=True)
    assert "preflight" not in capsys.readouterr().out


def test_checks_can_be_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ZooError, match="no check 'paddding'; there are padding, future, cache, scaler, splits"):
        SequencePreflight(cast(Any, ["paddding"]))
    faults: dict[Check, tuple[Any, SupervisedModule]] = {
        "padding": (JapaneseVowels(), ReadsPadding(12, Classification(9), 8)),
        "scaler": (series(tmp_path, ScalesEverything), linear()),
        "splits": (series(tmp_path, Overlaps), linear()),
    }
    for check, (data, module) in faults.items():
        fit(data, module, SequencePreflight([other for other in CHECKS if other != check]))
    capsys.readouterr()
    fit(*speakers(), SequencePreflight([]))
    assert "preflight" not in capsys.readouterr().out


def ett(folder: Path) -> Path:
    """A file of ETTh1's form: 20 months of waves and noise."""
    rows, names = 20 * 30 * 24, ["HUFL", "HULL", "MUFL", "MULL", "LUFL", "LULL", "OT"]
    hours = np.arange(rows)
    values = np.sin(hours[:, None] / 24 * 2 * np.pi) + np.random.default_rng(0).normal(size=(rows, len(names)))
    stamps = np.datetime_as_string(np.datetime64("2016-07-01T00", "h") + hours, unit="s")
    lines = [
        f"{str(stamp).replace('T', ' ')},{','.join(f'{v:.3f}' for v in row)}" for stamp, row in zip(stamps, values)
    ]
    (folder / "ett").mkdir()
    (folder / "ett" / "ETTh1.csv").write_text("\n".join([f"date,{','.join(names)}", *lines]) + "\n")
    return folder


def shakespeare(folder: Path) -> Path:
    from datamodules.shakespeare import Shakespeare

    (folder / "tinyshakespeare").mkdir()
    (folder / "tinyshakespeare" / "input.txt").write_text(1000 * Shakespeare.characters)
    return folder


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_passes(recipe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                             capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    options = []
    for word, make in (("ett", ett), ("shakespeare", shakespeare)):
        if recipe.startswith(f"rnn/{word}"):
            options = [f"--data.root={make(tmp_path)}"]
    zoo(["fit", "-c", recipe, *ALIKE, *options])
    said = capsys.readouterr().out
    passed = re.search(r"preflight passed in [\d.]+ s: (.*)", said)
    assert passed, "it is on by default"
    expected = {"ett": "scaled by training rows alone; nothing is scored on training targets", "char": "the future",
                "vowels": "padding is not read"}  # fmt: skip
    for word, line in expected.items():
        assert word not in recipe or line in passed[1]


def test_it_can_be_switched_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    zoo(["fit", "-c", "rnn/japanese_vowels", *ALIKE, "--trainer.callbacks+=SequencePreflight",
         "--trainer.callbacks.checks=[]"])  # fmt: skip
    assert "preflight" not in capsys.readouterr().out


def test_a_linear_forecast_has_nothing_to_pad() -> None:
    module = DLinear(1, 8, Forecasting(1, 4), kernel=3)
    with torch.no_grad():
        assert read_targets(module.eval(), Batch(torch.randn(3, 8, 1), torch.randn(3, 4, 1))) is None
