"""The sliders of chapter 02: ColorWorld's odds, and the filter that keeps grey pictures out of a data set."""

import functools

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from colorlab import color, inference, metrics, photos
from colorlab.panels import panel
from colorlab.widgets import Effect, Panel, Slider
from colorlab.world import KINDS, ColorWorld

SIDE, COLUMNS, SCENES, FIRST = 160, 4, 8, 1  # of world_odds: pixels a scene, scenes a row, scenes, the first one's number
LUCK = 36  # of the objects: the same at every place of the sliders
BAR = 36  # pixels: the height of a row of bars
TURNED = {"balloon": ("red", "blue", "green"), "roof": ("red", "blue"), "tree": ("green", "autumn")}  # the names of the colours
TILE, PHOTO, ACROSS = 104, 80, 6  # of grey_filter: pixels a tile is wide and its picture high, tiles a row


@panel("02.world_odds")
def world_odds() -> Panel:
    """Turn the odds of ColorWorld and watch single objects change their colour, while the grey stays. Chapter 02."""
    plain = ColorWorld(SIDE)
    scenes = plain.sample(SCENES, start=FIRST)
    visible = {kind: _objects(scenes, kind) for kind in TURNED}

    @functools.lru_cache(maxsize=8)
    def drawn(red: float, roof: float, autumn: float) -> tuple[torch.Tensor, dict]:
        """The scenes' ab under these odds (%), and for each kind (name, probability, ab, objects of that colour)."""
        tables = {"balloon": _with_odds(plain, "balloon", 0, red), "roof": _with_odds(plain, "roof", 0, roof)}
        tables["tree"] = _with_odds(plain, "tree", 1, autumn)
        ab, counts = ColorWorld(SIDE, distributions=tables).recolor(scenes, seed=LUCK).ab, {}
        for kind, places in visible.items():
            shown = ab.movedim(1, -1)[places] * color.AB_SCALE  # (objects, 2), in Lab units
            counts[kind] = [
                (name, p, own, int(((shown - shown.new_tensor(own)).norm(dim=1) < 1).sum()))
                for name, (p, own) in zip(TURNED[kind], tables[kind], strict=True)
            ]
        return ab, counts

    def draw(red: float, roof: float, autumn: float) -> np.ndarray:
        ab, counts = drawn(red, roof, autumn)
        rgb = color.decode(scenes.L, ab).clamp(0, 1).view(-1, COLUMNS, 3, SIDE, SIDE)
        sheet = (rgb.permute(0, 3, 1, 4, 2).reshape(-1, COLUMNS * SIDE, 3) * 255).round().byte().numpy()
        sheet[:, SIDE - 1 :: SIDE], sheet[SIDE - 1 :: SIDE] = 255, 255  # a white line between scenes
        return np.concatenate([sheet, _bars(counts, visible, sheet.shape[1])])

    def numbers(red: float, roof: float, autumn: float) -> str:
        _, counts = drawn(red, roof, autumn)
        first = {"balloon": "red", "roof": "red", "tree": "autumn"}
        rows = [
            f"{count} of {len(visible[kind][0])} {kind}s are {name} (odds {100 * p:.0f} %)"
            for kind, colors in counts.items()
            for name, p, _, count in colors
            if name == first[kind]
        ]
        return "; ".join(rows) + "."

    reds = functools.partial(_share, ab=(65.0, 45.0), L=plain.lightness("balloon"))
    roofs = functools.partial(_share, ab=(45.0, 34.0), L=plain.lightness("roof"))
    autumns = functools.partial(_share, ab=(36.0, 44.0), L=plain.lightness("tree"))
    return Panel(
        draw,
        {
            "red": Slider("balloons: p(red) (%)", 0, 100, 40, 5),
            "roof": Slider("roofs: p(red) (%)", 0, 100, 60, 5),
            "autumn": Slider("trees: p(autumn) (%)", 0, 100, 35, 5),
        },
        "Which objects change, one after another, while you slide? The lightness of no pixel does.",
        "Eight ColorWorld scenes above three bars: the odds of each colour of balloons, roofs and trees, and how many got it.",
        (
            Effect("red", "colours more balloons red", reds, (0, 25, 50, 75, 100)),
            Effect("roof", "colours more roofs red", roofs, (0, 25, 50, 75, 100)),
            Effect("autumn", "colours more trees in autumn's colours", autumns, (0, 25, 50, 75, 100)),
        ),
        numbers,
    )


