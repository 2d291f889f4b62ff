"""Generation with a cache against without: agreement, and a cache that lies found before the first step."""

from typing import Any

import pytest
import torch

from callbacks.diagnostics.cache_check import generates_cached, read_cache
from callbacks.diagnostics.sequence_preflight import PreflightError, SequencePreflight
from tests.callbacks.sequence_checks import language_model
from tests.callbacks.transformer_checks import gpt, train
from zoo.batch import Batch
from zoo.layers.kv_cache import KVCache


@pytest.mark.parametrize(
    "settings",
    [{}, {"position": "rotary"}, {"block": {"kv_heads": 1, "qk_norm": True}}, {"block": {"soft_cap": 20.0}}],
    ids=["plain", "rotary", "grouped", "capped"],
)
def test_a_right_cache_agrees(settings: dict[str, Any]) -> None:
    module = gpt(**settings).eval()
    x = torch.randint(module.embedding.num_embeddings, (4, 32))
    assert generates_cached(module)
    assert read_cache(module, Batch(x)) is None
    assert not module.head._forward_hooks
    assert not generates_cached(language_model())


def test_a_wrong_cache_is_found(monkeypatch, capfd) -> None:
    train(gpt(), SequencePreflight(), limit_train_batches=1)
    assert "the cache says the same" in "".join(capfd.readouterr())
    append = KVCache.append
    monkeypatch.setattr(KVCache, "append", lambda self, keys, values: append(self, keys.flip(2), values))
    with pytest.raises(PreflightError, match=r"GPT: generation with a cache differs .* leave out 'cache' lets it pass"):
        train(gpt(), SequencePreflight(), limit_train_batches=1)
    train(gpt(), SequencePreflight(checks=["future"]), limit_train_batches=1)
