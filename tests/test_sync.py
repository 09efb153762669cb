"""What a chapter builds is what ships: marked definitions of the notebooks are the library's, but for words.

A notebook marks its last version of a thing with a comment above the definition, `# = colorlab.color.encode`. Compared are the
syntax trees, without docstrings, annotations and checks of arguments, and with private names (`_mix`) as the public ones
that a reader writes (`mix`). A constant (`BCE = …`) is a definition too, and its value is what is compared. That the
constants and helpers behind the names are equal too, to the bit and with gradients, the notebook proves when it runs, with
`exercises.proof`.
"""

import ast
import importlib
import inspect
import re
from pathlib import Path

import nbformat
import pytest

NOTEBOOKS = sorted(Path(__file__).parents[1].glob("notebooks/[0-9]*.ipynb"))
MARK = re.compile(r"^# = (colorlab\.[\w.]+)\n(?:@.*\n)*(?:(?:def|class) |(?=[A-Z_]+ = ))(\w+)", re.MULTILINE)
BUILT = {  # what each chapter must build, at least
    "01": {"srgb_to_linear", "linear_to_srgb", "_matrix", "_mix", "_rgb_to_lab", "_lab_to_rgb", "lab_to_code"},
    "02": {"mean_chroma"},
    "03": {"delta_e76", "psnr", "grey", "mean_chroma"},
    "04": {"block", "UNet"},
    "05": {"BCE", "LEAST_SQUARES", "HINGE"},
    "06": {"receptive_field", "PatchGAN"},
    "07": {"l1_step", "train_step", "EMA"},
    "08": {"flatten_optimizer", "restore_optimizer", "_digest", "save"},
}


class Bare(ast.NodeTransformer):
    """A definition without its words: docstrings, annotations, checks of arguments, the underscores of private names."""

    def visit_body(self, node):
        keep = [x for x in node.body if not (isinstance(x, ast.Expr) and self.is_words(x.value))]
        node.body = keep or [ast.Pass()]
        node.name = node.name.lstrip("_") if not node.name.startswith("__") else node.name
        return self.generic_visit(node)

    visit_ClassDef = visit_body

    def visit_FunctionDef(self, node):
        node.returns = None
        return self.visit_body(node)

    def visit_arg(self, node):
        node.annotation = None
        return node

    def visit_Name(self, node):
        node.id = node.id.lstrip("_")
        return node

    def visit_Attribute(self, node):  # `color.AB_SCALE` in a module that imports color is AB_SCALE
        self.generic_visit(node)
        mine = isinstance(node.value, ast.Name) and node.value.id in {"color", "metrics", "unet"}
        return ast.Name(node.attr, node.ctx) if mine else node

    @staticmethod
    def is_words(value):
        if isinstance(value, ast.Constant):
            return True
        name = getattr(value.func, "id", getattr(value.func, "attr", "")) if isinstance(value, ast.Call) else ""
        return name.lstrip("_") in {"check", "check_pair"}


def names(node: ast.stmt) -> set[str]:
    """What a statement defines: a function or class, or a constant that it assigns."""
    targets = node.targets if isinstance(node, ast.Assign) else []
    return {x.lstrip("_") for x in [getattr(node, "name", ""), *(getattr(target, "id", "") for target in targets)] if x}


def bare(source: str, name: str) -> str:
    """A definition's syntax tree, as text, without its words."""
    node = next(x for x in ast.parse(source).body if name.lstrip("_") in names(x))
    return ast.dump(Bare().visit(node))


def source_of(module, symbol: str) -> str:
    """Where a symbol is defined: its own source, or for a constant, which has none, its module's."""
    found = getattr(module, symbol)
    return inspect.getsource(found if inspect.isfunction(found) or inspect.isclass(found) else module)


def marked(path: Path) -> list[tuple[str, str, str]]:
    """(the library's name, the notebook's name, the cell) of every marked definition."""
    cells = [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    return [(full, name, cell) for cell in cells for full, name in MARK.findall(cell)]


ALL = [(path.stem, *definition) for path in NOTEBOOKS for definition in marked(path)]


@pytest.mark.parametrize(("notebook", "full", "name", "cell"), ALL, ids=[f"{n}-{f}" for n, f, *_ in ALL])
def test_a_marked_definition_is_the_librarys(notebook, full, name, cell):
    module, _, symbol = full.rpartition(".")
    source = source_of(importlib.import_module(module), symbol)
    assert name.lstrip("_") == symbol.lstrip("_")
    assert bare(cell, name) == bare(source, symbol)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_chapter_builds_what_it_should_and_proves_it_equal(path):
    built = {full.rpartition(".")[2] for full, _, _ in marked(path)}
    assert BUILT.get(path.stem[:2], set()) <= built
    notebook = nbformat.read(path, as_version=4)
    proofs = [cell for cell in notebook.cells if cell.cell_type == "code" and "exercises.proof(" in cell.source]
    assert bool(proofs) == bool(built), "what is built is proved where it is built"
    for cell in proofs:
        said = "".join(str(output) for output in cell.outputs)
        assert "✓" in said
        assert "✗" not in said


def test_a_changed_definition_is_seen():
    theirs = "def f(x: int) -> int:\n    '''Twice.'''\n    check('x', x)\n    return _twice(x)"
    assert bare(theirs, "f") == bare("def f(x):\n    return twice(x)", "f")
    for other in ("def f(x):\n    return twice(x) + 0", "def f(x, y=1):\n    return twice(x)", "def f(x):\n    return thrice(x)"):
        assert bare(theirs, "f") != bare(other, "f")
    # a mark without a definition below it is not taken for one
    assert MARK.findall("# = colorlab.color.encode\nencode = color.encode") == []


def test_a_changed_constant_is_seen():
    theirs = "import x\n# why\nPAIR = Pair(lambda a: a + 1, 2)  # two"
    assert bare(theirs, "PAIR") == bare("PAIR = Pair(\n    lambda a: a + 1,\n    2,\n)\nprint(PAIR)", "PAIR")
    for other in ("PAIR = Pair(lambda a: a + 2, 2)", "PAIR = losses.PAIR", "PAIR = Pair(lambda b: b + 1, 2)"):
        assert bare(theirs, "PAIR") != bare(other, "PAIR")
    assert MARK.findall("# = colorlab.losses.BCE\nBCE = Adversarial(") == [("colorlab.losses.BCE", "BCE")]
