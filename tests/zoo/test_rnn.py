"""RNN and the language model: formulas, padding, carried state, resume to the bit, and that they learn real data."""

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor

from datamodules.char_text import CharText
from datamodules.japanese_vowels import JapaneseVowels
from tests.tools import StopAt, Stopped, quiet_trainer
from zoo.batch import Batch
from zoo.cli.main import main as zoo
from zoo.cli.summary import write_predictions
from zoo.errors import DataError, ZooError
from zoo.layers.padding import last_valid
from zoo.rnn import RNN
from zoo.rnn_language_model import RNNLanguageModel
from zoo.task import Classification, LanguageModeling, MultiLabel, Regression, Tagging, Task

LENGTHS = torch.tensor([3, 7, 1])


def draw() -> Tensor:
    return torch.randn(3, 7, 4, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("task", [Classification(5), Regression(2), MultiLabel(3), Tagging(5)])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_padding_never_moves_an_answer(task: Task, bidirectional: bool) -> None:
    module, x = RNN(4, task, 8, 2, bidirectional=bidirectional).eval(), draw()
    together = module.forward_batch(Batch(x, lengths=LENGTHS))
    for row, length in enumerate(LENGTHS.tolist()):
        alone = module(x[row : row + 1, :length])[0]
        torch.testing.assert_close(together[row, :length] if task.per_step else together[row], alone)


def test_the_formula() -> None:
    module, x = RNN(4, Classification(5), 8, cell="gru").eval(), draw()
    outputs, _ = module.encoder.layers[0].forwards(x)
    torch.testing.assert_close(module(x, LENGTHS), module.head(last_valid(outputs, LENGTHS)))


@pytest.mark.parametrize("readout", ["last", "mean", "max", "attention"])
@pytest.mark.parametrize("cell", ["rnn_tanh", "rnn_relu", "lstm", "gru"])
def test_every_weight_is_trained(readout: Any, cell: Any) -> None:
    module = RNN(4, Classification(5), 8, 2, cell, True, readout, dropout=0.2, norm="each", residual=True)
    module.training_step(Batch(draw(), torch.tensor([0, 1, 4]), LENGTHS), 0).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in module.parameters())
    assert module(module.example_input_array).shape == (2, 5)


def test_what_an_rnn_cannot_take() -> None:
    with pytest.raises(ZooError, match="RNN: Tagging answers at every step and reads nothing out; leave out readout"):
        RNN(4, Tagging(3), readout="mean")
    with pytest.raises(DataError, match=r"sequence 1 of the batch has length 0, outside 1..7"):
        RNN(4, Classification(3))(draw(), torch.tensor([3, 0, 1]))
    with pytest.raises(DataError, match=r"sequence 0 of the batch has length 8, outside 1..7"):
        RNN(4, Classification(3))(draw(), torch.tensor([8, 1, 1]))


def test_it_learns_who_says_a_vowel() -> None:
    torch.manual_seed(0)
    module = RNN(12, Classification(9), 32, bidirectional=True, readout="mean")
    module.optimizer_factories["network"] = lambda network: torch.optim.Adam(network.parameters(), lr=0.01)
    trainer = quiet_trainer(max_epochs=6)
    trainer.fit(module, datamodule=JapaneseVowels(batch_size=16))
    assert trainer.callback_metrics["val/accuracy"].item() > 0.85


# Language model -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's own tasks as a text: real, small, and always there."""
    file = tmp_path_factory.mktemp("text") / "text.txt"
    root = Path(__file__).resolve().parents[2] / "zoo" / "tasks"
    words = "".join(path.read_text() for path in sorted(root.glob("*.py")))
    file.write_text(words[:7_000])
    return file


def streams(file: Path) -> CharText:
    return CharText(
        str(file), batch_size=8, window=32, mode="streams", eval_batch_size=4, val_fraction=0.2, unknown_token=True
    )


def language_model(vocabulary_size: int, **arguments: Any) -> RNNLanguageModel:
    torch.manual_seed(0)
    task = LanguageModeling(vocabulary_size, "character")
    return RNNLanguageModel(vocabulary_size, task, **{"embedding_size": 16, "hidden": 24, **arguments})


