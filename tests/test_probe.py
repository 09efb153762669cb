"""A probe sees what it should, and looking changes nothing."""

import math

import pytest
import torch

from colorlab.config import TrainConfig
from colorlab.patchgan import PatchGAN, PatchGANConfig
from colorlab.probe import Probe
from colorlab.train import Trainer
from colorlab.unet import UNetConfig
from colorlab.world import KINDS, ColorWorld

CONFIG = TrainConfig(
    UNetConfig(width=8, max_width=16, depth=1), PatchGANConfig(width=8, layers=1), warmup_steps=3, gan_steps=9, adversarial="bce"
)


@pytest.fixture(scope="module")
def scenes():
    return ColorWorld(16).sample(24)


def verdict(L, ab):
    """A judge who likes red: its slope by a pixel's a* is known."""
    return ab[:, :1].mean((2, 3))


def look(scenes, answer, **options):
    return Probe(scenes.L, scenes.ab, **options).look(1, lambda L: answer, verdict, TrainConfig(adversarial="hinge"))


def test_the_truth_is_real_varied_and_as_colourful_as_itself(scenes):
    row = look(scenes, scenes.ab)
    assert {name: row[name] for name in ("chroma", "precision", "recall", "anywhere", "held_out", "moved")} == {
        "chroma": pytest.approx(1),
        "precision": 1,
        "recall": 1,
        "anywhere": 1,
        "held_out": 0,
        "moved": 0,
    }
    assert row["edge"] == 0
    assert row["slope"] == pytest.approx(1)  # of −mean(a*) by a pixel's a*, times the pixels of a scene, times the scenes


def test_each_number_answers_to_its_own_fault(scenes):
    assert look(scenes, 0 * scenes.ab)["chroma"] == 0
    assert look(scenes, scenes.ab / 2)["chroma"] == pytest.approx(0.5, abs=0.01)
    assert look(scenes, 0.99 * torch.ones_like(scenes.ab))["edge"] == 1
    order = torch.randperm(256, generator=torch.Generator().manual_seed(0))
    swapped = look(scenes, scenes.ab.flatten(2)[:, :, order].view_as(scenes.ab))
    assert swapped["anywhere"] == 1  # the colours of the truth …
    assert swapped["precision"] < 0.5  # … on the wrong things
    trees = scenes.kind[:, None] == KINDS.index("tree")
    red = torch.tensor([36.0, 44.0]).view(1, 2, 1, 1).expand_as(scenes.ab) / 110
    one_colour = look(scenes, red, where=trees)
    assert one_colour["precision"] == 1
    assert 0.1 < one_colour["recall"] < 0.7  # the green ones are never drawn
    assert one_colour["held_out"] > 0.1


def test_what_moved_is_counted_from_look_to_look(scenes):
    probe = Probe(scenes.L, scenes.ab)
    probe.look(1, lambda L: scenes.ab, verdict, CONFIG)
    moved = probe.look(2, lambda L: scenes.ab + torch.tensor([0.03, 0.04]).view(1, 2, 1, 1), verdict, CONFIG)["moved"]
    assert moved == pytest.approx(0.05 * 110, rel=1e-4)


def test_another_input_is_judged_by_the_true_grey(scenes):
    scaled = (scenes.L + 1) * 50
    assert look(scenes, scenes.ab) == Probe(scaled, scenes.ab, grey=scenes.L).look(
        1, lambda L: scenes.ab, verdict, TrainConfig(adversarial="hinge")
    )


@pytest.mark.parametrize("spectral", [True, False])
def test_looking_changes_nothing(scenes, spectral):
    """The same run, with and without a probe that looks at every step, ends in the same bits."""

    class Dice(torch.nn.Module):  # a generator that draws noise, and minds whether it is training
        def __init__(self):
            super().__init__()
            self.conv = torch.nn.Conv2d(2, 2, 3, padding=1)
            self.drop = torch.nn.Dropout(0.5)

        def forward(self, L):
            return torch.tanh(self.conv(self.drop(torch.cat([L, torch.randn_like(L)], dim=1))))

    def train(hooks):
        torch.manual_seed(0)
        trainer = Trainer(CONFIG, Dice(), PatchGAN(PatchGANConfig(width=8, layers=1, spectral=spectral)), hooks=hooks)
        trainer.fit(iter([(scenes.L, scenes.ab)] * 12), progress=False)
        return [x for net in (trainer.generator, trainer.discriminator) for x in net.state_dict().values()], trainer.history

    probe = Probe(scenes.L, scenes.ab, every=1)
    (alone, rows), (watched, seen) = train({}), train({"step": [probe]})
    assert rows == seen
    assert all(torch.equal(a, b) for a, b in zip(alone, watched, strict=True))
    assert [row["step"] for row in probe.rows] == list(range(1, 13))
    assert all(math.isfinite(x) for row in probe.rows for x in row.values())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"where": torch.zeros(24, 1, 16, 16, dtype=torch.bool)}, "0 pixels"),
        ({"where": torch.ones(24, 1, 16, 16)}, "where is bool"),
        ({"where": torch.ones(1, 1, 16, 16, dtype=torch.bool)}, r"of shape \(24, 1, 16, 16\)"),
        ({"every": 0}, "every=0"),
    ],
)
def test_what_cannot_be_judged_is_refused(scenes, options, words):
    with pytest.raises(ValueError, match=words):
        Probe(scenes.L, scenes.ab, **options)


def test_pairs_that_do_not_fit_are_refused(scenes):
    with pytest.raises(ValueError, match="same batch and picture size"):
        Probe(scenes.L, scenes.ab[:, :, :8])
