"""Freezing beside other techniques: what is left to act on, who is named when nothing is, and in which order."""

import pytest
import torch

from callbacks.averaging.recalibrate_batch_norm import RecalibrateBatchNorm
from callbacks.finetuning.freeze import Freeze
from callbacks.finetuning.gradual_unfreezing import GradualUnfreezing
from callbacks.gradients.adaptive_clipping import AdaptiveClipping
from callbacks.optimizers.muon import Muon
from callbacks.optimizers.sgd import SGD
from callbacks.regularizers.activation_penalty import ActivationPenalty
from callbacks.regularizers.l2 import L2
from callbacks.technique import Conflict, NoEffect, Technique
from tests.callbacks.technique_checks import assert_same, copy, fit, make_mlp

NEEDS_THE_BACKBONE = {
    "AdaptiveClipping": lambda: AdaptiveClipping(exclude="^head"),
    "ActivationPenalty": lambda: ActivationPenalty(match="^backbone$"),
    "GradualUnfreezing": GradualUnfreezing,
    "L2": lambda: L2(match="^backbone"),
    "OptimizerSelection": Muon,
    "RecalibrateBatchNorm": RecalibrateBatchNorm,
}


@pytest.mark.parametrize("first", [True, False], ids=["frozen before", "frozen after"])
@pytest.mark.parametrize("name", NEEDS_THE_BACKBONE)
def test_what_is_left_without_anything_to_act_on_says_who_took_it(name: str, first: bool) -> None:
    other: Technique = NEEDS_THE_BACKBONE[name]()
    module = make_mlp()
    with pytest.raises(Conflict, match="nothing to act on; drop one of them, or freeze less") as error:
        fit(module, *([Freeze(), other] if first else [other, Freeze()]), max_epochs=1)
    assert "Freeze[^backbone$] leaves " in str(error.value)
    assert name in str(error.value)
    assert all(parameter.requires_grad for parameter in module.parameters())
    assert not module.frozen


def test_who_would_do_nothing_anyway_is_not_blamed_on_others() -> None:
    with pytest.raises(NoEffect, match="strength is 0"):
        fit(make_mlp(), Freeze(), L2(strength=0.0))
    with pytest.raises(NoEffect, match="has a name with 'stem' in it"):
        fit(make_mlp(), Freeze(), L2(match="stem"))


def test_what_waits_for_layers_that_are_frozen_for_now_is_given_time() -> None:
    """Four batches an epoch and the backbone's turn after the third: later than a technique's patience."""
    clipping = AdaptiveClipping(1e-4, exclude="^head")
    fit(make_mlp(), GradualUnfreezing(epochs_per_group=3), clipping, max_epochs=4, batch_size=400)
    with pytest.raises(Conflict, match=r"GradualUnfreezing leaves AdaptiveClipping\[network\] nothing"):
        fit(make_mlp(), GradualUnfreezing(epochs_per_group=3), clipping, max_epochs=3, batch_size=400)


def test_a_penalty_is_of_what_is_trained_whatever_the_order() -> None:
    """It kept to what was trained in the first epoch, when it stood behind what unfreezes."""
    ends = []
    for order in ((0, 1), (1, 0)):
        module = make_mlp(dropout=0.0)
        techniques = [GradualUnfreezing(), L2(0.1)]
        fit(module, SGD(lr=0.1), *[techniques[place] for place in order], max_epochs=3)
        ends.append(copy(module))
    assert_same(*ends)
    module = make_mlp(dropout=0.0)
    fit(module, SGD(lr=0.1), GradualUnfreezing(), max_epochs=3)
    assert not torch.equal(copy(module)["backbone.1.linear.weight"], ends[0]["backbone.1.linear.weight"])
