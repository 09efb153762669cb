"""How well a model colours a set of photographs, beside the controls that it must beat, with intervals."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from tqdm.auto import tqdm

from colorlab import color, intervals, metrics, photos
from colorlab.data import Loader, Pictures
from colorlab.inference import LARGEST, Colorizer, save_generator, to_pixels, to_tensor
from colorlab.train import Trainer

SIZE = 128  # side, in pixels, of the middle square on which every picture is judged
CEILING = 58.92  # dB: the rounding to 8 bits alone. Equal pictures have infinitely many, and no mean could hold them
CONTROLS = ("grey", "mean ab", "lookup")  # what the model is compared with, picture by picture; "truth" is the ceiling


def evaluate(colorizer: Colorizer, paths: Sequence[Path], progress: bool = True) -> dict[str, dict[str, torch.Tensor]]:
    """Scores of the model, the controls and the truth on photographs: {"model": {"psnr": (n,), …}, "grey": …}.

    Each picture's middle square is reduced to 128², taken apart into L and ab, and coloured again; near-grey pictures
    are judged too. Mean ab and lookup are fitted to the very pictures that are judged, which makes them harder to beat.
    Raises ValueError when no picture can be read. Chapter 10.
    """
    pictures = Pictures.read(paths, short_side=SIZE, keep_grey=True, progress=progress)
    if pictures.broken:
        print(pictures.report(), file=sys.stderr)
    loader = Loader(pictures, batch_size=16, size=SIZE, augment=False)
    batches = [loader.batch(n) for n in range(len(loader))]
    answers = {
        "model": lambda L: predict(colorizer, L),
        "grey": metrics.grey,
        "mean ab": metrics.MeanAb.fit(batches),
        "lookup": metrics.Lookup.fit(batches),
    }
    rows: dict[str, list[dict[str, torch.Tensor]]] = {name: [] for name in [*answers, "truth"]}
    for L, ab in tqdm(batches, "judging", disable=not progress):
        for name, answer in answers.items():
            rows[name].append(metrics.measure(L, answer(L), ab))
        rows["truth"].append(metrics.measure(L, ab, ab))
    return {name: {key: torch.cat([row[key] for row in rows[name]]) for key in rows[name][0]} for name in rows}


def predict(colorizer: Colorizer, L: torch.Tensor) -> torch.Tensor:
    """The model's ab (B, 2, H, W) for L (B, 1, H, W), by the path that photographs take: 8 bits, its own size, and up."""
    grey = color.decode(L, metrics.grey(L))  # (B, 3, H, W)
    return torch.cat([color.encode(to_tensor(colorizer(to_pixels(x)).rgb))[1] for x in grey.split(1)])


def watch(paths: Sequence[Path], size: int, limit: int = 256) -> Callable[[Trainer], None]:
    """A "save" hook for a `Trainer`: judges the EMA generator on up to `limit` pictures it does not learn from.

    Beside the checkpoint it writes generator.safetensors, for use, and samples.png, rows of grey · predicted · true,
    and prints one line. `size`: side of the squares, as in training. Raises ValueError when no picture can be read.
    """
    pictures = Pictures.read(paths[:: max(1, len(paths) // limit)][:limit], short_side=size, progress=False)
    loader = Loader(pictures, batch_size=32, size=size, augment=False)
    batches = [loader.batch(n) for n in range(len(loader))]

    def hook(trainer: Trainer) -> None:
        generator, machine = trainer.ema.module, trainer.config.machine
        with torch.inference_mode():
            answers = [generator(machine.put(L)).float().cpu() for L, _ in batches]
        rows = [metrics.measure(L, answer, ab) for (L, ab), answer in zip(batches, answers, strict=True)]
        mean = {key: torch.cat([row[key] for row in rows]).mean().item() for key in rows[0]}
        chroma = mean["chroma"] / torch.cat([metrics.mean_chroma(ab) for _, ab in batches]).mean().item()
        tqdm.write(
            f"step {trainer.step}: {mean['psnr']:.2f} dB, ΔE2000 {mean['delta_e2000']:.2f}, chroma {chroma:.2f} of the truth "
            f"({len(pictures)} pictures not learnt from)"
        )
        path, name = trainer.path.with_name("generator.safetensors"), trainer.path.resolve().parent.name
        save_generator(path, generator, name, min(2 * size, LARGEST), mean)
        photos.save(_sheet(batches[0], answers[0]), trainer.path.with_name("samples.png"))

    return hook


def _sheet(batch: tuple[torch.Tensor, torch.Tensor], answer: torch.Tensor, count: int = 12) -> np.ndarray:
    """Rows of grey · predicted · true, (H, W, 3) uint8, four triples abreast."""
    L, ab = (x[:count] for x in batch)
    triples = torch.cat([color.decode(L, color.fit_gamut(L, x)[0]) for x in (metrics.grey(L), answer[:count], ab)], dim=3)
    rows = [torch.cat(list(triples[n : n + 4].split(1)), dim=3) for n in range(0, len(triples) // 4 * 4, 4)] or [triples[:1]]
    return to_pixels(torch.cat(rows, dim=2))


def table(scores: dict[str, dict[str, torch.Tensor]]) -> str:
    """The scores as a Markdown table: means, and the model's gain over each control with its 95 % interval."""
    count, truth = len(scores["truth"]["chroma"]), scores["truth"]["chroma"].mean()
    lines = ["| | PSNR (dB) ↑ | SSIM ↑ | ΔE2000 ↓ | colourfulness | chroma, share of truth |", "|---|---|---|---|---|---|"]
    for name, row in scores.items():
        mean = {key: x.clamp(max=CEILING).mean() if key == "psnr" else x.mean() for key, x in row.items()}
        lines.append(
            f"| {name} | {mean['psnr']:.2f} | {mean['ssim']:.3f} | {mean['delta_e2000']:.2f} "
            f"| {mean['colorfulness']:.1f} | {mean['chroma'] / truth:.2f} |"
        )
    lines += ["", f"Pictures: {count}, each its middle square at {SIZE}². PSNR counts up to {CEILING} dB, which 8 bits leave."]
    lines += ["Mean ab and lookup were fitted to these very pictures, so that on a few of them they cannot be beaten."]
    if count < 2:  # one picture has no interval
        return "\n".join(lines)
    lines += ["", "The model's gain, positive where it is better, with its 95 % paired bootstrap interval:", ""]
    lines += ["| over | PSNR (dB) | ΔE2000 |", "|---|---|---|"]
    for name in CONTROLS:
        psnr = intervals.paired_bootstrap(*(scores[who]["psnr"].clamp(max=CEILING) for who in ("model", name)))
        delta = intervals.paired_bootstrap(*(scores[who]["delta_e2000"] for who in (name, "model")))  # less is better
        lines.append(f"| {name} | {_interval(psnr)} | {_interval(delta)} |")
    return "\n".join(lines)


def _interval(x: intervals.Interval) -> str:
    return f"{x.mean:+.2f} [{x.low:+.2f}, {x.high:+.2f}]"
