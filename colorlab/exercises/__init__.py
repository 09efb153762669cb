"""The exercises' checks and the reader's predictions: `check("00.1", answer)`, `predict("00.1", guess)`.

A check never only says no: it recognises the answer that a misconception leads to, and names the misconception.
"""

import importlib
import json
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_CHECKS: dict[str, Callable[[object], str | None]] = {}  # "00.1" → a function: answer → None if right, else what is wrong
PREDICTIONS = Path("output") / "predictions.json"  # beside the notebook, in a folder that git ignores


@dataclass(frozen=True)
class Verdict:
    """What `check` says of an answer."""

    right: bool
    words: str

    def __repr__(self) -> str:
        return f"{'✓ Right.' if self.right else '✗ Not yet.'} {self.words}"


def exercise(number: str) -> Callable:
    """Register the function below as the check of exercise `number`: it returns None for a right answer, or what is wrong.

    Its docstring's first line is what the reader is told when the answer is right.
    """

    def register(function: Callable[[object], str | None]) -> Callable[[object], str | None]:
        _CHECKS[number] = function
        return function

    return register


def check(number: str, answer: object) -> Verdict:
    """Say whether an answer is right, and if not, which misconception it shows. Raises ValueError for an unknown number.

    `...`, an exercise not begun, is no error: the chapter runs from top to bottom without its exercises solved.
    """
    _load()
    if number not in _CHECKS:
        raise ValueError(f"There is no exercise {number!r}; there are {', '.join(sorted(_CHECKS))}.")
    if answer is ...:
        return Verdict(False, f"Exercise {number} is yours to do: replace the … and run the cell again.")
    try:
        wrong = _CHECKS[number](answer)
    except Exception as error:  # an answer of any kind may come in; none may break the chapter
        wrong = f"Your answer could not be checked: {type(error).__name__}: {error}"
    return Verdict(wrong is None, wrong or _CHECKS[number].__doc__.strip().splitlines()[0])


def predict(number: str, guess: float) -> None:
    """Write down what you expect before you see it. Kept beside the notebook; the last chapter shows your calibration.

    Raises ValueError for a guess that is not a number.
    """
    if isinstance(guess, bool) or not isinstance(guess, int | float):
        raise ValueError(f"A prediction is a number, got {guess!r}.")
    _remember(number, {"guess": float(guess)})
    print(f"Noted: you expect {guess:g}.")


def outcome(number: str, measured: float) -> None:
    """Set what was measured beside what was predicted, and print both."""
    said = _remember(number, {"measured": float(measured)}).get("guess")
    print(f"Measured: {measured:.3g}." + (f" You expected {said:g}." if said is not None else " You made no prediction."))


def _remember(number: str, entry: dict[str, float]) -> dict[str, float]:
    """Add to the predictions' file, which a damaged or missing one simply starts anew; returns the prediction."""
    try:
        known = json.loads(PREDICTIONS.read_text())
        known[number] = known.get(number, {}) | entry
    except (OSError, ValueError, TypeError, AttributeError):
        known = {number: entry}
    try:
        PREDICTIONS.parent.mkdir(exist_ok=True)
        part = PREDICTIONS.with_suffix(".part")
        part.write_text(json.dumps(known, indent=1, sort_keys=True))
        part.replace(PREDICTIONS)
    except OSError:
        pass  # a folder that cannot be written: the chapter goes on without the calibration
    return known[number]


def _load() -> None:
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
