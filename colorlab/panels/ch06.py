"""The sliders of chapter 06: what one logit sees, where a map points, what grey is worth, and a mean that is taken too early."""

import functools
import math

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from colorlab import color, inference, losses, metrics, widgets
from colorlab.panels import panel
from colorlab.patchgan import PatchGAN, PatchGANConfig, receptive_field
from colorlab.world import KINDS, ColorWorld

SIZE = 64  # of the scenes
SCALE, MARGIN = 5, 24  # of the first panel: screen pixels for each, and pixels around the scene, where patches reach out
BOX, HOT, COOL = (255, 208, 0), (255, 96, 48), (72, 176, 255)
BACK, WHITE = 24, (255, 255, 255)  # the grey level around the pictures, and the colour of words


def box(number: int, layers: int) -> tuple[int, int]:
    """First and last pixel, along one side, of the patch that logit `number` sees; outside the picture they count on.

    >>> box(0, layers=2), box(1, layers=2)
    ((-11, 22), (-7, 26))
    """
    first = 2**layers * number - 3 * 2**layers + 1
    return first, first + receptive_field(layers) - 1


def inside(number: int, layers: int, size: int = SIZE) -> float:
    """Share of the side of that patch which lies in a picture of `size` pixels."""
    first, last = box(number, layers)
    return (min(last, size - 1) - max(first, 0) + 1) / (last - first + 1)


