"""The sliders of chapter 05: a game of two numbers, what a loss tells the generator, and a game to play step by step."""

import functools
import math

import numpy as np
import torch
from PIL import Image

from colorlab.losses import BCE
from colorlab.panels import panel
from colorlab.panels.sheet import FINE, INK, MARK, PALE, Sheet, height, marks
from colorlab.widgets import Effect, Panel, Slider
from colorlab.world import NEAR, ColorWorld

_GRID = (222, 222, 222)
_BLUE = (40, 90, 170)
_STEPS = 100  # of the game of two numbers
_DECADES = (-2, 2)  # its radius is drawn from 0.01 to 100


def spiral(rate: float, gamma: float, in_turn: bool, steps: int = _STEPS) -> list[tuple[float, float]]:
    """The path of two numbers from (1, 0): generator θ, discriminator ψ, payoff ψ·θ, R1 of weight γ. Chapter 05.

    >>> [round(math.hypot(*spiral(0.1, 0, in_turn)[-1]), 2) for in_turn in (False, True)]
    [1.64, 0.98]
    """
    path = [(1.0, 0.0)]
    for _ in range(steps):
        theta, psi = path[-1]
        new = psi - rate * (theta + gamma * psi)
        path.append((theta + rate * (new if in_turn else psi), new))
    return path


def _radius_at(radius: float, bottom: float, top: float) -> float:
    """The height at which a radius is drawn, in pixels from above."""
    low, high = _DECADES
    return bottom - (bottom - top) * (min(max(math.log10(radius + 1e-30), low), high) - low) / (high - low)


def _draw_two(rate: float, gamma: float, turn: float) -> np.ndarray:
    path = spiral(rate, gamma, bool(turn))
    sheet, middle, unit = Sheet(720, 380), (170, 190), 58
    sheet.text(middle[0], 8, "the two numbers", anchor="ma")
    sheet.line([(20, middle[1]), (320, middle[1])], PALE, 1)
    sheet.line([(middle[0], 40), (middle[0], 340)], PALE, 1)
    sheet.text(345, middle[1] + 6, "generator", 14, anchor="ra")
    sheet.text(middle[0] + 6, 36, "discriminator", 14)
    ring = [(middle[0] + unit * math.cos(k / 16 * math.pi), middle[1] + unit * math.sin(k / 16 * math.pi)) for k in range(33)]
    sheet.line(ring, PALE, 1)
    inside = [p for p in path if max(map(abs, p)) <= 2.5]  # a path that runs away leaves the frame for good
    places = [(middle[0] + unit * theta, middle[1] - unit * psi) for theta, psi in inside]
    sheet.line(places, _BLUE)
    for x, y in places[1:]:
        sheet.disc(x, y, 2, 2, _BLUE)
    sheet.disc(*places[0], 5, 5, INK)
    sheet.text(20, 350, "black: the start. In the middle, fake = real.", 14)
    left, right, top, bottom = 420, 700, 50, 320
    sheet.text(left - 55, 8, "distance from the middle")
    for decade in range(_DECADES[0], _DECADES[1] + 1):
        y = _radius_at(10.0**decade, bottom, top)
        sheet.line([(left, y), (right, y)], _GRID, 1)
        sheet.text(left - 8, y, f"{10.0**decade:g}", anchor="rm")
    curve = [(left + (right - left) * k / _STEPS, _radius_at(math.hypot(*p), bottom, top)) for k, p in enumerate(path)]
    sheet.line(curve)
    sheet.disc(*curve[-1], 8, 8, MARK)
    for step, anchor in ((0, "ma"), (_STEPS, "ra")):
        sheet.text(left + (right - left) * step / _STEPS, bottom + 8, f"{step}", anchor=anchor)
    sheet.text((left + right) / 2, bottom + 30, "step", anchor="ma")
    return sheet.pixels()


def _tell_two(rate: float, gamma: float, turn: float) -> str:
    end = math.hypot(*spiral(rate, gamma, bool(turn))[-1])
    return f"Both begin 1 from the middle. After {_STEPS} steps they are {end:.3g} from it."


