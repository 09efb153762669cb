"""The sliders of chapter 03: the safest answers to a colour that grey does not tell, and what a bolder answer costs."""

import functools
import math

import numpy as np
import torch
from PIL import Image

from colorlab import color, world
from colorlab.panels import panel
from colorlab.panels.sheet import FINE, INK, MARK, PALE, PAPER, Sheet, height
from colorlab.widgets import Effect, Panel, Slider

_NAMES = ("red", "blue", "green")  # of a balloon's colours, in ColorWorld's order
_RANGE = 80.0  # the plane shows a* and b* from −80 to 80


_WORLD = world.ColorWorld(16)
_REAL, _MEAN = _WORLD.distribution("balloon"), _WORLD.mean("balloon")
_LIGHT = sum(_WORLD.lightness("balloon")) / 2 / color.L_SCALE - 1  # the L at which answers are painted


def _paint(ab: tuple[float, float]) -> tuple[int, int, int]:
    """A colour (a*, b*) at a balloon's lightness, as 8-bit sRGB."""
    L = torch.full((1, 1, 1, 1), _LIGHT)
    fitted, _ = color.fit_gamut(L, torch.tensor(ab).view(1, 2, 1, 1) / color.AB_SCALE)
    return tuple((color.decode(L, fitted).clamp(0, 1) * 255).round().int().flatten().tolist())


def _nearest(answer: tuple[float, float], distribution: world.Distribution) -> float:
    """Distance in the a*b* plane to the nearest colour that can occur."""
    return min(math.dist(answer, ab) for p, ab in distribution if p > 0)


def _pair(ab: tuple[float, float]) -> str:
    return f"({round(ab[0])}, {round(ab[1])})"


def _balloon(sheet: Sheet, x: float, y: float, fill) -> None:
    """A balloon with its basket, its middle at (x, y)."""
    for side in (-14, 14):
        sheet.line([(x + 2.5 * side, y + 58), (x + side, y + 96)], PALE, 1)
    sheet.box(x - 15, y + 94, x + 15, y + 112, (90, 74, 56))
    sheet.disc(x, y, 66, 74, fill, INK)


@functools.cache
def _plane(side: int) -> Image.Image:
    """The a*b* plane at a balloon's lightness, b* upwards; pale, so that marks stand out; white where sRGB has no colour."""
    axis = torch.linspace(-_RANGE, _RANGE, side)
    ab = torch.stack([axis.expand(side, side), axis.flip(0)[:, None].expand(side, side)])[None] / color.AB_SCALE
    L = torch.full((1, 1, side, side), _LIGHT)
    rgb = color.decode(L, ab)
    there = ((rgb >= 0) & (rgb <= 1)).all(1, keepdim=True)
    pale = torch.where(there, 0.55 * rgb + 0.45, torch.ones_like(rgb))
    return Image.fromarray((pale[0].clamp(0, 1) * 255).byte().permute(1, 2, 0).numpy())


def _distribution(p: float, third: float) -> world.Distribution:
    """Red with probability p against blue; with a third colour, green takes its own share and the two divide the rest."""
    colors, green = [ab for _, ab in _REAL], _REAL[2][0] * third
    return list(zip((p * (1 - green), (1 - p) * (1 - green), green), colors, strict=True))


def _answers(distribution: world.Distribution) -> tuple[tuple[float, float], tuple[float, float]]:
    """The best answers to L2 and to L1."""
    its = world.ColorWorld(16, distributions={"balloon": distribution})
    return its.mean("balloon"), its.median("balloon")


_L2_AT, _L1_AT = (100, 262), (272, 262)  # middles of the two balloons, (x, y)


