"""Tables as others write them: the columns of NumPy files and CSVs, by name."""

import csv
import zlib
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from .errors import PrunerError, UsageError


def read_columns(path: Path) -> dict[str, NDArray]:
    """Read the columns of a .npy, .npz, .csv or .tsv file by name.

    A .npy of one dimension has the name of the file, the columns of one with two have numbers; of a
    .npz only arrays of one dimension count. A column of a CSV holds numbers if every row does.

    Raises:
        PrunerError: no such file, or a damaged one.
        UsageError: another kind of file.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "scores.npy"
        >>> np.save(path, np.zeros(3))
        >>> read_columns(path)
        {'scores': array([0., 0., 0.])}
    """
    if not path.is_file():
        raise PrunerError(f"{path}: no such file; check the path")
    try:
        if path.suffix == ".npy":
            array = np.load(path, allow_pickle=False)
            if array.ndim == 1:
                return {path.stem: array}
            if array.ndim == 2:
                return {str(i): array[:, i] for i in range(array.shape[1])}
            raise ValueError(f"it has the shape {array.shape}")
        if path.suffix == ".npz":
            # numpy leaves a damaged file open when it is given the path alone
            with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                found = {k: arrays[k] for k in arrays.files}
            return {k: v for k, v in found.items() if v.ndim == 1}
        if path.suffix in (".csv", ".tsv"):
            return _read_csv(path)
    except (OSError, EOFError, ValueError, KeyError, csv.Error, BadZipFile, zlib.error) as error:
        raise PrunerError(f"{path}: not readable ({error}); save it as numbers again") from None
    raise UsageError(f"{path}: scores are read from .npy, .npz, .csv and .tsv files")


def _read_csv(path: Path) -> dict[str, NDArray]:
    """Read a file with a line of headings; a file without one gets numbers for names."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = [r for r in csv.reader(file, delimiter="\t" if path.suffix == ".tsv" else ",") if r]
    if not rows or any(len(r) != len(rows[0]) for r in rows):
        raise ValueError("its lines have different numbers of columns, or there are none")
    plain = all(_number(cell) is not None for cell in rows[0])
    heads = [str(i) for i in range(len(rows[0]))] if plain else [h.strip() for h in rows[0]]
    if twice := [head for i, head in enumerate(heads) if head and head in heads[:i]]:
        raise ValueError(f"two of its columns are called {twice[0]!r}")
    body = rows if plain else rows[1:]
    columns: dict[str, NDArray] = {}
    for i, head in enumerate(heads):
        numbers = [_number(row[i]) for row in body]
        cells: list[Any] = [row[i] for row in body] if None in numbers else numbers
        columns[head] = np.array(cells)
    return columns


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None


def is_number(column: NDArray) -> bool:
    """Tell whether a column holds numbers."""
    return column.dtype.kind in "biuf"
