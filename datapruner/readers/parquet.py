"""Parquet files in the Hugging Face image layout: `image` (struct of bytes and path), `label`."""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from torch import Tensor

from ..data import Data, How
from ..errors import PrunerError
from .checks import checked_labels, class_names, content_hash
from .decode import decode
from .passes import Encoded, open_pictures
from .shards import find_shards, shown_name

if TYPE_CHECKING:
    from PIL.Image import Image

IMAGE, LABEL = ("image", "img"), ("label", "labels", "fine_label")
CHUNK = 128
HASH_LIMIT = 1 << 30  # bytes of files up to which the fingerprint reads every picture
HELD = 256 << 20  # bytes of row groups that each process keeps for the next pictures


class ParquetPictures:
    """The pictures of Parquet shards: (RGB PIL picture, label) by index, in row order.

    A row group is read whole, and the last ones are held, up to 256 MiB in each process. In a
    random order over a set that is much larger than that, convert to `.beton` first.

    Args:
        shards: the files, in order.

    Raises:
        PrunerError: a damaged file, no column of pictures or labels, labels that are no labels, or
            no rows.
    """

    def __init__(self, shards: list[Path]) -> None:
        self.shards = shards
        tables = [_Columns(shard) for shard in shards]
        self.names = tables[0].names
        self.columns = [table.pictures for table in tables]
        labels = [table.labels(self.names) for table in tables if table.rows]
        if not labels:
            raise PrunerError(f"{shards[0]}: holds no rows; check that it was written to the end")
        self.labels: Tensor = torch.cat(labels)
        groups = [
            (s, g, rows) for s, table in enumerate(tables) for g, rows in enumerate(table.groups)
        ]
        self.groups = np.array([group[:2] for group in groups])
        self.ends = np.cumsum([group[2] for group in groups])
        self.fingerprint = content_hash(self.labels, [self._content_hash(tables)])
        states = [shard.stat() for shard in shards]
        stamp = np.array([(state.st_size, state.st_mtime_ns) for state in states])
        self.stamp = hashlib.blake2b(stamp.tobytes()).hexdigest()
        self._held: OrderedDict[int, pa.ChunkedArray] = OrderedDict()

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int) -> tuple[Image, int]:
        i = range(len(self))[i]
        group = int(np.searchsorted(self.ends, i, side="right"))
        column = self._group(group)
        encoded = column[i - int(self.ends[group]) + len(column)].as_py()
        try:
            return decode(encoded).convert("RGB"), int(self.labels[i])
        except Exception as error:  # Pillow raises many kinds
            raise PrunerError(
                f"{self.where(i)}: picture {i} cannot be read ({error}); leave out what "
                "data.readable says does not decode"
            ) from error

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_held": OrderedDict()}

    def where(self, i: int) -> str:
        """Return the file of picture i, and its row there."""
        group = int(np.searchsorted(self.ends, i, side="right"))
        shard = int(self.groups[group, 0])
        first = int(np.flatnonzero(self.groups[:, 0] == shard)[0])
        return f"{self.shards[shard]}, row {i - (int(self.ends[first - 1]) if first else 0)}"

    def chunks(self) -> Iterator[tuple[int, Callable[[], Encoded]]]:
        """Give the place of each chunk and what unpacks it; see `passes.Source`."""
        start = 0
        for array in self._arrays():
            yield start, partial(_unpack, array)
            start += len(array)

    def _arrays(self) -> Iterator[pa.Array]:
        """Give the encoded pictures in order, a chunk at a time."""
        for shard, column in zip(self.shards, self.columns, strict=True):
            with _readable(shard), pq.ParquetFile(shard) as file:
                for batch in file.iter_batches(CHUNK, columns=[column], use_threads=False):
                    yield _bytes_of(batch.column(0))

    def _group(self, group: int) -> pa.ChunkedArray:
        """Return the encoded pictures of a row group, from memory when they are held."""
        if group not in self._held:
            shard, row_group = (int(number) for number in self.groups[group])
            with _readable(self.shards[shard]), pq.ParquetFile(self.shards[shard]) as file:
                column = [self.columns[shard]]
                table = file.read_row_group(row_group, columns=column, use_threads=False)
            self._held[group] = _bytes_of(table.column(0))
            while len(self._held) > 1 and sum(c.nbytes for c in self._held.values()) > HELD:
                self._held.popitem(last=False)
        self._held.move_to_end(group)
        return self._held[group]

    def _content_hash(self, tables: list[_Columns]) -> bytes:
        """Hash every picture, or the sizes of the row groups when that would take long."""
        digest = hashlib.blake2b()
        if sum(shard.stat().st_size for shard in self.shards) > HASH_LIMIT:
            for table in tables:
                digest.update(repr([table.groups, table.group_bytes]).encode())
            return digest.digest()
        lengths = hashlib.blake2b()
        for array in self._arrays():
            lengths.update(pc.fill_null(pc.binary_length(array), -1).to_numpy().tobytes())
            digest.update(_content(array))
        return digest.digest() + lengths.digest()


