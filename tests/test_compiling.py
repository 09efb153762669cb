"""Compiled training: close to the plain one, and exactly the plain one, with one line said, when compiling fails.

Run as a script, this file trains with a compiler that is not there: CXX=/nonexistent python tests/test_compiling.py
"""

import dataclasses
import importlib.util
import os
import subprocess
import sys
from functools import partial

import pytest
import torch
from functorch.compile import make_boxed_func
from test_train import BF16, CONFIG, Batches, Noisy, differing, everything
from torch import nn
from torch._dynamo.backends.common import aot_autograd

from colorlab import compiling, scaling
from colorlab.compiling import compiled, pays
from colorlab.machine import Machine, cpu_has_bf16
from colorlab.patchgan import PatchGAN
from colorlab.train import Trainer, l1_step, train_step
from colorlab.unet import UNet


def broken(*_):
    raise RuntimeError("no compiler here\nand much more to say about it")


AS_IS = "aot_eager"  # torch's own, which traces forward and backward as inductor does, and then runs what it traced
BREAKS_BACKWARD = aot_autograd(fw_compiler=lambda graph, _: make_boxed_func(graph), bw_compiler=broken)


def train(networks=lambda *nets: nets, config=CONFIG, generator=None) -> tuple[Trainer, list[dict]]:
    """A run's tensors after a warm-up step and three of the game, `networks` put around its two."""
    trainer = Trainer(config, generator)
    g, d = networks(trainer.generator, trainer.discriminator)
    rows = [l1_step(Batches(config.machine).batch(0), g, trainer.optimizers[0], config)]
    rows += [train_step(Batches(config.machine).batch(n), g, d, trainer.optimizers, config) for n in (1, 2, 3)]
    return trainer, [{name: float(x) for name, x in row.items()} for row in rows]


@pytest.fixture(autouse=True)
def fresh_compiler():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.mark.parametrize("backend", [broken, BREAKS_BACKWARD], ids=["forward", "backward"])
def test_a_compiler_that_fails_costs_one_line_and_not_one_bit(backend, capfd):
    torch.manual_seed(7)
    plain, rows = train(generator=Noisy())
    state = torch.get_rng_state()
    torch.manual_seed(7)
    trainer, rows_compiled = train(lambda *nets: compiled(nets, backend), generator=Noisy())
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("torch.compile failed, training goes on without it: ")
    assert "no compiler here" in err
    assert err.count("\n") == 1
    assert differing(everything(plain), everything(trainer)) == []
    assert rows_compiled == rows
    assert torch.equal(torch.get_rng_state(), state)


def close(one: Trainer, other: Trainer, tolerance: float) -> bool:
    a, b = everything(one), everything(other)
    return all((a[name].float() - b[name].float()).abs().max() <= tolerance for name in a)


def test_what_is_compiled_trains_as_the_plain_networks_do(capfd):
    plain, rows = train()
    again, rows_compiled = train(lambda *nets: compiled(nets, AS_IS))
    assert capfd.readouterr() == ("", "")
    assert close(plain, again, 1e-5)
    for row, row_compiled in zip(rows, rows_compiled, strict=True):
        assert row_compiled == pytest.approx(row, abs=1e-5)


def test_two_compiled_runs_are_the_same_bits(capfd):
    runs = [train(lambda *nets: compiled(nets, AS_IS)) for _ in range(2)]
    assert capfd.readouterr().err == ""
    assert differing(everything(runs[0][0]), everything(runs[1][0])) == []
    assert runs[0][1] == runs[1][1]


def test_the_networks_themselves_stay_plain():
    generator, discriminator = UNet(CONFIG.generator), PatchGAN(CONFIG.discriminator)
    names = list(generator.state_dict())
    g, d = compiled([generator, discriminator], AS_IS)
    d.requires_grad_(False)
    assert not any(p.requires_grad for p in discriminator.parameters())
    assert [p.data_ptr() for p in g.parameters()] == [p.data_ptr() for p in generator.parameters()]
    assert list(generator.state_dict()) == names
    assert list(g.state_dict()) == [f"module.{name}" for name in names]
    assert type(generator) is UNet


def test_a_kind_of_call_is_compiled_and_tried_once():
    """The trial is a call more; a second call of that kind is not."""
    calls = []

    def counting(graph, example):
        def run(*args):
            calls.append(len(args))
            return graph(*args)

        return run

    network = compiled([nn.Conv2d(1, 2, 3)], counting)[0]
    found = []
    for x in (torch.rand(2, 1, 8, 8), torch.rand(2, 1, 8, 8), torch.rand(2, 1, 16, 16)):
        network(x)
        found.append(len(calls))
    assert found == [2, 3, 5]
    assert all(p.grad is None for p in network.parameters())  # the trial's went nowhere


