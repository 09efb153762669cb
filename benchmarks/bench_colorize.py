"""`colorize` at 1, 12 and 48 megapixels, JPEG to JPEG, model loaded, imports excluded. Aim: 12 in 5 s and 1.5 GB."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from side_by_side import table

from colorlab import photos

WORK = """
import json, resource, sys, time
from colorlab import inference, photos
colorizer = inference.load()
colorizer.chroma(photos.read(photos.sample("coffee")).rgb)
start = time.perf_counter()
photos.save(colorizer(sys.argv[1]), sys.argv[2], note=colorizer.note)
seconds = time.perf_counter() - start
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
print(json.dumps([seconds, peak]))
"""


def picture(folder: Path, megapixels: int) -> Path:
    """A sample photograph enlarged to that size, with fresh noise so that it compresses like a real one."""
    width, height = round((megapixels * 1e6 * 4 / 3) ** 0.5), round((megapixels * 1e6 * 3 / 4) ** 0.5)
    pixels = np.asarray(
        Image.fromarray(photos.read(photos.sample("china")).rgb).resize((width, height), Image.Resampling.BICUBIC)
    )
    noise = np.random.default_rng(0).integers(-4, 5, pixels.shape, dtype=np.int16)
    return photos.save((pixels + noise).clip(0, 255).astype(np.uint8), folder / f"{megapixels}.jpg")


def main() -> None:
    rows = []
    with tempfile.TemporaryDirectory() as name:
        for megapixels in (1, 12, 48):
            path = picture(Path(name), megapixels)
            runs = []
            for _ in range(3):
                done = subprocess.run(
                    [sys.executable, "-c", WORK, path, path.with_name("out.jpg")], check=True, capture_output=True
                )
                runs.append(json.loads(done.stdout))
            seconds, peak = sorted(run[0] for run in runs)[1], max(run[1] for run in runs)
            rows.append([f"{megapixels} MP", f"{seconds:.2f} s", f"{peak / 2**30:.2f} GiB"])
    print("## colorize, JPEG to JPEG, model loaded: median of three runs, peak of the whole process\n")
    table(["picture", "time", "peak memory"], rows)


if __name__ == "__main__":
    main()
