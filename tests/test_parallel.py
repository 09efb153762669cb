"""Several processes: the same training as one on the whole batch, stopped together, resumed exactly. Real ones, over loopback."""

import os
import shutil
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


def pictures(count=12, size=24):
    """Pictures in memory, noise of a seed."""
    rng = np.random.default_rng(0)
    kept = {n: rng.integers(0, 256, (size, size, 3), np.uint8) for n in range(count)}
    return Pictures([Path(f"{n}.png") for n in kept], size, [20.0] * count, kept=kept)


def train(folder, hooks=None, spoil=None, processes=2):
    """A run in float64 from `folder`'s last checkpoint, if there is one; the same in one process and in several."""
    torch.manual_seed(parallel.rank())  # the first one's weights are everyone's
    networks = UNet(CONFIG.generator).double(), PatchGAN(CONFIG.discriminator).double()
    trainer = Trainer(CONFIG, *networks, folder, hooks, save_every=2)
    if trainer.path.exists():
        trainer.resume()
    loader = Loader(pictures(), batch_size=2 * processes, size=16, seed=1)
    loader.position = trainer.step

    def batches():
        for n, (L, ab) in enumerate(loader):
            torch.rand(1)  # so that the random state moves on at every step
            yield L.double(), ab.double() * (float("nan") if spoil == n else 1)

    trainer.fit(batches(), CONFIG.steps - trainer.step, progress=False)
    return trainer


def main(folder, what):
    """What each process of the tests below does."""
    torch.set_num_threads(1)
    seed = torch.initial_seed()
    with parallel.joined():
        if what == "kill":  # the second, in mid-run: between two checkpoints
            kill = lambda trainer: os.kill(os.getpid(), signal.SIGKILL) if (trainer.step, parallel.rank()) == (7, 1) else None  # noqa: E731
            train(folder, {"step": [kill]}, processes=parallel.size())
        elif what == "go":
            train(folder, processes=parallel.size())
        elif what == "spoil":
            train(folder, spoil=5 if parallel.rank() == 1 else None)
        else:  # hooks for "save" run in the first process alone, those for "step" in each
            events, further = [], torch.initial_seed() - seed
            train(folder, {"step": [lambda t: events.append("step")], "save": [lambda t: events.append("save")]})
            Path(folder, f"events{parallel.rank()}.txt").write_text(f"{events.count('step')} {events.count('save')} {further}")


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
    done = torchrun(HERE, folder, "count")
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
    assert [(together / f"events{n}.txt").read_text() for n in range(2)] == ["12 6 0", "12 0 1"]
    states = [x for name, x in checkpoint.load(together / "last.safetensors").tensors.items() if name.startswith("random.cpu")]
    assert len(states) == 2
    assert not torch.equal(*states)


@pytest.mark.parametrize("processes", [2, 3])  # of three, the order of a sum begins to matter
def test_a_run_goes_on_exactly_after_one_process_was_killed(processes, together, tmp_path):
    whole, killed = together if processes == 2 else tmp_path / "whole", tmp_path / "killed"
    if processes > 2:
        done = torchrun(HERE, whole, "go", processes=processes)
        assert done.returncode == 0, done.stderr
    done = torchrun(HERE, killed, "kill", processes=processes)
    assert done.returncode != 0
    assert "SIGKILL" in done.stderr or "-9" in done.stderr
    assert checkpoint.load(killed / "last.safetensors").header["step"] == 6
    shutil.copytree(killed, tmp_path / "alone")
    done = torchrun(HERE, killed, "go", processes=processes)
    assert done.returncode == 0, done.stderr
    one, two = (checkpoint.load(folder / "last.safetensors").tensors for folder in (whole, killed))
    assert one.keys() == two.keys()
    assert sum(name.startswith("random.cpu") for name in one) == processes
    assert [name for name in one if not torch.equal(one[name].nan_to_num(), two[name].nan_to_num())] == []

    train(tmp_path / "alone", processes=processes)  # and one process alone may finish what several began
    one, two = tensors(whole), tensors(tmp_path / "alone")
    assert max((one[name] - two[name]).abs().nan_to_num().max().item() for name in one) < 1e-8


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
    assert done.stdout.count("step 4: ") + done.stderr.count("step 4: ") == 1
    assert "Warning" not in done.stderr
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
    assert done.stderr.count("colorlab: --batch must be a multiple of 2, the number of processes, got 3.") == 1
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


