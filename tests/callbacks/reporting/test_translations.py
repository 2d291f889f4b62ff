"""Translations: BLEU of known pairs, the command line from fit to predict, two processes, resume."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.loggers.logger import DummyLogger

from callbacks.reporting.translations import Translations, bleu
from datamodules.translation_files import TranslationFiles
from tests.tools import StopAt, Stopped, quiet_trainer
from zoo.cli.main import main as zoo
from zoo.encoder_decoder import EncoderDecoder
from zoo.errors import ZooError
from zoo.layers.transformer import BlockDesign
from zoo.mlp import MLP
from zoo.task import Classification, Translation

SIZE = 300


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Numbers, to be said backwards."""
    generator = torch.Generator().manual_seed(0)
    (tmp_path / "texts").mkdir()
    for split, count in (("train", 64), ("val", 13), ("test", 11)):
        rows = [torch.randint(0, 10, (4,), generator=generator).tolist() for _ in range(count)]
        for language, step in (("en", 1), ("de", -1)):
            lines = [" ".join(map(str, row[::step])) for row in rows]
            (tmp_path / "texts" / f"{split}.{language}").write_text("\n".join(lines) + "\n")
    return tmp_path / "texts"


def make(folder: Path) -> tuple[EncoderDecoder, TranslationFiles]:
    torch.manual_seed(0)
    module = EncoderDecoder(SIZE, Translation(SIZE, 0.1), width=16, layers=1, dropout=0.2, block=BlockDesign(heads=2))
    data = TranslationFiles(str(folder), batch_size=16, vocabulary_size=SIZE, pool=2, eval_batch_size=4)
    return module, data


class Recorder(DummyLogger):
    """A logger that takes texts."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[list[list[str]]] = []

    def log_text(self, key: str, columns: list[str], data: list[list[str]]) -> None:
        assert columns == ["source", "translation", "reference"]
        self.texts.append(data)


def test_bleu_of_known_pairs() -> None:
    said = ["the cat sat on the mat today", "a dog"]
    assert bleu(said, said).score == pytest.approx(100)
    assert bleu(["x y z"], ["a b c"]).score == 0
    # 1- to 4-grams that fit: 6 of 7, 4 of 6, 2 of 5, 1 of 4; as long as its reference.
    score, signature = bleu(["the cat sat on the red mat"], ["the cat sat on a red mat"])
    assert score == pytest.approx(100 * (6 / 7 * 4 / 6 * 2 / 5 * 1 / 4) ** 0.25)
    assert signature.startswith("nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:")


def test_texts_after_each_validation(folder: Path, tmp_path: Path) -> None:
    module, data = make(folder)
    logger = Recorder()
    callback = Translations(tmp_path, num=2)
    quiet_trainer(callbacks=[callback], max_epochs=2, logger=logger).fit(module, datamodule=data)
    assert sorted(file.name for file in (tmp_path / "texts").glob("epoch*")) == ["epoch_0001.txt", "epoch_0002.txt"]
    sources, references = data.texts["val"]
    x, _, lengths, _ = data.splits["val"][torch.arange(2)]
    said = [data.vocabulary.decode(row) for row in module.translate(x, lengths)]
    rows = [list(row) for row in zip(sources, said, references)][:2]
    assert logger.texts[-1] == rows
    shown = (tmp_path / "texts" / "epoch_0002.txt").read_text()
    first = f"source      {sources[0]}\ntranslation {rows[0][1]}\nreference   {references[0]}\n"
    assert shown.startswith(f"{first}\nsource")


def test_training_does_not_notice(folder: Path, tmp_path: Path) -> None:
    ends = []
    for callbacks in ([], [Translations(tmp_path)]):
        module, data = make(folder)
        quiet_trainer(callbacks=callbacks, max_epochs=2).fit(module, datamodule=data)
        ends.append(module.state_dict())
    assert all(torch.equal(tensor, ends[1][name]) for name, tensor in ends[0].items())


def test_a_run_that_was_cut_off_goes_on_to_the_bit(folder: Path, tmp_path: Path) -> None:
    def fit(callbacks: list[Callback], ckpt: Path | None = None) -> EncoderDecoder:
        module, data = make(folder)
        trainer = quiet_trainer(callbacks=callbacks, max_epochs=3)
        trainer.fit(module, datamodule=data, ckpt_path=ckpt, weights_only=True if ckpt else None)
        return module

    whole = fit([])
    for epoch, batch in ((0, 1), (1, 2)):
        with pytest.raises(Stopped):
            fit([StopAt(tmp_path / "last.ckpt", epoch, batch)])
        again = fit([], tmp_path / "last.ckpt").state_dict()
        assert all(torch.equal(tensor, again[name]) for name, tensor in whole.state_dict().items())


def test_two_processes_measure_what_one_does(folder: Path, tmp_path: Path) -> None:
    found: list[Any] = []
    for name, settings in (("one", {}), ("two", {"strategy": "ddp_fork", "devices": 2})):
        module, data = make(folder)
        with torch.no_grad():
            module.head.weight.mul_(3)
        (tmp_path / name).mkdir()
        trainer = quiet_trainer(callbacks=[Translations(tmp_path / name, num=11)], **settings)
        trainer.test(module, datamodule=data, verbose=False)
        metrics = {key: float(value) for key, value in trainer.callback_metrics.items()}
        found.append((metrics, json.loads((tmp_path / name / "translations_test.json").read_text())))
    (first, first_kept), (second, second_kept) = found
    assert first == pytest.approx(second, rel=1e-5)
    assert {"test/bleu", "test/bleu_of_copying", "test/perplexity", "test/accuracy", "test/loss"} == first.keys()
    assert first_kept == second_kept
    assert [row[0] for row in first_kept["texts"]] == (folder / "test.en").read_text().splitlines()


def test_two_processes_train_as_one_does(folder: Path) -> None:
    weights = []
    for world, settings in ((1, {}), (2, {"strategy": "ddp_fork", "devices": 2})):
        module, _ = make(folder)
        for layer in module.modules():
            if isinstance(layer, torch.nn.Dropout):
                layer.p = 0.0
        data = TranslationFiles(str(folder), batch_size=16 // world, vocabulary_size=SIZE, pool=2, eval_batch_size=4)
        module.optimizer_factories["network"] = lambda network: torch.optim.SGD(network.parameters(), lr=0.01)
        keeper = Keeps(folder.parent / f"{world}.pt")
        quiet_trainer(callbacks=[keeper], max_epochs=2, **settings).fit(module, datamodule=data)
        weights.append(torch.load(keeper.file, weights_only=True))
    # Targets have all four words, so that the mean of two means over tokens is the mean over all.
    torch.testing.assert_close(*weights, rtol=1e-4, atol=1e-5)


class Keeps(Callback):
    """Leaves the weights of the first process in a file."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        if trainer.is_global_zero:
            torch.save({name: p.detach() for name, p in pl_module.named_parameters()}, self.file)


