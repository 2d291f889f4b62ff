"""An encoder of sequences of numbers: one answer for a sequence, or one for each of its steps."""

from typing import Literal, TypeAlias, cast

import torch
from torch import Tensor, nn

from zoo.batch import Batch
from zoo.errors import ZooError
from zoo.layers.padding import check_lengths, padding_mask
from zoo.layers.position import Position
from zoo.layers.readout import make_readout
from zoo.layers.transformer import BlockDesign, Transformer
from zoo.module import SupervisedModule
from zoo.task import Task

SequenceReadout: TypeAlias = Literal["mean", "max", "attention", "class"]


class SequenceTransformer(SupervisedModule):
    """A linear map of each step and blocks of attention over all of them, padded at the end: (B, T, C).

    Vaswani et al., "Attention is all you need", 2017, the encoder; padding is never read. The cost grows with the
    square of the number of steps.

    Args:
        num_channels: numbers in one step; linked from the data.
        task: what is asked of the network; with Tagging it answers at every step, with others once a sequence.
        width: of a step's vector; 32 to 256.
        layers: blocks, 1 to 6.
        readout: from all steps to one vector: "mean" by default, "max", learned "attention", or a "class" token that
            stands in front. None with Tagging.
        position: see Transformer; "sinusoidal" and "rotary" learn nothing and reach as far as ``context``.
        context: most steps of a sequence.
        causal: read no later step, for what must not see the future.
        dropout: probability in [0, 1), see TransformerBlock, and before the head; 0.1 to 0.3.
        drop_path: probability in [0, 1) of leaving out a branch of the last block.
        block: see BlockDesign.

    Attributes:
        causal: whether what it says at a step depends on the steps up to it alone.
    """

    takes = ("sequences",)

    def __init__(
        self,
        num_channels: int,
        task: Task,
        width: int = 64,
        layers: int = 2,
        readout: SequenceReadout | None = None,
        position: Position = "sinusoidal",
        context: int = 1024,
        causal: bool = False,
        dropout: float = 0.1,
        drop_path: float = 0.0,
        block: BlockDesign = BlockDesign(),  # noqa: B008  frozen
    ) -> None:
        super().__init__(task)
        if task.per_step and readout is not None:
            raise ZooError(
                f"SequenceTransformer: {type(task).__name__} answers at every step and reads nothing out; leave out"
                " readout"
            )
        if causal and readout == "class":
            raise ZooError(
                "SequenceTransformer: a class token stands in front and reads nothing where causal=true; choose another"
                " readout"
            )
        with_class = readout == "class"
        self.embedding = nn.Linear(num_channels, width)
        self.class_token = nn.Parameter(torch.empty(width).normal_(std=0.02)) if with_class else None
        self.encoder = Transformer(
            width, layers, block, context + with_class, position, dropout=dropout, drop_path=drop_path, causal=causal
        )
        self.readout = None if task.per_step or readout == "class" else make_readout(readout or "mean", width, False)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(width, task.out_features)
        self.causal = causal
        self.example_input_array = torch.zeros(2, min(8, context), num_channels)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """x (B, T, num_channels), lengths (B,) in 1..T -> (B, out_features), or (B, T, out_features) for each step."""
        tokens, valid = self.embedding(x), None
        if lengths is not None:
            check_lengths(lengths, x.shape[1])
            valid = padding_mask(lengths, x.shape[1])
        if self.class_token is not None:
            tokens = torch.cat([self.class_token.expand(len(x), 1, -1), tokens], 1)
            valid = None if valid is None else nn.functional.pad(valid, (1, 0), value=True)
        said = self.encoder(tokens, valid)
        if self.readout is not None:
            said = self.readout(said, lengths)
        elif self.class_token is not None:
            said = said[:, 0]
        return cast(Tensor, self.head(self.dropout(said)))

    def forward_batch(self, batch: Batch) -> Tensor:
        return cast(Tensor, self(batch.x, batch.lengths))

    @property
    def branches(self) -> dict[str, nn.Linear]:
        """The layers that residual branches end in, by name."""
        return {f"encoder.{name}": layer for name, layer in self.encoder.branches().items()}
