"""The slider of chapter 00: grey on one side of a line, coloured on the other."""

from colorlab import inference, photos, widgets
from colorlab.panels import panel


@panel("00.before_after")
def before_after(photo: object = None) -> widgets.Panel:
    """Wipe from the grey photograph to the coloured one. `photo`: whatever `colorlab.colorize` takes. Chapter 00."""
    pixels = photos.read(photo or photos.sample("chelsea")).rgb
    return widgets.before_after(inference.grey_pixels(pixels), inference.colorize(pixels))
