"""`colorlab doctor` on machines in every state. The broken ones are fresh processes in which something was hidden first."""

import ctypes
import os
import re
import shlex
import subprocess
import sys
import tomllib
import types
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from colorlab import doctor

ROOT = Path(__file__).parent.parent
HIDE = """
import sys
class Hide:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in HIDDEN:
            raise ImportError(f"{name} is hidden by the test")
sys.meta_path.insert(0, Hide())
"""
# Stand-ins for the slow imports that a test is not about: a process takes half a second where it took seven.
QUICK = """
import sys, types
for name in ("torchvision", "fastai", "skimage", "sklearn", "matplotlib", "jupyterlab", "ipywidgets"):
    sys.modules[name] = types.ModuleType(name)
"""
QUICKEST = f"{QUICK}sys.modules['torch'] = types.ModuleType('torch')\n"
VERSIONS = """
from importlib import metadata
true_version = metadata.version
def version(name):
    if name in VERSION and VERSION[name] is None:
        raise metadata.PackageNotFoundError(name)
    return VERSION.get(name) or true_version(name)
metadata.version = version
"""


def run(prelude: str = "", *options: str, path: Path | None = None) -> subprocess.CompletedProcess:
    """The doctor in a fresh process, after the prelude."""
    code = f"{prelude}\nimport sys\nfrom colorlab import doctor\nsys.exit(doctor.main())"
    env = os.environ | ({"PYTHONPATH": str(path)} if path else {})
    command = [sys.executable, *options, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, cwd=ROOT, env=env)


def line_to_paste(done: subprocess.CompletedProcess) -> list[str]:
    """The last line, as a shell would split it."""
    return shlex.split(done.stdout.strip().splitlines()[-1])


def test_a_machine_where_all_is_well():
    done = run()
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    assert done.stdout.isascii()
    assert len(done.stdout.splitlines()) <= 24  # one screen
    for label in ("python", "machine", "threads", "gpu", "precision", "memory", "disk", "packages"):
        assert re.search(rf"^{label} ", done.stdout, re.MULTILINE)
    packages = " ".join(done.stdout.split())
    for name in ("colorlab", "torch", "torchvision", "fastai", "jupyterlab"):
        assert f"{name} {metadata.version(name)}" in packages
    assert "The course can run on this machine." in done.stdout
    assert line_to_paste(done) == [sys.executable, "-m", "jupyterlab"]


def test_torch_that_cannot_be_found_at_import():
    done = run(f"HIDDEN = {{'torch'}}{HIDE}")
    assert done.returncode == 1, done.stderr
    assert re.search(r"^problem +torch \S+ does not import \(ImportError: torch is hidden", done.stdout, re.MULTILINE)
    assert "torch cannot be asked (ImportError)" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    torch = metadata.version("torch").partition("+")[0]
    expected = [sys.executable, "-m", "pip", "install", "--force-reinstall", f"torch=={torch}"]
    assert line_to_paste(done) == expected  # and torchvision, which only fails because torch does, is left alone


def test_torch_that_is_not_installed():
    done = run(f"HIDDEN = {{'torch'}}{HIDE}{QUICK}VERSION = {{'torch': None, 'pytest': None}}{VERSIONS}")
    assert done.returncode == 1, done.stderr
    assert "torch is missing" in done.stdout
    assert "test: pytest is missing" in done.stdout  # an optional part, with its own line, is not what stops the course
    need = next(r for r in doctor.requirements() if r.name == "torch")
    paste = line_to_paste(done)
    assert paste == [sys.executable, "-m", "pip", "install", f"torch{need.bounds}"]
    paste[4:4] = ["--dry-run", "--no-index", "--no-deps", "--disable-pip-version-check"]
    subprocess.run(paste, check=True, capture_output=True, timeout=60)  # pip understands the line


@pytest.mark.parametrize("raises", ["RuntimeError('a kernel image\\nof another age')", "OSError(126, 'a DLL')", "SystemExit(0)"])
def test_torch_that_breaks_while_it_is_imported(tmp_path, raises):
    (tmp_path / "torch.py").write_text(f"raise {raises}")
    done = run(QUICK, path=tmp_path)
    kind = raises.partition("(")[0]
    assert done.returncode == 1, done.stderr
    assert f"does not import ({kind}: " in " ".join(done.stdout.split())
    assert "of another age" not in done.stdout  # an error of many lines is one line here
    assert "The course cannot run" in done.stdout


def test_a_package_that_is_too_old():
    done = run(f"{QUICKEST}VERSION = {{'fastai': '2.7.19'}}{VERSIONS}")
    need = next(r for r in doctor.requirements() if r.name == "fastai")
    assert done.returncode == 1, done.stderr
    assert f"fastai 2.7.19 is not {need.bounds}" in done.stdout
    assert line_to_paste(done)[4:] == [f"fastai{need.bounds}"]


