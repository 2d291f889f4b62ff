"""Files of tokens: written in a stream, mapped, every window once, resumed, refused; documents read apart."""

import itertools
import json
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from datamodules.bpe import BPE, END
from datamodules.bpe_text import BPEText
from datamodules.token_file import MappedSplit, Sidecar, TokenFile, main, read_sidecar, write_documents, write_tokens
from tests.tools import StopAt, Stopped, quiet_trainer
from zoo.cli.main import main as zoo
from zoo.errors import DataError, ZooError
from zoo.task import LanguageModeling
from zoo.transformer import GPT, documents

V = 12


def drawn(count: int, seed: int = 0) -> list[int]:
    return torch.randint(0, V, (count,), generator=torch.Generator().manual_seed(seed)).tolist()


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    train, val = tmp_path / "train.bin", tmp_path / "val.bin"
    write_tokens(train, [drawn(200), drawn(300, 1)], V, END)
    write_tokens(val, [drawn(100, 2)], V, END)
    return train, val


def make(files: tuple[Path, Path], **options: Any) -> TokenFile:
    data = TokenFile(**{"train": str(files[0]), "val": str(files[1]), "batch_size": 4, "window": 10, **options})
    data.setup("fit")
    return data


def test_what_is_written_is_read(files: tuple[Path, Path]) -> None:
    assert read_sidecar(files[0]) == Sidecar("uint16", 500, V, END, None)
    assert files[0].stat().st_size == 1000
    split = MappedSplit(files[0], 10)
    assert split.tokens.tolist() == drawn(200) + drawn(300, 1)
    x, y, starts = split[torch.tensor([7, 489])]
    assert torch.equal(x[:, 1:], y[:, :-1])
    assert x[1].tolist() == split.tokens[489:499].tolist()
    assert y[1, -1] == split.tokens[499]
    assert x.dtype == y.dtype == torch.int64
    assert starts.tolist() == [7, 489]


def test_many_tokens_take_four_bytes(tmp_path: Path) -> None:
    assert write_tokens(tmp_path / "a.bin", [[2**16]], 2**16 + 1).dtype == "uint32"
    assert write_tokens(tmp_path / "b.bin", [[2**16 - 1]], 2**16).dtype == "uint16"
    assert MappedSplit(tmp_path / "a.bin", 1).tokens.tolist() == [2**16]


def test_every_window_once_an_epoch_in_another_order(files: tuple[Path, Path]) -> None:
    data, orders = make(files), []
    for epoch in (0, 1):
        loader = data.train_dataloader()
        loader.sampler.set_epoch(epoch)
        batches = list(loader)
        starts = torch.cat([batch[2] for batch in batches])
        assert (starts.sort().values.diff() == 10).all()
        assert len(starts) == 49
        orders.append(starts.tolist())
    assert orders[0] != orders[1]
    again = make(files).train_dataloader()
    assert torch.cat([batch[2] for batch in again]).tolist() == orders[0]
    assert torch.cat([batch[2] for batch in data.val_dataloader()]).tolist() == list(range(0, 90, 10))


def test_the_file_is_not_read_as_a_whole(files: tuple[Path, Path]) -> None:
    data = make(files)
    split = data.splits["train"]
    assert isinstance(split, MappedSplit)
    assert "tokens" not in vars(split), "nothing is mapped before the first batch"
    split[torch.tensor([0])]
    assert isinstance(split.tokens, np.memmap)
    assert len(pickle.dumps(split)) < 1000
    in_workers = make(files, num_workers=1)
    first = next(iter(in_workers.train_dataloader()))
    assert torch.equal(first[0], next(iter(data.train_dataloader()))[0])


def test_tokens_outside_the_vocabulary_are_refused(files: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"c.bin: token 12 at position 3 lies outside 0..11"):
        write_tokens(tmp_path / "c.bin", [[1, 2], [3, 12]], V)
    with files[0].open("r+b") as handle:
        handle.seek(2 * 123)
        handle.write(np.array([999], "<u2").tobytes())
    with pytest.raises(DataError, match=r"train.bin: token 999 at position 123 lies outside 0..11"):
        list(make(files).train_dataloader())


