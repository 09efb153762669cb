"""Checks of chapter 01: lightness, luma, the networks' encoding, the gamut, and a measurement on a photograph."""

import math
import random

import numpy as np
import torch
from torch.nn import functional as F

from colorlab import color, photos
from colorlab.exercises import Given, as_number, call, exercise, recognise, seeded


def number_of(answer: object, light: float, close: tuple[float, str], known: dict[float, str], hint: str) -> str | None:
    """Judge L* of a light, to one decimal: right within 0.1, `close` within 0.15 of its value, then the known, or the hint."""
    truth = 116 * light ** (1 / 3) - 16
    known |= {
        100 * light ** (1 / 3): "The cube root is right; L* is 116 times it, minus 16.",
        truth + 16: "Almost: 116 times the cube root, and then minus 16.",
        truth / 50 - 1: "That is L*/50 − 1, as the networks see it. L* itself is asked for.",
        truth / 100: "L* runs from 0 to 100, not from 0 to 1.",
    }
    got = as_number(answer)
    if got is None:
        return "A number is wanted, without quotes or brackets: an L*, from 0 to 100."
    if abs(got - truth) <= 0.1:
        return None
    if abs(got - close[0]) <= 0.15:
        return close[1]
    if abs(got - truth) < 0.8:
        return "Very near. One decimal is wanted: compute it rather than read it off, and do not round on the way."
    return recognise(got, known) or hint


def lightness(*rgb: float) -> float:
    """L* of one sRGB colour."""
    return color.rgb_to_lab(torch.tensor(rgb, dtype=torch.float64).view(1, 3, 1, 1))[0, 0].item()


def grey_byte(dice: random.Random | None) -> Given:
    """Another grey, and how much light it sends out."""
    if dice is None:
        return Given(188, ("byte 188 sends out half of white's light",))
    byte = dice.choice([x for x in range(70, 236) if min(abs(x - 128), abs(x - 188)) > 8])
    light = color.srgb_to_linear(torch.tensor(byte / 255, dtype=torch.float64)).item()
    said = f"{light:.0%} of white's light, and L* {lightness(*[byte / 255] * 3):.1f}: to the eye it is lighter than its light."
    return Given(byte, (f"byte {byte} sends out {100 * light:.0f} % of white's light",), said)


@exercise("01.1", drawn=grey_byte)
def half_the_light(answer, byte) -> str | None:
    """Half of white's light is three quarters of the way to white for the eye: L* 76.3.

    `answer`: L* of the grey whose three bytes are this, the chapter's 188.
    """
    value = byte / 255
    light = color.srgb_to_linear(torch.tensor(value, dtype=torch.float64)).item()
    known = {
        100 * value: "L* is not 100 times the sRGB value. Undo the transfer curve, then take the cube root.",
        value: f"That is the sRGB value, {byte} / 255. It is neither light nor lightness.",
        float(byte): "That is the byte. L* runs from 0 to 100.",
        100 * light: "That is the light, in percent of white's. Lightness is what the eye makes of it: "
        "reread 'Lightness', where light goes through a cube root.",
        light: "That is the light, as a share of white's. It still has to go through the cube root.",
        lightness(*[128 / 255] * 3): f"That is grey 128, the chapter's example. Here the bytes are {byte}.",
        116 * value ** (1 / 3) - 16: "The cube root was taken of the sRGB value. Undo the transfer curve first: it wants light.",
        light * (29 / 3) ** 3: "That is the straight piece, which is for very dark colours only (light below 0.0089).",
    }
    plain = 116 * value ** (2.2 / 3) - 16
    close = plain, "That is what a plain power of 2.2 gives. sRGB's curve is not quite that: use srgb_to_linear."
    hint = f"Take {byte} / 255, undo the transfer curve, and put the light into L*'s formula."
    return number_of(answer, light, close, known, hint)


