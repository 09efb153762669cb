"""ColorWorld keeps its word: what it declares about colour is what it draws, and its scores say what happened."""

import doctest
import math

import pytest
import torch

from colorlab import color, world
from colorlab.world import KINDS, NEAR, ColorWorld

BALLOON = [(0.4, (65.0, 45.0)), (0.35, (15.0, -65.0)), (0.25, (-50.0, 48.0))]


@pytest.fixture(scope="module")
def home():
    return ColorWorld(size=64, seed=0)


@pytest.fixture(scope="module")
def scenes(home):
    return home.sample(300, start=0)


def same(a, b):
    """Equal in every bit of every field."""
    return all(torch.equal(getattr(a, name), getattr(b, name)) for name in ("L", "ab", "object", "object_kind", "index"))


def constant(scenes, ab):
    """A prediction of one colour, (a*, b*) in Lab units, everywhere."""
    return (torch.tensor(ab).view(1, 2, 1, 1) / color.AB_SCALE).expand_as(scenes.ab)


def fill(home, scenes, answer):
    """A prediction that gives every pixel its kind's answer."""
    return (torch.tensor([answer(kind) for kind in KINDS])[scenes.kind.long()] / color.AB_SCALE).movedim(-1, 1)


def objects(scenes, kind):
    """The objects of a kind, one by one, without the scatter: (scene, number, mask of all its pixels)."""
    for i, number in enumerate(scenes.object):
        for k in number.unique().tolist():
            if scenes.object_kind[k] == KINDS.index(kind):
                yield i, k, number == k


def interior(mask):
    """A mask without its rim, (H, W) bool, by shifting; beyond the picture's edge nothing is rim."""
    padded = torch.nn.functional.pad(mask, (1, 1, 1, 1), value=True)
    height, width = mask.shape
    return torch.stack([padded[y : y + height, x : x + width] for y in range(3) for x in range(3)]).all(0)


def test_doctest():
    result = doctest.testmod(world)
    assert result.attempted >= 5
    assert result.failed == 0


# ---- scenes


@pytest.mark.parametrize("size", [16, 48, 64, 100])
def test_shapes_and_ranges(size):
    drawn = ColorWorld(size=size).sample(5)
    assert drawn.L.shape == (5, 1, size, size)
    assert drawn.ab.shape == (5, 2, size, size)
    assert drawn.rgb.shape == (5, 3, size, size)
    assert drawn.kind.shape == drawn.object.shape == (5, size, size)
    assert drawn.L.dtype == drawn.ab.dtype == torch.float32
    assert drawn.kind.dtype == drawn.object.dtype == torch.uint8
    assert drawn.L.abs().max() <= 1
    assert drawn.ab.abs().max() < 1
    assert 0 <= drawn.rgb.min() < 0.3 < 0.9 < drawn.rgb.max() <= 1
    assert drawn.L.is_contiguous()
    assert drawn.ab.is_contiguous()


def test_same_seed_same_bits_other_seed_other_scenes():
    a, b = ColorWorld(size=32, seed=7), ColorWorld(size=32, seed=7)
    first, second = a.sample(40), a.sample(40)
    assert same(first, b.sample(40))
    assert same(second, b.sample(40))
    assert not torch.equal(first.L, second.L)
    assert not torch.equal(first.L, ColorWorld(size=32, seed=8).sample(40).L)


def test_a_scene_depends_on_its_number_alone():
    one = ColorWorld(size=32).sample(50)
    other = ColorWorld(size=32)
    parts = [other.sample(1), other.sample(36), other.sample(13)]
    for name in ("L", "ab", "object", "index"):
        assert torch.equal(getattr(one, name), torch.cat([getattr(part, name) for part in parts]))
    resumed = ColorWorld(size=32)
    resumed.index = 37
    assert same(resumed.sample(13), parts[2])
    assert resumed.index == 50
    assert same(resumed.sample(36, start=1), parts[1])
    assert resumed.index == 50  # an explicit start leaves the counter alone


