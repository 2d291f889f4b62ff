"""Texts of a language model: what is written, where it goes, and that the run does not notice."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.loggers.logger import DummyLogger

from callbacks.reporting.texts import Texts
from datamodules.char_text import CharText
from tests.tools import quiet_trainer
from zoo.cli.main import main as zoo
from zoo.errors import ZooError
from zoo.mlp import MLP
from zoo.rnn_language_model import RNNLanguageModel
from zoo.task import Classification, LanguageModeling


class Recorder(DummyLogger):
    """A logger that takes texts."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[list[list[str]]] = []

    def log_text(self, key: str, columns: list[str], data: list[list[str]]) -> None:
        assert (key, columns) == ("texts", ["given", "written"])
        self.texts.append(data)


def fit(*callbacks: Any, dropout: float = 0.2, **settings: Any) -> RNNLanguageModel:
    torch.manual_seed(0)
    data = CharText(limit=20_000, window=16, batch_size=8, mode="streams", eval_batch_size=4)
    data.setup("fit")
    size = data.vocabulary_size
    module = RNNLanguageModel(size, LanguageModeling(size), 8, 16, dropout=dropout, stateful=True)
    settings = {"limit_train_batches": 5, "limit_val_batches": 2, "max_epochs": 3, **settings}
    quiet_trainer(callbacks=list(callbacks), **settings).fit(module, datamodule=data)
    return module


def test_texts_after_each_validation(tmp_path: Path) -> None:
    logger = Recorder()
    module = fit(Texts(tmp_path, num=2, length=30, prompt=5, temperature=0), logger=logger)
    files = sorted((tmp_path / "texts").iterdir())
    assert [file.name for file in files] == ["epoch_0001.txt", "epoch_0002.txt", "epoch_0003.txt"]
    data = CharText(limit=20_000, window=16, batch_size=8, mode="streams", eval_batch_size=4)
    data.setup("fit")
    raw = next(iter(data.val_dataloader()))
    prompts = raw[0][:2, :5]
    written = module.generate(prompts, 30, 0)  # the likeliest tokens of the final weights, which no noise moves
    expected = [[data.vocabulary.decode(row[:5]), data.vocabulary.decode(row[5:])] for row in written]
    assert logger.texts[-1] == expected
    assert len(logger.texts) == 3
    shown = files[-1].read_text()
    for given, rest in expected:
        assert f"--- given: {given!r}\n{given}{rest}\n" in shown


def test_the_noise_is_the_same_each_time(tmp_path: Path) -> None:
    loggers = [Recorder(), Recorder()]
    for logger in loggers:
        fit(Texts(tmp_path, length=40, temperature=1.0), logger=logger, max_epochs=1)
        torch.rand(5)  # where the run's own generator stands does not matter
    assert loggers[0].texts == loggers[1].texts
    assert len({text for _, text in loggers[0].texts[0]}) == 3, "each text has noise of its own"


def test_temperature_and_intervals_matter(tmp_path: Path) -> None:
    cold, hot = Recorder(), Recorder()
    fit(Texts(tmp_path, temperature=0.0, every_n_epochs=2), logger=cold)
    fit(Texts(tmp_path, temperature=2.0, every_n_epochs=2), logger=hot)
    assert len(cold.texts) == len(hot.texts) == 2, "after the second epoch and after the last"
    assert len(set(cold.texts[-1][0][1])) < len(set(hot.texts[-1][0][1]))


def test_a_run_is_the_same_with_and_without(tmp_path: Path) -> None:
    ends = [fit(*callbacks).state_dict() for callbacks in ([], [Texts(tmp_path)])]
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


def test_tensorboard_gets_texts(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    board = TensorBoardLogger(tmp_path)
    fit(Texts(tmp_path, num=1, length=10), logger=board, max_epochs=1)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(board.log_dir).Reload()
    assert events.Tags()["tensors"] == ["texts/text_summary"]


def test_a_default_of_language_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                      capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    zoo(["fit", "-c", "rnn/stdlib_char", "--trainer.max_epochs=1", "--trainer.limit_train_batches=2",
         "--trainer.limit_val_batches=1", "--trainer.enable_progress_bar=false", "--model.hidden=8",
         "--data.limit=60000", "--trainer.callbacks+=Texts", "--trainer.callbacks.folder=here",
         "--trainer.callbacks.length=20"])  # fmt: skip
    assert len(list((tmp_path / "here" / "texts").iterdir())) == 1
    assert not (tmp_path / "runs" / "rnn" / "stdlib_char" / "latest" / "texts").exists(), "one's own takes its place"


def test_errors(tmp_path: Path) -> None:
    with pytest.raises(ZooError, match="Texts: length must be at least 1, got 0"):
        Texts(tmp_path, length=0)
    with pytest.raises(ZooError, match="Texts: temperature must be at least 0, got -1"):
        Texts(tmp_path, temperature=-1)
    from datamodules.wine import Wine

    with pytest.raises(ZooError, match="Texts shows what a language model writes, and MLP writes none; drop it"):
        quiet_trainer(callbacks=[Texts(tmp_path)]).fit(MLP(13, Classification(3)), datamodule=Wine())
