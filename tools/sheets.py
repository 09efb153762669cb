"""Contact sheets for the model card: python tools/sheets.py MODEL FOLDER …

Of all photographs in the folders, the twelve that gain most over leaving them grey (ΔE2000), the twelve that gain least,
and twelve drawn by lot, each *grey · predicted · true* with its gain, go to book/images/photo_best.jpg, photo_worst.jpg and
photo_random.jpg; their names are printed, for the credits.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw

from colorlab import data, evaluate, inference, photos

COUNT, HEIGHT, ABREAST = 12, 110, 2  # pictures on a sheet, their height in pixels, and how many in a row
WIDTH = 3 * HEIGHT * 4 // 3  # of a picture's three versions


def main(model: str, folders: list[str], out: Path) -> None:
    """Judge every photograph, and write and name the three sheets."""
    colorizer, paths = inference.load(model), data.find_pictures(folders)
    scores = evaluate.evaluate(colorizer, paths)
    gain = scores["grey"]["delta_e2000"] - scores["model"]["delta_e2000"]
    if len(gain) != len(paths):
        raise SystemExit("Some of these files are broken: take them out first, so that names and scores stay together.")
    order = gain.argsort(descending=True).tolist()
    lot = torch.randperm(len(paths), generator=torch.Generator().manual_seed(0)).tolist()
    out.mkdir(parents=True, exist_ok=True)
    for name, chosen in {"best": order[:COUNT], "worst": order[: -COUNT - 1 : -1], "random": lot[:COUNT]}.items():
        triples = [triple(colorizer, paths[n], gain[n].item()) for n in chosen]
        rows = [np.concatenate(triples[n : n + ABREAST], axis=1) for n in range(0, len(triples), ABREAST)]
        photos.save(np.concatenate(rows), out / f"photo_{name}.jpg", note=colorizer.note, overwrite=True)
        print(f"{name}: " + ", ".join(f"{paths[n].name} ({gain[n]:+.1f})" for n in chosen))


def triple(colorizer: inference.Colorizer, path: Path, gain: float) -> np.ndarray:
    """One photograph, grey · predicted · true, with its gain below."""
    rgb = photos.read(path).rgb
    sheet = Image.new("RGB", (WIDTH + 8, HEIGHT + 20), "white")
    for n, version in enumerate((inference.grey_pixels(rgb), colorizer(rgb).rgb, rgb)):
        small = Image.fromarray(version).convert("RGB")
        small.thumbnail((WIDTH // 3 - 4, HEIGHT))
        sheet.paste(small, (n * WIDTH // 3, 0))
    ImageDraw.Draw(sheet).text((0, HEIGHT + 2), f"{path.stem[:40]}   gain {gain:+.1f}", fill="black", font_size=14)
    return np.asarray(sheet)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2:], Path(__file__).parent.parent / "book" / "images")
