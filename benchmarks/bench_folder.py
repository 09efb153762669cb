"""A folder of 1,000 pictures and one of 20,000, read and then cut into batches: peak memory above the imports, and speed.

Aim: no more memory for 20,000 than for 1,000, but what a path and a number take. Pixels are kept up to a limit that is
smaller than either folder; the rest is decoded again when its turn comes. A fresh process for each folder.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from side_by_side import table

from colorlab import photos

KEPT = 8  # MiB of pixels
SIZES = [(240, 320), (320, 240), (300, 400), (375, 500)]
WORK = """
import json, sys, time
import psutil, torch
from colorlab.data import Loader, Pictures, find_pictures
torch.set_num_threads(1)

def peak():
    lines = open("/proc/self/status").read().splitlines() if sys.platform == "linux" else []
    return next((int(x.split()[1]) * 1024 for x in lines if x.startswith("VmHWM")), psutil.Process().memory_info().rss)

folder, keep, batches, warm = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
Loader(Pictures.read(find_pictures(warm), 128, progress=False), 32, 64).batch(0)  # what any folder takes, for threads and code
before = peak()
start = time.perf_counter()
pictures = Pictures.read(find_pictures(folder), 128, memory=keep, progress=False)
read = time.perf_counter() - start
loader = Loader(pictures, 32, 64)
start = time.perf_counter()
for _, batch in zip(range(batches), loader):
    pass
print(json.dumps([len(pictures), len(pictures.kept), peak() - before, read, time.perf_counter() - start]))
"""


def folder(at: Path, count: int) -> Path:
    """`count` JPEGs of a few sizes; each is a file of its own by name, but 40 contents are shared by hard links."""
    at.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for n in range(count):
        if n < 40:
            height, width = SIZES[n % len(SIZES)]
            coarse = rng.integers(0, 256, (height // 20 + 1, width // 20 + 1, 3), np.uint8)
            photos.save(coarse.repeat(20, 0).repeat(20, 1)[:height, :width], at / f"{n:06d}.jpg")
        else:
            os.link(at / f"{n % 40:06d}.jpg", at / f"{n:06d}.jpg")
    return at


def measure(at: Path, warm: Path, batches: int) -> tuple[int, int, int, float, float]:
    """Pictures, pictures kept, peak bytes above a warm start, seconds of reading, seconds of so many batches of 32."""
    command = [sys.executable, "-c", WORK, at, str(KEPT * 2**20), str(batches), warm]
    return tuple(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))


def main() -> None:
    rows, peaks = [], {}
    with tempfile.TemporaryDirectory() as name:
        warm = folder(Path(name) / "warm", 40)
        for count in (1_000, 20_000):
            n, kept, peaks[count], read, cut = measure(folder(Path(name) / str(count), count), warm, batches=60)
            rows.append([f"{n:,}", f"{kept:,}", f"{peaks[count] / 2**20:.1f} MiB", f"{read:.1f} s", f"{n / read:.0f}"])
            rows[-1].append(f"{60 * 32 / cut:.0f}")
    print(f"## Folders larger than the {KEPT} MiB of pixels that may be kept\n")
    table(["pictures", "kept", "peak memory", "read in", "pictures/s read", "pictures/s in batches"], rows)
    print(f"A picture more takes {(peaks[20_000] - peaks[1_000]) / 19_000:.0f} bytes: its path, and what is known of it.")


if __name__ == "__main__":
    main()
