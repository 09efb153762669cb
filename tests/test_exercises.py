"""Checkers accept every right answer, and name the misconception of the wrong ones that learners really give."""

import json

import numpy as np
import pytest
import torch

from colorlab import exercises


def by_hand(pixels):
    """Another right answer to 00.1, without permute."""
    return torch.stack([torch.tensor(pixels[..., c] / 255.0) for c in range(3)]).unsqueeze(0)


RIGHT = {
    "00.1": [lambda p: torch.from_numpy(p).permute(2, 0, 1)[None].float() / 255, by_hand],
    "00.2": [12, torch.tensor(12.0), 12.0, np.float32(12)],
    "00.3": [0.881, torch.sigmoid(torch.tensor(2.0)), 1 / (1 + np.exp(-2.0))],
}
WRONG = {  # exercise → [(answer, a word that names the misconception)]
    "00.1": [
        (lambda p: torch.from_numpy(p).permute(2, 0, 1).float() / 255, "batch dimension"),
        (lambda p: torch.from_numpy(p)[None].float() / 255, "last"),
        (lambda p: torch.from_numpy(p).float() / 255, "last"),
        (lambda p: torch.from_numpy(p).reshape(1, 3, 4, 6).float() / 255, "torn apart"),
        (lambda p: torch.from_numpy(p).permute(2, 0, 1)[None].float(), "divide by 255"),
        (lambda p: torch.from_numpy(p).permute(2, 0, 1)[None], "whole numbers"),
        (lambda p: torch.from_numpy(p).permute(2, 1, 0)[None].float() / 255, "changed places"),
        (lambda p: torch.from_numpy(p).permute(2, 0, 1)[None].float() / 256, "Divide by 255"),
        (lambda p: torch.from_numpy(p).permute(2, 0, 1)[None].float() / 127.5 - 1, "−1 to 1"),
        (lambda p: torch.from_numpy(p).permute(2, 0, 1)[None].half() / 255, "Half precision"),
        (lambda p: torch.from_numpy(p).reshape(1, 3, 4, 6).float(), "torn apart"),
        (lambda p: torch.from_numpy(p).permute(2, 0, 1)[None].float().flip(1) / 255, "values are not"),
        (lambda p: None, "`return` missing"),
        (lambda p: p, "not a tensor"),
        (lambda p: torch.zeros(2, 2), "shape should be"),
        (lambda p: 1 / 0, "ZeroDivisionError"),
        (torch.zeros(1, 3, 4, 6), "function itself"),
    ],
    "00.2": [(6, "adds"), (9, "value"), (36, "multiply"), (18, "values added"), (0, "never clears"), (7, "by hand"),
             ("twelve", "number")],
    "00.3": [(2, "not a probability"), (0.119, "sign"), (0.5, "cannot tell"), (0.731, "sigmoid(1)"), (0.707, "twice"),
             (88.08, "percent"), (0.964, "tanh"), (1, "Clipping"),
             (7.389, "odds"), (0.3, "Apply"), (None, "number")],
}  # fmt: skip


@pytest.mark.parametrize(("number", "answer"), [(n, a) for n, answers in RIGHT.items() for a in answers])
def test_right_answers_are_accepted(number, answer):
    verdict = exercises.check(number, answer)
    assert verdict.right, verdict
    assert repr(verdict).startswith("✓")


@pytest.mark.parametrize(("number", "answer", "word"), [(n, a, w) for n, answers in WRONG.items() for a, w in answers])
def test_wrong_answers_are_told_what_is_wrong(number, answer, word):
    verdict = exercises.check(number, answer)
    assert not verdict.right
    assert word in verdict.words
    assert repr(verdict).startswith("✗")


def test_the_share_of_chroma_is_measured_not_remembered():
    """00.4 wants the ratio; turned round, half of it alone, or mean a and b instead of chroma are recognised."""
    from colorlab import color, colorize, metrics, photos

    flower = photos.sample("flower")
    ab = [color.encode(photos.load_rgb(picture)[None])[1] for picture in (colorize(flower), flower)]
    mine, true = (metrics.mean_chroma(x).item() for x in ab)
    by_numpy = np.hypot(*ab[0][0].numpy()).mean() / np.hypot(*ab[1][0].numpy()).mean()
    assert exercises.check("00.4", mine / true).right
    assert exercises.check("00.4", by_numpy).right
    wrong = {
        100 * mine / true: "percent",
        1 - mine / true: "lost",
        true / mine: "turn the fraction",
        mine: "alone",
        true: "below the line",
        1.0: "with itself",
        "much": "number",
    }
    for answer, word in wrong.items():
        verdict = exercises.check("00.4", answer)
        assert not verdict.right
        assert word in verdict.words


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


@pytest.mark.parametrize("guess", ["much", None, True])
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
