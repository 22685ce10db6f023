"""`datapruner doctor`."""

import json
from dataclasses import asdict

from ..doctor import checks, text
from .options import Common


def doctor(common: Common) -> None:
    """Print what is installed, what works, and what to do about the rest."""
    found = checks()
    print(json.dumps([asdict(c) for c in found], indent=2) if common.json else text(found))
