"""Walks through the latent noise: great arcs, the picture's pixels, classes, no trace in the run, errors."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from callbacks.reporting.latent_walk import LatentWalk, walk
from callbacks.reporting.samples import sample_grid
from tests.gan_checks import digits, digits_gan, fit, ring_gan
from zoo.errors import ZooError
from zoo.generators.sampling import latent_walk, samples_at


def test_great_arcs() -> None:
    start, end = torch.randn(2, 5, 64, generator=torch.Generator().manual_seed(0)).unbind(0)
    path = latent_walk(start, end, 7)
    assert path.shape == (5, 7, 64)
    torch.testing.assert_close(path[:, 0], start)
    torch.testing.assert_close(path[:, -1], end)
    lengths = path.norm(dim=2)
    assert (lengths > 0.9 * torch.minimum(start.norm(dim=1), end.norm(dim=1))[:, None]).all()  # along the shell
    units = torch.nn.functional.normalize(
        latent_walk(*(torch.nn.functional.normalize(z) for z in (start, end)), 7), dim=2
    )
    steps = torch.arccos((units[:, 1:] * units[:, :-1]).sum(2))
    torch.testing.assert_close(steps, steps[:, :1].expand_as(steps), rtol=1e-3, atol=1e-4)  # of equal angles
    assert torch.isfinite(latent_walk(start, start, 3)).all()


def test_a_picture_after_each_epoch(tmp_path: Path) -> None:
    with_it, without = digits_gan(), digits_gan()
    fit(with_it, LatentWalk(tmp_path, size=5), data=digits(), max_epochs=2)
    fit(without, data=digits(), max_epochs=2)
    written = np.asarray(Image.open(tmp_path / "figures" / "latent_walk.png"))
    assert written.dtype == np.uint8
    assert np.array_equal(written, sample_grid(walk(with_it, 5)))
    assert len(np.unique(written)) > 10
    for name, value in with_it.state_dict().items():
        assert torch.equal(value, without.state_dict()[name]), name


def test_a_row_keeps_to_its_class() -> None:
    gan = ring_gan(conditioning="projection")
    labels = torch.arange(3).repeat_interleave(3)
    ends = walk(gan, 3)
    torch.manual_seed(1)
    assert torch.equal(walk(gan, 3), ends)
    assert not torch.equal(walk(gan, 3, seed=1), ends)
    assert samples_at(gan.generator, torch.zeros(9, 4), labels).shape == ends.shape


def test_errors(tmp_path: Path) -> None:
    with pytest.raises(ZooError, match="LatentWalk draws images that a GAN makes, and this GAN makes none"):
        fit(ring_gan(), LatentWalk(tmp_path))
    with pytest.raises(ZooError, match="size is at least 2 and every_n_epochs at least 1, got 1 and 1"):
        LatentWalk(tmp_path, size=1)
