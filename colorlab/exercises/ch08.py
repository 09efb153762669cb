"""Checks of chapter 08, "long runs": what a run is made of, its place in the data, clipping, an encoder's input, the bill."""

import math
import random
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from colorlab import color
from colorlab.exercises import Given, as_number, call, exercise, seeded

_SHOWN = {  # what a run went on without, the chapter's A, B, C and D, and what shows
    "average": "all losses are the same to the last digit; the exported generator is another one.",
    "step": "for a while the rows of losses hold L1 alone, and the generator's rate is the highest of the run.",
    "moments": "the first loss is the same to the last digit; the second jumps; the rows keep their kind.",
    "place": "already the first loss differs, although no weight has moved yet.",
}
_MEANS = {
    "moments": "A fresh Adam meets the same weights and the same batch: the first loss is right. Its first step is the kick.",
    "step": "The run that warms up again does not know where it stands in its schedule.",
    "place": "Only other pictures change a loss that is measured before any weight has moved.",
    "average": "Training never asks the average. What ships does.",
}


def four_runs(dice: random.Random | None) -> Given:
    """What shows in the runs A to D, in another order."""
    own = shown = list(_SHOWN.values())
    while dice is not None and shown == own:
        shown = dice.sample(own, len(own))
    return Given(tuple(shown), ("\n".join(f"- {name}: {words}" for name, words in zip("ABCD", shown, strict=True)),))


@exercise("08.1", drawn=four_runs)
def what_was_left_out(answer, shown) -> str | None:
    """Each part shows in a place of its own: in the first loss, in the second, in the kind of step, or only in what ships.

    `answer`: four words of "moments", "step", "place", "average", for the runs A to D.
    """
    parts = [part for words in shown for part, its in _SHOWN.items() if its == words]
    if isinstance(answer, str):
        answer = answer.replace(",", " ").split()
    if isinstance(answer, dict):
        answer = [answer[name] for name in sorted(answer)]
    if not isinstance(answer, Iterable) or len(said := [str(word).strip().lower() for word in answer]) != len(parts):
        return f'Four words are wanted, one each for A, B, C and D, of {", ".join(sorted(parts))}.'
    if unknown := set(said) - set(parts):
        return f"{sorted(unknown)} is none of {', '.join(sorted(parts))}."
    if len(set(said)) < len(parts):
        return "Each of the four parts is missing from one of the runs: a word stands there twice."
    wrong = [(name, part) for name, part, mine in zip("ABCD", parts, said, strict=True) if mine != part]
    return f"{wrong[0][0]} is another one. {_MEANS[wrong[0][1]]}" if wrong else None


def _explained(got: Sequence, ways: dict[str, Callable], cases: Sequence[tuple], same: Callable) -> str | None:
    """The words of the wrong way that gives exactly what was got in every case, if one does."""
    for words, way in ways.items():
        if all(same(mine, way(*case)) for mine, case in zip(got, cases, strict=True)):
            return words
    return None


