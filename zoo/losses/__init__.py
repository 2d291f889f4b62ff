"""Losses that torch lacks; any of them, or any of torch.nn, goes into a task by its name."""

from zoo.losses.asymmetric import Asymmetric
from zoo.losses.base import ClassificationLoss, Loss, MultiLabelLoss, PerClassLoss, RegressionLoss
from zoo.losses.bi_tempered import BiTempered
from zoo.losses.binary_cross_entropy import BinaryCrossEntropy
from zoo.losses.class_balanced import ClassBalanced
from zoo.losses.expectile import Expectile
from zoo.losses.focal import Focal
from zoo.losses.gaussian import BetaNLL, GaussianNLL
from zoo.losses.generalized_cross_entropy import GeneralizedCrossEntropy
from zoo.losses.laplace import LaplaceNLL
from zoo.losses.ldam import LDAM
from zoo.losses.log_cosh import LogCosh
from zoo.losses.logit_adjusted import LogitAdjusted
from zoo.losses.poly import Poly1
from zoo.losses.quantile import Quantile
from zoo.losses.tweedie import Tweedie

__all__ = [
    "LDAM",
    "Asymmetric",
    "BetaNLL",
    "BiTempered",
    "BinaryCrossEntropy",
    "ClassBalanced",
    "ClassificationLoss",
    "Expectile",
    "Focal",
    "GaussianNLL",
    "GeneralizedCrossEntropy",
    "LaplaceNLL",
    "LogCosh",
    "LogitAdjusted",
    "Loss",
    "MultiLabelLoss",
    "PerClassLoss",
    "Poly1",
    "Quantile",
    "RegressionLoss",
    "Tweedie",
]
