"""Networks for tables of numbers and categories: perceptrons with embeddings, TabM, and a transformer over features."""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from zoo.batch import Batch
from zoo.errors import DataError, ZooError
from zoo.layers.batch_ensemble import BatchEnsembleLinear, MemberLinear
from zoo.layers.feature_block import FeatureBlock
from zoo.layers.gate import Nonlinearity, make_nonlinearity, widening
from zoo.layers.quick_dropout import QuickDropout
from zoo.layers.tabular_embedding import (
    BinnedEmbedding,
    CategoricalEmbedding,
    LinearEmbedding,
    NumericalEmbedding,
    PeriodicEmbedding,
    PiecewiseLinearEmbedding,
    PiecewiseLinearReLUEmbedding,
)
from zoo.module import SupervisedModule
from zoo.notice import notice
from zoo.task import Output, Task
from zoo.tasks.ensemble import combine


class TabularModule(SupervisedModule):
    """Base of the family: a sample is one vector, numbers first, then a code for each column of categories.

    Args:
        in_features: entries of a sample; linked from the data.
        task: what is asked of the network.
        cardinalities: number of codes of the last columns, one entry for each; linked from the data.
        embedding: of the numbers; "none" leaves them as they are. "piecewise_linear" takes its bins from
            the training rows (kept with the weights), and "periodic" learns its frequencies.
        embedding_size: length of a feature's vector, also of a category's.
        resolution: bins of "piecewise_linear", frequencies of "periodic"; 16 to 128.
        frequency_scale: of "periodic", 0.01 to 10; see PeriodicEmbedding.
    """

    takes = ("vectors",)

    def __init__(
        self,
        in_features: int,
        task: Task,
        cardinalities: Sequence[int],
        embedding: NumericalEmbedding,
        embedding_size: int,
        resolution: int,
        frequency_scale: float,
    ) -> None:
        super().__init__(task)
        self.num_numerical = in_features - len(cardinalities)
        if self.num_numerical < 0 or in_features < 1 or any(codes < 1 for codes in cardinalities):
            raise ZooError(
                f"{type(self).__name__}: in_features={in_features} columns cannot end in cardinalities={cardinalities}"
            )
        if embedding_size < 1:
            raise ZooError(f"{type(self).__name__}: embedding_size must be at least 1, got {embedding_size}")
        self.example_input_array = torch.zeros(2, in_features)
        self.numerical: nn.Module | None = None
        if self.num_numerical and embedding == "piecewise_linear":
            self.numerical = PiecewiseLinearEmbedding(self.num_numerical, embedding_size, resolution)
        elif self.num_numerical and embedding == "piecewise_linear_relu":
            self.numerical = PiecewiseLinearReLUEmbedding(self.num_numerical, embedding_size, resolution)
        elif self.num_numerical and embedding == "periodic":
            self.numerical = PeriodicEmbedding(self.num_numerical, embedding_size, resolution, frequency_scale)
        self.categorical = CategoricalEmbedding(cardinalities, embedding_size) if cardinalities else None
        # Entries of each feature in ``vector``.
        of_a_number = 1 if self.numerical is None else embedding_size
        self.widths = [of_a_number] * self.num_numerical + [embedding_size] * len(cardinalities)

    def setup(self, stage: str) -> None:
        if stage == "fit" and isinstance(self.numerical, BinnedEmbedding) and not self.numerical.fitted:
            datamodule = self.trainer.datamodule  # type: ignore[attr-defined]
            rows = getattr(datamodule, "train_inputs", None)
            if isinstance(rows, Tensor):
                self.numerical.fit(rows[:, : self.num_numerical])
            else:
                notice(f"{type(self).__name__}: no training rows to take bins from; they are the quantiles of N(0, 1)")
        super().setup(stage)

    def embed(self, x: Tensor) -> list[Tensor]:
        """Numbers (B, n) or their vectors (B, n, embedding_size), then vectors of categories (B, c, embedding_size)."""
        parts = []
        if self.num_numerical:
            numbers = x[:, : self.num_numerical]
            parts.append(numbers if self.numerical is None else self.numerical(numbers))
        if self.categorical is not None:
            codes = x[:, self.num_numerical :]
            if self.training and (codes != codes.round()).any():
                raise DataError(
                    f"{type(self).__name__}: category codes are not whole numbers; techniques that mix or move inputs"
                    " need --data.categories one_hot"
                )
            parts.append(self.categorical(codes.long()))
        return parts

    def vector(self, x: Tensor) -> Tensor:
        """All features of a sample in one vector, (B, sum(widths))."""
        return torch.cat([part.flatten(1) for part in self.embed(x)], 1)


