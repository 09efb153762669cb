"""Checks of chapter 07, "the conditional GAN": what λ does and does not do, what sampling is, the mean's own copy, and detach."""

import copy
import math
import random
from collections.abc import Iterable

import torch
from torch import nn

from colorlab import color
from colorlab.exercises import Given, as_number, call, exercise, recognise, seeded

WORDS = ("generator", "discriminator", "l1")  # the places at which a step hands over the grey, or compares with its truth
TENSORS = 32  # weights and biases of the generator of exercise 07.5


@exercise("07.1")
def still_given(answer) -> str | None:
    """With λ = 0 the L1 term is gone, and both networks still see the grey: the GAN is as conditional as before.

    `answer`: which of "generator", "discriminator", "l1" still tie the colours to the grey when λ is 0.
    """
    if isinstance(answer, str):
        answer = answer.replace(",", " ").replace(" and ", " ").split()
    if not isinstance(answer, Iterable):
        return 'A list is wanted, of none, some or all of the words "generator", "discriminator", "l1".'
    said = {str(word).strip().lower() for word in answer}
    if unknown := said - set(WORDS):
        return f'{sorted(unknown)} is none of the words "generator", "discriminator", "l1".'
    if said == {"generator", "discriminator"}:
        return None
    if not said:
        return (
            "λ = 0 does not make the GAN unconditional: the discriminator still sees the grey beside the colours, and a sky in a "
            "balloon's red is found out. See the row λ = 0: its grass is green."
        )
    if "l1" in said:
        return "λ multiplies the L1 term. With λ = 0 it adds nothing to the loss, and no gradient."
    if said == {"generator"}:
        return "The generator is given the grey, and could ignore it, were it not judged: discriminator(L, ab) sees it too."
    return "That is the judge. What the judged network makes its colours from, generator(L), is the grey as well."


def some_weight(dice: random.Random | None) -> Given:
    """Another λ."""
    weight = 5.0 if dice is None else dice.choice([2.0, 8.0, 20.0, 50.0])
    return Given(weight, (f"λ = {weight:g}",))


@exercise("07.2", drawn=some_weight)
def same_pull(answer, weight) -> str | None:
    """λ and the unit belong together: 110 times the error needs a 110th of the weight, and the gradient is the same again.

    `answer`: the λ that does for an L1 in Lab units what `weight` does in the networks' units.
    """
    got = as_number(answer)
    if got is None:
        return "A number is wanted: the new λ."
    truth = weight / color.AB_SCALE
    if got == 0:
        return "Without L1 nothing pulls towards the truth; asked is a pull of the same strength."
    if math.isclose(got, truth, rel_tol=0.02):
        return None
    known = {
        weight: "The same λ on an L1 in Lab units is another loss: its value, and its gradient, is 110 times too large.",
        weight * color.AB_SCALE: "That is multiplied by 110: the gradient would be 110² times too large. Divide.",
        weight / color.AB_SCALE**2: "L1 is no square: 110 once, not 110².",
        weight / math.sqrt(color.AB_SCALE): "No root is taken: |110 x| is 110 |x|.",
        weight / 50: "50 scales the lightness. Chroma is scaled by 110.",
        weight / 55: "a* and b* are averaged, not added: 110, not 55.",
        1 / color.AB_SCALE: f"That is for λ = 1. Here it is {weight:g}.",
        color.AB_SCALE: "That is the ratio of the two units. Which λ makes up for it?",
    }
    return recognise(got, known) or "The error grows by 110 when its unit shrinks by 110. What must λ do, so that λ · L1 stays?"


class _Still(nn.Module):
    """Deterministic: scenes get different colours, and each always the same."""

    def forward(self, L: torch.Tensor) -> torch.Tensor:
        return torch.cat([0.3 * L, 8 * L.mean((2, 3), keepdim=True) + 0.2 * L], dim=1)


class _Noisy(nn.Module):
    """A colour of its own for every draw and pixel."""

    def __init__(self, size: float):
        super().__init__()
        self.size = size

    def forward(self, L: torch.Tensor) -> torch.Tensor:
        return 0.3 * torch.cat([L, L], dim=1) + self.size * torch.randn(len(L), 2, *L.shape[2:])


