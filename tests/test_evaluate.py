"""The numbers that `evaluate` prints, computed again by hand from the files; and what a run writes while it learns."""

import math
import re
from pathlib import Path

import numpy as np
import pytest
import skimage.color
import skimage.metrics
import torch
from PIL import Image
from torch import nn

from colorlab import checkpoint, color, evaluate, inference, intervals, metrics, photos
from colorlab.inference import Colorizer
from colorlab.metrics import grey, measure
from colorlab.patchgan import PatchGANConfig
from colorlab.train import TrainConfig, Trainer
from colorlab.unet import UNet, UNetConfig

TINY = UNetConfig(width=8, max_width=16, depth=2)
SCORES = {"psnr", "ssim", "delta_e2000", "delta_e76", "colorfulness", "chroma"}


class Grey(nn.Module):
    """A generator that leaves everything grey."""

    stride = 8

    def forward(self, L: torch.Tensor) -> torch.Tensor:
        return grey(L)


class Knows(nn.Module):
    """A generator that recognizes a picture by its luminance and gives its true ab."""

    stride = 128

    def __init__(self, truths: list[tuple[torch.Tensor, torch.Tensor]]):
        super().__init__()
        self.truths = truths

    def forward(self, L: torch.Tensor) -> torch.Tensor:
        return min(self.truths, key=lambda truth: (truth[0] - L).abs().mean())[1]


def scene(seed: int, height: int = 128, width: int = 128) -> np.ndarray:
    """A picture (H, W, 3) uint8 of soft blotches in every colour."""
    low = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(low).resize((width, height), Image.Resampling.BICUBIC))


def folder(path: Path, *pictures: np.ndarray) -> list[Path]:
    """The pictures as files, picture 0 first."""
    path.mkdir(exist_ok=True)
    for n, picture in enumerate(pictures):
        Image.fromarray(picture).save(path / f"{n:02d}.png")
    return sorted(path.iterdir())


