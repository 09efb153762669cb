"""sRGB → Lab and back, 16 pictures of 256²: colorlab against scikit-image and kornia. Aim: 10 and 1.5 times."""

import statistics

import kornia
import torch
from side_by_side import race, ratio, table
from skimage.color import lab2rgb, rgb2lab

from colorlab import color


def main() -> None:
    rgb = torch.rand(16, 3, 256, 256, generator=torch.Generator().manual_seed(0))
    lab = color.rgb_to_lab(rgb)
    pixels, lab_pixels = rgb.permute(0, 2, 3, 1).double().numpy(), lab.permute(0, 2, 3, 1).double().numpy()
    directions = {
        "sRGB → Lab": (lambda: color.rgb_to_lab(rgb), lambda: rgb2lab(pixels), lambda: kornia.color.rgb_to_lab(rgb)),
        "Lab → sRGB": (lambda: color.lab_to_rgb(lab), lambda: lab2rgb(lab_pixels), lambda: kornia.color.lab_to_rgb(lab)),
    }
    rows = []
    for name, ways in directions.items():
        seconds = race(dict(zip(("colorlab", "scikit-image", "kornia"), ways, strict=True)), rounds=11)
        rows.append(
            [name, f"{1000 * statistics.median(seconds['colorlab']):.1f} ms"]
            + [f"{ratio(seconds, 'colorlab', other):.1f}" for other in ("scikit-image", "kornia")]
        )
    print(f"## Colour, 16×256², {torch.get_num_threads()} threads: how many times faster (scikit-image in its float64)\n")
    table(["", "colorlab", "than scikit-image", "than kornia"], rows)


if __name__ == "__main__":
    main()
