"""Training a conditional GAN that colourises: one warm-up step, one adversarial step, EMA, and the loop around them.

The steps are plain functions; the chapters build them, the `Trainer` calls them, tests step them by hand. The
loop knows nothing about files of pictures or figures: batches come in as (L, ab), hooks are plain callables.
"""

import copy
import dataclasses
import itertools
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from colorlab import checkpoint, compiling, parallel, scaling
from colorlab.config import TrainConfig
from colorlab.losses import ADVERSARIAL
from colorlab.machine import Machine
from colorlab.patchgan import PatchGAN
from colorlab.unet import UNet

Batch = tuple[Tensor, Tensor]  # L (B, 1, H, W) in [−1, 1], ab (B, 2, H, W) in (−1, 1)


def l1_step(batch: Batch, generator: nn.Module, optimizer: torch.optim.Optimizer, config: TrainConfig) -> dict[str, Tensor]:
    """One warm-up step: move the generator towards the true chroma in L1. Returns {"l1"}, a scalar. Chapter 07."""
    L, ab = batch
    with config.machine.autocast():
        l1 = (generator(L) - ab).abs().mean()
    optimizer.zero_grad()
    l1.backward()
    optimizer.step()
    return {"l1": l1.detach()}


def train_step(
    batch: Batch,
    generator: nn.Module,
    discriminator: nn.Module,
    optimizers: tuple[torch.optim.Optimizer, torch.optim.Optimizer],
    config: TrainConfig,
) -> dict[str, Tensor]:
    """One discriminator step, then one generator step. `optimizers`: the generator's, the discriminator's. Chapter 07.

    Returns scalars: "d" and "g", the two losses; "adversarial" and "l1", the parts of "g"; "real" and "fake", the
    discriminator's mean logits before its step.
    """
    L, ab = batch
    optimizer_g, optimizer_d = optimizers
    adversarial = ADVERSARIAL[config.adversarial]
    discriminator.requires_grad_(True)  # an interrupted step may have left it off

    # The discriminator's step: generated colours are data here, so no gradient flows into the generator.
    with config.machine.autocast():
        generated = generator(L)
        real, fake = discriminator(L, ab), discriminator(L, generated.detach())
        d_loss = adversarial.discriminator(real, fake)
    optimizer_d.zero_grad()
    d_loss.backward()
    optimizer_d.step()

    # The generator's step: gradients flow through the discriminator, which itself stays as it is.
    discriminator.requires_grad_(False)
    with config.machine.autocast():
        convince = adversarial.generator(discriminator(L, generated))
        l1 = (generated - ab).abs().mean()
        g_loss = convince + config.l1_weight * l1
    optimizer_g.zero_grad()
    g_loss.backward()
    optimizer_g.step()
    discriminator.requires_grad_(True)
    losses = {"d": d_loss, "g": g_loss, "adversarial": convince, "l1": l1, "real": real.mean(), "fake": fake.mean()}
    return {name: loss.detach() for name, loss in losses.items()}