def _spread(net: nn.Module, L: torch.Tensor, draws: int = 64) -> torch.Tensor:
    """`draws` colourings of each picture: (draws, B, 2, H, W), Lab units."""
    with torch.no_grad():
        return color.AB_SCALE * torch.stack([net(L) for _ in range(draws)])


@exercise("07.3", drawn=seeded)
def spread(answer, seed) -> str | None:
    """A deterministic generator scores exactly 0, whatever it was trained with: it answers, and does not sample.

    `answer`: (generator, L) → standard deviation over 64 draws, mean over pictures, channels and pixels, Lab units.
    """
    torch.manual_seed(seed)
    L = torch.rand(4, 1, 16, 16) * 2 - 1
    nets = [_Still(), _Noisy(0.1), _Noisy(0.2), nn.Sequential(_Still(), nn.Dropout(0.5))]
    got = []
    for net in nets:
        said = call(answer, "07.3", "spread", net, L.clone())
        if isinstance(said, bool):
            return "A number is wanted, not yes or no: how far draws of one picture lie apart."
        value = as_number(said)
        if value is None:
            return f"One number is wanted for all pictures together, got {type(said).__name__}: take the mean."
        got.append(value)
    nets[3].train()
    drawn = [_spread(net, L) for net in nets]
    truth = [x.std(0).mean().item() for x in drawn]
    if abs(got[0]) < 1e-3 and all(math.isclose(a, b, rel_tol=0.04) for a, b in zip(got[1:], truth[1:], strict=True)):
        return None
    if got[0] > 1e-3:
        still = drawn[0]
        heaps = {
            still.flatten(3).std(3).mean().item(): "*pixels* of one answer lie apart, its contrast.",
            still.std(1).mean().item(): "*pictures* lie apart. Other colours in other scenes are no sampling.",
        }
        for value, words in heaps.items():
            if math.isclose(got[0], value, rel_tol=0.003):
                return f"A deterministic generator gets more than 0: that is how far {words}"
        return f"A deterministic generator draws the same again and again, but got {got[0]:.3g}: take std over the draws alone."
    if got[1] < 1e-3:
        return "A generator that draws noise gets 0. Was it asked once, or its seed set again before every draw?"
    if got[3] < 1e-3:
        return "A generator with dropout gets 0: eval() turns dropout off, and who leaves it on to sample must not call it."
    known = {
        truth[2] / color.AB_SCALE: "That is in the networks' units: multiply by 110.",
        (drawn[2].var(0)).mean().item(): "That is the variance. Its root has the unit of a colour.",
        (drawn[2].amax(0) - drawn[2].amin(0)).mean().item(): "That is from the least to the greatest: it grows with every draw.",
        drawn[2].std(0).norm(dim=1).mean().item(): "Both channels were put together. Asked is their mean.",
        (drawn[2] - drawn[2].mean(0)).abs().mean().item(): "That is the mean distance from the mean, not the standard deviation.",
        drawn[2].std().item(): "All pixels, pictures and draws were put in one heap: take std over the draws, then the mean.",
    }
    words = next((words for value, words in known.items() if math.isclose(got[2], value, rel_tol=0.05)), None)
    return words or f"Noise of {truth[2]:.0f} Lab units got {got[2]:.3g}: std over the draws, then the mean of all."