class TabularMLP(TabularModule):
    """A perceptron on embedded features; without hidden layers and embeddings linear or logistic regression.

    Gorishniy et al., "On embeddings for numerical features in tabular deep learning", 2022.

    Args:
        in_features, task, cardinalities, embedding, embedding_size, resolution, frequency_scale: see TabularModule.
        hidden: widths of the hidden layers.
        activation: after each hidden layer; a gate (glu, reglu, geglu, swiglu) makes each of them twice as wide.
        dropout: probability in [0, 1) after each hidden layer.
    """

    def __init__(
        self,
        in_features: int,
        task: Task,
        cardinalities: list[int] = [],  # noqa: B006  never changed
        hidden: list[int] = [256, 256],  # noqa: B006
        activation: Nonlinearity = "relu",
        dropout: float = 0.1,
        embedding: NumericalEmbedding = "piecewise_linear",
        embedding_size: int = 16,
        resolution: int = 48,
        frequency_scale: float = 0.1,
    ) -> None:
        super().__init__(in_features, task, cardinalities, embedding, embedding_size, resolution, frequency_scale)
        _check("TabularMLP", hidden, dropout)
        widths = [sum(self.widths), *hidden]
        self.backbone = nn.Sequential()
        for fan_in, width in zip(widths, hidden):
            linear = nn.Linear(fan_in, width * widening(activation))
            self.backbone.extend([linear, make_nonlinearity(activation), QuickDropout(dropout)])
        self.head = nn.Linear(widths[-1], task.out_features)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.head(self.backbone(self.vector(x))))


class TabM(TabularModule):
    """Many perceptrons that share their matrices, trained each for itself, and asked together.

    Gorishniy et al., "TabM: advancing tabular deep learning with parameter-efficient ensembling", 2025. The loss is the
    mean of the members' losses, not the loss of their mean; the prediction is the mean of their probabilities or
    values. A technique that takes the slot ``objective`` sees that common prediction only. Weight decay pulls the
    vectors that set members apart to zero: leave it out, or keep it small.

    Args:
        in_features, task, cardinalities, embedding, embedding_size, resolution, frequency_scale: see TabularModule.
        members: k; 32 is the paper's, time and memory grow with it, 1 is a perceptron.
        hidden: widths of the hidden layers, which all members share.
        activation: after each hidden layer; a gate makes each of them twice as wide.
        dropout: probability in [0, 1) after each hidden layer, drawn for each member.
    """

    def __init__(
        self,
        in_features: int,
        task: Task,
        cardinalities: list[int] = [],  # noqa: B006  never changed
        members: int = 32,
        hidden: list[int] = [256, 256],  # noqa: B006
        activation: Nonlinearity = "relu",
        dropout: float = 0.1,
        embedding: NumericalEmbedding = "piecewise_linear",
        embedding_size: int = 16,
        resolution: int = 48,
        frequency_scale: float = 0.1,
    ) -> None:
        super().__init__(in_features, task, cardinalities, embedding, embedding_size, resolution, frequency_scale)
        _check("TabM", hidden, dropout)
        if members < 1 or not hidden:
            raise ZooError(f"TabM needs members and hidden layers, got members={members} and hidden={hidden}")
        widths = [sum(self.widths), *hidden]
        wide = widening(activation)
        layers = [BatchEnsembleLinear(members, fan_in, width * wide) for fan_in, width in zip(widths, hidden)]
        with torch.no_grad():
            # What makes members differ: a draw for each feature, N(0, 1) where it has a vector, a sign where it is raw.
            draws = torch.randn(members, in_features)
            draws = draws if self.numerical is not None else draws.sign()
            layers[0].scale_in.copy_(draws.repeat_interleave(torch.tensor(self.widths), 1))
        self.members = members
        self.backbone = nn.Sequential()
        for layer in layers:
            self.backbone.extend([layer, make_nonlinearity(activation), QuickDropout(dropout)])
        self.head = MemberLinear(members, widths[-1], task.out_features)
        self.objective = mean_of_member_losses

    def member_predictions(self, x: Tensor) -> Tensor:
        """Raw prediction of each member, (B, k, out_features)."""
        return cast(Tensor, self.head(self.backbone(self.vector(x)[:, None].expand(-1, self.members, -1))))

    def forward(self, x: Tensor) -> Tensor:
        return combine(self.task, self.member_predictions(x))


