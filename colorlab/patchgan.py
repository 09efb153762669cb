"""The discriminator: a PatchGAN that judges colour given the grey, one logit for each patch. Knows only torch."""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm


@dataclass(frozen=True)
class PatchGANConfig:
    """Size and shape of a `PatchGAN`."""

    width: int = 64  # channels after the first convolution; doubled at each one, up to 8 times
    layers: int = 2  # strided convolutions: 1, 2, 3 give patches of 16, 34, 70 pixels
    spectral: bool = True  # spectral norm: keeps the discriminator's slope, and so the generator's gradient, bounded

    def __post_init__(self):
        if self.width < 1 or self.layers < 1:
            raise ValueError(f"PatchGANConfig needs width >= 1 and layers >= 1, got {self}.")


def receptive_field(layers: int) -> int:
    """Side, in pixels, of the patch that one logit sees: 16, 34, 70 for 1, 2, 3 strided layers. Chapter 06.

    Counted from the logit back: a 4×4 convolution of stride s turns a side of n into s·(n − 1) + 4.

    >>> [receptive_field(layers) for layers in (1, 2, 3)]
    [16, 34, 70]
    """
    side = 1
    for stride in [1, 1] + [2] * layers:
        side = stride * (side - 1) + 4
    return side


class PatchGAN(nn.Module):
    """Conditional PatchGAN (Isola et al. 2017): L (B, 1, H, W), ab (B, 2, H, W) → logits (B, 1, h, w). Chapter 06.

    Spectral norm after Miyato et al. 2018, and no other normalisation. Raises ValueError for a picture smaller
    than it can judge.
    """

    def __init__(self, config: PatchGANConfig = PatchGANConfig()):
        super().__init__()
        self.config = config
        widths = [3] + [config.width * min(2**n, 8) for n in range(config.layers + 1)]
        layers = []
        for n, (a, b) in enumerate(zip(widths, widths[1:], strict=False)):
            layers += [self._conv(a, b, stride=2 if n < config.layers else 1), nn.LeakyReLU(0.2)]
        self.net = nn.Sequential(*layers, self._conv(widths[-1], 1, stride=1))

    def _conv(self, a: int, b: int, stride: int) -> nn.Module:
        conv = nn.Conv2d(a, b, 4, stride, padding=1)
        return spectral_norm(conv) if self.config.spectral else conv

    def forward(self, L: torch.Tensor, ab: torch.Tensor) -> torch.Tensor:
        if L.ndim != 4 or L.shape[1] != 1 or ab.shape != (L.shape[0], 2, *L.shape[2:]):
            got = f"{tuple(L.shape)} and {tuple(ab.shape)}"
            raise ValueError(f"The discriminator takes L (B, 1, H, W) and ab (B, 2, H, W), got {got}.")
        smallest = 3 * 2**self.config.layers
        if min(L.shape[2:]) < smallest:
            raise ValueError(f"This discriminator needs pictures of at least {smallest} pixels a side, got {tuple(L.shape[2:])}.")
        return self.net(torch.cat([L, ab], dim=1)).to(L.dtype)  # (B, 3, H, W) → (B, 1, h, w)
