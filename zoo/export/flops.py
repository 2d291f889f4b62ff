"""What one answer of a network costs, in floating-point operations."""

import torch
from torch.utils.flop_counter import FlopCounterMode

from zoo.export.inputs import STEPS, inputs_of
from zoo.export.scanned import scanned
from zoo.module import ZooModule


@torch.no_grad()
def flops(module: ZooModule, steps: int = 100) -> tuple[int, int | None]:
    """Operations of the matrix products and convolutions of one sample; a product and its sum are two.

    Args:
        module: in evaluation mode.
        steps: of a sequence, where its length may vary.

    Returns:
        the operations, and how many steps they are of; None where inputs have one size.
    """
    inputs = inputs_of(module)
    counter = FlopCounterMode(display=False)
    with counter:  # it knows no recurrent layers, so these are written out
        scanned(module, loop=True).eval()(*inputs.draw(1, steps))
    varies = any(STEPS in of_one.values() for of_one in inputs.dynamic)
    return counter.get_total_flops(), min(steps, inputs.longest or steps) if varies else None
