"""How far the answers for an image and for its adversarial twin lie apart."""

from torch import Tensor
from torch.nn import functional as F


def divergence(clean: Tensor, adversarial: Tensor) -> Tensor:
    """KL(softmax(clean) || softmax(adversarial)) of each sample, (B,), from logits (B, num_classes); at least 0."""
    log_clean, log_adversarial = clean.log_softmax(1), adversarial.log_softmax(1)
    return F.kl_div(log_adversarial, log_clean, reduction="none", log_target=True).sum(1)
