"""Pictures inside the page: thumbnails as data URIs, sorted into hardest and easiest."""

import base64
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from ..data import Data

_SMALL = 40  # up to this many pixels a picture is kept as it is, and shown in square pixels
_THUMBNAIL = 96


@dataclass(frozen=True)
class Picture:
    """One example as shown: `uri` is None where the picture does not decode."""

    index: int
    label: str
    score: float
    uri: str | None
    pixelated: bool


def picture(data: "Data", index: int, score: float) -> Picture:
    """Return example `index` of the data as a thumbnail with its label and score."""
    label = data.classes[int(data.labels[index])]
    try:
        uri, small = encode(data.picture(index))
    except Exception:  # a reader of pictures may raise anything; the page names the gap instead
        uri, small = None, False
    return Picture(index, label, score, uri, small)


def encode(image: Any) -> tuple[str, bool]:
    """Return a PIL image as a data URI, and whether it is small enough to show its pixels.

    Small pictures are PNG, exact; larger ones are JPEG thumbnails of at most 96 pixels.
    """
    out = io.BytesIO()
    if max(image.size) <= _SMALL:
        if image.mode not in ("1", "L", "P", "RGB", "RGBA"):
            image = image.convert("RGB")
        image.save(out, "PNG", optimize=True)
        kind = "png"
    else:
        image = image.convert("L" if image.mode in ("1", "L") else "RGB")
        image.thumbnail((_THUMBNAIL, _THUMBNAIL))
        image.save(out, "JPEG", quality=82, optimize=True)
        kind = "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(out.getvalue()).decode()}", kind == "png"


def ends(
    scores: NDArray[np.float64], among: NDArray[np.bool_], most: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the indices of the highest and of the lowest finite scores among the examples named.

    Neither list is longer than half of what there is, so that none stands in both; one example
    alone stands in the first. Ties go to the lower index.

    Example:
        >>> high, low = ends(np.array([3.0, 1.0, 2.0, np.nan]), np.ones(4, bool), 10)
        >>> high.tolist(), low.tolist()
        ([0, 2], [1])
    """
    places = np.flatnonzero(among & np.isfinite(scores))
    order = places[np.argsort(-scores[places], kind="stable")]
    high = min(most, (len(order) + 1) // 2)
    low = min(most, len(order) // 2)
    return order[:high], order[::-1][:low]
