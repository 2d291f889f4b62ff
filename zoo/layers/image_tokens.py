"""From an image to the tokens that a transformer reads."""

from typing import Literal, TypeAlias, cast

import torch
from torch import Tensor, nn

from zoo.errors import ZooError
from zoo.layers.position import sinusoids

GridPosition: TypeAlias = Literal["learned", "sinusoidal", "none"]


def grid_sinusoids(rows: int, columns: int, width: int) -> Tensor:
    """Sinusoids of the row beside those of the column, for each place of a grid, (rows * columns, width)."""
    if width % 4:
        raise ZooError(f"sinusoidal positions of an image need a width that is a multiple of 4, got {width}")
    down, across = (sinusoids(steps, width // 2) for steps in (rows, columns))
    return torch.cat([down.repeat_interleave(columns, 0), across.repeat(rows, 1)], 1)


def patch_tokenizer(in_channels: int, width: int, patch_size: int) -> nn.Conv2d:
    """A linear map of each square patch: (B, C, H, W) -> (B, width, H / patch_size, W / patch_size)."""
    return nn.Conv2d(in_channels, width, patch_size, patch_size)


def conv_tokenizer(in_channels: int, width: int, convolutions: int) -> nn.Sequential:
    """Convolutions of 3 x 3, each with ReLU and max pooling that halves the size: (B, C, H, W) -> (B, width, h, w).

    Hassani et al., "Escaping the big data paradigm with compact transformers", 2021; all but the last have 64 channels,
    as in the authors' networks.
    """
    layers = nn.Sequential()
    widths = [in_channels, *[64] * (convolutions - 1), width]
    for fan_in, fan_out in zip(widths, widths[1:]):
        convolution = nn.Conv2d(fan_in, fan_out, 3, padding=1, bias=False)
        layers.extend([convolution, nn.ReLU(), nn.MaxPool2d(3, stride=2, padding=1)])
    return layers


class ImageTokens(nn.Module):
    """A vector for each place of an image, row by row, with its position: (B, C, H, W) -> (B, T, width).

    T is rows * columns, and one more with a class token, which comes first.

    Args:
        tokenizer: (B, C, H, W) -> (B, width, rows, columns).
        grid: rows and columns.
        width: of a token.
        position: what tells places apart: "learned" vectors, or the "sinusoidal" ones of row and column; "none" where
            the tokenizer's borders say enough.
        class_token: put a learned token in front.
        dropout: probability in [0, 1), of numbers in a token.
    """

    def __init__(
        self,
        tokenizer: nn.Module,
        grid: tuple[int, int],
        width: int,
        position: GridPosition,
        class_token: bool,
        dropout: float,
    ) -> None:
        super().__init__()
        self.tokenizer, self.grid = tokenizer, grid
        self.class_token = nn.Parameter(torch.empty(width).normal_(std=0.02)) if class_token else None
        places = grid[0] * grid[1] + class_token
        if position == "learned":
            self.positions: Tensor | None = nn.Parameter(torch.empty(places, width).normal_(std=0.02))
        elif position == "sinusoidal":
            of_grid = grid_sinusoids(*grid, width)
            of_all = torch.cat([torch.zeros(1, width), of_grid]) if class_token else of_grid
            self.register_buffer("positions", of_all, persistent=False)
        else:
            self.positions = None
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        features = self.tokenizer(x)
        if features.shape[2:] != self.grid:
            raise ZooError(
                f"the network was built for {self.grid[0]} x {self.grid[1]} tokens of an image, and one of"
                f" {x.shape[2]} x {x.shape[3]} pixels has {features.shape[2]} x {features.shape[3]}; set image_size"
            )
        tokens = features.flatten(2).transpose(1, 2)
        if self.class_token is not None:
            tokens = torch.cat([self.class_token.expand(len(x), 1, -1), tokens], 1)
        return cast(Tensor, self.dropout(tokens if self.positions is None else tokens + self.positions))