@exercise("08.2", drawn=seeded)
def place(answer, seed) -> str | None:
    """Epoch and place follow from the step alone, so that a run may be taken up anywhere: divmod by the batches in a pass.

    `answer`: (step, pictures, batch_size) → (epoch, the batch's number within it), both from 0; a smaller last batch is dropped.
    """
    dice = random.Random(seed)
    cases = [(0, 100, 10), (10, 100, 10), (25, 70, 8), (9, 70, 8)]
    cases += [(dice.randrange(200, 5000), dice.randrange(6, 12) * 16 + 7, 16) for _ in range(5)]
    got = []
    for case in cases:
        pair = call(answer, "08.2", "place", *case)
        if not isinstance(pair, tuple | list) or len(pair) != 2 or None in (numbers := [as_number(x) for x in pair]):
            return "Two numbers are wanted, (epoch, place)."
        got.append(tuple(numbers))
    ways = {
        "That counts the smaller batch at a pass's end. It is dropped: a pass has pictures // batch_size batches.":
            lambda step, pictures, size: divmod(step, -(-pictures // size)),
        "Batches are counted, not pictures: the pictures that a pass leaves over are never seen in it, and shift nothing.":
            lambda step, pictures, size: divmod(step * size, pictures),
        "Nearly: the leftover pictures of a pass do not count into the next one. Divide steps by whole batches.":
            lambda step, pictures, size: (step * size // pictures, step * size % pictures // size),
        "The place is the batch's number in its epoch, not its first picture's: do not multiply by batch_size.":
            lambda step, pictures, size: (step // (pictures // size), step % (pictures // size) * size),
        "A step is a batch, not a picture: divide by the batches in a pass.":
            lambda step, pictures, size: divmod(step, pictures),
        "Epochs count from 0.": lambda step, pictures, size: (step // (pictures // size) + 1, step % (pictures // size)),
        "Places count from 0.": lambda step, pictures, size: (step // (pictures // size), step % (pictures // size) + 1),
        "The other way round: first the epoch, then the place.":
            lambda step, pictures, size: divmod(step, pictures // size)[::-1],
    }  # fmt: skip
    truth = [divmod(step, pictures // size) for step, pictures, size in cases]
    if got == truth:
        return None
    if any(x != int(x) for pair in got for x in pair):
        return "Whole numbers are wanted: // instead of /."
    case = next(case for case, mine, right in zip(cases, got, truth, strict=True) if mine != right)
    return _explained(got, ways, cases, lambda a, b: a == tuple(b)) or (
        f"Step {case[0]} with {case[1]} pictures in batches of {case[2]}: a pass has {case[1] // case[2]} batches. Count them."
    )


def _norm(gradients: Sequence[Tensor]) -> Tensor:
    return torch.cat([x.flatten() for x in gradients]).norm()


def _shorten(gradients: Sequence[Tensor], clip: float) -> list[Tensor]:
    return [x * min(1.0, clip / _norm(gradients).item()) for x in gradients]


@exercise("08.3", drawn=seeded)
def clip_step(answer, seed) -> str | None:
    """First unscale, then clip: the limit is meant for the true gradient. All tensors together, and only if they are too long.

    `answer`: (scaled, scale, clip) → the gradients, unscaled, and shortened to a norm of `clip` where they are longer.
    """
    dice = torch.Generator().manual_seed(seed)
    cases = []
    for size, scale, clip in ((3.0, 1024.0, 1.0), (0.01, 65536.0, 1.0), (20.0, 4.0, 5.0), (0.02, 4.0, 5.0)):
        true = [size * torch.rand(shape, generator=dice) for shape in ((3, 2), (4,), (2, 2))]
        cases.append(([scale * x for x in true], scale, clip))
    got = []
    for scaled, scale, clip in cases:
        out = call(answer, "08.3", "clip_step", [x.clone() for x in scaled], scale, clip)
        if isinstance(out, Tensor) or not isinstance(out, Iterable):
            return "A list of tensors is wanted, one for each that was given."
        out = list(out)
        if [getattr(x, "shape", None) for x in out] != [x.shape for x in scaled]:
            return "The tensors must keep number and shapes: a list of as many gradients comes back."
        got.append(out)

    def same(a: Sequence[Tensor], b: Sequence[Tensor]) -> bool:
        return all(torch.allclose(x.double(), y.double(), rtol=1e-3) for x, y in zip(a, b, strict=True))

    ways = {
        "Clipped while scaled: every scaled gradient looks too long, and the rest is the scale times too small. Unscale first.":
            lambda scaled, scale, clip: [x / scale for x in _shorten(scaled, clip)],
        "That is clipped and still scaled: divide by the scale first.": lambda scaled, scale, clip: _shorten(scaled, clip),
        "Still scaled: the limit must grow with the scale, or the gradients be divided, and nothing is divided here.":
            lambda scaled, scale, clip: _shorten(scaled, clip * scale),
        "Unscaled, but not clipped. (clip_grad_norm_ works on parameters' .grad, not on a list of gradients.)":
            lambda scaled, scale, clip: [x / scale for x in scaled],
        "Each tensor was clipped by itself, which turns the step's direction: one norm, over all of them together.":
            lambda scaled, scale, clip: [y for x in scaled for y in _shorten([x / scale], clip)],
        "Short gradients were made longer: clip only what exceeds the limit, min(1, clip / norm).":
            lambda scaled, scale, clip: [x / scale * clip / (_norm(scaled).item() / scale) for x in scaled],
        "Every number was clamped by itself, which turns the direction: shorten the whole by one factor.":
            lambda scaled, scale, clip: [(x / scale).clamp(-clip, clip) for x in scaled],
        "Multiplied by the scale once more: unscaling divides.":
            lambda scaled, scale, clip: _shorten([x * scale for x in scaled], clip),
    }  # fmt: skip
    if same([x for out in got for x in out], [x for s, scale, clip in cases for x in _shorten([y / scale for y in s], clip)]):
        return None
    return _explained(got, ways, cases, same) or "gradients / scale; then all of them times min(1, clip / their norm together)."


_MEAN = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
_STD = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)


@exercise("08.4", drawn=seeded)
def to_imagenet(answer, seed) -> str | None:
    """The encoder gets what it was trained on: the grey picture in sRGB, three channels, by ImageNet's mean and deviation.

    `answer`: L (B, 1, H, W) in [−1, 1] → (B, 3, H, W).
    """
    L = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(seed)) * 1.9 - 0.95
    grey = color.decode(L, torch.zeros(2, 2, 8, 8)).clamp(0, 1)
    out = call(answer, "08.4", "to_imagenet", L.clone())
    if not isinstance(out, Tensor):
        return f"A tensor is wanted, got {type(out).__name__}."
    if out.shape == L.shape:
        return "One channel: the encoder's first layer wants three, the same grey in each before they are normalised."
    if out.shape != grey.shape:
        return f"(B, 3, H, W) is wanted, {tuple(grey.shape)}, got {tuple(out.shape)}."
    three, half = L.expand_as(grey), ((L + 1) / 2).expand_as(grey)
    lost = 255 * (half - grey).abs().max().item()
    ways = {
        "L as it is, three times: neither sRGB nor normalised.": three,
        "L normalised as though it were in [0, 1]: it goes down to −1, so that all is too dark, and twice too strong.":
            (three - _MEAN) / _STD,
        f"(L + 1) / 2 is in [0, 1], but lightness is not sRGB: by up to {lost:.0f} of 255 levels. color.decode has the curve.":
            (half - _MEAN) / _STD,
        "That is grey sRGB in [0, 1], not yet normalised: subtract ImageNet's mean, divide by its deviation.": grey,
        "Mean and deviation belong to pictures in [0, 1], not to 0 … 255.": (255 * grey - _MEAN) / _STD,
        "The mean is subtracted and nothing divided.": grey - _MEAN,
        "Divided by the deviation, but the mean was not subtracted.": grey / _STD,
        "Multiplied by the deviation: normalising divides.": (grey - _MEAN) * _STD,
        "The channels' means came in the order blue, green, red.": (grey - _MEAN.flip(1)) / _STD.flip(1),
        "50 (L + 1) is L* in 0 … 100: the encoder knows sRGB in [0, 1].": (100 * half - _MEAN) / _STD,
    }  # fmt: skip
    if torch.allclose(out, (grey - _MEAN) / _STD, atol=2e-3):
        return None
    words = next((words for words, x in ways.items() if torch.allclose(out, x, atol=2e-3)), None)
    return words or "color.decode(L, no colour) gives grey sRGB in [0, 1]; then (grey − mean) / std, channel by channel."


def some_run(dice: random.Random | None) -> Given:
    """Pictures, epochs, pictures a second, price an hour: another run."""
    others = ((60_000, 90_000, 150_000, 240_000), (8, 12, 20), (150, 250, 400), (3, 4))
    run = (120_000, 15, 200, 2) if dice is None else tuple(dice.choice(values) for values in others)
    pictures, epochs, speed, price = run
    return Given(run, (f"{pictures:,} pictures", f"{epochs} epochs", f"{speed} pictures a second", f"{price} euros an hour"))


@exercise("08.5", drawn=some_run)
def bill(answer, run) -> str | None:
    """Two machines save hours, not euros: both are paid while they wait for one another.

    `answer`: (hours, euros) on two machines that together are 1.8 times as quick as one.
    """
    pictures, epochs, speed, price = run
    values = answer.tolist() if isinstance(answer, Tensor) else answer
    if not isinstance(values, list | tuple) or len(values) != 2 or None in (got := [as_number(x) for x in values]):
        return "A pair is wanted: (hours, euros)."
    hours, euros = got
    alone = pictures * epochs / speed / 3600
    truth = alone / 1.8
    known = {
        "Once through all pictures is one epoch: multiply.": truth / epochs,
        "Those are minutes.": truth * 60,
        "Those are seconds.": truth * 3600,
        "That is one machine's time.": alone,
        "They are 1.8 times as quick together, not twice: some time goes into talking.": alone / 2,
        "1.8 divides the time, it does not lengthen it.": alone * 1.8,
        "1.8 is the speed of both together, not of each.": alone / 3.6,
    }
    for words, value in known.items():
        if math.isclose(hours, value, rel_tol=0.01):
            return words
    if not math.isclose(hours, truth, rel_tol=0.01):
        return "Hours: pictures times epochs, over pictures a second and the seconds of an hour; then 1.8 times as quick."
    if math.isclose(euros, truth * price, rel_tol=0.01):
        return "The hours are right. Two machines run in each of them, and both are paid."
    if math.isclose(euros, alone * price, rel_tol=0.01):
        return "The hours are right. That price is one machine's, alone; two cost more, since 1.8 is less than 2."
    if math.isclose(euros, 2 * alone * price, rel_tol=0.01):
        return "The hours are right; the price is that of two machines for one machine's hours."
    right = math.isclose(euros, 2 * truth * price, rel_tol=0.01)
    return None if right else "The hours are right. Euros: hours, times machines, times price."
