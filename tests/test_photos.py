"""Every mode, format and fault of a picture, against Pillow's whole-picture conversions and the standards' own words."""

import io
import os
import socket
import stat
import struct
import subprocess
import sys
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image, ImageCms, ImageFile, JpegImagePlugin

from colorlab import color, photos
from colorlab.photos import Photo, PhotoError

FORMATS = {"JPEG": ".jpg", "PNG": ".png", "TIFF": ".tif", "WEBP": ".webp", "BMP": ".bmp", "GIF": ".gif", "PPM": ".ppm"}
TAG, IFD = ExifTags.Base, ExifTags.IFD


def gradient(height: int = 17, width: int = 24) -> np.ndarray:
    """A picture (H, W, 3) uint8 that is different in every corner, channel and pixel."""
    y, x = np.mgrid[:height, :width]
    channels = [255 * x // (width - 1), 255 * y // (height - 1), 255 - 255 * (x + y) // (width + height - 2)]
    return np.stack(channels, -1).astype(np.uint8)


def of_mode(mode: str) -> Image.Image:
    """The gradient as a PIL image of a mode, with transparency where the mode has it."""
    image, height, width = Image.fromarray(gradient()), 17, 24
    veil = Image.fromarray(np.linspace(0, 255, height * width).reshape(height, width).astype(np.uint8))
    grey = np.asarray(image.convert("L")).astype(np.uint16) * 257
    if mode.startswith("I;16"):
        return Image.frombytes(mode, image.size, grey.astype(">u2" if mode.endswith("B") else "<u2").tobytes())
    if mode == "I":
        return Image.fromarray(grey.astype(np.int32))
    if mode == "F":
        return Image.fromarray((grey / 65535).astype(np.float32))
    if mode in ("LA", "PA", "RGBA", "La", "RGBa"):
        image = image.convert({"La": "L", "LA": "L", "PA": "P"}.get(mode, "RGB"))
        image.putalpha(veil)
        return image.convert(mode)
    return image.convert(mode)


def plainly(image: Image.Image) -> tuple[np.ndarray, np.ndarray | None]:
    """What Pillow makes of a whole picture: rgb and alpha."""
    image = image.convert(image.mode.upper()) if image.mode in ("La", "RGBa") else image
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return np.array(image.convert("RGB")), np.array(image.getchannel("A"))
    return np.array(image.convert("RGB")), None


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.fixture
def narrow_strips(monkeypatch):
    monkeypatch.setattr(photos, "_STRIP_PIXELS", 60)  # two rows at a time, and a single last one


HELD = {
    "JPEG": "1 L RGB CMYK YCbCr",
    "PNG": "1 L LA I;16 P RGB RGBA",
    "TIFF": "1 L LA P PA I I;16 I;16B F RGB RGBA RGBX CMYK YCbCr LAB",
    "WEBP": "RGB RGBA",
    "BMP": "1 L P RGB RGBA",
    "GIF": "1 L P",
    "PPM": "1 L I I;16 F RGB",
}


@pytest.mark.parametrize(("kind", "mode"), [(kind, mode) for kind, modes in HELD.items() for mode in modes.split()])
def test_every_mode_of_every_format(kind, mode, tmp_path, narrow_strips):
    path = tmp_path / f"picture{FORMATS[kind]}"
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {"quality": 95, "subsampling": 0} if kind == "JPEG" else {}
    of_mode(mode).save(path, kind, **options)
    photo = photos.read(path)
    with Image.open(path) as image:
        if image.mode.startswith(("I", "F")):
            rgb, alpha = gradient() * 0 + np.asarray(of_mode("L"))[..., None], None
        else:
            rgb, alpha = plainly(image)
    np.testing.assert_array_equal(photo.rgb, rgb)
    assert (photo.alpha is None) == (alpha is None)
    if alpha is not None:
        np.testing.assert_array_equal(photo.alpha, alpha)
    assert photo.name == str(path)
    assert photo.rgb.dtype == np.uint8
    assert photo.rgb.flags.c_contiguous
    assert photo.rgb.flags.writeable
    if mode not in ("1", "P", "PA"):  # and it is the gradient, in grey or colour
        whole = np.asarray(of_mode("RGB" if mode in ("RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB") else "L").convert("RGB"))
        assert abs(photo.rgb.astype(int) - whole).mean() < (6 if mode == "LAB" else 4)


ALL_MODES = "1 L LA La P PA RGB RGBA RGBa RGBX CMYK YCbCr LAB HSV I F I;16 I;16L I;16B I;16N"


@pytest.mark.parametrize("mode", ALL_MODES.split())
def test_every_mode_in_memory(mode, narrow_strips):
    image = of_mode(mode)
    photo = photos.read(image)
    rgb, alpha = (gradient() * 0 + np.asarray(of_mode("L"))[..., None], None) if mode[0] in "IF" else plainly(image)
    np.testing.assert_array_equal(photo.rgb, rgb)
    assert (photo.alpha is None) == (alpha is None)
    assert photo.name == "the picture"
    assert image.mode == mode


def test_16_bit_grey_is_divided_by_257(tmp_path):
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    for image, name in [(Image.fromarray(values), "a.png"), (Image.fromarray(values), "a.tif"), (of_16b(values), "b.tif")]:
        image.save(tmp_path / name)
        np.testing.assert_array_equal(photos.read(tmp_path / name).rgb[..., 1], np.rint(values / 257))


def of_16b(values: np.ndarray) -> Image.Image:
    return Image.frombytes("I;16B", values.shape[::-1], values.astype(">u2").tobytes())


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0, 0.5, 1.0], [0, 128, 255]),
        ([0.0, 128.0, 255.0], [0, 128, 255]),
        ([-3.0, 0.25, float("nan")], [0, 64, 0]),
        ([0.0, 32768.0, 65535.0], [0, 128, 255]),
        ([0, 257, 65535], [0, 1, 255]),
        ([-5, 0, 200], [0, 0, 1]),
        ([0, 2**30, 2**31 - 1], [0, 128, 255]),
    ],
)
def test_white_of_a_32_bit_grey_is_the_smallest_that_holds_it(values, expected):
    array = np.array([values], np.float32 if isinstance(values[0], float) else np.int32)
    assert photos.read(Image.fromarray(array)).rgb[0, :, 0].tolist() == expected


