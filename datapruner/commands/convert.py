"""`datapruner convert`."""

import json
from typing import Any

from ..console import Console
from .options import Common, Opening


def convert(
    word: str, beton: str, split: str, how: dict[str, Any], opening: Opening, common: Common
) -> None:
    """Write the data as a .beton file and say how large it is and how fast it went."""
    from ..data import open_data
    from ..ffcv import write_beton

    with Console() as console:
        data = open_data(word, split, download=opening.download, strict=opening.strict)
        if common.dry_run:
            print(f"would write {data.n:,} examples to {beton}")
            return
        written = write_beton(data, beton, progress=console.progress, **how)
    if common.json:
        print(json.dumps(written.as_dict()))
        return
    print(
        f"{beton}: {data.n:,} examples, {written.bytes / 2**20:,.1f} MiB, "
        f"{written.images_per_second:,.0f} images/s"
    )