def some_red(dice: random.Random | None) -> Given:
    """Another red, darker than the pure one."""
    if dice is None:
        return Given(255, ("Pure red, bytes 255, 0, 0, was left out of the tables above.",))
    byte = dice.randrange(120, 226)
    said = f"L* {lightness(byte / 255, 0.0, 0.0):.1f}: bytes to light, red's share of the luminance, and the cube root."
    return Given(byte, (f"A red that is darker than pure red has the bytes {byte}, 0, 0.",), said)


@exercise("01.2", drawn=some_red)
def pure_red(answer, byte) -> str | None:
    """L* 53.2, though red has only a fifth of white's light: the cube root again.

    `answer`: L* of a red, the chapter's the pure one, bytes 255, 0, 0.
    """
    value = byte / 255
    of_red = color.srgb_to_linear(torch.tensor(value, dtype=torch.float64)).item()
    share = 0.212671 * of_red
    L, a, b = color.rgb_to_lab(torch.tensor([value, 0.0, 0.0]).view(1, 3, 1, 1)).flatten().tolist()
    known = {
        29.9 * value: "That is luma, of the sRGB values. Luma is not L*: no curve was undone, and no cube root taken.",
        0.299 * value: "That is luma's weight of red. Luma is not L*.",
        0.299 * byte: "That is luma in bytes, 0.299 · red. Luma is not L*.",
        100 * share: "That is red's light, in percent of white's. L* is its cube root, times 116, minus 16.",
        share: "That is red's light, as a share of white's: put it into L*'s formula.",
        100 * value / 3: "The mean of the channels treats red, green and blue alike; the eye does not.",
        50 * value: "That is the lightness of HSL, (highest + lowest channel) / 2. White and red differ in more than that.",
        100 * value: "That is V of HSV, the highest channel: by that rule red would be as light as white or grey.",
        a: "That is red's a*. The first of the three is L*.",
        b: "That is red's b*. The first of the three is L*.",
        math.hypot(a, b): "That is red's chroma, √(a*² + b*²).",
        116 * (0.299 * of_red) ** (1 / 3)
        - 16: "That is L* of luma's weight, 0.299. Luminance weighs red with the first number in the row of Y.",
        lightness(byte, 0, 0): "A division by 255 is missing: the curve wants sRGB values from 0 to 1.",
        116 * (255 * share) ** (1 / 3) - 16: "A division by 255 is missing: light is a share of white's, at most 1.",
        lightness(0, value, 0): "That is a green of this byte, the lightest of the three.",
        lightness(0, 0, value): "That is a blue of this byte, the darkest of the three.",
    }
    if byte == 255:
        close = lightness(*[128 / 255] * 3), "That is grey 128, near by chance. Compute red: one row of the matrix is enough."
    else:
        close = lightness(1.0, 0.0, 0.0), f"That is pure red. This one has the byte {byte}: undo the transfer curve first."
        known[116 * (0.212671 * value) ** (1 / 3) - 16] = "The matrix wants light: undo the transfer curve before it."
    hint = "Red's share of the luminance is one number in the matrix, in the row of Y; put its light into L*'s formula."
    return number_of(answer, share, close, known, hint)


