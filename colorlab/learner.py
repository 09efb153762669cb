"""The same training as a fastai `Learner`: its data, schedules, callbacks and tables around `train`'s own steps. Knows fastai.

A `ColorLearner` holds a `train.Trainer`, which makes the networks, the optimisers and the checkpoints and takes every step;
fastai decides what it decides well: rates, freezing, when to stop, what to show. Nothing else of colorlab imports this module.
"""

import os
import shutil
import tempfile
import weakref
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor, nn

from colorlab import inference, metrics, parallel
from colorlab._fastai import Callback, DataLoaders, Learner, Metric, OptimWrapper, ParamScheduler, SchedCos, ValueMetric
from colorlab.config import TrainConfig
from colorlab.learner_data import Chroma, as_dls, colorizer_dls, plain
from colorlab.machine import Machine
from colorlab.resnet import ResNetUNet
from colorlab.train import Trainer, set_lr

__all__ = ["Callback", "ColorError", "ColorLearner", "as_dls", "colorizer_dls", "colorizer_learner"]
_INSIDE = ("after_pred", "after_loss", "before_backward", "after_backward", "before_step", "after_step")  # inside fastai's step


class ColorError(Metric):
    """fastai metric: mean ΔE2000 of the validation pictures as they would be shown; less is better. Chapter 08.

    Its name, "color_error", holds "error", by which fastai's early stopping and saving know that less is better.
    """

    name = "color_error"

    def reset(self) -> None:
        self._total, self._count = 0.0, 0

    def accumulate(self, learn: Learner) -> None:
        L, ab, true_ab = (plain(x).float() for x in (learn.xb[0], learn.pred, learn.yb[0]))
        scores = metrics.measure(L, ab, true_ab)["delta_e2000"]
        self._total, self._count = self._total + scores.sum().item(), self._count + len(scores)

    @property
    def value(self) -> float | None:
        return self._total / self._count if self._count else None


class ColorLearner(Learner):
    """A fastai `Learner` for a generator and its discriminator; `colorizer_learner` makes it. Chapter 08.

    `warming_up`: whether steps are of L1 alone; `history`: rows of losses, as the `Trainer`'s, which `diagnose` reads; `ema`: the
    generator's moving average, which is judged, shown, exported. Rates, frozen layers and schedules are the generator's;
    the discriminator's rate follows the last group's at the config's ratio.
    """

    def __init__(self, dls: DataLoaders, trainer: Trainer, path: Path, metrics: Sequence, cbs: Sequence):
        self.trainer, self.warming_up = trainer, False
        mean_d = ValueMetric(self._epoch_d_loss, "d_loss")
        super().__init__(
            dls, trainer.generator, _l1, opt_func=self._wrapped, lr=trainer.config.generator_lr, splitter=_groups, cbs=cbs,
            metrics=[mean_d, *metrics], path=path, model_dir=".", moms=(0.5, 0.5, 0.5),  # one-cycle would take β1 up to 0.95
        )  # fmt: skip
        self._seen = 0  # rows of history that d_loss has told of

    @property
    def ema(self) -> nn.Module:
        return self.trainer.ema.module

    @property
    def history(self) -> list[dict[str, float]]:
        return self.trainer.collect()

    def _wrapped(self, groups: Sequence[Sequence[nn.Parameter]], lr: float) -> OptimWrapper:
        """The trainer's own Adam, its parameters in the splitter's groups, as fastai wants it."""
        adam = self.trainer.optimizers[0]
        hyper = {name: x for name, x in adam.param_groups[0].items() if name != "params"}
        adam.param_groups[:] = [{**hyper, "params": list(group), "lr": lr} for group in groups]
        adam.state.clear()
        return OptimWrapper(opt=adam)

    def add_cb(self, cb):
        """Add a callback. ValueError for one that works inside the step, where it would be silently passed over."""
        name = cb.__name__ if isinstance(cb, type) else type(cb).__name__
        inside = [event for event in _INSIDE if event in vars(cb) or hasattr(cb if isinstance(cb, type) else type(cb), event)]
        if inside:
            raise ValueError(
                f"{name} waits for {inside[0]}, which does not happen here: train.train_step takes two whole steps. For mixed "
                "precision use to_fp16() or to_bf16(), for the rest TrainConfig."
            )
        return super().add_cb(cb)

    def _do_one_batch(self):
        batch = plain(self.xb[0]), plain(self.yb[0])
        if not self.training:
            with self.trainer.config.machine.autocast():
                self.pred = Chroma(self.ema(batch[0]))
            self.loss = self.loss_func(self.pred, *self.yb)
            return
        config = self.trainer.config
        set_lr(self.trainer.optimizers[1], self.opt.hypers[-1]["lr"] * (config.discriminator_lr / config.generator_lr))
        losses = self.trainer.advance(batch, self.warming_up)
        self.loss = losses["l1" if self.warming_up else "g"]

    def to_fp16(self) -> "ColorLearner":
        """Train in float16 with loss scaling from now on, on CUDA; elsewhere one line says what is done instead. Returns self."""
        return self._in("float16")

    def to_bf16(self) -> "ColorLearner":
        """Train in bfloat16 from now on, where the hardware has it; elsewhere one line says what is done instead."""
        return self._in("bfloat16")

    def to_fp32(self) -> "ColorLearner":
        """Train in float32 from now on. Returns self."""
        return self._in("float32")

    def _in(self, precision: str) -> "ColorLearner":
        machine, best = self.trainer.config.machine, Machine.detect()
        kind = machine.device.split(":")[0]
        if precision == "float16" and kind != "cuda" or precision == "bfloat16" and best.precision != "bfloat16":
            instead = best.precision if best.device == kind else "float32"
            print(f"{precision} is not for this {kind.upper()}: training in {instead} instead.")
            precision = instead
        self.trainer.use(replace(machine, precision=precision))
        return self

    def _epoch_d_loss(self) -> float:
        """Mean loss of the discriminator over the steps since the last table row; nan in the warm-up."""
        rows, self._seen = self.history[self._seen :], len(self.history)
        return sum(row.get("d", float("nan")) for row in rows) / max(1, len(rows))

    def save(self, file: str, **_) -> Path:
        """Write all of the run, as the trainer does, to `path`/`file`.safetensors; nothing is pickled. Returns the path."""
        self.trainer.path = self._file(file)
        self.trainer.save()
        return self.trainer.path

    def load(self, file: str, **_) -> "ColorLearner":
        """Take up what `save` wrote: both networks, EMA, optimisers, history and the place in the data. Returns self.

        Raises checkpoint.CheckpointError and ValueError, as `Trainer.resume` does.
        """
        if self.opt is None:
            self.create_opt()
        self.trainer.resume(self._file(file))
        self.dls.train.position, self._seen = self.trainer.step, len(self.history)
        return self

    def _file(self, file: str) -> Path:
        finding = hasattr(self, "lr_finder")  # fastai's finder takes back what it did only from a file with fastai's suffix
        return self.path / self.model_dir / f"{file}{'.pth' if finding else '.safetensors'}"

    def export(self, fname: str | os.PathLike, size: int | None = None) -> Path:
        """Write the EMA generator for use, half precision, not pickled: what `colorlab.colorize(model=path)` takes.

        `size`: the short side at which it is to see pictures (default: twice that of its training squares).
        """
        path = Path(fname)
        inference.save_generator(path, self.ema, path.stem, size or self._seen_at())
        return path

    def predict(self, picture) -> Image.Image:
        """Color a picture with the EMA generator, as `colorlab.colorize` does."""
        colorizer = inference.Colorizer(self.ema, "learner", self._seen_at(), self.trainer.config.machine)
        return Image.fromarray(colorizer(picture).rgb)

    def _seen_at(self) -> int:
        return min(2 * self.dls.one_batch()[0].shape[-1], inference.LARGEST)

    def fit_recipe(self, warmup_epochs: int = 4, gan_epochs: int = 4, frozen_epochs: int = 1) -> "ColorLearner":
        """The whole recipe in one call: L1 first, then the discriminator joins, at the config's rates. Returns self.

        With a `ResNetUNet`: `frozen_epochs` of L1 with the encoder frozen, then all of it, the encoder at a tenth of the rate.
        L1 goes along one cycle; the adversarial epochs fall along half a cosine to a twentieth, as the `Trainer`'s do.
        """
        config, pretrained = self.trainer.config, isinstance(self.model, ResNetUNet)
        self.warming_up = True
        if pretrained and frozen_epochs:
            self.freeze()
            self.fit_one_cycle(frozen_epochs, config.warmup_lr)
            self.unfreeze()
        if warmup_epochs:
            self.fit_one_cycle(warmup_epochs, slice(config.warmup_lr / 10, config.warmup_lr) if pretrained else config.warmup_lr)
        self.warming_up = False
        if gan_epochs:
            rates = np.array([config.generator_lr / 10, config.generator_lr]) if pretrained else config.generator_lr
            self.fit(gan_epochs, cbs=ParamScheduler({"lr": SchedCos(rates, rates / 20)}))
        return self


