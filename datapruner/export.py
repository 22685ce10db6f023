"""What other tools read: the kept ids as text, as CSV, or as DataComp's sorted array of keys."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .errors import UsageError, suggest
from .files import whole_file

KINDS = {".txt": "text", ".csv": "csv", ".npy": "datacomp"}


def export(
    path: Path | str,
    indices: Sequence[int],
    ids: Sequence[str],
    weights: Sequence[float] | None = None,
    kind: str | None = None,
) -> None:
    r"""Write the kept ids to a file, whole or not at all.

    "text" is one id a line; "csv" has the columns index, id and, where there are weights, weight;
    "datacomp" is a sorted (k,) array of two uint64 each, from ids of 32 hex digits, as DataComp's
    resharder reads it.

    Args:
        path: where to write.
        indices: (k,) places in the full set.
        ids: (k,) what those examples are called: keys, paths.
        weights: (k,) or None; only "csv" has room for them.
        kind: "text", "csv" or "datacomp"; None goes by the ending: .txt, .csv, .npy.

    Raises:
        UsageError: an unknown kind, or ids that DataComp cannot have.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "kept.txt"
        >>> export(path, [0, 2], ["a.png", "c.png"])
        >>> path.read_text()
        'a.png\nc.png\n'
    """
    kind = kind or KINDS.get(Path(path).suffix)
    if kind not in KINDS.values():
        hint = suggest(kind or "", KINDS.values())
        raise UsageError(f"{path}: cannot export as {kind or 'this ending'}; {hint}")
    if kind != "csv" and weights is not None:
        raise UsageError(f"{path}: {kind} has no room for weights; use kind='csv'")
    keys = _datacomp(ids) if kind == "datacomp" else None
    if kind == "text" and any("\n" in i or "\r" in i for i in ids):
        raise UsageError(f"{path}: an id holds a line break; use kind='csv'")
    with whole_file(path) as temporary:
        if keys is not None:
            with temporary.open("wb") as out:
                np.save(out, keys)
        elif kind == "text":
            temporary.write_text("".join(f"{i}\n" for i in ids), encoding="utf-8")
        else:
            with temporary.open("w", newline="", encoding="utf-8") as table:
                writer = csv.writer(table)
                writer.writerow(["index", "id"] + (["weight"] if weights is not None else []))
                columns = [indices, ids] + ([weights] if weights is not None else [])
                writer.writerows(zip(*columns, strict=True))


def _datacomp(ids: Sequence[str]) -> np.ndarray:
    """Split each id of 32 hex digits into two uint64, and sort."""
    for i in ids:
        if len(i) != 32 or any(c not in "0123456789abcdef" for c in i.lower()):
            raise UsageError(f"DataComp's keys are 32 hex digits, not {i!r}; give them as ids")
    pairs = [(int(i[:16], 16), int(i[16:], 16)) for i in ids]
    return np.sort(np.array(pairs, dtype=np.dtype("u8,u8")))