def test_every_scene_of_a_batch_is_another(scenes):
    assert len(torch.unique(scenes.L.flatten(1), dim=0)) == len(scenes.L)
    assert len(torch.unique(scenes.object.flatten(1), dim=0)) == len(scenes.L)


def test_another_size_is_the_same_picture():
    small, large = ColorWorld(size=48).sample(20), ColorWorld(size=96).sample(20)
    agree = []
    for corner in (0, 1):  # a small pixel's centre lies midway between two large pixels, and is as like the one as the other
        same_object = large.object[:, corner::2, corner::2] == small.object
        agree.append(same_object.float().mean().item())
        seen = large.ab[:, :, corner::2, corner::2].movedim(1, -1)[same_object]
        assert torch.equal(seen, small.ab.movedim(1, -1)[same_object])
    assert min(agree) > 0.9
    assert agree[0] == pytest.approx(agree[1], abs=0.01)


def test_every_kind_occurs_often(scenes):
    kinds = scenes.kind.flatten(1)
    for k, kind in enumerate(KINDS):
        assert (kinds == k).any(dim=1).float().mean() > 0.5, kind


def test_every_object_has_one_colour_and_it_is_declared(home):
    few = home.sample(40, start=0)
    for kind in KINDS:
        declared = torch.tensor([ab for _, ab in home.distribution(kind)]) / color.AB_SCALE
        for i, _, mask in objects(few, kind):
            seen = torch.unique(few.ab[i][:, mask], dim=1)
            assert seen.shape[1] == 1
            assert (declared == seen[:, 0]).all(dim=1).any()  # exactly, on its rim too


# ---- grey


@pytest.mark.parametrize("size", [16, 40, 64, 128])
def test_every_colour_exists(size):
    drawn = ColorWorld(size=size, seed=size).sample(200 if size < 128 else 60)
    assert color.fit_gamut(drawn.L, drawn.ab)[1] == 0


def test_every_kind_keeps_to_its_lightness_and_uses_it(home, scenes):
    lightness = (scenes.L[:, 0] + 1) * color.L_SCALE
    for k, kind in enumerate(KINDS):
        low, high = home.lightness(kind)
        seen = lightness[scenes.kind == k]
        assert low - 1e-3 <= seen.min(), kind
        assert seen.max() <= high + 1e-3, kind
        assert seen.std() > 0.05 * (high - low), kind  # shaded, not flat


def test_grey_names_the_kind(home, scenes):
    lightness = (scenes.L[:, 0] + 1) * color.L_SCALE
    bands = torch.tensor([home.lightness(kind) for kind in KINDS])
    fits = (lightness[..., None] >= bands[:, 0] - 1e-3) & (lightness[..., None] <= bands[:, 1] + 1e-3)  # (n, H, W, kinds)
    pair = (scenes.kind == KINDS.index("field")) | (scenes.kind == KINDS.index("grass"))
    assert torch.equal(fits.sum(dim=-1), 1 + pair.long())  # one kind fits each pixel; two fit field and grass
    assert fits.gather(-1, scenes.kind.long()[..., None]).all()


def test_furrows_tell_field_from_grass():
    rough, few = {}, ColorWorld().sample(60)
    for kind in ("field", "grass"):
        step = [few.L[i, 0].diff(dim=1).abs()[interior(mask)[:, 1:]] for i, _, mask in objects(few, kind)]
        rough[kind] = torch.cat(step).mean()
    assert rough["field"] > 2 * rough["grass"]


def test_recolor_touches_colour_alone(home, scenes):
    again = home.recolor(scenes, seed=1)
    assert torch.equal(again.L, scenes.L)
    assert torch.equal(again.object, scenes.object)
    assert torch.equal(again.index, scenes.index)
    changed = (again.ab != scenes.ab).any(dim=1)
    for k, kind in enumerate(KINDS):
        here = changed[scenes.kind == k].float().mean().item()
        assert (here > 0.2) == (len(home.distribution(kind)) > 1), kind
    assert same(home.recolor(scenes, seed=1), again)
    assert not torch.equal(home.recolor(scenes, seed=2).ab, again.ab)
    assert not torch.equal(home.recolor(scenes, seed=0).ab, scenes.ab)


