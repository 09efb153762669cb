"""Checks of chapter 06: the side of a patch, what neighbours share, a map's loss, forging for a blind judge, a patch's size."""

import math
import random
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from colorlab import losses
from colorlab.exercises import Given, as_number, call, exercise, recognise, seeded
from colorlab.patchgan import receptive_field
from colorlab.world import ColorWorld


def some_discriminator(dice: random.Random | None) -> Given:
    """More strided layers than the chapter shows, and a picture's size, which does not matter: (layers, size)."""
    layers, size = (4, 256) if dice is None else dice.choice([(5, 384), (5, 512), (5, 640), (6, 768), (6, 1024)])
    return Given((layers, size), (f"`layers={layers}` looks at a picture of {size} × {size} pixels",))


@exercise("06.1", drawn=some_discriminator)
def side_of_patch(answer, its) -> str | None:
    """Counted from the logit back: 4 and 7 through the last two convolutions, then s(n − 1) + 4 with s = 2 for each strided one.

    `answer`: the side in pixels of the patch that one logit sees.
    """
    got = as_number(answer)
    if got is None:
        return "A number is wanted: the side of the patch, in pixels."
    layers, size = its
    right = receptive_field(layers)
    if abs(got - right) < 0.5:
        return None
    convs, front = layers + 2, 1
    for stride in [2] * layers + [1, 1]:
        front = stride * (front - 1) + 4
    logits = size // 2**layers - 2
    known = {
        4 * convs: "The kernels added up. Windows overlap, and after a stride a step is more than one pixel.",
        3 * convs + 1: "The strides are missing: that is what as many convolutions of stride 1 would see.",
        logits: f"That is the size of the map, {logits} × {logits} logits. The question is what one of them sees.",
        logits**2: "That is how many logits there are. The question is what one of them sees.",
        2**layers: "The product of the strides is how far apart two neighbouring patches lie, not how large they are.",
        4 * 2**layers: "Kernel times strides: but every layer adds to what is seen, not the last alone. Count step by step.",
        right**2: "That is the area. The side is wanted.",
        front: "Counted from the picture forward, with a rule that goes backward: begin at the logit, with the strides of 1.",
        2 * receptive_field(layers - 1): "Not quite twice the side of one layer less: n → 2(n − 1) + 4.",
        receptive_field(layers - 1): f"That is the side for layers={layers - 1}. One strided layer is missing.",
        receptive_field(layers + 1): f"That is the side for layers={layers + 1}. Two of the convolutions have a stride of 1.",
        size: "Not the whole picture: the size of a patch does not depend on the picture's. Only the number of patches does.",
    }
    return recognise(got, known) or "Begin at the logit, n = 1. Twice n → n + 3, then n → 2(n − 1) + 4 for each strided layer."


def _by_rule(
    answer: Callable, number: str, name: str, cases: list[tuple], right: Callable, known: dict[str, Callable]
) -> str | None:
    """None if the function gives what `right` gives; else the words for the rule that it follows, or a case that is off."""
    got = []
    for case in cases:
        value = as_number(found := call(answer, number, name, *case))
        if value is None:
            return f"It returned {type(found).__name__} where a number is wanted."
        got.append(value)

    def follows(rule):
        return [math.isclose(a, rule(*case), abs_tol=1e-6) for a, case in zip(got, cases, strict=True)]

    if all(off := follows(right)):
        return None
    at = off.index(False)
    words = next((words for words, rule in known.items() if all(follows(rule))), None)
    shown = ", ".join(str(x) for x in cases[at])
    return words or f"For {name}({shown}) it says {got[at]:g}, and {right(*cases[at])} is right."


@exercise("06.2")
def overlap(answer) -> str | None:
    """The side of a patch less the step to the next, 2 for each strided layer multiplied: neighbours share most of what they see.

    `answer`: a function, layers → the pixels that two neighbours' patches share along the row.
    """
    known = {
        "PatchGAN does not cut tiles side by side: it is one convolution, and neighbouring patches overlap.": lambda n: 0,
        "The next patch begins 2^layers pixels further, not one: every strided layer doubles the step.": lambda n: (
            receptive_field(n) - 1
        ),
        "Strides multiply: after three of 2 the step is 8, not 6.": lambda n: receptive_field(n) - 2 * n,
        "The step is 2^layers for any number of layers, not always 2.": lambda n: receptive_field(n) - 2,
        "The two convolutions of stride 1 do not widen the step: it is 2^layers.": lambda n: receptive_field(n) - 2 ** (n + 2),
        "Not half of it: take the side of a patch less the step to the next one.": lambda n: receptive_field(n) // 2,
        "That is how far the next patch is away. What they share is the rest.": lambda n: 2**n,
        "That is the whole patch. The next one begins a step further.": receptive_field,
        "That is what they share in the toy, one convolution. Several in a row share more.": lambda n: 2,
        "Three of four values, yes, but of the last layer's input. In pixels of the picture it is more.": lambda n: 3,
        "That is an area. Along the row is asked for.": lambda n: receptive_field(n) * (receptive_field(n) - 2**n),
    }
    cases = [(n,) for n in (1, 2, 3, 4, 5)]
    return _by_rule(answer, "06.2", "overlap", cases, lambda n: receptive_field(n) - 2**n, known)


