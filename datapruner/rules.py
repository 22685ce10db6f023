"""The keep rules: which k examples a score keeps. One hand-written table, one plain function each.

There is one order: highest score first, equal scores by a seeded hash of their place. `top`,
`window`, `middle` and `bottom` are slices of it, so the top 30 % and the bottom 70 % share nothing,
and a smaller budget is contained in a larger one (`top`, `window`, `bottom`, `random`,
`proportional`).

A rule takes `(scores, k, generator)` and its own options by keyword, and returns k different places
in ascending order. `scores` is (n,) and finite; a user's own function of that shape is a rule too.
"""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator

from .errors import UsageError
from .seeds import hash_rows

TIES = "equal scores: ascending splitmix64(place, seed), so the same on every machine"


def top(scores: NDArray, k: int, generator: Generator) -> NDArray[np.int64]:
    """Keep the k highest.

    Example:
        >>> top(np.array([0.1, 0.9, 0.5, 0.7]), 2, torch.Generator().manual_seed(0))
        array([1, 3])
    """
    return _slice(scores, 0, k, generator)


def bottom(scores: NDArray, k: int, generator: Generator) -> NDArray[np.int64]:
    """Keep the k lowest: exactly what `top` with n - k leaves.

    Example:
        >>> bottom(np.array([0.1, 0.9, 0.5, 0.7]), 2, torch.Generator().manual_seed(0))
        array([0, 2])
    """
    return _slice(scores, len(scores) - k, k, generator)


