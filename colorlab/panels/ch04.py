"""The sliders of chapter 04: how far a pixel sees, and what is lost on the way down and up again."""

import functools

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch.nn import functional as F

from colorlab import color, inference, photos, widgets
from colorlab.panels import panel
from colorlab.unet import UNetConfig
from colorlab.world import ColorWorld

PHOTO = (448, 640)  # rows and columns of the first panel's picture: multiples of every stride that it offers
AT = (208, 208)  # the pixel whose view is drawn
ZOOM, INSET = 5, 48  # the heat around the pixel: 48 × 48 pixels, each drawn as 5 × 5
BOX = (255, 208, 0)
BACK = 24  # the grey level around the pictures


def layers(depth: int, convs: int = 2) -> list[tuple[int, float]]:
    """(kernel, stride) of a `UNet`'s layers along its deepest path, `convs` convolutions a block; upsampling: stride ½."""
    block = [(3, 1.0)] * convs
    return block + ([(2, 2.0)] + block) * depth + ([(1, 0.5)] + block) * depth + [(3, 1.0)]


def side(stack: list[tuple[int, float]]) -> int:
    """Receptive field of a stack of (kernel, stride): r = 1 + Σ (k − 1) · product of the strides before. Chapter 04.

    >>> side(layers(depth=3))
    98
    """
    seen, jump = 1, 1.0
    for kernel, stride in stack:
        seen, jump = seen + (kernel - 1) * jump, jump * stride
    return round(seen)


def weights(depth: int, convs: int, skips: bool) -> int:
    """How many numbers a `UNet` of the default width learns, were its blocks of `convs` convolutions."""
    widths = UNetConfig(depth=depth).widths()
    blocks = [(1, widths[0]), *zip(widths, widths[1:], strict=False)]
    blocks += [(below + here * skips, here) for here, below in zip(widths, widths[1:], strict=False)]
    count = sum(9 * a * b + 9 * (convs - 1) * b * b + 2 * convs * b for a, b in blocks)
    return count + 9 * widths[0] * 2 + 2


@functools.lru_cache(maxsize=64)
def heat(depth: int, convs: int, skips: bool) -> np.ndarray:
    """How strongly each pixel of the input counts for the output's pixel at `AT`, float (H, W), largest 1.

    No learning: every convolution is a mean of 3×3 pixels in one channel, and what a concatenation feeds is the mean of
    its two parts. So every way through the network is separable: down to a level, across its skip, and up again.
    """
    ways = [(level, 0.5 ** min(level + 1, depth)) for level in range(depth + 1)] if skips else [(depth, 1.0)]
    found = np.zeros(PHOTO)
    for level, share in ways:
        rows, columns = (_way(length, at, level, convs, level < depth) for length, at in zip(PHOTO, AT, strict=True))
        found += share * np.outer(rows, columns)
    return found / found.max()


def _way(length: int, at: int, level: int, convs: int, across: bool) -> np.ndarray:
    """The gradient of output pixel `at` by a line of `length` input pixels, on the way that turns round at `level`."""

    def block(x, times=convs):
        for _ in range(times):
            x = F.avg_pool1d(x, 3, 1, padding=1)
        return x

    grey = torch.zeros(1, 1, length, requires_grad=True)
    x = block(grey)
    for _ in range(level):
        x = block(F.avg_pool1d(x, 2))
    x = block(x) if across else x
    for _ in range(level):
        x = block(F.interpolate(x, scale_factor=2.0, mode="nearest"))
    (gradient,) = torch.autograd.grad(block(x, 1)[0, 0, at], grey)
    return gradient[0, 0].numpy()


def half_of(found: np.ndarray) -> int:
    """Side of the square around the pixel at `AT` that holds half of the heat."""
    y, x = AT
    rings = range(min(y, x))
    return next(2 * n + 1 for n in rings if found[y - n : y + n + 1, x - n : x + n + 1].sum() >= found.sum() / 2)


