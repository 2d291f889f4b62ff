"""WeightQuantization: a bounded error, a smaller file that loads, and a network that is left as it was."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from callbacks.compression.weight_quantization import (
    WeightQuantization,
    quantize,
    quantize_state,
    read_quantized,
)
from callbacks.reporting.checkpoint import Checkpoint
from callbacks.technique import NoEffect, UnsupportedModule
from tests.callbacks.technique_checks import assert_resumes, assert_same, copy, fit, make_mlp
from zoo.cnn import ResNet
from zoo.errors import ZooError
from zoo.module import ZooModule
from zoo.task import Classification

MATRIX_SKIP = "it changes no run: it writes a file when training is over"


@pytest.mark.parametrize("shape", [(5, 7), (4, 3, 3, 3)])
def test_error_is_at_most_half_a_step_of_each_channel(shape: tuple[int, ...]) -> None:
    weight = torch.randn(shape) * torch.logspace(-3, 3, shape[0]).view(-1, *[1] * (len(shape) - 1))
    q, scale = quantize(weight)
    assert q.dtype == torch.int8
    assert q.flatten(1).abs().amax(1).eq(127).all(), "each channel uses the whole range"
    assert ((q * scale - weight).abs() <= scale / 2 * (1 + 1e-5)).all()


def test_equals_the_quantizer_of_torch() -> None:
    weight = torch.randn(6, 9)
    q, scale = quantize(weight)
    theirs = torch.fake_quantize_per_channel_affine(
        weight, scale.flatten(), torch.zeros(6, dtype=torch.int32), 0, -127, 127
    )
    torch.testing.assert_close(q * scale, theirs)


def test_zeros_stay_zeros_and_whole_multiples_are_exact() -> None:
    q, scale = quantize(torch.zeros(2, 3))
    assert torch.equal(q * scale, torch.zeros(2, 3))
    weight = torch.tensor([[127.0, -5.0, 64.0]]) * 0.25
    q, scale = quantize(weight)
    assert torch.equal(q * scale, weight)


def test_the_file_is_read_as_it_was_written(tmp_path: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    module = ResNet(1, Classification(10), [1, 1], width=16)
    fit(module, WeightQuantization(str(tmp_path / "small" / "w.safetensors")), max_epochs=3)
    file = tmp_path / "small" / "w.safetensors"
    state, read = copy(module), read_quantized(file)
    assert state.keys() == read.keys()
    packed = load_file(file)
    matrices = {name for name, p in module.named_parameters() if p.ndim > 1}
    assert {name for name, tensor in packed.items() if tensor.dtype == torch.int8} == matrices
    assert_same(
        {n: t for n, t in state.items() if n not in matrices}, {n: t for n, t in read.items() if n not in matrices}
    )
    other = ResNet(1, Classification(10), [1, 1], width=16)
    other.load_state_dict(read)
    x = torch.rand(64, 1, 8, 8)
    a, b = module.eval()(x), other.eval()(x)
    assert 0 < (a - b).abs().max() < 0.05 * a.abs().max()
    floats = sum(tensor.numel() * 4 for tensor in state.values())
    assert file.stat().st_size < 0.4 * floats
    assert "w.safetensors holds" in capsys.readouterr().out


def test_lies_beside_the_best_checkpoint_and_holds_its_weights(tmp_path: Path) -> None:
    module = make_mlp()
    fit(module, WeightQuantization(), Checkpoint(tmp_path, "val/loss"), enable_checkpointing=True, max_epochs=2)
    best = torch.load(tmp_path / "best.ckpt", weights_only=True)["state_dict"]
    matrices = {name for name, p in module.named_parameters() if p.ndim > 1}
    expected = quantize_state(best, matrices)
    assert_same(expected, load_file(tmp_path / "int8.safetensors"))


def test_training_and_weights_are_untouched(tmp_path: Path) -> None:
    plain, other = make_mlp(), make_mlp()
    fit(plain, max_epochs=2)
    fit(other, WeightQuantization(str(tmp_path / "w.safetensors")), max_epochs=2)
    assert_same(copy(plain), copy(other))


def test_resumes_to_the_bit(tmp_path: Path) -> None:
    assert_resumes(lambda: [WeightQuantization(str(tmp_path / "w.safetensors"))], tmp_path)


def test_errors_say_what_to_do(tmp_path: Path) -> None:
    class Empty(ZooModule):
        def __init__(self) -> None:
            super().__init__()
            self.bias = nn.Parameter(torch.zeros(3))

    with pytest.raises(NoEffect, match="Empty has no matrix or filter; drop it"):
        WeightQuantization().attach(Empty())
    with pytest.raises(UnsupportedModule, match="WeightQuantization does not support Empty"):
        WeightQuantization().setup(None, Empty(), "fit")  # type: ignore[arg-type]
    with pytest.raises(ZooError, match="keeps no checkpoint to put the copy beside; name a file"):
        fit(make_mlp(), WeightQuantization())
    with pytest.raises(ZooError, match="measures on the validation split, and this run has none"):
        fit(make_mlp(), WeightQuantization(str(tmp_path / "w")), limit_val_batches=0)
