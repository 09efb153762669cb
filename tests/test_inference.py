"""Any picture in, that picture in colour out: its own size and luminance, judged with scikit-image's L*; and the model files."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import skimage.color
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F

import colorlab
from colorlab import checkpoint, color, evaluate, inference, photos
from colorlab.checkpoint import CheckpointError
from colorlab.inference import Colorizer
from colorlab.machine import Machine
from colorlab.patchgan import PatchGANConfig
from colorlab.train import TrainConfig, Trainer
from colorlab.unet import UNet, UNetConfig

TINY = UNetConfig(width=8, max_width=16, depth=2)


def network(config: UNetConfig = TINY, seed: int = 0, loud: float = 1.0) -> UNet:
    """Random weights; `loud` scales the last ones: at 8, most of the colours that it wants do not exist."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = UNet(config)
    with torch.no_grad():
        net.head.weight *= loud
    return net.requires_grad_(False).eval()


class Says(nn.Module):
    """A generator that answers the same ab everywhere, and remembers what it was shown."""

    stride = 8

    def __init__(self, a: float, b: float):
        super().__init__()
        self.ab, self.shown = torch.tensor([a, b]).view(1, 2, 1, 1), []

    def forward(self, L: torch.Tensor) -> torch.Tensor:
        self.shown.append(L.clone())
        return self.ab.expand(1, 2, *L.shape[2:])


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    """A model's file: random weights, strong colours, shown pictures at 32 pixels."""
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    inference.save_generator(path, network(loud=8.0), "tiny", 32)
    return path


def scene(height: int = 61, width: int = 83, seed: int = 0) -> np.ndarray:
    """A picture (H, W, 3) uint8 of soft blotches in every colour."""
    low = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(low).resize((width, height), Image.Resampling.BICUBIC))


def lightness(rgb: np.ndarray) -> np.ndarray:
    """L* of (H, W, 3) uint8, by scikit-image."""
    return skimage.color.rgb2lab(rgb)[..., 0]


def chroma(rgb: np.ndarray) -> np.ndarray:
    return np.hypot(*np.moveaxis(skimage.color.rgb2lab(rgb)[..., 1:], -1, 0))


def of_mode(mode: str) -> Image.Image:
    image = Image.fromarray(scene())
    if mode.startswith("I;16") or mode in ("I", "F"):
        grey = np.asarray(image.convert("L")).astype(np.uint16) * 257
        return Image.fromarray({"I": grey.astype(np.int32), "F": grey.astype(np.float32) / 65535}.get(mode, grey))
    if mode in ("LA", "RGBA", "PA"):
        image.putalpha(Image.fromarray(scene(seed=1)[..., 0]))
    return image.convert(mode)


MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV", "I;16", "I", "F")


# The picture that comes out


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_keeps_its_size_alpha_and_luminance(tiny, mode):
    image = of_mode(mode)
    before, size = photos.read(image), image.size
    out = colorlab.colorize(image, model=tiny)
    assert isinstance(out, Image.Image)
    assert out.size == size == image.size
    assert out.mode == ("RGBA" if mode in ("LA", "PA", "RGBA") else "RGB")
    rgb = np.asarray(out.convert("RGB"))
    assert np.abs(lightness(rgb) - lightness(before.rgb)).mean() <= 0.5
    assert mode == "1" or chroma(rgb).mean() > 20  # black and white take no colour
    if before.alpha is not None:
        np.testing.assert_array_equal(np.asarray(out.getchannel("A")), before.alpha)


@pytest.mark.parametrize(
    ("height", "width"), [(1, 1), (1, 2), (2, 1), (1, 3000), (3000, 1), (3, 700), (7, 5), (31, 33), (32, 32), (257, 63)]
)
def test_every_size_comes_out_as_it_went_in(tiny, height, width):
    rgb = scene(height, width)
    out = np.asarray(colorlab.colorize(rgb, model=tiny))
    assert out.shape == rgb.shape
    assert np.abs(lightness(out) - lightness(rgb)).mean() <= 0.5


@pytest.mark.parametrize("level", [0, 255])
def test_black_stays_black_and_white_white(tiny, level):
    rgb = np.full((20, 30, 3), level, np.uint8)
    assert np.abs(np.asarray(colorlab.colorize(rgb, model=tiny)).astype(int) - level).max() <= 1