def mean_of_member_losses(module: SupervisedModule, batch: Batch) -> Output:
    """The objective of TabM: the task's loss of every member on every sample, and their common prediction."""
    assert isinstance(module, TabM)
    members = module.member_predictions(batch.x)
    each = members.flatten(0, 1)  # (B k, out_features)
    weight = None if batch.weight is None else batch.weight.repeat_interleave(module.members, 0)
    repeated = Batch(each, batch.y.repeat_interleave(module.members, 0), weight=weight)
    return Output(module.task.loss(each, repeated), combine(module.task, members))


class FTTransformer(TabularModule):
    """A transformer in which each feature is a token, and a class token reads what they say.

    Gorishniy et al., "Revisiting deep learning models for tabular data", 2021, section 3.3: pre-norm blocks without the
    very first norm, hidden layers of 4/3 the width. The cost grows with the square of the number of columns.

    Args:
        in_features, task, cardinalities: see TabularModule.
        width: length of a token; a multiple of ``heads``.
        blocks: 1 to 4.
        heads: of the attention.
        dropout: in [0, 1), of attention weights and of the hidden layer of each block; 0.1 to 0.3.
        embedding: of the numbers; "none" is the linear one of the paper.
        resolution, frequency_scale: see TabularModule.
        activation: of the hidden layer of each block, ReGLU in the paper.
    """

    def __init__(
        self,
        in_features: int,
        task: Task,
        cardinalities: list[int] = [],  # noqa: B006  never changed
        width: int = 64,
        blocks: int = 2,
        heads: int = 4,
        dropout: float = 0.1,
        embedding: NumericalEmbedding = "none",
        resolution: int = 48,
        frequency_scale: float = 0.1,
        activation: Nonlinearity = "reglu",
    ) -> None:
        super().__init__(in_features, task, cardinalities, embedding, width, resolution, frequency_scale)
        _check("FTTransformer", [], dropout)
        if blocks < 1 or heads < 1 or width % heads:
            raise ZooError(
                f"FTTransformer: width must be a multiple of heads, and blocks at least 1, got width={width},"
                f" heads={heads}, blocks={blocks}"
            )
        if self.num_numerical and self.numerical is None:
            self.numerical = LinearEmbedding(self.num_numerical, width)
        self.class_token = nn.Parameter(torch.empty(width).uniform_(-(width**-0.5), width**-0.5))
        self.backbone = nn.Sequential(
            *[FeatureBlock(width, heads, dropout, activation, first=i == 0) for i in range(blocks)]
        )
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, task.out_features)

    def forward(self, x: Tensor) -> Tensor:
        tokens = torch.cat([self.class_token.expand(len(x), 1, -1), *self.embed(x)], 1)  # (B, 1 + n + c, width)
        return cast(Tensor, self.head(self.norm(self.backbone(tokens)[:, 0]).relu()))


def _check(name: str, hidden: Sequence[int], dropout: float) -> None:
    if any(width < 1 for width in hidden):
        raise ZooError(f"{name}: widths must be positive, got hidden={hidden}")
    if not 0 <= dropout < 1:
        raise ZooError(f"{name}: dropout must lie in [0, 1), got {dropout}")
