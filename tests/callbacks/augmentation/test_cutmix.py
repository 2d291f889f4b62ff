"""CutMix: equal to torchvision's with the same box, the area to the pixel, and its refusals."""

from pathlib import Path

import pytest
import torch
from torchvision.transforms import v2

from callbacks.augmentation.cutmix import Box, CutMix, cut_box, cutmix
from callbacks.technique import NoEffect, UnsupportedModule
from tests.callbacks.augmentation.augmentation_checks import (
    check_resume,
    check_second_fit,
    diabetes,
    diabetes_mlp,
    digits,
    digits_cnn,
    fit,
    wine,
    wine_mlp,
)
from zoo.batch import Batch
from zoo.task import Classification


def images() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return torch.rand(6, 3, 9, 7), torch.tensor([0, 3, 1, 2, 2, 0])


@pytest.mark.parametrize("box", [Box(2, 6, 1, 4), Box(0, 9, 0, 7), Box(3, 3, 2, 5)])
def test_equals_torchvision_with_the_same_box(box: Box) -> None:
    class Fixed(v2.CutMix):
        def make_params(self, flat_inputs):
            kept = 1 - box.area / 63
            return {"box": (box.left, box.top, box.right, box.bottom), "lam_adjusted": kept}

    x, y = images()
    theirs_x, theirs_y = Fixed(num_classes=4)(x, y)
    ours = cutmix(Batch(x, y), Classification(4), torch.arange(6).roll(1), box)
    assert torch.equal(ours.x, theirs_x)
    torch.testing.assert_close(ours.y, theirs_y)


def test_the_same_boxes_as_torchvision() -> None:
    theirs = v2.CutMix(num_classes=4)
    for seed in range(200):
        torch.manual_seed(seed)
        drawn = theirs.make_params([torch.zeros(6, 3, 9, 7)])
        torch.manual_seed(seed)
        share = float(theirs._dist.sample(()))
        column, row = int(torch.randint(7, (1,))), int(torch.randint(9, (1,)))
        box = cut_box(9, 7, share, row, column)
        assert (box.left, box.top, box.right, box.bottom) == drawn["box"]


def test_labels_are_what_is_seen() -> None:
    """Each image has one grey level, so that the pixels themselves tell whose they are."""
    technique, model = CutMix(1.0, p=1.0), digits_cnn()
    batch = Batch(torch.arange(8.0).view(8, 1, 1, 1).expand(8, 1, 8, 8), torch.arange(8))
    for seed in range(50):
        torch.manual_seed(seed)
        mixed = technique.transform(model, batch)
        seen = torch.stack([(mixed.x == level).float().mean((1, 2, 3)) for level in range(8)], 1)
        torch.testing.assert_close(mixed.y[:, :8], seen)
        assert not mixed.y[:, 8:].any()


def test_area_of_central_boxes() -> None:
    for share in (0.0, 0.25, 0.5, 0.9):
        assert cut_box(400, 200, share, 200, 100).area / 80_000 == pytest.approx(1 - share, abs=0.01)


def test_resumes_to_the_bit(tmp_path: Path) -> None:
    check_resume(digits_cnn, digits, lambda: CutMix(p=0.7), tmp_path)


def test_second_fit() -> None:
    check_second_fit(digits_cnn(), digits(), CutMix(), "CutMix")


def test_learns_digits() -> None:
    model = fit(digits_cnn(), digits(64), CutMix(p=0.5), epochs=6)
    assert model.trainer.callback_metrics["val/accuracy"] > 0.8


@pytest.mark.parametrize("arguments", [{"alpha": 0.0}, {"p": 0.0}])
def test_no_effect_at_zero_strength(arguments: dict[str, float]) -> None:
    with pytest.raises(NoEffect, match="CutMix has changed nothing"):
        fit(digits_cnn(), digits(), CutMix(**arguments), epochs=1)


def test_tables_and_real_targets_are_refused() -> None:
    with pytest.raises(UnsupportedModule, match=r"boxes out of images .* got inputs of shape \(20, 13\); use MixUp"):
        fit(wine_mlp(), wine(), CutMix())
    with pytest.raises(UnsupportedModule, match=r"CutMix does not support the task Regression; use Classification, or"):
        fit(diabetes_mlp(), diabetes(), CutMix())