def vocabulary(file: Path) -> int:
    data = streams(file)
    data.setup("fit")
    return data.vocabulary_size


def fit(file: Path, *callbacks: Any, ckpt: Path | None = None, **arguments: Any) -> tuple[RNNLanguageModel, Any]:
    size = vocabulary(file)
    module = language_model(size, **{"stateful": True, "dropout": 0.2, "embedding_dropout": 0.1, **arguments})
    trainer = quiet_trainer(callbacks=list(callbacks), max_epochs=2, num_sanity_val_steps=1)
    trainer.fit(module, datamodule=streams(file), ckpt_path=ckpt, weights_only=True if ckpt else None)
    return module, trainer


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("epoch", [0, 1])
def test_a_stateful_run_that_was_cut_off_goes_on_to_the_bit(text: Path, tmp_path: Path, cell: Any, epoch: int) -> None:
    whole, trainer = fit(text, cell=cell)
    with pytest.raises(Stopped):
        fit(text, StopAt(tmp_path / "cut.ckpt", epoch, 4), cell=cell)
    resumed, other = fit(text, ckpt=tmp_path / "cut.ckpt", cell=cell)
    for name, weight in whole.state_dict().items():
        assert torch.equal(weight, resumed.state_dict()[name]), name
    assert trainer.callback_metrics["val/loss"] == other.callback_metrics["val/loss"]


def test_without_its_state_a_resumed_run_would_differ(text: Path, tmp_path: Path) -> None:
    whole, _ = fit(text)
    with pytest.raises(Stopped):
        fit(text, StopAt(tmp_path / "cut.ckpt", 1, 4))
    (tmp_path / "cut.ckpt.sha256").unlink()
    checkpoint = torch.load(tmp_path / "cut.ckpt", weights_only=True)
    assert [tuple(part.shape) for part in checkpoint["zoo"].pop("state")] == [(1, 1, 8, 24)] * 2
    torch.save(checkpoint, tmp_path / "cut.ckpt")
    resumed, _ = fit(text, ckpt=tmp_path / "cut.ckpt")
    assert not torch.equal(whole.head.weight, resumed.head.weight)


def test_batches_of_a_stream_are_one_long_text() -> None:
    module = language_model(20, stateful=True).eval()
    tokens = torch.randint(20, (3, 30))
    parts = []
    for index, part in enumerate(tokens.split(10, 1)):
        module.on_validation_batch_start(None, index)
        again = module.forward_batch(Batch(part))  # a batch that is looked at twice begins at the same place
        parts.append(module.forward_batch(Batch(part)))
        assert torch.equal(again, parts[-1])
    whole = module(tokens)
    torch.testing.assert_close(torch.cat(parts, 1), whole)
    module.on_validation_batch_start(None, 0)
    torch.testing.assert_close(module.forward_batch(Batch(tokens[:, :10])), whole[:, :10])


def test_training_and_evaluation_have_states_of_their_own_and_gradients_stop() -> None:
    module = language_model(20, stateful=True)
    tokens = torch.randint(20, (3, 10))
    module.forward_batch(Batch(tokens))
    module.eval().forward_batch(Batch(tokens[:2]))
    train, evaluation = module.carried["train"].end, module.carried["eval"].end
    assert train is not None
    assert evaluation is not None
    assert (train[0][0].shape[1], evaluation[0][0].shape[1]) == (3, 2)
    assert not any(part.requires_grad for layer in train for part in layer)


def test_rows_that_have_no_state() -> None:
    module = language_model(20, stateful=True).eval()
    module.forward_batch(Batch(torch.zeros(3, 5, dtype=torch.int64)))
    module.on_test_batch_start(None, 1)
    with pytest.raises(DataError, match="a batch of 2 rows follows one of 3, so there is no state for each"):
        module.forward_batch(Batch(torch.zeros(2, 5, dtype=torch.int64)))


