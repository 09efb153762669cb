"""Answers to chapter 05."""

import torch
from torch.nn import functional as F

from answers import late
from colorlab import diagnose
from colorlab.exercises.ch05 import CASE, _patient, four_runs
from colorlab.losses import HINGE
from colorlab.world import ColorWorld

ENDS = {"A": "weak judge", "B": "overpowered", "C": "arrived", "D": "collapsed"}


def shares(points, colors, near=20):
    return (torch.cdist(points, colors) <= near).float().mean(0)


def by_loop(points, colors):
    """Colours that occur, counted by hand."""
    count = 0
    for a, b in colors.tolist():
        hits = sum((x - a) ** 2 + (y - b) ** 2 <= 400 for x, y in points.tolist())
        count += hits >= 0.05 * len(points)
    return count


def other_cause():
    """A cause that shows the same symptom as the case's own, or any other."""
    case, truth = _patient()
    seen = diagnose.read(case.history)[0].symptom
    same = [name for name, cause in diagnose.CAUSES.items() if cause.symptom == seen and name != truth]
    return seen, (same or [name for name in diagnose.CAUSES if name != truth])[0]


def unrelated_cause():
    """A cause that shows another symptom than those of the case."""
    case, _ = _patient()
    seen = [finding.symptom for finding in diagnose.read(case.history)]
    return seen[0], next(name for name, cause in diagnose.CAUSES.items() if cause.symptom not in seen)


def symptom(seen=True):
    """A symptom that the case shows, or one that it does not."""
    found = [finding.symptom for finding in diagnose.read(_patient()[0].history)]
    return found[0] if seen else next(name for name in diagnose.SYMPTOMS if name not in found and name != "healthy")


def bce(x):
    return F.binary_cross_entropy_with_logits(x, torch.ones_like(x))


