"""Checks of chapter 02: pictures and pairs, and what spoils a data set."""

import builtins
import numbers
from collections.abc import Callable
from pathlib import Path, PurePath
from unittest import mock

import numpy as np
import torch

from colorlab import color, photos
from colorlab.exercises import Wrong, as_number, call, exercise, recognise, seeded
from colorlab.world import ColorWorld


@exercise("02.1", drawn=seeded)
def to_L(answer, seed) -> str | None:
    """L*/50 − 1 of sRGB pixels: what the network is given in training, and what it will be given of your photograph.

    `answer`: a function, pixels (H, W, 3) uint8 → L (1, 1, H, W) float in [−1, 1].
    """
    pixels = np.random.default_rng(2 + seed).integers(0, 256, (4, 6, 3)).astype(np.uint8)
    got = call(answer, "02.1", "to_L", pixels.copy())
    if isinstance(got, tuple):
        return "color.encode returns two tensors, L and ab. The network is given L alone: ab would tell it the answer."
    if not isinstance(got, torch.Tensor):
        return f"It returned {type(got).__name__}, not a tensor."
    if got.shape != (1, 1, 4, 6):
        return f"4 rows of 6 pixels are one batch of one channel, (1, 1, 4, 6), got {tuple(got.shape)}. See 'The naive version'."
    if not got.is_floating_point():
        return "The values are whole numbers: L is a float between −1 and 1."
    rgb = torch.from_numpy(pixels).permute(2, 0, 1)[None].double() / 255
    weights = torch.tensor([[0.299, 0.587, 0.114], [0.2126, 0.7152, 0.0722]], dtype=torch.float64).view(2, 1, 3, 1, 1)
    luma, rec709 = (rgb * weights).sum(2, True)
    Y = (color.srgb_to_linear(rgb) * weights[1]).sum(1, True)
    mixed = torch.from_numpy(pixels).reshape(1, 3, 4, 6).double() / 255

    def lightness(x: torch.Tensor) -> torch.Tensor:  # L*/100
        return color.rgb_to_lab(x)[:, :1] / 100

    known = {  # on a scale of 0 to 1, each; recognised in every range that is usual
        "That is Pillow's \"L\": luma, a weighted mean of the sRGB values. See 'Pillow's L is not L*'.": luma,
        "That is luma with Rec. 709's weights, as skimage's rgb2gray: weights for light, put on sRGB values. L* undoes the curve "
        "before, and takes (nearly) a cube root after.": rec709,
        "To reshape mixes rows and channels: (H, W, 3) becomes (3, H, W) by permute(2, 0, 1).": lightness(mixed),
        "Red and blue have changed places: BGR is OpenCV's order. Pillow's pixels, and these, are RGB.": lightness(rgb.flip(1)),
        "That is the mean of red, green and blue. But green looks far lighter than blue of the same value.": rgb.mean(1, True),
        "That is HSV's V, the largest of the three: pure blue would be as light as white.": rgb.amax(1, True),
        "That is HSL's lightness: pure blue would be as light as pure yellow.": (rgb.amax(1, True) + rgb.amin(1, True)) / 2,
        "That is the luminance Y, light itself. The eye's scale is its cube root, nearly: L*. color.encode takes both steps.": Y,
        "That is L* of Pillow's grey: its scale is right, its weights were put on sRGB values.": lightness(luma.expand_as(rgb)),
        "The pixels went in as 0 to 255. color.encode wants [0, 1]: divide by 255 first.": lightness(255 * rgb),
        "That is one channel of red, green and blue alone. Lightness needs all three.": rgb[0][:, None],
    }
    got, L = got.detach().double(), lightness(rgb) * 2 - 1
    if torch.allclose(got, L, atol=1e-3):  # other libraries' matrices differ by as much
        return None
    if torch.allclose(got, 50 * L + 50, atol=1e-2):
        return "That is L*, 0 to 100. The network sees L = L*/50 − 1, from −1 to 1."
    if torch.allclose(got, (L + 1) / 2, atol=1e-4):
        return "That is L*/100, 0 to 1. The network sees L = L*/50 − 1, from −1 to 1: black is −1."
    if torch.allclose(got, L + 1, atol=1e-4):
        return "That is L*/50: the − 1 is missing, so that black would be 0."
    steps = (got + 1) * 127.5, (got + 1) * 50, color.decode(got, got.new_zeros(1, 2, 4, 6))[:, :1] * 255
    if torch.allclose(got, L, atol=0.021) and any(torch.allclose(x, x.round(), rtol=0, atol=0.02) for x in steps):
        return "That is the right L, rounded on the way, to 8 bits or to whole L*. Stay with floats once you have divided by 255."
    for words, values in known.items():
        if any(torch.allclose(y, x, atol=6e-3) for y in (got, got / 2 + 0.5, got / 255, got / 100) for x in values.split(1)):
            return words
    return "Shape and type are right, the values are not: L*/50 − 1 of every pixel is wanted. color.encode gives it."


