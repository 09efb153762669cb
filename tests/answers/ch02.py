"""Answers to chapter 02."""

import functools
import hashlib
import random
import zlib
from fractions import Fraction

import numpy as np
import torch
from PIL import Image

from colorlab import color, data, inference, metrics
from colorlab.panels.ch02 import hue_spread
from colorlab.world import ColorWorld


def batch(pixels):
    """(H, W, 3) uint8 → (1, 3, H, W) in [0, 1]."""
    return torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255


def by_skimage(pixels):
    """L by somebody else's conversion."""
    from skimage.color import rgb2lab

    return torch.from_numpy(rgb2lab(pixels)[None, None, ..., 0] / 50 - 1).float()


def pillow(pixels):
    """Pillow's "L", 0 to 255."""
    return torch.from_numpy(np.asarray(Image.fromarray(pixels).convert("L")).copy())[None, None].float()


def rec709(pixels):
    """Luma of sRGB values with the weights for light, 0 to 1."""
    from skimage.color import rgb2gray

    return torch.from_numpy(rgb2gray(pixels))[None, None].float()


def in_steps(pixels, steps):
    """The right L*, rounded to so many steps from black to white, as L."""
    return (color.rgb_to_lab(batch(pixels))[:, :1] / 100 * steps).round() / steps * 2 - 1


def of_grey(pixels):
    """L of the grey picture of the same L*, which has 8 bits."""
    return color.encode(batch(inference.grey_pixels(pixels)[..., None].repeat(3, 2)))[0]


def refuses(paths):
    """A split whose own code fails."""
    raise ValueError("math domain error")


def luminance(pixels):
    """Light, 0 to 1."""
    return (color.srgb_to_linear(batch(pixels)) * torch.tensor([0.2127, 0.7152, 0.0722]).view(1, 3, 1, 1)).sum(1, True)


def by(place):
    """A split from a function path → [0, 1)."""

    def split(paths):
        parts = {"train": [], "valid": [], "test": []}
        for path in paths:
            at = place(path)
            parts["valid" if at < 0.05 else "test" if at < 0.1 else "train"].append(path)
        return parts

    return split


def in_order(arrange):
    """A split that cuts a list after arranging it."""

    def split(paths):
        paths = arrange(list(paths))
        k = round(0.05 * len(paths))
        return {"valid": paths[:k], "test": paths[k : 2 * k], "train": paths[2 * k :]}

    return split


def shuffled(paths, seed=0):
    """The usual way."""
    return [paths[i] for i in np.random.default_rng(seed).permutation(len(paths))]


def torch_shuffled(paths):
    """What random_split does."""
    return [paths[i] for i in torch.randperm(len(paths), generator=torch.Generator().manual_seed(0))]


def drawn_in_order(paths):
    """One number for each file, in the order in which they come."""
    rng = np.random.default_rng(0)
    return by(lambda path: rng.random())(paths)


def every_twentieth(paths):
    """By position."""
    return {"valid": paths[::20], "test": paths[1::20], "train": [p for i, p in enumerate(paths) if i % 20 > 1]}


@functools.cache
def jump(steps=1000):
    """The least share of grey pictures at which the roof's median is no longer red, found by trying."""
    for g in np.linspace(0, 1, steps + 1):
        table = [(p * (1 - g), ab) for p, ab in ColorWorld().distribution("roof")] + [(g, (0.0, 0.0))]
        if ColorWorld(distributions={"roof": table}).median("roof")[0] < 40:
            return g


def ab_of(rgb):
    """(2, H, W) in Lab units."""
    return color.encode(rgb[None])[1][0] * color.AB_SCALE


def chroma(rgb):
    """Mean chroma."""
    return metrics.mean_chroma(color.encode(rgb[None])[1]).item()


def by_spread(rgb):
    """Another measure of many hues: the lesser spread of the cloud of (a*, b*) around grey."""
    ab = ab_of(rgb).flatten(1)
    return torch.linalg.eigvalsh(ab @ ab.T / ab.shape[1])[0] > 1.3**2


def by_angles(rgb):
    """Another one: how much of the chroma cancels in the mean, besides the chroma itself."""
    ab = ab_of(rgb).flatten(1)
    return chroma(rgb) >= 4 and (1 - ab.sum(1).norm() / ab.norm(dim=0).sum()).item() > 0.003


def residual(rgb):
    """What is left of ab once its mean is taken away."""
    ab = ab_of(rgb)
    return (ab - ab.mean((1, 2), keepdim=True)).norm(dim=0).mean().item()


