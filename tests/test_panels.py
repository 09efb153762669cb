"""Every slider of the course: at its least, default and greatest value, in pairs, and with the effect that it declares."""

import inspect
import itertools
import re
import time
from pathlib import Path

import ipywidgets
import matplotlib.pyplot
import nbformat
import numpy as np
import pytest

from colorlab.panels import panels
from colorlab.widgets import MOST

NAMES = list(panels())
PRESSED = ["05.play"]  # the panels that have buttons
NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("[0-9]*.ipynb"))


@pytest.fixture(scope="module")
def built():
    """Panels, each built once: some train or colour something first."""
    kept = {}

    def build(name):
        kept.setdefault(name, panels()[name]())
        return kept[name]

    return build


def corners(panel):
    """Values to try: each slider at both ends, the others at their defaults; then every pair of sliders in its corners."""
    ends = {name: (slider.low, slider.high) for name, slider in panel.sliders.items()}
    yield {}
    for name, values in ends.items():
        yield from ({name: value} for value in values)
    for one, two in itertools.combinations(ends, 2):
        yield from ({one: a, two: b} for a in ends[one] for b in ends[two])


@pytest.mark.parametrize("name", NAMES)
def test_ranges_defaults_and_words_are_declared(name, built):
    panel = built(name)
    assert set(inspect.signature(panel.draw).parameters) == set(panel.defaults())
    assert set(panel.defaults()) == {*panel.sliders, *(["moves"] if panel.buttons else [])}
    assert panel.look_for.endswith((".", "?"))
    assert len(panel.alt) > 20
    for slider in panel.sliders.values():
        assert slider.low <= slider.default <= slider.high
        assert slider.label
        steps = (slider.default - slider.low) / slider.step
        assert steps == pytest.approx(round(steps)), "a default that the slider cannot reach again"
        if slider.names:
            assert len(slider.names) == round((slider.high - slider.low) / slider.step) + 1
    for letter, label in panel.buttons.items():
        assert len(letter) == 1
        assert label
    declared = {effect.slider for effect in panel.effects}
    assert declared == {*panel.sliders, *panel.buttons}, "each slider and each button declares its effect"


