"""Archives of photographs from their real addresses: fetched, proved by their checksum, unpacked, or nothing.

Knows the standard library and tqdm. The course needs none of it: ColorWorld, the sample photographs and the reader's own
folder are enough. A transfer that is cut goes on where it stopped; a second call finds the work done.
"""

import contextlib
import hashlib
import http.client
import os
import secrets
import shutil
import stat
import tarfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import IO

from tqdm.auto import tqdm

from colorlab import __version__

TIMEOUT = 30.0  # seconds without a byte until a transfer counts as cut
_CURE = "The course works without it: use ColorWorld, or a folder of your own photographs."


class DownloadError(OSError):
    """A download or an unpacking that failed: names the address or the file, what is wrong, and what to do instead."""


@dataclass(frozen=True)
class Archive:
    """A data set on the network."""

    title: str
    url: str
    size: int  # bytes
    checksum: str  # algorithm:hexadecimal
    license: str


# Sizes and checksums as TensorFlow Datasets publishes them, in tensorflow_datasets/datasets/*/checksums.tsv (tf_flowers,
# oxford_iiit_pet, imagenette); for the latter two torchvision publishes MD5s of the same archives.
ARCHIVES = {
    "flowers": Archive(
        "3,670 photographs of five kinds of flowers",
        "https://storage.googleapis.com/download.tensorflow.org/example_images/flower_photos.tgz",
        228_813_984,
        "sha256:4c54ace7911aaffe13a365c34f650e71dd5bf1be0a58b464e5a7183e3e595d9c",
        "CC BY 2.0; LICENSE.txt in the archive names each photographer",
    ),
    "pets": Archive(
        "Oxford-IIIT Pet: 7,390 photographs of cats and dogs",
        "https://thor.robots.ox.ac.uk/~vgg/data/pets/images.tar.gz",
        791_918_971,
        "sha256:67195c5e1c01f1ab5f9b6a5d22b8c27a580d896ece458917e61d459337fa318d",
        "CC BY-SA 4.0; each photograph belongs to its photographer",
    ),
    "imagenette": Archive(
        "Imagenette: 13,394 photographs of ten kinds of things from ImageNet, short side 320",
        "https://s3.amazonaws.com/fast-ai-imageclas/imagenette2-320.tgz",
        341_663_724,
        "sha256:569b4497c98db6dd29f335d1f109cf315fe127053cedf69010d047f0188e158c",
        "ImageNet's terms: non-commercial research and education only; each photograph belongs to its photographer",
    ),
}


def download(name: str, folder: str | os.PathLike = "data") -> Path:
    """Download and unpack a data set of `ARCHIVES` into folder/name, and return that path; at once if it is there.

    Raises ValueError for a name that is none, and DownloadError. Chapter 02.
    """
    if name not in ARCHIVES:
        raise ValueError(f"There is no data set {name!r} to download, only {', '.join(ARCHIVES)}.")
    folder, archive = Path(folder), ARCHIVES[name]
    if (folder / name).is_dir():
        return folder / name
    folder.mkdir(parents=True, exist_ok=True)
    free, needed = shutil.disk_usage(folder).free, 2 * archive.size  # packed and unpacked; photographs do not shrink
    if free < needed:
        raise DownloadError(f"{name} needs {needed / 1e6:.0f} MB in {folder}, which has {free / 1e6:.0f} MB left. {_CURE}")
    packed = fetch(archive.url, folder / f"{name}.archive", archive.checksum)
    unpack(packed, folder / name)
    packed.unlink()
    return folder / name


def fetch(url: str, path: str | os.PathLike, checksum: str | None = None) -> Path:
    """Fetch one file, with a progress bar, and return its path; a file that is there and has the checksum is left alone.

    `checksum` is "sha256:…" or of another of hashlib's algorithms. With one, a transfer that was cut, kept as path.part,
    goes on where it stopped; without one it starts anew. Raises ValueError for another scheme than http(s); DownloadError.
    """
    if not url.startswith(("http://", "https://")):
        raise ValueError(f"An address starts with http:// or https://, got {url!r}.")
    path = Path(path)
    part = path.with_name(path.name + ".part")
    if path.exists() and _has(path, checksum):
        return path
    if checksum is None:
        part.unlink(missing_ok=True)
    resumed = part.exists()
    path.parent.mkdir(parents=True, exist_ok=True)
    _transfer(url, part)
    if not _has(part, checksum):
        part.unlink()
        if resumed:  # it may have begun with another version of the file: once more, from nothing
            return fetch(url, path, checksum)
        raise DownloadError(f"{url} is not the file it was: its checksum is not {checksum}. It was not kept. {_CURE}")
    os.replace(part, path)
    return path


