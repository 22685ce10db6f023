"""Walking through random permutations a group at a time, for samplers without replacement."""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

import torch
from torch import Tensor

from .seeds import generator


class Stream:
    """An endless walk through permutations of `m` places, `k` at a time, no repeat in a group.

    The groups cut the sequence of permutations one behind the other. A group that reaches over the
    end of one permutation takes what is left of it and fills up from the next, passing over the
    places it already has; those stand right behind the group in that permutation, so every
    permutation still holds each place once, and counts never differ by more than one.

    Walking on costs one permutation when the last is used up. Going to a group out of turn costs
    up to three; where a group is above m / 2, every one before it.

    Memory: one permutation, int32 below 2^31 places, and a group.

    Args:
        m: places.
        k: places in a group, 1 to m; or the sizes of the first groups, the last of which is that of
            all others.
        seed: of the permutations.
        purpose: sets this walk apart from others of the same seed.

    Example:
        >>> stream = Stream(5, 2, seed=0, purpose="walk")
        >>> sorted(torch.cat([stream.group(i) for i in range(5)]).tolist())
        [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    """

    def __init__(self, m: int, k: int | Sequence[int], seed: int, purpose: str) -> None:
        self.sizes = (k,) if isinstance(k, int) else tuple(k)
        self.m, self.seed, self.purpose = m, seed, purpose
        self._ends = tuple(accumulate(self.sizes))
        self._held: tuple[int, Tensor] | None = None

    def size(self, number: int) -> int:
        """Return how many places group `number` has."""
        return self.sizes[min(number, len(self.sizes) - 1)]

    def start(self, number: int) -> int:
        """Return how many places all groups before group `number` have."""
        beyond = number - len(self.sizes)
        if beyond >= 0:
            return self._ends[-1] + beyond * self.sizes[-1]
        return self._ends[number] - self.sizes[number]

    def group(self, number: int) -> Tensor:
        """Return the places (size,) int64 of group `number`, a pure function of it."""
        first, offset = divmod(self.start(number), self.m)
        head = self._permutation(first)[offset : offset + self.size(number)]
        missing = self.size(number) - len(head)
        if missing == 0:
            return head.to(torch.int64)
        head = head.clone()  # a view would keep the old permutation while the next one is made
        return torch.cat([head, self._permutation(first + 1)[:missing]]).to(torch.int64)

    def _permutation(self, number: int) -> Tensor:
        if self._held is not None and self._held[0] == number:
            return self._held[1]
        begin = number
        if 2 * max(self.sizes) > self.m and self._carried(number):
            # A rearranged head may reach the tail that the next one depends on: a chain, which
            # begins anew where a group ends with its permutation.
            begin = next(p for p in range(number, -1, -1) if self._carried(p) == 0)
            if self._held is not None and begin <= self._held[0] < number:
                begin = self._held[0] + 1
        for step in range(begin, number + 1):
            carried = self._carried(step)
            tail = self._tail(step - 1, carried) if carried else None
            self._held = None  # so that the old permutation is not kept beside the new one
            self._held = (step, self._made(step, tail))
        assert self._held is not None
        return self._held[1]

    def _reaching(self, number: int) -> int:
        """Return the group that the first place of a permutation belongs to."""
        begin = number * self.m
        beyond = begin - self._ends[-1]
        if beyond >= 0:
            return len(self.sizes) + beyond // self.sizes[-1]
        return bisect_right(self._ends, begin)

    def _carried(self, number: int) -> int:
        """Return how many places of the group that reaches into this permutation came before it."""
        return number * self.m - self.start(self._reaching(number))

    def _made(self, number: int, tail: Tensor | None) -> Tensor:
        """Return a permutation, the carried places put behind the group that they began."""
        if tail is None:
            return self._plain(number)
        taken = torch.zeros(self.m, dtype=torch.bool)
        taken[tail] = True
        made = self._plain(number)
        k = self.size(self._reaching(number))
        front = made[:k]  # holds at least k - carried places that are not taken
        again = taken[front.long()]
        fresh, held_back = front[~again], front[again]
        need = k - len(tail)
        made[:k] = torch.cat([fresh[:need], held_back, fresh[need:]])
        return made

    def _tail(self, number: int, length: int) -> Tensor:
        """Return the last places of a permutation, which is held or was never rearranged there."""
        held = self._held
        whole = held[1] if held is not None and held[0] == number else self._plain(number)
        return whole[self.m - length :].long()

    def _plain(self, number: int) -> Tensor:
        dtype = torch.int32 if self.m < 2**31 else torch.int64
        return torch.randperm(
            self.m, generator=generator(self.seed, self.purpose, number), dtype=dtype
        )
