"""How good is a colourised picture? Scores for each picture, and the controls that a network must beat.

Knows only torch and `colorlab.color`: no network, no file, no data set. A score is one number for each picture,
shape (B,), because an interval (`colorlab.intervals`) needs the pictures apart. Scores and ΔE are differentiable, with
finite gradients at equal colours, greys, black and white (PSNR of equal pictures alone is infinite).

A control stands where a generator stands, `L -> ab`: `grey`, `MeanAb.fit(batches)`, `Lookup.fit(batches)`. The
truth is a control too: measure(L, ab, ab); and `shuffled(ab)` is other pictures' truth.

>>> import torch
>>> grey_and_green = torch.tensor([[[50.0, 50.0]], [[0.0, -50.0]], [[0.0, 50.0]]])[None]      # (1, 3, 1, 2)
>>> both_redder = grey_and_green + torch.tensor([0.0, 10.0, 0.0]).view(1, 3, 1, 1)
>>> [round(d, 1) for d in delta_e76(grey_and_green, both_redder).flatten().tolist()]     # the same step in Lab,
[10.0, 10.0]
>>> [round(d, 1) for d in delta_e2000(grey_and_green, both_redder).flatten().tolist()]   # but the eye is keener near grey
[11.2, 3.6]
"""

import math
from collections.abc import Iterable

import torch
from torch.nn import functional as F

from colorlab import color

Batch = tuple[torch.Tensor, torch.Tensor]  # (L, ab), as color.encode returns them

_WINDOW = 11  # SSIM's Gaussian window, in pixels, and its standard deviation (Wang et al. 2004)
_SIGMA = 1.5
_TURN = 2 * math.pi


def _check(name: str, x: torch.Tensor, channels: int) -> None:
    color.check(name, x, channels)
    if not x.numel():
        raise ValueError(f"{name} must hold at least one picture of at least one pixel, got shape {tuple(x.shape)}.")


def _check_pair(name1: str, x1: torch.Tensor, name2: str, x2: torch.Tensor, channels: int) -> None:
    _check(name1, x1, channels)
    _check(name2, x2, channels)
    if x1.shape != x2.shape or x1.dtype != x2.dtype:
        raise ValueError(
            f"{name1} and {name2} must have the same shape and dtype, got {tuple(x1.shape)} {x1.dtype} and "
            f"{tuple(x2.shape)} {x2.dtype}. Crop or resize one picture to the other's size, or convert its dtype."
        )


