"""The sliders of chapter 08: what a run costs, and what a kill; and gradients in float16, scaled, and clipped too early."""

import functools
import math

import numpy as np
import torch
from torch import Tensor, nn

from colorlab.panels import panel
from colorlab.panels.sheet import MARK, PALE, Sheet
from colorlab.unet import UNet, UNetConfig
from colorlab.widgets import Effect, Panel, Slider
from colorlab.world import ColorWorld

BLUE, GOLD, TEAL, LIGHT = (70, 120, 190), (190, 140, 30), (60, 150, 140), (255, 255, 255)
GRID = (222, 222, 222)


def _colored(color: tuple[int, int, int]):
    """How many pixels of a picture have this colour: the area of a bar, or of a heap."""
    return lambda shown: float((shown == color).all(2).sum())


# What a run costs -----------------------------------------------------------------------------------------------------

_PICTURES, _SPEEDS = (1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000), (3, 10, 30, 100, 300, 1_000, 3_000)
_MINUTES = (1, 3, 10, 30, 60, 180, 480)  # between two saves
_WRITING = 2.0  # seconds that a save is said to take
_TIMES = {1: "1 min", 60: "1 hour", 1440: "1 day", 10_080: "1 week", 525_600: "1 year"}  # minutes → a tick
_START, _DECADE = 30, 84  # pixels: where the bars begin, and what ten times as much adds


