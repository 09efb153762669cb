"""Loss scaling, so that float16 can train: small gradients are multiplied before they would underflow. Knows only torch.

float16 has nothing below 6e-8, and a gradient divided by a batch's many pixels is often smaller. So a network runs
between two gates that leave its pictures alone: gradients that enter at its outputs are multiplied by a scale, those
that leave at its inputs are divided by it, and its optimiser divides those of the weights. Nobody outside sees the
scale, so the training steps stay as they are. torch's GradScaler finds it (Micikevicius et al. 2018): a step whose
gradients overflow is skipped and the scale halved; after 2,000 steps of an optimiser without one it is doubled.

One scale for both networks: in the generator's step a gradient may overflow on its way through the discriminator, and
only the generator's optimiser sees it. With a scale each, the wrong one would be halved.
"""

import torch
from torch import Tensor, nn
from torch.amp import GradScaler

from colorlab.machine import Machine


class _Gate(torch.autograd.Function):
    """The identity; backward, the gradient times the scale (`inward`), or divided by it. The scale is read then, not before."""

    @staticmethod
    def forward(ctx, x: Tensor, scaler: GradScaler, inward: bool) -> Tensor:
        ctx.scaler, ctx.inward = scaler, inward
        return x.view_as(x)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None, None]:
        scale = ctx.scaler.scale(gradient.new_ones(()))  # stays on the device: no waiting for the GPU
        return (gradient * scale if ctx.inward else gradient / scale), None, None


class Scaled(nn.Module):
    """A network of one output whose gradients are multiplied by the scaler's scale, inside it and nowhere else."""

    def __init__(self, module: nn.Module, scaler: GradScaler):
        super().__init__()
        self.module, self.scaler = module, scaler

    def forward(self, *inputs: Tensor) -> Tensor:
        inputs = [_Gate.apply(x, self.scaler, False) for x in inputs]
        return _Gate.apply(self.module(*inputs), self.scaler, True)


class ScaledOptimizer:
    """The optimiser of a `Scaled` network, as the training steps use one; a step whose gradients overflowed does nothing."""

    def __init__(self, optimizer: torch.optim.Optimizer, scaler: GradScaler):
        self.optimizer, self.scaler = optimizer, scaler

    @property
    def param_groups(self) -> list[dict]:
        return self.optimizer.param_groups

    def zero_grad(self) -> None:
        self.optimizer.zero_grad()

    def step(self) -> None:
        """Divide by the scale, step if every gradient is a finite number, and adapt the scale."""
        self.scaler.step(self.optimizer)
        self.scaler.update()


def scaler(machine: Machine) -> GradScaler | None:
    """What `scaled` needs for this machine: None unless its precision is float16."""
    return GradScaler(machine.device.split(":")[0]) if machine.precision == "float16" else None


def scaled(network: nn.Module, optimizer: torch.optim.Optimizer, scaler: GradScaler | None):
    """(network, optimiser) for `l1_step` and `train_step`: scaled, or as they came where `scaler` is None.

    Both are views: the weights, the moments and the rates are those of the network and the optimiser given. Chapter 08.
    """
    return (network, optimizer) if scaler is None else (Scaled(network, scaler), ScaledOptimizer(optimizer, scaler))
