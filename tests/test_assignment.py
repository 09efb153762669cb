"""A chapter as an assignment: every chapter makes one, variants differ, and nbgrader gives the points that were earned.

nbgrader is run for real, as a teacher runs it, in a course folder and a home folder of its own, without a network.
"""

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from test_exercises import ANSWERS, RIGHT, WRONG, given

from colorlab import exercises

ROOT = Path(__file__).parents[1]
TOOL = ROOT / "tools" / "assignment.py"
NOTEBOOKS = sorted(ROOT.glob("notebooks/[0-9]*.ipynb"))
REDRAWN = {number: right for chapter in ANSWERS for number, right in getattr(chapter, "REDRAWN", {}).items()}
VARIANTS = (2, 17)

spec = importlib.util.spec_from_file_location("assignment", TOOL)
assignment = importlib.util.module_from_spec(spec)
sys.modules["assignment"] = assignment  # where its dataclass looks for itself
spec.loader.exec_module(assignment)


def marked(notebook, mark: str) -> dict[str, nbformat.NotebookNode]:
    """The cells of an assignment that carry one of nbgrader's marks, by their names."""
    return {cell.metadata.nbgrader.grade_id: cell for cell in notebook.cells if cell.metadata.nbgrader[mark]}


def reworded() -> list[str]:
    """Every exercise whose text changes with the variant."""
    return [number for number in RIGHT if exercises.given(number) is not None and exercises.given(number).words]


# What the tool writes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_chapter_makes_an_assignment(path):
    numbers = [number for number in RIGHT if number.startswith(path.stem[:2])]
    assert numbers
    for variant in (0, 17):
        notebook = assignment.assignment(path, variant)
        nbformat.validate(notebook)
        assert nbformat.writes(notebook) == nbformat.writes(assignment.assignment(path, variant))
        names = [f"exercise-{number.replace('.', '-')}" for number in sorted(numbers)]
        assert list(marked(notebook, "solution")) == names
        tests = marked(notebook, "grade")
        assert list(tests) == [f"{name}-points" for name in names]
        for cell in tests.values():
            assert cell.metadata.nbgrader.points == assignment.POINTS
            shown, _, hidden = cell.source.partition("### BEGIN HIDDEN TESTS")
            assert "check(" not in shown
            assert hidden.endswith("### END HIDDEN TESTS")
        for cell in notebook.cells:
            if cell.cell_type == "code":
                compile(cell.source, cell.id, "exec")
        redrawn = [number for number in sorted(numbers) if number in reworded()]
        cover = notebook.cells[0].source
        assert (f"**variant {variant}**" in cover) == bool(variant)
        assert re.findall(r"\d\d\.\d", cover.partition("Redrawn")[2]) == (redrawn if variant else [])
        for number in redrawn:
            whole = "\n".join(cell.source for cell in notebook.cells if number.replace(".", "-") in cell.id)
            assert all(word in whole for word in exercises.given(number, variant).words)


def test_the_chapters_with_numbers_are_redrawn():
    assert {"00.3", "01.1", "01.2", "01.5", "03.1", "03.2", "04.1"} <= set(reworded())


def test_what_is_carried_along_is_what_the_exercises_use():
    sources = {
        "a": "import math\nworld = [1]\nprint(world)",
        "b": "x = 9\n\n\ndef helper(x):\n    return x + offset\n\n\nunused = helper(1)\noffset = 2",
        "c": "world.append(3)\nworld[0] = 5\nmath.floor(2.5)",
        "d": "for x in range(3):\n    world += [x]\nworld = world[:]",
        "e": "answer = helper(world)\nexercises.check('09.1', ...)",
    }
    cells = [nbformat.v4.new_code_cell("from colorlab import exercises")]
    cells += [nbformat.v4.new_code_cell(source) for source in sources.values()]
    cells.insert(5, nbformat.v4.new_markdown_cell("**Exercise 09.1.** Use `other` or not."))
    kept = assignment.carried(cells, {"09.1": ("Use `other` or not.", [6])}, 0)
    assert kept == {
        1: "world = [1]",
        2: "def helper(x):\n    return x + offset\n\noffset = 2",
        3: "world.append(3)\n\nworld[0] = 5",
        4: "for x in range(3):\n    world += [x]\n\nworld = world[:]",
    }