def test_lightness_does_not_depend_on_the_distribution(scenes):
    other = ColorWorld(distributions={"balloon": [(1.0, (65.0, 45.0))], "roof": [(1.0, (0.0, 0.0))]}).sample(300)
    assert torch.equal(other.L, scenes.L)
    assert torch.equal(other.object, scenes.object)
    assert not torch.equal(other.ab, scenes.ab)


# ---- distributions


def test_balloons_are_as_declared(home):
    assert home.distribution("balloon") == BALLOON
    assert home.mean("balloon") == (18.75, 7.25)
    assert home.median("balloon") == (15.0, 45.0)


def test_neither_mean_nor_median_of_a_balloon_can_look_right(home):
    for answer in (home.mean("balloon"), home.median("balloon")):
        assert min(math.dist(answer, ab) for _, ab in home.distribution("balloon")) >= 25


def test_two_colours_the_median_is_the_likelier(home):
    (p, likelier), (q, other) = home.distribution("roof")
    assert (p, q) == (0.6, 0.4)
    assert home.median("roof") == likelier
    assert home.mean("roof") == pytest.approx([0.6 * a + 0.4 * b for a, b in zip(likelier, other, strict=True)])


@pytest.mark.parametrize("kind", KINDS)
def test_mean_and_median_against_brute_force(home, kind):
    p, ab = (torch.tensor(x, dtype=torch.float64) for x in zip(*home.distribution(kind), strict=True))
    assert p.sum() == 1
    grid = torch.arange(-80, 80.001, 0.25, dtype=torch.float64)  # every colour of the world is a multiple of 0.25
    for channel in (0, 1):
        off = grid[:, None] - ab[:, channel]
        squared, absolute = (off**2 @ p), (off.abs() @ p)
        assert abs(grid[squared.argmin()] - home.mean(kind)[channel]) <= 0.125
        at_median = (home.median(kind)[channel] - ab[:, channel]).abs() @ p
        assert at_median <= absolute.min() + 1e-9


def test_the_median_of_a_tie_is_the_middle():
    tied = ColorWorld(distributions={"roof": [(0.5, (40.0, 30.0)), (0.5, (0.0, -20.0))]})
    assert tied.median("roof") == (20.0, 5.0)
    three = ColorWorld(distributions={"tree": [(0.25, (-20.0, 20.0)), (0.25, (0.0, 0.0)), (0.5, (20.0, 30.0))]})
    assert three.median("tree") == (10.0, 25.0)


def test_colours_come_as_often_as_declared(home):
    """Pearson's chi-square over thousands of independent objects; the bound is passed by chance once in 10⁵."""
    many = ColorWorld(size=32, seed=3)
    drawn = many.sample(1500)
    bound = {1: 19.5, 2: 23.0}  # of the chi-square distribution with 1 and 2 degrees of freedom
    for kind, least in (("balloon", 2000), ("roof", 1500), ("tree", 2000), ("flower", 5000)):
        declared = many.distribution(kind)
        table = torch.tensor([ab for _, ab in declared]) / color.AB_SCALE
        number = (256 * torch.arange(1500).view(-1, 1, 1) + drawn.object)[drawn.kind == KINDS.index(kind)]
        pixel_ab = drawn.ab.movedim(1, -1)[drawn.kind == KINDS.index(kind)]
        choice = (pixel_ab[:, None] - table).norm(dim=2).argmin(dim=1)
        of_object = torch.full((256 * 1500,), -1).index_copy_(0, number, choice)
        seen = torch.stack([(of_object == k).sum() for k in range(len(declared))]).double()
        assert seen.sum() >= least, kind
        expected = seen.sum() * torch.tensor([p for p, _ in declared], dtype=torch.float64)
        assert ((seen - expected) ** 2 / expected).sum() < bound[len(declared) - 1], kind


