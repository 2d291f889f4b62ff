"""``zoo export`` on runs and packed names: files, what is printed, errors in one line, nothing left behind."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import zoo
from zoo.cli import export as command
from zoo.cli.main import main
from zoo.export import formats
from zoo.export.inputs import inputs_of

NAME = "mlp/digits"


def error_of(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    with pytest.raises(SystemExit) as exit_:
        main([str(argument) for argument in arguments])
    assert exit_.value.code == 2
    return capsys.readouterr().err


def test_pt2_of_a_packed_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    main(["export", NAME, "--format", "pt2"])
    said = capsys.readouterr().out
    assert "network     MLP of mlp/digits" in said
    assert "input       x: float32 (batch, 64)" in said
    assert "at 1 and 6 samples (tolerance 0.0001)" in said
    assert [file.name for file in tmp_path.iterdir()] == ["digits.pt2"]
    facts = {"zoo.json": ""}
    program = torch.export.load("digits.pt2", extra_files=facts).module()
    model = zoo.load(NAME)
    x = torch.randn(4, 64)
    torch.testing.assert_close(program(x), model.module.task.decode(model.module(x)))  # type: ignore[union-attr]
    about = json.loads(facts["zoo.json"])
    assert about["weights"] == NAME
    assert json.loads(about["preprocessing"])["init_args"]["mean"] == [0.3053]


def test_onnx_of_eight_bits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("onnxruntime", reason="pip install 'lightning-zoo[export]'")
    out = tmp_path / "new" / "d.onnx"
    main(["export", NAME, "--format=onnx", "--int8", "--out", str(out)])
    said = capsys.readouterr().out
    assert "int8" in said
    assert [file.name for file in out.parent.iterdir()] == ["d.onnx"]
    module = zoo.load(NAME).module
    weights = sum(parameter.numel() for parameter in module.parameters())
    assert out.stat().st_size < 4 * weights / 3
    inputs = inputs_of(module)
    assert 0 < formats.difference(inputs, formats.read("onnx", out, inputs)) < command.TOLERANCE_INT8


def test_weights_are_those_of_the_network_to_the_bit(tmp_path: Path) -> None:
    out = tmp_path / "d.safetensors"
    main(["export", "gan/digits", "--format", "safetensors", "--out", str(out)])
    state = zoo.load("gan/digits").module.state_dict()
    stored = load_file(out)
    assert {name for name in state if name.startswith("generator.")} <= stored.keys()
    assert not any(name.startswith("discriminator.") for name in stored)  # its weights are not those of a game
    again = zoo.load(out)
    assert all(torch.equal(again.module.state_dict()[name], state[name]) for name in state if "generator." in name)


def test_a_difference_leaves_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "d.pt2"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(formats, "difference", lambda *_: 0.5)
        error = error_of(capsys, "export", NAME, "--format", "pt2", "--out", out)
    assert "answers 0.5 away from the network, more than the tolerance of 0.0001; nothing was kept" in error
    assert not list(tmp_path.iterdir())
    out.write_text("an older file stays as it is")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(formats, "difference", lambda *_: float("inf"))
        error_of(capsys, "export", NAME, "--format", "pt2", "--out", out)
    assert [file.read_text() for file in tmp_path.iterdir()] == ["an older file stays as it is"]


def test_errors_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "--int8 is for --format onnx, not pt2" in error_of(capsys, "export", NAME, "--format", "pt2", "--int8")
    assert "--raw is for onnx and pt2" in error_of(capsys, "export", NAME, "--format=safetensors", "--raw")
    assert "did you mean mlp/digits" in error_of(capsys, "export", "mlp/digit", "--format", "pt2")
    assert "ends in .safetensors" in error_of(
        capsys, "export", NAME, "--format=safetensors", "--out", tmp_path / "weights.bin"
    )
    assert "invalid choice: 'tflite'" in error_of(capsys, "export", NAME, "--format", "tflite")


def test_help_says_what_goes_in_and_out(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["export", "--help"])
    said = capsys.readouterr().out
    assert "what the network's forward takes, preprocessed" in said
    assert "class probabilities, or values on the scale of the" in said
