"""Work that several runs need, done once by one process, whoever asks first."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .files import read_json, write_json

try:
    import fcntl
except ImportError:  # Windows: one process at a time is up to the user there
    fcntl = None  # type: ignore[assignment]


@contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[bool]:
    """Hold a file's lock inside the block; give False at once where another process has it.

    The system gives the lock back when a process ends, however it ends.

    Args:
        path: the lock file; it stays.
        wait: wait until the lock is free, and always give True.

    Example:
        >>> import tempfile
        >>> with locked(Path(tempfile.mkdtemp()) / "a.lock") as mine:
        ...     mine
        True
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        if fcntl is not None:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                yield False
                return
        yield True


def once(folder: Path, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Do the work that makes a folder, unless it has been done; return what it said, and seconds.

    A call that was broken off is gone on with; its seconds count where it could still note them.

    Args:
        folder: what the work makes; what it said lies beside it, in a .json.
        work: makes the folder or goes on with it, and returns JSON values.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp()) / "a"
        >>> once(folder, lambda: {"rows": 3})["rows"], once(folder, lambda: {"rows": 4})["rows"]
        (3, 3)
    """
    note = folder.with_name(f"{folder.name}.json")
    with locked(folder.with_name(f"{folder.name}.lock")):
        before: dict[str, Any] = read_json(note) if note.exists() else {"seconds": 0.0}
        if before.get("done"):
            return before
        began = time.perf_counter()
        said: dict[str, Any] = {}
        try:
            said = {**work(), "done": True}
        finally:
            seconds = before["seconds"] + time.perf_counter() - began
            write_json(note, {**said, "seconds": seconds})
        return {**said, "seconds": seconds}
