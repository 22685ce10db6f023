"""`datapruner doctor`."""

# ruff: noqa: D417 - groups of options document themselves

import json
from dataclasses import asdict

from ..doctor import checks, text
from .options import Common, Say


def doctor(
    common: Say = Common(),  # noqa: B008 - frozen
) -> None:
    """Say what is installed, what works, and what to do about the rest."""
    _doctor(common)


def _doctor(common: Common) -> None:
    """Print what is installed, what works, and what to do about the rest."""
    found = checks()
    print(json.dumps([asdict(c) for c in found], indent=2) if common.json else text(found))
