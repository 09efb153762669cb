"""Checkpoints: every tensor comes back as it went, a damaged or foreign file is refused by name and never unpickled,
and a save that fails leaves what was there."""

import errno
import io
import json
import os
import pickle
import random
import struct
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn

from colorlab import checkpoint
from colorlab.checkpoint import CheckpointError

HEADER = {"kind": "test", "step": 7, "lr": 1e-3, "name": "Grün 🙂", "none": None, "list": [1, 2.5, {"a": True}]}


def tensors() -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    values = torch.randn(2, 3, 4, 5, generator=draw)
    kinds = [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.complex64,
             torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool]  # fmt: skip
    held = {f"kinds.{str(kind)[6:]}": (values * 3).to(kind) for kind in kinds}
    return held | {
        "zero_dim.float32": torch.tensor(1.5),
        "zero_dim.int64": torch.tensor(-3),
        "empty.one": torch.empty(0),
        "empty.three": torch.empty(2, 0, 3, dtype=torch.bfloat16),
        "layout.channels_last": values.contiguous(memory_format=torch.channels_last),
        "layout.transposed": values[0, 0].T,
        "layout.slice": values[:, 1:2, ::2],
        "special.values": torch.tensor([float("nan"), float("inf"), -float("inf"), -0.0, 1e-45]),
        "special.größe": torch.ones(1),
        "special.parameter": nn.Parameter(values.clone()),
    }


def same_bits(a: torch.Tensor, b: torch.Tensor) -> bool:
    def raw(x):
        return x.detach().contiguous().reshape(-1).view(torch.uint8)

    return a.dtype == b.dtype and a.shape == b.shape and torch.equal(raw(a), raw(b))


def assert_same(found: checkpoint.Checkpoint, tensors: dict[str, torch.Tensor], header: dict) -> None:
    assert found.header == header
    assert set(found.tensors) == set(tensors)
    assert not [name for name, x in tensors.items() if not same_bits(found.tensors[name], x)]


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "run" / "last.safetensors"


@pytest.fixture
def small(path) -> Path:
    """A small checkpoint on disk."""
    checkpoint.save(path, {"a.weight": torch.arange(6.0).view(2, 3), "a.bias": torch.tensor([1, 2], dtype=torch.uint8)}, HEADER)
    return path


def assert_refused(path, match=None) -> None:
    with pytest.raises(CheckpointError, match=match) as caught:
        checkpoint.load(path)
    assert str(path) in str(caught.value)


# What goes in comes out


def test_round_trip(path):
    checkpoint.save(path, tensors(), HEADER)  # the folder is made
    found = checkpoint.load(path)
    assert_same(found, tensors(), HEADER)
    assert found.path == path
    assert os.listdir(path.parent) == [path.name]


def test_saving_leaves_the_tensors_alone(path):
    mine = tensors()
    layouts = {name: x.stride() for name, x in mine.items()}
    checkpoint.save(str(path), mine, HEADER)
    assert mine["special.parameter"].requires_grad
    assert {name: x.stride() for name, x in mine.items()} == layouts


def test_the_file_is_plain_safetensors_and_json(path):
    checkpoint.save(path, tensors(), HEADER)
    plain = safetensors.torch.load_file(path)
    assert not [name for name, x in tensors().items() if not same_bits(plain[name], x)]
    with safetensors.safe_open(path, framework="pt") as file:
        meta = file.metadata()
    assert json.loads(meta["header"]) == HEADER
    assert meta["format"] == "colorlab-1"


def test_the_same_content_is_the_same_digest_whatever_the_order(path, tmp_path):
    mine = tensors()
    checkpoint.save(path, mine, HEADER)
    checkpoint.save(tmp_path / "b", dict(reversed(mine.items())), dict(reversed(HEADER.items())))
    digests = [safetensors.safe_open(file, framework="pt").metadata()["sha256"] for file in (path, tmp_path / "b")]
    assert digests[0] == digests[1]


def test_no_tensors_at_all(path):
    checkpoint.save(path, {}, {})
    assert_same(checkpoint.load(path), {}, {})


@pytest.mark.parametrize("header", [{"set": {1, 2}}, {"tensor": torch.ones(1)}, {"path": Path()}], ids=["set", "tensor", "path"])
def test_a_header_that_is_not_json_writes_nothing(small, header):
    before = small.read_bytes()
    with pytest.raises(TypeError, match="JSON"):
        checkpoint.save(small, {"a": torch.ones(1)}, header)
    assert small.read_bytes() == before