@exercise("07.4", drawn=seeded)
def average(answer, seed) -> str | None:
    """A copy of its own, moved by 1 − decay of the way at every step: training and average do not touch one another.

    `answer`: a class; Average(module, decay) has `.module`, the mean, and update(module).
    """
    torch.manual_seed(seed)
    net, decay = nn.Linear(3, 2), 0.9
    start = copy.deepcopy(net.state_dict())
    mean = call(answer, "07.4", "Average", net, decay)
    if isinstance(answer, nn.Module) or not hasattr(mean, "update"):
        return "A class with a method update(module) is wanted."
    kept = getattr(mean, "module", None)
    if not isinstance(kept, nn.Module):
        return "`.module` is the averaged network, an nn.Module of the same kind: copy.deepcopy(module) makes one."
    truth = {name: x.clone() for name, x in start.items()}
    seen = [start]
    if kept is net:
        return "The mean *is* the network that trains, under a second name: assignment copies nothing. Use copy.deepcopy."
    if any(a is b or a.data_ptr() == b.data_ptr() for a, b in zip(kept.parameters(), net.parameters(), strict=True)):
        return "The mean has a module of its own and still the same tensors in it: a shallow copy. Use copy.deepcopy."
    for _ in range(3):
        with torch.no_grad():
            for p in net.parameters():
                p.add_(torch.randn_like(p))  # what training does
        seen.append(copy.deepcopy(net.state_dict()))
        mean.update(net)
        for name, x in net.state_dict().items():
            if not torch.equal(x, seen[-1][name]):
                return "update moved the network that trains. Only the mean may change: mean.lerp_(now, 1 - decay), mean first."
            truth[name] = decay * truth[name] + (1 - decay) * x
    got = mean.module.state_dict()
    if got.keys() != truth.keys():
        return "`.module` has other weights than the network."
    if any(a.data_ptr() == b.data_ptr() for a, b in zip(got.values(), net.state_dict().values(), strict=True)):
        return "After an update the mean shares its tensors with the network: p.data = q.data hands over a reference, no numbers."

    def same(expected: dict[str, torch.Tensor]) -> bool:
        return all(torch.allclose(got[name], x, atol=1e-5) for name, x in expected.items())

    if same(truth):
        return None
    if same(start):
        return "The mean has not moved: does update change the tensors in place, `mean.lerp_(…)`, or only names for them?"
    if same(seen[-1]):
        return "The mean is the latest network, a copy without memory: keep `decay` of the old mean."
    swapped, zero, halves = start, {name: 0 * x for name, x in start.items()}, dict.fromkeys(start, 0.0)
    for state in seen[1:]:
        swapped = {name: (1 - decay) * swapped[name] + decay * x for name, x in state.items()}
        zero = {name: decay * zero[name] + (1 - decay) * x for name, x in state.items()}
        halves = {name: halves[name] + x / 3 for name, x in state.items()}
    if same(swapped):
        return "decay and 1 − decay changed places: the mean keeps 0.9 of itself and takes 0.1 of what is new."
    if same(zero):
        return "The mean began at zero, which it still remembers. Begin at the network's own weights."
    if same(halves) or same({name: sum(state[name] for state in seen) / len(seen) for name in start}):
        return "That is the plain mean of all steps, in which the first weights count as much as the last."
    if "weight" in got and torch.allclose(got["weight"], truth["weight"], atol=1e-5):
        return "The weight is right and the bias is not: go through all parameters."
    return "At each update: mean ← decay · mean + (1 − decay) · now, for every parameter, beginning at the network's own."


@exercise("07.5")
def without_detach(answer) -> str | None:
    """Without detach alone nothing changes: zero_grad, which comes after, wipes the stray gradient out. It costs time only.

    `answer`: a pair: how many of the generator's 32 tensors differ after one step (a) without detach, (b) and without zero_grad
    in its place.
    """
    values = answer.tolist() if isinstance(answer, torch.Tensor) else answer
    if isinstance(values, str):
        return (
            "An error is an honest finding: the two steps share one graph, and the first backward frees it. Do what the message "
            "says, d_loss.backward(retain_graph=True), and count again."
        )
    if not isinstance(values, list | tuple) or len(values) != 2 or None in (got := [as_number(x) for x in values]):
        return "A pair of numbers is wanted: differing tensors without detach; and without zero_grad in its place as well."
    first, second = got
    if min(got) < 0 or max(got) > TENSORS:
        return f"The generator has {TENSORS} tensors. Were the discriminator's, or single numbers, counted too?"
    if first == 0 and second > 0:
        return None
    if first > 0 and second == 0:
        return "That is the wrong way round: which of the two stops the stray gradient from being added?"
    if first > 0:
        return (
            "A missing detach does not always break: compare with torch.equal, from the same seed. The discriminator's loss does "
            "send a gradient into the generator, but zero_grad comes after it and before the generator's own."
        )
    return "Without zero_grad between the two backward passes both gradients add up, and Adam steps along the sum: count again."