def test_objects_of_one_scene_draw_independently(home):
    drawn = ColorWorld(size=16, seed=5).sample(3000)
    red = drawn.ab.new_tensor([65.0, 45.0]) / color.AB_SCALE
    kinds = drawn.object_kind.tolist()
    left, _, right = (k for k, kind in enumerate(kinds) if kind == KINDS.index("balloon"))
    is_red = (drawn.ab.movedim(1, -1) == red).all(dim=-1)

    def of(number):
        mask = drawn.object == number
        return mask.flatten(1).any(dim=1), (mask & is_red).flatten(1).any(dim=1)

    (there, a), (there_too, b) = of(left), of(right)
    both = there & there_too
    assert both.sum() > 600
    assert abs((a & b)[both].float().mean() - 0.16) < 5 * math.sqrt(0.16 * 0.84 / both.sum())


@pytest.mark.parametrize(("p", "expected"), [(0.0, {(15.0, -65.0)}), (1.0, {(65.0, 45.0)}), (0.5, {(65.0, 45.0), (15.0, -65.0)})])
def test_a_slider_from_one_colour_to_the_other(p, expected):
    turned = ColorWorld(size=32, distributions={"balloon": [(p, (65.0, 45.0)), (1 - p, (15.0, -65.0))]})
    drawn = turned.sample(60)
    seen = drawn.ab.movedim(1, -1)[drawn.kind == KINDS.index("balloon")].unique(dim=0) * color.AB_SCALE
    assert {tuple(ab) for ab in seen.round().tolist()} == expected


def test_moving_a_probability_repaints_only_what_it_must():
    def reds(p):
        drawn = ColorWorld(size=32, distributions={"balloon": [(p, (65.0, 45.0)), (1 - p, (15.0, -65.0))]}).sample(100)
        return (drawn.kind == KINDS.index("balloon")) & (drawn.ab[:, 0] > 0.5)

    few, more = reds(0.3), reds(0.6)
    assert more[few].all()
    assert more.sum() > 1.5 * few.sum()


# ---- scores


@pytest.mark.parametrize("kind", KINDS)
def test_the_truth_scores_full_marks(home, scenes, kind):
    score = home.score(scenes, scenes.ab, kind)
    assert score.kind == kind
    assert score.objects >= 100
    assert score.near == 1
    assert sum(score.shares) == pytest.approx(1)
    assert score.true_shares == tuple(p for p, _ in home.distribution(kind))
    for share, p in zip(score.shares, score.true_shares, strict=True):
        assert abs(share - p) <= 4.5 * math.sqrt(p * (1 - p) / score.objects) + 1e-6
    assert score.chroma == pytest.approx(1)


def test_the_mean_is_perfect_for_l2_and_near_no_balloon(home, scenes):
    score = home.score(scenes, fill(home, scenes, home.mean), "balloon")
    assert score.near == 0
    assert score.shares == (0, 0, 0)
    assert score.delta_e_mean == pytest.approx(0, abs=1e-3)
    shares = home.score(scenes, scenes.ab).shares
    true_chroma = sum(share * math.hypot(*ab) for share, (_, ab) in zip(shares, BALLOON, strict=True))
    assert score.chroma == pytest.approx(math.hypot(18.75, 7.25) / true_chroma, rel=1e-4)


def test_the_median_is_near_no_balloon_and_paints_every_roof_the_likelier_colour(home, scenes):
    best = fill(home, scenes, home.median)
    assert home.score(scenes, best, "balloon").near == 0
    assert home.score(scenes, best, "balloon").delta_e_mean == pytest.approx(math.dist((15, 45), (18.75, 7.25)), abs=1e-3)
    assert home.score(scenes, best, "roof").shares == (1, 0)


def test_one_constant_colour_collapses_to_one_share(home, scenes):
    score = home.score(scenes, constant(scenes, (15.0, -65.0)))
    assert score.shares == (0, 1, 0)
    assert score.near == 1


