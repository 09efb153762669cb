"""Answers to chapter 01."""

import math

import numpy as np
import skimage.color
import torch

from answers import late
from colorlab import color, photos


def grey(byte):
    """L* of a grey, with scikit-image."""
    return skimage.color.rgb2lab(np.full((1, 1, 3), byte / 255))[0, 0, 0]


def lightness(light):
    return 116 * light ** (1 / 3) - 16


def code(L, ab):
    """The way there, by mistake."""
    return torch.cat([L / 50 - 1, ab / 110], dim=1)


def back(light, colour):
    """A function L, ab → lab from one for each part."""
    return lambda L, ab: torch.cat([light(L), colour(ab)], dim=1)


def right_light(L):
    return (L + 1) * 50


def right_colour(ab):
    return ab * 110


def by_slices(L, ab):
    lab = torch.empty(len(L), 3, *L.shape[2:])
    lab[:, 0], lab[:, 1], lab[:, 2] = 50 * L[:, 0] + 50, 110 * ab[:, 0], 110 * ab[:, 1]
    return lab


def in_place(L, ab):
    L += 1
    ab *= 110
    return torch.cat([L * 50, ab], dim=1)


def exists(rgb):
    return ((rgb > -1e-4) & (rgb < 1 + 1e-4)).all(1, keepdim=True)


def by_steps(L, ab, steps=100):
    """Chroma lowered in equal steps, until the colour exists."""
    factor = torch.ones_like(L)
    for k in range(steps, -1, -1):
        factor = torch.where(exists(color.decode(L, ab * factor)), factor, k / steps)
    return color.decode(L, ab * factor).clamp(0, 1)


def by_halving(L, ab):
    low, high = torch.zeros_like(L), torch.ones_like(L)
    for _ in range(20):
        middle = (low + high) / 2
        there = exists(color.decode(L, ab * middle))
        low, high = torch.where(there, middle, low), torch.where(there, high, middle)
    return color.decode(L, ab * low)


def by_pixel(L, ab):
    """One pixel after another, 2 % less each time, rounded to 8 bits in the end."""
    out = color.decode(L, ab)
    for n in range(L.shape[0]):
        for y in range(L.shape[2]):
            for x in range(L.shape[3]):
                at, factor = (slice(n, n + 1), slice(None), slice(y, y + 1), slice(x, x + 1)), 1.0
                while not exists(color.decode(L[at], ab[at] * factor)):
                    factor *= 0.98
                out[at] = color.decode(L[at], ab[at] * factor)
    return (out.clamp(0, 1) * 255).round() / 255


def few_halvings(L, ab, steps=3):
    """Bisection that stops early, or late enough."""
    low, high = torch.zeros_like(L), torch.ones_like(L)
    for _ in range(steps):
        middle = (low + high) / 2
        there = exists(color.decode(L, ab * middle))
        low, high = torch.where(there, middle, low), torch.where(there, high, middle)
    return color.decode(L, torch.where(exists(color.decode(L, ab)), ab, ab * low)).clamp(0, 1)


def by_direction(L, ab, least=0.0):
    """The largest chroma along each pixel's own direction, which a grey does not have."""
    chroma = torch.linalg.vector_norm(ab, dim=1, keepdim=True).clamp(min=least)
    low, high = torch.zeros_like(chroma), chroma.clone()
    for _ in range(16):
        middle = (low + high) / 2
        there = exists(color.decode(L, ab / chroma * middle))
        low, high = torch.where(there, middle, low), torch.where(there, high, middle)
    return color.decode(L, ab / chroma * low).clamp(0, 1)


def clipped(L, ab):
    return color.decode(L, ab).clamp(0, 1)


def one_factor(L, ab):
    """The same factor everywhere: what the worst pixel needs."""
    for k in range(200, -1, -1):
        if exists(color.decode(L, ab * k / 200)).all():
            return color.decode(L, ab * k / 200)
    return color.decode(L, ab * 0)


def grey_where_outside(L, ab):
    return color.decode(L, ab * exists(color.decode(L, ab))).clamp(0, 1)


def squeezed(L, ab):
    """Each pixel's channels brought into [0, 1] together."""
    rgb = color.decode(L, ab)
    low, high = rgb.amin(1, keepdim=True).clamp(max=0), rgb.amax(1, keepdim=True).clamp(min=1)
    return (rgb - low) / (high - low)


def towards_grey(L, ab):
    """Mixed with its own grey in RGB until it exists."""
    rgb, own = color.decode(L, ab), color.decode(L, ab * 0)
    factor = torch.ones_like(L)
    for k in range(100, -1, -1):
        factor = torch.where(exists(own + (rgb - own) * factor), factor, k / 100)
    return (own + (rgb - own) * factor).clamp(0, 1)


def towards_grey_in_light(L, ab):
    """The same with light instead of sRGB values: L* stays, hue does not."""
    light, own = color.srgb_to_linear(color.decode(L, ab)), color.srgb_to_linear(color.decode(L, ab * 0))
    factor = torch.ones_like(L)
    for k in range(100, -1, -1):
        factor = torch.where(exists(own + (light - own) * factor), factor, k / 100)
    return color.linear_to_srgb(own + (light - own) * factor).clamp(0, 1)