_WORDS = ("beach", "garden", "Oma und Opa", "kitchen", "snow", "harbour", "Zoë", "wedding", "map", "cat")


def _names(count: int, folder: str = "photos") -> list[Path]:
    """Files as a camera and people name them."""
    return [Path(folder, f"IMG_{k:04d}.jpg" if k % 3 else f"{_WORDS[k // 3 % 10]} {k // 30}.jpg") for k in range(count)]


def _sides(answer: Callable, paths: list[Path]) -> dict[str, str]:
    """The part of each path, by its text, as the answer divides them. Raises Wrong."""
    parts = call(answer, "02.2", "my_split", list(paths))
    if not isinstance(parts, dict) or set(parts) != {"train", "valid", "test"}:
        raise Wrong("A dict with the keys 'train', 'valid' and 'test' is wanted, each with its list of paths.")
    listed = [(_key(path), part) for part, inside in parts.items() for path in inside]
    if len({path for path, _ in listed}) < len(listed):
        raise Wrong("Some files are in two parts, or twice in one: what is tested must not be trained on.")
    if {path for path, _ in listed} != set(map(_key, paths)):
        raise Wrong("Together the three parts must hold every path that came in, as it came, and no other.")
    return dict(listed)


def _key(path: object) -> object:
    """A path as a text, whose hash in a set no patched `hash` changes."""
    return path.as_posix() if isinstance(path, PurePath) else ("not a path", str(path))


@exercise("02.2")
def split(answer) -> str | None:
    """A file's name alone decides its side, so it stays there whatever else is added, and copies of one name share it.

    `answer`: a function, paths → {"train": […], "valid": […], "test": […]}, about 5 % each in valid and test.
    """
    paths = _names(2000)
    before, camera = _sides(answer, paths), _sides(answer, [Path("DCIM", f"IMG_{k:04d}.jpg") for k in range(1, 1001)])
    hint = " that a camera named (IMG_0001.jpg …): letters are not spread evenly over names, as a hash of the whole name is"
    for sides, more in ((before, ""), (camera, hint)):
        for part in ("valid", "test"):
            share = list(sides.values()).count(part) / len(sides)
            if not 0.025 < share < 0.08:
                return f"{part!r} got {100 * share:.1f} %, where about 5 % are wanted, of {len(sides):,} files{more}."
    if _sides(answer, _names(2000)) != before:
        return "Two calls with the same files gave two splits: the draw is made afresh each time. Nothing random is needed here."
    with mock.patch.object(builtins, "hash", lambda x, own=hash: own((str(x), "another process")) if _salted(x) else own(x)):
        if _sides(answer, _names(2000)) != before:
            return "Python's hash() of a text is salted anew in every process: tomorrow the split is another. hashlib's is not."

    def moved(others: list[Path]) -> int:  # files that are elsewhere than before, among those that were there
        after = _sides(answer, others)
        return sum(side != before.get(path, side) for path, side in after.items())

    changed = moved([Path("photos", "A new one.jpg"), *paths])
    if changed > 100:
        return f"One file more, and {changed} of 2,000 others changed sides: an index, shuffled or not, is no property of a file."
    if changed or any(moved(others) for others in (paths[::-1], [*paths, Path("photos", "zz.jpg")], paths[:1999], paths[:700])):
        return "A side depends on the position in the list: with files added, removed or in another order, some change sides."
    copies = _sides(answer, [*paths, *_names(2000, "backup/small")])
    apart = sum(copies[_key(path)] != copies[_key(Path("backup/small", path.name))] for path in paths)
    if apart:
        return (
            f"The whole path was used: {apart} smaller copies in another folder landed on another side, as when a set is "
            "resized or augmented before it is split. Use path.name alone."
        )
    return None