@pytest.mark.parametrize("name", NAMES)
def test_every_corner_draws_a_picture_of_one_size(name, built, record_property):
    panel, took = built(name), []
    first = panel.draw(**panel.defaults())
    for values in corners(panel):
        start = time.perf_counter()
        shown = panel.draw(**panel.defaults() | values)
        took.append(time.perf_counter() - start)
        assert shown.dtype == np.uint8
        assert shown.shape == first.shape
        assert shown.shape[2] == 3
        assert isinstance(panel.numbers(**panel.defaults() | values), str)
    record_property("redraw", (name, sorted(took)[len(took) // 2], max(took)))


@pytest.mark.parametrize("name", NAMES)
def test_a_draw_depends_on_its_values_alone(name, built):
    panel = built(name)
    first = panel.draw(**panel.defaults()).copy()
    for slider in panel.sliders:
        panel.draw(**panel.defaults() | {slider: panel.sliders[slider].high})
    assert np.array_equal(first, panel.draw(**panel.defaults()))


@pytest.mark.parametrize("name", NAMES)
def test_declared_effects_hold_and_the_picture_changes(name, built):
    panel = built(name)
    for effect in panel.effects:
        assert len(effect.rising) >= 2
        if effect.slider in panel.buttons:  # along these moves its button is pressed, and no other
            name, pressed = "moves", {b.removeprefix(a) for a, b in itertools.pairwise(effect.rising)}
            assert {*"".join(pressed)} == {effect.slider}
        else:
            name, slider = effect.slider, panel.sliders[effect.slider]
            assert all(slider.low <= value <= slider.high for value in effect.rising)
        shown = [panel.draw(**panel.defaults() | dict(effect.others) | {name: value}) for value in effect.rising]
        assert not np.array_equal(shown[0], shown[-1])
        measured = [effect.measure(picture) for picture in shown]
        rises = all(b > a for a, b in itertools.pairwise(measured))
        assert rises, f"{effect.slider} {effect.says}: along {effect.rising} the measure goes {measured}"


@pytest.mark.parametrize("name", NAMES)
def test_widgets_move_by_keyboard_redraw_in_place_and_print_nothing(name, built, capsys):
    panel = built(name)
    box = panel.show()
    words, *sliders, picture, numbers = box.children
    assert bool(panel.buttons) == (name in PRESSED), "a panel with buttons is pressed by the test below"
    if panel.buttons:
        *sliders, row = sliders
        assert [button.description for button in row.children] == [*panel.buttons.values(), "Reset"]
    assert panel.look_for in words.value
    for slider, widget in zip(panel.sliders.values(), sliders, strict=True):
        assert isinstance(widget, ipywidgets.FloatSlider | ipywidgets.SelectionSlider)
        assert widget.description == slider.label
        assert widget.value == slider.default
        before = picture.value
        widget.value = slider.high if slider.default != slider.high else slider.low
        assert picture.value[:2] == b"\xff\xd8"
        widget.value = slider.default
        assert picture.value == before
    assert box.children == (words, *sliders, *([row] if panel.buttons else []), picture, numbers)
    assert matplotlib.pyplot.get_fignums() == []
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("name", PRESSED)
def test_buttons_move_the_game_and_reset_brings_back_the_first_picture(name, built, record_property):
    panel = built(name)
    box = panel.show()
    *_, row, picture, numbers = box.children
    *buttons, reset = row.children
    assert all(isinstance(button, ipywidgets.Button) for button in row.children)
    first, said, took = picture.value, numbers.value, []
    for k in range(MOST):
        before = picture.value
        start = time.perf_counter()
        buttons[k % len(buttons)].click()
        took.append(time.perf_counter() - start)
        assert picture.value != before, "each press changes the picture"
    assert all(button.disabled for button in buttons)
    last = picture.value
    buttons[0].click()
    assert picture.value == last
    record_property("redraw", (f"{name}, buttons", sorted(took)[len(took) // 2], max(took)))
    assert sorted(took)[len(took) // 2] < 0.2  # seconds, however long the game is: its earlier moves are kept
    reset.click()
    assert (picture.value, numbers.value) == (first, said)
    assert not any(button.disabled for button in buttons)


def test_a_panel_leaves_a_picture_and_words_where_no_kernel_runs(built):
    data, about = built("00.before_after").show()._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in data
    assert isinstance(data["image/jpeg"], bytes)  # a memoryview, which a widget keeps, no notebook can hold
    assert data["image/jpeg"][:2] == b"\xff\xd8"
    assert data["text/plain"] == about["image/jpeg"]["alt"] == built("00.before_after").alt


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_what_a_chapter_shows_is_registered(path):
    """A chapter shows its own panels alone, as chNN.name(…).show(), and all that are registered for it."""
    cells = [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    found = (re.findall(r"\bch(\d\d)\.(\w+)\([^\n]*\)\.show\(\)", cell) for cell in cells)
    shown = [f"{chapter}.{name}" for pairs in found for chapter, name in pairs]
    assert len(shown) == sum(cell.count(".show()") for cell in cells)
    assert sorted(shown) == sorted(name for name in NAMES if name.startswith(path.stem[:2]))
    assert shown, "every chapter has a slider"


def test_the_median_stands_still_below_one_half_and_then_jumps(built):
    panel = built("03.safest_answer")
    glides, jumps, *_ = panel.effects
    assert {glides.slider, jumps.slider} == {"p"}
    shown = [panel.draw(**panel.defaults() | {"p": p / 20, "third": 0}) for p in range(21)]
    l2, l1 = ([effect.measure(picture) for picture in shown] for effect in (glides, jumps))
    assert len(set(l2)) > 15
    assert len(set(l1[:10])) == len(set(l1[11:])) == 1
    assert l1[0] < l1[10] < l1[20]