def test_one_transparent_colour():
    """PNG's tRNS: one grey, one 16-bit grey, one colour, one palette entry, or an alpha for each palette entry."""
    grey = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20
    colours = np.stack([grey, grey + 1, grey + 2], -1)
    table = Image.fromarray(grey // 20).convert("L").quantize(12)
    each = bytes(range(0, 240, 20))
    cases = [
        (Image.fromarray(grey), {"transparency": 40}, grey != 40),
        (Image.fromarray(grey).convert("1"), {"transparency": 255}, ~np.asarray(Image.fromarray(grey).convert("1"))),
        (Image.fromarray(grey.astype(np.uint16) * 257), {"transparency": 40 * 257}, grey != 40),
        (Image.fromarray(colours), {"transparency": (40, 41, 42)}, grey != 40),
        (table, {"transparency": 3}, np.asarray(table) != 3),
        (table, {"transparency": each}, np.asarray([each[i] for i in np.asarray(table).flat]).reshape(3, 4) / 255),
    ]
    for image, options, opacity in cases:
        photo = photos.read(encoded(image, "PNG", **options))
        np.testing.assert_array_equal(photo.alpha, np.rint(opacity * 255), err_msg=f"{image.mode} {options}")


def test_first_frame_of_an_animation(tmp_path):
    frames = [Image.fromarray(np.full((4, 5, 3), value, np.uint8)) for value in (200, 10, 90)]
    for kind in ("GIF", "PNG", "WEBP", "TIFF"):
        data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **({"lossless": True} if kind == "WEBP" else {}))
        assert (photos.read(data).rgb == 200).all(), kind
    data = encoded(frames[0], "MPO", save_all=True, append_images=frames[1:])  # a phone's JPEG of two pictures
    assert abs(photos.read(data).rgb.astype(int) - 200).max() <= 2


# The EXIF standard's words for orientation: what row 0 and column 0 of the file are in the scene.
SIDES = {1: "top left", 2: "top right", 3: "bottom right", 4: "bottom left"}
SIDES |= {5: "left top", 6: "right top", 7: "right bottom", 8: "left bottom"}


def as_stored(upright: np.ndarray, turn: int) -> np.ndarray:
    row, column = SIDES[turn].split()
    array = upright if row in ("top", "bottom") else upright.swapaxes(0, 1)
    array = array[::-1] if row in ("bottom", "right") else array
    return np.ascontiguousarray(array[:, ::-1] if column in ("bottom", "right") else array)


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "TIFF deflated", "WEBP"])
def test_orientation(kind, turn, tmp_path, narrow_strips):
    exif = Image.Exif()
    exif[TAG.Orientation] = turn
    exif[TAG.Make] = "Box camera"
    options = {"WEBP": {"lossless": True}, "JPEG": {"quality": 100, "subsampling": 0}}
    options["TIFF deflated"] = {"compression": "tiff_deflate"}
    path = tmp_path / "turned"
    Image.fromarray(as_stored(gradient(), turn)).save(path, kind.split()[0], exif=exif, **options.get(kind, {}))
    photo = photos.read(path)
    assert photo.rgb.shape == (17, 24, 3)
    assert abs(photo.rgb.astype(int) - gradient()).max() <= (4 if kind == "JPEG" else 0)
    after = photos.save(photo, tmp_path / "upright.png")
    with Image.open(after) as image:
        assert TAG.Orientation not in image.getexif()
        assert image.getexif()[TAG.Make] == "Box camera"
        assert image.size == (24, 17)


