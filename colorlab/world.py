"""ColorWorld: little landscapes, drawn offline, in which the true distribution of colour given grey is known.

Knows numpy, torch and `colorlab.color`; nothing about networks. A scene is painted in grey first, far to near: which
object covers each pixel, and how light it is. Then every object draws its colour, alone, from its kind's distribution.
So grey says what a thing is and nothing about the colour it drew, and the best answer under each loss is known.

>>> world = ColorWorld(size=64, seed=0)
>>> world.distribution("balloon")                      # red, blue and green: a probability and (a*, b*) for each
[(0.4, (65.0, 45.0)), (0.35, (15.0, -65.0)), (0.25, (-50.0, 48.0))]
>>> world.mean("balloon"), world.median("balloon")     # the best answers to L2 and L1: nearly grey, and ochre
((18.75, 7.25), (15.0, 45.0))
>>> scenes = world.sample(20)
>>> mean = torch.tensor(world.mean("balloon")).view(1, 2, 1, 1) / color.AB_SCALE
>>> world.score(scenes, mean.expand_as(scenes.ab), kind="balloon").near     # no balloon has a balloon's colour
0.0
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from colorlab import color

Distribution = list[tuple[float, tuple[float, float]]]  # [(probability, (a*, b*)), …]

NEAR = 20.0  # a colour within this distance in (a*, b*) of a real one counts as that colour
_CHUNK = 32  # scenes painted at a time: what the processor's cache holds
_DRAWS = 256  # random numbers for a scene's layout, more than it needs

# Each kind's lightness (lowest L*, highest L*), the roughness of its texture, and its colours. The bands of lightness
# are disjoint, so that grey names the kind; field and grass alone share one, and the furrows tell them apart.
_KINDS = {
    "sky": ((75.0, 86.0), 0.02, [(1.0, (-6.0, -20.0))]),
    "sun": ((94.6, 96.2), 0.0, [(1.0, (-8.0, 32.0))]),
    "cloud": ((91.8, 94.2), 0.1, [(1.0, (-1.0, -4.0))]),
    "hill": ((65.5, 69.5), 0.25, [(1.0, (-22.0, 18.0))]),
    "field": ((59.0, 65.0), 0.1, [(1.0, (4.0, 50.0))]),
    "grass": ((59.0, 65.0), 0.3, [(1.0, (-34.0, 42.0))]),
    "wood": ((27.0, 32.0), 0.3, [(1.0, (10.0, 18.0))]),
    "tree": ((33.0, 44.0), 0.5, [(0.65, (-30.0, 32.0)), (0.35, (36.0, 44.0))]),
    "wall": ((87.0, 91.2), 0.1, [(1.0, (2.0, 14.0))]),
    "roof": ((45.0, 51.5), 0.15, [(0.6, (45.0, 34.0)), (0.4, (2.0, -28.0))]),
    "window": ((19.0, 26.0), 0.0, [(1.0, (2.0, -14.0))]),
    "balloon": ((52.2, 58.2), 0.05, [(0.4, (65.0, 45.0)), (0.35, (15.0, -65.0)), (0.25, (-50.0, 48.0))]),
    "flower": ((70.0, 73.4), 0.1, [(0.5, (26.0, 66.0)), (0.3, (44.0, 0.0)), (0.2, (28.0, -36.0))]),
}
KINDS = tuple(_KINDS)  # `Scenes.kind` holds indices into this


@dataclass(frozen=True)
class Scenes:
    """Scenes, and what no photograph tells: the kind and the object that each pixel shows. Chapter 02."""

    L: torch.Tensor  # (n, 1, size, size) float32 in [−1, 1]
    ab: torch.Tensor  # (n, 2, size, size) float32 in (−1, 1)
    object: torch.Tensor  # (n, size, size) uint8: the object's number, counted within its scene from far to near
    object_kind: torch.Tensor  # (objects,) uint8: the kind of each number, an index into KINDS; the same in every scene
    index: torch.Tensor  # (n,) int64: the scenes' numbers in their world

    @property
    def kind(self) -> torch.Tensor:
        """The kind that each pixel shows: (n, size, size) uint8, an index into KINDS."""
        return self.object_kind[self.object.long()]

    @property
    def rgb(self) -> torch.Tensor:
        """The scenes in colour: (n, 3, size, size), sRGB in [0, 1]."""
        return color.decode(self.L, self.ab).clamp(0, 1)


@dataclass(frozen=True)
class Score:
    """What a prediction made of the objects of one kind, each judged by its interior's mean ab. Chapter 03."""

    kind: str
    objects: int  # how many were judged
    near: float  # share of objects within NEAR of a colour that the kind really has
    shares: tuple[float, ...]  # share of objects near each colour of the distribution; they sum to `near`
    true_shares: tuple[float, ...]  # the distribution's probabilities, in the same order
    chroma: float  # mean chroma predicted / mean chroma in truth: 1 is as colourful as the world is
    delta_e_mean: float  # mean ΔE76 to the conditional mean, L* being equal: 0 is the perfect L2 answer