def test_an_optional_part_that_is_missing_stops_nothing():
    done = run(f"{QUICKEST}VERSION = {{'nbval': None, 'kornia': '0.1'}}{VERSIONS}")
    assert done.returncode == 0, done.stderr
    text = " ".join(done.stdout.split())
    assert "optional test: kornia 0.1 is not >=" in text
    assert "; nbval is missing" in text
    assert re.search(r'-m pip install "kornia>=[\d.]+" "nbval>=[\d.]+"$', done.stdout, re.MULTILINE)


@pytest.mark.parametrize("version", ["3.10.13", "3.14.0"])
def test_a_python_out_of_range(version):
    done = run(f"import platform\nplatform.python_version = lambda: {version!r}{QUICKEST}")
    assert done.returncode == 1, done.stderr
    assert f"this is Python {version}, and colorlab needs >=3.11,<3.14." in done.stdout
    python = ["py", "-3.11"] if sys.platform == "win32" else ["python3.11"]
    assert line_to_paste(done) == [*python, "-m", "venv", ".venv"]


def test_a_folder_whose_colorlab_is_not_installed():
    done = run("", "-S", "-E")  # neither site-packages nor the editable link to this folder: the standard library alone
    assert done.returncode == 1, done.stderr
    assert "torch cannot be asked (ModuleNotFoundError)" in done.stdout
    assert "colorlab is not installed in this Python" in done.stdout
    assert line_to_paste(done)[1:] == ["-m", "pip", "install", "-e", ".[course]"]


def test_its_reading_of_requirements_agrees_with_packaging():
    lines = metadata.requires("colorlab")
    assert lines
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = project["dependencies"] + [line for extra in project["optional-dependencies"].values() for line in extra]
    for line in lines + declared:
        ours, theirs = doctor.parse(line), Requirement(line)
        assert ours.name == theirs.name
        assert SpecifierSet(ours.bounds) == theirs.specifier
        assert not theirs.extras
        assert (str(theirs.marker) if theirs.marker else "") == (f'extra == "{ours.extra}"' if ours.extra else "")


@pytest.mark.parametrize("bounds", [">=3.11,<3.14", ">=2", "==2.15.0", "!=1.5", ">1.0", "<=2.6", ""])
def test_its_comparison_of_versions_agrees_with_packaging(bounds):
    for version in ("1.0", "1.5", "2.0.0", "2.6.0", "2.15.0", "2.15", "3.9.1", "3.11", "3.13.12", "3.14.0"):
        assert doctor.satisfies(version, bounds) == (version in SpecifierSet(bounds)), version
    assert doctor.satisfies("2.15.0+cpu", "==2.15.0")
    assert doctor.satisfies("2.15.0.dev20260101+cu130", ">=2.6")


