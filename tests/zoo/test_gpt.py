"""GPT: equal to torch's own layers, blind to the future, the same with a cache; it learns, and resumes to the bit."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from callbacks.init.gpt2 import GPT2
from callbacks.optimizers.muon import Muon
from datamodules.char_text import CharText
from tests.tools import StopAt, Stopped, quiet_trainer
from zoo.batch import Batch
from zoo.errors import ZooError
from zoo.layers.position import Position
from zoo.layers.transformer import BlockDesign
from zoo.task import LanguageModeling
from zoo.transformer import GPT

DESIGNS = {
    "gpt2": BlockDesign(),
    "modern": BlockDesign(kv_heads=2, norm="rms", activation="swiglu", qk_norm=True, bias=False),
    "capped": BlockDesign(kv_heads=1, soft_cap=5.0, layer_scale=0.1),
    "post": BlockDesign(norm_place="post", activation="relu"),
    "deep": BlockDesign(norm_place="deep"),
    "bare": BlockDesign(norm="none"),
}


def gpt(design: BlockDesign = DESIGNS["gpt2"], position: Position = "learned", **arguments: Any) -> GPT:
    torch.manual_seed(0)
    return GPT(20, 12, LanguageModeling(20), 32, 2, position, block=design, **arguments)


def tokens(rows: int = 3, steps: int = 12) -> Tensor:
    return torch.randint(20, (rows, steps), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("place", ["pre", "post"])
def test_logits_are_those_of_torchs_own_layers(place: Any) -> None:
    module = gpt(BlockDesign(norm_place=place)).eval()
    encoder = nn.TransformerEncoder(
        nn.TransformerEncoderLayer(32, 4, 128, 0.0, "gelu", batch_first=True, norm_first=place == "pre"),
        num_layers=2, norm=nn.LayerNorm(32) if place == "pre" else None, enable_nested_tensor=False,
    )  # fmt: skip
    for theirs, ours in zip(encoder.layers, module.transformer.blocks, strict=True):
        a, f = ours.attention, ours.feed_forward
        weights = {
            "self_attn.in_proj_weight": torch.cat([a.query.weight, a.key.weight, a.value.weight]),
            "self_attn.in_proj_bias": torch.cat([a.query.bias, a.key.bias, a.value.bias]),
        }
        pairs = {
            "self_attn.out_proj": a.out,
            "linear1": f.expand,
            "linear2": f.contract,
            "norm1": ours.attention_residual.norm,
            "norm2": ours.feed_forward_residual.norm,
        }
        for name, layer in pairs.items():
            weights |= {f"{name}.{kind}": value for kind, value in layer.state_dict().items()}
        theirs.load_state_dict(weights)
    if encoder.norm is not None:
        encoder.norm.load_state_dict(module.transformer.norm.state_dict())
    x = module.embedding(tokens()) + module.transformer.added.table
    read = encoder.eval()(x, mask=nn.Transformer.generate_square_subsequent_mask(12), is_causal=True)
    torch.testing.assert_close(module(tokens()), read @ module.embedding.weight.T, atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize("position", ["learned", "sinusoidal", "rotary", "none"])
@pytest.mark.parametrize("design", DESIGNS)
def test_a_cache_changes_nothing_and_the_future_is_not_read(design: str, position: Position) -> None:
    module, x = gpt(DESIGNS[design], position).eval(), tokens()
    whole = module(x)
    later = x.clone()
    later[:, 7:] = 0
    torch.testing.assert_close(module(later)[:, :7], whole[:, :7], atol=1e-5, rtol=1e-5)
    caches, parts = module.transformer.fresh_caches(), []
    for part in x.split([4, 1, 5, 2], 1):  # many steps at once, one, and many behind others
        parts.append(module.head(module.transformer(module.embedding(part), caches=caches)))
    torch.testing.assert_close(torch.cat(parts, 1), whole, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("settings", [{"temperature": 0}, {"top_k": 5}, {"top_p": 0.8}])
def test_texts_are_the_same_without_a_cache_beyond_the_window_too(settings: dict[str, Any]) -> None:
    module, texts = gpt(dropout=0.3).train(), []
    for cached in (True, False):
        torch.manual_seed(1)
        texts.append(module.generate(tokens(2, 3), 20, **settings, cached=cached))
    assert torch.equal(*texts)
    assert module.training
    assert torch.equal(texts[0][:, :3], tokens(2, 3))
    if settings == {"temperature": 0}:
        expected = tokens(2, 3)
        for _ in range(20):
            expected = torch.cat([expected, module.eval()(expected[:, -12:])[:, -1].argmax(1)[:, None]], 1)
        assert torch.equal(texts[0], expected)


@pytest.mark.parametrize("design", DESIGNS)
def test_every_weight_is_trained(design: str) -> None:
    module = gpt(DESIGNS[design], dropout=0.1, drop_path=0.1)
    for seed in range(3):  # drop-path may leave a branch out once
        torch.manual_seed(seed)
        module.training_step(Batch(tokens(), tokens()), 0).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() and p.grad.any() for p in module.parameters())


def test_it_begins_with_a_guess() -> None:
    module = gpt()
    GPT2().fill(module)
    x = tokens(64, 12)
    y = x.roll(1, 0)  # with its own token as the target, a tied embedding would have a head start
    assert module.task.loss(module(x), Batch(x, y)).item() == pytest.approx(math.log(20), abs=0.1)


def test_the_size_of_nanogpts_cpu_setting() -> None:
    module = GPT(65, 64, LanguageModeling(65), 128, 4, block=BlockDesign(heads=4, bias=False))
    places = 64 * 128  # which it leaves out of its count of 0.80 million
    assert sum(p.numel() for p in module.parameters()) - places == 65 * 128 + 4 * (12 * 128**2 + 2 * 128) + 128
    assert module.head.weight is module.embedding.weight
    free = GPT(65, 64, LanguageModeling(65), 128, 4, tied=False)
    assert free.head.weight is not free.embedding.weight


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's own tasks as a text: real, small, and always there."""
    file = tmp_path_factory.mktemp("text") / "text.txt"
    root = Path(__file__).resolve().parents[2] / "zoo" / "tasks"
    file.write_text("".join(path.read_text() for path in sorted(root.glob("*.py")))[:8_000])
    return file


