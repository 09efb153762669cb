"""The teacher's page says what is so: minutes and prerequisites are the chapters', every exercise is there, sums add up."""

import math
import random
import re
from datetime import datetime
from pathlib import Path

import nbformat
import pytest
from test_exercises import RIGHT

from colorlab import plot

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "notebooks" / "TEACHING.md").read_text(encoding="utf-8")
NOTEBOOKS = sorted(ROOT.glob("notebooks/[0-9]*.ipynb"))


def section(title: str) -> str:
    return re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL)[1]


def rows(title: str) -> list[list[str]]:
    """The cells of a section's table, without its head."""
    lines = [line for line in section(title).splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def header(path: Path) -> tuple[str, str, str]:
    """(title, your time, you need before) of a chapter, links taken for their words."""
    words = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", nbformat.read(path, as_version=4).cells[0].source)
    found = dict(re.findall(r"^\| \*\*(.*?)\*\* \| (.*?) \|$", words, re.MULTILINE))
    return re.match(r"# \d\d · (.*)", words)[1], found["Your time"], found["You need before"]


MINUTES = {path.name[:2]: int(header(path)[1].split()[0]) for path in NOTEBOOKS}


def test_minutes_and_prerequisites_are_the_chapters():
    told = {number: tuple(rest) for number, *rest in rows("The chapters, in human terms")}
    assert told == {path.name[:2]: header(path) for path in NOTEBOOKS}


def test_the_day_has_no_gaps_and_time_for_its_chapters():
    plan = rows("One day")
    assert [end for _, end, _ in plan[:-1]] == [start for start, _, _ in plan[1:]]
    chapters = []
    for start, end, what in plan:
        minutes = (datetime.strptime(end, "%H:%M") - datetime.strptime(start, "%H:%M")).total_seconds() / 60
        for chapter in re.findall(r"^chapter (\d\d)", what):
            chapters.append(chapter)
            assert minutes >= MINUTES.get(chapter, 0), f"chapter {chapter} takes longer"
    assert chapters == ["00", "01", "03", "05", "07"]


def test_six_weeks_of_labs_hold_every_chapter_once():
    plan = rows("Six weeks")
    assert [week for week, *_ in plan] == list("123456")
    chapters = [re.findall(r"\d\d", lab) for _, _, lab, _ in plan[:5]]
    assert sum(chapters, []) == [f"{n:02d}" for n in range(8)]
    for inside, (_, _, _, due) in zip(chapters, plan, strict=False):
        assert sum(MINUTES.get(chapter, 0) for chapter in inside) <= 180
        assert re.findall(r"\d\d", due) == inside
    assert re.findall(r"(\d) h", TEXT[TEXT.index("| week") :].splitlines()[0]) == ["2", "3"]


def test_every_exercise_has_its_line():
    assert [number for number, _ in rows("What each exercise tests")] == sorted(RIGHT)
    stumbles = re.findall(r"^- \*\*(\d\d)\.\*\*", section("What students stumble over"), re.MULTILINE)
    assert stumbles == [f"{n:02d}" for n in range(9)]


def test_the_rubric_sums_to_a_hundred():
    points = {what: int(points) for what, points, _ in rows("The capstone")}
    assert list(points.values()) == [20, 30, 20, 20, 10]
    assert sum(points.values()) == 100


def test_the_game_runs_and_its_luck_is_counted(monkeypatch):
    shown = []
    monkeypatch.setattr(plot, "pictures", lambda pictures, alt, **_: shown.append(pictures))
    (code,) = re.findall(r"```python\n(.*?)```", section("One day"), re.DOTALL)
    seen = set()
    for n in range(7):
        random.seed(n)
        played = {}
        exec(code.replace("samples()[0]", f"samples()[{n}]"), played)
        seen.add(tuple(played["order"]))
        assert {name: x.shape for name, x in shown[-1].items()} == {"left": (128, 128, 3), "right": (128, 128, 3)}
        assert (shown[-1]["left"] == played["crops"][played["order"][0]]).all()
    assert seen == {("true", "made"), ("made", "true")}
    assert sum(math.comb(7, k) for k in (6, 7)) / 2**7 == 1 / 16


def test_the_commands_are_those_that_the_course_has():
    import colorlab

    assert "python tools/assignment.py 05 --out course --variant 17" in TEXT
    assert f"colorlab-{colorlab.__version__}-py3-none-any.whl[course]" in TEXT
    assert "worth 10 points" in section("Assignments that mark themselves")
    assert "@jupyter/nbgrader" in (ROOT / "Makefile").read_text()
    addresses = set(re.findall(r"https?://[^\s)]+", TEXT))
    assert addresses == {"https://nbgrader.readthedocs.io"}


@pytest.mark.parametrize("path", re.findall(r"`(solutions/|constraints\.txt|environment\.yml|tools/assignment\.py)`", TEXT))
def test_what_it_points_to_is_there(path):
    assert (ROOT / path).exists() or (ROOT / "notebooks" / path).exists()
