"""Device and precision: chosen from what the machine can do, and what they then do to networks and pictures."""

import json
import re
from pathlib import Path

import pytest
import torch
from torch import nn

from colorlab import machine
from colorlab.machine import Machine, cpu_has_bf16

CPUINFO = Path("/proc/cpuinfo")


def test_the_default_is_what_the_chapters_run_in():
    assert Machine() == Machine("cpu", "float32", channels_last=False)


@pytest.mark.parametrize("precision", ["fp16", "bf16", "", None, torch.bfloat16])
def test_another_precision_is_refused(precision):
    with pytest.raises(ValueError, match="'float32', 'bfloat16' or 'float16'"):
        Machine(precision=precision)


@pytest.mark.skipif(not CPUINFO.exists(), reason="only Linux has /proc/cpuinfo")
@pytest.mark.skipif(not hasattr(torch.cpu, "get_capabilities"), reason="this torch cannot ask the processor, and takes float32")
def test_bfloat16_is_what_the_processor_says():
    flags = re.search(r"^(?:flags|Features)\s*:(.*)$", CPUINFO.read_text(), re.MULTILINE)
    flags = set(flags[1].split()) if flags else set()
    assert cpu_has_bf16() == bool(flags & {"avx512_bf16", "amx_bf16"})


@pytest.mark.parametrize(("flag", "expected"), [("avx512_bf16", True), ("amx_bf16", True), ("avx512_f", False)])
def test_bfloat16_needs_hardware_for_it(monkeypatch, flag, expected):
    found = {"avx512_bf16": False, "amx_bf16": False} | {flag: True}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: found, raising=False)
    assert cpu_has_bf16() is expected


def test_an_older_torch_that_cannot_say_means_no(monkeypatch):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert cpu_has_bf16() is False


def test_detect_on_this_machine():
    found = Machine.detect()
    if torch.cuda.is_available():
        assert found.device == "cuda"
    elif torch.backends.mps.is_available():
        assert found == Machine("mps")
    else:
        assert found == (Machine("cpu", "bfloat16", channels_last=True) if cpu_has_bf16() else Machine())
    assert found == Machine.detect()


@pytest.mark.parametrize(
    ("cuda", "cuda_bf16", "mps", "cpu_bf16", "expected"),
    [
        (True, True, True, True, Machine("cuda", "bfloat16", True)),
        (True, False, False, True, Machine("cuda", "float16", True)),
        (False, False, True, True, Machine("mps")),
        (False, False, False, True, Machine("cpu", "bfloat16", True)),
        (False, False, False, False, Machine()),
    ],
)
def test_detect_on_other_machines(monkeypatch, cuda, cuda_bf16, mps, cpu_bf16, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: cuda_bf16 or including_emulation)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    monkeypatch.setattr(machine, "cpu_has_bf16", lambda: cpu_bf16)
    assert Machine.detect() == expected


@pytest.mark.parametrize("channels_last", [True, False])
def test_layouts(channels_last):
    here = Machine(channels_last=channels_last)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.GroupNorm(1, 4))
    weight = network[0].weight.detach().clone()
    assert here.place(network) is network
    assert torch.equal(network[0].weight, weight)
    assert network[0].weight.is_contiguous(memory_format=torch.channels_last) is channels_last
    for x in (torch.rand(2, 3, 5, 4), torch.rand(2, 3, 5, 4).contiguous(memory_format=torch.channels_last)):
        put = here.put(x)
        assert torch.equal(put, x)
        assert put.is_contiguous(memory_format=torch.channels_last) is channels_last
        assert put.is_contiguous() is not channels_last


@pytest.mark.parametrize(
    ("precision", "dtype"), [("float32", torch.float32), ("bfloat16", torch.bfloat16), ("float16", torch.float16)]
)
def test_autocast(precision, dtype):
    here, linear = Machine(precision=precision), nn.Linear(3, 3)
    with here.autocast():
        assert linear(torch.zeros(1, 3)).dtype == dtype
    assert linear(torch.zeros(1, 3)).dtype == linear.weight.dtype == torch.float32


def test_autocast_takes_a_numbered_device(monkeypatch):
    kinds = []
    monkeypatch.setattr(torch, "autocast", lambda kind, **options: kinds.append((kind, options["enabled"])))
    for precision in ("bfloat16", "float16", "float32"):
        Machine("cuda:1", precision).autocast()
    assert kinds == [("cuda", True), ("cuda", True), ("cuda", False)]


def test_the_header_is_json():
    header = Machine("cpu", "bfloat16", channels_last=True).header()
    assert json.loads(json.dumps(header)) == header
    assert header == {"device": "cpu", "precision": "bfloat16", "channels_last": True, "torch": torch.__version__,
                      "threads": torch.get_num_threads()}  # fmt: skip


@pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device")
def test_on_cuda():
    found = Machine.detect()
    network, x = found.place(nn.Conv2d(3, 4, 3)), found.put(torch.rand(2, 3, 8, 8))
    assert network.weight.is_cuda
    assert x.is_cuda
    assert x.is_contiguous(memory_format=torch.channels_last)
    with found.autocast():
        assert network(x).dtype == machine.DTYPES[found.precision]