def deviations(rgb):
    """The standard deviations of a and of b."""
    return ab_of(rgb).flatten(1).std(1)


def saturation(rgb):
    """HSV's S."""
    return ((rgb.amax(0) - rgb.amin(0)) / rgb.amax(0).clamp(min=1e-6)).mean().item()


RIGHT = {
    "02.1": [
        lambda p: color.encode(batch(p))[0],
        lambda p: color.rgb_to_lab(batch(p).double())[:, :1] / 50 - 1,
        by_skimage,
    ],
    "02.2": [
        data.split,
        by(lambda path: zlib.crc32(path.name.encode()) / 2**32),
        by(lambda path: int(hashlib.md5(path.name.encode()).hexdigest(), 16) % 1000 / 1000),
        by(lambda path: random.Random(path.name).random()),
    ],
    "02.3": [{"flip", "crop", "tilt"}, ["tilt", "crop", "flip"], ("crop", "tilt", "flip")],
    "02.4": [1 / 6, 0.17, 0.167, jump(), jump(100), torch.tensor(1 / 6), Fraction(1, 6), np.float32(1 / 6)],
    "02.5": [
        lambda rgb: chroma(rgb) >= 4 and hue_spread(rgb) >= 1,
        lambda rgb: hue_spread(rgb) > 1,
        by_spread,
        by_angles,
        lambda rgb: np.bool_(chroma(rgb) > data.GREY_CHROMA and hue_spread(rgb) > 0.5),
    ],
}
WRONG = {  # exercise → [(answer, a word that names the misconception)]
    "02.1": [
        (lambda p: pillow(p) / 255, "luma"),
        (lambda p: pillow(p), "luma"),
        (lambda p: pillow(p) / 127.5 - 1, "luma"),
        (lambda p: (batch(p) * torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1, True), "luma"),
        (lambda p: color.encode((pillow(p) / 255).expand(1, 3, -1, -1))[0], "L* of Pillow's grey"),
        (lambda p: color.rgb_to_lab(batch(p))[:, :1] / 100, "L*/100"),
        (lambda p: color.rgb_to_lab(batch(p))[:, :1], "0 to 100"),
        (lambda p: color.rgb_to_lab(batch(p))[:, :1] / 50, "− 1 is missing"),
        (lambda p: batch(p).mean(1, True), "mean of red"),
        (lambda p: batch(p).mean(1, True) * 2 - 1, "mean of red"),
        (lambda p: batch(p).amax(1, True), "HSV"),
        (lambda p: (batch(p).amax(1, True) + batch(p).amin(1, True)) / 2, "HSL"),
        (lambda p: batch(p)[:, 1:2], "one channel"),
        (luminance, "light itself"),
        (rec709, "Rec. 709"),
        (lambda p: rec709(p) * 2 - 1, "Rec. 709"),
        (lambda p: color.encode(torch.from_numpy(p).reshape(1, 3, *p.shape[:2]).float() / 255)[0], "permute(2, 0, 1)"),
        (lambda p: color.encode(batch(p[..., ::-1].copy()))[0], "BGR"),
        (lambda p: (color.encode(batch(p).flip(1))[0] + 1) * 50, "BGR"),
        (lambda p: in_steps(p, 255), "rounded"),
        (lambda p: in_steps(p, 100), "rounded"),
        (of_grey, "rounded"),
        (lambda p: color.encode(batch(p) * 255)[0], "divide by 255"),
        (lambda p: color.encode(batch(p)), "L alone"),
        (lambda p: color.encode(batch(p))[1], "one channel"),
        (lambda p: color.encode(batch(p))[0][0], "one batch"),
        (lambda p: color.encode(batch(p))[0].flip(3), "values are not"),
        (lambda p: color.encode(batch(p))[0].numpy(), "not a tensor"),
        (lambda p: color.encode(batch(p))[0].long(), "whole numbers"),
        (lambda p: None, "`return`"),
        (lambda p: ..., "still returns"),
        (lambda p: 1 / 0, "ZeroDivisionError"),
        (0.5, "function itself"),
    ],
    "02.2": [
        (in_order(shuffled), "an index"),
        (in_order(torch_shuffled), "an index"),
        (in_order(lambda paths: shuffled(sorted(paths))), "an index"),
        (drawn_in_order, "an index"),
        (every_twentieth, "an index"),
        (in_order(sorted), "position"),
        (in_order(list), "position"),
        (in_order(lambda paths: random.sample(paths, len(paths))), "afresh"),
        (by(lambda path: random.random()), "afresh"),
        (by(lambda path: hash(path.name) % 1000 / 1000), "salted"),
        (by(lambda path: hash(path) % 1000 / 1000), "salted"),
        (by(lambda path: hash((path.name, 0)) % 1000 / 1000), "salted"),
        (by(lambda path: zlib.crc32(str(path).encode()) / 2**32), "whole path"),
        (by(lambda path: len(path.name) / 40), "5 %"),
        (by(lambda path: 0.5), "5 %"),
        (by(lambda path: ord(path.name[0]) % 100 / 100), "a camera named"),
        (by(lambda path: sum(map(ord, path.name)) % 100 / 100), "5 %"),
        (refuses, "could not be checked: ValueError: math domain error"),
        (lambda paths: {"train": paths, "valid": paths[:100], "test": paths[100:200]}, "in two parts"),
        (lambda paths: {"train": paths[200:], "valid": paths[:100], "test": []}, "every path"),
        (lambda paths: by(lambda name: zlib.crc32(name.encode()) / 2**32)([p.name for p in paths]), "as it came"),
        (lambda paths: (paths[200:], paths[:100], paths[100:200]), "dict"),
        (lambda paths: None, "`return`"),
        ({"train": [], "valid": [], "test": []}, "function itself"),
    ],
    "02.3": [
        ({"flip", "crop", "tilt", "hue_jitter"}, "every hue"),
        ({"hue_jitter"}, "every hue"),
        ({"flip", "crop"}, "tilt is missing"),
        ({"crop", "tilt"}, "mirrored"),
        ({"flip", "tilt"}, "part of a pair"),
        ({"flip", "crop", "tilt", "random_grey"}, "no colour"),
        ({"flip", "crop", "tilt", "channel_swap"}, "six colours"),
        ({"flip", "crop", "tilt", "invert"}, "negative"),
        (set(), "flip is missing"),
        ({"mirror"}, "Unknown"),
        ("flip", "set of names"),
        (3, "set of names"),
    ],
    "02.4": [
        (0.5, "every roof"),
        (0.1, "loses its share"),
        (0.6, "red's own share"),
        (0.4, "blue roofs"),
        (5 / 6, "may have colour"),
        (16.7, "percent"),
        (17, "percent"),
        (Fraction(100, 6), "percent"),
        (Fraction(1, 2), "every roof"),
        (True, "number"),
        (0.375, "as frequent"),
        (0.2, "smaller steps"),
        (0.3, "find the jump"),
        ("a sixth", "number"),
    ],
    "02.5": [
        (lambda rgb: chroma(rgb) >= 4, "yet all is one hue"),
        (lambda rgb: chroma(rgb) >= 4 and hue_spread(rgb) >= 2, "close together"),
        (lambda rgb: hue_spread(rgb) > 1.5, "close together"),
        (lambda rgb: residual(rgb) > 4.5, "distance from the mean colour"),
        (lambda rgb: residual(rgb) > 3, "distance from the mean colour"),
        (lambda rgb: deviations(rgb).sum().item() > 5, "standard deviation"),
        (lambda rgb: deviations(rgb).max().item() > 4, "standard deviation"),
        (lambda rgb: chroma(rgb) >= 4 and deviations(rgb).min().item() > 1.5, "standard deviation"),
        (lambda rgb: chroma(rgb) > 0.5, "paper"),
        (lambda rgb: not (torch.equal(rgb[0], rgb[1]) and torch.equal(rgb[1], rgb[2])), "paper"),
        (lambda rgb: chroma(rgb) >= 20, "pale is not grey"),
        (lambda rgb: ab_of(rgb).mean((1, 2)).norm().item() > 4, "cancel"),
        (lambda rgb: saturation(rgb) > 0.1, "Saturation"),
        (lambda rgb: rgb.std().item() > 0.05, "equal everywhere"),
        (lambda rgb: not (chroma(rgb) >= 4 and hue_spread(rgb) >= 1), "wrong way round"),
        (lambda rgb: True, "to everything"),
        (lambda rgb: False, "to everything"),
        (lambda rgb: chroma(rgb), "True or False"),
        (lambda rgb: None, "`return`"),
        (True, "function itself"),
        (lambda rgb: 1 / 0, "ZeroDivisionError"),
    ],
}
