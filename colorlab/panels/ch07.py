"""The sliders of chapter 07: how much truth, λ; and whether a generator draws lots. Both show what `tools/ablate.py` has kept."""

import functools
import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from colorlab import color, world
from colorlab.panels import panel
from colorlab.panels.sheet import FINE, INK, MARK, PALE, Sheet, height
from colorlab.widgets import Effect, Panel, Slider

_KEPT = Path(__file__).parents[1] / "results" / "ch07.json"
_SIZE, _SCENE = 32, 1_000_021  # of the scenes in _KEPT's pictures; the number of the first
_WEIGHTS = {name: f"λ = {name}" for name in ("0", "2", "10", "50", "100", "300", "1000")}  # slider → a variant's name in _KEPT
_WEIGHTS |= {"50": "full", "L1 alone": "l1 alone"}
_LAST = len(_WEIGHTS) - 1
_NAMES = ("red", "blue", "green")  # of a balloon's colours, in ColorWorld's order
_NUDGE = 8  # pixels to either side


@functools.cache
def results() -> dict[str, dict]:
    """What was measured of every run of `tools/ablate.py`: {"full:0": {"near": …, "chroma": …, …}, …}, a variant and a seed."""
    return json.loads(_KEPT.read_text())


@functools.cache
def _pictures() -> dict[str, torch.Tensor]:
    """What runs of seed 0 painted: name → ab (n, 2, 32, 32)."""
    with np.load(_KEPT.with_suffix(".npz")) as kept:
        return {name: torch.from_numpy(kept[name]).float() / 127 for name in kept.files}


def _said(weight: float, letter: str = "λ") -> str:
    name = list(_WEIGHTS)[int(weight)]
    return name if name == "L1 alone" else f"{letter} = {name}"


@functools.cache
def _scenes() -> world.Scenes:
    return world.ColorWorld(_SIZE).sample(3, start=_SCENE)


def _enlarged(L: torch.Tensor, ab: torch.Tensor, side: int) -> Image.Image:
    """A scene (1, 32, 32) and its colours (2, 32, 32), each pixel a square, at `side` pixels of the final size."""
    rgb = color.decode(L[None], color.fit_gamut(L[None], ab[None])[0])[0].clamp(0, 1)
    picture = Image.fromarray((255 * rgb).round().byte().movedim(0, -1).numpy())
    return picture.resize((side * FINE, side * FINE), Image.Resampling.NEAREST)


_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 640, 300, 440  # of the chart
_LEAST, _MOST = 15.0, 19.0  # dB


def _at(place: float, share: float) -> tuple[float, float]:
    """A point of the chart: the how-manieth λ, and how high from 0 to 1."""
    return _LEFT + (_RIGHT - _LEFT) * place / _LAST, _BOTTOM - (_BOTTOM - _TOP) * share


def _draw_weight(weight: float) -> np.ndarray:
    chosen = list(_WEIGHTS.values())[int(weight)]
    sheet = Sheet(720, 500)
    for n in range(3):
        sheet.paste(_enlarged(_scenes().L[n], _pictures()[f"{chosen} scenes"][n], 216), 20 + 232 * n, 34)
    sheet.text(20, 8, f"Three scenes, painted after training with {_said(weight, 'lambda')}")  # the font has no λ
    sheet.text(_LEFT, _TOP - 28, "share near a real colour (solid, left)")
    sheet.text(_RIGHT + 60, _TOP - 28, "PSNR in dB (dashed, right)", anchor="ra")
    for tick in (0, 0.5, 1):
        sheet.line([_at(0, tick), _at(_LAST, tick)], (222, 222, 222), 1)
        sheet.text(_LEFT - 12, _at(0, tick)[1], f"{tick:g}", anchor="rm")
        sheet.text(_RIGHT + 12, _at(0, tick)[1], f"{_LEAST + tick * (_MOST - _LEAST):g}", anchor="lm")
    near = [_at(k, results()[f"{variant}:0"]["near"]) for k, variant in enumerate(_WEIGHTS.values())]
    db = [results()[f"{variant}:0"]["psnr"] for variant in _WEIGHTS.values()]
    psnr = [_at(k, (x - _LEAST) / (_MOST - _LEAST)) for k, x in enumerate(db)]
    sheet.line(near)
    for (x0, y0), (x1, y1) in zip(psnr, psnr[1:], strict=False):
        for dash in range(0, 10, 2):
            ends = [(x0 + (x1 - x0) * t / 10, y0 + (y1 - y0) * t / 10) for t in (dash, dash + 1)]
            sheet.line(ends, (90, 90, 90))
    for k, name in enumerate(_WEIGHTS):
        sheet.text(_at(k, 0)[0], _BOTTOM + 10, name, anchor="ma")
    sheet.text((_LEFT + _RIGHT) / 2, _BOTTOM + 34, "lambda", 15, anchor="ma")
    sheet.disc(*near[int(weight)], 7, 7, INK)
    sheet.disc(*psnr[int(weight)], 7, 7, MARK)
    return sheet.pixels()