def _halves(real: Callable[[Tensor], Tensor], fake: Callable[[Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda r, f: (real(r) + fake(f)) / 2


_WRONG_LOSSES = {
    "A sigmoid before a loss that takes logits: verdicts are squeezed into 0 … 1. Hand over the logits.": _halves(
        lambda r: F.softplus(-torch.sigmoid(r)).mean(), lambda f: F.softplus(torch.sigmoid(f)).mean()
    ),
    "Loss of the mean: the logits were averaged first, and right patches hide wrong ones. Each patch its loss, then the mean.": (
        _halves(lambda r: F.softplus(-r.mean()), lambda f: F.softplus(f.mean()))
    ),
    "The logits were averaged in each picture first: one verdict a picture again. Each patch its loss, then the mean.": _halves(
        lambda r: F.softplus(-r.mean((1, 2, 3))).mean(), lambda f: F.softplus(f.mean((1, 2, 3))).mean()
    ),
    "The other way round: true colours have the label 1, generated ones 0.": _halves(
        lambda r: F.softplus(r).mean(), lambda f: F.softplus(-f).mean()
    ),
    "Both halves have the same label, 1: nobody could be told apart.": _halves(
        lambda r: F.softplus(-r).mean(), lambda f: F.softplus(-f).mean()
    ),
    "The sum of both halves: their mean is wanted, so that a judge that cannot tell scores log 2.": lambda r, f: (
        F.softplus(-r).mean() + F.softplus(f).mean()
    ),
    "Summed over the patches: the loss would grow with the map. Take the mean.": _halves(
        lambda r: F.softplus(-r).sum(), lambda f: F.softplus(f).sum()
    ),
    "Summed over the patches of both: the loss would grow with the map. Take the mean.": lambda r, f: (
        F.softplus(-r).sum() + F.softplus(f).sum()
    ),
    "That is the half for true colours alone.": lambda r, f: F.softplus(-r).mean(),
    "That is the half for generated colours alone.": lambda r, f: F.softplus(f).mean(),
    "That is the generator's loss: it wants its own colours to be called real.": lambda r, f: F.softplus(-f).mean(),
    "That is the hinge loss, HINGE. The exercise asks for BCE.": losses.HINGE.discriminator,
    "That is the least-squares loss. The exercise asks for BCE.": losses.LEAST_SQUARES.discriminator,
    "The sign: a loss is −log of a probability, so it is never negative.": lambda r, f: -losses.BCE.discriminator(r, f),
}


@exercise("06.3", drawn=seeded)
@torch.enable_grad()
def map_loss(answer, seed) -> str | None:
    """Each patch its own loss, on logits, then the mean: so a wrong patch is corrected, whatever the others say.

    `answer`: a function, (real_logits, fake_logits) → the discriminator's BCE loss, a scalar.
    """
    dice = torch.Generator().manual_seed(seed)
    shapes = ((2, 1, 6, 6), (3, 1, 5, 9), (1, 1, 1, 1), (2, 1, 14, 14))
    cases = [[scale * torch.randn(shape, generator=dice) + 0.5 for _ in "rf"] for shape in shapes for scale in (1, 3)]
    got = []
    for real, fake in cases:
        real.requires_grad_()
        value = call(answer, "06.3", "d_loss", real, fake)
        if isinstance(value, Tensor) and value.numel() > 1:
            return f"A scalar is wanted, for the whole batch and map; it returned a tensor {tuple(value.shape)}: take the mean."
        if as_number(value) is None:
            return f"It returned {type(value).__name__} where a scalar tensor is wanted."
        if not isinstance(value, Tensor) or not value.requires_grad:
            return "The number carries no gradient, so the discriminator could not learn from it. Return the tensor itself."
        got.append(value.item())

    def follows(rule):
        return all(math.isclose(a, rule(*case).item(), rel_tol=1e-4, abs_tol=1e-5) for a, case in zip(got, cases, strict=True))

    if not follows(losses.BCE.discriminator):
        words = next((words for words, rule in _WRONG_LOSSES.items() if follows(rule)), None)
        off = abs(got[0] - losses.BCE.discriminator(*cases[0]).item())
        return words or f"It is not losses.BCE.discriminator: on the first of the maps that were tried it is off by {off:.3g}."
    sure = torch.full((1, 1, 4, 4), -200.0, requires_grad=True)  # true colours, of which the judge is sure that they are not
    if not math.isclose(answer(sure, -sure).item(), 200.0, rel_tol=1e-3):
        return "Right for small logits. At −200 the sigmoid is 0 and its logarithm lost: use softplus, or the loss *with logits*."
    return None


def _same(one: Tensor, other: Tensor) -> bool:
    return torch.allclose(one, other, atol=1e-6)


def _pixels(ab: Tensor) -> Tensor:
    """Every picture's colours in order, wherever they stand: (B, pixels)."""
    return (1000 * ab[:, 0] + ab[:, 1]).flatten(1).sort(dim=1).values


@exercise("06.4", drawn=seeded)
def forge(answer, seed) -> str | None:
    """Taken by themselves these colours are the true ones, so no blind judge can tell; they only lie on the wrong grey.

    `answer`: a function, (L, ab) of a batch of different scenes → false ab.
    """
    world = ColorWorld(32, seed=seed)
    for count in (6, 5, 2):
        scenes = world.sample(count)
        L, ab = scenes.L, scenes.ab
        got = call(answer, "06.4", "forge", L.clone(), ab.clone())
        if not isinstance(got, Tensor) or got.shape != ab.shape:
            return f"ab should be a tensor {tuple(ab.shape)} here, got {tuple(getattr(got, 'shape', ()))} {type(got).__name__}."
        if _same(got, ab):
            return "Nothing is false: these are the true pairs, and no judge can tell, given the grey or not."
        source = [[_same(mine, true) for true in ab] for mine in got]  # whose colours each picture took
        if all(any(row) for row in source):
            taken = [row.index(True) for row in source]
            kept = sum(k == n for n, k in enumerate(taken))
            if len(set(taken)) < count:
                return (
                    "Real colours, but some scenes' are used twice and others' never: a blind judge would see a few pictures "
                    "more often than they occur. Each should be used once."
                )
            if kept:
                return f"Of {count} scenes, {kept} kept their own colours: those pairs are true."
            continue
        mirrored = [(3, "Mirrored: the scenes' houses all have their chimney on the right, and a blind judge can learn that.")]
        mirrored += [(2, "Upside down: grass above the sky. A blind judge sees that without any grey.")]
        for dim, words in mirrored:
            if all(any(_same(mine, true) for true in ab.flip(dim)) for mine in got):
                return words
        if got.flatten(2).std(2).max() < 1e-4:
            return "One colour for a whole picture, such as grey: no true scene looks so, and a blind judge knows it at once."
        if _same(_pixels(got), _pixels(ab)) or _same(_pixels(got).sort(0).values, _pixels(ab).sort(0).values):
            return "The right colours in the wrong places of a picture: its outlines are cut, which a blind judge can see."
        if _same(got, -ab) or _same(got, ab.flip(1)):
            return "Colours that no scene has: negated or swapped channels are another palette, which a blind judge learns."
        return "Taken by themselves, these are not colours of true scenes: a blind judge can tell. Which ones surely are?"
    return None


def _least(reach: Callable[[int, int], float], first: int = 1) -> Callable[[int, int], int]:
    return lambda gap, wide: next(n for n in range(first, 20) if receptive_field(n) >= reach(gap, wide))


@exercise("06.5")
def layers_needed(answer) -> str | None:
    """From the left edge of one to the right edge of the other it is gap + wide, and so large must the patch be.

    `answer`: a function, (gap, wide) → the smallest number of strided layers.
    """
    cases = [(8, 4), (12, 4), (13, 4), (20, 4), (30, 4), (32, 4), (60, 10), (61, 10), (3, 2), (15, 12)]
    cases += [(33, 30), (130, 12), (160, 9)]
    known = {
        "The gap goes from left edge to left edge: the second one's width comes on top.": _least(lambda g, w: g),
        "One width too many: from left edge to left edge, the first one's is within the gap.": _least(lambda g, w: g + 2 * w),
        "A patch of exactly that size holds them too: at least, not more than.": _least(lambda g, w: g + w + 1),
        "That begins at layers=0, which PatchGANConfig does not take: 1 or more.": _least(lambda g, w: g + w, 0),
        "That is what lies between them, which need not hold either of them.": _least(lambda g, w: g - w),
        "That is the side of the patch. How many layers give it?": lambda g, w: receptive_field(_least(lambda a, b: a + b)(g, w)),
        "That is how many pixels are needed. How many layers have such a patch?": lambda g, w: g + w,
        "2^layers is the step from patch to patch. The patch itself is larger: receptive_field(layers).": lambda g, w: next(
            n for n in range(1, 20) if 2**n >= g + w
        ),
        "That is one layer less than needed: the largest patch that is still too small.": lambda g, w: (
            _least(lambda a, b: a + b)(g, w) - 1
        ),
        "Large enough for some, and too large for others: the smallest number of layers is wanted.": lambda g, w: 3,
    }
    return _by_rule(answer, "06.5", "layers_needed", cases, _least(lambda gap, wide: gap + wide), known)
