"""The set-up: the lists of versions agree, `make` builds an environment once, and `.ci/run` runs what a person runs.

The Makefile and .ci/run are run for real, with stand-ins for Python, make and apt-get that only write down what they
were asked; so nothing here installs anything or needs a network.
"""

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from colorlab import doctor

ROOT = Path(__file__).parent.parent
SHELL = pytest.mark.skipif(sys.platform == "win32" or not shutil.which("make"), reason="needs make and a POSIX shell")


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


PROJECT = tomllib.loads(text("pyproject.toml"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
DECLARED = [Requirement(line) for line in PROJECT["dependencies"] + [line for extra in EXTRAS.values() for line in extra]]
LINES = [line for line in text("constraints.txt").splitlines() if line and not line.startswith("#")]
PINS = dict(line.split("==") for line in LINES)
CONDA = yaml.safe_load(text("environment.yml"))


# The lists of versions ------------------------------------------------------------------------------------------------


def test_constraints_are_plain_pins_in_order():
    for line in LINES:  # no address, no option, no local version such as +cpu, which one build alone would satisfy
        assert re.fullmatch(r"[a-z0-9-]+==[0-9][a-z0-9.]*", line), line
    assert sorted(PINS) == list(PINS)
    assert len(PINS) == len(LINES)
    assert all(name == canonicalize_name(name) for name in PINS)
    assert not {"colorlab", "pip"} & set(PINS)


@pytest.mark.parametrize("need", DECLARED, ids=str)
def test_every_declared_dependency_is_pinned_within_its_bound(need):
    assert [bound.operator for bound in need.specifier] == [">="], "an honest lower bound, which is all the doctor reads"
    assert PINS[canonicalize_name(need.name)] in need.specifier


def test_no_dependency_is_declared_twice():
    names = [canonicalize_name(need.name) for need in DECLARED]
    assert len(names) == len(set(names))


def test_every_pin_of_torch_is_met_by_the_cpu_build():
    for name in ("torch", "torchvision"):
        assert f"{PINS[name]}+cpu" in SpecifierSet(f"=={PINS[name]}")


@pytest.mark.skipif(sys.platform != "linux", reason="the tested set is Linux's; macOS and Windows bring a few packages more")
def test_what_the_dependencies_bring_along_is_pinned_too():
    todo, seen = list(DECLARED), set()
    while todo:
        need = todo.pop()
        for extra in {"", *need.extras}:
            if (key := (canonicalize_name(need.name), extra)) not in seen:
                seen.add(key)
                brought = map(Requirement, metadata.requires(need.name) or [])
                todo += [other for other in brought if other.marker is None or other.marker.evaluate({"extra": extra})]
    names = {name for name, _ in seen}
    assert len(names) > len(DECLARED)
    assert names <= set(PINS), "constraints.txt lacks what the pinned packages ask for"


def test_conda_users_get_the_same():
    assert CONDA["name"] == "colorlab"
    assert CONDA["channels"] == ["conda-forge", "nodefaults"]
    *packages, pip = CONDA["dependencies"]
    assert pip == {"pip": ["-c constraints.txt", "-e .[course,test]"]}
    specs = dict(line.partition(" ")[::2] for line in packages)
    assert set(specs) == {"python", "pytorch", "torchvision", "pip"}
    assert specs["pytorch"] == f"={PINS['torch']}"
    assert specs["torchvision"] == f"={PINS['torchvision']}"


def test_the_range_of_pythons_is_one():
    wanted = PROJECT["requires-python"]
    assert wanted == ">=3.11,<3.14"
    assert SpecifierSet(next(line for line in CONDA["dependencies"] if line.startswith("python "))[7:]) == SpecifierSet(wanted)
    fits = re.search(r"^FITS = (.*)$", text("Makefile"), re.MULTILINE)[1]
    for minor in range(9, 17):
        process = f"import sys; sys.version_info = (3, {minor}, 5, 'final', 0); {fits}"
        accepted = subprocess.run([sys.executable, "-S", "-c", process], check=False).returncode == 0
        assert accepted == (f"3.{minor}.5" in SpecifierSet(wanted)) == doctor.satisfies(f"3.{minor}.5", wanted)
    tried = re.search(r"^PYTHON \?= (.*)$", text("Makefile"), re.MULTILINE)[1].split()
    assert {"python3.11", "python3.12", "python3.13"} < set(tried)


def test_the_package_and_its_metadata_say_one_version():
    import colorlab

    assert colorlab.__version__ == PROJECT["version"] == metadata.version("colorlab")


@pytest.mark.parametrize("name", ["constraints.txt", "environment.yml", "Makefile", ".ci/run"])
def test_no_address_is_written_into_the_set_up(name):
    assert "://" not in text(name)


# README ---------------------------------------------------------------------------------------------------------------


def test_readme_names_the_two_commands_and_does_the_same_on_windows():
    readme = text("README.md")
    assert "make lab " in readme
    assert "make test " in readme
    windows = re.search(r"\*\*Windows\*\*.*?```\n(.*?)```", readme, re.DOTALL)[1].splitlines()
    assert len(windows) == 3
    install = re.search(r"-m pip install .*?(-c .*\]\")", text("Makefile"))[1]
    assert windows[0] == "py -3.13 -m venv .venv"
    assert windows[1] == rf".venv\Scripts\python -m pip install {install}"
    assert windows[2] == r".venv\Scripts\python -m jupyterlab notebooks\00_welcome.ipynb"


def test_readme_takes_the_cpu_build_from_pytorch_before_anything_else():
    block = re.search(r"\*\*Linux without a GPU.*?```\n(.*?)```", text("README.md"), re.DOTALL)[1].splitlines()
    assert "--no-deps -c constraints.txt torch torchvision --index-url https://download.pytorch.org/whl/cpu" in block[1]
    assert block[2] == "make lab"


# The wheel ------------------------------------------------------------------------------------------------------------


def test_the_wheel_holds_the_library_and_its_weights_and_nothing_else(tmp_path):
    pytest.importorskip("hatchling")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=120)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        extra = {Path(name).name for name in archive.namelist() if ".dist-info/" in name}
    files = {path for path in (ROOT / "colorlab").rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    assert names == {path.relative_to(ROOT).as_posix() for path in files}  # notebooks and tests are none of them
    assert {"LICENSE", "entry_points.txt", "METADATA"} <= extra


# make -----------------------------------------------------------------------------------------------------------------

# A Python that notes what it is asked: it runs `-c` with the real one, makes an environment with itself in it, and only
# writes down what pip should install. PIP_FAILS and VENV_FAILS are files that make it fail as the real one may.
STAND_IN = """#!/bin/sh
echo "$*" >> {log}
case "$*" in
  "-c "*) exec {python} "$@" ;;
  --version) echo "Python 3.12.0" ;;
  "-m venv "*)
    for folder; do :; done
    case "$*" in *" --clear "*) rm -r "$folder" ;; esac
    mkdir -p "$folder/bin"; cp "$0" "$folder/bin/python"; touch "$folder/pyvenv.cfg"
    if test -e {fail}/VENV_FAILS; then exit 1; fi ;;
  "-m pip install "*) if test -e {fail}/PIP_FAILS; then exit 1; fi ;;
esac
"""
TOOLS = ["sh", "cat", "cksum", "awk", "rm", "id", "mkdir", "cp", "touch"]


class Workshop:
    """A checkout with nothing in it but the set-up's files, on a machine with just the programs that a test names."""

    def __init__(self, folder: Path):
        self.here, self.bin, self.log = folder / "check out", folder / "bin", folder / "log"
        self.fail = folder
        self.here.mkdir()
        self.bin.mkdir()
        for name in ("Makefile", "constraints.txt", "pyproject.toml"):
            shutil.copy(ROOT / name, self.here)
        for tool in TOOLS:
            (self.bin / tool).symlink_to(shutil.which(tool))

    def program(self, name: str, script: str) -> None:
        (self.bin / name).write_text(script)
        (self.bin / name).chmod(0o755)

    def python(self, name: str) -> None:
        self.program(name, STAND_IN.format(log=self.log, python=sys.executable, fail=self.fail))

    def make(self, *words: str) -> subprocess.CompletedProcess:
        command = [shutil.which("make"), *words]
        env = {"PATH": str(self.bin)}
        return subprocess.run(command, cwd=self.here, env=env, capture_output=True, text=True, check=False, timeout=60)

    def installs(self) -> list[str]:
        """Every `pip install` so far."""
        return [line for line in self.log.read_text().splitlines() if line.startswith("-m pip install")]


@pytest.fixture
def workshop(tmp_path):
    return Workshop(tmp_path)


@SHELL
def test_make_alone_lists_the_commands(workshop):
    done = workshop.make()
    assert done.returncode == 0, done.stderr
    for name in ("lab", "test", "test-all", "bench", "lint"):
        assert re.search(rf"^  make {name} +\S", done.stdout, re.MULTILINE)
    assert not workshop.log.exists()


@SHELL
def test_make_installs_once_until_something_changes(workshop):
    workshop.python("python3")
    done = workshop.make("setup")
    assert done.returncode == 0, done.stderr
    assert (workshop.here / ".venv" / "colorlab.stamp").exists()
    line = "-m pip install --disable-pip-version-check -c constraints.txt -e .[course,test]"
    assert workshop.installs() == [line]
    assert workshop.log.read_text().splitlines()[-1].endswith("disable --level=sys_prefix @jupyter/nbgrader")
    again = workshop.make("setup")
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")
    assert len(workshop.installs()) == 1

    for name in ("constraints.txt", "pyproject.toml"):
        before = len(workshop.installs())
        with (workshop.here / name).open("a") as file:
            file.write("# changed\n")
        workshop.make("setup")
        workshop.make("setup")
        assert len(workshop.installs()) == before + 1, name
    assert sum(entry.startswith("-m venv") for entry in workshop.log.read_text().splitlines()) == 1


@SHELL
def test_an_environment_outside_follows_the_checkout(workshop, tmp_path):
    workshop.python("python3")
    outside = f"VENV={tmp_path / 'cache' / 'venv'}"
    workshop.make("setup", outside)
    workshop.make("setup", outside)
    assert len(workshop.installs()) == 1
    workshop.here = workshop.here.rename(tmp_path / "moved")
    workshop.make("setup", outside)
    workshop.make("setup", outside)
    assert len(workshop.installs()) == 2  # the editable link pointed to the old place
    assert not (workshop.here / ".venv").exists()


@SHELL
def test_a_half_built_environment_is_built_again(workshop):
    workshop.python("python3")
    (workshop.fail / "PIP_FAILS").touch()
    assert workshop.make("setup").returncode != 0
    assert workshop.make("lint").returncode != 0
    assert len(workshop.installs()) == 2
    (workshop.fail / "PIP_FAILS").unlink()
    assert workshop.make("setup").returncode == 0
    assert len(workshop.installs()) == 3
    (workshop.here / ".venv" / "bin" / "python").unlink()  # as after the system's Python was replaced
    (workshop.here / ".venv" / "bin" / "python").symlink_to("/gone/python3.11")
    assert workshop.make("setup").returncode == 0
    assert len(workshop.installs()) == 4
    assert "-m venv --clear .venv" in workshop.log.read_text()


@SHELL
def test_make_takes_the_first_python_that_really_runs(workshop):
    workshop.program("python3", "#!/bin/sh\necho 'pyenv: python3: command not found' >&2\nexit 127\n")
    workshop.program("python3.13", "#!/bin/sh\nexit 1\n")  # as a Python out of range answers
    workshop.python("python3.12")
    done = workshop.make("setup")
    assert done.returncode == 0, done.stderr
    assert "pyenv" not in done.stdout + done.stderr
    assert len(workshop.installs()) == 1


@SHELL
def test_without_a_python_make_says_so_in_one_sentence(workshop):
    workshop.program("python3", "#!/bin/sh\nexit 127\n")
    done = workshop.make("lab")
    assert done.returncode != 0
    assert "colorlab needs Python 3.11, 3.12 or 3.13, and none of these runs here: python3 python3.13" in done.stderr
    assert done.stdout == ""


@SHELL
def test_without_venv_make_says_the_cure(workshop):
    workshop.python("python3")
    (workshop.fail / "VENV_FAILS").touch()
    done = workshop.make("test")
    assert done.returncode != 0
    package = "python{}.{}-venv".format(*sys.version_info)
    assert f"On Debian and Ubuntu the cure is: sudo apt-get install {package}" in done.stderr
    (workshop.fail / "VENV_FAILS").unlink()
    assert workshop.make("setup").returncode == 0  # and what it left behind is cleared


@SHELL
def test_what_make_test_runs(workshop):
    (workshop.here / "notebooks" / "solutions").mkdir(parents=True)
    nothing = workshop.make("-n", "test")
    assert "There are no notebooks yet." in nothing.stdout
    for name in ("00_welcome.ipynb", "solutions/00_welcome.ipynb"):
        (workshop.here / "notebooks" / name).touch()
    everything, some = workshop.make("-n", "test-all").stdout, workshop.make("-n", "test").stdout
    for out in (everything, some):
        assert "-m ruff check ." in out
        unit, books = re.findall(r"^.*OMP_NUM_THREADS=1 .*-m pytest -n 2 .*$", out, re.MULTILINE)
        assert all(part in unit for part in ("--doctest-modules", "--cov-branch", "--cov-fail-under=90", " tests colorlab"))
        copied, _, run = books.partition(" && ")  # each alone, with the wheel: tests/test_wheel.py
        assert copied.endswith("tools/alone.py runs/alone notebooks/00_welcome.ipynb notebooks/solutions/00_welcome.ipynb")
        assert run.startswith(f'PYTHONPATH="{workshop.here}/runs/alone/site" OMP_NUM_THREADS=1 ')
        assert "--nbval-lax" in run
        assert run.endswith(" runs/alone/notebooks")
    assert '-m "not exhaustive"' in some
    assert "not exhaustive" not in everything


@SHELL
def test_make_lab_opens_the_first_chapter(workshop):
    workshop.python("python3")
    (workshop.here / "notebooks").mkdir()
    (workshop.here / "notebooks" / "00_welcome.ipynb").touch()
    done = workshop.make("lab")
    assert done.returncode == 0, done.stderr
    root = "--allow-root " if os.getuid() == 0 else ""
    there = "--ServerApp.root_dir=notebooks --LabApp.default_url=/lab/tree/00_welcome.ipynb"
    assert workshop.log.read_text().splitlines()[-1] == f"-m jupyterlab {root}{there}"


@SHELL
def test_make_bench_runs_each_benchmark_and_stops_at_a_failure(workshop):
    workshop.python("python3")
    assert "no benchmarks yet" in workshop.make("bench").stdout
    (workshop.here / "benchmarks").mkdir()
    for name in ("bench_a.py", "bench_b.py", "other.py"):
        (workshop.here / "benchmarks" / name).touch()
    done = workshop.make("bench")
    assert done.stdout.splitlines()[-2:] == ["== benchmarks/bench_a.py", "== benchmarks/bench_b.py"]
    assert workshop.log.read_text().splitlines()[-2:] == ["benchmarks/bench_a.py", "benchmarks/bench_b.py"]


# .ci/run --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def ci(workshop, tmp_path):
    """Runs .ci/run in the workshop, with a make that writes down its words; (exit status, output, words)."""
    if not shutil.which("bash"):
        pytest.skip("needs bash")
    for tool in ("bash", "dirname", "find", "tr", "env"):
        (workshop.bin / tool).symlink_to(shutil.which(tool))
    (workshop.here / ".ci").mkdir()
    shutil.copy(ROOT / ".ci" / "run", workshop.here / ".ci")
    workshop.program("make", f'#!/bin/sh\necho "$*" >> {workshop.log}\ntest ! -e {workshop.fail}/MAKE_FAILS\n')
    workshop.program("timeout", '#!/bin/sh\nshift\nexec "$@"\n')
    workshop.program("python3", "#!/bin/sh\nexit 0\n")

    def run(user: int) -> tuple[int, str, list[str]]:
        (workshop.bin / "id").unlink()
        workshop.program("id", f"#!/bin/sh\necho {user}\n")
        env = {"PATH": str(workshop.bin), "XDG_CACHE_HOME": str(tmp_path / "cache")}
        command = [shutil.which("bash"), ".ci/run"]
        done = subprocess.run(command, cwd=workshop.here, env=env, capture_output=True, text=True, check=False, timeout=60)
        return done.returncode, done.stdout + done.stderr, workshop.log.read_text().splitlines() if workshop.log.exists() else []

    return run


@SHELL
def test_ci_runs_make_test_in_an_environment_for_these_dependencies(ci, workshop, tmp_path):
    status, out, words = ci(user=1000)
    assert (status, out) == (0, "")
    (call,) = words
    assert re.fullmatch(rf"test VENV={tmp_path}/cache/colorlab/venv-\d+-\d+", call)
    assert ci(user=1000)[2] == [call, call]
    with (workshop.here / "constraints.txt").open("a") as file:
        file.write("# changed\n")
    assert ci(user=1000)[2][-1] != call
    (workshop.fail / "MAKE_FAILS").touch()
    assert ci(user=1000)[0] != 0


@SHELL
def test_ci_forgets_only_the_environments_long_unused(ci, tmp_path):
    cache = tmp_path / "cache" / "colorlab"
    for name in ("venv-1-1", "venv-2-2", "photographs"):
        (cache / name).mkdir(parents=True)
    for name in ("venv-1-1", "photographs"):
        os.utime(cache / name, (0, 0))
    used = Path(ci(user=1000)[2][0].partition("=")[2])
    used.mkdir()
    os.utime(used, (0, 0))
    ci(user=1000)
    assert {path.name for path in cache.iterdir()} == {"venv-2-2", "photographs", used.name}


@SHELL
def test_ci_installs_a_browser_where_it_may_and_goes_on_where_that_fails(ci, workshop):
    workshop.program("apt-get", f'#!/bin/sh\necho "apt-get $*" >> {workshop.log}\n')
    assert ci(user=1000)[2][0].startswith("test ")  # not root: nothing is installed
    workshop.log.unlink()
    status, out, words = ci(user=0)
    assert status == 0
    assert [word.split()[-1] for word in words[:2]] == ["-qq", "chromium"]
    assert words[2].startswith("test ")
    workshop.program("apt-get", "#!/bin/sh\nexit 100\n")
    status, out, words = ci(user=0)
    assert status == 0
    assert "Could not install chromium; going on without it." in out
    assert words[-1].startswith("test ")


def test_ci_is_a_strict_bash_script():
    assert text(".ci/run").startswith("#!/usr/bin/env bash\n")
    assert "\nset -euo pipefail\n" in text(".ci/run")
    if sys.platform != "win32":
        assert os.access(ROOT / ".ci" / "run", os.X_OK)
