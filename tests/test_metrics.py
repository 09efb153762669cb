"""colorlab.metrics against scikit-image, kornia, scipy and published values; the controls; the intervals."""

import doctest
import math

import kornia.metrics
import numpy as np
import pytest
import scipy.stats
import skimage.color
import skimage.metrics
import torch

from colorlab import color, intervals, metrics

# Sharma, Wu, Dalal 2005, table 1: L*1, a*1, b*1, L*2, a*2, b*2, ΔE2000.
SHARMA = """
    50.0000   2.6772 -79.7751  50.0000   0.0000 -82.7485   2.0425
    50.0000   3.1571 -77.2803  50.0000   0.0000 -82.7485   2.8615
    50.0000   2.8361 -74.0200  50.0000   0.0000 -82.7485   3.4412
    50.0000  -1.3802 -84.2814  50.0000   0.0000 -82.7485   1.0000
    50.0000  -1.1848 -84.8006  50.0000   0.0000 -82.7485   1.0000
    50.0000  -0.9009 -85.5211  50.0000   0.0000 -82.7485   1.0000
    50.0000   0.0000   0.0000  50.0000  -1.0000   2.0000   2.3669
    50.0000  -1.0000   2.0000  50.0000   0.0000   0.0000   2.3669
    50.0000   2.4900  -0.0010  50.0000  -2.4900   0.0009   7.1792
    50.0000   2.4900  -0.0010  50.0000  -2.4900   0.0010   7.1792
    50.0000   2.4900  -0.0010  50.0000  -2.4900   0.0011   7.2195
    50.0000   2.4900  -0.0010  50.0000  -2.4900   0.0012   7.2195
    50.0000  -0.0010   2.4900  50.0000   0.0009  -2.4900   4.8045
    50.0000  -0.0010   2.4900  50.0000   0.0010  -2.4900   4.8045
    50.0000  -0.0010   2.4900  50.0000   0.0011  -2.4900   4.7461
    50.0000   2.5000   0.0000  50.0000   0.0000  -2.5000   4.3065
    50.0000   2.5000   0.0000  73.0000  25.0000 -18.0000  27.1492
    50.0000   2.5000   0.0000  61.0000  -5.0000  29.0000  22.8977
    50.0000   2.5000   0.0000  56.0000 -27.0000  -3.0000  31.9030
    50.0000   2.5000   0.0000  58.0000  24.0000  15.0000  19.4535
    50.0000   2.5000   0.0000  50.0000   3.1736   0.5854   1.0000
    50.0000   2.5000   0.0000  50.0000   3.2972   0.0000   1.0000
    50.0000   2.5000   0.0000  50.0000   1.8634   0.5757   1.0000
    50.0000   2.5000   0.0000  50.0000   3.2592   0.3350   1.0000
    60.2574 -34.0099  36.2677  60.4626 -34.1751  39.4387   1.2644
    63.0109 -31.0961  -5.8663  62.8187 -29.7946  -4.0864   1.2630
    61.2901   3.7196  -5.3901  61.4292   2.2480  -4.9620   1.8731
    35.0831 -44.1164   3.7933  35.0232 -40.0716   1.5901   1.8645
    22.7233  20.0904 -46.6940  23.0331  14.9730 -42.5619   2.0373
    36.4612  47.8580  18.3852  36.2715  50.5065  21.2231   1.4146
    90.8027  -2.0831   1.4410  91.1528  -1.6435   0.0447   1.4441
    90.9257  -0.5406  -0.9208  88.6381  -0.8985  -0.7239   1.5381
     6.7747  -0.2908  -2.4247   5.8714  -0.0985  -2.2286   0.6377
     2.0776   0.0795  -1.1350   0.9033  -0.0636  -0.5514   0.9082
"""