class ColorWorld:
    """An endless, numbered series of scenes; scene i is a pure function of (size, seed, i). Chapter 02.

    size: height and width in pixels, 16 or more; at another size a scene is the same picture, finer or coarser.
    distributions: {kind: [(probability, (a*, b*)), …]} in Lab units, in place of the world's own; L stays the same. Raises
    ValueError for probabilities that do not sum to 1, and for colours that sRGB lacks in the kind's band of lightness.
    """

    kinds = KINDS

    def __init__(self, size: int = 64, seed: int = 0, distributions: dict[str, Distribution] | None = None):
        self.size, self.seed = _whole("size", size, 16), _whole("seed", seed, 0)
        self.index = 0  # the next scene's number: save it, set it again, and a run goes on where it stopped
        tables = {kind: own for kind, (_, _, own) in _KINDS.items()} | (distributions or {})
        self._tables = {kind: _table(_known(kind), given) for kind, given in tables.items()}

    def distribution(self, kind: str) -> Distribution:
        """p(colour | grey) on this kind: [(probability, (a*, b*)), …], in Lab units. Raises ValueError. Chapter 02."""
        return [(p, tuple(ab)) for p, ab in zip(*(x.tolist() for x in self._tables[_known(kind)]), strict=True)]

    def lightness(self, kind: str) -> tuple[float, float]:
        """The lowest and the highest L* of this kind; its colours exist from the one to the other. Raises ValueError."""
        return _KINDS[_known(kind)][0]

    def mean(self, kind: str) -> tuple[float, float]:
        """The conditional mean (a*, b*): the answer of least squared error. Raises ValueError. Chapter 03."""
        p, ab = self._tables[_known(kind)]
        return tuple((p @ ab).round(9).tolist())

    def median(self, kind: str) -> tuple[float, float]:
        """The per-channel median (a*, b*): the answer of least L1 error; of a tie, the middle. Raises ValueError. Chapter 03."""
        p, ab = self._tables[_known(kind)]
        order = ab.argsort(axis=0)  # (colours, 2): each channel is sorted on its own
        upto = p[order].cumsum(axis=0)  # the probability of this value or less
        half = [(upto < 0.5 - 1e-9).sum(axis=0), (upto < 0.5 + 1e-9).sum(axis=0)]  # they differ in a tie only
        return tuple(np.take_along_axis(ab, order, axis=0)[half, [0, 1]].mean(axis=0).tolist())

    def sample(self, n: int, start: int | None = None) -> Scenes:
        """The next n scenes, and `index` moves on; with `start`, scenes start … start + n − 1. Raises ValueError. Chapter 02."""
        first = _whole("start", self.index if start is None else start, 0)
        index = range(first, first + _whole("n", n, 1))
        if start is None:
            self.index = index.stop
        L, number, kinds = zip(*(_paint(self.size, self.seed, index[i : i + _CHUNK]) for i in range(0, n, _CHUNK)), strict=True)
        L, number, kinds = (torch.from_numpy(np.concatenate(x)) for x in (L, number, kinds[:1]))
        return Scenes(L, self._colors(index, number, kinds, stream=1), number, kinds, torch.tensor(index))

    def recolor(self, scenes: Scenes, seed: int) -> Scenes:
        """The same scenes, L and all, with every object's colour drawn afresh. Raises ValueError. Chapter 02."""
        stream = 2 + _whole("seed", seed, 0)
        return replace(scenes, ab=self._colors(scenes.index.tolist(), scenes.object, scenes.object_kind, stream))

    def score(self, scenes: Scenes, ab: torch.Tensor, kind: str = "balloon") -> Score:
        """Judge the colours predicted for these scenes, ab (n, 2, size, size) in (−1, 1), on ab's device. Chapter 03.

        An object that shows no interior pixel, one with all eight neighbours its own, is left out. Raises ValueError for an
        unknown kind, for ab of another shape, and where nothing is left to judge.
        """
        p, colors = self._tables[_known(kind)]
        if not isinstance(ab, torch.Tensor) or ab.shape != scenes.ab.shape:
            raise ValueError(f"ab must be a tensor of {scenes.ab.shape}, as scenes.ab is, got {getattr(ab, 'shape', type(ab))}.")
        number = scenes.object[:, None].float()
        highest, lowest = (sign * torch.nn.functional.max_pool2d(sign * number, 3, 1, 1) for sign in (1, -1))
        inside = ((highest == lowest)[:, 0] & (scenes.kind == KINDS.index(kind))).to(ab.device)
        owner = (256 * torch.arange(len(ab)).view(-1, 1, 1) + scenes.object).to(ab.device)[inside]  # (pixels,)
        values = torch.cat([scenes.ab.to(ab.device), ab.detach().float(), torch.ones_like(ab[:, :1]).float()], dim=1)
        total = values.new_zeros(256 * len(ab), 5).index_add_(0, owner, values.movedim(1, -1)[inside])
        total = total[total[:, 4] > 0]  # (objects, 5): true ab and predicted ab, summed, and the count of pixels
        if not len(total):
            raise ValueError(f"no {kind} in these {len(ab)} scenes is large enough to judge: draw more scenes, or larger ones.")
        truth, guess = (color.AB_SCALE * total[:, :4] / total[:, 4:]).split(2, dim=1)  # (objects, 2) each, in Lab units
        distance = (guess[:, None] - guess.new_tensor(colors)).norm(dim=2)  # (objects, colours)
        distance[:, p == 0] = torch.inf  # a colour of probability 0 is none
        least, nearest = distance.min(dim=1)
        near = least <= NEAR
        shares = tuple((near & (nearest == k)).float().mean().item() for k in range(len(p)))
        chroma = guess.norm(dim=1).mean() / truth.norm(dim=1).mean()
        off = (guess - guess.new_tensor(self.mean(kind))).norm(dim=1).mean()
        return Score(kind, len(guess), near.float().mean().item(), shares, tuple(p.tolist()), chroma.item(), off.item())

    def _colors(self, index: Sequence[int], number: torch.Tensor, kinds: torch.Tensor, stream: int) -> torch.Tensor:
        """Every object draws its colour: its luck, in [0, 1), falls within one colour's share. Returns ab."""
        luck = _luck(self.seed, index, stream, len(kinds))  # (n, objects)
        table = np.empty((*luck.shape, 2), np.float32)  # (n, objects, 2): the colours drawn
        for k, kind in enumerate(kinds.tolist()):
            p, ab = self._tables[KINDS[kind]]
            table[:, k] = ab[np.searchsorted(p.cumsum()[:-1], luck[:, k], side="right")] / color.AB_SCALE
        pixels = [torch.from_numpy(table[..., c]).gather(1, number.flatten(1).long()) for c in (0, 1)]  # (n, size²) each
        return torch.stack(pixels, dim=1).unflatten(2, number.shape[1:])


