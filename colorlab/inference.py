"""A trained generator and a picture of any size in; a colour picture of that size, with its own luminance, out.

The network runs at a size of its own; only its chroma is brought up to the picture's. The picture is worked on
in strips, so that memory grows with its pixels' bytes, not with tensors of them.
"""

import functools
import importlib
import importlib.resources
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

import colorlab
from colorlab import checkpoint, color, photos
from colorlab.machine import Machine
from colorlab.unet import UNet, UNetConfig

WEIGHTS = importlib.resources.files("colorlab") / "weights"  # the generators that ship, one file a name
SEPIA = "sepia.npz"  # beside them: what their L1 stage alone made of the sample photographs
STRIP_PIXELS = 2**19  # of the picture, worked on at once
LONGEST = 4  # a picture longer than this many times its short side is squeezed for the network
LARGEST = 2048  # the network's short side at most: networks learn at a tenth of it, and memory grows with its square


@dataclass(frozen=True)
class Colorizer:
    """A generator ready to use: `colorizer(picture)` colours it. Made by `load`."""

    generator: nn.Module
    name: str  # what the output's metadata calls it
    size: int  # the short side, in pixels, at which the network is shown a picture
    machine: Machine = Machine()

    def __call__(self, picture: "str | os.PathLike | Image.Image | np.ndarray") -> photos.Photo:
        """Colour a picture: a path, a PIL image or a uint8 array in; an 8-bit `Photo` of the same size out."""
        photo = photos.read(picture)
        return replace(photo, rgb=_paint(photo.rgb, self.chroma(photo.rgb)))

    def chroma(self, rgb: np.ndarray) -> Tensor:
        """The network's answer to a picture (H, W, 3) uint8, at the network's own size: ab (1, 2, h, w), on the CPU."""
        height, width = network_size(*rgb.shape[:2], self.size, getattr(self.generator, "stride", 1))
        grey = Image.fromarray(grey_pixels(rgb)).resize((width, height), Image.Resampling.LANCZOS, reducing_gap=3.0)
        L, _ = color.encode(to_tensor(np.asarray(grey)[..., None].repeat(3, 2)))
        with torch.no_grad(), self.machine.autocast():
            return self.generator(self.machine.put(L)).float().cpu()

    @property
    def note(self) -> str:
        """The words that go into a coloured picture's metadata."""
        return f"Colors inferred by colorlab {colorlab.__version__}, model {self.name}: a plausible guess, not a record."


def colorize(
    picture: "str | os.PathLike | Image.Image | np.ndarray", *, model: str | os.PathLike = "photo", size: int | None = None
) -> Image.Image:
    """Colour a picture; returns an 8-bit PIL image of its size, transparency kept. Chapters 00 and 09.

    `picture`: a path, a PIL image or a uint8 array; `model`: the name of a generator that ships, or the path of a
    checkpoint; `size`: the short side at which the network sees the picture, if not the model's own. Raises
    photos.PhotoError for a picture and checkpoint.CheckpointError for a model that cannot be read.
    """
    photo = load(model, size)(picture)
    image = Image.fromarray(photo.rgb)
    if photo.alpha is not None:
        image.putalpha(Image.fromarray(photo.alpha))
    return image


def sepia(name: str) -> Image.Image:
    """A sample photograph as the first stage of the shipped model's training, L1 alone, coloured it. Chapter 03.

    Its chroma ships beside the weights (`SEPIA`), at half the size at which the network answered. Raises ValueError for a
    name that is no sample's.
    """
    photo = photos.read(photos.sample(name))
    with (WEIGHTS / SEPIA).open("rb") as file:
        ab = torch.from_numpy(np.load(file)[name]).float()  # (1, 2, h, w)
    return Image.fromarray(_paint(photo.rgb, ab))


def load(model: str | os.PathLike = "photo", size: int | None = None, machine: Machine = Machine()) -> Colorizer:  # noqa: B008
    """A `Colorizer` from the name of a generator that ships, or from a checkpoint's path (of a run: its EMA).

    A file is read once and kept until it changes. Raises checkpoint.CheckpointError, naming the file and the cure, and
    ValueError for a size that is not between 1 and 2048.
    """
    shipped = WEIGHTS / f"{model}.safetensors"
    path = Path(model)
    if not path.suffix and shipped.is_file():
        path = Path(str(shipped))
    elif not path.is_file():
        files = WEIGHTS.iterdir() if WEIGHTS.is_dir() else ()
        names = ", ".join(sorted(p.name.removesuffix(".safetensors") for p in files if p.name.endswith(".safetensors")))
        raise checkpoint.CheckpointError(
            f"There is no model {str(model)!r}. Give the path of a checkpoint (….safetensors), or the name of one that ships: "
            f"{names or f'but none lies in {WEIGHTS}; install colorlab again'}."
        )
    stat = path.stat()
    colorizer = _read(path.resolve(), (stat.st_mtime_ns, stat.st_size, stat.st_ino), machine)
    return colorizer if size is None else replace(colorizer, size=_checked(size))


