"""Work that points of a sweep share: done once, and where it fails, failed once a call."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import PrunerError
from .files import read_json, write_json
from .sharing import once

if TYPE_CHECKING:
    from .sweep_shared import Site


def once_a_call(
    site: "Site", folder: Path, what: str, work: Callable[[], dict[str, Any]]
) -> dict[str, Any]:
    """Do the work that makes a folder as `once` does; what failed in this call is not tried again.

    The reason lies beside the folder, in a .failed.json, for the other points that need it and for
    processes that work side by side; the next call of the sweep tries again.

    Args:
        site: whose `call` it is.
        folder: what the work makes.
        what: in a word, for the message.
        work: see `once`.

    Raises:
        PrunerError: the work failed, now or before in this call; with its reason.
    """
    note = folder.with_name(f"{folder.name}.failed.json")

    def trying() -> dict[str, Any]:
        held = read_json(note) if note.exists() else {}
        if held.get("call") == site.call:
            raise PrunerError(held["error"])
        try:
            said = work()
        except Exception as error:
            where = folder.relative_to(site.out)
            reason = f"its {what} ({where}) failed: {in_words(error)}"
            write_json(note, {"call": site.call, "error": reason})
            raise PrunerError(reason) from error
        note.unlink(missing_ok=True)
        return said

    return once(folder, trying)


def in_words(error: Exception) -> str:
    r"""Return an error in one line, its kind told where it is none of ours.

    Example:
        >>> in_words(RuntimeError("no such\nthing"))
        'RuntimeError: no such thing'
        >>> in_words(PrunerError("no such file; check the path"))
        'no such file; check the path'
    """
    what = " ".join(str(error).split()) or "no message"
    return what if isinstance(error, PrunerError) else f"{type(error).__name__}: {what}"