@functools.cache
def _grey_photo() -> np.ndarray:
    """The sample photograph in grey, float (H, W), filled up with its own mirror image to a size that suits."""
    grey = inference.grey_pixels(photos.read(photos.sample("china")).rgb)
    return np.pad(grey, ((0, PHOTO[0] - grey.shape[0]), (0, PHOTO[1] - grey.shape[1])), mode="symmetric").astype(np.float32)


@panel("04.receptive_field")
def receptive_field() -> widgets.Panel:
    """How much of a photograph one pixel of the output sees, and how much each of it counts. Chapter 04."""
    (y, x), near = AT, INSET // 2
    font = ImageFont.load_default(size=17)

    def draw(depth, convs, skips):
        depth, convs = int(depth), int(convs)
        found, seen = heat(depth, convs, bool(skips)), side(layers(depth, convs))
        half, found = half_of(found), np.sqrt(found)[..., None]  # the root, so that faint heat is seen
        left, top, right, bottom = x - seen // 2, y - seen // 2, x - seen // 2 + seen - 1, y - seen // 2 + seen - 1
        shown = 0.5 * _grey_photo()[..., None].repeat(3, 2)
        inside = (slice(max(0, top), bottom + 1), slice(max(0, left), right + 1))
        shown[inside] += 0.45 * _grey_photo()[..., None][inside]
        shown += 0.8 * found * (np.array((255, 120, 0)) - shown)
        canvas = np.full((PHOTO[0], PHOTO[1] + ZOOM * INSET + 20, 3), BACK, np.uint8)
        canvas[:, : PHOTO[1]] = shown.round()
        middle = 255 * found[y - near : y + near, x - near : x + near].repeat(ZOOM, 0).repeat(ZOOM, 1)
        canvas[60 : 60 + ZOOM * INSET, PHOTO[1] + 10 : PHOTO[1] + 10 + ZOOM * INSET] = middle.round()
        image = Image.fromarray(canvas)
        pen = ImageDraw.Draw(image)
        box = (max(0, left), max(0, top), min(PHOTO[1] - 1, right), min(PHOTO[0] - 1, bottom))
        pen.rectangle(box, outline=BOX, width=2)
        pen.rectangle((8, 8, 176, 36), fill=(0, 0, 0))
        pen.text((16, 12), f"frame: {seen} px a side", BOX, font)
        words = (f"the {INSET} px around its middle", "white counts most", "half of it all lies in the", f"middle {half} px")
        for line, row in zip(words, (14, 34, 312, 334), strict=True):
            pen.text((PHOTO[1] + 10, row), line, (255, 255, 255), font)
        return np.asarray(image)

    def numbers(depth, convs, skips):
        depth, convs, skips = int(depth), int(convs), bool(skips)
        seen, half = side(layers(depth, convs)), half_of(heat(depth, convs, skips))
        cut = " (more than this photograph is high)" if seen > PHOTO[0] else ""
        return (
            f"Receptive field: {seen} × {seen} px{cut}. Half of the heat lies in the middle {half} × {half} px. Heights and "
            f"widths: multiples of {2**depth}. Weights at the default width: {weights(depth, convs, skips):,}."
        )

    inset = (slice(60, 60 + ZOOM * INSET), slice(PHOTO[1] + 10, PHOTO[1] + 10 + ZOOM * INSET))
    return widgets.Panel(
        draw,
        {
            "depth": widgets.Slider("depth (halvings)", 1, 5, 3, 1),
            "convs": widgets.Slider("convolutions a block", 1, 3, 2, 1),
            "skips": widgets.Slider("skips", 0, 1, 0, 1, names=("off", "on")),
        },
        "The frame is what the pixel in its middle can see: at which depth does it hold the whole tower? Then switch the skips "
        "on. The frame stays as it is; what happens to the heat, right, and to the number for half of it?",
        "A grey photograph with a frame around the part that its middle pixel sees, and beside it how much each pixel counts.",
        (
            widgets.Effect("depth", "widens the frame", _framed, (1, 2, 3, 4, 5)),
            widgets.Effect("convs", "widens the frame", _framed, (1, 2, 3)),
            widgets.Effect("skips", "gathers the heat in the middle", lambda shown: 255 - shown[inset].mean(), (0, 1)),
        ),
        numbers,
    )


