"""The maintainers' tools: weights between two, notebooks run in place."""

import re
import runpy
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch

from colorlab import inference, photos
from colorlab.unet import UNet, UNetConfig

TOOLS = Path(__file__).parent.parent / "tools"


@pytest.mark.parametrize(("share", "gain"), [(0.0, 1.0), (0.25, 1.5), (1.0, 1.0)])
def test_a_blend_lies_where_it_was_asked_to(tmp_path, share, gain):
    paths, weights = [], []
    for seed in (1, 2):
        torch.manual_seed(seed)
        net = UNet(UNetConfig(width=8, max_width=8, depth=1))
        inference.save_generator(path := tmp_path / f"{seed}.safetensors", net, str(seed), 32)
        paths.append(str(path))
        weights.append(net.head.weight.half().float())
    out = tmp_path / "mine.safetensors"
    runpy.run_path(str(TOOLS / "blend.py"))["blend"](*paths, share, gain, 48, out)
    mixed = inference.load(out)
    assert (mixed.name, mixed.size) == ("mine", 48)
    assert torch.allclose(mixed.generator.head.weight, gain * ((1 - share) * weights[0] + share * weights[1]), atol=1e-3)
    assert not torch.allclose(weights[0], weights[1], atol=1e-2)
    first, (height, width) = inference.load(paths[0], 48), photos.read(photos.sample("coffee")).rgb.shape[:2]
    with np.load(out.with_name(inference.SEPIA)) as sepia:
        assert set(sepia) == {sample.name for sample in photos.samples()}
        half = sepia["coffee"]
    assert half.shape == (1, 2, *(side // 2 for side in inference.network_size(height, width, 48, first.generator.stride)))
    assert half.mean() == pytest.approx(first.chroma(photos.read(photos.sample("coffee")).rgb).mean().item(), abs=1e-3)


def test_contact_sheets_show_the_best_the_worst_and_some_by_lot(tmp_path, monkeypatch, capsys):
    names = [f"{n:02d}.png" for n in range(14)]
    (tmp_path / "in").mkdir()
    for n, name in enumerate(names):  # from grey, which any colour makes worse, to vivid
        photos.save(np.full((40, 56, 3), (128 + 8 * n, 128, 128 - 8 * n), np.uint8), tmp_path / "in" / name)
    ochre = inference.Colorizer(Answers(), "ochre", 32)
    monkeypatch.setattr(inference, "load", lambda model: ochre)
    main = runpy.run_path(str(TOOLS / "sheets.py"))["main"]
    main("ochre", [str(tmp_path / "in")], tmp_path / "out")
    said = dict(line.split(": ", 1) for line in capsys.readouterr().out.splitlines())
    assert list(said) == ["best", "worst", "random"]
    assert "13.png" in said["best"]
    assert said["worst"].startswith("00.png (-")
    for name, text in said.items():
        shown = set(re.findall(r"\d\d\.png", text))
        assert len(shown) == 12
        assert shown <= set(names)
        assert photos.read(tmp_path / "out" / f"photo_{name}.jpg").rgb.shape == (6 * 130, 2 * 448, 3)


class Answers(torch.nn.Module):
    """A generator that sees ochre everywhere."""

    stride = 8

    def forward(self, L):
        return torch.tensor([0.2, 0.4]).view(1, 2, 1, 1).expand(len(L), 2, *L.shape[2:])


def notebook(path: Path, source: str) -> Path:
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)]), path)
    return path


@pytest.mark.filterwarnings("ignore")  # Jupyter's own, about its loops and sockets
def test_a_notebook_is_run_in_its_own_folder_and_written_back(tmp_path):
    path = notebook(tmp_path / "a.ipynb", "from pathlib import Path\nprint(Path.cwd().name, 6 * 7)")
    seconds, peak = runpy.run_path(str(TOOLS / "execute.py"))["execute"](path)
    (cell,) = nbformat.read(path, 4).cells
    assert cell.outputs[0].text == f"{tmp_path.name} 42\n"
    assert cell.execution_count == 1
    assert seconds > 0
    assert peak != peak or peak > 10  # MiB; nan where the system does not tell


@pytest.mark.filterwarnings("ignore")
def test_a_notebook_in_which_a_cell_fails_is_left_as_it_was(tmp_path):
    path = notebook(tmp_path / "a.ipynb", "1 / 0")
    before = path.read_bytes()
    with pytest.raises(Exception, match="ZeroDivisionError"):
        runpy.run_path(str(TOOLS / "execute.py"))["execute"](path)
    assert path.read_bytes() == before
