"""Answers to chapter 04."""

import copy
import math

import torch

from colorlab.unet import UNet, UNetConfig, check_size
from colorlab.world import ColorWorld

CONFIG = UNetConfig(width=16, max_width=48, depth=4)


def forward(layers):
    """Receptive field, from the picture on."""
    side, jump = 1, 1
    for kernel, stride in layers:
        side, jump = side + (kernel - 1) * jump, jump * stride
    return side


def backward(layers):
    """The same, from the output back."""
    side = 1
    for kernel, stride in reversed(layers):
        side = stride * (side - 1) + kernel
    return side


def by_sum(layers):
    """The same, as the formula is written."""
    return 1 + sum((k - 1) * math.prod(s for _, s in layers[:n]) for n, (k, _) in enumerate(layers))


def late_jump(layers):
    """A layer's own stride is counted for itself."""
    side, jump = 1, 1
    for kernel, stride in layers:
        jump *= stride
        side += (kernel - 1) * jump
    return side


def wrong_way(layers):
    """The way back, begun at the front."""
    side = 1
    for kernel, stride in layers:
        side = stride * (side - 1) + kernel
    return side


def added(layers):
    """Strides are added up."""
    side, jump = 1, 0
    for kernel, stride in layers:
        side, jump = side + (kernel - 1) * max(1, jump), jump + stride
    return side


def by_trying(side, config):
    """The next size, by asking the library."""
    while True:
        try:
            check_size(torch.zeros(1, 1, side, side), 2**config.depth * (1 + config.half))
        except ValueError:
            side += 1
        else:
            return side


def stride(config):
    """What sizes must be multiples of."""
    return UNet(config).stride


def using(prepare=lambda net: net.eval(), restore=lambda net, was: net.train(was), gradients=False, run=lambda net, L: net(L)):
    """A `predict` of these parts."""

    def predict(net, L):
        was = net.training
        prepare(net)
        with torch.set_grad_enabled(gradients):
            ab = run(net, L)
        restore(net, was)
        return ab

    return predict


def on_a_copy(net, L):
    """Another right answer to 04.4: the network itself is never touched."""
    with torch.inference_mode():
        return copy.deepcopy(net).eval()(L)


def one_by_one(net, L):
    """Each picture alone."""
    return torch.cat([net(x[None]) for x in L])


def frozen(net):
    """In eval mode, and for good."""
    net.eval().requires_grad_(False)


def half_frozen(net):
    """BatchNorm alone is told."""
    net.train()
    net[1].eval()


def off_for_good(net, L):
    """Gradients are switched off, and nobody switches them on again."""
    was = net.training
    torch.set_grad_enabled(False)
    ab = net.eval()(L)
    net.train(was)
    return ab


def taught(net, L):
    """Uses the network once in training mode, for nothing."""
    net.train()
    net(L)
    return net.eval()(L)


def spread(centre, norm=lambda a, b: (abs(a) + abs(b)) / 2):
    """What is left on balloons for a network that always answers `centre`."""
    return sum(p * norm(a - centre[0], b - centre[1]) for p, (a, b) in ColorWorld(size=16).distribution("balloon"))


def drawn():
    """The floor, by drawing a hundred thousand balloons' colours and trying the median."""
    p, ab = zip(*ColorWorld(size=16).distribution("balloon"), strict=True)
    counts = [round(100_000 * x) for x in p]
    colours = torch.tensor(ab).repeat_interleave(torch.tensor(counts), 0)
    return (colours - colours.median(0).values).abs().mean()


MEDIAN = (15, 45)