class EMA:
    """Exponential moving average of a network's parameters, in a copy of its own: `ema.module`. Chapter 07."""

    def __init__(self, module: nn.Module, decay: float):
        self.module = copy.deepcopy(module).eval().requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """Move towards `module`; early steps average over fewer, so that the start is soon forgotten."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for mean, now in zip(self.module.parameters(), module.parameters(), strict=True):
            mean.lerp_(now, 1 - decay)
        for mean, now in zip(self.module.buffers(), module.buffers(), strict=True):
            mean.copy_(now)


class TrainingDiverged(RuntimeError):
    """A loss that is no longer a finite number; the message says at which step, the likely cause, and the way back."""


class Trainer:
    """A run: networks, optimisers, EMA, schedule, history, checkpoints. Chapter 07 reads it, chapter 08 resumes it.

    `generator` and `discriminator` replace the ones that the config describes. `hooks` maps an event ("step" after
    every step, "save" after every checkpoint) to callables that are given the trainer. `folder` is where checkpoints
    go, every `save_every` steps and at the end; without it nothing is written.

    Several processes (`parallel.joined`) train as one would on the whole of every batch: gradients and the history's losses are
    averaged over them. Hooks for "step" run in each; the first alone writes checkpoints and runs the hooks for "save".
    """

    def __init__(
        self,
        config: TrainConfig,
        generator: nn.Module | None = None,
        discriminator: nn.Module | None = None,
        folder: str | os.PathLike | None = None,
        hooks: Mapping[str, Sequence[Callable[["Trainer"], None]]] | None = None,
        save_every: int = 500,
    ):
        self.config, self.hooks, self.save_every = config, dict(hooks or {}), save_every
        if unknown := sorted(set(self.hooks) - {"step", "save"}):
            raise ValueError(f"hooks are for 'step' and 'save', got {unknown}.")
        if save_every < 1:
            raise ValueError(f"save_every is at least 1 step, got {save_every}.")
        self.path = Path(folder) / "last.safetensors" if folder is not None else None
        with torch.random.fork_rng(devices=[]):  # weights are drawn on the CPU, wherever they go then
            torch.default_generator.manual_seed(config.seed)
            self.generator = config.machine.place(generator or UNet(config.generator))
            self.discriminator = config.machine.place(discriminator or PatchGAN(config.discriminator))
        self.optimizers = (adam(self.generator.parameters(), config), adam(self.discriminator.parameters(), config))
        self._prepare()
        self.ema = EMA(self.generator, config.ema)
        self.step = 0
        self.history: list[dict[str, float]] = []  # one row a step: "step", then what the step returned
        self._pending: list[tuple[int, dict[str, Tensor]]] = []  # rows still on the device

    def _prepare(self) -> None:
        """What the steps are given: the networks compiled, scaled, averaged over processes, each where it applies."""
        machine, nets = self.config.machine, [self.generator, self.discriminator]
        self.scaler = scaling.scaler(machine)
        if compiling.pays(machine, self.config.steps):
            nets = compiling.compiled(nets)
        pairs = [scaling.scaled(net, adam, self.scaler) for net, adam in zip(nets, self.optimizers, strict=True)]
        self._stepped = [parallel.wrap(net) for net, _ in pairs], tuple(optimizer for _, optimizer in pairs)

    def use(self, machine: Machine) -> None:
        """Go on in another precision, from the next step on; the weights and the device stay."""
        self.config = dataclasses.replace(self.config, machine=machine)
        self._prepare()

    @property
    def warming_up(self) -> bool:
        """Whether the next step is one of L1 alone."""
        return self.step < self.config.warmup_steps

    def fit(self, batches: Iterable[Batch], steps: int | None = None, progress: bool = True) -> list[dict[str, float]]:
        """Train for `steps` more steps (default: to the config's end) and return the history.

        Batches that know their `position`, as `data.Loader` does, are taken up where the run stands. Raises
        TrainingDiverged, with the last good checkpoint left as it was, and ValueError when the batches run out.
        """
        end = self.config.steps if steps is None else self.step + steps
        if len(places := {int(x) for x in parallel.gather(torch.tensor([self.step]))}) > 1:
            raise ValueError(f"The processes stand at steps {sorted(places)}. Let all of them see the folder that the run is in.")
        if hasattr(batches, "position"):
            batches.position = self.step
        self.generator.train()
        self.discriminator.train()
        stream = iter(batches)
        bar = tqdm(total=end, initial=self.step, desc="training", disable=not progress or parallel.rank() > 0, mininterval=1.0)
        with bar:
            while self.step < end:
                batch = next(stream, None)
                if batch is None:
                    raise ValueError(f"The batches ran out at step {self.step} of {end}. Give endless ones, as data.Loader is.")
                self._one_step(batch)
                bar.update()
                if self.step % 20 == 0 or self.step == end:
                    self.collect()
                    bar.set_postfix({name: f"{x:.3f}" for name, x in self.history[-1].items() if name != "step"}, refresh=False)
                if self.path and (self.step % self.save_every == 0 or self.step == end):
                    self.save()
                self._call("step")
        return self.history

    def _one_step(self, batch: Batch) -> None:
        for optimizer, lr in zip(self.optimizers, self.config.rates(self.step), strict=True):
            set_lr(optimizer, lr)
        self.advance(batch, self.warming_up)

    def advance(self, batch: Batch, warming_up: bool) -> dict[str, Tensor]:
        """One step of either kind, at the rates that the optimisers have; returns its losses. The learner calls it too."""
        (generator, discriminator), optimizers = self._stepped
        if warming_up:
            losses = l1_step(batch, generator, optimizers[0], self.config)
        else:
            losses = train_step(batch, generator, discriminator, optimizers, self.config)
        self.ema.update(self.generator, self.step)
        self.step += 1
        self._pending.append((self.step, losses))
        return losses

    def _call(self, event: str) -> None:
        for hook in self.hooks.get(event, ()):
            hook(self)

    def collect(self) -> list[dict[str, float]]:
        """Bring pending losses over from the device into the history, and return it; the first not finite ends the run."""
        pending, self._pending = self._pending, []
        if not pending:
            return self.history
        values = iter(parallel.average(torch.stack([x for _, losses in pending for x in losses.values()])).tolist())
        for step, losses in pending:
            row = {name: next(values) for name in losses}
            bad = [name for name, x in row.items() if not math.isfinite(x)]
            if bad:
                raise self._diverged(step, bad)
            self.history.append({"step": step, **row})
        return self.history

    def _diverged(self, step: int, bad: list[str]) -> TrainingDiverged:
        there = f"{self.path} holds the last good step; " if self.path and self.path.exists() else ""
        return TrainingDiverged(
            f"Step {step}: {', '.join(bad)} is not finite. Usually a learning rate too high for this batch size, or a "
            f"picture that is not in [0, 1]. {there}start again with lower rates."
        )

    def save(self) -> None:
        """Write everything that the next step depends on, and the history, to `folder`/last.safetensors.

        Raises TrainingDiverged, and writes nothing, when a weight or moment is no longer finite: a loss shows it a step later.
        """
        if self.path is None:
            raise ValueError("This Trainer has no folder to save to. Give it one: Trainer(config, folder=…).")
        self.collect()
        tensors = {}
        for name, module in self._modules().items():
            tensors |= {f"{name}.{key}": x for key, x in module.state_dict().items()}
        for name, optimizer in zip(("optimizer_g", "optimizer_d"), self.optimizers, strict=True):
            tensors |= checkpoint.flatten_optimizer(name, optimizer)
        if bad := [name for name, x in tensors.items() if not x.isfinite().all()]:
            raise self._diverged(self.step, bad[:1])
        for kind, state in self._random().items():
            tensors |= {_random_name(kind, n): x for n, x in enumerate(parallel.gather(state))}
        if parallel.rank() > 0:
            return
        names = list(dict.fromkeys(itertools.chain.from_iterable(self.history)))
        rows = [[row.get(name, math.nan) for name in names] for row in self.history]
        tensors["history"] = torch.tensor(rows, dtype=torch.float64).view(len(rows), len(names))
        header = {"kind": "run", "step": self.step, "config": dataclasses.asdict(self.config), "history": names}
        if dataclasses.is_dataclass(shape := getattr(self.generator, "config", None)):  # of the generator given, if one was
            header["generator"] = dataclasses.asdict(shape)
        if self.scaler:
            header["scaler"] = self.scaler.state_dict()
        checkpoint.save(self.path, tensors, header | {"machine": self.config.machine.header()})
        self._call("save")

    def resume(self, path: str | os.PathLike | None = None) -> "Trainer":
        """Go on from a checkpoint (default: this run's own) exactly where it was written; returns self.

        Raises checkpoint.CheckpointError for a damaged file and ValueError for one of another configuration.
        """
        path = self.path if path is None else path
        if path is None:
            raise ValueError("This Trainer has no folder to resume from. Give it one, or resume(path).")
        saved = checkpoint.load(path)
        if saved.header.get("kind") != "run":
            raise checkpoint.CheckpointError(f"{saved.path} holds a generator to use, not a run to resume.")
        mine, theirs = dataclasses.asdict(self.config), saved.header["config"]
        differing = [f"{name}: {theirs.get(name)} there, {mine[name]} here" for name in mine if mine[name] != theirs.get(name)]
        if differing:
            raise ValueError(
                f"{saved.path} belongs to a run of another configuration ({'; '.join(differing)}). "
                "Give that one, or begin a new run with its weights: start_from."
            )
        for name, module in self._modules().items():
            saved.restore(name, module)
        for name, optimizer in zip(("optimizer_g", "optimizer_d"), self.optimizers, strict=True):
            checkpoint.restore_optimizer(name, optimizer, saved)
        mine = {kind: saved.tensors.get(_random_name(kind, parallel.rank())) for kind in self._random()}
        if mine["cpu"] is not None:  # a process more than there were when it was saved goes on with its own
            torch.set_rng_state(mine["cpu"])
        if mine.get("cuda") is not None:
            torch.cuda.set_rng_state(mine["cuda"], self.config.machine.device)
        if self.scaler and "scaler" in saved.header:
            self.scaler.load_state_dict(saved.header["scaler"])
        self.step, self._pending = saved.header["step"], []
        rows = [zip(saved.header["history"], row, strict=True) for row in saved.tensors["history"].tolist()]
        self.history = [{name: int(x) if name == "step" else x for name, x in row if not math.isnan(x)} for row in rows]
        return self

    def start_from(self, generator: nn.Module) -> None:
        """Begin a new run with another generator's weights, instead of random ones. Raises ValueError if they do not fit."""
        try:
            for mine in (self.generator, self.ema.module):
                mine.load_state_dict(generator.state_dict())
        except RuntimeError as error:
            raise ValueError(f"These weights do not fit this run's generator: {str(error)[:300]} …") from None

    def _random(self) -> dict[str, Tensor]:
        """The random state of this process, on the CPU and on its GPU."""
        cuda = self.config.machine.device.startswith("cuda")
        return {"cpu": torch.get_rng_state()} | ({"cuda": torch.cuda.get_rng_state(self.config.machine.device)} if cuda else {})

    def _modules(self) -> dict[str, nn.Module]:
        return {"generator": self.generator, "ema": self.ema.module, "discriminator": self.discriminator}


def _random_name(kind: str, rank: int) -> str:
    return f"random.{kind}.{rank}" if rank else f"random.{kind}"


def adam(parameters: Iterable, config: TrainConfig, lr: float = 1e-3) -> torch.optim.Adam:
    """The optimiser of both networks: Adam with β1 = 0.5 (Radford et al. 2016), fused where the device has it."""
    return torch.optim.Adam(parameters, lr=lr, betas=(0.5, 0.999), fused=config.machine.device != "mps")


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Give every parameter group this rate."""
    for group in optimizer.param_groups:
        group["lr"] = lr
