"""Fields of frozen specs brought to their declared types, so that equal values have equal ids."""

import math
import operator
import os
from dataclasses import fields
from typing import Any, get_args

from .errors import UsageError, suggest


def set_typed(spec: Any) -> None:
    """Bring every field to its declared type, so that equal values have equal ids."""
    for f in fields(spec):
        object.__setattr__(spec, f.name, typed(f.name, f.type, getattr(spec, f.name)))


def typed(name: str, kind: Any, value: Any) -> Any:
    """Return the value as the type says, a whole number from numpy as an int; or refuse it.

    Args:
        name: what the message calls it.
        kind: int, float, bool, str, a Literal, a tuple of int, or a union with None.
        value: what was given.

    Raises:
        UsageError: it is of another type.

    Example:
        >>> typed("window", int | None, 5)
        5
    """
    allowed = get_args(kind)
    if value is None and type(None) in allowed:
        return None
    if str in (kind, *allowed) and isinstance(value, str | os.PathLike):
        return os.fspath(value)
    if kind is bool and isinstance(value, bool):
        return value
    if kind is int and hasattr(value, "__index__") and not isinstance(value, bool):
        return operator.index(value)
    if float in (kind, *allowed) and hasattr(value, "__float__") and not isinstance(value, bool):
        if math.isfinite(number := float(value)):
            return number
    elif kind == tuple[int, ...]:
        if isinstance(value, list | tuple):
            return tuple(typed(name, int, one) for one in value)
    elif value in allowed or isinstance(value, tuple(a for a in allowed if isinstance(a, type))):
        return value
    words = [a for a in allowed if isinstance(a, str)]
    if words and isinstance(value, str):
        raise UsageError(f"{name}={value!r}; {suggest(value, words)}")
    names = [str(getattr(a, "__name__", a)).removesuffix("Type") for a in allowed]
    what = _KINDS.get(kind, " or ".join(names))
    raise UsageError(f"{name} must be {what}, not {value!r}")


_KINDS: dict[Any, str] = {
    int: "a whole number",
    float: "a finite number",
    bool: "True or False",
    str: "text",
    str | None: "text",
    float | None: "a finite number",
    tuple[int, ...]: "a list of whole numbers",
}
