"""The sliders of chapter 01: a slice through Lab, a mixer of its three channels, and two ways back into the gamut."""

import functools
import math

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from colorlab import color, metrics, photos, widgets
from colorlab.panels import panel
from colorlab.widgets import Effect, Slider

PAGE, INK = (238, 238, 238), (30, 30, 30)
HATCH = (150, 162)  # the two greys of the stripes that stand for "no such sRGB colour"
FONT = ImageFont.load_default(20)


def to_bytes(rgb: torch.Tensor) -> np.ndarray:
    """sRGB (1, 3, H, W) → an 8-bit picture (H, W, 3), every channel clipped to [0, 1]."""
    return (rgb[0].clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()


def to_lab(picture: np.ndarray) -> torch.Tensor:
    """An 8-bit picture (H, W, 3) → L*a*b* (3, H, W)."""
    return color.rgb_to_lab(torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].float() / 255)[0]


def one(lightness: float, a: float, b: float) -> torch.Tensor:
    """One colour as L*a*b*, (1, 3, 1, 1)."""
    return torch.tensor([lightness, a, b], dtype=torch.float32).view(1, 3, 1, 1)


def exists(rgb: torch.Tensor) -> torch.Tensor:
    """Where a colour lies in the sRGB gamut: bool (1, H, W), of rgb (1, 3, H, W)."""
    return ((rgb >= -color.TOLERANCE) & (rgb <= 1 + color.TOLERANCE)).all(1)


def fitted(lab: torch.Tensor) -> torch.Tensor:
    """L*a*b* (1, 3, H, W) with its chroma lowered until it exists."""
    L, ab = color.lab_to_code(lab)
    return color.code_to_lab(L, color.fit_gamut(L, ab)[0])


