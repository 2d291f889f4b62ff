"""How recipes are found and how several of them become one configuration."""

from pathlib import Path
from typing import Any

import pytest

from zoo.cli.compose import cards_root, compose, did_you_mean, find, merge, names, read, recipes_root
from zoo.errors import ZooError

ADAM = {"class_path": "callbacks.optimizers.adam.Adam", "init_args": {"lr": 0.1, "eps": 1e-6}}

MERGES: list[tuple[str, dict[str, Any], dict[str, Any], dict[str, Any]]] = [
    ("later wins", {"seed": 1}, {"seed": 2}, {"seed": 2}),
    ("others stay", {"seed": 1}, {"trainer": {}}, {"seed": 1, "trainer": {}}),
    ("mappings merge", {"t": {"a": 1, "b": 2}}, {"t": {"b": 3}}, {"t": {"a": 1, "b": 3}}),
    ("lists are replaced", {"t": {"c": [1, 2]}}, {"t": {"c": [3]}}, {"t": {"c": [3]}}),
    ("null takes a mapping away", {"optimizer": ADAM}, {"optimizer": None}, {"optimizer": None}),
    ("a value becomes a mapping", {"logger": False}, {"logger": {"class_path": "X"}}, {"logger": {"class_path": "X"}}),
    ("plus appends a list", {"c": [1]}, {"c+": [2, 3]}, {"c": [1, 2, 3]}),
    ("plus appends one", {"c": [1]}, {"c+": 2}, {"c": [1, 2]}),
    ("plus appends a mapping whole", {"c": [1]}, {"c+": {"class_path": "X"}}, {"c": [1, {"class_path": "X"}]}),
    ("plus makes a list", {}, {"c+": [1]}, {"c": [1]}),
    ("plus takes null for empty", {"c": None}, {"c+": [1]}, {"c": [1]}),
    ("plus below a section", {"t": {"c": [1]}}, {"t": {"c+": [2]}}, {"t": {"c": [1, 2]}}),
    (
        "arguments of the same class merge",
        {"o": ADAM},
        {"o": {"init_args": {"lr": 1.0}}},
        {"o": {"class_path": ADAM["class_path"], "init_args": {"lr": 1.0, "eps": 1e-6}}},
    ),
    (
        "another class drops the old arguments",
        {"o": ADAM},
        {"o": {"class_path": "SGD", "init_args": {"momentum": 0.9}}},
        {"o": {"class_path": "SGD", "init_args": {"momentum": 0.9}}},
    ),
    ("another class drops them without its own", {"o": ADAM}, {"o": {"class_path": "B"}}, {"o": {"class_path": "B"}}),
    (
        "a short name is its full path",
        {"o": ADAM},
        {"o": {"class_path": "Adam", "init_args": {"lr": 1.0}}},
        {"o": {"class_path": "Adam", "init_args": {"lr": 1.0, "eps": 1e-6}}},
    ),
    (
        "an inner class may change alone",
        {"m": {"class_path": "MLP", "init_args": {"width": 8, "task": {"class_path": "A", "init_args": {"x": 1}}}}},
        {"m": {"init_args": {"task": {"class_path": "B"}}}},
        {"m": {"class_path": "MLP", "init_args": {"width": 8, "task": {"class_path": "B"}}}},
    ),
]  # fmt: skip


@pytest.mark.parametrize(("base", "over", "expected"), [case[1:] for case in MERGES], ids=[case[0] for case in MERGES])
def test_merge(base: dict[str, Any], over: dict[str, Any], expected: dict[str, Any]) -> None:
    kept = repr((base, over))
    assert merge(base, over) == expected
    assert repr((base, over)) == kept  # neither argument is changed


def test_plus_in_a_section_that_is_new() -> None:
    assert merge({}, {"trainer": {"callbacks+": [1]}}) == {"trainer": {"callbacks": [1]}}


def test_files_are_merged_in_order(tmp_path: Path) -> None:
    first, second, third = (tmp_path / f"{name}.yaml" for name in "abc")
    first.write_text("trainer: {max_epochs: 1, callbacks: [A]}\nseed_everything: 1")
    second.write_text("trainer: {max_epochs: 2, callbacks+: [B]}")
    third.write_text("trainer: {callbacks+: {class_path: C}}")
    assert compose([str(first), str(second), str(third)]) == {
        "trainer": {"max_epochs": 2, "callbacks": ["A", "B", {"class_path": "C"}]},
        "seed_everything": 1,
    }
    assert compose([]) == {}


def test_a_recipe_is_found_by_name_path_or_run_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = recipes_root() / "cnn" / "digits.yaml"
    monkeypatch.chdir(tmp_path)
    assert find("cnn/digits") == find("cnn/digits.yaml") == shipped
    (tmp_path / "config.yaml").write_text("seed_everything: 1")
    assert find(str(tmp_path)) == tmp_path / "config.yaml"
    assert find("config.yaml") == Path("config.yaml")


def test_a_file_beside_the_user_comes_before_a_shipped_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cnn").mkdir()
    (tmp_path / "cnn" / "digits.yaml").write_text("seed_everything: 5")
    assert read(find("cnn/digits.yaml")) == {"seed_everything": 5}
    assert "model" in read(find("cnn/digits"))


def test_every_shipped_recipe_is_named_and_readable() -> None:
    assert {"cnn/digits", "mlp/digits"} <= set(names())
    assert names() == sorted(names())
    for name in names():
        assert read(find(name)), name
    assert cards_root().name in ("_cards", "techniques")


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("cnn/digit", "no recipe, fragment or file 'cnn/digit'; did you mean cnn/digits"),
        ("digits", "no recipe, fragment or file 'digits'; did you mean "),
        ("zzz", "no recipe, fragment or file 'zzz' (`zoo list` shows all recipes)"),
    ],
)
def test_an_unknown_recipe_names_the_nearest(name: str, line: str) -> None:
    with pytest.raises(ZooError) as raised:
        find(name)
    assert str(raised.value).startswith(line)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a: 1\nb: [1\nc: 2\n", "line 3: not valid YAML: "),
        ("a: 1\n\tb: 2\n", "line 2: not valid YAML: "),
        ("- a\n- b\n", "a recipe is a mapping with keys such as model, data and trainer"),
        ("", "a recipe is a mapping"),
        ("!!python/object/apply:os.getcwd []", "line 1: not valid YAML: "),
    ],
)
def test_a_bad_file_is_named_with_its_line(tmp_path: Path, text: str, line: str) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    with pytest.raises(ZooError) as raised:
        read(file)
    assert str(raised.value).startswith(str(file))
    assert line in str(raised.value)


@pytest.mark.parametrize(
    ("word", "known", "hint"),
    [
        ("fitt", ["fit", "test"], "; did you mean fit?"),
        ("cnn/digit", ["mlp/digits", "cnn/digits"], "; did you mean cnn/digits or mlp/digits?"),
        ("orthogonl", ["techniques/init/orthogonal", "cnn/digits"], "; did you mean techniques/init/orthogonal?"),
        ("zzz", ["fit", "test"], ""),
    ],
)
def test_did_you_mean(word: str, known: list[str], hint: str) -> None:
    assert did_you_mean(word, known) == hint