def test_what_a_broken_module_raises_is_one_line(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    for name, body in {"sound": "", "cracked": "raise RuntimeError('a\\nb')", "leaning": "import cracked"}.items():
        (tmp_path / f"{name}.py").write_text(body)
    assert doctor.import_error("sound") is None
    assert doctor.import_error("cracked") == "RuntimeError: a"
    (tmp_path / "stopped.py").write_text("raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):  # the reader's own Ctrl-C is not a finding
        doctor.import_error("stopped")

    monkeypatch.setattr(metadata, "version", {"sound": "2.0", "cracked": "1.5+cpu", "leaning": "1.0"}.__getitem__)
    monkeypatch.setattr(metadata, "requires", {"cracked": None, "leaning": ["cracked>=1"]}.get)
    needs = [doctor.Requirement(name, ">=1", "") for name in ("sound", "cracked", "leaning", "absent")]
    here, wrong, cure = doctor.examine([*needs, doctor.Requirement("sound", ">=2.1", "")], load=True)
    assert here == ["sound 2.0"]
    assert [line.split(" (")[0] for line in wrong] == [
        "cracked 1.5+cpu does not import",
        "leaning 1.0 does not import",
        "absent is missing",
        "sound 2.0 is not >=2.1",
    ]
    assert cure == ["cracked==1.5", "absent>=1", "sound>=2.1"]  # leaning only leans on cracked


def test_an_interrupted_install_counts_as_missing(monkeypatch):
    monkeypatch.setattr(metadata, "version", lambda name: None)
    assert doctor.version_of("torch") is None


def test_the_report_in_this_process(capsys, monkeypatch):
    monkeypatch.setattr(doctor, "import_error", lambda name: None)
    monkeypatch.setattr(doctor, "memory", lambda: (4.0, 8.0))
    assert doctor.main() == 0
    assert "warning" not in capsys.readouterr().out
    monkeypatch.setattr(doctor, "memory", lambda: (1.4, 8.0))
    assert doctor.main() == 0  # little memory is a warning, not a verdict
    assert "warning    under 2 GiB of memory is free" in capsys.readouterr().out
    monkeypatch.setattr(doctor, "memory", lambda: (None, None))
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: (_ for _ in ()).throw(FileNotFoundError()))
    monkeypatch.setattr(doctor, "requirements", lambda: [doctor.Requirement("no-such-package", ">=1.2", "")])
    assert doctor.main() == 1
    out = capsys.readouterr().out
    assert "memory     unknown" in out
    assert "disk       unknown" in out
    assert "no-such-package>=1.2" in out
    monkeypatch.setattr(doctor.platform, "python_version", lambda: "3.10.1")
    assert doctor.main() == 1
    assert "3.11 -m venv .venv" in capsys.readouterr().out
    monkeypatch.setattr(doctor, "requirements", list)
    assert doctor.main() == 1


def test_a_name_with_other_letters_is_still_printed(capsys):
    doctor.show("python", "at /home/žofie/.venv")
    assert capsys.readouterr().out == "python     at /home/\\u017eofie/.venv\n"


def test_the_line_to_paste_survives_a_space_in_the_path(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/home/a b/python")
    assert shlex.split(doctor.pip_line(["x>=1"])) == ["/home/a b/python", "-m", "pip", "install", "x>=1"]
    monkeypatch.setattr(sys, "platform", "win32")
    assert doctor.pip_line(["x>=1"]).startswith('& "/home/a b/python" -m pip')


def test_memory_of_this_machine():
    free, whole = doctor.memory()
    assert 0 < free < whole
    if sys.platform == "linux":
        psutil = pytest.importorskip("psutil")
        assert free == pytest.approx(psutil.virtual_memory().available / 2**30, abs=2)
        assert whole == pytest.approx(psutil.virtual_memory().total / 2**30, abs=0.1)


def test_memory_of_a_mac(monkeypatch):
    report = "Mach Virtual Memory Statistics: (page size of 16384 bytes)\n"
    report += "Pages free:  65536.\nPages active:  9.\nPages inactive: 65536.\n"
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(doctor.subprocess, "run", lambda *a, **k: types.SimpleNamespace(stdout=report))
    monkeypatch.setattr(os, "sysconf", {"SC_PAGE_SIZE": 16384, "SC_PHYS_PAGES": 524288}.__getitem__)
    assert doctor.memory() == (2.0, 8.0)


def test_memory_of_windows(monkeypatch):
    def fill(status):
        status._obj.free, status._obj.whole = 3 * 2**30, 16 * 2**30
        return status._obj.length == 64  # the size that Windows checks

    monkeypatch.setattr(sys, "platform", "win32")
    kernel = types.SimpleNamespace(GlobalMemoryStatusEx=fill)
    monkeypatch.setattr(ctypes, "windll", types.SimpleNamespace(kernel32=kernel), raising=False)
    assert doctor.memory() == (3.0, 16.0)
    kernel.GlobalMemoryStatusEx = lambda status: 0
    assert doctor.memory() == (None, None)


def test_memory_of_another_system(monkeypatch):
    monkeypatch.setattr(os.path, "exists", lambda path: False)
    monkeypatch.setattr(os, "sysconf", {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 524288, "SC_AVPHYS_PAGES": 262144}.__getitem__)
    assert doctor.memory() == (1.0, 2.0)


def rows_with(monkeypatch, cuda=None, mps=False, driver=None):
    """The torch rows of a machine with these parts."""
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda is not None)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda i: cuda)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    monkeypatch.setattr(doctor.shutil, "which", lambda name: driver)
    return dict(doctor.torch_rows())


def test_gpus_as_torch_sees_them(monkeypatch):
    import torch

    gpu = types.SimpleNamespace(name="NVIDIA H200", total_memory=140 * 2**30)
    rows = rows_with(monkeypatch, cuda=gpu)
    assert rows["gpu"] == "NVIDIA H200 (140.0 GiB), NVIDIA H200 (140.0 GiB)"
    assert rows["precision"] == "colorlab chooses bfloat16 on cuda (bfloat16 in hardware: yes)"
    rows = rows_with(monkeypatch, mps=True)
    assert rows["gpu"].startswith("Apple's")
    assert rows["precision"] == "colorlab chooses float32 on mps (bfloat16 not used on MPS)"
    monkeypatch.setattr(torch.version, "cuda", None)
    assert "build without CUDA" in rows_with(monkeypatch, driver="/usr/bin/nvidia-smi")["gpu"]
    assert rows_with(monkeypatch)["gpu"] == "none"


def test_a_warning_from_cuda_explains_the_missing_gpu(monkeypatch):
    import warnings

    import torch

    rows_with(monkeypatch)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: warnings.warn("CUDA: the driver is too old", stacklevel=1) or False)
    assert dict(doctor.torch_rows())["gpu"] == "none that torch can use: CUDA: the driver is too old"
