"""Checks of chapter 05, "the adversarial game": best discriminator, generator's loss, what a loss tells, variety, the clinic."""

import functools
import math
import random
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from colorlab import diagnose
from colorlab.exercises import Given, Wrong, as_number, call, exercise, seeded
from colorlab.losses import BCE, HINGE, LEAST_SQUARES
from colorlab.world import NEAR, ColorWorld

CASE = 2  # the clinic's run of exercise 05.5
ENDS = ("arrived", "overpowered", "collapsed", "weak judge")  # the words of exercise 05.3
ENOUGH = 0.05  # of the points: what a colour must get to count in exercise 05.4
SCATTER = 5.0  # Lab units, of a real balloon around its colour


def _tensor(said: object, shape: torch.Size, what: str) -> Tensor:
    """What a learner's function returned, as a float tensor of a shape."""
    got = torch.as_tensor(said).detach().double()
    if got.shape != shape:
        raise Wrong(f"{what} is wanted, of shape {tuple(shape)}, got {tuple(got.shape)}.")
    return got


def _same(got: Tensor, wanted: Tensor) -> bool:
    return got.shape == wanted.shape and torch.allclose(got, wanted.double(), rtol=2e-3, atol=2e-4, equal_nan=True)


@exercise("05.1", drawn=seeded)
def best_discriminator(answer, seed) -> str | None:
    """p/(p + q): it says who is likelier *here*, and not how many real points there are.

    `answer`: a function (p, q), tensors of densities → the best discriminator's probability of "real" at each place.
    """
    p, q = torch.tensor([0.03, 0.01, 0.02, 0.5, 0.0, 0.004]), torch.tensor([0.01, 0.03, 0.02, 0.0, 0.2, 0.001])
    if seed:
        p, q = (x * (0.3 + torch.rand(6, generator=torch.Generator().manual_seed(seed + k))) for k, x in enumerate((p, q)))
    got = _tensor(call(answer, "05.1", "best", p.clone(), q.clone()), p.shape, "One probability for each place")
    best = p / (p + q)
    if _same(got, best):
        return None
    wrong = {
        "That is p itself, D* = p. Where nobody forges, the best discriminator is sure even of a rare colour: it compares "
        "p with q. See The best discriminator.": p,
        "That is p scaled to a largest value of 1, and q is not in it. The best discriminator compares p with q.": p / p.max(),
        "That is p scaled to a sum of 1. Scaling does not bring q in: the best discriminator compares p with q.": p / p.sum(),
        "That is the probability of *generated*. Real is p's side.": q / (p + q),
        "That is the ratio, which runs from 0 to infinity. A probability is p/(p + q).": p / q,
        "That is the logit, log p − log q. The probability is its sigmoid.": p.log() - q.log(),
        "That is the difference of the densities, which is no probability: 3 against 1 says as much as 0.3 against 0.1.": p - q,
        "That is p/(1 + q): the two densities must be weighed against each other alone.": p / (1 + q),
        "That takes sides, 0 or 1. The best discriminator is as unsure as the odds are.": (p > q).float(),
        "That takes sides, 0 or 1. The best discriminator is as unsure as the odds are. ": (p >= q).float(),
        "That says ½ everywhere. It is right only where p = q, when the generator has arrived.": torch.full_like(p, 0.5),
        "That is in percent. A probability lies between 0 and 1.": 100 * best,
        "That is sigmoid(p − q): densities are no logits. The logit is log p − log q.": torch.sigmoid(p - q),
    }
    for words, value in wrong.items():
        if _same(got, value):
            return words.strip()
    n = next(n for n in range(len(p)) if not abs(got[n] - best[n]) < 2e-4)
    return (
        f"At p = {p[n]:g} and q = {q[n]:g} it says {got[n]:.3f}, and {best[n]:.3f} is best. Of all points that land here, "
        "p to q, how many are real?"
    )


