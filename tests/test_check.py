"""Each check of `colorlab check`, seen failing on a planted fault and passing where there is none."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from colorlab import check, check_data, color, data, inference, metrics, photos
from colorlab.inference import Colorizer, to_pixels, to_tensor
from colorlab.panels.ch02 import hue_spread, paler, toned
from colorlab.unet import UNet, UNetConfig

TINY = UNetConfig(width=8, max_width=16, depth=2)
MODEL = ["weights", "repeatable", "range", "any size", "colour leak", "gamut", "variety", "chroma", "round trip", "checkpoint"]
DATA = ["broken files", "near-grey data", "toned prints", "inferred colours", "duplicates", "small pictures"]


class Answer(nn.Module):
    """A generator that gives answer(L): left alone, what a sound one may do, colours that differ with the place."""

    stride = 1

    def __init__(self, answer=lambda L: torch.cat([0.5 * L, 0.4 * L.flip(3)], dim=1) * 0.5 * (1 - L * L)):
        super().__init__()
        self.answer = answer

    def forward(self, L: torch.Tensor) -> torch.Tensor:
        return self.answer(L)


def wrap(answer) -> Colorizer:
    return Colorizer(Answer(answer), "made up", 32)


def tiny(seed: int = 0) -> UNet:
    """A generator with random weights, ready to use."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = UNet(TINY).eval().requires_grad_(False)
    return net


def by_name(results: list[check.Result]) -> dict[str, check.Result]:
    assert len({x.name for x in results}) == len(results)
    return {x.name: x for x in results}


def statuses(results: list[check.Result]) -> dict[str, str]:
    return {x.name: x.status for x in results}


@pytest.fixture(scope="module")
def pictures() -> list[np.ndarray]:
    """Three sample photographs, reduced."""
    names = ("coffee", "astronaut", "flower")
    return [data._decode(photos.sample(name).path, 96) for name in names]


@pytest.fixture
def album(tmp_path) -> Path:
    """A folder of the sample photographs, reduced to a short side of 80."""
    for sample in photos.samples():
        Image.fromarray(data._decode(sample.path, 80)).save(tmp_path / f"{sample.name}.png")
    return tmp_path


def of_data(folder: Path) -> dict[str, check.Result]:
    paths = data.find_pictures(folder)
    return by_name(check.check_data(data.Pictures.read(paths, check.SMALL, keep_grey=True, progress=False)))


# All of it


def test_the_shipped_model_and_the_sample_photographs_pass():
    results = check.check(inference.load(), [sample.path for sample in photos.samples()], progress=False)
    assert [x.name for x in results] == MODEL + DATA
    assert {x.status for x in results} == {check.PASSED}
    assert not any(x.cure for x in results)
    assert "7 photographs" in by_name(results)["colour leak"].seen
    assert check.report(results).endswith("\n\n16 passed.")


def test_whatever_is_wrong_comes_with_a_cure(pictures, album):
    shutil.copy(album / "coffee.png", album / "again.png")
    results = check.check_model(wrap(lambda L: L.repeat(1, 2, 1, 1).sign()), pictures) + list(of_data(album).values())
    assert {x.status for x in results} == {check.PASSED, check.WARNING, check.FAILED}
    for x in results:
        assert bool(x.cure) == (x.status != check.PASSED), x


def test_the_report_is_a_list_with_a_sum():
    results = [
        check.Result("one", check.PASSED, "1 seen"),
        check.Result("two", check.WARNING, "2 seen", "do this"),
        check.Result("three", check.FAILED, "3 seen", "do that"),
        check.Result("four", check.FAILED, "4 seen", "do more"),
    ]
    assert check.report(results).splitlines() == [
        "✓ one: 1 seen",
        "! two: 2 seen",
        "    → do this",
        "✗ three: 3 seen",
        "    → do that",
        "✗ four: 4 seen",
        "    → do more",
        "",
        "1 passed; 1 warning (two); 2 failed (three, four).",
    ]
    assert check.report(results[:1] * 2).endswith("\n2 passed.")