class _Columns:
    """The footer of one shard: which columns there are, and how many rows."""

    def __init__(self, shard: Path) -> None:
        self.shard = shard
        with _readable(shard), pq.ParquetFile(shard) as file:
            schema, metadata = file.schema_arrow, file.metadata
        found = ", ".join(schema.names) or "none"
        image = next((name for name in IMAGE if name in schema.names), None)
        label = next((name for name in LABEL if name in schema.names), None)
        if image is None or label is None:
            missing = "pictures (image)" if image is None else "labels (label)"
            raise PrunerError(f"{shard}: no column of {missing}, it has {found}; rename the column")
        kind = schema.field(image).type
        struct = pa.types.is_struct(kind)
        if struct and kind.get_field_index("bytes") < 0 or not (struct or _is_binary(kind)):
            raise PrunerError(
                f"{shard}: column {image} is {kind}, not encoded pictures; write it as the "
                "datasets library does, a struct of bytes and path"
            )
        self.pictures, self.label = f"{image}.bytes" if struct else image, label
        self.names = _names(schema.metadata or {}, label)
        self.rows: int = metadata.num_rows
        groups = [metadata.row_group(g) for g in range(metadata.num_row_groups)]
        self.groups = [group.num_rows for group in groups]
        self.group_bytes = [group.total_byte_size for group in groups]

    def labels(self, names: list[str] | None) -> Tensor:
        """Read the labels and check them against the class names."""
        with _readable(self.shard), pq.ParquetFile(self.shard) as file:
            column = file.read(columns=[self.label], use_threads=False).column(0)
        if column.null_count:
            row = column.is_null().to_pylist().index(True)
            raise PrunerError(f"{self.shard}: row {row} has no label; fill it in or drop the row")
        return checked_labels(column.to_numpy(), str(self.shard), names)


def open_parquet(path: Path, split: str, how: How) -> Data:
    """Open one split of a Parquet file or folder of shards; see `find_shards` for the names.

    Class names come from the `huggingface` entry of the file's metadata; without them, classes
    count over both splits.

    Raises:
        PrunerError: no such split, what `ParquetPictures` refuses, or no picture that decodes.

    Example:
        >>> import io, tempfile
        >>> from datapruner.readers.decode import to_picture
        >>> out, path = io.BytesIO(), Path(tempfile.mkdtemp()) / "tiny.parquet"
        >>> to_picture(np.zeros((4, 5), np.uint8)).save(out, "PNG")
        >>> rows = [{"image": {"bytes": out.getvalue(), "path": None}, "label": 0}]
        >>> pq.write_table(pa.Table.from_pylist(rows), path)
        >>> open_parquet(path, "train", How()).shape
        (1, 4, 5)
    """
    pictures = ParquetPictures(find_shards(path, split))
    classes = class_names(_labels_of_both(path, split, pictures), pictures.names)
    return open_pictures(pictures, how, shown_name(path), split, classes)


def _labels_of_both(path: Path, split: str, pictures: ParquetPictures) -> Tensor:
    """Return the labels of both splits, where only they tell how many classes there are.

    Another split that is not there or cannot be opened, such as a test split without labels, counts
    for nothing: it is named when it is asked for.
    """
    if pictures.names is not None:
        return pictures.labels
    try:
        shards = find_shards(path, "test" if split == "train" else "train")
        others = [table.labels(None) for table in map(_Columns, shards) if table.rows]
    except PrunerError:
        return pictures.labels
    return torch.cat([pictures.labels, *others])


@contextmanager
def _readable(shard: Path) -> Iterator[None]:
    """Name the file in whatever Arrow says about it."""
    try:
        yield
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise PrunerError(
            f"{shard}: cannot be read as Parquet ({reason}); damaged or cut off, fetch it again"
        ) from None


def _bytes_of(column: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """Return the bytes inside a column of structs, or the column when it is bytes already."""
    return pc.struct_field(column, "bytes") if pa.types.is_struct(column.type) else column


def _is_binary(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _content(array: pa.Array) -> memoryview:
    """Return the encoded pictures of a chunk, end to end, without a copy."""
    _, offsets, values = array.buffers()
    wide = np.int64 if pa.types.is_large_binary(array.type) else np.int32
    edges = np.frombuffer(offsets, wide)[array.offset : array.offset + len(array) + 1]
    return memoryview(values if values is not None else b"")[int(edges[0]) : int(edges[-1])]


def _unpack(array: pa.Array) -> Encoded:
    """Bring encoded pictures to Python; a row without is replaced by the reason."""
    return ["holds no bytes" if item is None else item for item in array.to_pylist()]


def _names(metadata: dict[bytes, bytes], label: str) -> list[str] | None:
    """Return the class names that the datasets library keeps in the metadata, if it did."""
    try:
        feature = json.loads(metadata[b"huggingface"])["info"]["features"][label]
        names = feature["names"]
    except (KeyError, TypeError, ValueError):
        return None
    return [str(name) for name in names] if isinstance(names, list) and names else None