def middle(scores: NDArray, k: int, generator: Generator) -> NDArray[np.int64]:
    """Keep the k around the median: as many left out above as below, an odd one out below.

    Example:
        >>> middle(np.array([0.1, 0.9, 0.5, 0.7]), 2, torch.Generator().manual_seed(0))
        array([2, 3])
    """
    return _slice(scores, (len(scores) - k) // 2, k, generator)


def window(
    scores: NDArray, k: int, generator: Generator, *, offset: float = 0.0
) -> NDArray[np.int64]:
    """Leave out the highest `offset` share of all n, where the label noise lives; keep the next k.

    Paul, Ganguli and Dziugaite, "Deep Learning on a Data Diet" (2021), section 5.

    Args:
        scores: (n,) finite.
        k: how many to keep.
        generator: orders equal scores.
        offset: share of the n examples that is skipped, in [0, 1); at most 1 - k / n.

    Example:
        >>> window(np.array([0.1, 0.9, 0.5, 0.7]), 2, torch.Generator().manual_seed(0), offset=0.25)
        array([2, 3])
    """
    return _slice(scores, _share(offset, len(scores), k), k, generator)


def ccs(
    scores: NDArray, k: int, generator: Generator, *, beta: float = 0.0, strata: int = 50
) -> NDArray[np.int64]:
    """Cover the whole range of scores: cut the hardest `beta`, then draw evenly from score strata.

    The highest round(beta * n) are dropped; beta counts over all n and inside the pruned share. The
    rest is cut into `strata` intervals of equal width; an example on an inner edge belongs to the
    upper interval, the highest one to the last. Intervals are visited smallest first (equal sizes:
    lowest scores first), and each gives min(its size, budget left // intervals left), drawn at
    random. The sum is exactly k.

    Zheng, Liu, Lai and Prakash, "Coverage-centric Coreset Selection" (2023), algorithm 1.

    Args:
        scores: (n,) finite, high is hard.
        k: how many to keep.
        generator: draws inside a stratum, and orders equal scores at the cut.
        beta: share of the n examples that is cut, in [0, 1); at most 1 - k / n.
        strata: number of intervals.

    Example:
        >>> hard_last = np.array([0.0, 0.1, 0.2, 0.3, 0.9, 1.0, 5.0])
        >>> ccs(hard_last, 6, torch.Generator().manual_seed(0), beta=1 / 7, strata=2)
        array([0, 1, 2, 3, 4, 5])
    """
    n = len(scores)
    seed = _seed(generator)
    rest = np.flatnonzero(~_first(scores, _share(beta, n, k), seed))
    values = scores[rest].astype(np.float64)
    edges = np.linspace(values.min(), values.max(), strata + 1) if len(values) else np.zeros(2)
    stratum = np.searchsorted(edges[1:-1], values, side="right")
    if strata <= 1 << 16:
        stratum = stratum.astype(np.uint16)  # numpy sorts 16 bits by radix, ten times faster
    sizes = np.bincount(stratum, minlength=strata)
    by_stratum = rest[np.argsort(stratum, kind="stable")]
    ends = np.cumsum(sizes)
    chosen = []
    left = k
    for visited, s in enumerate(np.argsort(sizes, kind="stable").tolist()):
        take = min(int(sizes[s]), left // (strata - visited))
        chosen.append(draw(by_stratum[ends[s] - sizes[s] : ends[s]], take, seed, "stratum"))
        left -= take
    return np.sort(np.concatenate(chosen))


def random(scores: NDArray, k: int, generator: Generator) -> NDArray[np.int64]:
    """Keep k drawn uniformly without replacement; the scores only say how many there are.

    Example:
        >>> len(random(np.zeros(100), 30, torch.Generator().manual_seed(0)))
        30
    """
    return np.sort(draw(np.arange(len(scores)), k, _seed(generator), "random"))


def proportional(scores: NDArray, k: int, generator: Generator) -> NDArray[np.int64]:
    """Draw k one after another, each with probability proportional to score among those left.

    Without replacement; examples of score 0 come only when there are no others, drawn uniformly.
    Each has the key -log(u) / score of its own u, and the k smallest keys are kept (Efraimidis and
    Spirakis 2006), so a smaller budget is contained in a larger one.

    Args:
        scores: (n,) finite and 0 or more.
        k: how many to keep.
        generator: draws.

    Raises:
        UsageError: a score is below 0.

    Example:
        >>> proportional(np.array([0.0, 2.0, 0.0, 1.0]), 2, torch.Generator().manual_seed(0))
        array([1, 3])
    """
    if (below := scores < 0).any():
        raise UsageError(
            f"rule 'proportional' draws by scores of 0 or more; {np.count_nonzero(below):,} are "
            f"below, first at {int(below.argmax())}: keep by rank (top, ccs), or shift them"
        )
    seed = _seed(generator)
    some, none = np.flatnonzero(scores > 0), np.flatnonzero(scores == 0)
    u = (hash_rows(some, seed, "proportional") >> np.uint64(11)).astype(np.float64) + 0.5
    m = min(k, len(some))
    with np.errstate(over="ignore"):  # of scores below 1e-306
        keys = -np.log(u * 2.0**-53) / scores[some].astype(np.float64)
    first = np.argpartition(keys, m - 1)[:m] if 0 < m < len(some) else np.arange(m)
    return np.sort(np.concatenate([some[first], draw(none, k - m, seed, "no weight")]))


Rule = Callable[[NDArray, int, Generator], NDArray[np.int64]]

RULES: dict[str, Callable[..., NDArray[np.int64]]] = {
    # slices of the one order
    "top": top,
    "bottom": bottom,
    "middle": middle,
    "window": window,
    # random parts
    "ccs": ccs,
    "random": random,
    "proportional": proportional,
}


def draw(candidates: NDArray[np.int64], m: int, seed: int, purpose: str) -> NDArray[np.int64]:
    """Return m of the candidates, uniformly, in no particular order; more m only adds to them.

    Each candidate has its own random key, so whether it is drawn depends on nothing but the seed,
    its value and the other candidates.

    Example:
        >>> few = draw(np.arange(100), 5, 0, "demo")
        >>> bool(np.isin(few, draw(np.arange(100), 9, 0, "demo")).all())
        True
    """
    if m >= len(candidates):
        return candidates
    if m == 0:
        return candidates[:0]
    keys = hash_rows(candidates, seed, purpose)
    return candidates[np.argpartition(keys, m - 1)[:m]]


def _slice(scores: NDArray, start: int, k: int, generator: Generator) -> NDArray[np.int64]:
    """Return places start .. start + k of the one order, ascending."""
    seed = _seed(generator)
    return np.flatnonzero(_first(scores, start + k, seed) & ~_first(scores, start, seed))


def _first(scores: NDArray, m: int, seed: int) -> NDArray[np.bool_]:
    """Mark the first m of the order (-score, hash of the place): a partition, never a full sort."""
    n = len(scores)
    if m <= 0 or m >= n:
        return np.full(n, m > 0)
    edge = np.partition(scores, n - m)[n - m]
    mask: NDArray[np.bool_] = scores > edge
    ties = np.flatnonzero(scores == edge)
    mask[draw(ties, m - int(np.count_nonzero(mask)), seed, "ties")] = True
    return mask


def _share(share: float, n: int, k: int) -> int:
    """Count the examples to leave out at the top; the budget of k goes first."""
    return min(round(share * n), n - k)


def _seed(generator: Generator) -> int:
    return int(torch.randint(1 << 62, (1,), generator=generator))
