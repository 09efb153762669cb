"""Loss scaling: outside a scaled network nobody sees the scale; inside, gradients that float16 would lose survive."""

import copy
import dataclasses
import json
import math

import pytest
import torch
from test_train import CONFIG, Batches, differing, everything, fit
from torch import nn

from colorlab import checkpoint, scaling
from colorlab.machine import Machine
from colorlab.patchgan import PatchGAN
from colorlab.train import Trainer, TrainingDiverged, l1_step, train_step
from colorlab.unet import UNet

F16 = dataclasses.replace(CONFIG, machine=Machine("cpu", "float16"))


def networks() -> tuple[UNet, PatchGAN]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return UNet(CONFIG.generator), PatchGAN(CONFIG.discriminator)


def scaler_at(scale: float) -> torch.amp.GradScaler:
    return torch.amp.GradScaler("cpu", init_scale=scale)


def adam(network: nn.Module, lr: float = 1e-3, fused: bool = True) -> torch.optim.Adam:
    return torch.optim.Adam(network.parameters(), lr, betas=(0.5, 0.999), fused=fused)


def gradients(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: p.grad.clone() for name, p in network.named_parameters()}


def weights(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in network.named_parameters()}


# The gates


def test_only_float16_is_scaled():
    generator, _ = networks()
    optimizer = adam(generator)
    for precision in ("float32", "bfloat16"):
        assert scaling.scaler(Machine(precision=precision)) is None
        assert scaling.scaled(generator, optimizer, None) == (generator, optimizer)
    scaler = scaling.scaler(F16.machine)
    assert scaler.is_enabled()
    network, wrapped = scaling.scaled(generator, optimizer, scaler)
    assert network.module is generator
    assert wrapped.param_groups is optimizer.param_groups


def test_outside_the_gates_nothing_changes():
    """In float32 a power of two is exact: pictures and gradients that leave are the same bits, the weights' are 1024 times."""
    L, ab = Batches().batch(0)
    found = []
    for scaler in (None, scaler_at(1024.0)):
        _, discriminator = networks()
        network, _ = scaling.scaled(discriminator, adam(discriminator), scaler)
        x = ab.clone().requires_grad_()
        logits = network(L, x)
        logits.square().mean().backward()
        found.append((logits.detach(), x.grad, gradients(discriminator)))
    (logits, back, plain), (logits_scaled, back_scaled, times) = found
    assert torch.equal(logits, logits_scaled)
    assert torch.equal(back, back_scaled)
    assert back.abs().max() > 0
    assert differing({name: 1024 * g for name, g in plain.items()}, times) == []


def test_scaled_steps_are_the_steps():
    """With float32 inside, training through the gates is training without them, to the bit."""
    found = []
    for scaler in (None, scaler_at(2.0**10)):
        nets = networks()
        (g, optimizer_g), (d, optimizer_d) = (scaling.scaled(net, adam(net), scaler) for net in nets)
        losses = [l1_step(Batches().batch(0), g, optimizer_g, CONFIG)]
        losses += [train_step(Batches().batch(n), g, d, (optimizer_g, optimizer_d), CONFIG) for n in (1, 2, 3)]
        assert all(p.requires_grad for p in nets[1].parameters())
        found.append(([{k: float(x) for k, x in row.items()} for row in losses], *(weights(net) for net in nets)))
    (losses, *nets), (losses_scaled, *nets_scaled) = found
    assert losses == losses_scaled
    assert [differing(one, other) for one, other in zip(nets, nets_scaled, strict=True)] == [[], []]
    assert scaler.get_scale() == 2.0**10


# What float16 loses without


def test_small_gradients_survive_only_with_scaling():
    """A loss of a millionth: most of float16's gradients are zero, unless they are scaled on the way."""

    def gradients_of(precision: str, scaler) -> torch.Tensor:
        generator, _ = networks()
        network, _ = scaling.scaled(generator, adam(generator), scaler)
        L, ab = Batches().batch(0)
        with Machine(precision=precision).autocast():
            loss = 1e-6 * (network(L) - ab).abs().mean()
        loss.backward()
        return torch.cat([g.flatten() for g in gradients(generator).values()]) / (scaler.get_scale() if scaler else 1)

    truth, lost = gradients_of("float32", None), gradients_of("float16", None)
    kept = gradients_of("float16", scaler_at(2.0**20))
    assert (lost == 0).float().mean() > 0.5
    assert (lost - truth).norm() / truth.norm() > 0.1
    assert (kept == 0).float().mean() < 0.01
    assert (kept - truth).norm() / truth.norm() < 0.01


