"""Answers to chapter 07."""

import copy
import functools
import inspect

import torch
from torch import nn

from answers import late
from colorlab import train
from colorlab.config import TrainConfig
from colorlab.exercises.ch07 import TENSORS
from colorlab.patchgan import PatchGAN, PatchGANConfig
from colorlab.unet import UNet, UNetConfig
from colorlab.world import ColorWorld


def drawn(generator, L, draws=64):
    """Colourings of the same pictures, in the networks' units."""
    with torch.no_grad():
        return torch.stack([generator(L) for _ in range(draws)])


def spread(generator, L):
    """As the exercise asks."""
    return 110 * drawn(generator, L).std(0).mean()


def by_moments(generator, L):
    """From the first two moments."""
    x = 110 * drawn(generator, L, 200).double()
    return (x.square().mean(0) - x.mean(0).square()).clamp(min=0).sqrt().mean().item()


def once_seeded(generator, L):
    """The seed is set again before every draw."""
    draws = []
    for _ in range(64):
        torch.manual_seed(0)
        draws.append(generator(L))
    return 110 * torch.stack(draws).std(0).mean()


class Average:
    """As the library has it, without the start."""

    def __init__(self, module, decay):
        self.module, self.decay = copy.deepcopy(module), decay

    @torch.no_grad()
    def update(self, module):
        """Towards the network."""
        for mean, now in zip(self.module.parameters(), module.parameters(), strict=True):
            self.move(mean, now)

    def move(self, mean, now):
        """One tensor."""
        mean.lerp_(now, 1 - self.decay)


class ByDict:
    """Through state_dict."""

    def __init__(self, module, decay):
        self.module, self.decay = copy.deepcopy(module), decay

    def update(self, module):
        """Towards the network."""
        mine, theirs = self.module.state_dict(), module.state_dict()
        self.module.load_state_dict({name: self.decay * x + (1 - self.decay) * theirs[name] for name, x in mine.items()})


def moved(rule):
    """An average whose tensors are moved by another rule."""
    return type("Other", (Average,), {"move": lambda self, mean, now: rule(mean, now, self.decay)})


class Alias(Average):
    """A second name for the network."""

    def __init__(self, module, decay):
        self.module, self.decay = module, decay


class Shallow(Average):
    """A module of its own, the same tensors."""

    def __init__(self, module, decay):
        self.module, self.decay = copy.copy(module), decay


class FromZero(Average):
    """The mean begins at zero."""

    def __init__(self, module, decay):
        super().__init__(module, decay)
        for p in self.module.parameters():
            p.data.zero_()


class Plain(Average):
    """All steps count alike."""

    n = 1

    @torch.no_grad()
    def update(self, module):
        """Towards the network."""
        self.n += 1
        for mean, now in zip(self.module.parameters(), module.parameters(), strict=True):
            mean.lerp_(now, 1 / self.n)


class WeightsOnly(Average):
    """The bias is forgotten."""

    def move(self, mean, now):
        """One tensor."""
        if mean.ndim == 2:
            super().move(mean, now)


class Names(Average):
    """A new tensor every time, kept by nobody."""

    def move(self, mean, now):
        """One tensor."""
        mean = self.decay * mean + (1 - self.decay) * now


def handed_over(mean, now, decay):
    """A reference instead of numbers."""
    mean.data = now.data


def backwards(mean, now, decay):
    """The network that trains is moved."""
    now.lerp_(mean, 1 - decay)


class NoModule:
    """Keeps a dictionary."""

    def __init__(self, module, decay):
        self.mean = copy.deepcopy(module.state_dict())

    def update(self, module):
        """Nothing."""


@functools.cache
def differing():
    """The experiment of exercise 07.5: how many tensors differ, without detach, and without zero_grad too."""
    source = inspect.getsource(train.train_step)
    careless = source.replace("generated.detach()", "generated")
    careless = careless.replace("d_loss.backward()", "d_loss.backward(retain_graph=True)")
    both = careless.replace("    optimizer_g.zero_grad()\n", "")
    assert source != careless != both
    after = []
    for text in (source, careless, both):
        names = dict(vars(train))
        exec(text, names)
        torch.manual_seed(0)
        generator = UNet(UNetConfig(width=16, depth=2))
        discriminator = PatchGAN(PatchGANConfig(width=32, layers=2))
        optimizers = tuple(torch.optim.Adam(net.parameters(), lr=1e-3) for net in (generator, discriminator))
        scenes = ColorWorld(32).sample(4, start=0)
        names["train_step"]((scenes.L, scenes.ab), generator, discriminator, optimizers, TrainConfig(l1_weight=50.0))
        after.append(list(generator.parameters()))
    assert len(after[0]) == TENSORS
    return [sum(not torch.equal(p, q) for p, q in zip(after[0], other, strict=True)) for other in after[1:]]


