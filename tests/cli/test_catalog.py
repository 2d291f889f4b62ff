"""``zoo list`` and ``zoo show`` say what there is."""

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
        assert text.startswith("# LSUV")
        assert "class_path: callbacks.init.lsuv.LSUV" in text
        assert text.rstrip().endswith("zoo fit -c cnn/digits -c techniques/init/lsuv")


@pytest.mark.parametrize(
    ("argv", "error"),
    [
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