def _framed(shown: np.ndarray) -> int:
    """Area of the frame in the first panel's picture."""
    rows, columns = (shown[40:, : PHOTO[1]] == BOX).all(2).nonzero()
    return int(np.ptp(rows) * np.ptp(columns))


@functools.lru_cache(maxsize=16)
def coarse(depth: int, skips: bool) -> tuple[torch.Tensor, tuple[float, float], np.ndarray]:
    """A ColorWorld scene's true colours, averaged `depth` times and brought up again: ab, its errors, the finished picture.

    With skips the fine grey is at hand: every square gets the straight line from L to ab that fits it best, instead of
    one colour. The errors are mean ΔE76 next to borders, and elsewhere. Nothing is learnt here.
    """
    scene = ColorWorld(size=64, seed=0).sample(1, start=14)
    pool = functools.partial(F.avg_pool2d, kernel_size=2**depth)
    up = functools.partial(F.interpolate, scale_factor=float(2**depth), mode="nearest")
    L, ab = scene.L, scene.ab
    mean_L, mean_ab = pool(L), pool(ab)
    slope = (pool(L * ab) - mean_L * mean_ab) / (pool(L * L) - mean_L**2 + 1e-4) if skips else torch.zeros_like(mean_ab)
    guess = up(mean_ab - slope * mean_L) + up(slope) * L  # (1, 2, 64, 64)
    guess, _ = color.fit_gamut(L, guess)
    number = scene.object[:, None].float()
    border = F.max_pool2d(number, 3, 1, 1) != -F.max_pool2d(-number, 3, 1, 1)
    off = (guess - ab).norm(dim=1, keepdim=True) * color.AB_SCALE
    tiles = [color.decode(L, x).clamp(0, 1) for x in (torch.zeros_like(ab), guess, ab)]
    tiles = [inference.to_pixels(x).repeat(4, 0).repeat(4, 1) for x in tiles]
    return guess, (off[border].mean().item(), off[~border].mean().item()), np.stack(tiles)


@panel("04.skips")
def skips() -> widgets.Panel:
    """Chroma that went down to a coarse grid and came up again, without and with the fine grey beside it. Chapter 04."""
    font = ImageFont.load_default(size=18)

    def draw(depth, skips):
        _, _, tiles = coarse(int(depth), bool(skips))
        canvas = np.full((256 + 40, 3 * 256 + 4 * 10, 3), BACK, np.uint8)
        for n, tile in enumerate(tiles):
            canvas[32 : 32 + 256, 10 + 266 * n : 266 + 266 * n] = tile
        image = Image.fromarray(canvas)
        pen = ImageDraw.Draw(image)
        for n, name in enumerate(("grey", f"{int(depth)} times down, and up", "true")):
            pen.text((12 + 266 * n, 6), name, (255, 255, 255), font)
        return np.asarray(image)

    def numbers(depth, skips):
        _, (border, inside), _ = coarse(int(depth), bool(skips))
        squares = f"{2 ** int(depth)} × {2 ** int(depth)} px"
        return f"Squares of {squares}. Mean ΔE76 to the truth: {border:.1f} next to borders, {inside:.1f} elsewhere."

    def off(shown):  # mean difference between the middle tile and the true one
        tiles = [shown[32 : 32 + 256, 10 + 266 * n : 266 + 266 * n].astype(float) for n in (1, 2)]
        return np.abs(tiles[0] - tiles[1]).mean()

    return widgets.Panel(
        draw,
        {
            "depth": widgets.Slider("depth (halvings)", 1, 5, 3, 1),
            "skips": widgets.Slider("skips", 0, 1, 0, 1, names=("off", "on")),
        },
        "No network here, only averages of the true colours: go deeper and watch the borders' number; then give the fine grey "
        "back, and see how much of the borders returns with it.",
        "A ColorWorld scene three times: grey, with its true colours averaged over squares, and true.",
        (
            widgets.Effect("depth", "takes the picture away from the truth", off, (1, 2, 3, 4, 5)),
            widgets.Effect("skips", "brings the picture nearer to the truth", lambda shown: -off(shown), (0, 1)),
        ),
        numbers,
    )
