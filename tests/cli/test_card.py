"""Model cards: metadata that the Hub reads, and the numbers of the index, the recipe and the run."""

import json
from pathlib import Path

import pytest
import yaml

import zoo
from datamodules.digits import Digits
from datamodules.few_digits import FewDigits
from datamodules.mnist import MNIST
from zoo.cli import catalog
from zoo.cli.card import model_card, source_of
from zoo.cli.main import main
from zoo.export.flops import flops
from zoo.mlp import MLP
from zoo.rnn import RNN
from zoo.task import Classification
from zoo.weights import index

TOKEN = "hf_" + "a1B2" * 8


def test_metadata_are_what_the_hub_reads(capsys: pytest.CaptureFixture[str]) -> None:
    hub = pytest.importorskip("huggingface_hub", reason="pip install 'lightning-zoo[hub]'")
    main(["card", "cnn/digits"])
    card = hub.ModelCard(capsys.readouterr().out)
    assert card.data.license == "mit"
    assert card.data.pipeline_tag == "image-classification"
    (result,) = card.data.eval_results  # model-index, parsed
    assert (result.dataset_name, result.dataset_split, result.metric_type) == ("Digits", "test", "accuracy")
    assert result.metric_value == index.find("cnn/digits").measured.value


def test_numbers_are_those_of_index_recipe_and_network(capsys: pytest.CaptureFixture[str]) -> None:
    main(["card", "cnn/digits"])
    text = capsys.readouterr().out
    entry = index.find("cnn/digits")
    reached = next(e.reached for e in catalog.recipes() if e.name == "cnn/digits")
    for fact in (f"{entry.parameters:,} parameters", f"{entry.measured.value:.6g}", reached, "zoo fit -c cnn/digits",
                 "zoo evaluate cnn/digits", "Licence: CC BY 4.0.", "model = zoo.load('cnn/digits')"):  # fmt: skip
        assert fact in text


def test_the_command_has_the_precision_that_it_was_trained_in() -> None:
    for name, ending in (("gan/fashion_mnist", " --trainer.precision=bf16-mixed"), ("cnn/digits", "")):
        text = model_card(zoo.load(name), Path(name))
        assert f"```bash\nzoo fit -c {name} --seed_everything={zoo.load(name).entry.seed}{ending}\n```" in text


@pytest.mark.parametrize("name", index.entries())
def test_all_packed_weights_have_a_card(name: str) -> None:
    text = model_card(zoo.load(name), Path(name))
    header = yaml.safe_load(text.split("---")[1])
    assert header["model-index"][0]["name"] == name
    assert "not known" not in text.split("Licence:")[1].split("\n")[0]  # what ships says what it learned from


def test_a_run_tells_its_command_and_hides_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    loaded = zoo.load("mlp/digits")
    loaded.entry = None
    (tmp_path / "env.json").write_text(
        json.dumps({"command": ["zoo", "fit", "-c", "mlp/digits", "--api_key", "sesame", TOKEN], "cpus": 2})
    )
    (tmp_path / "test.json").write_text(json.dumps({"test/accuracy": 0.5, "test/loss": 1.0}))
    loaded.config["data"]["init_args"]["root"] = "/home/somebody/data"
    loaded.config["recipe"] = None  # the whole configuration is shown
    text = model_card(loaded, tmp_path)
    assert "zoo fit -c mlp/digits" in text
    assert "| test accuracy | 0.5 |" in text
    assert "loss" not in text.split("---")[1]
    for secret in (TOKEN, "sesame", "somebody"):
        assert secret not in text


@pytest.mark.parametrize(
    ("data", "licence"), [(Digits, "CC BY 4.0"), (FewDigits, "CC BY 4.0"), (MNIST, "CC BY-SA 3.0")]
)
def test_licences_are_those_of_the_docstrings(data: type, licence: str) -> None:
    source, found = source_of(data)
    assert found == licence
    assert source


def test_operations_are_counted_by_hand() -> None:
    network = MLP(6, Classification(3), [4])
    assert flops(network) == (2 * (6 * 4 + 4 * 3), None)
    recurrent = RNN(3, Classification(2), hidden=5, bidirectional=True)
    one_step = 2 * (4 * 5 * 3 + 4 * 5 * 5)  # input and state to the four gates
    assert flops(recurrent, steps=7) == (7 * 2 * one_step + 2 * 10 * 2, 7)
