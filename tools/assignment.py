"""Make an assignment for nbgrader out of a chapter's exercises, with numbers of its own if a variant is asked for.

    python tools/assignment.py 05 --out COURSE [--variant 17]

COURSE becomes a course folder as nbgrader has it: source/05-17 is the teacher's, with the tests that give the points;
release/05-17 is what students get. The notebook holds the exercises and what they use of the chapter, not the chapter:
that is what students read, beside it. The same variant is the same assignment, on every machine.
"""

import argparse
import ast
import os
import re
import subprocess
import symtable
import sys
from dataclasses import dataclass
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from colorlab import exercises

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
POINTS = 10  # for an exercise that is right; there are no halves of one
TITLE = re.compile(r"^# (.*)", re.MULTILINE)
EXERCISE = re.compile(r"(?=\*\*Exercise (\d\d\.\d+)\.\*\*)")
CONFIG = """# nbgrader reads this in the course's folder. Run its commands there: nbgrader autograde, nbgrader generate_feedback.
c = get_config()
c.CourseDirectory.course_id = "colorlab"
c.ClearSolutions.code_stub = {"python": "# Your work stands above this line."}
c.ExecutePreprocessor.timeout = 450  # seconds for a cell
"""
HIDDEN = """# {points} points, if exercise {number} is right. What is run here is the teacher's.
### BEGIN HIDDEN TESTS
import contextlib as _contextlib, io as _io
from colorlab.exercises import check as _check

with _contextlib.redirect_stderr(_io.StringIO()):  # nbgrader takes a warning for a failure
    _verdict = _check("{number}", {answer}{variant})
assert _verdict.right, _verdict.words
### END HIDDEN TESTS"""


def exercises_of(cells: list) -> dict[str, tuple[str, list[int]]]:
    """A chapter's exercises: number → (text, the indices of its code cells, of which the last holds its check)."""
    found, number, text, code = {}, None, "", []
    for index, cell in enumerate(cells):
        if cell.cell_type == "markdown":
            for part in EXERCISE.split(cell.source)[1:]:
                if part.startswith("**Exercise"):
                    text, code = part.strip(), []
                else:
                    number = part
        elif number:
            code.append(index)
            if f'exercises.check("{number}"' in cell.source:
                found[number], number = (text, code), None
    return found


@dataclass(frozen=True)
class Statement:
    """One of a cell's statements, by the names of the notebook's that it uses, makes and changes."""

    cell: int
    source: str
    used: set[str]
    made: set[str]
    changed: set[str]


def statements(source: str, cell: int = 0) -> list[Statement]:
    """A cell's statements in order."""
    lines, found = source.splitlines(), []
    for node in ast.parse(source).body:
        first = min([node.lineno, *(decorator.lineno for decorator in getattr(node, "decorator_list", []))])
        own = "\n".join(lines[first - 1 : node.end_lineno])
        table = symtable.symtable(own, "statement", "exec")
        used = {symbol.get_name() for symbol in table.get_symbols() if symbol.is_referenced()}
        made = {symbol.get_name() for symbol in table.get_symbols() if symbol.is_assigned() or symbol.is_imported()}
        inside = table.get_children()
        while inside:
            scope = inside.pop()
            used |= {symbol.get_name() for symbol in scope.get_symbols() if symbol.is_global() and symbol.is_referenced()}
            inside += scope.get_children()
        changed = set() if isinstance(node, ast.FunctionDef | ast.ClassDef) else set(map(root, filter(changes, ast.walk(node))))
        if isinstance(node, ast.For | ast.With | ast.While | ast.If):  # what such a block makes, it uses itself
            used -= made - changed
        found.append(Statement(cell, own, used, made, changed))
    return found


def changes(node: ast.AST) -> bool:
    """Whether a thing may be changed here: `x += 1`, `x[0] = 1`, `x.fit(…)` with nothing done with what comes back."""
    call = isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and isinstance(node.value.func, ast.Attribute)
    store = isinstance(node, ast.Attribute | ast.Subscript) and isinstance(node.ctx, ast.Store)
    return call or store or isinstance(node, ast.AugAssign)


def root(node: ast.AST) -> str:
    """`x` of `x[0].y(…)`; nothing where it does not begin with a name."""
    while not isinstance(node, ast.Name):
        node = next((getattr(node, name) for name in ("target", "value", "func") if hasattr(node, name)), None)
        if node is None:
            return ""
    return node.id