@exercise("01.3", drawn=seeded)
def from_code(answer, seed) -> str | None:
    """The way back: (L + 1) · 50 and ab · 110, side by side along the channels.

    `answer`: a function, L (B, 1, H, W) and ab (B, 2, H, W) as the networks see them → L*a*b* (B, 3, H, W).
    """
    L, a, b = torch.rand(3, 2, 1, 3, 5, generator=torch.Generator().manual_seed(seed)) * 1.6 - 0.8
    ab = torch.cat([a, b], dim=1)
    truth = color.code_to_lab(L, ab)
    kept = L.clone(), ab.clone()
    try:
        got = call(answer, "01.3", "from_code", L, ab)
    except RuntimeError as error:
        if "except in dimension 0" not in str(error):
            raise
        return "torch.cat joins along the batch unless told dim=1: torch.cat([…, …], dim=1) lays channels side by side."
    if isinstance(got, tuple | list):
        return "It returned two things. L*a*b* is one tensor of three channels: torch.cat([…, …], dim=1)."
    if not isinstance(got, torch.Tensor):
        return f"It returned {type(got).__name__}, not a tensor."
    if not (torch.equal(L, kept[0]) and torch.equal(ab, kept[1])):
        return "It changed L or ab in place (+=, *= or an assignment to a slice): its caller loses them. Make new tensors."
    if got.shape != truth.shape:
        return f"For L of {tuple(L.shape)} the shape should be {tuple(truth.shape)}, got {tuple(got.shape)}."
    got = got.detach().double()
    if torch.allclose(got, truth.double(), atol=2e-3, rtol=0):
        return None
    if torch.allclose(got, color.decode(L, ab).double(), atol=1e-3):
        return "That is sRGB: one step too far. L*a*b* is asked for."

    def light(x: torch.Tensor) -> bool:
        return torch.allclose(got[:, :1], x.double(), atol=1e-2)

    def colour(x: torch.Tensor) -> bool:
        return torch.allclose(got[:, 1:], x.double(), atol=1e-2)

    if torch.allclose(got, truth.roll(-1, 1).double(), atol=1e-2):
        return "L* has to be the first channel, then a*, then b*."
    for factor in (128, 127):
        if colour(ab * factor):
            unused = f"{factor} would leave {1 - 107.86 / factor:.0%}, almost a sixth, unused"
            return f"ab is (a*, b*)/110 here, not /{factor}. sRGB ends at |b*| = 107.86, so {unused}."
    shapes = [
        (light(L / 50 - 1) or colour(ab / 110), "That is the way there once more. What undoes / 50 − 1, and what / 110?"),
        (light(L * 100), "L is L*/50 − 1, not L*/100: middle grey is at 0 and black at −1. Add 1 first, then times 50."),
        (light((L + 1) * 100), "L + 1 runs from 0 to 2, so times 100 makes white 200. L is L*/50 − 1, not L*/100."),
        (light(L * 50), "Black is at L = −1, and would come out as −50. L is L*/50 − 1: the 1 is missing."),
        (light(L * 50 + 1), "The bracket: undo / 50 − 1 from its end. First + 1, then · 50."),
        (light((L - 1) * 50), "The sign of the 1: L is L*/50 − 1, so add it back."),
        (light((L + 1) / 2), "L* runs from 0 to 100, not from 0 to 1."),
        (light(L), "The first channel is still L, from −1 to 1. L* runs from 0 to 100."),
        (colour(ab), "a and b are still divided by 110: white's surroundings would be all there is."),
        (colour(ab * 100), "a and b were divided by 110, not by 100."),
        (colour(ab * 50), "a and b have a scale of their own, 110."),
        (colour((ab + 1) * 110), "ab is 0 for grey, not −1. Only L was shifted by 1."),
        (colour(truth[:, 1:].flip(1)), "a and b changed places."),
    ]
    hint = "Shape and type are right, the values are not: undo L*/50 − 1 and /110."
    return next((words for wrong, words in shapes if wrong), hint)


