"""Sliders: a pure function of its values to a picture, with range, default and what to look for. Knows ipywidgets.

A `Panel` says all that there is to know of a slider, so that a test can move it without a browser; `show` turns it
into widgets. A panel redraws one picture in place: it never leaves a figure behind.
"""

from collections.abc import Callable
from dataclasses import dataclass

import ipywidgets
import numpy as np
from PIL import Image

from colorlab import photos
from colorlab.plot import jpeg


@dataclass(frozen=True)
class Slider:
    """One value that a reader moves, with arrow keys too."""

    label: str  # with its unit
    low: float
    high: float
    default: float
    step: float


@dataclass(frozen=True)
class Panel:
    """A picture and the sliders that change it."""

    draw: Callable[..., np.ndarray]  # slider values by name → an 8-bit picture (H, W, 3); pure
    sliders: dict[str, Slider]
    look_for: str  # the sentence that says what to watch while moving them
    alt: str  # what the picture shows

    def show(self) -> ipywidgets.Widget:
        """The panel as a widget: a notebook shows it when it is a cell's last value."""
        moved = {
            name: ipywidgets.FloatSlider(
                value=s.default,
                min=s.low,
                max=s.high,
                step=s.step,
                description=s.label,
                readout_format=".0f" if s.step >= 1 else ".2f",
                style={"description_width": "initial"},
                layout={"width": "480px"},
            )
            for name, s in self.sliders.items()
        }
        picture = ipywidgets.Image(format="jpeg", layout={"width": "480px", "max_width": "100%"})
        picture.add_class("colorlab-picture")

        def redraw(_=None) -> None:
            picture.value = jpeg(self.draw(**{name: widget.value for name, widget in moved.items()}))

        for widget in moved.values():
            widget.observe(redraw, names="value")
        redraw()
        words = ipywidgets.HTML(f"<p>{self.look_for}</p>")
        return ipywidgets.VBox([words, *moved.values(), picture])


def wipe(before: np.ndarray, after: np.ndarray, share: float) -> np.ndarray:
    """`before` on the left, `after` on the right of a white line at `share` (0 to 1) of the width. Pictures (H, W, 3) uint8.

    >>> black, white = np.zeros((1, 4, 3), np.uint8), np.full((1, 4, 3), 255, np.uint8)
    >>> wipe(black, white, 0.5)[0, :, 0].tolist()
    [0, 0, 255, 255]
    """
    if before.shape != after.shape:
        raise ValueError(f"before and after must be pictures of one size, got {before.shape} and {after.shape}.")
    at = round(share * before.shape[1])
    out = after.copy()
    out[:, :at] = before[:, :at]
    if 0 < at < before.shape[1]:
        out[:, at : at + max(1, before.shape[1] // 300)] = 255
    return out


def before_after(before: object, after: object, names: tuple[str, str] = ("grey", "coloured")) -> Panel:
    """A panel that wipes from one picture to another: paths, PIL images or arrays of the same size. Chapter 00."""
    pair = []
    for picture in (before, after):
        image = Image.fromarray(photos.read(picture).rgb)
        image.thumbnail((960, 960))  # what fits a screen; redrawn at every move
        pair.append(np.asarray(image))
    return Panel(
        lambda share: wipe(*pair, share / 100),
        {"share": Slider(f"{names[0]} (%)", 0, 100, 50, 1)},
        f"Move the slider, or click it and use the arrow keys: {names[0]} is on the left, {names[1]} on the right.",
        f"One picture, {names[0]} on the left and {names[1]} on the right of a line that the slider moves.",
    )
