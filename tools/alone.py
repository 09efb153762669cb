"""Prepare to run notebooks as a reader has them: each alone, in an empty folder, with the built package and not this checkout.

    python tools/alone.py runs/alone notebooks/00_welcome.ipynb …

Makes the folder anew: FOLDER/site is the wheel, installed, to be put first on PYTHONPATH; FOLDER/notebooks holds a copy
of each notebook in a folder of its own. Needs no network. `make test` runs the copies.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def pip(*words: object) -> None:
    """Run pip, quietly."""
    subprocess.run([sys.executable, "-m", "pip", "-q", "--disable-pip-version-check", *map(str, words)], check=True)


def prepare(folder: Path, notebooks: list[Path]) -> Path:
    """Build, install and copy; returns the folder for PYTHONPATH. Raises RuntimeError if that does not hide this checkout."""
    folder = folder.resolve()
    shutil.rmtree(folder, ignore_errors=True)
    pip("wheel", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", folder / "wheel", ROOT)
    (wheel,) = (folder / "wheel").glob("*.whl")
    pip("install", "--no-deps", "--no-index", "--target", folder / "site", wheel)
    for path in notebooks:
        copy = folder / "notebooks" / f"{path.parent.name}-{path.stem}" / path.parent.name / path.name
        copy.parent.mkdir(parents=True)
        shutil.copy(path, copy)
    command = [sys.executable, "-c", "import colorlab; print(colorlab.__file__)"]
    env = os.environ | {"PYTHONPATH": str(folder / "site")}
    found = subprocess.run(command, cwd=folder, env=env, check=True, capture_output=True, text=True).stdout.strip()
    if not Path(found).is_relative_to(folder / "site"):
        raise RuntimeError(f"The notebooks would run with {found}, not with the built package.")
    return folder / "site"


if __name__ == "__main__":
    if not sys.argv[1:]:
        sys.exit(__doc__)
    print(prepare(Path(sys.argv[1]), [Path(name) for name in sys.argv[2:]]))