@pytest.mark.parametrize(("count", "batch_size", "named"), [(12, 6, 6), (12, 2, 2), (6, 8, 6)])
def test_batches_that_cannot_be_shared_are_refused(count, batch_size, named, monkeypatch):
    monkeypatch.setattr(parallel, "size", lambda: 4)
    with pytest.raises(ValueError, match=rf"4 processes cannot share batches of {named} equally. Give a multiple of 4, and at"):
        Loader(pictures(count), batch_size, size=12)


def test_processes_on_one_machine_share_its_memory(tmp_path, monkeypatch):
    paths = [photos.save(x, tmp_path / f"{n}.png") for n, x in pictures(4).kept.items()]
    assert len(Pictures.read(paths, 24, memory=4 * 24 * 24 * 3, progress=False).kept) == 4
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert len(Pictures.read(paths, 24, memory=4 * 24 * 24 * 3, progress=False).kept) == 2


def test_processes_that_do_not_see_the_same_run_are_stopped(monkeypatch):
    monkeypatch.setattr(parallel, "gather", lambda x: [x, x + 500])
    with pytest.raises(ValueError, match=r"stand at steps \[0, 500\]. Let all of them see the folder"):
        Trainer(CONFIG).fit([], progress=False)


@pytest.fixture
def torchruns(monkeypatch):
    """What torchrun tells the only process that it starts; port 0 is any that is free."""
    names = {"RANK": 0, "LOCAL_RANK": 0, "WORLD_SIZE": 1, "LOCAL_WORLD_SIZE": 1, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": 0}
    for name, value in {"TORCHELASTIC_RUN_ID": "one", **names}.items():
        monkeypatch.setenv(name, str(value))
    yield
    if distributed.is_initialized():
        distributed.destroy_process_group()


def test_joining_and_leaving(torchruns):
    with parallel.joined():
        assert distributed.is_initialized()
        assert (parallel.rank(), parallel.size(), parallel.beside()) == (0, 1, 1)
    assert not distributed.is_initialized()


@pytest.mark.parametrize(
    ("error", "told"),
    [(KeyError("mine"), KeyError), (RuntimeError("[…/gloo/…] Connection reset by peer"), ConnectionError),
     (distributed.DistNetworkError("gone"), ConnectionError)],
)  # fmt: skip
def test_an_error_is_told_as_what_it_is(torchruns, error, told):
    with pytest.raises(told, match="mine|Another process has ended. Start all"), parallel.joined():
        raise error


def test_the_second_to_fail_says_nothing(torchruns, monkeypatch):
    monkeypatch.setattr(distributed.TCPStore, "add", lambda *_: 2, raising=False)
    monkeypatch.setattr(distributed.PrefixStore, "add", lambda *_: 2, raising=False)
    with pytest.raises(SystemExit) as caught, parallel.joined():
        raise KeyError("told by the first")
    assert caught.value.code == 1


def test_fewer_gpus_than_processes(torchruns, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    cure = "4 processes need a GPU each, here are 3. Give torchrun --nproc-per-node 3"
    with pytest.raises(ValueError, match=cure), parallel.joined():
        pass


def test_each_process_takes_its_own_gpu(torchruns, monkeypatch):
    taken = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "set_device", taken.append)
    monkeypatch.setattr(distributed, "init_process_group", lambda backend, **options: taken.append(backend))
    monkeypatch.setattr(distributed, "destroy_process_group", lambda: None)
    with parallel.joined():
        assert taken == [0, "cpu:gloo,cuda:nccl"]


if __name__ == "__main__":
    main(*sys.argv[1:])
