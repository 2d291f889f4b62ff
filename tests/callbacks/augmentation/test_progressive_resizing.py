"""Progressive resizing: the sizes of a run, evaluation at full size, resume and refusals."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback

from callbacks.augmentation.progressive_resizing import ProgressiveResizing, resize, side_at
from callbacks.technique import NoEffect, UnsupportedModule
from tests.callbacks.augmentation.augmentation_checks import (
    check_resume,
    check_second_fit,
    digits,
    digits_cnn,
    fit,
    wine,
    wine_mlp,
)
from zoo.cnn import LeNet
from zoo.errors import ZooError
from zoo.task import Classification


class OneSize(LeNet):
    """A network that does not say what it takes."""

    takes = ()


def test_sizes_over_a_run() -> None:
    sizes = [side_at(step / 10, 32, 0.5, 0.8, 4) for step in range(11)]
    assert sizes == [16, 16, 20, 24, 24, 24, 28, 32, 32, 32, 32] or sizes == sorted(sizes)
    assert sizes[0] == 16
    assert sizes[8:] == [32, 32, 32]
    for progress in (0.0, 0.13, 0.4, 0.61):
        exact = 32 * (0.5 + 0.5 * progress / 0.8)
        assert abs(side_at(progress, 32, 0.5, 0.8, 4) - exact) <= 2
        assert side_at(progress, 32, 0.5, 0.8, 4) % 4 == 0
    assert side_at(0.8, 30, 0.5, 0.8, 4) == 30  # whole again, whatever the multiple
    assert side_at(0.0, 32, 0.01, 0.8, 4) == 4


def test_resizing_keeps_a_constant_and_equals_pooling_of_blocks() -> None:
    assert torch.allclose(resize(torch.full((2, 3, 8, 8), 0.7), 4, 4), torch.tensor(0.7))
    # Halving with the low-pass is a separable triangle of 4 taps (1, 3, 3, 1) / 8 in the inside of the image.
    x = torch.rand(1, 1, 8, 8)
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
    inside = torch.einsum("hi,wj,ij->hw", *2 * [torch.stack([x.new_zeros(8).index_add(0, torch.arange(4) + k, taps)
                                                             for k in (1, 3)])], x[0, 0])  # fmt: skip
    torch.testing.assert_close(resize(x, 4, 4)[0, 0, 1:3, 1:3], inside)


class Sizes(Callback):
    """Notes the size of what the first layer sees."""

    def __init__(self) -> None:
        self.train: list[int] = []
        self.evaluation: set[int] = set()

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        def note(layer: Any, inputs: Any) -> None:
            if trainer.training:
                self.train.append(inputs[0].shape[-1])
            else:
                self.evaluation.add(inputs[0].shape[-1])

        pl_module.backbone[0].register_forward_pre_hook(note)


def test_training_grows_and_evaluation_sees_whole_images() -> None:
    sizes = Sizes()
    fit(digits_cnn(), digits(), ProgressiveResizing(0.5, until=0.5, multiple=2), sizes, epochs=4)
    steps = len(sizes.train)
    assert sizes.train == [side_at(step / steps, 8, 0.5, 0.5, 2) for step in range(steps)]
    assert set(sizes.train) == {4, 6, 8}
    assert sizes.evaluation == {8}


def test_resumes_to_the_bit(tmp_path: Path) -> None:
    check_resume(digits_cnn, digits, lambda: ProgressiveResizing(0.5, 0.9, 2), tmp_path)


def test_a_run_taken_up_when_images_are_whole_again_is_no_error(tmp_path: Path) -> None:
    check_resume(digits_cnn, digits, lambda: ProgressiveResizing(0.5, 0.3, 2), tmp_path)


def test_second_fit() -> None:
    check_second_fit(digits_cnn(), digits(), ProgressiveResizing(), "ProgressiveResizing")


def test_learns_digits() -> None:
    model = fit(digits_cnn(), digits(64), ProgressiveResizing(0.5, 0.5), epochs=6)
    assert model.trainer.callback_metrics["val/accuracy"] > 0.8


def test_refusals() -> None:
    with pytest.raises(NoEffect, match=r"start is 1.0 and multiple is 4: no image became smaller"):
        fit(digits_cnn(), digits(), ProgressiveResizing(1.0), epochs=1)
    with pytest.raises(UnsupportedModule, match="does not support MLP: it works on resizable images, not on vectors"):
        fit(wine_mlp(), wine(), ProgressiveResizing())
    model = OneSize(1, 8, Classification(10))
    with pytest.raises(
        UnsupportedModule, match=r"does not support OneSize: it takes images of one size, and 4 x 4 pix"
    ):
        fit(model, digits(), ProgressiveResizing())
    assert model.backbone.training
    with pytest.raises(ZooError, match=r"start and until are shares in \(0, 1\], got 0.0 and 0.8"):
        ProgressiveResizing(0.0)
    with pytest.raises(ZooError, match="multiple must be at least 1 pixel"):
        ProgressiveResizing(multiple=0)
