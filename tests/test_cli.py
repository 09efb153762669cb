"""The command line as people use it: folders, patterns, odd names, second runs, mistakes, Ctrl-C, and runs that are killed."""

import functools
import importlib.metadata
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest
import skimage.color
import torch
from PIL import Image

import colorlab
from colorlab import check, checkpoint, cli, data, doctor, evaluate, inference, photos, train
from colorlab.inference import Colorizer
from colorlab.unet import UNet, UNetConfig

TINY = UNetConfig(width=8, max_width=16, depth=2)
TRAIN = ["--small", "--size", "32", "--batch", "2", "--warmup", "2", "--gan", "2"]
POSIX = pytest.mark.skipif(sys.platform == "win32", reason="Windows allows no such name")


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    """A model's file: random weights, strong colours."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = UNet(TINY)
    with torch.no_grad():
        net.head.weight *= 8
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    inference.save_generator(path, net, "tiny", 32)
    return str(path)


@pytest.fixture
def run(capsys):
    """Run a command here: (exit status, standard output, standard error)."""

    def call(*words) -> tuple[int, str, str]:
        capsys.readouterr()
        try:
            status = cli.main([str(word) for word in words])
        except SystemExit as stop:
            status = stop.code
        return status, *capsys.readouterr()

    return call


@pytest.fixture
def colorize(run, model):
    return lambda *words: run("colorize", "--model", model, *words)


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """An empty current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def scene(seed: int = 0, height: int = 30, width: int = 40) -> np.ndarray:
    """A picture (H, W, 3) uint8 of soft blotches in every colour."""
    low = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(low).resize((width, height), Image.Resampling.BICUBIC))


