"""Chapter 08 where fastai is missing: its first half runs as ever, the second says so in one line and goes on without."""

import json
import os
import subprocess
import sys
from pathlib import Path

import nbformat

CHAPTER = Path(__file__).resolve().parent.parent / "notebooks" / "08_long_runs.ipynb"
WITHOUT = """
import json, sys
sys.modules["fastai"] = None  # as though it were not installed
names = {"__name__": "__main__"}
for cell in json.load(sys.stdin):
    exec(cell, names)
print("learner:", names["learner"], "steps:", names["resumed"].step, "versions:", *names["versions"])
"""


def test_without_fastai_only_the_second_half_is_affected(tmp_path):
    cells = [cell.source for cell in nbformat.read(CHAPTER, as_version=4).cells if cell.cell_type == "code"]
    first = next(n for n, cell in enumerate(cells) if "import learner" in cell)
    assert 25 < first < len(cells) - 25
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT], input=json.dumps(cells),
        capture_output=True, text=True, check=False, timeout=400, cwd=tmp_path, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("No fastai here (ModuleNotFoundError)") == 1
    assert "192 of 192 tensors are the same to the bit" in done.stdout
    assert done.stdout.splitlines()[-1] == "learner: None steps: 120 versions: grey the one that ships true"
