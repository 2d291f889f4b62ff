"""Attention maps: what is heard equals a pass by hand, rollout, the figures, and that the run does not notice."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.loggers.logger import DummyLogger
from PIL import Image

from callbacks.reporting import attention_maps
from callbacks.reporting.attention_maps import AttentionMaps, Heard, attention_of, image_shares, rollout
from callbacks.reporting.attention_plots import HeadMaps, ImageMaps, as_labels, draw_head_maps
from datamodules.char_text import CharText
from datamodules.digits import Digits
from datamodules.japanese_vowels import JapaneseVowels
from tests.tools import quiet_trainer
from zoo.batch import Batch
from zoo.errors import ZooError
from zoo.layers.transformer import BlockDesign, Context
from zoo.mlp import MLP
from zoo.sequence_transformer import SequenceTransformer
from zoo.task import Classification, LanguageModeling
from zoo.transformer import GPT
from zoo.vision_transformer import ViT


class Recorder(DummyLogger):
    """A logger that takes pictures."""

    def __init__(self) -> None:
        super().__init__()
        self.images: dict[str, Any] = {}

    def log_image(self, key: str, images: list[Any]) -> None:
        self.images[key] = images[0]


def vit(pool: Any = "class", **arguments: Any) -> Any:
    torch.manual_seed(0)
    return ViT(1, 8, Classification(10), 2, 16, 2, pool, **arguments)


def fit(module: Any, data: Any, *callbacks: Callback, **settings: Any) -> None:
    settings = {"max_epochs": 1, "limit_train_batches": 2, "limit_val_batches": 1, **settings}
    quiet_trainer(callbacks=list(callbacks), **settings).fit(module, datamodule=data)


# What is heard --------------------------------------------------------------------------------------------------------


def test_attention_is_that_of_the_layers() -> None:
    module, x = vit().eval(), torch.randn(3, 1, 8, 8)
    heard = attention_of(module, Batch(x))
    assert [*heard.weights] == ["backbone.1.blocks.0.attention", "backbone.1.blocks.1.attention"]
    tokens, stack, _ = module.backbone
    first, second = stack.blocks
    with torch.no_grad():
        said = tokens(x)
        for block, weights in zip((first, second), heard.weights.values()):
            torch.testing.assert_close(weights, block.attention.weights(block.attention_residual.norm(said)))
            said = block(said, Context())
    assert heard.read is not None
    assert heard.read.tolist() == [[1.0] + [0.0] * 16] * 3
    assert not any(layer._forward_pre_hooks for layer in module.modules())


def test_masks_and_turns_are_heard() -> None:
    gpt = GPT(9, 6, LanguageModeling(9), 16, 2, "rotary", block=BlockDesign(kv_heads=2)).eval()
    heard = attention_of(gpt, Batch(torch.randint(9, (2, 6))))
    for weights in heard.weights.values():
        assert weights.shape == (2, 4, 6, 6)
        assert not weights.triu(1).any()
        torch.testing.assert_close(weights.sum(3), torch.ones(2, 4, 6))
    encoder = SequenceTransformer(3, Classification(2), 16, readout="class").eval()
    (weights, _) = attention_of(encoder, Batch(torch.randn(2, 6, 3), lengths=torch.tensor([6, 2]))).weights.values()
    assert not weights[1, :, :, 3:].any(), "a class token and two steps are all there is to read"


def test_rollout_by_hand() -> None:
    first, second = (torch.rand(2, 3, 4, 4).softmax(3) for _ in range(2))
    eye = torch.eye(4)
    expected = torch.stack(
        [(0.5 * second[k].mean(0) + 0.5 * eye) @ (0.5 * first[k].mean(0) + 0.5 * eye) for k in (0, 1)]
    )
    torch.testing.assert_close(rollout([first, second]), expected)
    torch.testing.assert_close(rollout([eye.expand(2, 3, 4, 4)] * 5), eye.expand(2, 4, 4))


def test_shares_leave_out_the_class_token() -> None:
    weights = torch.zeros(1, 1, 5, 5)
    weights[0, 0, 0] = torch.tensor([0.5, 0.1, 0.2, 0.0, 0.2])  # what the class token reads
    last, _ = image_shares(Heard({"only": weights}, torch.eye(1, 5)), (2, 2))
    torch.testing.assert_close(last, torch.tensor([[[0.2, 0.4], [0.0, 0.4]]]))


@pytest.mark.parametrize("pool", ["class", "mean", "sequence"])
def test_shares_add_up_to_one(pool: Any) -> None:
    module = vit(pool).eval()
    heard = attention_of(module, Batch(torch.randn(3, 1, 8, 8)))
    for shares in image_shares(heard, (4, 4)):
        assert shares.shape == (3, 4, 4)
        torch.testing.assert_close(shares.sum((1, 2)), torch.ones(3))


# Figures of a run -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["images", "tokens", "sequences"])
def test_figures(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Any] = []
    name = "draw_image_maps" if kind == "images" else "draw_head_maps"
    draw = getattr(attention_maps, name)
    monkeypatch.setattr(attention_maps, name, lambda seen: drawn.append(seen) or draw(seen))
    data: Any
    if kind == "images":
        data, module = Digits(batch_size=16), vit()
    elif kind == "tokens":
        data = CharText(limit=20_000, window=16, batch_size=8, eval_batch_size=4)
        data.setup("fit")
        module = GPT(data.vocabulary_size, 16, LanguageModeling(data.vocabulary_size), 16, 1)
    else:
        data, module = JapaneseVowels(), SequenceTransformer(12, Classification(9), 16, 1, dropout=0.0)
    recorder = Recorder()
    fit(module, data, AttentionMaps(tmp_path, num=5), logger=recorder)
    pixels = np.asarray(Image.open(tmp_path / "figures" / "attention.png"))
    assert pixels.std() > 5
    assert np.array_equal(recorder.images["figures/attention"], pixels)
    (seen,) = drawn
    raw = next(iter(data.val_dataloader()))
    module.eval()
    if isinstance(seen, ImageMaps):
        assert seen.images.shape == (5, 8, 8, 3)
        assert seen.last.shape == seen.rollout.shape == (5, 4, 4)
        assert all(label[0] in "✓✗" for label in seen.labels)
        assert seen.about == "validation split · 5 images · weights at the end"
    else:
        x = raw[0][:1] if kind == "tokens" else raw[0][:1, : min(int(raw[2][0]), 32)]
        assert isinstance(seen, HeadMaps)
        (weights,) = attention_of(module, Batch(x)).weights.values()
        assert np.allclose(seen.weights[0], weights[0], atol=1e-6)
        assert seen.steps == ([] if kind == "sequences" else as_labels([*data.vocabulary.decode(raw[0][0])]))


def test_a_run_is_the_same_with_and_without(tmp_path: Path) -> None:
    ends = []
    for callbacks in ([], [AttentionMaps(tmp_path)]):
        module = vit(dropout=0.1, drop_path=0.1)
        fit(module, Digits(batch_size=16), *callbacks, max_epochs=2)
        ends.append(module.state_dict())
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


def test_many_heads_and_long_names() -> None:
    weights = [np.random.default_rng(k).random((heads, 50, 50)) for k, heads in enumerate((2, 8))]
    figure = draw_head_maps(HeadMaps(weights, ["a" * 50, "b"], [], "about"))
    assert len(figure.axes) == 10


def test_blanks_are_visible() -> None:
    assert as_labels([" ", "\n", "a b"]) == ["␣", "⏎", "a␣b"]


def test_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ZooError, match=r"^AttentionMaps: num must be at least 1, got 0$"):
        AttentionMaps(tmp_path, 0)
    with pytest.raises(ZooError, match=r"^AttentionMaps draws attention, and MLP has no layer of it; drop it$"):
        fit(MLP(64, Classification(10)), Digits(), AttentionMaps(tmp_path))
    monkeypatch.setattr(attention_maps, "rollout", lambda weights: 1 / 0)
    with pytest.warns(UserWarning, match=r"attention.png failed \(ZeroDivisionError"):
        fit(vit(), Digits(batch_size=16), AttentionMaps(tmp_path))
