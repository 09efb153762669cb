"""colorlab.color against scikit-image, kornia and published values; round trips, gradients, the gamut."""

import doctest
import math

import kornia.color
import numpy as np
import pytest
import skimage.color
import torch

from colorlab import color

DTYPES = (torch.float32, torch.float64)


def pixels(*colours, dtype=torch.float64) -> torch.Tensor:
    """Colours of three numbers each → (1, 3, 1, N)."""
    return torch.tensor(colours, dtype=dtype).T[None, :, None]


def random_bytes(count: int, seed: int = 0) -> torch.Tensor:
    """8-bit sRGB colours as whole numbers, (1, 3, 1, count)."""
    return torch.randint(0, 256, (1, 3, 1, count), generator=torch.Generator().manual_seed(seed))


def random_code(count: int, dtype=torch.float64, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Any L* and any ab up to chroma 150, most of them no colour at all: (1, 1, 1, count) and (1, 2, 1, count)."""
    generator = torch.Generator().manual_seed(seed)
    L, hue, chroma = torch.rand(3, count, generator=generator, dtype=torch.float64)
    ab = torch.stack([torch.cos(2 * math.pi * hue), torch.sin(2 * math.pi * hue)]) * chroma * 150 / 110
    return (2 * L - 1).to(dtype).view(1, 1, 1, -1), ab.to(dtype).view(1, 2, 1, -1)


def chroma(ab: torch.Tensor) -> torch.Tensor:
    return 110 * torch.linalg.vector_norm(ab, dim=1, keepdim=True)


def hue(ab: torch.Tensor) -> torch.Tensor:
    return torch.rad2deg(torch.atan2(ab[:, 1:], ab[:, :1]))


def hue_difference(ab1: torch.Tensor, ab2: torch.Tensor) -> torch.Tensor:
    return ((hue(ab1) - hue(ab2) + 180) % 360 - 180).abs()


def in_gamut(rgb: torch.Tensor) -> torch.Tensor:
    return ((rgb >= -1e-4) & (rgb <= 1 + 1e-4)).all(1, keepdim=True)


# Conversions, against code and values that nobody here wrote


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.float64, 1e-9)])
def test_lab_is_that_of_scikit_image_and_kornia(dtype, tolerance):
    eight_bit = torch.cat([random_bytes(200_000), random_bytes(50_000, seed=1) % 16], dim=3)  # a fifth of them very dark
    rgb = eight_bit.double() / 255
    picture = rgb[0].movedim(0, -1).numpy()
    lab = color.rgb_to_lab(rgb.to(dtype))
    assert lab.dtype == dtype
    white = np.array([0.95047, 1.0, 1.08883])
    above_the_knee = torch.from_numpy((skimage.color.rgb2xyz(picture) / white > 0.008857).all(-1))[None, None].expand(lab.shape)
    assert 0.5 < above_the_knee.double().mean() < 0.9
    for other in (torch.from_numpy(skimage.color.rgb2lab(picture)).movedim(-1, 0)[None], kornia.color.rgb_to_lab(rgb)):
        error = (lab - other).abs()
        assert error[above_the_knee].max() < tolerance  # measured: 6e-5 in float32, 2e-13 in float64
        assert error.max() < 3e-4  # below it, both others round CIE's 24/116 and 841/108 to a few digits


def test_rgb_is_that_of_scikit_image():
    lab = color.rgb_to_lab(random_bytes(200_000).double() / 255)
    scikit = torch.from_numpy(skimage.color.lab2rgb(lab[0].movedim(0, -1).numpy())).movedim(-1, 0)[None]
    assert (color.lab_to_rgb(lab) - scikit).abs().max() < 3e-6


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("rgb", "lab"),
    [
        ((255, 0, 0), (53.24, 80.09, 67.20)),  # the sRGB corners as printed for D65, 2° observer
        ((0, 255, 0), (87.73, -86.18, 83.18)),
        ((0, 0, 255), (32.30, 79.19, -107.86)),
        ((255, 255, 0), (97.14, -21.55, 94.48)),
        ((0, 255, 255), (91.11, -48.09, -14.13)),
        ((255, 0, 255), (60.32, 98.23, -60.82)),
        ((255, 255, 255), (100.0, 0.0, 0.0)),
        ((128, 128, 128), (53.585, 0.0, 0.0)),
        ((0, 0, 0), (0.0, 0.0, 0.0)),
    ],
)
def test_published_values(rgb, lab, dtype):
    assert torch.allclose(color.rgb_to_lab(pixels(rgb, dtype=dtype) / 255), pixels(lab, dtype=dtype), rtol=0, atol=0.0075)


def test_a_grey_is_nearly_without_chroma_and_its_lightness_grows():
    grey = (torch.arange(256) / 255.0).view(1, 1, 1, -1).expand(1, 3, 1, -1)
    L, ab = color.encode(grey)
    assert chroma(ab).max() < 0.006  # six digits of a matrix do not add up to the white exactly
    assert (L.diff(dim=3) > 0).all()


def test_every_8_bit_colour_comes_back_exactly_lies_in_the_ranges_and_needs_no_fitting():
    chunk = 1 << 20
    for start in range(0, 1 << 24, chunk):
        number = torch.arange(start, start + chunk)
        eight_bit = torch.stack([number >> 16, number >> 8 & 255, number & 255]).view(1, 3, 1024, -1)
        L, ab = color.encode(eight_bit / 255.0)
        assert L.dtype == torch.float32
        assert torch.equal((color.decode(L, ab) * 255).round().long(), eight_bit)
        assert L.abs().max() <= 1
        assert ab.abs().max() < 0.981  # |b*| of blue, 107.86, over 110
        fitted, share = color.fit_gamut(L, ab)
        assert share == 0
        assert torch.equal(fitted, ab)


def test_round_trip_in_float64_and_past_the_gamut():
    rgb = random_bytes(1_000_000).double() / 255
    assert (color.decode(*color.encode(rgb)) - rgb).abs().max() < 1e-12
    assert color.fit_gamut(*color.encode(rgb))[1] == 0
    L, ab = random_code(100_000)
    L_again, ab_again = color.encode(color.decode(L, ab))
    assert (L_again - L).abs().max() < 1e-9
    assert (ab_again - ab).abs().max() < 1e-9


def test_decode_does_not_clip():
    too_red, too_dark = color.decode(*color.lab_to_code(pixels((50.0, 130.0, 60.0), (5.0, 0.0, -60.0)))).unbind(3)
    assert too_red[0, 0] > 1.05
    assert too_dark[0, 0] < -0.05


def test_the_code_is_lab_on_the_networks_scale():
    L, ab = color.lab_to_code(pixels((0.0, 110.0, -55.0), (100.0, 0.0, 11.0)))
    assert torch.equal(L.flatten(), torch.tensor([-1.0, 1.0], dtype=torch.float64))
    assert torch.allclose(ab[0, :, 0].T, torch.tensor([[1.0, -0.5], [0.0, 0.1]], dtype=torch.float64))
    lab = color.rgb_to_lab(random_bytes(1000).double() / 255)
    assert torch.allclose(color.code_to_lab(*color.lab_to_code(lab)), lab, rtol=0, atol=1e-12)


# Gradients


@pytest.mark.parametrize("dtype", DTYPES)
def test_gradients_are_finite_everywhere(dtype):
    axis = torch.tensor([-0.3, 0.0, 1e-8, 0.04045, 0.0405, 0.0933, 0.0934, 1 - 1e-7, 1.0, 1.3], dtype=dtype)  # both knees
    rgb = torch.cartesian_prod(axis, axis, axis).T.reshape(1, 3, 1, -1).requires_grad_()
    lab = color.rgb_to_lab(rgb)
    for channel in range(3):
        (slope,) = torch.autograd.grad(lab[:, channel].sum(), rgb, retain_graph=True)
        assert slope.isfinite().all()
        assert slope.abs().max() < 2000
    assert (torch.autograd.grad(lab[:, 0].sum(), rgb)[0] > 0).all()  # more light is lighter, at the knees too

    L = torch.tensor([-1.0, -0.84, 0.0, 1.0], dtype=dtype)  # 8 is L*'s knee, and −0.84 its code
    ab = torch.tensor([-3.0, -0.5, 0.0, 0.5, 3.0], dtype=dtype)
    code = torch.cartesian_prod(L, ab, ab).T.reshape(1, 3, 1, -1).requires_grad_()
    (slope,) = torch.autograd.grad(color.decode(code[:, :1], code[:, 1:]).sum(), code)
    assert slope.isfinite().all()


def test_gradients_are_right_away_from_the_knees():
    dark, light = torch.tensor([0.005, 0.02, 0.03]), torch.tensor([0.2, 0.5, 0.9])
    rgb = torch.cat([torch.cartesian_prod(a, a, a) for a in (dark, light)]).double().T.reshape(1, 3, 6, 9).requires_grad_()
    assert torch.autograd.gradcheck(color.rgb_to_lab, rgb, eps=1e-7)
    lab = color.rgb_to_lab(rgb).detach().requires_grad_()
    assert torch.autograd.gradcheck(color.lab_to_rgb, lab, eps=1e-6)


# The gamut


@pytest.mark.parametrize("dtype", DTYPES)
def test_fitted_colours_exist_and_keep_lightness_and_hue(dtype):
    L, ab = random_code(200_000, dtype)
    fitted, share = color.fit_gamut(L, ab)
    outside = ~in_gamut(color.decode(L, ab))
    assert share == outside.double().mean().item()
    assert 0.5 < share < 0.9
    assert in_gamut(color.decode(L, fitted)).all()
    assert (chroma(fitted) <= chroma(ab)).all()
    unchanged = ~outside.expand_as(ab)
    assert torch.equal(fitted[unchanged], ab[unchanged])  # to the last bit

    shown = color.rgb_to_lab(color.decode(L, fitted).clamp(0, 1))  # what a screen makes of it
    coloured = chroma(fitted) >= 1
    assert coloured.double().mean() > 0.9
    assert hue_difference(shown[:, 1:], ab)[coloured].max() < 1
    assert (shown[:, :1] - (L + 1) * 50).abs().max() < 0.01


def test_fitted_chroma_is_the_most_there_is():
    L, ab = random_code(200_000)
    outside = ~in_gamut(color.decode(L, ab))
    fitted, _ = color.fit_gamut(L, ab)
    a_little_more = fitted + 1.01 * 2**-16 * ab  # the bisection's last step
    assert not in_gamut(color.decode(L, a_little_more))[outside].any()


def test_an_srgb_colour_pushed_outwards_comes_back_no_paler_than_it_was():
    L, ab = color.encode(random_bytes(300_000).double() / 255)
    for push in (1.02, 1.1, 1.5):
        fitted, share = color.fit_gamut(L, push * ab)
        paler = chroma(fitted) < 0.999 * chroma(ab)
        # In a sliver of bright yellows sRGB is not convex: on the way out to yellow itself, (97, −22, 94), a ray leaves
        # the gamut at chroma 27 and is back at 97. There the result exists, yet a more vivid colour does too.
        sliver = (L > 0.84) & ((hue(ab) - 102.5).abs() < 5.5)
        assert share > 0.1
        assert not (paler & ~sliver).any()
        assert paler.double().mean() < 3e-4


@pytest.mark.parametrize("dtype", DTYPES)
def test_black_and_white_have_no_colours_and_extreme_chroma_is_brought_back(dtype):
    _, ab = random_code(1000, dtype)
    for ends in (-1.0, 1.0):
        fitted, share = color.fit_gamut(torch.full_like(ab[:, :1], ends), 1 + ab.abs())
        assert share == 1
        assert chroma(fitted).max() < 0.2
    fitted, share = color.fit_gamut(pixels((0.0,), dtype=dtype), pixels((30.0, 30.0), dtype=dtype))
    assert share == 1
    assert in_gamut(color.decode(pixels((0.0,), dtype=dtype), fitted)).all()
    assert 80 < chroma(fitted) < 95


def test_the_share_counts_the_pixels_that_were_outside_and_no_others_change():
    L, ab = color.lab_to_code(pixels(*[(50.0, 10.0, 10.0)] * 9, *[(50.0, 200.0, 0.0)] * 3))
    given = ab.clone()
    fitted, share = color.fit_gamut(L, ab)
    assert share == 0.25
    assert torch.equal(fitted[..., :9], given[..., :9])
    assert (fitted[:, 0, :, 9:] < 0.9).all()
    assert torch.equal(ab, given)  # the caller's tensor is left alone


@pytest.mark.parametrize("dtype", DTYPES)
def test_fitting_twice_is_fitting_once(dtype):
    L, ab = random_code(100_000, dtype)
    once, _ = color.fit_gamut(L, ab)
    twice, share = color.fit_gamut(L, once)
    assert share == 0
    assert torch.equal(once, twice)


def test_gradients_pass_through_fitting():
    L, ab = random_code(10_000)
    ab.requires_grad_()
    fitted, _ = color.fit_gamut(L, ab)
    fitted.sum().backward()
    outside = ~in_gamut(color.decode(L, ab.detach())).expand_as(ab)
    assert ab.grad.isfinite().all()
    assert (ab.grad[~outside] == 1).all()
    assert (ab.grad[outside] < 1).all()
    assert torch.allclose(ab.grad, (fitted / ab).detach())  # the share of its chroma that a colour keeps


# Batches, layouts, devices, doors


def test_a_picture_does_not_see_the_others_in_its_batch():
    generator = torch.Generator().manual_seed(0)
    rgb = torch.rand(5, 3, 7, 9, generator=generator)
    L, ab = color.encode(rgb)
    wild = 2 * ab
    wild[3] = 0  # one picture in five needs no fitting
    fitted, _ = color.fit_gamut(L, wild)
    for i in range(5):
        one = slice(i, i + 1)
        assert torch.allclose(color.rgb_to_lab(rgb)[one], color.rgb_to_lab(rgb[one]), rtol=0, atol=1e-4)
        assert torch.allclose(color.decode(L, wild)[one], color.decode(L[one], wild[one]), rtol=0, atol=1e-5)
        assert torch.allclose(fitted[one], color.fit_gamut(L[one], wild[one])[0], rtol=0, atol=1e-4)
    assert torch.equal(fitted[3], wild[3])


def test_memory_layout_does_not_matter():
    rgb = torch.rand(2, 3, 8, 6, generator=torch.Generator().manual_seed(0))
    L, ab = color.encode(rgb)
    expected, share = color.fit_gamut(L, 2 * ab)
    layouts = (
        lambda x: x.to(memory_format=torch.channels_last),
        lambda x: x.transpose(2, 3).contiguous().transpose(2, 3),
        lambda x: torch.stack([x, -x], dim=-1)[..., 0],
    )
    for layout in layouts:
        assert not layout(rgb).is_contiguous()
        assert torch.allclose(color.rgb_to_lab(layout(rgb)), color.rgb_to_lab(rgb), rtol=0, atol=1e-4)
        assert torch.allclose(color.decode(layout(L), layout(ab)), rgb, rtol=0, atol=1e-5)
        fitted, again = color.fit_gamut(layout(L), layout(2 * ab))
        assert torch.allclose(fitted, expected, rtol=0, atol=1e-4)
        assert again == share


def test_autocast_does_not_round_colours():
    rgb = random_bytes(1000) / 255.0
    with torch.autocast("cpu", dtype=torch.bfloat16):
        L, ab = color.encode(rgb)
        again = color.decode(L, ab)
    assert torch.equal(L, color.encode(rgb)[0])
    assert (again - rgb).abs().max() < 1e-5


def test_a_batch_of_none_stays_a_batch_of_none():
    L, ab = color.encode(torch.zeros(0, 3, 4, 4))
    assert L.shape == (0, 1, 4, 4)
    assert color.fit_gamut(L, ab)[1] == 0


@pytest.mark.parametrize(
    ("bad", "got"),
    [
        (torch.zeros(1, 3, 4, 4, dtype=torch.uint8), r"torch.uint8 of shape \(1, 3, 4, 4\)"),
        (torch.zeros(1, 3, 4, 4, dtype=torch.float16), "torch.float16"),
        (torch.zeros(3, 4, 4), r"\(3, 4, 4\)"),
        (torch.zeros(1, 4, 4, 3), r"\(1, 4, 4, 3\)"),
        (np.zeros((1, 3, 4, 4), np.float32), "ndarray"),
    ],
)
@pytest.mark.parametrize("door", [color.rgb_to_lab, color.lab_to_rgb, color.encode, color.lab_to_code])
def test_errors_say_what_was_expected_what_came_and_how_to_mend_it(door, bad, got):
    with pytest.raises(ValueError, match=rf"must be a float32 or float64 tensor of shape \(B, 3, H, W\), got .*{got}.*x\[None\]"):
        door(bad)


@pytest.mark.parametrize("door", [color.decode, color.fit_gamut, color.code_to_lab])
def test_L_and_ab_must_belong_together(door):
    for L, ab in (((2, 1, 4, 4), (1, 2, 4, 4)), ((1, 1, 4, 4), (1, 2, 4, 5)), ((1, 1, 5, 4), (1, 2, 4, 4))):
        with pytest.raises(ValueError, match="same batch and picture size"):
            door(torch.zeros(L), torch.zeros(ab))
    with pytest.raises(ValueError, match=r"L must be .*\(B, 1, H, W\)"):
        door(torch.zeros(1, 3, 4, 4), torch.zeros(1, 2, 4, 4))
    with pytest.raises(ValueError, match=r"ab must be .*\(B, 2, H, W\)"):
        door(torch.zeros(1, 1, 4, 4), torch.zeros(1, 3, 4, 4))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_a_gpu_gives_the_same_colours():
    rgb = random_bytes(100_000) / 255.0
    L, ab = color.encode(rgb)
    L_gpu, ab_gpu = color.encode(rgb.cuda())
    assert L_gpu.is_cuda
    assert torch.allclose(color.rgb_to_lab(rgb.cuda()).cpu(), color.rgb_to_lab(rgb), rtol=0, atol=1e-3)
    assert torch.equal((color.decode(L_gpu, ab_gpu) * 255).round().cpu(), (rgb * 255).round())
    fitted, share = color.fit_gamut(L_gpu, 1.5 * ab_gpu)
    assert torch.allclose(fitted.cpu(), color.fit_gamut(L, 1.5 * ab)[0], rtol=0, atol=1e-3)
    assert share == pytest.approx(color.fit_gamut(L, 1.5 * ab)[1], abs=1e-3)


def test_the_examples_in_the_docstrings():
    assert doctest.testmod(color).attempted > 0
    assert doctest.testmod(color).failed == 0