def _salted(x: object) -> bool:
    """Whether Python's hash of x differs from process to process."""
    return isinstance(x, str | bytes | PurePath) or (isinstance(x, tuple) and any(map(_salted, x)))


@exercise("02.3")
def augmentations(answer) -> str | None:
    """Mirroring, cropping and tilting move pixels; they never touch which colour belongs to which grey.

    `answer`: the set of those names that leave p(colour | grey) as it was.
    """
    if isinstance(answer, str) or not isinstance(answer, set | frozenset | list | tuple):
        return 'A set of names is wanted, such as {"flip", "crop"}.'
    harm = {
        "hue_jitter": "hue_jitter turns every hue: grass is then green, blue or purple, and the mean of it all is grey.",
        "channel_swap": "channel_swap gives every thing up to six colours, and changes L* too.",
        "invert": "invert, the negative, turns light into dark and every colour into about its opposite.",
        "random_grey": "random_grey makes pairs whose answer is 'no colour', as grey photographs do.",
    }
    fine = {
        "flip": "flip is missing: a mirrored picture has the same colours in mirrored places. Only writing and clocks mind.",
        "crop": "crop is missing: a part of a pair is a pair. It shows less of the scene, but no false colour.",
        "tilt": "tilt is missing: L and ab are turned together, by a few degrees, and stay a pair.",
    }
    names = {str(name) for name in answer}
    if unknown := names - set(harm) - set(fine):
        return f"Unknown: {', '.join(sorted(unknown))}. Choose among {', '.join([*fine, *harm])}."
    wrong = [harm[name] for name in harm if name in names] + [fine[name] for name in fine if name not in names]
    return wrong[0] if wrong else None


@exercise("02.4")
def median_turns(answer) -> str | None:
    """One sixth: there red's share, 0.6 (1 − g), falls below one half. L1 needs far fewer greys than half to give up a colour.

    `answer`: the share g of grey pictures above which the L1 answer for a roof is no longer red.
    """
    got = as_number(float(answer) if isinstance(answer, numbers.Real) and not isinstance(answer, bool) else answer)
    if got is None:
        return "A number is wanted, a share between 0 and 1."
    if 15.8 <= got <= 17.2:
        return "That is in percent: divide by 100."
    known = {
        0.5: "Half would be needed if every roof were red. Only six in ten are, and grey pictures take from all.",
        0.1: "0.6 − 0.1 is one half, but red does not lose g: it loses its share of g, and keeps 0.6 (1 − g).",
        0.6: "0.6 is red's own share, without grey pictures. Up to which g does 0.6 (1 − g) stay above one half?",
        0.4: "0.4 is the share of blue roofs. Red loses the median as soon as its own share is below one half.",
        5 / 6: "That is the share that may have colour; the share of grey ones is asked.",
        0.375: "There grey is as frequent as red. The median needs no such tie: it leaves red once that is below one half.",
        0.2: "0.2 is above the turning point: try smaller steps of g, such as 0.01.",
    }
    right = 0.158 <= got <= 0.172
    return None if right else recognise(got, known) or "Print with_greys(g).median('roof') for many g and find the jump."


def _shown(L: torch.Tensor, ab: torch.Tensor) -> torch.Tensor:
    """rgb (3, H, W) as an 8-bit file would hold it."""
    return (color.decode(L, color.fit_gamut(L, ab)[0]).clamp(0, 1)[0] * 255).round() / 255