def draw(path: str | Path, seed: int = 0, **options) -> Path:
    """A picture's file, and the folders that it needs."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(scene(seed)).save(path, **options)
    return path


def files(folder: str | Path) -> list[str]:
    """Every file below a folder, by its path in it; a half-written one, whose name begins with a dot, is one too."""
    return sorted(p.relative_to(folder).as_posix() for p in Path(folder).rglob("*") if not p.is_dir())


def contents(folder: str | Path) -> dict[str, bytes]:
    return {name: (Path(folder) / name).read_bytes() for name in files(folder)}


def process(*words, **env: str) -> subprocess.CompletedProcess:
    """Run Python for real, in the current folder, with as many threads as here."""
    env = os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads()), "PYTHONIOENCODING": "utf-8"} | env
    return subprocess.run([sys.executable, *map(str, words)], capture_output=True, text=True, encoding="utf-8", env=env)


# The command itself


def test_version_and_help_are_quick_and_need_no_torch(run):
    assert run("--version") == (0, f"colorlab {colorlab.__version__}\n", "")
    status, out, _ = run("--help")
    assert status == 0
    assert all(name in out for name in ("colorize", "train", "evaluate", "check", "doctor"))
    look = "import sys; from colorlab import cli; cli._parser().format_help(); print('torch' in sys.modules)"
    assert process("-c", look).stdout == "False\n"


def test_the_command_is_installed():
    (entry,) = importlib.metadata.entry_points(group="console_scripts", name="colorlab")
    assert entry.load() is cli.main
    script = Path(sysconfig.get_path("scripts")) / "colorlab"
    if not script.exists():
        script = script.with_suffix(".exe")
    done = subprocess.run([script, "--version"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, f"colorlab {colorlab.__version__}\n")


def test_help_says_what_a_reader_needs(run):
    status, out, _ = run("colorize", "--help")
    text = " ".join(out.split())
    assert status == 0
    for words in ("-o OUT", "searched recursively", "'*.jpg'", "(default: photo)", "Exit status: 0 all done, 1 some failed"):
        assert words in text
    status, out, _ = run("train", "--help")
    assert "(default: 5000)" in out
    assert "None" not in out
    status, out, _ = run("check", "--help")
    text = " ".join(out.split())
    assert status == 0
    for words in ("MODEL FOLDER", "searched recursively", "Exit status: 0 all passed, warnings included, 1 something failed"):
        assert words in text


@pytest.mark.parametrize(
    "words",
    [
        "",
        "paint",
        "colorize",
        "colorize a.png",
        "colorize -o out",
        "colorize a.png -o out --size 0",
        "colorize a.png -o out --size -3",
        "colorize a.png -o out --size large",
        "colorize a.png -o out --colour red",
        "train",
        "train photos",
        "train photos -o out --batch 0",
        "train photos -o out --size 8",
        "train photos -o out --warmup -1",
        "train photos -o out --gan 1.5",
        "train photos -o out --seed -1",
        "train photos -o out --l1-weight nan",
        "train photos -o out --l1-weight inf",
        "evaluate",
        "evaluate photo",
        "check",
        "check photo",
    ],
)
def test_wrong_arguments_end_with_2_and_the_usage(run, here, words):
    status, out, err = run(*words.split())
    assert status == cli.USAGE == 2
    assert out == ""
    assert err.startswith("usage: colorlab")
    assert files(here) == []


def test_a_console_of_ascii_gets_escapes_not_a_traceback(here, model):
    draw("é中.png")
    done = process("-m", "colorlab.cli", "train", "--help", PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert done.returncode == 0
    assert "\\u03bb" in done.stdout
    done = process("-m", "colorlab.cli", "evaluate", model, ".", PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert done.returncode == 0
    assert "\\u0394E2000" in done.stdout
    done = process("-m", "colorlab.cli", "check", model, ".", PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert done.returncode == 1  # this model's colours are far too strong
    assert "\\u2713 colour leak: none" in done.stdout
    assert "\\u2717 range: " in done.stdout


def test_doctors_answer_is_the_exit_status(run, monkeypatch):
    for status in (0, 1):
        monkeypatch.setattr(doctor, "main", lambda status=status: status)
        assert run("doctor")[0] == status


@pytest.mark.parametrize("error", [ValueError("why"), OSError("why"), RuntimeError("why"), MemoryError()])
def test_an_error_is_one_line(run, monkeypatch, error):
    def fail():
        raise error

    monkeypatch.setattr(doctor, "main", fail)
    assert run("doctor") == (1, "", f"colorlab: {error if str(error) else 'out of memory'}\n")


# colorize: one picture


def test_one_picture_into_a_file(colorize, here):
    draw("a.png")
    status, out, err = colorize("a.png", "-o", "new.jpg")
    assert (status, out, err) == (0, "1 coloured, 0 failed\n", "")
    assert files(here) == ["a.png", "new.jpg"]


def test_a_misspelt_ending_is_no_folder(colorize, here):
    draw("a.png")
    status, out, err = colorize("a.png", "-o", "new.jepg")
    assert (status, out) == (1, "")
    assert "new.jepg: .jepg is no format" in err
    assert files(here) == ["a.png"]
    Path("new.jepg").mkdir()
    assert colorize("a.png", "-o", "new.jepg")[0] == 0


def test_one_picture_into_a_folder(colorize, here):
    draw("a.png")
    assert colorize("a.png", "-o", "deep/er")[0] == 0
    assert colorize("a.png", "-o", "deep")[0] == 0
    Path("x.png").mkdir()  # a folder's name may look like a picture's
    assert colorize("a.png", "-o", "x.png")[0] == 0
    assert files(here) == ["a.png", "deep/a.png", "deep/er/a.png", "x.png/a.png"]


def test_what_the_file_holds_is_what_colorize_returns(colorize, here, model):
    draw("a.png")
    colorize("a.png", "-o", "new.png")
    expected = np.asarray(colorlab.colorize("a.png", model=model))
    np.testing.assert_array_equal(photos.read("new.png").rgb, expected)
    colorize("a.png", "-o", "large.png", "--size", 64)
    assert np.abs(photos.read("large.png").rgb.astype(int) - expected).mean() > 2
    np.testing.assert_array_equal(photos.read("large.png").rgb, np.asarray(colorlab.colorize("a.png", model=model, size=64)))


@pytest.mark.parametrize("suffix", ["png", "jpg", "jpeg", "jfif", "tif", "tiff", "webp", "bmp", "ppm", "PNG", "JPG"])
def test_every_format_keeps_size_and_luminance_and_most_the_note(colorize, here, suffix):
    draw("a.png")
    status, out, _ = colorize("a.png", "-o", f"new.{suffix}")
    assert (status, out) == (0, "1 coloured, 0 failed\n")
    before, after = photos.read("a.png").rgb, photos.read(f"new.{suffix}").rgb
    assert after.shape == before.shape
    difference = skimage.color.rgb2lab(after)[..., 0] - skimage.color.rgb2lab(before)[..., 0]
    assert np.abs(difference).mean() <= (0.5 if suffix.lower() not in ("jpg", "jpeg", "jfif") else 1.0)
    note = photos.note(f"new.{suffix}")
    if suffix in ("bmp", "ppm"):
        assert note == ""
    else:
        assert "inferred" in note
        assert "model tiny" in note


def test_exif_orientation_and_alpha_come_through(colorize, here):
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "A camera"
    draw("turned.jpg", exif=exif)
    colorize("turned.jpg", "-o", "out")
    with Image.open("out/turned.jpg") as image:
        assert image.size == (30, 40)
        assert image.getexif().get(0x0112, 1) == 1
        assert image.getexif()[0x010F] == "A camera"
    image = Image.fromarray(scene())
    image.putalpha(Image.fromarray(scene(1)[..., 0]))
    image.save("clear.png")
    colorize("clear.png", "-o", "out")
    np.testing.assert_array_equal(photos.read("out/clear.png").alpha, scene(1)[..., 0])


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "CMYK", "I;16"])
def test_files_of_every_mode(colorize, here, mode):
    image = Image.fromarray(scene())
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    (image if mode == "I;16" else image.convert(mode)).save("a.tif")
    assert colorize("a.tif", "-o", "out.png")[:2] == (0, "1 coloured, 0 failed\n")


def test_a_gif_becomes_a_png(colorize, here):
    draw("a.gif")
    assert colorize("a.gif", "-o", "out")[0] == 0
    assert files("out") == ["a.png"]
    assert photos.read("out/a.png").rgb.shape == (30, 40, 3)
    status, out, err = colorize("a.gif", "-o", "b.gif")
    assert (status, files(here)) == (1, ["a.gif", "out/a.png"])
    assert "b.gif cannot be written: a GIF holds only 256 colours" in out


def test_a_gif_beside_a_png_of_its_name(colorize, here):
    draw("in/a.gif")
    draw("in/a.png", 1)
    status, _, err = colorize("in", "-o", "out")
    assert status == 1
    assert err.startswith("colorlab: ")
    assert "would both become" in err
    assert files(here) == ["in/a.gif", "in/a.png"]


def test_a_name_that_says_no_format(colorize, here):
    draw("a.png").rename("noend")
    status, out, _ = colorize("noend", "-o", "out")
    assert status == 1
    assert "noend cannot be written: the end of its name does not say a format" in out
    assert colorize("noend", "-o", "out/a.png")[0] == 0


# colorize: many pictures


@pytest.fixture
def album(here) -> Path:
    """Pictures in folders, with files beside them that are none."""
    for n, name in enumerate(["a.png", "b c.JPG", "one/a.png", "one/two/d.webp", "é中.bmp"]):
        draw(here / "in" / name, n)
    (here / "in" / "notes.txt").write_text("no picture")
    return here


def test_a_folder_keeps_its_shape(colorize, album):
    before = contents("in")
    status, out, err = colorize("in", "-o", "out")
    assert (status, out) == (0, "5 coloured, 0 failed\n")
    assert files("out") == ["a.png", "b c.JPG", "one/a.png", "one/two/d.webp", "é中.bmp"]
    assert contents("in") == before
    assert "colorizing" in err
    assert "5/5" in err


def test_several_inputs(colorize, album):
    draw("e.png")
    status, out, _ = colorize("in/one", "e.png", "in/b c.JPG", "-o", "out")
    assert (status, out) == (0, "4 coloured, 0 failed\n")
    assert files("out") == ["a.png", "b c.JPG", "e.png", "two/d.webp"]


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("in/*.png", ["a.png"]),
        ("in/*.[bJ]*", ["b c.JPG", "é中.bmp"]),
        ("in/**/*.webp", ["d.webp"]),
        ("in/o*", ["a.png", "two/d.webp"]),
        ("in/?.png", ["a.png"]),
    ],
)
def test_patterns_that_no_shell_has_expanded(colorize, album, pattern, found):
    status, out, _ = colorize(pattern, "-o", "out")
    assert (status, out) == (0, f"{len(found)} coloured, 0 failed\n")
    assert files("out") == found


def test_a_name_that_looks_like_a_pattern_is_a_name(colorize, here):
    draw("a[1].png")
    draw("a1.png")
    assert colorize("a[1].png", "-o", "out")[0] == 0
    assert files("out") == ["a[1].png"]


def test_what_is_there_is_left_alone_until_asked(colorize, album):
    colorize("in/one", "-o", "out")
    Path("out/a.png").write_bytes(b"mine")
    status, out, _ = colorize("in/one", "-o", "out")
    assert (status, out) == (0, "0 coloured, 2 already there (--overwrite replaces them), 0 failed\n")
    assert Path("out/a.png").read_bytes() == b"mine"
    Path("out/two/d.webp").unlink()
    assert colorize("in/one", "-o", "out")[1].startswith("1 coloured, 1 already there")
    assert photos.read("out/two/d.webp").rgb.shape == (30, 40, 3)
    status, out, _ = colorize("in/one", "-o", "out", "--overwrite")
    assert (status, out) == (0, "2 coloured, 0 failed\n")
    assert photos.read("out/a.png").rgb.shape == (30, 40, 3)


def test_one_bad_file_does_not_stop_the_rest(colorize, album):
    Path("in/bad.jpg").write_bytes(b"no picture")
    Path("in/empty.png").touch()
    status, out, err = colorize("in", "missing.png", "in/notes.txt", "-o", "out")
    assert status == 1
    assert len(files("out")) == 5
    assert out.startswith("5 coloured, 4 failed: in/bad.jpg is not a ".replace("/", os.sep))
    failed = [line for line in err.splitlines() if line.startswith("failed: ")]
    assert len(failed) == 4
    for line, name in zip(failed, ("bad.jpg", "empty.png", "missing.png", "notes.txt"), strict=True):
        assert name in line
    status, out, _ = colorize("in", "-o", "out")  # the second run tries them again, and says so again
    assert status == 1
    assert out.startswith("0 coloured, 5 already there (--overwrite replaces them), 2 failed: ")


@pytest.mark.parametrize("error", [RuntimeError("no memory for it"), MemoryError(), OSError("disk")])
def test_whatever_a_picture_provokes_is_told_with_its_name(colorize, album, monkeypatch, error):
    call = Colorizer.__call__

    def breaks(self, picture):
        if picture.name == "a.png":
            raise error
        return call(self, picture)

    monkeypatch.setattr(Colorizer, "__call__", breaks)
    status, out, err = colorize("in", "-o", "out")
    assert status == 1
    assert out.startswith("3 coloured, 2 failed: ")
    assert f"failed: {Path('in/a.png')}: {error if str(error) else 'out of memory'}\n" in err


def test_several_pictures_do_not_go_into_one_file(colorize, album):
    for words in (["in"], ["in/a.png", "in/b c.JPG"], ["in/*"]):
        status, out, err = colorize(*words, "-o", "one.png")
        assert status == 1
        assert out == ""
        assert "pictures cannot go into one file, one.png. Give a folder." in err
    assert not Path("one.png").exists()


def test_a_folder_of_one_picture_goes_into_one_file(colorize, here):
    draw("in/a.png")
    assert colorize("in", "-o", "new.jpg")[0] == 0
    assert Path("new.jpg").is_file()


def test_the_same_name_from_two_folders(colorize, album):
    status, out, err = colorize("in/a.png", "in/one/a.png", "-o", "out")
    assert (status, out) == (1, "")
    assert "would both become" in err
    assert not Path("out").exists()


def test_the_same_picture_twice_is_one(colorize, album):
    status, out, _ = colorize("in/a.png", "./in/a.png", Path("in/a.png").resolve(), "in/a.png", "-o", "out")
    assert (status, out) == (0, "1 coloured, 0 failed\n")


def test_a_folder_without_pictures_is_told(colorize, album):
    Path("in/docs").mkdir()
    status, out, err = colorize("in/one", "in/docs", "-o", "out")
    assert status == 1
    assert files("out") == ["a.png", "two/d.webp"]
    assert out.startswith(f"2 coloured, 1 failed: {Path('in/docs')} holds no pictures")


# colorize: where input and output meet


def test_the_output_may_lie_inside_the_input(colorize, here):
    for n, name in enumerate(["a.png", "b.jpg", "sub/c.png"]):
        draw(here / "in" / name, n)
    assert colorize("in", "-o", "in/out")[1] == "3 coloured, 0 failed\n"
    assert files("in/out") == ["a.png", "b.jpg", "sub/c.png"]
    first = contents("in/out")
    expanded = [f"in/{name}" for name in ("a.png", "b.jpg", "out", "sub")]  # what a shell makes of in/*
    for words, count in [(["in"], 3), (expanded, 3), (["in/*"], 3), (["in/**/*.png"], 2), (["in/out", "in/a.png"], 1)]:
        status, out, _ = colorize(*words, "-o", "in/out", "--overwrite")
        assert (status, out) == (0, f"{count} coloured, 0 failed\n"), words
    assert contents("in/out") == first | {"c.png": first["sub/c.png"]}


def test_the_input_may_lie_inside_the_output(colorize, album):
    before = contents("in")
    assert colorize("in/one/two", "-o", "in")[1] == "1 coloured, 0 failed\n"
    after = contents("in")
    assert after.pop("d.webp")
    assert after == before


@pytest.mark.parametrize(
    "words",
    [
        "in/a.png -o in/a.png",
        "in/a.png -o in",
        "in -o in",
        "in -o ./in/../in",
        "in/a.png in/one/two/d.webp -o in/one/two",
        "in/one/a.png in/a.png -o in/a.png",
        "link -o in",
    ],
)
def test_an_original_is_never_replaced(colorize, album, words):
    if words.startswith("link"):
        if sys.platform == "win32":
            pytest.skip("links need a privilege there")
        Path("link").symlink_to("in")
    before = contents("in")
    status, out, err = colorize(*words.split(), "--overwrite")
    assert (status, out) == (1, "")
    assert "an original, would be replaced" in err or "cannot go into one file" in err
    assert contents("in") == before


def test_nor_the_original_of_another(colorize, here):
    draw("new/sub/y.png")
    draw("all/sub/y.png")
    before = contents(here)
    assert colorize("new", "all/sub/y.png", "-o", "all", "--overwrite")[0] == 1
    assert contents(here) == before


@POSIX
def test_links(colorize, album):
    Path("in/link.png").symlink_to("a.png")
    Path("in/loop.png").symlink_to("loop.png")
    Path("in/dangling.png").symlink_to("nowhere.png")
    Path("in/around").symlink_to(".")
    status, out, _ = colorize("in", "-o", "out")
    assert (status, out) == (0, "6 coloured, 0 failed\n")
    assert not Path("out/link.png").is_symlink()
    assert Path("out/link.png").read_bytes() == Path("out/a.png").read_bytes()
    status, out, err = colorize("in/loop.png", "in/dangling.png", "in/one/a.png", "-o", "out2")
    assert (status, files("out2")) == (1, ["a.png"])
    assert out.startswith("1 coloured, 2 failed: ")


@POSIX
def test_odd_names(colorize, here):
    names = ["-dash.png", "new\nline.png", "sp  ace.png", "'quo\"te.png", "$(x).png", "*.png", "%s{0}.png", "a.b.c.png"]
    for name in names:
        draw(here / "in" / name)
    assert colorize("in", "-o", "out")[:2] == (0, f"{len(names)} coloured, 0 failed\n")
    assert files("out") == sorted(names)
    os.chdir("in")
    assert colorize("-o", "../other", "--", "-dash.png", "new\nline.png", "%s{0}.png")[0] == 0
    assert files("../other") == sorted(["-dash.png", "new\nline.png", "%s{0}.png"])


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux keeps such names")
def test_a_name_that_is_no_text(here, model):
    draw("in/a.png")
    Path(os.fsdecode(b"in/b\xff.png")).write_bytes(b"no picture")
    draw(os.fsdecode(b"in/c\xff.png"))
    done = process("-m", "colorlab.cli", "colorize", "in", "-o", "out", "--model", model)
    assert (done.returncode, files("out")) == (1, ["a.png", os.fsdecode(b"c\xff.png")])
    assert "2 coloured, 1 failed: in/b\\udcff.png is not a" in done.stdout


def test_a_name_too_long_is_one_failure_among_others(colorize, here):
    draw("a.png")
    status, out, err = colorize("a.png", "x" * 300 + ".png", "-o", "out")
    assert (status, files("out")) == (1, ["a.png"])
    assert out.startswith("1 coloured, 1 failed: xxx")


def test_an_output_that_cannot_be_written(colorize, album):
    Path("taken").write_text("a file")
    status, out, err = colorize("in", "-o", "taken/out")
    assert status == 1
    assert out.startswith("0 coloured, 5 failed: ")
    assert "Traceback" not in err
    assert Path("taken").read_text() == "a file"


@POSIX
@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="root may write anywhere")
def test_an_output_folder_without_leave_to_write(colorize, here):
    draw("a.png")
    Path("out").mkdir(mode=0o500)
    status, out, _ = colorize("a.png", "-o", "out")
    assert (status, files("out")) == (1, [])
    assert "out/a.png cannot be written" in out


def test_models_that_are_none(run, here):
    draw("a.png")
    for name in ("nosuch", "a.png"):
        status, out, err = run("colorize", "a.png", "-o", "out", "--model", name)
        assert (status, out) == (1, "")
        assert err.startswith("colorlab: ")
        assert name in err
        assert err.count("\n") == 1
    assert "ships" in run("colorize", "a.png", "-o", "out", "--model", "nosuch")[2]
    status, _, err = run("colorize", "a.png", "-o", "out", "--size", 99999)
    assert status == 1
    assert files(here) == ["a.png"]


def test_ctrl_c_ends_with_130_and_the_same_command_goes_on(colorize, album, monkeypatch):
    call, done = Colorizer.__call__, []

    def interrupted(self, picture):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(picture)
        return call(self, picture)

    with monkeypatch.context() as patch:
        patch.setattr(Colorizer, "__call__", interrupted)
        status, out, err = colorize("in", "-o", "out")
    assert (status, out) == (cli.INTERRUPTED, "") == (130, "")
    assert err.endswith("Stopped. What was finished is whole; the same command goes on from there.\n")
    assert len(files("out")) == 2
    for name in files("out"):
        photos.read(Path("out") / name)
    assert colorize("in", "-o", "out")[:2] == (0, "3 coloured, 2 already there (--overwrite replaces them), 0 failed\n")


@POSIX
def test_a_real_signal_while_a_file_is_written(here, model):
    draw("a.png")
    code = """