@exercise("01.4", drawn=seeded)
def fix(answer, seed) -> str | None:
    """Lightness and hue are kept, and chroma goes down just as far as it must.

    `answer`: a function, L (B, 1, H, W) in [−1, 1] and any ab (B, 2, H, W) → rgb (B, 3, H, W) in [0, 1].
    """
    generator = torch.Generator().manual_seed(1 + seed)
    real = color.encode(torch.rand(2, 3, 4, 8, generator=generator))
    light = torch.rand(2, 1, 4, 8, generator=generator) * 1.4 - 0.6
    wild = torch.rand(2, 2, 4, 8, generator=generator) * 2 - 1
    light[..., 0, :4] = torch.tensor([-1.0, 1.0, -1.0, 1.0])  # black and white, of which the first two stay grey
    wild[..., 0, :2] = wild[..., 1, :2] = 0
    L, ab = torch.cat([real[0], light], dim=3), torch.cat([real[1], wild], dim=3)
    asked = color.decode(L, ab)
    best, _ = color.fit_gamut(L, ab)
    out = (best != ab).any(1, keepdim=True)  # where something has to be done
    got = call(answer, "01.4", "fix", L.clone(), ab.clone())
    if not isinstance(got, torch.Tensor):
        return f"It returned {type(got).__name__}, not a picture: rgb, (B, 3, H, W). (color.fit_gamut returns ab and a share.)"
    if got.shape == ab.shape:
        return "It returned two channels. A picture is asked for: color.decode(L, ab) makes one."
    if got.shape != asked.shape:
        return f"The shape should be {tuple(asked.shape)}, got {tuple(got.shape)}."
    got = got.detach().float()
    if not got.isfinite().all():
        return "Some values are not finite: is there a division by a chroma of 0?"
    if got.max() > 50:
        return "Those are bytes, 0 to 255. A picture is in [0, 1] here: leave out the times 255."
    if torch.allclose(got, asked, atol=1e-4):
        return "Nothing was done: that is color.decode(L, ab), with values outside [0, 1] where no such colour exists."
    if torch.allclose(got, asked.clamp(0, 1), atol=2e-3):
        return "That is clipping, channel by channel, and it is no gamut mapping: " + moved(got, L, ab, out)
    if (got < -2e-3).any() or (got > 1 + 2e-3).any():
        share = ((got < -2e-3) | (got > 1 + 2e-3)).any(1).float().mean()
        return f"{share:.0%} of the pixels are still outside [0, 1]: no screen can show them. Lower their chroma further."
    lab, wanted = color.rgb_to_lab(got), color.code_to_lab(L, ab)
    chroma, most = (torch.linalg.vector_norm(x, dim=1, keepdim=True) for x in (lab[:, 1:], best * color.AB_SCALE))
    if (chroma < 1).all():
        return "Every pixel is grey now, those too that exist. If one factor served all: each pixel needs a factor of its own."
    if (chroma[out] < 1).all():
        return "Every colour outside the gamut became grey. Some chroma can stay: find the largest factor for which it exists."
    off = moved(got, L, ab, out)
    if shifted(lab, wanted, out):
        grey = color.decode(L, ab * 0)
        for name, curve in (("sRGB values", torch.clone), ("light", color.srgb_to_linear)):
            steps = [(curve(x) - curve(grey)).movedim(1, -1)[(out & (chroma > 3))[:, 0]] for x in (got, asked)]
            if F.cosine_similarity(*steps).median() > 0.9999:
                return f"That walks to grey in {name}, where the straight way bends L* or hue. Walk in ab. " + off
        (r, g, b), (r0, g0, b0) = got.unbind(1), asked.unbind(1)
        if ((r - g) * (g0 - b0) - (g - b) * (r0 - g0)).abs()[(out & (chroma > 3))[:, 0]].median() < 1e-3:
            return "That is scaling in RGB: all three channels squeezed alike. " + off
        return "Lightness and hue have to stay. " + off
    if (lab - wanted).abs().amax(1, keepdim=True)[~out].max() > 2:
        return "Colours that exist were changed as well. Each pixel needs a factor of its own, 1 where nothing is wrong."
    kept = (chroma / most)[out & (most > 3)].mean().item()
    if kept < 0.93:
        return f"Only {kept:.0%} of the chroma that could have stayed is left. Search for the largest factor, per pixel."
    return None


