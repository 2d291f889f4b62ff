"""One network over two processes: the same training as on one, with shards of weights and with parts of matrices."""

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import Tensor
from torch.multiprocessing.spawn import start_processes

from callbacks.efficiency.activation_checkpointing import ActivationCheckpointing
from callbacks.gradients.gradient_clipping import GradientClipping
from callbacks.init.gpt2 import GPT2
from callbacks.optimizers.adamw import AdamW
from callbacks.schedules.cosine import Cosine
from tests.callbacks.transformer_checks import gpt, tokens
from tests.tools import StopAt, Stopped, quiet_trainer
from zoo.errors import ZooError
from zoo.parallel import tensor_plan
from zoo.transformer import GPT

STEPS, CUT = 6, 2


class Losses(Callback):
    """The training loss of each batch."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *rest: Any) -> None:
        self.seen.append(pl_module.last_loss)


def train(module: GPT, batch_size: int, *more: Callback, ckpt: Path | None = None, **settings: Any) -> list[float]:
    accumulated = settings.get("accumulate_grad_batches", 1)
    losses = Losses()
    callbacks = [GPT2(), AdamW(lr=1e-2), Cosine(warmup=0.2), GradientClipping(0.5), ActivationCheckpointing(), losses]
    trainer = quiet_trainer(
        callbacks=[*callbacks, *more], max_epochs=-1, max_steps=STEPS, check_val_every_n_epoch=None,
        val_check_interval=STEPS * accumulated,
        num_sanity_val_steps=0, **settings,
    )  # fmt: skip
    trainer.fit(module, datamodule=tokens(batch_size=batch_size), ckpt_path=ckpt, weights_only=True if ckpt else None)
    losses.seen.append(float(trainer.callback_metrics["val/loss"]))
    return losses.seen


def work(rank: int, port: int, folder: Path, name: str, sizes: tuple[int, int], batch_size: int) -> None:
    """What each process does: a run, another that is cut off and goes on, and what came of both in a file."""
    os.environ.update(
        RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2", LOCAL_WORLD_SIZE="2", GROUP_RANK="0", ROLE_RANK=str(rank),
        MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), TORCHELASTIC_RUN_ID="test",
    )  # fmt: skip

    def settings() -> dict[str, Any]:
        strategy = ModelParallelStrategy(*sizes, save_distributed_checkpoint=False, process_group_backend="gloo")
        return {"strategy": strategy, "devices": 2}

    torch.manual_seed(rank)  # what a process draws before weights are shared must not matter
    module = gpt(dropout=0.1 if name == "dropout" else 0.0)
    if rank == 1:
        torch.nn.init.ones_(module.embedding.weight)
    losses = train(module, batch_size, **settings())
    held = sum(p.to_local().numel() if hasattr(p, "to_local") else p.numel() for p in module.parameters())
    file, resumed = folder / f"{name}.ckpt", gpt()
    with pytest.raises(Stopped):
        train(gpt(), batch_size, StopAt(file, 0, CUT - 1), **settings())
    again = train(resumed, batch_size, ckpt=file, **settings())
    state = {key: value.full_tensor() if hasattr(value, "full_tensor") else value
             for key, value in resumed.state_dict().items()}  # fmt: skip
    torch.save({"losses": losses, "again": again, "held": held, "state": state}, folder / f"{name}-{rank}.pt")


def pair(function: Callable[..., None], *arguments: Any) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    start_processes(function, (port, *arguments), 2, start_method="fork")


@pytest.fixture(scope="module")
def one() -> tuple[list[float], dict[str, Tensor]]:
    module = gpt()
    return train(module, 8), module.state_dict()


@pytest.mark.parametrize(("name", "sizes", "batch_size"), [("shards", (2, 1), 4), ("parts", (1, 2), 8)],
                         ids=["fsdp", "tensor_parallel"])  # fmt: skip
def test_two_processes_train_as_one(name, sizes, batch_size, one, tmp_path: Path) -> None:
    pair(work, tmp_path, name, sizes, batch_size)
    expected, weights = one
    first, second = (torch.load(tmp_path / f"{name}-{rank}.pt", weights_only=True) for rank in (0, 1))
    mean = [(a + b) / 2 for a, b in zip(first["losses"], second["losses"])]
    assert mean == pytest.approx(expected, rel=1e-5)
    if name == "parts":
        assert first["losses"] == second["losses"]
    total = sum(p.numel() for p in gpt().parameters())
    assert max(first["held"], second["held"]) < 0.75 * total  # none holds the whole network
    # A checkpoint of the whole network, read by a plain one, and a run that goes on from it.
    saved = torch.load(tmp_path / f"{name}.ckpt", weights_only=True)
    gpt().load_state_dict(saved["state_dict"])
    assert first["again"] == pytest.approx(first["losses"][CUT:], rel=1e-6)
    for key, value in weights.items():
        torch.testing.assert_close(first["state"][key], value, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("block", "complaint"),
    [
        ({"heads": 2, "kv_heads": 1}, "has 1 heads for keys, which cannot be split over 2 processes"),
        ({"qk_norm": True}, "normalises queries by one gain for all heads"),
        ({"activation": "swiglu"}, "has a gate, whose two halves would lie on different processes"),
        ({"expansion": 0.1875}, "has 3 hidden units, which cannot be split"),
    ],
    ids=["heads", "qk_norm", "gate", "hidden"],
)
def test_what_cannot_be_split(block: dict[str, Any], complaint: str) -> None:
    module = gpt(block=block)
    with pytest.raises(ZooError, match=complaint):
        tensor_plan("transformer.blocks.0", module.transformer.blocks[0], 2)


def test_accumulated_gradients_are_those_of_the_large_batch(one) -> None:
    """Four batches of two rows each, or one of eight: the rows of a step are the same in both."""
    module = gpt()
    small = train(module, 2, accumulate_grad_batches=4)
    means = [sum(small[start : start + 4]) / 4 for start in range(0, 4 * STEPS, 4)]
    assert means == pytest.approx(one[0][:STEPS], rel=1e-5)
    for name, weight in module.state_dict().items():
        torch.testing.assert_close(weight, one[1][name], atol=1e-5, rtol=1e-4)
