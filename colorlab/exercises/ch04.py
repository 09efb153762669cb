"""Checks of chapter 04: channels, receptive field, sizes, a picture alone or in a batch, and what no network can know."""

import copy
import math
import random
from collections.abc import Callable

import torch
from torch import nn

from colorlab.exercises import Given, as_number, call, exercise, recognise, seeded
from colorlab.unet import UNetConfig
from colorlab.world import ColorWorld


def _numbers(answer: object) -> list[float] | None:
    """A flat list of numbers, from a list, tuple, tensor or array; None for anything else."""
    if isinstance(answer, str | bytes | dict | set) or not hasattr(answer, "__len__"):
        return None
    found = [as_number(x) for x in answer]
    return None if None in found else found


def some_widths(dice: random.Random | None) -> Given:
    """Another network of depth 4, whose max_width cuts in; (width, max_width)."""
    width, most = (16, 48) if dice is None else dice.choice([(8, 40), (16, 80), (24, 72), (24, 120), (32, 96), (40, 120)])
    return Given((width, most), (f"UNetConfig(width={width}, max_width={most}, depth=4)",))


@exercise("04.1", drawn=some_widths)
def decoder_channels(answer, its) -> str | None:
    """Concatenation: what comes up from below, and beside it what the skip brings. Channels add up, values do not.

    `answer`: in_channels of the four decoder blocks of UNetConfig(width, max_width, depth=4), deepest first.
    """
    got = _numbers(answer)
    if got is None:
        return "A list of four numbers is wanted, the deepest decoder block first, such as [1, 2, 3, 4]."
    width, most = its
    widths = UNetConfig(width=width, max_width=most, depth=4).widths()
    here, below = widths[-2::-1], widths[:0:-1]
    right = [b + h for b, h in zip(below, here, strict=True)]
    if got == right:
        return None
    if len(got) != 4:
        return f"depth=4 makes four decoder blocks, one for each halving; you gave {len(got)} numbers."

    def doubled(last: int) -> list[int]:
        return [last * width * 2**k for k in (3, 2, 1, 0)]

    known = [
        (right[::-1], "Right numbers, other order: the decoder begins at the deepest level."),
        (below, "These come up from below alone. A skip is not added (b + s) but laid beside: its channels count too."),
        (here, "That is what each block gives. It takes what comes from below and what the skip brings."),
        ([2 * h for h in here], "Twice its own level's channels: but from below comes the number of the level below."),
        ([2 * b for b in below], "Twice what comes from below: but the skip brings the channels of the level above."),
        (doubled(3), f"Levels were doubled past max_width: no level has more than {most} channels."),
        (doubled(2), f"Doubled past max_width, {most}, and what comes from below alone: the skip's channels count too."),
        (doubled(1), f"Doubled past max_width, {most}, and what each block gives. It takes from below, and from the skip."),
        ([most] * 4, "max_width holds for each level's own channels. A concatenation of two levels may have more."),
        (widths[:-1], "That is what the encoder's blocks take, on the way down. The decoder has the skips."),
        (widths[1:], "That is what the encoder's blocks give. Each block of the decoder takes two levels' channels."),
    ]
    found = next((words for value, words in known if got == value), None)
    return found or "Write down widths() first; each block then takes the channels from below + the skip's. Reread Skips."


def _seen(layers: list[tuple[int, int]], own: bool = False) -> int:
    """Receptive field; own=True counts a layer's own stride too early."""
    side, jump = 1, 1
    for kernel, stride in layers:
        side += (kernel - 1) * (jump * stride if own else jump)
        jump *= stride
    return side


def _backwards(layers: list[tuple[int, int]]) -> int:
    side = 1
    for kernel, stride in layers:
        side = stride * (side - 1) + kernel
    return side


def _added(layers: list[tuple[int, int]]) -> int:
    return 1 + sum((k - 1) * max(1, sum(s for _, s in layers[:n])) for n, (k, _) in enumerate(layers))


def _on_all(answer: Callable, number: str, name: str, cases: list[tuple]) -> list[object] | str:
    """What the function returns for each case, as numbers; or what is wrong with one of them."""
    found = []
    for case in cases:
        got = call(answer, number, name, *copy.deepcopy(case))
        if (value := as_number(got)) is None:
            return f"It returned {type(got).__name__} where a number is wanted."
        found.append(value)
    return found


def _judged(got: list[float], cases: list[tuple], right: Callable, known: dict[str, Callable], case: Callable) -> str | None:
    """None if the numbers are those of the right rule; else the words for the rule whose they are, or the first that is off."""

    def follows(rule):
        return [math.isclose(a, rule(*one)) for a, one in zip(got, cases, strict=True)]

    if all(follows(right)):
        return None
    at = follows(right).index(False)
    found = next((words for words, rule in known.items() if all(follows(rule))), None)
    return found or f"{case(*cases[at])} it says {got[at]:g}, and {right(*cases[at])} is right. Reread the rule, term by term."


