"""Decoding pictures with Pillow, many at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from PIL.Image import Image


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
    return pil.fromarray(np.ascontiguousarray(array.squeeze()))
