"""Trained networks from the package, from runs and from files: what they say, and what they refuse."""

import csv
import hashlib
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

import zoo
from datamodules.adult import Adult
from datamodules.base import TensorSplit
from datamodules.california_housing import CaliforniaHousing
from datamodules.digits import Digits
from datamodules.japanese_vowels import JapaneseVowels
from datamodules.raw_text import RawText
from zoo.cli.main import main
from zoo.cnn import PretrainedBackbone
from zoo.errors import ZooError
from zoo.predictions import Labels, Values
from zoo.pretrained import Pretrained, from_stored, read_entry
from zoo.task import Classification
from zoo.weights import index
from zoo.weights.file import Stored

ROOT = Path(__file__).resolve().parents[2]
QUICK = ["--trainer.enable_progress_bar=false", "--trainer.max_epochs=2"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Small runs of three kinds."""
    folder = tmp_path_factory.mktemp("runs")
    options = {
        "cnn/digits": ["--model.width=4", "-c", "techniques/averaging/ema"],
        "rnn/japanese_vowels": ["--model.hidden=4"],
        "rnn/stdlib_char": [
            "--model.hidden=8", "--data.limit=4000", "--data.window=16", "--data.batch_size=8",
            "--data.unknown_token=true",
        ],
    }  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ZOO_RUNS", str(folder))
        for recipe, extra in options.items():
            patch.delenv("ZOO_RUN_DIR", raising=False)
            main(["fit", "-c", recipe, *QUICK, *extra])
    return {recipe: (folder / recipe / "latest").resolve() for recipe in options}


# Weights of the package ---------------------------------------------------------------------------------------------


def test_pictures_in_names_out() -> None:
    said = zoo.load("cnn/digits").predict(digits().x[:100, 0].numpy())
    assert isinstance(said, Labels)
    assert said.probabilities.shape == (100, 10)
    right = [label == str(int(y)) for label, y in zip(said.labels, digits().y)]
    assert sum(right) >= 98


def digits() -> TensorSplit:
    data = Digits()
    data.setup("test")
    split = data.splits["test"]
    assert isinstance(split, TensorSplit)
    return split


def test_utterances_of_any_length_in_speakers_out() -> None:
    data = JapaneseVowels()
    members = data.members["test"][:50]
    frames = [data.sequences.values[low : high + 1].numpy() for low, high in data.sequences.spans[members].tolist()]
    said = zoo.load("rnn/japanese_vowels").predict(frames)
    assert isinstance(said, Labels)
    right = [label == data.classes[int(y)] for label, y in zip(said.labels, data.sequences.y[members])]
    assert sum(right) >= 47


def test_rows_in_words_and_values_out() -> None:
    people = zoo.load("tabular/adult_tabm").predict(
        [dict(zip(Adult.features, row)) for row in (
            [25, 226802, 7, 0, 0, 40, "Private", "11th", "Never-married", "Machine-op-inspct", "Own-child", "Black",
             "Male", "United-States"],
            [52, 287927, 14, 15024, 0, 60, "Self-emp-inc", "Masters", "Married-civ-spouse", "Exec-managerial", "Wife",
             "White", "Female", None],
        )]
    )  # fmt: skip
    assert isinstance(people, Labels)
    assert people.labels == ["<=50K", ">50K"]
    houses = zoo.load("tabular/california_tabm").predict(CaliforniaHousing().table[0].numbers[:200])
    assert isinstance(houses, Values)
    assert houses.targets == ("MedHouseVal",)
    error = houses.values[:, 0] - CaliforniaHousing().table[1][:200]
    assert float(error.square().mean().sqrt()) < 0.6


def test_a_generator_draws_what_a_classifier_reads() -> None:
    drawn = zoo.load("gan/digits").sample(64)
    assert drawn.shape == (64, 1, 8, 8)
    assert 0 <= float(drawn.min()) < 0.1
    assert 0.9 < float(drawn.max()) <= 1
    said = zoo.load("cnn/digits").predict(drawn)
    assert len(set(said[0])) >= 8, "all kinds of digits"
    assert float(said.probabilities.amax(1).median()) > 0.9  # type: ignore[union-attr]


def test_series_in_forecasts_out() -> None:
    values = np.random.default_rng(0).normal(5, 1, (800, 7))
    said = zoo.load("rnn/etth1").predict([values, values[:720]])
    assert isinstance(said, Values)
    assert said.values.shape == (2, 96, 7)
    assert said.targets[-1] == "OT"


@pytest.mark.parametrize("name", sorted(index.entries()))
def test_loading_leaves_the_random_state(name: str) -> None:
    before = torch.get_rng_state()
    loaded = zoo.load(name)
    assert torch.equal(before, torch.get_rng_state())
    assert not loaded.module.training
    assert name in repr(loaded)


def test_an_untrained_one_has_the_same_shape() -> None:
    fresh, trained = zoo.load("mlp/digits", pretrained=False), zoo.load("mlp/digits")
    assert fresh.predict(np.zeros((8, 8), dtype=np.uint8)).classes == trained.outputs  # type: ignore[union-attr]
    assert not torch.equal(fresh.module.head.weight, trained.module.head.weight)


def test_a_name_that_there_is_not() -> None:
    with pytest.raises(ZooError, match=r"no weights for 'cnn/digit'; did you mean cnn/digits"):
        zoo.load("cnn/digit")


# Runs ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("recipe", ["cnn/digits", "rnn/japanese_vowels"])
def test_a_loaded_run_predicts_what_the_run_predicts(runs: dict[str, Path], recipe: str, tmp_path: Path) -> None:
    main(["predict", str(runs[recipe]), "--out", str(tmp_path / "p.csv"), "--trainer.enable_progress_bar=false"])
    with (tmp_path / "p.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    raw = digits().x if recipe == "cnn/digits" else utterances()
    said = zoo.load(runs[recipe]).predict(raw, batch_size=100)
    assert isinstance(said, Labels)
    count = said.probabilities.shape[1]
    expected = torch.tensor([[float(row[f"probability_{k}"]) for k in range(count)] for row in rows])
    torch.testing.assert_close(said.probabilities, expected, atol=2e-6, rtol=2e-5)
    assert [said.classes.index(label) for label in said.labels] == [int(row["class"]) for row in rows]


def utterances() -> list[np.ndarray]:
    data = JapaneseVowels()
    spans = data.sequences.spans[data.members["test"]].tolist()
    return [data.sequences.values[low : high + 1].numpy() for low, high in spans]


def test_a_run_is_loaded_where_its_data_are_not(runs: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(JapaneseVowels, "read", None)
    best = runs["rnn/japanese_vowels"] / "checkpoints" / "best.ckpt"
    assert zoo.load(best).predict(np.zeros((9, 12))).labels[0].startswith("speaker")  # type: ignore[union-attr]


def test_a_language_model_goes_on_with_a_text(runs: dict[str, Path]) -> None:
    model = zoo.load(runs["rnn/stdlib_char"])
    written = model.generate("import ", steps=20, seed=3)
    assert isinstance(written, str)
    assert written.startswith("import ")
    assert len(written) == 27
    assert model.generate(["import ", "x"], steps=20, seed=3)[0] == written, "a function of weights, prompt and seed"
    assert len(model.predict(["import", "d"]).labels) == 2  # type: ignore[union-attr]
    for wrong in (
        lambda: model.sample(3),
        lambda: zoo.load("gan/digits").predict(3),
        lambda: zoo.load("gan/digits").generate("a"),
    ):
        with pytest.raises(
            ZooError, match=r"makes no samples; use predict|predicts nothing; use sample|no texts; use sample"
        ):
            wrong()


def test_of_a_long_text_a_transformer_reads_the_end() -> None:
    model = zoo.create("GPT", vocabulary_size=5, window=4, width=8, layers=1)
    text = Pretrained(model, RawText(tuple("abcde"), "abcde", False), "gpt", {})
    both = text.predict(["abcdeabc", "ab"]).probabilities  # type: ignore[union-attr]
    torch.testing.assert_close(both[:1], text.predict("eabc").probabilities)  # type: ignore[union-attr]
    torch.testing.assert_close(both[1:], text.predict("ab").probabilities)  # type: ignore[union-attr]


def test_the_weights_that_a_backbone_began_with_are_not_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = PretrainedBackbone(Classification(2), "mobilenet_v3_small", weights=None)
    task = {"class_path": "zoo.task.Classification", "init_args": {"num_classes": 2}}
    arguments = {"task": task, "arch": "mobilenet_v3_small", "weights": "DEFAULT"}
    config = {"model": {"class_path": "zoo.cnn.PretrainedBackbone", "init_args": arguments}}
    monkeypatch.setattr("torch.hub.load_state_dict_from_url", None)
    loaded = from_stored(Stored(backbone.state_dict(), config, None), "mine")
    x = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(loaded.predict(x)[1], backbone.eval()(x).softmax(1))
    assert config["model"]["init_args"]["weights"] == "DEFAULT", "the configuration stays what it was"  # type: ignore[index]


def test_an_older_run_asks_its_data(runs: dict[str, Path], tmp_path: Path) -> None:
    run = Path(shutil.copytree(runs["cnn/digits"], tmp_path / "run"))
    file = run / "checkpoints" / "best.ckpt"
    kept = torch.load(file, weights_only=True)
    del kept["zoo"]["preprocessing"]
    torch.save(kept, file)
    file.with_name("best.ckpt.sha256").unlink()
    assert zoo.load(run).preprocessing == zoo.load(runs["cnn/digits"]).preprocessing


# Trust --------------------------------------------------------------------------------------------------------------


class Bomb:
    """Runs when it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (os.mkdir, ("the_bomb_went_off",))


def test_a_checkpoint_that_would_run_code_is_refused(runs: dict[str, Path], tmp_path: Path,
                                                     monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    run = Path(shutil.copytree(runs["cnn/digits"], tmp_path / "run"))
    file = run / "checkpoints" / "best.ckpt"
    torch.save({"state_dict": Bomb()}, file)
    file.with_name("best.ckpt.sha256").unlink()
    with pytest.raises(ZooError, match=r"best.ckpt is not a checkpoint that can be read safely") as caught:
        zoo.load(run)
    assert "\n" not in str(caught.value)
    assert not Path("the_bomb_went_off").exists()


def test_a_strangers_configuration_imports_nothing_of_his(runs: dict[str, Path], tmp_path: Path) -> None:
    run = Path(shutil.copytree(runs["cnn/digits"], tmp_path / "run"))
    config = yaml.safe_load((run / "config.yaml").read_text())
    for path in ("os.system", "subprocess.Popen", "tests.tools.StopAt", "torch.hub.load"):
        config["model"] = {"class_path": path, "init_args": {}}
        (run / "config.yaml").write_text(yaml.safe_dump(config))
        with pytest.raises(ZooError, match="describes no model that can be built"):
            zoo.load(run)


def test_weights_of_another_network_are_refused(runs: dict[str, Path], tmp_path: Path) -> None:
    run = Path(shutil.copytree(runs["cnn/digits"], tmp_path / "run"))
    config = yaml.safe_load((run / "config.yaml").read_text())
    for width, kind in ((8, "size mismatch"), (4, "there is")):
        config["model"]["init_args"] |= {"width": width, "blocks": [1, 1, 1] if width == 8 else [1, 1, 2]}
        (run / "config.yaml").write_text(yaml.safe_dump(config))
        with pytest.raises(ZooError, match=f"are not those of its network: .*{kind}"):
            zoo.load(run)


def test_an_altered_file_of_the_package_is_named(tmp_path: Path) -> None:
    entry = index.find("mlp/digits")
    content = bytearray((index.FOLDER / entry.file).read_bytes())
    content[-1] ^= 1
    (tmp_path / entry.file).write_bytes(content)
    with pytest.raises(ZooError, match=r"mlp_digits.safetensors was altered: its sha256 is not the one in index.json"):
        read_entry(entry, tmp_path)
    digest = hashlib.sha256(content).hexdigest()
    read_entry(replace(entry, sha256=digest), tmp_path)


@pytest.mark.parametrize("source", ["no/such/run.ckpt", "no.safetensors"])
def test_what_is_not_there(source: str) -> None:
    with pytest.raises(ZooError, match=r"belongs to no run|no weights file"):
        zoo.load(source)


# The surface --------------------------------------------------------------------------------------------------------


def test_looking_round_does_not_import_torch() -> None:
    program = """
import sys, zoo
assert "cnn/digits" in zoo.list() and "cnn/digits" in zoo.list("pretrained") and "ResNet" in zoo.list("models")
recipe = zoo.recipe("cnn/digits", "techniques/optimizers/sam", options={"trainer.max_epochs": 1})
assert recipe.config["trainer"]["callbacks"]
from zoo.recipes.cnn import fashion_mnist
from zoo.recipes import rnn
assert "etth1" in dir(rnn)
heavy = {"torch", "lightning", "numpy", "jsonargparse"} & set(sys.modules)
assert not heavy, heavy
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", program], check=True, env=environment, timeout=60)
