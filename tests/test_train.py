"""Training: both steps against the same mathematics written out by hand, and runs that are the same bits whether they
went through in one go, were resumed, or were killed on the way.

Run as a script, this file is the run that gets killed: python tests/test_train.py FOLDER STEPS.
"""

import copy
import dataclasses
import io
import math
import os
import random
import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional as F

from colorlab import checkpoint
from colorlab.checkpoint import CheckpointError
from colorlab.machine import Machine, cpu_has_bf16
from colorlab.patchgan import PatchGAN, PatchGANConfig
from colorlab.train import EMA, TrainConfig, Trainer, TrainingDiverged, l1_step, train_step
from colorlab.unet import UNet, UNetConfig

CONFIG = TrainConfig(
    generator=UNetConfig(width=8, max_width=16, depth=2),
    discriminator=PatchGANConfig(width=4, layers=1),
    warmup_steps=3,
    gan_steps=5,
)
BF16 = dataclasses.replace(CONFIG, machine=Machine("cpu", "bfloat16", channels_last=True))
MACHINES = pytest.mark.parametrize(
    "config",
    [
        pytest.param(CONFIG, id="float32"),
        pytest.param(BF16, id="bfloat16", marks=pytest.mark.skipif(not cpu_has_bf16(), reason="this CPU has no bfloat16")),
    ],
)


class Batches:
    """Endless batches that know their position, as data.Loader's do: batch n is a pure function of n."""

    def __init__(self, machine: Machine = CONFIG.machine, broken: int | None = None):
        self.machine, self.broken, self.position = machine, broken, 0

    def batch(self, n: int):
        draw = torch.Generator().manual_seed(1000 + n)
        L, ab = torch.rand(2, 1, 16, 16, generator=draw) * 2 - 1, torch.rand(2, 2, 16, 16, generator=draw) - 0.5
        if n == self.broken:
            L[0, 0, 3, 3] = math.nan
        return self.machine.put(L), self.machine.put(ab)

    def __iter__(self):
        while True:
            self.position += 1
            yield self.batch(self.position - 1)


class Noisy(nn.Module):
    """A generator that draws from torch's global random numbers at every step."""

    def __init__(self):
        super().__init__()
        self.unet = UNet(CONFIG.generator)

    def forward(self, L):
        return self.unet(F.dropout(L, 0.3, self.training))


def fit(config: TrainConfig = CONFIG, steps: int | None = None, batches=None, **options) -> Trainer:
    trainer = Trainer(config, **options)
    trainer.fit(batches or Batches(config.machine), steps, progress=False)
    return trainer


def everything(trainer: Trainer) -> dict[str, torch.Tensor]:
    """All tensors of a run: networks, average, both optimizers."""
    nets = {"generator": trainer.generator, "ema": trainer.ema.module, "discriminator": trainer.discriminator}
    found = {f"{name}.{key}": x.clone() for name, net in nets.items() for key, x in net.state_dict().items()}
    for name, optimizer in zip("gd", trainer.optimizers, strict=True):
        found |= {key: x.clone() for key, x in checkpoint.flatten_optimizer(f"optimizer_{name}", optimizer).items()}
    return found


