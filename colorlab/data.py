"""Folders of photographs as training batches: found, checked, split, shuffled and cropped, all reproducibly.

Every shuffle and crop is a pure function of (seed, epoch, index), so that batch number 1,000 is the same batch
whether the run got there in one go or was killed and resumed.
"""

import hashlib
import itertools
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm.auto import tqdm

from colorlab import color, parallel, photos
from colorlab.machine import Machine

GREY_CHROMA = 4.0  # a picture whose mean chroma (Lab units) is below this teaches a network that the world is grey
MEMORY = 2 * 2**30  # bytes of decoded pictures to keep; the rest are decoded again when their turn comes


def find_pictures(folders: str | os.PathLike | Iterable[str | os.PathLike]) -> list[Path]:
    """All picture files below one or more folders, sorted. ValueError for a folder that is none or holds none."""
    folders = [folders] if isinstance(folders, str | os.PathLike) else list(folders)
    found: list[Path] = []
    for folder in map(Path, folders):
        if not folder.is_dir():
            raise ValueError(f"{folder} is not a folder. Give folders that hold photographs; they are searched recursively.")
        inside = sorted(p for p in folder.rglob("*") if p.suffix.lower() in photos.SUFFIXES and p.is_file())
        if not inside:
            raise ValueError(f"{folder} holds no pictures ({', '.join(sorted(photos.SUFFIXES))}).")
        found += inside
    return list(dict.fromkeys(found))


def split(paths: Sequence[Path], valid: float = 0.05, test: float = 0.05) -> dict[str, list[Path]]:
    """Divide files into "train", "valid" and "test" by a hash of each file's name. Chapter 02.

    A file keeps its place when others are added or removed, and when the folder moves; copies of one name in several
    folders share a split. `valid` and `test` are shares in [0, 1). Raises ValueError for others.
    """
    if not (0 <= valid < 1 and 0 <= test < 1 and valid + test < 1):
        raise ValueError(f"valid and test are shares of the files, together below 1, got {valid} and {test}.")
    parts: dict[str, list[Path]] = {"train": [], "valid": [], "test": []}
    for path in map(Path, paths):
        place = int.from_bytes(hashlib.sha256(path.name.encode("utf-8", "surrogateescape")).digest()[:8], "big") / 2**64
        parts["valid" if place < valid else "test" if place < valid + test else "train"].append(path)
    return parts


def learn_and_judge(paths: Sequence[Path], judged: Sequence[Path], cure: str) -> tuple[list[Path], list[Path]]:
    """(to learn from, to judge by): `judged` and the rest of `paths` or, without any, a twentieth of `paths`, by `split`.

    Raises ValueError, which ends in `cure`, when one of the two is empty.
    """
    seen = {path.resolve() for path in judged}  # they may lie below the others
    paths = [path for path in paths if path.resolve() not in seen]
    parts = {"train": paths, "valid": list(judged)} if judged else split(paths, test=0.0)
    if not parts["train"] or not parts["valid"]:
        raise ValueError(
            f"Of {len(paths)} pictures {len(parts['train'])} are left to learn from and {len(parts['valid'])} to judge by; both "
            f"need some. {cure}"
        )
    return parts["train"], parts["valid"]


@dataclass
class Pictures:
    """Decoded photographs: what could be read, what was broken, what was grey. Made by `Pictures.read`. Chapter 02."""

    paths: list[Path]  # the usable ones, in order
    short_side: int  # pictures are kept reduced to this many pixels on their short side
    chroma: list[float] = field(default_factory=list)  # mean chroma of each, Lab units
    broken: list[tuple[Path, str]] = field(default_factory=list)  # (file, why), skipped
    grey: list[Path] = field(default_factory=list)  # near-grey files, left out unless asked for
    kept: dict[int, np.ndarray] = field(default_factory=dict)  # index → (H, W, 3) uint8, up to the memory limit

    @classmethod
    def read(
        cls, paths: Sequence[Path], short_side: int, keep_grey: bool = False, memory: int = MEMORY, progress: bool = True
    ) -> "Pictures":
        """Decode every file once, in threads; broken files are skipped and listed, near-grey ones left out and listed.

        `memory`: bytes of pixels to keep on this machine, divided among the processes that train here. Raises ValueError when
        nothing usable is left.
        """
        self, room = cls([], short_side), memory // parallel.beside()
        with ThreadPoolExecutor() as pool:
            results = _map(pool, lambda path: _try_decode(path, short_side), paths)
            results = tqdm(results, "reading", len(paths), disable=not progress)
            for path, (pixels, chroma, why) in zip(paths, results, strict=True):
                if pixels is None:
                    self.broken.append((path, why))
                elif chroma < GREY_CHROMA and not keep_grey:
                    self.grey.append(path)
                else:
                    room -= pixels.nbytes
                    if room >= 0:
                        self.kept[len(self.paths)] = pixels
                    self.paths.append(path)
                    self.chroma.append(chroma)
        if not self.paths:
            raise ValueError(f"None of the {len(paths)} files can be used: {self.report()}")
        return self

    def report(self) -> str:
        """One line: how many are usable, and what was left out and why."""
        text = f"{len(self.paths)} pictures"
        if self.grey:
            text += f"; {len(self.grey)} near-grey ones left out (mean chroma below {GREY_CHROMA:g}), such as {self.grey[0].name}"
        if self.broken:
            text += f"; {len(self.broken)} broken ones skipped, such as {self.broken[0][1]}"
        return text

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> np.ndarray:
        """Picture number `index`, (H, W, 3) uint8 sRGB."""
        return self.kept[index] if index in self.kept else _decode(self.paths[index], self.short_side)