@pytest.mark.parametrize("grey", [60, 128, 200])
def test_the_networks_colour_is_the_pictures_colour(grey):
    colorizer = Colorizer(Says(20 / 110, -10 / 110), "says", 32)
    lab = skimage.color.rgb2lab(colorizer(np.full((40, 50, 3), grey, np.uint8)).rgb)
    expected = [skimage.color.rgb2lab(np.full((1, 1, 3), grey, np.uint8))[0, 0, 0], 20, -10]
    np.testing.assert_allclose(lab.reshape(-1, 3), np.tile(expected, (2000, 1)), atol=0.6)


def test_colours_lie_where_the_network_put_them():
    class Corners(nn.Module):
        stride = 8

        def forward(self, L):
            ab = torch.zeros(1, 2, *L.shape[2:])
            ab[:, 0, :, : L.shape[3] // 2], ab[:, 1, : L.shape[2] // 2] = 0.2, 0.2  # red on the left, yellow above
            return ab

    grey = np.full((60, 100, 3), 128, np.uint8)
    a, b = np.moveaxis(skimage.color.rgb2lab(Colorizer(Corners(), "corners", 32)(grey).rgb)[..., 1:], -1, 0)
    assert np.abs(a[:, :40] - 22).max() < 3
    assert np.abs(a[:, 60:]).max() < 3
    assert np.abs(b[:20] - 22).max() < 3
    assert np.abs(b[40:]).max() < 3


def test_every_colour_is_in_gamut_before_it_is_rounded(tiny, monkeypatch):
    seen, wanted, to_pixels, fit = [], [], inference.to_pixels, color.fit_gamut

    def spy_pixels(rgb):
        seen.append(rgb)
        return to_pixels(rgb)

    def spy_fit(L, ab):
        fitted, share = fit(L, ab)
        wanted.append(share)
        return fitted, share

    monkeypatch.setattr(inference, "to_pixels", spy_pixels)
    monkeypatch.setattr(color, "fit_gamut", spy_fit)
    inference.load(tiny)(scene())
    assert max(wanted) > 0.1  # or there was nothing to show
    assert len(seen) == 2  # the network's grey, and the picture
    for rgb in seen:
        assert rgb.min() >= -2 * color.TOLERANCE
        assert rgb.max() <= 1 + 2 * color.TOLERANCE


def test_the_orientation_is_baked_in(tiny, tmp_path):
    upright = Image.fromarray(scene())
    turned = {1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # the transposition that the orientation asks to undo
    whole = np.asarray(colorlab.colorize(upright, model=tiny))
    for orientation, method in turned.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        stored = upright if method is None else upright.transpose(method)
        stored.save(tmp_path / "turned.png", exif=exif)
        out = colorlab.colorize(tmp_path / "turned.png", model=tiny)
        np.testing.assert_array_equal(np.asarray(out), whole, err_msg=f"orientation {orientation}")
        assert out.getexif().get(0x0112, 1) == 1


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp", ".bmp", ".gif", ".ppm"])
def test_a_path_gives_what_its_pixels_give(tiny, tmp_path, suffix):
    path = tmp_path / f"picture{suffix}"
    Image.fromarray(scene()).save(path)
    from_path = np.asarray(colorlab.colorize(path, model=tiny))
    with Image.open(path) as image:
        for picture in (str(path), photos.read(path).rgb, image):
            np.testing.assert_array_equal(np.asarray(colorlab.colorize(picture, model=tiny)), from_path)


def test_16_bits_and_cmyk_from_files(tiny, tmp_path):
    of_mode("I;16").save(tmp_path / "deep.png")
    of_mode("CMYK").save(tmp_path / "print.tif")
    for path in (tmp_path / "deep.png", tmp_path / "print.tif"):
        out = np.asarray(colorlab.colorize(path, model=tiny))
        assert np.abs(lightness(out) - lightness(photos.read(path).rgb)).mean() <= 0.5


def test_what_cannot_be_read_is_a_photo_error(tiny, tmp_path):
    (tmp_path / "text.png").write_text("no picture")
    for picture in (tmp_path / "text.png", tmp_path / "missing.png", np.zeros((4, 4, 3), np.float32), 7):
        with pytest.raises(photos.PhotoError):
            colorlab.colorize(picture, model=tiny)


def test_the_callers_picture_and_torchs_state_are_left_alone(tiny):
    rgb = scene()
    copy, state = rgb.copy(), torch.get_rng_state()
    image = Image.fromarray(rgb)
    colorlab.colorize(image, model=tiny)
    colorlab.colorize(rgb, model=tiny)
    np.testing.assert_array_equal(rgb, copy)
    np.testing.assert_array_equal(np.asarray(image), copy)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.is_grad_enabled()


def test_exif_and_alpha_stay_with_the_photo(tiny, tmp_path):
    exif = Image.Exif()
    exif[0x010F] = "A camera"
    of_mode("RGBA").save(tmp_path / "in.png", exif=exif)
    before, after = photos.read(tmp_path / "in.png"), inference.load(tiny)(tmp_path / "in.png")
    assert after.exif == before.exif != b""
    assert after.name == before.name
    np.testing.assert_array_equal(after.alpha, before.alpha)


def test_the_note_says_that_colours_are_inferred_and_by_what(tiny, tmp_path):
    colorizer = inference.load(tiny)
    assert "inferred" in colorizer.note
    assert "model tiny" in colorizer.note
    assert colorlab.__version__ in colorizer.note
    for suffix in (".png", ".jpg", ".tif", ".webp"):
        path = photos.save(colorizer(scene()), tmp_path / f"out{suffix}", note=colorizer.note)
        assert photos.note(path) == colorizer.note


# What the network is shown


def test_nothing_of_the_old_colours_reaches_the_network():
    rgb = scene()
    grey = inference.grey_pixels(rgb)[..., None].repeat(3, 2)
    assert chroma(rgb).mean() > 20
    shown = []
    for picture in (rgb, grey):
        says = Says(0.1, 0.1)
        Colorizer(says, "says", 32).chroma(picture)
        shown += says.shown
    assert torch.equal(*shown)


def test_other_colours_of_the_same_luminance_change_nothing_beyond_rounding(tiny):
    L, ab = color.encode(inference.to_tensor(scene()))
    versions = [inference.to_pixels(color.decode(L, color.fit_gamut(L, x)[0])) for x in (ab, ab.flip(1), -ab, 0 * ab)]
    assert np.abs(versions[0].astype(int) - versions[1]).mean() > 20
    first, *others = (np.asarray(colorlab.colorize(x, model=tiny)).astype(int) for x in versions)
    for other in others:
        assert np.abs(first - other).mean() < 1.5


@pytest.mark.parametrize("size", [8, 20, 33, 64])
def test_the_network_is_shown_multiples_of_its_stride_near_its_size(size):
    for height, width in [(61, 83), (83, 61), (300, 40), (9, 9), (1, 1), (2, 900)]:
        says = Says(0.0, 0.0)
        Colorizer(says, "says", size)(scene(height, width))
        (L,) = says.shown
        h, w = L.shape[2:]
        assert L.shape[:2] == (1, 1)
        assert (h, w) == inference.network_size(height, width, size, says.stride)


def test_network_sizes():
    rng = np.random.default_rng(0)
    for _ in range(2000):
        height, width, size, stride = (int(2 ** rng.uniform(0, top)) for top in (13, 13, 9, 5))
        short, long = sorted(sides := inference.network_size(height, width, size, stride))
        assert not any(side % stride or side < 1 for side in sides)
        assert abs(short - size) <= max(stride - 1, stride / 2)  # nearest multiple, but never none
        assert long <= inference.LONGEST * size + stride / 2 or long == stride
        if max(height, width) <= inference.LONGEST * min(height, width):
            assert abs(long - size * max(height, width) / min(height, width)) <= max(stride - 1, stride / 2)
        assert (sides[0] - sides[1]) * (height - width) >= 0  # upright stays upright


def test_the_network_sees_the_luminance_of_the_picture():
    says, rgb = Says(0.0, 0.0), scene(64, 64)
    Colorizer(says, "says", 64).chroma(rgb)
    np.testing.assert_allclose((says.shown[0][0, 0].numpy() + 1) * 50, lightness(rgb), atol=0.5)


def test_a_size_of_ones_own(tiny):
    rgb = scene()
    assert inference.load(tiny).size == 32
    assert inference.load(tiny, size=96).size == 96
    assert inference.load(tiny).size == 32  # the other one was not changed
    default, same, other = (np.asarray(colorlab.colorize(rgb, model=tiny, size=size)) for size in (None, 32, 96))
    np.testing.assert_array_equal(default, same)
    assert np.abs(default.astype(int) - other).mean() > 2


@pytest.mark.parametrize("size", [0, -1, 2049, 10**12, 1.5, "64", float("nan")])
def test_a_size_that_is_none(tiny, tmp_path, size):
    with pytest.raises(ValueError, match=r"1 to 2048, got "):
        colorlab.colorize(scene(), model=tiny, size=size)
    with pytest.raises(ValueError, match=r"1 to 2048, got "):
        inference.save_generator(tmp_path / "x.safetensors", network(), "x", size)
    assert not (tmp_path / "x.safetensors").exists()


def test_chroma_is_an_ordinary_tensor_on_the_cpu(tiny):
    ab = inference.load(tiny).chroma(scene())
    assert ab.shape == (1, 2, 32, 44)
    assert ab.dtype == torch.float32
    assert not ab.requires_grad
    ab *= 2  # a slider may do this
    ab.requires_grad_()


# In strips


def test_strips_give_what_the_whole_gives(tiny, monkeypatch):
    rgb, colorizer = scene(203, 151), inference.load(tiny)
    whole, grey = colorizer(rgb).rgb, inference.grey_pixels(rgb)
    for pixels in (1, 151 * 7, 5000):
        monkeypatch.setattr(inference, "STRIP_PIXELS", pixels)
        assert len(inference._strips(rgb)) > 1
        assert np.abs(colorizer(rgb).rgb.astype(int) - whole).max() <= 1
        np.testing.assert_array_equal(inference.grey_pixels(rgb), grey)


def test_strips_cover_every_row_once(monkeypatch):
    for height, width, pixels in [
        (10, 10, 1),
        (10, 10, 35),
        (10, 100, 500),
        (100, 10, 500),
        (1, 7, 3),
        (7, 1, 3),
        (10, 10, 100),
        (10, 10, 10**6),
    ]:
        monkeypatch.setattr(inference, "STRIP_PIXELS", pixels)
        strips = inference._strips(np.empty((height, width, 3), np.uint8))
        assert [row for top, bottom in strips for row in range(top, bottom)] == list(range(height))
        assert all((bottom - top) * width <= max(pixels, width) for top, bottom in strips)


@pytest.mark.parametrize(
    ("size", "antialias"), [((64, 80), False), ((45, 37), False), ((24, 36), False), ((11, 13), True), ((1, 1), True)]
)
def test_rows_are_those_of_one_bicubic_interpolation(size, antialias):
    ab = torch.rand(1, 2, 24, 36, generator=torch.Generator().manual_seed(0)) * 2 - 1
    whole = F.interpolate(ab, size=size, mode="bicubic", antialias=antialias)
    rows = inference._rows(ab, *size)
    for step in (1, 7, 100):
        parts = [rows(top, min(top + step, size[0])) for top in range(0, size[0], step)]
        torch.testing.assert_close(torch.cat(parts, dim=2), whole, atol=2e-6, rtol=0)


def test_rows_where_one_side_grows_and_the_other_shrinks():
    ab = torch.rand(1, 2, 24, 36, generator=torch.Generator().manual_seed(0)) * 2 - 1
    narrow = F.interpolate(ab, size=(24, 5), mode="bicubic", antialias=True)
    torch.testing.assert_close(
        inference._rows(ab, 90, 5)(0, 90), F.interpolate(narrow, size=(90, 5), mode="bicubic"), atol=2e-6, rtol=0
    )


def test_grey_pixels_keep_the_luminance():
    greys = np.arange(256, dtype=np.uint8)[:, None]
    np.testing.assert_array_equal(inference.grey_pixels(greys[..., None].repeat(3, 2)), greys)
    rgb = np.random.default_rng(0).integers(0, 256, (100, 100, 3), dtype=np.uint8)
    grey = inference.grey_pixels(rgb)
    assert grey.dtype == np.uint8
    assert grey.shape == (100, 100)
    assert np.abs(lightness(grey[..., None].repeat(3, 2)) - lightness(rgb)).max() < 0.3  # half a grey level


def test_pixels_and_tensors():
    rgb = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
    x = inference.to_tensor(rgb)
    assert x.shape == (1, 3, 16, 16)
    assert x.dtype == torch.float32
    assert (x.min(), x.max()) == (0, 1)
    np.testing.assert_array_equal(inference.to_pixels(x), rgb)
    np.testing.assert_array_equal(
        inference.to_pixels(torch.tensor([-1.0, 0.499 / 255, 0.501 / 255, 2]).view(1, 1, 2, 2).expand(1, 3, 2, 2))[..., 0],
        [[0, 0], [1, 255]],
    )


# The same again


def test_the_same_picture_gives_the_same_bits(tiny):
    first = np.asarray(colorlab.colorize(scene(), model=tiny))
    inference._read.cache_clear()
    np.testing.assert_array_equal(np.asarray(colorlab.colorize(scene(), model=tiny)), first)


def test_threads_do_not_disturb_each_other(tiny):
    pictures = [scene(40 + 7 * n, 60 - 3 * n, seed=n) for n in range(12)]
    one_by_one = [np.asarray(colorlab.colorize(rgb, model=tiny)) for rgb in pictures]
    inference._read.cache_clear()
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda rgb: np.asarray(colorlab.colorize(rgb, model=tiny)), pictures))
    for a, b in zip(one_by_one, together, strict=True):
        np.testing.assert_array_equal(a, b)


