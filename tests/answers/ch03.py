"""Answers to chapter 03."""

import math

import numpy as np
import torch

from answers import late
from colorlab.exercises.ch03 import FESTIVAL, VILLAGE
from colorlab.world import NEAR, ColorWorld

ROOF = VILLAGE
BALLOON = ColorWorld(16).distribution("balloon")


def sliding(distribution):
    """The L1 answer by trying every whole number in each channel."""
    best = []
    for channel in (0, 1):
        cost = {g: sum(p * abs(ab[channel] - g) for p, ab in distribution) for g in range(-110, 111)}
        best.append(min(cost, key=cost.get))
    return best


def errors(power=2, guess=None):
    """Distances of the roof's colours to a guess (default: the mean), to a power: [(probability, value)]."""
    guess = ColorWorld(16, distributions={"roof": ROOF}).mean("roof") if guess is None else guess
    return [(p, math.dist(ab, guess) ** power) for p, ab in ROOF]


def drawn(kind="roof", scenes=400):
    """The floor as it is measured: the mean squared distance of a kind's pixels to their known mean."""
    world = ColorWorld(32, distributions={"roof": ROOF})
    some = world.sample(scenes, start=0)
    pixels = 110 * some.ab.movedim(1, -1)[some.kind == world.kinds.index(kind)]
    return (pixels - torch.tensor(world.mean(kind))).square().sum(1).mean().item()


def redraws(count=4, scenes=1000):
    """The squared error of the average of some redraws over the known mean's, measured on balloons."""
    world = ColorWorld(32)
    some = world.sample(scenes, start=1_000_000)
    balloon = some.kind == world.kinds.index("balloon")
    guess = torch.stack([world.recolor(some, seed).ab for seed in range(count)]).mean(0)
    truth, guess = (110 * x.movedim(1, -1)[balloon] for x in (some.ab, guess))
    floor = (truth - torch.tensor(world.mean("balloon"))).square().sum(1).mean()
    return ((truth - guess).square().sum(1).mean() / floor).item()


def by_torch(guesses, distribution):
    """Share near a real colour, with tensors."""
    colours = torch.tensor([ab for _, ab in distribution])
    return (torch.cdist(guesses, colours).min(dim=1).values <= 20).float().mean()


def by_loop(guesses, distribution):
    """Share near a real colour, by hand."""
    hits = sum(any(math.dist(guess, ab) <= NEAR for p, ab in distribution if p > 0) for guess in guesses.tolist())
    return hits / len(guesses)


def distances(guesses, distribution):
    """Of each guess to each colour."""
    return torch.cdist(guesses, torch.tensor([ab for _, ab in distribution]))


def channels(guesses, distribution):
    """Of each guess to each colour, channel by channel."""
    return (guesses[:, None] - torch.tensor([ab for _, ab in distribution])).abs()


def of_mean(guesses, distribution):
    """Share near the mean."""
    mean = torch.tensor([sum(p * ab[c] for p, ab in distribution) for c in (0, 1)])
    return ((guesses - mean).norm(dim=1) <= 20).float().mean()