@exercise("05.2", drawn=seeded)
def generator_loss(answer, seed) -> str | None:
    """softplus(−logit), on average: steep exactly where the sample was found out.

    `answer`: a function of the discriminator's logits for generated samples → the generator's non-saturating loss.
    """
    found = []
    inputs = [torch.tensor(x).view(-1, 1) for x in ([-5.0, 0.5, 3.0], [-1.0, -2.0, 4.0, 0.0], [0.25])]
    if seed:
        draws = torch.Generator().manual_seed(seed)
        inputs = [x + torch.rand(x.shape, generator=draws) - 0.5 for x in inputs]
    for x in inputs:
        leaf = x.clone().requires_grad_()
        said = call(answer, "05.2", "generator_loss", leaf)
        value = as_number(said.detach() if isinstance(said, Tensor) else said)
        if value is None:
            shape = tuple(said.shape) if isinstance(said, Tensor) else type(said).__name__
            return f"One number is wanted for the whole batch, got {shape}: take the mean over the samples."
        if not isinstance(said, Tensor) or not said.requires_grad:
            return "No gradient flows: return the tensor itself, without item, float, detach or no_grad, or G learns nothing."
        (slope,) = torch.autograd.grad(said.sum(), leaf)
        found.append((value, slope.flatten().double()))
    right = [_graded(BCE.generator, x) for x in inputs]
    if _alike(found, right):
        leaf = torch.tensor([[-200.0]], requires_grad=True)
        value, slope = _graded(answer, leaf)
        if math.isclose(value, 200, rel_tol=1e-3) and abs(slope.item() + 1) < 1e-3:
            return None
        return (
            f"Right, but at a logit of −200 it gives {value:g} and a gradient of {slope.item():g}, not 200 and −1: the sigmoid "
            "became 0 before the logarithm. softplus takes the logit itself."
        )
    wrong = {
        "The label is wrong: that is the discriminator's loss for generated samples, so the generator is paid for being found "
        "out. It wants to be taken for real.": lambda x: F.softplus(x).mean(),
        "The sign is wrong: walking *down* this loss lowers the logit, towards being found out.": (
            lambda x: -F.softplus(-x).mean()
        ),
        "That is the saturating loss, log(1 − σ): the right direction, but nearly flat where the sample was found out.": (
            lambda x: -F.softplus(x).mean()
        ),
        "That is the hinge's. The right direction, but with no end: the non-saturating −log σ is asked.": HINGE.generator,
        "The sign is wrong: walking *down* the logit itself leads to being found out.": lambda x: x.mean(),
        "That is least squares. −log σ(logit) is asked.": LEAST_SQUARES.generator,
        "That is the sum: it grows with the batch, and the rate would have to shrink. Take the mean.": (
            lambda x: F.softplus(-x).sum()
        ),
        "A sigmoid was taken twice: softplus and the with_logits functions take the logit itself.": (
            lambda x: F.softplus(-torch.sigmoid(x)).mean()
        ),
        "That is half of it. The discriminator's loss has two halves, the generator's only one.": (
            lambda x: F.softplus(-x).mean() / 2
        ),
        "That is −σ: nearly flat where the sample was found out, as the saturating loss. Take −log σ.": (
            lambda x: -torch.sigmoid(x).mean()
        ),
        "That is 1 − σ: nearly flat where the sample was found out, as the saturating loss. Take −log σ.": (
            lambda x: (1 - torch.sigmoid(x)).mean()
        ),
    }
    for words, function in wrong.items():
        if _alike(found, [_graded(function, x) for x in inputs]):
            return words
    if found[0][1].sum() > 0:
        return "The sign or the label is wrong: its gradient is positive, so a step down this loss lowers the logits."
    logits = ", ".join(f"{x:.2g}" for x in inputs[0].flatten())
    return f"For logits {logits} it gives {found[0][0]:.4f}; the mean of −log σ(logit) is {right[0][0]:.4f}."


def _graded(function, x: Tensor) -> tuple[float, Tensor]:
    """A loss and its gradient by the logits."""
    leaf = x.detach().clone().requires_grad_()
    value = function(leaf)
    return value.item(), torch.autograd.grad(value, leaf)[0].flatten().double()


def _alike(one: list, other: list) -> bool:
    return all(abs(a - b) < 1e-4 and torch.allclose(x, y, atol=1e-4) for (a, x), (b, y) in zip(one, other, strict=True))


@dataclass(frozen=True)
class End:
    """How a run ended."""

    d_loss: float  # of the run's own discriminator, BCE
    real: Tensor  # (n, 2) in Lab units
    fake: Tensor  # (n, 2) in Lab units: the generator's


