"""The discriminator: its receptive field measured by gradient, that it judges colour given the grey, spectral norm."""

import pytest
import torch
from torch.nn import functional as F

from colorlab.patchgan import PatchGAN, PatchGANConfig, receptive_field

TINY = PatchGANConfig(width=4, layers=1)
PLAIN = PatchGANConfig(width=4, layers=1, spectral=False)


@pytest.fixture(autouse=True)
def _seed():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def pair(batch=1, height=32, width=32, **options):
    return torch.rand(batch, 1, height, width, **options) * 2 - 1, torch.rand(batch, 2, height, width, **options) - 0.5


@pytest.mark.parametrize(("layers", "side"), [(1, 16), (2, 34), (3, 70)])
def test_receptive_field_is_what_the_gradient_says(layers, side):
    assert receptive_field(layers) == side
    picture = 2 * side + 2 ** (layers + 1)
    L, ab = (x.requires_grad_() for x in pair(1, picture, picture, dtype=torch.float64))
    logits = PatchGAN(PatchGANConfig(width=2, layers=layers, spectral=False)).double()(L, ab)
    middle = logits.shape[-1] // 2
    for gradient in torch.autograd.grad(logits[0, 0, middle, middle], (L, ab)):  # the grey's, the colour's
        seen = gradient.abs().sum(1)[0] > 0
        rows, columns = seen.any(1).nonzero()[:, 0], seen.any(0).nonzero()[:, 0]
        for at in (rows, columns):
            assert at[-1] - at[0] + 1 == side
            assert at[0] > 0 and at[-1] < picture - 1  # noqa: PT018 (the box is not cut off by the border)


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize(("height", "width"), [(32, 32), (37, 50), (24, 71)])
def test_number_of_logits(layers, height, width):
    logits = PatchGAN(PatchGANConfig(width=2, layers=layers))(*pair(2, height, width))
    assert logits.shape == (2, 1, height // 2**layers - 2, width // 2**layers - 2)


@pytest.mark.parametrize("layers", [1, 2, 3, 4])
def test_the_smallest_picture(layers):
    discriminator, smallest = PatchGAN(PatchGANConfig(width=2, layers=layers)), 3 * 2**layers
    assert discriminator(*pair(1, smallest, smallest)).shape == (1, 1, 1, 1)
    for height, width in ((smallest - 1, smallest), (smallest, smallest - 1)):
        with pytest.raises(ValueError, match=f"at least {smallest} pixels"):
            discriminator(*pair(1, height, width))


@pytest.mark.parametrize(
    ("grey", "color"),
    [((1, 3, 32, 32), (1, 2, 32, 32)), ((1, 1, 32, 32), (1, 3, 32, 32)), ((2, 1, 32, 32), (1, 2, 32, 32)),
     ((1, 1, 32, 32), (1, 2, 32, 16)), ((1, 32, 32), (2, 32, 32)), ((1, 2, 32, 32), (1, 1, 32, 32))],
)  # fmt: skip
def test_another_shape_is_refused(grey, color):
    with pytest.raises(ValueError, match=r"takes L \(B, 1, H, W\)"):
        PatchGAN(TINY)(torch.zeros(grey), torch.zeros(color))


def test_equals_a_network_written_by_hand():
    L, ab = pair(2, 40, 40, dtype=torch.float64)
    discriminator = PatchGAN(PatchGANConfig(width=4, layers=2, spectral=False)).double()
    weights = list(discriminator.state_dict().values())
    x = torch.cat([L, ab], 1)
    for n, stride in enumerate((2, 2, 1, 1)):
        x = F.conv2d(F.pad(x, (1, 1, 1, 1)), weights[2 * n], weights[2 * n + 1], stride)
        x = torch.maximum(x, 0.2 * x) if n < 3 else x  # logits: nothing after the last
    torch.testing.assert_close(discriminator(L, ab), x, rtol=0, atol=1e-12)
    assert [len(w) for w in weights[::2]] == [4, 8, 16, 1]


def test_widths_stop_at_eight_times():
    weights = PatchGAN(PatchGANConfig(width=2, layers=5, spectral=False)).state_dict().values()
    assert [len(w) for w in weights][::2] == [2, 4, 8, 16, 16, 16, 1]


def test_judges_the_color_given_the_grey():
    discriminator = PatchGAN(TINY).eval()
    (L, ab), (other_L, other_ab) = pair(), pair()
    logits = discriminator(L, ab)
    assert not torch.allclose(logits, discriminator(other_L, ab), atol=1e-4)
    assert not torch.allclose(logits, discriminator(L, other_ab), atol=1e-4)


@pytest.mark.parametrize("spectral", [True, False])
def test_no_picture_sees_the_others_in_its_batch(spectral):
    discriminator = PatchGAN(PatchGANConfig(width=4, layers=1, spectral=spectral)).eval()
    L, ab = pair(3)
    together = discriminator(L, ab)
    for n in range(3):
        torch.testing.assert_close(discriminator(L[n : n + 1], ab[n : n + 1])[0], together[n], rtol=0, atol=1e-5)
        other_L, other_ab = pair(3)
        other_L[n], other_ab[n] = L[n], ab[n]
        assert torch.equal(discriminator(other_L, other_ab)[n], together[n])


def test_spectral_norm_bounds_every_layer():
    discriminator = PatchGAN(PatchGANConfig(width=8, layers=2)).double()
    convolutions = [m for m in discriminator.net if hasattr(m, "parametrizations")]
    assert len(convolutions) == 4
    with torch.no_grad():
        for n, conv in enumerate(convolutions):
            conv.parametrizations.weight.original.mul_(10.0**n)  # whatever the optimizer makes of a weight
        for _ in range(200):  # each forward is one power iteration
            discriminator(*pair(1, 12, 12, dtype=torch.float64))
        discriminator.eval()
        for conv in convolutions:
            original = conv.parametrizations.weight.original
            torch.testing.assert_close(torch.linalg.svdvals(conv.weight.flatten(1))[0].item(), 1.0, rtol=0, atol=1e-3)
            largest = torch.linalg.svdvals(original.flatten(1))[0]
            torch.testing.assert_close(conv.weight, original / largest, rtol=1e-3, atol=1e-4)


def test_spectral_norm_follows_a_moving_weight_only_in_training():
    discriminator = PatchGAN(TINY)
    u = discriminator.net[0].parametrizations.weight[0]._u
    before = u.clone()
    discriminator.eval()(*pair())
    assert torch.equal(u, before)
    with torch.no_grad():
        discriminator.net[0].parametrizations.weight.original.normal_()
    discriminator.train()(*pair())
    assert not torch.equal(u, before)


def test_without_spectral_norm_the_weights_are_plain():
    assert list(PatchGAN(PLAIN).state_dict()) == [f"net.{n}.{name}" for n in (0, 2, 4) for name in ("weight", "bias")]


def test_parameter_names_are_the_ones_in_every_checkpoint():
    names = ["bias", "parametrizations.weight.original", "parametrizations.weight.0._u", "parametrizations.weight.0._v"]
    assert list(PatchGAN(TINY).state_dict()) == [f"net.{n}.{name}" for n in (0, 2, 4) for name in names]


@pytest.mark.parametrize("config", [TINY, PLAIN])
def test_gradients_reach_every_parameter(config):
    discriminator = PatchGAN(config)
    discriminator(*pair(2)).square().sum().backward()
    assert not [name for name, p in discriminator.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]


@pytest.mark.parametrize("config", [TINY, PLAIN])
def test_under_autocast_the_logits_are_float32(config):
    discriminator, (L, ab) = PatchGAN(config).eval(), pair()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = discriminator(L, ab)
    assert logits.dtype == torch.float32
    assert 0 < (logits - discriminator(L, ab)).abs().max() < 0.05


def test_default():
    assert PatchGAN().config == PatchGANConfig(width=64, layers=2, spectral=True)
    assert receptive_field(PatchGANConfig().layers) == 34


@pytest.mark.parametrize("options", [{"width": 0}, {"width": -1}, {"layers": 0}, {"layers": -1}], ids=str)
def test_a_bad_configuration_is_refused(options):
    with pytest.raises(ValueError, match="PatchGANConfig needs"):
        PatchGANConfig(**options)