def turned(lab: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """How far the hue turned, in degrees, (B, 1, H, W); 0 where a colour is nearly grey."""
    hues = [torch.rad2deg(torch.atan2(x[:, 2:], x[:, 1:2])) for x in (lab, wanted)]
    return ((hues[0] - hues[1] + 180) % 360 - 180).abs() * (torch.linalg.vector_norm(lab[:, 1:], dim=1, keepdim=True) > 3)


def shifted(lab: torch.Tensor, wanted: torch.Tensor, out: torch.Tensor) -> bool:
    """Whether lightness or hue moved where something had to be done, by more than rounding to 8 bits would."""
    dL, turn = (lab - wanted)[:, :1][out].abs(), turned(lab, wanted)[out]
    return bool(dL.mean() > 0.5 or dL.max() > 1.5 or turn.mean() > 1.5 or turn.max() > 15)


def moved(rgb: torch.Tensor, L: torch.Tensor, ab: torch.Tensor, out: torch.Tensor) -> str:
    """By how much L* and hue moved where something had to be done, in words."""
    lab, wanted = color.rgb_to_lab(rgb), color.code_to_lab(L, ab)
    dL, turn = (lab - wanted)[:, :1][out].abs().mean(), turned(lab, wanted)[out].mean()
    return f"L* moves by {dL:.1f} and hue by {turn:.0f}° on average. Leave L alone, and multiply a and b by one factor per pixel."


def some_sample(dice: random.Random | None) -> Given:
    """Another sample photograph, by its name in quotes."""
    if dice is None:
        return Given("china", ('"china"',))
    name = dice.choice([x.name for x in photos.samples() if x.name != "china"])
    return Given(name, (f'"{name}"',), "That much of what varies in this picture lies in a and b; the rest is given.")


@exercise("01.5", drawn=some_sample)
def variance_to_guess(answer, name) -> str | None:
    """Less than a fifth of what varies in this picture lies in a and b; the rest is given. In others it is more: try "flower".

    `answer`: of a sample, the chapter's "china", the variance of a* and b* as a share of the variance of L*, a* and b*.
    """
    got = as_number(answer)
    if got is None:
        return "A number is wanted: the variance of a* and b*, over the variance of all three."
    lab = color.rgb_to_lab(photos.sample(name).rgb[None])
    L, a, b = (x.item() for x in lab.var((0, 2, 3)))
    if abs(got - (a + b) / (L + a + b)) < 0.003:
        return None
    root, square = [math.sqrt(x) for x in (L, a, b)], lab.square().mean((0, 2, 3)).tolist()
    code = [L / color.L_SCALE**2, a / color.AB_SCALE**2, b / color.AB_SCALE**2]
    pooled, chroma = lab[:, 1:].var().item(), torch.linalg.vector_norm(lab[:, 1:], dim=1).var().item()
    rgb = photos.sample(name).rgb.var((1, 2)).tolist()
    known = {
        L / (L + a + b): "That is the share of L*, which is given. What has to be guessed is the rest.",
        100 * (a + b) / (L + a + b): "That is in percent: divide by 100.",
        2 / 3: "Two of three *numbers* have to be guessed, but they do not vary alike. Measure the variances.",
        (a + b) / L: "That is a* and b* over L* alone. A share is a part over the whole: all three below the line.",
        L / (a + b): "That is L* over a* and b*. What has to be guessed stands above the line, the whole below it.",
        sum(root[1:]) / sum(root): "Those are standard deviations. Variances, their squares, are what adds up to a whole.",
        sum(code[1:]) / sum(code): "That was measured on the networks' L and ab, whose scales differ. Use Lab units.",
        sum(square[1:]) / sum(square): "Those are mean squares. A variance is taken around each channel's mean.",
        a / (L + a + b): "That is a* alone: add b*.",
        b / (L + a + b): "That is b* alone: add a*.",
        pooled / (pooled + L): "a* and b* were thrown into one heap. Take the variance of each channel, and add the two.",
        chroma / (chroma + L): "The variance of chroma forgets hue: two opposite colours of equal chroma would not differ.",
        sum(rgb[1:]) / sum(rgb): "Those are red, green and blue. Convert to L*a*b* first: color.rgb_to_lab.",
    }
    known = {value: words for value, words in known.items() if np.isfinite(value)}
    hint = "Take the variance of each channel of color.rgb_to_lab over all pixels; then (a + b) / (L + a + b)."
    return recognise(got, known) or hint