def colorizer_learner(
    dls: DataLoaders,
    config: TrainConfig | None = None,
    generator: nn.Module | None = None,
    folder: str | os.PathLike | None = None,
    metrics: Sequence = (),
    cbs: Sequence = (),
) -> ColorLearner:
    """A fastai `Learner` whose every step is `train.train_step`, or `train.l1_step` while `warming_up`. Chapter 08.

    `config`: as the `Trainer`'s (default: the machine's best precision); its steps are not used, fastai counts epochs.
    `generator`: in place of the config's `UNet`, such as a `ResNetUNet`. `folder`: where `save` writes (default: a temporary
    one that goes with the learner). `metrics`: beside "d_loss", the discriminator's mean loss, and "color_error".
    Raises ValueError in one of several processes.
    """
    if parallel.size() > 1:
        raise ValueError("The fastai learner is for one process. Several, started by torchrun, are for `colorlab train`.")
    config = config or TrainConfig(machine=Machine.detect())
    path = Path(folder if folder is not None else tempfile.mkdtemp(prefix="colorlab-"))
    learn = ColorLearner(dls, Trainer(config, generator), path, [ColorError(), *metrics], cbs)
    if folder is None:
        weakref.finalize(learn, shutil.rmtree, path, ignore_errors=True)
    return learn


def _groups(generator: nn.Module) -> list[list[nn.Parameter]]:
    """The generator's parameters as [encoder's, decoder's], in the network's own order: what `freeze` and `slice` rates go by."""
    if isinstance(generator, ResNetUNet):
        encoder = {id(p) for p in generator.unet.layers[0].parameters()}
    else:
        encoder = {id(p) for name, p in generator.named_parameters() if name.startswith(("stem", "down"))}
    groups = [[p for p in generator.parameters() if (id(p) in encoder) is first] for first in (True, False)]
    return [group for group in groups if group]


def _l1(ab: Tensor, true_ab: Tensor, reduction: str = "mean") -> Tensor:
    distance = (plain(ab) - plain(true_ab)).abs()
    return distance.mean() if reduction == "mean" else distance
