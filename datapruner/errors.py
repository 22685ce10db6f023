"""What goes wrong, by name. Every message is one line: what, where, and what to do next."""

from collections.abc import Iterable
from difflib import get_close_matches


class PrunerError(Exception):
    """Something failed that the reader can act on; the command line exits with 1.

    Example:
        >>> PrunerError.exit_code
        1
    """

    exit_code = 1


class UsageError(PrunerError, ValueError):
    """The call itself cannot be carried out as written; the command line exits with 2.

    Example:
        >>> UsageError.exit_code
        2
    """

    exit_code = 2


class Refused(PrunerError):
    """The call is sound, but what is on disk belongs to other data or settings; exits with 3.

    Example:
        >>> Refused.exit_code
        3
    """

    exit_code = 3


def suggest(name: str, known: Iterable[str]) -> str:
    """Say which known name was probably meant, or list them all.

    Example:
        >>> suggest("el2m", ["aum", "el2n"])
        "did you mean 'el2n'?"
        >>> suggest("xyz", ["aum", "el2n"])
        'known: aum, el2n'
    """
    names = list(known)
    close = get_close_matches(name, names, n=1)
    return f"did you mean {close[0]!r}?" if close else "known: " + ", ".join(names)
