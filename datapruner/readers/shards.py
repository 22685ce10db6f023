"""Which Parquet files hold a split."""

from __future__ import annotations

import re
from pathlib import Path

from ..errors import PrunerError

NAMES = {"train": ("train",), "test": ("test", "validation", "valid", "val")}


def find_shards(path: Path, split: str) -> list[Path]:
    """Return the Parquet files of a split in the order of their names.

    Looked for in the folder, its `data` folder (where the Hugging Face hub keeps them) and one
    named as the split: `train-00000-of-00002.parquet`, `train.parquet`, `train/0000.parquet`. The
    test split may be called test, validation, valid or val. Files of which none names a split are
    the training split. For a single file, the other split is looked for beside it.

    Raises:
        PrunerError: no such split, or a shard is missing.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> for name in ("train-1.parquet", "train-0.parquet", "test.parquet"):
        ...     (folder / name).touch()
        >>> [shard.name for shard in find_shards(folder, "train")]
        ['train-0.parquet', 'train-1.parquet']
    """
    if path.is_file():
        own = _split_of(path.stem)
        if own == split or (own is None and split == "train"):
            return [path]
        folder, sets = path.parent, [_files(path.parent)] if own else [[]]
    else:
        folder, sets = path, [_files(path), _files(path / "data")]
    for files in sets:
        for name in NAMES[split]:
            if shards := [file for file in files if _is_of(file.stem, name)]:
                return _whole(shards)
    for name in NAMES[split]:
        if path.is_dir() and (shards := _files(path / name)):
            return _whole(shards)
    unnamed = [file for files in sets for file in files]
    if split == "train" and unnamed and not any(_split_of(file.stem) for file in unnamed):
        return _whole(unnamed)
    looked = ", ".join(f"{name}*.parquet" for name in NAMES[split])
    raise PrunerError(f"{path}: no {split} split, looked for {looked} in {folder}; add one of them")


def shown_name(path: Path) -> str:
    """Return what to call the data set: the folder, or the file unless its name is a split's."""
    path = path.resolve()
    if path.is_dir():
        return path.name
    return path.parent.name if _split_of(path.stem) else path.stem


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.parquet"))


def _is_of(stem: str, name: str) -> bool:
    """Tell whether a file is named after a split: the name alone, or followed by no letter."""
    return re.match(rf"{name}(?![a-z])", stem.lower()) is not None


def _split_of(stem: str) -> str | None:
    """Return the split that a file is named after."""
    return next((s for s, names in NAMES.items() if any(_is_of(stem, n) for n in names)), None)


def _whole(shards: list[Path]) -> list[Path]:
    """Return the shards if none is missing of those that their names count, `-of-00005`.

    The hub put a hash behind the count for some years.
    """
    if counted := re.search(r"-of-(\d+)(-[0-9a-f]+)?$", shards[0].stem):
        expected = int(counted[1])
        if len(shards) != expected:
            raise PrunerError(
                f"{shards[0].parent}: {len(shards)} of {expected} shards named like "
                f"{shards[0].name} are there; fetch the others"
            )
    return shards
