"""Rows of an embedding that was made elsewhere: a .npy or a Parquet file, checked."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .errors import PrunerError, Refused

if TYPE_CHECKING:
    from .data import Data

SUFFIXES = (".npy", ".parquet")


def read_rows(path: Path | str, data: "Data") -> NDArray:
    """Return the rows (n, d) of a file, in the order of the data.

    A .npy holds a matrix of numbers. A Parquet file holds a column of lists: the one called
    "embedding", or the only one; where there is a column "index" it says whose row each is.

    Raises:
        PrunerError: no such file, no such rows in it, or a readable example's row is not finite.
        Refused: there are not as many rows as examples.

    Example:
        >>> import tempfile, datapruner as dp
        >>> file = Path(tempfile.mkdtemp()) / "mine.npy"
        >>> np.save(file, np.ones((1438, 3), np.float32))
        >>> read_rows(file, dp.open_data("digits")).shape
        (1438, 3)
    """
    path = Path(path)
    if not path.is_file():
        raise PrunerError(f"{path}: no such file; check the path")
    try:
        rows = _parquet(path, data.n) if path.suffix == ".parquet" else _npy(path)
    except (OSError, ValueError, EOFError) as error:  # pyarrow's errors are ValueErrors
        raise PrunerError(f"{path}: cannot be read as an embedding ({error})") from None
    if rows.ndim != 2 or not np.issubdtype(rows.dtype, np.number) or not rows.shape[1]:
        raise PrunerError(
            f"{path}: holds {rows.dtype} of shape {rows.shape}; an embedding is (n, d) numbers"
        )
    if len(rows) != data.n:
        raise Refused(
            f"{path}: has {len(rows):,} rows, {data.name} has {data.n:,} examples; embed these data"
        )
    for start in range(0, data.n, 65_536):
        part = slice(start, start + 65_536)
        bad = ~np.isfinite(rows[part]).all(1) & data.readable[part].numpy()
        if bad.any():
            raise PrunerError(
                f"{path}: row {start + int(bad.argmax())} is not finite; make the embedding anew"
            )
    return rows


def _npy(path: Path) -> NDArray:
    rows: NDArray = np.load(path, mmap_mode="r", allow_pickle=False)
    return rows


def _parquet(path: Path, n: int) -> NDArray:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pq.read_schema(path)
    lists = [f.name for f in schema if pa.types.is_list(f.type) or pa.types.is_large_list(f.type)]
    lists += [f.name for f in schema if pa.types.is_fixed_size_list(f.type)]
    name = "embedding" if "embedding" in lists else lists[0] if len(lists) == 1 else None
    if name is None:
        raise PrunerError(
            f"{path}: has {len(lists)} columns of lists and none called 'embedding'; rename it"
        )
    table = pq.read_table(path, columns=[name, *({"index"} & set(schema.names))])
    rows = (
        np.stack(table[name].to_numpy(zero_copy_only=False)) if table.num_rows else np.zeros((0, 1))
    )
    if "index" not in table.column_names:
        return rows
    index = table["index"].to_numpy()
    if len(index) == n and not np.array_equal(np.sort(index), np.arange(n)):
        raise PrunerError(f"{path}: its column 'index' is not 0 to {n - 1}, each once")
    return rows[np.argsort(index)]