def test_files_that_do_not_fit(files: tuple[Path, Path], tmp_path: Path) -> None:
    def refused(message: str, **options: Any) -> None:
        with pytest.raises(DataError, match=message):
            make(files, **options)

    refused("no file .*none.bin; python -m datamodules.token_file writes", val=str(tmp_path / "none.bin"))
    refused("val.bin: 100 tokens are too few for 100 and one behind", window=100)
    refused("window must be at least 1", window=0)
    write_tokens(tmp_path / "other.bin", [drawn(100)], V + 1, END)
    refused("other.bin is in another encoding than .*train.bin", val=str(tmp_path / "other.bin"))
    write_tokens(tmp_path / "one.bin", [drawn(100)], V)
    with pytest.raises(DataError, match=r"one.bin does not say which token ends a document; leave out apart"):
        _ = TokenFile(str(tmp_path / "one.bin"), str(tmp_path / "one.bin"), apart=True).document_end
    with files[1].open("ab") as handle:
        handle.write(b"x")
    refused("val.bin has 201 bytes instead of the 200 of 100 tokens; it was cut off or changed")
    (tmp_path / "val.bin.json").write_text(json.dumps({"dtype": "uint16"}))
    refused("val.bin.json is no description of tokens")


def gpt(data: TokenFile, **options: Any) -> GPT:
    torch.manual_seed(0)
    task = LanguageModeling(data.vocabulary_size)
    return GPT(data.vocabulary_size, data.window, task, 8, 1, dropout=0.1, document_end=data.document_end, **options)


def test_a_run_that_was_cut_off_goes_on_to_the_bit(files: tuple[Path, Path], tmp_path: Path) -> None:
    def fit(*callbacks: Any, ckpt: Path | None = None) -> GPT:
        data = make(files, apart=True)
        module = gpt(data)
        trainer = quiet_trainer(callbacks=list(callbacks), max_epochs=2)
        trainer.fit(module, datamodule=data, ckpt_path=ckpt, weights_only=True if ckpt else None)
        return module

    whole = fit()
    with pytest.raises(Stopped):
        fit(StopAt(tmp_path / "last.ckpt", 1, 3))
    again = fit(ckpt=tmp_path / "last.ckpt").state_dict()
    assert all(torch.equal(tensor, again[name]) for name, tensor in whole.state_dict().items())


# Documents in one window --------------------------------------------------------------------------------------------


def test_documents_and_places_by_hand() -> None:
    document, place = documents(torch.tensor([[5, 1, 5, 5, 1, 1, 5], [1, 5, 5, 5, 5, 5, 5]]), 1)
    assert document.tolist() == [[0, 0, 1, 1, 1, 2, 3], [0, 1, 1, 1, 1, 1, 1]]
    assert place.tolist() == [[0, 1, 0, 1, 2, 0, 0], [0, 0, 1, 2, 3, 4, 5]]


@pytest.mark.parametrize("position", ["learned", "sinusoidal", "rotary"])
def test_each_document_is_read_as_it_is_alone(position: Any) -> None:
    torch.manual_seed(0)
    texts = [torch.tensor(text) for text in ([3, 4, 5, 1], [1], [6, 7, 1], [8, 9, 2, 3])]
    for end in (1, None):
        module = GPT(V, 12, LanguageModeling(V), 8, 2, position, document_end=end).eval()
        with torch.no_grad():
            packed = module(torch.cat(texts)[None])[0].split([len(text) for text in texts])
            alone = [module(text[None])[0] for text in texts]
        for own, said in zip(alone, packed):
            same = torch.allclose(own, said, atol=1e-6)
            assert same if end is not None or own is alone[0] else not same


def test_texts_go_on_with_a_cache_as_without() -> None:
    torch.manual_seed(0)
    module = GPT(V, 16, LanguageModeling(V), 8, 2, "rotary", document_end=1)
    with torch.no_grad():
        module.embedding.weight.mul_(20)
    prompt = torch.tensor([[3, 1, 4, 5], [6, 7, 8, 1]])
    torch.manual_seed(1)
    first = module.generate(prompt, 20)
    torch.manual_seed(1)
    assert torch.equal(first, module.generate(prompt, 20, cached=False))
    assert (first[:, 4:] == 1).any(), "ends are written too"


