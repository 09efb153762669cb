"""The exercises' checks, the reader's predictions, and the proof that what a chapter built is what ships.

`check("00.1", answer)` never only says no: it recognises the answer that a misconception leads to, and names the
misconception. `predict("00.a", guess)` and `outcome` keep what the reader expected. `proof(mine, library, x)` compares.
"""

import importlib
import json
import math
import numbers
import pkgutil
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

_CHECKS: dict[str, Callable[..., str | None]] = {}  # "00.1" → a function: answer → None if right, else what is wrong
_DRAWN: dict[str, Callable[[random.Random | None], "Given"]] = {}  # of the exercises whose numbers a teacher can have redrawn
PREDICTIONS = Path("output") / "predictions.json"  # beside the notebook, in a folder that git ignores


@dataclass(frozen=True)
class Verdict:
    """What `check` says of an answer, and `proof` of a definition."""

    right: bool
    words: str

    def __repr__(self) -> str:
        return f"{'✓ Right.' if self.right else '✗ Not yet.'} {self.words}"


@dataclass(frozen=True)
class Given:
    """What an exercise starts from: values, which its check takes, and the words in which its text tells them.

    No words: the text tells nothing of them, as of the cases on which a function that is handed in is tried.
    """

    values: object
    words: tuple[str, ...] = ()
    right: str = ""  # what is told of a right answer where the check's docstring speaks of the chapter's own numbers


def seeded(dice: random.Random | None) -> Given:
    """A seed for the cases on which a check tries a function: `@exercise("00.1", drawn=seeded)`; 0 is the chapter's own."""
    return Given(0 if dice is None else dice.randrange(1, 1_000_000))


def exercise(number: str, drawn: Callable[[random.Random | None], Given] | None = None) -> Callable:
    """Register the function below as the check of exercise `number`: it returns None for a right answer, or what is wrong.

    Its docstring's first line is what the reader is told when the answer is right. `drawn` gives what the exercise starts
    from, the chapter's own of None and others of dice; the check then takes the values as its second argument.
    """

    def register(function: Callable[..., str | None]) -> Callable[..., str | None]:
        _CHECKS[number] = function
        if drawn is not None:
            _DRAWN[number] = drawn
        return function

    return register


def given(number: str, variant: int = 0) -> Given | None:
    """What exercise `number` starts from in a variant; 0 is the chapter's own. None where it is the same in all.

    A variant is the same on every machine. Raises ValueError for an unknown exercise or a negative variant.
    """
    _known(number)
    if not isinstance(variant, int) or isinstance(variant, bool) or variant < 0:
        raise ValueError(f"A variant is a whole number from 0, which is the chapter's own, got {variant!r}.")
    if number not in _DRAWN:
        return None
    return _DRAWN[number](random.Random(f"exercise {number}, variant {variant}") if variant else None)


class Wrong(Exception):
    """What a check raises instead of returning its words, where that is shorter."""


def call(answer: object, number: str, name: str, *inputs: object) -> object:
    """What a function that was handed in as an answer returns; raises Wrong if it is none, or returns nothing or still `...`."""
    if not callable(answer):
        raise Wrong(f"Hand over the function itself, check({number!r}, {name}), not what it returned.")
    got = answer(*inputs)
    if got is ...:
        raise Wrong(f"The function still returns …: exercise {number} is yours to do.")
    if got is None:
        raise Wrong("It returned nothing: is `return` missing?")
    return got


def check(number: str, answer: object, variant: int = 0) -> Verdict:
    """Say whether an answer is right, and if not, which misconception it shows. Raises ValueError for an unknown number.

    `...`, an exercise not begun, is no error: the chapter runs from top to bottom without its exercises solved. A variant
    other than 0 is for an assignment that a teacher made with other numbers than the chapter's.
    """
    its = given(number, variant)
    if answer is ...:
        return Verdict(False, f"Exercise {number} is yours to do: replace the … and run the cell again.")
    try:
        wrong = _CHECKS[number](answer) if its is None else _CHECKS[number](answer, its.values)
    except Wrong as error:
        wrong = str(error)
    except Exception as error:  # an answer of any kind may come in; none may break the chapter
        wrong = f"Your answer could not be checked: {type(error).__name__}: {error}"
    right = its.right if its is not None and its.right else _CHECKS[number].__doc__.strip().splitlines()[0]
    return Verdict(wrong is None, wrong or right)