import os, signal, sys
from PIL import Image
from colorlab import cli, photos
save = Image.Image.save
def interrupted(*words, **options):
    save(*words, **options)
    os.kill(os.getpid(), signal.SIGINT)
Image.Image.save = interrupted
sys.exit(cli.main(sys.argv[1:]))
"""
    done = process("-c", code, "colorize", "a.png", "-o", "out", "--model", model)
    assert (done.returncode, done.stdout) == (130, "")
    assert files(here) == ["a.png"]  # nothing half-written is left


# train


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    """learn: twelve pictures, a grey one and a broken one; judge: three others."""
    folder = tmp_path_factory.mktemp("pictures")
    for n in range(12):
        draw(folder / "learn" / f"{n}.png", n)
    Image.fromarray(scene(99)).convert("L").save(folder / "learn" / "pale.png")
    (folder / "learn" / "broken.jpg").write_bytes(b"no picture")
    for n in range(3):
        draw(folder / "judge" / f"{n}.jpg", 100 + n)
    return folder


@pytest.fixture
def learn(run, pictures):
    def call(*words, out="mine", valid=True):
        judge = ["--valid", pictures / "judge"] if valid else []
        return run("train", pictures / "learn", "-o", out, *TRAIN, *judge, *words)

    return call


def tensors(path: str | Path) -> dict[str, torch.Tensor]:
    return checkpoint.load(path).tensors


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    """Whether two checkpoints hold the same bits, but for the process's random state, from which no step draws."""
    names = a.keys() - {"random.cpu", "random.cuda"}
    return a.keys() == b.keys() and all(torch.equal(a[name].nan_to_num(), b[name].nan_to_num()) for name in names)


