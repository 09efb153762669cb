"""Blend two generators that share a beginning, weight by weight: python tools/blend.py FIRST SECOND SHARE GAIN SIZE OUT

FIRST and SECOND are checkpoints, SECOND trained on from FIRST; SHARE is SECOND's part, 0 to 1; GAIN multiplies the last
layer, and so nearly the chroma, for networks that were trained to err little are paler than the truth; SIZE is the short side
in pixels at which the result is to see pictures. Because the second began as the first, the networks between them work too
(Wang et al. 2018, ESRGAN), and SHARE becomes a dial between the caution of L1 and the boldness of the adversary.
Beside OUT, sepia.npz holds what FIRST alone makes of the sample photographs, for the chapters to show offline.
"""

import sys
from pathlib import Path

import numpy as np
from torch.nn import functional as F

from colorlab import inference, photos
from colorlab.unet import UNet


def blend(first: str, second: str, share: float, gain: float, size: int, out: Path) -> None:
    """Write (1 − share)·first + share·second, its last layer times gain; the file's name becomes the model's."""
    a, b = (inference.load(path).generator for path in (first, second))
    mixed, other = UNet(a.config), b.state_dict()
    mixed.load_state_dict({name: x.lerp(other[name], share) for name, x in a.state_dict().items()})
    for weight in mixed.head.parameters():  # before the tanh, which keeps ab inside (−1, 1) whatever the gain
        weight.data *= gain
    about = {"blend": {"first": first, "second": second, "share": share, "gain": gain}}
    inference.save_generator(out, mixed, out.stem, size, about)
    answers = {x.name: inference.load(first, size).chroma(photos.read(x).rgb) for x in photos.samples()}  # (1, 2, h, w) each
    np.savez_compressed(out.with_name(inference.SEPIA), **{name: F.avg_pool2d(ab, 2).half() for name, ab in answers.items()})


if __name__ == "__main__":
    if len(sys.argv) != 7:
        sys.exit(__doc__)
    blend(sys.argv[1], sys.argv[2], float(sys.argv[3]), float(sys.argv[4]), int(sys.argv[5]), Path(sys.argv[6]))
