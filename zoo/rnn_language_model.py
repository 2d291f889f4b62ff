"""A recurrent language model that may remember across batches, and writes texts."""

from typing import Any, cast

import torch
from torch import Tensor, nn

from zoo.batch import Batch
from zoo.errors import DataError, ZooError
from zoo.generation import check_generation, draw_token
from zoo.layers.embedding_dropout import EmbeddingDropout
from zoo.layers.locked_dropout import LockedDropout
from zoo.layers.recurrent import Cell, RecurrentEncoder, State
from zoo.module import SupervisedModule
from zoo.task import LanguageModeling


class CarriedState:
    """The state that one batch of a stream leaves to the next.

    A batch may be seen more than once in a step (SAM, adversarial steps), and begins each time where the one before it
    ended; only ``advance`` moves on.
    """

    def __init__(self) -> None:
        self.start: State | None = None
        self.end: State | None = None

    def restart(self) -> None:
        """Begin with zeros."""
        self.start = self.end = None

    def advance(self) -> None:
        """The next batch begins where the last one ended."""
        self.start = self.end


class RNNLanguageModel(SupervisedModule):
    """Embedding, recurrent layers, and the logits of the next token at every step.

    With ``stateful``, for data whose batches go on where the one before ended (mode: streams), the state is carried
    from batch to batch and gradients stop between them: truncated back-propagation through time. It begins with zeros
    in every epoch and every evaluation, and is part of the checkpoint.

    Sources: Mikolov et al. 2010; Press and Wolf, "Using the Output Embedding to Improve Language Models", 2017 (tied
    embeddings); Merity, Keskar and Socher 2018 (the dropouts).

    Args:
        vocabulary_size: different tokens; linked from the data.
        task: LanguageModeling.
        embedding_size: length of a token's vector; 64 for characters, 200 to 650 for words.
        hidden: width of the states.
        layers: 1 to 4.
        cell: see RecurrentEncoder.
        tied: use the embedding as the last layer too; a linear map comes before it where ``hidden`` differs from
            ``embedding_size``.
        dropout: probability in [0, 1) on the embedded tokens, between layers and before the last one, one mask for all
            steps; 0.1 to 0.5.
        embedding_dropout: probability in [0, 1) of losing a token of the vocabulary in a whole batch; 0 to 0.1.
        stateful: carry the state from batch to batch.
        zoneout: probability in [0, 1) of a unit keeping its old state at a step; 0.05 to 0.2, and many times slower.

    Attributes:
        causal: what it says at a step depends on the tokens up to it alone.
    """

    causal = True
    takes = ("tokens",)

    def __init__(
        self,
        vocabulary_size: int,
        task: LanguageModeling,
        embedding_size: int = 128,
        hidden: int = 256,
        layers: int = 1,
        cell: Cell = "lstm",
        tied: bool = False,
        dropout: float = 0.0,
        embedding_dropout: float = 0.0,
        stateful: bool = False,
        zoneout: float = 0.0,
    ) -> None:
        super().__init__(task)
        if task.out_features != vocabulary_size:
            raise ZooError(
                f"RNNLanguageModel: the task is about {task.out_features} tokens, vocabulary_size is {vocabulary_size}"
            )
        if embedding_size < 1:
            raise ZooError(f"RNNLanguageModel: embedding_size must be at least 1, got {embedding_size}")
        self.embedding = nn.Embedding(vocabulary_size, embedding_size)
        self.embedding_dropout = EmbeddingDropout(vocabulary_size, embedding_dropout)
        if tied:  # torch's N(0, 1) would make logits as wide as the square root of the embedding
            nn.init.normal_(self.embedding.weight, std=embedding_size**-0.5)
        self.encoder = RecurrentEncoder(embedding_size, hidden, layers, cell, dropout=dropout, zoneout=zoneout)
        self.dropout = LockedDropout(dropout)
        width = embedding_size if tied else hidden
        self.projection = nn.Linear(hidden, width) if width != hidden else nn.Identity()
        self.head = nn.Linear(width, vocabulary_size)
        if tied:
            self.head.weight = self.embedding.weight
        self.stateful = stateful
        self.carried = {"train": CarriedState(), "eval": CarriedState()}
        self.example_input_array = torch.zeros(2, 8, dtype=torch.int64)

    def features(self, tokens: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Outputs of the recurrent layers (B, T, hidden) for tokens (B, T), and the state that they end in."""
        outputs, end = self.encoder(self.dropout(self.embedding_dropout(self.embedding(tokens), tokens)), state=state)
        return self.dropout(outputs), cast(State, end)

    def logits(self, features: Tensor) -> Tensor:
        """(B, T, hidden) -> (B, T, vocabulary_size)."""
        return cast(Tensor, self.head(self.projection(features)))

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits of the next token, (B, T, vocabulary_size), of tokens (B, T), from a state of zeros."""
        return self.logits(self.features(tokens)[0])

    def forward_batch(self, batch: Batch) -> Tensor:
        if not self.stateful:
            return cast(Tensor, self(batch.x))
        carried = self.carried["train" if self.training else "eval"]
        if carried.start is not None and carried.start[0][0].shape[1] != batch.size:
            raise DataError(
                f"RNNLanguageModel: a batch of {batch.size} rows follows one of {carried.start[0][0].shape[1]}, so"
                " there is no state for each; stateful=true needs data in streams (--data.mode streams)"
            )
        features, end = self.features(batch.x, carried.start)
        carried.end = [tuple(part.detach() for part in layer) for layer in end]
        return self.logits(features)

    # The state from batch to batch ----------------------------------------------------------------------------------

    def _begin(self, kind: str, batch_idx: int) -> None:
        # By the batch's number, not at the epoch's start: a run that is taken up in mid-epoch has no such hook.
        if batch_idx == 0:
            self.carried[kind].restart()
        else:
            self.carried[kind].advance()

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        super().on_train_batch_start(batch, batch_idx)
        self._begin("train", batch_idx)

    def on_validation_batch_start(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        self._begin("eval", batch_idx)

    def on_test_batch_start(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        self._begin("eval", batch_idx)

    def on_predict_batch_start(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        self._begin("eval", batch_idx)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        end = self.carried["train"].end
        if end is not None:
            # Every process has streams of its own: their states side by side, (world size, layers, B, width) each.
            parts = [cast(Tensor, self.all_gather(part)).view(-1, *part.shape) for layer in end for part in layer]
            checkpoint["zoo"]["state"] = [part.cpu() for part in parts]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        self.carried["train"].restart()
        gathered: list[Tensor] = checkpoint.get("zoo", {}).get("state", [])
        # With another number of processes there is no state to go on from; the data refuse that within an epoch.
        if gathered and self.global_rank < len(gathered[0]):
            parts = [part[self.global_rank].to(self.device) for part in gathered]
            each = len(parts) // len(self.encoder.layers)  # 2 of an LSTM
            self.carried["train"].end = [tuple(parts[i : i + each]) for i in range(0, len(parts), each)]

    # Texts ----------------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def generate(
        self, prompt: Tensor, steps: int, temperature: float = 1.0, top_k: int | None = None, top_p: float | None = None
    ) -> Tensor:
        """Go on with a text, one token after the other.

        Args:
            prompt: int64 (B, T), at least one token each.
            steps: tokens to add.
            temperature, top_k, top_p: see ``draw_token``.

        Returns:
            int64 (B, T + steps), the prompt included; drawn from torch's global generator.

        Raises:
            ZooError: see ``check_generation``.
        """
        check_generation(prompt, self.embedding.num_embeddings, temperature, top_k, top_p)
        was_training = self.training
        self.eval()
        try:
            tokens, state, last = [prompt], cast(State | None, None), prompt
            for _ in range(steps):
                features, state = self.features(last, state)
                last = draw_token(self.logits(features[:, -1:])[:, 0], temperature, top_k, top_p)[:, None]
                tokens.append(last)
        finally:
            self.train(was_training)
        return torch.cat(tokens, 1)