@pytest.mark.parametrize(("distance", "near"), [(NEAR - 0.1, 1), (NEAR + 0.1, 0)])
def test_near_is_a_distance_of_twenty(home, scenes, distance, near):
    off = scenes.ab + torch.tensor([0.6, 0.8]).view(1, 2, 1, 1) * distance / color.AB_SCALE
    score = home.score(scenes, off, "roof")
    assert score.near == near
    assert sum(score.shares) == pytest.approx(near)


def test_half_the_chroma(home, scenes):
    assert home.score(scenes, scenes.ab / 2).chroma == pytest.approx(0.5)


def test_a_handmade_prediction_against_a_loop(home):
    drawn = home.sample(12, start=900)
    generator = torch.Generator().manual_seed(0)
    made = drawn.ab + 0.15 * torch.randn(12, 2, 1, 64, generator=generator)  # some objects come near, some do not
    for kind in ("balloon", "roof", "tree", "flower", "window"):
        guesses, truths = [], []
        for i, _, mask in objects(drawn, kind):
            inside = interior(mask)
            if inside.any():
                guesses.append((made[i][:, inside].double().mean(dim=1) * color.AB_SCALE).tolist())
                truths.append((drawn.ab[i][:, inside].double().mean(dim=1) * color.AB_SCALE).tolist())
        shares = [0.0] * len(home.distribution(kind))
        for guess in guesses:
            off = [math.dist(guess, ab) for _, ab in home.distribution(kind)]
            if min(off) <= NEAR:
                shares[off.index(min(off))] += 1 / len(guesses)
        score = home.score(drawn, made, kind)
        assert score.objects == len(guesses)
        assert score.shares == pytest.approx(shares, abs=1e-6)
        assert score.near == pytest.approx(sum(shares), abs=1e-6)
        chroma = sum(math.hypot(*ab) for ab in guesses) / sum(math.hypot(*ab) for ab in truths)
        assert score.chroma == pytest.approx(chroma, rel=1e-4)
        to_mean = sum(math.dist(ab, home.mean(kind)) for ab in guesses) / len(guesses)
        assert score.delta_e_mean == pytest.approx(to_mean, rel=1e-4)


def test_only_the_interior_counts(home, scenes):
    spoiled = scenes.ab.clone()
    inside = torch.stack([torch.stack([interior(number == k) for k in number.unique()]).any(0) for number in scenes.object[:20]])
    spoiled[:20].movedim(1, -1)[~inside] = 0.9  # every object's rim
    assert not torch.equal(spoiled, scenes.ab)
    assert home.score(scenes, spoiled).near == 1
    assert home.score(scenes, spoiled, "tree") == home.score(scenes, scenes.ab, "tree")


def test_a_colour_of_probability_zero_is_not_real():
    off = ColorWorld(size=32, distributions={"balloon": [(0.6, (65.0, 45.0)), (0.4, (15.0, -65.0)), (0.0, (-50.0, 48.0))]})
    drawn = off.sample(40)
    score = off.score(drawn, constant(drawn, (-50.0, 48.0)))
    assert score.near == 0
    assert score.shares == (0, 0, 0)
    assert score.true_shares == (0.6, 0.4, 0)


def test_a_prediction_may_carry_gradients_and_half_precision(home, scenes):
    full = home.score(scenes, scenes.ab.clone().requires_grad_())
    assert full == home.score(scenes, scenes.ab)
    half = home.score(scenes, scenes.ab.bfloat16())
    assert (half.near, half.shares) == (full.near, full.shares)


