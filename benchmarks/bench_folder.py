"""Peak memory and speed of a folder of 1,000 and of 20,000 pictures, far more than is kept decoded: memory must not follow.

Each row is a process of its own: it reads the folder with room for 32 MiB of pixels, then cuts 100 training batches of 32.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from side_by_side import table

from colorlab import photos
from colorlab.data import Loader, Pictures, find_pictures

KEPT = 32 * 2**20  # bytes of decoded pixels; a picture of 128 × 170 takes 64 KiB


def fill(folder: Path, count: int) -> None:
    """Pictures of three shapes, smooth noise, written once and linked under many names: each is read and decoded for itself."""
    rng = np.random.default_rng(0)
    for n, (height, width) in enumerate([(180, 240), (240, 180), (200, 200)]):
        low = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
        smooth = np.kron(low, np.ones((height // 6, width // 8, 1), np.uint8))
        photos.save(np.ascontiguousarray(smooth), folder / f"shape{n}.jpg")
    shapes = sorted(folder.glob("shape*.jpg"))
    for n in range(count - len(shapes)):
        (folder / f"{n:05d}.jpg").hardlink_to(shapes[n % len(shapes)])


def peak() -> float:
    """The most memory that this process has held, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform == "linux" else 2**20)


def measure(folder: str) -> dict[str, float]:
    """What one process finds."""
    before, start = peak(), time.perf_counter()
    pictures = Pictures.read(find_pictures(folder), short_side=128, memory=KEPT, progress=False)
    read, start = time.perf_counter() - start, time.perf_counter()
    for _, _ in zip(range(100), Loader(pictures, batch_size=32, size=64), strict=False):
        pass
    cut = time.perf_counter() - start
    return {"count": len(pictures), "peak": peak() - before, "read": len(pictures) / read, "cut": 3200 / cut}


def main() -> None:
    rows = []
    for count in (1_000, 20_000):
        with tempfile.TemporaryDirectory() as folder:
            fill(Path(folder), count)
            done = subprocess.run([sys.executable, __file__, folder], capture_output=True, text=True, check=True)
        rows.append(json.loads(done.stdout))
    print(f"## A folder of pictures, with room for {KEPT >> 20} MiB of them decoded\n")
    cells = [[f"{row['count']:,}", f"{row['peak']:.0f}", f"{row['read']:.0f}", f"{row['cut']:.0f}"] for row in rows]
    table(["pictures", "peak above import, MiB", "read and checked, a second", "in training batches, a second"], cells)
    more = (rows[1]["peak"] - rows[0]["peak"]) * 2**20 / (rows[1]["count"] - rows[0]["count"])
    print(f"Each picture more costs {more:.0f} bytes: its path and its chroma.")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(measure(sys.argv[1])))
    else:
        main()
