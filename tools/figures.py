"""Make the README's picture from the sample photographs with the weights that ship: python tools/figures.py"""

from pathlib import Path

import numpy as np
from PIL import Image

from colorlab import inference, photos

NAMES = ("chelsea", "china", "coffee", "flower")  # a success or two, and what it gets wrong
HEIGHT = 240  # of each picture, in pixels


def main() -> None:
    colorizer = inference.load()
    columns = []
    for name in NAMES:
        photo = photos.read(photos.sample(name))
        pictures = (inference.grey_pixels(photo.rgb), colorizer(photo.rgb).rgb, photo.rgb)
        stack = [Image.fromarray(x).convert("RGB") for x in pictures]
        columns.append(np.concatenate([np.asarray(x.resize((HEIGHT * 4 // 3, HEIGHT), box=_middle(x))) for x in stack]))
    path = Path(__file__).parent.parent / "book" / "images" / "samples.jpg"
    path.parent.mkdir(parents=True, exist_ok=True)
    photos.save(np.concatenate(columns, axis=1), path, note=colorizer.note)
    print(path)


def _middle(image: Image.Image) -> tuple[float, float, float, float]:
    """The largest box of 4 to 3 in the middle of a picture."""
    width, height = min(image.width, image.height * 4 / 3), min(image.height, image.width * 3 / 4)
    left, top = (image.width - width) / 2, (image.height - height) / 2
    return left, top, left + width, top + height


if __name__ == "__main__":
    main()