def _whole(name: str, value: int, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise ValueError(f"{name} must be a whole number of {least} or more, got {value!r}.")
    return int(value)


def _known(kind: str) -> str:
    if kind not in KINDS:
        raise ValueError(f"unknown kind {kind!r}: choose one of {', '.join(KINDS)}.")
    return kind


def _table(kind: str, given: Distribution) -> tuple[np.ndarray, np.ndarray]:
    """A checked distribution's probabilities (colours,) and its colours (colours, 2), in Lab units."""
    try:
        p, ab = np.array([float(p) for p, _ in given]), np.array([(float(a), float(b)) for _, (a, b) in given])
    except (TypeError, ValueError):
        raise ValueError(f"{kind} must be given as [(probability, (a*, b*)), …], got {given!r}.") from None
    if not (len(p) and p.min() >= 0 and abs(p.sum() - 1) < 1e-6):
        raise ValueError(f"the probabilities of {kind} must be 0 or more and sum to 1, got {p}. Divide each by their sum.")
    low, high = _KINDS[kind][0]
    L = torch.linspace(low, high, 64).expand(1, 1, len(p), 64) / color.L_SCALE - 1
    code = torch.from_numpy(ab.T).float()[None, :, :, None].expand(-1, -1, -1, 64) / color.AB_SCALE  # (1, 2, colours, 64)
    lost = (color.fit_gamut(L, code)[0] != code).numpy().any(axis=(0, 1, 3))
    if lost.any():
        raise ValueError(f"{kind} goes from L* {low} to {high}, where sRGB lacks {ab[lost].tolist()} or part: lower the chroma.")
    return p, ab


def _luck(seed: int, index: Sequence[int], stream: int, count: int) -> np.ndarray:
    """Uniform numbers in [0, 1), (scenes, count) float32; scene i's are a pure function of (seed, i, stream)."""
    keys = (np.random.SeedSequence(seed, spawn_key=(i, stream)) for i in index)
    return np.stack([np.random.default_rng(key).random(count, dtype=np.float32) for key in keys])


def _paint(size: int, seed: int, index: range) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scenes in grey: L (n, 1, size, size), the object maps (n, size, size), and each object's kind (objects,)."""
    luck = _luck(seed, index, 0, _DRAWS + size * size)
    draws, noise = iter(luck[:, :_DRAWS].T.reshape(_DRAWS, -1, 1, 1)), luck[:, _DRAWS:].reshape(-1, size, size)
    y, x = ((axis.astype(np.float32) + 0.5) / size for axis in np.ogrid[:size, :size])  # down and to the right, 0 to 1
    number, light, kinds = np.zeros(noise.shape, np.uint8), np.zeros_like(noise), []

    def draw(low, high):  # one number for each scene, (n, 1, 1)
        return np.float32(low) + np.float32(high - low) * next(draws)

    def places(count, spread, chance):  # from left to right; what is not there is put far out of the picture
        for k in range(count):
            yield (k + 0.5) / count + draw(-spread, spread) + np.float32(9) * (draw(0, 1) >= chance)

    def ellipse(cx, cy, rx, ry):  # 0 in the middle, 1 on the rim
        return ((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2

    def box(cx, half, top, bottom):
        return (np.abs(x - cx) < half) & ((y > top) & (y < bottom))

    def paint(kind, where, shade):  # far things first; shade is 0 at the kind's darkest, 1 at its lightest
        np.copyto(number, len(kinds), where=where)
        np.copyto(light, shade, where=where)
        kinds.append(kind)

    horizon, sun = draw(0.56, 0.64), ellipse(draw(0.08, 0.92), draw(0.08, 0.24), 0.08, 0.08)
    paint("sky", sun >= 0, 0.1 + 1.1 * y + 1.2 / (2 + sun / 4))
    paint("sun", sun < 1, 1 - 0.5 * sun)
    for cx in places(3, 0.1, 0.7):
        cy, r = draw(0.1, 0.36), draw(0.08, 0.13)
        puffs = [ellipse(cx + dx * r, cy, w * r, 0.8 * w * r) for dx, w in ((-0.8, 0.6), (0, 1), (1, 0.7))]
        paint("cloud", (np.minimum.reduce(puffs) < 1) & (y < cy + 0.15 * r), 0.6 - 1.2 * (y - cy) / r)
    for cx in places(3, 0.15, 1):
        paint("hill", ellipse(cx, horizon + 0.06, draw(0.25, 0.4), draw(0.08, 0.25)) < 1, draw(0.3, 0.8) - (x - cx))
    for cx in places(1, 0.5, 0.7):
        furrows = 2.4 * (x - cx) / np.maximum(y - horizon + 0.12, 0.05) % 1
        paint("field", ellipse(cx, horizon + 0.14, 0.45, 0.17) < 1, furrows)
    paint("grass", ellipse(draw(0.1, 0.9), 1.1, 1.5, 1.02 - horizon) < 1, 0.75 - 0.5 * (y - horizon) / (1 - horizon))
    for cx in places(3, 0.02, 0.6):
        cy, r = draw(0.17, 0.34), draw(0.1, 0.145)
        dx, dy = (x - cx) / r, (y - cy) / (1.12 * r)
        paint("wood", box(cx, 0.22 * r, cy + 1.35 * r, cy + 1.7 * r), 0.5)  # the basket
        paint("balloon", dx**2 * (1 + 0.9 * np.maximum(dy, 0)) + dy**2 < 1, 0.2 + 0.5 * (1.5 * dx % 1) - 0.3 * dx - 0.2 * dy)
    for cx in places(3, 0.1, 0.5):
        foot, h = horizon + draw(0.06, 0.14), draw(0.2, 0.3)
        up = (foot - 0.12 * h - y) / h  # of a fir: 0 at the lowest branch, 1 at the tip
        paint("wood", box(cx, 0.015, foot - 0.2 * h, foot), 0.3)
        fir = box(cx, (0.34 - 0.34 * up - 0.12 * (3 * up % 1)) * h, 0, foot - 0.12 * h)
        paint("tree", fir, 0.6 - 2 * (x - cx) / h - 0.5 * (3 * up % 1))
    for cx in places(2, 0.12, 0.7):
        foot, w = horizon + draw(0.16, 0.24), draw(0.11, 0.15)
        top, down = foot - w, (y - foot) / w + 1.8  # of the walls; of the roof: 0 at the ridge, 1 at the eaves
        paint("wall", box(cx + 0.5 * w, 0.13 * w, top - w, top), 0.3)  # the chimney
        paint("wall", box(cx, w, top, foot), 0.7 - 0.3 * (x - cx) / w)
        paint("window", box(cx, 0.75 * w, top + 0.3 * w, top + 0.65 * w) & ~box(cx, 0.35 * w, 0, 1), down - 1)
        paint("wood", box(cx, 0.17 * w, top + 0.4 * w, foot), 0.6)  # the door
        paint("roof", box(cx, (0.7 + 0.5 * down) * w, top - 0.8 * w, top + 0.2 * w), 0.8 - 0.45 * (3 * down % 1) - 0.2 * down)
    for cx in places(3, 0.12, 0.5):
        foot, r = horizon + draw(0.24, 0.34), draw(0.08, 0.12)
        dx, dy = (x - cx) / r, (y - foot) / r + 2
        paint("wood", box(cx, 0.16 * r, foot - 2 * r, foot), 0.8 - 2 * dx)
        paint("tree", dx**2 + 0.8 * dy**2 < 0.65 + 0.5 * noise, 0.5 - 0.3 * dx - 0.4 * dy)
    for cx in places(6, 0.05, 0.75):
        cy, r = draw(0.86, 0.96), draw(0.04, 0.06)
        dx, dy = ((x - cx) / r) ** 2, ((y - cy) / r) ** 2
        paint("flower", (dx + dy) ** 2 < 0.45 * (dx + dy) + 0.6 * np.abs(dx - dy), 3 * (dx + dy))  # four petals
    low, high, rough = np.array([(*_KINDS[kind][0], _KINDS[kind][1]) for kind in kinds], np.float32).T  # (objects,) each
    L = low[number] + (high - low)[number] * (light + rough[number] * (noise - np.float32(0.5))).clip(0, 1)
    return L[:, None] / np.float32(color.L_SCALE) - 1, number, np.array([KINDS.index(kind) for kind in kinds], np.uint8)
