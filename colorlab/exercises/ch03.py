"""Checks of chapter 03, "the grey average": mean, median, the floor of an error, and what counts as near a real colour."""

import math
import random

import numpy as np
import torch

from colorlab.exercises import Given, as_number, call, exercise, recognise, seeded
from colorlab.world import NEAR, ColorWorld, Distribution

# Another world's balloons and roofs, of which the exercises' texts tell.
VILLAGE = [(0.7, (45.0, 34.0)), (0.3, (2.0, -28.0))]
FESTIVAL = [(0.40, (5.0, -50.0)), (0.25, (60.0, 20.0)), (0.20, (65.0, 45.0)), (0.15, (0.0, 55.0))]


def _arrays(distribution: Distribution) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (n,) and colours (n, 2)."""
    return np.array([p for p, _ in distribution]), np.array([ab for _, ab in distribution], float)


def _pair(answer: object) -> tuple[float, float] | None:
    """An answer as (a*, b*), from any pair of numbers, tensors' and arrays' too; None for anything else."""
    values = answer.tolist() if isinstance(answer, torch.Tensor | np.ndarray) else answer
    values = values[0] if isinstance(values, list | tuple) and len(values) == 1 else values
    if not isinstance(values, list | tuple) or len(values) != 2:
        return None
    found = tuple(as_number(x) for x in values)
    return None if None in found else found


def festival(dice: random.Random | None) -> Given:
    """Another festival: four colours far apart and their probabilities, of which L1's answer is none, nor near one."""
    table = FESTIVAL
    while dice is not None:
        percent = dice.choice([(40, 25, 20, 15), (38, 27, 22, 13), (36, 28, 19, 17), (30, 29, 23, 18)])  # no tie
        colours = [(5.0 * dice.randrange(-8, 14), 5.0 * dice.randrange(-12, 12)) for _ in percent]
        table = [(p / 100, ab) for p, ab in zip(percent, colours, strict=True)]
        if min(math.dist(a, b) for a in colours for b in colours if a is not b) < 30:
            continue
        try:
            world = ColorWorld(16, distributions={"balloon": table})
        except ValueError:  # sRGB lacks one of the colours at a balloon's lightness
            continue
        real = [*colours, world.mean("balloon"), tuple(np.mean(colours, axis=0)), tuple(np.median(colours, axis=0))]
        if min(math.dist(world.median("balloon"), ab) for ab in [*real, world.median("balloon")[::-1]]) > 10:
            break
    words = ", ".join(f"({p:.2f}, ({a:g}, {b:g}))" for p, (a, b) in table)
    return Given(table, (words,))


@exercise("03.1", drawn=festival)
def l1_answer(answer, table) -> str | None:
    """Each channel's median, taken on its own: a pair that no balloon has, put together from two different balloons.

    `answer`: L1's best (a*, b*) for the balloons of the festival.
    """
    got = _pair(answer)
    if got is None:
        return "A pair of numbers is wanted, (a*, b*), in Lab units."
    its = ColorWorld(16, distributions={"balloon": table})
    p, ab = _arrays(table)
    truth = its.median("balloon")
    if math.dist(got, truth) < 0.5:
        return None
    cost = [(p[:, None] * np.abs(ab - one)).sum() for one in ab]
    known = [
        (its.mean("balloon"), "That is the mean, L2's answer. L1 counts on which side colours lie. See The smallest toy."),
        (ab[p.argmax()], "That is the likeliest colour. L1 answers each channel's median, no vote for one. See Two numbers."),
        (ab[np.argmin(cost)], "Of the real colours that one has the least L1 error, but nothing asks for a real colour."),
        (np.median(ab, axis=0), "That is the median with every colour counted once: let each weigh as much as its probability."),
        (ab.mean(axis=0), "That is the mean, and one that forgets the probabilities. L1's answer is the median."),
        (truth[::-1], "a* and b* changed places."),
        (tuple(x / 110 for x in truth), "That is in the networks' units. The distribution is in Lab units: answer in them."),
    ]
    for value, words in known:
        if math.dist(got, value) < 0.02 * max(1.0, np.abs(value).max()):
            return words
    right = [abs(x - y) < 0.5 for x, y in zip(got, truth, strict=True)]
    if any(right):
        good, bad = ("a*", "b*") if right[0] else ("b*", "a*")
        return f"{good} is right. Sort the values of {bad} on their own, and add up probabilities until they pass one half."
    return "Sort the values of one channel, add up their probabilities, stop where the sum passes 0.5; then the other channel."