@pytest.mark.parametrize(("embedding_size", "mapped"), [(24, False), (16, True)])
def test_tied_embeddings_are_one_weight(embedding_size: int, mapped: bool) -> None:
    module = language_model(20, tied=True, embedding_size=embedding_size)
    assert module.head.weight is module.embedding.weight
    assert isinstance(module.projection, torch.nn.Linear) == mapped
    logits = module(torch.randint(20, (64, 16)))
    assert 0.01 < logits.std().item() < 2
    module.training_step(Batch(torch.randint(20, (2, 5)), torch.randint(20, (2, 5))), 0).backward()
    assert all(p.grad is not None for p in module.parameters())


def test_it_learns_what_comes_next_and_writes(text: Path) -> None:
    size = vocabulary(text)
    module = language_model(size, hidden=48, stateful=True)
    module.optimizer_factories["network"] = lambda network: torch.optim.Adam(network.parameters(), lr=0.01)
    trainer = quiet_trainer(max_epochs=4)
    data = streams(text)
    trainer.fit(module, datamodule=data)
    naive = module.task.naive(data.train_targets, [Batch(x, y) for x, y, *_ in data.val_dataloader()])
    assert trainer.callback_metrics["val/loss"].item() < naive["a constant answer"]["loss"] - 0.5
    prompt = torch.zeros(2, 3, dtype=torch.int64)
    out = module.generate(prompt, 20)
    assert out.shape == (2, 23)
    assert torch.equal(out[:, :3], prompt)


def test_the_likeliest_text_is_found_step_by_step() -> None:
    module = language_model(20, dropout=0.5).train()
    prompt = torch.randint(20, (2, 4))
    out = module.generate(prompt, 6, temperature=0)
    assert module.training
    module.eval()
    tokens = prompt
    for _ in range(6):
        tokens = torch.cat([tokens, module(tokens)[:, -1].argmax(1, keepdim=True)], 1)
    assert torch.equal(out, tokens)
    assert torch.equal(module.generate(prompt, 6, top_k=1), tokens)


def test_what_cannot_be_written() -> None:
    with pytest.raises(ZooError, match="temperature must be at least 0"):
        language_model(20).generate(torch.zeros(2, 3, dtype=torch.int64), 2, temperature=-1.0)


# What a person gets ---------------------------------------------------------------------------------------------------


def test_predicted_tags_are_one_row_a_step(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = RNN(4, Tagging(3), 8).eval()
    batches = [Batch(draw(), lengths=LENGTHS), Batch(draw()[:2, :2])]
    write_predictions([module.predict_step(batch, 0).detach() for batch in batches], tmp_path / "tags.csv")
    rows = (tmp_path / "tags.csv").read_text().splitlines()
    assert rows[0] == "sample,step,class,probability_0,probability_1,probability_2"
    places = [tuple(int(entry) for entry in row.split(",")[:2]) for row in rows[1:]]
    assert places == [(s, t) for s, length in enumerate([3, 7, 1, 2, 2]) for t in range(length)]
    probabilities = module(draw()[:1, :3])[0, 2].softmax(0)
    assert int(rows[3].split(",")[2]) == int(probabilities.argmax())
    assert [float(entry) for entry in rows[3].split(",")[3:]] == pytest.approx(probabilities.tolist(), rel=1e-4)


@pytest.mark.parametrize("recipe", ["japanese_vowels", "stdlib_char"])
def test_recipes_take_over_what_their_data_state(recipe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                 capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    monkeypatch.setenv("ZOO_RUNS", str(tmp_path))
    quick = ["--trainer.max_epochs=1", "--trainer.limit_train_batches=2", "--trainer.limit_val_batches=2"]
    zoo(["fit", "-c", f"rnn/{recipe}", "--trainer.enable_progress_bar=false", *quick])
    run = tmp_path / "rnn" / recipe / "latest"
    model = yaml.safe_load((run / "config.yaml").read_text())["model"]["init_args"]
    if recipe == "stdlib_char":
        assert model["vocabulary_size"] == model["task"]["init_args"]["vocabulary_size"] > 60
    else:
        assert (model["num_channels"], model["task"]["init_args"]["num_classes"]) == (12, 9)
    capsys.readouterr()
    zoo(["test", str(run), "--trainer.enable_progress_bar=false", "--trainer.limit_test_batches=2"])
    assert "a constant answer" in capsys.readouterr().out