def test_loading_does_not_depend_on_the_file_afterwards(small):
    found = checkpoint.load(small)
    checkpoint.save(small, {"a.weight": torch.zeros(2, 3)}, {})
    assert torch.equal(found.tensors["a.weight"], torch.arange(6.0).view(2, 3))


# Sections


def test_sections(path):
    checkpoint.save(
        path, {"net.0.weight": torch.ones(2), "net.bias": torch.zeros(1), "network.x": torch.ones(1), "net": torch.ones(3)}, {}
    )
    found = checkpoint.load(path)
    assert sorted(found.section("net")) == ["0.weight", "bias"]
    assert torch.equal(found.section("net")["0.weight"], torch.ones(2))
    with pytest.raises(CheckpointError, match="no 'generator'; it holds net, network") as caught:
        found.section("generator")
    assert str(path) in str(caught.value)


def test_restore(path):
    network, other = nn.Linear(3, 2), nn.Linear(3, 2)
    checkpoint.save(path, {f"net.{name}": x for name, x in network.state_dict().items()}, {})
    found = checkpoint.load(path)
    found.restore("net", other)
    assert torch.equal(network.weight, other.weight)
    assert torch.equal(network.bias, other.bias)


@pytest.mark.parametrize("misfit", [nn.Linear(3, 4), nn.Linear(3, 2, bias=False), nn.Sequential(nn.Linear(3, 2))], ids=str)
def test_restore_says_what_does_not_fit(path, misfit):
    checkpoint.save(path, {f"net.{name}": x for name, x in nn.Linear(3, 2).state_dict().items()}, {})
    with pytest.raises(CheckpointError, match=f"(?s)'net' does not fit this {type(misfit).__name__}: .*(bias|weight)") as caught:
        checkpoint.load(path).restore("net", misfit)
    assert str(path) in str(caught.value)


# Files that are no checkpoint


def test_cut_short_anywhere(small):
    whole = small.read_bytes()
    for length in range(len(whole)):
        small.write_bytes(whole[:length])
        assert_refused(small)
    small.write_bytes(whole + b"\0")
    assert_refused(small)


def test_altered_anywhere(path):
    """Seeded mutations, most of them in the JSON before the tensors: refused, or every bit as it was written."""
    checkpoint.save(path, tensors(), HEADER)
    whole, draw = path.read_bytes(), random.Random(0)
    tables = 8 + int.from_bytes(whole[:8], "little")
    refusals = 0
    for _ in range(400):
        data = bytearray(whole)
        for _ in range(draw.choice((1, 1, 2, 5))):
            at = draw.randrange(tables) if draw.random() < 0.7 else draw.randrange(len(data))
            data[at] = draw.choice((data[at] ^ (1 << draw.randrange(8)), draw.randrange(256), *b'0123456789"{}[],:'))
        path.write_bytes(data)
        try:
            assert_same(checkpoint.load(path), tensors(), HEADER)
        except CheckpointError as error:
            assert str(path) in str(error)  # noqa: PT017 (either is right)
            refusals += 1
    assert refusals > 350


def test_every_byte_of_the_tensors_counts(small):
    whole = small.read_bytes()
    start = 8 + int.from_bytes(whole[:8], "little")
    for at in range(start, len(whole)):
        small.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        assert_refused(small, "altered since it was written")


@pytest.mark.parametrize(
    ("old", "new"),
    [(b'"F32","shape":[2,3]', b'"F32","shape":[3,2]'), (b'"F32"', b'"I32"'), (b'"U8"', b'"I8"'), (b'"a.bias"', b'"b.bias"'),
     (b'"a.bias"', b'"a.base"'),
     (rb"\"step\": 7", rb"\"step\": 8"), (b"0.001", b"0.002")],
)  # fmt: skip
def test_the_tables_count_too(small, old, new):
    whole = small.read_bytes()
    assert whole.count(old) == 1
    changed = whole.replace(old, new)
    small.write_bytes(struct.pack("<Q", int.from_bytes(whole[:8], "little") + len(new) - len(old)) + changed[8:])
    assert_refused(small, "altered since it was written")


@pytest.mark.parametrize("length", [0, 1, 2**31, 2**40, 2**63, 2**64 - 1])
def test_a_table_of_impossible_length(small, length):
    small.write_bytes(struct.pack("<Q", length) + small.read_bytes()[8:])
    assert_refused(small)