def village(dice: random.Random | None) -> Given:
    """Another village: its two colours of roofs, far apart, and how frequent each is."""
    table = VILLAGE
    while dice is not None:
        percent = dice.choice([65, 75, 80, 85])
        (_, red), (_, blue) = VILLAGE
        colours = [(a + dice.randrange(-9, 10), b + dice.randrange(-9, 10)) for a, b in (red, blue)]
        table = [(p / 100, ab) for p, ab in zip((percent, 100 - percent), colours, strict=True)]
        try:
            ColorWorld(16, distributions={"roof": table})
            break
        except ValueError:  # sRGB lacks one of the colours at a roof's lightness
            continue
    said = [f"({a:g}, {b:g}) in {100 * p:.0f} %".replace("-", "−") for p, (a, b) in table]
    return Given(table, (" and ".join(said),))


@exercise("03.2", drawn=village)
def floor(answer, table) -> str | None:
    """That is the floor, Σ p·|c − mean|²: what is left when everything that grey tells has been learnt.

    `answer`: the least expected squared error of the village's roofs, in Lab units squared.
    """
    got = as_number(answer)
    if got is None:
        return "A number is wanted, in Lab units squared."
    p, ab = _arrays(table)
    odds = f"{100 * p[0]:.0f} to {100 * p[1]:.0f}"
    squares = ((ab - p @ ab) ** 2).sum(axis=1)  # |c − mean|², of each colour
    truth, apart = p @ squares, ((ab[0] - ab[1]) ** 2).sum()
    if math.isclose(got, truth, rel_tol=0.03):
        return None
    if abs(got) < 1e-9:
        return "No amount of training reaches 0: roofs of one grey have two colours, and one answer serves both. See The floor."
    known = {
        squares.sum(): "Each squared distance counts as often as its colour occurs: multiply by its probability before adding.",
        squares.mean(): f"Both colours were counted alike: weigh them {odds}.",
        math.sqrt(truth): "That is the root, a typical distance. The floor of a squared error is squared.",
        truth / 2: "That is the mean over the two channels. A squared distance is the sum over both.",
        p @ np.sqrt(squares): "That is the mean distance. Square each distance first, then average.",
        apart / 4: f"That takes the mean half-way between the colours. It lies nearer to the likelier: weigh them {odds}.",
        apart: "That is the squared distance between the two colours. The mean lies between them, nearer to both.",
        math.sqrt(apart): "That is the distance between the two colours. The floor asks how far each is from the mean, squared.",
        p.max() * apart: "That is the squared error of always answering the rarer colour.",
        p @ (ab**2).sum(axis=1): "That is the squared error of answering grey, (0, 0). The mean does better.",
        p.min() * apart: "That is the squared error of always answering the likelier colour, as L1 does. The mean does better.",
        2 * truth: "That is what a true redraw scores, twice the floor.",
        truth / 110**2: "That is in the networks' units, (a*, b*)/110: multiply by 110².",
        _floor_of("roof"): f"That is the floor of the chapter's own roofs, 60 to 40. In the village it is {odds}.",
        _floor_of("balloon"): "That is the balloons' floor. The roofs' is asked.",
    }
    return recognise(got, known) or "Take the mean of the two colours; then Σ p·|c − mean|², both channels added up."


def _floor_of(kind: str) -> float:
    p, ab = _arrays(ColorWorld(16).distribution(kind))
    return float(p @ ((ab - p @ ab) ** 2).sum(axis=1))


