"""The one door through which a picture enters or leaves, and the sample photographs.

The only module that knows file formats; it knows no networks. What enters becomes upright 8-bit sRGB, its alpha and
EXIF beside it, or a `PhotoError` that names the file and the cure; no decoder but those of `SUFFIXES` ever runs. What
leaves is written whole or not at all.
"""

import contextlib
import importlib.util
import io
import os
import secrets
import shutil
import threading
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageCms, ImageFile, UnidentifiedImageError

from colorlab import exif, pixels

SUFFIXES = {".jpg": "JPEG", ".jpeg": "JPEG", ".jfif": "JPEG", ".png": "PNG", ".tif": "TIFF", ".tiff": "TIFF", ".webp": "WEBP"}
SUFFIXES |= {".bmp": "BMP", ".gif": "GIF", ".ppm": "PPM"}
MAX_PIXELS = 200_000_000  # what the largest phones make: 0.6 GB here, while Pillow holds another 0.8
_WRITE = {  # how each format is written; no GIF, which holds 256 colours
    "JPEG": {"quality": 95, "subsampling": "4:4:4"},  # halving the colours' resolution is the last thing wanted here
    "PNG": {},
    "TIFF": {},
    "WEBP": {"lossless": True, "exact": True, "quality": 25, "method": 2},  # lossy WebP always halves the colours' resolution
    "BMP": {},
    "PPM": {},
}
_PLAIN = ("BMP", "PPM")  # formats without alpha and metadata, as we write them
_STRIP_PIXELS = 2**20  # converted at once, so that a picture is in memory twice at most: Pillow's and ours


class PhotoError(ValueError):
    """A picture that cannot be read or written: names the file, what is wrong, and how to mend it."""


@dataclass(frozen=True, eq=False)
class Photo:
    """A picture, upright, in 8-bit sRGB: what `read` returns and `save` writes."""

    rgb: np.ndarray  # (H, W, 3) uint8
    alpha: np.ndarray | None = None  # (H, W) uint8, 255 is opaque; None where the picture has none
    exif: bytes = b""  # date, camera, place …; without the orientation, the thumbnail and the maker's note
    name: str = "the picture"  # for messages