def test_bfloat16_is_nearly_the_same(tiny):
    exact, rough = inference.load(tiny), inference.load(tiny, machine=Machine("cpu", "bfloat16", channels_last=True))
    assert rough.machine.precision == "bfloat16"
    a, b = exact.chroma(scene()), rough.chroma(scene())
    assert b.dtype == torch.float32
    assert 1e-4 < (a - b).abs().mean() < 0.02  # another order of the same sums differs by less


# Model files


@pytest.fixture
def shelf(tmp_path, monkeypatch) -> Path:
    """A folder in the place of the shipped weights, with two models in it."""
    folder = tmp_path / "weights"
    for seed, name in enumerate(["garden", "attic"]):
        inference.save_generator(folder / f"{name}.safetensors", network(seed=seed, loud=8.0), name, 32)
    (folder / "README.txt").write_text("no model")
    monkeypatch.setattr(inference, "WEIGHTS", folder)
    return folder


def test_a_model_by_name_and_by_path(shelf):
    by_name = np.asarray(colorlab.colorize(scene(), model="garden"))
    for path in (shelf / "garden.safetensors", str(shelf / "garden.safetensors")):
        np.testing.assert_array_equal(np.asarray(colorlab.colorize(scene(), model=path)), by_name)
    assert np.abs(by_name.astype(int) - np.asarray(colorlab.colorize(scene(), model="attic"))).mean() > 5
    assert inference.load("attic").name == "attic"