@pytest.mark.parametrize(
    "data",
    [b"", b"\0" * 7, b"\0" * 8, b"\0" * 100, b"hello\n", "Grüße, world. ".encode() * 100, b"{}",
     b"\x89PNG\r\n\x1a\n" + b"\0" * 99,
     b"PK\x03\x04" + b"\0" * 99, b"\x02\0\0\0\0\0\0\0{}", b"\x02\0\0\0\0\0\0\0[]", b"\xff" * 200],
    ids=lambda data: repr(data[:12]),
)  # fmt: skip
def test_foreign_bytes(tmp_path, data):
    path = tmp_path / "foreign.safetensors"
    path.write_bytes(data)
    assert_refused(path)


@pytest.mark.parametrize("meta", [None, {"format": "pt"}, {"format": "colorlab-2"}, {"header": "{}"}], ids=str)
def test_another_projects_safetensors(tmp_path, meta):
    path = tmp_path / "theirs.safetensors"
    safetensors.torch.save_file({"weight": torch.ones(2)}, path, meta)
    assert_refused(path, r"not a checkpoint of colorlab's \(colorlab-1\)")


@pytest.mark.parametrize(
    "text", [None, "", "{", "[1]", "7", "null", "NaN}", "[" * 100_000, '{"a": }'], ids=lambda text: repr(text)[:9]
)
def test_a_header_that_is_no_json_object(tmp_path, text):
    path, held = tmp_path / "odd.safetensors", {"a": torch.ones(2)}
    meta = {"format": checkpoint.FORMAT, "sha256": checkpoint._digest(held, text or "")}
    safetensors.torch.save_file(held, path, meta if text is None else meta | {"header": text})
    assert_refused(path, "a header that is no")


def test_no_digest(tmp_path):
    path = tmp_path / "odd.safetensors"
    safetensors.torch.save_file({"a": torch.ones(2)}, path, {"format": checkpoint.FORMAT, "header": "{}"})
    assert_refused(path, "digest")


@pytest.mark.parametrize("dtype", ["F8_E4M3", "F8_E8M0", "F4", "F6_E2M3", "C64", "U16", "U64", "I8", "BOOL", "F99", ""])
def test_kinds_of_numbers_that_nobody_asked_for(tmp_path, dtype):
    size = {"F4": 0.5, "F6_E2M3": 0.75, "C64": 8, "U16": 2, "U64": 8}.get(dtype, 1)
    table = {"__metadata__": {"format": checkpoint.FORMAT, "header": "{}", "sha256": "0" * 64},
             "a": {"dtype": dtype, "shape": [int(24 / size)], "data_offsets": [0, 24]}}  # fmt: skip
    text = json.dumps(table).encode()
    (tmp_path / "a").write_bytes(struct.pack("<Q", len(text)) + text + bytes(24))
    assert_refused(tmp_path / "a")


def test_a_folder_and_nothing(tmp_path):
    assert_refused(tmp_path, "is not a file")
    assert_refused(tmp_path / "missing.safetensors", "is not a file")
    assert_refused(tmp_path / "missing" / "last.safetensors", "is not a file")


def test_a_file_that_may_not_be_read(small, monkeypatch):
    def denied(*args, **options):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(checkpoint, "safe_open", denied)
    assert_refused(small, "Permission denied")


