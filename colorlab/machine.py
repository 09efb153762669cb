"""Where a network runs and in which precision: one object, chosen from what the machine can do. Knows only torch."""

from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass

import torch
from torch import nn

DTYPES = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}  # what autocast computes in


@dataclass(frozen=True)
class Machine:
    """Device, precision and memory layout. The default, a CPU in float32, is what the chapters run in."""

    device: str = "cpu"  # "cpu", "cuda", "cuda:1", "mps"
    precision: str = "float32"  # or "bfloat16", "float16": autocast; the weights themselves stay float32
    channels_last: bool = False  # NHWC: what bfloat16 convolutions are fast in

    def __post_init__(self):
        if self.precision not in DTYPES:
            raise ValueError(f"precision is 'float32', 'bfloat16' or 'float16', got {self.precision!r}.")

    @classmethod
    def detect(cls) -> "Machine":
        """The fastest this machine can do: CUDA before MPS before CPU, bfloat16 where the hardware has it.

        A GPU without it (before Ampere: T4, V100) takes float16, for which `scaling` is there.
        """
        if torch.cuda.is_available():
            bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
            return cls("cuda", "bfloat16" if bf16 else "float16", channels_last=True)
        if torch.backends.mps.is_available():
            return cls("mps")
        return cls("cpu", "bfloat16", channels_last=True) if cpu_has_bf16() else cls()

    def place(self, module: nn.Module) -> nn.Module:
        """Move a network to the device, in this machine's memory layout."""
        return module.to(self.device, memory_format=torch.channels_last if self.channels_last else torch.preserve_format)

    def put(self, x: torch.Tensor) -> torch.Tensor:
        """Move a picture tensor (B, C, H, W) to the device, in this machine's memory layout."""
        layout = torch.channels_last if self.channels_last else torch.contiguous_format
        return x.to(self.device, non_blocking=True).contiguous(memory_format=layout)

    def autocast(self) -> AbstractContextManager:
        """The context in which networks run forward."""
        kind = self.device.split(":")[0]
        dtype = DTYPES[self.precision]
        return torch.autocast(kind, dtype=dtype or torch.bfloat16, enabled=dtype is not None)

    def header(self) -> dict:
        """What a checkpoint records of the machine that it was trained on."""
        return asdict(self) | {"torch": torch.__version__, "threads": torch.get_num_threads()}


def cpu_has_bf16() -> bool:
    """Whether this CPU multiplies bfloat16 in hardware (AVX-512 BF16 or AMX); emulating it would be slower."""
    capable = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return bool(capable.get("avx512_bf16") or capable.get("amx_bf16"))
