"""How sure a mean is: bootstrap intervals over pictures. Knows only torch."""

from typing import NamedTuple

import torch


class Interval(NamedTuple):
    """A mean and the ends of its confidence interval, in the score's own unit."""

    mean: float
    low: float
    high: float


def bootstrap(scores: torch.Tensor, resamples: int = 10_000, seed: int = 0, confidence: float = 0.95) -> Interval:
    """The mean of scores, (n,), and the interval it would keep to if other pictures of the same kind were drawn.

    Pictures are drawn again with replacement, `resamples` times; low and high are percentiles of the means. It says
    nothing about another training run. Same seed: same numbers. Raises ValueError for fewer than two scores, or any
    that is not finite. Source: Efron 1979. Chapter 10.
    """
    if not isinstance(scores, torch.Tensor) or scores.ndim != 1 or len(scores) < 2:
        raise ValueError(f"scores must be a tensor of shape (n,), one for each of at least two pictures, got {_got(scores)}.")
    if bad := int((~scores.isfinite()).sum()):
        raise ValueError(f"{bad} of {len(scores)} scores are not finite. Equal pictures have infinite PSNR: use another score.")
    if resamples < 1 or not 0 < confidence < 1:
        raise ValueError(f"need resamples of at least 1 and a confidence in (0, 1), got {resamples} and {confidence}.")
    values = scores.detach().cpu().double()
    generator = torch.Generator().manual_seed(seed)
    n, means = len(values), []
    rows = max(1, 1_000_000 // n)  # at a time: about 16 MB, however many pictures
    for start in range(0, resamples, rows):
        drawn = torch.randint(n, (min(rows, resamples - start), n), generator=generator)  # which pictures, (rows, n)
        means.append(values[drawn].mean(1))
    low, high = (torch.cat(means).quantile((1 + side * confidence) / 2).item() for side in (-1, 1))
    return Interval(values.mean().item(), low, high)


def paired_bootstrap(
    a: torch.Tensor, b: torch.Tensor, resamples: int = 10_000, seed: int = 0, confidence: float = 0.95
) -> Interval:
    """The mean of a − b, both (n,), scores of the same pictures in the same order, and its interval; see `bootstrap`.

    An interval without 0 says that the two methods differ, and by how much. Raises ValueError as `bootstrap` does. Chapter 10.

    >>> easy_to_hard = torch.arange(100.0)                       # pictures differ far more than methods do
    >>> paired_bootstrap(easy_to_hard + 1, easy_to_hard)
    Interval(mean=1.0, low=1.0, high=1.0)
    """
    if getattr(a, "shape", None) != getattr(b, "shape", ()):
        raise ValueError(f"a and b must be scores of the same pictures, each of shape (n,), got {_got(a)} and {_got(b)}.")
    return bootstrap(a - b, resamples, seed, confidence)


def _got(x: object) -> str:
    return f"shape {tuple(x.shape)}" if isinstance(x, torch.Tensor) else type(x).__name__
