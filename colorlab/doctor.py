"""`colorlab doctor`: what this machine has, whether the course can run on it, and the line that mends it.

Knows only the standard library, because it must run where everything else is missing or broken; torch is imported
inside a function, and whatever that raises becomes a line of the report. What the course needs is read from the
installed package's own metadata: there is no second list to fall behind. It prints ASCII, which every console shows.
"""

import importlib
import operator
import os
import platform
import re
import shutil
import subprocess
import sys
import textwrap
import warnings
from importlib import metadata
from typing import NamedTuple

COURSE = ("", "course")  # what the course cannot do without: the package's own requirements, and this extra
MODULES = {"pillow": "PIL", "scikit-image": "skimage", "scikit-learn": "sklearn"}  # imported by another name
LOW_MEMORY = 2.0  # GiB: under it a chapter may be ended by the system, so it is worth a warning
_COMPARE = {">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt, "==": operator.eq, "!=": operator.ne}


class Requirement(NamedTuple):
    """One line of what the package declares that it needs."""

    name: str  # as the package index spells it: scikit-image
    bounds: str  # ">=0.25", possibly several with commas, possibly none
    extra: str  # "" when the package itself needs it


def parse(text: str) -> Requirement:
    """One line of the installed metadata, read without the `packaging` library, which may be missing.

    >>> parse("scikit-image>=0.25; extra == 'course'")
    Requirement(name='scikit-image', bounds='>=0.25', extra='course')
    """
    need, _, marker = text.partition(";")
    name = re.match(r"[\w.-]+", need.strip())[0]
    extra = re.search(r"extra\s*==\s*['\"]([\w-]+)['\"]", marker)
    return Requirement(name, re.sub(r"[\s()]", "", need.strip()[len(name) :]), extra[1] if extra else "")


def satisfies(version: str, bounds: str) -> bool:
    """Whether a version keeps to its bounds. Only the numbers count: 2.6.0rc1 and 2.6.0+cpu are 2.6.0 here.

    >>> satisfies("3.14.0", ">=3.11,<3.14"), satisfies("2.15.0+cpu", ">=2.6")
    (False, True)
    """

    def release(text: str) -> tuple[int, ...]:
        numbers = [int(n) for n in re.match(r"\d+(\.\d+)*", text)[0].split(".")]
        while numbers and not numbers[-1]:  # 2.0 and 2 are one version
            numbers.pop()
        return tuple(numbers)

    parts = [re.match(r"([<>=!]=?)(.+)", bound) for bound in bounds.split(",") if bound]
    return all(_COMPARE[op](release(version), release(limit)) for op, limit in (part.groups() for part in parts))


def requirements() -> list[Requirement]:
    """What the installed colorlab declares; empty where it is not installed, only lying in the folder."""
    try:
        return [parse(line) for line in metadata.requires("colorlab") or []]
    except metadata.PackageNotFoundError:
        return []


def version_of(name: str) -> str | None:
    """The installed version of a distribution; None where it is missing, or an interrupted pip left only a shell."""
    try:
        return metadata.version(name) or None
    except (metadata.PackageNotFoundError, KeyError):
        return None


def import_error(name: str) -> str | None:
    """Import a distribution's module; what that raised, in one line, or None. A broken install may raise anything."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            importlib.import_module(MODULES.get(name, name.replace("-", "_")))
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        return f"{type(error).__name__}: {(str(error).strip() or 'no message').splitlines()[0][:100]}"
    return None


def examine(needs: list[Requirement], load: bool) -> tuple[list[str], list[str], list[str]]:
    """Look each requirement up: (what is here, what is wrong, what pip must install).

    With `load`, each module is imported too. One that fails because another already did is named, not reinstalled.
    """
    here, wrong, cure, failed = [], [], [], set()
    for name, bounds, _ in needs:
        version = version_of(name)
        if version is None:
            wrong.append(f"{name} is missing")
            cure.append(f"{name}{bounds}")
        elif not satisfies(version, bounds):
            wrong.append(f"{name} {version} is not {bounds}")
            cure.append(f"{name}{bounds}")
        elif load and (error := import_error(name)):
            wrong.append(f"{name} {version} does not import ({error})")
            if not failed & {parse(line).name for line in metadata.requires(name) or []}:
                cure.append(f"{name}=={version.partition('+')[0]}")
        else:
            here.append(f"{name} {version}")
            continue
        failed.add(name)
    return here, wrong, cure


def pip_line(packages: list[str], force: bool = False) -> str:
    """The line to paste: this very Python's pip, whichever Python comes first on the PATH."""
    python = f'"{sys.executable}"' if " " in sys.executable else sys.executable
    if " " in sys.executable and sys.platform == "win32":
        python = "& " + python  # PowerShell runs a quoted path only so
    return f"{python} -m pip install {'--force-reinstall ' if force else ''}" + " ".join(f'"{p}"' for p in packages)


def memory() -> tuple[float | None, float | None]:
    """Free and whole memory in GiB, by what each system offers without psutil; None where it does not say."""
    try:
        if sys.platform == "win32":
            return _windows_memory()
        page = os.sysconf("SC_PAGE_SIZE")
        whole = os.sysconf("SC_PHYS_PAGES") * page
        if sys.platform == "darwin":
            report = subprocess.run(["vm_stat"], capture_output=True, text=True, timeout=10, check=True).stdout
            page = int(re.search(r"page size of (\d+)", report)[1])
            free = page * sum(int(n) for n in re.findall(r"Pages (?:free|inactive|speculative):\s+(\d+)", report))
        elif os.path.exists("/proc/meminfo"):
            with open("/proc/meminfo", encoding="ascii") as lines:
                free = 1024 * int(re.search(r"MemAvailable:\s+(\d+)", lines.read())[1])
        else:
            free = os.sysconf("SC_AVPHYS_PAGES") * page
        return free / 2**30, whole / 2**30
    except Exception:  # a system that keeps this to itself is no reason to stop
        return None, None


def _windows_memory() -> tuple[float, float]:
    import ctypes

    class Status(ctypes.Structure):  # MEMORYSTATUSEX
        _fields_ = [("length", ctypes.c_uint32), ("load", ctypes.c_uint32)] + [
            (name, ctypes.c_uint64) for name in ("whole", "free", "page", "page_free", "virtual", "virtual_free", "extended")
        ]

    status = Status(length=ctypes.sizeof(Status))
    if not ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status)):
        raise OSError("GlobalMemoryStatusEx failed")
    return status.free / 2**30, status.whole / 2**30