RIGHT = {
    "05.1": [lambda p, q: p / (p + q), lambda p, q: torch.sigmoid(p.log() - q.log()), lambda p, q: 1 / (1 + q / p),
             lambda p, q: [a / (a + b) for a, b in zip(p.tolist(), q.tolist(), strict=True)]],
    "05.2": [bce, lambda x: F.softplus(-x).mean(), lambda x: -F.logsigmoid(x).mean(), lambda x: F.softplus(-x).sum() / len(x)],
    "05.3": [ENDS, {name: end.upper() for name, end in ENDS.items()}],
    "05.4": [by_loop, lambda x, c: (shares(x, c) >= 0.05).sum(), lambda x, c: (shares(x, c) >= 0.05).sum().item(),
             lambda x, c: sum(1 for share in shares(x, c).tolist() if share >= 0.05)],
    "05.5": [late(lambda: (symptom(), _patient()[1])), late(lambda: [symptom().upper(), f" {_patient()[1]} "])],
}  # fmt: skip
WRONG = {  # exercise → [(answer, a word that names the misconception)]
    "05.1": [
        (lambda p, q: p, "D* = p"),
        (lambda p, q: p / p.max(), "largest value"),
        (lambda p, q: p / p.sum(), "sum of 1"),
        (lambda p, q: q / (p + q), "generated"),
        (lambda p, q: p / q, "ratio"),
        (lambda p, q: p.log() - q.log(), "sigmoid"),
        (lambda p, q: p - q, "difference"),
        (lambda p, q: p / (1 + q), "each other"),
        (lambda p, q: (p > q).float(), "takes sides"),
        (lambda p, q: (p >= q).float(), "takes sides"),
        (lambda p, q: torch.full_like(p, 0.5), "½ everywhere"),
        (lambda p, q: 100 * p / (p + q), "percent"),
        (lambda p, q: torch.sigmoid(p - q), "no logits"),
        (lambda p, q: torch.stack([p, q]).softmax(0)[0], "no logits"),
        (lambda p, q: p**2 / (p**2 + q**2), "how many are real"),
        (lambda p, q: 0.75, "shape"),
        (lambda p, q: None, "return"),
        (lambda p, q: ..., "yours to do"),
        (0.75, "function itself"),
    ],
    "05.2": [
        (lambda x: F.softplus(x).mean(), "label is wrong"),
        (lambda x: F.binary_cross_entropy_with_logits(x, torch.zeros_like(x)), "label is wrong"),
        (lambda x: -bce(x), "sign is wrong"),
        (lambda x: x.mean(), "sign is wrong"),
        (lambda x: x.square().mean() + 9 * x.mean(), "positive"),
        (lambda x: -F.softplus(x).mean(), "saturating"),
        (lambda x: torch.log(1 - torch.sigmoid(x)).mean(), "saturating"),
        (HINGE.generator, "hinge"),
        (lambda x: (x - 1).square().mean(), "least squares"),
        (lambda x: F.softplus(-x).sum(), "sum"),
        (lambda x: bce(torch.sigmoid(x)), "twice"),
        (lambda x: bce(x) / 2, "half"),
        (lambda x: -torch.sigmoid(x).mean(), "−σ"),
        (lambda x: (1 - torch.sigmoid(x)).mean(), "1 − σ"),
        (lambda x: -torch.log(torch.sigmoid(x)).mean(), "−200"),
        (lambda x: F.softplus(-x), "mean over the samples"),
        (lambda x: bce(x).item(), "No gradient"),
        (lambda x: bce(x.detach()), "No gradient"),
        (lambda x: -2 * x.mean(), "it gives"),
        (lambda x: ..., "yours to do"),
        (0.693, "function itself"),
    ],
    "05.3": [
        (ENDS | {"A": "arrived"}, "0.693 means only"),
        (ENDS | {"B": "arrived"}, "no success"),
        (ENDS | {"D": "arrived"}, "variety"),
        (ENDS | {"C": "weak judge"}, "here that is the truth"),
        (ENDS | {"A": "collapsed"}, "spread widely"),
        (ENDS | {"A": "overpowered"}, "able enough"),
        (ENDS | {"B": "collapsed"}, "none where a balloon is"),
        (ENDS | {"B": "weak judge"}, "nobody tells better"),
        (ENDS | {"D": "weak judge"}, "how many kinds"),
        (ENDS | {"D": "ugly"}, "called"),
        ("C", "dict"),
    ],
    "05.4": [
        (lambda x, c: (torch.cdist(x, c) <= 20).any(1).float().mean(), "quality"),
        (lambda x, c: (torch.cdist(x, c) <= 20).any(1).sum(), "quality, not variety"),
        (lambda x, c: (F.one_hot(torch.cdist(x, c).argmin(1), 3).float().mean(0) >= 0.05).sum(), "nearest colour"),
        (lambda x, c: (torch.cdist(x, c) <= 20).any(0).sum(), "stray"),
        (lambda x, c: ((torch.cdist(x, c) <= 20).sum(0) >= 5).sum(), "5 points"),
        (lambda x, c: (shares(x, c) >= 0.05).float().mean(), "share of the colours"),
        (lambda x, c: (shares(x, c) < 0.05).sum(), "missing"),
        (lambda x, c: x.std(0).norm(), "ugly cloud"),
        (lambda x, c: x.std(0).mean(), "ugly cloud"),
        (lambda x, c: (shares(x, c) >= 0.2).sum(), "overlooked"),
        (lambda x, c: (shares(x / 110, c) >= 0.05).sum(), "110"),
        (lambda x, c: 3, "that makes"),
        (lambda x, c: shares(x, c) >= 0.05, "One number"),
        (lambda x, c: ..., "yours to do"),
        (1, "function itself"),
    ],
    "05.5": [
        (late(lambda: ("healthy", _patient()[1])), "no success but a sign"),
        (late(lambda: (symptom(seen=False), _patient()[1])), "not in its curves"),
        (late(other_cause), "exactly as before"),
        (late(unrelated_cause), "usually shows as"),
        (("ugly", "labels"), "no symptom"),
        (("labels", "collapse"), "the symptom is what is seen"),
        (("collapse", "healthy"), "the cause is the mistake"),
        (("collapse", "weather"), "no cause"),
        ("labels", "pair"),
        (CASE, "pair"),
    ],
}  # fmt: skip


COLORS = torch.tensor([ab for _, ab in ColorWorld(16).distribution("balloon")])


def ended(seed):
    """How each of the four runs ended, by what can be seen: the loss, and which colours have points near them."""
    found = {}
    for name, run in four_runs(seed).items():
        three = (torch.cdist(run.fake, COLORS) <= 20).float().mean(0)
        near = "collapsed" if (three < 0.05).any() else "arrived"
        found[name] = "overpowered" if run.d_loss < 0.1 else "weak judge" if three.sum() < 0.5 else near
    return found


def diagnosed(seed):
    """Symptom and cause of a case, by reading it and trying every cure."""
    case, _ = _patient(seed)
    healed = [name for name in diagnose.CAUSES if diagnose.read(case.treated(name).history)[0].symptom == "healthy"]
    return diagnose.read(case.history)[0].symptom, healed[0]


REDRAWN = {"05.3": ended, "05.5": diagnosed}  # exercise → a right answer, from what a variant starts from
