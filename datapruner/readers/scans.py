"""Which pictures of a large set did not decode, kept between runs in the user's cache folder."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from ..errors import PrunerError
from ..files import read_json, write_json


def _folder() -> Path:
    """Return XDG_CACHE_HOME/datapruner, or ~/.cache/datapruner."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "datapruner"


def recall(fingerprint: str, stamp: str) -> dict[int, str] | None:
    """Return what an earlier scan of the same files found, row by row; None when there was none.

    Example:
        >>> recall("0" * 16, "a stamp that no files have") is None
        True
    """
    try:
        found = read_json(_file(fingerprint, stamp))["unreadable"]
        return {int(row): str(reason) for row, reason in found.items()}
    except (PrunerError, OSError, RuntimeError, KeyError, TypeError, ValueError, AttributeError):
        return None  # no scan, or a damaged one: it is made again


def remember(fingerprint: str, stamp: str, failures: dict[int, str]) -> None:
    """Keep what a scan found; a cache that cannot be written only costs the next scan.

    Args:
        fingerprint: of the data.
        stamp: of the files, which may have been mended without a change of the fingerprint.
        failures: by row, why a picture does not decode.
    """
    try:
        found = {str(row): reason for row, reason in sorted(failures.items())}
        write_json(_file(fingerprint, stamp), {"unreadable": found})
    except (PrunerError, OSError, RuntimeError):  # RuntimeError: there is no home folder
        return


def _file(fingerprint: str, stamp: str) -> Path:
    """Return where a scan is kept: another Pillow may decode other pictures."""
    import PIL

    key = hashlib.blake2b(f"{fingerprint}/{stamp}/{PIL.__version__}".encode(), digest_size=8)
    return _folder() / "scans" / f"{key.hexdigest()}.json"