def _decode(path: Path, short_side: int) -> np.ndarray:
    """Read a picture, (H, W, 3) uint8, reduced so that its short side is at most `short_side`."""
    pixels = photos.read(path).rgb
    height, width = pixels.shape[:2]
    scale = short_side / min(height, width)
    if scale >= 1:
        return pixels
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0))


def _map(pool: ThreadPoolExecutor, function: Callable, items: Iterable, ahead: int = 64) -> Iterator:
    """As `pool.map`, in order, but at most `ahead` results wait to be fetched: decoded pictures must not pile up."""
    waiting = deque()
    for item in items:
        waiting.append(pool.submit(function, item))
        if len(waiting) == ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _try_decode(path: Path, short_side: int) -> tuple[np.ndarray | None, float, str]:
    try:
        pixels = _decode(path, short_side)
    except photos.PhotoError as error:
        return None, 0.0, str(error)
    small = np.array(Image.fromarray(pixels).resize((32, 32), Image.Resampling.BOX))
    _, ab = color.encode(torch.from_numpy(small).permute(2, 0, 1)[None].float() / 255)
    return pixels, float(ab.norm(dim=1).mean()) * color.AB_SCALE, ""


class Loader:
    """Endless training batches (L, ab) from `Pictures`, resumable at any step. Chapter 02.

    Iterating yields batch `position`, then the next, for ever; `batch(n)` is batch n, whoever asks and whenever.
    With `augment`, a random square between half and all of the short side (never less than `size`) is cut out,
    reduced to `size` and flipped half of the time; without, the middle square is taken and nothing is shuffled.
    Whole batches are turned into (L, ab) on the training device. Of processes that train together each gets its share of
    every batch that is augmented: all the shares are the batch that one process would get. Raises ValueError for sizes below
    1, and a batch that cannot be shared out equally.
    """

    def __init__(
        self,
        pictures: Pictures,
        batch_size: int = 32,
        size: int = 64,
        seed: int = 0,
        augment: bool = True,
        machine: Machine = Machine(),  # noqa: B008 (frozen)
    ):
        if batch_size < 1 or size < 1:
            raise ValueError(f"batch_size and size are at least 1, got {batch_size} and {size}.")
        if augment and (whole := min(batch_size, len(pictures))) % (count := parallel.size()):
            cure = f"Give a multiple of {count}, and at least as many pictures."
            raise ValueError(f"{count} processes cannot share batches of {whole} equally. {cure}")
        self.pictures, self.batch_size, self.size, self.seed = pictures, batch_size, size, seed
        self.augment, self.machine = augment, machine
        self.position = 0
        self._order = -1, np.arange(0)  # the last epoch's: to shuffle a million pictures for every batch would take a while

    def __len__(self) -> int:
        """Batches in one pass over the pictures; the last may be smaller when nothing is shuffled."""
        return max(1, len(self.pictures) // self.batch_size) if self.augment else -(-len(self.pictures) // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        with ThreadPoolExecutor(1) as ahead, ThreadPoolExecutor() as pool:  # the next batch is cut while the network works
            ready = ahead.submit(self._cut, self.position, pool.map)
            for following in itertools.count(self.position + 1):  # its own count: another iterator must not move this one
                pixels, ready = ready.result(), ahead.submit(self._cut, following, pool.map)
                self.position = following
                yield self._encode(pixels)

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Batch number `step`: L (B, 1, size, size), ab (B, 2, size, size), on the machine's device."""
        return self._encode(self._cut(step))

    def _encode(self, pixels: np.ndarray) -> tuple[Tensor, Tensor]:
        rgb = torch.from_numpy(pixels).to(self.machine.device, non_blocking=True).permute(0, 3, 1, 2).float() / 255
        L, ab = color.encode(rgb)
        return self.machine.put(L), self.machine.put(ab)

    def _cut(self, step: int, over: Callable = map) -> np.ndarray:
        """The pixels of batch number `step`, (B, size, size, 3) uint8; `over` maps, perhaps in threads."""
        epoch, place = divmod(step, len(self))
        known, order = self._order
        if known != epoch:
            order = np.arange(len(self.pictures))
            if self.augment:
                order = np.random.default_rng((self.seed, epoch)).permutation(order)
            self._order = epoch, order
        indices = order[place * self.batch_size : (place + 1) * self.batch_size]
        if self.augment:
            indices = indices[parallel.rank() :: parallel.size()]
        return np.stack(list(over(lambda i: self._crop(self.pictures[i], np.random.default_rng((self.seed, epoch, i))), indices)))

    def _crop(self, pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """One square, (size, size, 3) uint8."""
        height, width = pixels.shape[:2]
        short = min(height, width)
        side = rng.uniform(min(short, max(self.size, short / 2)), short) if self.augment else short
        x, y = rng.uniform(0, width - side), rng.uniform(0, height - side)
        if not self.augment:
            x, y = (width - side) / 2, (height - side) / 2
        picture = Image.fromarray(pixels).resize((self.size, self.size), Image.Resampling.BICUBIC, box=(x, y, x + side, y + side))
        flip = self.augment and rng.random() < 0.5
        return np.asarray(picture)[:, ::-1] if flip else np.asarray(picture)