def test_a_run_from_its_first_step_to_a_coloured_picture(learn, run, here, pictures):
    status, out, err = learn()
    assert status == 0
    assert files("mine") == ["generator.safetensors", "last.safetensors", "options.json", "samples.png"]
    assert "12 pictures; 1 near-grey ones left out" in out
    assert "pale.png" in out
    assert "1 broken ones skipped" in out
    assert "broken.jpg" in out
    assert "step 4: " in out
    assert "(3 pictures not learnt from)" in out
    assert f"wrote {Path('mine/generator.safetensors')}" in out
    assert "training" in err
    saved = checkpoint.load("mine/last.safetensors")
    assert saved.header["step"] == 4
    assert saved.header["config"]["warmup_steps"] == saved.header["config"]["gan_steps"] == 2
    assert inference.load("mine/generator.safetensors").name == "mine"
    assert inference.load("mine/generator.safetensors").size == 64
    assert photos.read("mine/samples.png").rgb.shape == (32, 96, 3)

    # A second time there is nothing to do; with --model, the run colours pictures.
    before, finished = contents("mine"), tensors("mine/generator.safetensors")
    status, out, _ = learn()
    assert status == 0
    assert "going on from step 4" in out
    assert "is finished" in out
    assert contents("mine") == before
    for name in ("generator.safetensors", "last.safetensors"):
        status, out, _ = run("colorize", pictures / "judge", "-o", name.split(".")[0], "--model", Path("mine") / name)
        assert (status, out) == (0, "3 coloured, 0 failed\n")
    assert "model mine" in photos.note("generator/0.jpg")

    # Other options are refused by name, and nothing is lost.
    for words, name in {
        ("--warmup", 3): "warmup_steps: 2 there, 3 here",
        ("--gan", 9): "gan_steps: 2 there, 9 here",
        ("--seed", 1): "seed: 0 there, 1 here",
        ("--l1-weight", 5): "l1_weight: 50.0 there, 5.0 here",
        ("--batch", 3): "batch: 2 there, 3 here",
        ("--size", 40): "size: 32 there, 40 here",
    }.items():
        status, _, err = learn(*words)
        assert status == 1
        assert name in err
    assert contents("mine") == before

    # Another run begins with its weights.
    status, _, _ = learn("--start", "mine/generator.safetensors", "--warmup", 0, "--gan", 0, out="next")
    assert status == 0
    assert same(tensors("next/generator.safetensors"), tensors("mine/generator.safetensors"))
    status, _, _ = learn("--start", "mine/generator.safetensors", out="third")
    assert not same(tensors("third/generator.safetensors"), tensors("mine/generator.safetensors"))
    assert not same(tensors("third/last.safetensors"), tensors("mine/last.safetensors"))

    # Killed after the last checkpoint, before the generator was written: it is written now.
    Path("mine/generator.safetensors").unlink()
    assert learn()[0] == 0
    assert contents("mine")["last.safetensors"] == before["last.safetensors"]
    assert same(tensors("mine/generator.safetensors"), finished)