@exercise("04.2", drawn=seeded)
def receptive_field(answer, seed) -> str | None:
    """Each layer adds its kernel less one, times the strides before it: r = 1 + Σ (k − 1) · ∏ strides before.

    `answer`: a function, [(kernel, stride), …] from the picture on → the side in pixels that one output sees.
    """
    dice = random.Random(4 + seed)
    stacks = [[(dice.randint(1, 7), dice.randint(1, 3)) for _ in range(n)] for n in (1, 2, 2, 3, 4, 5, 6)]
    stacks += [[(3, 1)], [(3, 1), (3, 1)], [(4, 2), (4, 2), (4, 1), (4, 1)], [(1, 1)]]
    got = _on_all(answer, "04.2", "receptive_field", cases := [(stack,) for stack in stacks])
    if isinstance(got, str):
        return got
    known = {
        "The product of the strides says which sizes fit; not how far one sees.": lambda x: math.prod(s for _, s in x),
        "The strides before a layer are missing: after a stride of 2, a step is two pixels.": lambda x: (
            sum(k for k, _ in x) - len(x) + 1
        ),
        "Kernels do not simply add up: windows overlap, so a layer adds k − 1, not k.": lambda x: sum(k for k, _ in x),
        "Kernels do not multiply: two 3×3 convolutions see 5 pixels, not 9.": lambda x: math.prod(k for k, _ in x),
        "A layer's own stride counts only for the layers after it: grow r first, then the jump.": lambda x: _seen(x, True),
        "One too few: with no layer at all, a pixel still sees itself, so r begins at 1.": lambda x: _seen(x) - 1,
        "Right rule, wrong direction: from output to input, begin with the last layer, reversed(layers).": _backwards,
        "That is the area. The side is wanted.": lambda x: _seen(x) ** 2,
        "Strides multiply, they do not add: two strides of 2 make a jump of 4.": _added,
    }
    return _judged(got, cases, _seen, known, lambda stack: f"For {stack}")


