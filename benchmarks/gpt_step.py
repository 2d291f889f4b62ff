"""What the Trainer costs a transformer: tokens a second of ``zoo fit`` against a bare loop of the same model.

The model, batch and updates are those of transformer/shakespeare_char_nanogpt (0.80 M parameters, 12 windows of 64
characters, AdamW with a fused kernel, clipping, warm-up and cosine), the text is the source of the standard library, so
that nothing is downloaded. Both are run in turn in the same process, on one thread, and are timed by the CPU time that
they use, which other programs on the machine hardly change; medians and the median of the ratios are printed. All that
a run has by default is on: loss, progress, CSV, checkpoints, looks at attention.

    python benchmarks/gpt_step.py            # a minute
    python benchmarks/gpt_step.py --check    # exit status 1 below 0.97
"""

import argparse
import contextlib
import io
import logging
import math
import platform
import statistics
import sys
import tempfile
import time
import warnings
from pathlib import Path

import torch
from lightning.pytorch import Callback, Trainer
from torch import Tensor, nn
from torch.nn import functional as F

from callbacks.gradients.gradient_clipping import GradientClipping
from callbacks.init.gpt2 import GPT2
from callbacks.optimizers.adamw import AdamW
from callbacks.schedules.cosine import Cosine
from datamodules.char_text import CharText
from zoo.cli.plumbing import default_callbacks
from zoo.layers.transformer import BlockDesign
from zoo.optim import decay_groups
from zoo.task import LanguageModeling
from zoo.transformer import GPT

BATCH, WINDOW, WANTED = 12, 64, 0.97


def build(vocabulary_size: int) -> GPT:
    """The model of the recipe."""
    torch.manual_seed(0)
    task = LanguageModeling(vocabulary_size, "character")
    return GPT(vocabulary_size, WINDOW, task, width=128, layers=4, block=BlockDesign(heads=4, bias=False))


def text(characters: int) -> CharText:
    """The data of both."""
    data = CharText(limit=characters, batch_size=BATCH, window=WINDOW, eval_batch_size=64, unknown_token=True)
    data.setup("fit")
    return data


def bare(data: CharText, steps: int) -> float:
    """CPU seconds a step of a plain loop: batch, forward, backward, clipping, step, schedule; the loss is looked at."""
    model = build(data.vocabulary_size)
    optimizer = torch.optim.AdamW(decay_groups(model, 0.1), lr=1e-3, betas=(0.9, 0.99), fused=True)
    warmup = max(1, round(0.05 * steps))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda k: min((k + 1) / warmup, 0.55 + 0.45 * math.cos(math.pi * k / steps))
    )
    tokens: Tensor = data.splits["train"].tokens  # type: ignore[attr-defined]
    windows = tokens.unfold(0, WINDOW + 1, 1)
    starts = torch.randperm((len(tokens) - 1) // WINDOW)[: steps * BATCH] * WINDOW
    start = 0.0
    for step in range(steps):
        if step == 1:  # the first takes memory
            start = time.process_time()
        batch = windows.index_select(0, starts[step * BATCH : (step + 1) * BATCH])
        loss = F.cross_entropy(model(batch[:, :-1]).flatten(0, 1), batch[:, 1:].flatten())
        if not math.isfinite(loss.item()):
            raise SystemExit("the loss is not finite")
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return (time.process_time() - start) / (steps - 1)


class Timer(Callback):
    """CPU seconds from the second step on, without evaluation."""

    def __init__(self) -> None:
        self.marks: list[float] = []

    def on_train_batch_start(self, *_: object) -> None:
        self.marks.append(time.process_time())


def zoo(data: CharText, steps: int) -> float:
    """CPU seconds a step of what ``zoo fit`` builds."""
    model, timer = build(data.vocabulary_size), Timer()
    techniques = [
        timer, GPT2(), AdamW(lr=1e-3, betas=(0.9, 0.99), weight_decay=0.1), Cosine(warmup=0.05, final=0.1),
        GradientClipping(1.0),
    ]  # fmt: skip
    settings = {"max_steps": steps, "max_epochs": -1, "accelerator": "cpu", "callbacks": techniques,
                "enable_model_summary": False, "num_sanity_val_steps": 0}  # fmt: skip
    with tempfile.TemporaryDirectory() as folder, _silence():
        trainer = Trainer(**default_callbacks(settings, model, Path(folder), "fit"))
        trainer.fit(model, datamodule=data)
    return (timer.marks[-1] - timer.marks[1]) / (len(timer.marks) - 2)


@contextlib.contextmanager
def _silence():  # type: ignore[no-untyped-def]
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


def main() -> None:
    """Measure, print, and with --check hold the bound."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    with _silence():
        data = text(2 * BATCH * WINDOW * arguments.steps)
    times: dict[str, list[float]] = {"bare": [], "zoo": []}
    for repeat in range(arguments.repeats):
        order = [("bare", bare), ("zoo", zoo)]
        for name, run in order if repeat % 2 else order[::-1]:
            times[name].append(run(data, arguments.steps))
    print(f"{platform.processor() or platform.machine()}, 1 thread, torch {torch.__version__}, {arguments.steps} steps")
    for name, seconds in times.items():
        median = statistics.median(seconds)
        print(f"  {name:<6}{median * 1e3:8.2f} ms a step {BATCH * WINDOW / median:10,.0f} tokens a second")
    ratio = statistics.median(b / z for b, z in zip(times["bare"], times["zoo"]))
    print(f"  zoo fit reaches {ratio:.3f} of the bare loop's tokens a second (wanted: {WANTED})")
    sys.exit(1 if arguments.check and ratio < WANTED else 0)


if __name__ == "__main__":
    main()
