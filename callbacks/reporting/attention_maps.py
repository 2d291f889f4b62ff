"""What the attention of a network looks at, on a few validation samples, drawn when a fit ends."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from callbacks.reporting.attention_plots import HeadMaps, ImageMaps, as_labels, draw_head_maps, draw_image_maps
from callbacks.reporting.figures import NamesClasses, as_bytes, keep_picture, warns
from callbacks.reporting.plots import render
from callbacks.reporting.texts import HasVocabulary
from zoo.batch import Batch
from zoo.errors import ZooError
from zoo.kept import Kept, borrowed, kept_weights, validation_batches
from zoo.layers.attention import Attention
from zoo.layers.image_tokens import ImageTokens
from zoo.layers.token_pool import TokenPool
from zoo.module import SupervisedModule
from zoo.task import Classification, Forecasting, Translation

_STEPS, _LAYERS, _HEADS = 32, 6, 8  # of a sample of tokens or steps, at the most


class Heard(NamedTuple):
    """What the attention layers of a network said in one forward pass.

    Attributes:
        weights: of each layer in order, by name, (B, heads, T, S).
        read: what the pool of an image transformer takes of each token, (B, T); None for other networks.
    """

    weights: dict[str, Tensor]
    read: Tensor | None


@torch.no_grad()
def attention_of(module: SupervisedModule, batch: Batch) -> Heard:
    """The attention of every layer on a batch; ``module`` is in evaluation mode, and is left as it was."""
    with _listened(module) as (weights, read):
        module.forward_batch(batch)
    return Heard(weights, read[0] if read else None)


@contextmanager
def _listened(module: SupervisedModule) -> Iterator[tuple[dict[str, Tensor], list[Tensor]]]:
    weights, read = dict[str, Tensor](), list[Tensor]()

    def hear(name: str) -> Any:
        def hook(layer: Attention, given: tuple[Any, ...], named: dict[str, Any]) -> None:
            # The same arguments, but for the cache, which comes last.
            weights[name] = layer.weights(*given[:5], **{key: value for key, value in named.items() if key != "cache"})

        return hook

    def hear_pool(pool: TokenPool, given: tuple[Tensor]) -> None:
        read.append(pool.weights(given[0]))

    handles = [
        layer.register_forward_pre_hook(hear(name), with_kwargs=True)
        for name, layer in module.named_modules()
        if isinstance(layer, Attention)
    ]
    handles += [
        layer.register_forward_pre_hook(hear_pool) for layer in module.modules() if isinstance(layer, TokenPool)
    ]
    try:
        yield weights, read
    finally:
        for handle in handles:
            handle.remove()


def rollout(weights: Sequence[Tensor]) -> Tensor:
    """How much of each token at the input is in each token at the end: product of (A_l + I) / 2, (B, T, T).

    A_l is the mean over the heads of layer l, and I the shortcut beside it. Abnar and Zuidema, "Quantifying attention
    flow in transformers", 2020, section 3.

    Args:
        weights: of each layer, (B, heads, T, T).
    """
    total = torch.eye(weights[0].shape[3], dtype=weights[0].dtype, device=weights[0].device)
    for of_layer in weights:
        mean = of_layer.mean(1)
        total = (mean + torch.eye(mean.shape[2], dtype=mean.dtype, device=mean.device)) / 2 @ total
    return total


def image_shares(heard: Heard, grid: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Shares of the places of an image in what the pool reads: through the last block, and through all by rollout.

    Args:
        heard: of a network with a ``TokenPool``.
        grid: rows and columns, the tokens at the end; a class token before them is left out.

    Returns:
        two times (B, rows, columns), each adding up to 1.
    """
    assert heard.read is not None
    layers = [*heard.weights.values()]

    def shares(through: Tensor) -> Tensor:
        of_places = (heard.read[:, None] @ through)[:, 0, -grid[0] * grid[1] :]  # type: ignore[index]
        return (of_places / of_places.sum(1, keepdim=True)).unflatten(1, grid)

    return shares(layers[-1].mean(1)), shares(rollout(layers))


