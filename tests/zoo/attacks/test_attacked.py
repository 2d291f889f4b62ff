"""What holds for every attack: the ball, the range of pixels, and a network that is left as it was found."""

import pytest
import torch
from torch import Tensor, nn

from tests.zoo.attacks.attack_checks import ATTACKS, RADII, RADII_L2, accuracy, images, trained
from zoo.attacks.attacked import attacked, gradient
from zoo.attacks.ball import random_point, steepest
from zoo.attacks.pgd import pgd
from zoo.attacks.pixels import Pixels
from zoo.errors import DataError, ZooError


@pytest.mark.parametrize("name", ATTACKS)
def test_stays_in_the_ball_and_fools(name: str) -> None:
    model, (x, y) = trained(), images()
    before = x.clone()
    adversarial = ATTACKS[name](model, x, y)
    assert torch.equal(x, before)
    assert adversarial.shape == x.shape
    assert not adversarial.requires_grad
    assert adversarial.min() >= 0
    assert adversarial.max() <= 1
    offset = (adversarial - x).flatten(1)
    if name in RADII:
        assert offset.abs().max() <= RADII[name] + 1e-6
    if name in RADII_L2:
        assert offset.norm(dim=1).max() <= RADII_L2[name] + 1e-5
    assert accuracy(model, adversarial, y) < accuracy(model, x, y) - 0.3


@pytest.mark.parametrize("name", ATTACKS)
def test_leaves_the_network_as_it_was(name: str) -> None:
    """Flags, however they stood; buffers; no gradient on any weight; and the caller's graph goes on."""
    model, (x, y) = trained(), images(20)
    model.train()
    model.network[1].eval()  # type: ignore[index]  a frozen batch norm in a network that trains
    flags = [module.training for module in model.modules()]
    state = {key: value.clone() for key, value in model.state_dict().items()}
    fired: list[Tensor] = []
    hooks = [p.register_post_accumulate_grad_hook(fired.append) for p in model.parameters()]
    try:
        ATTACKS[name](model, x, y)
        assert [module.training for module in model.modules()] == flags
        assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
        assert all(p.grad is None for p in model.parameters())
        assert fired == []  # what DistributedDataParallel waits for
    finally:
        model.eval()
        for hook in hooks:
            hook.remove()


@pytest.mark.parametrize("name", ATTACKS)
def test_works_without_gradients_and_in_float32_under_autocast(name: str) -> None:
    """Inside no_grad, inference_mode and autocast the images are the same, to the bit."""
    model, (x, y) = trained(), images(20)
    torch.manual_seed(1)
    expected = ATTACKS[name](model, x, y)
    for context in (torch.no_grad(), torch.inference_mode(), torch.autocast("cpu", torch.bfloat16)):
        torch.manual_seed(1)
        with context:
            assert torch.equal(ATTACKS[name](model, x.clone(), y.clone()), expected)


def test_flags_return_when_an_attack_fails() -> None:
    model, (x, y) = trained(), images(4)
    model.train()

    def fail() -> None:
        with attacked(model, x, y):
            assert not any(module.training for module in model.modules())
            raise RuntimeError("on purpose")

    with pytest.raises(RuntimeError, match="on purpose"):
        fail()
    assert all(module.training for module in model.modules())
    model.eval()


def test_samples_do_not_depend_on_each_other() -> None:
    """Attacked one by one or as a batch: the same image, which batch norm in training mode would not give."""
    model, (x, y) = trained(), images(6)
    model.train()
    together = pgd(model, x, y, 0.1, steps=3, start="none")
    alone = torch.cat([pgd(model, x[i : i + 1], y[i : i + 1], 0.1, steps=3, start="none") for i in range(6)])
    torch.testing.assert_close(together, alone)
    model.eval()


def test_gradient_is_that_of_finite_differences() -> None:
    model, (x, y) = trained().double(), images(1)
    try:
        slope, _ = gradient(model, x.double(), lambda z: nn.functional.cross_entropy(z, y, reduction="none"))
        step = torch.zeros(1, 1, 8, 8, dtype=torch.float64)
        step[0, 0, 4, 3] = 1e-6
        ahead, behind = (nn.functional.cross_entropy(model(x.double() + s), y) for s in (step, -step))
        assert slope[0, 0, 4, 3].item() == pytest.approx((ahead - behind).item() / 2e-6, rel=1e-4, abs=1e-9)
    finally:
        model.float()


def test_pixels_undo_the_normalisation() -> None:
    network = nn.Flatten()
    model = Pixels(network, [0.5, 0.2, 0.1], [0.1, 0.2, 0.4])
    pixels = torch.rand(4, 3, 2, 2)
    expected = (pixels - torch.tensor([0.5, 0.2, 0.1]).view(3, 1, 1)) / torch.tensor([0.1, 0.2, 0.4]).view(3, 1, 1)
    torch.testing.assert_close(model(pixels), expected.flatten(1))
    torch.testing.assert_close(model.to_pixels(model.to_inputs(pixels)), pixels)
    assert model.to_pixels(model.to_inputs(torch.ones(1, 3, 1, 1)) + 1e-3).max() == 1


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_random_starts_fill_the_ball(norm: str) -> None:
    centre = torch.full((4000, 1, 1, 3), 0.5)
    offset = (random_point(centre, 0.3, norm, None) - centre).flatten(1)  # type: ignore[arg-type]
    lengths = offset.abs().amax(1) if norm == "linf" else offset.norm(dim=1)
    assert lengths.max() <= 0.3 + 1e-6
    # In three dimensions the share of the volume within half the radius is 1/8, whatever the norm.
    assert (lengths < 0.15).float().mean().item() == pytest.approx(1 / 8, abs=0.03)
    assert offset.mean(0).abs().max() < 0.01


def test_no_gradient_gives_no_step() -> None:
    zero = torch.zeros(2, 1, 2, 2)
    assert torch.equal(steepest(zero, "l2"), zero)
    assert torch.equal(steepest(zero, "linf"), zero)


def test_errors() -> None:
    model, (x, y) = trained(), images(2)
    with pytest.raises(DataError, match=r"pixels in \[0, 1\], got -1 to .*put the normalisation into the model"):
        pgd(model, 2 * x - 1, y, 0.1)
    with pytest.raises(DataError, match=r"takes float32 images, got torch\.float64"):
        pgd(model, x.double(), y, 0.1)
    with torch.inference_mode():
        frozen = Pixels(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), [0.0], [1.0])
    with pytest.raises(ZooError, match=r"made under torch\.inference_mode; .*Trainer\(inference_mode=False\)"):
        pgd(frozen, x, y, 0.1)
