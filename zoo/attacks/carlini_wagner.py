"""Carlini and Wagner's attack: the smallest Euclidean change that fools, by Adam and a search over a penalty."""

import torch
from torch import Tensor, nn

from zoo.attacks.attacked import attacked
from zoo.attacks.ball import like
from zoo.errors import ZooError

# tanh reaches its limits at infinity, and black and white pixels lie there. They begin this far inside: nearer to the
# limit the slope of tanh vanishes, and hundreds of steps go by before such a pixel moves.
_INSIDE = 1 - 1e-3
_UNBOUNDED = 1e10


def carlini_wagner(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    confidence: float = 0.0,
    steps: int = 200,
    learning_rate: float = 0.01,
    search_steps: int = 9,
    initial_c: float = 1e-3,
) -> Tensor:
    """Minimise |x' - x|_2^2 + c max(z_y - max_{k != y} z_k, -confidence) over w, with x' = (tanh w + 1) / 2.

    Carlini and Wagner, "Towards evaluating the robustness of neural networks", 2017, section V.A and the L2 attack of
    section VI.A, untargeted. Every sample has its own c, which is raised tenfold until it fools and then halved
    between the bounds that are known. It costs ``steps * search_steps`` passes forward and backward.

    Args:
        model: takes pixels in [0, 1] and gives logits, see ``zoo.attacks.pixels.Pixels``.
        x: float32 images (B, C, H, W) in [0, 1].
        y: classes (B,); a sample that is wrong at the start comes back unchanged.
        confidence: how far, in logits, another class has to be ahead; 0 just fools, 20 and more carries over to others.
        steps: of Adam for each c; 200 for a first look, 1,000 and more for a figure in a table.
        learning_rate: of Adam, in units of w.
        search_steps: values of c that are tried.
        initial_c: the first of them.

    Returns:
        For each sample the nearest image that fooled, in [0, 1]; the image itself where none did.
    """
    if min(steps, search_steps) < 1 or min(learning_rate, initial_c) <= 0 or confidence < 0:
        raise ZooError(
            "carlini_wagner: needs at least 1 step and 1 search step, a positive learning_rate and initial_c, and no"
            f" negative confidence; got {steps}, {search_steps}, {learning_rate}, {initial_c}, {confidence}"
        )
    with attacked(model, x, y) as (x, y):
        best = x.clone()
        with torch.no_grad():
            left = (_margin(model(x), y) > 0).nonzero()[:, 0]
        if len(left) == 0:
            return best
        x, y = x[left], y[left]
        nearest, shortest = x.clone(), torch.full((len(x),), torch.inf, device=x.device)
        c = torch.full_like(shortest, initial_c)
        low, high = torch.zeros_like(c), torch.full_like(c, _UNBOUNDED)
        for _ in range(search_steps):
            fooled = torch.zeros_like(c, dtype=torch.bool)
            w = torch.atanh((2 * x - 1) * _INSIDE).requires_grad_()
            adam = torch.optim.Adam([w], lr=learning_rate)
            for _ in range(steps):
                image = (torch.tanh(w) + 1) / 2
                square = (image - x).flatten(1).square().sum(1)
                margin = _margin(model(image), y)
                loss = square + c * margin.clamp(min=-confidence)
                (w.grad,) = torch.autograd.grad(loss.sum(), w)
                with torch.no_grad():
                    found = (margin < 0) & (margin <= -confidence)
                    fooled |= found
                    closer = found & (square < shortest)
                    shortest = torch.where(closer, square, shortest)
                    nearest = torch.where(like(closer, x), image, nearest)
                adam.step()
            high = torch.where(fooled, torch.minimum(high, c), high)
            low = torch.where(fooled, low, torch.maximum(low, c))
            c = torch.where(high < _UNBOUNDED, (low + high) / 2, 10 * c)
        best[left] = nearest
        return best


def _margin(logits: Tensor, y: Tensor) -> Tensor:
    """z_y - max_{k != y} z_k of each sample, (B,); negative where another class is ahead."""
    own = logits.gather(1, y[:, None])
    others = logits.scatter(1, y[:, None], -torch.inf)
    return own[:, 0] - others.amax(1)