# From texts ---------------------------------------------------------------------------------------------------------


def test_documents_come_in_a_stream(tmp_path: Path) -> None:
    encoding = BPE.trained_on(["a b c"], 258)
    asked = itertools.count()

    def stream() -> Iterator[str]:
        for number in range(2500):
            next(asked)
            yield f"text {number}"

    sidecar = write_documents(tmp_path / "a.bin", stream(), encoding)
    assert next(asked) == 2500
    split = MappedSplit(tmp_path / "a.bin", 4)
    assert sidecar.tokens == len(split.tokens)
    texts = "".join(chr(1) if token == END else encoding.decode(torch.tensor([token])) for token in split.tokens)
    assert texts.split(chr(1)) == [*(f"text {number}" for number in range(2500)), ""]


def test_from_texts_to_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                             capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    (tmp_path / "a.txt").write_text("one two\nthree\n\n\nfour five six\n\n" * 60)
    (tmp_path / "b.txt").write_text("two three\n\nfour\n" * 30)
    train, val = str(tmp_path / "train.bin"), str(tmp_path / "val.bin")
    main([str(tmp_path / "a.txt"), "--out", train, "--vocabulary_size", "280"])
    main([str(tmp_path / "b.txt"), "--out", val, "--encoding", train])
    data = make((Path(train), Path(val)), apart=True)
    assert (data.vocabulary_size, data.document_end) == (280, END)
    tokens = torch.tensor(MappedSplit(Path(train), 4).tokens.astype(np.int64))
    ends = (tokens == END).nonzero()[:, 0].tolist()
    assert len(ends) == 120
    assert data.vocabulary.decode(tokens[: ends[0]]) == "one two\nthree"
    assert data.vocabulary.decode(tokens[ends[0] : ends[1]]) == "four five six"
    with pytest.raises(SystemExit):
        main([str(tmp_path / "none.txt"), "--out", train])
    monkeypatch.setenv("ZOO_RUNS", str(tmp_path / "runs"))
    monkeypatch.delenv("ZOO_RUN_DIR", raising=False)
    zoo(["fit", "--model", "GPT", "--model.task", "LanguageModeling", "--model.width=8", "--model.layers=1",
         "--data", "TokenFile", f"--data.train={train}", f"--data.val={val}", "--data.window=8", "--data.apart=true",
         "--trainer.max_epochs=1", "--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false"])  # fmt: skip
    said = capsys.readouterr().out
    assert "the future is not read" in said
    (run,) = (path.parent for path in (tmp_path / "runs").rglob("config.yaml"))
    assert f"document_end: {END}" in (run / "config.yaml").read_text()
    assert "--- given" in (run / "texts" / "epoch_0001.txt").read_text()


def test_bpe_text(tmp_path: Path) -> None:
    text = "the house of the dog and the house of the cat\n" * 60
    (tmp_path / "a.txt").write_text(text)
    data = BPEText(str(tmp_path / "a.txt"), vocabulary_size=280, window=8, batch_size=4)
    data.setup("fit")
    assert data.vocabulary_size == 280
    parts = [data.vocabulary.decode(data._tokens(name)) for name in ("train", "val", "test")]
    assert "".join(parts) == text
    assert len(data.train_targets) < len(parts[0]) / 2
    for x, y, starts in data.train_dataloader():
        assert torch.equal(x[:, 1:], y[:, :-1])
        assert torch.equal(x[0], data.train_targets[starts[0] : starts[0] + 8])
    state = data.state_dict()
    (tmp_path / "b.txt").write_text("other words\n" * 200)
    other = BPEText(str(tmp_path / "b.txt"), vocabulary_size=280, window=8)
    other.setup("fit")
    own = len(other.train_targets)
    other.load_state_dict(state)
    assert len(other.train_targets) > own, "numbered as the network was trained"
    with pytest.raises(ZooError, match="vocabulary_size must be at least 258"):
        BPEText(vocabulary_size=10)
