"""Filter response norm: its formula, the paper's activation, gradients, and that no sample needs another."""

import torch
from torch.nn import functional as F

from zoo.layers.filter_response import FilterResponseNorm


def test_the_formula() -> None:
    torch.manual_seed(0)
    x, norm = torch.randn(3, 4, 5, 6) * 3 + 1, FilterResponseNorm(4)
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    nu = x.pow(2).flatten(2).mean(-1)
    for sample in range(3):
        for channel in range(4):
            expected = norm.weight[channel] * x[sample, channel] / (nu[sample, channel] + 1e-6).sqrt()
            torch.testing.assert_close(norm(x)[sample, channel], expected + norm.bias[channel])
    torch.testing.assert_close(norm(x[:1]), norm(x)[:1])


def test_a_learned_threshold_is_a_relu_between_two_biases() -> None:
    """max(y, tau) in front of a convolution, which is not padded here, against what the docstring says it is."""
    torch.manual_seed(0)
    x, norm, tau, weight = torch.randn(2, 4, 6, 6), FilterResponseNorm(4), torch.randn(4), torch.randn(3, 4, 3, 3)
    expected = F.conv2d(torch.maximum(norm(x), tau[:, None, None]), weight)
    with torch.no_grad():
        norm.bias.sub_(tau)
    found = F.conv2d(norm(x).relu(), weight, bias=torch.einsum("oihw,i->o", weight, tau))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_gradients() -> None:
    norm = FilterResponseNorm(2).double()
    assert torch.autograd.gradcheck(norm, torch.randn(2, 2, 3, 3, dtype=torch.double, requires_grad=True))