def _up(side: int, stride: int) -> int:
    return -(-side // stride) * stride


def _power(side: int, stride: int, _: object = None) -> int:
    return max(stride, 2 ** math.ceil(math.log2(side)))


@exercise("04.3")
def next_size(answer) -> str | None:
    """Up to the next multiple of the stride, 2 for every halving, and one halving more where the network works at half size.

    `answer`: a function, (side, config) → the smallest side ≥ `side` that UNet(config) accepts.
    """
    shapes = ((3, False), (1, False), (5, False), (4, True), (2, True))
    configs = [UNetConfig(width=8, max_width=16, depth=depth, half=half) for depth, half in shapes]
    cases = [(side, config) for config in configs for side in (1, 7, 8, 64, 100, 101, 127, 140, 300, 451)]
    got = _on_all(answer, "04.3", "next_size", cases)
    if isinstance(got, str):
        return got

    known = {
        "Not any size will do: each level halves the side. UNet(config) raises a ValueError for an odd one.": lambda x, s, _: x,
        "That rounds down: 100 becomes 96, and four rows of the picture are cut off. Round up.": lambda x, s, _: x // s * s,
        "That takes the nearest multiple, which may be smaller than the picture. Round up.": lambda x, s, _: round(x / s) * s,
        "A side that fits already was made longer: for 64 and stride 8 the answer is 64.": lambda x, s, _: (x // s + 1) * s,
        "A power of two is not needed, only a multiple of the stride: 104 = 13 · 8 will do.": _power,
        "A power of two is not needed, nor always enough: a side of 1 needs one whole stride.": lambda x, s, _: _power(x, 1),
        "8 is the stride of depth 3 at full size. Use config.depth and config.half.": lambda x, s, _: _up(x, 8),
        "half=True is one halving more, so the stride doubles. Reread half size.": lambda x, s, c: _up(x, 2**c.depth),
        "The halvings multiply: three of them make 2·2·2 = 8, not 6.": lambda x, s, c: _up(x, 2 * (c.depth + c.half)),
        "Halvings multiply, 2·2·2 = 8 for three, not 2 · 3; and half=True is one more.": lambda x, s, c: _up(x, 2 * c.depth),
        "That is how many pixels are missing; the side itself is wanted.": lambda x, s, _: -x % s,
        "That is the stride. Its smallest multiple that is not below side is wanted.": lambda x, s, _: s,
    }
    cases = [(side, 2**c.depth * (2 if c.half else 1), c) for side, c in cases]
    return _judged(got, cases, lambda x, s, _: _up(x, s), known, lambda x, s, c: f"For side={x}, depth={c.depth}, half={c.half}")


def _net(dropout: bool) -> nn.Module:
    """A small network with BatchNorm, whose running statistics are of some use, and dropout if wanted."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        last = [nn.Dropout(0.5)] if dropout else []
        net = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.SiLU(), *last, nn.Conv2d(8, 2, 1), nn.Tanh())
        with torch.no_grad():
            net[1].running_mean.normal_()
            net[1].running_var.uniform_(0.5, 2)
    return net


@exercise("04.4")
@torch.enable_grad()  # and, however an answer leaves it, restored in the end
def predict(answer) -> str | None:
    """The same answer for a picture alone and in any company, and the network is handed back as it came.

    `answer`: a function, (net, L) → ab, that uses a network which may hold BatchNorm and dropout.
    """
    L = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    for dropout in (False, True):
        net = _net(dropout)
        before = copy.deepcopy(net)
        got = call(answer, "04.4", "predict", net, L.clone())
        if not isinstance(got, torch.Tensor) or got.shape != (4, 2, 8, 8):
            return f"ab should be a tensor (4, 2, 8, 8) here, got {tuple(getattr(got, 'shape', ()))} {type(got).__name__}."
        with torch.no_grad():
            truth = copy.deepcopy(before).eval()(L)
            together = copy.deepcopy(before).train()(L)
            alone = torch.cat([copy.deepcopy(before).train()(x[None]) for x in L])
        value = got.detach()
        if not torch.allclose(value, truth, atol=1e-5):
            if torch.allclose(value, together, atol=1e-5):
                return "eval() is missing: in training mode BatchNorm takes its mean from the batch, so batch mates mix."
            if torch.allclose(value, alone, atol=1e-5):
                return "One at a time, but in training mode: BatchNorm takes the picture's own mean, not what it learnt."
            if any(not torch.equal(a, b) for a, b in zip(net.buffers(), before.buffers(), strict=True)):
                return "BatchNorm's running statistics were changed: using a network must not teach it. Call eval() first."
            if dropout:
                return "Dropout still draws: the same picture gets another answer each time. net.eval() ends that, in all layers."
            return "The answers are not those of the network in eval mode. net.eval(), then net(L), and nothing more."
        if not torch.is_grad_enabled():
            return "Gradients stay off after it, for the whole program, and no training would work: `with torch.no_grad():`."
        if got.requires_grad:
            return "Right numbers, but they carry the graph of gradients: `with torch.no_grad():` saves its memory."
        if any(not p.requires_grad for p in net.parameters()):
            return "The weights are frozen now and would never learn again: leave requires_grad alone, and use torch.no_grad()."
        if not all(part.training for part in net.modules()):
            return "It came in training mode and went back in eval mode: training would go on without dropout. Restore its mode."
        answer(net.eval(), L.clone())
        if any(part.training for part in net.modules()):
            return "A network that came in eval mode went back in training mode. Restore what it was: net.train(was)."
    return None


@exercise("04.5")
def floor_of_balloons(answer) -> str | None:
    """No size, depth or skip gets below this: it is the spread of the colours themselves, which grey says nothing about.

    `answer`: the least mean absolute error that any network can have on balloons, over a and b, in Lab units.
    """
    got = as_number(answer)
    if got is None:
        return "A number is wanted, in Lab units."
    world = ColorWorld(size=16)
    colours, median = world.distribution("balloon"), world.median("balloon")

    def error(at, ways=colours):
        return [sum(p * abs(ab[c] - at[c]) for p, ab in ways) for c in (0, 1)]

    a, b = error(median)
    right = (a + b) / 2
    if abs(got - right) < 0.1:
        return None
    to_mean, to_red = (sum(error(at)) / 2 for at in (world.mean("balloon"), colours[0][1]))
    equal = sum(error(median, [(1 / 3, ab) for _, ab in colours])) / 2
    apart = sum(p * math.dist(ab, median) for p, ab in colours)
    known = {
        0.0: "A bigger network does not cure sepia: however large, it is given grey, and grey does not hold the colour drawn.",
        a: "That is channel a alone: take the mean of both channels.",
        b: "That is channel b alone: take the mean of both channels.",
        equal: "Weigh each colour by its probability: 0.4, 0.35 and 0.25, not a third each (and do not round to whole numbers).",
        a + b: "That is the sum of both channels; the loss is their mean.",
        to_mean: "That is the error of the mean colour, the best answer to L2. L1 has a better: the median.",
        to_red: "That is the error of painting every balloon the likeliest colour. The per-channel median does better.",
        apart: "That is the mean distance ΔE76; L1 looks at each channel alone.",
        sum(error((0, 0)))
        / 2: "That is the error of grey, a = b = 0. The per-channel median lies nearer to the balloons' colours.",
        right / 110: "That is in the network's units: times color.AB_SCALE gives Lab units.",
    }
    nearest = min(known, key=lambda value: abs(value - got))  # two of them lie 1 % apart
    if words := recognise(got, {nearest: known[nearest]}):
        return words
    if 34 <= got <= 42:
        return "Near, as a measurement on a few dozen balloons is. For the exact floor take world.distribution and world.median."
    return "For each colour: its probability times |colour − median|, for a and for b; then the mean of both. Reread Still sepia."
