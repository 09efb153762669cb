"""Pictures a second: our `Learner` against fastai's own `GANLearner`, with the same two networks. Aim: 1.5 times on a CPU.

A picture counts when both networks have taken a step on as many. GANLearner gives one batch to the critic and the next to the
generator, so that a step of both costs it two batches; `train_step` does both on one. "seen" counts every batch that
went by: twice as many for GANLearner. The data, ColorWorld's scenes, lie in memory. On a GPU, larger networks and pictures.
"""

import re
import statistics
import warnings

import torch
from fastai.basics import DataLoaders
from fastai.vision.gan import FixedGANSwitcher, GANLearner
from side_by_side import race, ratio, table
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from colorlab import learner
from colorlab.config import TrainConfig
from colorlab.losses import HINGE
from colorlab.machine import Machine
from colorlab.patchgan import PatchGAN, PatchGANConfig
from colorlab.train import Trainer, train_step
from colorlab.unet import FULL, UNet
from colorlab.world import ColorWorld

# Dense TFLOP/s of the tensor cores in bfloat16, for V100 and T4 in float16: NVIDIA's data sheets of these cards.
PEAK = {"H100 80GB HBM3": 989, "H100 PCIe": 756, "A100": 312, "L40S": 362, "L4": 121, "V100-SXM2": 125, "T4": 65}


class Scenes:
    """Batches of ColorWorld's scenes, drawn once: what `learner.as_dls` takes."""

    def __init__(self, machine: Machine, size: int, batch: int, batches: int):
        scenes = ColorWorld(size=size, seed=0).sample(8 * batch)
        pairs = zip(scenes.L.split(batch), scenes.ab.split(batch), strict=True)
        self.pairs = [(machine.put(L), machine.put(ab)) for L, ab in pairs]
        self.batch_size, self.batches = batch, batches

    def __len__(self) -> int:
        return self.batches

    def batch(self, n: int) -> tuple[torch.Tensor, torch.Tensor]:
        return self.pairs[n % len(self.pairs)]


class WithGrey(nn.Module):
    """A generator as GANLearner's critic must see it: grey and color in one tensor, (B, 3, H, W)."""

    def __init__(self, generator: nn.Module):
        super().__init__()
        self.generator = generator

    def forward(self, L: torch.Tensor) -> torch.Tensor:
        return torch.cat([L, self.generator(L)], dim=1)


class OfOne(nn.Module):
    """A discriminator that takes them apart again."""

    def __init__(self, discriminator: nn.Module):
        super().__init__()
        self.discriminator = discriminator

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.discriminator(x[:, :1], x[:, 1:])


def epoch(learn):
    """A function that trains for one epoch and says nothing."""

    def run() -> None:
        with learn.no_bar(), learn.no_logging():
            learn.fit(1)
        if torch.cuda.is_available():
            torch.cuda.synchronize()

    return run


def fastais(config: TrainConfig, data: Scenes):
    """fastai's learner as it comes, in float32; an epoch of twice as many batches."""
    pairs = [data.batch(n) for n in range(2 * len(data))]
    train = torch.utils.data.DataLoader([(L, torch.cat([L, ab], dim=1)) for L, ab in pairs], batch_size=None)
    learn = GANLearner(
        DataLoaders(train, [], device=torch.device(config.machine.device)),
        WithGrey(UNet(config.generator)),
        OfOne(PatchGAN(config.discriminator)),
        # The mean is over three channels, of which the grey adds nothing: 1.5 times it is the mean over the two of color.
        lambda fake, output, target: HINGE.generator(fake) + config.l1_weight * 1.5 * (output - target).abs().mean(),
        HINGE.discriminator,
        switcher=FixedGANSwitcher(1, 1),
    )
    return epoch(learn)


def ours(config: TrainConfig, size: int, batch: int, steps: int):
    """Our learner, in the config's precision."""
    data = Scenes(config.machine, size, batch, steps)
    return epoch(learner.colorizer_learner(learner.as_dls(data, Scenes(config.machine, size, batch, 0)), config))