# ---- the doors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": 8}, "size must be a whole number of 16 or more, got 8"),
        ({"size": 64.0}, "size must be a whole number"),
        ({"seed": -1}, "seed must be a whole number of 0 or more, got -1"),
        ({"seed": True}, "seed must be a whole number"),
        ({"distributions": {"baloon": BALLOON}}, r"unknown kind 'baloon': choose one of sky, .*balloon"),
        ({"distributions": {"balloon": [(0.5, (65, 45)), (0.4, (15, -65))]}}, r"balloon .*sum to 1, got \[0.5 0.4\]"),
        ({"distributions": {"balloon": [(1.5, (65, 45)), (-0.5, (15, -65))]}}, "balloon must be 0 or more"),
        ({"distributions": {"balloon": [(float("nan"), (65, 45))]}}, "sum to 1"),
        ({"distributions": {"balloon": []}}, "sum to 1"),
        ({"distributions": {"balloon": [(0.5, (65, 45)), (0.5, (15, -75))]}}, r"lacks \[\[15.0, -75.0\]\].*lower the chroma"),
        ({"distributions": {"balloon": [(1, (float("nan"), 0))]}}, "sRGB lacks"),
        ({"distributions": {"balloon": [(1, (float("inf"), 0))]}}, "sRGB lacks"),
        ({"distributions": {"balloon": [(1.0, 65, 45)]}}, r"balloon must be given as \[\(probability"),
        ({"distributions": {"balloon": 3}}, "balloon must be given as"),
    ],
)
def test_a_world_that_cannot_be(arguments, message):
    with pytest.raises(ValueError, match=message):
        ColorWorld(**arguments)


def test_a_colour_must_exist_over_its_kinds_whole_lightness(home):
    low, high = home.lightness("balloon")
    blue = torch.tensor([15.0, -65.0]).view(1, 2, 1, 1) / color.AB_SCALE
    grey = torch.tensor([[low], [high + 2]]).view(2, 1, 1, 1) / color.L_SCALE - 1
    assert color.fit_gamut(grey[:1], blue)[1] == 0
    assert color.fit_gamut(grey[1:], blue)[1] == 1  # a little lighter and this blue is gone: why the band ends there
    ColorWorld(distributions={"roof": [(1.0, (45.0, 34.0))]})
    with pytest.raises(ValueError, match=r"wall goes from L\* 87.0 to 91.2"):
        ColorWorld(distributions={"wall": [(1.0, (45.0, 34.0))]})


@pytest.mark.parametrize("method", ["distribution", "lightness", "mean", "median"])
def test_unknown_kinds_are_answered_with_the_list(home, method):
    with pytest.raises(ValueError, match="unknown kind 'ballon': choose one of sky"):
        getattr(home, method)("ballon")


def test_what_cannot_be_drawn_or_scored(home, scenes):
    with pytest.raises(ValueError, match="n must be a whole number of 1 or more, got 0"):
        home.sample(0)
    with pytest.raises(ValueError, match="start must be"):
        home.sample(1, start=-1)
    with pytest.raises(ValueError, match="seed must be"):
        home.recolor(scenes, seed=1.5)
    with pytest.raises(ValueError, match="unknown kind"):
        home.score(scenes, scenes.ab, "dog")
    with pytest.raises(ValueError, match=r"ab must be a tensor of torch.Size\(\[300, 2, 64, 64\]\).*got torch.Size\(\[299, 2"):
        home.score(scenes, scenes.ab[1:])
    with pytest.raises(ValueError, match="ab must be a tensor"):
        home.score(scenes, scenes.ab.numpy())
    with pytest.raises(ValueError, match="ab must be a tensor"):
        home.score(scenes, None)
    tiny = ColorWorld(size=16)
    drawn = tiny.sample(2)
    with pytest.raises(ValueError, match="no window in these 2 scenes is large enough"):
        tiny.score(drawn, drawn.ab, "window")


def test_a_failed_draw_leaves_the_counter_alone():
    fresh = ColorWorld(size=16)
    fresh.sample(3)
    with pytest.raises(ValueError, match="n must be"):
        fresh.sample(-2)
    assert fresh.index == 3


def test_what_a_world_hands_out_is_not_the_world():
    mine = ColorWorld(size=16)
    mine.distribution("balloon").clear()
    assert mine.distribution("balloon") == BALLOON
    assert mine.kinds == KINDS