def psnr(rgb: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Peak signal-to-noise ratio in dB over the three channels, (B,): higher is nearer, infinite for equal pictures.

    rgb, truth: (B, 3, H, W) in [0, 1]. Raises ValueError for other shapes or dtypes. Chapter 03.
    """
    _check_pair("rgb", rgb, "truth", truth, 3)
    return -10 * torch.log10((rgb - truth).square().mean((1, 2, 3)))


def ssim(rgb: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Structural similarity, the mean over the three channels, (B,): 1 for equal pictures, never more.

    rgb, truth: (B, 3, H, W) in [0, 1], at least 11 × 11. Raises ValueError for other shapes or dtypes. Source: Wang et
    al. 2004, Gaussian 11 × 11 window of σ 1.5, windows inside the picture only. Chapter 10.
    """
    _check_pair("rgb", rgb, "truth", truth, 3)
    if min(rgb.shape[2:]) < _WINDOW:
        raise ValueError(f"SSIM needs pictures of at least {_WINDOW} × {_WINDOW} pixels, got shape {tuple(rgb.shape)}.")
    c1, c2 = 0.01**2, 0.03**2
    x, y = _blur(rgb), _blur(truth)  # (B, 3, H − 10, W − 10)
    xx, yy, xy = _blur(rgb * rgb) - x * x, _blur(truth * truth) - y * y, _blur(rgb * truth) - x * y  # (co)variances
    score = (2 * x * y + c1) * (2 * xy + c2) / ((x * x + y * y + c1) * (xx + yy + c2))
    return score.mean((1, 2, 3))


def _blur(x: torch.Tensor) -> torch.Tensor:
    """Gaussian window means of x, (B, C, H, W) → (B, C, H − 10, W − 10).

    A sum of shifted pictures, not a convolution: a GPU may round a convolution to TF32, and small variances drown.
    """
    weights = [math.exp(-((k - _WINDOW // 2) ** 2) / (2 * _SIGMA**2)) for k in range(_WINDOW)]
    for dim in (2, 3):
        size = x.shape[dim] - _WINDOW + 1
        x = sum(w / sum(weights) * x.narrow(dim, k, size) for k, w in enumerate(weights))
    return x


def delta_e76(lab1: torch.Tensor, lab2: torch.Tensor) -> torch.Tensor:
    """Distance in CIE L*a*b* of each pixel, ΔE*ab of 1976: a map (B, 1, H, W), shaped like L.

    lab1, lab2: (B, 3, H, W) in CIE units. Raises ValueError for other shapes or dtypes. Source: CIE 15. Chapter 03.
    """
    _check_pair("lab1", lab1, "lab2", lab2, 3)
    return torch.linalg.vector_norm(lab1 - lab2, dim=1, keepdim=True)  # its gradient at 0 is 0, where sqrt's is not finite


def delta_e2000(lab1: torch.Tensor, lab2: torch.Tensor) -> torch.Tensor:
    """Perceived difference of each pixel, CIEDE2000: a map (B, 1, H, W), shaped like L; about 1 is just noticeable.

    lab1, lab2: (B, 3, H, W) in CIE units; symmetric. The gradient of an exact grey's a* and b* is 0, for it has no hue.
    Raises ValueError for other shapes or dtypes. Source: Sharma, Wu, Dalal 2005, whose letters are kept. Chapter 10.
    """
    _check_pair("lab1", lab1, "lab2", lab2, 3)
    (L1, a1, b1), (L2, a2, b2) = lab1.split(1, dim=1), lab2.split(1, dim=1)  # each (B, 1, H, W), as is all below
    # 1. Chroma C and hue h, with a* stretched near grey.
    G = 0.5 * (1 - _saturate((_norm(a1, b1) + _norm(a2, b2)) / 2))
    a1, a2 = (1 + G) * a1, (1 + G) * a2
    C1, C2 = _norm(a1, b1), _norm(a2, b2)
    hued = torch.minimum(C1, C2) > 1e-9  # a grey has no hue, and its angle no gradient
    h1, h2 = (torch.atan2(b, torch.where(hued, a, 1.0)) % _TURN for a, b in ((a1, b1), (a2, b2)))
    # 2. Differences and means, hue on the shorter arc. Of opposite hues the published pairs do not cross 0: hence 1e-6.
    far = (h2 - h1).abs() > math.pi + 1e-6
    dh = h2 - h1 - torch.where(far, _TURN * (h2 - h1).sign(), 0.0)
    h = (h1 + h2 + _TURN * far.to(h1)) / 2 % _TURN
    L, C = (L1 + L2) / 2, (C1 + C2) / 2
    dH = torch.where(hued, 2 * torch.where(hued, C1 * C2, 1.0).sqrt() * torch.sin(dh / 2), 0.0)
    # 3. Each difference in units of what the eye tolerates there; in the blues, chroma and hue are tied by R.
    T = 1 - 0.17 * torch.cos(h - math.radians(30)) + 0.24 * torch.cos(2 * h)
    T = T + 0.32 * torch.cos(3 * h + math.radians(6)) - 0.20 * torch.cos(4 * h - math.radians(63))
    dL = (L2 - L1) / (1 + 0.015 * (L - 50) ** 2 / (20 + (L - 50) ** 2).sqrt())
    dC = (C2 - C1) / (1 + 0.045 * C)
    dH = dH / (1 + 0.015 * C * T)
    R = -2 * _saturate(C) * torch.sin(math.radians(60) * torch.exp(-(((torch.rad2deg(h) - 275) / 25) ** 2)))
    # dL² + dC² + dH² + R dC dH, with the square completed (|R| < √3): a norm, never the root of a rounded-off negative.
    return _norm(dL, dC + R / 2 * dH, (1 - R**2 / 4).sqrt() * dH)


def _norm(*parts: torch.Tensor) -> torch.Tensor:
    """√(x² + y² + …) of (B, 1, H, W) tensors, with gradient 0 at 0."""
    return torch.linalg.vector_norm(torch.cat(parts, dim=1), dim=1, keepdim=True)


def _saturate(C: torch.Tensor) -> torch.Tensor:
    """√(C⁷ / (C⁷ + 25⁷)): 0 at grey, near 1 for vivid colours; written so that its gradient at grey is finite."""
    return C**3.5 / (C**7 + 25.0**7).sqrt()


def colorfulness(rgb: torch.Tensor) -> torch.Tensor:
    """How colourful a picture looks, (B,): 0 is grey, 15 slightly, 33 moderately, 59 quite, 109 extremely.

    rgb: (B, 3, H, W) in [0, 1]. Raises ValueError for another shape or dtype. Source: Hasler and Süsstrunk 2003,
    M̂⁽³⁾, on the 0–255 scale, from signed differences R − G and (R + G)/2 − B. Chapter 03.

    >>> red_left_green_right = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]).view(1, 3, 1, 2)
    >>> round(colorfulness(red_left_green_right).item(), 1)      # |R − G| would see no spread, and say 85.5
    293.2
    """
    _check("rgb", rgb, 3)
    r, g, b = (255 * rgb).unbind(1)
    opponent = torch.stack([r - g, (r + g) / 2 - b], dim=1)  # (B, 2, H, W)
    mean = opponent.mean((2, 3), keepdim=True)
    spread = torch.linalg.vector_norm(opponent - mean, dim=(1, 2, 3)) / math.sqrt(rgb.shape[2] * rgb.shape[3])
    return spread + 0.3 * torch.linalg.vector_norm(mean, dim=(1, 2, 3))


def mean_chroma(ab: torch.Tensor) -> torch.Tensor:
    """Mean distance from grey in Lab units, (B,), of ab (B, 2, H, W) in (−1, 1). Raises ValueError. Chapter 03."""
    _check("ab", ab, 2)
    return torch.linalg.vector_norm(ab, dim=1).mean((1, 2)) * color.AB_SCALE


def hue_spread(ab: torch.Tensor) -> torch.Tensor:
    """How far a pixel's (a*, b*) lies on average from the line through grey and the picture's mean colour, (B,), in Lab units.

    0 for a toned print, all of one hue. ab: (B, 2, H, W) in (−1, 1). Raises ValueError. Chapter 02.
    """
    _check("ab", ab, 2)
    a, b = (ab.flatten(2) * color.AB_SCALE).unbind(1)  # (B, pixels) each
    u, v = F.normalize(torch.stack([a.mean(1), b.mean(1)]), dim=0, eps=1e-6)[..., None]  # (B, 1) each
    return (a * v - b * u).abs().mean(1)


@torch.no_grad()
def measure(L: torch.Tensor, ab: torch.Tensor, true_ab: torch.Tensor) -> dict[str, torch.Tensor]:
    """Every score of a prediction as it would be shown, each (B,): psnr, ssim, delta_e2000, delta_e76, colorfulness, chroma.

    L: (B, 1, H, W) in [−1, 1]; ab, true_ab: (B, 2, H, W), at least 11 × 11. ab first goes through `color.fit_gamut`; both
    pictures are decoded and clamped, not rounded to 8 bits. ΔE is the mean over pixels; nothing here carries a gradient.
    Raises ValueError for other shapes or dtypes. Chapter 03.
    """
    lab2 = color.code_to_lab(L, true_ab)  # (B, 3, H, W)
    _check_pair("ab", ab, "true_ab", true_ab, 2)
    ab, _ = color.fit_gamut(L, ab)
    lab1 = color.code_to_lab(L, ab)
    rgb, truth = color.lab_to_rgb(lab1).clamp(0, 1), color.lab_to_rgb(lab2).clamp(0, 1)
    return {
        "psnr": psnr(rgb, truth),
        "ssim": ssim(rgb, truth),
        "delta_e2000": delta_e2000(lab1, lab2).mean((1, 2, 3)),
        "delta_e76": delta_e76(lab1, lab2).mean((1, 2, 3)),
        "colorfulness": colorfulness(rgb),
        "chroma": mean_chroma(ab),
    }


def grey(L: torch.Tensor) -> torch.Tensor:
    """The control that does nothing: ab = 0, (B, 2, H, W), for L (B, 1, H, W). Raises ValueError. Chapter 03."""
    color.check("L", L, 1)
    return torch.cat([torch.zeros_like(L)] * 2, dim=1)


class Lookup:
    """The control that sees one pixel: the training set's mean ab at each of 101 levels of L*. Chapter 03.

    On its training set, nothing that looks only at a pixel's own L*, in whole units, has a smaller squared error.
    """

    levels = 101  # L* rounded to whole units; a level never seen in training takes the mean of the whole set

    def __init__(self, table: torch.Tensor):
        self.table = table  # (levels, 2), ab in (−1, 1)

    @classmethod
    def fit(cls, batches: Iterable[Batch]) -> "Lookup":
        """Learn from (L, ab) batches, (B, 1, H, W) and (B, 2, H, W), read once and not kept; raises ValueError if none."""
        count, total = torch.zeros(cls.levels, 1, dtype=torch.float64), torch.zeros(cls.levels, 2, dtype=torch.float64)
        for L, ab in batches:
            color.code_to_lab(L, ab)  # for its checks
            level, ab = cls._level(L).flatten().cpu(), ab.detach().movedim(1, -1).reshape(-1, 2).cpu().double()
            count.index_add_(0, level, torch.ones_like(ab[:, :1]))
            total.index_add_(0, level, ab)
        if not count.any():
            raise ValueError(f"{cls.__name__}.fit needs at least one (L, ab) batch, got none. A generator can be read only once.")
        return cls(torch.where(count > 0, total / count.clamp(min=1), total.sum(0) / count.sum()).float())

    @classmethod
    def _level(cls, L: torch.Tensor) -> torch.Tensor:
        return ((L + 1) / 2 * (cls.levels - 1)).round().clamp(0, cls.levels - 1).long()

    def __call__(self, L: torch.Tensor) -> torch.Tensor:
        """Predict ab (B, 2, H, W) from L (B, 1, H, W) in [−1, 1]; raises ValueError for another shape or dtype."""
        color.check("L", L, 1)
        return self.table.to(L)[self._level(L)[:, 0]].movedim(-1, 1).contiguous()


class MeanAb(Lookup):
    """The control that sees nothing: the training set's mean ab everywhere, a table of one level. Chapter 03."""

    levels = 1


def shuffled(ab: torch.Tensor) -> torch.Tensor:
    """The control with real colours in the wrong places: each picture of ab (B, 2, H, W) takes the one's before it. Chapter 10.

    Taken together the colours are exactly the truth's, which a score of the whole set cannot tell apart. Raises ValueError
    for fewer than two pictures.
    """
    color.check("ab", ab, 2)
    if len(ab) < 2:
        raise ValueError(f"shuffled needs at least two pictures to swap, got shape {tuple(ab.shape)}. Use a larger batch.")
    return ab.roll(1, dims=0)