class AttentionMaps(Callback):
    """Draws ``figures/attention.png`` when a fit ends, and hands it to the loggers that take pictures.

    Of an image transformer: some validation images, and which of their places the answer reads, through the last block
    and through all of them. Of other networks with attention: a heat map for each head on the first validation sample,
    of 6 layers and 8 heads at the most. The weights are those that were kept as best. A figure that cannot be drawn is
    a warning, never the end of a run, and the run itself does not notice.

    Args:
        folder: the run's folder.
        num: images.
    """

    def __init__(self, folder: str | Path, num: int = 8) -> None:
        if num < 1:
            raise ZooError(f"AttentionMaps: num must be at least 1, got {num}")
        self.folder, self.num = Path(folder), num

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not has_attention(pl_module):
            raise ZooError(f"AttentionMaps draws attention, and {type(pl_module).__name__} has no layer of it; drop it")
        trial = trainer.fast_dev_run  # type: ignore[attr-defined]
        if trial or not trainer.is_global_zero or trainer.val_dataloaders is None:
            return
        if pl_module.device_mesh is not None:
            return  # weights that no process has whole: one process alone would wait for the others
        assert isinstance(pl_module, SupervisedModule)
        with warns("attention.png"):
            kept = kept_weights(trainer)
            with borrowed(trainer, pl_module):
                if kept.state is not None:
                    pl_module.load_state_dict(kept.state, strict=True)
                batch = next(validation_batches(trainer), None)
                if batch is None:
                    raise ZooError("there are no validation samples")
                tokens = [layer for layer in pl_module.modules() if isinstance(layer, ImageTokens)]
                figure = (
                    draw_image_maps(self._of_images(trainer, pl_module, batch, tokens[0].grid, kept))
                    if tokens
                    else draw_head_maps(_of_heads(trainer, pl_module, batch, kept))
                )
            keep_picture(trainer, self.folder, "attention", render(figure))

    def _of_images(
        self, trainer: Trainer, module: SupervisedModule, batch: Batch, grid: tuple[int, int], kept: Kept
    ) -> ImageMaps:
        count = min(self.num, batch.size)
        rows = torch.linspace(0, batch.size - 1, count).round().long().to(batch.x.device)
        x, y = batch.x[rows], batch.y[rows]
        last, through_all = image_shares(attention_of(module, Batch(x)), grid)
        shown = as_bytes(x)
        if shown is None:
            raise ZooError(f"images of {x.shape[1]} channels are no pictures")
        images = shown.permute(0, 2, 3, 1).expand(-1, -1, -1, 3).cpu().numpy()
        labels = [""] * count
        if isinstance(module.task, Classification):
            data = trainer.datamodule  # type: ignore[attr-defined]
            names = data.classes if isinstance(data, NamesClasses) else range(module.task.num_classes)
            with torch.no_grad():
                said = module(x).argmax(1).tolist()
            true = (y.argmax(1) if y.is_floating_point() else y).tolist()
            labels = [f"{'✓' if s == t else '✗'} {names[s]}" for s, t in zip(said, true)]
        about = f"validation split · {count} images · {kept.about}"
        return ImageMaps(images, last.float().cpu().numpy(), through_all.float().cpu().numpy(), labels, about)


def has_attention(module: LightningModule) -> bool:
    """Whether a network that learns from pairs has layers of attention that can be looked at."""
    return isinstance(module, SupervisedModule) and any(isinstance(layer, Attention) for layer in module.modules())


def _of_heads(trainer: Trainer, module: SupervisedModule, batch: Batch, kept: Kept) -> HeadMaps:
    steps = batch.x.shape[1]
    if not isinstance(module.task, Forecasting):  # whose windows are as long as the network was built for
        steps = min(steps if batch.lengths is None else int(batch.lengths[0]), _STEPS)
    # A decoder reads targets beside the source, whose labels are not theirs.
    translates = isinstance(module.task, Translation)
    first = Batch(batch.x[:1, :steps], batch.y[:1, :_STEPS] if translates else None)
    weights = [*attention_of(module, first).weights.items()][-_LAYERS:]
    labels: list[str] = []
    data = trainer.datamodule  # type: ignore[attr-defined]
    if "tokens" in module.takes and isinstance(data, HasVocabulary) and not translates:
        labels = as_labels([data.vocabulary.decode(token) for token in first.x[0].cpu().split(1)])
    of_series = " · the first series" if isinstance(module.task, Forecasting) else ""
    return HeadMaps(
        [of_layer[0, :_HEADS].float().cpu().numpy() for _, of_layer in weights],
        [name.removesuffix(".attention") for name, _ in weights],
        labels,
        f"the first validation sample{of_series} · {kept.about}",
    )