@pytest.mark.parametrize(
    ("chapter", "variant", "told"),
    [("99", 0, "no chapter '99'; there are 00, 01"), ("../3", 0, "There is no chapter"), ("03", -1, "whole number from 0")],
)
def test_what_cannot_be_made_is_said(chapter, variant, told, tmp_path):
    with pytest.raises(ValueError, match=told):
        assignment.make(chapter, tmp_path / "course", variant)
    assert not (tmp_path / "course").exists()


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("exercises.check('09.1', 1)\nexercises.check('09.1', 2)", "one statement"),
        ("print(exercises.check('09.1', 1))", "one statement"),
        ("exercises.check('09.1')", "one statement"),
    ],
)
def test_a_form_that_is_not_understood_is_said(source, told):
    with pytest.raises(ValueError, match=told):
        assignment.work_and_answer([source], "09.1")


def test_a_chapter_without_exercises_makes_none(tmp_path):
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# 99 · None")]), tmp_path / "99_none.ipynb")
    with pytest.raises(ValueError, match="has no exercises"):
        assignment.assignment(tmp_path / "99_none.ipynb")


# Variants -------------------------------------------------------------------------------------------------------------


def test_every_reworded_exercise_has_its_answers_worked_out_here():
    assert set(reworded()) == set(REDRAWN)


@pytest.mark.parametrize("number", REDRAWN)
def test_variants_have_answers_of_their_own(number):
    own = REDRAWN[number](exercises.given(number).values)
    assert exercises.check(number, own).right
    seen = {exercises.given(number, variant).words for variant in range(12)}
    assert len(seen) >= 3
    for variant in VARIANTS:
        its = exercises.given(number, variant)
        assert its == exercises.given(number, variant)
        assert len(its.words) == len(exercises.given(number).words)
        assert its.words != exercises.given(number).words
        verdict = exercises.check(number, REDRAWN[number](its.values), variant)
        assert verdict.right, (its, verdict)
        assert not exercises.check(number, own, variant).right
        assert not exercises.check(number, ..., variant).right


@pytest.mark.exhaustive
@pytest.mark.parametrize("seed", range(45))
def test_every_case_of_the_clinic_that_a_variant_may_draw_is_cured(seed):
    check = importlib.import_module("colorlab.exercises.ch05").clinic
    assert check(REDRAWN["05.5"](seed), seed) is None


def functions() -> list[str]:
    """The exercises in which the variant redraws what a function is tried on."""
    return [number for number in RIGHT if exercises.given(number) is not None and number not in reworded()]


@pytest.mark.parametrize("number", functions())
def test_functions_are_judged_alike_in_every_variant(number):
    seeds = {exercises.given(number, variant).values for variant in (0, *VARIANTS)}
    assert len(seeds) == 1 + len(VARIANTS)
    for answer in RIGHT[number]:
        assert exercises.check(number, given(answer), 17).right
    for answer, _ in WRONG[number]:
        assert not exercises.check(number, given(answer), 17).right


@pytest.mark.parametrize("variant", [-1, 1.0, "17", True, None])
def test_a_variant_is_a_whole_number(variant):
    with pytest.raises(ValueError, match="A variant is a whole number from 0"):
        exercises.check("03.1", (5, 20), variant)


# nbgrader -------------------------------------------------------------------------------------------------------------

SCORES = """
import json
from nbgrader.api import Gradebook
with Gradebook("sqlite:///gradebook.db", "colorlab") as book:
    print(json.dumps({one.student.id: [one.score, one.max_score, {g.name: g.score for g in one.notebooks[0].grades}]
                      for one in book.assignment_submissions("NAME")}))
"""


