"""Run notebooks from top to bottom, in place, so that their committed outputs are those of a clean run.

    python tools/execute.py notebooks/00_welcome.ipynb …

Each runs in its own folder with two torch threads, as on a reader's laptop. Prints seconds and peak memory, which
belong in the chapter's header. A notebook in which a cell fails is left as it was.
"""

import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient

PEAK = "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))"


def execute(path: Path) -> tuple[float, float]:
    """Run one notebook and write it back; returns (seconds, peak MiB of its kernel, nan where the system does not tell)."""
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(path.parent)}}, record_timing=False)
    start = time.perf_counter()
    with client.setup_kernel():
        for number, cell in enumerate(notebook.cells):
            client.execute_cell(cell, number)
        seconds = time.perf_counter() - start
        notebook.cells.append(nbformat.v4.new_code_cell(PEAK))
        client.execute_cell(notebook.cells[-1], len(notebook.cells) - 1)
    peak = notebook.cells.pop().outputs
    notebook.metadata.pop("widgets", None)  # the state of sliders is remade by whoever runs the notebook
    notebook.metadata.language_info = {"name": "python"}
    nbformat.write(notebook, path)
    return seconds, int(peak[0].text) / 1024 if peak and peak[0].output_type == "stream" else float("nan")


if __name__ == "__main__":
    if not sys.argv[1:]:
        sys.exit(__doc__)
    for argument in sys.argv[1:]:
        print("{}: {:.0f} s, {:.0f} MiB".format(argument, *execute(Path(argument))))
