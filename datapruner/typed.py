"""Fields of frozen specs brought to their declared types, so that equal values have equal ids."""

import math
import operator
import os
from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any, TypeVar, get_args

from .errors import UsageError, suggest

T = TypeVar("T")


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
    allowed = tuple(b for a in get_args(kind) for b in (get_args(a) or (a,)))
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
    kinds = [a for a in allowed if isinstance(a, type) and a is not type(None)]
    if words and not kinds and isinstance(value, str):
        raise UsageError(f"{name}={value!r}; {suggest(value, words)}")
    names = [*(_KINDS.get(a, a.__name__) for a in kinds), *words]
    what = _KINDS.get(kind, " or ".join(names))
    raise UsageError(f"{name} must be {what}, not {value!r}")


def spec_from(kind: type[T], values: Any, name: str) -> T:
    """Build a frozen spec from plain values; an unknown key is refused with the nearest right one.

    Args:
        kind: the class of the spec.
        values: a mapping, or a spec that is built already.
        name: what messages call it.

    Raises:
        UsageError: no mapping, a field that there is not, or one that is missing.
    """
    if isinstance(values, kind):
        return values
    if not isinstance(values, Mapping):
        raise UsageError(f"{name} must be a table of settings, not {values!r}")
    known = fields(kind)  # type: ignore[arg-type] # a dataclass, which a type does not say
    for key in values:
        if key not in [f.name for f in known]:
            raise UsageError(
                f"{name} has no field {key!r}; {suggest(key, [f.name for f in known])}"
            )
    for f in known:
        if f.default is MISSING and f.name not in values:
            raise UsageError(f"{name} needs a field {f.name!r}")
    return kind(**values)


_KINDS: dict[Any, str] = {
    int: "a whole number",
    float: "a finite number",
    bool: "True or False",
    str: "text",
    tuple[int, ...]: "a list of whole numbers",
}
