"""Checks of chapter 00, "am I ready?": tensors, gradients, logits, and a first measurement."""

import math
import random

import numpy as np
import torch

from colorlab import color, metrics, photos
from colorlab.exercises import Given, as_number, call, exercise, recognise, seeded


@exercise("00.1", drawn=seeded)
def to_batch(answer, seed) -> str | None:
    """A batch of one picture, channels first, in [0, 1]: what every network here takes.

    `answer`: a function, pixels (H, W, 3) uint8 → rgb (1, 3, H, W) float in [0, 1].
    """
    pixels = np.random.default_rng(seed).integers(0, 256, (4, 6, 3)).astype(np.uint8)
    truth = torch.tensor([[[[int(v) / 255 for v in row] for row in pixels[..., c]] for c in range(3)]])
    got = call(answer, "00.1", "to_batch", pixels)
    if not isinstance(got, torch.Tensor):
        return f"It returned {type(got).__name__}, not a tensor. torch.from_numpy(pixels) makes one."
    if got.shape == (3, 4, 6):
        return "The batch dimension is missing: a network takes (B, 3, H, W) even when B is 1. x[None] adds it."
    if got.shape in ((4, 6, 3), (1, 4, 6, 3)):
        return "The channels are still last: arrays of pixels are (H, W, 3), torch wants (3, H, W). permute(2, 0, 1) moves them."
    if got.shape == (1, 3, 6, 4):
        return "Height and width changed places: (H, W, 3) becomes (3, H, W) with permute(2, 0, 1), not with a transpose of all."
    if got.shape != (1, 3, 4, 6):
        return f"For 4 rows of 6 pixels the shape should be (1, 3, 4, 6), got {tuple(got.shape)}."
    if not got.is_floating_point():
        return "The values are still whole numbers: make them float, then divide by 255."
    got = got.double()
    scrambled = torch.from_numpy(pixels).reshape(1, 3, 4, 6).double() / 255
    if any(torch.allclose(got, scrambled * scale, atol=1e-3) for scale in (1, 255)):
        return "reshape and view keep the order in memory, so every pixel's red, green and blue were torn apart: use permute."
    if torch.allclose(got, truth.double() * 255):
        return "The range is still 0 to 255: divide by 255. A network whose first layer sees 255 learns nothing for a while."
    if torch.allclose(got, truth.double() * 2 - 1, atol=1e-3):
        return "The range is −1 to 1, which the networks want of L; an rgb picture is 0 to 1 here."
    if torch.allclose(got, truth.double() * 255 / 256, atol=1e-6):
        return "Divide by 255: with 256, white never reaches 1."
    if torch.allclose(got, truth.double(), atol=1e-3) and not torch.allclose(got, truth.double(), atol=1e-6):
        return "Half precision is too coarse for colours: make it .float() before you divide."
    if not torch.allclose(got, truth.double(), atol=1e-6):
        return "Shape and type are right, the values are not: channel c of pixel (y, x) should be pixels[y, x, c] / 255."
    return None


@exercise("00.2")
def two_backwards(answer) -> str | None:
    """backward() adds to .grad: 6 and 6 make 12. That is why every training step begins with zero_grad().

    `answer`: x.grad after (x**2).backward() was called twice at x = 3, with nothing between.
    """
    got = as_number(answer)
    if got is None:
        return "A number is wanted, without quotes or brackets: what x.grad holds in the end."
    known = {
        6.0: "6 is the gradient of one backward(). The second does not replace it, it adds to it.",
        9.0: "9 is x² itself, the value; its gradient is 2x.",
        18.0: "18 is x² twice, the values added; gradients add, and the gradient of x² is 2x.",
        36.0: "36 is 6 · 6. The second backward() adds to .grad, it does not multiply.",
        0.0: "backward() never clears .grad, and here nobody did.",
    }
    return (
        None
        if math.isclose(got, 12, abs_tol=1e-3)
        else recognise(got, known) or "Differentiate x² by hand; backward() adds to .grad."
    )