def differing(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> list[str]:
    """The names of tensors that are not the same bits in both."""
    return [name for name in one | other if name not in one or name not in other or not torch.equal(one[name], other[name])]


# The steps, against the same mathematics written out


class SGDByHand:
    def __init__(self, lr):
        self.lr = lr

    def step(self, parameters, gradients):
        return {name: p - self.lr * gradients[name] for name, p in parameters.items()}


class AdamByHand:
    """Kingma & Ba 2014, algorithm 1."""

    def __init__(self, lr, beta1=0.5, beta2=0.999, epsilon=1e-8):
        self.lr, self.beta1, self.beta2, self.epsilon, self.t, self.m, self.v = lr, beta1, beta2, epsilon, 0, {}, {}

    def step(self, parameters, gradients):
        self.t += 1
        moved = {}
        for name, p in parameters.items():
            g = gradients[name]
            self.m[name] = self.beta1 * self.m.get(name, 0) + (1 - self.beta1) * g
            self.v[name] = self.beta2 * self.v.get(name, 0) + (1 - self.beta2) * g**2
            m, v = self.m[name] / (1 - self.beta1**self.t), self.v[name] / (1 - self.beta2**self.t)
            moved[name] = p - self.lr * m / (v.sqrt() + self.epsilon)
        return moved


OPTIMIZERS = pytest.mark.parametrize("kind", ["sgd", "adam"])


def optimizer(kind, network, lr):
    """torch's own, and the one by hand."""
    if kind == "sgd":
        return torch.optim.SGD(network.parameters(), lr), SGDByHand(lr)
    return torch.optim.Adam(network.parameters(), lr, betas=(0.5, 0.999)), AdamByHand(lr)


def networks(spectral=True):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        generator = UNet(CONFIG.generator).double()
        discriminator = PatchGAN(dataclasses.replace(CONFIG.discriminator, spectral=spectral)).double()
    return generator, discriminator


def double_batch(n):
    L, ab = Batches().batch(n)
    return L.double(), ab.double()


def parameters_of(network):
    return {name: p.detach().clone().requires_grad_() for name, p in network.named_parameters()}


def gradients_of(loss, parameters):
    return dict(zip(parameters, torch.autograd.grad(loss, parameters.values(), retain_graph=True), strict=True))


def fresh(parameters):
    return {name: p.detach().requires_grad_() for name, p in parameters.items()}


def assert_close(network, parameters, tolerance=1e-12):
    for name, p in network.named_parameters():
        torch.testing.assert_close(p.detach(), parameters[name].detach(), rtol=0, atol=tolerance)


@OPTIMIZERS
def test_l1_step_by_hand(kind):
    generator, _ = networks()
    start, parameters = copy.deepcopy(generator), parameters_of(generator)
    torchs, by_hand = optimizer(kind, generator, 0.01)
    for n in range(3):
        L, ab = double_batch(n)
        loss = (functional_call(start, parameters, L) - ab).abs().sum() / ab.numel()
        returned = l1_step((L, ab), generator, torchs, CONFIG)
        assert list(returned) == ["l1"]
        assert returned["l1"].item() == pytest.approx(loss.item(), abs=1e-12)
        assert not returned["l1"].requires_grad
        parameters = fresh(by_hand.step(parameters, gradients_of(loss, parameters)))
        assert_close(generator, parameters)


def adversarial_by_hand(name, real, fake):
    """(the discriminator's loss, the generator's) from logits, as the papers print them."""
    if name == "bce":
        return -(real.sigmoid().log().mean() + (1 - fake.sigmoid()).log().mean()) / 2, -fake.sigmoid().log().mean()
    if name == "least_squares":
        return ((real - 1) ** 2).mean() / 2 + (fake**2).mean() / 2, ((fake - 1) ** 2).mean()
    return (1 - real).clamp(min=0).mean() / 2 + (1 + fake).clamp(min=0).mean() / 2, -fake.mean()


@OPTIMIZERS
@pytest.mark.parametrize("adversarial", ["bce", "least_squares", "hinge"])
@pytest.mark.parametrize("weight", [50.0, 0.5])
@pytest.mark.parametrize("spectral", [True, False])
def test_train_step_by_hand(kind, adversarial, weight, spectral):
    generator, discriminator = networks(spectral)
    config = dataclasses.replace(CONFIG, adversarial=adversarial, l1_weight=weight)
    start_g, start_d = copy.deepcopy(generator), copy.deepcopy(discriminator)  # start_d's buffers follow its own forward passes
    g, d = parameters_of(generator), parameters_of(discriminator)
    (torchs_g, hand_g), (torchs_d, hand_d) = optimizer(kind, generator, 0.01), optimizer(kind, discriminator, 0.02)
    for n in range(3):
        L, ab = double_batch(n)
        returned = train_step((L, ab), generator, discriminator, (torchs_g, torchs_d), config)

        painted = functional_call(start_g, g, L)
        real = functional_call(start_d, d, (L, ab))
        fake = functional_call(start_d, d, (L, painted.detach()))
        d_loss = adversarial_by_hand(adversarial, real, fake)[0]
        d = fresh(hand_d.step(d, gradients_of(d_loss, d)))  # first the discriminator …

        judged = functional_call(start_d, d, (L, painted))  # … and then the generator, against the new one
        convince, l1 = adversarial_by_hand(adversarial, real, judged)[1], (painted - ab).abs().sum() / ab.numel()
        g_loss = convince + weight * l1
        g = fresh(hand_g.step(g, gradients_of(g_loss, g)))

        assert_close(discriminator, d)
        assert_close(generator, g, 1e-11 if kind == "adam" else 1e-12)
        expected = {"d": d_loss, "g": g_loss, "adversarial": convince, "l1": l1, "real": real.mean(), "fake": fake.mean()}
        assert list(returned) == list(expected)
        for name, value in expected.items():
            assert returned[name].item() == pytest.approx(value.item(), abs=1e-11)
            assert returned[name].shape == ()
            assert not returned[name].requires_grad


def test_each_step_moves_its_own_network_and_the_discriminator_goes_first():
    generator, discriminator = networks()
    optimizers = tuple(torch.optim.Adam(net.parameters(), 0.01) for net in (generator, discriminator))
    moments = []

    def weights(network):
        return {name: p.detach().clone() for name, p in network.named_parameters()}

    def seen(name):
        gradients = {key: p.grad.clone() for key, p in discriminator.named_parameters()}
        moments.append(
            (name, weights(generator), weights(discriminator), gradients, all(p.grad is None for p in generator.parameters()))
        )

    optimizers[0].register_step_post_hook(lambda *_: seen("generator"))
    optimizers[1].register_step_post_hook(lambda *_: seen("discriminator"))
    before_g, before_d = weights(generator), weights(discriminator)
    config = dataclasses.replace(
        CONFIG, adversarial="bce"
    )  # under hinge the last bias has no gradient while all logits are small
    train_step(double_batch(0), generator, discriminator, optimizers, config)
    assert [name for name, *_ in moments] == ["discriminator", "generator"]
    (_, g1, d1, gradients1, g_has_none), (_, g2, d2, gradients2, _) = moments
    assert differing(before_g, g1) == []  # the discriminator's step leaves the generator alone
    assert g_has_none  # and sends no gradient into it
    assert differing(before_d, d1) == list(before_d)
    assert differing(d1, d2) == []  # the generator's step leaves the discriminator alone
    assert differing(gradients1, gradients2) == []  # and adds nothing to its gradients
    assert differing(g1, g2) == list(before_g)
    assert differing(g2, weights(generator)) == differing(d2, weights(discriminator)) == []
    assert all(p.requires_grad for net in (generator, discriminator) for p in net.parameters())


def test_a_step_that_was_interrupted_does_not_spoil_the_next(monkeypatch):
    """As when a reader presses stop in a notebook, and then runs the cell again."""
    trainer = Trainer(dataclasses.replace(CONFIG, warmup_steps=0))

    def stop(*args, **options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(trainer.optimizers[0], "step", stop)
        with pytest.raises(KeyboardInterrupt):
            trainer.fit(Batches(), progress=False)
    assert len(trainer.fit(Batches(), progress=False)) == 5


@pytest.mark.parametrize("decay", [0.998, 0.2])  # 0.2 is reached at the third step: 0.1, 0.18, 0.2, 0.2 …
def test_the_average_by_hand(decay):
    seen = []
    hook = [lambda t: seen.append((copy.deepcopy(t.generator), copy.deepcopy(t.ema.module)))]
    fit(dataclasses.replace(CONFIG, ema=decay), hooks={"step": hook})
    mean = [p.detach().clone() for p in Trainer(CONFIG).generator.parameters()]
    for step, (network, average) in enumerate(seen):
        kept = min(decay, (1 + step) / (10 + step))
        mean = [kept * m + (1 - kept) * p.detach() for m, p in zip(mean, network.parameters(), strict=True)]
        for expected, found in zip(mean, average.parameters(), strict=True):
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    assert len(seen) == 8


def test_the_average_is_its_own_network():
    network = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    ema = EMA(network, 0.5)
    assert not {p.data_ptr() for p in ema.module.parameters()} & {p.data_ptr() for p in network.parameters()}
    assert not any(p.requires_grad for p in ema.module.parameters())
    assert not ema.module.training
    network(torch.randn(8, 2))  # moves the running mean
    with torch.no_grad():
        network[0].weight.fill_(3.0)
    before = ema.module[0].weight.clone()
    ema.update(network, step=1000)
    torch.testing.assert_close(ema.module[0].weight, (before + 3) / 2)
    assert torch.equal(ema.module[1].running_mean, network[1].running_mean)  # buffers are copied
    assert network[0].weight.requires_grad


# A run


def test_warm_up_and_then_the_game():
    trainer = Trainer(CONFIG)
    before = everything(trainer)
    judging, phases = [], []
    trainer.hooks["step"] = [
        lambda t: judging.append(
            bool(differing(before, everything(t)) and "discriminator.net.0.bias" in differing(before, everything(t)))
        ),
        lambda t: phases.append(t.warming_up),
    ]
    assert trainer.warming_up
    history = trainer.fit(Batches(), progress=False)
    assert judging == [False] * 3 + [True] * 5
    assert phases == [True] * 2 + [False] * 6  # whether the next one is
    assert [row["step"] for row in history] == list(range(1, 9))
    assert [set(row) for row in history] == [{"step", "l1"}] * 3 + [{"step", "d", "g", "adversarial", "l1", "real", "fake"}] * 5
    assert all(type(row["step"]) is int and type(row["l1"]) is float for row in history)


def test_a_run_is_its_steps():
    """The Trainer adds nothing to `l1_step` and `train_step` but the rates."""
    trainer, alone = fit(), Trainer(CONFIG)
    g, d = (torch.optim.Adam(net.parameters(), betas=(0.5, 0.999), fused=True) for net in (alone.generator, alone.discriminator))
    rows = []
    for n in range(8):
        done = n / 3 if n < 3 else (n - 3) / 5
        fall = 0.05 + 0.95 * (1 + math.cos(math.pi * done)) / 2
        g.param_groups[0]["lr"], d.param_groups[0]["lr"] = (1e-3 if n < 3 else 2e-4) * fall, 4e-4 * fall
        batch = Batches().batch(n)
        losses = l1_step(batch, alone.generator, g, CONFIG) if n < 3 else train_step(
            batch, alone.generator, alone.discriminator, (g, d), CONFIG)  # fmt: skip
        rows.append({"step": n + 1} | {name: x.item() for name, x in losses.items()})
    assert differing(trainer.generator.state_dict(), alone.generator.state_dict()) == []
    assert differing(trainer.discriminator.state_dict(), alone.discriminator.state_dict()) == []
    assert trainer.history == rows


def test_rates_fall_along_half_a_cosine_to_a_twentieth():
    config, rates = dataclasses.replace(CONFIG, warmup_steps=4, gan_steps=4), []
    trainer = Trainer(config, hooks={"step": [lambda t: rates.append([o.param_groups[0]["lr"] for o in t.optimizers])]})
    trainer.fit(Batches(), steps=10, progress=False)  # two more than the config has
    falls = [1.0, 0.05 + 0.95 * (1 + math.sqrt(0.5)) / 2, 0.525, 0.05 + 0.95 * (1 - math.sqrt(0.5)) / 2]
    generators, discriminators = zip(*rates, strict=True)
    assert generators[:4] == pytest.approx([1e-3 * fall for fall in falls])
    assert generators[4:] == pytest.approx([2e-4 * fall for fall in [*falls, 0.05, 0.05]])
    assert discriminators[4:] == pytest.approx([4e-4 * fall for fall in [*falls, 0.05, 0.05]])


CHANGES = {
    "generator": dataclasses.replace(CONFIG.generator, skips=False),
    "discriminator": dataclasses.replace(CONFIG.discriminator, spectral=False),
    "machine": BF16.machine,
    "warmup_steps": 4,
    "gan_steps": 6,
    "warmup_lr": 2e-3,
    "generator_lr": 1e-4,
    "discriminator_lr": 2e-4,
    "l1_weight": 49.0,
    "adversarial": "bce",
    "ema": 0.1,
    "seed": 1,
}


def test_every_field_of_the_configuration_is_turned_here():
    assert list(CHANGES) == [field.name for field in dataclasses.fields(TrainConfig)]


@pytest.fixture(scope="module")
def plain_run() -> Trainer:
    return fit()


@pytest.mark.parametrize("name", CHANGES)
def test_turning_a_field_changes_the_run(name, plain_run):
    changed = differing(everything(plain_run), everything(fit(dataclasses.replace(CONFIG, **{name: CHANGES[name]}))))
    if name == "ema":
        assert {key.split(".")[0] for key in changed} == {"ema"}
    else:
        assert "generator.head.weight" in changed
        assert "ema.head.weight" in changed
        assert "discriminator.net.0.bias" in changed


@pytest.mark.parametrize(
    "options",
    [{"adversarial": "wgan"}, {"adversarial": ""}, {"warmup_steps": -1}, {"gan_steps": -1}, {"ema": 1.0}, {"ema": -0.1},
     {"ema": math.nan}, {"generator_lr": -1e-3}, {"warmup_lr": math.nan}, {"discriminator_lr": math.inf}, {"l1_weight": -1.0}],
    ids=str,
)  # fmt: skip
def test_a_bad_configuration_is_refused(options):
    with pytest.raises(ValueError, match="adversarial is one of bce, least_squares, hinge|TrainConfig needs"):
        TrainConfig(**options)


def test_the_same_seed_is_the_same_bits(plain_run):
    torch.rand(7)  # whatever the global state
    again = fit()
    assert differing(everything(plain_run), everything(again)) == []
    assert plain_run.history == again.history


def test_another_seed_is_another_network():
    one, other = (Trainer(dataclasses.replace(CONFIG, seed=seed)) for seed in (0, 1))
    for net in ("generator", "discriminator"):
        assert differing(getattr(one, net).state_dict(), getattr(other, net).state_dict())


def test_making_a_trainer_leaves_the_global_random_state_alone(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)  # with several GPUs, forking all their states warns
    before = torch.get_rng_state()
    Trainer(CONFIG)
    assert torch.equal(torch.get_rng_state(), before)


def test_networks_of_ones_own():
    generator, discriminator = Noisy(), PatchGAN(PatchGANConfig(width=8, layers=1))
    trainer = Trainer(CONFIG, generator, discriminator)
    before = everything(trainer)
    assert trainer.generator is generator
    assert trainer.discriminator is discriminator
    trainer.fit(Batches(), progress=False)
    assert {"generator.unet.head.bias", "discriminator.net.0.bias", "ema.unet.head.bias"} <= set(
        differing(before, everything(trainer))
    )


def test_fit_takes_more_steps_or_goes_to_the_end():
    trainer, batches = Trainer(CONFIG), Batches()
    assert len(trainer.fit(batches, steps=2, progress=False)) == trainer.step == 2
    assert len(trainer.fit(batches, steps=0, progress=False)) == 2
    batches.position = 77  # where the batches stand is the run's to say
    assert len(trainer.fit(batches, progress=False)) == trainer.step == batches.position == 8
    assert len(trainer.fit(batches, progress=False)) == 8
    assert differing(everything(trainer), everything(fit())) == []


def test_starting_from_another_generator():
    other = UNet(CONFIG.generator)
    trainer = Trainer(CONFIG)
    trainer.start_from(other)
    for mine in (trainer.generator, trainer.ema.module):
        assert differing(mine.state_dict(), other.state_dict()) == []
    before = copy.deepcopy(other.state_dict())
    trainer.fit(Batches(), progress=False)
    assert differing(other.state_dict(), before) == []  # a copy: the other one is not trained
    for misfit in (UNet(dataclasses.replace(CONFIG.generator, width=16)), UNet(dataclasses.replace(CONFIG.generator, depth=1))):
        with pytest.raises(ValueError, match="do not fit this run's generator"):
            trainer.start_from(misfit)


def test_steps_are_those_of_both_halves():
    assert CONFIG.steps == 8


def test_batches_need_not_know_their_position():
    assert fit(batches=[Batches().batch(n) for n in range(8)]).history == fit().history


def test_batches_that_run_out():
    with pytest.raises(ValueError, match="ran out at step 2 of 8"):
        fit(batches=[Batches().batch(n) for n in range(2)])


def test_hooks(tmp_path):
    happened = []
    hooks = {
        "step": [lambda t: happened.append(("step", t.step)), lambda t: happened.append(("second", t.step))],
        "save": [lambda t: happened.append(("save", checkpoint.load(t.path).header["step"]))],
    }
    fit(folder=tmp_path, save_every=3, hooks=hooks)
    expected = []
    for step in range(1, 9):
        expected += [("save", step)] * (step in (3, 6, 8)) + [("step", step), ("second", step)]
    assert happened == expected


def test_hooks_are_for_events_that_exist():
    with pytest.raises(ValueError, match="'step' and 'save', got \\['stpe'\\]"):
        Trainer(CONFIG, hooks={"stpe": [print]})


def test_the_bar(capfd):
    fit()
    assert capfd.readouterr() == ("", "")
    Trainer(CONFIG).fit(Batches(), progress=True)
    assert "training" in capfd.readouterr().err


def test_without_a_folder_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    trainer = fit(save_every=1)
    assert not os.listdir(tmp_path)
    for refused in (trainer.save, trainer.resume):
        with pytest.raises(ValueError, match="no folder"):
            refused()


@pytest.mark.parametrize("every", [0, -1])
def test_save_every_is_at_least_one(every):
    with pytest.raises(ValueError, match="save_every is at least 1"):
        Trainer(CONFIG, save_every=every)


# Resuming


@MACHINES
@pytest.mark.parametrize("half", [1, 2, 3, 4])  # within the warm-up, across its end, at it, and in the game
def test_two_halves_are_the_whole_to_the_bit(tmp_path, config, half):
    whole = fit(config, steps=2 * half)
    fit(config, steps=half, folder=tmp_path)
    assert os.listdir(tmp_path) == ["last.safetensors"]
    torch.manual_seed(99)
    resumed = Trainer(config, folder=tmp_path)
    assert resumed.resume() is resumed
    assert resumed.step == half
    assert resumed.history == whole.history[:half]
    resumed.fit(Batches(config.machine), steps=half, progress=False)
    assert differing(everything(whole), everything(resumed)) == []
    assert resumed.history == whole.history
    assert all(type(row["step"]) is int for row in resumed.history)
    for one, other in zip(whole.generator.parameters(), resumed.generator.parameters(), strict=True):
        assert one.stride() == other.stride()


def test_random_numbers_go_on_where_they_were(tmp_path):
    torch.manual_seed(5)
    whole = fit(generator=Noisy())
    torch.manual_seed(5)
    start = Noisy().state_dict()
    torch.manual_seed(5)
    fit(generator=Noisy(), steps=4, folder=tmp_path)
    other = Noisy()
    assert differing(start, other.state_dict())
    resumed = Trainer(CONFIG, other, folder=tmp_path).resume()
    resumed.fit(Batches(), progress=False)
    assert differing(everything(whole), everything(resumed)) == []


def test_fit_trains_a_generator_that_was_left_in_evaluation():
    trainer = Trainer(CONFIG)
    trainer.generator.eval()
    trainer.fit(Batches(), progress=False)
    assert trainer.generator.training


def test_resume_at_step_zero_and_at_the_end(tmp_path, plain_run):
    Trainer(CONFIG, folder=tmp_path / "start").save()
    resumed = Trainer(CONFIG).resume(tmp_path / "start" / "last.safetensors")
    assert resumed.history == []
    resumed.fit(Batches(), progress=False)
    assert differing(everything(plain_run), everything(resumed)) == []
    fit(folder=tmp_path / "end")
    resumed = Trainer(CONFIG, folder=tmp_path / "end").resume()
    assert resumed.fit(Batches(), progress=False) == plain_run.history
    assert differing(everything(plain_run), everything(resumed)) == []


def test_resuming_forgets_what_the_trainer_had_done_since(tmp_path, plain_run):
    trainer = fit(folder=tmp_path, steps=4)
    with pytest.raises(ValueError, match="ran out"):
        trainer.fit([Batches().batch(n + 50) for n in range(3)], progress=False)
    trainer.resume(tmp_path / "last.safetensors").fit(Batches(), progress=False)
    assert trainer.history == plain_run.history
    assert differing(everything(plain_run), everything(trainer)) == []


def test_the_header_says_how_it_was_made(tmp_path):
    fit(folder=tmp_path)
    header = checkpoint.load(tmp_path / "last.safetensors").header
    assert header["config"] == dataclasses.asdict(CONFIG)
    assert header["kind"] == "run"
    assert header["step"] == 8
    assert header["machine"] == CONFIG.machine.header()


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The path of a run of CONFIG's, saved at step 4."""
    return fit(folder=tmp_path_factory.mktemp("run"), steps=4).path


@pytest.mark.parametrize("name", CHANGES)
def test_another_configurations_run_is_refused_and_the_field_named(name, saved):
    trainer = Trainer(dataclasses.replace(CONFIG, **{name: CHANGES[name]}))
    before = everything(trainer)
    with pytest.raises(ValueError, match=rf"another configuration \({name}: ") as caught:
        trainer.resume(saved)
    assert str(saved) in str(caught.value)
    assert trainer.step == 0
    assert differing(before, everything(trainer)) == []


def test_what_is_no_run_is_refused(tmp_path, saved):
    found, trainer = checkpoint.load(saved), Trainer(CONFIG, folder=tmp_path)
    checkpoint.save(tmp_path / "generator.safetensors", {"generator.x": torch.ones(1)}, found.header | {"kind": "generator"})
    with pytest.raises(CheckpointError, match="a generator to use, not a run to resume"):
        trainer.resume(tmp_path / "generator.safetensors")
    (tmp_path / "cut.safetensors").write_bytes(saved.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=r"cut\.safetensors"):
        trainer.resume(tmp_path / "cut.safetensors")
    with pytest.raises(CheckpointError, match=r"last\.safetensors is not a file"):
        trainer.resume()
    with pytest.raises(CheckpointError, match="'generator' does not fit this Noisy"):
        Trainer(CONFIG, Noisy()).resume(saved)
    assert trainer.step == 0


# Divergence


@pytest.mark.parametrize("broken", [1, 4])  # a batch of the warm-up, a batch of the game
def test_a_loss_that_is_no_number_stops_the_run(tmp_path, broken):
    written = []
    trainer = Trainer(CONFIG, folder=tmp_path, save_every=1, hooks={"save": [lambda t: written.append(t.path.read_bytes())]})
    with pytest.raises(
        TrainingDiverged, match=rf"Step {broken + 1}: .*l1.* not finite.*last\.safetensors holds the last good step"
    ):
        trainer.fit(Batches(broken=broken), progress=False)
    assert len(written) == broken
    assert trainer.path.read_bytes() == written[-1]
    assert os.listdir(tmp_path) == ["last.safetensors"]
    with pytest.raises(TrainingDiverged):
        trainer.save()  # nor can it be overwritten now
    assert trainer.path.read_bytes() == written[-1]
    assert trainer.resume().step == broken
    assert trainer.fit(Batches(), progress=False) == fit().history


def test_divergence_is_noticed_without_a_folder_too():
    with pytest.raises(TrainingDiverged, match="Step 3: .*; start again|Step 3: .*start again") as caught:
        fit(batches=Batches(broken=2))
    assert "None" not in str(caught.value)
    long = dataclasses.replace(CONFIG, gan_steps=60)
    trainer = Trainer(long)
    with pytest.raises(TrainingDiverged, match="Step 24: d, "):
        trainer.fit(Batches(broken=23), progress=False)
    assert trainer.step < 63  # not only at the very end
    assert len(trainer.history) == 23


class BreaksItself(nn.Module):
    """A generator whose output is a number and whose gradient is not: √(w²) at w = 0."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.zeros(2, 1, 1))

    def forward(self, L):
        return L * self.w.square().sqrt()


def test_weights_that_are_no_numbers_are_never_saved(tmp_path):
    trainer = Trainer(CONFIG, BreaksItself(), folder=tmp_path, save_every=1)
    with pytest.raises(TrainingDiverged, match=r"Step 1: generator\.w"):
        trainer.fit(Batches(), progress=False)
    assert not os.listdir(tmp_path)


def test_a_save_that_fails_leaves_the_run_resumable(tmp_path, monkeypatch, plain_run):
    trainer = fit(folder=tmp_path, steps=4)

    def full(*args):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            trainer.fit(Batches(), progress=False)
    resumed = Trainer(CONFIG, folder=tmp_path).resume()
    assert resumed.step == 4
    assert resumed.fit(Batches(), progress=False) == plain_run.history


# Killed


def killed_run(folder, steps: int, **hooks) -> Trainer:
    config = dataclasses.replace(CONFIG, warmup_steps=steps // 3, gan_steps=steps - steps // 3)
    return Trainer(config, Noisy(), folder=folder, save_every=2, hooks=hooks)


def train_and_tell(folder: str, steps: int) -> None:
    """Train, or go on training; print a line at every step and within every save, and wait for an answer at every step."""
    torch.set_num_threads(1)
    torch.manual_seed(0)

    class Halves(io.FileIO):
        def write(self, data):
            written = super().write(data[: len(data) // 2])
            print("half", flush=True)
            return written + super().write(data[len(data) // 2 :])

    def telling(function, event):
        def told(*args):
            function(*args)
            print(event, flush=True)

        return told

    def step(trainer):
        print("step", flush=True)
        sys.stdin.readline()

    checkpoint.open = lambda name, mode: Halves(name, "w")
    os.fsync, os.replace = telling(os.fsync, "whole"), telling(os.replace, "replaced")
    trainer = killed_run(folder, steps, step=[step])
    if trainer.path.exists():
        trainer.resume()
    trainer.fit(Batches(), progress=False)


def kill_and_restart(folder, steps: int, kills: int, seed: int) -> list[str]:
    """Run `train_and_tell` to its end, killed `kills` times on the way; returns the events after which it was."""
    draw, struck, environment = random.Random(seed), [], os.environ | {"OMP_NUM_THREADS": "1"}
    events = steps + 3 * (steps // 2)  # the steps, and three in each save
    while True:
        moment = draw.randint(1, events // kills - 4) if len(struck) < kills else None
        command = [sys.executable, __file__, str(folder), str(steps)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment) as process:
            for n, event in enumerate(process.stdout, 1):
                if event == "step\n":  # it may go on, so that it is killed on the way, not while it waits
                    process.stdin.write("\n")
                    process.stdin.flush()
                if n == moment:
                    process.kill()
                    struck.append(event.strip())
                    break
        if moment is None:
            assert process.returncode == 0
            return struck
        assert process.returncode != 0


@pytest.mark.parametrize(
    ("steps", "kills", "seed"),
    [(30, 3, 0), *(pytest.param(120, 20, seed, marks=pytest.mark.exhaustive) for seed in (1, 2, 3))],
)
def test_killed_and_resumed_is_the_same_to_the_bit(tmp_path, steps, kills, seed):
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    try:
        torch.set_num_threads(1)
        torch.manual_seed(0)
        killed_run(tmp_path / "whole", steps).fit(Batches(), progress=False)
        whole = checkpoint.load(tmp_path / "whole" / "last.safetensors")
        struck = kill_and_restart(tmp_path / "killed", steps, kills, seed)
    finally:
        torch.set_num_threads(threads)
        torch.set_rng_state(state)
    assert len(struck) == kills
    again = checkpoint.load(tmp_path / "killed" / "last.safetensors")
    assert differing(whole.tensors, again.tensors) == ["history"]  # where a NaN stands for what a warm-up step has not
    assert torch.equal(whole.tensors["history"].nan_to_num(7.5), again.tensors["history"].nan_to_num(7.5))
    assert whole.header == again.header


if __name__ == "__main__":
    train_and_tell(sys.argv[1], int(sys.argv[2]))