def read(picture: str | os.PathLike | bytes | Image.Image | np.ndarray) -> Photo:
    """Read a picture: a path, a file's bytes, a PIL image, or a uint8 array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4).

    The orientation is applied; an embedded colour profile is converted to sRGB, a broken one ignored; of an animation or
    of several pages, the first is taken. 16-bit grey is divided by 257. 32-bit and floating-point grey is divided by the
    smallest white that holds it: 1 and 255 (floating point only), 65,535 or 2³¹ − 1; 16-bit colour keeps its high byte.
    An array may be shared, not copied. Raises PhotoError, and never returns half a picture. Chapter 02.
    """
    if isinstance(picture, np.ndarray):
        return _from_array(picture)
    with _opened(picture) as (image, name):
        image.load()
        turn, tags = exif.tags_of(image)
        (width, height), transparent = image.size, image.has_transparency_data
        white, transform = pixels.white_of(image), pixels.to_srgb(image)
        if not width * height:
            raise PhotoError(f"{name} has no pixels: it is {width} × {height}.")
        rgb = np.empty((width, height, 3) if turn in (5, 6, 7, 8) else (height, width, 3), np.uint8)
        alpha = np.empty(rgb.shape[:2], np.uint8) if transparent else None
        for top in range(0, height, step := max(1, _STRIP_PIXELS // width)):
            strip = image.crop((0, top, width, min(top + step, height)))
            strip = pixels.to_8_bits(strip, white) if white else strip
            if transparent:
                strip = strip.convert("LA" if strip.mode in ("1", "L", "LA", "La") else "RGBA")
                pixels.stored(alpha, turn)[top : top + step] = strip.getchannel("A")
            if transform:
                strip = ImageCms.applyTransform(strip.convert(pixels.colours_of(strip.mode)), transform)
            pixels.stored(rgb, turn)[top : top + step] = strip.convert("RGB")
        return Photo(rgb, alpha, exif.pack(tags), name)


def load_rgb(picture: str | os.PathLike | bytes | Image.Image | np.ndarray) -> torch.Tensor:
    """Whatever `read` reads, as a float32 tensor (3, H, W) in [0, 1]. Raises PhotoError. Chapter 02.

    Alpha is dropped: a transparent pixel keeps the colour that is stored beneath it.
    """
    return torch.from_numpy(read(picture).rgb).permute(2, 0, 1).contiguous().float().div_(255)


def save(picture, path: str | os.PathLike, *, note: str = "", overwrite: bool = True) -> Path:
    """Write a `Photo`, or anything that `read` takes, as 8-bit sRGB in the format the path ends with; returns the path.

    PNG, TIFF and WebP are lossless and keep alpha; JPEG (quality 95, 4:4:4), BMP and PPM lay the picture on white; GIF is
    only read. `note`, one line, goes in front of the EXIF description and into PNG's text, with colorlab as the software;
    BMP and PPM hold neither EXIF nor note. The file is written beside its place and moved there: whole, or not at all.
    Raises PhotoError. Chapter 09.
    """
    path = Path(path)
    kind = SUFFIXES.get(path.suffix.lower(), "")
    if kind not in _WRITE:
        why = "a GIF holds only 256 colours" if kind == "GIF" else "the end of its name does not say a format"
        cure = ", ".join(suffix for suffix, kind in SUFFIXES.items() if kind in _WRITE)
        raise PhotoError(f"{path} cannot be written: {why}. Let it end in one of {cure}.")
    if os.path.exists(path) and not overwrite:
        raise PhotoError(f"{path} exists already. Choose another name, or allow it to be replaced.")
    photo = picture if isinstance(picture, Photo) else read(picture)
    target = Path(os.path.realpath(path))  # a link goes on pointing where it does
    part = target.with_name(f".{secrets.token_hex(8)}.part")
    try:
        image = _with_alpha(Image.fromarray(photo.rgb), photo.alpha, kind)
        with open(part, "xb") as file:
            beside = {} if kind in _PLAIN else exif.writer_options(kind, photo.exif, " ".join(note.split()))
            image.save(file, kind, **_WRITE[kind], **beside)
            file.flush()
            os.fsync(file.fileno())
        if os.path.exists(target):
            shutil.copymode(target, part)
        os.replace(part, target)
    except Exception as error:
        cure = "Its folder must exist, with room and leave to write; or choose another format."
        raise PhotoError(f"{path} cannot be written ({_reason(error)}). {cure}") from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink()
    return path


def note(picture: str | os.PathLike | bytes | Image.Image) -> str:
    """The note that `save` wrote into a picture; "" where there is none, as always in BMP and PPM. Raises PhotoError."""
    with _opened(picture) as (image, _):
        return exif.note_of(exif.tags_of(image)[1])


@contextlib.contextmanager
def _opened(picture: str | os.PathLike | bytes | Image.Image) -> Iterator[tuple[Image.Image, str]]:
    """A picture that is not decoded yet, and its name; whatever goes wrong with it inside becomes a PhotoError."""
    if not isinstance(picture, str | os.PathLike | bytes | Image.Image):
        raise PhotoError(f"A picture is a path, bytes, a PIL image or a uint8 array, got {type(picture).__name__}.")
    name = "the picture" if isinstance(picture, bytes | Image.Image) else os.fspath(picture)
    try:
        with _strictly(), contextlib.ExitStack() as files:
            if not isinstance(picture, Image.Image):
                file = io.BytesIO(picture) if isinstance(picture, bytes) else files.enter_context(_file(Path(name)))
                picture = files.enter_context(Image.open(file, formats=tuple(dict.fromkeys(SUFFIXES.values()))))
            yield picture, name
    except PhotoError:
        raise
    except UnidentifiedImageError:
        kinds = "a JPEG, PNG, TIFF, WebP, BMP, GIF or PPM picture"
        raise PhotoError(f"{name} is not {kinds}, whatever its name says. Save or export it as JPEG or PNG.") from None
    except Image.DecompressionBombError as error:
        cure = "Reduce the picture first, or raise colorlab.photos.MAX_PIXELS if you trust it."
        raise PhotoError(f"{name} is too large to be read safely: {error} {cure}") from None
    except Exception as error:  # on broken data Pillow raises a dozen kinds, and its next version another
        raise PhotoError(f"{name} is damaged or cut short ({_reason(error)}). Copy or download it again.") from error


_lock, _readers, _undo = threading.Lock(), 0, contextlib.ExitStack()


@contextlib.contextmanager
def _strictly() -> Iterator[None]:
    """Pillow with our size limit, no warnings, and no half-decoded pictures, which fastai allows it to return.

    The settings belong to the whole process, so the first reader makes them and the last takes them back.
    """
    global _readers
    with _lock:
        _readers += 1
        if _readers == 1:
            _undo.enter_context(warnings.catch_warnings())
            warnings.simplefilter("ignore")
            _undo.callback(setattr, ImageFile, "LOAD_TRUNCATED_IMAGES", ImageFile.LOAD_TRUNCATED_IMAGES)
            _undo.callback(setattr, Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
            ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS = False, MAX_PIXELS // 2  # Pillow refuses at twice that
    try:
        yield
    finally:
        with _lock:
            _readers -= 1
            if not _readers:
                _undo.close()


def _file(path: Path) -> io.BufferedReader:
    try:
        if path.is_dir():
            raise PhotoError(f"{path} is a folder. Name one picture in it.")
        if not path.exists():
            raise PhotoError(f"{path} does not exist. Check the spelling; a relative path starts at {Path.cwd()}.")
        if not path.is_file() or not path.stat().st_size:
            raise PhotoError(f"{path} is {'empty' if path.is_file() else 'not a file'}. Copy or download the picture again.")
        return open(path, "rb")
    except OSError as error:
        raise PhotoError(f"{path} cannot be opened ({_reason(error)}). Check its name, and that you may read it.") from error


def _reason(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).rstrip(".")


def _from_array(array: np.ndarray) -> Photo:
    channels = array.shape[2] if array.ndim == 3 else 1
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or channels not in (1, 3, 4) or not array.size:
        shapes = "(H, W), (H, W, 1), (H, W, 3) or (H, W, 4)"
        raise PhotoError(f"The picture must be uint8 of shape {shapes}, got {array.dtype} {array.shape}. Scale [0, 1] by 255.")
    rgb = np.repeat(array.reshape(*array.shape[:2], 1), 3, axis=2) if channels == 1 else array[..., :3]
    return Photo(np.require(rgb, requirements="CW"), np.ascontiguousarray(array[..., 3]) if channels == 4 else None)


def _with_alpha(image: Image.Image, alpha: np.ndarray | None, kind: str) -> Image.Image:
    if alpha is not None and kind in ("JPEG", *_PLAIN):
        return Image.composite(image, Image.new("RGB", image.size, "white"), Image.fromarray(alpha))
    if alpha is not None:
        image.putalpha(Image.fromarray(alpha))
    return image


@dataclass(frozen=True)
class Sample:
    """A sample photograph; `read`, `load_rgb` and `open` take it as they take a path."""

    name: str
    title: str
    credit: str  # who made it, the licence, and the package that brings it
    path: Path

    def __fspath__(self) -> str:
        return str(self.path)

    @property
    def rgb(self) -> torch.Tensor:
        """The photograph as a float32 tensor (3, H, W) in [0, 1]."""
        return load_rgb(self)


# Photographs inside the wheels of three packages. The credits are those of skimage.data's docstrings, of scikit-learn's
# datasets/images/README.txt, and of the comment in matplotlib's file. (The README names danielbuechele for the flower
# too, but the address that it gives, and the picture's own metadata, are vultilion's.)
_SAMPLES = """
astronaut | skimage | data/astronaut.png | Eileen Collins, astronaut | NASA; public domain; from scikit-image
coffee | skimage | data/coffee.png | A cup of coffee | Rachel Michetti, Pikolo Espresso Bar; CC0; from scikit-image
chelsea | skimage | data/chelsea.png | Chelsea the cat | Stefan van der Walt; CC0; from scikit-image
rocket | skimage | data/rocket.jpg | Falcon 9 on the launch pad | SpaceX; public domain; from scikit-image
china | sklearn | datasets/images/china.jpg | A tower above a lake, China \
| flickr.com/photos/danielbuechele/6061409035; CC BY 2.0; from scikit-learn
flower | sklearn | datasets/images/flower.jpg | A dahlia | flickr.com/photos/vultilion/6056698931; CC BY 2.0; from scikit-learn
hopper | matplotlib | mpl-data/sample_data/grace_hopper.jpg | Grace Hopper, computer scientist and rear admiral \
| commons.wikimedia.org/wiki/File:Grace_Hopper.jpg; public domain (matplotlib's pull request 1599); from matplotlib
"""


def samples() -> list[Sample]:
    """The sample photographs listed above, of those packages that are installed. PhotoError where none is. Chapter 02."""
    found = []
    for row in _SAMPLES.strip().splitlines():
        name, package, file, title, credit = row.split(" | ")
        spec = importlib.util.find_spec(package)  # finds it, does not import it
        path = Path(*(spec.submodule_search_locations or [""]), file) if spec else Path(file)
        found += [Sample(name, title, credit, path)] if spec and path.is_file() else []
    if not found:
        raise PhotoError('No sample photographs: packages of the course bring them. pip install "colorlab[course]"')
    return found


def sample(name: str) -> Sample:
    """The sample photograph of that name. PhotoError for another, with the names there are. Chapter 02."""
    found = {sample.name: sample for sample in samples()}
    if name not in found:
        raise PhotoError(f"There is no sample photograph {name!r}, only {', '.join(found)}.")
    return found[name]
