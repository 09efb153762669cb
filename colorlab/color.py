"""sRGB ↔ CIE L*a*b* on batched tensors, the encoding the networks see, and the sRGB gamut.

Knows only torch. Everything is differentiable, with finite gradients at black and white, in float32 and
float64, on any device. `decode` does not clip: a colour that no screen can show comes out as a value
outside [0, 1], and `fit_gamut` is the way back.

>>> import torch
>>> grey = torch.full((1, 3, 1, 1), 128 / 255)
>>> round(rgb_to_lab(grey)[0, 0, 0, 0].item(), 1)      # L* is not a percentage of the sRGB value
53.6
"""

from collections.abc import Callable

import torch

L_SCALE = 50.0  # L = L*/50 − 1 lies in [−1, 1]
AB_SCALE = 110.0  # ab = (a*, b*)/110 lies in (−1, 1): the sRGB gamut ends at |b*| = 107.86 (blue)
TOLERANCE = 1e-4  # how far outside [0, 1] an sRGB value may lie and still count as in gamut
PIECE = 2**15  # pixels converted at once on a CPU, where they and all intermediate results fit the cache

# Linear sRGB → XYZ for D65, six digits, and the D65 white of the 2° observer: the values scikit-image uses
# (IEC 61966-2-1 prints four digits, which differ by up to 0.02 Lab units).
_XYZ_FROM_RGB = (
    (0.412453, 0.357580, 0.180423),
    (0.212671, 0.715160, 0.072169),
    (0.019334, 0.119193, 0.950227),
)
_WHITE = (0.95047, 1.0, 1.08883)
_DELTA = 6 / 29  # CIE 15: where L*'s cube root gives way to a straight line


def check(name: str, x: torch.Tensor, channels: int) -> None:
    """Raise ValueError unless x is a float32 or float64 tensor of shape (B, channels, H, W)."""
    if not isinstance(x, torch.Tensor) or x.ndim != 4 or x.shape[1] != channels or x.dtype not in (torch.float32, torch.float64):
        got = f"{x.dtype} of shape {tuple(x.shape)}" if isinstance(x, torch.Tensor) else type(x).__name__
        raise ValueError(
            f"{name} must be a float32 or float64 tensor of shape (B, {channels}, H, W), got {got}. "
            "Add a batch dimension with x[None]; bring 8-bit pixels into range with x.float() / 255."
        )


def _matrix(x: torch.Tensor, inverse: bool = False) -> torch.Tensor:
    """Linear sRGB → XYZ relative to white, (3, 3), in x's dtype; the inverse is computed, never typed in."""
    m = torch.tensor(_XYZ_FROM_RGB, dtype=torch.float64) / torch.tensor(_WHITE, dtype=torch.float64)[:, None]
    return (torch.linalg.inv(m) if inverse else m).to(x)