def _draw_answers(p: float, third: float) -> np.ndarray:
    distribution = _distribution(p, third)
    l2, l1 = _answers(distribution)
    sheet = Sheet(720, 440)
    sheet.text(20, 8, "The colours that balloons really have; width = probability")
    x = 20.0
    for (share, ab), name in zip(distribution, _NAMES, strict=True):
        if share > 0:
            sheet.box(x, 32, x + 680 * share, 100, _paint(ab))
            if share > 0.12:
                sheet.text(x + 340 * share, 66, f"{name} {100 * share:.0f} %", 17, "white", "mm")
        x += 680 * share
    for (at, middle), name, answer in zip((_L2_AT, _L1_AT), ("L2: the mean", "L1: the median"), (l2, l1), strict=True):
        sheet.text(at, 132, name, 17, anchor="ma")
        _balloon(sheet, at, middle, _paint(answer))
        sheet.text(at, 384, f"(a*, b*) = {_pair(answer)}", anchor="ma")
        sheet.text(at, 406, f"{_nearest(answer, distribution):.0f} from a real colour", anchor="ma")
    left, top, side = 390, 122, 310
    sheet.paste(_plane(side * FINE), left, top)
    middle = side / 2

    def place(ab: tuple[float, float]) -> tuple[float, float]:
        return left + middle * (1 + ab[0] / _RANGE), top + middle * (1 - ab[1] / _RANGE)

    sheet.line([(left, top + middle), (left + side, top + middle)], PALE, 1)
    sheet.line([(left + middle, top), (left + middle, top + side)], PALE, 1)
    sheet.text(left + side - 4, top + middle + 3, "a*", anchor="ra")
    sheet.text(left + middle + 5, top + 3, "b*")
    for (share, ab), name in zip(distribution, _NAMES, strict=True):
        if share > 0:
            sheet.disc(*place(ab), 4 + 16 * share**0.5, 4 + 16 * share**0.5, _paint(ab), "white")
            sheet.text(place(ab)[0], place(ab)[1] + (30 if ab[1] > 0 else -30), name, anchor="mm")
    for answer, name, up in ((l2, "L2", -11), (l1, "L1", 11)):
        x, y = place(answer)
        sheet.disc(x, y, 6, 6, PAPER if name == "L2" else INK, INK)
        sheet.text(x - 20, y + up, name, 16, anchor="rm")
    return sheet.pixels()


def _tell_answers(p: float, third: float) -> str:
    distribution = _distribution(p, third)
    told = []
    for name, answer in zip(("L2", "L1"), _answers(distribution), strict=True):
        off = _nearest(answer, distribution)
        told.append(f"{name} answers ({answer[0]:.1f}, {answer[1]:.1f}), {off:.0f} from the nearest real colour")
    return "; ".join(told) + "."


def _redness(at: tuple[int, int]):
    """How far a balloon's colour is on the way from blue to red: its red minus its blue byte, in its middle."""
    return lambda shown: float(shown[at[1], at[0], 0]) - float(shown[at[1], at[0], 2])


def _greens(shown: np.ndarray) -> float:
    """Share of the bar of real colours that is green."""
    bar = shown[36:50, 20:700].astype(int)
    return float((bar[..., 1] > bar[..., [0, 2]].max(axis=2)).mean())


@panel("03.safest_answer")
def safest_answer() -> Panel:
    """What L2 and L1 answer when a balloon is red with probability p, else blue, or green at times. Chapter 03."""
    return Panel(
        _draw_answers,
        {
            "p": Slider("red against blue (probability)", 0, 1, 0.6, 0.05),
            "third": Slider("a third colour, green", 0, 1, 0, 1, ("off", "on")),
        },
        "Move the probability slowly through 0.5: L2 glides through colours that no balloon has, L1 stays, and jumps. Then "
        "switch green on: between one third and two thirds L1 answers a colour that no balloon has either.",
        "A bar of the colours that balloons have; two balloons painted with the best answers to L2 and to L1; and the a*b* "
        "plane with the real colours and both answers.",
        (
            Effect("p", "moves L2's answer from blue to red", _redness(_L2_AT), (0, 0.25, 0.5, 0.75, 1)),
            Effect("p", "makes L1's answer jump from blue to red at one half", _redness(_L1_AT), (0.4, 0.6)),
            Effect("third", "gives green its share", _greens, (0, 1)),
        ),
        _tell_answers,
    )