def test_the_model_is_asked_on_a_few_pictures_spread_over_the_set(tmp_path, monkeypatch):
    for n in range(40):  # 0 to 9 are grey
        value = np.full((8, 8, 3), (90, 90, 90) if n < 10 else (30 + 5 * n, 90, 20), np.uint8)
        Image.fromarray(value).save(tmp_path / f"{n:02d}.png")
    asked = []
    monkeypatch.setattr(check, "check_model", lambda colorizer, pictures: asked.extend(pictures) or [])
    check.check(wrap(metrics.grey), data.find_pictures(tmp_path), progress=False)
    red = [int(x[0, 0, 0]) for x in asked]
    assert red == [30 + 5 * (10 + n * 30 // 16) for n in range(16)]


def test_data_without_colour_still_ask_the_model(tmp_path):
    Image.fromarray(np.full((80, 80, 3), 90, np.uint8)).save(tmp_path / "grey.png")
    found = by_name(check.check(Colorizer(tiny(), "tiny", 32), [tmp_path / "grey.png"], progress=False))
    assert found["chroma"].status == check.WARNING
    assert "too grey to tell" in found["chroma"].cure
    assert found["near-grey data"].status == check.FAILED


def test_no_picture_that_can_be_read(tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"None of the 1 files can be used.*broken\.jpg"):
        check.check(wrap(metrics.grey), [tmp_path / "broken.jpg"], progress=False)


# The colour leak


@pytest.mark.parametrize("seed", [0, 1])
def test_a_network_that_sees_only_grey_does_not_leak(pictures, seed):
    found = by_name(check.check_model(Colorizer(tiny(seed), "tiny", 32), pictures))
    assert found["colour leak"].status == check.PASSED
    assert "to the bit" in found["colour leak"].seen


class Peeks(Colorizer):
    """Hands the network's answer on, with a hundredth of the true colours in it."""

    def chroma(self, rgb: np.ndarray) -> torch.Tensor:
        ab = super().chroma(rgb)
        true = color.encode(to_tensor(rgb))[1]
        return 0.99 * ab + 0.01 * nn.functional.interpolate(true, ab.shape[2:], mode="area")


class Blends(Colorizer):
    """Answers honestly, and then lays a quarter of the colour picture over the finished one."""

    def __call__(self, rgb: np.ndarray) -> photos.Photo:
        photo = super().__call__(rgb)
        return dataclasses.replace(photo, rgb=(0.75 * photo.rgb + 0.25 * rgb).round().astype(np.uint8))


@pytest.mark.parametrize("leaky", [Peeks, Blends])
def test_a_model_that_peeks_is_caught(pictures, leaky):
    found = statuses(check.check_model(leaky(tiny(), "leaky", 32), pictures))
    assert found["colour leak"] == check.FAILED
    assert found["repeatable"] == found["range"] == check.PASSED


def test_pillows_grey_is_a_leak(pictures, monkeypatch):
    monkeypatch.setattr(inference, "grey_pixels", lambda rgb: np.asarray(Image.fromarray(rgb).convert("L")))
    found = by_name(check.check_model(Colorizer(tiny(), "tiny", 32), pictures))
    assert found["colour leak"].status == check.FAILED
    assert "on 3 of 3 photographs" in found["colour leak"].seen


def test_other_colours_on_the_very_same_grey(pictures):
    for rgb in pictures:
        others = check.recolored(rgb)
        for other in others:
            np.testing.assert_array_equal(inference.grey_pixels(other), inference.grey_pixels(rgb))
        chroma = [metrics.mean_chroma(color.encode(to_tensor(x))[1]).item() for x in others]
        assert chroma[0] < 0.01
        assert min(chroma[1:]) > 10
        assert min(np.abs(x.astype(int) - rgb).mean() for x in others) > 5
        assert (others[1] == others[0]).all(2).mean() < 0.2  # few pixels had to stay grey


# The answers


def test_weights_that_are_nan(pictures):
    net = tiny()
    net.up[0][0].weight[0, 0] = torch.nan
    results = check.check_model(Colorizer(net, "nan", 32), pictures)
    assert statuses(results) == {"weights": check.FAILED}
    assert "1 of " in results[0].seen
    assert "up.0.0.weight" in results[0].seen


def test_answers_that_are_nan(pictures):
    results = check.check_model(wrap(lambda L: torch.cat([L, L / 0 * 0], dim=1)), pictures)
    assert results[-1].name == "range"
    assert results[-1].status == check.FAILED
    assert "50.0% of the answers are NaN" in results[-1].seen


def test_answers_beyond_the_tanh(pictures):
    found = by_name(check.check_model(wrap(lambda L: torch.cat([L, L], dim=1) * 3), pictures))
    assert found["range"].status == check.FAILED
    assert "tanh" in found["range"].cure
    assert found["colour leak"].status == check.PASSED  # it is still looked for


def test_a_model_that_saturates(pictures):
    found = by_name(check.check_model(wrap(lambda L: torch.cat([(20 * L).tanh(), (20 * L.flip(3)).tanh()], dim=1)), pictures))
    assert found["range"].status == check.FAILED
    assert "at the tanh's edge" in found["range"].seen


def test_dropout_left_on(pictures):
    net = nn.Sequential(Answer(), nn.Dropout(0.5))
    net.stride = 1
    results = check.check_model(Colorizer(net, "dropout", 32), pictures)
    assert statuses(results)["repeatable"] == check.FAILED
    assert "colour leak" not in statuses(results)  # which could not be told
    found = statuses(check.check_model(Colorizer(net.eval(), "dropout", 32), pictures))
    assert found["repeatable"] == found["colour leak"] == check.PASSED


def test_a_model_for_one_size(pictures):
    results = check.check_model(wrap(tiny()), pictures)  # its stride, 4, is not told
    assert results[-1].name == "any size"
    assert results[-1].status == check.FAILED
    assert "multiples of 4" in results[-1].seen


def test_a_picture_that_comes_back_at_another_size_or_lightness(pictures, monkeypatch):
    class Squares(Colorizer):
        def __call__(self, rgb):
            return photos.Photo(np.asarray(Image.fromarray(rgb).resize((50, 50))))

    class Darkens(Colorizer):
        def __call__(self, rgb):
            return dataclasses.replace(photo := super().__call__(rgb), rgb=photo.rgb // 2)

    for wrong, why in ((Squares, "37 × 53 came back as 50 × 50"), (Darkens, "of their own on average")):
        found = by_name(check.check_model(wrong(tiny(), "wrong", 32), pictures))
        assert found["any size"].status == check.FAILED
        assert why in found["any size"].seen


def test_colours_that_do_not_exist(pictures):
    found = by_name(check.check_model(wrap(lambda L: torch.cat([L, L.flip(3)], dim=1).sign() * 0.9), pictures))
    assert found["gamut"].status == check.WARNING
    share = float(found["gamut"].seen.split("%")[0])
    assert share > 50
    assert statuses(check.check_model(wrap(Answer().answer), pictures))["gamut"] == check.PASSED


@pytest.mark.parametrize(
    ("answer", "variety", "chroma"),
    [
        (metrics.grey, check.FAILED, check.WARNING),
        (lambda L: torch.cat([0.02 + 0 * L, 0.06 + 0 * L], dim=1), check.FAILED, check.WARNING),
        (lambda L: torch.cat([0.06 * (1 - L.abs()), 0.2 * (1 - L.abs())], dim=1), check.PASSED, check.WARNING),
        (lambda L: torch.cat([0.1 * L, 0.1 * L.flip(3)], dim=1) * 0.5, check.PASSED, check.WARNING),
        (Answer().answer, check.PASSED, check.PASSED),
    ],
    ids=["grey", "one colour", "sepia", "pale", "sound"],
)
def test_grey_one_colour_sepia_and_pale(pictures, answer, variety, chroma):
    found = statuses(check.check_model(wrap(answer), pictures))
    assert (found["variety"], found["chroma"]) == (variety, chroma)


def test_the_chroma_is_what_metrics_say(pictures):
    found = by_name(check.check_model(wrap(lambda L: torch.cat([0.1 + 0 * L, 0.1 * L], dim=1)), pictures[:1]))
    truth = metrics.mean_chroma(color.encode(to_tensor(pictures[0]))[1]).item()
    assert f"of the truth's {truth:.1f}" in found["chroma"].seen


def test_a_decoding_that_is_not_the_inverse(pictures, monkeypatch):
    assert statuses(check.check_model(wrap(Answer().answer), pictures))["round trip"] == check.PASSED
    decode = color.decode
    monkeypatch.setattr(color, "decode", lambda L, ab: decode(L, ab * 0.97))
    found = by_name(check.check_model(wrap(Answer().answer), pictures))
    assert found["round trip"].status == check.FAILED
    assert "changes 3 of 3 photographs" in found["round trip"].seen


# The file


def test_a_generator_and_its_file(pictures):
    net = tiny()
    found = by_name(check.check_model(Colorizer(net, "tiny", 32), pictures))["checkpoint"]
    with torch.no_grad():
        half = tiny()
        half.load_state_dict({name: x.half().float() for name, x in net.state_dict().items()})
    first, second = (Colorizer(x, "tiny", 32).chroma(pictures[0]) for x in (net, half))
    lost = (first - second).abs().max().item() * 110
    assert lost > 0
    assert found.status == check.PASSED
    assert f"is the same to the bit; a generator file's half precision costs {lost:.2f} Lab units" in found.seen


def test_weights_too_large_for_half_precision(pictures):
    net = tiny()
    net.stem[0].weight *= 1e6  # the norm after it takes that out again
    found = by_name(check.check_model(Colorizer(net, "large", 32), pictures))
    assert found["weights"].status == found["range"].status == check.PASSED
    assert found["checkpoint"].status == check.WARNING


def test_what_no_file_holds(pictures):
    net = tiny()
    net.head.register_forward_hook(lambda module, given, out: out + 0.1)
    found = by_name(check.check_model(Colorizer(net, "hooked", 32), pictures))["checkpoint"]
    assert found.status == check.FAILED
    assert float(found.seen.split("up to ")[1].split()[0]) > 1


# The data


def test_sound_data(album):
    found = of_data(album)
    assert list(found) == DATA
    assert {x.status for x in found.values()} == {check.PASSED}
    assert found["duplicates"].seen.startswith("0 of 7 pictures")


def put(path: Path, rgb: torch.Tensor, **options) -> Path:
    Image.fromarray(to_pixels(rgb[None])).save(path, **options)
    return path


def test_a_folder_of_grey_pictures(album):
    rgb = photos.load_rgb(album / "coffee.png")
    put(album / "a.png", paler(rgb, 0.05))
    found = of_data(album)
    assert found["near-grey data"].status == check.FAILED  # one of eight is more than a tenth
    assert found["near-grey data"].seen.startswith("1 of 8 pictures with a mean chroma below 4, such as")
    assert "a.png" in found["near-grey data"].seen
    assert found["toned prints"].status == check.PASSED
    for n, sample in enumerate(photos.samples()):
        for share in (0.9, 1.0):
            Image.fromarray(data._decode(sample.path, int(64 + 10 * share))).save(album / f"more{n}{share}.png")
    assert of_data(album)["near-grey data"].status == check.WARNING  # one of 22 is less


@pytest.mark.parametrize("tone", [(6.0, 20.0), (-3.0, -14.0)])
@pytest.mark.parametrize("fades", [False, True])
def test_toned_prints_are_counted_apart(album, tone, fades):
    for sample in photos.samples():
        rgb = to_tensor(data._decode(sample.path, 200))[0]
        put(album / f"{sample.name}_toned.jpg", toned(rgb, tone, fades), quality=95, subsampling=0)
    found = of_data(album)
    assert found["toned prints"].status == check.FAILED
    assert found["toned prints"].seen.startswith("7 of 14 pictures")
    assert "_toned.jpg" in found["toned prints"].seen


def test_broken_files(album):
    (album / "broken.jpg").write_bytes(b"no picture")
    found = of_data(album)["broken files"]
    assert found.status == check.FAILED
    assert found.seen.startswith("1 of 8 pictures that cannot be read, such as ")
    assert "broken.jpg" in found.seen


def test_copies(album):
    (album / "more").mkdir()
    shutil.copy(album / "coffee.png", album / "more" / "a.png")
    shutil.copy(album / "coffee.png", album / "more" / "b.png")
    found = of_data(album)["duplicates"]
    assert found.status == check.FAILED
    assert found.seen.startswith("2 of 9 pictures")
    assert f"{album / 'more' / 'a.png'}, which is {album / 'coffee.png'}" in found.seen


def test_files_of_one_length_are_no_copies(tmp_path):
    files = [tmp_path / name for name in "abcd"]
    for path, content in zip(files, ("one", "two", "one", "three"), strict=True):
        path.write_text(content)
    assert check_data.duplicates(files) == [(files[0], files[2])]


def test_pictures_that_colorlab_coloured(album):
    colorizer = Colorizer(tiny(), "tiny", 32)
    photos.save(colorizer(album / "coffee.png"), album / "coloured.jpg", note=colorizer.note)
    found = of_data(album)["inferred colours"]
    assert found.status == check.FAILED
    assert "coloured.jpg" in found.seen


def test_small_pictures_are_a_warning_at_most(album):
    for path in album.iterdir():
        Image.fromarray(data._decode(path, 63)).save(path)
    found = of_data(album)["small pictures"]
    assert found.status == check.WARNING
    assert found.seen.startswith("7 of 7 pictures below 64 pixels")


def test_what_does_not_fit_in_memory_is_read_again(album, monkeypatch):
    before = of_data(album)
    paths = data.find_pictures(album)
    after = check.check_data(data.Pictures.read(paths, check.SMALL, keep_grey=True, memory=0, progress=False))
    assert list(before.values()) == after


def test_the_panels_hue_spread_is_the_metrics(pictures):
    ab = torch.cat([color.encode(to_tensor(rgb[:96, :96]))[1] for rgb in pictures])
    spread = metrics.hue_spread(ab)
    assert spread.shape == (3,)
    for rgb, x, one in zip(pictures, ab, spread, strict=True):
        a, b = x.double().flatten(1).numpy() * 110
        angle = np.arctan2(b.mean(), a.mean())
        assert one.item() == pytest.approx(np.abs(np.hypot(a, b) * np.sin(np.arctan2(b, a) - angle)).mean(), rel=1e-4)
        assert hue_spread(to_tensor(rgb[:96, :96])[0]) == pytest.approx(one.item(), rel=1e-5)
    assert metrics.hue_spread(torch.zeros(1, 2, 4, 4)).item() == 0
    with pytest.raises(ValueError, match="ab must be"):
        metrics.hue_spread(torch.zeros(2, 4, 4))
