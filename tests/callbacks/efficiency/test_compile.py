"""torch.compile in place: the same training, the same names, told in one line, and nothing left behind."""

import sys
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback

from callbacks.averaging.ema import EMA
from callbacks.efficiency.activation_checkpointing import ActivationCheckpointing
from callbacks.efficiency.compile import Compile, WatchedBackend
from callbacks.technique import UnsupportedModule
from tests.callbacks.sequence_checks import fit, language_model, text
from tests.callbacks.technique_checks import fit as fit_digits
from tests.callbacks.technique_checks import make_mlp
from tests.callbacks.transformer_checks import gpt, train
from zoo.errors import ZooError
from zoo.transformer import GPT

MATRIX_SKIP = "compiling each pair takes minutes; its own tests have it in company"


def close(first: GPT, second: GPT, tolerance: float) -> None:
    ours, theirs = first.state_dict(), second.state_dict()
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        torch.testing.assert_close(tensor, theirs[name], atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("what", ["model", "blocks"])
def test_a_run_is_the_same_but_for_rounding(what) -> None:
    plain, ours = gpt(), gpt()
    train(plain, steps=4)
    train(ours, Compile(what, backend="aot_eager"), steps=4)
    close(plain, ours, 1e-4)
    assert ours._compiled_call_impl is None
    assert all(block._compiled_call_impl is None for block in ours.transformer.blocks)


def test_it_tells_what_it_compiled(capfd) -> None:
    module = gpt()
    train(module, Compile("blocks", backend="eager"), epochs=1)
    said = "".join(capfd.readouterr())
    assert "Compile: compiled 1 graph in" in said  # both blocks are alike
    assert said.count("Compile: recompiled at") == 1  # the last batch is smaller; evaluation is not compiled


def test_what_cannot_be_compiled_runs_as_it_is(capfd, monkeypatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("no compiler here\nand more")

    plain, ours = gpt(), gpt()
    train(plain, steps=2)
    technique = Compile("model", backend="eager")
    monkeypatch.setattr(torch._dynamo, "lookup_backend", lambda name: broken)
    train(ours, technique, steps=2)
    assert "1 run as they are: no compiler here" in "".join(capfd.readouterr())
    close(plain, ours, 1e-6)


@pytest.mark.parametrize("order", [1, -1], ids=["last", "first"])
def test_in_company(order: int, capfd) -> None:
    """It compiles what the others have made of the network, wherever it stands in their list."""
    others: list[Callback] = [EMA(0.9), ActivationCheckpointing(), Compile("blocks", backend="aot_eager")][::order]
    plain, ours = gpt(), gpt()
    train(plain, EMA(0.9), steps=3)
    train(ours, *others, steps=3)
    close(plain, ours, 1e-4)
    assert "run as they are" not in "".join(capfd.readouterr())
    train(ours, *others, steps=2)  # a second fit


def test_errors() -> None:
    with pytest.raises(ZooError, match="Compile: torch has no backend 'induct'; it has"):
        Compile(backend="induct")
    with pytest.raises(UnsupportedModule, match=r"is LSTM, which torch\.compile runs as it is, only slower"):
        fit(language_model(), text(), Compile(), epochs=1)
    with pytest.raises(UnsupportedModule, match="MLP has no list of layers called blocks; use what=model"):
        fit_digits(make_mlp(), Compile("blocks"), max_steps=1)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="inductor needs a C++ compiler")
@pytest.mark.parametrize("what", ["model", "blocks"])
def test_with_real_kernels(what, tmp_path: Path, capfd, monkeypatch) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    plain, ours = gpt(), gpt()
    train(plain, steps=4)
    train(ours, Compile(what), steps=4)
    assert "run as they are" not in "".join(capfd.readouterr())
    close(plain, ours, 1e-3)


def test_the_backend_counts() -> None:
    backend = WatchedBackend("eager")
    function = torch.compile(lambda x: x.sin() + 1, backend=backend)
    function(torch.ones(3))
    function(torch.zeros(3))
    assert backend.graphs == 1