def some_logit(dice: random.Random | None) -> Given:
    """Another logit, as the text writes it."""
    z = 2.0 if dice is None else dice.choice([-3.0, -2.5, -2.0, -1.5, 1.5, 2.5, 3.0])
    said = f"A logit of {z:g} is a probability of {_sigmoid(z):.3f}: 1 / (1 + e^(−z))."
    return Given(z, (f"a logit of {z:g}".replace("-", "−"),), said if dice else "")


def _sigmoid(z: float) -> float:
    return 1 / (1 + math.exp(-z))


@exercise("00.3", drawn=some_logit)
def logit(answer, z) -> str | None:
    """A logit of 2 is a probability of 0.881: sigmoid(2) = 1 / (1 + e⁻²).

    `answer`: the probability that this logit, the chapter's 2, of a discriminator stands for.
    """
    got, right = as_number(answer), _sigmoid(z)
    if got is None:
        return "A number is wanted, between 0 and 1."
    known = {
        z: "A logit is not a probability: it may be any number. The sigmoid turns it into one.",
        1 - right: f"That is sigmoid({-z:g}): check the sign in 1 / (1 + e^(−x)).",
        0.5: f"One half belongs to a logit of 0, which says 'cannot tell'. {z:g} leans to {'real' if z > 0 else 'made up'}.",
        _sigmoid(math.copysign(1, z)): f"That is sigmoid({math.copysign(1, z):g}). The logit is {z:g}.",
        _sigmoid(right): "That is the sigmoid applied twice. Once is enough.",
        100 * right: "That is in percent: divide by 100.",
        math.tanh(z): f"That is tanh({z:g}), which runs from −1 to 1. A probability wants the sigmoid.",
        min(max(z, 0.0), 1.0): "Clipping to [0, 1] would call every logit above 1 certain. The sigmoid never is.",
        math.exp(z): f"e^({z:g}) are the odds, to 1. The probability is odds / (1 + odds).",
    }
    return None if abs(got - right) < 0.002 else recognise(got, known) or f"Apply the sigmoid, 1 / (1 + e^(−x)), to {z:g}."


def some_sample(dice: random.Random | None) -> Given:
    """Another sample photograph, by its name in quotes; not the coffee, of which just as much comes back."""
    name = "flower" if dice is None else dice.choice(("astronaut", "chelsea", "rocket", "china", "hopper"))
    return Given(name, (f'"{name}"',))


@exercise("00.4", drawn=some_sample)
def chroma_returned(answer, name) -> str | None:
    """That is the share of the true chroma that came back: below 1 is cautious, and sepia is the extreme of caution.

    `answer`: mean chroma of the coloured sample, the chapter's "flower", divided by mean chroma of the original.
    """
    from colorlab.inference import colorize

    got = as_number(answer)
    if got is None:
        return "A number is wanted: one mean chroma divided by another."
    sample = photos.sample(name)
    ab = [color.encode(photos.load_rgb(picture)[None])[1] for picture in (colorize(sample.path), sample.path)]
    predicted, true = (metrics.mean_chroma(x).item() for x in ab)
    known = {
        true / predicted: "That is the true chroma over the predicted one: turn the fraction round.",
        predicted: "That is the chroma of the coloured picture alone: divide it by the original's.",
        true: "That is the original's chroma alone: it belongs below the line.",
        100 * predicted / true: "That is in percent: divide by 100.",
        1 - predicted / true: "That is the share that was lost, not the share that came back.",
        1.0: "Exactly 1 means that a picture was compared with itself.",
        (
            ab[0].mean() / ab[1].mean()
        ).item(): "The mean of a and b is not chroma: reds and greens cancel. Chroma is √(a² + b²), pixel by pixel.",
    }
    return (
        None
        if abs(got - predicted / true) < 0.02
        else recognise(got, known) or "Take metrics.mean_chroma of both pictures' ab, and divide."
    )
