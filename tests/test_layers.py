"""The library's layers: a module imports only from lower ones, and `import colorlab` stays quick.

The first tests read every import from the source, inside functions too, since a lazy import is a dependency as well.
The last ones look at what a fresh process has really loaded.
"""

import ast
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

import colorlab

ROOT = Path(colorlab.__file__).parent
LAYERS = [
    {"color"},
    {"exif", "pixels", "metrics", "intervals", "unet", "patchgan", "losses", "machine", "parallel", "_fastai"},
    {"world", "photos", "data", "download", "checkpoint", "config", "scaling", "compiling"},
    {"train", "probe", "recipes", "diagnose", "resnet"},
    {"inference", "postprocess", "learner", "learner_data"},
    {"evaluate", "check", "check_data", "plot", "widgets", "panels", "exercises"},
    {"cli", "doctor"},
    {"__main__"},
]
LAYER = {module: number for number, modules in enumerate(LAYERS) for module in modules}
SAME_LAYER = {  # the few that lean on a neighbour
    ("data", "photos"),
    ("check", "check_data"),
    ("learner", "learner_data"),
    ("learner", "inference"),
    ("recipes", "train"),
    ("recipes", "probe"),
    ("diagnose", "probe"),
    ("diagnose", "recipes"),
    ("widgets", "plot"),
    ("panels", "widgets"),
    ("panels", "plot"),
    ("cli", "doctor"),
}
ONLY_TORCH = {"color", "unet", "patchgan", "losses", "machine", "parallel", "scaling", "compiling"}
BASE = {"torch", "numpy", "PIL", "safetensors", "tqdm"}  # what `pip install colorlab` brings, without an extra
KNOWS = {  # and no other module does
    "_fastai": {"fastai"},
    "resnet": {"torchvision"},
    "plot": {"matplotlib"},
    "widgets": {"ipywidgets"},
}


def modules() -> dict[str, str]:
    """Every file of the library but the package's own door: {"exercises/ch00.py": "exercises", "color.py": "color"}."""
    files = {path.relative_to(ROOT).as_posix(): path for path in ROOT.rglob("*.py")}
    return {name: Path(name).parts[0].removesuffix(".py") for name in files if name != "__init__.py"}


def imports(source: str, package: str) -> set[str]:
    """The full name of everything that a source imports, anywhere in it: "torch.nn", "colorlab.color.encode"."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = importlib.util.resolve_name("." * node.level + (node.module or ""), package) if node.level else node.module
            found |= {f"{base}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) == "import_module":
            found |= {argument.value for argument in node.args[:1] if isinstance(argument, ast.Constant)}
    return found


def imports_of(name: str) -> tuple[set[str], set[str]]:
    """A file's imports in two sets: modules of the library, and top-level packages from outside the standard library."""
    package = ".".join(["colorlab", *Path(name).parts[:-1]])
    inside, outside = set(), set()
    for full in imports((ROOT / name).read_text(encoding="utf-8"), package):
        top, _, rest = full.partition(".")
        if top != "colorlab":
            outside |= {top} - set(sys.stdlib_module_names)
        elif rest == "colorize":  # the package's door opens on inference
            inside.add("inference")
        elif rest and not rest.startswith("__version__"):
            inside.add(rest.split(".")[0])
    return inside, outside


def test_the_reader_of_imports_sees_every_kind():
    source = "def f():\n from . import a, b\n from .c.d import e\nimport torch.nn as n\nimportlib.import_module('colorlab.g')"
    assert imports(source, "colorlab") == {"colorlab.a", "colorlab.b", "colorlab.c.d.e", "torch.nn", "colorlab.g"}
    assert imports("from .. import color", "colorlab.exercises") == {"colorlab.color"}


@pytest.mark.parametrize("name", sorted(modules()))
def test_a_module_imports_only_from_lower_layers(name):
    module = modules()[name]
    assert module in LAYER, f"colorlab/{name} has no layer yet: add {module!r} to LAYERS in {Path(__file__).name}."
    for other in imports_of(name)[0] - {module}:
        assert other in LAYER, f"colorlab/{name} imports colorlab.{other}, which has no layer: is it there?"
        lower = LAYER[other] < LAYER[module] or (module, other) in SAME_LAYER
        assert lower, f"{module} (layer {LAYER[module]}) imports {other} (layer {LAYER[other]}), which is not lower."


@pytest.mark.parametrize("name", sorted(modules()))
def test_a_module_knows_only_the_packages_it_may(name):
    module = modules()[name]
    outside = imports_of(name)[1]
    if module in ONLY_TORCH:
        assert outside <= {"torch"}, f"{module} knows only torch."
    elif module == "doctor":
        assert outside <= {"torch"}, "doctor must run where everything else is missing."
    else:
        theirs = set().union(*KNOWS.values()) - KNOWS.get(module, set())
        assert not outside & theirs, f"{module} imports {outside & theirs}, which belongs to another module."
        if module not in {*KNOWS, "exercises", "cli"}:
            assert outside <= BASE, f"{module} imports {outside - BASE}, which `pip install colorlab` does not bring."


def test_the_doctor_knows_the_machine_and_nothing_else_of_colorlab():
    assert imports_of("doctor.py")[0] == {"machine"}


def loaded_by(statement: str, packages: set[str]) -> set[str]:
    """Which of these top-level packages a fresh process has loaded after the statement."""
    code = f"{statement}\nimport sys\nprint(*sorted({{name.split('.')[0] for name in sys.modules}} & {packages!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


NOTEBOOK = {"fastai", "matplotlib", "ipywidgets", "skimage", "sklearn", "scipy", "pandas", "IPython", "ipykernel"}
JUPYTER = {"jupyter", "jupyter_core", "jupyter_client", "jupyter_server", "jupyterlab", "nbformat", "notebook"}


def test_the_probe_sees_what_is_loaded():
    assert loaded_by("import json, torch", {"json", "torch", "fastai"}) == {"json", "torch"}


@pytest.mark.parametrize("module", ["colorlab", "colorlab.cli", "colorlab.doctor"])
def test_importing_the_package_loads_nothing_heavy(module):
    assert loaded_by(f"import {module}", {"torch", "numpy", "PIL"} | NOTEBOOK | JUPYTER) == set()


def test_training_and_inference_load_nothing_of_the_notebooks():
    here = [f"colorlab.{name}" for name in ("train", "inference", "evaluate", "check") if (ROOT / f"{name}.py").exists()]
    assert loaded_by(f"import {', '.join(here)}", NOTEBOOK | JUPYTER) == set()
