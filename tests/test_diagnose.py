"""Every mistake is recognised by its symptom, every cure makes the run healthy, and each rule sees its own numbers alone."""

import math

import pytest
import torch

from colorlab import diagnose, recipes
from colorlab.config import TrainConfig
from colorlab.patchgan import PatchGANConfig
from colorlab.train import Trainer
from colorlab.unet import UNetConfig
from colorlab.world import KINDS, ColorWorld

SEEDS = [0, *(pytest.param(seed, marks=pytest.mark.exhaustive) for seed in (1, 2))]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("cause", recipes.CAUSES)
def test_a_mistake_shows_its_symptom_first(cause, seed):
    findings = diagnose.read(recipes.run(cause, seed).history)
    assert findings[0].symptom == recipes.CAUSES[cause].symptom, findings


@pytest.mark.parametrize("seed", SEEDS)
def test_the_cured_run_is_healthy(seed):
    """Every recipe's cure leads to one and the same run: the one without a mistake."""
    healthy = recipes.run(None, seed)
    findings = diagnose.read(healthy.history)
    assert [finding.symptom for finding in findings] == ["healthy"], findings
    assert findings[0].numbers["precision"] > 0.6
    assert findings[0].numbers["recall"] > 0.9
    assert healthy.ab.shape == healthy.truth.shape == (len(healthy.L), 2)


def test_a_run_is_the_same_for_the_same_seed_and_leaves_the_readers_random_numbers_alone():
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first = recipes.run("noise", 3)
    assert torch.equal(torch.rand(1), expected)
    assert first.history == recipes.run("noise", 3).history
    assert first.history[-60]["d"] != recipes.run("noise", 4).history[-60]["d"]


def test_a_careless_step_without_its_mistake_is_the_librarys():
    """Only the line at fault differs: with nothing of its mistake in it, it leaves train_step's weights."""
    from colorlab.train import train_step

    left = []
    for step in (lambda *x: recipes.careless_step(*x, cause="none"), train_step):
        torch.manual_seed(0)
        networks = recipes.Generator(), recipes.Discriminator()
        optimizers = tuple(torch.optim.Adam(net.parameters(), 1e-3) for net in networks)
        config = TrainConfig(adversarial="bce", l1_weight=0.0)
        for _ in range(3):
            losses = step(recipes.points(32, torch.Generator().manual_seed(0)), *networks, optimizers, config)
        left.append([x.detach() for net in networks for x in net.parameters()] + list(losses.values()))
    assert all(torch.equal(a, b) for a, b in zip(*left, strict=True))


def test_without_a_detach_alone_the_generators_weights_are_the_same():
    """The step's zero_grad comes after D's backward and before G's: what leaked in is cleared."""
    left = []
    for detach in (True, False):
        torch.manual_seed(0)
        generator, discriminator = recipes.Generator(), recipes.Discriminator()
        optimizer_g, optimizer_d = (torch.optim.Adam(net.parameters(), 1e-3) for net in (generator, discriminator))
        L, ab = recipes.points(32, torch.Generator().manual_seed(0))
        for _ in range(3):
            generated = generator(L)
            fake = discriminator(L, generated.detach() if detach else generated)
            optimizer_d.zero_grad()
            recipes.BCE.discriminator(discriminator(L, ab), fake).backward(retain_graph=True)
            optimizer_d.step()
            optimizer_g.zero_grad()
            recipes.BCE.generator(discriminator(L, generated)).backward()
            optimizer_g.step()
        left.append(list(generator.parameters()))
    assert all(torch.equal(a, b) for a, b in zip(*left, strict=True))


def rows(steps=200, **columns):
    """A history in which every column is a function of the step, or a constant."""
    return [{"step": n} | {name: x(n) if callable(x) else x for name, x in columns.items()} for n in range(1, steps + 1)]


CALM = {"d": 0.65, "g": 0.8, "l1": 0.2, "real": 0.1, "fake": -0.1}
SEEN = {"chroma": 1, "precision": 0.9, "recall": 0.95, "anywhere": 0.92, "edge": 0.02, "slope": 1.0, "held_out": 0.2, "moved": 2}
SIGNS = {
    "overpowering discriminator": {"real": 6.0, "fake": -4.0, "d": 0.02},
    "vanishing gradients": {"slope": 0.01},
    "gamut edge": {"edge": 1.0},
    "collapse": {"recall": 0.1},
    "oscillation": {"l1": lambda n: 0.2 + 0.1 * math.sin(n / 4)},
    "blind to the grey": {"precision": 0.4},
    "too good to be true": {"l1": 0.02},
    "sepia": {"chroma": 0.5},
    "non-finite": {"g": lambda n: math.nan if n == 150 else 0.8},
}


