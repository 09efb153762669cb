"""The adversarial losses against numbers computed by hand, and against torch's own where it has them."""

import math

import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from colorlab.losses import ADVERSARIAL, BCE, HINGE, LEAST_SQUARES

REAL, FAKE = (2.0, -1.0), (0.5, -3.0)  # two patches each


def logits(*values, **options):
    return torch.tensor(values, dtype=torch.float64, **options)


@pytest.mark.parametrize(
    ("name", "discriminator", "generator"),
    [
        # −log σ(2) = 0.126928, −log σ(−1) = 1.313262; −log(1 − σ(0.5)) = 0.974077, −log(1 − σ(−3)) = 0.048587;
        # −log σ(0.5) = 0.474077, −log σ(−3) = 3.048587
        ("bce", ((0.126928 + 1.313262) / 2 + (0.974077 + 0.048587) / 2) / 2, (0.474077 + 3.048587) / 2),
        # (2 − 1)² = 1, (−1 − 1)² = 4; 0.5² = 0.25, (−3)² = 9; (0.5 − 1)² = 0.25, (−3 − 1)² = 16
        ("least_squares", ((1 + 4) / 2 + (0.25 + 9) / 2) / 2, (0.25 + 16) / 2),
        # max(0, 1 − 2) = 0, max(0, 1 + 1) = 2; max(0, 1 + 0.5) = 1.5, max(0, 1 − 3) = 0; −0.5, 3
        ("hinge", ((0 + 2) / 2 + (1.5 + 0) / 2) / 2, (-0.5 + 3) / 2),
    ],
)
def test_against_numbers_by_hand(name, discriminator, generator):
    pair = ADVERSARIAL[name]
    assert pair.discriminator(logits(*REAL), logits(*FAKE)).item() == pytest.approx(discriminator, abs=1e-6)
    assert pair.generator(logits(*FAKE)).item() == pytest.approx(generator, abs=1e-6)


def test_names():
    assert ADVERSARIAL == {"bce": BCE, "least_squares": LEAST_SQUARES, "hinge": HINGE}


def test_bce_is_torchs():
    real, fake = torch.randn(2, 50, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 5
    ones, zeros = torch.ones_like(real), torch.zeros_like(fake)
    expected = (binary_cross_entropy_with_logits(real, ones) + binary_cross_entropy_with_logits(fake, zeros)) / 2
    torch.testing.assert_close(BCE.discriminator(real, fake), expected, rtol=1e-12, atol=0)
    torch.testing.assert_close(BCE.generator(fake), binary_cross_entropy_with_logits(fake, ones), rtol=1e-12, atol=0)


@pytest.mark.parametrize(
    ("name", "gradient"),
    [("bce", -1 / (1 + math.exp(-5))), ("least_squares", -12.0), ("hinge", -1.0)],  # σ(−5) − 1, 2·(−5 − 1), −1
)
def test_a_generator_that_is_seen_through_still_learns(name, gradient):
    fake = logits(-5.0, requires_grad=True)
    ADVERSARIAL[name].generator(fake).backward()
    assert fake.grad.item() == pytest.approx(gradient, abs=1e-12)
    if name == "bce":
        assert fake.grad.item() == pytest.approx(-0.9933, abs=5e-5)  # the saturating loss would leave 0.0067


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", ADVERSARIAL)
@pytest.mark.parametrize("size", [1000.0, -1000.0])
def test_stable_at_extreme_logits(name, size, dtype):
    real, fake = (torch.tensor([size], dtype=dtype, requires_grad=True) for _ in range(2))
    losses = ADVERSARIAL[name].discriminator(real, fake), ADVERSARIAL[name].generator(fake)
    gradients = torch.autograd.grad(sum(losses), (real, fake))
    assert all(x.isfinite().all() for x in (*losses, *gradients))
    if name == "bce":  # one of the two halves is wrong by 1000 nats, the other right
        assert losses[0].item() == 500
        assert losses[1].item() == max(0, -size)


def test_equilibrium():
    undecided = logits(0.0, 0.0, 0.0)
    assert BCE.discriminator(undecided, undecided).item() == pytest.approx(math.log(2), abs=1e-12)
    assert BCE.generator(undecided).item() == pytest.approx(math.log(2), abs=1e-12)
    assert HINGE.discriminator(undecided, undecided).item() == 1
    half = undecided + 0.5  # least squares' undecided discriminator says 1/2
    assert LEAST_SQUARES.discriminator(half, half).item() == pytest.approx(0.25, abs=1e-12)


def test_hinge_teaches_nothing_beyond_its_margin():
    real, fake = logits(1.5, 0.5, requires_grad=True), logits(-1.5, -0.5, requires_grad=True)
    HINGE.discriminator(real, fake).backward()
    assert real.grad.tolist() == [0, -0.25]  # a mean over two, and half of the loss
    assert fake.grad.tolist() == [0, 0.25]


@pytest.mark.parametrize("name", ADVERSARIAL)
def test_each_side_pulls_its_own_way(name):
    real, fake = logits(0.2, requires_grad=True), logits(0.2, requires_grad=True)
    up, down = torch.autograd.grad(ADVERSARIAL[name].discriminator(real, fake), (real, fake))
    against = torch.autograd.grad(ADVERSARIAL[name].generator(fake), fake)[0]
    assert up < 0 < down  # minimizing raises the real logit and lowers the generated one,
    assert against < 0  # which the generator raises


@pytest.mark.parametrize("name", ADVERSARIAL)
def test_scalars_from_maps_of_different_sizes(name):
    pair = ADVERSARIAL[name]
    assert pair.discriminator(torch.randn(2, 1, 3, 4), torch.randn(5, 1, 2, 2)).shape == ()
    assert pair.generator(torch.randn(5, 1, 2, 2)).shape == ()
