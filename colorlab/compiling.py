"""torch.compile for training, where it pays, with the plain network to fall back on. Knows only torch.

What fails, fails late: a missing compiler shows at the first forward pass, or only at the first backward. So every
kind of call is tried once, forward and backward, before it counts, and the trial leaves nothing behind.
"""

import importlib.util
import sys
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from colorlab.machine import Machine

LEAST_STEPS = 5000


def pays(machine: Machine, steps: int) -> bool:
    """Whether a run is compiled: on CUDA with Triton at hand, from 5,000 steps on; on a CPU it mostly makes steps slower.

    Decided by the length of the run, never by a stopwatch. `benchmarks/bench_compile.py` measures it on a CPU.
    """
    return machine.device.startswith("cuda") and steps >= LEAST_STEPS and importlib.util.find_spec("triton") is not None


def compiled(networks: Sequence[nn.Module], backend: str | Callable = "inductor") -> list[nn.Module]:
    """These networks for `l1_step` and `train_step`, each run by `torch.compile`; weights and buffers stay the given ones.

    When compiling fails for one, one line on stderr says so and all of them run as they are. Chapter 08.
    """
    works = _Works()
    return [Compiled(network, backend, works) for network in networks]


class _Works:
    """Whether compiling still works: what networks that were compiled together know of each other."""

    def __init__(self):
        self.yes = True

    def failed(self, error: Exception) -> None:
        """Say so in one line, and do not try again."""
        self.yes = False
        error = getattr(error, "inner_exception", error)  # which torch wraps, with a page of advice
        why = next((line.strip() for line in str(error).splitlines() if line.strip()), "no reason given")
        print(f"torch.compile failed, training goes on without it: {type(error).__name__}: {why[:120]}", file=sys.stderr)


class Compiled(nn.Module):
    """A network and its compiled form. The network itself stays plain: `module`."""

    def __init__(self, module: nn.Module, backend: str | Callable, works: _Works):
        super().__init__()
        self.module, self._works = module, works
        self._fast = [torch.compile(module, backend=backend)]  # in a list: it is no part of this module
        self._tried: set[tuple] = set()

    def forward(self, *inputs: Tensor) -> Tensor:
        if not self._works.yes:
            return self.module(*inputs)
        learning = tuple(p.requires_grad for p in self.module.parameters())
        kind = (self.module.training, torch.is_grad_enabled(), learning)
        kind += tuple((x.shape, x.dtype, x.stride(), x.requires_grad) for x in inputs)
        if kind not in self._tried:
            self._tried.add(kind)
            self._try(inputs)
        return (self._fast[0] if self._works.yes else self.module)(*inputs)

    def _try(self, inputs: tuple[Tensor, ...]) -> None:
        """One call and its backward, after which buffers, random state and gradients are what they were."""
        buffers = [(x, x.clone()) for x in self.module.buffers()]
        devices = sorted({x.device.index for x in inputs if x.is_cuda})
        inputs = tuple(x.detach().clone().requires_grad_(x.requires_grad) for x in inputs)
        try:
            with torch.random.fork_rng(devices=devices):
                out = self._fast[0](*inputs)
                leaves = [x for x in (*inputs, *self.module.parameters()) if x.requires_grad]
                if out.requires_grad:
                    torch.autograd.grad(out.sum(), leaves, allow_unused=True)  # into nobody's .grad
        except Exception as error:  # whatever a compiler raises
            self._works.failed(error)
        finally:
            with torch.no_grad():
                for x, before in buffers:
                    x.copy_(before)