class Course:
    """A course folder with nothing of this machine's own settings, and what a teacher types in it."""

    def __init__(self, folder: Path):
        self.folder = folder

    def python(self, *words: object) -> str:
        command = [sys.executable, *map(str, words)]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=False, timeout=400)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def make(self, chapter: str, variant: int) -> Path:
        """The release's notebook."""
        (path,) = assignment.make(chapter, self.folder, variant).glob("*.ipynb")
        return path

    def hand_in(self, release: Path, student: str, answers: dict[str, str]) -> None:
        """What a student submits: the release with these cells' sources, by their names, replaced."""
        notebook = nbformat.read(release, as_version=4)
        cells = {cell.metadata.nbgrader.grade_id: cell for cell in notebook.cells}
        for name, source in answers.items():
            cells[name].source = source
        path = self.folder / "submitted" / student / release.parent.name / release.name
        path.parent.mkdir(parents=True)
        nbformat.write(notebook, path)

    def grade(self, name: str) -> dict[str, list]:
        """Student → [points, of how many, {cell: points}]."""
        self.python("-m", "nbgrader", "autograde", name, "--log-level=ERROR")
        return json.loads(self.python("-c", SCORES.replace("NAME", name)))


@pytest.fixture
def course(tmp_path, monkeypatch):
    pytest.importorskip("nbgrader")
    home = tmp_path / "home"
    jupyter = [f"JUPYTER_{what}_DIR" for what in ("CONFIG", "RUNTIME", "DATA")]
    for name in (*jupyter, "HOME", "USERPROFILE", "IPYTHONDIR", "MPLCONFIGDIR"):
        (home / name).mkdir(parents=True)
        monkeypatch.setenv(name, str(home / name))
    monkeypatch.setenv("PATH", os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return Course(tmp_path / "course")


NEAR = """import warnings
def share_near(guesses, distribution, near=NEAR):
    warnings.warn("a warning is no failure")
    real = torch.tensor([ab for _, ab in distribution])
    return (torch.cdist(guesses, real).min(dim=1).values <= near).float().mean()"""


def test_nbgrader_gives_full_and_partial_marks(course):
    release = course.make("03", 17)
    text = release.read_text()
    assert "HIDDEN" not in text
    assert "SOLUTION" not in text
    shown = nbformat.read(release, as_version=4)
    assert "_check(" not in "".join(cell.source for cell in shown.cells)
    assert (course.folder / "source" / "03-17" / release.name).exists()
    pair, floor = (REDRAWN[number](exercises.given(number, 17).values) for number in ("03.1", "03.2"))
    right = {
        "exercise-03-1": f"answer_03_1 = {tuple(pair)}",
        "exercise-03-2": f"answer_03_2 = {floor}",
        "exercise-03-3": "answer_03_3 = 5 / 4",
        "exercise-03-4": NEAR,
        "exercise-03-5": "answer_03_5 = [(0.45, (-50, 48)), (0.15, (40, 0)), (0.40, (50, -40))]",
    }
    course.hand_in(release, "ada", right)
    wrong = {
        "exercise-03-1": "answer_03_1 = (5, 20)",  # right in the chapter, not in this variant
        "exercise-03-3": "answer_03_3 = ...",
        "exercise-03-5": "1 / 0",
        "exercise-03-5-points": "pass",  # the teacher's cell is put back
        "exercise-03-1-check": "exercises.check('03.1', answer_03_1)",
    }
    course.hand_in(release, "bob", right | wrong)
    points = {f"exercise-03-{k}-points": 10.0 for k in range(1, 6)}
    earned = points | {f"exercise-03-{k}-points": 0.0 for k in (1, 3, 5)}
    assert course.grade("03-17") == {"ada": [50.0, 50.0, points], "bob": [20.0, 50.0, earned]}


@pytest.mark.exhaustive
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_release_runs_from_top_to_bottom_and_earns_nothing_unsolved(course, path):
    course.folder.mkdir()
    folder = course.python(TOOL, path.stem[:2], "--out", ".", "--variant", 17).strip()  # as a teacher types it
    (release,) = (course.folder / folder).glob("*.ipynb")
    course.hand_in(release, "eve", {})
    scores = course.grade(release.parent.name)["eve"]
    graded = nbformat.read(course.folder / "autograded" / "eve" / release.parent.name / release.name, as_version=4)
    failed = [c.metadata.nbgrader.grade_id for c in graded.cells for o in c.get("outputs", []) if o.output_type == "error"]
    assert failed == list(scores[2]), "the tests of exercises not begun, and nothing else"
    assert scores[:2] == [0.0, 10.0 * len(scores[2])]
