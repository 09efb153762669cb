"""A sheet of paper for the panels' pictures: text, boxes, discs and lines, smooth; and where in a picture its mark stands."""

import functools

import numpy as np
from PIL import Image, ImageDraw, ImageFont

PAPER, INK, PALE = (246, 246, 246), (25, 25, 25), (150, 150, 150)
MARK = (205, 0, 110)  # for what moves: nothing else in a picture has this colour, so that a test finds it
FINE = 2  # pictures are drawn this many times larger and reduced, so that lines and letters are smooth


@functools.cache
def _font(size: int) -> ImageFont.ImageFont:
    return ImageFont.load_default(size * FINE)


class Sheet:
    """A picture to draw on, in pixels of its final size."""

    def __init__(self, width: int, height: int):
        self.size = width, height
        self.image = Image.new("RGB", (width * FINE, height * FINE), PAPER)
        self.draw = ImageDraw.Draw(self.image)

    def text(self, x: float, y: float, words: str, size: int = 15, fill=INK, anchor: str = "la") -> None:
        self.draw.text((x * FINE, y * FINE), words, fill=fill, font=_font(size), anchor=anchor)

    def box(self, x0: float, y0: float, x1: float, y1: float, fill, outline=None) -> None:
        self.draw.rectangle([v * FINE for v in (x0, y0, x1, y1)], fill, outline, FINE)

    def disc(self, x: float, y: float, rx: float, ry: float, fill, outline=None) -> None:
        self.draw.ellipse([v * FINE for v in (x - rx, y - ry, x + rx, y + ry)], fill, outline, FINE)

    def line(self, points: list[tuple[float, float]], fill=INK, width: int = 2) -> None:
        self.draw.line([(x * FINE, y * FINE) for x, y in points], fill, width * FINE, joint="curve")

    def paste(self, picture: Image.Image, x: float, y: float) -> None:
        """A picture that has FINE times the pixels that it covers."""
        self.image.paste(picture, (round(x * FINE), round(y * FINE)))

    def pixels(self) -> np.ndarray:
        """The finished picture, (H, W, 3) uint8."""
        return np.asarray(self.image.resize(self.size, Image.Resampling.BOX))


def marks(shown: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns, in pixels, of what has the mark's colour in a picture (H, W, 3)."""
    return np.nonzero((shown == MARK).all(axis=2))


def height(shown: np.ndarray) -> float:
    """How high the mark stands, in pixels from the lower edge: the measure of many an effect."""
    return float(len(shown) - marks(shown)[0].mean())
