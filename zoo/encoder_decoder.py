"""An encoder-decoder: one transformer reads a source, another looks at what it has said and writes the target."""

from typing import Any, cast

import torch
from torch import Tensor, nn

from zoo.batch import Batch, as_batch
from zoo.errors import ZooError
from zoo.layers.kv_cache import BlockCache
from zoo.layers.padding import check_lengths, padding_mask
from zoo.layers.position import Position
from zoo.layers.transformer import BlockDesign, Transformer
from zoo.module import SupervisedModule
from zoo.tasks.step_labels import IGNORED
from zoo.tasks.translation import BEGIN, Translation
from zoo.translating import BEAM, beam_search, check_search, greedy


class EncoderDecoder(SupervisedModule):
    """The logits of every target token, given the source and the target tokens before it (teacher forcing).

    Vaswani et al., "Attention is all you need", 2017. Embeddings are N(0, 1 / width) and times sqrt(width) where they
    are read (section 3.4). Under ``norm_place="deep"`` the shortcuts of the encoder's N and the decoder's M layers are
    scaled by 0.81 (N^4 M)^(1/16) and (3 M)^(1/4): Wang et al., "DeepNet", 2022.

    Args:
        vocabulary_size: different tokens of targets; linked from the data.
        task: Translation.
        source_vocabulary_size: different tokens of sources; null where they are those of targets and share their
            embedding. Linked from the data.
        width: of a token's vector; 256 for tens of thousands of pairs, 512 for millions.
        layers: blocks of the encoder, and of the decoder where ``decoder_layers`` is null.
        decoder_layers: blocks of the decoder.
        context: most tokens of a source, and of a target.
        position: see Transformer.
        dropout: probability in [0, 1); 0.1 for millions of pairs, 0.3 for tens of thousands.
        tied: use the targets' embedding as the last layer too (Press and Wolf 2017).
        block: see BlockDesign.
    """

    takes = ("tokens",)

    def __init__(
        self,
        vocabulary_size: int,
        task: Translation,
        source_vocabulary_size: int | None = None,
        width: int = 256,
        layers: int = 3,
        decoder_layers: int | None = None,
        context: int = 256,
        position: Position = "sinusoidal",
        dropout: float = 0.1,
        tied: bool = True,
        block: BlockDesign = BlockDesign(),  # noqa: B008  frozen
    ) -> None:
        super().__init__(task)
        if task.out_features != vocabulary_size:
            raise ZooError(
                f"EncoderDecoder: the task is about {task.out_features} tokens, vocabulary_size is {vocabulary_size}"
            )
        below = layers if decoder_layers is None else decoder_layers
        self.scale = width**0.5
        self.embedding = _embedding(vocabulary_size, width)
        self.source_embedding = (
            self.embedding if source_vocabulary_size is None else _embedding(source_vocabulary_size, width)
        )
        self.encoder = Transformer(
            width, layers, block, context, position, dropout=dropout, alpha=0.81 * (layers**4 * below) ** (1 / 16)
        )
        self.decoder = Transformer(
            width, below, block, context, position, dropout=dropout, causal=True, cross=True, alpha=(3 * below) ** 0.25
        )
        self.head = nn.Linear(width, vocabulary_size, bias=False)
        if tied:
            self.head.weight = self.embedding.weight
        self.example_input_array = torch.zeros(2, 8, dtype=torch.int64)

    def forward(self, source: Tensor, target: Tensor | None = None, lengths: Tensor | None = None) -> Tensor:
        """Logits of the tokens of a target.

        Args:
            source: int64 (B, S).
            target: int64 (B, T), what the decoder reads, BEGIN first; None is BEGIN alone.
            lengths: tokens of each source, int64 (B,); None where all have S.

        Returns:
            (B, T, vocabulary_size), of the token behind each of ``target``.
        """
        target = source.new_full((len(source), 1), BEGIN) if target is None else target
        memory, mask = self.encode(source, lengths)
        return cast(Tensor, self.head(self.decoder(self._embed(target), memory=memory, memory_mask=mask)))

    def forward_batch(self, batch: Batch) -> Tensor:
        y = cast(Tensor, batch.y)
        # Behind a target's end the decoder reads BEGIN, and nobody what it says there.
        read = torch.cat([y.new_full((len(y), 1), BEGIN), y[:, :-1].masked_fill(y[:, :-1] == IGNORED, BEGIN)], 1)
        return cast(Tensor, self(batch.x, read, batch.lengths))

    def encode(self, source: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """What the decoder looks at, (B, S, width), and at which steps it may, bool (B, S) or None for all."""
        mask = None
        if lengths is not None:
            check_lengths(lengths, source.shape[1])
            mask = padding_mask(lengths, source.shape[1])
        return self.encoder(self.source_embedding(source) * self.scale, mask), mask

    def predict_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Translations as ``translate`` gives them, by the beam that is ``zoo test``'s too."""
        batch = as_batch(batch)
        return self.translate(batch.x, batch.lengths, BEAM)

    @torch.no_grad()
    def translate(
        self,
        source: Tensor,
        lengths: Tensor | None = None,
        beam: int = 1,
        length_penalty: float = 0.6,
        most: int | None = None,
        cached: bool = True,
    ) -> Tensor:
        """Translate a batch of sources.

        Args:
            source: int64 (B, S).
            lengths: tokens of each source, int64 (B,); None where all have S.
            beam: beginnings that are followed; 1 takes the likeliest token at every step.
            length_penalty: see ``beam_search``.
            most: tokens of a translation, its end included; None is S + 50 (Vaswani et al. 2017, section 6.1), and
                ``context`` is the most in any case.
            cached: keep keys and values, so that a step reads one token and not all; the outcome is the same.

        Returns:
            int64 (B, T), each with its end (1) and -100 behind it.

        Raises:
            ZooError: see ``check_search``.
        """
        check_search(beam, length_penalty, most)
        most = min(source.shape[1] + 50 if most is None else most, self.decoder.context)
        was_training = self.training
        self.eval()
        try:
            memory, mask = self.encode(source, lengths)
            begin = source.new_full((len(source), 1), BEGIN)
            if beam == 1:
                return greedy(_Writer(self, memory, mask, most, cached), begin, most)
            memory = memory.repeat_interleave(beam, 0)
            mask = None if mask is None else mask.repeat_interleave(beam, 0)
            return beam_search(_Writer(self, memory, mask, most, cached), begin, most, beam, length_penalty)
        finally:
            self.train(was_training)

    def _embed(self, target: Tensor) -> Tensor:
        return cast(Tensor, self.embedding(target)) * self.scale

    @property
    def branches(self) -> dict[str, nn.Linear]:
        """The layers that residual branches end in, by name."""
        return {
            f"{name}.{branch}": layer
            for name, stack in (("encoder", self.encoder), ("decoder", self.decoder))
            for branch, layer in stack.branches().items()
        }


class _Writer:
    """The decoder over rows of memories, as a search asks it."""

    def __init__(self, model: EncoderDecoder, memory: Tensor, mask: Tensor | None, most: int, cached: bool) -> None:
        self.model, self.memory, self.mask = model, memory, mask
        self.caches = [BlockCache(most) for _ in model.decoder.blocks] if cached else []

    def next(self, tokens: Tensor) -> Tensor:
        model, first = self.model, self.caches[0].steps if self.caches else 0
        seen = model.decoder(
            model._embed(tokens[:, first:]), memory=self.memory, memory_mask=self.mask, caches=self.caches
        )
        return cast(Tensor, model.head(seen[:, -1])).float().log_softmax(1)

    def select(self, rows: Tensor) -> None:
        fewer = len(rows) < len(self.memory)  # otherwise a beam has been put in order, and a beam has one memory
        if fewer:
            self.memory, self.mask = self.memory[rows], None if self.mask is None else self.mask[rows]
        for cache in self.caches:
            cache.own.select(rows)
            if fewer:
                cache.memory.select(rows)


def _embedding(tokens: int, width: int) -> nn.Embedding:
    embedding = nn.Embedding(tokens, width)
    nn.init.normal_(embedding.weight, std=width**-0.5)
    return embedding