def test_scaled_and_compiled(capfd):
    """Compiled inside, the gates around it: as without either."""
    f16 = dataclasses.replace(CONFIG, machine=Machine("cpu", "float16"))

    def run(backend):
        trainer, scaler = Trainer(f16), torch.amp.GradScaler("cpu", init_scale=256.0)
        nets = compiled((trainer.generator, trainer.discriminator), backend) if backend else (
            trainer.generator, trainer.discriminator)  # fmt: skip
        pairs = [scaling.scaled(net, adam, scaler) for net, adam in zip(nets, trainer.optimizers, strict=True)]
        (g, optimizer_g), (d, optimizer_d) = pairs
        for n in range(3):
            train_step(Batches().batch(n), g, d, (optimizer_g, optimizer_d), f16)
        assert scaler.get_scale() == 256.0
        return trainer

    assert differing(everything(run(None)), everything(run(broken))) == []
    start = torch.cat([p.detach().flatten() for p in Trainer(f16).generator.parameters()])
    capfd.readouterr()
    moves = [torch.cat([p.detach().flatten() for p in run(way).generator.parameters()]) - start for way in (None, AS_IS)]
    assert capfd.readouterr().err == ""
    assert torch.nn.functional.cosine_similarity(*moves, dim=0) > 0.99


def test_a_trainer_compiles_where_it_pays_and_resumes(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(compiling, "compiled", partial(compiled, backend=AS_IS))
    plain = Trainer(CONFIG)
    plain.fit(Batches(), progress=False)
    monkeypatch.setattr(compiling, "pays", lambda machine, steps: (machine, steps) == (CONFIG.machine, CONFIG.steps))
    whole = Trainer(CONFIG)
    whole.fit(Batches(), progress=False)
    Trainer(CONFIG, folder=tmp_path).fit(Batches(), steps=4, progress=False)
    resumed = Trainer(CONFIG, folder=tmp_path).resume()
    resumed.fit(Batches(), progress=False)
    assert capfd.readouterr().err == ""
    assert differing(everything(whole), everything(resumed)) == []
    assert list(everything(whole)) == list(everything(plain))
    assert differing(everything(plain), everything(whole))  # it was compiled …
    assert close(plain, whole, 1e-4)  # … and is as good


@pytest.mark.parametrize(
    ("machine", "steps", "triton", "expected"),
    [
        (Machine("cuda", "bfloat16", True), 5000, True, True),
        (Machine("cuda:1", "float16", True), 20000, True, True),
        (Machine("cuda", "bfloat16", True), 4999, True, False),
        (Machine("cuda", "bfloat16", True), 20000, False, False),
        (Machine("cpu", "bfloat16", True), 20000, True, False),
        (Machine("mps"), 20000, True, False),
    ],
)
def test_where_it_pays(monkeypatch, machine, steps, triton, expected):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object() if triton and name == "triton" else None)
    assert pays(machine, steps) is expected


def missing_compiler() -> None:
    torch.set_num_threads(1)
    plain, rows = train()
    trainer, rows_compiled = train(lambda *nets: compiled(nets))
    print(differing(everything(plain), everything(trainer)), rows == rows_compiled)


def test_without_a_compiler(tmp_path):
    """Inductor itself, on a machine without one."""
    environment = {name: x for name, x in os.environ.items() if name != "CUDA_HOME"}
    environment |= {"CXX": "/nonexistent", "TORCHINDUCTOR_CACHE_DIR": str(tmp_path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, __file__], env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.stdout == "[] True\n", done.stderr
    said = [line for line in done.stderr.splitlines() if "CUDA" not in line]
    assert len(said) == 1, done.stderr
    assert said[0].startswith("torch.compile failed")


@pytest.mark.exhaustive
@pytest.mark.parametrize("config", [CONFIG, BF16], ids=["float32", "bfloat16"])
def test_inductor(config, capfd):
    """The compiler that ships with torch, where the machine has a C++ compiler: minutes."""
    if config is BF16 and not cpu_has_bf16():
        pytest.skip("this CPU has no bfloat16")
    runs = [train(lambda *nets: compiled(nets), config) for _ in range(2)]
    if "torch.compile failed" in capfd.readouterr().err:
        pytest.skip("this machine has no C++ compiler")
    assert differing(everything(runs[0][0]), everything(runs[1][0])) == []
    for row, row_plain in zip(runs[0][1], train(config=config)[1], strict=True):
        assert row == pytest.approx(row_plain, rel=1e-4 if config is CONFIG else 0.03, abs=1e-4 if config is CONFIG else 0.01)


if __name__ == "__main__":
    missing_compiler()