def test_from_fit_to_predict(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                             capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    monkeypatch.setenv("ZOO_RUNS", str(tmp_path / "runs"))
    monkeypatch.delenv("ZOO_RUN_DIR", raising=False)
    zoo(["fit", "--model", "EncoderDecoder", "--model.task", "Translation", "--model.width=16", "--model.layers=1",
         "--data", "TranslationFiles", f"--data.folder={folder}", f"--data.vocabulary_size={SIZE}",
         "--trainer.max_epochs=1", "--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false"])  # fmt: skip
    (run,) = (path for path in (tmp_path / "runs").rglob("config.yaml"))
    run = run.parent
    assert (run / "texts" / "epoch_0001.txt").is_file()
    assert (run / "figures" / "attention.png").is_file()
    assert "padding is not read" in capsys.readouterr().out
    (folder / "train.en").write_text("another text\n" * 64)  # decoded as it was trained all the same
    zoo(["test", str(run), "--trainer.enable_progress_bar=false"])
    kept = json.loads((run / "translations_test.json").read_text())
    said = capsys.readouterr().out
    assert f"({kept['signature']}) over 11 sentences" in said
    metrics = json.loads((run / "test.json").read_text())
    assert metrics["test/bleu"] == pytest.approx(kept["bleu"])
    zoo(["predict", str(run), "--trainer.enable_progress_bar=false"])
    lines = (run / "predictions.txt").read_text().split("\n")
    assert len(lines) == 12
    assert lines[:3] == [row[1] for row in kept["texts"]]


def test_it_is_for_translators(tmp_path: Path) -> None:
    with pytest.raises(ZooError, match="num must be at least 1"):
        Translations(tmp_path, num=0)
    from datamodules.digits import Digits

    trainer = quiet_trainer(callbacks=[Translations(tmp_path)], limit_test_batches=1)
    with pytest.raises(ZooError, match="needs data with texts in two languages, not Digits; drop it"):
        trainer.test(MLP(64, Classification(10)), datamodule=Digits(), verbose=False)
