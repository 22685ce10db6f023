"""A folder for one run: taken by it, found again by it, refused to any other."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from .errors import Refused
from .files import read_json, write_json
from .run import Run


def claim(out: Path | str, kind: str, run_id: str, run: Run, fingerprints: dict[str, str]) -> Path:
    """Take the folder for this run, or find that it is already this run's.

    Raises:
        Refused: it holds another run, or files that are not ours.
    """
    folder = Path(out)
    refuse_file(folder)
    if (folder / "run.json").exists():
        held = read_json(folder / "run.json")
        if (held.get("kind"), held.get("id")) != (kind, run_id):
            unlike = _unlike(held, kind, run, fingerprints) or f"{held.get('id')}, not {run_id}"
            raise Refused(
                f"{folder}: holds another run ({unlike}); give another --out, or remove the folder"
            )
        return folder
    if folder.exists() and any(folder.iterdir()):
        raise Refused(f"{folder}: holds files that are not a run's; give another --out")
    write_json(
        folder / "run.json",
        {"kind": kind, "id": run_id, "run": run.changed(), "fingerprints": fingerprints},
    )
    return folder


def _unlike(held: dict[str, Any], kind: str, run: Run, fingerprints: dict[str, str]) -> str:
    """Say in what the run that a folder holds differs from this one."""
    if held.get("kind") != kind:
        return f"of {held.get('kind')}, not {kind}"
    pairs = [(held.get("run") or {}, run.changed(), "settings")]
    pairs.append((held.get("fingerprints") or {}, dict(fingerprints), "fingerprints"))
    words = []
    for there, here, what in pairs:
        for name in sorted(there.keys() | here.keys()):
            a, b = there.get(name, "the default"), here.get(name, "the default")
            if a == b:
                continue
            plain = what == "settings" and not isinstance(a, dict) and not isinstance(b, dict)
            words.append(f"{name} {a} there and {b} here" if plain else f"another {name}")
    return "; ".join(words)


def unclaim(folder: Path, made: Sequence[Path]) -> None:
    """Leave a folder that holds nothing but the claim to it, for another run to take.

    Args:
        folder: the folder.
        made: what the claim made of it and the folders around it, from the inside out; removed.
    """
    if [path.name for path in folder.iterdir()] == ["run.json"]:
        (folder / "run.json").unlink()
        with suppress(OSError):  # another run has put something there meanwhile
            for place in made:
                place.rmdir()


def refuse_file(folder: Path) -> None:
    """Refuse a file where a folder is to be.

    Raises:
        Refused: it is one.
    """
    if folder.exists() and not folder.is_dir():
        raise Refused(f"{folder}: is a file; give another --out")
