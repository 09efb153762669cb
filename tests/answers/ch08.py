"""Answers to chapter 08."""

import torch
from torch import nn

from colorlab import color

MEAN = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
STD = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)


def place(step, pictures, batch_size):
    """As the loader counts."""
    return divmod(step, pictures // batch_size)


def by_counting(step, pictures, batch_size):
    """One batch after the other."""
    epoch = at = 0
    for _ in range(step):
        at += 1
        if (at + 1) * batch_size > pictures:
            epoch, at = epoch + 1, 0
    return [epoch, at]


def shorten(gradients, clip):
    """By torch's own."""
    tensors = [nn.Parameter(torch.zeros_like(x)) for x in gradients]
    for p, x in zip(tensors, gradients, strict=True):
        p.grad = x.clone()
    nn.utils.clip_grad_norm_(tensors, clip)
    return [p.grad for p in tensors]


def clip_step(scaled, scale, clip):
    """As the exercise asks."""
    return shorten([x / scale for x in scaled], clip)


def by_hand(scaled, scale, clip):
    """The limit grows with the scale."""
    norm = sum(x.square().sum() for x in scaled).sqrt()
    return tuple(x * min(1, clip * scale / norm) / scale for x in scaled)


def grey(L):
    """Grey sRGB, (B, 3, H, W)."""
    return color.decode(L, torch.zeros_like(L).expand(-1, 2, -1, -1)).clamp(0, 1)


def to_imagenet(L):
    """As the exercise asks."""
    return (grey(L) - MEAN) / STD


def by_formula(L):
    """From L* by hand: CIE's inverse, then sRGB's curve."""
    y = 50 * (L + 1)
    y = torch.where(y > 8, ((y + 16) / 116) ** 3, y / 903.3)
    srgb = torch.where(y > 0.0031308, 1.055 * y.clamp(min=1e-9) ** (1 / 2.4) - 0.055, 12.92 * y)
    return torch.cat([(srgb - m) / s for m, s in zip(MEAN.flatten(), STD.flatten(), strict=True)], dim=1)


HOURS = 120_000 * 15 / (1.8 * 200) / 3600
RIGHT = {
    "08.1": [["average", "step", "moments", "place"], "average, step, moments, place",
             {"A": "Average", "B": "step", "C": "moments", "D": "place"}],
    "08.2": [place, by_counting, lambda s, n, b: (s // (n // b), s % (n // b))],
    "08.3": [clip_step, by_hand],
    "08.4": [to_imagenet, by_formula],
    "08.5": [(HOURS, 4 * HOURS), [1.389, 5.556], torch.tensor([HOURS, 4 * HOURS])],
}  # fmt: skip
WRONG = {  # exercise → [(answer, a word that names the misconception)]
    "08.1": [
        (["moments", "step", "average", "place"], "Training never asks"),
        (["average", "moments", "step", "place"], "schedule"),
        (["average", "step", "place", "moments"], "kick"),
        (["average", "step", "moments", "moments"], "twice"),
        (["average", "step", "moments", "weights"], "none of"),
        (["average", "step"], "Four words"),
        (3, "Four words"),
    ],
    "08.2": [
        (lambda s, n, b: divmod(s, -(-n // b)), "dropped"),
        (lambda s, n, b: divmod(s * b, n), "not pictures"),
        (lambda s, n, b: (s * b // n, s * b % n // b), "leftover"),
        (lambda s, n, b: (s // (n // b), s % (n // b) * b), "multiply"),
        (lambda s, n, b: divmod(s, n), "not a picture"),
        (lambda s, n, b: (s // (n // b) + 1, s % (n // b)), "Epochs"),
        (lambda s, n, b: (s // (n // b), s % (n // b) + 1), "Places"),
        (lambda s, n, b: divmod(s, n // b)[::-1], "other way round"),
        (lambda s, n, b: (s / (n // b), s % (n // b)), "Whole"),
        (lambda s, n, b: (0, s), "Count them"),
        (lambda s, n, b: s // (n // b), "Two numbers"),
        ((3, 1), "function itself"),
    ],
    "08.3": [
        (lambda g, s, c: [x / s for x in shorten(g, c)], "Unscale first"),
        (lambda g, s, c: shorten(g, c), "still scaled"),
        (lambda g, s, c: shorten(g, c * s), "limit must grow"),
        (lambda g, s, c: [x / s for x in g], "not clipped"),
        (lambda g, s, c: [shorten([x / s], c)[0] for x in g], "by itself"),
        (lambda g, s, c: [x / s * c / (torch.cat([y.flatten() / s for y in g]).norm()) for x in g], "longer"),
        (lambda g, s, c: [(x / s).clamp(-c, c) for x in g], "clamped"),
        (lambda g, s, c: shorten([x * s for x in g], c), "divides"),
        (lambda g, s, c: [0 * x for x in g], "min(1"),
        (lambda g, s, c: g[0], "list"),
        (lambda g, s, c: g[:1], "number and shapes"),
    ],
    "08.4": [
        (lambda L: L.expand(-1, 3, -1, -1), "as it is"),
        (lambda L: (L - MEAN) / STD, "too dark"),
        (lambda L: ((L + 1) / 2 - MEAN) / STD, "lightness is not sRGB"),
        (grey, "not yet normalised"),
        (lambda L: (255 * grey(L) - MEAN) / STD, "255"),
        (lambda L: grey(L) - MEAN, "nothing divided"),
        (lambda L: grey(L) / STD, "not subtracted"),
        (lambda L: (grey(L) - MEAN) * STD, "Multiplied"),
        (lambda L: (grey(L) - MEAN.flip(0)) / STD.flip(0), "blue"),
        (lambda L: (50 * (L + 1) - MEAN) / STD, "L* in 0"),
        (lambda L: (grey(L)[:, :1] - 0.485) / 0.229, "One channel"),
        (lambda L: to_imagenet(L)[0], "is wanted"),
        (lambda L: to_imagenet(L).numpy(), "tensor is wanted"),
        (lambda L: 0 * grey(L), "channel by channel"),
    ],
    "08.5": [
        ((HOURS / 15, 1), "epoch"),
        ((HOURS * 60, 1), "minutes"),
        ((HOURS * 3600, 1), "seconds"),
        ((HOURS * 1.8, 1), "one machine's time"),
        ((HOURS * 0.9, 1), "not twice"),
        ((HOURS * 1.8**2, 1), "divides"),
        ((HOURS / 2, 1), "of each"),
        ((7, 1), "Hours:"),
        ((HOURS, 2 * HOURS), "both are paid"),
        ((HOURS, 2 * 1.8 * HOURS), "alone"),
        ((HOURS, 4 * 1.8 * HOURS), "one machine's hours"),
        ((HOURS, 99), "times machines"),
        (HOURS, "pair"),
    ],
}  # fmt: skip
SIGNS = {"exported": "average", "L1 alone": "step", "second jumps": "moments", "already the first": "place"}
REDRAWN = {  # exercise → a right answer, from what a variant starts from
    "08.1": lambda shown: [part for words in shown for sign, part in SIGNS.items() if sign in words],
    "08.5": lambda run: ((h := run[0] * run[1] / run[2] / 3600 / 1.8), 2 * h * run[3]),
}
