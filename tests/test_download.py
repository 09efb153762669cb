"""Downloads against a server in this process, and archives that mean harm. Nothing here leaves the machine."""

import hashlib
import importlib.util
import io
import re
import stat
import tarfile
import threading
import zipfile
from collections import namedtuple
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from colorlab import download as module
from colorlab.download import ARCHIVES, Archive, DownloadError, download, fetch, unpack

DATA = np.random.default_rng(0).bytes(300_000)


def checksum(data: bytes, algorithm: str = "sha256") -> str:
    return f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"


class Server(ThreadingHTTPServer):
    """Serves `data`; the attributes say what is wrong with it."""

    daemon_threads = True
    data = DATA
    ranges = True  # False: always the whole file
    cut: int | None = None  # bytes after which each answer breaks off
    cuts = 10**9  # how many answers do
    status: int | None = None  # answered instead
    shift = 0  # how far an answered range is from the one that was asked for
    says_size = True  # in a 416
    hang = False  # after half of the file

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked, self.served, self.released = [], [], threading.Event()  # ranges asked for, bytes served, an end to hanging

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/flowers.tgz"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server, asked = self.server, self.headers["Range"]
        server.asked.append(asked)
        start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1]) if asked and server.ranges else 0
        if server.status or start >= len(server.data):
            self.send_response(server.status or 416)
            if server.says_size:
                self.send_header("Content-Range", f"bytes */{len(server.data)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        body = server.data[start:]
        self.send_response(206 if asked and server.ranges else 200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Range", f"bytes {start + server.shift}-{len(server.data) - 1}/{len(server.data)}")
        self.end_headers()
        if server.cut is not None and server.cuts > 0:
            server.cuts -= 1
            body = body[: server.cut]
        if server.hang:
            body = server.data[start : len(server.data) // 2]
        server.served.append(len(body))
        self.wfile.write(body)
        if server.hang:
            self.wfile.flush()
            server.released.wait(20)

    def log_message(self, *arguments) -> None:
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.released.set()
        server.shutdown()
        thread.join()


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


@pytest.mark.parametrize("algorithm", ["sha256", "md5"])
def test_whole(server, tmp_path, algorithm):
    path = fetch(server.url, tmp_path / "new" / "a.tgz", checksum(DATA, algorithm))
    assert path == tmp_path / "new" / "a.tgz"
    assert path.read_bytes() == DATA
    assert server.asked == [None]
    fetch(server.url, path, checksum(DATA, algorithm).upper().replace(algorithm.upper(), algorithm))
    assert server.asked == [None]  # the second time it was there
    assert names(path.parent) == ["a.tgz"]


def test_without_a_checksum(server, tmp_path):
    path = tmp_path / "a.tgz"
    (tmp_path / "a.tgz.part").write_bytes(b"of another file")  # nothing could prove that this is the beginning
    assert fetch(server.url, path).read_bytes() == DATA
    path.write_bytes(b"mine")
    assert fetch(server.url, path).read_bytes() == b"mine"
    assert server.asked == [None]


def test_another_file_of_that_name_is_replaced(server, tmp_path):
    (tmp_path / "a.tgz").write_bytes(b"old")
    assert fetch(server.url, tmp_path / "a.tgz", checksum(DATA)).read_bytes() == DATA


def test_cut_and_gone_on_with_in_one_call(server, tmp_path):
    server.cut, server.cuts = 100_000, 2
    assert fetch(server.url, tmp_path / "a.tgz", checksum(DATA)).read_bytes() == DATA
    assert server.asked == [None, "bytes=100000-", "bytes=200000-"]
    assert server.served == [100_000, 100_000, 100_000]  # nothing twice


def test_cut_and_gone_on_with_in_a_second_call(server, tmp_path):
    path = tmp_path / "a.tgz"
    (tmp_path / "a.tgz.part").write_bytes(DATA[:250_000])
    server.cut = 0
    with pytest.raises(DownloadError, match=r"127\.0\.0\.1.*call again: it goes on.*ColorWorld"):
        fetch(server.url, path, checksum(DATA))
    assert names(tmp_path) == ["a.tgz.part"]
    server.cut = None
    assert fetch(server.url, path, checksum(DATA)).read_bytes() == DATA
    assert server.asked == ["bytes=250000-"] * 2
    assert server.served == [0, 50_000]
    assert names(tmp_path) == ["a.tgz"]


def test_a_server_without_ranges_starts_anew(server, tmp_path):
    server.ranges, server.cut, server.cuts = False, 100_000, 1
    assert fetch(server.url, tmp_path / "a.tgz", checksum(DATA)).read_bytes() == DATA
    assert server.served == [100_000, 300_000]


def test_a_server_without_ranges_that_always_cuts_is_given_up(server, tmp_path):
    server.ranges, server.cut = False, 100_000
    with pytest.raises(DownloadError, match="cut after 100000 of 300000 bytes"):
        fetch(server.url, tmp_path / "a.tgz", checksum(DATA))
    assert len(server.served) == 2


def test_a_range_that_was_not_asked_for_is_not_appended(server, tmp_path):
    (tmp_path / "a.tgz.part").write_bytes(DATA[:250_000])
    server.shift = -5
    with pytest.raises(DownloadError, match="another part came"):
        fetch(server.url, tmp_path / "a.tgz", checksum(DATA))
    server.shift = 0
    assert fetch(server.url, tmp_path / "a.tgz", checksum(DATA)).read_bytes() == DATA


@pytest.mark.parametrize("says_size", [True, False])
@pytest.mark.parametrize("length", [300_000, 300_007])
def test_nothing_left_to_ask_for(server, tmp_path, length, says_size):
    """416: what was kept is already everything, or more than there is."""
    server.says_size = says_size
    (tmp_path / "a.tgz.part").write_bytes((DATA + b"too much")[:length])
    assert fetch(server.url, tmp_path / "a.tgz", checksum(DATA)).read_bytes() == DATA
    assert server.asked == [f"bytes={length}-", None][: 1 if says_size and length == 300_000 else 2]


def test_a_beginning_of_another_version_is_fetched_anew_once(server, tmp_path):
    (tmp_path / "a.tgz.part").write_bytes(b"x" * 1000)
    assert fetch(server.url, tmp_path / "a.tgz", checksum(DATA)).read_bytes() == DATA
    assert server.asked == ["bytes=1000-", None]


@pytest.mark.parametrize("kept", [0, 1000])
def test_wrong_checksum(server, tmp_path, kept):
    if kept:
        (tmp_path / "a.tgz.part").write_bytes(DATA[:kept])
    with pytest.raises(DownloadError, match=r"flowers\.tgz is not the file it was.*ColorWorld"):
        fetch(server.url, tmp_path / "a.tgz", checksum(b"something else"))
    assert names(tmp_path) == []
    assert len(server.asked) == (2 if kept else 1)


@pytest.mark.parametrize("status", [404, 403, 500, 416])
def test_refusals(server, tmp_path, status):
    server.status = status
    with pytest.raises(DownloadError, match=rf"{re.escape(server.url)} answers {status} .*ColorWorld, or a folder"):
        fetch(server.url, tmp_path / "a.tgz", checksum(DATA))
    assert names(tmp_path) == []


def test_no_network(tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Server() as server:
        url = server.url
    with pytest.raises(DownloadError, match=rf"{re.escape(url)} cannot be downloaded.*refused.*ColorWorld"):
        fetch(url, tmp_path / "a.tgz", checksum(DATA))
    assert names(tmp_path) == []


def test_a_server_that_hangs(server, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "TIMEOUT", 0.2)
    server.hang = True
    with pytest.raises(DownloadError, match="timed out"):
        fetch(server.url, tmp_path / "a.tgz", checksum(DATA[:1]))
    assert (tmp_path / "a.tgz.part").read_bytes() == DATA[:150_000]  # what came is kept
    assert server.asked == [None, "bytes=150000-"]


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://example.org/a.tgz", "flowers.tgz"])
def test_other_schemes(url, tmp_path):
    with pytest.raises(ValueError, match="http"):
        fetch(url, tmp_path / "a.tgz")


# ---------------------------------------------------------------------------------------------------- archives

CONTENTS = {"photos/roses/1 ü.jpg": b"rose", "photos/daisy/2.jpg": b"daisy" * 1000, "photos/LICENSE.txt": b"CC BY"}


def tarball(members: dict[str, bytes], special: tarfile.TarInfo | None = None) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        folder = tarfile.TarInfo("photos")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        if special:
            archive.addfile(special)
    return buffer.getvalue()


def zipped(members: dict[str, bytes], mode: int = 0) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("photos/", b"")
        for name, data in members.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            archive.writestr(info, data)
    return buffer.getvalue()


@pytest.mark.parametrize("make", [tarball, zipped])
def test_unpacked(make, tmp_path):
    (tmp_path / "a").write_bytes(make(CONTENTS))
    folder = unpack(tmp_path / "a", tmp_path / "deep" / "flowers")
    assert {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()} == CONTENTS
    assert names(tmp_path / "deep") == ["flowers"]


def special(kind: bytes, target: str = "", name: str = "photos/innocent") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


EVIL = {
    "tar parent": lambda out: tarball({f"photos/../../{out.name}": b"evil"}),
    "tar absolute": lambda out: tarball({str(out): b"evil"}),
    "tar symbolic link": lambda out: tarball({}, special(tarfile.SYMTYPE, str(out))),
    "tar symbolic link inside": lambda out: tarball(CONTENTS, special(tarfile.SYMTYPE, "LICENSE.txt")),
    "tar hard link": lambda out: tarball({}, special(tarfile.LNKTYPE, f"../{out.name}")),
    "tar character device": lambda out: tarball({}, special(tarfile.CHRTYPE)),
    "tar block device": lambda out: tarball({}, special(tarfile.BLKTYPE)),
    "tar pipe": lambda out: tarball({}, special(tarfile.FIFOTYPE)),
    "tar folder outside": lambda out: tarball({}, special(tarfile.DIRTYPE, name=f"../{out.name}")),
    "zip parent": lambda out: zipped({f"../{out.name}": b"evil"}),
    "zip absolute": lambda out: zipped({str(out): b"evil"}),
    "zip of Windows, parent": lambda out: zipped({f"..\\{out.name}": b"evil"}),
    "zip of Windows, drive": lambda out: zipped({"C:evil": b"evil"}),
    "zip of Windows, share": lambda out: zipped({"\\\\host\\share\\evil": b"evil"}),
    "zip symbolic link": lambda out: zipped({"photos/innocent": str(out).encode()}, stat.S_IFLNK | 0o777),
    "zip device": lambda out: zipped({"photos/innocent": b""}, stat.S_IFCHR | 0o666),
}


@pytest.mark.parametrize("evil", EVIL)
def test_evil_archives_leave_nothing(evil, tmp_path):
    out = tmp_path / "victim"
    packed = tmp_path / "evil.archive"
    packed.write_bytes(EVIL[evil](out))
    with pytest.raises(DownloadError, match=r"evil\.archive cannot be .* \(it (would write outside|holds a link or a device)"):
        unpack(packed, tmp_path / "flowers")
    assert names(tmp_path) == ["evil.archive"]


@pytest.mark.parametrize("make", [tarball, zipped])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_broken_archives_leave_nothing(make, share, tmp_path):
    data = make(CONTENTS | {"photos/noise.jpg": DATA})
    (tmp_path / "a").write_bytes(data[: int(share * len(data))])
    with pytest.raises(DownloadError, match="cannot be unpacked"):
        unpack(tmp_path / "a", tmp_path / "flowers")
    assert names(tmp_path) == ["a"]


def test_interrupted_unpacking_leaves_nothing(tmp_path, monkeypatch):
    (tmp_path / "a").write_bytes(tarball(CONTENTS))
    calls = []

    def interrupt(source, target):
        calls.append(target.write(b"half"))
        raise KeyboardInterrupt

    monkeypatch.setattr(module.shutil, "copyfileobj", interrupt)
    with pytest.raises(KeyboardInterrupt):
        unpack(tmp_path / "a", tmp_path / "flowers")
    assert calls == [4]
    assert names(tmp_path) == ["a"]


def test_a_folder_that_is_there_is_not_touched(tmp_path):
    (tmp_path / "a").write_bytes(tarball(CONTENTS))
    (tmp_path / "flowers").mkdir()
    (tmp_path / "flowers" / "mine.jpg").write_bytes(b"mine")
    with pytest.raises(DownloadError, match="cannot be unpacked"):
        unpack(tmp_path / "a", tmp_path / "flowers")
    assert names(tmp_path / "flowers") == ["mine.jpg"]
    assert names(tmp_path) == ["a", "flowers"]


# ---------------------------------------------------------------------------------------------------- data sets


@pytest.fixture
def flowers(server, monkeypatch):
    server.data = tarball(CONTENTS)
    monkeypatch.setitem(ARCHIVES, "flowers", Archive("Flowers", server.url, len(server.data), checksum(server.data), "CC BY"))
    return server


def test_download(flowers, tmp_path):
    folder = download("flowers", tmp_path / "data")
    assert folder == tmp_path / "data" / "flowers"
    assert (folder / "photos" / "LICENSE.txt").read_bytes() == b"CC BY"
    assert names(tmp_path / "data") == ["flowers"]  # neither the archive nor a part
    flowers.status = 500
    assert download("flowers", str(tmp_path / "data")) == folder
    assert len(flowers.asked) == 1


def test_download_interrupted_while_unpacking_needs_no_network_again(flowers, tmp_path, monkeypatch):
    def interrupt(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(module.shutil, "copyfileobj", interrupt)
        download("flowers", tmp_path)
    assert names(tmp_path) == ["flowers.archive"]
    assert (download("flowers", tmp_path) / "photos").is_dir()
    assert len(flowers.asked) == 1


def test_download_needs_room(flowers, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(module.shutil, "disk_usage", lambda folder: usage(10, 9, 1))
    with pytest.raises(DownloadError, match="flowers needs .* MB .* left"):
        download("flowers", tmp_path)
    assert flowers.asked == []


def test_unknown_data_set(tmp_path):
    with pytest.raises(ValueError, match="no data set 'cats' .* only flowers, pets, imagenette"):
        download("cats", tmp_path)


def test_the_data_sets_are_what_others_publish():
    """The form of each entry; and fastai, which is read here and not imported, publishes the size of one of them."""
    for archive in ARCHIVES.values():
        algorithm, _, digest = archive.checksum.partition(":")
        assert algorithm == "sha256"
        assert re.fullmatch("[0-9a-f]{64}", digest)
        assert archive.url.startswith("https://")
        assert archive.title
        assert "CC BY" in archive.license or "ImageNet" in archive.license
    spec = importlib.util.find_spec("fastai")
    if spec is None:
        pytest.skip("fastai is not installed")
    checks = Path(spec.submodule_search_locations[0], "data", "download_checks.py").read_text()
    assert re.search(rf"{re.escape(ARCHIVES['imagenette'].url)}': \((\d+)", checks)[1] == str(ARCHIVES["imagenette"].size)