def code(rgb: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    return color.encode(torch.from_numpy(rgb.copy()).permute(2, 0, 1)[None].float() / 255)


@pytest.fixture(scope="module")
def paths(tmp_path_factory) -> list[Path]:
    return folder(tmp_path_factory.mktemp("pictures"), *(scene(n) for n in range(4)))


@pytest.fixture(scope="module")
def scores(paths) -> dict[str, dict[str, torch.Tensor]]:
    return evaluate.evaluate(Colorizer(Grey(), "grey", 32), paths, progress=False)


# The scores


def test_there_is_a_row_for_the_model_every_control_and_the_truth(scores):
    assert list(scores) == ["model", "grey", "mean ab", "lookup", "truth"]
    assert set(evaluate.CONTROLS) == set(scores) - {"model", "truth"}
    for row in scores.values():
        assert set(row) == SCORES
        assert {x.shape for x in row.values()} == {(4,)}


def test_a_model_that_leaves_grey_scores_as_grey_does(scores):
    for key, tolerance in {"psnr": 0.01, "ssim": 1e-3, "delta_e2000": 0.02, "colorfulness": 0.1, "chroma": 0.01}.items():
        torch.testing.assert_close(scores["model"][key], scores["grey"][key], atol=tolerance, rtol=0)


def test_the_truth_is_the_ceiling(scores, paths):
    assert torch.isinf(scores["truth"]["psnr"]).all()
    assert torch.equal(scores["truth"]["delta_e2000"], torch.zeros(4))
    for n, path in enumerate(paths):
        ab = skimage.color.rgb2lab(photos.read(path).rgb)[..., 1:]
        assert scores["truth"]["chroma"][n].item() == pytest.approx(np.hypot(*np.moveaxis(ab, -1, 0)).mean(), abs=0.01)


def test_greys_scores_are_scikit_images(scores, paths):
    for n, path in enumerate(paths):
        rgb = photos.read(path).rgb
        lab = skimage.color.rgb2lab(rgb)
        without = skimage.color.lab2rgb(lab * [1, 0, 0])
        psnr = skimage.metrics.peak_signal_noise_ratio(rgb / 255, without, data_range=1)
        assert scores["grey"]["psnr"][n].item() == pytest.approx(psnr, abs=0.01)
        delta = skimage.color.deltaE_ciede2000(lab, lab * [1, 0, 0]).mean()
        assert scores["grey"]["delta_e2000"][n].item() == pytest.approx(delta, abs=0.01)


def test_a_model_that_knows_beats_every_control(paths):
    knows = Knows([code(photos.read(path).rgb) for path in paths])
    scores = evaluate.evaluate(Colorizer(knows, "knows", 128), paths, progress=False)
    assert scores["model"]["psnr"].median() > 50  # what is lost is the rounding; at the gamut's edge it costs more
    assert scores["model"]["delta_e2000"].max() < 0.5
    assert (scores["model"]["psnr"] > scores["lookup"]["psnr"] + 10).all()


def test_controls_are_fitted_to_the_pictures_that_are_judged(scores, paths):
    L, ab = (torch.cat(x) for x in zip(*(code(photos.read(path).rgb) for path in paths), strict=True))
    mean = ab.mean((0, 2, 3)).view(1, 2, 1, 1).expand_as(ab)
    for name, answer in {"mean ab": mean, "lookup": metrics.Lookup.fit([(L, ab)])(L)}.items():
        torch.testing.assert_close(scores[name]["psnr"], measure(L, answer, ab)["psnr"], atol=1e-3, rtol=0)
    assert (scores["lookup"]["psnr"] > scores["grey"]["psnr"]).all()


def test_the_model_takes_the_path_of_a_photograph(paths):
    torch.manual_seed(0)
    colorizer = Colorizer(UNet(TINY).eval().requires_grad_(False), "tiny", 32)
    scores = evaluate.evaluate(colorizer, paths, progress=False)
    for n, path in enumerate(paths):
        L, ab = code(photos.read(path).rgb)
        lab = skimage.color.rgb2lab(colorizer(photos.read(path).rgb).rgb)
        answer = torch.from_numpy(lab[..., 1:]).permute(2, 0, 1)[None].float() / 110
        assert scores["model"]["psnr"][n].item() == pytest.approx(measure(L, answer, ab)["psnr"].item(), abs=0.05)


def test_predict_gives_one_answer_for_each_picture():
    L, ab = (torch.cat(x) for x in zip(*(code(scene(n, 32, 40)) for n in range(3)), strict=True))
    knows = Knows([(a[None], b[None]) for a, b in zip(L, ab, strict=True)])
    knows.stride = 1
    predicted = evaluate.predict(Colorizer(knows, "knows", 32), L)
    assert predicted.shape == ab.shape
    assert (predicted - ab).abs().mean() < 0.01


def test_more_pictures_than_a_batch_holds(tmp_path):
    files = folder(tmp_path / "many", *(scene(n, 24, 20) for n in range(18)))
    scores = evaluate.evaluate(Colorizer(Grey(), "grey", 32), files, progress=False)
    assert scores["truth"]["chroma"].shape == (18,)
    assert scores["truth"]["chroma"].unique().numel() == 18


def test_the_middle_square_is_judged(tmp_path):
    wide = np.zeros((128, 400, 3), np.uint8)
    wide[:, 136:264] = scene(0)  # all the colour there is
    scores = evaluate.evaluate(Colorizer(Grey(), "grey", 32), folder(tmp_path / "wide", wide), progress=False)
    ab = skimage.color.rgb2lab(scene(0))[..., 1:]
    assert scores["truth"]["chroma"].item() == pytest.approx(np.hypot(*np.moveaxis(ab, -1, 0)).mean(), abs=0.1)


def test_broken_files_are_named_and_near_grey_ones_judged(tmp_path, capsys):
    files = folder(tmp_path / "mixed", scene(0), scene(1)[..., :1].repeat(3, 2))
    (tmp_path / "mixed" / "broken.jpg").write_bytes(b"no picture")
    scores = evaluate.evaluate(Colorizer(Grey(), "grey", 32), [*files, tmp_path / "mixed" / "broken.jpg"], progress=False)
    assert scores["truth"]["chroma"].shape == (2,)
    assert scores["truth"]["chroma"][1] < 0.1
    out, err = capsys.readouterr()
    assert out == ""
    assert "2 pictures; 1 broken ones skipped" in err
    assert "broken.jpg" in err


def test_nothing_is_said_where_nothing_is_wrong(paths, capsys):
    evaluate.evaluate(Colorizer(Grey(), "grey", 32), paths[:1], progress=False)
    assert capsys.readouterr() == ("", "")


def test_no_picture_that_can_be_read(tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"None of the 1 files can be used.*broken\.jpg"):
        evaluate.evaluate(Colorizer(Grey(), "grey", 32), [tmp_path / "broken.jpg"], progress=False)


# The table


def cells(text: str) -> dict[str, list[str]]:
    """The rows of the Markdown tables in a text, by their first cell; a second row of that name is "… gain"."""
    rows: dict[str, list[str]] = {}
    for line in text.splitlines():
        if line.startswith("|"):
            name, *rest = (cell.strip() for cell in line.strip("|").split("|"))
            rows[f"{name} gain" if name in rows else name] = rest
    return rows


def made_up(**rows: list[float]) -> dict[str, dict[str, torch.Tensor]]:
    """Scores in which PSNR is given, ΔE2000 is 40 − PSNR, and chroma PSNR / 2."""
    scores = {}
    for name, psnr in rows.items():
        x = torch.tensor(psnr)
        scores[name.replace("_", " ")] = {key: x.clone() for key in SCORES} | {"delta_e2000": 40 - x, "chroma": x / 2}
    return scores


def test_the_table_holds_the_means_and_the_gains():
    scores = made_up(model=[22.0, 26.0], grey=[20.0, 22.0], mean_ab=[21.0, 21.0], lookup=[23.0, 30.0], truth=[40.0, 40.0])
    rows = cells(evaluate.table(scores))
    assert rows["model"] == ["24.00", "24.000", "16.00", "24.0", "0.60"]
    assert rows["grey"][0] == "21.00"
    assert rows["truth"] == ["40.00", "40.000", "0.00", "40.0", "1.00"]
    assert rows["grey gain"] == ["+3.00 [+2.00, +4.00]", "+3.00 [+2.00, +4.00]"]  # ΔE fell by 3, which is a gain
    assert rows["lookup gain"] == ["-2.50 [-4.00, -1.00]", "-2.50 [-4.00, -1.00]"]
    assert "Pictures: 2," in evaluate.table(scores)


def test_the_intervals_are_the_paired_bootstraps(scores):
    rows = cells(evaluate.table(scores))
    for name in evaluate.CONTROLS:
        for cell, key, sign in zip(rows[f"{name} gain"], ("psnr", "delta_e2000"), (1, -1), strict=True):
            got = [float(x) for x in re.findall(r"[+-]\d+\.\d\d", cell)]
            mean, low, high = intervals.paired_bootstrap(scores["model"][key], scores[name][key])
            assert got == pytest.approx([mean, low, high] if sign > 0 else [-mean, -high, -low], abs=0.006)


def test_the_rows_are_the_scores_means(scores):
    rows = cells(evaluate.table(scores))
    for name in ("model", "grey", "mean ab", "lookup"):
        means = [scores[name][key].mean().item() for key in ("psnr", "ssim", "delta_e2000", "colorfulness")]
        means.append((scores[name]["chroma"].mean() / scores["truth"]["chroma"].mean()).item())
        assert [float(x) for x in rows[name]] == pytest.approx(means, abs=0.051)
    assert rows["model"][0] == rows["grey"][0]


def test_equal_pictures_count_as_rounded_ones():
    inf = math.inf
    scores = made_up(model=[20.0, inf], grey=[18.0, inf], mean_ab=[inf, 18.0], lookup=[120.0, 20.0], truth=[inf, inf])
    for row in scores.values():
        row["delta_e2000"], row["chroma"] = torch.ones(2), torch.ones(2)
    rows = cells(evaluate.table(scores))
    assert rows["model"][0] == f"{(20 + evaluate.CEILING) / 2:.2f}"
    assert rows["truth"][0] == f"{evaluate.CEILING:.2f}"
    assert rows["grey gain"][0] == "+1.00 [+0.00, +2.00]"
    assert rows["lookup gain"][0].startswith("+0.00 ")
    assert "nan" not in " ".join(rows["mean ab gain"])


def test_the_ceiling_is_what_rounding_leaves():
    x = torch.rand(1, 3, 256, 256, generator=torch.Generator().manual_seed(0))
    assert metrics.psnr((x * 255).round() / 255, x).item() == pytest.approx(evaluate.CEILING, abs=0.05)


@pytest.mark.parametrize("level", [0, 90, 255])
def test_pictures_without_any_colour_do_not_stop_it(tmp_path, level):
    files = folder(tmp_path / "plain", *[np.full((20, 20, 3), level, np.uint8)] * 2)
    table = evaluate.table(evaluate.evaluate(Colorizer(Grey(), "grey", 32), files, progress=False))
    assert cells(table)["grey"][0] == cells(table)["truth"][0] == f"{evaluate.CEILING:.2f}"
    assert cells(table)["grey gain"][0].startswith(("+0.00", "-0.00"))


def test_one_picture_has_no_interval():
    scores = made_up(model=[22.0], grey=[20.0], mean_ab=[21.0], lookup=[23.0], truth=[40.0])
    rows = cells(evaluate.table(scores))
    assert rows["model"][0] == "22.00"
    assert not any(name.endswith("gain") for name in rows)


# The hook of a run


def run_with(watch, path: Path, pictures: int = 4) -> Trainer:
    """Two steps, then the hook's one call."""
    batches = [code(scene(n, 32, 32)) for n in range(pictures)]
    config = TrainConfig(TINY, PatchGANConfig(width=4, layers=1), warmup_steps=2, gan_steps=0, ema=0.5)
    trainer = Trainer(config, folder=path, hooks={"save": [watch]})
    trainer.fit(batches, progress=False)
    return trainer


def test_the_hook_writes_a_generator_and_a_sheet(paths, tmp_path, capsys):
    trainer = run_with(evaluate.watch(paths, 32), tmp_path / "mine")
    assert {p.name for p in (tmp_path / "mine").iterdir()} == {"last.safetensors", "generator.safetensors", "samples.png"}
    colorizer = inference.load(tmp_path / "mine" / "generator.safetensors")
    assert (colorizer.name, colorizer.size) == ("mine", 64)
    for name, x in trainer.ema.module.state_dict().items():
        assert torch.equal(colorizer.generator.state_dict()[name], x.half().float())
    assert not torch.equal(colorizer.generator.head.weight, trainer.generator.head.weight.half().float())
    assert "step 2: " in capsys.readouterr().out


def test_the_hooks_numbers_are_those_of_the_moving_average(paths, tmp_path, capsys):
    trainer = run_with(evaluate.watch(paths, 128), tmp_path / "mine")
    L, ab = (torch.cat(x) for x in zip(*(code(photos.read(path).rgb) for path in paths), strict=True))
    with torch.no_grad():
        row = measure(L, trainer.ema.module(L), ab)
    share = row["chroma"].mean() / metrics.mean_chroma(ab).mean()
    said = re.search(
        r"step 2: ([\d.]+) dB, ΔE2000 ([\d.]+), chroma ([\d.]+) of the truth \(4 pictures", capsys.readouterr().out
    ).groups()
    expected = [row["psnr"].mean().item(), row["delta_e2000"].mean().item(), share.item()]
    assert [float(x) for x in said] == pytest.approx(expected, abs=0.006)
    about = checkpoint.load(tmp_path / "mine" / "generator.safetensors").header["about"]
    assert about["psnr"] == pytest.approx(expected[0], abs=0.001)


@pytest.mark.parametrize(("count", "rows", "columns"), [(1, 1, 1), (3, 1, 1), (4, 1, 4), (9, 2, 4), (14, 3, 4)])
def test_the_sheet_shows_grey_predicted_and_true(tmp_path, count, rows, columns):
    pictures = [scene(n, 32, 32) for n in range(count)]
    files = folder(tmp_path / "valid", *pictures)
    trainer = run_with(evaluate.watch(files, 32), tmp_path / "mine")
    sheet = photos.read(tmp_path / "mine" / "samples.png").rgb.astype(int)
    assert sheet.shape == (32 * rows, 3 * 32 * columns, 3)
    for n in range(rows * columns):
        y, x = 32 * (n // 4), 96 * (n % 4)
        without, predicted, true = np.split(sheet[y : y + 32, x : x + 96], 3, axis=1)
        assert np.abs(true - pictures[n]).max() <= 1
        assert np.abs(without - inference.grey_pixels(pictures[n])[..., None]).max() <= 1
        L, _ = code(pictures[n])
        with torch.no_grad():
            ab, _ = color.fit_gamut(L, trainer.ema.module(L))
        assert np.abs(predicted - inference.to_pixels(color.decode(L, ab))).max() <= 1


def test_the_hook_spreads_its_pictures_over_the_files(tmp_path, monkeypatch):
    files = folder(tmp_path / "valid", *(scene(n, 16, 16) for n in range(10)))
    read, seen = evaluate.Pictures.read, []
    monkeypatch.setattr(evaluate.Pictures, "read", lambda paths, **options: seen.append(list(paths)) or read(paths, **options))
    evaluate.watch(files, 16, limit=3)
    evaluate.watch(files, 16, limit=100)
    assert seen == [files[0:9:3], files]


def test_a_run_in_the_current_folder_has_that_folders_name(paths, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_with(evaluate.watch(paths, 16), Path("."))
    assert inference.load("generator.safetensors").name == tmp_path.name


def test_large_squares_leave_a_model_that_can_be_read(paths, tmp_path, monkeypatch):
    monkeypatch.setattr(evaluate, "LARGEST", 48)
    run_with(evaluate.watch(paths, 32), tmp_path / "mine")
    assert inference.load(tmp_path / "mine" / "generator.safetensors").size == 48


def test_the_hook_needs_a_picture(tmp_path):
    with pytest.raises(ValueError, match="None of the 0 files"):
        evaluate.watch([], 32)
    with pytest.raises(ValueError, match="near-grey"):
        evaluate.watch(folder(tmp_path / "grey", np.full((20, 20, 3), 90, np.uint8)), 32)