def cores() -> int | None:
    """The cores that this process may use, which in a container or under taskset are fewer than the machine's."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def torch_rows() -> list[tuple[str, str]]:
    """Threads, GPU and precision as torch sees them; one row that says so where torch cannot be asked."""
    try:
        with warnings.catch_warnings(record=True) as caught:  # "your driver is too old" comes as a warning
            warnings.simplefilter("always")
            import torch

            from colorlab import machine

            chosen = machine.Machine.detect()
            gpu, bf16 = "none", machine.cpu_has_bf16()
            if torch.cuda.is_available():
                gpus = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
                gpu = ", ".join(f"{g.name} ({g.total_memory / 2**30:.1f} GiB)" for g in gpus)
                bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
            elif chosen.device == "mps":
                gpu = "Apple's, through MPS; it shares the machine's memory"
            elif torch.version.cuda is None and shutil.which("nvidia-smi"):
                gpu = "none that torch can use: an NVIDIA driver is here, but this torch is a build without CUDA"
            elif notes := [str(w.message).strip().splitlines()[0] for w in caught if "CUDA" in str(w.message)]:
                gpu = f"none that torch can use: {notes[0][:200]}"
        hardware = "not used on MPS" if chosen.device == "mps" else f"in hardware: {'yes' if bf16 else 'no'}"
        return [
            ("threads", f"{torch.get_num_threads()} for torch"),
            ("gpu", gpu),
            ("precision", f"colorlab chooses {chosen.precision} on {chosen.device} (bfloat16 {hardware})"),
        ]
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        return [("gpu", f"unknown, torch cannot be asked ({type(error).__name__})")]


def show(label: str, text: str) -> None:
    """One row, wrapped under itself, in characters that any console can print."""
    text = text.encode("ascii", "backslashreplace").decode("ascii")
    indent = " " * 11
    print(textwrap.fill(f"{label:<10} {text}", 88, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False))


def main() -> int:
    """Print one screen about this machine; 0 when the course can run here, 1 when not. Chapter 00."""
    python, needs = platform.python_version(), requirements()
    bounds = metadata.metadata("colorlab")["Requires-Python"].split(",") if needs else []
    wanted = ",".join(sorted(bounds, reverse=True))  # ">=3.11,<3.14": builders write them in any order
    show("python", f"{python} at {sys.executable}")
    show("machine", f"{platform.system()} {platform.machine()}, {cores() or 'unknown'} cores")
    for label, text in torch_rows():
        show(label, text)
    free, whole = memory()
    show("memory", "unknown" if free is None else f"{free:.1f} of {whole:.1f} GiB free")
    if free is not None and free < LOW_MEMORY:
        show("warning", f"under {LOW_MEMORY:.0f} GiB of memory is free: close other programs before you run a chapter")
    try:
        show("disk", f"{shutil.disk_usage(os.getcwd()).free / 2**30:.1f} GiB free in this folder")
    except OSError:
        show("disk", "unknown")

    here, wrong, cure = examine([need for need in needs if need.extra in COURSE], load=True)
    show("packages", ", ".join([f"colorlab {version_of('colorlab') or 'not installed'}", *here]))
    for text in wrong:
        show("problem", text)
    for extra in sorted({need.extra for need in needs} - set(COURSE)):
        _, lacking, line = examine([need for need in needs if need.extra == extra], load=False)
        show("optional", f"{extra}: {'; '.join(lacking) or 'complete'}")
        if line:
            print("           " + pip_line(line))

    print()
    if not needs:
        print("The course cannot run: colorlab is not installed in this Python. From the course's folder, paste:")
        print("  " + pip_line(["-e", ".[course]"]))
        return 1
    if not satisfies(python, wanted):
        oldest = re.search(r">=(\d+\.\d+)", wanted)[1]
        print(f"The course cannot run: this is Python {python}, and colorlab needs {wanted}. With such a Python, paste:")
        print(f"  {f'py -{oldest}' if sys.platform == 'win32' else f'python{oldest}'} -m venv .venv")
        return 1
    if wrong:
        print("The course cannot run until the problems above are mended. Paste:")
        print("  " + pip_line(cure, force=any("==" in package for package in cure)))
        return 1
    print("The course can run on this machine. To open it, paste:")
    print("  " + pip_line([]).partition(" -m ")[0] + " -m jupyterlab")
    return 0


if __name__ == "__main__":
    sys.exit(main())