def test_float16_trains_as_float32_does():
    """Six steps, from a scale that does not overflow: the weights' moves point the same way."""
    moves = []
    for config, scaler in ((CONFIG, None), (F16, scaler_at(256.0))):
        nets = networks()
        start = torch.cat([p.detach().flatten() for net in nets for p in net.parameters()])
        (g, optimizer_g), (d, optimizer_d) = (scaling.scaled(net, adam(net, 2e-4), scaler) for net in nets)
        rows = [train_step(Batches().batch(n), g, d, (optimizer_g, optimizer_d), config) for n in range(6)]
        moves.append((torch.cat([p.detach().flatten() for net in nets for p in net.parameters()]) - start, rows[-1]))
    (move, row), (move_scaled, row_scaled) = moves
    assert torch.nn.functional.cosine_similarity(move, move_scaled, dim=0) > 0.99
    for name, x in row.items():
        assert float(row_scaled[name]) == pytest.approx(float(x), rel=0.01, abs=0.002)
    assert scaler.get_scale() == 256.0  # nothing was skipped


# Overflow


@pytest.mark.parametrize("fused", [True, False])
def test_an_overflow_skips_the_step_and_halves_the_scale(fused):
    generator, _ = networks()
    inner, scaler = adam(generator, fused=fused), scaler_at(2.0**10)
    network, optimizer = scaling.scaled(generator, inner, scaler)
    l1_step(Batches().batch(0), network, optimizer, F16)
    scaler.load_state_dict(scaler.state_dict() | {"scale": 2.0**60})
    before, moments = weights(generator), copy.deepcopy(checkpoint.flatten_optimizer("g", inner))
    loss = l1_step(Batches().batch(1), network, optimizer, F16)["l1"]
    assert math.isfinite(loss)
    assert differing(before, weights(generator)) == []
    assert differing(moments, checkpoint.flatten_optimizer("g", inner)) == []
    assert scaler.get_scale() == 2.0**59
    for n in range(60):
        l1_step(Batches().batch(n), network, optimizer, F16)
    assert differing(before, weights(generator)) == list(before)  # it went on, once the scale had come down
    assert 1 <= scaler.get_scale() <= 2.0**20


def test_an_overflow_inside_the_discriminator_lowers_its_scale_too():
    """The generator's step alone, through a discriminator that rests: only the generator's optimiser sees what overflowed."""
    generator, discriminator = networks()
    discriminator.requires_grad_(False)
    scaler = scaler_at(2.0**30)
    g, optimizer = scaling.scaled(generator, adam(generator), scaler)
    d, _ = scaling.scaled(discriminator, adam(discriminator), scaler)
    L, _ = Batches().batch(0)
    before, skipped = weights(generator), 0
    while differing(before, weights(generator)) == []:
        with F16.machine.autocast():
            loss = -d(L, g(L)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        skipped += 1
        assert skipped < 40
    assert skipped > 1
    assert scaler.get_scale() == 2.0 ** (31 - skipped)


# In a Trainer


def test_a_run_in_float16_overflows_goes_on_and_is_saved(tmp_path):
    """It begins at a scale of 2¹⁶, too high for so few pixels: steps are skipped, no loss is affected, nothing has diverged."""
    trainer = fit(F16, folder=tmp_path)
    assert trainer.step == len(trainer.history) == F16.steps
    assert trainer.scaler.get_scale() < 2.0**16
    header = checkpoint.load(trainer.path).header
    assert header["scaler"] == json.loads(json.dumps(trainer.scaler.state_dict()))
    assert header["config"]["machine"]["precision"] == "float16"
    assert all(math.isfinite(x) for row in trainer.history for x in row.values())
    assert "scaler" not in checkpoint.load(fit(folder=tmp_path / "float32", steps=1).path).header


@pytest.mark.parametrize("half", [1, 4])  # in the warm-up, and where the game has begun to bring the scale down
def test_two_halves_are_the_whole_to_the_bit(tmp_path, half):
    whole = fit(F16, steps=2 * half)
    fit(F16, steps=half, folder=tmp_path)
    resumed = Trainer(F16, folder=tmp_path).resume()
    assert (resumed.scaler.get_scale() < 2.0**16) is (half == 4)
    resumed.fit(Batches(), steps=half, progress=False)
    assert differing(everything(whole), everything(resumed)) == []
    assert resumed.history == whole.history
    assert resumed.scaler.state_dict() == whole.scaler.state_dict()


def test_a_weight_that_is_no_number_still_ends_the_run(tmp_path):
    trainer = fit(F16, steps=2, folder=tmp_path)
    with torch.no_grad():
        trainer.generator.head.weight[0, 0, 0, 0] = math.nan
    with pytest.raises(TrainingDiverged, match="Step 3: l1"):
        trainer.fit(Batches(), progress=False)


def test_changing_the_precision_on_the_way():
    trainer = fit(F16, steps=4)
    before = weights(trainer.generator)
    trainer.use(Machine())
    assert trainer.scaler is None
    assert differing(before, weights(trainer.generator)) == []
    trainer.fit(Batches(), steps=1, progress=False)
    assert differing(before, weights(trainer.generator)) == list(before)
