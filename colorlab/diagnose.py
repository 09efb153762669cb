"""Reads the history of a GAN's training and names what is wrong: symptoms first, then what usually causes them. Chapters 05, 07.

A symptom is what can be seen in the numbers; a cause is a mistake in the code or the data. One cause may show several
symptoms, and one symptom may have several causes, so a reading is a list, likeliest first, and the cure is found by trying.
`clinic` serves broken runs without their names.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch

from colorlab.probe import Probe
from colorlab.recipes import CAUSES, Cause, Run, run

__all__ = ["CAUSES", "SYMPTOMS", "Case", "Cause", "Finding", "Probe", "Run", "clinic", "read", "run"]

# symptom → (what it usually means, what to try)
SYMPTOMS = {
    "non-finite": (
        "a loss is no longer a number: a rate too high, a logarithm of 0, or a picture with a value that is none",
        "look at the first bad step's batch; lower the rates; take the loss on logits",
    ),
    "overpowering discriminator": (
        "the discriminator tells real from generated with ease, and the generator does not catch up",
        "check the labels and the detach; then slow the discriminator down: its rate, spectral norm",
    ),
    "vanishing gradients": (
        "the discriminator's verdict hardly depends on the colours, so the generator is told nothing",
        "hand logits to the loss, without a sigmoid; use the non-saturating loss; check that the discriminator learns at all",
    ),
    "gamut edge": (
        "the answers lie outside sRGB, where the tanh ends: the input is far too large, or the loss drives them away",
        "bring L into [-1, 1]; check the sign of the generator's loss; lower its rate",
    ),
    "collapse": (
        "few answers for many truths: colours that grey allows are never drawn",
        "give the generator noise; slow the discriminator down, or bound its slope; show it whole batches",
    ),
    "oscillation": (
        "the generator keeps moving from colour to colour and comes back, batch after batch",
        "shuffle the data; lower the rates; average the weights (EMA)",
    ),
    "blind to the grey": (
        "the colours are real ones, but on the wrong things",
        "give the discriminator the grey beside the colours",
    ),
    "too good to be true": (
        "the error in training is far below that on pictures held out: the input holds the answer, or all was learnt by heart",
        "change the colours at constant L*: the input must not change; then add data",
    ),
    "sepia": (
        "paler than the truth: the answers are averages of what may be true",
        "lower λ, so that the discriminator is heard; train against it for longer",
    ),
    "healthy": (
        "nothing stands out: neither network wins, the colours are varied and fit their grey",
        "look at the pictures all the same, and at a measure of your own",
    ),
}


@dataclass(frozen=True)
class Finding:
    """One symptom, with the numbers in which it was seen."""

    symptom: str  # a name of SYMPTOMS
    numbers: Mapping[str, float]  # what was seen, over the last quarter of the run
    strength: float = 1.0  # from 1, just visible, to 2; findings are sorted by it

    @property
    def means(self) -> str:
        """What the symptom usually means."""
        return SYMPTOMS[self.symptom][0]

    @property
    def remedy(self) -> str:
        """What to try."""
        return SYMPTOMS[self.symptom][1]

    def __repr__(self) -> str:
        seen = ", ".join(f"{name} {value:.2f}" for name, value in self.numbers.items())
        return f"{self.symptom}: {seen}.\n   It usually means: {self.means}.\n   To try: {self.remedy}."


def read(history: Sequence[Mapping[str, float]]) -> list[Finding]:
    """What a run's history shows, likeliest first; a run in which nothing stands out is one finding, "healthy".

    `history`: rows as `train.Trainer` keeps them, and a `Probe`'s rows after them; what a row lacks is not judged. Without a
    probe, only the symptoms that losses show can be seen: non-finite, overpowering, oscillation, and vanishing by its logits.
    Raises ValueError for a history of fewer than 20 steps. Chapter 05.
    """
    columns = _columns(history)
    steps = max((len(x) for x in columns.values()), default=0)
    if steps < 20:
        raise ValueError(f"a history of at least 20 steps is needed, got {steps}. Hand over trainer.history after some training.")
    bad = {name: int((~x.isfinite()).sum()) for name, x in columns.items() if not x.isfinite().all()}
    if bad:
        return [Finding("non-finite", {f"{name}, bad values": count for name, count in bad.items()}, 2.0)]
    late = {name: x[-max(1, len(x) // 4) :].mean().item() for name, x in columns.items()}
    found = [Finding(symptom, numbers, min(strength, 2.0)) for symptom, strength, numbers in _signs(columns, late)]
    found = sorted((finding for finding in found if finding.strength >= 1), key=lambda finding: -finding.strength)
    return found or [Finding("healthy", {name: late[name] for name in ("d", "precision", "recall", "chroma") if name in late})]


def _columns(history: Sequence[Mapping[str, float]]) -> dict[str, torch.Tensor]:
    names = dict.fromkeys(name for row in history for name in row)
    return {
        name: torch.tensor([row[name] for row in history if name in row], dtype=torch.float64) for name in names if name != "step"
    }


def _signs(columns: Mapping[str, torch.Tensor], late: Mapping[str, float]):
    """(symptom, strength, numbers) for every symptom that these columns can show; a strength of 1 is just visible."""

    def seen(*names: str) -> dict[str, float]:
        return {name: late[name] for name in names}

    has = late.keys()
    if {"real", "fake"} <= has:
        gap = late["real"] - late["fake"]
        yield "overpowering discriminator", min(gap / 2.2, 1.95), {"gap of the logits": gap, **seen("real", "fake", "d")}
        logits = torch.cat([columns["real"], columns["fake"]])
        squashed = logits.min() >= 0 and logits.max() <= 1 and "d" in has  # a sigmoid's work: logits take both signs
        if "slope" in has or squashed:
            strength = 2.0 if squashed else 1.05 * (late["slope"] < 0.15)  # a flat verdict alone has many causes
            low, high = logits.min().item(), logits.max().item()
            yield "vanishing gradients", strength, {"slope": late.get("slope", 0.0), "lowest logit": low, "highest logit": high}
    if "l1" in has and len(columns["l1"]) >= 100:
        half = columns["l1"][len(columns["l1"]) // 2 :]
        mean = half.unfold(0, 10, 5).mean(1)  # ten steps together: a single batch's luck is evened out
        swing = (mean.std() / mean.mean()).item()
        moved = seen("moved") if "moved" in has else {}
        yield "oscillation", min(swing / 0.17, 1.35), {"swing of the error": swing} | moved
    if {"l1", "held_out"} <= has:
        ratio = late["l1"] / max(late["held_out"], 1e-9)
        yield "too good to be true", (1 - ratio) / 0.14, {"error in training": late["l1"], "error held out": late["held_out"]}
    if {"chroma", "precision", "recall", "anywhere", "edge"} <= has:
        beyond = max(0.0, 2 * late["edge"] - 1)  # what is driven to the edge misses the truth too, but for another reason
        yield "gamut edge", 2 * beyond, seen("edge", "chroma")
        yield "collapse", (1 - beyond) * min((0.73 - late["recall"]) / 0.295, 1.8), seen("recall", "precision")
        yield "blind to the grey", 4.5 * (late["anywhere"] - late["precision"]), seen("anywhere", "precision")
        yield "sepia", (1.05 - late["chroma"]) / 0.25, seen("chroma", "precision")


@dataclass(frozen=True)
class Case:
    """An unnamed broken run, and what a doctor may do with it: look, and try a cure."""

    seed: int
    run: Run = field(repr=False)  # its thousand rows are for `read`, not for a screen

    @property
    def history(self) -> list[dict[str, float]]:
        """Rows for curves, and for `read`."""
        return self.run.history

    def treated(self, cure: str) -> Run:
        """The same run with the line of `CAUSES[cure]` mended; where that line was right already, nothing changes. ValueError."""
        if cure not in CAUSES:
            raise ValueError(f"there is no cure {cure!r}: choose one of {', '.join(CAUSES)}.")
        return run(None, self.seed) if cure == _cause(self.seed) else self.run


def clinic(seed: int) -> Case:
    """The broken run number `seed`, a whole number: which mistake was made, its curves and samples must tell. Chapter 05."""
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise ValueError(f"the clinic's runs have whole numbers from 0, got {seed!r}.")
    return Case(seed, run(_cause(seed), seed))


def _cause(seed: int) -> str:
    names = list(CAUSES)
    order = torch.randperm(len(names), generator=torch.Generator().manual_seed(seed // len(names))).tolist()
    return names[order[seed % len(names)]]  # each mistake once in every nine runs