def mentioned(text: str, before: list[Statement]) -> set[str]:
    """The chapter's names that an exercise's text speaks of, as code: functions, classes, and things whose methods are named."""
    code = re.findall(r"`([A-Za-z_]\w*)([.(]?)[^`]*`", text)
    functions = {name for one in before for name in one.made if re.match(rf"(@.*\n)*(def|class) {name}\b", one.source)}
    assigned = {name for one in before for name in one.made if re.match(rf"{name}\b.* = ", one.source)}
    return {name for name, mark in code if name in functions or (mark == "." and name in assigned)}


def carried(cells: list, found: dict[str, tuple[str, list[int]]], after: int) -> dict[int, str]:
    """What the exercises use of the chapter below its cell `after`: the cells, each cut down to the statements that they need."""
    every = [one for n, cell in enumerate(cells) if cell.cell_type == "code" for one in statements(cell.source, n)]
    modules = {name for one in every if re.match("import |from |try:", one.source) for name in one.made}
    starts = {code[0]: text for text, code in found.values()}
    work = {index for _, code in found.values() for index in code}
    called, kept = set(), None  # what functions use may be made after them, so their names are looked for from the end
    while True:
        names, seen, kept = set(called), kept, {}
        for n in range(len(every) - 1, -1, -1):
            one = every[n]
            if one.cell in work:
                names = names - one.made | one.used
                names |= mentioned(starts.get(one.cell, ""), every[:n])
            elif one.cell > after and names & (one.made | one.changed - modules):
                names = names - (one.made - one.changed) | one.used
                kept.setdefault(one.cell, []).insert(0, one.source)
                called |= one.used if one.source.startswith(("def ", "class ", "@")) else set()
        if kept == seen:
            return {cell: "\n\n".join(sources) for cell, sources in sorted(kept.items())}


def rewritten(text: str, number: str, variant: int) -> str:
    """An exercise's text or code with the variant's words in place of the chapter's own."""
    own = exercises.given(number)
    if own is None or not own.words:
        return text
    words = dict(zip(own.words, exercises.given(number, variant).words, strict=True))
    return re.sub("|".join(map(re.escape, sorted(words, key=len, reverse=True))), lambda found: words[found.group()], text)


def work_and_answer(sources: list[str], number: str) -> tuple[str, str]:
    """What a student works on, of an exercise's cells, and the name of what is checked in the end."""
    *before, last = (bare(source) for source in sources)
    lines, wanted = last.splitlines(), f"exercises.check('{number}'"
    checks = [node for node in ast.parse(last).body if ast.unparse(node).startswith(wanted)]
    if len(checks) != 1 or len(checks[0].value.args) != 2:
        raise ValueError(f'Exercise {number} should have one statement exercises.check("{number}", answer).')
    (check,) = checks
    handed = check.value.args[1]
    rest = "\n".join(lines[: check.lineno - 1] + lines[check.end_lineno :]).strip()
    if isinstance(handed, ast.Name):
        answer = handed.id
    else:
        answer, hint = f"answer_{number.replace('.', '_')}", lines[check.end_lineno - 1][check.end_col_offset :]
        rest = f"{rest}\n{answer} = {ast.unparse(handed)}{hint}".strip()
    return "\n\n".join(filter(None, [*(source.strip() for source in before), rest])), answer


def bare(source: str) -> str:
    """A cell without the mark that its output is compared."""
    return source.removeprefix("# NBVAL_CHECK_OUTPUT\n")


def graded(cell, name: str, *, grade: bool = False, solution: bool = False, points: int | None = None):
    """The cell with the marks that nbgrader looks for; what is neither solution nor test is locked."""
    mark = {"schema_version": 3, "grade_id": name, "grade": grade, "solution": solution, "locked": not solution, "task": False}
    cell.metadata["nbgrader"] = mark | ({} if points is None else {"points": points})
    cell["id"] = name
    return cell