@functools.cache
def four_runs(seed: int = 0) -> dict[str, End]:
    """The ends of four runs on balloons, for exercise 05.3: each with the loss that its own discriminator arrived at."""
    table = ColorWorld(16).distribution("balloon")
    p, colors = torch.tensor([p for p, _ in table]), torch.tensor([ab for _, ab in table])
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(5 + seed)

        def balloons(n: int, shares: Tensor) -> Tensor:
            return colors[torch.multinomial(shares, n, replacement=True)] + SCATTER * torch.randn(n, 2)

        truth = balloons(20_000, p)
        blob = truth.mean(0) + torch.randn(1000, 2) @ torch.linalg.cholesky(truth.T.cov()).T  # the truth's mean and spread
        fakes = {
            "weak judge": (blob, 0),  # a discriminator of one layer compares means alone
            "overpowered": (torch.tensor([-70.0, -70.0]) + SCATTER * torch.randn(1000, 2), 32),
            "arrived": (balloons(1000, p), 32),
            "collapsed": (balloons(1000, torch.tensor([1.0, 0.0, 0.0])), 32),
        }
        ended = {end: _ended(balloons(1000, p), fake, width) for end, (fake, width) in fakes.items()}
        return {name: ended[end] for name, end in _ends(seed).items()}


def _ended(real: Tensor, fake: Tensor, width: int) -> End:
    judge, rate = nn.Linear(2, 1), 0.05
    if width:
        judge, rate = nn.Sequential(nn.Linear(2, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1)), 0.01
    optimizer = torch.optim.Adam(judge.parameters(), rate)
    for _ in range(300 if width == 0 else 150):
        loss = BCE.discriminator(judge(real / 40), judge(fake / 40))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return End(loss.item(), real, fake)


_END = {"A": "weak judge", "B": "overpowered", "C": "arrived", "D": "collapsed"}


def _ends(seed: int) -> dict[str, str]:
    """Which run ended how: the chapter's own four of 0, the same in another order of other seeds."""
    ends = list(_END.values())
    if seed:
        random.Random(seed).shuffle(ends)
    return dict(zip(_END, ends, strict=True))


def other_runs(dice: random.Random | None) -> Given:
    """Four runs in another order: none has the chapter's letter."""
    seed = 0
    while dice is not None and any(end == _END[name] for name, end in _ends(seed).items()):
        seed = dice.randrange(1, 1_000_000)
    return Given(seed, (f"four_runs({seed or ''})",))


@exercise("05.3", drawn=other_runs)
def how_it_ended(answer, seed) -> str | None:
    """Neither 0.693 nor 0 says that the generator arrived: an able judge, fresh, and a look at the variety do.

    `answer`: {"A": …, "B": …, "C": …, "D": …}, each one of `ENDS`.
    """
    words = ", ".join(repr(end) for end in ENDS)
    if not isinstance(answer, dict) or set(answer) != set(_END):
        return f'A dict is wanted, {{"A": …, "B": …, "C": …, "D": …}}, with {words}.'
    said = {name: str(end).strip().lower() for name, end in answer.items()}
    if unknown := sorted(set(said.values()) - set(ENDS)):
        return f"The four ends are called {words}; got {unknown[0]!r}."
    ends = _ends(seed)
    if said == ends:
        return None
    runs, (A, B, C, D) = four_runs(seed), sorted(ends, key=lambda name: list(_END.values()).index(ends[name]))
    if said[A] == "arrived":
        return (
            f"{A}'s loss is {runs[A].d_loss:.3f}, log 2, but 0.693 means only that *its* discriminator cannot tell. A fresh and "
            f"abler one can: train one on {A}'s points, and look where they lie."
        )
    if said[B] == "arrived":
        return (
            f"{B}'s discriminator has a loss of {runs[B].d_loss:.3f}: it has won, and the generator is caught every time. "
            "A loss of D that goes to 0 is no success: D is the opponent."
        )
    if said[D] == "arrived":
        share = _near(runs[D].fake, _colors()).any(1).float().mean().item()
        return (
            f"Each of {D}'s points is fine: {100 * share:.0f} % are near a real colour. A collapse need not be ugly; what is "
            "missing is variety. Count how many points are near each of the three."
        )
    if said[C] != "arrived":
        return (
            f"{C}'s loss is {runs[C].d_loss:.3f}, and here that is the truth: a fresh and able judge stays near ½, and all "
            "three colours are there in their shares."
        )
    if said[A] == "collapsed":
        return f"{A}'s points are spread widely, so nothing has collapsed. Why, then, does its discriminator not tell them?"
    if said[A] == "overpowered":
        return f"{A}'s discriminator has a loss of {runs[A].d_loss:.3f}: it wins nothing. Is it able enough to see anything?"
    if said[B] == "collapsed":
        return f"{B}'s points are all in one place, but in none where a balloon is, and its D has a loss of {runs[B].d_loss:.3f}."
    if said[B] == "weak judge":
        return f"{B}'s discriminator has a loss of {runs[B].d_loss:.3f}: nobody tells better. That is no weak judge."
    return f"{D}'s loss is {runs[D].d_loss:.2f}: its points pass, for they are like real ones. But how many kinds are there?"