@exercise("03.3")
def four_redraws(answer) -> str | None:
    """1 + 1/4: the more true pictures are averaged, the better the score, and the nearer the result to the grey mean.

    `answer`: squared error of the average of four independent true redraws, divided by the floor.
    """
    got = as_number(answer)
    if got is None:
        return "A number is wanted: one squared error divided by another."
    known = {
        2.0: "That is one redraw. Average four of them first: their scatter shrinks, the truth's does not. See Higher PSNR.",
        1.5: "That is two redraws averaged, or a square divided by √4. The scatter's square shrinks to a quarter.",
        math.sqrt(1.25): "That is the ratio of the roots. Leave the errors squared.",
        0.8: "That is the floor divided by the error: turn the fraction round.",
        10 * math.log10(1.25): "That is the difference in decibels. The ratio of the squared errors is asked.",
        5.0: "The scatter of an average of four is a quarter of one's, not four times it.",
        0.25: "The average's own scatter is a quarter of the floor, but the truth scatters too: add 1.",
        1.25 * _floor_of("balloon"): "That is the error itself. Divide it by the floor.",
    }
    if abs(got - 4 / 3) < 0.002:
        return "That is the average of three redraws. Four are asked."
    words = recognise(got, known)
    if words or abs(got - 1.25) < 0.06:  # measured on 1,000 scenes, the ratio varies by as much
        return words
    if 1.1 < got < 1.4:
        return "Near: with few scenes, luck moves it that far. Measure on 1,000, or work it out: which fraction is it?"
    if got <= 1.02:
        return (
            "True colours do not score better than the mean: nothing scores below the floor, and only an average of endlessly "
            "many redraws, which is the mean, reaches it. A higher PSNR is not a truer picture."
        )
    return "Split the error as for one redraw: the truth's scatter around the mean, plus the average's own, a quarter as large."


@exercise("03.4", drawn=seeded)
def share_near(answer, seed) -> str | None:
    """Near one real colour, both channels together: that is what a person would call "a colour that balloons have".

    `answer`: a function (guesses (n, 2) in Lab units, distribution) → share of guesses within 20 of some real colour.
    """
    tried = _cases(seed)
    got = []
    for guesses, distribution in tried:
        said = call(answer, "03.4", "share_near", guesses.clone(), list(distribution))
        value = as_number(said)
        if value is None:
            return f"One number is wanted for all guesses together, got {type(said).__name__}: take the mean over the guesses."
        got.append(value)
    truth = [_near(*case).any(axis=1).mean() for case in tried]
    if np.allclose(got, truth, atol=6e-4):
        return None
    if len(set(got)) == 1:
        return (
            f"It says {got[0]:g} of every set of guesses. Was one side multiplied by 110 (both are in Lab units already), or "
            "norm() taken without dim, over all guesses at once?"
        )
    wrong = {
        "That is near *every* colour at once, which no guess can be. Near any one is enough: the least distance counts.": (
            lambda g, d: _near(g, d).all(axis=1).mean()
        ),
        "That counts guesses near the mean, L2's answer, which no balloon has. Compare with the real colours.": (
            lambda g, d: _near(g, [(1.0, _mean(d))]).mean()
        ),
        "That lets a* come from one real colour and b* from another, as the per-channel median does: the ochre counts as real.": (
            lambda g, d: (_off(g, d) <= NEAR).any(axis=1).all(axis=1).mean()
        ),
        "That is a square of 20 in each channel. The distance is √(Δa² + Δb²): a disc, and the square's corners lie outside.": (
            lambda g, d: (_off(g, d) <= NEAR).all(axis=2).any(axis=1).mean()
        ),
        "That adds the channels' distances up, as L1 does. The distance is √(Δa² + Δb²).": (
            lambda g, d: (_off(g, d).sum(axis=2) <= NEAR).any(axis=1).mean()
        ),
        "The root is missing: a squared distance was compared with 20.": (
            lambda g, d: ((_off(g, d) ** 2).sum(axis=2) <= NEAR).any(axis=1).mean()
        ),
        "A guess that is near two real colours was counted twice. It is near, or it is not.": lambda g, d: (
            _near(g, d).sum() / len(g)
        ),
        "That weighs a hit by its colour's probability. A rare balloon's colour is as real as a frequent one's.": (
            lambda g, d: (_near(g, d) @ _arrays(d)[0]).mean()
        ),
        "That is how many guesses are near. Divide by their number.": lambda g, d: _near(g, d).any(axis=1).sum(),
        "That is in percent. A share lies between 0 and 1.": lambda g, d: 100 * _near(g, d).any(axis=1).mean(),
        "That is the share of guesses that are near *none*.": lambda g, d: 1 - _near(g, d).any(axis=1).mean(),
        "Only the likeliest colour was compared. The others are real too.": lambda g, d: _near(g, [max(d)]).mean(),
        "The guesses were divided by 110, the colours not. Both are in Lab units already.": (
            lambda g, d: _near(g / 110, d).any(axis=1).mean()
        ),
    }
    for words, function in wrong.items():
        if np.allclose(got, [function(*case) for case in tried], atol=1e-4):
            return words
    n = next(n for n, (x, y) in enumerate(zip(got, truth, strict=True)) if not abs(x - y) <= 6e-4)
    return (
        f"For guesses {tried[n][0][:4].round().int().tolist()} … and {tried[n][1]}: {truth[n]:.3f} is right, got {got[n]:.3f}. "
        "Take each guess's distance to each colour, and ask whether the least is 20 or less."
    )


