"""What keep() is told, checked and made plain before anything is kept."""

import inspect
import operator
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from .errors import UsageError, suggest
from .rules import RULES, Rule


def usable_scores(
    scores: ArrayLike | Tensor, readable: ArrayLike | Tensor | None
) -> tuple[NDArray, NDArray[np.int64]]:
    """Return the scores as a plain array, and the indices of the readable examples.

    Raises:
        UsageError: not (n,) numbers, or a readable example without a finite score.

    Example:
        >>> usable_scores([0.5, float("nan")], [True, False])
        (array([0.5, nan]), array([0]))
    """
    if isinstance(scores, Mapping):
        raise UsageError("keep takes one score, not the table; pass for instance scores['el2n']")
    if isinstance(scores, Tensor):
        half = scores.dtype in (torch.float16, torch.bfloat16)  # numpy does not have the latter
        scores = (scores.float() if half else scores).detach().cpu().numpy()
    values = np.asarray(scores)
    if values.ndim != 1 or values.dtype.kind not in "biuf" or len(values) == 0:
        raise UsageError(f"scores must be (n,) numbers, got {values.shape} {values.dtype}")
    if values.dtype.kind == "b":
        values = values.astype(np.int8)
    usable = np.ones(len(values), bool) if readable is None else np.asarray(readable)
    if usable.shape != values.shape or usable.dtype != bool:
        raise UsageError(f"readable must be {values.shape} bool, got {usable.shape} {usable.dtype}")
    _refuse(np.isnan(values) & usable, "NaN", "flag unreadable examples through `readable`")
    _refuse(np.isinf(values) & usable, "infinite", "give them a number, such as the highest other")
    pool = np.flatnonzero(usable)
    if len(pool) == 0:
        raise UsageError(f"none of the {len(values):,} examples is readable; nothing to keep")
    return values, pool


def size_of_budget(fraction: float | None, k: int | None, n: int) -> tuple[float, int]:
    """Return the share and the number to keep of n examples, from whichever is given.

    Raises:
        UsageError: both or neither is given, or it is out of range.

    Example:
        >>> size_of_budget(0.3, None, 10)
        (0.3, 3)
        >>> size_of_budget(None, 4, 10)
        (0.4, 4)
    """
    if fraction is not None and k is None:
        if not 0 < fraction <= 1:
            hint = f"; for a number say k={fraction:g}" if fraction > 1 else ""
            raise UsageError(f"fraction={fraction:g} must be above 0 and at most 1{hint}")
        return float(fraction), max(1, round(float(fraction) * n))
    if fraction is None and k is not None:
        k = whole_number("k", k)
        if not 0 <= k <= n:
            raise UsageError(f"k={k:,} must be between 0 and the {n:,} readable examples")
        return k / n, k
    raise UsageError("say either fraction (a share) or k (a number), and not both")


def whole_number(name: str, value: int) -> int:
    """Return the value as an int, or refuse it by name.

    Example:
        >>> whole_number("k", np.int64(3))
        3
    """
    try:
        return operator.index(value)
    except TypeError:
        raise UsageError(f"{name}={value!r} must be a whole number") from None


def choose_rule(
    rule: str | Rule, options: Mapping[str, Any], share: float
) -> tuple[str, Rule, dict[str, Any]]:
    """Return the rule's name, the rule with its options filled in, and those options.

    Raises:
        UsageError: an unknown rule, an option it does not have, or one that is out of range.

    Example:
        >>> name, chosen, options = choose_rule("window", {"offset": 0.1}, 0.5)
        >>> name, options
        ('window', {'offset': 0.1})
    """
    if callable(rule):
        name, function = getattr(rule, "__name__", type(rule).__name__), rule
        known: set[str] = set()
    elif rule in RULES:
        name, function = rule, RULES[rule]
        known = _options(rule)
    else:
        raise UsageError(f"unknown rule {rule!r}; {suggest(str(rule), RULES)}")
    for option, value in options.items():
        if option not in known and value != _DEFAULTS[option]:
            takers = ", ".join(f"{r!r}" for r in RULES if option in _options(r))
            raise UsageError(f"rule {name!r} does not use {option}; leave it out, or use {takers}")
    own = {option: value for option, value in options.items() if option in known}
    if "strata" in own and (strata := whole_number("strata", own["strata"])) < 1:
        raise UsageError(f"strata={strata} must be at least 1")
    own = {option: type(_DEFAULTS[option])(value) for option, value in own.items()}
    for option in ("offset", "beta"):
        value = own.get(option, 0.0)
        if not 0 <= value <= 1 - share + 1e-9:
            raise UsageError(
                f"{option}={value:g} must be between 0 and {1 - share:g}: "
                f"{share:g} of the examples are to be kept"
            )

    def chosen(scores: NDArray, k: int, generator: Any) -> NDArray[np.int64]:
        places = np.asarray(function(scores, k, generator, **own))
        return places if isinstance(rule, str) else _as_places(places, k, len(scores), name)

    return name, chosen, own