def _colors() -> Tensor:
    return torch.tensor([ab for _, ab in ColorWorld(16).distribution("balloon")])


def _near(points: Tensor, colors: Tensor) -> Tensor:
    """Which points are near which colours: (n, colours) bool."""
    return torch.cdist(points, colors) <= NEAR


@functools.cache
def _clouds(seed: int = 0) -> list[Tensor]:
    """Points to count colours in: perfect and collapsed; ugly and varied; two colours; three and a stray few; far; unequal."""
    draws, (red, blue, green) = torch.Generator().manual_seed(1 + seed), _colors()

    def around(color: Tensor, n: int, scatter: float = 4.0) -> Tensor:
        return color + scatter * torch.randn(n, 2, generator=draws)

    return [
        around(red, 400),
        around(torch.tensor([18.0, 7.0]), 400, 30.0).clamp(-28, 60),
        torch.cat([around(blue, 250), around(green, 150)]),
        torch.cat([around(red, 396), around(blue, 2), around(green, 2)]),
        around(torch.tensor([-70.0, -70.0]), 400),
        torch.cat([around(red, 30), around(blue, 300), around(green, 70)]),
        torch.cat([around(red, 190), around(red + torch.tensor([-14.0, -14.0]), 10, 1.0), around(green, 200, 9.0)]),
    ]


@exercise("05.4", drawn=seeded)
def modes(answer, seed) -> str | None:
    """Variety is counted, colour by colour: perfect samples of one colour are still a collapse.

    `answer`: a function (points (n, 2), colors (k, 2)) → how many colours have at least 5 % of the points near them.
    """
    colors, got = _colors(), []
    for points in _clouds(seed):
        value = as_number(call(answer, "05.4", "modes", points.clone(), colors.clone()))
        if value is None:
            return "One number is wanted: how many of the colours occur."
        got.append(value)
    truth = [float((_near(x, colors).float().mean(0) >= ENOUGH).sum()) for x in _clouds(seed)]
    if got == truth:
        return None

    def nearest(x: Tensor) -> Tensor:  # shares by the nearest colour, however far
        return F.one_hot(torch.cdist(x, colors).argmin(1), len(colors)).float().mean(0)

    wrong = {
        "That is quality: the share of points near *some* real colour. Collapsed samples can be perfect, as in the first set, "
        "which has one colour of three. Count the colours.": lambda x: _near(x, colors).any(1).float().mean().item(),
        "That says how many points are near a real colour: quality, not variety. Count the colours.": (
            lambda x: float(_near(x, colors).any(1).sum())
        ),
        "That gives every point to its nearest colour, however far it is. A point in between is near none.": (
            lambda x: float((nearest(x) >= ENOUGH).sum())
        ),
        "A colour with one stray point was counted. It takes 5 % of the points.": lambda x: float(_near(x, colors).any(0).sum()),
        "A colour counts from 5 points on there, not from 5 % of the points.": (
            lambda x: float((_near(x, colors).sum(0) >= 5).sum())
        ),
        "That is the share of the colours. How many is asked.": (
            lambda x: float((_near(x, colors).float().mean(0) >= ENOUGH).float().mean())
        ),
        "That counts the colours that are missing.": lambda x: float((_near(x, colors).float().mean(0) < ENOUGH).sum()),
        "That is a measure of spread, and an ugly cloud is spread too. Count the colours that have points near them.": (
            lambda x: x.std(0).norm().item()
        ),
        "That is a measure of spread, and an ugly cloud is spread too. Count colours that have points near them. ": (
            lambda x: x.std(0).mean().item()
        ),
        "It takes 20 % there for a colour to count, so a rare colour is overlooked. 5 % are asked.": (
            lambda x: float((_near(x, colors).float().mean(0) >= 0.2).sum())
        ),
        "The points were divided by 110, the colours not. Both are in Lab units.": (
            lambda x: float((_near(x / 110, colors).float().mean(0) >= ENOUGH).sum())
        ),
    }
    for words, function in wrong.items():
        if all(math.isclose(a, function(x), rel_tol=1e-3, abs_tol=1e-4) for a, x in zip(got, _clouds(seed), strict=True)):
            return words.strip()
    n = next(n for n, (a, b) in enumerate(zip(got, truth, strict=True)) if a != b)
    shares = ", ".join(f"{100 * x:.1f} %" for x in _near(_clouds(seed)[n], colors).float().mean(0))
    return f"Near the three colours are {shares} of the points of one set: that makes {truth[n]:.0f}, got {got[n]:g}."