def test_a_model_file_may_have_any_name(shelf, monkeypatch):
    monkeypatch.chdir(shelf)
    for name in ("plain", "two.dots", "with space"):
        (shelf / name).write_bytes((shelf / "attic.safetensors").read_bytes())
        assert inference.load(name).name == "attic"


def test_sepia_is_the_sample_in_its_own_luminance_with_the_first_stages_timid_colours():
    sample = photos.sample("coffee")
    image, true = inference.sepia("coffee"), photos.read(sample).rgb
    assert image.size == true.shape[1::-1]
    lab, true_lab = (skimage.color.rgb2lab(np.asarray(x)) for x in (image, true))
    assert np.abs(lab[..., 0] - true_lab[..., 0]).max() < 1.0
    chroma = np.hypot(lab[..., 1], lab[..., 2]).mean()
    assert 2 < chroma < np.hypot(true_lab[..., 1], true_lab[..., 2]).mean() / 2
    with pytest.raises(ValueError, match="coffee"):
        inference.sepia("mocha")


def test_an_unknown_model_is_told_what_ships(shelf):
    for model in ("cellar", "cellar.safetensors", shelf, "", "README"):
        with pytest.raises(CheckpointError) as caught:
            inference.load(model)
        assert str(caught.value).startswith(f"There is no model {str(model)!r}.")
        assert str(caught.value).endswith("ships: attic, garden.")