RIGHT = {
    "04.1": [
        [96, 96, 80, 48],
        (48 + 48, 48 + 48, 48 + 32, 32 + 16),
        [up[0].in_channels for up in UNet(CONFIG).up],
        torch.tensor([96, 96, 80, 48]),
    ],
    "04.2": [forward, backward, by_sum, lambda layers: torch.tensor(forward(layers))],
    "04.3": [
        lambda side, config: -(-side // stride(config)) * stride(config),
        lambda side, config: math.ceil(side / stride(config)) * stride(config),
        lambda side, config: side + -side % (2 ** (config.depth + config.half)),
        by_trying,
    ],
    "04.4": [
        using(),
        on_a_copy,
        using(run=one_by_one),
        using(gradients=True, run=lambda net, L: net(L).detach()),
        using(restore=lambda net, was: net.train() if was else net.eval()),
    ],
    "04.5": [37.75, spread(MEDIAN), drawn(), 37.8],
}
WRONG = {  # exercise → [(answer, a word that names the misconception)]
    "04.1": [
        ([48, 48, 48, 32], "not added"),
        ([48, 48, 32, 16], "gives"),
        ([48, 80, 96, 96], "order"),
        ([96, 96, 64, 32], "level below"),
        ([96, 96, 96, 64], "level above"),
        ([384, 192, 96, 48], "max_width"),
        ([256, 128, 64, 32], "from below alone"),
        ([128, 64, 32, 16], "what each block gives"),
        ([48, 48, 48, 48], "A concatenation of two"),
        ([16, 32, 48, 48], "encoder"),
        ([32, 48, 48, 48], "encoder's blocks give"),
        ([96, 96, 80, 48, 48], "four decoder blocks"),
        ([1, 2, 3, 4], "widths()"),
        (320, "list"),
        ("96", "list"),
    ],
    "04.2": [
        (lambda layers: math.prod(s for _, s in layers), "product of the strides"),
        (lambda layers: 1 + sum(k - 1 for k, _ in layers), "strides before"),
        (lambda layers: sum(k for k, _ in layers), "overlap"),
        (lambda layers: math.prod(k for k, _ in layers), "multiply"),
        (late_jump, "own stride"),
        (lambda layers: forward(layers) - 1, "begins at 1"),
        (wrong_way, "wrong direction"),
        (lambda layers: forward(layers) ** 2, "area"),
        (added, "do not add"),
        (lambda layers: 2 * len(layers) + 1, "is right"),
        (lambda layers: None, "`return` missing"),
        (lambda layers: str(forward(layers)), "number is wanted"),
        (lambda layers: ..., "yours to do"),
        (lambda: 3, "TypeError"),
        (98, "function itself"),
    ],
    "04.3": [
        (lambda side, config: side, "Not any size"),
        (lambda side, config: side // stride(config) * stride(config), "rounds down"),
        (lambda side, config: round(side / stride(config)) * stride(config), "nearest"),
        (lambda side, config: (side // stride(config) + 1) * stride(config), "fits already"),
        (lambda side, config: max(stride(config), 2 ** math.ceil(math.log2(side))), "power of two"),
        (lambda side, config: 2 ** math.ceil(math.log2(side)), "nor always enough"),
        (lambda side, config: math.ceil(side / 8) * 8, "8 is the stride of depth 3"),
        (lambda side, config: -(-side // 2**config.depth) * 2**config.depth, "half=True"),
        (lambda side, config: math.ceil(side / (s := 2 * config.depth)) * s, "not 2 · 3"),
        (lambda side, config: math.ceil(side / (s := 2 * (config.depth + config.half))) * s, "2·2·2"),
        (lambda side, config: -side % stride(config), "missing"),
        (lambda side, config: stride(config), "multiple that is not below"),
        (lambda side, config: math.ceil(side / 32) * 32, "is right"),
        (lambda side, config: print(end=""), "`return` missing"),
        (104, "function itself"),
    ],
    "04.4": [
        (lambda net, L: net(L), "eval() is missing"),
        (lambda net, L: net(L).detach(), "eval() is missing"),
        (using(prepare=lambda net: net.train(), run=one_by_one), "own mean"),
        (using(prepare=half_frozen), "Dropout"),
        (using(gradients=True), "no_grad"),
        (using(restore=lambda net, was: None), "Restore"),
        (using(restore=lambda net, was: setattr(net, "training", was)), "Restore"),
        (using(restore=lambda net, was: net.train()), "went back in training"),
        (using(prepare=frozen), "requires_grad"),
        (off_for_good, "Gradients stay off"),
        (using(run=taught), "running statistics"),
        (using(run=lambda net, L: net(L) * 110), "nothing more"),
        (using(run=lambda net, L: net(L)[0]), "(4, 2, 8, 8)"),
        (lambda net, L: net.eval(), "(4, 2, 8, 8)"),
        (lambda net, L: None, "`return` missing"),
        (torch.zeros(4, 2, 8, 8), "function itself"),
    ],
    "04.5": [
        (0, "does not cure sepia"),
        (spread(MEDIAN, lambda a, b: abs(a)), "channel a alone"),
        (spread(MEDIAN, lambda a, b: abs(b)), "channel b alone"),
        (38, "probability"),
        (spread(MEDIAN, lambda a, b: abs(a) + abs(b)), "sum"),
        (spread((18.75, 7.25)), "L2"),
        (spread((65, 45)), "likeliest"),
        (spread(MEDIAN, math.hypot), "ΔE76"),
        (spread(MEDIAN) / 110, "AB_SCALE"),
        (spread((0, 0)), "error of grey"),
        (34.1, "Near"),
        (46, "Reread"),
        (32, "Reread"),
        (20, "Reread"),
        ("none", "number"),
    ],
}  # fmt: skip
REDRAWN = {  # exercise → a right answer, from what a variant starts from
    "04.1": lambda its: [up[0].in_channels for up in UNet(UNetConfig(width=its[0], max_width=its[1], depth=4)).up],
}