def hatched(height: int, width: int) -> np.ndarray:
    """Grey stripes, (height, width, 3): no colour stands here."""
    y, x = np.mgrid[:height, :width]
    return np.repeat(np.array(HATCH, np.uint8)[(x + y) // 6 % 2][..., None], 3, axis=2)


def shift(lab: torch.Tensor, asked: torch.Tensor) -> tuple[float, float]:
    """How far one colour moved: L* (signed) and hue in degrees (unsigned, 0 where either is grey)."""
    (L1, *ab1), (L2, *ab2) = lab.flatten().tolist(), asked.flatten().tolist()
    turn = math.degrees(math.atan2(*ab1) - math.atan2(*ab2))
    return L1 - L2, abs((turn + 180) % 360 - 180) if min(math.hypot(*ab1), math.hypot(*ab2)) > 0.5 else 0.0


# 01.lab_slice

SIDE, LEFT, TOP = 400, 62, 40  # the plane in the picture: each of 200 × 200 colours takes 2 × 2 pixels, and 1.1 Lab units
LINE = np.linspace(-color.AB_SCALE, color.AB_SCALE, SIDE // 2, dtype=np.float32)
PLANE = torch.from_numpy(np.stack(np.meshgrid(LINE, -LINE)))[None]  # (1, 2, 200, 200): a* to the right, b* up
MARK = (255, 255, 255)


def place(a: float, b: float) -> tuple[int, int]:
    """Where (a*, b*) lies in the picture: x, y."""
    return round(LEFT + (a / 220 + 0.5) * (SIDE - 1)), round(TOP + (0.5 - b / 220) * (SIDE - 1))


@functools.lru_cache(maxsize=1)
def slice_rgb(lightness: float) -> torch.Tensor:
    """The plane of all (a*, b*) at one L*, unclipped sRGB (1, 3, 200, 200)."""
    return color.lab_to_rgb(torch.cat([torch.full_like(PLANE[:, :1], lightness), PLANE], dim=1))


def filled(picture: np.ndarray) -> np.ndarray:
    """Where the plane holds a colour, bool (SIDE, SIDE): neither stripes nor the cross."""
    return ~np.isin(picture[TOP : TOP + SIDE, LEFT : LEFT + SIDE], (*HATCH, 0, 255)).all(axis=2)


def draw_slice(lightness: float, a: float, b: float) -> np.ndarray:
    """The slice of the sRGB gamut at one L*, with one colour marked and shown large."""
    rgb = slice_rgb(lightness)
    page = np.full((480, 640, 3), PAGE, np.uint8)
    shown, inside = (np.kron(x, np.ones((2, 2, 1), np.uint8)) for x in (to_bytes(rgb), exists(rgb)[0, ..., None].byte().numpy()))
    page[TOP : TOP + SIDE, LEFT : LEFT + SIDE] = np.where(inside, shown, hatched(SIDE, SIDE))
    lab = one(lightness, a, b)
    wanted = color.lab_to_rgb(lab)
    page[70:190, 492:612] = to_bytes(wanted) if exists(wanted).item() else hatched(120, 120)
    page[245:365, 492:612] = to_bytes(color.lab_to_rgb(fitted(lab)))
    image = Image.fromarray(page)
    pen = ImageDraw.Draw(image)
    for value in (-100, -50, 0, 50, 100):
        x, y = place(value, value)
        pen.text((x, TOP + SIDE + 4), str(value), INK, FONT, anchor="mt")
        pen.text((LEFT - 6, y), str(value), INK, FONT, anchor="rm")
    pen.text((LEFT + SIDE + 8, TOP + SIDE + 4), "a*", INK, FONT, anchor="lt")
    pen.text((LEFT - 14, 8), "b*", INK, FONT, anchor="rt")
    pen.text((LEFT + SIDE / 2, 8), f"all of sRGB at L* = {lightness:.0f}", INK, FONT, anchor="mt")
    pen.text((552, 48), "asked for", INK, FONT, anchor="mt")
    pen.text((552, 223), "chroma lowered", INK, FONT, anchor="mt")
    x, y = place(a, b)
    for reach, ink in ((2, (0, 0, 0)), (0, MARK)):
        pen.rectangle((x - 12 - reach, y - reach, x + 12 + reach, y + 1 + reach), ink)
        pen.rectangle((x - reach, y - 12 - reach, x + 1 + reach, y + 12 + reach), ink)
    pen.rectangle((x - 12, y, x + 12, y + 1), MARK)
    return np.array(image)


def middle_of_mark(picture: np.ndarray) -> tuple[float, float]:
    """Mean row and column of the cross."""
    rows, columns = np.nonzero((picture == MARK).all(axis=2))
    return rows.mean(), columns.mean()


def say_slice(lightness: float, a: float, b: float) -> str:
    """The slice's numbers."""
    lab, share = one(lightness, a, b), exists(slice_rgb(lightness)).float().mean().item()
    rgb = color.lab_to_rgb(lab)
    channels = ", ".join(f"{255 * v:.0f}" for v in rgb.flatten().tolist())
    kept = math.hypot(*fitted(lab).flatten().tolist()[1:])
    where = "in gamut" if exists(rgb).item() else f"no such colour in sRGB; at this hue, chroma {kept:.0f} is the most there is"
    return (
        f"L* {lightness:.0f}, a* {a:.0f}, b* {b:.0f}: chroma {math.hypot(a, b):.0f}, sRGB ({channels}), {where}. "
        f"At this L*, {share:.0%} of the square is in gamut."
    )


@panel("01.lab_slice")
def lab_slice() -> widgets.Panel:
    """The plane of a* and b* at one L*: which colours exist there, and one of them marked. Chapter 01."""
    return widgets.Panel(
        draw_slice,
        {
            "lightness": Slider("L* (0 black, 100 white)", 0, 100, 60, 1),
            "a": Slider("a* (Lab units)", -110, 110, 40, 1),
            "b": Slider("b* (Lab units)", -110, 110, 30, 1),
        },
        "Move L* from end to end: the filled shape grows from nothing, is largest near 55, and shrinks to nothing again. "
        "Then put the cross at a* = 0, b* = 85 and look for the L* at which that yellow exists.",
        "A square of a* (to the right) and b* (upwards), from −110 to 110. The colours that sRGB has at one L* fill a shape "
        "in its middle; the rest is striped grey. A cross marks one colour, which is shown large beside it.",
        (
            Effect("lightness", "widens the slice, from black up", lambda shown: filled(shown).mean(), (5, 20, 40, 55)),
            Effect("lightness", "narrows it again, from white down", lambda shown: filled(shown).mean(), (97, 85, 70, 60)),
            Effect("lightness", "lets strong yellows exist (b* above 80)", lambda shown: filled(shown)[:54].sum(), (70, 80, 90)),
            Effect("a", "moves the cross to the right", lambda shown: middle_of_mark(shown)[1], (-110, -40, 40, 110)),
            Effect("b", "moves the cross up", lambda shown: -middle_of_mark(shown)[0], (-110, -40, 40, 110)),
        ),
        say_slice,
    )


# 01.channel_mixer


@panel("01.channel_mixer")
def channel_mixer(photo: object = None) -> widgets.Panel:
    """A photograph with its L*, a* and b* turned up and down. `photo`: whatever `photos.read` takes. Chapter 01."""
    image = Image.fromarray(photos.read(photo or photos.sample("astronaut")).rgb)
    image.thumbnail((264, 264))
    wide, high = max(image.width, 236), image.height  # two pictures and a line are 480 pixels at least
    original = np.full((high, wide, 3), PAGE, np.uint8)
    left = (wide - image.width) // 2
    original[:, left : left + image.width] = image
    lab = to_lab(np.asarray(image))[None]
    mean = lab[:, :1].mean()

    @functools.lru_cache(maxsize=1)
    def mix(light: float, a: float, b: float) -> torch.Tensor:
        L = (mean + light / 100 * (lab[:, :1] - mean)).clamp(0, 100)
        return fitted(torch.cat([L, lab[:, 1:2] * a / 100, lab[:, 2:] * b / 100], dim=1))

    def draw(light: float, a: float, b: float) -> np.ndarray:
        mixed = np.full_like(original, PAGE)
        mixed[:, left : left + image.width] = to_bytes(color.lab_to_rgb(mix(light, a, b)))
        return np.concatenate([original, np.full((high, 8, 3), PAGE, np.uint8), mixed], axis=1)

    def mixed_lab(shown: np.ndarray) -> torch.Tensor:
        return to_lab(shown[:, -wide:][:, left : left + image.width])

    def numbers(light: float, a: float, b: float) -> str:
        now = mix(light, a, b)
        return (
            f"L* spreads by ±{now[0, 0].std():.0f} around {now[0, 0].mean():.0f} (before: ±{lab[0, 0].std():.0f}); "
            f"mean |a*| {now[0, 1].abs().mean():.1f} (before: {lab[0, 1].abs().mean():.1f}), "
            f"mean |b*| {now[0, 2].abs().mean():.1f} ({lab[0, 2].abs().mean():.1f}); "
            f"mean chroma {metrics.mean_chroma(now[:, 1:] / color.AB_SCALE).item():.1f}."
        )

    return widgets.Panel(
        draw,
        {
            "light": Slider("spread of L* (%)", 0, 200, 100, 5),
            "a": Slider("a* (%)", 0, 200, 100, 5),
            "b": Slider("b* (%)", 0, 200, 100, 5),
        },
        "Set a* and b* to 0: a grey photograph, sharp as ever. Then put them back and set L* to 0: is anything left to see? "
        "Put a* at 200 %, and mean |b*| falls too: where the mix does not exist, all of its chroma is lowered.",
        "A photograph on the left; on the right the same with its L*, a* and b* multiplied by what the sliders say, and its "
        "chroma lowered where the mix does not exist.",
        (
            Effect("light", "spreads L*", lambda shown: mixed_lab(shown)[0].std().item(), (0, 50, 100, 150)),
            Effect("a", "raises mean |a*|", lambda shown: mixed_lab(shown)[1].abs().mean().item(), (0, 50, 100, 150)),
            Effect("b", "raises mean |b*|", lambda shown: mixed_lab(shown)[2].abs().mean().item(), (0, 50, 100, 150)),
        ),
        numbers,
    )


# 01.out_of_gamut

COLUMNS = (16, 226, 436)  # of the three fields: asked for, channels clipped, chroma lowered
FIELD = 188


def ways_back(lightness: float, hue: float, chroma: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """One colour (1, 3, 1, 1) as asked for, with its channels clipped, and with its chroma lowered; all L*a*b*."""
    lab = one(lightness, chroma * math.cos(math.radians(hue)), chroma * math.sin(math.radians(hue)))
    return lab, color.rgb_to_lab(color.lab_to_rgb(lab).clamp(0, 1)), fitted(lab)


def draw_ways(lightness: float, hue: float, chroma: float) -> np.ndarray:
    """Three colours above, and below each its lightness alone."""
    page = np.full((430, 640, 3), PAGE, np.uint8)
    ways = ways_back(lightness, hue, chroma)
    for left, lab in zip(COLUMNS, ways, strict=True):
        rgb = color.lab_to_rgb(lab)
        page[40:228, left : left + FIELD] = to_bytes(rgb) if exists(rgb).item() else hatched(FIELD, FIELD)
        grey = color.lab_to_rgb(one(lab[0, 0].item(), 0, 0))
        page[270:400, left : left + FIELD] = to_bytes(grey)
    image = Image.fromarray(page)
    pen = ImageDraw.Draw(image)
    for left, name, lab in zip(COLUMNS, ("asked for", "channels clipped", "chroma lowered"), ways, strict=True):
        pen.text((left + FIELD / 2, 10), name, INK, FONT, anchor="mt")
        pen.text((left + FIELD / 2, 240), f"its L*: {lab[0, 0].item():.1f}", INK, FONT, anchor="mt")
    return np.array(image)


def fields(picture: np.ndarray) -> list[torch.Tensor]:
    """The three fields' colours, as L*a*b* triples."""
    return [to_lab(picture[100:102, left + 60 : left + 62])[:, 0, 0] for left in COLUMNS]


def say_ways(lightness: float, hue: float, chroma: float) -> str:
    """How far each way moves L* and hue, and what it leaves of the chroma."""
    asked, clipped, lowered = ways_back(lightness, hue, chroma)
    said = []
    for name, lab in (("channels clipped", clipped), ("chroma lowered", lowered)):
        dL, turn = shift(lab, asked)
        said.append(f"{name}: L* {dL:+.1f}, hue off by {turn:.1f}°, chroma {math.hypot(*lab.flatten().tolist()[1:]):.0f}")
    return f"Asked for: L* {lightness:.0f}, hue {hue:.0f}°, chroma {chroma:.0f}. " + "; ".join(said) + "."


@panel("01.out_of_gamut")
def out_of_gamut() -> widgets.Panel:
    """One colour pushed out of the gamut, and brought back by clipping channels and by lowering chroma. Chapter 01."""

    def grey_off(shown: np.ndarray) -> float:
        return abs(float(shown[330, COLUMNS[1] + 90, 0]) - float(shown[330, COLUMNS[0] + 90, 0]))

    return widgets.Panel(
        draw_ways,
        {
            "lightness": Slider("L* (0 black, 100 white)", 0, 100, 40, 1),
            "hue": Slider("hue (degrees)", 0, 360, 240, 5),
            "chroma": Slider("chroma (Lab units)", 0, 150, 110, 1),
        },
        "Raise the chroma and watch the lower row, lightness alone: which way back keeps the grey that was asked for?",
        "Three fields of colour: the one asked for (striped where sRGB has no such colour), the same with its channels "
        "clipped, and with its chroma lowered. Below each, its lightness as a grey.",
        (
            Effect("lightness", "lightens the grey", lambda shown: float(shown[330, COLUMNS[2] + 90, 0]), (10, 40, 70, 95)),
            Effect("hue", "turns the hue", lambda s: math.atan2(fields(s)[2][2], fields(s)[2][1]) % math.tau, (20, 90, 160, 330)),
            Effect("chroma", "moves the clipped colour off its lightness", grey_off, (50, 80, 110, 140)),
        ),
        say_ways,
    )
