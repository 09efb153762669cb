"""Sliders: a pure function of its values to a picture, with range, default and declared effect. Knows ipywidgets.

A `Panel` says all that there is to know of its sliders, so that a test can move them without a browser and a book can
draw their frames without a kernel; `show` turns it into widgets. A panel may have buttons too: which were pressed, in
order, is one more value, a string such as "DDG". A panel redraws one picture in place: it never leaves a
figure behind, and prints nothing. `colorlab.panels` holds the chapters' own.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import ipywidgets
import numpy as np
from PIL import Image

from colorlab import photos
from colorlab.plot import jpeg

MOST = 40  # presses of a panel's buttons, then only Reset goes on: a slider that is moved replays them all

@dataclass(frozen=True)
class Slider:
    """One value that a reader moves, with arrow keys too."""

    label: str  # with its unit
    low: float
    high: float
    default: float
    step: float
    names: tuple[str, ...] = ()  # of the values low, low + step, … high where a number says less: ("off", "on")

    def widget(self) -> ipywidgets.Widget:
        """The slider as a widget of ipywidgets, all of which arrow keys move."""
        look = {"description": self.label, "style": {"description_width": "initial"}, "layout": {"width": "480px"}}
        if self.names:
            options = [(name, self.low + k * self.step) for k, name in enumerate(self.names)]
            return ipywidgets.SelectionSlider(options=options, value=self.default, **look)
        digits = ".0f" if self.step >= 1 else ".1f" if self.step >= 0.1 else ".2f"
        return ipywidgets.FloatSlider(self.default, min=self.low, max=self.high, step=self.step, readout_format=digits, **look)


@dataclass(frozen=True)
class Effect:
    """What moving one slider, or pressing one button, does to the picture, said to the reader and held by a test."""

    slider: str  # its name; of a button, its letter
    says: str  # "raises the share of red"
    measure: Callable[[np.ndarray], float]  # of the picture
    rising: tuple[float | str, ...]  # along these values of the slider, or of `moves`, the measure rises, strictly
    others: Mapping[str, float | str] = field(default_factory=dict)  # other values meanwhile, where not their defaults


@dataclass(frozen=True)
class Panel:
    """A picture and the sliders that change it."""

    draw: Callable[..., np.ndarray]  # slider values by name → an 8-bit picture (H, W, 3), always of one size; pure
    sliders: Mapping[str, Slider]
    look_for: str  # the sentence that says what to watch while moving them
    alt: str  # what the picture shows
    effects: tuple[Effect, ...]  # at least one for each slider
    numbers: Callable[..., str] = lambda **values: ""  # slider values → the line under the picture; pure
    buttons: Mapping[str, str] = field(default_factory=dict)  # letter → label; the letters pressed are `moves`, one more value

    def defaults(self) -> dict[str, float | str]:
        """Every slider's value before anyone moves it; with buttons, `moves`, "" before anyone presses one."""
        values = {name: slider.default for name, slider in self.sliders.items()}
        return values | {"moves": ""} if self.buttons else values

    def show(self) -> ipywidgets.Widget:
        """The panel as a widget: a notebook shows it when it is a cell's last value."""
        moved = {name: slider.widget() for name, slider in self.sliders.items()}
        picture = ipywidgets.Image(format="jpeg", layout={"width": "480px", "max_width": "100%", "object_fit": "contain"})
        picture.add_class("colorlab-picture")
        numbers = ipywidgets.HTML()
        moves: list[str] = []
        pressed = {letter: ipywidgets.Button(description=label) for letter, label in self.buttons.items()}
        reset = ipywidgets.Button(description="Reset", icon="undo")

        def redraw(_=None) -> None:
            values = {name: widget.value for name, widget in moved.items()}
            if self.buttons:
                values["moves"] = "".join(moves)
                for button in pressed.values():
                    button.disabled = len(moves) >= MOST
            picture.value = jpeg(self.draw(**values))
            numbers.value = f"<p>{self.numbers(**values)}</p>"

        def press(letter: str) -> None:
            moves[:] = (moves + [letter])[:MOST] if letter else []
            redraw()

        for widget in moved.values():
            widget.observe(redraw, names="value")
        for letter, button in pressed.items():
            button.on_click(lambda _, letter=letter: press(letter))
        reset.on_click(lambda _: press(""))
        redraw()
        words = ipywidgets.HTML(f"<p>{self.look_for}</p>")
        rows = [ipywidgets.HBox([*pressed.values(), reset])] if self.buttons else []
        return _Shown(self.alt, bytes(picture.value), [words, *moved.values(), *rows, picture, numbers])


class _Shown(ipywidgets.VBox):
    """A box that, where no kernel runs, leaves the picture at its defaults, and words for those who do not see it."""

    def __init__(self, alt: str, still: bytes, children: list[ipywidgets.Widget]):
        super().__init__(children)
        self._still = still, alt

    def _repr_mimebundle_(self, **kwargs):
        data = super()._repr_mimebundle_(**kwargs)
        data = data[0] if isinstance(data, tuple) else data
        still, alt = self._still
        return data | {"image/jpeg": still, "text/plain": alt}, {"image/jpeg": {"alt": alt}}


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
        (
            Effect(
                "share",
                f"shows more of what is {names[0]}",
                lambda shown: (shown == pair[0]).all(axis=2).mean(),
                (0, 25, 50, 75, 100),
            ),
        ),
    )
