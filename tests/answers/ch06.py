"""Answers to chapter 06."""

import math

import torch
from torch.nn import functional as F

from colorlab import losses, metrics
from colorlab.patchgan import PatchGANConfig, receptive_field

bce = F.binary_cross_entropy_with_logits


def labels(real, fake, loss=bce, of_real=1.0, of_fake=0.0, **options):
    """The two halves, each map against its label."""
    return loss(real, torch.full_like(real, of_real), **options), loss(fake, torch.full_like(fake, of_fake), **options)


def in_one(real, fake):
    """Both maps in one batch."""
    logits = torch.cat([real, fake])
    return bce(logits, torch.cat([torch.ones_like(real), torch.zeros_like(fake)]))


def by_probability(real, fake):
    """The logarithm of the sigmoid, which is lost where the sigmoid is 0."""
    return (-torch.log(torch.sigmoid(real)).mean() - torch.log(1 - torch.sigmoid(fake)).mean()) / 2


def squeezed(real, fake):
    """A sigmoid too many."""
    return sum(labels(torch.sigmoid(real), torch.sigmoid(fake))) / 2


def scattered(L, ab):
    """Every picture's pixels in a random order."""
    order = torch.randperm(ab[0, 0].numel(), generator=torch.Generator().manual_seed(0))
    return ab.flatten(2)[:, :, order].view_as(ab)


def by_parts(L, ab):
    """The first half of the batch moves behind the second."""
    half = len(ab) // 2
    return torch.cat([ab[half:], ab[:half]])


def half_moved(L, ab):
    """Only the first two change places."""
    order = [1, 0, *range(2, len(ab))]
    return ab[order]


def least(gap, wide, first=1):
    """The smallest number of layers, by trying."""
    layers = first
    while receptive_field(layers) < gap + wide:
        layers += 1
    return layers