def unpack(packed: str | os.PathLike, folder: str | os.PathLike) -> Path:
    """Unpack a .zip or a .tar, .tar.gz … into a new folder, and return that; whole, or not at all.

    Only plain files and folders that stay inside are accepted: no absolute path, no "..", no link, no device.
    Raises DownloadError.
    """
    packed, folder = Path(packed), Path(folder)
    part = folder.with_name(f".{folder.name}.{secrets.token_hex(8)}.part")
    try:
        part.mkdir(parents=True)
        with contextlib.closing(_members(packed)) as members:
            for name, file in members:
                place = PureWindowsPath(name)  # sees drives, and both kinds of slashes, on every system
                if place.anchor or ".." in place.parts:
                    raise DownloadError(f"it would write outside its folder, to {name!r}")
                target = part.joinpath(*place.parts)
                (target if file is None else target.parent).mkdir(parents=True, exist_ok=True)
                if file is not None:
                    with open(target, "wb") as out:
                        shutil.copyfileobj(file, out)
        part.rename(folder)
    except Exception as error:
        why = error or type(error).__name__
        raise DownloadError(f"{packed} cannot be unpacked ({why}). Delete it and download it again. {_CURE}") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return folder


def _members(packed: Path) -> Iterator[tuple[str, IO[bytes] | None]]:
    """The name and the contents (None: it is a folder) of each member of an archive."""
    if zipfile.is_zipfile(packed):
        with zipfile.ZipFile(packed) as archive:
            for info in archive.infolist():
                if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
                    raise DownloadError(f"it holds a link or a device, {info.filename!r}")
                with archive.open(info) as file:
                    yield info.filename, None if info.is_dir() else file
    else:
        with tarfile.open(packed) as archive:
            for member in archive:
                if not (member.isfile() or member.isdir()):
                    raise DownloadError(f"it holds a link or a device, {member.name!r}")
                yield member.name, archive.extractfile(member)


def _has(path: Path, checksum: str | None) -> bool:
    if checksum is None:
        return True
    algorithm, _, expected = checksum.partition(":")
    with open(path, "rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest() == expected.lower()


def _transfer(url: str, part: Path) -> None:
    """Append to `part` what it lacks; after a cut, go on for as long as each try brings more."""
    while True:
        start = part.stat().st_size if part.exists() else 0
        headers = {"User-Agent": f"colorlab/{__version__}"} | ({"Range": f"bytes={start}-"} if start else {})
        try:
            with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT) as response:
                return _append(response, part, start)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code != 416 or not start:
                raise DownloadError(f"{url} answers {error.code} {error.reason}. {_CURE}") from error
            if error.headers.get("Content-Range") == f"bytes */{start}":
                return  # there is nothing after what we have: it was complete
            part.unlink()  # we have more than there is: from nothing
        except (OSError, http.client.HTTPException) as error:
            if not part.exists() or part.stat().st_size <= start:
                again = "Check the network and the room on the disk, and call again: it goes on where it stopped."
                raise DownloadError(f"{url} cannot be downloaded ({error or type(error).__name__}). {again} {_CURE}") from error


def _append(response: http.client.HTTPResponse, part: Path, start: int) -> None:
    """Write a response's body to `part`, from `start` on if that is what came, from nothing if it is the whole file."""
    if response.status != 206:
        start = 0
    elif not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
        part.unlink()
        raise ConnectionError("another part came than was asked for")
    length = response.headers.get("Content-Length")
    total = None if length is None else start + int(length)
    bar = tqdm(desc=part.stem, total=total, initial=start, unit="B", unit_scale=True)
    with open(part, "ab" if start else "wb") as file, bar:
        while block := response.read1(2**16):
            bar.update(file.write(block))
    if total not in (None, part.stat().st_size):
        raise ConnectionError(f"it was cut after {part.stat().st_size} of {total} bytes")