KILLED = """
import functools, os, sys
from colorlab import cli, evaluate, train
step = train.Trainer._one_step
def dies(self, batch):
    if self.step == 5:
        os._exit(9)
    step(self, batch)
train.Trainer._one_step = dies
train.Trainer = functools.partial(train.Trainer, save_every=2)
sys.exit(cli.main(sys.argv[1:]))
"""


def test_a_killed_run_ends_in_the_same_bits(learn, here, pictures, monkeypatch):
    monkeypatch.setattr(train, "Trainer", functools.partial(train.Trainer, save_every=2))
    options = ["--warmup", 3, "--gan", 4]
    assert learn(*options, out="whole")[0] == 0
    words = ["train", pictures / "learn", "-o", "killed", *TRAIN, "--valid", pictures / "judge", *options]
    done = process("-c", KILLED, *words)
    assert done.returncode == 9, done.stderr
    assert checkpoint.load("killed/last.safetensors").header["step"] == 4
    assert inference.load("killed/generator.safetensors").name == "killed"  # what was learnt so far is of use
    status, out, _ = learn(*options, out="killed")
    assert status == 0
    assert "going on from step 4" in out
    for name in ("last.safetensors", "generator.safetensors"):
        assert same(tensors(Path("killed") / name), tensors(Path("whole") / name))
    assert Path("killed/samples.png").read_bytes() == Path("whole/samples.png").read_bytes()


