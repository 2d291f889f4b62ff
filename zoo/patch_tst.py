"""A transformer that forecasts: pieces of a series are its tokens."""

import torch
from torch import Tensor, nn

from zoo.errors import ZooError
from zoo.forecasting import Forecaster, WindowNorm
from zoo.layers.position import Position
from zoo.layers.transformer import BlockDesign, Transformer
from zoo.task import Forecasting


def cut_patches(x: Tensor, patch: int, stride: int) -> Tensor:
    """Pieces of each series, the last value repeated ``stride`` times behind its end: (..., L) -> (..., N, patch).

    N = (L - patch) // stride + 2. Nie et al. 2023, section 3.1.
    """
    return torch.cat([x, x[..., -1:].expand(*x.shape[:-1], stride)], -1).unfold(-1, patch, stride)


class PatchTST(Forecaster):
    """Each series alone is cut into patches, an encoder reads them, and one linear map of all it says forecasts.

    Nie, Nguyen, Sinthong and Kalagnanam, "A time series is worth 64 words: long-term forecasting with transformers",
    2023. All series share the weights; the paper's blocks are post-norm with batch norm, these are as ``block`` says.

    Args:
        num_channels, window, task: see Forecaster.
        patch: steps of a patch.
        stride: steps from one patch to the next; less than ``patch`` where they overlap.
        width: of a patch's vector; 16 for a series of thousands of steps, 128 where there are many.
        layers: blocks.
        position: see Transformer.
        dropout: probability in [0, 1), see TransformerBlock, and before the last map; 0.2 to 0.5.
        normalization: see Forecaster; the paper has RevIN.
        block: see BlockDesign.
    """

    def __init__(
        self,
        num_channels: int,
        window: int,
        task: Forecasting,
        patch: int = 16,
        stride: int = 8,
        width: int = 16,
        layers: int = 3,
        position: Position = "learned",
        dropout: float = 0.3,
        normalization: WindowNorm = "revin",
        block: BlockDesign = BlockDesign(),  # noqa: B008  frozen
    ) -> None:
        super().__init__(num_channels, window, task, normalization)
        if not 1 <= stride <= patch <= window:
            raise ZooError(
                f"PatchTST: stride must be at most patch, and patch at most the window of {window} steps, got"
                f" stride={stride} and patch={patch}"
            )
        self.notice_covariates(num_channels)
        self.patch, self.stride = patch, stride
        patches = (window - patch) // stride + 2
        self.embedding = nn.Linear(patch, width)
        self.encoder = Transformer(width, layers, block, patches, position, dropout=dropout)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(patches * width, self.horizon * self.outputs)

    def forecast(self, x: Tensor) -> Tensor:
        patches = cut_patches(x[..., : self.series].transpose(1, 2), self.patch, self.stride)  # (B, S, N, patch)
        said = self.encoder(self.embedding(patches.flatten(0, 1)))  # (B S, N, width)
        values = self.head(self.dropout(said.flatten(1))).unflatten(0, (len(x), self.series))
        return values.unflatten(2, (self.horizon, self.outputs)).transpose(1, 2)  # (B, H, S, k)

    @property
    def branches(self) -> dict[str, nn.Linear]:
        """The layers that residual branches end in, by name."""
        return {f"encoder.{name}": layer for name, layer in self.encoder.branches().items()}
