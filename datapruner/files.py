"""Writing that cannot leave half a file: a sibling temporary name, a flush, then a rename."""

import json
import os
import platform
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .errors import PrunerError


@contextmanager
def whole_file(path: Path | str) -> Iterator[Path]:
    """Give a temporary sibling to write to; it takes the name `path` only if the block ends well.

    Example:
        >>> import tempfile
        >>> target = Path(tempfile.mkdtemp()) / "a.txt"
        >>> with whole_file(target) as temporary:
        ...     _ = temporary.write_text("all of it")
        >>> target.read_text()
        'all of it'
    """
    path = _writable(path)
    if path.is_dir():
        raise PrunerError(f"{path}: is a folder; give the name of a file")
    temporary = path.with_name(f".{path.name}.{_own()}.partial")
    try:
        yield temporary
        with temporary.open("rb+") as handle:
            os.fsync(handle.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def whole_folder(path: Path | str) -> Iterator[Path]:
    """Give a temporary sibling folder; it takes the name `path` only if the block ends well.

    An older folder of that name is replaced, and put back should that fail half-way.

    Example:
        >>> import tempfile
        >>> target = Path(tempfile.mkdtemp()) / "out"
        >>> with whole_folder(target) as temporary:
        ...     _ = (temporary / "a.txt").write_text("a")
        >>> sorted(p.name for p in target.iterdir())
        ['a.txt']
    """
    path = _writable(path)
    if path.exists() and not path.is_dir():
        raise PrunerError(f"{path}: is a file; give the name of a folder")
    temporary = path.with_name(f".{path.name}.{_own()}.partial")
    old = path.with_name(f".{path.name}.{_own()}.old")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        yield temporary
        for file in temporary.rglob("*"):
            if file.is_file():
                with file.open("rb+") as handle:
                    os.fsync(handle.fileno())
        if path.exists():
            path.replace(old)
        try:
            temporary.replace(path)
        except OSError:
            if old.exists():
                old.replace(path)
            raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)


def write_json(path: Path | str, value: Any) -> None:
    """Write `value` as indented JSON, whole or not at all; NaN is not JSON and is refused.

    Raises:
        ValueError: there is a NaN or an infinity in it.

    Example:
        >>> import tempfile
        >>> target = Path(tempfile.mkdtemp()) / "a.json"
        >>> write_json(target, {"seed": 0})
        >>> read_json(target)
        {'seed': 0}
    """
    with whole_file(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def read_json(path: Path | str) -> Any:
    """Read a JSON file.

    Raises:
        PrunerError: it is missing or damaged; named, with what to do.

    Example:
        >>> read_json("no/such.json")
        Traceback (most recent call last):
        datapruner.errors.PrunerError: no/such.json: no such file; check the path
    """
    path = Path(path)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise PrunerError(f"{path}: no such file; check the path") from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise PrunerError(f"{path}: not readable as JSON ({error}); write it again") from None


def _own() -> str:
    """Name this process among all that may write here, those of other machines too."""
    return f"{platform.node()}-{os.getpid()}"


def _writable(path: Path | str) -> Path:
    """Make the folder around `path`, and say before any work is done that nothing can go there."""
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PrunerError(
            f"{path.parent}: cannot be made ({error.strerror}); give another place"
        ) from error
    if not os.access(path.parent, os.W_OK):
        raise PrunerError(f"{path.parent}: cannot be written to; give another place")
    return path
