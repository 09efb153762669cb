"""Figures: JPEG bytes with words beside them, nothing left behind."""

import io
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from colorlab import plot


def opened(drawing):
    return Image.open(io.BytesIO(drawing.jpeg))


def test_pictures_are_shown_in_order_with_their_chroma_in_words_too():
    red, grey = torch.tensor([1.0, 0, 0]).view(3, 1, 1).expand(3, 40, 60), torch.full((3, 40, 60), 0.5)
    drawing = plot.pictures({"grey": grey, "true": red}, alt="Two squares")
    assert drawing.alt == "Two squares (grey: mean chroma 0; true: mean chroma 105.)"
    pixels = np.asarray(opened(drawing)).astype(int)
    reddish = (pixels[..., 0] - pixels[..., 1] > 150).any(0)
    half = len(reddish) // 2
    assert not reddish[:half].any()
    assert reddish[half:].mean() > 0.6


def test_columns_make_rows():
    items = {str(n): torch.rand(3, 20, 20) for n in range(4)}
    wide, square = (opened(plot.pictures(items, "x", columns=n)).size for n in (4, 2))
    assert wide[0] > 1.8 * square[0]
    assert square[1] > 1.8 * wide[1]


def test_a_triple_says_how_far_off_the_prediction_is():
    L, true_ab = torch.zeros(2, 1, 16, 16), torch.full((2, 2, 16, 16), 0.2)
    drawing = plot.triple(L, torch.zeros_like(true_ab), true_ab, "Two pictures")
    assert drawing.alt.count("grey: mean chroma 0") == 2
    assert "1: predicted, ΔE2000" in drawing.alt
    assert "2: true: mean chroma 31" in drawing.alt


def test_curves_have_names_units_and_an_end_in_words():
    drawing = plot.curves({"L1": [3.0, 2, 1], "L2": [9.0, 4, 1.5]}, "step", "loss", "Two losses fall", log=True)
    assert drawing.alt == "Two losses fall (L1 ends at 1; L2 ends at 1.5.)"
    assert opened(drawing).format == "JPEG"
    assert np.asarray(opened(drawing)).std() > 5


def test_points_lie_side_by_side_on_the_same_axes_with_their_numbers_in_words():
    middle, corner = torch.zeros(5, 2), torch.full((3, 2), 60.0)
    one = plot.points({"made": corner}, "A corner", limits=(-80, 80))
    assert one.alt == "A corner (made: 3 points, middle (60, 60).)"
    two = plot.points({"made": corner, "late": middle}, "Two sets", under={"real": middle}, limits=(-80, 80))
    assert two.alt == "Two sets (made: 3 points, middle (60, 60); late: 5 points, middle (0, 0).)"
    assert opened(two).width > 1.5 * opened(one).width
    bare = plot.points({"made": corner}, "A corner", limits=(-80, 80), under={"real": torch.full((1, 2), -60.0)})
    differs = (np.asarray(opened(bare)).astype(int) - np.asarray(opened(one)))[100:, :150].min()  # lower left: a dot, no legend
    assert differs < -50
    assert plot.points({"x": middle}, "A line", x_label="L").alt == "A line (x: 5 points.)"


def test_what_a_notebook_is_given():
    data, meta = plot.pictures({"x": torch.rand(3, 16, 16)}, "A square")._repr_mimebundle_()
    assert data["text/plain"] == meta["image/jpeg"]["alt"]
    assert data["image/jpeg"][:2] == b"\xff\xd8"
    assert len(data["image/jpeg"]) < 60_000


def test_nothing_is_left_to_pyplot():
    plot.pictures({"x": torch.rand(3, 16, 16)}, "A square")
    assert "matplotlib.pyplot" not in sys.modules or not sys.modules["matplotlib.pyplot"].get_fignums()


def test_errors_say_what_was_expected():
    with pytest.raises(ValueError, match="at least one picture"):
        plot.pictures({}, "nothing")
    with pytest.raises(ValueError, match="'a' has 2 values for 3 places"):
        plot.curves({"a": [1, 2]}, "x", "y", "wrong", x=[1, 2, 3])
    with pytest.raises(ValueError, match="at least one set"):
        plot.points({}, "nothing")
    for shape in ((3,), (3, 3), (0, 2)):
        with pytest.raises(ValueError, match=r"'a' must hold points, \(n, 2\) with n ≥ 1"):
            plot.points({"a": torch.zeros(shape)}, "wrong")