def test_ctrl_c_in_training(learn, here, monkeypatch):
    step = train.Trainer._one_step

    def interrupted(self, batch):
        if self.step == 3:
            raise KeyboardInterrupt
        step(self, batch)

    monkeypatch.setattr(train, "Trainer", functools.partial(train.Trainer, save_every=2))
    with monkeypatch.context() as patch:
        patch.setattr(train.Trainer.func, "_one_step", interrupted)
        status, _, err = learn()
    assert status == 130
    assert err.endswith("the same command goes on from there.\n")
    assert checkpoint.load("mine/last.safetensors").header["step"] == 2
    assert learn()[0] == 0
    assert checkpoint.load("mine/last.safetensors").header["step"] == 4


def test_a_twentieth_is_set_aside(run, here, monkeypatch):
    for n in range(40):
        draw(here / "learn" / f"{n}.png", n)
    judged, watch = [], evaluate.watch
    monkeypatch.setattr(evaluate, "watch", lambda paths, size: judged.extend(paths) or watch(paths, size))
    status, out, _ = run("train", "learn", "-o", "mine", *TRAIN)
    assert status == 0
    assert 0 < len(judged) < 10
    assert f"\n{40 - len(judged)} pictures; on " in f"\n{out}"
    assert f"({len(judged)} pictures not learnt from)" in out


