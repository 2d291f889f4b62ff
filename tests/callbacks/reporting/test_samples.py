"""The picture of samples: its pixels, the same noise each time, every logger, errors."""

from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch.loggers import Logger
from PIL import Image

from callbacks.reporting.samples import Samples, sample_grid
from datamodules.digits import Digits
from tests.callbacks.technique_checks import make_mlp
from tests.gan_checks import digits, digits_gan, fit, ring_gan
from tests.tools import quiet_trainer
from zoo.errors import ZooError


def test_pixels_are_the_samples() -> None:
    samples = torch.full((5, 1, 8, 8), -1.0)
    samples[1], samples[4] = 1.0, 0.0
    samples[2] = 7.0  # beyond the range, as networks without tanh may be
    grid = sample_grid(samples)
    assert grid.dtype == np.uint8
    zoom = grid.shape[1] // 28  # three images of 8 pixels with frames of 1
    assert grid.shape == (19 * zoom, 28 * zoom, 3)
    at = [grid[zoom * (9 * row + 4), zoom * (9 * column + 4), 0] for row, column in ((0, 0), (0, 1), (0, 2), (1, 1))]
    assert at == [0, 255, 255, 128]
    colours = torch.stack([torch.full((8, 8), value) for value in (-1.0, 0.0, 1.0)])[None]
    assert sample_grid(colours)[zoom * 20, zoom * 20].tolist() == [0, 128, 255]


def test_points_are_scattered() -> None:
    picture = sample_grid(torch.randn(100, 2))
    assert picture.dtype == np.uint8
    assert picture.shape[2] == 3
    assert len(np.unique(picture)) > 10
    with pytest.raises(ZooError, match=r"samples of shape \(5,\) are no pictures; write them with --out FILE.npy"):
        sample_grid(torch.randn(3, 5))


class Pictures(Logger):
    """A logger that takes pictures and nothing else."""

    name = version = "pictures"

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, np.ndarray]] = []

    def log_image(self, key: str, images: list[np.ndarray]) -> None:
        self.seen.append((key, images[0]))

    def log_metrics(self, metrics: object, step: int | None = None) -> None: ...

    def log_hyperparams(self, params: object) -> None: ...


def test_a_picture_after_each_epoch(tmp_path: Path) -> None:
    gan, logger = digits_gan(), Pictures()
    fit(gan, Samples(tmp_path, num=9, every_n_epochs=2, keep_all=True), data=digits(), max_epochs=3, logger=logger)
    names = sorted(file.name for file in (tmp_path / "figures").iterdir())
    assert names == ["samples.png", "samples_0002.png", "samples_0003.png"]
    assert [key for key, _ in logger.seen] == ["figures/samples"] * 2
    written = np.asarray(Image.open(tmp_path / "figures" / "samples.png"))
    assert np.array_equal(written, sample_grid(gan.sample(9)))
    assert np.array_equal(written, logger.seen[-1][1])
    assert not np.array_equal(written, logger.seen[0][1])


def test_training_does_not_feel_it(tmp_path: Path) -> None:
    with_it, without = digits_gan(), digits_gan()
    fit(with_it, Samples(tmp_path), data=digits(), max_epochs=2)
    fit(without, data=digits(), max_epochs=2)
    for name, value in with_it.state_dict().items():
        assert torch.equal(value, without.state_dict()[name]), name


def test_points_and_vectors(tmp_path: Path) -> None:
    fit(ring_gan(), Samples(tmp_path))
    assert (tmp_path / "figures" / "samples.png").is_file()


def test_errors(tmp_path: Path) -> None:
    with pytest.raises(ZooError, match="Samples draws what a GAN makes, and MLP makes no samples; drop it"):
        quiet_trainer(callbacks=[Samples(tmp_path)]).fit(make_mlp(), datamodule=Digits(batch_size=500))
    with pytest.raises(ZooError, match="num and every_n_epochs must be at least 1, got 0 and 1"):
        Samples(tmp_path, num=0)