def test_where_nothing_ships_the_error_says_so(tmp_path, monkeypatch):
    for folder in (tmp_path / "gone", tmp_path):
        monkeypatch.setattr(inference, "WEIGHTS", folder)
        with pytest.raises(CheckpointError, match=r"There is no model 'photo'\..*none lies in .*install colorlab again"):
            inference.load()


def test_a_file_is_read_once_and_again_when_it_has_changed(tmp_path, monkeypatch):
    path, loads, load = tmp_path / "m.safetensors", [], checkpoint.load
    monkeypatch.setattr(checkpoint, "load", lambda p: loads.append(p) or load(p))
    inference.save_generator(path, network(seed=0), "first", 32)
    stamp = path.stat().st_mtime_ns
    assert inference.load(path).generator is inference.load(path, size=64).generator
    assert len(loads) == 1
    inference.save_generator(path, network(seed=1), "other", 32)
    os.utime(path, ns=(stamp, stamp))  # as quick a change as a clock can miss
    assert inference.load(path).name == "other"
    os.utime(path, ns=(stamp + 1, stamp + 1))  # or in the file's own place
    inference.load(path)
    assert len(loads) == 3


def test_weights_go_through_half_precision_and_back(tmp_path):
    net, path = network(loud=8.0), tmp_path / "m.safetensors"
    inference.save_generator(path, net, "m", 32, {"psnr": 21.5})
    saved = checkpoint.load(path)
    assert {x.dtype for x in saved.tensors.values()} == {torch.float16}
    assert saved.header["about"] == {"psnr": 21.5}
    loaded = inference.load(path).generator
    assert loaded.config == TINY
    assert not loaded.training
    for name, x in net.state_dict().items():
        mine = loaded.state_dict()[name]
        assert mine.dtype == torch.float32
        assert torch.equal(mine, x.half().float())
    assert not any(p.requires_grad for p in loaded.parameters())
    exact = Colorizer(net, "exact", 32)(scene()).rgb
    assert np.abs(exact.astype(int) - inference.load(path)(scene()).rgb).mean() < 0.5


