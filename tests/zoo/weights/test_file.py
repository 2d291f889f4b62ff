"""Weights files say all of themselves, and nothing in them can run."""

import json
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save, save_file
from torch import nn

from datamodules.raw_images import RawImages
from datamodules.raw_rows import RawRows
from datamodules.table_encoder import Table, TableEncoder
from tests.datamodules.test_raw_rows import COLUMNS, TABLE
from zoo.errors import ZooError
from zoo.preprocessing import Preprocessing, rebuild
from zoo.weights.file import read, rounded, write

IMAGES = RawImages(("a", "b"), 1, 8, (0.3,), (0.4,))
CONFIG = {"model": {"class_path": "zoo.mlp.MLP"}, "data": None}


def test_what_was_written_is_read(tmp_path: Path) -> None:
    layer = nn.Linear(3, 2)
    tied = {**layer.state_dict(), "again": layer.weight}
    write(tmp_path / "a.safetensors", tied, CONFIG, IMAGES, ("discriminator",), "abc")
    stored = read((tmp_path / "a.safetensors").read_bytes(), "a")
    assert {name: tensor.tolist() for name, tensor in stored.weights.items()} == {
        name: tensor.tolist() for name, tensor in tied.items()
    }
    assert (stored.config, stored.omitted, stored.fingerprint) == (CONFIG, ("discriminator",), "abc")
    assert stored.build_preprocessing() == IMAGES
    assert {path.name for path in tmp_path.iterdir()} == {"a.safetensors"}, "no part is left behind"


def test_what_was_learnt_from_the_data_is_stored_to_the_bit(tmp_path: Path) -> None:
    encoder = TableEncoder("quantile", "codes").fit(TABLE, COLUMNS)
    write(tmp_path / "a.safetensors", {"w": torch.ones(1)}, CONFIG, RawRows.of(encoder, COLUMNS, ("no", "yes")))
    stored = read((tmp_path / "a.safetensors").read_bytes(), "a")
    assert list(stored.weights) == ["w"]
    again = stored.build_preprocessing()
    assert isinstance(again, RawRows)
    assert torch.equal(again.encoder().encode(TABLE), encoder.encode(TABLE))
    unseen = Table(TABLE.numbers + 1.37, TABLE.categories)
    assert torch.equal(again.encoder().encode(unseen), encoder.encode(unseen))


def test_parameters_are_rounded_and_buffers_are_not() -> None:
    module = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    state = rounded(module, torch.float16)
    assert state["0.weight"].dtype == state["1.bias"].dtype == torch.float16
    assert state["1.running_var"].dtype == torch.float32
    assert state["1.num_batches_tracked"].dtype == torch.int64


def test_a_file_that_is_cut_short_or_another(tmp_path: Path) -> None:
    write(tmp_path / "a.safetensors", nn.Linear(3, 2).state_dict(), CONFIG, None)
    content = (tmp_path / "a.safetensors").read_bytes()
    for part in (content[:-1], content[:20], b"", pickle.dumps({"w": 1})):
        with pytest.raises(ZooError, match=r"^a is cut short or damaged, or is no safetensors file"):
            read(part, "a")
    save_file(nn.Linear(3, 2).state_dict(), tmp_path / "b.safetensors")
    with pytest.raises(ZooError, match=r"^b holds weights alone and does not say of which network"):
        read((tmp_path / "b.safetensors").read_bytes(), "b")
    later = save({"w": torch.ones(1)}, {"zoo": json.dumps({"format": 9})})
    with pytest.raises(ZooError, match="has format 9, this version reads 1; update"):
        read(later, "c")


class Strange(Preprocessing):
    """One of a package that nobody trusts."""

    def __call__(self, raw: object) -> tuple[torch.Tensor, None]:
        return torch.ones(1), None


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("os.system", "is refused: it is of no package that is trusted"),
        ("tests.zoo.weights.test_file.Strange", "is refused: it is of no package that is trusted"),
        ("datamodules.digits.Digits", "is refused: it is no preprocessing"),
        ("datamodules.raw_images.os", "there is no preprocessing"),
        ("datamodules.raw_sounds.RawSounds", "there is no preprocessing"),
        ("RawImages", "is refused"),
        ("datamodules.raw_images.RawImages", "cannot be built from what was stored"),
    ],
)
def test_a_strangers_preprocessing_is_not_imported(path: str, message: str) -> None:
    with pytest.raises(ZooError, match=message):
        rebuild({"class_path": path, "init_args": {"outputs": ["echo"]}})


def test_a_trusted_one_is() -> None:
    described = {"class_path": "tests.zoo.weights.test_file.Strange", "init_args": {"outputs": ["echo"]}}
    assert rebuild(described, ["tests"]).outputs == ("echo",)