RIGHT = {
    "07.1": [["generator", "discriminator"], "discriminator, generator", {"Generator", "Discriminator"}],
    "07.2": [5 / 110, 0.0455, torch.tensor(5 / 110), 1 / 22],
    "07.3": [spread, by_moments, lambda g, L: 110 * drawn(g, L, 100).std(dim=0, unbiased=False).mean().item()],
    "07.4": [Average, ByDict, moved(lambda m, now, d: m.mul_(d).add_(now, alpha=1 - d)),
             moved(lambda m, now, d: m.copy_(d * m + (1 - d) * now))],
    "07.5": [(0, 27), [0, TENSORS], late(differing), torch.tensor([0, 20])],
}  # fmt: skip
WRONG = {  # exercise → [(answer, a word that names the misconception)]
    "07.1": [
        ([], "does not make the GAN unconditional"),
        ("", "does not make the GAN unconditional"),
        (["generator"], "could ignore it"),
        (["discriminator"], "judge"),
        (["generator", "discriminator", "l1"], "adds nothing"),
        (["l1"], "adds nothing"),
        (["generator", "weights"], "none of the words"),
        (2, "list"),
    ],
    "07.2": [
        (5, "110 times too large"),
        (550, "Divide"),
        (5 / 110**2, "once"),
        (5 / 110**0.5, "root"),
        (0.1, "lightness"),
        (5 / 55, "averaged"),
        (1 / 110, "for λ = 1"),
        (0, "pulls"),
        (110, "ratio"),
        (1, "so that λ · L1 stays"),
        ("small", "number"),
    ],
    "07.3": [
        (lambda g, L: 110 * drawn(g, L).std(1).mean(), "pictures"),
        (lambda g, L: 110 * drawn(g, L).flatten(3).std(3).mean(), "pixels"),
        (lambda g, L: 110 * drawn(g, L).std(), "over the draws alone"),
        (once_seeded, "seed"),
        (lambda g, L: 110 * torch.stack([g(L)] * 64).std(0).mean(), "asked once"),
        (lambda g, L: spread(g.eval(), L), "eval()"),
        (lambda g, L: spread(g, L) / 110, "networks' units"),
        (lambda g, L: (110 * drawn(g, L)).var(0).mean(), "variance"),
        (lambda g, L: 110 * (drawn(g, L).amax(0) - drawn(g, L).amin(0)).mean(), "least to the greatest"),
        (lambda g, L: 110 * drawn(g, L).std(0).norm(dim=1).mean(), "channels"),
        (lambda g, L: 110 * (drawn(g, L) - drawn(g, L).mean(0)).abs().mean(), "mean distance"),
        (lambda g, L: 2 * spread(g, L), "Lab units got"),
        (lambda g, L: bool(spread(g, L) > 1), "yes or no"),
        (lambda g, L: 110 * drawn(g, L).std(0), "take the mean"),
        (lambda g, L: ..., "still returns"),
        (3.0, "function itself"),
    ],
    "07.4": [
        (Alias, "second name"),
        (Shallow, "shallow"),
        (moved(handed_over), "reference"),
        (moved(backwards), "network that trains"),
        (moved(lambda m, now, d: m.lerp_(now, d)), "changed places"),
        (moved(lambda m, now, d: m.copy_(now)), "without memory"),
        (Names, "has not moved"),
        (FromZero, "began at zero"),
        (Plain, "plain mean"),
        (WeightsOnly, "bias"),
        (moved(lambda m, now, d: m.lerp_(now, 0.5)), "decay · mean"),
        (NoModule, ".module"),
        (lambda module, decay: copy.deepcopy(module), "update(module)"),
        (nn.Linear(3, 2), "could not be checked"),
        (0.9, "function itself"),
    ],
    "07.5": [
        ((27, 27), "does not always break"),
        ((32, 32), "does not always break"),
        ((0, 0), "add up"),
        ((27, 0), "wrong way round"),
        ("RuntimeError", "honest finding"),
        ((0, 119010), "32 tensors"),
        (0, "pair"),
    ],
}  # fmt: skip
REDRAWN = {  # exercise → a right answer, from what a variant starts from
    "07.2": lambda weight: weight / 110,
}
