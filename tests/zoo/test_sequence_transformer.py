"""The encoder of sequences: padding and the future are not read, readouts by hand, and that it learns."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from callbacks.diagnostics.sequence_preflight import SequencePreflight
from datamodules.japanese_vowels import JapaneseVowels
from tests.tools import quiet_trainer
from zoo.batch import Batch
from zoo.errors import DataError, ZooError
from zoo.layers.readout import AttentionReadout
from zoo.layers.transformer import BlockDesign
from zoo.sequence_transformer import SequenceTransformer
from zoo.task import Classification, Regression, Tagging

LENGTHS = torch.tensor([7, 3, 1, 5])


def make(task: Any = None, **arguments: Any) -> Any:
    torch.manual_seed(0)
    task = task or Classification(4)
    return SequenceTransformer(**{"num_channels": 3, "task": task, "width": 16, "layers": 2, **arguments}).eval()


def draw(steps: int = 7) -> Tensor:
    return torch.randn(4, steps, 3, generator=torch.Generator().manual_seed(1))


KINDS: dict[str, dict[str, Any]] = {
    "mean": {},
    "max": {"readout": "max", "position": "rotary"},
    "attention": {"readout": "attention", "position": "learned", "context": 20},
    "class": {"readout": "class"},
    "class_rotary": {"readout": "class", "position": "rotary", "block": BlockDesign(kv_heads=2, soft_cap=5.0)},
    "causal": {"causal": True},
    "tagging": {"task": Tagging(4)},
    "causal_tagging": {"task": Tagging(4), "causal": True},
}


@pytest.mark.parametrize("kind", KINDS)
def test_padding_is_never_read(kind: str) -> None:
    module, x = make(**KINDS[kind]), draw()
    valid = torch.arange(7) < LENGTHS[:, None]
    said = module(x, LENGTHS)
    other = module(x.where(valid[..., None], 50 * torch.randn(4, 7, 3)), LENGTHS)
    longer = module(torch.cat([x, torch.full((4, 6, 3), 9.0)], 1), LENGTHS)
    per_step = module.task.per_step
    for again in (other, longer[:, :7] if per_step else longer):
        torch.testing.assert_close(said[valid] if per_step else said, again[valid] if per_step else again)
    for row, length in enumerate(LENGTHS.tolist()):
        alone = module(x[row : row + 1, :length])
        torch.testing.assert_close(alone[0], said[row, :length] if per_step else said[row])


@pytest.mark.parametrize("causal", [False, True])
def test_the_future_is_read_unless_it_is_causal(causal: bool) -> None:
    module, x = make(Tagging(4), causal=causal), draw()
    other = torch.cat([x[:, :4], torch.randn(4, 3, 3)], 1)
    assert torch.allclose(module(x)[:, :4], module(other)[:, :4], atol=1e-6) == causal
    assert module.causal == causal


def test_the_readouts_by_hand() -> None:
    x, valid = draw(), (torch.arange(7) < LENGTHS[:, None])
    module = make()
    steps = module.encoder(module.embedding(x), valid)
    means = torch.stack([steps[row, :length].mean(0) for row, length in enumerate(LENGTHS.tolist())])
    torch.testing.assert_close(module(x, LENGTHS), module.head(means))
    assert isinstance(make(readout="attention").readout, AttentionReadout)
    module = make(readout="class")
    tokens = torch.cat([module.class_token.expand(4, 1, -1), module.embedding(x)], 1)
    said = module.encoder(tokens, torch.cat([torch.ones(4, 1, dtype=torch.bool), valid], 1))
    torch.testing.assert_close(module(x, LENGTHS), module.head(said[:, 0]))


@pytest.mark.parametrize("task", [Classification(4), Regression(2), Tagging(4)], ids=["class", "value", "tags"])
@pytest.mark.parametrize("length", [1, 2, 20])
def test_shapes(task: Any, length: int) -> None:
    expected = (4, length, 4) if task.per_step else (4, task.out_features)
    assert make(task, context=20)(torch.zeros(4, length, 3)).shape == expected


def test_every_parameter_has_a_gradient_with_and_without_lengths() -> None:
    for arguments in KINDS.values():
        module = make(**arguments).train()
        y = torch.arange(4) if not module.task.per_step else torch.zeros(4, 7, dtype=torch.long)
        for lengths in (None, LENGTHS):
            module.zero_grad()
            module.training_step(Batch(draw(), y, lengths), 0).backward()
            assert all(p.grad is not None and p.grad.isfinite().all() for p in module.parameters())


def test_branches() -> None:
    module = make()
    assert [*module.branches][:2] == ["encoder.blocks.0.attention.out", "encoder.blocks.0.feed_forward.contract"]
    assert all(module.get_submodule(name) is layer for name, layer in module.branches.items())
    assert all(isinstance(layer, nn.Linear) for layer in module.branches.values())


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: make(Tagging(4), readout="mean"), ZooError, "^SequenceTransformer: Tagging answers at every step"),
        (lambda: make(readout="class", causal=True), ZooError, "^SequenceTransformer: a class token stands in front"),
        (lambda: make(context=6)(draw()), ZooError, "^the transformer was built for 6 steps, got 7; shorten"),
        (lambda: make()(draw(), torch.tensor([7, 0, 1, 8])), DataError, "^sequence 1 of the batch has length 0"),
    ],
    ids=["tagging", "causal_class", "context", "lengths"],
)
def test_what_cannot_work(call: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("readout", ["mean", "class"])
def test_learns_speakers_and_passes_preflight(readout: Any) -> None:
    torch.manual_seed(0)
    data = JapaneseVowels(batch_size=16)
    module = SequenceTransformer(12, Classification(9), 32, 1, readout, dropout=0.1)
    trainer = quiet_trainer(callbacks=[SequencePreflight()], max_epochs=8, num_sanity_val_steps=0)
    trainer.fit(module, datamodule=data)
    assert trainer.callback_metrics["val/accuracy"] > 0.85
