"""Malformed pictures and checkpoints by the thousand, seeded: only our own errors, each naming its file; no crash, no hang.

They run in a process of their own, so that a crash is seen and the memory is theirs alone.
"""

import json
import random
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from test_checkpoint import HEADER, assert_same
from test_checkpoint import tensors as some_tensors
from test_photos import FORMATS, samples_of

import colorlab
from colorlab import checkpoint, inference, photos

HERE = Path(__file__).resolve()
SLOW = 5.0  # seconds that one file may take
HUNGRY = 1000  # MiB that all of them may take, above what is there once the model is loaded


def mutant(data: bytes, seed: list[int]) -> bytes:
    """One to five bytes, or runs of bytes, changed, cut out or put in; half of the time near the file's start."""
    draw, data = np.random.default_rng(seed), bytearray(data)
    near, how = draw.integers(2), draw.integers(5)
    for _ in range(draw.integers(1, 6)):
        place = int(draw.integers(0, min(len(data), 400) if near else len(data)))
        if how == 0:
            del data[place : place + int(draw.integers(1, 40))]
        elif how == 1:
            data[place:place] = draw.bytes(int(draw.integers(1, 40)))
        else:
            data[place] = int(draw.integers(0, 256))
        data = data or bytearray(b"\0")
    return bytes(data)


def try_pictures(folder: Path, count: int) -> dict[str, int]:
    """Read `count` malformed pictures, of all formats in turn, and color every eighth that is small: {"taken", "refused"}."""
    kinds, taken = list(FORMATS), 0
    sources = {kind: samples_of(kind) for kind in kinds}
    for n in range(count):
        kind = kinds[n % len(kinds)]
        path = folder / f"{n % 7}.{kind.lower()}"
        path.write_bytes(mutant(sources[kind][n % len(sources[kind])], [n, *kind.encode()]))
        start = time.perf_counter()
        try:
            rgb = photos.read(path).rgb
            taken += 1
            assert (rgb.dtype, rgb.ndim, rgb.shape[2]) == (np.uint8, 3, 3)
            if n % 8 == 0 and rgb.size < 3_000_000:
                assert colorlab.colorize(path).size == rgb.shape[1::-1]
        except photos.PhotoError as error:
            assert str(path) in str(error)  # noqa: PT017 (either is right)
        assert time.perf_counter() - start < SLOW, f"{kind} {n}"
    return {"taken": taken, "refused": count - taken}


def try_checkpoints(folder: Path, count: int) -> dict[str, int]:
    """Load `count` malformed checkpoints: every bit as it was, or refused. Some are pickles that would write a file."""
    path, taken = folder / "x.safetensors", 0
    checkpoint.save(path, some_tensors(), HEADER)
    whole = path.read_bytes()
    pickled = b"cposix\nsystem\n(S'touch " + str(folder / "owned").encode() + b"'\ntR."
    table, draw = 8 + int.from_bytes(whole[:8], "little"), random.Random(0)
    for n in range(count):
        data = whole[:table] if draw.random() < 0.7 else whole  # most of the time in the JSON, which a parser must take apart
        data = pickled + whole if n % 50 == 0 else mutant(data, [n]) + whole[len(data) :]
        path.write_bytes(data)
        start = time.perf_counter()
        try:
            assert_same(checkpoint.load(path), some_tensors(), HEADER)
            taken += 1
        except checkpoint.CheckpointError as error:
            assert str(path) in str(error)  # noqa: PT017 (either is right)
        assert time.perf_counter() - start < SLOW, str(n)
    assert not (folder / "owned").exists(), "a file's code ran"
    return {"taken": taken, "refused": count - taken}


def peak() -> float:
    """The most memory that this process has held, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform == "linux" else 2**20)


def in_a_process(what: str, folder: Path, count: int) -> dict[str, float]:
    """What such a process found, and the memory that it took."""
    done = subprocess.run([sys.executable, HERE, what, folder, str(count)], capture_output=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:].decode("utf-8", "replace")
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("count", [500, pytest.param(20_000, marks=pytest.mark.exhaustive)])
def test_malformed_pictures(tmp_path, count):
    found = in_a_process("pictures", tmp_path, count)
    assert found["taken"] > count / 5, "changed pixels are a picture still"
    assert found["refused"] > count / 5
    assert found["memory"] < HUNGRY


@pytest.mark.parametrize("count", [200, pytest.param(5_000, marks=pytest.mark.exhaustive)])
def test_malformed_checkpoints(tmp_path, count):
    found = in_a_process("checkpoints", tmp_path, count)
    assert found["refused"] > 0.9 * count
    assert found["memory"] < HUNGRY


if __name__ == "__main__":
    torch.set_num_threads(1)
    inference.load()
    before = peak()
    result = {"pictures": try_pictures, "checkpoints": try_checkpoints}[sys.argv[1]](Path(sys.argv[2]), int(sys.argv[3]))
    print(json.dumps(result | {"memory": peak() - before}))
