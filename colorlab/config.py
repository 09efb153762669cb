"""The configuration of one run: networks, machine, steps, rates, losses."""

import math
from dataclasses import dataclass, field

from colorlab.losses import ADVERSARIAL
from colorlab.machine import Machine
from colorlab.patchgan import PatchGANConfig
from colorlab.unet import UNetConfig


@dataclass(frozen=True)
class TrainConfig:
    """All that decides a run, besides its pictures."""

    generator: UNetConfig = field(default_factory=UNetConfig)
    discriminator: PatchGANConfig = field(default_factory=PatchGANConfig)
    machine: Machine = field(default_factory=Machine)  # where and in which precision
    warmup_steps: int = 500  # steps of L1 alone: a generator that knows shapes gives the discriminator a task
    gan_steps: int = 500  # adversarial steps after them
    warmup_lr: float = 1e-3  # Adam's rate for the warm-up; every rate falls along half a cosine to a twentieth
    generator_lr: float = 2e-4  # and for the adversarial half
    discriminator_lr: float = 4e-4  # twice the generator's: two time scales (Heusel et al. 2017)
    l1_weight: float = 50.0  # λ: how much staying near the truth counts beside convincing the discriminator
    adversarial: str = "hinge"  # or "bce", "least_squares"
    ema: float = 0.998  # decay of the generator's moving average, which is what ships
    seed: int = 0  # of the weights

    def __post_init__(self):
        if self.adversarial not in ADVERSARIAL:
            raise ValueError(f"adversarial is one of {', '.join(ADVERSARIAL)}, got {self.adversarial!r}.")
        if min(self.warmup_steps, self.gan_steps) < 0 or not 0 <= self.ema < 1:
            raise ValueError(f"TrainConfig needs steps >= 0 and 0 <= ema < 1, got {self}.")
        if not all(0 <= x < float("inf") for x in (self.warmup_lr, self.generator_lr, self.discriminator_lr, self.l1_weight)):
            raise ValueError(f"TrainConfig needs rates and l1_weight that are finite and not negative, got {self}.")

    @property
    def steps(self) -> int:
        """Warm-up and adversarial steps together."""
        return self.warmup_steps + self.gan_steps

    def rates(self, step: int) -> tuple[float, float]:
        """The generator's and the discriminator's learning rate at a step, from 0; the discriminator rests in the warm-up."""
        if step < self.warmup_steps:
            return self.warmup_lr * _fall(step / self.warmup_steps), 0.0
        fall = _fall((step - self.warmup_steps) / max(1, self.gan_steps))
        return self.generator_lr * fall, self.discriminator_lr * fall


def _fall(done: float) -> float:
    """Half a cosine from 1 at the start to 1/20 at the end, and 1/20 from there on."""
    return 0.05 + 0.95 * (1 + math.cos(math.pi * min(1.0, done))) / 2