@functools.lru_cache(maxsize=4)
def _read(path: Path, version: tuple[int, ...], machine: Machine) -> Colorizer:
    saved = checkpoint.load(path)
    run = saved.header.get("kind") == "run"
    try:
        generator = _network(saved.header["generator"] if "generator" in saved.header else saved.header["config"]["generator"])
        name = saved.header.get("name", path.parent.name if run else path.stem)
        size = _checked(saved.header.get("size", 128))
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise checkpoint.CheckpointError(f"{path} does not describe a generator of this version ({error}).") from None
    saved.restore("ema" if run else "generator", generator)
    return Colorizer(machine.place(generator.float().eval().requires_grad_(False)), name, size, machine)


def _network(shape: dict) -> nn.Module:
    """The generator of this shape, with random weights."""
    if "encoder" not in shape:
        return UNet(UNetConfig(**shape))
    try:
        resnet = importlib.import_module("colorlab.resnet")
    except ImportError as error:
        need = "needs fastai and torchvision: pip install 'colorlab[course]'"
        raise ValueError(f"its encoder, {shape['encoder']}, {need}; {error}") from None
    return resnet.ResNetUNet(resnet.ResNetUNetConfig(**shape))


def save_generator(path: str | os.PathLike, generator: nn.Module, name: str, size: int, about: dict | None = None) -> None:
    """Write a generator for use, weights in half precision: what `load` and `colorize(model=path)` read.

    `generator`: a `UNet` or `ResNetUNet`; `size`: the short side at which it is to see pictures; `about`: JSON values kept with
    it, such as the run's figures. Raises ValueError for a size that is not between 1 and 2048.
    """
    tensors = {f"generator.{key}": x.half() for key, x in generator.state_dict().items()}
    header = {"kind": "generator", "name": name, "size": _checked(size), "generator": asdict(generator.config)}
    checkpoint.save(path, tensors, header | {"about": about or {}})


def network_size(height: int, width: int, size: int, stride: int) -> tuple[int, int]:
    """The (height, width) at which the network sees a picture: short side near `size`, multiples of `stride`.

    >>> network_size(3000, 4000, size=128, stride=32)
    (128, 160)
    """
    scale = size / min(height, width)
    return tuple(max(1, round(min(side * scale, LONGEST * size) / stride)) * stride for side in (height, width))


def grey_pixels(rgb: np.ndarray) -> np.ndarray:
    """The grey picture of the same L*, (H, W) uint8, from (H, W, 3) uint8: what is left when chroma is taken away."""
    grey = np.empty(rgb.shape[:2], np.uint8)
    for top, bottom in _strips(rgb):
        L, ab = color.encode(to_tensor(rgb[top:bottom]))
        grey[top:bottom] = to_pixels(color.decode(L, torch.zeros_like(ab)))[..., 1]
    return grey


def _paint(rgb: np.ndarray, ab: Tensor) -> np.ndarray:
    """A picture (H, W, 3) uint8 with its own luminance and the chroma ab (1, 2, h, w), brought up to its size."""
    rows, painted = _rows(ab, *rgb.shape[:2]), np.empty_like(rgb)
    for top, bottom in _strips(rgb):
        L, _ = color.encode(to_tensor(rgb[top:bottom]))  # (1, 1, h, W)
        fitted, _ = color.fit_gamut(L, rows(top, bottom))
        painted[top:bottom] = to_pixels(color.decode(L, fitted))
    return painted


def _strips(rgb: np.ndarray) -> list[tuple[int, int]]:
    """Row ranges that cover a picture (H, W, 3), each of about STRIP_PIXELS."""
    height, width = rgb.shape[:2]
    step = max(1, STRIP_PIXELS // width)
    return [(top, min(top + step, height)) for top in range(0, height, step)]


def _rows(ab: Tensor, height: int, width: int) -> Callable[[int, int], Tensor]:
    """Bring ab (1, 2, h, w) up to (height, width) by bicubic interpolation, a strip of rows at a time.

    Interpolation is separable and linear: widened once, the rows of any strip are a matrix product away, and that
    matrix is what interpolation makes of the identity.
    """
    wide = _resize(ab, ab.shape[2], width)  # (1, 2, h, width)
    weights = _resize(torch.eye(ab.shape[2])[None, None], height, ab.shape[2])[0, 0]  # (height, h)
    return lambda top, bottom: weights[top:bottom] @ wide


def _resize(x: Tensor, height: int, width: int) -> Tensor:
    """Bicubic to (height, width); with antialiasing, where that is fewer pixels."""
    smaller = height < x.shape[2] or width < x.shape[3]
    return F.interpolate(x, size=(height, width), mode="bicubic", antialias=smaller)


def to_tensor(pixels: np.ndarray) -> Tensor:
    """An 8-bit picture (H, W, 3) → rgb (1, 3, H, W), float32 in [0, 1]."""
    return torch.from_numpy(np.array(pixels)).permute(2, 0, 1)[None].float() / 255


def to_pixels(rgb: Tensor) -> np.ndarray:
    """rgb (1, 3, H, W) → an 8-bit picture (H, W, 3), clamped and rounded."""
    return (rgb[0].clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()


def _checked(size: int) -> int:
    if not isinstance(size, int) or not 1 <= size <= LARGEST:
        raise ValueError(f"size is the short side in pixels at which the network sees a picture, 1 to {LARGEST}, got {size!r}.")
    return size