def test_a_network_at_half_size(tmp_path):
    config = replace(TINY, half=True)
    inference.save_generator(tmp_path / "half.safetensors", network(config, loud=8.0), "half", 36)
    colorizer = inference.load(tmp_path / "half.safetensors")
    assert colorizer.generator.stride == 8
    assert colorizer.chroma(scene()).shape == (1, 2, 32, 48)
    assert np.abs(lightness(colorizer(scene()).rgb) - lightness(scene())).mean() <= 0.5


def test_of_a_run_its_moving_average_is_taken(tmp_path):
    config = TrainConfig(TINY, PatchGANConfig(width=4, layers=1), warmup_steps=3, gan_steps=0, ema=0.9)
    trainer = Trainer(config, folder=tmp_path / "mine")
    trainer.fit([color.encode(inference.to_tensor(scene(32, 32, n))) for n in range(3)], progress=False)
    loaded = inference.load(tmp_path / "mine" / "last.safetensors")
    assert loaded.name == "mine"
    for name, x in trainer.ema.module.state_dict().items():
        assert torch.equal(loaded.generator.state_dict()[name], x)
    assert not torch.equal(loaded.generator.head.weight, trainer.generator.head.weight)


def header(**changes) -> dict:
    right = {"kind": "generator", "name": "x", "size": 32, "generator": {"width": 8, "max_width": 16, "depth": 2}}
    return {key: value for key, value in (right | changes).items() if value is not None}