def predict(number: str, guess: float) -> None:
    """Write down what you expect before you see it. Kept beside the notebook; the last chapter shows your calibration.

    Raises ValueError for a guess that is not a finite number.
    """
    value = as_number(guess)
    if value is None or not math.isfinite(value):
        raise ValueError(f"A prediction is a number, got {guess!r}.")
    _remember(number, {"guess": value})
    print(f"Noted: you expect {value:g}.")


def outcome(number: str, measured: float) -> None:
    """Set what was measured beside what was predicted, and print both."""
    said = _remember(number, {"measured": float(measured)}).get("guess")
    print(f"Measured: {measured:.3g}." + (f" You expected {said:g}." if said is not None else " You made no prediction."))


def proof(mine: Callable, library: Callable, *inputs: torch.Tensor) -> Verdict:
    """Whether a function or network that a chapter built is the library's: outputs and gradients on the same inputs.

    Networks are compared with the library's weights, and must name every one of them alike; gradients are those of the
    outputs' sum, by the inputs and by the weights. Equal means to the bit; if not, the largest difference is told.
    """
    weights: tuple[list[torch.Tensor], ...] = ([], [])
    if isinstance(library, torch.nn.Module):
        theirs, ours = library.state_dict(), mine.state_dict()
        if ours.keys() != theirs.keys():
            return Verdict(False, f"The weights have other names: {sorted(ours.keys() ^ theirs.keys())[:6]}.")
        mine.load_state_dict(theirs)
        weights = tuple(list(net.parameters()) for net in (mine, library))
    found = []
    for function, own in zip((mine, library), weights, strict=True):
        leaves = [x.detach().clone().requires_grad_() for x in inputs]
        out = function(*leaves)
        outputs = [x for x in (out if isinstance(out, tuple) else (out,)) if isinstance(x, torch.Tensor)]
        total = sum(x.double().sum() for x in outputs)
        gradients = torch.autograd.grad(total, leaves + own, allow_unused=True) if total.requires_grad else ()
        found.append(outputs + [x for x in gradients if x is not None])
    if [x.shape for x in found[0]] != [x.shape for x in found[1]]:
        return Verdict(False, f"Shapes differ: {[tuple(x.shape) for x in found[0]]}, {[tuple(x.shape) for x in found[1]]} there.")
    if all(torch.equal(a, b) for a, b in zip(*found, strict=True)):
        count = sum(x.numel() for x in found[0])
        return Verdict(True, f"Yours is the library's: {count:,} outputs and gradients, each the same to the bit.")
    off = max((a - b).abs().max().item() for a, b in zip(*found, strict=True))
    return Verdict(False, f"Yours is not the library's: outputs or gradients differ by up to {off:.3g}.")


def as_number(answer: object) -> float | None:
    """An answer as a float, from a number, or a tensor or array of one; None for anything else."""
    if isinstance(answer, torch.Tensor | np.ndarray | np.generic):
        answer = torch.as_tensor(answer)
        answer = answer.item() if answer.numel() == 1 else None
    return float(answer) if isinstance(answer, numbers.Real) and not isinstance(answer, bool) else None


def recognise(got: float, known: dict[float, str]) -> str | None:
    """The words for the wrong answer that `got` is within 1 % of, if any."""
    return next((words for value, words in known.items() if math.isclose(got, value, rel_tol=0.01, abs_tol=1e-3)), None)


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


def _known(number: str) -> None:
    """Raise ValueError unless there is such an exercise; chapters are imported when first asked."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    if number not in _CHECKS:
        raise ValueError(f"There is no exercise {number!r}; there are {', '.join(sorted(_CHECKS))}.")