@pytest.mark.parametrize("turn", range(1, 9))
def test_orientation_turns_alpha_too(turn, narrow_strips):
    alpha = gradient()[..., 0]
    image = Image.fromarray(as_stored(np.dstack([gradient(), alpha]), turn))
    exif = Image.Exif()
    exif[TAG.Orientation] = turn
    photo = photos.read(encoded(image, "PNG", exif=exif))
    np.testing.assert_array_equal(photo.alpha, alpha)
    np.testing.assert_array_equal(photo.rgb, gradient())


@pytest.mark.parametrize("turn", [0, 9, 6000])
def test_nonsense_orientation_is_ignored(turn):
    exif = Image.Exif()
    exif[TAG.Orientation] = turn
    np.testing.assert_array_equal(photos.read(encoded(Image.fromarray(gradient()), "PNG", exif=exif)).rgb, gradient())


def profile(name: str) -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile(name)).tobytes()


def adobe_rgb() -> bytes:
    pytest.importorskip("skimage")
    with Image.open(photos.sample("rocket").path) as image:
        return image.info["icc_profile"]


def test_srgb_profile_changes_nothing():
    with Image.open(photos.sample("china").path) as image:
        scanner = image.info["icc_profile"]  # Hewlett-Packard's sRGB, in most photographs
    for icc in (profile("sRGB"), scanner):
        for kind in ("PNG", "TIFF"):
            data = encoded(Image.fromarray(gradient()), kind, icc_profile=icc)
            np.testing.assert_array_equal(photos.read(data).rgb, gradient())


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "YCbCr"])
def test_another_profile_is_converted(mode, narrow_strips):
    icc = adobe_rgb()
    image = of_mode(mode)
    plain = image.convert("RGB")
    by_hand = ImageCms.profileToProfile(
        plain, ImageCms.ImageCmsProfile(io.BytesIO(icc)), ImageCms.createProfile("sRGB"), outputMode="RGB"
    )
    photo = photos.read(encoded(image, "TIFF", icc_profile=icc))
    np.testing.assert_array_equal(photo.rgb, np.asarray(by_hand))
    assert abs(photo.rgb.astype(int) - np.asarray(plain)).max() > 20
    assert (photo.alpha is not None) == (mode == "RGBA")


def test_adobe_rgb_by_its_own_definition():
    """Adobe RGB (1998): gamma 563/256 and a wider green; its mid green is out of sRGB's reach, its greys are sRGB's greys."""
    pixels = np.array([[[60, 60, 60], [200, 200, 200], [0, 255, 0], [200, 100, 100]]], np.uint8)
    rgb = photos.read(encoded(Image.fromarray(pixels), "PNG", icc_profile=adobe_rgb())).rgb[0].astype(int)
    assert np.ptp(rgb[:2], axis=1).max() <= 1
    assert rgb[2].tolist() == [0, 255, 0]
    to_xyz = np.array([[0.57667, 0.18556, 0.18823], [0.29734, 0.62736, 0.07529], [0.02703, 0.07069, 0.99134]])
    linear = color._matrix(torch.zeros(()), inverse=True).numpy() @ (to_xyz @ (pixels[0, 3] / 255) ** (563 / 256) / color._WHITE)
    expected = color.linear_to_srgb(torch.from_numpy(linear)).numpy() * 255
    assert abs(rgb[3] - expected).max() <= 2


def grey_profile(gamma: float) -> bytes:
    """A minimal grey ICC profile, by hand: the smallest that lcms accepts."""
    curve = b"curv" + struct.pack(">IIH", 0, 1, round(gamma * 256)) + b"\0\0"
    white = b"XYZ " + struct.pack(">Iiii", 0, 63190, 65536, 54061)
    table = struct.pack(">I4sII4sII", 2, b"wtpt", 156, 20, b"kTRC", 176, 14)
    body = table + white + curve
    head = struct.pack(">I4sI4s4s4s", 128 + len(body), b"\0\0\0\0", 0x02100000, b"mntr", b"GRAY", b"XYZ ")
    head += struct.pack(">6H4s", 2026, 1, 1, 0, 0, 0, b"acsp") + bytes(28) + struct.pack(">III", 63190, 65536, 54061)
    return head.ljust(128, b"\0") + body


@pytest.mark.parametrize("mode", ["L", "LA", "I;16"])
def test_grey_profile_is_converted(mode):
    image = of_mode(mode)
    photo = photos.read(encoded(image, "TIFF", icc_profile=grey_profile(1.0)))  # linear light, so it must become much lighter
    grey = np.asarray(of_mode("L"))
    expected = color.linear_to_srgb(torch.from_numpy(grey / 255)).numpy() * 255
    assert abs(photo.rgb[..., 1] - expected).max() <= 2
    assert (photo.alpha is not None) == (mode == "LA")


def test_lab_needs_no_profile():
    plain = photos.read(encoded(of_mode("LAB"), "TIFF")).rgb
    np.testing.assert_array_equal(photos.read(encoded(of_mode("LAB"), "TIFF", icc_profile=adobe_rgb())).rgb, plain)


