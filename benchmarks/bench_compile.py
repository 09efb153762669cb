"""train_step with torch.compile against the plain one, on this CPU: does it pay, and after how many steps?

What `colorlab.compiling.pays` was decided by: on a CPU it is not used.
"""

import os
import statistics
import tempfile
import time

import torch
from side_by_side import race, ratio, table

from colorlab import compiling
from colorlab.config import TrainConfig
from colorlab.machine import Machine, cpu_has_bf16
from colorlab.patchgan import PatchGANConfig
from colorlab.train import Trainer, train_step
from colorlab.unet import FULL, UNetConfig

CASES = (
    ("course", UNetConfig(), PatchGANConfig(), 64, 16, 2),  # of these networks, pictures, batches: so many steps a round
    ("FULL", FULL, PatchGANConfig(48, 3), 128, 16, 1),
)


def steps_of(config: TrainConfig, size: int, batch: int, steps: int, compiled: bool):
    """A function that takes some steps, on one batch."""
    trainer = Trainer(config)
    nets = [trainer.generator, trainer.discriminator]
    if compiled:
        nets = compiling.compiled(nets)
    L, ab = torch.rand(batch, 1, size, size) * 2 - 1, torch.rand(batch, 2, size, size) - 0.5
    data = config.machine.put(L), config.machine.put(ab)

    def run() -> None:
        for _ in range(steps):
            train_step(data, *nets, trainer.optimizers, config)

    return run


def main() -> None:
    rows = []
    machines = [Machine()] + [Machine("cpu", "bfloat16", channels_last=True)] * cpu_has_bf16()
    for name, generator, discriminator, size, batch, steps in CASES:
        for machine in machines:
            config = TrainConfig(generator, discriminator, machine)
            torch._dynamo.reset()
            ways = {way: steps_of(config, size, batch, steps, way == "compiled") for way in ("plain", "compiled")}
            start = time.perf_counter()
            ways["compiled"]()  # compiles
            took = time.perf_counter() - start
            seconds = race(ways, 5)
            took -= statistics.median(seconds["compiled"])
            plain, fast = (statistics.median(seconds[way]) / steps for way in ("plain", "compiled"))
            pays = f"{took / (plain - fast):.0f}" if fast < plain else "never"
            times = ratio(seconds, "compiled", "plain")
            row = [name, f"{size}²", str(batch), machine.precision, f"{plain:.3f}", f"{times:.2f}", f"{took:.0f}", pays]
            rows.append(row)
    print(f"## torch.compile on this CPU, {torch.get_num_threads()} threads\n")
    table(["networks", "size", "batch", "precision", "plain, s a step", "ratio", "compiling, s", "pays after steps"], rows)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = folder  # an empty one: what compiling costs the first time
        main()
