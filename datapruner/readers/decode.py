"""One picture at a time: from encoded bytes to PIL or to numbers."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL.Image import Image


def decode(encoded: bytes) -> Image:
    """Decode a picture as far as its last byte; what is grey stays grey (L), the rest is RGB.

    Transparency is dropped, 16-bit grey loses its low byte.

    Raises:
        Exception: of whatever kind Pillow chooses, when it does not decode or is cut off.

    Example:
        >>> out = io.BytesIO()
        >>> to_picture(np.zeros((4, 5), np.uint8)).save(out, "PNG")
        >>> decode(out.getvalue()).mode
        'L'
    """
    from PIL import Image as pil

    image: Image = pil.open(io.BytesIO(encoded))
    image.load()
    if image.mode in ("RGB", "L"):
        return image
    if image.mode in ("1", "LA", "La"):
        return image.convert("L")
    if image.mode.startswith("I"):
        return pil.fromarray((np.asarray(image) >> 8).clip(0, 255).astype(np.uint8))
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # Pillow warns about the direct way
    return image.convert("RGB")


def pixels(encoded: bytes) -> NDArray[np.uint8]:
    """Decode a picture to (H, W, 3), or to (H, W) when it is grey; see `decode`.

    WebP takes a short cut to the decoder that Pillow itself calls: the same pixels. A 32 x 32
    picture costs 0.04 ms instead of 0.2, and threads help, while Pillow spends most of those 0.2 in
    Python, which threads cannot share.

    Example:
        >>> out = io.BytesIO()
        >>> to_picture(np.zeros((3, 4, 5), np.uint8)).save(out, "WEBP")
        >>> pixels(out.getvalue()).shape
        (4, 5, 3)
    """
    if encoded[:4] == b"RIFF" and (frame := _webp(encoded)) is not None:
        return frame
    image = decode(encoded)
    shape = (image.height, image.width) + ((3,) if image.mode == "RGB" else ())
    return np.frombuffer(image.tobytes(), np.uint8).reshape(shape)


def _webp(encoded: bytes) -> NDArray[np.uint8] | None:
    """Decode the first frame of a WebP, or None when that is better left to Pillow's front door."""
    try:
        from PIL import _webp as library

        decoder = library.WebPAnimDecoder(encoded)
        info = decoder.get_info()
        width, height = info[0] if isinstance(info[0], tuple) else info[:2]  # Pillow 13, or before
        data, _ = decoder.get_next()
        return np.frombuffer(data, np.uint8).reshape(height, width, 4)[:, :, :3]
    except Exception:  # another Pillow, or a damaged picture: the front door says which
        return None


def check(encoded: bytes) -> None:
    """Decode a picture only to see that it can be done.

    JPEG is decoded at an eighth of its size: every byte is read, so a picture that is cut off
    fails all the same, in about half the time.

    Raises:
        Exception: of whatever kind Pillow chooses, when it does not decode or is cut off.

    Example:
        >>> out = io.BytesIO()
        >>> to_picture(np.zeros((3, 4, 5), np.uint8)).save(out, "JPEG")
        >>> check(out.getvalue())
    """
    from PIL import Image as pil

    image = pil.open(io.BytesIO(encoded))
    image.draft(None, (1, 1))
    image.load()


def size_of(encoded: bytes) -> tuple[int, int]:
    """Return (width, height) from a picture's header, without decoding it.

    Example:
        >>> out = io.BytesIO()
        >>> to_picture(np.zeros((4, 5), np.uint8)).save(out, "PNG")
        >>> size_of(out.getvalue())
        (5, 4)
    """
    from PIL import Image as pil

    size: tuple[int, int] = pil.open(io.BytesIO(encoded)).size
    return size


def to_picture(x: Any) -> Image:
    """Return an example as a PIL picture: a PIL picture, or an array (C, H, W) or (H, W).

    Floating-point values are stretched from their least to their greatest.

    Example:
        >>> to_picture(torch.zeros(3, 4, 5, dtype=torch.uint8)).size
        (5, 4)
    """
    from PIL import Image as pil

    if isinstance(x, pil.Image):
        return x
    array = np.asarray(x.detach().cpu() if isinstance(x, torch.Tensor) else x)
    if array.dtype != np.uint8:
        low, high = float(array.min()), float(array.max())
        array = ((array - low) * (255 / (high - low or 1))).round().astype(np.uint8)
    if array.ndim == 3 and array.shape[0] in (1, 3):
        array = array.transpose(1, 2, 0)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    return pil.fromarray(np.ascontiguousarray(array))
