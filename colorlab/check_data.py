"""What may spoil a set of photographs, and how a check says what it found. `colorlab.check` asks the model itself."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from colorlab import color, metrics, photos
from colorlab.data import GREY_CHROMA, Pictures
from colorlab.inference import to_tensor

PASSED, WARNING, FAILED = "passed", "warning", "failed"
MARKS = {PASSED: "✓", WARNING: "!", FAILED: "✗"}
SMALL = 64  # pixels on the short side: what `colorlab train` cuts out unless told otherwise
SPOILT = 0.1  # a fault in more than this share of a set's files is a failure; in fewer, a warning
ONE_HUE = 0.04  # hue spread over chroma: toned prints have less (but for poor JPEGs), nearly all photographs more; or
ROUNDED = 0.5  # Lab units: what rounding to 8 bits and JPEG leave of a toned print's hue spread when its tone is weak


@dataclass(frozen=True)
class Result:
    """What one check found: `str(result)` is its lines in the report."""

    name: str
    status: str  # PASSED, WARNING or FAILED
    seen: str  # the numbers, in words
    cure: str = ""  # what to do about it, where there is something to do

    def __str__(self) -> str:
        return f"{MARKS[self.status]} {self.name}: {self.seen}" + (f"\n    → {self.cure}" if self.cure else "")


def check_data(pictures: Pictures) -> list[Result]:
    """The checks of a data set, read with `keep_grey` at a short side of `SMALL` pixels."""
    paths = pictures.paths
    grey = [p for p, chroma in zip(paths, pictures.chroma, strict=True) if chroma < GREY_CHROMA]
    toned, small = [], []
    for n, path in enumerate(paths):
        rgb = pictures[n]
        if min(rgb.shape[:2]) < SMALL:
            small.append(path)
        if pictures.chroma[n] >= GREY_CHROMA and one_hue(encode(rgb)[1]):
            toned.append(path)
    inferred = [p for p in paths if photos.note(p).startswith("Colors inferred by")]
    copies = [f"{copy}, which is {first}" for first, copy in duplicates(paths)]
    greying = "They teach that the world is grey. Training leaves them out; take them out of what you judge by, too."
    toning = "No other step leaves them out: look at them, and take the prints out. A red thing on white may stay."
    twice = "Keep one of each: under another name, a copy of what is learnt may be judged by."
    broken, total = [why for _, why in pictures.broken], len(paths)
    return [
        _fault("broken files", broken, total + len(broken), "that cannot be read", "Mend them, or take them out."),
        _fault("near-grey data", grey, total, f"with a mean chroma below {GREY_CHROMA:g}", greying),
        _fault("toned prints", toned, total, "all of one hue, as sepia prints are", toning),
        _fault("inferred colours", inferred, total, "coloured by colorlab, as they note", "They are guesses: take them out."),
        _fault("duplicates", copies, total, "with the very bytes of another", twice),
        _fault("small pictures", small, total, f"below {SMALL} pixels on a side", "Train with a smaller --size.", worst=WARNING),
    ]


def _fault(name: str, found: Sequence, total: int, what: str, cure: str, worst: str = FAILED) -> Result:
    seen = f"{len(found)} of {counted(total, 'picture')} {what}" + (f", such as {found[0]}" if found else "")
    return judge(name, seen, (len(found) > SPOILT * total, worst, cure), (bool(found), WARNING, cure))


def judge(name: str, seen: str, *faults: tuple[bool, str, str]) -> Result:
    """A result by the first fault that holds, (does it, status, cure); passed where none does."""
    return next((Result(name, status, seen, cure) for holds, status, cure in faults if holds), Result(name, PASSED, seen))


def one_hue(ab: Tensor) -> bool:
    """Whether a picture's colours, ab (1, 2, H, W) in (−1, 1), are all of one hue, as a toned print's are."""
    return bool(metrics.hue_spread(ab) < max(ROUNDED, ONE_HUE * metrics.mean_chroma(ab).item()))


def duplicates(paths: Iterable[Path]) -> list[tuple[Path, Path]]:
    """(first, copy) for every file whose bytes an earlier one has; only files of one length are read."""
    lengths, first, copies = defaultdict(list), {}, []
    for path in paths:
        lengths[path.stat().st_size].append(path)
    for path in (p for same in lengths.values() if len(same) > 1 for p in same):
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").digest()
        if first.setdefault(digest, path) != path:
            copies.append((first[digest], path))
    return copies


def encode(rgb: np.ndarray) -> tuple[Tensor, Tensor]:
    """An 8-bit picture (H, W, 3) → L (1, 1, H, W) in [−1, 1] and ab (1, 2, H, W) in (−1, 1)."""
    return color.encode(to_tensor(rgb))


def counted(n: int, what: str) -> str:
    """A number with its noun: "1 picture", "2 pictures"."""
    return f"{n} {what}{'s' if n != 1 else ''}"