@panel("05.two_numbers")
def two_numbers() -> Panel:
    """Generator and discriminator of one number each: spirals, orbits, and what R1 does. Chapter 05."""
    return Panel(
        _draw_two,
        {
            "rate": Slider("rate of both", 0.02, 0.3, 0.1, 0.02),
            "gamma": Slider("γ, the weight of R1", 0, 1, 0, 0.05),
            "turn": Slider("steps are taken", 0, 1, 0, 1, ("both at once", "in turn")),
        },
        "Raise the rate: the spiral opens faster. Take the steps in turn: an orbit. Then raise γ. How much does the game at "
        "once need before it closes in?",
        "Left, the path of the two numbers around the middle; right, their distance from it, step by step.",
        (
            Effect("rate", "opens the spiral faster", height, (0.02, 0.1, 0.2, 0.3)),
            Effect("gamma", "pulls the game towards the middle", lambda shown: -height(shown), (0, 0.25, 0.5, 0.75)),
            Effect("turn", "makes an orbit of the spiral", lambda shown: -height(shown), (0, 1)),
        ),
        _tell_two,
    )


def slopes(logit: float) -> dict[str, float]:
    """How steeply each loss of the generator falls along the discriminator's logit for its sample. Chapter 05.

    >>> {name: round(slope, 4) for name, slope in slopes(-5).items()}
    {'saturating': 0.0067, 'non-saturating': 0.9933, 'hinge': 1.0}
    """
    found = 1 / (1 + math.exp(-logit))
    return {"saturating": found, "non-saturating": 1 - found, "hinge": 1.0}


def _losses(logit: float) -> dict[str, float]:
    """The same three losses: log(1 − σ), −log σ, −logit."""
    soft = max(logit, 0.0) + math.log1p(math.exp(-abs(logit)))  # softplus, of any logit
    return {"saturating": -soft, "non-saturating": soft - logit, "hinge": -logit}


_SHADES = {"saturating": MARK, "non-saturating": _BLUE, "hinge": (90, 130, 60)}


