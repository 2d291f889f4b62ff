"""``zoo list`` and ``zoo show`` say what there is."""

import re

import pytest

from zoo.cli.main import main


def said(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    main([*argv])
    return capsys.readouterr().out


def test_the_listing_names_every_kind(capsys: pytest.CaptureFixture[str]) -> None:
    text = said(capsys, "list")
    for name in ("cnn/digits", "mlp/diabetes", "ResNet", "MLP", "Digits", "FashionMNIST", "techniques/init/lsuv"):
        assert f"  {name} " in text
    for base in ("ConvNet", "SupervisedModule", "ImageDataModule", "TabularDataModule"):
        assert f"  {base} " not in text, "bases are not for users"


def test_one_kind_alone(capsys: pytest.CaptureFixture[str]) -> None:
    text = said(capsys, "list", "data")
    assert "Digits" in text
    assert "cnn/digits" not in text


def test_a_recipe_shows_its_parts_and_its_yaml(capsys: pytest.CaptureFixture[str]) -> None:
    text = said(capsys, "show", "cnn/fashion_mnist")
    assert "ResNet: Residual network" in text
    assert "its files under --data.root or ZOO_DATA, or a network" in text
    assert "reached" in text
    assert "downsample: conv_pool" in text
    assert text.rstrip().endswith("zoo fit -c cnn/fashion_mnist")


def test_a_technique_shows_its_card_and_its_fragment(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("techniques/init/lsuv", "init/lsuv", "lsuv"):
        text = said(capsys, "show", name)
        assert text.startswith("  technique  LSUV: ")
        assert "\n  slots      initializers\n" in text
        assert text.index("  command    zoo fit -c cnn/digits") < text.index("\n# LSUV: "), "the head stands first"
        assert "class_path: callbacks.init.lsuv.LSUV" in text
        assert text.rstrip().endswith("zoo fit -c cnn/digits -c techniques/init/lsuv")


def test_techniques_of_a_family_alone(capsys: pytest.CaptureFixture[str]) -> None:
    for family in ("mlp", "MLP", "tabular", "TabM"):
        text = said(capsys, "list", "techniques", "--for", family)
        assert f"techniques for {family}" in text
        assert "augmentation/mixup " in text
        assert "progressive_resizing" not in text
        assert "recipes" not in text
    assert "cutmix" not in said(capsys, "list", "--for", "tabular")
    assert "augmentation/cutmix " in said(capsys, "list", "--for=cnn")
    assert "zero_init_residual " in said(capsys, "list", "--for", "ResNet")
    assert "zero_init_residual" not in said(capsys, "list", "--for", "LeNet")


def test_techniques_of_a_task_alone(capsys: pytest.CaptureFixture[str]) -> None:
    text = said(capsys, "list", "--for", "cnn", "--for", "regression")
    assert "augmentation/mixup " in text
    assert "cutmix" not in text
    assert "confidence_penalty" not in text


def test_the_head_says_with_what_a_technique_does_not_go(capsys: pytest.CaptureFixture[str]) -> None:
    assert re.search(r"\n  not with   MagnitudePruning, .*SWA", said(capsys, "show", "ema")), "it is they that say so"
    adam = said(capsys, "show", "optimizers/adam")
    assert "  slots      optimizer_factories (for itself)" in adam
    assert "AdamW" in adam[adam.index("not with") : adam.index("fragment")]
    cutmix = said(capsys, "show", "cutmix")
    assert "  needs      a SupervisedModule of images for Classification\n" in cutmix
    assert "  command    zoo fit -c cnn/cifar10 -c techniques/augmentation/cutmix\n" in cutmix


@pytest.mark.parametrize(
    ("argv", "error"),
    [
        (["list", "--for", "cmn"], "--for cmn: no family, model or task of that name; did you mean cnn?"),
        (["list", "--for", "regresion"], "did you mean regression?"),
        (["list", "data", "--for", "cnn"], "--for chooses among techniques: zoo list techniques --for cnn"),
        (["list", "recipe"], "zoo list knows no 'recipe'; did you mean recipes?"),
        (["show", "cnn/digit"], "no recipe or technique 'cnn/digit'; did you mean cnn/digits"),
        (["show", "lsuvv"], "did you mean lsuv"),
    ],
)
def test_a_typo_is_answered(argv: list[str], error: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(argv)
    assert left.value.code == 2
    assert error in capsys.readouterr().err