FLOOR = sum(p * x for p, x in errors())
RIGHT = {
    "03.1": [(5, 20), torch.tensor(ColorWorld(16, distributions={"balloon": FESTIVAL}).median("balloon")),
             late(lambda: sliding(FESTIVAL)), np.array([[5.0, 20.0]])],
    "03.2": [FLOOR, 0.7 * 0.3 * math.dist(ROOF[0][1], ROOF[1][1]) ** 2, late(lambda: drawn(scenes=3000)), torch.tensor(FLOOR)],
    "03.3": [1.25, 5 / 4, late(redraws), late(lambda: redraws(scenes=1500))],
    "03.4": [by_torch, by_loop, lambda g, d: round(by_loop(g, d), 3),
             lambda g, d: (distances(g, d) <= 20).any(1).double().mean().item()],
    "03.5": [
        [(0.45, (-50, 48)), (0.15, (40, 0)), (0.40, (50, -40))],
        ((0.3, (30, 5)), (0.36, (-45, 40)), (0.34, (40, -45))),
        [(0.1, (10.0, -30.0)), (0.46, (15.0, -65.0)), (0.44, (-50, 48))],
    ],
}  # fmt: skip
WRONG = {  # exercise → [(answer, a word that names the misconception)]
    "03.1": [
        ((30, 2.25), "L2's answer"),
        ((5, -50), "likeliest"),
        ((60, 20), "nothing asks for a real colour"),
        ((32.5, 32.5), "counted once"),
        ((32.5, 17.5), "forgets the probabilities"),
        ((20, 5), "changed places"),
        ((5 / 110, 20 / 110), "networks' units"),
        ((5, 55), "a* is right"),
        ((0, 20), "b* is right"),
        ((-7, 3), "Sort"),
        (5, "pair"),
        ((float("nan"), 20), "b* is right"),
        ("ochre", "pair"),
    ],
    "03.2": [
        (0, "No amount of training"),
        (sum(x for _, x in errors()), "multiply by its probability"),
        (sum(x for _, x in errors()) / 2, "counted alike"),
        (math.dist(ROOF[0][1], ROOF[1][1]) ** 2 / 4, "half-way"),
        (sum(p * x for p, x in errors(2, ROOF[1][1])), "rarer"),
        (sum(p * x for p, x in errors(2, (0, 0))), "grey"),
        (1366.56, "60 to 40"),
        (math.sqrt(FLOOR), "root"),
        (FLOOR / 2, "two channels"),
        (sum(p * x for p, x in errors(1)), "mean distance"),
        (math.dist(ROOF[0][1], ROOF[1][1]) ** 2, "between the two colours"),
        (math.dist(ROOF[0][1], ROOF[1][1]), "squared"),
        (sum(p * x for p, x in errors(2, ROOF[0][1])), "as L1 does"),
        (2 * FLOOR, "redraw"),
        (FLOOR / 110**2, "multiply by 110²"),
        (late(lambda: sum(p * math.dist(ab, ColorWorld(16).mean("balloon")) ** 2 for p, ab in BALLOON)), "balloons' floor"),
        (77, "mean of the two colours"),
        ([1366], "number"),
    ],
    "03.3": [
        (2, "one redraw"),
        (1, "A higher PSNR is not a truer picture"),
        (0, "A higher PSNR is not a truer picture"),
        (1.5, "two redraws"),
        (4 / 3, "three"),
        (1.15, "luck"),
        (1.36, "luck"),
        (0.8, "turn the fraction"),
        (0.5, "below the floor"),
        (0.25, "add 1"),
        (1.118, "roots"),
        (0.969, "decibels"),
        (5, "a quarter of one's"),
        (late(lambda: 1.25 * drawn("balloon", 2000)), "itself"),
        (3, "Split the error"),
        (float("nan"), "Split the error"),
        ("more", "number"),
    ],
    "03.4": [
        (lambda g, d: (distances(g, d) <= 20).all(1).float().mean(), "every"),
        (of_mean, "near the mean"),
        (lambda g, d: by_torch(g / 110, d), "divided by 110"),
        (lambda g, d: 0.0, "every set"),
        (lambda g, d: float("nan"), "is right, got nan"),
        (lambda g, d: (channels(g, d) <= 20).any(1).all(1).float().mean(), "the ochre counts"),
        (lambda g, d: (channels(g, d) <= 20).all(2).any(1).float().mean(), "square"),
        (lambda g, d: (channels(g, d).sum(2) <= 20).any(1).float().mean(), "as L1 does"),
        (lambda g, d: (distances(g, d) ** 2 <= 20).any(1).float().mean(), "root is missing"),
        (lambda g, d: (distances(g, d) <= 20).float().sum() / len(g), "twice"),
        (lambda g, d: ((distances(g, d) <= 20).float() @ torch.tensor([p for p, _ in d])).mean(), "rare balloon"),
        (lambda g, d: (distances(g, d) <= 20).any(1).sum(), "Divide by their number"),
        (lambda g, d: 100 * by_loop(g, d), "percent"),
        (lambda g, d: 1 - by_loop(g, d), "none"),
        (lambda g, d: by_loop(g, [max(d)]), "likeliest"),
        (lambda g, d: by_loop(110 * g, d), "110"),
        (lambda g, d: (distances(g, d) <= 10).any(1).float().mean(), "least is 20"),
        (lambda g, d: (distances(g, d) <= 20).any(1), "take the mean"),
        (lambda g, d: ..., "still returns"),
        (lambda g, d: None, "`return` missing"),
        (lambda g: 1, "TypeError"),
        (0.5, "function itself"),
    ],
    "03.5": [
        ([(0.45, (40, 0)), (0.15, (-50, 48)), (0.40, (50, -40))], "the likeliest colour"),
        ([(0.45, (-50, 48)), (0.40, (40, 0)), (0.15, (50, -40))], "not the rarest"),
        (BALLOON, "put together"),
        ([(0.4, (-50, 48)), (0.2, (0, 0)), (0.4, (50, -40))], "which is near"),
        (ROOF, "got 2"),
        ([(0.6, (-50, 48)), (0.15, (40, 0)), (0.25, (50, -40))], "more than half"),
        ([(0.4, (-50, 48)), (0.3, (40, 0)), (0.3, (50, -40))], "equally rare"),
        ([(0.45, (-50, 48)), (0.15, (40, 0)), (0.3, (50, -40))], "sum to 1"),
        ([(0.45, (-90, 48)), (0.15, (40, 0)), (0.4, (50, -40))], "sRGB"),
        ([0.45, 0.15, 0.4], "must be given as"),
        ("red", "list of three"),
        (ColorWorld(16), "the list `mine`"),
        ([(0.45, (-50, 48)), (0.15, (-50, 48)), (0.2, (40, 0)), (0.2, (40, 0))], "more than once"),
        ([(0.5, (-50, 48)), (0.1, (40, 0)), (0.4, (50, -40))], "exactly one half"),
    ],
}  # fmt: skip
REDRAWN = {  # exercise → a right answer, from what a variant starts from
    "03.1": sliding,
    "03.2": lambda table: table[0][0] * table[1][0] * math.dist(table[0][1], table[1][1]) ** 2,
}