def _with_odds(world: ColorWorld, kind: str, which: int, percent: float) -> list:
    """A kind's distribution with one colour's probability set; the others share the rest in their old proportion."""
    table = world.distribution(kind)
    rest = 1 - table[which][0]
    new = [percent / 100 if k == which else p * (1 - percent / 100) / rest for k, (p, _) in enumerate(table)]
    return [(p / sum(new), ab) for p, (_, ab) in zip(new, table, strict=True)]


def _objects(scenes, kind: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """One pixel of every object of a kind that shows at least 40 of them: (scene, row, column), for indexing."""
    places = []
    for n, numbers in enumerate(scenes.object):
        for k in (scenes.object_kind == KINDS.index(kind)).nonzero()[:, 0].tolist():
            found = (numbers == k).nonzero()
            places += [(n, *found[0].tolist())] if len(found) >= 40 else []
    return tuple(torch.tensor(places).T)


def _bars(counts: dict, visible: dict, width: int) -> np.ndarray:
    """A row for each kind: its name, a bar divided by the odds, and how many objects of the scenes drew each colour."""
    image = Image.new("RGB", (width, BAR * len(counts) + 6), "white")
    pen, font = ImageDraw.Draw(image), ImageFont.load_default(size=15)
    for row, (kind, colors) in enumerate(counts.items()):
        x, y, whole = 90, BAR * row + 7, 330
        pen.text((8, y + 5), f"{kind}s", "black", font)
        for name, p, ab, _ in colors:
            right = x + p * whole
            lab = torch.tensor([{"balloon": 55.0, "roof": 48.0, "tree": 40.0}[kind], *ab]).view(1, 3, 1, 1)
            fill = tuple((color.lab_to_rgb(lab).clamp(0, 1)[0, :, 0, 0] * 255).int().tolist())
            pen.rectangle((x, y, right, y + BAR - 9), fill if p else "white", "white")
            label = f"{name} {100 * p:.0f} %"
            if pen.textlength(label, font) + 6 < p * whole:
                pen.text(((x + right) / 2, y + 13), label, "white", font, "mm")
            x = right
        drew = ", ".join(f"{count} {name}" for name, _, _, count in colors)
        pen.text((430, y + 5), f"here: {drew}", "black", font)
    return np.asarray(image)


def _share(shown: np.ndarray, ab: tuple[float, float], L: tuple[float, float]) -> float:
    """Share of the scenes' pixels that have this colour at this lightness."""
    lab = color.rgb_to_lab(torch.from_numpy(shown[: 2 * SIDE].copy()).permute(2, 0, 1)[None].float() / 255)[0]
    near = (lab[1:] - lab.new_tensor(ab).view(2, 1, 1)).norm(dim=0) < 8
    return (near & (lab[0] > L[0] - 1) & (lab[0] < L[1] + 1)).float().mean().item()


def hue_spread(rgb: torch.Tensor) -> float:
    """How far, on average, a pixel's (a*, b*) lies from the line through grey and the picture's mean colour; rgb (3, H, W).

    0 for a toned print, all of one hue; Lab units.
    """
    return metrics.hue_spread(color.encode(rgb[None])[1]).item()


def toned(rgb: torch.Tensor, ab: tuple[float, float], fades: bool = False) -> torch.Tensor:
    """A picture (3, H, W) as a toned print: its own L*, and one (a*, b*) in Lab units everywhere, as far as sRGB has it.

    With `fades` the tone is full at L* 50 and fades towards black and white, as in many real prints.
    """
    L, _ = color.encode(rgb[None])
    tone = torch.tensor(ab).view(1, 2, 1, 1) / color.AB_SCALE * (1 - L.abs() if fades else torch.ones_like(L))
    return color.decode(L, color.fit_gamut(L, tone)[0]).clamp(0, 1)[0]


def paler(rgb: torch.Tensor, share: float) -> torch.Tensor:
    """A picture (3, H, W) with this share of its chroma."""
    L, ab = color.encode(rgb[None])
    return color.decode(L, ab * share).clamp(0, 1)[0]


def _gathered() -> dict[str, torch.Tensor]:
    """What lies in a folder that someone filled without looking: name → rgb (3, PHOTO, TILE)."""

    def small(pixels: np.ndarray) -> torch.Tensor:
        height, width = pixels.shape[:2]
        scale = max(TILE / width, PHOTO / height)
        image = Image.fromarray(pixels).resize((round(width * scale), round(height * scale)), Image.Resampling.LANCZOS)
        left, top = (image.width - TILE) // 2, (image.height - PHOTO) // 2
        return inference.to_tensor(np.asarray(image.crop((left, top, left + TILE, top + PHOTO))))[0]

    rgb = {sample.name: small(photos.read(sample).rgb) for sample in photos.samples()}
    names = list(rgb)
    rgb |= {
        f"{name}, {100 * share:.0f} % colour": paler(rgb[name], share) for name, share in zip(names, (0.1, 0.3), strict=False)
    }
    rgb |= {f"{name}, faded": paler(rgb[name], 0.5) for name in names[2:3]}
    rgb |= {f"{name}, black and white": toned(rgb[name], (0.0, 0.0)) for name in names[3:5]}
    rgb |= {f"{name}, a scan": toned(rgb[name], (1.0, 3.0)) for name in names[5:6]}
    rgb |= {f"{names[0]}, sepia-toned": toned(rgb[names[0]], (6.0, 20.0))}
    rgb |= {f"{names[1]}, sepia that fades": toned(rgb[names[1]], (9.0, 30.0), fades=True)}
    scenes = ColorWorld(TILE).sample(3, start=2).rgb[:, :, (TILE - PHOTO) // 2 :][:, :, :PHOTO]
    return rgb | {f"scene {n}": scene for n, scene in enumerate(scenes, 2)}


@panel("02.grey_filter")
def grey_filter() -> Panel:
    """Raise the least chroma, or the least spread of hues, that a picture needs to be kept. Chapter 02."""
    gathered = _gathered()
    values = {n: (_chroma(rgb), hue_spread(rgb)) for n, rgb in gathered.items()}
    tiles = {n: (_tile(rgb, *values[n]), _tile(rgb, *values[n], crossed=True)) for n, rgb in gathered.items()}

    def kept(chroma: float, hues: float) -> list[str]:
        return [n for n, (own, spread) in values.items() if own >= chroma and spread >= hues]

    def draw(chroma: float, hues: float) -> np.ndarray:
        stay = set(kept(chroma, hues))
        shown = [whole if n in stay else crossed for n, (whole, crossed) in tiles.items()]
        shown += [np.full_like(shown[0], 255)] * (-len(shown) % ACROSS)
        return np.concatenate([np.concatenate(shown[i : i + ACROSS], axis=1) for i in range(0, len(shown), ACROSS)])

    def numbers(chroma: float, hues: float) -> str:
        stay = kept(chroma, hues)
        mean = f"their mean chroma is {np.mean([values[n][0] for n in stay]):.1f}" if stay else "nothing is left to learn from"
        out = [n for n in values if n not in stay]
        return f"{len(stay)} of {len(values)} pictures kept; {mean}. Left out: {'; '.join(out) or 'none'}."

    def darkness(shown: np.ndarray) -> float:
        return 255 - shown.mean()

    return Panel(
        draw,
        {
            "chroma": Slider("least mean chroma (Lab units)", 0, 40, 4, 1),
            "hues": Slider("least spread of hues (Lab units)", 0, 10, 0, 0.5),
        },
        "Which pictures go first, and which dial catches the sepia-toned prints without losing the cat?",
        "A sheet of pictures, each with its mean chroma and its spread of hues; what the filter leaves out is crossed out.",
        (
            Effect("chroma", "crosses out more pictures", darkness, (0, 4, 14, 24, 40)),
            Effect("hues", "crosses out more pictures", darkness, (0, 2, 4, 10)),
        ),
        numbers,
    )


def _chroma(rgb: torch.Tensor) -> float:
    return metrics.mean_chroma(color.encode(rgb[None])[1]).item()


def _tile(rgb: torch.Tensor, chroma: float, spread: float, crossed: bool = False) -> np.ndarray:
    """A picture above its two numbers; crossed out, it is dimmed."""
    image = Image.new("RGB", (TILE, PHOTO + 40), "white")
    picture = Image.fromarray(inference.to_pixels(rgb[None] * (0.3 if crossed else 1)))
    image.paste(picture.crop((0, 0, TILE - 6, PHOTO)), (3, 3))
    pen, font = ImageDraw.Draw(image), ImageFont.load_default(size=14)
    if crossed:
        for ends in ((3, 3, TILE - 4, PHOTO + 2), (3, PHOTO + 2, TILE - 4, 3)):
            pen.line(ends, "white", 3)
    for row, words in enumerate((f"chroma {chroma:.1f}", f"hues {spread:.1f}")):
        pen.text((5, PHOTO + 4 + 16 * row), words, "black", font)
    return np.asarray(image)
