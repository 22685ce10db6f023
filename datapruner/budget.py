"""How a budget is spent: between the rule and chance, and over the classes; always exactly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from .errors import UsageError
from .quotas import largest_remainder
from .rules import Rule, draw
from .seeds import generator, seed_for

EVERYONE = -1  # the group of all classes together; a class's own group is its place in `names`

Indices = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Spender:
    """Takes examples out of groups: a part by the rule, a part at random from what that leaves.

    Args:
        scores: (n,), finite for everyone in a group.
        rule: (scores, k, generator) -> k places in the scores it is given.
        calibrate: share of a budget that is drawn at random.
        seed: of ties and draws.
        ranked: how many examples a greedy scorer ranked, the others being below 0; None for all.
    """

    scores: NDArray
    rule: Rule
    calibrate: float = 0.0
    seed: int = 0
    ranked: int | None = None

    def spend(self, groups: Sequence[tuple[int, Indices]], quotas: NDArray[np.int64]) -> Indices:
        """Take quotas[i] of the i-th (group, members), and return their indices in order.

        The random parts of the groups add up to round(calibrate * total).
        """
        by_chance = largest_remainder(
            quotas.astype(np.float64), round(self.calibrate * int(quotas.sum())), quotas
        )
        parts = [
            self._take(group, members, quota, chance)
            for (group, members), quota, chance in zip(
                groups, quotas.tolist(), by_chance.tolist(), strict=True
            )
        ]
        return np.sort(np.concatenate(parts))

    def _take(self, group: int, members: Indices, quota: int, by_chance: int) -> Indices:
        own = self.scores[members]
        places = self.rule(own, quota - by_chance, generator(self.seed, "keep", group))
        if self.ranked is not None and (own[places] < 0).any():
            raise UsageError(
                f"this keeps examples that were not ranked, only {self.ranked:,} were; "
                "keep fewer, or score again with a larger limit"
            )
        if by_chance == 0:
            return members[places]
        rest = np.delete(members, places)
        lucky = draw(rest, by_chance, seed_for(self.seed, "keep"), "calibrate")
        return np.concatenate([members[places], lucky])


@dataclass(frozen=True, eq=False)
class Classes:
    """The examples that may be kept, by class.

    Args:
        names: the labels, one a class.
        place: (n,) the class of each example, as a place in `names`.
        members: the indices of each class that may be kept, ascending.
    """

    names: list[int]
    place: Indices
    members: list[Indices]

    @classmethod
    def of(cls, labels: ArrayLike | Tensor, pool: Indices, n: int) -> Classes:
        """Group the pool by label; 0 to the highest label where that is no waste.

        Raises:
            UsageError: labels are not (n,) whole numbers.

        Example:
            >>> Classes.of([1, 0, 0, 1], np.array([0, 2, 3]), 4).members
            [array([2]), array([0, 3])]
        """
        place = np.asarray(labels)
        if place.shape != (n,) or place.dtype.kind not in "iu":
            raise UsageError(
                f"labels must be ({n},) whole numbers, got {place.shape} {place.dtype}"
            )
        if place.min() >= 0 and place.max() < max(n, 1 << 16):
            place = place.astype(np.int64)
            names = list(range(int(place.max()) + 1))
        else:
            values, place = np.unique(place, return_inverse=True)
            names = values.tolist()
        own = place[pool]
        small = own.astype(np.uint16) if len(names) <= 1 << 16 else own  # sorted by radix
        ordered = pool[np.argsort(small, kind="stable")]
        ends = np.cumsum(np.bincount(own, minlength=len(names)))
        return cls(names, place, np.split(ordered, ends[:-1]))

    @property
    def sizes(self) -> NDArray[np.int64]:
        """How many of each class may be kept."""
        return np.array([len(own) for own in self.members], np.int64)

    def counts(self, kept: Indices) -> dict[str, list[int]]:
        """Return, by label, how many are kept and of how many."""
        numbers = np.bincount(self.place[kept], minlength=len(self.names)).tolist()
        rows = zip(self.names, numbers, self.sizes.tolist(), strict=True)
        return {str(name): [of_class, size] for name, of_class, size in rows}


def keep_per_class(
    spender: Spender, classes: Classes, k: int, shares: NDArray[np.float64] | None = None
) -> Indices:
    """Apply the rule inside each class; k is shared in proportion, by largest remainder.

    In proportion to the sizes of the classes, or to `shares`; a class that is smaller than its part
    is kept whole, and the others share what is left.
    """
    sizes = classes.sizes
    quotas = largest_remainder(sizes.astype(np.float64) if shares is None else shares, k, sizes)
    return spender.spend(list(enumerate(classes.members)), quotas)


def keep_with_floor(spender: Spender, classes: Classes, k: int, share: float) -> Indices:
    """Apply the rule to everyone, then see to it that each class keeps `share` of its examples.

    A class that comes out short gets its floor, filled by the rule inside the class, and the rule
    is applied anew to the others with what is left; until none is short. With rule `top` this is
    the subset with the highest sum of scores among those that respect the floors.

    Args:
        spender: takes examples by the rule.
        classes: who belongs to which.
        k: how many to keep in all.
        share: of each class, at most k / n; rounded up while k lasts, largest remainders first.
    """
    floors = _floors(classes.sizes * share, k)
    short = np.zeros(len(floors), bool)
    while True:
        free = np.sort(np.concatenate([classes.members[c] for c in np.flatnonzero(~short)]))
        groups = [(EVERYONE, free)]
        groups += [(c, classes.members[c]) for c in np.flatnonzero(short).tolist()]
        quotas = np.concatenate([[k - floors[short].sum()], floors[short]])
        kept = spender.spend(groups, quotas)
        counts = np.bincount(classes.place[kept], minlength=len(floors))
        now_short = ~short & (counts < floors)
        if not now_short.any():
            return kept
        short |= now_short


def _floors(exact: NDArray[np.floating], k: int) -> NDArray[np.int64]:
    """Round up, the largest remainders first, as long as the sum stays within k."""
    floors: Indices = np.floor(exact + 1e-9).astype(np.int64)
    remainder = exact - floors
    up = np.argsort(-remainder, kind="stable")[: max(0, k - int(floors.sum()))]
    floors[up[remainder[up] > 1e-9]] += 1
    return floors