def test_a_calm_history_is_healthy():
    assert [finding.symptom for finding in diagnose.read(rows(**CALM | SEEN))] == ["healthy"]
    assert [finding.symptom for finding in diagnose.read(rows(**CALM))] == ["healthy"]


@pytest.mark.parametrize("symptom", SIGNS)
def test_each_sign_is_read_alone(symptom):
    (finding,) = diagnose.read(rows(**CALM | SEEN | SIGNS[symptom]))
    assert finding.symptom == symptom
    assert finding.numbers
    told = repr(finding)
    assert symptom in told
    assert finding.means in told
    assert finding.remedy in told


def test_every_symptom_but_health_has_a_sign_here_and_every_cause_a_symptom():
    assert set(SIGNS) == set(diagnose.SYMPTOMS) - {"healthy"}
    assert {cause.symptom for cause in diagnose.CAUSES.values()} <= set(diagnose.SYMPTOMS)


def test_logits_that_a_sigmoid_squashed_are_seen_without_a_probe():
    (finding,) = diagnose.read(rows(**CALM | {"real": 0.6, "fake": 0.4}))
    assert finding.symptom == "vanishing gradients"
    assert finding.numbers["highest logit"] == 0.6


def test_findings_come_likeliest_first():
    both = CALM | SEEN | {"recall": 0.3, "real": 9.0, "fake": -9.0}
    assert [finding.symptom for finding in diagnose.read(rows(**both))] == ["overpowering discriminator", "collapse"]


@pytest.mark.parametrize("history", [[], rows(19, **CALM)])
def test_a_history_too_short_to_read_is_refused(history):
    with pytest.raises(ValueError, match="at least 20 steps"):
        diagnose.read(history)


def test_an_unknown_recipe_or_cure_names_the_known_ones():
    with pytest.raises(ValueError, match="no recipe 'nothing'.*detach"):
        diagnose.run("nothing")
    with pytest.raises(ValueError, match="no cure 'nothing'.*detach"):
        diagnose.Case(0, None).treated("nothing")
    with pytest.raises(ValueError, match="whole numbers"):
        diagnose.clinic(-1)


def test_the_clinic_shows_every_mistake_and_is_cured_by_its_own_cure_alone():
    count = len(diagnose.CAUSES)
    assert {diagnose._cause(seed) for seed in range(count)} == set(diagnose.CAUSES)
    assert [diagnose._cause(seed) for seed in range(count)] != [diagnose._cause(seed) for seed in range(count, 2 * count)]
    case = diagnose.clinic(4)
    cause = diagnose._cause(4)
    assert repr(case) == "Case(seed=4)"  # which tells no name
    assert diagnose.read(case.history)[0].symptom == diagnose.CAUSES[cause].symptom
    other = next(name for name in diagnose.CAUSES if name != cause)
    assert case.treated(other).history == case.history
    assert [finding.symptom for finding in diagnose.read(case.treated(cause).history)] == ["healthy"]


def test_a_colouriser_that_was_trained_on_error_alone_is_read_as_sepia():
    """A real Trainer on ColorWorld, L1 alone but for a whisper, watched by a probe of the balloons."""
    world = ColorWorld(32)
    lessons, test = world.sample(96), world.sample(24)
    networks = UNetConfig(width=16, max_width=32, depth=2), PatchGANConfig(width=8, layers=1)
    config = TrainConfig(*networks, warmup_steps=150, gan_steps=30, l1_weight=1e3)
    balloons = test.kind[:, None] == KINDS.index("balloon")
    probe = diagnose.Probe(test.L, test.ab, where=balloons)
    trainer = Trainer(config, hooks={"step": [probe]})
    batches = [(lessons.L[n::6], lessons.ab[n::6]) for n in range(6)] * 30
    trainer.fit(iter(batches), progress=False)
    symptoms = {finding.symptom: finding for finding in diagnose.read(trainer.history + probe.rows)}
    assert "sepia" in symptoms, symptoms
    assert symptoms["sepia"].numbers["precision"] < 0.1
