"""The maintainers' tools: weights between two, notebooks run in place."""

import runpy
from pathlib import Path

import nbformat
import pytest
import torch

from colorlab import inference
from colorlab.unet import UNet, UNetConfig

TOOLS = Path(__file__).parent.parent / "tools"


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_a_blend_lies_where_it_was_asked_to(tmp_path, share):
    paths, weights = [], []
    for seed in (1, 2):
        torch.manual_seed(seed)
        net = UNet(UNetConfig(width=8, max_width=8, depth=1))
        inference.save_generator(path := tmp_path / f"{seed}.safetensors", net, str(seed), 32)
        paths.append(str(path))
        weights.append(net.head.weight.half().float())
    out = tmp_path / "mine.safetensors"
    runpy.run_path(str(TOOLS / "blend.py"))["blend"](*paths, share, 48, out)
    mixed = inference.load(out)
    assert (mixed.name, mixed.size) == ("mine", 48)
    assert torch.allclose(mixed.generator.head.weight, (1 - share) * weights[0] + share * weights[1], atol=1e-3)
    assert not torch.allclose(weights[0], weights[1], atol=1e-2)


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