@pytest.mark.parametrize("icc", [b"nonsense", b"\0" * 200, "truncated", "unfitting"])
def test_broken_profile_is_ignored(icc):
    icc = {"truncated": profile("sRGB")[:200], "unfitting": grey_profile(1.0)}.get(icc, icc)
    np.testing.assert_array_equal(photos.read(encoded(Image.fromarray(gradient()), "PNG", icc_profile=icc)).rgb, gradient())


@pytest.mark.parametrize("shape", [(17, 24), (17, 24, 1), (17, 24, 3), (17, 24, 4)])
def test_arrays(shape):
    whole = np.dstack([gradient(), gradient()[..., 0]])
    array = (whole[..., : shape[2]] if len(shape) == 3 else whole[..., 0]).copy()
    photo = photos.read(array)
    np.testing.assert_array_equal(photo.rgb, gradient() if shape[-1] in (3, 4) else whole[..., :1].repeat(3, 2))
    assert (photo.alpha is not None) == (shape[-1] == 4)
    assert np.shares_memory(photo.rgb, array) == (shape[-1] == 3)
    array.flags.writeable = False
    assert photos.load_rgb(array).shape == (3, 17, 24)
    assert photos.load_rgb(array[::-1, ::-1]).shape == (3, 17, 24)


@pytest.mark.parametrize(
    "picture",
    [np.zeros((4, 4, 3)), np.zeros((4, 4, 2), np.uint8), np.zeros(4, np.uint8), np.zeros((0, 4, 3), np.uint8),
     np.zeros((1, 4, 4, 3), np.uint8), None, 3, torch.zeros(3, 4, 4), b"", Image.new("RGB", (0, 4))],
)  # fmt: skip
def test_what_is_no_picture(picture):
    with pytest.raises(PhotoError, match="picture"):
        photos.read(picture)


def test_load_rgb_is_the_contract():
    x = photos.load_rgb(gradient())
    assert x.shape == (3, 17, 24)
    assert x.dtype == torch.float32
    assert x.is_contiguous()
    torch.testing.assert_close(x, torch.from_numpy(gradient()).permute(2, 0, 1) / 255, rtol=0, atol=0)
    hidden = photos.load_rgb(np.dstack([gradient(), np.zeros((17, 24), np.uint8)]))
    torch.testing.assert_close(hidden, x, rtol=0, atol=0)


# ---------------------------------------------------------------------------------------------------- faults


@pytest.mark.parametrize("name", ["plain.png", "with space.png", "ünï – 写真.png", "no_suffix", "lying.jpg", "#%&.png"])
def test_names(name, tmp_path):
    path = tmp_path / name
    path.write_bytes(encoded(Image.fromarray(gradient()), "PNG"))
    for given in (path, str(path)):
        np.testing.assert_array_equal(photos.read(given).rgb, gradient())
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(PhotoError) as error:
        photos.read(path)
    assert str(path) in str(error.value)


def test_faults_of_a_file(tmp_path, monkeypatch):
    (tmp_path / "empty.jpg").touch()
    os.mkfifo(tmp_path / "pipe.jpg")
    cases = {"missing.jpg": "does not exist", "empty.jpg": "empty", ".": "folder", "pipe.jpg": "not a file", "x" * 300: "opened"}
    for name, words in cases.items():
        with pytest.raises(PhotoError, match=words) as error:
            photos.read(tmp_path / name)
        assert str(tmp_path / name) in str(error.value)
    with pytest.raises(PhotoError, match="does not exist"):
        photos.read("null\0byte.png")

    def refuse(*arguments):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(photos, "open", refuse, raising=False)  # the tests may run as root, who may read everything
    (tmp_path / "secret.png").write_bytes(b"secret")
    with pytest.raises(PhotoError, match=r"secret\.png cannot be opened \(Permission denied\)"):
        photos.read(tmp_path / "secret.png")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_file_without_permission(tmp_path):
    path = tmp_path / "secret.png"
    path.write_bytes(encoded(Image.fromarray(gradient()), "PNG"))
    path.chmod(0)
    with pytest.raises(PhotoError, match="Permission denied"):
        photos.read(path)


FOREIGN = {"text": b"Dear diary,", "zip": b"PK\3\4" + bytes(99), "SVG": b"<svg/>", "HEIC": b"\0\0\0\x18ftypheic" + bytes(99)}


@pytest.mark.parametrize("kind", ["ICO", "PDF", "EPS", "TGA", "PCX", "SGI", "JPEG2000", "DDS", *FOREIGN])
def test_foreign_formats_are_refused_whatever_their_name(kind, tmp_path):
    path = tmp_path / "picture.jpg"
    path.write_bytes(FOREIGN.get(kind) or encoded(Image.fromarray(gradient()), kind))
    with pytest.raises(PhotoError, match=r"picture\.jpg is not a JPEG, PNG, TIFF, WebP, BMP, GIF or PPM"):
        photos.read(path)


