"""`datapruner convert`."""

# ruff: noqa: D417 - groups of options document themselves

import json
from dataclasses import asdict
from typing import Annotated, Any

import tyro

from ..console import Console
from .options import Common, DataWord, Open, Opening, Say


def convert(
    data: DataWord,
    beton: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="OUT.beton")],
    /,
    split: str = "train",
    mode: str = "raw",
    max_resolution: int | None = None,
    quality: int = 90,
    workers: int = 1,
    page_size: int | None = None,
    opening: Open = Opening(),  # noqa: B008 - frozen
    common: Say = Common(),  # noqa: B008 - frozen
) -> None:
    """Write a data set as a .beton file, which FFCV reads at full speed.

    Args:
        data: what to convert.
        beton: file to write; one that exists is refused.
        split: train or test.
        mode: raw, jpg, or proportion (some raw, some JPEG).
        max_resolution: longest side; larger pictures are made smaller.
        quality: of JPEG, 1 to 100.
        workers: processes that write.
        page_size: bytes of a page, a power of two; default FFCV's own.
    """
    how = {"mode": mode, "max_resolution": max_resolution, "quality": quality}
    _convert(
        data, beton, split, how | {"workers": workers, "page_size": page_size}, opening, common
    )


def _convert(
    word: str, beton: str, split: str, how: dict[str, Any], opening: Opening, common: Common
) -> None:
    """Write the data as a .beton file and say how large it is and how fast it went."""
    from ..data import open_data
    from ..ffcv import write_beton

    with Console() as console:
        data = open_data(word, split, download=opening.download, strict=opening.strict)
        if common.dry_run:
            text = f"would write {data.n:,} examples to {beton}"
            print(json.dumps({"path": beton, "n": data.n}) if common.json else text)
            return
        chosen = {name: value for name, value in how.items() if value is not None}
        written = write_beton(data, beton, progress=console.progress, **chosen)
    if common.json:
        print(json.dumps({**asdict(written), "path": str(written.path)}))
        return
    print(
        f"{beton}: {data.n:,} examples, {written.bytes / 2**20:,.1f} MiB, "
        f"{written.n / written.seconds:,.0f} images/s"
    )
