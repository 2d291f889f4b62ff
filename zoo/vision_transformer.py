"""Transformers for images: ViT reads patches, CCT what a few convolutions make of the image."""

from typing import cast

import torch
from torch import nn

from zoo.cnn import ConvNet
from zoo.errors import ZooError
from zoo.layers.image_tokens import GridPosition, ImageTokens, Patches, conv_tokenizer
from zoo.layers.token_pool import TokenPooling, make_pool
from zoo.layers.transformer import BlockDesign, Transformer
from zoo.task import Task


class ImageTransformer(ConvNet):
    """Base of the family: an image becomes tokens, which blocks and a pool read.

    Args:
        in_channels, image_size, task: see ViT.
        tokenizer: (B, C, H, W) -> (B, width, rows, columns).
        side: rows and columns, which are equal.
        width, layers, pool, position, dropout, drop_path, block: see ViT.
    """

    def __init__(
        self,
        in_channels: int,
        image_size: int,
        task: Task,
        tokenizer: nn.Module,
        side: int,
        width: int,
        layers: int,
        pool: TokenPooling,
        position: GridPosition,
        dropout: float,
        drop_path: float,
        block: BlockDesign,
    ) -> None:
        super().__init__(in_channels, task, image_size)
        self.backbone = nn.Sequential(
            ImageTokens(tokenizer, image_size, (side, side), width, position, class_token=pool == "class"),
            Transformer(
                width, layers, block, side**2 + (pool == "class"), "none", dropout=dropout, drop_path=drop_path
            ),
            make_pool(pool, width),
        )
        self.head = nn.Linear(width, task.out_features)
        self.to(memory_format=torch.channels_last)

    @property
    def branches(self) -> dict[str, nn.Linear]:
        """The layers that residual branches end in, by name."""
        transformer = cast(Transformer, self.backbone.get_submodule("1"))
        return {f"backbone.1.{name}": layer for name, layer in transformer.branches().items()}


class ViT(ImageTransformer):
    """The vision transformer: a linear map of each patch, blocks, and a class token that reads what they say.

    Dosovitskiy et al., "An image is worth 16x16 words", 2021. It knows nothing of neighbourhood: on small data it wants
    small patches, strong augmentation and long training, or a CCT in its place.

    Args:
        in_channels: channels of one image; linked from the data.
        image_size: height and width in pixels; linked from the data.
        task: what is asked of the network.
        patch_size: height and width of a patch in pixels, which divides ``image_size``; 4 for 32 pixels, 2 for 8. Cost
            grows with the square of the number of patches.
        width: of a token; 64 to 384 for small images.
        layers: blocks, 4 to 12.
        pool: "class" reads a token that was put in front, "mean" the mean of all (Beyer et al., "Better plain ViT
            baselines for ImageNet-1k", 2022), "sequence" a mean whose weights are learned (Hassani et al. 2021).
        position: see ImageTokens.
        dropout: probability in [0, 1), see TransformerBlock.
        drop_path: probability in [0, 1) of leaving out a branch of the last block; 0.1 for 6 layers and more.
        block: see BlockDesign.
    """

    def __init__(
        self,
        in_channels: int,
        image_size: int,
        task: Task,
        patch_size: int = 4,
        width: int = 128,
        layers: int = 6,
        pool: TokenPooling = "class",
        position: GridPosition = "learned",
        dropout: float = 0.0,
        drop_path: float = 0.0,
        block: BlockDesign = BlockDesign(),  # noqa: B008  frozen
    ) -> None:
        if patch_size < 1 or image_size < patch_size or image_size % patch_size:
            raise ZooError(
                f"ViT: an image of {image_size} pixels is not made of whole patches of {patch_size}; choose a"
                " patch_size that divides it"
            )
        tokenizer, side = Patches(in_channels, width, patch_size), image_size // patch_size
        super().__init__(
            in_channels, image_size, task, tokenizer, side, width, layers, pool, position, dropout, drop_path, block
        )


class CCT(ImageTransformer):
    """The compact convolutional transformer: convolutions make the tokens, and all of them are pooled.

    Hassani et al., "Escaping the big data paradigm with compact transformers", 2021. Made for training from scratch on
    small images.

    | network | convolutions | width | layers | block |
    |---|---|---|---|---|
    | CCT-2/3x2 | 2 | 128 | 2 | heads 2, expansion 1 |
    | CCT-7/3x1 | 1 | 256 | 7 | heads 4, expansion 2 |

    Args:
        in_channels, image_size, task: see ViT; an image of any size will do.
        convolutions: of 3 x 3, each of which halves the size: 1 or 2 for 32 pixels.
        width, layers, pool, position, dropout, drop_path, block: see ViT.
    """

    def __init__(
        self,
        in_channels: int,
        image_size: int,
        task: Task,
        convolutions: int = 1,
        width: int = 128,
        layers: int = 4,
        pool: TokenPooling = "sequence",
        position: GridPosition = "learned",
        dropout: float = 0.0,
        drop_path: float = 0.0,
        block: BlockDesign = BlockDesign(expansion=2.0),  # noqa: B008  frozen
    ) -> None:
        if convolutions < 1 or image_size < 1:
            raise ZooError(f"CCT: convolutions must be at least 1, got {convolutions} for {image_size} pixels")
        tokenizer, side = conv_tokenizer(in_channels, width, convolutions), -(-image_size // 2**convolutions)
        super().__init__(
            in_channels, image_size, task, tokenizer, side, width, layers, pool, position, dropout, drop_path, block
        )
