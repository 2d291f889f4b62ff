"""A GPT: a transformer that reads a text and says at every step what comes next."""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from zoo.errors import ZooError
from zoo.generation import check_generation, draw_token
from zoo.layers.kv_cache import BlockCache
from zoo.layers.position import Position
from zoo.layers.transformer import BlockDesign, Transformer
from zoo.module import SupervisedModule
from zoo.task import LanguageModeling


class GPT(SupervisedModule):
    """Embedded tokens, blocks of causal attention, and the logits of the next token at every step.

    Source: Radford et al., "Language models are unsupervised multitask learners", 2019 (GPT-2). The scheme GPT2Init
    starts it as the paper does; without one, embeddings are N(0, 0.02^2) and linear layers as torch makes them.

    Args:
        vocabulary_size: different tokens; linked from the data.
        window: most tokens that it reads at once; linked from the data.
        task: LanguageModeling.
        width: of a token's vector; 128 for a model of a million parameters, 384 for ten.
        layers: blocks.
        position: see Transformer.
        dropout: probability in [0, 1); 0 where the data are seen once, 0.1 to 0.2 where many times.
        drop_path: probability in [0, 1) of leaving out a branch of the last block.
        tied: use the embedding as the last layer too (Press and Wolf 2017).
        block: see BlockDesign.
        document_end: the token that ends a document, where several lie in one window: each is read as if it stood
            there alone, with places from 0 on. Null reads the window as one text. Linked from the data.
    """

    takes = ("tokens",)

    def __init__(
        self,
        vocabulary_size: int,
        window: int,
        task: LanguageModeling,
        width: int = 128,
        layers: int = 4,
        position: Position = "learned",
        dropout: float = 0.0,
        drop_path: float = 0.0,
        tied: bool = True,
        block: BlockDesign = BlockDesign(),  # noqa: B008  frozen
        document_end: int | None = None,
    ) -> None:
        super().__init__(task)
        if task.out_features != vocabulary_size:
            raise ZooError(f"GPT: the task is about {task.out_features} tokens, vocabulary_size is {vocabulary_size}")
        self.window, self.document_end = window, document_end
        self.embedding = nn.Embedding(vocabulary_size, width)
        nn.init.normal_(self.embedding.weight, std=0.02)
        self.transformer = Transformer(
            width, layers, block, window, position, dropout=dropout, drop_path=drop_path, causal=True
        )
        self.head = nn.Linear(width, vocabulary_size, bias=False)
        if tied:
            self.head.weight = self.embedding.weight
        self.example_input_array = torch.zeros(2, min(8, window), dtype=torch.int64)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits of the next token, (B, T, vocabulary_size), of tokens (B, T)."""
        return cast(Tensor, self.head(self._read(tokens)))

    def _read(self, tokens: Tensor, caches: Sequence[BlockCache] = ()) -> Tensor:
        """(B, T) -> (B, T, width), of the tokens behind those that the caches know."""
        first = caches[0].steps if caches else 0
        mask = places = None
        if self.document_end is not None:
            document, place = documents(tokens, self.document_end)
            mask, places = document[:, first:, None] == document[:, None], place[:, first:]
        return cast(Tensor, self.transformer(self.embedding(tokens[:, first:]), mask, places, caches=caches))

    @torch.no_grad()
    def generate(
        self,
        prompt: Tensor,
        steps: int,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        cached: bool = True,
    ) -> Tensor:
        """Go on with a text, one token after the other; of more than ``window`` tokens it sees the last.

        Args:
            prompt: int64 (B, T), at least one token each.
            steps: tokens to add.
            temperature, top_k, top_p: see ``draw_token``.
            cached: keep keys and values, so that a step within the window reads one token and not all; the outcome is
                the same.

        Returns:
            int64 (B, T + steps), the prompt included; drawn from torch's global generator.

        Raises:
            ZooError: see ``check_generation``.
        """
        check_generation(prompt, self.embedding.num_embeddings, temperature, top_k, top_p)
        was_training = self.training
        self.eval()
        try:
            tokens, caches = prompt, self.transformer.fresh_caches()
            for _ in range(steps):
                # Beyond the window every step moves the places of all tokens, and nothing kept is of use.
                within = cached and tokens.shape[1] <= self.window
                seen = self._read(tokens[:, -self.window :], caches if within else ())
                token = draw_token(self.head(seen[:, -1]), temperature, top_k, top_p)
                tokens = torch.cat([tokens, token[:, None]], 1)
        finally:
            self.train(was_training)
        return tokens

    @property
    def branches(self) -> dict[str, nn.Linear]:
        """The layers that residual branches end in, by name."""
        return {f"transformer.{name}": layer for name, layer in self.transformer.branches().items()}


def documents(tokens: Tensor, end: int) -> tuple[Tensor, Tensor]:
    """Which document of its row each token belongs to, and its place within it, from 0 on: int64 (B, T) both.

    An end belongs to the document that it ends.
    """
    ends = (tokens == end).long()
    document = ends.cumsum(1) - ends
    step = torch.arange(tokens.shape[1], device=tokens.device)
    begins = torch.cat([torch.ones_like(ends[:, :1]), ends[:, :-1]], 1)
    return document, step - (step * begins).cummax(1).values