def _error(guess: tuple[float, float]) -> float:
    """Expected squared error of a guess at a balloon's colour, in Lab units squared."""
    return sum(p * math.dist(guess, ab) ** 2 for p, ab in _REAL)


def _towards(share: float, real: float) -> tuple[float, float]:
    """The colour at this share of the way from the mean to a real colour."""
    return tuple(m + share / 100 * (end - m) for m, end in zip(_MEAN, _REAL[int(real)][1], strict=True))


def _draw_blend(share: float, real: float) -> np.ndarray:
    guess, name = _towards(share, real), _NAMES[int(real)]
    sheet = Sheet(720, 380)
    sheet.text(105, 42, "the guess", 17, anchor="ma")
    _balloon(sheet, 105, 162, _paint(guess))
    sheet.text(105, 288, f"(a*, b*) = {_pair(guess)}", anchor="ma")
    sheet.text(105, 310, f"{_nearest(guess, _REAL):.0f} from a real colour", anchor="ma")
    left, right, top, bottom, most = 300, 690, 50, 318, 12000

    def place(at: float, error: float) -> tuple[float, float]:
        return left + (right - left) * at / 100, bottom - (bottom - top) * error / most

    sheet.text(left - 62, 12, "expected squared error (Lab units squared)")
    for tick in (0, 4000, 8000, 12000):
        sheet.line([place(0, tick), place(100, tick)], (222, 222, 222), 1)
        sheet.text(left - 8, place(0, tick)[1], f"{tick}", anchor="rm")
    floor = _error(_towards(0, 0))
    for level, words in ((floor, "the floor: no guess does better"), (2 * floor, "a true colour drawn at random")):
        for dash in range(0, 100, 4):
            sheet.line([place(dash, level), place(dash + 2, level)], PALE)
        sheet.text(left + 8, place(0, level)[1] + (6 if level == floor else -20), words)
    for other in range(3):
        path = [place(at, _error(_towards(at, other))) for at in range(0, 101, 2)]
        sheet.line(path, INK if other == int(real) else (190, 190, 190), 3 if other == int(real) else 2)
    sheet.disc(*place(share, _error(guess)), 8, 8, MARK)
    for at, words, anchor in ((0, "the mean", "la"), (100, f"a real {name}", "ra")):
        sheet.text(place(at, 0)[0], bottom + 8, words, anchor=anchor)
    sheet.text((left + right) / 2, bottom + 32, "share of the way (%)", anchor="ma")
    return sheet.pixels()


def _tell_blend(share: float, real: float) -> str:
    guess = _towards(share, real)
    error, floor = _error(guess), _error(_towards(0, 0))
    return (
        f"The guess ({guess[0]:.1f}, {guess[1]:.1f}) is {_nearest(guess, _REAL):.0f} from a real colour; expected squared "
        f"error {error:.0f}, {error / floor:.2f} times the floor."
    )


@panel("03.blend")
def blend() -> Panel:
    """What it costs in squared error to leave the mean for a colour that balloons really have. Chapter 03."""
    return Panel(
        _draw_blend,
        {
            "share": Slider("from the mean to a real colour (%)", 0, 100, 0, 5),
            "real": Slider("the real colour", 0, 2, 0, 1, _NAMES),
        },
        "Move the guess away from the mean: the balloon becomes believable, and the expected error grows all the way. Which "
        "colour is the dearest to guess?",
        "A balloon painted with a guess between the mean and a real colour, and the curve of its expected squared error, "
        "lowest at the mean.",
        (
            Effect("share", "raises the expected squared error", height, (0, 25, 50, 75, 100)),
            Effect("real", "takes a real colour farther from the mean, which costs more", height, (0, 1, 2), {"share": 100}),
        ),
        _tell_blend,
    )