def loop(config: TrainConfig, size: int, batch: int, steps: int):
    """No learner, no compiler: `train_step` in a loop."""
    trainer, data = Trainer(config), Scenes(config.machine, size, batch, steps)

    def run() -> None:
        for n in range(steps):
            train_step(data.batch(n), trainer.generator, trainer.discriminator, trainer.optimizers, config)
        torch.cuda.synchronize()

    return run


def flops(config: TrainConfig, size: int, batch: int) -> int:
    """Floating-point operations of one `train_step`, counted."""
    trainer, data = Trainer(config), Scenes(config.machine, size, batch, 1)
    with FlopCounterMode(display=False) as counter:
        train_step(data.batch(0), trainer.generator, trainer.discriminator, trainer.optimizers, config)
    return counter.get_total_flops()


def on_a_cpu() -> None:
    best = Machine("cpu") if torch.cuda.is_available() or torch.backends.mps.is_available() else Machine.detect()
    chosen = f"learner, {best.precision}, as detected"
    rows = []
    for size, batch, steps, rounds in ((32, 16, 6, 7), (64, 16, 3, 5)):
        ways = {"GANLearner, float32": fastais(TrainConfig(), Scenes(Machine(), size, batch, steps))}
        ways["learner, float32"] = ours(TrainConfig(), size, batch, steps)
        ways[chosen] = ours(TrainConfig(machine=best), size, batch, steps)
        seconds = race(ways, rounds)
        for way in ways:
            speed = batch * steps / statistics.median(seconds[way])
            seen = speed * (2 if way.startswith("GAN") else 1)
            times = ratio(seconds, way, "GANLearner, float32")
            rows.append([f"{size}²", str(batch), way, f"{speed:.1f}", f"{seen:.1f}", f"{times:.2f}"])
    print(f"## Training with fastai, course networks, on a CPU, {torch.get_num_threads()} threads: pictures a second\n")
    table(["size", "batch", "way", "both trained on it", "seen", "ratio"], rows)
    with FlopCounterMode(display=False) as counter:
        fastais(TrainConfig(), Scenes(Machine(), 64, 16, 1))()
    more = counter.get_total_flops() / flops(TrainConfig(), 64, 16)
    print(f"For a step of both networks GANLearner computes {more:.2f} times as much: it runs the generator twice.\n")


def on_a_gpu(size: int = 256, batch: int = 16, steps: int = 20, rounds: int = 5) -> None:
    name, best = torch.cuda.get_device_name(), Machine.detect()
    shape = {"generator": FULL, "discriminator": PatchGANConfig(48, 3), "warmup_steps": 0}
    plain = TrainConfig(machine=Machine("cuda"), **shape)
    short, long = (TrainConfig(machine=best, gan_steps=gan_steps, **shape) for gan_steps in (500, 5000))
    ways = {
        "GANLearner, float32": fastais(plain, Scenes(plain.machine, size, batch, steps)),
        "train_step in a loop, float32": loop(plain, size, batch, steps),
        f"learner, {best.precision}": ours(short, size, batch, steps),
        f"learner, {best.precision}, a run long enough to be compiled": ours(long, size, batch, steps),
    }
    seconds, work = race(ways, rounds), flops(plain, size, batch)
    peak = next((tera * 1e12 for card, tera in PEAK.items() if re.search(rf"\b{card}\b", name)), None)
    rows = []
    for way in ways:
        step = statistics.median(seconds[way]) / steps
        share = f"{work / step / peak:.1%}" if peak and not way.startswith("GAN") else "–"  # it does not do the same work
        rows.append([way, f"{batch / step:.0f}", f"{ratio(seconds, way, 'GANLearner, float32'):.2f}", share])
    print(f"## The same on {name}, {size}², batch {batch}\n")
    table(["way", "pictures a second", "ratio", f"of the card's {best.precision} peak"], rows)


if __name__ == "__main__":
    warnings.filterwarnings("ignore", "You are shadowing an attribute")  # GANLearner about itself
    on_a_cpu()
    if torch.cuda.is_available():
        on_a_gpu()
    else:
        print("No GPU here: the table for one, 256², batch 16, is left out.")
