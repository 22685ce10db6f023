"""select(): a subset chosen for a budget, with weights, by the methods that need to know it."""

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from scorers import BUDGETED, SCORERS

from .checks import size_of_budget, whole_number
from .errors import UsageError, suggest
from .provenance import versions
from .quotas import largest_remainder
from .scores import Scorer
from .selection import Selection
from .sources import SOURCES, Sources, count_examples

if TYPE_CHECKING:
    from .data import Data

__all__ = ["METHODS", "select"]

# Those that choose by a budget, and the greedy scorers, which can stop when it is spent.
METHODS = BUDGETED + tuple(
    name for name, scorer in SCORERS.items() if "limit" in inspect.signature(scorer).parameters
)


def select(
    method: str,
    sources: Mapping[str, Any],
    fraction: float | None = None,
    *,
    k: int | None = None,
    options: Mapping[str, Any] | None = None,
    per_class: bool = False,
    data: "Data | None" = None,
    readable: ArrayLike | Tensor | None = None,
    seed: int = 0,
) -> Selection:
    """Choose a share of the examples by a method that must know how many.

    `craig`, `gradmatch`, `glister` and `d2` weigh what they choose; the greedy scorers (`kcenter`,
    `herding`, `facility_location`, `graph_cut`, `log_det`, `contextual_diversity`) rank no more
    than are wanted. For any other score use `score`, then `keep`.

    Args:
        method: its name; `datapruner scorers NAME` says what it needs.
        sources: from source names to arrays with a row for each example: embedding (n, d),
            errors (n, classes), which probs and labels may stand for, labels (n,), ...
        fraction: share of the readable examples, above 0 and at most 1.
        k: how many, instead of a fraction.
        options: of the method, such as {"ridge": 0.1}.
        per_class: choose in each class by itself, each giving the same share, as the papers of
            craig, herding and d2 do; the weights then count what each class stands for.
        data: labels, readable and the fingerprint are taken from it.
        readable: (n,) bool; False = never chosen.
        seed: of what is drawn at random, for methods that draw.

    Returns:
        Selection: indices ascending; weights of mean 1, or None where all count the same.

    Raises:
        UsageError: an unknown method or option, a source that is not there, or no such budget.

    Example:
        >>> import torch
        >>> rows = torch.tensor([[0.0], [1.0], [2.2], [9.0]])
        >>> select("kcenter", {"embedding": rows}, fraction=0.5).indices.tolist()
        [2, 3]
    """
    function = _method(method)
    labels = data.labels if data is not None else sources.get("labels")
    n = count_examples(sources, {}) if data is None else data.n
    if readable is None and data is not None:
        readable = data.readable
    usable = np.ones(n, bool) if readable is None else np.asarray(readable)
    if usable.shape != (n,) or usable.dtype != bool or not usable.any():
        raise UsageError(f"readable must be ({n},) bool and not all False")
    share, size = size_of_budget(fraction, k, int(usable.sum()))
    if size == 0:
        raise UsageError("k=0 leaves nothing to choose; ask for one example or more")
    seed = whole_number("seed", seed)
    found = _found(method, function, sources, usable, labels, seed)
    chosen = _options(method, function, options or {}, seed)
    groups = [torch.arange(int(usable.sum()))]
    if per_class:
        groups = _classes(found, sources, usable, labels)
    indices, weights = _chosen(method, function, found, chosen, groups, size)
    pool = torch.from_numpy(np.flatnonzero(usable))
    order = indices.argsort()
    meta = {
        "data": None if data is None else data.name,
        "fingerprint": None if data is None else data.fingerprint,
        "rule": method,
        "options": chosen,
        "fraction": None if fraction is None else share,
        "k": size,
        "readable": int(usable.sum()),
        "seed": seed,
        "per_class": bool(per_class),
        "versions": versions(),
    }
    return Selection(
        pool[indices[order]], n, None if weights is None else weights[order], meta=meta
    )