def test_every_option_reaches_the_loader(learn, here, monkeypatch):
    made, loader = [], data.Loader

    def spy(pictures, *words, **options):
        made.append((pictures.short_side, words))
        return loader(pictures, *words, **options)

    monkeypatch.setattr(data, "Loader", spy)
    assert learn("--batch", 3, "--size", 24, "--seed", 5, "--warmup", 1, "--gan", 0)[0] == 0
    assert made == [(48, (3, 24, 5))]


def test_too_few_pictures_to_set_any_aside(run, learn, here):
    for n in range(3):
        draw(here / "few" / f"{n}.png", n)
    status, out, err = run("train", "few", "-o", "mine", *TRAIN)
    assert (status, out) == (1, "")
    assert "Of 3 pictures 3 are left to learn from and 0 to judge by" in err
    assert "--valid" in err
    status, _, err = run("train", "few", "-o", "mine", *TRAIN, "--valid", "few")
    assert status == 1
    assert "0 are left to learn from and 3 to judge by" in err
    assert files("mine") == ["options.json"]


def test_what_is_judged_by_is_not_learnt_from(run, here):
    for n in range(6):
        draw(here / "all" / f"{n}.png", n)
    draw("all/judge/7.png", 7)
    draw("all/run/samples.png", 8)  # as a run that lives among its pictures leaves it
    status, out, _ = run("train", "all", "-o", "all/run", *TRAIN, "--valid", "all/judge")
    assert status == 0
    assert out.startswith("6 pictures; on ")
    assert "(1 pictures not learnt from)" in out
    assert photos.read("all/run/samples.png").rgb.shape == (32, 96, 3)


def test_mistakes_in_training_come_before_any_work(learn, run, here, pictures, model, monkeypatch):
    def never(*words, **options):
        raise AssertionError("pictures were read")

    monkeypatch.setattr(evaluate.Pictures, "read", never)
    Path("taken").write_text("a file")
    Path("empty").mkdir()
    cases = {
        "must be a multiple of 8 for this network, got 33": learn("--size", 33),
        "taken": learn(out="taken"),
        "There is no model 'nosuch'": learn("--start", "nosuch"),
        "is a UNetConfig(width=8": learn("--start", model),
        "nowhere is not a folder": run("train", "nowhere", "-o", "mine", *TRAIN),
        "empty holds no pictures": run("train", pictures / "learn", "-o", "mine", *TRAIN, "--valid", "empty"),
    }
    for why, (status, out, err) in cases.items():
        assert (status, out) == (1, "")
        assert why in err
        assert err.count("\n") == 1
    status, _, err = run("train", pictures / "learn", "-o", "mine", "--size", 40, "--valid", pictures / "judge")
    assert "must be a multiple of 32" in err  # the network that ships
    assert Path("taken").read_text() == "a file"
    assert not [name for name in files("mine") if name != "options.json"]


def test_a_damaged_checkpoint_is_told_and_kept(learn, here):
    Path("mine").mkdir()
    Path("mine/last.safetensors").write_bytes(b"no checkpoint")
    status, _, err = learn()
    assert status == 1
    assert "last.safetensors is cut short or no checkpoint" in err
    assert Path("mine/last.safetensors").read_bytes() == b"no checkpoint"


# evaluate


def test_evaluate_without_a_model_is_told_the_order(run, here, pictures):
    status, _, err = run("evaluate", pictures / "judge", pictures / "learn")
    assert status == 1
    assert "the model comes first, as in: colorlab evaluate photo" in err


