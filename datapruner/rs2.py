"""RS2: a fresh random subset each epoch."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .errors import UsageError
from .quotas import at_least_one
from .samplers import Deaf, Draw, bound, population, which_readable
from .seeds import generator
from .streams import Stream


@dataclass(frozen=True, eq=False)
class RS2(Deaf):
    """A fresh random subset each epoch: repeated random sampling (Okanovic et al. 2023, ICLR 2024).

    Without replacement a random permutation is walked through, `k` examples an epoch; what is left
    at its end opens the next epoch, which is filled up from a new permutation without repeats
    inside the epoch. Every example is seen within one time of every other. With replacement each
    epoch is drawn by itself, still without repeats inside it. Size the learning-rate schedule to
    the steps that are really taken: `fit` does, and it is half of the method.

    Args:
        fraction: share of the (readable) examples in an epoch, above 0 and at most 1; k is
            fraction * n rounded, at least 1. Or a function of progress that returns it, called with
            epoch / epochs.
        seed: of the draws.
        replacement: draw each epoch by itself.
        stratified: the same share of every class, totals exact by largest remainder, at least one
            of each class. Where k is below the number of classes they take turns, one example
            each. Needs labels.
        epochs: of the whole training, where fraction is a function; epochs after them go on with
            the last share.

    Raises:
        UsageError: fraction outside (0, 1] or a function without epochs, stratified without labels
            or, with a function, with fewer examples than classes.

    Example:
        >>> sampler = RS2(fraction=0.5, seed=0).bind(6)
        >>> first, second = sampler.draw(0)[0], sampler.draw(1)[0]
        >>> sorted(torch.cat([first, second]).tolist())
        [0, 1, 2, 3, 4, 5]
        >>> growing = RS2(fraction=lambda progress: 0.1 + 0.5 * progress, epochs=5).bind(100)
        >>> [len(growing.draw(epoch)[0]) for epoch in range(6)]
        [10, 20, 30, 40, 50, 50]
    """

    fraction: float | Callable[[float], float]
    seed: int = 0
    replacement: bool = False
    stratified: bool = False
    epochs: int | None = None
    _groups: tuple[Tensor | None, ...] = field(default=(), init=False, repr=False)  # None: all
    _streams: tuple[Stream, ...] = field(default=(), init=False, repr=False)
    _turns: Stream | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        """Refuse a fraction that is not one."""
        self._fractions()

    def _fractions(self) -> list[float]:
        """Return the share of each epoch that has one of its own, or the one of all."""
        if not callable(self.fraction):
            shares = [self.fraction]
        elif self.epochs is None or self.epochs < 1:
            raise UsageError("a fraction that is a function of progress needs epochs, at least 1")
        else:
            shares = [self.fraction(epoch / self.epochs) for epoch in range(self.epochs)]
        for share in shares:
            if not 0 < share <= 1:
                raise UsageError(f"fraction must be above 0 and at most 1, not {share}")
        return shares

    def bind(self, n: int, labels: Tensor | None = None, readable: Tensor | None = None) -> "RS2":
        """Return this sampler over `n` examples; a stratified one needs their labels (n,)."""
        some = which_readable(n, readable)
        m = n if some is None else int(some.sum())
        sizes = [max(1, round(share * m)) for share in self._fractions()]
        if not self.stratified:
            members = None if some is None else population(n, some)  # None saves the memory
            return bound(self, _groups=(members,), _streams=(Stream(m, sizes, self.seed, "rs2/0"),))
        if labels is None:
            raise UsageError("RS2(stratified=True) needs labels; pass labels=(n,) to prune()")
        groups = _by_class(population(n, some), labels, n)
        few = min(sizes) < len(groups)
        if few and len(sizes) > 1:
            raise UsageError(
                f"a stratified epoch of {min(sizes)} examples is smaller than the {len(groups)} "
                "classes, which a changing fraction does not allow; raise the fraction"
            )
        of_class = np.array([len(g) for g in groups])
        quotas = [[1] * len(groups) if few else at_least_one(of_class, k) for k in sizes]
        streams = tuple(
            Stream(len(g), own, self.seed, f"rs2/{i}")
            for i, (g, own) in enumerate(zip(groups, zip(*quotas, strict=True), strict=True))
        )
        turns = Stream(len(groups), sizes, self.seed, "rs2/turns") if few else None
        return bound(self, _groups=tuple(groups), _streams=streams, _turns=turns)

    def draw(self, epoch: int) -> Draw:
        """Return the epoch's k examples in random order; all weigh the same."""
        if self.size(epoch) and self._turns is not None:
            return self._few(epoch, self._turns), None
        order = torch.cat([self._of_group(i, epoch) for i in range(len(self._groups))])
        if len(self._groups) > 1:
            order = order[
                torch.randperm(len(order), generator=generator(self.seed, "rs2/mix", epoch))
            ]
        return order, None

    def size(self, epoch: int) -> int:
        """Return how many examples an epoch draws."""
        if not self._streams:
            raise UsageError("this RS2 is not bound to data; hand it to prune() or fit()")
        parts = self._streams if self._turns is None else (self._turns,)
        return sum(stream.size(epoch) for stream in parts)

    def _of_group(self, group: int, turn: int) -> Tensor:
        """Return the examples of a group at its turn, the first turn being 0."""
        stream, members = self._streams[group], self._groups[group]
        if self.replacement:
            one = generator(self.seed, f"rs2/drawn/{group}", turn)
            places = torch.randperm(stream.m, generator=one)[: stream.size(turn)]
        else:
            places = stream.group(turn)
        return places if members is None else members[places]

    def _few(self, epoch: int, turns: Stream) -> Tensor:
        """Fewer examples than classes: one each of k classes, which take turns."""
        first = turns.start(epoch)  # every class has had this many turns, divided by the classes
        picks = [
            self._of_group(group, (first + i) // turns.m)
            for i, group in enumerate(turns.group(epoch).tolist())
        ]
        return torch.cat(picks)


def _by_class(everyone: Tensor, labels: Any, n: int) -> list[Tensor]:
    """Return the members of each class that has any, classes and members ascending."""
    try:
        labels = torch.as_tensor(labels).cpu()
    except (TypeError, ValueError) as error:  # words, or rows of different lengths
        raise UsageError(f"labels must be (n,) numbers ({error}); number the classes") from None
    if labels.shape != (n,):
        raise UsageError(f"labels have shape {tuple(labels.shape)}, expected ({n},)")
    if not bool(labels.isfinite().all()):
        raise UsageError("labels must be finite: what is NaN is of no class; number the classes")
    own, places = labels[everyone].sort(stable=True)
    return list(everyone[places].split(own.unique_consecutive(return_counts=True)[1].tolist()))