def refuse_odd_shares(**shares: float) -> None:
    """Refuse, by name, a share outside 0 to 1.

    Example:
        >>> refuse_odd_shares(calibrate=0.5)
    """
    for name, share in shares.items():
        if not 0 <= share <= 1:
            raise UsageError(f"{name}={share:g} must be between 0 and 1")


def shares_of_classes(shares: ArrayLike | Tensor, classes: int) -> NDArray[np.float64]:
    """Return what classes' budgets are proportional to, as numbers.

    Raises:
        UsageError: not one number of 0 or more a class, or all of them 0.

    Example:
        >>> shares_of_classes([0.1, 0.4], 2)
        array([0.1, 0.4])
    """
    given = np.asarray(shares)
    if given.shape != (classes,) or given.dtype.kind not in "iuf":
        raise UsageError(
            f"class_shares must be one number for each of the {classes} classes, got "
            f"{given.shape} {given.dtype}"
        )
    _refuse(~np.isfinite(given) | (given < 0), "no share", "give each class 0 or more")
    if not given.any():
        raise UsageError("class_shares are all 0; give a class more than that")
    return given.astype(np.float64)


def ranked_by_a_greedy_scorer(scores: NDArray) -> int | None:
    """Return how many examples a greedy scorer ranked when it did not rank all, else None.

    Such a scorer gives n, n - 1, ... in the order it picks, and less than 0 to those it did not
    come to. That pattern is exact, so scores of another kind are not taken for it.

    Example:
        >>> ranked_by_a_greedy_scorer(np.array([4.0, -1, 3, -1])), ranked_by_a_greedy_scorer(np.eye(3)[0])
        (2, None)
    """  # noqa: E501
    n = len(scores)
    if scores.max() != n or scores.min() >= 0:
        return None
    ladder = np.sort(scores[scores >= 0])
    expected = np.arange(n - len(ladder) + 1, n + 1)
    return len(ladder) if (ladder == expected).all() else None


_DEFAULTS = {
    option: parameter.default
    for rule in RULES.values()
    for option, parameter in inspect.signature(rule).parameters.items()
    if parameter.kind is parameter.KEYWORD_ONLY
}


def _options(rule: str) -> set[str]:
    return _DEFAULTS.keys() & inspect.signature(RULES[rule]).parameters.keys()


def _refuse(bad: NDArray[np.bool_], what: str, cure: str) -> None:
    """Name the examples by their number and the first of them."""
    if count := int(np.count_nonzero(bad)):
        verb = "score is" if count == 1 else "scores are"
        raise UsageError(f"{count:,} {verb} {what}, first at {int(bad.argmax())}: {cure}")


def _as_places(places: NDArray, k: int, n: int, name: str) -> NDArray[np.int64]:
    """Check what a user's own rule returned."""
    whole = places.ndim == 1 and (places.dtype.kind in "iu" or places.size == 0)
    if not whole or len(np.unique(places)) != k or len(places) != k:
        raise UsageError(
            f"rule {name!r} must return {k} different places, got {places.shape} {places.dtype}"
        )
    if k and not 0 <= places.min() <= places.max() < n:
        raise UsageError(f"rule {name!r} returned places outside 0 .. {n - 1}")
    return places.astype(np.int64)
