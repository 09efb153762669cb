"""Broken training runs of a second or two, each made by one real mistake, and the same run mended. Chapter 05.

The patients are points in the a*b* plane: pictures of one pixel. Trees and flowers of `ColorWorld` are given by their grey; a
tree has one of two colours, a flower one of three, so a generator needs noise, and a discriminator needs the grey. Every step
goes through `train.train_step`, but for the two mistakes that are made inside a step, which `careless_step` makes.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from colorlab import color
from colorlab.config import TrainConfig
from colorlab.losses import BCE
from colorlab.probe import Probe
from colorlab.train import Batch, train_step
from colorlab.world import ColorWorld

KINDS = ("tree", "flower")  # of two and of three colours; their bands of lightness are far apart
STEPS, BATCH = 1000, 128  # of a run
NOISE = 4  # numbers that the generator draws for a point
SCATTER = 4.0  # standard deviation of a real point around its kind's colour, Lab units


@dataclass(frozen=True)
class Cause:
    """A mistake that people really make."""

    mistake: str  # in one sentence
    wrong: str  # the line at fault
    cure: str  # the line that mends it
    symptom: str  # what it looks like, a name of `diagnose.SYMPTOMS`


CAUSES = {
    "detach": Cause(
        "The discriminator's loss flows back into the generator, and no zero_grad clears it before the generator's own.",
        "d_loss = bce(D(L, ab), 1) + bce(D(L, fake), 0); d_loss.backward(retain_graph=True)",
        "d_loss = bce(D(L, ab), 1) + bce(D(L, fake.detach()), 0); d_loss.backward()",
        "overpowering discriminator",
    ),
    "labels": Cause(
        "The generator's loss has the labels of the discriminator's: it is paid for being found out.",
        "g_loss = bce(D(L, fake), 0)",
        "g_loss = bce(D(L, fake), 1)",
        "gamut edge",
    ),
    "rates": Cause(
        "The discriminator learns thirty times faster than it should.",
        "Adam(D.parameters(), lr=3e-2)",
        "Adam(D.parameters(), lr=1e-3)",
        "overpowering discriminator",
    ),
    "shuffle": Cause(
        "The batches come sorted, a colour at a time.",
        "order = ab[:, 0].argsort()",
        "order = torch.randperm(n)",
        "oscillation",
    ),
    "scale": Cause(
        "The networks are given L* as it is, 0 to 100, where they were built for −1 to 1.",
        "G(L_star)",
        "G(L_star / 50 - 1)",
        "gamut edge",
    ),
    "blind": Cause(
        "The discriminator never sees the grey: any real colour will do, on anything.",
        "D(torch.zeros_like(L), ab)",
        "D(L, ab)",
        "blind to the grey",
    ),
    "sigmoid": Cause(
        "The discriminator ends in a sigmoid, and the loss takes its probabilities for logits.",
        "logits = torch.sigmoid(net(x))",
        "logits = net(x)",
        "vanishing gradients",
    ),
    "noise": Cause(
        "One grey has several colours, and the generator draws no noise: it can answer only one of them.",
        "G(L)",
        "G(torch.cat([L, z], dim=1))",
        "collapse",
    ),
    "leak": Cause(
        "The grey that it is trained on is the picture's red channel, and still holds its colour.",
        "L = encode(rgb)[0]; grey = 2 * rgb[:, :1] - 1; G(grey)",
        "L = encode(rgb)[0]; G(L)",
        "too good to be true",
    ),
}


@dataclass(frozen=True)
class Run:
    """A finished run: what `diagnose.read` reads, and points to look at."""

    history: list[dict[str, float]]  # rows of every step, then the probe's
    L: Tensor  # (n, 1, 1, 1) in [−1, 1]: the greys asked
    ab: Tensor  # (n, 2) in Lab units: the generator's answers
    truth: Tensor  # (n, 2) in Lab units: real points of the same greys


class Generator(nn.Module):
    """L (B, 1, 1, 1) → ab (B, 2, 1, 1), through three layers; draws `noise` numbers of its own for each point."""

    def __init__(self, noise: int = NOISE, width: int = 64):
        super().__init__()
        self.noise = noise
        layers = nn.Linear(1 + noise, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, 2), nn.Tanh()
        self.net = nn.Sequential(*layers)

    def forward(self, L: Tensor) -> Tensor:
        z = torch.randn(len(L), self.noise)
        return self.net(torch.cat([L.flatten(1), z], dim=1))[:, :, None, None]


class Discriminator(nn.Module):
    """L (B, 1, 1, 1), ab (B, 2, 1, 1) → logits (B, 1), through three layers. `blind` and `sigmoid` are mistakes."""

    def __init__(self, blind: bool = False, sigmoid: bool = False, width: int = 64):
        super().__init__()
        self.blind, self.sigmoid = blind, sigmoid
        layers = nn.Linear(3, width), nn.LeakyReLU(0.2), nn.Linear(width, width), nn.LeakyReLU(0.2), nn.Linear(width, 1)
        self.net = nn.Sequential(*layers)

    def forward(self, L: Tensor, ab: Tensor) -> Tensor:
        logits = self.net(torch.cat([0 * L if self.blind else L, ab], dim=1).flatten(1))
        return torch.sigmoid(logits) if self.sigmoid else logits


def points(n: int, generator: torch.Generator) -> Batch:
    """n real points, L (n, 1, 1, 1) and ab (n, 2, 1, 1): half trees, half flowers, colours as in `ColorWorld`."""
    world, L, ab = ColorWorld(16), [], []
    for kind, count in zip(KINDS, (n - n // 2, n // 2), strict=True):
        low, high = world.lightness(kind)
        p, colors = (torch.tensor(x) for x in zip(*world.distribution(kind), strict=True))
        L.append(low + (high - low) * torch.rand(count, generator=generator))
        ab.append(colors[torch.multinomial(p, count, replacement=True, generator=generator)])
    off = SCATTER * torch.randn(n, 2, generator=generator)
    order = torch.randperm(n, generator=generator)
    lab = torch.cat([torch.cat(L)[:, None], torch.cat(ab) + off], dim=1)[order, :, None, None]  # (n, 3, 1, 1)
    return color.lab_to_code(lab)


def careless_step(
    batch: Batch, generator: nn.Module, discriminator: nn.Module, optimizers: tuple, config: TrainConfig, cause: str
) -> dict[str, Tensor]:
    """`train.train_step` with one of two mistakes in it: "detach" or "labels".

    "detach" adds the two halves of D's loss up, as many do. Under Adam that changes nothing, but what flows back into G is then
    as strong as G's own gradient when D is undecided, and cancels it. With the mean of the halves G is slowed down only.
    """
    (L, ab), (optimizer_g, optimizer_d) = batch, optimizers
    generated = generator(L)
    real, fake = discriminator(L, ab), discriminator(L, generated if cause == "detach" else generated.detach())
    d_loss = BCE.discriminator(real, fake) * (2 if cause == "detach" else 1)
    optimizer_g.zero_grad()
    optimizer_d.zero_grad()
    d_loss.backward(retain_graph=True)
    optimizer_d.step()
    logits = discriminator(L, generated)
    g_loss = BCE.generator(-logits if cause == "labels" else logits)
    g_loss.backward()
    optimizer_g.step()
    l1 = (generated - ab).abs().mean()
    losses = {"d": d_loss, "g": g_loss, "adversarial": g_loss, "l1": l1, "real": real.mean(), "fake": fake.mean()}
    return {name: x.detach() for name, x in losses.items()}


def run(cause: str | None = None, seed: int = 0) -> Run:
    """Train on points with one mistake of `CAUSES`, or none: two or three seconds, the same for the same seed. Chapter 05.

    Raises ValueError for an unknown cause.
    """
    if cause is not None and cause not in CAUSES:
        raise ValueError(f"there is no recipe {cause!r}: choose one of {', '.join(CAUSES)}, or None for a run without a mistake.")
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return _run(cause, seed)


def _run(cause: str | None, seed: int) -> Run:
    draws = torch.Generator().manual_seed(seed)
    data, held_out = points(64 * BATCH, draws), points(512, draws)
    given = _given(cause)
    batches = list(zip(*(x.split(BATCH) for x in _ordered(data, cause)), strict=True))
    generator = Generator(0 if cause == "noise" else NOISE)
    discriminator = Discriminator(cause == "blind", cause == "sigmoid")
    config = TrainConfig(adversarial="bce", l1_weight=0.0, generator_lr=1e-3, discriminator_lr=3e-2 if cause == "rates" else 1e-3)
    rates = config.generator_lr, config.discriminator_lr
    networks = generator, discriminator
    optimizers = tuple(torch.optim.Adam(net.parameters(), lr, (0.5, 0.99)) for net, lr in zip(networks, rates, strict=True))
    careless = (cause,) if cause in ("detach", "labels") else ()
    # Who was trained on another scale is asked on it; but where the grey leaked, an honest one is what there is to ask with.
    asked = given(*held_out) if cause == "scale" else held_out[0]
    probe, history = Probe(asked, held_out[1], grey=held_out[0]), []
    for step in range(STEPS):
        for optimizer, lr in zip(optimizers, rates, strict=True):
            optimizer.param_groups[0]["lr"] = lr * min(1.0, 1.9 - 1.8 * step / STEPS)  # falls in the second half, to a tenth
        L, ab = batches[step % len(batches)]
        take_step = careless_step if careless else train_step
        losses = take_step((given(L, ab), ab), *networks, optimizers, config, *careless)
        history.append({"step": step + 1} | {name: x.item() for name, x in losses.items()})
        if (step + 1) % probe.every == 0:
            probe.rows.append(probe.look(step + 1, *networks, config))
    with torch.no_grad():
        answers = generator(asked)
    return Run(history + probe.rows, held_out[0], *(color.AB_SCALE * x.flatten(1) for x in (answers, held_out[1])))


def _ordered(data: Batch, cause: str | None) -> Batch:
    """The points as they came, already in random order, or sorted by a*."""
    order = data[1][:, 0].flatten().argsort()
    return tuple(x[order] for x in data) if cause == "shuffle" else data


def _given(cause: str | None) -> Callable[[Tensor, Tensor], Tensor]:
    """What the networks are given for L."""
    if cause == "scale":
        return lambda L, ab: (L + 1) * color.L_SCALE
    if cause == "leak":
        return lambda L, ab: 2 * color.decode(L, ab)[:, :1] - 1
    return lambda L, ab: L
