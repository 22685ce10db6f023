"""Numbers as a reader sees them: one way to write each kind, everywhere on the page."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

NONE = "–"
_MINUS = "\N{MINUS SIGN}"
_SPACE = "\N{NO-BREAK SPACE}"


def text(value: Any) -> str:
    """Write anything that is no number; None is a dash."""
    return NONE if value is None else str(value)


def count(value: float | None) -> str:
    """Write a whole number with thousands apart.

    Example:
        >>> count(14370)
        '14,370'
    """
    return _signed(value, lambda v: f"{v:,.0f}")


def percent(value: float | None, digits: int = 1) -> str:
    """Write a share of one in percent.

    Example:
        >>> percent(0.305).replace(chr(160), " ")
        '30.5 %'
    """
    return _signed(value, lambda v: f"{100 * v:.{digits}f}{_SPACE}%")


def accuracy(value: float | None) -> str:
    """Write an accuracy in percent, to the hundredth."""
    return percent(value, 2)


def points(value: float | None) -> str:
    """Write a difference of two accuracies in percentage points, always with its sign.

    Example:
        >>> points(0.0123), points(-0.0123)
        ('+1.23', '−1.23')
    """
    sign = "+" if value is not None and value >= 0 else ""
    return sign + _signed(value, lambda v: f"{100 * v:.2f}")


def error(value: float | None) -> str:
    """Write a standard error of an accuracy in percentage points.

    Example:
        >>> error(0.0012)
        '0.12'
    """
    return _signed(value, lambda v: f"{100 * v:.2f}")


def number(value: float | None) -> str:
    """Write a score or any other number with four digits that count.

    Example:
        >>> number(0.123456), number(12345.678), number(float("nan"))
        ('0.1235', '12,346', '–')
    """
    return _signed(value, lambda v: f"{v:,.0f}" if 1e4 <= v < 1e9 else _four(v))


def decimals(values: NDArray[np.float64]) -> int:
    """Return how many decimals tell finite values of this range apart; none for whole numbers.

    Example:
        >>> decimals(np.array([0.0, 1.2])), decimals(np.array([3.0, 12.0]))
        (3, 0)
    """
    if bool((values == np.round(values)).all()):
        return 0
    span = float(np.ptp(values))
    return min(max(4 - math.ceil(math.log10(span)), 0), 6) if span > 0 else 3


def fixed(value: float, digits: int) -> str:
    """Write a score with this many decimals.

    Example:
        >>> fixed(-15.1849, 2)
        '−15.18'
    """
    return _signed(value, lambda v: f"{v:.{digits}f}")


def seconds(value: float | None) -> str:
    """Write a time in seconds.

    Example:
        >>> seconds(3.46), seconds(1234.5)
        ('3.5', '1,234')
    """
    return _signed(value, lambda v: f"{v:.1f}" if v < 100 else f"{v:,.0f}")


def compact(value: float) -> str:
    """Write a tick of a count: short, with k, M or G.

    Example:
        >>> compact(0), compact(2500), compact(1e6)
        ('0', '2.5k', '1M')
    """
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= limit:
            return _signed(value / limit, lambda v: f"{v:.4g}") + unit
    return number(value)


def _four(value: float) -> str:
    return f"{value:.4g}".replace("e-0", f"e{_MINUS}").replace("e-", f"e{_MINUS}")


def _signed(value: float | None, write: Callable[[float], str]) -> str:
    if value is None or not math.isfinite(value):
        return NONE
    written = write(abs(float(value)))
    return _MINUS + written if value < 0 and any(c in "123456789" for c in written) else written