def bill(pictures: float, epochs: float, speed: float, price: float, save: float) -> dict[str, float]:
    """Minutes and money of a run, from the sliders' values: {"minutes": …, "money": …, "saves": …, "writing": …, "lost": …}."""
    minutes = _PICTURES[int(pictures)] * epochs / _SPEEDS[int(speed)] / 60
    every = _MINUTES[int(save)]
    saves = int(minutes // every)
    return {
        "minutes": minutes,
        "money": price * minutes / 60,
        "saves": saves,
        "writing": saves * _WRITING / 60,  # minutes
        "lost": min(every, minutes),  # minutes, at most
    }


def _time(minutes: float) -> str:
    """Minutes in the unit that one would use."""
    for unit, size in (("days", 1440), ("hours", 60), ("minutes", 1)):
        if minutes >= 2 * size:
            return f"{minutes / size:,.0f} {unit}" if minutes >= 10 * size else f"{minutes / size:.1f} {unit}"
    return f"{60 * minutes:.{0 if minutes > 0.1 else 1}f} seconds"


def _draw_cost(pictures: float, epochs: float, speed: float, price: float, save: float) -> np.ndarray:
    found = bill(pictures, epochs, speed, price, save)
    sheet = Sheet(720, 380)

    def row(top: float, words: str, value: float, least: float, color: tuple[int, int, int]) -> None:
        sheet.text(_START, top, words)
        if value > least:
            sheet.box(_START, top + 22, _START + _DECADE * math.log10(value / least), top + 46, color)

    def ticks(top: float, bottom: float, names: dict[float, str], least: float) -> None:
        for value, name in names.items():
            x = _START + _DECADE * math.log10(value / least)
            sheet.line([(x, top), (x, bottom)], GRID, 1)
            sheet.text(x, bottom + 4, name, 13, PALE, "ma")

    ticks(8, 226, _TIMES, 0.1)
    ticks(266, 332, {10**k: f"{10**k:,}" for k in range(6)}, 0.1)
    row(8, f"the run: {_time(found['minutes'])}", found["minutes"], 0.1, BLUE)
    row(82, f"on top, writing {found['saves']:,} checkpoints: {_time(found['writing'])}", found["writing"], 0.1, TEAL)
    row(156, f"lost when it is killed, at most: {_time(found['lost'])}", found["lost"], 0.1, MARK)
    row(266, f"price: {found['money']:,.2f} euros" if price else "price: nothing", found["money"], 0.1, GOLD)
    sheet.text(_START, 356, "Each grid is logarithmic: the same length further is the same number of times as much.", 13, PALE)
    return sheet.pixels()


def _tell_cost(pictures: float, epochs: float, speed: float, price: float, save: float) -> str:
    found = bill(pictures, epochs, speed, price, save)
    half, share = found["lost"] / 2, found["writing"] / found["minutes"]
    return (
        f"{_time(found['minutes'])}, {found['money']:,.2f} euros. A kill costs {_time(found['lost'])} at most, {_time(half)} on "
        f"average ({price * half / 60:.2f} euros); without any save, up to the whole run. "
        f"{found['saves']:,} saves of {_WRITING:g} s take {share:.1%} of the time."
    )


@panel("08.cost")
def cost() -> Panel:
    """What a run takes in hours and money, and what a kill costs, over how often it is saved. Chapter 08."""
    return Panel(
        _draw_cost,
        {
            "pictures": Slider("pictures", 0, 6, 4, 1, tuple(f"{n:,}" for n in _PICTURES)),
            "epochs": Slider("epochs", 1, 100, 30, 1),
            "speed": Slider("pictures a second", 0, 6, 3, 1, tuple(f"{n:,}" for n in _SPEEDS)),
            "price": Slider("euros an hour", 0, 10, 3, 0.5),
            "save": Slider("a save every … minutes", 0, 6, 2, 1, tuple(str(n) for n in _MINUTES)),
        },
        "Set your own machine's pictures a second, and the run that you would like. Then save more and more often: what a kill "
        "costs falls. What rises, and where would you stop?",
        "Four bars on logarithmic axes: how long the run takes, how long its saves take, what a kill loses, and the price.",
        (
            Effect("pictures", "lengthens the run", _colored(BLUE), (1, 3, 5)),
            Effect("epochs", "lengthens the run", _colored(BLUE), (1, 10, 30, 100)),
            Effect("speed", "shortens the run", lambda shown: -_colored(BLUE)(shown), (0, 2, 4, 6)),
            Effect("price", "raises the price", _colored(GOLD), (0, 1, 3, 10)),
            Effect("save", "raises what a kill costs", _colored(MARK), (0, 2, 4, 6)),
        ),
        _tell_cost,
    )


# Gradients in float16 -------------------------------------------------------------------------------------------------

_CLIPS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
_LOW, _HIGH = -24, 16  # float16 ends at 2^-24, its smallest number, and just below 2^16
_FIRST, _LAST = -42, 22  # powers of two on the chart
_BAR = 10  # pixels, of one power of two


@functools.cache
def gradients(count: int = 100_000) -> dict[str, Tensor]:
    """One backward pass of a small untrained U-Net: the gradients of its layers' outputs, `count` of them, and its weights'.

    The outputs' are divided by 32, since the loss of a batch of 16 pictures of 256 pixels is a mean over 32 times as many
    numbers as that of the 8 scenes of 64 pixels here. A weight's gradient sums over all pixels and stays as it is.
    """
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(0)
        net, scenes, outputs = UNet(UNetConfig(width=16, depth=2)), ColorWorld(64, seed=0).sample(8), []
        layers = [layer for layer in net.modules() if isinstance(layer, nn.Conv2d)]
        hooks = [layer.register_forward_hook(lambda _layer, _inputs, out: outputs.append(out)) for layer in layers]
        loss = (net(scenes.L) - scenes.ab).abs().mean()
        for hook in hooks:
            hook.remove()
        found = torch.autograd.grad(loss, outputs + list(net.parameters()))
        flat = torch.cat([x.flatten() for x in found[: len(outputs)]]) / 32
        chosen = flat[torch.randint(len(flat), (count,))]
    return {"outputs": chosen[chosen != 0], "weights": torch.cat([x.flatten() for x in found[len(outputs) :]])}


def lost(x: Tensor, exponent: float) -> tuple[float, float]:
    """Shares of numbers that float16 turns into 0, and into infinity, once they are multiplied by 2^exponent."""
    half = (x * 2**exponent).half()
    return ((half == 0) & (x != 0)).float().mean().item(), half.isinf().float().mean().item()


def steps(exponent: float, clip: float) -> tuple[float, float]:
    """Norms of the weights' gradient, scaled in float16: divided by the scale and then clipped, and the other way round.

    (0, 0) where one gradient overflowed: no step is taken.
    """
    half = (gradients()["weights"] * 2**exponent).half().double()
    norm = half.norm().item()
    if not math.isfinite(norm):
        return 0.0, 0.0
    return min(norm / 2**exponent, clip), min(norm, clip) / 2**exponent


def _column(power: float) -> float:
    return 40 + _BAR * (power - _FIRST)


def _draw_scale(scale: float, clip: float) -> np.ndarray:
    sheet = Sheet(720, 500)
    sheet.box(_column(_LOW), 26, _column(_HIGH), 300, LIGHT, GRID)
    sheet.text((_column(_LOW) + _column(_HIGH)) / 2, 6, "what float16 can hold", anchor="ma")
    rows = (("outputs", 150, "outputs' gradients"), ("weights", 290, "weights' gradients"))
    for name, bottom, words in rows:
        x = gradients()[name]
        powers = torch.log2(x[x != 0].abs()).floor().int() + int(scale)
        found = torch.bincount((powers.clamp(_FIRST, _LAST - 1) - _FIRST).long(), minlength=_LAST - _FIRST) / len(powers)
        for n, share in enumerate(found.tolist()):
            color = BLUE if _LOW - 1 <= n + _FIRST < _HIGH else MARK  # from 2^-25 on, a number is rounded up to 2^-24
            if share:
                left = _column(n + _FIRST)
                sheet.box(left + 1, bottom - max(2, 400 * share), left + _BAR - 1, bottom, color)
        sheet.text(14, bottom - 112, words)
        low, high = lost(x, scale)
        for n, share in enumerate(f"{x:.2%} too {size}" for x, size in ((low, "small"), (high, "large"))):
            sheet.text(710, bottom - 112 + 20 * n, share, 12, anchor="ra")
    for power in (-40, -24, -10, 0, 16):
        sheet.text(_column(power), 306, {0: "1"}.get(power, f"2^{power}"), 13, PALE, "ma")
    right, wrong = steps(scale, _CLIPS[int(clip)])
    said = "overflow: no step" if right == 0 else ""
    for top, words, norm, color in (
        (336, "divided by the scale, then clipped", right, TEAL),
        (400, "clipped, then divided by the scale", wrong, GOLD),
    ):
        sheet.text(40, top, f"{words}: {said or f'a step of norm {norm:.3g}'}")
        for decade in range(-8, 2, 2):
            x = 40 + 64 * (decade + 8)
            sheet.line([(x, top + 22), (x, top + 48)], GRID, 1)
        if norm > 1e-8:
            sheet.box(40, top + 24, 40 + 64 * (math.log10(norm) + 8), top + 46, color)
    for decade in range(-8, 2, 2):
        sheet.text(40 + 64 * (decade + 8), 452, f"{10.0**decade:g}", 13, PALE, "ma")
    return sheet.pixels()


def _tell_scale(scale: float, clip: float) -> str:
    low, high = lost(gradients()["outputs"], scale)[0], lost(gradients()["weights"], scale)[1]
    right, wrong = steps(scale, _CLIPS[int(clip)])
    words = f"the step has norm {right:.3g}; clipped too early, {wrong:.2g}" if right else "the step is skipped"
    ends = f"{low:.2%} of the outputs' gradients are lost, {high:.2%} of the weights' overflow"
    return f"Scale {2 ** int(scale):,}: {ends}; {words}."


def _middle(shown: np.ndarray) -> float:
    """The mean column of the gradients' bars, whatever became of them."""
    chart = shown[:302]
    return float(((chart == BLUE).all(2) | (chart == MARK).all(2)).nonzero()[1].mean())


@panel("08.scale")
def scale() -> Panel:
    """Gradients in float16: a scale moves them into its range, and clipping belongs after its removal. Chapter 08."""
    gradients()  # kept: a slider should not wait for it
    return Panel(
        _draw_scale,
        {
            "scale": Slider("scale: 2 to the power of", 0, 20, 8, 1),
            "clip": Slider("clip to a norm of", 0, 6, 4, 1, tuple(f"{c:g}" for c in _CLIPS)),
        },
        "Raise the scale: the outputs' gradients move into float16's range. What leaves it on the other side, from which power "
        "on? And watch the two steps: which depends on the scale?",
        "Two heaps of gradients by size over the range of float16, red where they are lost; below, the norms of two steps.",
        (
            Effect("scale", "moves the gradients to the right", _middle, (0, 5, 10, 15, 20)),
            Effect("clip", "lengthens the step", _colored(TEAL), (0, 2, 4, 5)),
        ),
        _tell_scale,
    )
