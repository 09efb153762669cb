"""`colorlab check`: is a model sound, and the photographs with it? Each answer a sentence with the numbers seen.

The model is asked on a few photographs, by the path that `colorize` takes; of the data, every file is read once.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from colorlab import checkpoint, color, inference, metrics
from colorlab.check_data import FAILED, MARKS, PASSED, SMALL, WARNING, Result, check_data, counted, encode, judge, one_hue
from colorlab.data import GREY_CHROMA, Pictures
from colorlab.inference import Colorizer, to_pixels
from colorlab.unet import UNet

PROBES, PROBE_SIDE = 16, 256  # photographs on which the model is asked, and their short side at most, in pixels
EDGE = 0.98  # no sRGB colour has an |a*| or |b*| of 108, so that an answer beyond this comes from a tanh at its end
SIZES = [(1, 1), (37, 53), (301, 20)]  # height, width: multiples of nothing, and one of them longer than networks like
KEEP = 2**27  # bytes of reduced pictures kept between the two passes over them: about 8,000; others are read again


def check(colorizer: Colorizer, paths: Sequence[Path], progress: bool = True) -> list[Result]:
    """Whether a model and a set of picture files are sound, one `Result` a check, the model's first.

    The model is asked on up to 16 of the photographs, spread over the set, those with colour where there are any. Checks that
    a failed one makes meaningless are left out. Raises ValueError when no picture can be read. Chapter 12.
    """
    pictures = Pictures.read(paths, SMALL, keep_grey=True, memory=KEEP, progress=progress)
    fit = [p for p, chroma in zip(pictures.paths, pictures.chroma, strict=True) if chroma >= GREY_CHROMA] or pictures.paths
    count = min(PROBES, len(fit))
    probes = Pictures.read([fit[n * len(fit) // count] for n in range(count)], PROBE_SIDE, keep_grey=True, progress=False)
    return check_model(colorizer, [probes[n] for n in range(count)]) + check_data(pictures)


def report(results: Sequence[Result]) -> str:
    """The results as a list to read, and one line that sums them up."""
    names = {status: [x.name for x in results if x.status == status] for status in MARKS}
    parts = [f"{len(names[PASSED])} passed"]
    parts += [f"{counted(len(names[WARNING]), 'warning')} ({', '.join(names[WARNING])})"] if names[WARNING] else []
    parts += [f"{len(names[FAILED])} failed ({', '.join(names[FAILED])})"] if names[FAILED] else []
    return "\n".join([*map(str, results), "", "; ".join(parts) + "."])


def check_model(colorizer: Colorizer, pictures: Sequence[np.ndarray]) -> list[Result]:
    """The checks of a model, on photographs (H, W, 3) uint8; the first that makes the others meaningless is the last."""
    results = [_weights(colorizer)]
    if results[-1].status == FAILED:
        return results
    try:
        answers = [colorizer.chroma(rgb) for rgb in pictures]  # (1, 2, h, w) each
        again, sizes = colorizer.chroma(pictures[0]), _any_size(colorizer, pictures[0])
    except (ValueError, RuntimeError) as error:
        cure = "Its forward takes L (1, 1, h, w), multiples of its own `stride`, and returns ab (1, 2, h, w)."
        return [*results, Result("any size", FAILED, f"the network cannot answer a picture: {error}", cure)]
    results += [_repeatable(answers[0], again), _range(answers)]
    if results[1].status == FAILED or not all(x.isfinite().all() for x in answers):
        return results
    return [
        *results,
        sizes,
        _leak(colorizer, pictures, answers),
        *_colors(pictures, answers),
        _round_trip(pictures),
        _file(colorizer, pictures[0], answers[0]),
    ]


def _weights(colorizer: Colorizer) -> Result:
    weights = {name: x for name, x in colorizer.generator.state_dict().items() if x.is_floating_point()}
    count, bad = sum(x.numel() for x in weights.values()), [name for name, x in weights.items() if not x.isfinite().all()]
    seen = f"{len(bad)} of {len(weights)} tensors hold NaN or infinity, such as {bad[0]}" if bad else f"all {count:,} are finite"
    return judge("weights", seen, (bool(bad), FAILED, "Training diverged: take an earlier checkpoint, or train more slowly."))


def _any_size(colorizer: Colorizer, rgb: np.ndarray) -> Result:
    wrong, apart = [], 0.0
    for height, width in SIZES:
        small = np.asarray(Image.fromarray(rgb).resize((width, height), Image.Resampling.BOX))
        out = colorizer(small).rgb
        if out.shape != small.shape:
            wrong.append(f"{height} × {width} came back as {' × '.join(map(str, out.shape[:2]))}")
        else:
            apart = max(apart, (encode(out)[0] - encode(small)[0]).abs().mean().item() * color.L_SCALE)
    sizes = ", ".join(f"{height} × {width}" for height, width in SIZES)
    seen = "; ".join(wrong) or f"{sizes} come back at their size, L* within {apart:.2f} of their own on average"
    cure = "A coloured picture keeps its size and its L*: only a* and b* are predicted."
    return judge("any size", seen, (bool(wrong) or apart > 1, FAILED, cure))


def _repeatable(first: Tensor, second: Tensor) -> Result:
    same = torch.equal(first.nan_to_num(), second.nan_to_num())
    seen = "the same to the bit" if same else f"up to {_apart(first, second):.2f} Lab units apart"
    cure = "Call generator.eval(): dropout is for training."
    return judge("repeatable", f"the answers to one picture, asked twice, are {seen}", (not same, FAILED, cure))


def _range(answers: Sequence[Tensor]) -> Result:
    values = torch.cat([x.flatten() for x in answers])
    broken, most = (~values.isfinite()).float().mean().item(), values.abs().max().item()
    edge = (values.abs() > EDGE).float().mean().item()
    seen = f"a* and b* reach {most * color.AB_SCALE:.0f} Lab units of at most {color.AB_SCALE:.0f}, {edge:.1%} at the tanh's edge"
    return judge(
        "range",
        f"{broken:.1%} of the answers are NaN or infinite" if broken else seen,
        (broken > 0, FAILED, "The weights are finite, so an activation overflows: train with a lower rate, or in float32."),
        (most > 1, FAILED, "Let the network end in a tanh: ab lies in (−1, 1)."),
        (edge > 0.01, FAILED, "No sRGB colour lies there, and no gradient: train with a lower rate or more L1."),
    )


def _leak(colorizer: Colorizer, pictures: Sequence[np.ndarray], answers: Sequence[Tensor]) -> Result:
    """Other colours on the same grey: the network's answer must be the same bits, the finished picture the same but for rounding.

    Rounding to 8 bits leaves the finished picture's own L* by half a level elsewhere, which moves it by 0.4 levels at most.
    """
    leaks, most, levels = 0, 0.0, 0.0
    for rgb, answer in zip(pictures, answers, strict=True):
        others, finished = recolored(rgb), colorizer(rgb).rgb.astype(float)
        apart = max(_apart(answer, colorizer.chroma(other)) for other in others)
        moved = max(np.abs(colorizer(other).rgb - finished).mean() for other in others)
        leaks += apart > 0 or moved > 1
        most, levels = max(most, apart), max(levels, moved)
    photographs = f"{counted(len(pictures), 'photograph')}, spread over the set"
    seen = f"none: {photographs}, grey, in opposite and in random colours, give the same answer to the bit"
    if leaks:
        seen = f"on {leaks} of {photographs}, other colours on the same grey change the answer, by up to {most:.2f} Lab units"
    seen += f"; the finished pictures move by {levels:.2f} of 255 levels on average"
    cure = "The network sees colour. Give it the L of color.encode alone, not Pillow's grey and not the colour picture."
    return judge("colour leak", seen, (leaks > 0, FAILED, cure))


def recolored(rgb: np.ndarray) -> list[np.ndarray]:
    """Pictures (H, W, 3) uint8 of the very same 8-bit grey as `rgb`: grey, in opposite hues, and in random colours.

    A pixel whose grey would be moved by the rounding of its new colour to 8 bits stays grey: about one in 200.
    """
    grey = _grey(rgb)
    L, (_, ab) = encode(grey)[0], encode(rgb)
    drawn = torch.rand(ab.shape, generator=torch.Generator().manual_seed(0)) * 1.4 - 0.7  # ±77 Lab units
    turned = [to_pixels(color.decode(L, color.fit_gamut(L, x)[0])) for x in (-ab, drawn)]
    return [grey, *(np.where((_grey(x) == grey).all(2, keepdims=True), x, grey) for x in turned)]


def _grey(rgb: np.ndarray) -> np.ndarray:
    """The grey of the same L*, (H, W, 3) uint8; written anew, so that a wrong grey in `inference` is found."""
    L, _ = encode(rgb)
    return to_pixels(color.decode(L, metrics.grey(L)))


def _colors(pictures: Sequence[np.ndarray], answers: Sequence[Tensor]) -> list[Result]:
    """Gamut, variety and chroma of the answers, ab (1, 2, h, w) each."""
    pairs = [encode(rgb) for rgb in pictures]
    greys = [F.interpolate(L, x.shape[2:], mode="area") for (L, _), x in zip(pairs, answers, strict=True)]
    fitted, shares = zip(*(color.fit_gamut(L, x) for L, x in zip(greys, answers, strict=True)), strict=True)
    lost = _mean([metrics.mean_chroma(x - y) for x, y in zip(answers, fitted, strict=True)])
    chroma, truth = (_mean([metrics.mean_chroma(x) for x in maps]) for maps in (fitted, [ab for _, ab in pairs]))
    pooled = torch.cat([x.flatten(2) for x in fitted], dim=2)[..., None]  # (1, 2, pixels, 1)
    variety = metrics.mean_chroma(pooled - pooled.mean(2, keepdim=True)).item()

    outside = f"{np.mean(shares):.0%} of the pixels lie outside sRGB before fitting, which takes {lost:.1f} Lab units off"
    ratio = chroma / max(truth, 1e-6)
    sepia = "Least error gives sepia: add adversarial steps, or train longer."
    return [
        judge("gamut", outside, (lost > 5, WARNING, "Too vivid for their grey: train longer, or with more L1.")),
        judge(
            "variety",
            f"colours lie {variety:.1f} Lab units from their mean on average",
            (variety < 1, FAILED, "One colour for everything: train longer, or begin with a model that ships (--start photo)."),
        ),
        judge(
            "chroma",
            f"{chroma:.1f} Lab units, {ratio:.2f} of the truth's {truth:.1f}",
            (truth < GREY_CHROMA, WARNING, "The photographs are too grey to tell: check the model on some that have colour."),
            (ratio < 1 / 3, WARNING, f"Too pale. {sepia}"),
            (ratio > 3, WARNING, "Far too vivid: train longer, or with more L1."),
            (one_hue(pooled), WARNING, f"All of one hue. {sepia}"),
        ),
    ]


def _round_trip(pictures: Sequence[np.ndarray]) -> Result:
    wrong = [np.abs(to_pixels(color.decode(*encode(rgb))).astype(int) - rgb).max() for rgb in pictures]
    changed, count = np.count_nonzero(wrong), counted(len(pictures), "photograph")
    seen = f"rgb → (L, ab) → rgb changes {changed} of {count}, by {max(wrong)} levels at most"
    cure = "color.encode and color.decode must be inverses: run the library's tests."
    return judge("round trip", seen, (any(wrong), FAILED, cure))


def _file(colorizer: Colorizer, rgb: np.ndarray, answer: Tensor) -> Result:
    """The generator written and read, in its own precision and in the half precision that generator files have."""
    if not isinstance(colorizer.generator, UNet):
        seen = f"not tried: colorlab writes UNets, and this is a {type(colorizer.generator).__name__}"
        return Result("checkpoint", WARNING, seen, "Check that what you save and load gives the same answer.")
    with tempfile.TemporaryDirectory() as folder:
        whole, half = Path(folder, "whole.safetensors"), Path(folder, "half.safetensors")
        inference.save_generator(half, colorizer.generator, colorizer.name, colorizer.size)
        tensors = {f"generator.{name}": x for name, x in colorizer.generator.state_dict().items()}
        checkpoint.save(whole, tensors, checkpoint.load(half).header)
        exact, lost = (_apart(answer, inference.load(x, machine=colorizer.machine).chroma(rgb)) for x in (whole, half))
    same = f"up to {exact:.2f} Lab units off" if exact else "the same to the bit"
    seen = f"written and read, its answer is {same}; a generator file's half precision costs {lost:.2f} Lab units at most"
    return judge(
        "checkpoint",
        seen,
        (exact > 0, FAILED, "Something that the network needs is not in its state_dict."),
        (not lost <= 2, WARNING, "Use the run's last.safetensors, which is whole. Some weights are very large."),  # nor nan
    )


def _apart(first: Tensor, second: Tensor) -> float:
    """The largest difference of two ab, in Lab units."""
    return (first - second).abs().max().item() * color.AB_SCALE


def _mean(values: Sequence[Tensor]) -> float:
    return torch.cat(list(values)).mean().item()