def _in_pieces(convert: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """convert(x) for a pixelwise conversion of (B, 3, H, W), on a CPU a piece at a time; whole where gradients are wanted."""
    if x.device.type != "cpu" or x.shape[2] * x.shape[3] * x.shape[0] <= PIECE or (x.requires_grad and torch.is_grad_enabled()):
        return convert(x)
    out = torch.empty(x.shape, dtype=x.dtype)
    for source, target in zip(x.flatten(2), out.flatten(2), strict=True):  # one picture, (3, H·W)
        for piece, place in zip(source.split(PIECE, 1), target.split(PIECE, 1), strict=True):
            place.copy_(convert(piece[None, :, None])[0, :, 0])
    return out


def _mix(matrix: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Apply a (3, 3) matrix to the channels of x, (B, 3, H, W).

    Sums, not a matrix product: autocast would round that to bfloat16, up to 3 Lab units off, and a GPU perhaps to TF32.
    """
    first, second, third = x.unbind(1)
    return torch.stack([i * first + j * second + k * third for i, j, k in matrix], dim=1)


def srgb_to_linear(rgb: torch.Tensor) -> torch.Tensor:
    """Undo the sRGB transfer curve (IEC 61966-2-1), any shape. Chapter 01.

    The pow never sees a value below the knee, so that its gradient stays finite there.
    """
    return torch.where(rgb > 0.04045, ((rgb.clamp(min=0.04045) + 0.055) / 1.055) ** 2.4, rgb / 12.92)


def linear_to_srgb(linear: torch.Tensor) -> torch.Tensor:
    """Apply the sRGB transfer curve (IEC 61966-2-1), any shape; does not clip. Chapter 01."""
    return torch.where(linear > 0.0031308, 1.055 * linear.clamp(min=0.0031308) ** (1 / 2.4) - 0.055, 12.92 * linear)


def rgb_to_lab(rgb: torch.Tensor) -> torch.Tensor:
    """sRGB (B, 3, H, W) in [0, 1] → CIE L*a*b* (B, 3, H, W): L* in [0, 100], a* and b* in about ±108.

    Raises ValueError for another shape or dtype. Source: CIE 15:2004, D65, 2° observer. Chapter 01.
    """
    check("rgb", rgb, 3)
    return _in_pieces(_rgb_to_lab, rgb)


def _rgb_to_lab(rgb: torch.Tensor) -> torch.Tensor:
    xyz = _mix(_matrix(rgb), srgb_to_linear(rgb))  # (B, 3, H, W), white is (1, 1, 1)
    f = torch.where(xyz > _DELTA**3, xyz.clamp(min=_DELTA**3) ** (1 / 3), xyz / (3 * _DELTA**2) + 4 / 29)
    fx, fy, fz = f.unbind(1)
    return torch.stack([116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)], dim=1)


def lab_to_rgb(lab: torch.Tensor) -> torch.Tensor:
    """CIE L*a*b* (B, 3, H, W) → sRGB (B, 3, H, W). In gamut means [0, 1]; nothing is clipped.

    Raises ValueError for another shape or dtype. The inverse of `rgb_to_lab`. Chapter 01.
    """
    check("lab", lab, 3)
    return _in_pieces(_lab_to_rgb, lab)


def _lab_to_rgb(lab: torch.Tensor) -> torch.Tensor:
    L, a, b = lab.unbind(1)
    fy = (L + 16) / 116
    f = torch.stack([fy + a / 500, fy, fy - b / 200], dim=1)  # (B, 3, H, W)
    xyz = torch.where(f > _DELTA, f**3, 3 * _DELTA**2 * (f - 4 / 29))
    return linear_to_srgb(_mix(_matrix(lab, inverse=True), xyz))


def lab_to_code(lab: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """CIE L*a*b* (B, 3, H, W) → what the networks see: L (B, 1, H, W) in [−1, 1], ab (B, 2, H, W) in (−1, 1)."""
    check("lab", lab, 3)
    return lab[:, :1] / L_SCALE - 1, lab[:, 1:] / AB_SCALE


def code_to_lab(L: torch.Tensor, ab: torch.Tensor) -> torch.Tensor:
    """What the networks see, L (B, 1, H, W) and ab (B, 2, H, W) → CIE L*a*b* (B, 3, H, W). Raises ValueError."""
    check("L", L, 1)
    check("ab", ab, 2)
    if L.shape[0] != ab.shape[0] or L.shape[2:] != ab.shape[2:]:
        raise ValueError(f"L and ab must have the same batch and picture size, got {tuple(L.shape)} and {tuple(ab.shape)}.")
    return torch.cat([(L + 1) * L_SCALE, ab * AB_SCALE], dim=1)


def encode(rgb: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """sRGB (B, 3, H, W) in [0, 1] → (L, ab): (B, 1, H, W) in [−1, 1] and (B, 2, H, W) in (−1, 1). Chapter 01."""
    return lab_to_code(rgb_to_lab(rgb))


def decode(L: torch.Tensor, ab: torch.Tensor) -> torch.Tensor:
    """(L, ab) → sRGB (B, 3, H, W), in [0, 1] where the colour exists and outside where it does not. Chapter 01."""
    return lab_to_rgb(code_to_lab(L, ab))


def fit_gamut(L: torch.Tensor, ab: torch.Tensor) -> tuple[torch.Tensor, float]:
    """Lower chroma, at constant L* and hue, until every colour exists in sRGB; returns (ab, share touched).

    L: (B, 1, H, W) in [−1, 1]; ab: (B, 2, H, W). A colour within 1e-4 of [0, 1] is returned unchanged, so the
    share is 0 for anything that was ever an sRGB picture. Bisection along the ray to grey; only next to pure yellow,
    where a ray leaves the gamut and touches it again, can there be a more vivid answer than the one found. Chapter 01.
    """
    out = _outside(decode(L, ab))  # (B, 1, H, W)
    count = int(out.sum())
    if not count:
        return ab, 0.0
    light = L[out].view(1, 1, -1, 1)  # only the pixels that need it: (1, 1, N, 1)
    chroma = ab.movedim(1, -1)[out[:, 0]].T.reshape(1, 2, -1, 1)
    low, high = torch.zeros_like(light), torch.ones_like(light)  # low is always in gamut, high never
    for _ in range(16):
        middle = (low + high) / 2
        outside = _outside(decode(light, chroma.detach() * middle))
        low, high = torch.where(outside, low, middle), torch.where(outside, middle, high)
    fitted = ab.clone()
    fitted.movedim(1, -1)[out[:, 0]] = (chroma * low).view(2, -1).T
    return fitted, count / out.numel()


def _outside(rgb: torch.Tensor) -> torch.Tensor:
    """Where a colour does not exist in sRGB: bool (B, 1, H, W)."""
    return ((rgb < -TOLERANCE) | (rgb > 1 + TOLERANCE)).any(1, keepdim=True)
