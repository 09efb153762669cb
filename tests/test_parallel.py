"""Several processes: the same training as one on the whole batch, stopped together, resumed exactly. Real ones, over loopback."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import distributed

from colorlab import checkpoint, parallel, photos
from colorlab.data import Loader, Pictures
from colorlab.patchgan import PatchGAN, PatchGANConfig
from colorlab.train import TrainConfig, Trainer, TrainingDiverged
from colorlab.unet import UNet, UNetConfig

HERE = Path(__file__).resolve()
CONFIG = TrainConfig(
    generator=UNetConfig(width=8, max_width=16, depth=1),
    discriminator=PatchGANConfig(width=4, layers=1),
    warmup_steps=4,
    gan_steps=8,
)


def pictures(count=8, size=16):
    """Pictures in memory, noise of a seed."""
    rng = np.random.default_rng(0)
    kept = {n: rng.integers(0, 256, (size, size, 3), np.uint8) for n in range(count)}
    return Pictures([Path(f"{n}.png") for n in kept], size, [20.0] * count, kept=kept)


def train(folder, hooks=None, spoil=None):
    """A run in float64 from `folder`'s last checkpoint, if there is one; the same in one process and in several."""
    torch.manual_seed(parallel.rank())  # the first one's weights are everyone's
    networks = UNet(CONFIG.generator).double(), PatchGAN(CONFIG.discriminator).double()
    trainer = Trainer(CONFIG, *networks, folder, hooks, save_every=2)
    if trainer.path.exists():
        trainer.resume()
    loader = Loader(pictures(), batch_size=4, size=12, seed=1)
    loader.position = trainer.step
    batches = ((L.double(), ab.double() * (float("nan") if spoil == n else 1)) for n, (L, ab) in enumerate(loader))
    trainer.fit(batches, CONFIG.steps - trainer.step, progress=False)
    return trainer


def main(folder, what):
    """What each process of the tests below does."""
    torch.set_num_threads(1)
    with parallel.joined():
        if what == "kill":  # one of the two, in mid-run: between two checkpoints
            kill = lambda trainer: os.kill(os.getpid(), signal.SIGKILL) if (trainer.step, parallel.rank()) == (7, 1) else None  # noqa: E731
            train(folder, {"step": [kill]})
        elif what == "spoil":
            train(folder, spoil=5 if parallel.rank() == 1 else None)
        elif what == "saves":  # hooks for "save" run in the first process alone, those for "step" in each
            events = []
            train(folder, {"step": [lambda t: events.append("step")], "save": [lambda t: events.append("save")]})
            Path(folder, f"events{parallel.rank()}.txt").write_text(f"{events.count('step')} {events.count('save')}")
        else:
            train(folder)


def torchrun(*arguments, processes=2, timeout=240):
    """Start processes through torchrun; its output and theirs. A deadlock fails by the timeout."""
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [*start, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=timeout, env=environment)


def tensors(folder):
    """A run's last checkpoint, without the random states, of which there is one a process."""
    return {name: x for name, x in checkpoint.load(folder / "last.safetensors").tensors.items() if not name.startswith("random.")}


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    folder = tmp_path_factory.mktemp("together")
    done = torchrun(HERE, folder, "saves")
    assert done.returncode == 0, done.stderr
    return folder


def test_two_processes_do_what_one_does_with_the_whole_batch(together, tmp_path):
    train(tmp_path)
    one, two = tensors(tmp_path), tensors(together)
    assert one.keys() == two.keys()
    assert {name.split(".")[0] for name in one} == {"generator", "discriminator", "ema", "optimizer_g", "optimizer_d", "history"}
    apart = {name: (one[name] - two[name]).abs().nan_to_num().max().item() for name in one}
    assert max(apart.values()) < 1e-8, max(apart, key=apart.get)
    assert one["history"].isnan().equal(two["history"].isnan())
    moved = (one["generator.stem.0.weight"] - UNet(CONFIG.generator).stem[0].weight).abs().max()
    assert moved > 1e-3


def test_each_process_works_and_one_writes(together):
    assert [(together / f"events{n}.txt").read_text() for n in range(2)] == ["12 6", "12 0"]
    states = [x for name, x in checkpoint.load(together / "last.safetensors").tensors.items() if name.startswith("random.cpu")]
    assert len(states) == 2
    assert not torch.equal(*states)


def test_a_run_goes_on_exactly_after_one_process_was_killed(together, tmp_path):
    done = torchrun(HERE, tmp_path, "kill")
    assert done.returncode != 0
    assert "SIGKILL" in done.stderr or "-9" in done.stderr
    assert checkpoint.load(tmp_path / "last.safetensors").header["step"] == 6
    done = torchrun(HERE, tmp_path, "go on")
    assert done.returncode == 0, done.stderr
    whole = checkpoint.load(together / "last.safetensors").tensors
    again = checkpoint.load(tmp_path / "last.safetensors").tensors
    assert whole.keys() == again.keys()
    assert [name for name in whole if not torch.equal(whole[name].nan_to_num(), again[name].nan_to_num())] == []


def test_what_is_not_a_number_in_one_process_stops_both(tmp_path):
    done = torchrun(HERE, tmp_path, "spoil")
    assert done.returncode != 0
    assert done.stderr.count("TrainingDiverged: Step 6: ") == 1, "told once"
    assert checkpoint.load(tmp_path / "last.safetensors").header["step"] == 4


# The command