def assignment(path: Path, variant: int = 0) -> nbformat.NotebookNode:
    """A chapter's exercises as nbgrader's source notebook. Raises ValueError where the chapter's form is not understood."""
    cells = nbformat.read(path, as_version=4).cells
    found = exercises_of(cells)
    if not found:
        raise ValueError(f"{path.name} has no exercises.")
    imports = next(index for index, cell in enumerate(cells) if cell.cell_type == "code")
    needed = {imports: bare(cells[imports].source)} | carried(cells, found, imports)
    work, redrawn = [], []
    for number, (text, code) in found.items():
        sources = [cells[index].source for index in code]
        own, given = exercises.given(number), exercises.given(number, variant)
        if own is not None and (absent := [word for word in own.words if word not in "\n".join([text, *sources])]):
            raise ValueError(f"Exercise {number} does not say {absent[0]!r}, which its variants would change.")
        if variant and given is not None and given.words:
            redrawn.append(number)
        student, answer = work_and_answer([rewritten(source, number, variant) for source in sources], number)
        name, its = f"exercise-{number.replace('.', '-')}", f", variant={variant}"
        hidden = HIDDEN.format(points=POINTS, number=number, answer=answer, variant=its if variant and given is not None else "")
        shown = its if number in redrawn else ""  # functions: the chapter's cases are shown, the variant's are hidden
        work += [
            graded(new_markdown_cell(rewritten(text, number, variant)), f"{name}-text"),
            graded(new_code_cell(f"{student}\n### BEGIN SOLUTION\n### END SOLUTION"), name, solution=True),
            graded(new_code_cell(f'exercises.check("{number}", {answer}{shown})'), f"{name}-check"),
            graded(new_code_cell(hidden), f"{name}-points", grade=True, points=POINTS),
        ]
    front = [graded(new_markdown_cell(cover(TITLE.search(cells[0].source)[1], variant, list(found), redrawn)), "cover")]
    front += [graded(new_code_cell(source), f"chapter-{index}") for index, source in needed.items()]
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return new_notebook(cells=front + work, metadata={"kernelspec": kernel})


def cover(title: str, variant: int, numbers: list[str], redrawn: list[str]) -> str:
    """The first cell: what this is, how it is marked, and which exercises have other numbers than the chapter's."""
    lines = [
        f"# Assignment {title}",
        f"Exercises {', '.join(numbers)}: {POINTS} points each, {POINTS * len(numbers)} in all. Have the chapter open beside "
        "this: what the exercises say of “above” means there. The next cells bring what they use of it.",
        "Work in the cells that you can edit. Under each stands the chapter's own check: run it as often as you like, it says "
        "what is wrong. The cell below it gives the points, and is run by your teacher. Before you hand in, choose *Kernel → "
        "Restart Kernel and Run All Cells*.",
    ]
    if variant:
        told = f"Redrawn, with other numbers than the chapter's: {', '.join(redrawn)}." if redrawn else "The texts are unchanged."
        lines.append(f"This is **variant {variant}**. {told} Functions that you hand in are tried on cases of this variant, too.")
    return "\n\n".join(lines)


def make(chapter: str, out: Path, variant: int = 0) -> Path:
    """Write a chapter's assignment into the course folder `out`, source and release; returns the release's folder.

    Raises ValueError for a chapter that there is not, or without exercises, and RuntimeError where nbgrader fails.
    """
    paths = sorted(NOTEBOOKS.glob(f"{chapter}_*.ipynb"))
    if not re.fullmatch(r"\d\d", chapter) or not paths:
        known = ", ".join(sorted(path.name[:2] for path in NOTEBOOKS.glob("[0-9]*.ipynb")))
        raise ValueError(f"There is no chapter {chapter!r}; there are {known}.")
    notebook = assignment(paths[0], variant)
    name = f"{chapter}-{variant}" if variant else chapter
    out = out.resolve()
    source = out / "source" / name / paths[0].name
    source.parent.mkdir(parents=True, exist_ok=True)
    if not (out / "nbgrader_config.py").exists():
        (out / "nbgrader_config.py").write_text(CONFIG)
    nbformat.write(notebook, source)
    command = [sys.executable, "-m", "nbgrader", "generate_assignment", name, "--force", "--create", "--log-level=ERROR"]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])  # nbgrader calls its database's tool
    done = subprocess.run(command, cwd=out, env=os.environ | {"PATH": path}, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"nbgrader could not make the release: {done.stderr.strip() or done.stdout.strip()}")
    return out / "release" / name


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("chapter", help="the chapter's two digits, such as 05")
    parser.add_argument("--out", type=Path, required=True, metavar="COURSE", help="the course's folder; made if there is none")
    parser.add_argument("--variant", type=int, default=0, help="0, the chapter's own numbers, or any other whole number")
    options = parser.parse_args()
    try:
        print(make(options.chapter, options.out, options.variant))
    except (ValueError, RuntimeError) as error:
        sys.exit(str(error))