def per_channel(L, ab):
    """a and b each lowered alone."""
    rgb = color.decode(L, ab)
    for k in range(100, -1, -1):
        rgb = torch.where(exists(rgb), rgb, color.decode(L, torch.cat([ab[:, :1], ab[:, 1:] * k / 100], 1)))
    return torch.where(exists(rgb), rgb, color.decode(L, ab * 0)).clamp(0, 1)


def clipped_with_old_light(L, ab):
    """Clip, then put the old L back: a step that leaves the gamut again."""
    return color.decode(L, color.encode(clipped(L, ab))[1])


def timid(L, ab):
    _, share = color.fit_gamut(L, ab)
    fitted, _ = color.fit_gamut(L, ab)
    return color.decode(L, torch.where((fitted != ab).any(1, keepdim=True), fitted * 0.4, ab))


def lab_of(name="china"):
    return color.rgb_to_lab(photos.sample(name).rgb[None])[0].flatten(1).double()


def share(spread, name="china"):
    """A spread of each channel → (a + b) / (L + a + b)."""
    L, a, b = (spread(x).item() for x in lab_of(name))
    return (a + b) / (L + a + b)


def by_covariance():
    values = np.linalg.eigvalsh(np.cov(lab_of().numpy()))
    return 1 - lab_of()[0].var().item() / values.sum()


def by_skimage():
    lab = skimage.color.rgb2lab(photos.sample("china").rgb.permute(1, 2, 0).numpy()).reshape(-1, 3)
    return lab[:, 1:].var(axis=0).sum() / lab.var(axis=0).sum()


LIGHT = 0.502886  # of grey 188

