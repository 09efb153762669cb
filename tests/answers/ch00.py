"""Answers to chapter 00."""

import functools
import math

import numpy as np
import torch

from answers import late
from colorlab import color, colorize, metrics, photos


def by_hand(pixels):
    """Another right answer to 00.1, without permute."""
    return torch.stack([torch.tensor(pixels[..., c] / 255.0) for c in range(3)]).unsqueeze(0)


@functools.cache
def flower(name="flower"):
    """ab of a sample photograph: as it is coloured, and as it was taken."""
    sample = photos.sample(name)
    return [color.encode(photos.load_rgb(picture)[None])[1] for picture in (colorize(sample), sample)]


def by_numpy(ab):
    """Mean chroma, without the library."""
    return np.hypot(*ab[0].numpy()).mean()


def of_flower(measure=lambda ab: metrics.mean_chroma(ab).item(), name="flower"):
    """A measure of both."""
    return [measure(ab) for ab in flower(name)]


RIGHT = {
    "00.1": [lambda p: torch.from_numpy(p).permute(2, 0, 1)[None].float() / 255, by_hand],
    "00.2": [12, torch.tensor(12.0), 12.0, np.float32(12)],
    "00.3": [0.881, torch.sigmoid(torch.tensor(2.0)), 1 / (1 + np.exp(-2.0))],
    "00.4": [late(lambda: of_flower()[0] / of_flower()[1]), late(lambda: of_flower(by_numpy)[0] / of_flower(by_numpy)[1])],
}
WRONG = {  # exercise → [(answer, a word that names the misconception)]
    "00.1": [
        (lambda p: torch.from_numpy(p).permute(2, 0, 1).float() / 255, "batch dimension"),
        (lambda p: torch.from_numpy(p)[None].float() / 255, "last"),
        (lambda p: torch.from_numpy(p).float() / 255, "last"),
        (lambda p: torch.from_numpy(p).reshape(1, 3, 4, 6).float() / 255, "torn apart"),
        (lambda p: torch.from_numpy(p).permute(2, 0, 1)[None].float(), "divide by 255"),
        (lambda p: torch.from_numpy(p).permute(2, 0, 1)[None], "whole numbers"),
        (lambda p: torch.from_numpy(p).permute(2, 1, 0)[None].float() / 255, "changed places"),
        (lambda p: torch.from_numpy(p).permute(2, 0, 1)[None].float() / 256, "Divide by 255"),
        (lambda p: torch.from_numpy(p).permute(2, 0, 1)[None].float() / 127.5 - 1, "−1 to 1"),
        (lambda p: torch.from_numpy(p).permute(2, 0, 1)[None].half() / 255, "Half precision"),
        (lambda p: torch.from_numpy(p).reshape(1, 3, 4, 6).float(), "torn apart"),
        (lambda p: torch.from_numpy(p).permute(2, 0, 1)[None].float().flip(1) / 255, "values are not"),
        (lambda p: None, "`return` missing"),
        (lambda p: p, "not a tensor"),
        (lambda p: torch.zeros(2, 2), "shape should be"),
        (lambda p: 1 / 0, "ZeroDivisionError"),
        (torch.zeros(1, 3, 4, 6), "function itself"),
    ],
    "00.2": [(6, "adds"), (9, "value"), (36, "multiply"), (18, "values added"), (0, "never clears"), (7, "by hand"),
             ("twelve", "number")],
    "00.3": [(2, "not a probability"), (0.119, "sign"), (0.5, "cannot tell"), (0.731, "sigmoid(1)"), (0.707, "twice"),
             (88.08, "percent"), (0.964, "tanh"), (1, "Clipping"),
             (7.389, "odds"), (0.3, "Apply"), (None, "number")],
    "00.4": [
        (late(lambda: 100 * of_flower()[0] / of_flower()[1]), "percent"),
        (late(lambda: 1 - of_flower()[0] / of_flower()[1]), "lost"),
        (late(lambda: of_flower()[1] / of_flower()[0]), "turn the fraction"),
        (late(lambda: of_flower()[0]), "alone"),
        (late(lambda: of_flower()[1]), "below the line"),
        (late(lambda: of_flower(lambda ab: ab.mean().item())[0] / of_flower(lambda ab: ab.mean().item())[1]), "cancel"),
        (1.0, "with itself"),
        ("much", "number"),
    ],
}  # fmt: skip
REDRAWN = {  # exercise → a right answer, from what a variant starts from
    "00.3": lambda z: math.exp(z) / (1 + math.exp(z)),
    "00.4": lambda name: of_flower(by_numpy, name)[0] / of_flower(by_numpy, name)[1],
}