@pytest.mark.parametrize(
    "broken",
    [
        header(generator=None),
        header(generator={"width": 8, "dropout": 0.5}),  # of another version
        header(generator={"width": 7}),
        header(generator={"width": "8"}),
        header(generator={"width": 8.0, "max_width": 16.0, "depth": 2}),
        header(generator=[8, 16, 2]),
        header(generator=None, kind="run"),
        header(kind="run", config={}),
        header(kind="run", config=[]),
        header(size=0),
        header(size="large"),
        header(generator={"width": 8, "max_width": 16, "depth": 3}),  # not that of the weights
        header(kind="run", config={"generator": {"width": 8, "max_width": 16, "depth": 2}}),  # but there is no "ema"
    ],
    ids=str,
)
def test_a_file_that_does_not_describe_a_generator(tmp_path, broken):
    tensors = {f"generator.{name}": x for name, x in network().state_dict().items()}
    checkpoint.save(tmp_path / "right.safetensors", tensors, header())
    inference.load(tmp_path / "right.safetensors")
    checkpoint.save(tmp_path / "wrong.safetensors", tensors, broken)
    with pytest.raises(CheckpointError, match=r"wrong\.safetensors"):
        inference.load(tmp_path / "wrong.safetensors")


def test_foreign_and_damaged_files(tiny, tmp_path):
    safetensors.torch.save_file(network().state_dict(), tmp_path / "foreign.safetensors")
    data = bytearray(tiny.read_bytes())
    (tmp_path / "cut.safetensors").write_bytes(data[:-100])
    data[-5] ^= 1
    (tmp_path / "altered.safetensors").write_bytes(data)
    (tmp_path / "empty.safetensors").write_bytes(b"")
    torch.save(network().state_dict(), tmp_path / "pickle.pth")
    for name, why in {
        "foreign.safetensors": "not a checkpoint of colorlab's",
        "cut.safetensors": "cut short",
        "altered.safetensors": "altered",
        "empty.safetensors": "cut short",
        "pickle.pth": "no checkpoint",
    }.items():
        with pytest.raises(CheckpointError, match=rf"{name} .*{why}"):
            inference.load(tmp_path / name)


# A large picture

MEASURE = """
import sys
import numpy as np
from PIL import Image
from colorlab import inference
low = np.random.default_rng(0).integers(0, 256, (5, 6, 3), dtype=np.uint8)
rgb = np.asarray(Image.fromarray(low).resize((4000, 3000), Image.Resampling.BICUBIC))
np.save(sys.argv[2], inference.load(sys.argv[1])(rgb).rgb[::500, ::500])
(peak,) = [line for line in open("/proc/self/status") if line.startswith("VmHWM")]  # ru_maxrss would be the parent's, too
print(int(peak.split()[1]) // 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_twelve_megapixels_stay_below_a_gigabyte(tmp_path):
    inference.save_generator(tmp_path / "m.safetensors", network(), "m", 128)
    command = [sys.executable, "-c", MEASURE, tmp_path / "m.safetensors", tmp_path / "some.npy"]
    megabytes = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert np.load(tmp_path / "some.npy").shape == (6, 8, 3)
    assert 100 < megabytes < 900  # of which torch takes 500; as one tensor, each of a dozen steps would hold 144


# With the weights that ship: these pass only where colorlab/weights/photo.safetensors lies


class TestShipped:
    def test_a_photograph_in_one_line(self):
        sample = photos.sample("chelsea")
        out = np.asarray(colorlab.colorize(sample))
        rgb = photos.read(sample).rgb
        assert out.shape == rgb.shape
        assert np.abs(lightness(out) - lightness(rgb)).mean() <= 0.5
        assert chroma(out).mean() > 4  # not just grey
        assert inference.load().name == "photo"

    def test_the_colours_do_not_leak_in_from_the_answer(self):
        rgb = photos.read(photos.sample("coffee")).rgb
        grey = inference.grey_pixels(rgb)
        a, b = (np.asarray(colorlab.colorize(x)).astype(int) for x in (rgb, grey))
        assert np.abs(a - b).mean() < 1.5

    def test_the_samples_look_better_than_grey(self):
        scores = evaluate.evaluate(inference.load(), [sample.path for sample in photos.samples()], progress=False)
        mean = {name: {key: x.mean().item() for key, x in row.items()} for name, row in scores.items()}
        assert mean["model"]["psnr"] > mean["grey"]["psnr"] + 0.3
        assert mean["model"]["delta_e2000"] < mean["grey"]["delta_e2000"]
        assert 0.25 < mean["model"]["chroma"] / mean["truth"]["chroma"] < 1.2
