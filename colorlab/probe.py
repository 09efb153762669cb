"""A look at a generator while it trains, in numbers that losses do not tell: is it colourful, real, varied, still moving?

What it sees are pixels, each a grey and a colour. Precision is the share of generated pixels that have a true one near them, in
grey and in colour; recall the share of true pixels that have a generated one near them (after Sajjadi et al. 2018 and
Kynkäänniemi et al. 2019). Looking changes nothing: neither weights nor buffers nor random numbers.
"""

import torch
from torch import Tensor, nn

from colorlab import color
from colorlab.config import TrainConfig
from colorlab.losses import ADVERSARIAL

NEAR = 10.0  # Lab units: how near a pixel of the truth has to be
PIXELS = 512  # of all that may be judged, drawn once by lot


class Probe:
    """Judges a generator on pairs that it does not train on; a hook for `train.Trainer`. Chapters 05 and 07.

    L: (B, 1, H, W) in [−1, 1], as the generator is given it; ab: (B, 2, H, W) in (−1, 1), the truth. `where`: bool (B, 1, H, W),
    the pixels to judge (default: all), such as the balloons alone; `every`: steps between looks. `grey`: the true L, where the
    generator is given something else. Raises ValueError for shapes that do not fit, and where there is nothing to judge.

    >>> pairs = torch.zeros(1, 1, 4, 4), torch.full((1, 2, 4, 4), 0.3)
    >>> halved = lambda L: 0.15 * torch.ones(1, 2, 4, 4)
    >>> row = Probe(*pairs).look(1, halved, lambda L, ab: ab.mean((1, 2, 3)), TrainConfig())
    >>> round(row["chroma"], 2), row["recall"]                   # half as colourful, and near no true pixel
    (0.5, 0.0)
    """

    def __init__(self, L: Tensor, ab: Tensor, where: Tensor | None = None, every: int = 20, grey: Tensor | None = None):
        color.code_to_lab(L, ab)  # for its checks
        where = torch.ones_like(L, dtype=torch.bool) if where is None else where
        if where.shape != L.shape or where.dtype != torch.bool:
            raise ValueError(f"where is bool of shape {tuple(L.shape)}, as L is, got {where.dtype} of {tuple(where.shape)}.")
        if every < 1 or not where.any():
            raise ValueError(f"A probe needs every >= 1 and a pixel or more, got every={every}, {int(where.sum())} pixels.")
        self.L, self.ab, self.every = L, ab, every
        self.rows: list[dict[str, float]] = []  # one for each look: "step", then what `look` returns
        places = where.flatten().nonzero()[:, 0].cpu()
        drawn = torch.randperm(len(places), generator=torch.Generator().manual_seed(0))[:PIXELS]
        self._places = places[drawn]
        self._grey = self._pick(L if grey is None else grey)  # (pixels, 1)
        self._truth, self._before = self._pick(ab), None  # (pixels, 2)

    def __call__(self, trainer) -> None:
        """The hook: look, every so many steps, and keep the row."""
        if trainer.step % self.every == 0:
            self.rows.append(self.look(trainer.step, trainer.generator, trainer.discriminator, trainer.config))

    def look(self, step: int, generator: nn.Module, discriminator: nn.Module, config: TrainConfig) -> dict[str, float]:
        """What there is to see now.

        "chroma": mean chroma over the truth's; "precision" and "recall" (above); "anywhere": precision of the colours alone, on
        whatever grey; "edge": share outside the sRGB gamut; "slope": length of the adversarial loss's gradient by a pixel's ab,
        times the pixels; "held_out": mean L1, in the networks' units; "moved": mean distance since the last look, Lab units.
        """
        networks = [net for net in (generator, discriminator) if isinstance(net, nn.Module)]
        modes = [(module, module.training) for net in networks for module in net.modules()]
        devices = [config.machine.device] if config.machine.device.startswith("cuda") else []
        with torch.random.fork_rng(devices=devices), config.machine.autocast():
            torch.manual_seed(0)  # the same noise at every look
            for net in networks:
                net.eval()  # spectral norm's estimates stay as they are
            L = config.machine.put(self.L)
            ab = generator(L).detach().requires_grad_()
            loss = ADVERSARIAL[config.adversarial].generator(discriminator(L, ab))
        (gradient,) = torch.autograd.grad(loss, ab)
        for module, training in modes:
            module.training = training
        answer, slope = self._pick(ab), self._pick(gradient).norm(dim=1).mean() / color.AB_SCALE * self.L.numel()
        truth, grey = self._truth, self._grey
        off = torch.cdist(answer, truth)  # (pixels, pixels) in Lab units, of colours alone
        apart = torch.hypot(off, 2 * torch.cdist(grey, grey))  # another grey counts twice: it is another thing
        lab = torch.cat([grey, answer], dim=1).T[None, :, None]  # (1, 3, 1, pixels)
        before, self._before = self._before, answer
        return {
            "step": step,
            "chroma": (answer.norm(dim=1).mean() / truth.norm(dim=1).mean().clamp(min=1e-9)).item(),
            "precision": (apart.min(dim=1).values < NEAR).float().mean().item(),
            "recall": (apart.min(dim=0).values < NEAR).float().mean().item(),
            "anywhere": (off.min(dim=1).values < NEAR).float().mean().item(),
            "edge": color.fit_gamut(*color.lab_to_code(lab))[1],
            "slope": slope.item(),
            "held_out": ((answer - truth).abs().mean() / color.AB_SCALE).item(),
            "moved": 0.0 if before is None else (answer - before).norm(dim=1).mean().item(),
        }

    def _pick(self, x: Tensor) -> Tensor:
        """The judged pixels of L (B, 1, H, W) or ab (B, 2, H, W), as (pixels, channels) in Lab units, on the CPU."""
        x = x.detach().float().cpu().movedim(1, -1).flatten(0, 2)[self._places]
        return x * color.AB_SCALE if x.shape[1] == 2 else (x + 1) * color.L_SCALE