def _off(guesses: torch.Tensor, distribution: Distribution) -> np.ndarray:
    """How far each guess is from each colour, channel by channel: (guesses, colours, 2)."""
    return np.abs(guesses.double().numpy()[:, None] - _arrays(distribution)[1])


def _near(guesses: torch.Tensor, distribution: Distribution) -> np.ndarray:
    """Which guess is near which colour: (guesses, colours), bool."""
    return np.hypot(*np.moveaxis(_off(guesses, distribution), 2, 0)) <= NEAR


def _mean(distribution: Distribution) -> tuple[float, float]:
    p, ab = _arrays(distribution)
    return tuple(p @ ab)


def _cases(seed: int) -> list[tuple[torch.Tensor, Distribution]]:
    """Guesses around each colour, the mean and the median, and anywhere; for balloons, roofs, grass, and colours side by side."""
    generator = torch.Generator().manual_seed(seed)
    world, tried = ColorWorld(16), []
    for distribution in (
        *(world.distribution(kind) for kind in ("balloon", "roof", "grass")),
        [(0.5, (0.0, 0.0)), (0.5, (0.0, 12.0))],
    ):
        centres = torch.tensor([ab for _, ab in distribution] + [_mean(distribution)] + ([world.median("balloon")]))
        around = centres.float().repeat(12, 1) + 14 * torch.randn(12 * len(centres), 2, generator=generator)
        tried.append((torch.cat([around, 60 * torch.randn(7, 2, generator=generator)]), distribution))
    return tried


@exercise("03.5")
def rarest(answer) -> str | None:
    """L1 painted the rarest colour of all: a median is in the middle, which says nothing of how likely it is.

    `answer`: a distribution of three colours for the balloon, [(probability, (a*, b*)), …].
    """
    if isinstance(answer, ColorWorld):
        return "That is the world. Hand over its distribution, the list `mine`."
    if not isinstance(answer, list | tuple) or len(answer) < 2:
        return "A list of three is wanted: [(probability, (a*, b*)), …]."
    its = ColorWorld(16, distributions={"balloon": list(answer)})  # its ValueError says what is wrong with a distribution
    real = [(p, ab) for p, ab in its.distribution("balloon") if p > 0]
    if (different := len({ab for _, ab in real})) != 3 or len(real) != 3:
        twice = f", one of them listed more than once ({len(real)} entries)" if different < len(real) else ""
        return f"Three different colours with a probability above 0 are wanted, got {different}{twice}."
    (least, rare), (second, _), (_, likeliest) = sorted(real)
    mean, median = its.mean("balloon"), its.median("balloon")
    told = f"L1 answers ({median[0]:g}, {median[1]:g})"
    if second - least < 1e-6:
        return "Two colours are equally rare: give one of them less than both others."
    if abs(max(p for p, _ in real) - 0.5) < 1e-9:
        return f"{told}: at exactly one half every value between two is as good. Leave each colour below one half."
    if max(p for p, _ in real) > 0.5:
        return (
            f"{told}: a colour with more than half of the probability is the median of both channels. Leave each below one half."
        )
    if math.dist(median, likeliest) < 1e-6:
        return f"{told}, the likeliest colour. That happens, but the median is not the likeliest: put the rarest in the middle."
    if math.dist(median, rare) > 1e-6:
        if any(math.dist(median, ab) < 1e-6 for _, ab in real):
            return f"{told}, a real colour, but not the rarest. Let the rarest be the middle one, in a* and in b*."
        return (
            f"{told}, put together from two colours, which no balloon has. The rarest must be the middle one in a* *and* in b*."
        )
    off = min(math.dist(mean, ab) for _, ab in real)
    if off <= NEAR:
        return (
            f"{told}, the rarest: well done. But L2's mean is {off:.0f} from a real colour, which is near: move the middle aside."
        )
    return None