RIGHT = {
    "06.1": [142, receptive_field(4), 142.0, torch.tensor(142)],
    "06.2": [
        lambda layers: receptive_field(layers) - 2**layers,
        lambda layers: 8 * 2**layers - 2,
        lambda layers: torch.tensor(receptive_field(layers) - 2**layers),
        lambda layers: [0, 12, 28, 60, 124, 252][layers] + 2,
    ],
    "06.3": [
        lambda real, fake: sum(labels(real, fake)) / 2,
        lambda real, fake: (F.softplus(-real).mean() + F.softplus(fake).mean()) / 2,
        lambda real, fake: (-F.logsigmoid(real).mean() - F.logsigmoid(-fake).mean()) / 2,
        in_one,
        losses.BCE.discriminator,
    ],
    "06.4": [
        lambda L, ab: ab.roll(1, 0),
        lambda L, ab: ab.roll(-1, dims=0),
        lambda L, ab: torch.cat([ab[1:], ab[:1]]),
        by_parts,
        lambda L, ab: metrics.shuffled(ab),
    ],
    "06.5": [
        least,
        lambda gap, wide: next(n for n in range(1, 30) if receptive_field(n) >= gap + wide),
        lambda gap, wide: max(1, math.ceil(math.log2((gap + wide + 2) / 9))),
    ],
}
REDRAWN = {"06.1": lambda its: receptive_field(its[0])}
WRONG = {  # exercise → [(answer, a word that names the misconception)]
    "06.1": [
        (24, "kernels added"),
        (19, "strides are missing"),
        (14, "size of the map"),
        (196, "how many logits"),
        (16, "how far apart"),
        (64, "Kernel times strides"),
        (142**2, "area"),
        (52, "backward"),
        (140, "twice"),
        (70, "layers=3"),
        (286, "layers=5"),
        (256, "whole picture"),
        (100, "Begin at the logit"),
        ("142", "number is wanted"),
    ],
    "06.2": [
        (lambda layers: 0, "tiles"),
        (lambda layers: receptive_field(layers) - 1, "not one"),
        (lambda layers: receptive_field(layers) - 2 * layers, "multiply"),
        (lambda layers: receptive_field(layers) - 2, "not always 2"),
        (lambda layers: receptive_field(layers) - 2 ** (layers + 2), "stride 1"),
        (lambda layers: receptive_field(layers) // 2, "half"),
        (lambda layers: 2**layers, "the rest"),
        (receptive_field, "whole patch"),
        (lambda layers: 2, "toy"),
        (lambda layers: 3, "last layer"),
        (lambda layers: receptive_field(layers) * (receptive_field(layers) - 2**layers), "area"),
        (lambda layers: 30, "is right"),
        (lambda layers: None, "`return` missing"),
        (lambda layers: str(layers), "number is wanted"),
        (30, "function itself"),
    ],
    "06.3": [
        (squeezed, "sigmoid before"),
        (lambda real, fake: (F.softplus(-real.mean()) + F.softplus(fake.mean())) / 2, "Loss of the mean"),
        (lambda r, f: (F.softplus(-r.mean((1, 2, 3))).mean() + F.softplus(f.mean((1, 2, 3))).mean()) / 2, "in each picture"),
        (lambda real, fake: sum(labels(real, fake, of_real=0.0, of_fake=1.0)) / 2, "other way round"),
        (lambda real, fake: sum(labels(real, fake, of_fake=1.0)) / 2, "same label"),
        (lambda real, fake: sum(labels(real, fake)), "sum of both"),
        (lambda real, fake: sum(labels(real, fake, reduction="sum")) / 2, "grow with the map"),
        (lambda real, fake: sum(labels(real, fake, reduction="sum")), "patches of both"),
        (lambda real, fake: sum(labels(real, fake, reduction="none")) / 2, "scalar is wanted"),
        (lambda real, fake: labels(real, fake)[0], "true colours alone"),
        (lambda real, fake: labels(real, fake.requires_grad_())[1], "generated colours alone"),
        (lambda real, fake: losses.BCE.generator(fake.requires_grad_()), "generator's loss"),
        (losses.HINGE.discriminator, "hinge"),
        (losses.LEAST_SQUARES.discriminator, "least-squares"),
        (lambda real, fake: -losses.BCE.discriminator(real, fake), "sign"),
        (lambda real, fake: losses.BCE.discriminator(real, fake).item(), "no gradient"),
        (lambda real, fake: losses.BCE.discriminator(real, fake).detach(), "no gradient"),
        (by_probability, "small logits"),
        (lambda real, fake: sum(labels(torch.sigmoid(real), torch.sigmoid(fake), F.binary_cross_entropy)) / 2, "small logits"),
        (lambda real, fake: losses.BCE.discriminator(real, fake) + 1, "off by 1"),
        (lambda real, fake: sum(labels(real, fake, F.binary_cross_entropy)) / 2, "could not be checked"),
        (lambda real, fake: None, "`return` missing"),
        (lambda real, fake: ..., "yours to do"),
        (0.693, "function itself"),
    ],
    "06.4": [
        (lambda L, ab: ab, "Nothing is false"),
        (lambda L, ab: ab.flip(3), "chimney"),
        (lambda L, ab: ab.roll(1, 0).flip(3), "chimney"),
        (lambda L, ab: ab.flip(2), "Upside down"),
        (lambda L, ab: torch.zeros_like(ab), "One colour"),
        (lambda L, ab: ab.mean((2, 3), keepdim=True).expand_as(ab), "One colour"),
        (scattered, "outlines"),
        (lambda L, ab: ab.roll(5, 3), "outlines"),
        (lambda L, ab: -ab, "palette"),
        (lambda L, ab: ab.flip(1), "palette"),
        (lambda L, ab: ab[:1].expand_as(ab), "used twice"),
        (half_moved, "kept their own"),
        (lambda L, ab: ab.flip(0), "kept their own"),
        (lambda L, ab: (ab + ab.roll(1, 0)) / 2, "not colours of true scenes"),
        (lambda L, ab: L, "should be a tensor"),
        (lambda L, ab: None, "`return` missing"),
        (torch.zeros(6, 2, 32, 32), "function itself"),
    ],
    "06.5": [
        (lambda gap, wide: least(gap, 0), "left edge to left edge"),
        (lambda gap, wide: least(gap, 2 * wide), "One width too many"),
        (lambda gap, wide: least(gap, wide + 1), "exactly that size"),
        (lambda gap, wide: least(gap, wide, first=0), "layers=0"),
        (lambda gap, wide: least(gap, -wide), "between them"),
        (lambda gap, wide: receptive_field(least(gap, wide)), "side of the patch"),
        (lambda gap, wide: gap + wide, "how many pixels"),
        (lambda gap, wide: math.ceil(math.log2(gap + wide)), "step from patch to patch"),
        (lambda gap, wide: least(gap, wide) - 1, "still too small"),
        (lambda gap, wide: 3, "too large for others"),
        (lambda gap, wide: 2, "is right"),
        (lambda gap, wide: PatchGANConfig(layers=least(gap, wide)), "number is wanted"),
        (2, "function itself"),
    ],
}  # fmt: skip
