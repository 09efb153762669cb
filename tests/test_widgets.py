"""Sliders: their functions at every value that matters, and the widgets that move them."""

import io

import ipywidgets
import numpy as np
import pytest
from PIL import Image

from colorlab import widgets

BEFORE, AFTER = np.full((20, 50, 3), 40, np.uint8), np.full((20, 50, 3), 200, np.uint8)


@pytest.fixture
def panel():
    return widgets.before_after(BEFORE, AFTER)


def test_wipe_runs_from_all_after_to_all_before(panel):
    share = panel.sliders["share"]
    shown = [(panel.draw(share=value) == 40).mean() for value in (share.low, 25, share.default, 75, share.high)]
    assert shown[0] == 0
    assert shown[-1] == 1
    assert shown == sorted(shown)
    assert shown[2] == pytest.approx(0.5, abs=0.03)


def test_drawing_changes_neither_picture(panel):
    first = panel.draw(share=30.0)
    panel.draw(share=80.0)
    assert np.array_equal(first, panel.draw(share=30.0))
    assert (BEFORE == 40).all()
    assert (AFTER == 200).all()


def test_a_moved_slider_redraws_one_picture_in_place(panel):
    box = panel.show()
    words, slider, picture, numbers = box.children
    assert "arrow keys" in words.value
    seen = [picture.value]
    for value in (0, 100):
        slider.value = value
        seen.append(picture.value)
    assert len(set(seen)) == 3
    assert box.children == (words, slider, picture, numbers)
    means = [np.asarray(Image.open(io.BytesIO(jpeg))).mean() for jpeg in seen[1:]]
    assert means == pytest.approx([200, 40], abs=2)


def test_sliders_are_labelled_with_a_unit(panel):
    slider = panel.show().children[1]
    assert isinstance(slider, ipywidgets.FloatSlider)
    assert slider.description == "grey (%)"
    assert (slider.min, slider.max, slider.value) == (0, 100, 50)


def test_large_pictures_are_reduced_to_what_a_screen_shows():
    panel = widgets.before_after(np.zeros((1500, 3000, 3), np.uint8), np.zeros((1500, 3000, 3), np.uint8))
    assert panel.draw(share=50).shape == (480, 960, 3)


def test_pictures_of_two_sizes_are_refused():
    with pytest.raises(ValueError, match="one size"):
        widgets.wipe(BEFORE, AFTER[:10], 0.5)


def test_pressed_buttons_make_a_string_of_moves_which_reset_clears():
    asked = []

    def draw(moves, bright):
        asked.append((moves, bright))
        return np.full((8, 8, 3), min(255, int(bright) + 4 * moves.count("D") + moves.count("G")), np.uint8)

    panel = widgets.Panel(
        draw, {"bright": widgets.Slider("brightness", 0, 50, 10, 1)}, "Press.", "A grey square.", (), buttons={"D": "D", "G": "G"}
    )
    assert panel.defaults() == {"bright": 10, "moves": ""}
    _, slider, row, _, _ = panel.show().children
    d, g, reset = row.children
    for press in (d, d, g):
        press.click()
    slider.value = 20  # the moves stay, and are played anew with the new value
    reset.click()
    assert asked == [("", 10), ("D", 10), ("DD", 10), ("DDG", 10), ("DDG", 20), ("", 20)]
    for _ in range(widgets.MOST + 3):
        g.click()
    assert asked[-1] == ("G" * widgets.MOST, 20)
    assert d.disabled
    assert not reset.disabled
