"""Train chapter 07's conditional GAN again and again, each time with one ingredient changed, and keep what was measured.

    python tools/ablate.py                     # every run that colorlab/results/ch07.json lacks; about half an hour
    python tools/ablate.py full:0 "l1 alone:0"  # these runs only, printed beside what is kept; nothing is written

A run is named by a variant (see VARIANTS) and a seed. Each is kept as soon as it ends, so that an interrupted tool goes on
where it stopped; delete the file to begin anew. What chapter 07 shows of single scenes is kept in ch07.npz beside it. Bits
differ between processors and thread counts, and a GAN's run is chaotic: another machine's numbers scatter as other seeds do.
"""

import dataclasses
import json
import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn

from colorlab import color, metrics
from colorlab.config import TrainConfig
from colorlab.patchgan import PatchGANConfig
from colorlab.train import Trainer
from colorlab.unet import UNet, UNetConfig
from colorlab.world import NEAR, ColorWorld

RESULTS = Path(__file__).parents[1] / "colorlab" / "results" / "ch07.json"
SEEDS = (0, 1, 2)
SIZE, BATCH, TESTED = 32, 8, 200  # pixels a side; scenes a step; scenes that are scored, of which nobody trained
SCENE = 21  # the test scene whose balloon is coloured again and again: one, in the middle, so that it can be nudged
DRAWS = 64

RECIPE = TrainConfig(
    generator=UNetConfig(width=16, depth=2),  # whole size: at half of 32 pixels a balloon is a blur, and found out by it
    discriminator=PatchGANConfig(width=32, layers=2, spectral=False),  # the table asks what spectral norm would add
    warmup_steps=300,
    gan_steps=1500,
    generator_lr=1e-3,
    discriminator_lr=1e-3,
    l1_weight=50.0,
    ema=0.99,
)
STEPS = RECIPE.steps
VARIANTS: dict[str, dict] = {
    "full": {},
    "without hinge": {"adversarial": "bce"},
    "with spectral norm": {"discriminator": dataclasses.replace(RECIPE.discriminator, spectral=True)},
    "without EMA": {},  # the same run; judged is the generator itself
    "without the falling rate": {},  # see `_hold`
    "without warm-up": {"warmup_steps": 0, "gan_steps": STEPS},
    "with half size": {"generator": dataclasses.replace(RECIPE.generator, half=True)},
    "λ = 0": {"l1_weight": 0.0},
    "λ = 2": {"l1_weight": 2.0},
    "λ = 2, without EMA": {"l1_weight": 2.0},
    "λ = 10": {"l1_weight": 10.0},
    "λ = 100": {"l1_weight": 100.0},
    "λ = 300": {"l1_weight": 300.0},
    "λ = 1000": {"l1_weight": 1000.0},
    "l1 alone": {"warmup_steps": STEPS, "gan_steps": 0},
    "dropout": {"l1_weight": 2.0},  # with a dropout in the decoder, left on when it is asked; L1 would punish what it does
    "noise": {"l1_weight": 2.0},  # with a stem that is given eight random numbers a picture
}
ROWS = tuple(VARIANTS)[:7]  # of the ablation: run with every seed, the others with the first
PAIR = ("λ = 2", "λ = 2, without EMA")  # run with the last seed too, whose average is caught between two colours
SHOWN = ("λ = 0", "λ = 2", "λ = 10", "full", "λ = 100", "λ = 300", "λ = 1000", "l1 alone")  # along λ: of seed 0, scenes are kept
WANTED = tuple(
    f"{variant}:{seed}"
    for seed in SEEDS
    for variant in VARIANTS
    if seed == SEEDS[0] or variant in ROWS or (seed == SEEDS[-1] and variant in PAIR)
)