RIGHT = {
    "01.1": [76.25, torch.tensor(lightness(LIGHT)), late(lambda: grey(188)), 76.3, 76.2],
    "01.2": [53.24, lightness(0.212671), late(lambda: skimage.color.rgb2lab([[[1.0, 0.0, 0.0]]])[0, 0, 0]), 53.2],
    "01.3": [
        back(right_light, right_colour),
        by_slices,
        color.code_to_lab,
        lambda L, ab: torch.cat([50 * L + 50, ab * 110], dim=-3),
        lambda L, ab: torch.cat([L.double() + 1, ab], 1) * torch.tensor([50.0, 110.0, 110.0]).view(1, 3, 1, 1),
    ],
    "01.4": [
        by_steps,
        by_halving,
        by_pixel,
        lambda L, ab: few_halvings(L, ab, 16),
        lambda L, ab: by_direction(L, ab, 1e-6),
        lambda L, ab: by_steps(L, ab, 30),
        lambda L, ab: color.decode(L, color.fit_gamut(L, ab)[0]),
        lambda L, ab: color.decode(L, color.fit_gamut(L, ab)[0]).clamp(0, 1),
    ],
    "01.5": [late(lambda: share(torch.var)), late(by_covariance), late(by_skimage), 0.188],
}
WRONG = {  # exercise → [(answer, a word that names the misconception)]
    "01.1": [
        (73.7, "100 times the sRGB value"),
        (100 * 188 / 255, "100 times the sRGB value"),
        (0.737, "neither light nor lightness"),
        (50.3, "in percent of white's"),
        (50, "in percent of white's"),
        (0.503, "still has to go through"),
        (53.6, "grey 128, the chapter's example"),
        (79.5, "116 times it"),
        (92.25, "minus 16"),
        (88.8, "cube root was taken of the sRGB value"),
        (lightness((188 / 255) ** 2.2), "plain power of 2.2"),
        (454, "straight piece"),
        (0.525, "L*/50 − 1"),
        (0.7625, "not from 0 to 1"),
        (188, "byte"),
        (76, "One decimal"),
        (60, "undo the transfer curve"),
        (float("nan"), "undo the transfer curve"),
        ("light", "number"),
        (True, "number"),
    ],
    "01.2": [
        (29.9, "luma"),
        (0.299, "luma"),
        (76.245, "luma in bytes"),
        (61.6, "luma's weight"),
        (late(lambda: skimage.color.xyz2lab([[[0.0, 0.212671 * 255, 0.0]]])[0, 0, 0]), "division by 255"),
        (late(lambda: lightness(0.212671 * ((255 + 0.055) / 1.055) ** 2.4)), "division by 255"),
        (21.27, "light, in percent"),
        (21.26, "light, in percent"),
        (0.2127, "share of white's"),
        (100 / 3, "mean of the channels"),
        (50, "HSL"),
        (100, "HSV"),
        (80.09, "a*"),
        (67.2, "b*"),
        (104.55, "chroma"),
        (59.7, "116 times it"),
        (69.24, "minus 16"),
        (0.0648, "L*/50 − 1"),
        (53.6, "grey 128"),
        (53, "One decimal"),
        (32.3, "blue"),
        (87.7, "green"),
        (7, "row of Y"),
        ([53.24, 80.09], "number"),
    ],
    "01.3": [
        (back(right_light, lambda ab: ab * 128), "not /128"),
        (back(right_light, lambda ab: ab * 127), "not /127"),
        (back(lambda L: L * 100, right_colour), "not L*/100"),
        (back(lambda L: (L + 1) * 100, right_colour), "white 200"),
        (back(lambda L: L * 50, right_colour), "the 1 is missing"),
        (back(lambda L: L * 50 + 1, right_colour), "bracket"),
        (back(lambda L: (L - 1) * 50, right_colour), "sign"),
        (back(lambda L: (L + 1) / 2, right_colour), "from 0 to 1"),
        (back(lambda L: L, right_colour), "still L"),
        (back(right_light, lambda ab: ab), "still divided"),
        (back(right_light, lambda ab: ab * 100), "not by 100"),
        (back(right_light, lambda ab: ab * 50), "scale of their own"),
        (back(right_light, lambda ab: (ab + 1) * 110), "0 for grey"),
        (back(right_light, lambda ab: ab.flip(1) * 110), "changed places"),
        (code, "way there"),
        (lambda L, ab: torch.cat([ab * 110, (L + 1) * 50], dim=1), "first channel"),
        (lambda L, ab: ((L + 1) * 50, ab * 110), "two things"),
        (lambda L, ab: torch.cat([(L + 1) * 50, ab * 110], dim=1)[0], "shape should be"),
        (lambda L, ab: torch.cat([(L + 1) * 50, ab * 110]), "unless told dim=1"),
        (lambda L, ab: torch.cat([(L + 1) * 50, ab * 110], dim=2), "RuntimeError"),
        (lambda L, ab: torch.cat([(L + 1) * 50, ab * 110], dim=1).numpy(), "not a tensor"),
        (color.decode, "one step too far"),
        (in_place, "in place"),
        (back(lambda L: L * 3, right_colour), "values are not"),
        (lambda L, ab: None, "`return` missing"),
        (lambda L, ab: ..., "yours to do"),
        (lambda lab: lab, "TypeError"),
        (torch.zeros(1, 3, 2, 2), "function itself"),
    ],
    "01.4": [
        (clipped, "clipping"),
        (color.decode, "Nothing was done"),
        (lambda L, ab: color.decode(L, ab * 0).clamp(0, 1), "Every pixel is grey"),
        (grey_where_outside, "became grey"),
        (squeezed, "scaling in RGB"),
        (towards_grey, "grey in sRGB values"),
        (lambda L, ab: color.decode(L, ab).div(2).add(0.25).clamp(0, 1), "have to stay"),
        (one_factor, "factor of its own"),
        (towards_grey_in_light, "grey in light"),
        (few_halvings, "chroma that could have stayed"),
        (lambda L, ab: by_steps(L, ab, 10), "chroma that could have stayed"),
        (by_direction, "not finite"),
        (lambda L, ab: by_halving(L, ab) * 255, "bytes"),
        (lambda L, ab: (by_halving(L, ab).clamp(0, 1) * 255).byte(), "bytes"),
        (per_channel, "have to stay"),
        (clipped_with_old_light, "still outside"),
        (lambda L, ab: color.decode(L, ab.clamp(-0.5, 0.5)), "still outside"),
        (lambda L, ab: color.decode(L * 0.8, color.fit_gamut(L * 0.8, ab)[0]), "have to stay"),
        (lambda L, ab: clipped(*color.encode(clipped(L, ab))), "clipping"),
        (timid, "chroma that could have stayed"),
        (lambda L, ab: color.fit_gamut(L, ab)[0], "two channels"),
        (color.fit_gamut, "not a picture"),
        (lambda L, ab: clipped(L, ab)[0], "shape should be"),
        (lambda L, ab: color.decode(L, ab) / 0, "not finite"),
        (lambda L, ab: None, "`return` missing"),
        (lambda L, ab: ..., "yours to do"),
        (0.5, "function itself"),
    ],
    "01.5": [
        (late(lambda: 1 - share(torch.var)), "which is given"),
        (late(lambda: 100 * share(torch.var)), "percent"),
        (2 / 3, "numbers"),
        (late(lambda: share(torch.var) / (1 - share(torch.var))), "over L* alone"),
        (late(lambda: 1 / share(torch.var) - 1), "a* and b*. What"),
        (late(lambda: share(torch.std)), "standard deviations"),
        (late(lambda: share(lambda x: x.square().mean())), "mean squares"),
        (late(lambda: (lab_of()[1].var() / lab_of().var(1).sum()).item()), "a* alone"),
        (late(lambda: (lab_of()[2].var() / lab_of().var(1).sum()).item()), "b* alone"),
        (late(lambda: share(torch.var, "flower")), "variance of each channel"),
        (0.0455, "scales differ"),
        (math.inf, "variance of each channel"),
        ("less", "number"),
    ],
}  # fmt: skip
REDRAWN = {  # exercise → a right answer, from what a variant starts from
    "01.1": grey,
    "01.2": lambda byte: skimage.color.rgb2lab([[[byte / 255, 0.0, 0.0]]])[0, 0, 0],
    "01.5": lambda name: share(torch.var, name),
}