@functools.cache
def _patient(seed: int = CASE) -> tuple[diagnose.Case, str]:
    """The clinic's run, and the cause of which the cure helps."""
    case = diagnose.clinic(seed)
    return case, diagnose._cause(seed)


def other_case(dice: random.Random | None) -> Given:
    """Another case of the clinic, whose mistake is not that of the chapter's own."""
    seed = CASE
    while dice is not None and diagnose._cause(seed) == diagnose._cause(CASE):
        seed = dice.randrange(45)  # the first five rounds of the nine mistakes: in each of them the cure was seen to help
    return Given(seed, (f"diagnose.clinic({seed})",))


@exercise("05.5", drawn=other_case)
def clinic(answer, seed) -> str | None:
    """Symptom and cause are found, and rerun with the cure the case has recovered: that is the proof.

    `answer`: a pair (symptom, cause), names of `diagnose.SYMPTOMS` and `diagnose.CAUSES`, for a case, here `diagnose.clinic(2)`.
    """
    if not isinstance(answer, tuple | list) or len(answer) != 2 or not all(isinstance(x, str) for x in answer):
        return "A pair of names is wanted, (symptom, cause): of diagnose.SYMPTOMS, and of diagnose.CAUSES."
    symptom, cause = (x.strip().lower() for x in answer)
    if symptom not in diagnose.SYMPTOMS:
        extra = " That is a cause: the symptom is what is seen." if symptom in diagnose.CAUSES else ""
        return f"{symptom!r} is no symptom; there are {', '.join(diagnose.SYMPTOMS)}.{extra}"
    if cause not in diagnose.CAUSES:
        extra = " That is a symptom: the cause is the mistake behind it." if cause in diagnose.SYMPTOMS else ""
        return f"{cause!r} is no cause; there are {', '.join(diagnose.CAUSES)}.{extra}"
    case, truth = _patient(seed)
    seen = {finding.symptom: finding for finding in diagnose.read(case.history)}
    row = next(row for row in reversed(case.history) if "d" in row)
    if symptom == "healthy":
        return f"It is not healthy: D's loss of {row['d']:.2f} is no success but a sign. `read` finds {', '.join(seen)}."
    if symptom not in seen:
        return f"That symptom is not in its curves: D's loss ends at {row['d']:.2f}, G's at {row['g']:.2f}. What does `read` see?"
    if cause != truth:
        usual = diagnose.CAUSES[cause].symptom
        hint = f" That mistake usually shows as {usual}." if usual not in seen else ""
        return (
            f"Rerun with the cure for {cause!r}, it looks exactly as before: that line was right already.{hint} Which other "
            f"mistake shows {symptom}?"
        )
    after = ", ".join(finding.symptom for finding in diagnose.read(case.treated(cause).history))
    return None if after == "healthy" else f"Rerun with the cure it shows: {after}. There is another mistake."