class Bomb:
    """Runs on unpickling."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return (os.mkdir, (str(self.mark),))


def test_nothing_is_ever_unpickled(tmp_path):
    mark, path = tmp_path / "ran", tmp_path / "bomb.safetensors"
    zipped = io.BytesIO()
    torch.save({"state": Bomb(mark)}, zipped)
    legacy = io.BytesIO()
    torch.save({"state": Bomb(mark)}, legacy, _use_new_zipfile_serialization=False)
    for data in (pickle.dumps(Bomb(mark)), zipped.getvalue(), legacy.getvalue()):
        path.write_bytes(data)
        assert_refused(path)
        assert not mark.exists()
    pickle.loads(pickle.dumps(Bomb(mark)))
    assert mark.exists()  # it would have


# Written whole or not at all


def full(*args, **options):
    raise OSError(errno.ENOSPC, "No space left on device")


class FullDisk(io.RawIOBase):
    def __init__(self, real):
        self.real = real

    def write(self, data):
        self.real.write(data[: len(data) // 2])
        self.real.flush()
        full()

    def fileno(self):
        return self.real.fileno()

    def close(self):
        self.real.close()
        super().close()


@pytest.mark.parametrize("fails", ["open", "write", "fsync", "replace"])
@pytest.mark.parametrize("earlier", [True, False])
def test_a_failed_save_leaves_what_was_there(path, monkeypatch, fails, earlier):
    path.parent.mkdir()
    if earlier:
        checkpoint.save(path, tensors(), HEADER)
    with monkeypatch.context() as patch:
        if fails == "write":
            patch.setattr(checkpoint, "open", lambda *args: FullDisk(io.FileIO(args[0], "w")), raising=False)
        elif fails == "open":
            patch.setattr(checkpoint, "open", full, raising=False)
        else:
            patch.setattr(os, fails, full)
        with pytest.raises(OSError, match="No space left"):
            checkpoint.save(path, {"new": torch.ones(10)}, {})
    assert os.listdir(path.parent) == ([path.name] if earlier else [])
    if earlier:
        assert_same(checkpoint.load(path), tensors(), HEADER)
    checkpoint.save(path, {"new": torch.ones(10)}, {})
    assert_same(checkpoint.load(path), {"new": torch.ones(10)}, {})


@pytest.mark.parametrize("tensors", [{"a": torch.ones(1)}, {"a": torch.ones(100_000)}], ids=["small", "large"])
def test_the_name_is_taken_only_after_the_bytes_are_on_disk(path, monkeypatch, tensors):
    happened, fsync, replace = [], os.fsync, os.replace

    def seen_fsync(number):
        happened.append(("fsync", os.fstat(number).st_size, path.exists()))
        fsync(number)

    def seen_replace(source, target):
        happened.append(("replace", os.stat(source).st_size, path.exists()))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", seen_fsync)
    monkeypatch.setattr(os, "replace", seen_replace)
    checkpoint.save(path, tensors, HEADER)
    size = path.stat().st_size
    assert happened == [("fsync", size, False), ("replace", size, False)]


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("I am not a folder")
    with pytest.raises(OSError, match="file"):
        checkpoint.save(tmp_path / "file" / "last.safetensors", {}, {})
    (tmp_path / "folder.safetensors").mkdir()
    with pytest.raises(OSError, match="folder"):
        checkpoint.save(tmp_path / "folder.safetensors", {}, {})
    assert sorted(os.listdir(tmp_path)) == ["file", "folder.safetensors"]


# Optimizers


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD])
def test_an_optimizer_comes_back_in_each_parameters_layout(path, kind, layout):
    def make():
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 1)).to(memory_format=layout)
        return network, kind(network.parameters(), lr=0.1, **({"momentum": 0.9} if kind is torch.optim.SGD else {}))

    def steps(network, optimizer, count):
        for n in range(count):
            optimizer.zero_grad()
            network(torch.full((1, 3, 5, 5), 0.1 * n + optimizer.param_groups[0]["lr"])).square().sum().backward()
            optimizer.step()

    network, optimizer = make()
    steps(network, optimizer, 3)
    held = checkpoint.flatten_optimizer("opt", optimizer)
    checkpoint.save(path, held | {f"net.{name}": x for name, x in network.state_dict().items()}, {})
    found = checkpoint.load(path)
    again, restored = make()
    found.restore("net", again)
    checkpoint.restore_optimizer("opt", restored, found)
    for p, state in restored.state.items():
        for slot in state.values():
            assert slot.ndim < 4 or slot.stride() == p.stride()
    steps(network, optimizer, 3)
    steps(again, restored, 3)
    assert all(map(torch.equal, network.parameters(), again.parameters()))


def test_names_in_an_optimizers_section():
    network = nn.Linear(2, 1)
    optimizer = torch.optim.Adam(network.parameters())
    network(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    slots = ("step", "exp_avg", "exp_avg_sq")
    assert set(checkpoint.flatten_optimizer("opt", optimizer)) == {f"opt.{n}.{slot}" for n in (0, 1) for slot in slots}


def test_an_optimizer_that_has_not_moved_yet(path):
    optimizer = torch.optim.Adam([nn.Parameter(torch.ones(2))])
    checkpoint.save(path, checkpoint.flatten_optimizer("opt", optimizer), {})
    moved = nn.Parameter(torch.ones(2))
    moved.grad = torch.ones(2)
    other = torch.optim.Adam([moved])
    other.step()
    checkpoint.restore_optimizer("opt", other, checkpoint.load(path))
    assert not other.state_dict()["state"]
