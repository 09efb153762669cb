"""The generator: what it computes (against a network written with plain operations), which sizes it takes, and that
no picture sees another one."""

import dataclasses

import pytest
import torch
from torch.nn import functional as F

from colorlab.unet import FULL, UNet, UNetConfig

TINY = UNetConfig(width=8, max_width=16, depth=2)
HALF = dataclasses.replace(TINY, half=True)
PLAIN = dataclasses.replace(TINY, skips=False)
VARIANTS = pytest.mark.parametrize("config", [TINY, HALF, PLAIN], ids=["tiny", "half", "no skips"])


@pytest.fixture(autouse=True)
def _seed():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def grey(batch=1, height=16, width=16, **options):
    return torch.rand(batch, 1, height, width, **options) * 2 - 1


def by_hand(state: dict[str, torch.Tensor], L: torch.Tensor, config: UNetConfig) -> torch.Tensor:
    """The same network from the paper's text and its weights alone: no modules, GroupNorm as its formula, pooling as a mean."""

    def group_norm(x, weight, bias):
        grouped = x.unflatten(1, (-1, 8)).flatten(2)  # (B, groups, 8·h·w)
        normal = (grouped - grouped.mean(-1, keepdim=True)) / (grouped.var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt()
        return normal.view_as(x) * weight[:, None, None] + bias[:, None, None]

    def block(name, x):
        for conv, norm in ((0, 1), (3, 4)):
            x = F.conv2d(x, state[f"{name}.{conv}.weight"], padding=1)
            x = group_norm(x, state[f"{name}.{norm}.weight"], state[f"{name}.{norm}.bias"])
            x = x * torch.sigmoid(x)
        return x

    if config.half:  # every 2×2 pixels become four channels, row by row
        L = torch.cat([L[..., y::2, x::2] for y in (0, 1) for x in (0, 1)], dim=1)
    x = block("stem", L)
    levels = [x]
    for n in range(config.depth):
        x = (x[..., ::2, ::2] + x[..., 1::2, ::2] + x[..., ::2, 1::2] + x[..., 1::2, 1::2]) / 4
        x = block(f"down.{n}", x)
        levels.append(x)
    for n in range(config.depth):
        x = x.repeat_interleave(2, -1).repeat_interleave(2, -2)
        x = block(f"up.{n}", torch.cat([x, levels[-2 - n]], 1) if config.skips else x)
    ab = torch.tanh(F.conv2d(x, state["head.weight"], state["head.bias"], padding=1))
    if not config.half:
        return ab
    for axis in (-1, -2):  # twice the size: each new sample lies a quarter from one old sample, three from the next
        before = torch.cat([ab.narrow(axis, 0, 1), ab.narrow(axis, 0, ab.shape[axis] - 1)], axis)
        after = torch.cat([ab.narrow(axis, 1, ab.shape[axis] - 1), ab.narrow(axis, -1, 1)], axis)
        ab = torch.stack([0.25 * before + 0.75 * ab, 0.75 * ab + 0.25 * after], axis if axis == -1 else -2)
        ab = ab.flatten(-2) if axis == -1 else ab.flatten(-3, -2)
    return ab


@VARIANTS
def test_equals_a_network_written_by_hand(config):
    generator, L = UNet(config).double(), grey(2, 16, 24, dtype=torch.float64)
    torch.testing.assert_close(generator(L), by_hand(generator.state_dict(), L, config), rtol=0, atol=1e-12)


@pytest.mark.parametrize("config", [UNetConfig(), TINY, HALF, PLAIN, FULL])
def test_shape_and_stride(config):
    generator = UNet(config)
    assert generator.stride == 2 ** (config.depth + config.half)
    for height, width in ((1, 1), (2, 3)):
        L = grey(2, height * generator.stride, width * generator.stride)
        assert generator(L).shape == (2, 2, *L.shape[2:])


def test_half_works_at_half_the_size():
    sizes = []
    for config in (TINY, HALF):
        generator = UNet(config)
        generator.stem.register_forward_hook(lambda module, args, out: sizes.append(tuple(out.shape)))
        generator(grey(1, 16, 32))
    assert sizes == [(1, 8, 16, 32), (1, 8, 8, 16)]


@pytest.mark.parametrize("config", [TINY, HALF])
@pytest.mark.parametrize(("down", "right"), [(1, 0), (0, 1), (0, -1), (-1, 0)])
def test_another_size_is_refused_and_the_multiple_named(config, down, right):
    generator = UNet(config)
    height, width = 2 * generator.stride + down, 2 * generator.stride + right
    with pytest.raises(ValueError, match=rf"multiples of {generator.stride}, got {height}×{width}"):
        generator(grey(1, height, width))


@pytest.mark.parametrize(
    "shape", [(1, 0, 16), (1, 1, 0, 16), (1, 1, 16, 0), (1, 2, 16, 16), (1, 3, 16, 16), (16, 16), (1, 1, 4, 4, 4), (4, 1, 16)]
)
def test_another_shape_is_refused(shape):
    with pytest.raises(ValueError, match=r"multiples of 4|shape \(B, 1, H, W\)"):
        UNet(TINY)(torch.zeros(shape))


@VARIANTS
def test_output_stays_inside_the_open_interval(config):
    generator = UNet(config).double()
    with torch.no_grad():
        generator.head.weight *= 8
    largest = generator(grey(4, dtype=torch.float64)).abs().max()
    assert 0.9 < largest < 1


@VARIANTS
def test_no_picture_sees_the_others_in_its_batch(config):
    generator = UNet(config).train()
    L, others = grey(3), grey(3)
    together = generator(L)
    for n in range(3):
        torch.testing.assert_close(generator(L[n : n + 1])[0], together[n], rtol=0, atol=1e-5)
        mixed = others.clone()
        mixed[n] = L[n]
        assert torch.equal(generator(mixed)[n], together[n])  # same place, other neighbours: the same bits
    assert not torch.allclose(together[0], together[1], atol=1e-3)


def test_skips_carry_what_the_bottleneck_loses():
    gradients = {}
    for config in (TINY, PLAIN):
        generator, L = UNet(config), grey().requires_grad_()
        generator.down[-1].register_forward_hook(lambda module, args, out: out.detach())  # nothing gets past the bottom
        ab = generator(L)
        gradients[config.skips] = torch.autograd.grad(ab.sum() + 0 * L.sum(), L)[0].abs().sum()
    assert gradients[True] > 0
    assert gradients[False] == 0


def test_skips_change_the_number_of_parameters():
    # A skip of c channels widens the decoder block's two first layers: its 3×3 convolutions and one GroupNorm.
    def count(config):
        return sum(p.numel() for p in UNet(config).parameters())

    def first_conv(here, below, skip):
        return 9 * (below + skip) * here

    assert count(TINY) - count(PLAIN) == sum(first_conv(h, b, h) - first_conv(h, b, 0) for h, b in ((16, 16), (8, 16)))


@VARIANTS
def test_gradients_reach_every_parameter(config):
    generator = UNet(config)
    (generator(grey(2)) - 0.3).square().sum().backward()
    dead = [name for name, p in generator.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert not dead


def test_double_precision_agrees_with_single():
    generator, L = UNet(HALF), grey()
    single = generator(L)
    double = generator.double()(L.double())
    assert double.dtype == torch.float64
    torch.testing.assert_close(single.double(), double, rtol=0, atol=1e-5)


@pytest.mark.parametrize("config", [TINY, HALF])
def test_under_autocast_the_output_is_float32(config):
    generator, L = UNet(config), grey()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        ab = generator(L)
    assert ab.dtype == torch.float32
    difference = (ab - generator(L)).abs().max()
    assert 0 < difference < 0.05
    assert not torch.equal(ab, ab.bfloat16().float())  # tanh ran in float32


def test_full_size():
    generator = UNet(FULL)
    parameters = sum(p.numel() for p in generator.parameters())
    assert 10.5e6 < parameters < 11.5e6
    assert sum(x.numel() * 2 for x in generator.state_dict().values()) < 25e6
    assert FULL.widths() == [48, 96, 192, 384, 384]
    assert generator.stride == 32


def test_default_size():
    assert UNetConfig().widths() == [32, 64, 128, 256]
    assert UNet().config == UNetConfig()
    assert UNet().stride == 8


def test_parameter_names_are_the_ones_in_every_checkpoint():
    blocks = ["stem", "down.0", "down.1", "up.0", "up.1"]
    layers = ["0.weight", "1.weight", "1.bias", "3.weight", "4.weight", "4.bias"]
    names = [f"{block}.{layer}" for block in blocks for layer in layers] + ["head.weight", "head.bias"]
    for config in (TINY, HALF, PLAIN):
        assert list(UNet(config).state_dict()) == names


@pytest.mark.parametrize(
    "options",
    [{"width": 0}, {"width": 4}, {"width": 12}, {"width": -8}, {"max_width": 20}, {"max_width": 8}, {"depth": 0}, {"depth": -1}],
    ids=str,
)
def test_a_bad_configuration_is_refused(options):
    with pytest.raises(ValueError, match="UNetConfig needs"):
        UNetConfig(**({"width": 16} | options))
