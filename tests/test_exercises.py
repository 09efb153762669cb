"""Checkers accept every right answer, and name the misconception of the wrong ones that learners really give."""

import importlib
import json
import re
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from answers import late

from colorlab import exercises

ANSWERS = [importlib.import_module(f"answers.{path.stem}") for path in sorted((Path(__file__).parent / "answers").glob("ch*.py"))]
RIGHT = {number: answers for chapter in ANSWERS for number, answers in chapter.RIGHT.items()}
WRONG = {number: answers for chapter in ANSWERS for number, answers in chapter.WRONG.items()}


def test_every_exercise_has_right_and_wrong_answers_listed():
    with pytest.raises(ValueError, match="There is no exercise") as told:
        exercises.check("none", 1)
    known = set(re.findall(r"\d\d\.\d+", str(told.value)))
    assert known == set(RIGHT) == set(WRONG)
    assert len(known) >= 4
    for number in known:
        assert len(RIGHT[number]) >= 2, f"{number} needs two answers that are right"
        assert len({word for _, word in WRONG[number]}) >= 4, f"{number} needs four wrong answers that are told apart"


def given(answer):
    """The answer itself; `late` holds one that is computed only when its test runs."""
    return answer.value() if isinstance(answer, late) else answer


@pytest.mark.parametrize(("number", "answer"), [(n, a) for n, answers in RIGHT.items() for a in answers])
def test_right_answers_are_accepted(number, answer):
    verdict = exercises.check(number, given(answer))
    assert verdict.right, verdict
    assert repr(verdict).startswith("✓")


@pytest.mark.parametrize(("number", "answer", "word"), [(n, a, w) for n, answers in WRONG.items() for a, w in answers])
def test_wrong_answers_are_told_what_is_wrong(number, answer, word):
    verdict = exercises.check(number, given(answer))
    assert not verdict.right, verdict
    assert word in verdict.words
    assert repr(verdict).startswith("✗")


def test_an_exercise_not_begun_does_not_break_the_chapter():
    verdict = exercises.check("00.2", ...)
    assert not verdict.right
    assert "yours to do" in verdict.words


def test_an_unknown_exercise_names_the_known_ones():
    with pytest.raises(ValueError, match=r"no exercise '99\.9'.*00\.1"):
        exercises.check("99.9", 1)


def test_predictions_are_kept_beside_the_notebook_and_met_by_outcomes(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    exercises.predict("00.1", 0.9)
    exercises.predict("03.1", 2)
    exercises.outcome("00.1", 0.5)
    assert capsys.readouterr().out.splitlines()[-1] == "Measured: 0.5. You expected 0.9."
    kept = json.loads((tmp_path / "output" / "predictions.json").read_text())
    assert kept == {"00.1": {"guess": 0.9, "measured": 0.5}, "03.1": {"guess": 2.0}}
    exercises.outcome("05.1", 1)
    assert "no prediction" in capsys.readouterr().out


@pytest.mark.parametrize("guess", ["much", None, True, float("nan")])
def test_a_prediction_is_a_number(guess, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="is a number"):
        exercises.predict("00.1", guess)


@pytest.mark.parametrize("damage", ["{cut", "[1, 2]", ""])
def test_a_damaged_file_of_predictions_starts_anew(damage, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "output").mkdir()
    (tmp_path / "output" / "predictions.json").write_text(damage)
    exercises.predict("00.1", 0.5)
    assert json.loads((tmp_path / "output" / "predictions.json").read_text()) == {"00.1": {"guess": 0.5}}


def test_a_folder_that_cannot_be_written_is_no_obstacle(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "output").write_text("a file where the folder should be")
    exercises.predict("00.1", 0.5)
    assert "you expect 0.5" in capsys.readouterr().out


def build(channels=4):
    return torch.nn.Sequential(torch.nn.Conv2d(1, channels, 3), torch.nn.Tanh())


def test_a_proof_compares_outputs_and_gradients_to_the_bit():
    x = torch.linspace(-1, 1, 64).view(1, 1, 8, 8)
    assert exercises.proof(lambda x: x * 2, lambda x: x + x, x).right
    wrong = {
        "differ by up to 0.5": exercises.proof(lambda x: x * 2, lambda x: x * 2 + 0.5, x),
        "differ by up to 2": exercises.proof(lambda x: (x * 2).detach() + 0 * x, lambda x: x * 2, x),  # its gradient is lost
        "Shapes": exercises.proof(lambda x: x[:, :, 1:], lambda x: x, x),
    }
    for words, verdict in wrong.items():
        assert not verdict.right
        assert words in verdict.words


def test_a_proof_of_networks_compares_names_and_weights_gradients():
    x = torch.linspace(-1, 1, 64).view(1, 1, 8, 8)
    verdict = exercises.proof(build(), build(), x)
    assert verdict.right, verdict
    renamed = torch.nn.Sequential(torch.nn.Identity(), torch.nn.Conv2d(1, 4, 3))
    assert "other names: ['0.bias', '0.weight', '1.bias', '1.weight']" in exercises.proof(renamed, build(), x).words
    assert "differ" in exercises.proof(torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.Sigmoid()), build(), x).words


@pytest.mark.parametrize(
    ("answer", "number"), [(1, 1.0), (torch.tensor([2.5]), 2.5), (Fraction(1, 4), 0.25), ("1", None), (True, None), ([1], None)]
)
def test_numbers_are_taken_from_what_holds_one(answer, number):
    assert exercises.as_number(answer) == number
