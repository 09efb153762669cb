"""How the pixels of any picture become 8-bit sRGB: deep greys, and embedded colour profiles. Knows only Pillow and numpy."""

import io

import numpy as np
from PIL import Image, ImageCms

# EXIF orientation → which way the rows and the columns are stored; from 5 on, rows are columns.
_FLIPS = {2: (1, -1), 3: (-1, -1), 4: (-1, 1), 6: (-1, 1), 7: (-1, -1), 8: (1, -1)}


def stored(upright: np.ndarray, turn: int) -> np.ndarray:
    """The view of an upright array, (H, W, …), whose rows and columns are those of the file with that orientation."""
    rows, columns = _FLIPS.get(turn, (1, 1))
    return (upright.swapaxes(0, 1) if turn in (5, 6, 7, 8) else upright)[::rows, ::columns]


def white_of(image: Image.Image) -> int:
    """What stands for white in a grey of more than 8 bits; 0 for any other picture."""
    if image.mode not in ("I", "F"):
        return 65535 if image.mode.startswith("I;16") else 0
    values = np.asarray(image)
    brightest = values.max(initial=0, where=np.isfinite(values))
    return next((white for white in ((65535,) if image.mode == "I" else (1, 255, 65535)) if brightest <= white), 2**31 - 1)


def to_8_bits(strip: Image.Image, white: int) -> Image.Image:
    """I;16 (of either byte order), I or F → L, or LA where one of the greys stands for transparent."""
    values = np.asarray(strip)
    grey = np.nan_to_num(values.astype(np.float32), copy=False, posinf=0, neginf=0) * np.float32(255 / white)
    small = Image.fromarray((grey + 0.5).clip(0, 255).astype(np.uint8))
    if isinstance(transparent := strip.info.get("transparency"), int):
        small.putalpha(Image.fromarray(np.where(values == transparent, 0, 255).astype(np.uint8)))
    return small


def colours_of(mode: str) -> str:
    """What a profile speaks of: a mode without its depth, palette, alpha and padding."""
    return "L" if mode in ("1", "L", "LA", "La") or mode[0] in "IF" else mode if mode == "CMYK" else "RGB"


def to_srgb(image: Image.Image) -> ImageCms.ImageCmsTransform | None:
    """From the embedded profile to sRGB; None without one that fits, and for one that moves no colour by more than 1."""
    if not image.info.get("icc_profile") or image.mode == "LAB":
        return None
    try:
        profile, mode = ImageCms.ImageCmsProfile(io.BytesIO(image.info["icc_profile"])), colours_of(image.mode)
        transform = ImageCms.buildTransform(profile, ImageCms.createProfile("sRGB"), mode, "RGB")
        levels = np.linspace(0, 255, 9).astype(np.uint8)
        probe = Image.fromarray(np.stack(np.meshgrid(levels, levels, levels), -1).reshape(27, 27, 3)).convert(mode)
        moved = np.asarray(ImageCms.applyTransform(probe, transform)).astype(int) - np.asarray(probe.convert("RGB"))
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None
    return transform if abs(moved).max() > 1 else None
