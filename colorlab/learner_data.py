"""fastai's side of the pictures: typed batches, `DataLoaders`, and what its tables of pictures show. Knows fastai."""

import itertools
import os
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from colorlab import color, metrics
from colorlab._fastai import DataLoaders, TensorImageBase, TfmdDL, dispatch, explode_types, show_image, subplots
from colorlab.data import Loader, Pictures, find_pictures, learn_and_judge
from colorlab.machine import Machine


class Grey(TensorImageBase):
    """L, (B, 1, H, W) in [−1, 1]: what fastai's tables and pictures know a batch's input by."""


class Chroma(TensorImageBase):
    """ab, (B, 2, H, W) in (−1, 1): a batch's target, and a prediction."""


class ColorDL(TfmdDL):
    """fastai's view of a `data.Loader`: the very same batches, typed. Chapter 08.

    `dataset`: a loader, or anything with `batch(n)` → (L, ab), `batch_size` and a length, the batches in one pass. Passes
    go on where the last one ended; to look at a batch (`one_batch`, `show_batch`) does not move that place.
    """

    def __init__(self, dataset, **_):  # what else fastai's `new` hands over is the loader's to say
        super().__init__(dataset, bs=dataset.batch_size, num_workers=0, do_setup=False, indexed=True, n=len(dataset))
        self.position = 0
        self._n_inp, self._types = 1, explode_types((Grey(torch.empty(0)), Chroma(torch.empty(0))))

    def __len__(self) -> int:
        return len(self.dataset)

    def __iter__(self) -> Iterator[tuple[Grey, Chroma]]:
        if hasattr(self.dataset, "position"):  # a Loader, which prepares the next batch meanwhile
            self.dataset.position, batches = self.position, iter(self.dataset)
        else:
            batches = map(self.dataset.batch, itertools.count(self.position))
        for batch in itertools.islice(batches, len(self)):
            self.position += 1
            yield _typed(batch)

    def one_batch(self) -> tuple[Grey, Chroma]:
        return _typed(self.dataset.batch(self.position))

    def new(self, dataset=None, cls=None, shuffle: bool = True, **_) -> "ColorDL":
        """The same pictures again from the start; not shuffled, each once and its middle, if fastai asks for that."""
        mine = dataset or self.dataset
        if not shuffle and getattr(mine, "augment", False):
            mine = Loader(mine.pictures, mine.batch_size, mine.size, mine.seed, augment=False, machine=mine.machine)
        return type(self)(mine)


def _typed(batch: tuple[Tensor, Tensor]) -> tuple[Grey, Chroma]:
    return Grey(batch[0]), Chroma(batch[1])


def colorizer_dls(
    folder: str | os.PathLike | Iterable[str | os.PathLike],
    size: int = 64,
    bs: int = 32,
    valid: str | os.PathLike | Iterable[str | os.PathLike] | None = None,
    seed: int = 0,
    machine: Machine | None = None,
) -> DataLoaders:
    """fastai `DataLoaders` of a folder, or several, of photographs: typed L and ab, squares of `size` pixels, `bs` at once.

    `valid`: photographs to judge by (default: a twentieth of the others, chosen by name); `machine`: where batches go (default:
    what this machine does best). Each shuffle and crop is a pure function of (seed, epoch, index). Raises ValueError for a
    folder that holds no pictures, and when none is left to learn from or to judge by. Chapter 08.
    """
    machine = machine or Machine.detect()
    judged = find_pictures(valid) if valid is not None else []
    learnt, judged = learn_and_judge(find_pictures(folder), judged, "Give more, or others with valid=FOLDER.")
    train, judge = (Pictures.read(paths, side, progress=False) for paths, side in ((learnt, 2 * size), (judged, size)))
    return as_dls(Loader(train, bs, size, seed, machine=machine), Loader(judge, bs, size, augment=False, machine=machine))


def as_dls(train: Loader, valid: Loader) -> DataLoaders:
    """fastai `DataLoaders` from two loaders, or objects like them (see `ColorDL`): scenes of ColorWorld, for one. Chapter 08."""
    return DataLoaders(ColorDL(train), ColorDL(valid), device=train.batch(0)[0].device)


@dispatch
def show_batch(x: Grey, y: Chroma, samples, ctxs=None, max_n=9, **_):
    """Rows of *grey · true*, in color, each below its name: what `dls.show_batch()` draws."""
    _rows({"grey": (x, torch.zeros_like(y)), "true": (x, y)}, max_n)


@dispatch
def show_results(x: Grey, y: Chroma, samples, outs, ctxs=None, max_n=9, **_):
    """Rows of *grey · predicted · true*, in color: what `learn.show_results()` draws."""
    predicted = torch.stack([out[0] for out in outs])
    _rows({"grey": (x, torch.zeros_like(y)), "predicted": (x[: len(predicted)], predicted), "true": (x, y)}, max_n)


def _rows(columns: dict[str, tuple[Tensor, Tensor]], count: int) -> None:
    count = min([count] + [len(ab) for _, ab in columns.values()])
    _, axes = subplots(count, len(columns), figsize=(2 * len(columns), 2.2 * count))
    for column, (name, pair) in enumerate(columns.items()):
        L, ab = (plain(x[:count]).float().cpu() for x in pair)
        rgb = color.decode(L, color.fit_gamut(L, ab)[0]).clamp(0, 1)
        for row in range(count):
            chroma = metrics.mean_chroma(ab[row : row + 1]).item()
            show_image(rgb[row].permute(1, 2, 0).numpy(), ax=axes[row, column], title=f"{name}, chroma {chroma:.0f}")


def plain(x: Tensor) -> Tensor:
    """The tensor without fastai's type, which every operation would have to ask."""
    return x.as_subclass(Tensor)
