"""The adversarial losses, on logits. Knows only torch.

Each is a pair: what the discriminator minimises, given its logits for real and for generated colours, and what
the generator minimises, given the discriminator's logits for its own. The discriminator's is the mean of its real
and its generated half, so that a discriminator that cannot tell scores log 2 = 0.693 under `BCE`.

>>> import torch
>>> undecided = torch.zeros(1)
>>> round(BCE.discriminator(undecided, undecided).item(), 3)
0.693
"""

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor
from torch.nn import functional as F


class Adversarial(NamedTuple):
    """A pair of losses: `discriminator(real_logits, fake_logits)` and `generator(fake_logits)`, scalars. Chapter 05."""

    discriminator: Callable[[Tensor, Tensor], Tensor]
    generator: Callable[[Tensor], Tensor]


# Goodfellow et al. 2014, non-saturating: softplus(−x) = −log sigmoid(x), computed without ever taking log of 0.
BCE = Adversarial(
    lambda real, fake: (F.softplus(-real).mean() + F.softplus(fake).mean()) / 2,
    lambda fake: F.softplus(-fake).mean(),
)
# Mao et al. 2017, least squares: real is 1, generated is 0.
LEAST_SQUARES = Adversarial(
    lambda real, fake: ((real - 1).square().mean() + fake.square().mean()) / 2,
    lambda fake: (fake - 1).square().mean(),
)
# Lim & Ye 2017, hinge: a logit that is right by more than 1 teaches the discriminator nothing more.
HINGE = Adversarial(
    lambda real, fake: (F.relu(1 - real).mean() + F.relu(1 + fake).mean()) / 2,
    lambda fake: -fake.mean(),
)
ADVERSARIAL = {"bce": BCE, "least_squares": LEAST_SQUARES, "hinge": HINGE}
