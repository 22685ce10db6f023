"""`datapruner scorers`."""

# ruff: noqa: D417 - groups of options document themselves

import inspect
import json
from typing import Annotated

import tyro

from ..errors import UsageError, suggest
from .options import Common, Say


def scorers(
    name: Annotated[str | None, tyro.conf.Positional, tyro.conf.arg(metavar="NAME")] = None,
    /,
    common: Say = Common(),  # noqa: B008 - frozen
) -> None:
    """List the scorers, or say what one is, what it needs and which side is high.

    Args:
        name: one of them; default all, a line each.
    """
    _scorers(name, common)


def _scorers(name: str | None, common: Common) -> None:
    """Print what one scorer is, or all of them with what they need, a line each."""
    from scorers import PASS, SCORERS

    if name is None:
        rows = [_row(n) for n in SCORERS]
        if common.json:
            print(json.dumps(rows, indent=2))
            return
        width = max(len(r["name"]) for r in rows)
        for row in rows:
            print(f"{row['name']:{width}}  {row['what']}  [{', '.join(row['needs'])}]")
        return
    if name not in SCORERS:
        raise UsageError(f"no scorer {name!r}; {suggest(name, SCORERS)}")
    if common.json:
        print(json.dumps(_row(name), indent=2))
        return
    print(f"{name}{inspect.signature(SCORERS[name])}\n")
    print(inspect.getdoc(SCORERS[name]))
    print(f"\nPass it reads unless told otherwise: {PASS[name]}")


def _row(name: str) -> dict:
    from scorers import PASS, SCORERS

    kinds = inspect.signature(SCORERS[name]).parameters.values()
    return {
        "name": name,
        "what": (inspect.getdoc(SCORERS[name]) or "").splitlines()[0],
        "needs": [p.name for p in kinds if p.kind is not p.KEYWORD_ONLY],
        "options": {p.name: repr(p.default) for p in kinds if p.kind is p.KEYWORD_ONLY},
        "pass": PASS[name],
    }
