"""From an image to the tokens that a transformer reads."""

from itertools import pairwise
from typing import Literal, TypeAlias, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.errors import ZooError
from zoo.layers.position import sinusoids

GridPosition: TypeAlias = Literal["learned", "sinusoidal", "none"]


def grid_sinusoids(rows: int, columns: int, width: int) -> Tensor:
    """Sinusoids of the row beside those of the column, for each place of a grid, (rows * columns, width)."""
    if width % 4:
        raise ZooError(f"sinusoidal positions of an image need a width that is a multiple of 4, got {width}")
    down, across = (sinusoids(steps, width // 2) for steps in (rows, columns))
    return torch.cat([down.repeat_interleave(columns, 0), across.repeat(rows, 1)], 1)


class Patches(nn.Module):
    """A linear map of each square patch: (B, C, H, W) -> (B, width, H / patch_size, W / patch_size).

    Dosovitskiy et al., "An image is worth 16x16 words", 2021, eq. 1. It equals a convolution whose stride is the size
    of its kernel, and is a matrix to optimizers and init schemes.

    Args:
        in_channels: C.
        width: of a token.
        patch_size: pixels, which divides height and width.
    """

    def __init__(self, in_channels: int, width: int, patch_size: int) -> None:
        super().__init__()
        self.patch_size = patch_size
        self.linear = nn.Linear(in_channels * patch_size**2, width)

    def forward(self, x: Tensor) -> Tensor:
        patches = F.pixel_unshuffle(x, self.patch_size).movedim(1, 3)
        return cast(Tensor, self.linear(patches)).movedim(3, 1)


def conv_tokenizer(in_channels: int, width: int, convolutions: int) -> nn.Sequential:
    """Convolutions of 3 x 3, each with ReLU and max pooling that halves the size: (B, C, H, W) -> (B, width, h, w).

    Hassani et al., "Escaping the big data paradigm with compact transformers", 2021; all but the last have 64 channels,
    as in the authors' networks.
    """
    layers = nn.Sequential()
    widths = [in_channels, *[64] * (convolutions - 1), width]
    for fan_in, fan_out in pairwise(widths):
        convolution = nn.Conv2d(fan_in, fan_out, 3, padding=1, bias=False)
        layers.extend([convolution, nn.ReLU(), nn.MaxPool2d(3, stride=2, padding=1)])
    return layers


class ImageTokens(nn.Module):
    """A vector for each place of an image, row by row, with its position: (B, C, H, W) -> (B, T, width).

    T is rows * columns, and one more with a class token, which comes first.

    Args:
        tokenizer: (B, C, H, W) -> (B, width, rows, columns).
        image_size: height and width in pixels.
        grid: rows and columns.
        width: of a token.
        position: what tells places apart: "learned" vectors, or the "sinusoidal" ones of row and column; "none" where
            the tokenizer's borders say enough.
        class_token: put a learned token in front.
    """

    def __init__(
        self,
        tokenizer: nn.Module,
        image_size: int,
        grid: tuple[int, int],
        width: int,
        position: GridPosition,
        class_token: bool,
    ) -> None:
        super().__init__()
        self.tokenizer, self.image_size, self.grid = tokenizer, image_size, grid
        self.class_token = nn.Parameter(torch.empty(width).normal_(std=0.02)) if class_token else None
        places = grid[0] * grid[1] + class_token
        if position == "learned":
            # As large as what a linear layer makes of normalised pixels. With the 0.02 that large data sets know, a
            # small network takes most of its training to learn where a token stands.
            self.positions: Tensor | None = nn.Parameter(torch.empty(places, width).normal_(std=0.5))
        elif position == "sinusoidal":
            of_grid = grid_sinusoids(*grid, width)
            of_all = torch.cat([torch.zeros(1, width), of_grid]) if class_token else of_grid
            self.register_buffer("positions", of_all, persistent=False)
        else:
            self.positions = None

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[2:] != (self.image_size, self.image_size):
            raise ZooError(
                f"the network was built for images of {self.image_size} x {self.image_size} pixels, got {x.shape[2]} x"
                f" {x.shape[3]}; set image_size, or resize the images"
            )
        tokens = self.tokenizer(x).flatten(2).transpose(1, 2)
        if self.class_token is not None:
            tokens = torch.cat([self.class_token.expand(len(x), 1, -1), tokens], 1)
        return tokens if self.positions is None else tokens + self.positions
