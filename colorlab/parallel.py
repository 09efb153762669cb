"""Several processes that train one network together, each on its share of every batch. Knows only torch.

torchrun starts them and tells each its number; `joined` brings them together, on the CPU (gloo) or on a GPU each (NCCL).
Everything here also works in a process that is alone, where it does nothing. Chapter 08.
"""

import contextlib
import gc
import os
import warnings
from collections.abc import Iterator
from datetime import timedelta

import torch
from torch import distributed, nn

# The others wait while the first judges, or while a slow disk is read; that one has died is torchrun's to notice.
PATIENCE = timedelta(hours=1)


@contextlib.contextmanager
def joined() -> Iterator[None]:
    """Be one of the processes that torchrun started, and leave them at the end; without torchrun, do nothing.

    Of the processes that an error stops, the first one raises it; the others exit with status 1 and say nothing, so that it
    is told once. Raises ConnectionError when another one has ended, ValueError when a machine has GPUs, but too few.
    """
    if not distributed.is_torchelastic_launched():
        yield
        return
    store, number, count = next(distributed.rendezvous("env://"))
    try:
        _join(store, number, count)
        yield
        gather(torch.zeros(1))  # leave together, when nobody's last message is still on its way
    except BaseException as error:  # whether the cause or, a moment later, a connection that the cause broke
        if store.add("failed", 1) > 1:
            raise SystemExit(1) from None
        if isinstance(error, distributed.DistError) or "gloo" in str(error):  # its errors have no class of their own
            cure = "Start all of them again: a run goes on from where it was saved."
            raise ConnectionError(f"Another process has ended. {cure}") from error
        raise
    gc.collect()  # networks that are gone hold the group's threads, which must end before Python does
    distributed.destroy_process_group()  # not after an error: it could wait for what the others will never send


def _join(store: distributed.Store, number: int, count: int) -> None:
    if gpus := torch.cuda.device_count():
        if beside() > gpus:
            raise ValueError(f"{beside()} processes need a GPU each, here are {gpus}. Give torchrun --nproc-per-node {gpus}.")
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))  # "cuda" is this one from here on
    backend = "cpu:gloo,cuda:nccl" if gpus else "gloo"
    distributed.init_process_group(backend, store=store, rank=number, world_size=count, timeout=PATIENCE)
    if number:  # each draws its own dropout; the first what it would draw alone
        torch.manual_seed(torch.initial_seed() + number)


def rank() -> int:
    """This process's number, from 0: the first one writes and speaks."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def size() -> int:
    """How many processes train together."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def beside() -> int:
    """How many of them share this machine, its memory and its cores."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def wrap(module: nn.Module) -> nn.Module:
    """The network that steps go through: its gradients are averaged over the processes (Li et al. 2020); alone, itself.

    All begin with the first one's weights and buffers. The buffers are not sent again at every forward pass: the only ones
    here, spectral norm's u and v, follow from the weights alone, so that they stay the same everywhere.

    Gradients travel in buckets, and where one lies decides in which order those of more than two processes are added. PyTorch
    lays the buckets out anew after its first step, a resumed run's too, which would then be other bits; unless it is told to
    look for unused parameters. There are none here, and it says so once.
    """
    if not distributed.is_initialized():
        return module
    for buffer in module.buffers():
        distributed.broadcast(buffer, src=0)
    with warnings.catch_warnings():  # newer releases have another word for it, older ones do not know that
        warnings.simplefilter("ignore", FutureWarning)
        return nn.parallel.DistributedDataParallel(module, broadcast_buffers=False, find_unused_parameters=True)


def average(x: torch.Tensor) -> torch.Tensor:
    """The mean of a tensor over the processes, the same everywhere; one that is no number anywhere is none everywhere."""
    if distributed.is_initialized():
        distributed.all_reduce(x := x.clone())
        x /= size()
    return x


def gather(x: torch.Tensor) -> list[torch.Tensor]:
    """Every process's tensor, in order; all of one shape."""
    if not distributed.is_initialized():
        return [x]
    everyone = [torch.empty_like(x) for _ in range(size())]
    distributed.all_gather(everyone, x)
    return everyone