def _tell_weight(weight: float) -> str:
    variant = list(_WEIGHTS.values())[int(weight)]
    row = results()[f"{variant}:0"]
    return (
        f"{_said(weight)}: PSNR {row['psnr']:.1f} dB; {row['near']:.0%} of balloons near a real colour; chroma "
        f"{row['chroma']:.2f} of the truth's."
    )


@panel("07.weight")
def weight() -> Panel:
    """What λ buys, and what it costs: PSNR against the share of balloons that have a real colour. Chapter 07."""
    return Panel(
        _draw_weight,
        {"weight": Slider("λ", 0, _LAST, 3, 1, tuple(_WEIGHTS))},
        "Move λ to the right: the PSNR rises. Which colour do the balloons have then, and where do they turn ochre?",
        "Three painted scenes; below, over λ, two curves: PSNR, which rises, and the share of real colours, which falls late.",
        (Effect("weight", "raises the PSNR", height, tuple(range(_LAST + 1))),),
        _tell_weight,
    )


def _balloon(ab: torch.Tensor, by: int = 0) -> tuple[float, float]:
    """The mean (a*, b*) of the balloon in the first scene, which stands `by` pixels to the right."""
    where = (_scenes().kind[0] == world.KINDS.index("balloon")).roll(by, 1)
    return tuple((color.AB_SCALE * ab[:, where].mean(1)).tolist())


def _word(ab: tuple[float, float]) -> str:
    """The real colour that this is near, if any."""
    for name, (_, real) in zip(_NAMES, world.ColorWorld(16).distribution("balloon"), strict=True):
        if (ab[0] - real[0]) ** 2 + (ab[1] - real[1]) ** 2 <= world.NEAR**2:
            return name
    return "no balloon's colour"


def _answers(nudge: float, draw: float) -> list[tuple[torch.Tensor, torch.Tensor, tuple[float, float]]]:
    """(L, ab, the balloon's colour): of the deterministic generator with the scene moved, and of the one with noise."""
    L, by = _scenes().L[0], int(nudge)
    moved, drawn = _pictures()["λ = 2 nudged"][by + _NUDGE], _pictures()["noise draws"][int(draw) - 1]
    return [(L.roll(by, 2), moved, _balloon(moved, by)), (L, drawn, _balloon(drawn))]


def _draw_dice(nudge: float, draw: float) -> np.ndarray:
    sheet = Sheet(720, 440)
    titles = ("deterministic: the scene moved", "with noise z: drawn again")
    for n, (title, (L, ab, found)) in enumerate(zip(titles, _answers(nudge, draw), strict=True)):
        left = 20 + 350 * n
        sheet.text(left, 8, title, 17)
        sheet.paste(_enlarged(L, ab, 320), left, 36)
        flat = torch.tensor(found).view(2, 1, 1) / color.AB_SCALE
        light = torch.full((1, 1, 1), sum(world.ColorWorld(16).lightness("balloon")) / 2 / color.L_SCALE - 1)
        rgb = color.decode(light[None], color.fit_gamut(light[None], flat[None])[0])[0].clamp(0, 1)
        sheet.box(left, 370, left + 90, 426, tuple((255 * rgb).round().int().flatten().tolist()), PALE)
        sheet.text(left + 104, 376, f"balloon ({found[0]:.0f}, {found[1]:.0f})")
        sheet.text(left + 104, 402, _word(found))
    return sheet.pixels()


def _tell_dice(nudge: float, draw: float) -> str:
    first, second = (found for _, _, found in _answers(nudge, draw))
    return (
        f"Deterministic, scene moved by {nudge:.0f} pixels: balloon ({first[0]:.0f}, {first[1]:.0f}), {_word(first)}. "
        f"With noise, draw {draw:.0f}: ({second[0]:.0f}, {second[1]:.0f}), {_word(second)}."
    )


def _redness(left: int):
    """Red minus blue byte of the swatch under a picture."""
    return lambda shown: float(shown[400, left + 40, 0]) - float(shown[400, left + 40, 2])


def _extremes(side: int, values: range) -> tuple[int, int]:
    """The slider's values at which one picture's balloon is bluest, and reddest: b* is what tells them apart."""
    found = {value: _answers(*((value, 1) if side == 0 else (0, value)))[side][2] for value in values}
    return tuple(pick(found, key=lambda value: found[value][0] + found[value][1]) for pick in (min, max))


@panel("07.dice")
def dice() -> Panel:
    """Whether the balloon's colour changes: with the scene's place, or with another draw of z. Chapter 07."""
    return Panel(
        _draw_dice,
        {
            "nudge": Slider("move the scene (pixels)", -_NUDGE, _NUDGE, 0, 1),
            "draw": Slider("draw z again (number of the draw)", 1, 16, 1, 1),
        },
        "Both were trained with λ = 2. Move the scene: nothing about the balloon has changed, and yet its colour may waver. Then "
        "draw z again and again: does the second balloon take another colour, or only a shade of the same?",
        "Two painted scenes with one balloon each, the left moved sideways, the right drawn with noise; under each the balloon's "
        "mean colour.",
        (
            Effect("nudge", "changes the balloon's colour", _redness(20), _extremes(0, range(-_NUDGE, _NUDGE + 1))),
            Effect("draw", "changes the balloon's colour", _redness(370), _extremes(1, range(1, 17))),
        ),
        _tell_dice,
    )
