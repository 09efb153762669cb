"""Figures for the notebooks: pictures in rows, curves with units, points in the plane. One of two modules that know matplotlib.

A figure is a `Drawing`: JPEG bytes, so that a notebook stays small, and a text that says what is to be seen, for
those who do not see it. Nothing is kept by pyplot, so nothing is drawn twice and no figure is left behind.
"""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image
from torch.nn import functional as F

from colorlab import color, metrics
from colorlab.photos import load_rgb

DPI = 100  # pixels an inch, of every figure
LONGEST = 800  # pixels; a larger picture is reduced before it is drawn, since a photograph of 12 megapixels takes 2 GB to draw


@dataclass(frozen=True)
class Drawing:
    """A finished figure: a notebook shows it when it is a cell's last value."""

    jpeg: bytes
    alt: str  # what there is to see, with the numbers, in words

    def _repr_mimebundle_(self, include=None, exclude=None):
        return {"image/jpeg": self.jpeg, "text/plain": self.alt}, {"image/jpeg": {"alt": self.alt}}


def pictures(items: Mapping[str, object], alt: str, columns: int | None = None, height: float = 2.4) -> Drawing:
    """Pictures in rows, without axes, each under its name and mean chroma. All chapters.

    `items`: name → rgb (3, H, W) in [0, 1], or anything that `photos.load_rgb` reads; `alt`: what there is to see;
    `columns`: pictures a row (default: all in one); `height`: of a row, in inches. Raises ValueError for no pictures.
    """
    if not items:
        raise ValueError("pictures needs at least one picture, as a dict of name → picture.")
    shown = {name: _tensor(x) for name, x in items.items()}
    columns = min(columns or len(shown), len(shown))
    rows = -(-len(shown) // columns)
    wide = max(x.shape[2] / x.shape[1] for x in shown.values())
    figure = Figure(figsize=(columns * height * min(wide, 2.0), rows * (height + 0.55)), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).flat
    numbers = []
    for ax, (name, x) in zip(axes, shown.items(), strict=False):
        chroma = metrics.mean_chroma(color.encode(x[None])[1]).item()
        ax.imshow(x.permute(1, 2, 0).numpy(), interpolation="nearest" if x.shape[1] < 100 else "antialiased")
        ax.set_title(f"{name}\nchroma {chroma:.0f}", fontsize=9)
        numbers.append(f"{name}: mean chroma {chroma:.0f}")
    for ax in figure.axes:
        ax.axis("off")
    return _finish(figure, f"{alt} ({'; '.join(numbers)}.)")


def triple(L: torch.Tensor, ab: torch.Tensor, true_ab: torch.Tensor, alt: str, height: float = 2.0) -> Drawing:
    """One row for each picture of a batch, *grey · predicted · true*, with the numbers that tell them apart. All chapters.

    L: (B, 1, H, W) in [−1, 1]; ab, true_ab: (B, 2, H, W).
    """
    fitted, _ = color.fit_gamut(L, ab)
    scores = metrics.measure(L, ab, true_ab)
    items: dict[str, torch.Tensor] = {}
    columns = (metrics.grey(L), fitted, true_ab)
    for n in range(len(L)):
        names = (f"{n + 1}: grey", f"{n + 1}: predicted, ΔE2000 {scores['delta_e2000'][n]:.0f}", f"{n + 1}: true")
        items |= {name: color.decode(L[n : n + 1], x[n : n + 1])[0].clamp(0, 1) for name, x in zip(names, columns, strict=True)}
    return pictures(items, alt, columns=3, height=height)


def curves(
    lines: Mapping[str, Sequence[float]],
    x_label: str,
    y_label: str,
    alt: str,
    x: Sequence[float] | None = None,
    log: bool = False,
) -> Drawing:
    """Curves over one pair of axes, each with its name; labels say names and units. All chapters.

    `lines`: name → values; `x`: their common abscissa (default: 1, 2, 3 …). Raises ValueError for lengths that differ.
    """
    figure = Figure(figsize=(6.4, 3.2), layout="constrained")
    ax = figure.subplots()
    for (name, values), style in zip(lines.items(), ("-", "--", "-.", ":") * len(lines), strict=False):
        at = np.arange(1, len(values) + 1) if x is None else np.asarray(x)
        if len(at) != len(values):
            raise ValueError(f"{name!r} has {len(values)} values for {len(at)} places on the x axis.")
        ax.plot(at, values, style, label=name, linewidth=1.5)
    ax.set(xlabel=x_label, ylabel=y_label, yscale="log" if log else "linear")
    ax.grid(alpha=0.3)
    ax.legend(fontsize=9)
    ends = "; ".join(f"{name} ends at {values[-1]:.3g}" for name, values in lines.items() if len(values))
    return _finish(figure, f"{alt} ({ends}.)")


def points(
    sets: Mapping[str, torch.Tensor],
    alt: str,
    under: Mapping[str, torch.Tensor] | None = None,
    x_label: str = "a* (Lab units)",
    y_label: str = "b* (Lab units)",
    limits: tuple[float, float] | None = None,
) -> Drawing:
    """Sets of points in the plane side by side, on the same axes, each with its name, number and middle. Chapter 05.

    `sets`: name → (n, 2); `under`: at most four sets that lie pale beneath each of them, with other marks, such as the truth;
    `limits`: of both axes, which then have one scale (default: whatever holds all points). Raises ValueError for no points.
    """
    shown = {name: _plane(name, x) for name, x in sets.items()}
    beneath = {name: _plane(name, x) for name, x in (under or {}).items()}
    if not shown:
        raise ValueError("points needs at least one set, as a dict of name → (n, 2).")
    figure = Figure(figsize=(min(2.7 * len(shown), 9.2) + 0.4, 3.1 if len(shown) < 4 else 2.8), layout="constrained")
    axes = figure.subplots(1, len(shown), squeeze=False, sharex=True, sharey=True)[0]
    numbers = []
    for ax, (name, x) in zip(axes, shown.items(), strict=True):
        for (label, y), mark, shade in zip(beneath.items(), "o^sD", ("0.72", "0.6", "0.8", "0.66"), strict=False):
            ax.plot(*y.T, mark, color=shade, markersize=5, markeredgewidth=0, label=label)
        ax.plot(*x.T, "x", color="black", markersize=3.5, markeredgewidth=0.8)
        ax.set_title(name, fontsize=9)
        ax.set_xlabel(x_label)
        ax.grid(alpha=0.3)
        a, b = x.mean(axis=0)
        numbers.append(f"{name}: {len(x):,} points, middle ({a:.0f}, {b:.0f})" if limits else f"{name}: {len(x):,} points")
    axes[0].set_ylabel(y_label)
    if beneath:
        axes[0].legend(fontsize=8)
    if limits:
        axes[0].set(xlim=limits, ylim=limits)
        for ax in axes:
            ax.set_aspect("equal")
    return _finish(figure, f"{alt} ({'; '.join(numbers)}.)")


def jpeg(pixels: np.ndarray, quality: int = 88) -> bytes:
    """An 8-bit picture (H, W, 3) as JPEG bytes, for a widget or a page."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality, subsampling="4:4:4")
    return buffer.getvalue()


def _finish(figure: Figure, alt: str) -> Drawing:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="jpeg", dpi=DPI, pil_kwargs={"quality": 85})
    return Drawing(buffer.getvalue(), alt)


def _plane(name: str, x: torch.Tensor) -> np.ndarray:
    x = torch.as_tensor(x).detach().float().cpu()
    if x.ndim != 2 or x.shape[1] != 2 or not len(x):
        raise ValueError(f"{name!r} must hold points, (n, 2) with n ≥ 1, got {tuple(x.shape)}.")
    return x.numpy()


def _tensor(x: object) -> torch.Tensor:
    """rgb (3, H, W) on the CPU, of no more pixels than a figure can show."""
    x = x.detach().float().clamp(0, 1).cpu() if isinstance(x, torch.Tensor) else load_rgb(x)
    step = max(x.shape[1:]) // LONGEST
    return F.avg_pool2d(x, step) if step > 1 else x
