"""``zoo pack`` and ``zoo evaluate``: what is packed measures as the index says, and other weights do not."""

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import zoo
from datamodules.digits import Digits
from zoo.cli.evaluate import evaluate
from zoo.cli.main import main
from zoo.cli.measure import OtherData, measure
from zoo.cli.pack import pack_run
from zoo.errors import ZooError
from zoo.pretrained import read_entry, stored_from_run
from zoo.weights import file as weights_file
from zoo.weights import index

# Those whose data come with the project; gan/digits is judged by a network that is trained on the spot.
EMBEDDED = ["cnn/digits", "mlp/digits", "rnn/japanese_vowels", "tabular/adult_tabm", "tabular/california_tabm"]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of mlp/digits as it is, but short."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ZOO_RUNS", str(folder))
        patch.delenv("ZOO_RUN_DIR", raising=False)
        main(["fit", "-c", "mlp/digits", "--trainer.max_epochs=2", "--trainer.enable_progress_bar=false"])
    run = (folder / "mlp" / "digits" / "latest").resolve()
    config = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(config.replace("max_epochs: 2", "max_epochs: 40"))
    return run


def test_the_packages_weights_reach_what_the_index_says(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["evaluate", *EMBEDDED])
    said = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in said] == [[name, "pass"] for name in EMBEDDED]
    assert not list(here.iterdir()), "nothing is left behind"


@pytest.mark.slow
def test_all_whose_data_are_at_hand(here: Path, monkeypatch: pytest.MonkeyPatch,
                                    capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    monkeypatch.setenv("ZOO_DATA", str(here / "empty"))
    main(["evaluate", "--all"])
    said = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if not line.startswith("zoo: ")}
    assert set(said) == set(index.entries())
    assert all("  pass  " in said[name] for name in [*EMBEDDED, "gan/digits"])
    assert "skipped: no ETTh1.csv in" in said["rnn/etth1"]
    assert "`zoo evaluate rnn/etth1` downloads what is missing" in said["rnn/etth1"]
    assert not (here / "empty").exists(), "nothing was downloaded"


def test_other_weights_fail(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    entry = index.find("mlp/digits")
    stored = read_entry(entry)
    weights = {**stored.weights, "head.bias": stored.weights["head.bias"] + torch.linspace(-5, 5, 10)}
    weights_file.write(here / entry.file, weights, stored.config, stored.build_preprocessing())
    index.write_entry(replace(entry, **sizes(here / entry.file)), here)
    with pytest.raises(SystemExit) as exit_:
        evaluate(["mlp/digits"], here)
    assert exit_.value.code == 1
    assert "FAIL  test accuracy 0." in capsys.readouterr().out


def sizes(path: Path) -> dict[str, object]:
    return {"sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "size": path.stat().st_size}


def test_a_run_is_packed_and_measured(here: Path, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["pack", str(run), "mlp/digits", "--folder", str(here)])
    assert "test accuracy 0." in capsys.readouterr().out
    entry = index.find("mlp/digits", here)
    assert entry.dtype == "float16"
    assert entry.size == (here / "mlp_digits.safetensors").stat().st_size < 2.2 * entry.parameters
    evaluate(["mlp/digits"], here)
    assert "pass" in capsys.readouterr().out
    packed, whole = zoo.load(here / "mlp_digits.safetensors"), zoo.load(run)
    data = Digits()
    data.setup("test")
    raw = data.splits["test"].x  # type: ignore[attr-defined]
    torch.testing.assert_close(packed.predict(raw)[1], whole.predict(raw)[1], atol=5e-3, rtol=0)
    main(["test", str(run), "--trainer.enable_progress_bar=false"])
    tested = json.loads((run / "test.json").read_text())
    assert entry.measured.unrounded == pytest.approx(tested["test/accuracy"], abs=1e-7)
    again = pack_run(run, "mlp/digits", folder=here)
    assert again.sha256 == entry.sha256, "the same run gives the same file"


def test_of_a_game_the_generator_is_kept() -> None:
    stored = read_entry(index.find("gan/digits"))
    assert stored.omitted == ("discriminator",)
    assert {name.split(".")[0] for name in stored.weights} == {"generator"}
    with pytest.raises(ZooError, match="this generator was trained without labels"):
        zoo.load("gan/digits").sample(2, "7")
    with pytest.raises(ZooError, match="gan/digits knows no class 'x'; there are 0, 1, 2"):
        zoo.load("gan/digits").sample(2, ["x", "7"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["mlp/digits_adam"], "the run is not of the recipe mlp/digits_adam: "),
        (["mlp/digit"], "no recipe, fragment or file 'mlp/digit'; did you mean mlp/digits"),
        (["mlp/digits", "--metric", "beauty"], "no metric 'beauty'; there are accuracy, "),
    ],
    ids=["other recipe", "no recipe", "metric"],
)
def test_what_cannot_be_packed(here: Path, run: Path, arguments: list[str], message: str,
                               capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    with pytest.raises(SystemExit):
        main(["pack", str(run), *arguments, "--folder", str(here / "weights")])
    assert message in capsys.readouterr().err
    assert not (here / "weights").exists()


def test_rounding_that_costs_too_much_is_refused(here: Path, run: Path) -> None:
    shutil.copytree(run, here / "run")
    file = here / "run" / "checkpoints" / "best.ckpt"
    kept = torch.load(file, weights_only=True)
    kept["state_dict"]["head.bias"] += 40_000  # beside which half precision sees no difference between classes
    kept["state_dict"]["head.bias"][::2] += 13
    torch.save(kept, file)
    file.with_name("best.ckpt.sha256").unlink()
    with pytest.raises(ZooError, match=r"mlp/digits: float16 costs too much: test accuracy is .*; use --dtype float32"):
        pack_run(here / "run", "mlp/digits", folder=here, tolerance=1e-9)


def test_a_text_that_is_another_is_said_so(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "a.txt").write_text("abcdefgh " * 500)
    options = {"data.file": str(here / "a.txt"), "data.window": 16, "data.batch_size": 8, "model.hidden": 8}
    recipe = zoo.recipe("rnn/stdlib_char", options={**options, "trainer.max_epochs": 1})
    trainer = recipe.trainer()
    trainer.fit(recipe.model(), recipe.data())
    stored = stored_from_run(Path(trainer.default_root_dir))._replace(fingerprint=recipe.data().fingerprint)
    assert measure(stored, "it", "test")["perplexity"] > 1
    (here / "a.txt").write_text("hgfedcba " * 500)
    with pytest.raises(OtherData, match="it was measured on data with the sha256"):
        measure(stored, "it", "test")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [([], "name the weights to evaluate, or say --all"), (["cnn/digit"], "no weights for 'cnn/digit'; did you mean")],
    ids=["nothing", "typo"],
)
def test_what_cannot_be_evaluated(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["evaluate", *arguments])
    assert exit_.value.code == 2
    assert message in capsys.readouterr().err