class WithNoise(nn.Module):
    """A block that is given `channels` random numbers for each picture, beside what it is given anyhow."""

    def __init__(self, block: nn.Module, width: int, channels: int = 8):
        super().__init__()
        self.block, self.mix = block, nn.Conv2d(channels, width, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        z = torch.randn(len(x), self.mix.in_channels, 1, 1, device=x.device)
        return self.block(x) + self.mix(z)  # one addition for every channel, the same at every pixel


def generator(variant: str, config: TrainConfig) -> UNet:
    """The generator of a variant, its weights drawn from the config's seed."""
    torch.manual_seed(config.seed)
    unet = UNet(config.generator)
    if variant == "dropout":
        unet.up[0].append(nn.Dropout(0.5))
    if variant == "noise":
        unet.stem = WithNoise(unet.stem, config.generator.width)
    return unet


def batches(seed: int):
    """Endless batches of scenes; another seed sees other scenes of the same world."""
    world = ColorWorld(SIZE)
    world.index = 100_000 * seed
    while True:
        scenes = world.sample(BATCH)
        yield scenes.L, scenes.ab


def _hold(trainer: Trainer) -> None:
    """Take the fall out of both rates: whatever the trainer sets, each optimiser steps with the rate that it began with."""
    config = trainer.config

    def hold(net: int):
        def before(optimizer, *_) -> None:
            rate = config.warmup_lr if trainer.warming_up else (config.generator_lr, config.discriminator_lr)[net]
            optimizer.param_groups[0]["lr"] = rate

        return before

    for net, optimizer in enumerate(trainer.optimizers):
        optimizer.register_step_pre_hook(hold(net))


def train(variant: str, seed: int) -> Trainer:
    """One run, from the first step to the last."""
    config = dataclasses.replace(RECIPE, seed=seed, **VARIANTS[variant])
    trainer = Trainer(config, generator(variant, config))
    if variant == "without the falling rate":
        _hold(trainer)
    torch.manual_seed(seed)  # of noise and dropout
    trainer.fit(batches(seed), progress=False)
    return trainer


@torch.no_grad()
def colors_of(net: nn.Module, scenes) -> torch.Tensor:
    """What a generator makes of scenes, ab (n, 2, size, size); noise and dropout, where it has them, are drawn anew."""
    for module in net.modules():
        module.train(isinstance(module, nn.Dropout))
    return net(scenes.L)


def judge(net: nn.Module) -> dict[str, float | list[float]]:
    """A generator's scores on the test scenes."""
    world = ColorWorld(SIZE)
    scenes = world.sample(TESTED, start=1_000_000)
    ab = colors_of(net, scenes)
    score, measured = world.score(scenes, ab), metrics.measure(scenes.L, ab, scenes.ab)
    shares = [round(x, 3) for x in score.shares]
    mean = {name: round(measured[name].mean().item(), 3) for name in ("psnr", "delta_e2000")}
    mean["grass"] = round(world.score(scenes, ab, "grass").near, 3)  # of one colour: is it still what the grey says?
    return {"near": round(score.near, 3), "shares": shares, "chroma": round(score.chroma, 3), **mean}


def balloons(scenes, ab: torch.Tensor) -> torch.Tensor:
    """The mean (a*, b*) of each balloon of one scene in each of several colourings: ab (n, 2, H, W) → (n, balloons, 2)."""
    kind = scenes.kind[0] == ColorWorld.kinds.index("balloon")
    each = [scenes.object[0] == number for number in scenes.object[0][kind].unique().tolist()]
    return torch.stack([color.AB_SCALE * ab[:, :, where].mean(2) for where in each], dim=1)


def draws(net: nn.Module, scenes, count: int = DRAWS) -> torch.Tensor:
    """One scene coloured `count` times: (count, 2, size, size)."""
    torch.manual_seed(0)
    return torch.cat([colors_of(net, scenes) for _ in range(count)])


def varied(net: nn.Module, scenes: int = 40, count: int = 16) -> dict[str, float]:
    """Whether a generator samples: over `count` draws of a scene, how far a balloon's colours lie apart, and how often so.

    "spread": standard deviation over the draws, mean over balloons and channels, Lab units; "flips": share of balloons that are
    given two or more of a balloon's real colours.
    """
    world, spread, flips = ColorWorld(SIZE), [], []
    real = torch.tensor([ab for _, ab in world.distribution("balloon")])
    for number in range(1_000_000, 1_000_000 + scenes):
        scene = world.sample(1, start=number)
        if not (scene.kind == world.kinds.index("balloon")).any():
            continue
        given = balloons(scene, draws(net, scene, count))  # (count, balloons, 2)
        near = (given[:, :, None] - real).norm(dim=3) <= NEAR  # (count, balloons, colours)
        spread.append(given.std(0).mean(1))
        flips.append((near.any(0).sum(1) > 1).float())
    return {"spread": round(torch.cat(spread).mean().item(), 2), "flips": round(torch.cat(flips).mean().item(), 3)}


def run(variant: str, seed: int) -> tuple[dict, dict[str, np.ndarray]]:
    """What is kept of one run: numbers, and of seed 0 the pictures that the chapter shows, ab as int8 of 127ths."""
    trainer = train(variant, seed)
    net = trainer.generator if variant.endswith("without EMA") else trainer.ema.module
    found, kept = judge(net), {}
    scenes = ColorWorld(SIZE).sample(1, start=1_000_000 + SCENE)
    if variant in ("λ = 2", "dropout", "noise"):
        ab = draws(net, scenes)
        found |= varied(net)
        found["draws"] = balloons(scenes, ab)[:, 0].round().int().tolist()  # the first balloon's (a*, b*)
        kept["draws"] = ab[:16]
    if variant == "λ = 2":
        nudged = dataclasses.replace(scenes, L=torch.cat([scenes.L.roll(by, 3) for by in range(-8, 9)]))
        kept["nudged"] = colors_of(net, nudged)
    if variant in SHOWN:
        kept["scenes"] = colors_of(net, ColorWorld(SIZE).sample(3, start=1_000_000 + SCENE))
    arrays = {f"{variant} {name}": (127 * x).round().to(torch.int8).numpy() for name, x in kept.items()}
    return found, arrays if seed == 0 else {}


def main(asked: list[str]) -> None:
    """Run what is missing, or what was asked for."""
    pictures = RESULTS.with_suffix(".npz")
    for name in asked or WANTED:
        if not asked and name in known():
            continue
        variant, _, seed = name.rpartition(":")
        found, arrays = run(variant, int(seed))
        print(name, found, f"\n  kept: {known().get(name)}" if asked else "", flush=True)
        if not asked:
            kept = dict(np.load(pictures)) if pictures.exists() else {}
            np.savez_compressed(pictures, **kept | arrays)
            table = sorted((known() | {name: found}).items())
            rows = (f"{json.dumps(key, ensure_ascii=False)}: {json.dumps(row)}" for key, row in table)
            RESULTS.write_text("{\n" + ",\n".join(rows) + "\n}\n")


def known() -> dict[str, dict]:
    """What has been kept."""
    return json.loads(RESULTS.read_text()) if RESULTS.exists() else {}


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(sys.argv[1:])
