"""Checkpoints: tensors and a JSON header in one safetensors file. Written whole or not at all, never pickled.

A checkpoint is a flat dict of named tensors ("generator.stem.0.weight", "optimizer_g.3.exp_avg", …) beside a
header of plain JSON values. A digest over both, kept in the file, tells an altered file from a whole one.
"""

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

FORMAT = "colorlab-1"


class CheckpointError(ValueError):
    """A file that is no checkpoint, or no longer one; the message names it and the cure."""


@dataclass(frozen=True)
class Checkpoint:
    """What `load` returns: `tensors`, by dotted name, and `header`, JSON values."""

    path: Path
    tensors: dict[str, Tensor]
    header: dict

    def section(self, name: str) -> dict[str, Tensor]:
        """The tensors whose name starts with `name.`, without that prefix; CheckpointError if there are none."""
        found = {key.removeprefix(f"{name}."): x for key, x in self.tensors.items() if key.startswith(f"{name}.")}
        if not found:
            held = sorted({key.split(".")[0] for key in self.tensors})
            raise CheckpointError(f"{self.path} holds no {name!r}; it holds {', '.join(held)}.")
        return found

    def restore(self, name: str, module: nn.Module) -> None:
        """Load a section into a network whose parameters must match it; CheckpointError says what does not."""
        try:
            module.load_state_dict(self.section(name))
        except RuntimeError as error:
            raise CheckpointError(
                f"{self.path}: {name!r} does not fit this {type(module).__name__}: {str(error)[:300]} …"
            ) from None


def save(path: str | os.PathLike, tensors: dict[str, Tensor], header: dict) -> None:
    """Write a checkpoint, whole or not at all: a temporary file, flushed to disk, takes the name at the end.

    `tensors`: any dtype and device, by dotted name; `header`: what `json.dumps` takes. Raises OSError when the disk
    is full or the folder cannot be written; an earlier checkpoint of that name is then still there. Chapter 08.
    """
    path = Path(path)
    tensors = {name: x.detach().cpu().contiguous() for name, x in tensors.items()}
    text = json.dumps(header, sort_keys=True)
    data = to_bytes(tensors, {"format": FORMAT, "header": text, "sha256": _digest(tensors, text)})
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")  # one name: what a killed run leaves, the next save takes over
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def load(path: str | os.PathLike) -> Checkpoint:
    """Read a checkpoint onto the CPU. CheckpointError for a missing, cut, altered or foreign file. Chapter 08."""
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path} is not a file. Give the path of a checkpoint that colorlab wrote (….safetensors).")
    try:
        with safe_open(path, framework="pt") as file:
            meta = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()} if meta.get("format") == FORMAT else {}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, RuntimeError, TypeError, KeyError, UnicodeDecodeError, OverflowError) as error:
        raise CheckpointError(f"{path} is cut short or no checkpoint ({error}). Copy it again, or use an earlier one.") from None
    if meta.get("format") != FORMAT:
        raise CheckpointError(f"{path} is a safetensors file, but not a checkpoint of colorlab's ({FORMAT}).")
    if meta.get("sha256") != _digest(tensors, meta.get("header", "")):
        raise CheckpointError(f"{path} was altered since it was written: its digest does not match. Copy it again.")
    try:
        header = json.loads(meta.get("header", ""))
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} has a header that is not JSON ({error}). Use another checkpoint.") from None
    if not isinstance(header, dict):
        raise CheckpointError(f"{path} has a header that is no JSON object. Use another checkpoint.")
    return Checkpoint(path, tensors, header)


def _digest(tensors: dict[str, Tensor], text: str) -> str:
    """SHA-256 over the header's text and every tensor's name, dtype, shape and bytes."""
    digest = hashlib.sha256(text.encode())
    for name, x in sorted(tensors.items()):
        digest.update(f"|{name}|{x.dtype}|{tuple(x.shape)}|".encode())
        digest.update(x.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def flatten_optimizer(name: str, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """An optimiser's state as named tensors: "name.3.exp_avg" is the first moment of its parameter number 3."""
    state = optimizer.state_dict()["state"]
    return {f"{name}.{index}.{key}": torch.as_tensor(x) for index, slots in state.items() for key, x in slots.items()}


def restore_optimizer(name: str, optimizer: torch.optim.Optimizer, saved: Checkpoint) -> None:
    """Put a state that `flatten_optimizer` made back, in each parameter's own memory layout.

    The layout matters: a fused optimiser walks parameter and moments side by side in memory.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    state = {}  # a parameter's number → its slots
    if any(key.startswith(f"{name}.") for key in saved.tensors):
        for key, x in saved.section(name).items():
            index, slot = key.split(".")
            like = parameters[int(index)]
            state.setdefault(int(index), {})[slot] = torch.empty_like(like).copy_(x) if x.shape == like.shape else x.clone()
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