@functools.cache
def energy(layers: int, nets: int = 8) -> Tensor:
    """The squared gradient of one logit by each pixel of its patch (side, side), summed over untrained discriminators."""
    side, step = receptive_field(layers), 2**layers
    number = 3 if layers == 1 else 4  # far enough from the border that its patch lies within
    size = -(-(box(number, layers)[1] + 1) // step) * step + 3 * step
    total = torch.zeros(side, side)
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        for seed in range(nets):
            torch.manual_seed(seed)
            picture = [torch.rand(1, channels, size, size).sub(0.5).requires_grad_() for channels in (1, 2)]
            logit = PatchGAN(PatchGANConfig(width=8, layers=layers)).eval()(*picture)[0, 0, number, number]
            first, last = box(number, layers)
            for gradient in torch.autograd.grad(logit, picture):
                total += gradient.square().sum((0, 1))[first : last + 1, first : last + 1]
    return total


def holds(share: float, layers: int) -> int:
    """Side of the square in the middle of the patch that holds this share of the gradient's energy."""
    found = energy(layers)
    side = len(found)
    cuts = range(side // 2 - 1, -1, -1)
    return next(side - 2 * n for n in cuts if found[n : side - n, n : side - n].sum() >= share * found.sum())


@functools.cache
def _scene(start: int = 12) -> tuple[Tensor, Tensor, Tensor]:
    """A scene with balloons: L, ab, and where its balloons are."""
    scene = ColorWorld(SIZE, seed=0).sample(1, start=start)
    return scene.L, scene.ab, (scene.kind == KINDS.index("balloon"))[:, None]


def _pixels(L: Tensor, ab: Tensor, scale: int) -> np.ndarray:
    shown = color.decode(L, color.fit_gamut(L, ab)[0]).clamp(0, 1)
    return inference.to_pixels(shown).repeat(scale, 0).repeat(scale, 1)


def _map(logits: Tensor, layers: int, scale: int) -> np.ndarray:
    """A map of logits (1, 1, h, w) as pixels: white where real, black where not, each in the middle of its patch."""
    cells = torch.sigmoid(logits[0, 0]).numpy().repeat(2**layers * scale, 0).repeat(2**layers * scale, 1)
    return np.pad((255 * cells).round().astype(np.uint8), 2**layers * scale, constant_values=BACK)[..., None].repeat(3, 2)


@panel("06.patch")
def patch() -> widgets.Panel:
    """The patch that one logit sees, over a scene and the padding around it, and how much each pixel counts. Chapter 06."""
    L, ab, _ = _scene()
    side = (SIZE + 2 * MARGIN) * SCALE
    plain = np.full((side, side, 3), BACK, np.uint8)
    plain[MARGIN * SCALE : -MARGIN * SCALE, MARGIN * SCALE : -MARGIN * SCALE] = _pixels(L, ab, SCALE)
    for layers in (1, 2, 3):
        energy(layers)  # kept: a slider should not wait for it

    def place(layers, across, down):
        last = SIZE // 2**layers - 3  # the number of the last logit in a row
        return tuple(round(at / 100 * last) for at in (across, down))

    def draw(layers, across, down):
        layers = int(layers)
        (left, right), (top, bottom) = (box(n, layers) for n in place(layers, across, down))
        heat = energy(layers).sqrt()
        heat = (heat / heat.max()).numpy().repeat(SCALE, 0).repeat(SCALE, 1)[..., None]
        shown = 0.6 * plain.astype(np.float32)
        rows, columns = (slice((a + MARGIN) * SCALE, (b + 1 + MARGIN) * SCALE) for a, b in ((top, bottom), (left, right)))
        part = plain[rows, columns]
        shown[rows, columns] = part + 0.75 * heat * (np.array(HOT) - part)
        image = Image.fromarray(shown.round().astype(np.uint8))
        frame = (columns.start, rows.start, columns.stop - 1, rows.stop - 1)
        ImageDraw.Draw(image).rectangle(frame, outline=BOX, width=2)
        return np.asarray(image)

    def numbers(layers, across, down):
        layers = int(layers)
        count, (column, row) = SIZE // 2**layers - 2, place(layers, across, down)
        out = 1 - inside(column, layers) * inside(row, layers)
        return (
            f"Logit ({row}, {column}) of a map of {count} × {count}. Its patch: {receptive_field(layers)} × "
            f"{receptive_field(layers)} px, {100 * out:.0f} % of it outside the picture. Untrained, the middle "
            f"{holds(0.5, layers)} px hold half of the gradient's energy, the middle {holds(0.95, layers)} px 95 %."
        )

    def frame(shown):
        return (shown == BOX).all(2).nonzero()

    def area(shown):
        rows, columns = frame(shown)
        return int(np.ptp(rows) * np.ptp(columns))

    return widgets.Panel(
        draw,
        {
            "layers": widgets.Slider("strided layers", 1, 3, 2, 1),
            "across": widgets.Slider("the logit, across (%)", 0, 100, 40, 5),
            "down": widgets.Slider("the logit, down (%)", 0, 100, 40, 5),
        },
        "The frame is the patch of one logit; the dark rim is padding. How far can you move a logit of three strided layers "
        "before padding is more than half of what it sees?",
        "A ColorWorld scene with a dark rim of padding, and a frame around the patch that one logit sees, hot where it counts.",
        (
            widgets.Effect("layers", "widens the patch", area, (1, 2, 3)),
            widgets.Effect("across", "moves the patch to the right", lambda shown: frame(shown)[1].mean(), (0, 25, 50, 75, 100)),
            widgets.Effect("down", "moves the patch down", lambda shown: frame(shown)[0].mean(), (0, 25, 50, 75, 100)),
        ),
        numbers,
    )


@functools.cache
def _lessons() -> tuple[Tensor, Tensor, Tensor]:
    """Scenes to train on: L, ab, and where the balloons are."""
    scenes = ColorWorld(SIZE, seed=0).sample(256)
    return scenes.L, scenes.ab, (scenes.kind == KINDS.index("balloon"))[:, None]


def _ochre(ab: Tensor, where: Tensor, share: float = 1.0) -> Tensor:
    """Colours in which the balloons are `share` of the way to ochre, L1's answer."""
    ochre = torch.tensor(ColorWorld(16).median("balloon")).view(1, 2, 1, 1) / color.AB_SCALE
    return torch.where(where, torch.lerp(ab, ochre, share), ab)


@functools.cache
def taught(task: str) -> PatchGAN:
    """A small discriminator after a few seconds: "ochre" finds L1's balloons, the others another scene's colours."""
    (L, ab, where), layers = _lessons(), 1 if task == "ochre" else 2
    false = _ochre(ab, where) if task == "ochre" else metrics.shuffled(ab)
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(0)
        judge = PatchGAN(PatchGANConfig(width=8, layers=layers))
        optimizer = torch.optim.Adam(judge.parameters(), lr=3e-3, betas=(0.5, 0.99))
        for _ in range(80 if task == "ochre" else 150):
            pick = torch.randint(len(L), (16,))
            grey = torch.zeros_like(L[pick]) if task == "blind" else L[pick]
            loss = losses.BCE.discriminator(judge(grey, ab[pick]), judge(grey, false[pick]))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return judge.eval()


def _signed(value: Tensor) -> str:
    """Two digits with a sign, and never −0.00."""
    return f"{round(float(value), 2) + 0.0:+.2f}"


def _tiles(items: dict[str, np.ndarray]) -> np.ndarray:
    """Pictures of one size side by side, each under its name."""
    font, side = ImageFont.load_default(size=16), len(next(iter(items.values())))
    image = Image.new("RGB", (len(items) * (side + 10) + 10, side + 40), (BACK,) * 3)
    for n, (name, tile) in enumerate(items.items()):
        image.paste(Image.fromarray(tile), (10 + n * (side + 10), 30))
        ImageDraw.Draw(image).text((12 + n * (side + 10), 6), name, WHITE, font)
    return np.asarray(image)


def _darkness(number: int, side: int = 4 * SIZE):
    """How dark the tile of this number is, of a picture that `_tiles` made."""
    left = 10 + number * (side + 10)
    return lambda shown: 255 - shown[30 : 30 + side, left : left + side].mean()


@panel("06.fault")
def fault(judge: PatchGAN | None = None) -> widgets.Panel:
    """Balloons that turn to ochre, and the map of a discriminator that learnt to find such. Chapter 06."""
    (L, ab, where), judge = _scene(), judge or taught("ochre")

    def logits(share):
        with torch.no_grad():
            return judge(L, _ochre(ab, where, share / 100))

    def draw(share):
        shown = _pixels(L, _ochre(ab, where, share / 100), 4)
        return _tiles({"colours": shown, "real (white) or not (black)": _map(logits(share), judge.config.layers, 4)})

    def numbers(share):
        found = logits(share)
        return (
            f"Mean of the map's {found.numel()} logits: {found.mean():+.2f}. Lowest: {found.min():+.1f}, a probability of "
            f"{torch.sigmoid(found.min()):.3f} of being real. Below 0: {100 * (found < 0).float().mean():.0f} % of the map."
        )

    return widgets.Panel(
        draw,
        {"share": widgets.Slider("balloons, from true to ochre (%)", 0, 100, 100, 5)},
        "Turn the balloons from their true colours to ochre. Where does the map darken, and is it the whole map or a part?",
        "A ColorWorld scene whose balloons turn to ochre, and beside it the map of verdicts, dark around the balloons.",
        (widgets.Effect("share", "darkens the map", _darkness(1), (0, 50, 100)),),
        numbers,
    )


@panel("06.blend")
def blend(given_grey: PatchGAN | None = None, blind: PatchGAN | None = None) -> widgets.Panel:
    """The grey of one scene turns into another's under colours that stay, before two discriminators. Chapter 06."""
    (L, ab, _), (other, _, _) = _scene(), _scene(21)
    judges = {"given grey": given_grey or taught("given grey"), "blind": blind or taught("blind")}

    @functools.lru_cache(maxsize=128)
    def logits(share):
        grey = torch.lerp(L, other, share / 100)
        with torch.no_grad():
            return [judge(grey if name == "given grey" else torch.zeros_like(grey), ab) for name, judge in judges.items()]

    def draw(share):
        grey = torch.lerp(L, other, share / 100)
        tiles = {"the grey": _pixels(grey, metrics.grey(grey), 4), "with the colours": _pixels(grey, ab, 4)}
        for (name, judge), found in zip(judges.items(), logits(share), strict=True):
            tiles[f"{name}: {_signed(found.mean())}"] = _map(found, judge.config.layers, 4)
        return _tiles(tiles)

    def numbers(share):
        one, two = (found.mean() for found in logits(share))
        return f"Mean logit, given the grey: {_signed(one)}; blind: {_signed(two)}. Above 0 is real."

    return widgets.Panel(
        draw,
        {"share": widgets.Slider("the grey of another scene (%)", 0, 100, 0, 5)},
        "The colours stay, the grey turns into another scene's. Whose verdict falls, where first, and whose stays?",
        "A scene in grey and with its colours, and two maps: one darkens as the grey turns, the other stays.",
        (widgets.Effect("share", "darkens the map of the one that is given the grey", _darkness(2), (0, 50, 100)),),
        numbers,
    )


@panel("06.mean")
def mean() -> widgets.Panel:
    """Two patches, one right and one wrong: the mean of their losses, and the loss of their mean. Chapter 06."""
    wide, high, reach, top = 640, 360, 10.0, 10.5  # pixels; logits left and right; the highest loss
    font = ImageFont.load_default(size=16)

    def at(x, y):  # of a logit and a loss, in pixels
        return 20 + (x + reach) / (2 * reach) * (wide - 40), high - 30 - y / top * (high - 60)

    def loss(x):  # of a true pair
        return math.log1p(math.exp(-x))

    def draw(middle, spread):
        image = Image.new("RGB", (wide, high), (BACK,) * 3)
        pen = ImageDraw.Draw(image)
        pen.line([*at(-reach, 0), *at(reach, 0)], fill=(110,) * 3)
        pen.line([*at(0, 0), *at(0, top)], fill=(110,) * 3)
        pen.line([at(x / 10 - reach, loss(x / 10 - reach)) for x in range(int(20 * reach) + 1)], fill=WHITE, width=2)
        ends = [(x, loss(x)) for x in (middle - spread, middle + spread)]
        pen.line([at(*end) for end in ends], fill=HOT, width=1)
        dots = [(end, WHITE, 4) for end in ends]
        dots += [((middle, sum(y for _, y in ends) / 2), HOT, 7), ((middle, loss(middle)), COOL, 7)]
        for place, fill, r in dots:
            x, y = at(*place)
            pen.ellipse((x - r, y - r, x + r, y + r), fill=fill)
        words = (("mean of the losses", HOT), ("loss of the mean", COOL), ("white: a patch's loss, by its logit", WHITE))
        for n, (line, fill) in enumerate(words):
            pen.text((wide - 270, 14 + 22 * n), line, fill, font)
        return np.asarray(image)

    def numbers(middle, spread):
        one, two = loss(middle - spread), loss(middle + spread)
        return (
            f"Logits {middle - spread:+.1f} and {middle + spread:+.1f}, losses {one:.2f} and {two:.2f}. Mean of the losses: "
            f"{(one + two) / 2:.2f}. Loss of the mean logit, {middle:+.1f}: {loss(middle):.2f}."
        )

    def dot(fill, axis):  # the middle row or column of the dot of that colour
        def measure(shown):
            return (shown[90:] == fill).all(2).nonzero()[axis].mean()

        return measure

    return widgets.Panel(
        draw,
        {
            "middle": widgets.Slider("mean logit of the two patches", -3, 3, 0, 0.5),
            "spread": widgets.Slider("each is that far from it", 0, 5, 3, 0.5),
        },
        "Two patches of a true pair. Spread them: their mean stays, and so does its loss. What does the mean of their losses do?",
        "The loss of a patch over its logit, bent upwards; two patches on it; the mean of their losses; the loss of their mean.",
        (
            widgets.Effect("middle", "moves both patches to the right", dot(COOL, 1), (-3, -1, 1, 3)),
            widgets.Effect("spread", "raises the mean of the losses", lambda shown: -dot(HOT, 0)(shown), (1, 2, 3, 4, 5)),
        ),
        numbers,
    )