@pytest.fixture(scope="module")
def album(tmp_path_factory):
    folder = tmp_path_factory.mktemp("album")
    rng = np.random.default_rng(0)
    for n in range(6):
        (folder / ("valid" if n < 2 else "train")).mkdir(exist_ok=True)
        photos.save(rng.integers(0, 256, (32, 32, 3), np.uint8), folder / ("valid" if n < 2 else "train") / f"{n}.png")
    return folder


def command(album, out, *more):
    short = ["--small", "--size", 24, "--warmup", 2, "--gan", 2]
    return ["train", album / "train", "--valid", album / "valid", "-o", out, *short, *more]


def test_the_command_trains_together_speaks_once_and_goes_on(album, tmp_path):
    line = command(album, tmp_path / "two", "--batch", 4)
    done = torchrun("-m", "colorlab", *line)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("4 pictures; on ") == 1
    assert done.stdout.count("wrote ") == 1
    alone = subprocess.run(
        [sys.executable, "-m", "colorlab", *map(str, command(album, tmp_path / "one", "--batch", 4))],
        capture_output=True, text=True, check=False, timeout=240, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert alone.returncode == 0, alone.stderr
    one, two = tensors(tmp_path / "one"), tensors(tmp_path / "two")
    for name in ("generator.head.weight", "ema.head.weight", "discriminator.net.0.parametrizations.weight.original"):
        assert torch.allclose(one[name], two[name], atol=5e-3)  # Adam's first steps are a rate long in the gradient's sign
    assert sorted(p.name for p in (tmp_path / "two").iterdir()) == sorted(p.name for p in (tmp_path / "one").iterdir())
    again = torchrun("-m", "colorlab", *line)
    assert again.returncode == 0
    assert again.stdout.count("is finished") == 1


def test_the_commands_error_is_one_sentence(album, tmp_path):
    done = torchrun("-m", "colorlab", *command(album, tmp_path / "odd", "--batch", 3))
    assert done.returncode != 0
    assert done.stderr.count("colorlab: 2 processes cannot share batches of 3 equally. Give a multiple.") == 1
    assert "cli.py" not in done.stderr, "a traceback of ours"  # torchrun shows one of its own


# In this very process


@pytest.fixture
def group(tmp_path):
    """This process as the only one of a group."""
    distributed.init_process_group("gloo", store=distributed.FileStore(str(tmp_path / "store"), 1), rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


def test_alone_nothing_is_wrapped_averaged_or_gathered():
    network, x = torch.nn.Linear(1, 1), torch.ones(2)
    assert parallel.wrap(network) is network
    assert parallel.average(x) is x
    assert parallel.gather(x)[0] is x
    assert (parallel.rank(), parallel.size(), parallel.beside()) == (0, 1, 1)
    with parallel.joined():
        assert not distributed.is_initialized()


def test_a_group_of_one_does_what_a_process_alone_does(group, tmp_path):
    inside = train(tmp_path / "inside")
    distributed.destroy_process_group()
    alone = train(tmp_path / "alone")
    distributed.init_process_group("gloo", store=distributed.FileStore(str(tmp_path / "again"), 1), rank=0, world_size=1)
    assert inside.history == alone.history
    one, two = tensors(tmp_path / "inside"), tensors(tmp_path / "alone")
    assert all(torch.equal(one[name].nan_to_num(), two[name].nan_to_num()) for name in one)


def test_averages_and_gathers(group):
    x = torch.tensor([1.0, 3.0])
    assert parallel.average(x).tolist() == [1.0, 3.0]
    assert [y.tolist() for y in parallel.gather(x)] == [[1.0, 3.0]]
    assert isinstance(parallel.wrap(torch.nn.Linear(1, 1)), torch.nn.parallel.DistributedDataParallel)


def test_a_lone_process_is_stopped_too(tmp_path):
    with pytest.raises(TrainingDiverged, match="Step 6: "):
        train(tmp_path, spoil=5)


@pytest.mark.parametrize("processes", [2, 4])
def test_the_shares_are_the_whole_batch(processes, monkeypatch):
    whole = Loader(pictures(), batch_size=4, size=12, seed=3)
    monkeypatch.setattr(parallel, "size", lambda: processes)
    for step in range(3):
        L, ab = torch.empty(4, 1, 12, 12), torch.empty(4, 2, 12, 12)
        for rank in range(processes):
            monkeypatch.setattr(parallel, "rank", lambda rank=rank: rank)
            L[rank::processes], ab[rank::processes] = Loader(pictures(), batch_size=4, size=12, seed=3).batch(step)
        monkeypatch.setattr(parallel, "rank", lambda: 0)
        monkeypatch.setattr(parallel, "size", lambda: 1)
        assert torch.allclose(L, whole.batch(step)[0], atol=1e-6)  # the pixels are the same; Lab's last bit hangs on the count
        assert torch.allclose(ab, whole.batch(step)[1], atol=1e-6)
        monkeypatch.setattr(parallel, "size", lambda: processes)
    assert len(Loader(pictures(), batch_size=4, size=12, augment=False).batch(0)[0]) == 4, "judged whole, by whoever judges"
    with pytest.raises(ValueError, match=r"batches of 6 equally. Give a multiple"):
        monkeypatch.setattr(parallel, "size", lambda: 4)
        Loader(pictures(), batch_size=6, size=12)


if __name__ == "__main__":
    main(*sys.argv[1:])
