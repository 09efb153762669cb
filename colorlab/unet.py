"""The generator: a U-Net that is given L and predicts ab. Knows only torch.

GroupNorm, never BatchNorm: what one picture gets does not depend on the others in its batch. The network can
work at half size, since chroma needs fewer pixels than luminance: L enters through a pixel-unshuffle that turns
every 2×2 pixels into four channels, and the predicted chroma is brought back up at the end.
"""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F


@dataclass(frozen=True)
class UNetConfig:
    """Size and shape of a `UNet`. The default trains in seconds on a CPU; `FULL` is the one that ships."""

    width: int = 32  # channels at the first level; doubled at every level below it …
    max_width: int = 256  # … up to this many
    depth: int = 3  # how many times the picture is halved on the way down
    half: bool = False  # work at half the picture's size: four times less to compute
    skips: bool = True  # hand each encoder level to its decoder level; chapter 04 turns this off

    def __post_init__(self):
        if self.width < 8 or self.width % 8 or self.max_width < self.width or self.max_width % 8 or self.depth < 1:
            raise ValueError(
                f"UNetConfig needs width and max_width in multiples of 8 with width <= max_width, and depth >= 1, got {self}."
            )

    def widths(self) -> list[int]:
        """Channels at each level, from the picture down: depth + 1 numbers."""
        return [min(self.width * 2**level, self.max_width) for level in range(self.depth + 1)]


FULL = UNetConfig(width=48, max_width=384, depth=4, half=True)  # 11 M parameters, 22 MB in half precision


def block(in_channels: int, out_channels: int) -> nn.Sequential:
    """Two 3×3 convolutions, each followed by GroupNorm (Wu & He 2018) and SiLU; keeps height and width."""
    layers = []
    for channels in (in_channels, out_channels):
        layers += [
            nn.Conv2d(channels, out_channels, 3, padding=1, bias=False),  # GroupNorm brings its own bias
            nn.GroupNorm(out_channels // 8, out_channels),
            nn.SiLU(),
        ]
    return nn.Sequential(*layers)


class UNet(nn.Module):
    """U-Net (Ronneberger et al. 2015), L (B, 1, H, W) in [−1, 1] → ab (B, 2, H, W) in (−1, 1). Chapter 04.

    H and W must be multiples of `stride`; anything else is a ValueError.
    """

    def __init__(self, config: UNetConfig = UNetConfig()):
        super().__init__()
        self.config = config
        self.stride = 2**config.depth * (2 if config.half else 1)
        widths = config.widths()
        self.stem = block(4 if config.half else 1, widths[0])
        self.down = nn.ModuleList(block(a, b) for a, b in zip(widths, widths[1:], strict=False))
        self.up = nn.ModuleList(
            block(below + (here if config.skips else 0), here)
            for here, below in zip(reversed(widths[:-1]), reversed(widths[1:]), strict=True)
        )
        self.head = nn.Conv2d(widths[0], 2, 3, padding=1)

    def forward(self, L: torch.Tensor) -> torch.Tensor:
        check_size(L, self.stride)
        x = self.stem(F.pixel_unshuffle(L, 2) if self.config.half else L)  # (B, width, H, W), or H/2, W/2
        levels = [x]
        for down in self.down:
            levels.append(down(F.avg_pool2d(levels[-1], 2)))  # half the size, twice the channels
        x = levels.pop()
        for up in self.up:
            skip = levels.pop()
            x = F.interpolate(x, scale_factor=2.0, mode="nearest")  # (B, below, h, w)
            x = up(torch.cat([x, skip], dim=1) if self.config.skips else x)  # (B, below + here, h, w) → (B, here, h, w)
        ab = torch.tanh(self.head(x).to(L.dtype))  # back from autocast: chroma keeps full precision
        return F.interpolate(ab, scale_factor=2.0, mode="bilinear") if self.config.half else ab


def check_size(L: torch.Tensor, stride: int) -> None:
    """Raise ValueError unless L is (B, 1, H, W) with H and W multiples of `stride`."""
    if L.ndim != 4 or L.shape[1] != 1:
        raise ValueError(f"The generator takes L of shape (B, 1, H, W), got {tuple(L.shape)}.")
    height, width = L.shape[2:]
    if height % stride or width % stride or not height or not width:
        raise ValueError(
            f"This generator takes heights and widths that are multiples of {stride}, got {height}×{width}. "
            "Resize or pad the picture first; colorlab.colorize does so for you."
        )