def _method(name: str) -> Scorer:
    if name in METHODS:
        return SCORERS[name]
    if name in SCORERS:
        raise UsageError(
            f"{name!r} scores every example whatever the budget: use "
            f"dp.keep(dp.score(sources, {name!r})[{name!r}], fraction=...)"
        )
    raise UsageError(f"unknown method {name!r}; {suggest(str(name), METHODS)}")


def _found(
    method: str,
    function: Scorer,
    sources: Mapping[str, Any],
    usable: NDArray[np.bool_],
    labels: Any,
    seed: int,
) -> dict[str, Any]:
    """Return the sources that the method asks for, of the readable examples."""
    given = dict(sources)
    labels = None if labels is None else torch.as_tensor(labels)
    if "errors" not in given and "probs" in given and labels is not None:
        probs = torch.as_tensor(given["probs"])
        given["errors"] = probs - torch.nn.functional.one_hot(labels.long(), probs.shape[1])
    of = Sources(given, {}, usable, labels, seed)
    parameters = inspect.signature(function).parameters.values()
    needs = [p.name for p in parameters if p.kind is not p.KEYWORD_ONLY and p.name != "k"]
    return {name: of.get(name, clean=False, scorer=method) for name in needs}


def _options(method: str, function: Scorer, given: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """Return every option with its value, those that the caller set and the others' defaults."""
    known = {
        p.name: p.default
        for p in inspect.signature(function).parameters.values()
        if p.kind is p.KEYWORD_ONLY
    }
    for option in given:
        if option not in known or option == "limit":
            raise UsageError(f"{method!r} has no option {option!r} here; {suggest(option, known)}")
    if "seed" in known:
        known["seed"] = seed
    known.pop("limit", None)
    return known | dict(given)


def _classes(
    found: Mapping[str, Any], sources: Mapping[str, Any], usable: NDArray[np.bool_], labels: Any
) -> list[Tensor]:
    """Return the places of each class among the readable examples."""
    if labels is None:
        raise UsageError("per_class needs labels; pass data=, or put labels into the sources")
    own = torch.as_tensor(labels)
    if own.shape != usable.shape:
        raise UsageError(f"labels must be ({len(usable)},), got {tuple(own.shape)}")
    own = own[torch.from_numpy(usable)]
    return [(own == label).nonzero()[:, 0] for label in own.unique()]


def _chosen(
    method: str,
    function: Scorer,
    found: Mapping[str, Any],
    options: Mapping[str, Any],
    groups: list[Tensor],
    size: int,
) -> tuple[Tensor, Tensor | None]:
    """Choose in each group its part of the budget."""
    sizes = np.array([len(group) for group in groups])
    quotas = largest_remainder(sizes.astype(np.float64), size, sizes)
    parts = []
    for group, quota in zip(groups, quotas.tolist(), strict=True):
        if quota:
            rows = {
                name: value if SOURCES[name].axis is None else torch.as_tensor(value)[group]
                for name, value in found.items()
            }
            try:
                places, weights = _one(method, function, rows, options, quota)
            except ValueError as error:
                raise UsageError(f"{method!r}: {error}") from error
            parts.append((group[places], weights, len(group) / quota))
    indices = torch.cat([places for places, _, _ in parts])
    if all(bool((weights == 1).all()) for _, weights, _ in parts):
        return indices, None
    stands_for = torch.cat([weights.to(torch.float64) * each for _, weights, each in parts])
    return indices, (stands_for / stands_for.mean()).to(torch.float32)


def _one(
    method: str, function: Scorer, rows: dict[str, Any], options: Mapping[str, Any], k: int
) -> tuple[Tensor, Tensor]:
    if method in BUDGETED:
        indices, weights = function(**rows, k=k, **options)
        return indices, weights
    score = function(**rows, limit=k, **options)
    return score.argsort(descending=True)[:k], torch.ones(k)