def data(text: Path) -> CharText:
    return CharText(str(text), batch_size=16, window=32, val_fraction=0.2, unknown_token=True)


def fit(text: Path, *callbacks: Any, epochs: int = 2, ckpt: Path | None = None) -> tuple[GPT, Any]:
    source = data(text)
    source.setup("fit")
    torch.manual_seed(0)
    size = source.vocabulary_size
    module = GPT(size, 32, LanguageModeling(size), 32, 2, "rotary", dropout=0.1, drop_path=0.1)
    trainer = quiet_trainer(callbacks=[GPT2(0.1), Muon(0.02, adamw_lr=0.01), *callbacks], max_epochs=epochs)
    trainer.fit(module, datamodule=data(text), ckpt_path=ckpt, weights_only=True if ckpt else None)
    return module, trainer


def test_it_learns_what_comes_next(text: Path) -> None:
    module, trainer = fit(text, epochs=6)
    source = data(text)
    source.setup("fit")
    naive = module.task.naive(source.train_targets, [Batch(x, y) for x, y, *_ in source.val_dataloader()])
    assert trainer.callback_metrics["val/loss"].item() < naive["a constant answer"]["loss"] - 0.5


@pytest.mark.parametrize("epoch", [0, 1])
def test_a_run_that_was_cut_off_goes_on_to_the_bit(text: Path, tmp_path: Path, epoch: int) -> None:
    whole, trainer = fit(text)
    with pytest.raises(Stopped):
        fit(text, StopAt(tmp_path / "cut.ckpt", epoch, 4))
    resumed, other = fit(text, ckpt=tmp_path / "cut.ckpt")
    for name, weight in whole.state_dict().items():
        assert torch.equal(weight, resumed.state_dict()[name]), name
    assert trainer.callback_metrics["val/loss"] == other.callback_metrics["val/loss"]


def test_what_a_gpt_cannot_take() -> None:
    with pytest.raises(ZooError, match="GPT: the task is about 9 tokens, vocabulary_size is 20"):
        GPT(20, 12, LanguageModeling(9))
    with pytest.raises(ZooError, match="built for 12 steps, got 13; shorten sequences or raise its context"):
        gpt()(tokens(1, 13))
    with pytest.raises(ZooError, match="width must be a multiple of heads, got width=32 and heads=5"):
        gpt(BlockDesign(heads=5))
    with pytest.raises(ZooError, match="heads must be a multiple of kv_heads, got 4 and 3"):
        gpt(BlockDesign(kv_heads=3))
    with pytest.raises(ZooError, match="rotary positions turn pairs of numbers and need an even width, got 1"):
        gpt(BlockDesign(heads=32), "rotary")
    with pytest.raises(ZooError, match="norm_place=deep scales shortcuts for a norm behind them; norm is none"):
        BlockDesign(norm="none", norm_place="deep")
