"""Encoder-decoder: torch's own modules with the same weights, padding, cached and uncached translations, learning."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.batch import Batch
from zoo.encoder_decoder import EncoderDecoder
from zoo.errors import DataError, ZooError
from zoo.layers.attention import Attention
from zoo.layers.transformer import BlockDesign, Transformer, TransformerBlock
from zoo.task import Translation

V = 11


def make(seed: int = 0, **arguments: Any) -> EncoderDecoder:
    torch.manual_seed(seed)
    settings = {"width": 16, "layers": 2, "dropout": 0.0, "context": 40, **arguments}
    return EncoderDecoder(V, Translation(V), **settings).eval()


def talkative(**arguments: Any) -> EncoderDecoder:
    """One that writes something else of every source, though it has learnt nothing."""
    module = make(tied=False, **arguments)
    with torch.no_grad():
        for layer in module.modules():
            if isinstance(layer, nn.Linear):
                layer.weight.mul_(4)
    return module


def batch(rows: int = 4, seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, 9, (rows,), generator=generator)
    x = torch.randint(2, V, (rows, 8), generator=generator).masked_fill(torch.arange(8) >= lengths[:, None], 0)
    ends = torch.randint(1, 7, (rows,), generator=generator)
    y = torch.randint(2, V, (rows, 6), generator=generator)
    y = y.scatter(1, ends[:, None] - 1, 1).masked_fill(torch.arange(6) >= ends[:, None], -100)
    return Batch(x, y, lengths)


# torch's own modules ------------------------------------------------------------------------------------------------


@torch.no_grad()
def _copy_attention(ours: Attention, theirs: nn.MultiheadAttention) -> None:
    theirs.in_proj_weight.copy_(torch.cat([layer.weight for layer in (ours.query, ours.key, ours.value)]))
    theirs.in_proj_bias.copy_(torch.cat([layer.bias for layer in (ours.query, ours.key, ours.value)]))
    theirs.out_proj.load_state_dict(ours.out.state_dict())


def _copy_block(ours: TransformerBlock, theirs: Any) -> None:
    _copy_attention(ours.attention, theirs.self_attn)
    theirs.norm1.load_state_dict(ours.attention_residual.norm.state_dict())
    last = theirs.norm2
    if ours.cross_attention is not None and ours.cross_residual is not None:
        _copy_attention(ours.cross_attention, theirs.multihead_attn)
        theirs.norm2.load_state_dict(ours.cross_residual.norm.state_dict())
        last = theirs.norm3
    last.load_state_dict(ours.feed_forward_residual.norm.state_dict())
    theirs.linear1.load_state_dict(ours.feed_forward.expand.state_dict())
    theirs.linear2.load_state_dict(ours.feed_forward.contract.state_dict())


def _stir(module: nn.Module) -> None:
    with torch.no_grad():
        for parameter in module.parameters():  # norms that are all ones could be swapped unseen
            parameter.add_(0.1 * torch.randn_like(parameter))


@pytest.mark.filterwarnings("ignore:enable_nested_tensor is True")
@pytest.mark.parametrize("place", ["pre", "post"])
def test_equals_torch(place: str) -> None:
    design = BlockDesign(heads=4, norm_place=place, activation="relu")  # type: ignore[arg-type]
    module = make(block=design)
    _stir(module)
    theirs = nn.Transformer(16, 4, 2, 2, 64, 0.0, "relu", batch_first=True, norm_first=place == "pre").eval()
    theirs.encoder.use_nested_tensor = False
    if place == "post":  # torch norms once more behind a stack
        theirs.encoder.norm = theirs.decoder.norm = None
    for ours, other in ((module.encoder, theirs.encoder), (module.decoder, theirs.decoder)):
        assert isinstance(ours, Transformer)
        for block, layer in zip(ours.blocks, other.layers, strict=True):
            _copy_block(block, layer)  # type: ignore[arg-type]
        if place == "pre":
            other.norm.load_state_dict(ours.norm.state_dict())  # type: ignore[union-attr]
    given = batch()
    assert given.lengths is not None
    x, target = given.x, torch.cat([torch.zeros(4, 1, dtype=torch.int64), given.y[:, :-1].clamp(min=0)], 1)
    padded = torch.arange(8) >= given.lengths[:, None]
    position = module.encoder.added.table  # type: ignore[union-attr]

    def embed(tokens: Tensor) -> Tensor:
        return module.embedding(tokens) * 4 + position[: tokens.shape[1]]

    later = torch.ones(6, 6, dtype=torch.bool).triu(1)
    with torch.no_grad():
        said = theirs(embed(x), embed(target), tgt_mask=later, src_key_padding_mask=padded,
                      memory_key_padding_mask=padded)  # fmt: skip
        torch.testing.assert_close(module.forward_batch(given), module.head(said), rtol=1e-4, atol=1e-5)


def test_a_decoder_block_equals_torch() -> None:
    torch.manual_seed(0)
    stack = Transformer(16, 1, BlockDesign(norm_place="post", activation="gelu"), 8, "none", causal=True, cross=True)
    _stir(stack)
    layer = nn.TransformerDecoderLayer(16, 4, 64, 0.0, "gelu", batch_first=True).eval()
    _copy_block(stack.blocks[0], layer)  # type: ignore[arg-type]
    x, memory = torch.randn(3, 5, 16), torch.randn(3, 7, 16)
    later = torch.ones(5, 5, dtype=torch.bool).triu(1)
    with torch.no_grad():
        torch.testing.assert_close(stack(x, memory=memory), layer(x, memory, tgt_mask=later), rtol=1e-4, atol=1e-5)


# What is read -------------------------------------------------------------------------------------------------------


@torch.no_grad()
@pytest.mark.parametrize("position", ["sinusoidal", "learned", "rotary"])
def test_padding_of_sources_is_never_read(position: Any) -> None:
    module, given = make(position=position), batch()
    assert given.lengths is not None
    said = module.forward_batch(given)
    other = given.x.masked_fill(torch.arange(8) >= given.lengths[:, None], 7)
    torch.testing.assert_close(module.forward_batch(given._replace(x=other)), said)
    for row, length in enumerate(given.lengths.tolist()):
        alone = Batch(given.x[row : row + 1, :length], given.y[row : row + 1])
        torch.testing.assert_close(module.forward_batch(alone)[0], said[row], rtol=1e-4, atol=1e-5)
    with pytest.raises(DataError, match="sequence 0 of the batch has length 0"):
        module.forward_batch(given._replace(lengths=torch.zeros(4, dtype=torch.int64)))


@torch.no_grad()
def test_later_targets_are_not_read_and_earlier_ones_are() -> None:
    module, given = make(), batch()
    y = torch.randint(2, V, (4, 6))
    said = module.forward_batch(given._replace(y=y))
    for step in range(6):
        other = y.clone()
        other[:, step] = (y[:, step] - 1) % (V - 2) + 2
        again = module.forward_batch(given._replace(y=other))
        torch.testing.assert_close(again[:, : step + 1], said[:, : step + 1])
        if step < 5:
            assert (again[:, step + 1] - said[:, step + 1]).abs().amax(1).min() > 1e-4


def test_loss_is_that_of_the_tokens_there_are() -> None:
    module, given = make(), batch()
    logits = module.forward_batch(given)
    expected = [
        F.cross_entropy(logits[row, step], given.y[row, step])
        for row in range(4) for step in range(6) if given.y[row, step] != -100
    ]  # fmt: skip
    torch.testing.assert_close(module.task.loss(logits, given), torch.stack(expected).mean())


def test_shapes_ties_and_shortcuts() -> None:
    module = make()
    assert module.source_embedding is module.embedding
    assert module.head.weight is module.embedding.weight
    assert module(module.example_input_array).shape == (2, 1, V)
    assert list(module.branches)[:2] == ["encoder.blocks.0.attention.out", "encoder.blocks.0.feed_forward.contract"]
    assert len(module.branches) == 2 * 2 + 2 * 3
    apart = make(source_vocabulary_size=5, tied=False)
    assert apart.source_embedding.num_embeddings == 5
    assert apart.head.weight is not apart.embedding.weight
    deep = make(layers=6, decoder_layers=3, block=BlockDesign(norm_place="deep"))
    alphas = [stack.blocks[0].attention_residual.alpha for stack in (deep.encoder, deep.decoder)]  # type: ignore[union-attr]
    assert alphas == pytest.approx([0.81 * (6**4 * 3) ** (1 / 16), 9**0.25])
    with pytest.raises(ZooError, match="the task is about 9 tokens, vocabulary_size is 11"):
        EncoderDecoder(V, Translation(9))


# Translations -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("beam", [1, 3])
@pytest.mark.parametrize("position", ["sinusoidal", "rotary"])
def test_cached_equals_uncached(beam: int, position: Any) -> None:
    module, given = talkative(position=position), batch(rows=9)
    said = module.translate(given.x, given.lengths, beam)
    assert torch.equal(said, module.translate(given.x, given.lengths, beam, cached=False))
    assert len({tuple(row) for row in said.tolist()}) > 4
    for row in said:
        end = (row == 1).nonzero()
        assert len(end) == 1
        assert (row[int(end) + 1 :] == -100).all()
        assert (row[: int(end)] >= 0).all()


def test_rows_are_translated_as_they_are_alone() -> None:
    module, given = talkative(), batch(rows=9)
    for beam in (1, 3):
        said = module.translate(given.x, given.lengths, beam, most=12)
        for row, length in enumerate(given.lengths.tolist()):  # type: ignore[union-attr]
            alone = module.translate(given.x[row : row + 1, :length], None, beam, most=12)[0]
            assert torch.equal(said[row, : len(alone)], alone)
            assert (said[row, len(alone) :] == -100).all()


def test_arguments_of_a_translation_are_checked() -> None:
    module = make().train()
    x = torch.full((1, 3), 4)
    assert module.translate(x, most=1).tolist() == [[1]]
    assert module.training
    for arguments, message in (({"beam": 0}, "beam must be"), ({"length_penalty": -1}, "length_penalty must be"),
                               ({"most": 0}, "most must be")):  # fmt: skip
        with pytest.raises(ZooError, match=f"translate: {message} at least"):
            module.translate(x, **arguments)  # type: ignore[arg-type]


def test_learns_to_reverse() -> None:
    torch.manual_seed(0)
    module = EncoderDecoder(V, Translation(V), width=32, layers=1, dropout=0.0)
    optimizer = torch.optim.AdamW(module.parameters(), lr=5e-3)
    generator = torch.Generator().manual_seed(0)

    def draw() -> Batch:
        lengths = torch.randint(2, 6, (64,), generator=generator)
        words = torch.randint(2, V, (64, 6), generator=generator)
        step = torch.arange(7)
        x = F.pad(words, (0, 1)).masked_fill(step >= lengths[:, None], 0)
        back = (lengths[:, None] - 1 - step).clamp(min=0)
        y = x.gather(1, back).where(step < lengths[:, None], -100).scatter(1, lengths[:, None], 1)
        return Batch(x[:, :6], y, lengths)

    for _ in range(300):
        given = draw()
        loss = module.task.loss(module.forward_batch(given), given)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    given = draw()
    for beam in (1, 4):
        said = module.translate(given.x, given.lengths, beam, most=7)
        said = F.pad(said, (0, 7 - said.shape[1]), value=-100)
        assert (said == given.y).all(1).float().mean() > 0.9
