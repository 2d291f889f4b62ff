"""DiffAugment: each change against its formula, gradients through all of them, both players, resume."""

from pathlib import Path

import pytest
import torch

from callbacks.gan.diff_augment import DiffAugment, jitter_color
from callbacks.gan.pictures import cutout, flip, translate
from callbacks.technique import UnsupportedModule
from tests.callbacks.gan.step_checks import check_unsupported
from tests.gan_checks import assert_resumes, digits, digits_gan, fit, ring_gan
from zoo.errors import ZooError


def test_translation_moves_whole_images_by_every_shift_equally_often() -> None:
    torch.manual_seed(0)
    x = torch.zeros(4000, 2, 8, 8)
    x[:, :, 4, 4] = torch.tensor([1.0, 2.0])
    moved = translate(x, 1 / 8)
    place = moved[:, 0].flatten(1).argmax(1)
    rows, columns = place // 8 - 4, place % 8 - 4
    assert torch.equal(moved[:, 1], 2 * moved[:, 0])
    for shift in (-1, 0, 1):
        for other in (-1, 0, 1):
            share = ((rows == shift) & (columns == other)).float().mean().item()
            assert share == pytest.approx(1 / 9, abs=5 * (1 / 9 / 4000) ** 0.5)
    edge = translate(torch.ones(50, 1, 8, 8), 1 / 8)
    assert set(edge.unique().tolist()) == {0.0, 1.0}
    assert torch.equal(translate(x, 0.0), x)


def test_cutout_blanks_a_square_of_half_the_side() -> None:
    torch.manual_seed(0)
    holes = (cutout(torch.ones(500, 3, 8, 8), 0.5) == 0)[:, 0]
    sizes = holes.sum((1, 2))
    assert sizes.max() == 16  # 4 x 4
    assert sizes.min() >= 4  # a corner of it, at least
    rows = holes.any(2).sum(1)
    assert torch.equal(rows * holes.any(1).sum(1), sizes)  # a rectangle


def test_colours() -> None:
    torch.manual_seed(0)
    x = torch.rand(2000, 3, 4, 4) * 2 - 1
    changed = jitter_color(x)
    shift = (changed - x).mean((1, 2, 3))  # brightness alone changes the mean of an image
    assert shift.abs().max() <= 0.5
    assert shift.std().item() == pytest.approx((1 / 12) ** 0.5, rel=0.1)
    grey = x.mean(1, keepdim=True).expand_as(x)
    out = jitter_color(grey)
    spread = out - out.mean(1, keepdim=True)
    assert spread.abs().max() < 1e-5  # saturation leaves grey images grey


def test_flips_as_often_as_asked() -> None:
    torch.manual_seed(0)
    x = torch.arange(8.0).expand(2000, 1, 2, 8)
    flipped = (flip(x, 0.3)[:, 0, 0, 0] == 7).float().mean().item()
    assert flipped == pytest.approx(0.3, abs=5 * (0.21 / 2000) ** 0.5)


def test_gradients_pass() -> None:
    x = torch.rand(4, 3, 8, 8, dtype=torch.double, requires_grad=True)

    def changed(x: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(0)
        return DiffAugment().transform(digits_gan(), x)

    assert torch.autograd.gradcheck(changed, (x,), fast_mode=True)


def test_in_a_game(tmp_path: Path) -> None:
    gan = digits_gan()
    technique, seen = DiffAugment(), []
    inner = technique.transform
    technique.transform = lambda module, x: (seen.append(len(x)), inner(module, x))[1]  # type: ignore
    fit(gan, technique, data=digits())
    assert len(seen) == 3 * 5  # real and fake for the discriminator, fakes for the generator
    assert not gan.discriminator_transforms
    assert_resumes(lambda: [DiffAugment(["translation"])], tmp_path, digits_gan, digits)


def test_errors() -> None:
    check_unsupported(DiffAugment())
    with pytest.raises(UnsupportedModule, match=r"DiffAugment moves and recolours images .* of shape \[2\]; drop"):
        fit(ring_gan(), DiffAugment())
    with pytest.raises(ZooError, match="policy names each change at most once and at least one"):
        DiffAugment(["cutout", "cutout"])
