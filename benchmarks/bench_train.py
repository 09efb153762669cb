"""Pictures a second, loader plus train_step, against the loop that tutorials use, with the same networks. Aim: twice.

The tutorials' loop: a Dataset that opens each picture with PIL and converts it with scikit-image, a DataLoader with a
worker for each core, float32, NCHW, Adam, and the same adversarial step written out.
"""

import os
import statistics
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from side_by_side import race, ratio, table
from skimage.color import rgb2lab
from torchvision import transforms

from colorlab import photos
from colorlab.data import Loader, Pictures, find_pictures
from colorlab.losses import HINGE
from colorlab.machine import Machine
from colorlab.patchgan import PatchGAN, PatchGANConfig
from colorlab.train import TrainConfig, train_step
from colorlab.unet import FULL, UNet


class TutorialSet(torch.utils.data.Dataset):
    """Grey and colour pairs as tutorials make them."""

    def __init__(self, paths: list[Path], size: int):
        self.paths = paths
        self.change = transforms.Compose(
            [transforms.Resize((size, size), transforms.InterpolationMode.BICUBIC), transforms.RandomHorizontalFlip()]
        )

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int):
        pixels = np.array(self.change(Image.open(self.paths[index]).convert("RGB")))
        lab = transforms.ToTensor()(rgb2lab(pixels).astype("float32"))
        return lab[[0]] / 50 - 1, lab[[1, 2]] / 110


def tutorial(folder: Path, size: int, batch: int, steps: int):
    """A function that trains for `steps` batches, as tutorials do."""
    generator, discriminator = UNet(FULL), PatchGAN(PatchGANConfig(48))
    optimizer_g, optimizer_d = (torch.optim.Adam(net.parameters(), 2e-4, (0.5, 0.999)) for net in (generator, discriminator))
    loader = torch.utils.data.DataLoader(
        TutorialSet(find_pictures(folder), size),
        batch,
        shuffle=True,
        drop_last=True,
        num_workers=os.cpu_count() or 1,
        persistent_workers=True,
    )

    def batches():
        while True:
            yield from loader

    stream = batches()

    def run() -> None:
        for _ in range(steps):
            L, ab = next(stream)
            generated = generator(L)
            loss = HINGE.discriminator(discriminator(L, ab), discriminator(L, generated.detach()))
            optimizer_d.zero_grad()
            loss.backward()
            optimizer_d.step()
            loss = HINGE.generator(discriminator(L, generated)) + 50 * (generated - ab).abs().mean()
            optimizer_g.zero_grad()
            loss.backward()
            optimizer_g.step()
            loss.item()

    return run


def ours(folder: Path, size: int, batch: int, steps: int):
    """The same with the library's loader and step."""
    machine = Machine.detect()
    config = TrainConfig(machine=machine)
    generator, discriminator = machine.place(UNet(FULL)), machine.place(PatchGAN(PatchGANConfig(48)))
    optimizers = tuple(torch.optim.Adam(net.parameters(), 2e-4, (0.5, 0.999), fused=True) for net in (generator, discriminator))
    pictures = Pictures.read(find_pictures(folder), short_side=2 * size, progress=False)
    stream = iter(Loader(pictures, batch, size, machine=machine))

    def run() -> None:
        for _ in range(steps):
            losses = train_step(next(stream), generator, discriminator, optimizers, config)
            losses["g"].item()

    return run


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rng = np.random.default_rng(0)
        for n, sample in enumerate(photos.samples() * 10):  # crops of the sample photographs, as a folder of JPEGs
            pixels = photos.read(sample).rgb
            side = min(256, *pixels.shape[:2])
            y, x = (int(rng.integers(0, length - side + 1)) for length in pixels.shape[:2])
            photos.save(np.ascontiguousarray(pixels[y : y + side, x : x + side]), folder / f"{n:03d}.jpg")
        rows = []
        for size, batch, steps, rounds in ((64, 32, 2, 5), (256, 8, 1, 3)):
            ways = {"tutorial": tutorial(folder, size, batch, steps), "colorlab": ours(folder, size, batch, steps)}
            seconds = race(ways, rounds)
            speed = {way: batch * steps / statistics.median(seconds[way]) for way in ways}
            rows.append(
                [
                    f"{size}²",
                    str(batch),
                    f"{speed['tutorial']:.1f}",
                    f"{speed['colorlab']:.1f}",
                    f"{ratio(seconds, 'colorlab', 'tutorial'):.2f}",
                ]
            )
    machine = Machine.detect()
    print(f"## Training, loader and train_step, on {machine.device} in {machine.precision}: pictures a second\n")
    table(["size", "batch", "tutorials' loop", "colorlab", "ratio"], rows)


if __name__ == "__main__":
    main()
