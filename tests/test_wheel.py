"""Notebooks run alone, in an empty folder, with the wheel only: how `make test` runs them, tried on a small one."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[1]
spec = importlib.util.spec_from_file_location("alone", ROOT / "tools" / "alone.py")
alone = importlib.util.module_from_spec(spec)
spec.loader.exec_module(alone)

SEEN = """import sys, colorlab
from pathlib import Path
print(colorlab.__file__)
print(sorted(path.name for path in Path().iterdir()))
print([name for name in sys.path if (Path(name) / "colorlab").is_dir()][0])"""


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """The folder that the tool made: the wheel installed, two notebooks each in a folder of its own."""
    pytest.importorskip("hatchling")
    there = tmp_path_factory.mktemp("checkout")
    paths = [there / "notebooks" / "00_small.ipynb", there / "solutions" / "00_small.ipynb"]
    for path in paths:
        path.parent.mkdir()
        nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(SEEN)]), path)
    folder = tmp_path_factory.mktemp("runs") / "alone"
    assert alone.prepare(folder, paths) == folder / "site"
    return folder


def test_the_wheel_hides_the_checkout(prepared):
    command = [sys.executable, "-c", "import colorlab.exercises as e; print(e.__file__); print(e.check('00.2', 12).right)"]
    env = os.environ | {"PYTHONPATH": str(prepared / "site")}
    done = subprocess.run(command, cwd=prepared, env=env, check=True, capture_output=True, text=True, timeout=120)
    file, right = done.stdout.splitlines()
    assert Path(file).is_relative_to(prepared / "site")
    assert right == "True"
    files = {path.relative_to(prepared / "site").as_posix() for path in (prepared / "site" / "colorlab").rglob("*.py")}
    assert files == {path.relative_to(ROOT).as_posix() for path in (ROOT / "colorlab").rglob("*.py")}


def test_each_notebook_has_an_empty_folder_and_runs_with_the_wheel(prepared):
    copies = sorted((prepared / "notebooks").glob("*/*/*.ipynb"))
    assert [path.parent.name for path in copies] == ["notebooks", "solutions"]  # as the ledger names them
    for path in copies:
        shutil.copy(ROOT / "tools" / "execute.py", prepared)
        env = os.environ | {"PYTHONPATH": str(prepared / "site"), "IPYTHONDIR": str(prepared / "ipython")}
        subprocess.run([sys.executable, prepared / "execute.py", path], env=env, check=True, capture_output=True, timeout=120)
        (cell,) = nbformat.read(path, as_version=4).cells
        file, inside, first = cell.outputs[0].text.splitlines()
        assert Path(file).is_relative_to(prepared / "site")
        assert Path(first) == prepared / "site"
        assert inside == "['00_small.ipynb']"


def test_a_checkout_that_is_not_hidden_is_seen(tmp_path, monkeypatch):
    def pip(*words):  # as if it had installed nothing
        (tmp_path / "alone" / "wheel").mkdir(parents=True, exist_ok=True)
        (tmp_path / "alone" / "wheel" / "nothing.whl").touch()

    monkeypatch.setattr(alone, "pip", pip)
    with pytest.raises(RuntimeError, match="not with the built package"):
        alone.prepare(tmp_path / "alone", [])