def bomb(width: int, height: int) -> bytes:
    """A PNG whose header promises a picture that its 60 bytes do not hold."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def test_bomb_is_refused_from_its_header(tmp_path, monkeypatch):
    path = tmp_path / "bomb.png"
    path.write_bytes(bomb(60000, 60000))
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: pytest.fail("it was decoded"))
    with pytest.raises(PhotoError) as error:
        photos.read(path)
    for words in (str(path), "3600000000 pixels", "limit of 200000000 pixels", "Reduce", "MAX_PIXELS"):
        assert words in str(error.value)


@pytest.mark.parametrize("kind", FORMATS)
def test_the_size_limit_is_ours_not_pillows(kind, monkeypatch):
    data = encoded(Image.fromarray(gradient()), kind)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 5)
    assert photos.read(data).rgb.shape == (17, 24, 3)
    assert Image.MAX_IMAGE_PIXELS == 5
    monkeypatch.setattr(photos, "MAX_PIXELS", 17 * 24)
    assert photos.read(data).rgb.shape == (17, 24, 3)
    monkeypatch.setattr(photos, "MAX_PIXELS", 17 * 24 - 2)
    with pytest.raises(PhotoError, match="408 pixels"):
        photos.read(data)


def samples_of(kind: str) -> list[bytes]:
    noisy = np.random.default_rng(0).integers(0, 256, (31, 29, 3), np.uint8)
    variants = {
        "JPEG": [{}, {"progressive": True}],
        "TIFF": [{}, {"compression": "tiff_lzw"}, {"compression": "jpeg"}],
        "WEBP": [{}, {"lossless": True}],
    }
    exif = Image.Exif()
    exif[TAG.Make] = "Box camera"
    extra = {} if kind in ("GIF", "BMP", "PPM") else {"exif": exif, "icc_profile": profile("sRGB")}
    return [encoded(Image.fromarray(noisy), kind, **extra, **options) for options in variants.get(kind, [{}])]


@pytest.mark.parametrize("generous", [False, True], ids=["", "as fastai sets Pillow"])
@pytest.mark.parametrize("kind", FORMATS)
def test_truncated_pictures_are_errors(kind, generous, monkeypatch):
    """Cut anywhere, a file is an error or, where only a trailer is missing, the whole picture; never half of one."""
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", generous)
    for data in samples_of(kind):
        whole = photos.read(data).rgb
        lengths = [*range(0, len(data), max(1, len(data) // 50)), *range(max(0, len(data) - 12), len(data))]
        for length in lengths:
            try:
                np.testing.assert_array_equal(photos.read(data[:length]).rgb, whole, err_msg=f"{length} of {len(data)}")
            except PhotoError:
                continue
            assert length > 0.75 * len(data)  # a TIFF's profile comes last, a PNG's end mark, a GIF's, BMP's padding
    assert generous == ImageFile.LOAD_TRUNCATED_IMAGES


@pytest.mark.parametrize("kind", FORMATS)
def test_mutated_pictures(kind, monkeypatch):
    """Forty seeded mutations of each format: a PhotoError or a valid picture, and no warning."""
    monkeypatch.setattr(photos, "MAX_PIXELS", 10**7)  # a mutated header may ask for a gigabyte
    rng = np.random.default_rng(list(kind.encode()))
    readable = 0
    for n in range(40):
        sources = samples_of(kind)
        data = bytearray(sources[n % len(sources)])
        for _ in range(rng.integers(1, 6)):
            place = int(rng.integers(0, min(len(data), 400) if n % 2 else len(data)))
            if n % 5 == 0:
                del data[place : place + int(rng.integers(1, 40))]
            elif n % 5 == 1:
                data[place:place] = rng.bytes(int(rng.integers(1, 40)))
            else:
                data[place] = int(rng.integers(0, 256))
        try:
            photo = photos.read(bytes(data))
        except PhotoError:
            continue
        readable += 1
        assert photo.rgb.dtype == np.uint8
        assert photo.rgb.ndim == 3
        assert photo.rgb.shape[2] == 3
    assert readable < 40


def test_threads_share_pillows_settings(monkeypatch):
    """The last reader of several restores what the first one found, warnings included."""
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    data = [*samples_of("JPEG"), *samples_of("PNG"), samples_of("JPEG")[0][:500]] * 20
    filters, limit = list(warnings.filters), Image.MAX_IMAGE_PIXELS

    def attempt(source: bytes) -> bool:
        try:
            return photos.read(source).rgb.shape == (31, 29, 3)
        except PhotoError:
            return False

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(attempt, data))
    assert sum(results) == 60
    assert (list(warnings.filters), Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES) == (filters, limit, True)


# ---------------------------------------------------------------------------------------------------- writing

LOSSLESS = [".png", ".tif", ".tiff", ".webp", ".bmp", ".ppm"]


@pytest.mark.parametrize("suffix", [*LOSSLESS, ".jpg", ".jpeg", ".jfif", ".PNG", ".Jpg"])
def test_saved_and_read_again(suffix, tmp_path):
    path = photos.save(gradient(), tmp_path / f"picture{suffix}")
    assert path == tmp_path / f"picture{suffix}"
    with Image.open(path) as image:
        assert image.format == photos.SUFFIXES[suffix.lower()]
        assert image.mode == "RGB"
    difference = abs(photos.read(path).rgb.astype(int) - gradient())
    assert difference.max() <= (0 if suffix in LOSSLESS or suffix == ".PNG" else 12)
    assert difference.mean() < 1.5
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask()


def umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_jpeg_keeps_the_colours_resolution(tmp_path):
    with Image.open(photos.save(gradient(), tmp_path / "a.jpg")) as image:
        assert JpegImagePlugin.get_sampling(image) == 0  # 4:4:4
        assert max(image.quantization[0]) <= 12  # quality 95


@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp"])
def test_alpha_is_kept_with_the_colours_beneath_it(suffix, tmp_path):
    alpha = gradient()[..., 0]
    photo = photos.read(photos.save(np.dstack([gradient(), alpha]), tmp_path / f"a{suffix}"))
    np.testing.assert_array_equal(photo.alpha, alpha)
    np.testing.assert_array_equal(photo.rgb, gradient())


@pytest.mark.parametrize("suffix", [".jpg", ".bmp", ".ppm"])
def test_without_alpha_the_picture_is_laid_on_white(suffix, tmp_path):
    alpha = np.full((17, 24), 51, np.uint8)  # a fifth
    photo = photos.read(photos.save(Photo(gradient(), alpha), tmp_path / f"a{suffix}"))
    assert photo.alpha is None
    assert abs(photo.rgb - (0.2 * gradient() + 0.8 * 255)).max() < (6 if suffix == ".jpg" else 1)


@pytest.mark.parametrize("name", ["a.gif", "a.heic", "a", "a.txt"])
def test_suffixes_that_are_not_written(name, tmp_path):
    with pytest.raises(PhotoError) as error:
        photos.save(gradient(), tmp_path / name)
    what, _, cure = str(error.value).partition("Let it end in one of")
    assert name in what
    assert ("256 colours" in what) == (name == "a.gif")
    assert set(cure.strip().rstrip(".").split(", ")) == set(photos.SUFFIXES) - {".gif"}


def test_places_that_cannot_be_written(tmp_path):
    (tmp_path / "folder.png").mkdir()
    for path in (tmp_path / "none" / "a.png", tmp_path / "folder.png", tmp_path / ("x" * 300 + ".png")):
        with pytest.raises(PhotoError, match="cannot be written") as error:
            photos.save(gradient(), path)
        assert str(path) in str(error.value)
    with pytest.raises(PhotoError, match=r"16383.*another format"):
        photos.save(np.zeros((2, 20000, 3), np.uint8), tmp_path / "long.webp")
    with pytest.raises(PhotoError, match="cannot be written"):
        photos.save(Photo(gradient(), np.zeros((2, 2), np.uint8)), tmp_path / "a.png")
    assert [p.name for p in tmp_path.iterdir()] == ["folder.png"]


def test_overwriting(tmp_path):
    path = photos.save(np.zeros((4, 4, 3), np.uint8), tmp_path / "a.png")
    with pytest.raises(PhotoError, match="exists already"):
        photos.save(gradient(), path, overwrite=False)
    assert photos.read(path).rgb.shape == (4, 4, 3)
    path.chmod(0o640)
    (tmp_path / "link.png").symlink_to(path)
    photos.save(gradient(), tmp_path / "link.png")
    assert (tmp_path / "link.png").is_symlink()
    np.testing.assert_array_equal(photos.read(path).rgb, gradient())
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


@pytest.mark.parametrize("fault", [OSError(28, "No space left on device"), MemoryError(), KeyboardInterrupt()], ids=repr)
@pytest.mark.parametrize("place", ["save", "fsync", "replace"])
def test_written_whole_or_not_at_all(place, fault, tmp_path, monkeypatch):
    path = photos.save(gradient(), tmp_path / "a.png")
    before = path.read_bytes()

    def fail(*arguments, **options):
        if place == "save":
            arguments[1].write(b"half a pic")
        raise fault

    monkeypatch.setattr(*((Image.Image, "save") if place == "save" else (os, place)), fail)
    with pytest.raises(KeyboardInterrupt if isinstance(fault, KeyboardInterrupt) else PhotoError) as error:
        photos.save(255 - gradient(), path)
    assert error.value is fault or error.value.__cause__ is fault
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]


# ---------------------------------------------------------------------------------------------------- metadata

HOLDS_TEXT = [".jpg", ".png", ".tif", ".webp"]
NOTE = "Colors inferred by colorlab 0.1.0, model photo: a plausible guess – naïve, 推測."


@pytest.mark.parametrize("suffix", HOLDS_TEXT)
def test_note(suffix, tmp_path):
    path = photos.save(gradient(), tmp_path / f"a{suffix}", note=f"  {NOTE}\n\n")
    assert photos.note(path) == NOTE
    assert photos.note(path.read_bytes()) == NOTE
    with Image.open(path) as image:
        assert image.getexif()[TAG.Software].startswith("colorlab ")
        assert image.getexif()[TAG.ImageDescription].encode("latin-1").decode() == NOTE
        if suffix == ".png":
            assert image.text["Description"] == NOTE
            assert image.text["Software"].startswith("colorlab ")


@pytest.mark.parametrize("suffix", HOLDS_TEXT)
def test_note_stays_with_the_picture(suffix, tmp_path):
    path = photos.save(gradient(), tmp_path / "a.jpg", note="first")
    assert photos.note(photos.save(path, tmp_path / f"b{suffix}")) == "first"
    path = photos.save(path, tmp_path / f"c{suffix}", note="second")
    assert photos.note(path) == "second"
    with Image.open(path) as image:
        assert image.getexif()[TAG.ImageDescription] == "second"


@pytest.mark.parametrize("suffix", [".bmp", ".ppm"])
def test_formats_that_hold_no_note(suffix, tmp_path):
    assert photos.note(photos.save(gradient(), tmp_path / f"a{suffix}", note="lost")) == ""


def test_a_description_is_no_note_and_is_not_lost(tmp_path):
    exif = Image.Exif()
    exif[TAG.ImageDescription] = "Grandmother, 1931\nBerlin"
    exif[TAG.Software] = "Scanner 3"
    source = tmp_path / "scan.tif"
    Image.fromarray(gradient()).save(source, exif=exif)
    assert photos.note(source) == ""
    path = photos.save(source, tmp_path / "a.jpg", note="a guess")
    path = photos.save(path, tmp_path / "b.jpg", note="a better guess")
    assert photos.note(path) == "a better guess"
    with Image.open(path) as image:
        assert image.getexif()[TAG.ImageDescription] == "a better guess\nGrandmother, 1931\nBerlin"
    with pytest.raises(PhotoError, match="does not exist"):
        photos.note(tmp_path / "missing.jpg")


def camera_exif() -> Image.Exif:
    exif = Image.Exif()
    exif[TAG.Make], exif[TAG.Model], exif[TAG.Orientation], exif[TAG.DateTime] = "Maker", "Model 1", 6, "2024:05:06 07:08:09"
    exif[TAG.Artist] = "José 田中".encode()
    exif[TAG.XResolution], exif[TAG.YResolution], exif[TAG.ResolutionUnit] = 300.0, 300.0, 2
    exif[IFD.Exif] = {
        int(TAG.DateTimeOriginal): "2024:05:06 07:08:09",
        int(TAG.ExposureTime): 0.005,
        int(TAG.ISOSpeedRatings): 200,
        int(TAG.ColorSpace): 65535,
        int(TAG.ExifImageWidth): 24,
        int(TAG.ExifImageHeight): 17,
        int(TAG.MakerNote): b"secret" * 20,
    }
    exif[IFD.GPSInfo] = {1: "N", 2: (52.0, 31.0, 12.0), 3: "E", 4: (13.0, 24.0, 18.0)}
    return exif


@pytest.mark.parametrize("source", ["JPEG", "PNG", "TIFF", "TIFF deflated", "WEBP"])
@pytest.mark.parametrize("suffix", HOLDS_TEXT)
def test_exif_survives_without_what_is_no_longer_true(source, suffix, tmp_path):
    exif = camera_exif()
    if source.startswith("TIFF"):
        exif = {tag: value for tag, value in exif.items() if source == "TIFF" or not isinstance(value, dict)}  # libtiff's limit
        options = {"tiffinfo": exif, "compression": "tiff_deflate" if source == "TIFF deflated" else None}
    else:
        options = {"exif": exif}
    data = encoded(Image.fromarray(gradient()), source.split()[0], **options)
    path = photos.save(data, tmp_path / f"a{suffix}", note="a guess")
    with Image.open(path) as image:
        assert image.size == (17, 24)
        image.load()
        after = image.getexif()
        assert TAG.Orientation not in after
        assert (after[TAG.Make], after[TAG.Model], after[TAG.DateTime]) == ("Maker", "Model 1", "2024:05:06 07:08:09")
        assert after[TAG.Artist].encode("latin-1").decode() == "José 田中"
        assert float(after[TAG.XResolution]) == 300
        assert not after.get_ifd(IFD.IFD1)
        if suffix != ".tif":
            assert not {TAG.StripOffsets, TAG.ImageWidth, TAG.Compression} & set(after)
        if source != "TIFF deflated":
            inner = after.get_ifd(IFD.Exif)
            assert inner[TAG.DateTimeOriginal] == "2024:05:06 07:08:09"
            assert (float(inner[TAG.ExposureTime]), inner[TAG.ISOSpeedRatings], inner[TAG.ColorSpace]) == (0.005, 200, 1)
            assert not {TAG.MakerNote, TAG.ExifImageWidth, TAG.ExifImageHeight} & set(inner)
            assert after.get_ifd(IFD.GPSInfo)[4] == (13.0, 24.0, 18.0)


def test_exif_of_a_pil_image_is_kept_too(tmp_path):
    image = Image.open(io.BytesIO(encoded(Image.fromarray(gradient()), "JPEG", exif=camera_exif())))
    with Image.open(photos.save(image, tmp_path / "a.jpg")) as after:
        assert after.size == (17, 24)
        assert after.getexif()[TAG.Make] == "Maker"


@pytest.mark.parametrize("exif", [b"nonsense", b"II*\0\xff\xff\xff\xff", b"II*\0\x08\0\0\0\xff\xff" + b"\7" * 90])
def test_broken_exif_loses_no_picture(exif, tmp_path):
    exif = b"Exif\0\0" + exif
    data = encoded(Image.fromarray(gradient()), "PNG", exif=exif)
    np.testing.assert_array_equal(photos.read(data).rgb, gradient())
    assert photos.note(data) == ""
    for suffix in HOLDS_TEXT:
        assert photos.note(photos.save(Photo(gradient(), exif=exif), tmp_path / f"a{suffix}", note="still")) == "still"


def test_exif_too_long_for_jpeg(tmp_path):
    exif = camera_exif()
    exif[IFD.Exif] = {int(TAG.UserComment): b"ASCII\0\0\0" + b"x" * 70000}
    data = encoded(Image.fromarray(gradient()), "PNG", exif=exif)
    path = photos.save(data, tmp_path / "a.jpg", note="a guess")
    assert photos.note(path) == "a guess"
    with Image.open(path) as image:
        assert image.getexif()[TAG.Make] == "Maker"
    with Image.open(photos.save(data, tmp_path / "a.png")) as image:
        assert len(image.getexif().get_ifd(IFD.Exif)[TAG.UserComment]) == 70008


# ---------------------------------------------------------------------------------------------------- samples


def test_samples_are_colour_photographs_with_title_and_credit(monkeypatch):
    monkeypatch.setattr(socket, "socket", lambda *arguments: pytest.fail("the samples need no network"))
    samples = photos.samples()
    assert len(samples) >= 6
    assert len({s.name for s in samples}) == len({s.title for s in samples}) == len(samples)
    for s in samples:
        assert s == photos.sample(s.name)
        assert s.title
        assert any(words in s.credit for words in ("CC0", "CC BY", "public domain"))
        assert s.credit.rpartition("from ")[2] in ("scikit-image", "scikit-learn", "matplotlib")
        assert s.rgb.shape[0] == 3
        assert min(s.rgb.shape[1:]) >= 300
        assert 0 <= s.rgb.min() < s.rgb.max() <= 1
        _, ab = color.encode(s.rgb[None])
        assert ab.norm(dim=1).mean() * color.AB_SCALE > 10, s.name
        torch.testing.assert_close(photos.load_rgb(s), s.rgb, rtol=0, atol=0)
        assert photos.read(s).name == str(s.path)


def test_samples_are_what_they_say():
    data = pytest.importorskip("skimage.data")
    datasets = pytest.importorskip("sklearn.datasets")
    for name in ("astronaut", "coffee", "chelsea"):
        np.testing.assert_array_equal(photos.read(photos.sample(name)).rgb, getattr(data, name)())
    rocket = data.rocket()  # there without its profile, Adobe RGB
    assert 1 < abs(photos.read(photos.sample("rocket")).rgb.astype(int) - rocket).mean() < 10
    for name in ("china", "flower"):
        np.testing.assert_array_equal(photos.read(photos.sample(name)).rgb, datasets.load_sample_image(f"{name}.jpg"))
    readme = (photos.sample("china").path.parent / "README.txt").read_text()
    for name in ("china", "flower"):
        assert photos.sample(name).credit.partition(";")[0] in readme
    with Image.open(photos.sample("hopper").path) as image:
        assert "commons.wikimedia.org/wiki/File:Grace_Hopper.jpg" in image.info["comment"].decode()
    for name, words in {"astronaut": "public domain", "coffee": "Rachel Michetti", "chelsea": "Stefan van der Walt"}.items():
        assert words in getattr(data, name).__doc__
        assert words in photos.sample(name).credit


def test_samples_of_missing_packages(monkeypatch):
    find = photos.importlib.util.find_spec
    monkeypatch.setattr(photos.importlib.util, "find_spec", lambda name: None if name == "skimage" else find(name))
    assert [s.name for s in photos.samples()] == ["china", "flower", "hopper"]
    with pytest.raises(PhotoError, match=r"no sample photograph 'coffee', only china, flower, hopper"):
        photos.sample("coffee")
    monkeypatch.setattr(photos.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(PhotoError, match=r'pip install "colorlab\[course\]"'):
        photos.samples()


def test_samples_import_nothing_heavy():
    code = "import sys; from colorlab import photos; photos.samples()[0].rgb; print(*sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "PIL" in found
    assert not {"skimage", "sklearn", "matplotlib", "scipy", "fastai"} & set(found)


def test_every_format_has_a_suffix():
    assert set(photos.SUFFIXES.values()) == set(FORMATS)
    assert all(suffix == suffix.lower() and Path("x" + suffix).suffix == suffix for suffix in photos.SUFFIXES)