def pictures(count: int = 3, height: int = 24, width: int = 31, seed: int = 0, dtype=torch.float64) -> torch.Tensor:
    """Blurry noise and its contrast, each picture its own: (count, 3, height, width) in [0, 1]."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, 5, 6, generator=generator, dtype=torch.float64)
    fine = torch.rand(count, 3, height, width, generator=generator, dtype=torch.float64)
    coarse = torch.nn.functional.interpolate(coarse, size=(height, width), mode="bilinear")
    return (0.8 * coarse + 0.2 * fine).to(dtype)


def noisy(rgb: torch.Tensor, seed: int = 1) -> torch.Tensor:
    """More noise from picture to picture: the first has little, the last a lot."""
    noise = torch.randn(rgb.shape, generator=torch.Generator().manual_seed(seed), dtype=rgb.dtype)
    return (rgb + noise * torch.linspace(0.02, 0.3, len(rgb), dtype=rgb.dtype).view(-1, 1, 1, 1)).clamp(0, 1)


def last(x: torch.Tensor) -> np.ndarray:
    """One picture (3, H, W) as scikit-image wants it, (H, W, 3)."""
    return x.movedim(0, -1).numpy()


def colours(*rows, dtype=torch.float64) -> torch.Tensor:
    """Lab or rgb colours of three numbers each → (1, 3, 1, N)."""
    return torch.tensor(rows, dtype=dtype).T[None, :, None]


def random_lab(count: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return color.rgb_to_lab(torch.rand(1, 3, 1, count, generator=generator, dtype=torch.float64))


# Scores of pictures


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.float64, 1e-9)])
def test_psnr_is_that_of_scikit_image_and_kornia(dtype, tolerance):
    truth = pictures()
    rgb = noisy(truth)
    got = metrics.psnr(rgb.to(dtype), truth.to(dtype))
    assert got.shape == (3,)
    assert got[0] > got[1] > got[2]
    for i in range(3):
        scikit = skimage.metrics.peak_signal_noise_ratio(last(truth[i]), last(rgb[i]), data_range=1)
        assert got[i].item() == pytest.approx(scikit, abs=tolerance)
        assert got[i].item() == pytest.approx(kornia.metrics.psnr(rgb[i], truth[i], 1.0).item(), abs=tolerance)


def test_psnr_of_a_known_error_and_of_none():
    truth = torch.full((2, 3, 4, 4), 0.5, dtype=torch.float64)
    rgb = truth.clone()
    rgb[1] += 0.1
    assert metrics.psnr(rgb, truth).tolist() == [math.inf, pytest.approx(20)]


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-9)])
@pytest.mark.parametrize("size", [(24, 31), (11, 11), (11, 40)])
def test_ssim_is_that_of_scikit_image_and_kornia(dtype, tolerance, size):
    truth = pictures(3, *size)
    rgb = noisy(truth)
    got = metrics.ssim(rgb.to(dtype), truth.to(dtype))
    assert got.shape == (3,)
    assert got.dtype == dtype
    assert got[0] > got[1] > got[2]
    kornia_map = kornia.metrics.ssim(rgb, truth, 11, eps=0.0, padding="valid")
    for i in range(3):
        scikit = skimage.metrics.structural_similarity(
            last(rgb[i]),
            last(truth[i]),
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            data_range=1,
            channel_axis=-1,
        )
        assert got[i].item() == pytest.approx(scikit, abs=tolerance)
        assert got[i].item() == pytest.approx(kornia_map[i].mean().item(), abs=tolerance)


def test_ssim_of_equal_pictures_is_one_and_of_negatives_is_below_zero():
    rgb = pictures()
    assert torch.allclose(metrics.ssim(rgb, rgb), torch.ones(3, dtype=torch.float64), rtol=0, atol=1e-12)
    flat = torch.full((1, 3, 16, 16), 0.3)  # no variance: where a careless formula divides by zero
    assert metrics.ssim(flat, flat).item() == pytest.approx(1, abs=1e-6)
    checks = (torch.arange(16)[:, None] + torch.arange(16)) % 2.0
    assert metrics.ssim(checks.expand(1, 3, 16, 16), 1 - checks.expand(1, 3, 16, 16)).item() < -0.9


def test_colorfulness_by_hand_is_signed():
    red = torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1).expand(1, 3, 4, 4)
    assert metrics.colorfulness(red).item() == pytest.approx(0.3 * math.hypot(255, 127.5), abs=1e-3)  # one colour: no spread
    red_and_green = red.clone()
    red_and_green[:, :, :, 2:] = torch.tensor([0.0, 1.0, 0.0]).view(3, 1, 1)
    # rg is ±255 with mean 0 and σ 255, yb is 127.5 everywhere. With |R − G| the σ would be 0 and the score 85.5.
    assert metrics.colorfulness(red_and_green).item() == pytest.approx(255 + 0.3 * 127.5, abs=1e-3)


def test_colorfulness_is_the_papers_formula_on_each_picture():
    rgb = pictures()
    got = metrics.colorfulness(rgb)
    assert got.shape == (3,)
    for i in range(3):
        r, g, b = 255 * rgb[i].numpy()
        rg, yb = r - g, (r + g) / 2 - b
        assert got[i].item() == pytest.approx(np.hypot(rg.std(), yb.std()) + 0.3 * np.hypot(rg.mean(), yb.mean()), abs=1e-9)


def test_grey_pictures_have_no_colour():
    grey = pictures()[:, :1].expand(-1, 3, -1, -1)
    assert torch.equal(metrics.colorfulness(grey), torch.zeros(3, dtype=torch.float64))
    assert torch.equal(metrics.mean_chroma(torch.zeros(2, 2, 3, 3)), torch.zeros(2))


def test_mean_chroma_is_in_lab_units_and_a_mean_of_lengths():
    ab = torch.tensor([[[[30.0, -30.0]], [[40.0, -40.0]]], [[[0.0, 10.0]], [[0.0, 0.0]]]]) / 110  # (2, 2, 1, 2)
    assert metrics.mean_chroma(ab).tolist() == pytest.approx([50, 5])  # not 0 for the two that cancel


# ΔE


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_delta_e2000_gives_the_34_published_values_in_either_order(dtype):
    table = torch.tensor([float(x) for x in SHARMA.split()], dtype=torch.float64).view(34, 7)
    lab1, lab2 = colours(*table[:, :3].tolist(), dtype=dtype), colours(*table[:, 3:6].tolist(), dtype=dtype)
    for one, other in ((lab1, lab2), (lab2, lab1)):
        assert (metrics.delta_e2000(one, other).flatten() - table[:, 6]).abs().max() < 1e-4


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-3), (torch.float64, 1e-9)])
@pytest.mark.parametrize(
    ("ours", "scikit"),
    [(metrics.delta_e76, skimage.color.deltaE_cie76), (metrics.delta_e2000, skimage.color.deltaE_ciede2000)],
)
def test_delta_e_is_that_of_scikit_image(ours, scikit, dtype, tolerance):
    far, near = random_lab(50_000, seed=0), random_lab(50_000, seed=1)
    near = torch.cat([near[..., :25_000], far[..., 25_000:] + 0.05 * near[..., 25_000:]], dim=3)  # half of them close by
    lab1, lab2 = far.reshape(2, 3, 25, -1), near.reshape(2, 3, 25, -1)
    got = ours(lab1.to(dtype), lab2.to(dtype))
    assert got.shape == (2, 1, 25, 1000)
    assert got.dtype == dtype
    expected = scikit(lab1.numpy(), lab2.numpy(), channel_axis=1)
    assert np.abs(got[:, 0].numpy() - expected).max() < tolerance


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("delta_e", [metrics.delta_e76, metrics.delta_e2000])
def test_delta_e_has_finite_gradients_everywhere(delta_e, dtype):
    special = [(0, 0, 0), (100, 0, 0), (50, 0, 0), (50, 1e-21, -1e-21), (50, 1e-12, 0), (50, 0, -1e-6)]  # greys, and nearly
    special += [(50, 60, 0), (50, -60, 0), (50, 0, 60), (50, 0, -60), (32, 79, -108), (97, -22, 94)]  # opposites, sRGB's ends
    generator = torch.Generator().manual_seed(0)
    special += (torch.rand(20, 3, generator=generator) * torch.tensor([100, 200, 200]) - torch.tensor([0, 100, 100])).tolist()
    n = len(special)
    lab1 = colours(*[c for c in special for _ in range(n)], dtype=dtype).requires_grad_()  # every pair, the equal ones too
    lab2 = colours(*special * n, dtype=dtype).requires_grad_()
    distance = delta_e(lab1, lab2)
    equal = torch.eye(n, dtype=torch.bool).flatten()
    assert (distance.flatten()[equal] == 0).all()
    assert (distance.flatten()[~equal] > 0).all()
    grey = torch.linalg.vector_norm(lab1[:, 1:], dim=1).flatten() < 1e-9
    for slope in torch.autograd.grad(distance.sum(), (lab1, lab2)):
        assert slope.isfinite().all()
        assert (slope.abs().sum(1).flatten()[~equal & ~grey & ~grey.view(n, n).T.flatten()] > 0).all()


@pytest.mark.parametrize("delta_e", [metrics.delta_e76, metrics.delta_e2000])
def test_delta_e_gradients_are_right(delta_e):
    pair = (random_lab(50, seed=2).requires_grad_(), random_lab(50, seed=3).requires_grad_())
    assert torch.autograd.gradcheck(delta_e, pair, eps=1e-6)


# Everything at once


def test_measure_scores_the_picture_that_is_shown():
    truth = pictures(seed=4)
    L, true_ab = color.encode(truth)
    ab = 0.5 * true_ab + 0.05
    got = metrics.measure(L, ab, true_ab)
    assert list(got) == ["psnr", "ssim", "delta_e2000", "delta_e76", "colorfulness", "chroma"]
    shown = color.decode(L, color.fit_gamut(L, ab)[0]).clamp(0, 1)
    for i in range(3):
        lab1, lab2 = skimage.color.rgb2lab(last(shown[i])), skimage.color.rgb2lab(last(truth[i]))
        expected = {
            "psnr": skimage.metrics.peak_signal_noise_ratio(last(truth[i]), last(shown[i]), data_range=1),
            "ssim": metrics.ssim(shown, truth)[i].item(),
            "delta_e2000": skimage.color.deltaE_ciede2000(lab1, lab2).mean(),
            "delta_e76": skimage.color.deltaE_cie76(lab1, lab2).mean(),
            "colorfulness": metrics.colorfulness(shown)[i].item(),
            "chroma": np.hypot(lab1[..., 1], lab1[..., 2]).mean(),
        }
        for name, value in expected.items():
            assert got[name].shape == (3,)
            assert got[name][i].item() == pytest.approx(value, abs=1e-3), name


def test_measure_fits_the_prediction_to_the_gamut_and_keeps_no_gradient():
    L, true_ab = color.encode(pictures(dtype=torch.float32))
    wild = (4 * true_ab).requires_grad_()
    fitted, share = color.fit_gamut(L, wild.detach())
    assert share > 0.2
    got, expected = metrics.measure(L, wild, true_ab), metrics.measure(L, fitted, true_ab)
    for name in got:
        assert not got[name].requires_grad
        assert torch.equal(got[name], expected[name]), name
    assert got["chroma"].max() < 135  # blue's, the most that sRGB has
    L, true_ab = color.encode(torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64).view(1, 3, 1, 1).expand(1, 3, 11, 11))
    assert metrics.measure(L, true_ab * (1 + 2e-5), true_ab)["psnr"] > 200  # too red by less than shows: clamped, not counted


def test_measure_of_a_picture_does_not_depend_on_its_batch():
    L, true_ab = color.encode(pictures())
    together = metrics.measure(L, 2 * true_ab, true_ab)
    for i in range(3):
        for name, alone in metrics.measure(L[i : i + 1], 2 * true_ab[i : i + 1], true_ab[i : i + 1]).items():
            assert together[name][i].item() == pytest.approx(alone.item(), rel=1e-3), name


def test_measure_of_the_truth_and_of_grey():
    L, true_ab = color.encode(pictures(dtype=torch.float32))
    truth, grey = metrics.measure(L, true_ab, true_ab), metrics.measure(L, metrics.grey(L), true_ab)
    assert (truth["psnr"] == math.inf).all()
    assert torch.allclose(truth["ssim"], torch.ones(3))
    assert truth["delta_e76"].tolist() == truth["delta_e2000"].tolist() == [0, 0, 0]
    assert torch.allclose(truth["chroma"], metrics.mean_chroma(true_ab))
    assert (grey["colorfulness"] < 0.05).all()
    assert grey["chroma"].tolist() == [0, 0, 0]
    assert torch.allclose(grey["delta_e76"], truth["chroma"])  # with the right L*, what is missing is the chroma


# Controls


def training_batches(count: int = 4):
    """ab is a bow over L* with noise around it: 0 for no level, and not the mean either."""
    generator = torch.Generator().manual_seed(0)
    for _ in range(count):
        L = 2 * torch.rand(5, 1, 16, 16, generator=generator) - 1
        bow = torch.cat([0.3 * (1 - L**2), 0.1 + 0.2 * L], dim=1)
        yield L, bow + 0.05 * torch.randn(5, 2, 16, 16, generator=generator)


def test_the_controls_stand_in_the_order_of_what_they_see():
    controls = [metrics.grey, metrics.MeanAb.fit(training_batches()), metrics.Lookup.fit(training_batches())]
    (L, true_ab) = list(training_batches(5))[-1]  # a batch that none of them was fitted to
    for control in controls:
        assert control(L).shape == true_ab.shape
        assert control(L).dtype == true_ab.dtype
    errors = [(control(L) - true_ab).square().mean().item() for control in controls]
    assert errors[0] > 1.5 * errors[1] > 2 * errors[2]
    assert errors[2] == pytest.approx(0.05**2, rel=0.1)  # the noise alone is left
    distance = [metrics.measure(L, control(L), true_ab)["delta_e76"].mean() for control in controls]
    assert distance[0] > distance[1] > distance[2]


def test_grey_is_no_colour_at_all():
    L = torch.rand(2, 1, 3, 4, dtype=torch.float64)
    assert torch.equal(metrics.grey(L), torch.zeros(2, 2, 3, 4, dtype=torch.float64))


def test_mean_ab_is_the_mean_over_all_pixels_of_all_batches():
    small, large = torch.full((1, 2, 1, 1), 0.5), torch.zeros(3, 2, 1, 1)
    large[:, 1] = 0.1
    mean = metrics.MeanAb.fit([(torch.zeros(1, 1, 1, 1), small), (torch.ones(3, 1, 1, 1), large)])
    got = mean(torch.rand(2, 1, 2, 3))
    assert got.shape == (2, 2, 2, 3)
    assert torch.allclose(got[:, 0], torch.tensor(0.125))  # a pixel counts once, whatever its batch's size
    assert torch.allclose(got[:, 1], torch.tensor(0.2))


def test_lookup_recovers_a_function_of_lightness():
    L = (torch.arange(101.0).view(1, 1, 1, -1) / 50 - 1).repeat(2, 1, 3, 1)
    ab = torch.cat([torch.sin(5 * L) / 2, torch.cos(7 * L) / 3], dim=1)
    lookup = metrics.Lookup.fit([(L, ab)])
    assert torch.allclose(lookup(L), ab, rtol=0, atol=1e-6)
    half_a_unit_off = L + 0.49 / 50
    assert torch.allclose(lookup(half_a_unit_off), ab, rtol=0, atol=1e-6)
    assert not torch.allclose(lookup(L + 0.51 / 50), ab, rtol=0, atol=1e-3)
    assert lookup(L.double()).dtype == torch.float64
    assert torch.equal(lookup(torch.full((1, 1, 1, 1), 1.2)), ab[:1, :, :1, 100:])  # beyond white is white


def test_levels_never_seen_take_the_mean():
    L = torch.tensor([-1.0, -1.0, 1.0]).view(3, 1, 1, 1)
    ab = torch.tensor([0.1, 0.3, 0.5]).view(3, 1, 1, 1).repeat(1, 2, 1, 1)
    lookup = metrics.Lookup.fit([(L, ab)])
    got = lookup(torch.tensor([-1.0, 0.0, 1.0]).view(1, 1, 1, 3))
    assert got[0, 0, 0].tolist() == pytest.approx([0.2, 0.3, 0.5])  # 0.3: of the pixels, not of the two levels


@pytest.mark.parametrize("control", [metrics.MeanAb, metrics.Lookup])
def test_fitting_batch_by_batch_is_fitting_all_at_once(control):
    everything = tuple(torch.cat(parts) for parts in zip(*training_batches(), strict=True))
    assert torch.allclose(control.fit(training_batches()).table, control.fit([everything]).table, rtol=0, atol=1e-7)


def test_fit_leaves_no_graph_behind():
    L, ab = next(training_batches())
    lookup = metrics.Lookup.fit([(L.requires_grad_(), ab.requires_grad_())])
    assert not lookup.table.requires_grad


@pytest.mark.parametrize("control", [metrics.MeanAb, metrics.Lookup])
def test_fit_says_what_is_wrong_with_its_batches(control):
    used_up = training_batches()
    list(used_up)
    for nothing in ([], used_up, [(torch.zeros(0, 1, 4, 4), torch.zeros(0, 2, 4, 4))]):
        with pytest.raises(ValueError, match=rf"{control.__name__}.fit needs at least one .*read only once"):
            control.fit(nothing)
    with pytest.raises(ValueError, match="same batch and picture size"):
        control.fit([(torch.zeros(1, 1, 4, 4), torch.zeros(1, 2, 4, 5))])


def test_shuffled_gives_every_picture_anothers_colours():
    L, ab = color.encode(pictures(5, 16, 16))
    swapped = metrics.shuffled(ab)
    assert all(any(torch.equal(swapped[i], ab[j]) for j in range(5) if j != i) for i in range(5))
    assert torch.equal(swapped.sum((2, 3)).sort(0).values, ab.sum((2, 3)).sort(0).values)  # all the same colours in all
    assert (metrics.measure(L, swapped, ab)["delta_e76"] > 5).all()
    with pytest.raises(ValueError, match=r"at least two pictures.*\(1, 2, 16, 16\)"):
        metrics.shuffled(ab[:1])


# Intervals


def test_the_interval_covers_the_true_mean_about_as_often_as_it_says():
    for confidence, lowest, highest in ((0.95, 0.90, 0.99), (0.5, 0.40, 0.60)):
        covered = 0
        for repeat in range(200):
            scores = torch.empty(50).exponential_(generator=torch.Generator().manual_seed(repeat))  # skewed, of mean 1
            mean, low, high = intervals.bootstrap(scores, resamples=1000, seed=repeat, confidence=confidence)
            assert low < mean < high
            covered += low < 1 < high
        assert lowest <= covered / 200 <= highest


def test_the_interval_is_that_of_scipy():
    scores = torch.empty(80, dtype=torch.float64).exponential_(generator=torch.Generator().manual_seed(0))
    got = intervals.bootstrap(scores)
    scipys = scipy.stats.bootstrap(
        (scores.numpy(),), np.mean, n_resamples=10_000, method="percentile", rng=np.random.default_rng(0)
    ).confidence_interval
    width = scipys.high - scipys.low
    assert got.mean == pytest.approx(scores.mean().item(), abs=1e-12)
    assert got.low == pytest.approx(scipys.low, abs=0.03 * width)
    assert got.high == pytest.approx(scipys.high, abs=0.03 * width)


def test_two_scores_have_three_possible_means():
    scores = torch.tensor([0.0, 1.0])  # means 0, ½, 1 with probabilities ¼, ½, ¼
    assert intervals.bootstrap(scores) == (0.5, 0.0, 1.0)
    assert intervals.bootstrap(scores, confidence=0.4) == (0.5, 0.5, 0.5)


def test_pairing_matters():
    generator = torch.Generator().manual_seed(0)
    difficulty = 10 * torch.randn(100, generator=generator)
    a, b = (difficulty + torch.randn(100, generator=generator) + better for better in (1.0, 0.0))
    paired = intervals.paired_bootstrap(a, b)
    unpaired = intervals.paired_bootstrap(a, b[torch.randperm(100, generator=generator)])
    assert paired.mean == pytest.approx((a - b).mean().item(), abs=1e-5)
    assert paired.low > 0  # the difference is seen,
    assert unpaired.low < 0 < unpaired.high  # and is lost among easy and hard pictures when pairs are mixed up
    assert paired.high - paired.low < 0.2 * (unpaired.high - unpaired.low)
    assert intervals.paired_bootstrap(b, a).mean == pytest.approx(-paired.mean)


def test_the_same_seed_gives_the_same_numbers():
    scores = torch.rand(30, generator=torch.Generator().manual_seed(0))
    before = torch.random.get_rng_state()
    first = intervals.bootstrap(scores)
    assert intervals.bootstrap(scores) == first
    assert intervals.bootstrap(scores, seed=1) != first
    assert intervals.paired_bootstrap(scores, torch.zeros(30)) == first
    dials = {"resamples": 500, "seed": 3, "confidence": 0.8}
    assert intervals.paired_bootstrap(scores, torch.zeros(30), **dials) == intervals.bootstrap(scores, **dials) != first
    assert torch.equal(torch.random.get_rng_state(), before)  # nobody else's random numbers are used up


def test_memory_stays_small_with_many_pictures(monkeypatch):
    drawn = []
    randint = torch.randint
    monkeypatch.setattr(torch, "randint", lambda n, shape, **given: drawn.append(shape) or randint(n, shape, **given))
    scores = torch.rand(10_000, generator=torch.Generator().manual_seed(0))
    got = intervals.bootstrap(scores, resamples=250)
    assert drawn == [(100, 10_000), (100, 10_000), (50, 10_000)]
    assert got.high - got.low == pytest.approx(2 * 1.96 * 0.2887 / 100, rel=0.25)  # σ of a uniform, by √n


# Doors


@pytest.mark.parametrize("score", [metrics.psnr, metrics.ssim, metrics.delta_e76, metrics.delta_e2000])
def test_pairs_of_pictures_must_match(score):
    good = torch.rand(2, 3, 16, 16)
    for bad in (good[:1], good[..., :15], good.double()):
        with pytest.raises(ValueError, match=r"same shape and dtype, got \(2, 3, 16, 16\) torch.float32 and"):
            score(good, bad)
    for bad in (good[0], good[:, :2], (good * 255).byte(), good.numpy()):
        with pytest.raises(ValueError, match=r"tensor of shape \(B, 3, H, W\), got"):
            score(bad, good)
        with pytest.raises(ValueError, match=r"tensor of shape \(B, 3, H, W\), got"):
            score(good, bad)
    with pytest.raises(ValueError, match=r"at least one picture.*got shape \(0, 3, 16, 16\)"):
        score(good[:0], good[:0])


def test_single_pictures_are_checked_too():
    for score, channels in ((metrics.colorfulness, 3), (metrics.mean_chroma, 2)):
        with pytest.raises(ValueError, match=rf"\(B, {channels}, H, W\), got"):
            score(torch.zeros(channels, 4, 4))
        with pytest.raises(ValueError, match=r"at least one picture of at least one pixel"):
            score(torch.zeros(1, channels, 0, 4))
    for control in (metrics.grey, metrics.MeanAb(torch.zeros(1, 2)), metrics.Lookup(torch.zeros(101, 2))):
        with pytest.raises(ValueError, match=r"L must be .*\(B, 1, H, W\), got"):
            control(torch.zeros(1, 2, 4, 4))


def test_ssim_says_that_a_picture_is_too_small():
    with pytest.raises(ValueError, match=r"at least 11 × 11 pixels, got shape \(1, 3, 10, 20\)"):
        metrics.ssim(torch.zeros(1, 3, 10, 20), torch.zeros(1, 3, 10, 20))


def test_measure_says_which_of_its_three_does_not_match():
    L, ab = torch.zeros(2, 1, 16, 16), torch.zeros(2, 2, 16, 16)
    with pytest.raises(ValueError, match="ab and true_ab must have the same shape"):
        metrics.measure(L, ab[:1], ab)
    with pytest.raises(ValueError, match="L and ab must have the same batch"):
        metrics.measure(L[:1], ab, ab)


@pytest.mark.parametrize("bad", [torch.rand(5, 1), torch.rand(1), torch.tensor(0.5), [0.1, 0.2], np.ones(3)])
def test_bootstrap_wants_a_score_for_each_picture(bad):
    with pytest.raises(ValueError, match=r"scores must be a tensor of shape \(n,\).*at least two pictures, got"):
        intervals.bootstrap(bad)


def test_bootstrap_refuses_what_has_no_interval():
    with pytest.raises(ValueError, match="2 of 3 scores are not finite.*PSNR"):
        intervals.bootstrap(torch.tensor([1.0, math.inf, math.nan]))
    for dial in ({"confidence": 95}, {"confidence": 0.0}, {"resamples": 0}):
        with pytest.raises(ValueError, match="resamples of at least 1 and a confidence in"):
            intervals.bootstrap(torch.rand(5), **dial)
    for a, b in ((torch.rand(5), torch.rand(4)), (torch.rand(5), torch.rand(5, 1)), (torch.rand(5), 0.5), ([1.0], [2.0])):
        with pytest.raises(ValueError, match="scores of the same pictures"):
            intervals.paired_bootstrap(a, b)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_a_gpu_gives_the_same_scores():
    L, true_ab = color.encode(pictures(dtype=torch.float32))
    control = metrics.Lookup.fit([(L.cuda(), true_ab.cuda())])
    on_cpu, on_gpu = metrics.measure(L, control(L), true_ab), metrics.measure(L.cuda(), control(L.cuda()), true_ab.cuda())
    for name, value in on_gpu.items():
        assert value.is_cuda
        assert torch.allclose(value.cpu(), on_cpu[name], rtol=1e-3), name
    assert intervals.bootstrap(on_gpu["psnr"]).mean == pytest.approx(on_cpu["psnr"].mean().item(), rel=1e-3)


def test_the_examples_in_the_docstrings():
    assert doctest.testmod(metrics).attempted > 0
    assert doctest.testmod(metrics).failed == 0