def _filter_cases() -> list[tuple[str, torch.Tensor, bool, str]]:
    """What a filter is tried on: (what it is, rgb (3, H, W), whether it should be kept, what a mistake here means)."""
    scenes, lot = ColorWorld(48, seed=3).sample(2), torch.Generator().manual_seed(0)
    L, ab = scenes.L[:1], scenes.ab[:1]
    noise = torch.randn(1, 2, 48, 48, generator=lot) / color.AB_SCALE
    hues = torch.tensor([[40.0, 0.0], [-20.0, 34.6], [-20.0, -34.6]]).T.repeat_interleave(16, 1)  # (2, 48): their sum is 0
    bands = hues[None, :, None].expand(1, 2, 48, 48) / color.AB_SCALE
    flat, fades = torch.full_like(L, 0.2), 1 - L.abs()
    cat = photos.load_rgb(photos.sample("chelsea"))[None]
    cat_L, cat_ab = color.encode(torch.nn.functional.interpolate(cat, (60, 90), mode="area"))
    dark = (torch.randint(0, 4, (3, 48, 48), generator=lot) / 255).float()

    def tone(a: float, b: float) -> torch.Tensor:
        return torch.tensor([a, b]).view(1, 2, 1, 1).expand(1, 2, 48, 48) / color.AB_SCALE

    cancel = "its a and b cancel in the mean, though every pixel is vivid. Chroma is √(a² + b²) of each pixel, then averaged."
    toned = "its mean chroma is far from 0, and yet all is one hue: see the spread of hues, the panel's second dial."
    strength = (
        "it has one hue, strong in the middle greys, weak near black and white. The distance from the mean colour, like the "
    )
    strength += "standard deviation of a and b, takes strength for hue: measure from the line through grey and the mean colour."
    close = "it is only pale, and its hues lie close together, as in many photographs: they differ. Lower your threshold."
    return [
        ("a grey picture", _shown(L, 0 * ab)[1:2].expand(3, -1, -1), False, "R, G and B are equal everywhere."),
        ("a ColorWorld scene", _shown(L, ab), True, "it is as colourful as pictures get. Is the comparison the wrong way round?"),
        ("a second scene", _shown(scenes.L[1:], scenes.ab[1:]), True, "it is as colourful as pictures get."),
        ("three bands, red, green and blue", _shown(flat, bands), True, cancel),
        ("a pale scene", _shown(L, 0.4 * ab), True, "pale is not grey: its mean chroma is above 10, and its hues differ."),
        ("a grey scan", _shown(L, noise + tone(1.0, 2.0)), False, "noise and paper make its chroma 2 to 3; it is grey."),
        ("a nearly black picture", dark, False, "its values are 0 to 3. Saturation, a ratio, is large there."),
        ("a sepia-toned print", _shown(L, tone(6.0, 20.0)), False, toned),
        ("a blue-toned print", _shown(L, tone(-4.0, -16.0)), False, toned),
        ("a sepia print whose tone fades", _shown(L, tone(9.0, 30.0) * fades), False, strength),
        ("a copper-toned print whose tone fades", _shown(L, tone(18.0, 22.0) * fades), False, strength),
        ("a cat's photograph, faded to half its chroma", _shown(cat_L, 0.5 * cat_ab), True, close),
    ]  # fmt: skip


@exercise("02.5")
def keep(answer) -> str | None:
    """It keeps what has several hues, however pale, and drops greys, scans, near-black and toned prints.

    `answer`: a function, rgb (3, H, W) in [0, 1] → True where the picture should be kept.
    """
    cases, said = _filter_cases(), []
    for what, rgb, _, _ in cases:
        got = call(answer, "02.5", "keep", rgb.clone())
        got = got.item() if isinstance(got, torch.Tensor | np.ndarray | np.generic) else got
        if not isinstance(got, bool):
            return f"True or False is wanted, got {type(got).__name__} for {what}: compare your measure with a threshold."
        said.append(got)
    if said == [not right for _, _, right, _ in cases]:
        return "Every answer is the wrong way round: True means keep."
    if len(set(said)) == 1:
        return f"It says {said[0]} to everything, to grey and to vivid pictures alike."
    for (what, _, right, words), got in zip(cases, said, strict=True):
        if got != right:
            return f"It {'keeps' if got else 'drops'} {what}, but {words}"
    return None
