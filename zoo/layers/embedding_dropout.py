"""Embedding dropout: leave out whole words, everywhere in a batch at once."""

from torch import Tensor

from zoo.errors import ZooError
from zoo.layers.dropout import DropoutLayer, keep_mask


class EmbeddingDropout(DropoutLayer):
    """Zero the vectors of a share p of all codes, wherever they occur in the batch, and divide the rest by 1 - p.

    The same as leaving out rows of the table, without a masked copy of it. Gal and Ghahramani, "A theoretically
    grounded application of dropout in recurrent neural networks", 2016; Merity et al., "Regularizing and optimizing
    LSTM language models", 2018.

    Args:
        num_embeddings: rows of the table.
        p: probability in [0, 1) of leaving a row out; about 0.1.
    """

    called = "embedding dropout"

    def __init__(self, num_embeddings: int, p: float = 0.0) -> None:
        super().__init__(p)
        if num_embeddings < 1:
            raise ZooError(f"embedding dropout needs the rows of the table, got num_embeddings={num_embeddings}")
        self.num_embeddings = num_embeddings

    def forward(self, vectors: Tensor, codes: Tensor) -> Tensor:
        """Vectors (..., size) of the codes (...), int64 in [0, num_embeddings)."""
        if self.p == 0 or not self.training:
            return vectors
        return vectors * keep_mask(vectors, (self.num_embeddings, 1), self.p)[codes]

    def extra_repr(self) -> str:
        return f"{self.num_embeddings}, {super().extra_repr()}"