def test_evaluate_prints_its_table(run, here, model, pictures):
    status, out, err = run("evaluate", model, pictures / "judge")
    assert status == 0
    scores = evaluate.evaluate(inference.load(model), sorted((pictures / "judge").iterdir()), progress=False)
    assert out == evaluate.table(scores) + "\n"
    for row in ("| model |", "| grey |", "| mean ab |", "| lookup |", "| truth |", "Pictures: 3,"):
        assert row in out
    assert "judging" in err
    assert run("evaluate", model, pictures / "judge", "--size", 16)[1] != out


def test_evaluate_several_folders_broken_ones_and_none(run, here, model, pictures):
    draw("more/a.png")
    status, out, err = run("evaluate", model, pictures / "learn", "more")
    assert status == 0
    assert "Pictures: 14," in out  # the grey one, too
    assert "broken.jpg" in err
    for words, why in {("nowhere",): "is not a folder", ("more/a.png",): "is not a folder"}.items():
        status, out, err = run("evaluate", model, *words)
        assert (status, out) == (1, "")
        assert why in err
    assert run("evaluate", "nosuch", "more")[0] == 1


# check


@pytest.fixture(scope="module")
def album_of_samples(tmp_path_factory) -> Path:
    """The sample photographs in one folder and one below it."""
    folder = tmp_path_factory.mktemp("samples")
    (folder / "more").mkdir()
    for n, sample in enumerate(photos.samples()):
        place = folder / "more" if n % 2 else folder
        (place / f"{sample.name}{sample.path.suffix}").write_bytes(sample.path.read_bytes())
    return folder


def test_check_says_that_all_is_well(run, here, album_of_samples):
    status, out, err = run("check", "photo", album_of_samples)
    assert status == cli.OK
    lines = out.splitlines()
    assert all(line.startswith("✓ ") for line in lines[:-2])
    assert lines[-1] == f"{len(lines) - 2} passed."
    assert "reading" in err
    assert files(here) == []


def test_check_says_what_is_wrong_and_ends_with_1(run, here, model):
    for n in range(8):
        Image.fromarray(scene(n, 80, 80)).save(f"{n}.png")
    assert "✗ range: " in run("check", model, ".")[1]  # its colours are far too strong
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        mild = UNet(TINY)
    inference.save_generator("mild.safetensors", mild, "mild", 32)
    status, out, _ = run("check", "mild.safetensors", ".")
    assert status == cli.OK
    Image.fromarray(scene(9, 80, 80)).convert("L").save("grey.png")
    status, out, _ = run("check", "mild.safetensors", ".")
    assert status == cli.FAILED
    assert "✗ near-grey data: 1 of 9 pictures with a mean chroma below 4, such as grey.png\n    → " in out
    assert out.endswith("1 failed (near-grey data).\n")


def test_check_finds_a_spoilt_model(run, here):
    draw("a.png")
    net = UNet(TINY)
    with torch.no_grad():
        net.head.bias[0] = torch.nan
    inference.save_generator("spoilt.safetensors", net, "spoilt", 32)
    status, out, _ = run("check", "spoilt.safetensors", ".")
    assert status == cli.FAILED
    assert "✗ weights: 1 of " in out
    assert "head.bias" in out
    assert "broken files" in out  # the data are looked at all the same


def test_check_takes_a_runs_checkpoint_and_its_generator(run, learn, here, pictures):
    assert learn()[0] == 0
    for name in ("last", "generator"):
        out = run("check", f"mine/{name}.safetensors", pictures / "judge", pictures / "learn")[1]
        assert "✓ colour leak: none" in out
        assert "✓ checkpoint: written and read, its answer is the same to the bit" in out
        assert "1 of 17 pictures that cannot be read" in out
    assert "costs 0.00 Lab units" in out  # a generator's file is in half precision already


def test_mistakes_in_check_are_told_in_one_line(run, here, model, pictures):
    Path("empty").mkdir()
    Path("broken").mkdir()
    Path("broken/a.jpg").write_bytes(b"no picture")
    draw("a.png")
    for words, why in {
        (pictures / "judge", pictures / "learn"): "the model comes first, as in: colorlab check photo",
        (model, "nowhere"): "nowhere is not a folder",
        (model, "a.png"): "a.png is not a folder",
        (model, "empty"): "empty holds no pictures",
        (model, "broken"): "broken/a.jpg is not a JPEG",
        ("nosuch", "."): "There is no model 'nosuch'",
        ("a.png", "."): "a.png is cut short or no checkpoint",
    }.items():
        status, out, err = run("check", *words)
        assert (status, out) == (cli.FAILED, "")
        assert why in err.splitlines()[-1]


def test_every_status_of_check_has_its_exit_status(run, here, model, monkeypatch):
    draw("a.png")
    for status, expected in ((check.PASSED, cli.OK), (check.WARNING, cli.OK), (check.FAILED, cli.FAILED)):
        monkeypatch.setattr(check, "check", lambda *_, status=status: [check.Result("it", status, "seen")])
        assert run("check", model, ".")[0] == expected