def _draw_gradients(logit: float) -> np.ndarray:
    sheet, (left, right, top, bottom) = Sheet(720, 380), (70, 400, 60, 320)

    def place(x: float, y: float) -> tuple[float, float]:
        return left + (right - left) * (x + 8) / 16, bottom - (bottom - top) * (y + 8) / 16

    sheet.text(20, 8, "the generator's loss")
    for tick in (-8, -4, 0, 4, 8):
        sheet.line([place(-8, tick), place(8, tick)], _GRID, 1)
        sheet.text(left - 8, place(0, tick)[1], f"{tick}", anchor="rm")
        sheet.text(place(tick, 0)[0], bottom + 8, f"{tick}", anchor="ma")
    sheet.text((left + right) / 2, bottom + 32, "the discriminator's logit for a sample of it", anchor="ma")
    sheet.line([place(logit, -8), place(logit, 8)], PALE, 1)
    for name, shade in _SHADES.items():
        curve = [place(k / 4, _losses(k / 4)[name]) for k in range(-32, 33)]
        sheet.line(curve, tuple((c + 246) // 2 for c in shade), 3)
        sheet.disc(*place(logit, _losses(logit)[name]), 5, 5, _BLUE if name == "saturating" else shade, INK)
    sheet.text(440, 8, "how steeply it falls: the gradient")
    for row, (name, slope) in enumerate(slopes(logit).items()):
        y = 80 + 90 * row
        sheet.text(440, y - 26, f"{name}   {slope:.4f}", 16)
        sheet.box(440, y, 700, y + 30, (235, 235, 235))
        if slope > 0.004:
            sheet.box(440, y, 440 + 260 * slope, y + 30, _SHADES[name])
    return sheet.pixels()


def _tell_gradients(logit: float) -> str:
    seen = 1 / (1 + math.exp(-logit))
    told = ", ".join(f"{name} {slope:.4f}" for name, slope in slopes(logit).items())
    return f"The discriminator takes this sample for real with probability {seen:.4f}. Gradients: {told}."


def _bar(row: int):
    """The length of a bar, in pixels."""

    def measure(shown: np.ndarray) -> float:
        line = shown[95 + 90 * row, 440:700].astype(int)
        return float((np.abs(line - line.max(axis=1, keepdims=True)).max(axis=1) > 20).sum())

    return measure


@panel("05.gradients")
def gradients() -> Panel:
    """What a sample that the discriminator has found out, or not, teaches the generator under three losses. Chapter 05."""
    return Panel(
        _draw_gradients,
        {"logit": Slider("the discriminator's logit", -8, 8, 0, 0.5)},
        "Move the logit to −5, a sample that is nearly surely found out: which losses still tell the generator where to go?",
        "Three losses of the generator over the discriminator's logit; three bars: how steeply each falls where the slider is.",
        (
            Effect("logit", "raises the saturating gradient", _bar(0), (-4, -2, 0, 2, 4)),
            Effect("logit", "lowers the non-saturating gradient", lambda shown: -_bar(1)(shown), (-4, -2, 0, 2, 4)),
        ),
        _tell_gradients,
    )


# The game to play: the generator is a handful of points, which are its numbers; the discriminator is a landscape of 81 hills, of
# which it learns the heights.
_RANGE, _HILL, _UNIT = 90.0, 18.0, 20.0  # Lab units: of the plane, from −90; of a hill, its width; and of the points' rate
_ROUNDS = 5  # of the button R
_NAMES = ("red", "blue", "green")
_COLORS = torch.tensor([ab for _, ab in ColorWorld(16).distribution("balloon")])


def _hills(points: torch.Tensor) -> torch.Tensor:
    """How high each of the 81 hills of height 1 is at points (n, 2): (n, 81)."""
    axis = torch.linspace(-_RANGE, _RANGE, 9)
    return torch.exp(-torch.cdist(points, torch.cartesian_prod(axis, axis)).square() / (2 * _HILL**2))


@functools.cache
def _field() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Sixty real points, the hills at them, and where the generator's 24 points begin, (n, 2) in Lab units."""
    draws = torch.Generator().manual_seed(5)
    real = [color + 5 * torch.randn(n, 2, generator=draws) for n, color in zip((24, 21, 15), _COLORS, strict=True)]
    return torch.cat(real), _hills(torch.cat(real)), 8 * torch.randn(24, 2, generator=draws)


State = tuple[torch.Tensor, torch.Tensor]  # heights of the hills (81,), the generator's points (24, 2)


def _step(state: State, player: str, rate_d: float, rate_g: float) -> State:
    """One gradient step of the discriminator, "D", or of the generator, "G", under BCE."""
    heights, fake = state
    if player == "D":
        heights = heights.detach().requires_grad_()
        loss = BCE.discriminator(_field()[1] @ heights, _hills(fake) @ heights)
        (slope,) = torch.autograd.grad(loss, heights)
        return heights.detach() - rate_d * slope, fake
    moved = (fake / _UNIT).requires_grad_()
    (slope,) = torch.autograd.grad(len(fake) * BCE.generator(_hills(_UNIT * moved) @ heights), moved)  # each point for itself
    return heights, (fake - _UNIT * rate_g * slope).detach().clamp(-_RANGE, _RANGE)


@functools.lru_cache(maxsize=256)
def played(moves: str, rate_d: float, rate_g: float, more: float) -> State:
    """The game after these moves, a pure function whose last values are kept. D, G: a step; R: `_ROUNDS` rounds. Chapter 05."""
    if not moves:
        return torch.zeros(81), _field()[2]
    state = played(moves[:-1], rate_d, rate_g, more)
    for player in ("D" * int(more) + "G") * _ROUNDS if moves[-1] == "R" else moves[-1]:
        state = _step(state, player, rate_d, rate_g)
    return state


@functools.cache
def _hills_of_plane(side: int) -> torch.Tensor:
    axis = torch.linspace(-_RANGE, _RANGE, side)
    return _hills(torch.stack([axis.expand(side, side), axis.flip(0)[:, None].expand(side, side)], dim=-1).view(-1, 2))


def _draw_play(moves: str, rate_d: float, rate_g: float, more: float) -> np.ndarray:
    heights, fake = played(moves, rate_d, rate_g, more)
    left, top, side = 20, 34, 330
    sheet = Sheet(620, 410)
    sheet.text(left, 8, "The a*b* plane: light = the discriminator says real")
    opinion = torch.sigmoid(_hills_of_plane(side // 3) @ heights).view(side // 3, side // 3)
    grey = Image.fromarray((40 + 200 * opinion).byte().numpy()).resize((side * FINE, side * FINE), Image.Resampling.BICUBIC)
    sheet.paste(grey.convert("RGB"), left, top)

    def place(ab: list[float]) -> tuple[float, float]:
        return left + side / 2 * (1 + ab[0] / _RANGE), top + side / 2 * (1 - ab[1] / _RANGE)

    for ab in _field()[0].tolist():
        x, y = place(ab)
        sheet.line([(x - 3, y), (x + 3, y)], (0, 110, 140), 1)
        sheet.line([(x, y - 3), (x, y + 3)], (0, 110, 140), 1)
    for ab in fake.tolist():
        sheet.disc(*place(ab), 5, 5, MARK)
    sheet.text(left, top + side + 8, "a* to the right, b* upwards; crosses: real; dots: the generator's", 14)
    sheet.text(380, 34, "played so far", 15)
    written = [moves[k : k + 20] for k in range(0, len(moves), 20)] or ["nothing yet"]
    for row, line in enumerate(written):
        sheet.text(380, 58 + 20 * row, line, 16)
    for row, (name, share) in enumerate(_shares(fake).items()):
        y = 170 + 52 * row
        sheet.text(380, y - 22, f"{name}: {100 * share:.0f} %", 15)
        sheet.box(380, y, 600, y + 16, (235, 235, 235))
        if share > 0:
            sheet.box(380, y, 380 + 220 * share, y + 16, PALE)
    return sheet.pixels()


def _shares(fake: torch.Tensor) -> dict[str, float]:
    """Share of the points that are near each real colour, and near none."""
    least, nearest = torch.cdist(fake, _COLORS).min(dim=1)
    shares = {f"near {name}": ((least <= NEAR) & (nearest == k)).float().mean().item() for k, name in enumerate(_NAMES)}
    return shares | {"near none": 1 - sum(shares.values())}


def _tell_play(moves: str, rate_d: float, rate_g: float, more: float) -> str:
    heights, fake = played(moves, rate_d, rate_g, more)
    logits = _hills(fake) @ heights
    d, g = BCE.discriminator(_field()[1] @ heights, logits).item(), BCE.generator(logits).item()
    told = ", ".join(f"{100 * share:.0f} % {name}" for name, share in _shares(fake).items())
    return f"Moves: {len(moves)}. Loss of the discriminator {d:.3f}, of the generator {g:.3f}; {told}."


def _contrast(shown: np.ndarray) -> float:
    """How much the plane's shades differ."""
    plane = shown[34:364, 20:350].astype(int)
    grey = (plane.max(axis=2) - plane.min(axis=2)) < 8
    return float(plane[..., 0][grey].std())


def _spread(shown: np.ndarray) -> float:
    """How far apart the generator's points lie, in pixels."""
    rows, columns = marks(shown)
    return float(np.hypot(rows.std(), columns.std()))


@panel("05.play")
def play() -> Panel:
    """A game on points, a step at a press: who moves when, how fast, and how often. Chapter 05."""
    return Panel(
        _draw_play,
        {
            "rate_d": Slider("rate of the discriminator", 1, 20, 3, 1),
            "rate_g": Slider("rate of the generator", 0.1, 2, 0.4, 0.1),
            "more": Slider("steps of D for each of G, in a round", 1, 4, 1, 1),
        },
        "Press D and watch the landscape rise under the real points; press G and watch the dots climb. Then play rounds. A "
        "slider replays all your moves with its new value.",
        "The a*b* plane, light where the discriminator says real; crosses are real colours, dots the generator's; beside it, "
        "what was played, and the share of dots near each colour.",
        (
            Effect("D", "raises the landscape where the real points are", _contrast, ("", "D", "DD", "DDDD")),
            Effect("G", "lets the dots climb", _spread, ("DDD", "DDDG", "DDDGGG", "DDDGGGGGG")),
            Effect("R", "spreads the dots over the real colours", _spread, ("", "R", "RR", "RRRR")),
            Effect("rate_d", "makes the landscape rise faster", _contrast, (1, 3, 10, 20), {"moves": "DD"}),
            Effect("rate_g", "makes the dots climb faster", _spread, (0.1, 0.4, 0.8), {"moves": "DDDGG"}),
            Effect("more", "lets the landscape rise higher between two steps of the dots", _contrast, (1, 2, 4), {"moves": "R"}),
        ),
        _tell_play,
        {"D": "D: one step", "G": "G: one step", "R": f"R: {_ROUNDS} rounds"},
    )
