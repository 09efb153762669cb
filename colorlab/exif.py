"""What a picture's file says beside its pixels: which EXIF tags are kept, and where a note goes. Knows only Pillow."""

import contextlib

from PIL import ExifTags, Image, PngImagePlugin

from colorlab import __version__

_TAG, _IFD = ExifTags.Base, ExifTags.IFD
_KEPT = (_TAG.ImageDescription, _TAG.Make, _TAG.Model, _TAG.XResolution, _TAG.YResolution, _TAG.ResolutionUnit)
_KEPT += (_TAG.Software, _TAG.DateTime, _TAG.Artist, _TAG.HostComputer, _TAG.Copyright)
_DROPPED = (_TAG.MakerNote, _IFD.Interop, _TAG.ExifImageWidth, _TAG.ExifImageHeight)  # false or unreadable in another file


def tags_of(image: Image.Image) -> tuple[int, dict]:
    """The orientation, 1 … 8, and the tags worth keeping; what cannot be read of them counts as absent."""
    turn = 1
    with contextlib.suppress(Exception):  # a picture is not lost over its date
        turn = image.getexif().get(_TAG.Orientation, 1)
        return turn, _kept(image.getexif())
    return turn, {}


def _kept(exif: Image.Exif) -> dict:
    """The tags that are true of the picture in any file. Text becomes the bytes it was: Pillow would write ASCII only."""
    tags = {int(tag): exif[tag] for tag in _KEPT if tag in exif}
    tags = {tag: value.encode("latin-1", "replace") if isinstance(value, str) else value for tag, value in tags.items()}
    for group in (_IFD.Exif, _IFD.GPSInfo):
        if inner := {tag: value for tag, value in exif.get_ifd(group).items() if tag not in _DROPPED}:
            tags[int(group)] = inner | ({_TAG.ColorSpace: 1} if _TAG.ColorSpace in inner else {})  # now it is sRGB
    return tags


def pack(tags: dict) -> bytes:
    """Tags as the bytes that an EXIF block holds; no bytes for no tags."""
    exif = Image.Exif()
    exif.update(tags)
    return exif.tobytes() if tags else b""


def note_of(tags: dict) -> str:
    """The note that `writer_options` put before the description; "" where there is none."""
    noted = tags.get(_TAG.Software, b"").startswith(b"colorlab ")
    return tags.get(_TAG.ImageDescription, b"").decode("utf-8", "replace").partition("\n")[0] if noted else ""


def writer_options(kind: str, packed: bytes, note: str) -> dict:
    """What Pillow's writer of `kind` is told about EXIF and note."""
    exif, tags, text = Image.Exif(), {}, PngImagePlugin.PngInfo()
    with contextlib.suppress(Exception):  # nor over metadata that someone else has broken
        exif.load(packed)
        tags = _kept(exif)
    if note:
        before = tags.get(_TAG.ImageDescription, b"")
        before = before.partition(b"\n")[2] if note_of(tags) else before
        tags[int(_TAG.ImageDescription)] = b"\n".join(filter(None, [note.encode(), before]))
        tags[int(_TAG.Software)] = f"colorlab {__version__}".encode()
        text.add_text("Description", note)
        text.add_text("Software", f"colorlab {__version__}")
    if kind == "TIFF":
        return {"tiffinfo": tags}  # from packed bytes, Pillow would make text again and write ASCII
    if kind == "JPEG" and len(pack(tags)) > 65533:  # more than one segment holds
        tags = {tag: value for tag, value in tags.items() if not isinstance(value, dict)}
    return {"exif": pack(tags)} | ({"pnginfo": text} if kind == "PNG" else {})
