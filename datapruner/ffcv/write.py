"""Writing data as a .beton: every row in its place, whole or not at all."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch

from ..augment import Normalise
from ..data import Data, Progress
from ..errors import Refused, UsageError, suggest
from ..files import whole_file
from ..seeds import generator
from .beton import About, Rows, json_of
from .gather import gather
from .installed import require

Mode = Literal["raw", "jpg", "proportion", "smart"]

MEASURED = 2048  # pictures that mean and spread are taken from when there are too many for all
MEMORY_LIMIT = 2 << 30  # bytes of pictures up to which all are measured, as `open_data` does
PAGE = 8 << 20


@dataclass(frozen=True)
class Written:
    """What `write_beton` wrote.

    Attributes:
        path: the file; its JSON lies beside it.
        n: rows.
        bytes: size of the file.
        seconds: what writing took.
        unreadable: rows whose picture did not decode, stored black.
    """

    path: Path
    n: int
    bytes: int
    seconds: float
    unreadable: tuple[int, ...]

    @property
    def per_second(self) -> float:
        """Rows written per second."""
        return self.n / self.seconds


def write_beton(
    data: Data,
    path: Path | str,
    *,
    mode: Mode = "raw",
    max_resolution: int | None = None,
    quality: int = 90,
    compress_probability: float = 0.5,
    smart_threshold: int | None = None,
    workers: int = 0,
    page_size: int = PAGE,
    progress: Progress | None = None,
) -> Written:
    """Write data as a .beton with the fields image, label and index (int64), in the data's order.

    Pictures with three channels, and all that are read one at a time, become FFCV's RGB pictures;
    grey pictures held in memory, features and tokens become arrays of their own shape and type. A
    picture that does not decode is stored black and listed, so that indices never shift.

    Args:
        data: what to write; it is handed to worker processes.
        path: ends in .beton; must not be there yet.
        mode: raw pixels, jpg, proportion (each picture jpg with `compress_probability`, drawn from
            its index) or smart (jpg above `smart_threshold` bytes of pixels).
        max_resolution: longer sides are brought down to this many pixels; None keeps sizes.
        quality: of JPEG, 1 to 100.
        compress_probability: see `mode`.
        smart_threshold: see `mode`.
        workers: processes that read and encode; 0 is one for each core.
        page_size: bytes that FFCV reads at a time with os_cache=False, a power of two of at least
            2 MiB; a row cannot be larger.
        progress: called as progress("writing x.beton", rows done, rows).

    Returns:
        Where it is, its size, and the time it took.

    Raises:
        UsageError: an argument that cannot be carried out.
        Refused: the file is there already.
        PrunerError: FFCV is not there, no row can be read, or one cannot be written; says which.

    Example:
        >>> import tempfile
        >>> from datapruner import open_data
        >>> write_beton(open_data("digits"), Path(tempfile.mkdtemp()) / "digits.beton").n
        1438
    """
    path = Path(path)
    _check(data, path, mode, quality, page_size, smart_threshold)
    require()
    from .writer import Source, Writer, fields_for

    source = Source(data, compress_probability if mode == "proportion" else None)
    if not source.pictures and (mode != "raw" or max_resolution is not None):
        raise UsageError(
            f"{data.name}: its rows are arrays {source.shape}, which are stored raw and in their "
            "own size; leave mode and max_resolution out"
        )
    fields = fields_for(source, mode, max_resolution, quality, smart_threshold)
    started = time.perf_counter()
    with whole_file(path) as temporary:
        writer = Writer(str(temporary), fields, page_size, workers, f"writing {path.name}")
        unreadable = writer.write(source, progress)
        seconds = time.perf_counter() - started
        size = temporary.stat().st_size
        measured = measure(Rows(temporary), _readable(data.n, unreadable))
        About(
            name=data.name,
            split=data.split,
            fingerprint=data.fingerprint,
            classes=data.classes,
            n=data.n,
            bytes=size,
            unreadable=unreadable,
            mode=mode if source.pictures else "array",
            mean=measured.mean if measured else (),
            std=measured.std if measured else (),
        ).save(path)
    return Written(path, data.n, size, seconds, unreadable)


def _check(
    data: Data, path: Path, mode: str, quality: int, page_size: int, threshold: int | None
) -> None:
    if path.suffix != ".beton":
        raise UsageError(f"{path}: the name must end in .beton; give {path.stem}.beton")
    if mode not in get_args(Mode):
        raise UsageError(f"mode {mode!r} is not known; {suggest(mode, get_args(Mode))}")
    if mode == "smart" and threshold is None:
        raise UsageError("mode smart needs smart_threshold, the bytes of pixels above which to jpg")
    if not 1 <= quality <= 100:
        raise UsageError(f"quality must be 1 to 100, not {quality}")
    if page_size < 2 << 20 or page_size >= 1 << 32 or page_size & (page_size - 1):
        raise UsageError(f"page_size must be a power of two from 2 MiB, not {page_size}")
    if data.n == 0:
        raise UsageError(f"{data.name}: holds no rows; nothing to write")
    for there in (path, json_of(path)):
        if path.exists() and there.exists():
            raise Refused(f"{there}: is there already; give another name, or remove it first")


def _readable(n: int, unreadable: tuple[int, ...]) -> torch.Tensor:
    readable = torch.ones(n, dtype=torch.bool)
    readable[list(unreadable)] = False
    return readable


def measure(rows: Rows, readable: torch.Tensor) -> Normalise | None:
    """Return mean and spread of stored pictures, or None for arrays that are no pictures.

    Raw pictures of one size are measured all, up to 2 GiB; else a seeded sample of 2,048.
    """
    if rows.dtype != "uint8" or (rows.shape is not None and len(rows.shape) != 3):
        return None
    chosen = readable.nonzero().flatten()
    whole = int(rows.size.sum()) <= MEMORY_LIMIT and rows.shape is not None and not rows.jpeg.any()
    if not whole and len(chosen) > MEASURED:
        drawn = torch.randperm(len(chosen), generator=generator(0, "normalise"))[:MEASURED]
        chosen = chosen[drawn.sort().values]
    if rows.shape is not None and not rows.jpeg.any():
        start = rows.start[chosen.numpy()].astype(np.int64)
        return Normalise.of(torch.from_numpy(gather(rows.memory, start, rows.shape, rows.pictures)))
    pixels = [rows[i][0].flatten(1) for i in chosen.tolist()]
    return Normalise.of(torch.cat(pixels, 1)[None, :, None])
