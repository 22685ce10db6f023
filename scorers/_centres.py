"""The distance of every example to its nearest centre, as centres are added."""

import numba
import numpy as np
import torch
from torch import Tensor

from ._falling import Fall
from ._rows import squared_lengths

# How far a distance made of products can be off, as a share of the two lengths that it is made of.
ROUNDING = 4e-6


class Centres:
    """Half the squared distance to the nearest centre; it orders as the distance does.

    Products of many rows with many centres are fast and lose digits where a distance is small
    beside the rows' lengths, so those that may be the least are taken again from the differences.
    A centre that is far from an example's own cannot be nearer, and is left out unseen: it comes
    nearer only if d(new, own) < 2 d(own, example). The distances are the plain loop's either way.

    Args:
        x: (n, d) float32.

    Example:
        >>> centres = Centres(torch.tensor([[0.0], [1.0], [3.0]]))
        >>> nearest = torch.full((3,), torch.inf)
        >>> centres.catch_up(nearest, torch.tensor([0]))
        >>> centres.catch_up(nearest, torch.tensor([2]))
        >>> nearest.tolist()
        [0.0, 0.5, 0.0]
    """

    def __init__(self, x: Tensor) -> None:
        self._x, self._half = x, squared_lengths(x) / 2
        self._centres = torch.empty(0, dtype=torch.int64)
        self._owner = torch.zeros(len(x), dtype=torch.int32)

    def open(self, places: Tensor) -> Fall:
        """Copy these rows; a pick then takes one walk over the copy."""
        rows = self._x[places].numpy()

        def fall(pick: int, gain: Tensor) -> None:
            _nearer_to_one(gain.numpy(), rows, self._x[pick].numpy())

        return fall

    def catch_up(self, gain: Tensor, picks: Tensor) -> None:
        """Lower each gain to the distance to the nearest of the picks, where that is less."""
        apart = self._apart(picks)
        if len(apart) and self._few_pairs(gain, apart):
            _nearer_if_it_can(
                gain.numpy(), self._owner.numpy(), apart.numpy(), self._x.numpy(), picks.numpy()
            )
        else:
            self._products(gain, picks)
        self._centres = torch.cat([self._centres, picks])

    def _apart(self, picks: Tensor) -> Tensor:
        """Return, for centres and picks, less than half their squared distance: rounded down."""
        half = self._half[self._centres][:, None] + self._half[picks]
        products = self._x[self._centres] @ self._x[picks].T
        return half.mul_(1 - ROUNDING).sub_(products)

    def _few_pairs(self, gain: Tensor, apart: Tensor) -> bool:
        """Tell whether the triangle inequality rules out nearly every pair of example and pick."""
        widest = torch.zeros(len(apart))
        widest.scatter_reduce_(0, self._owner.to(torch.int64), gain, "amax")
        size = self._owner.bincount(minlength=len(apart))
        pairs = int(((apart < 4 * widest[:, None]).sum(1) * size).sum())
        return pairs < 0.1 * len(gain) * apart.shape[1]

    def _products(self, gain: Tensor, picks: Tensor) -> None:
        """Take the products of all rows with all picks, a block of rows at a time."""
        x, half = self._x[picks], self._half[picks]
        size = max(64, 2**19 // len(picks))
        for start in range(0, len(gain), size):
            part = slice(start, start + size)
            products = torch.addmm(half, self._x[part], x.T, alpha=-1)
            _nearer(
                gain[part].numpy(),
                self._owner[part].numpy(),
                products.numpy(),
                self._half[part].numpy(),
                half.numpy(),
                self._x[part].numpy(),
                x.numpy(),
                len(self._centres),
            )


@numba.njit(nogil=True, cache=True, fastmath={"contract", "reassoc"})  # type: ignore[untyped-decorator]
def _distance(a, b):  # type: ignore[no-untyped-def]
    total = np.float32(0)
    for j in range(len(a)):
        gap = a[j] - b[j]
        total += gap * gap
    return total / np.float32(2)


@numba.njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def _nearer_to_one(gain, rows, centre):  # type: ignore[no-untyped-def]
    for i in range(len(gain)):
        if gain[i] > 0:
            gain[i] = min(gain[i], _distance(rows[i], centre))


@numba.njit(nogil=True, cache=True, fastmath={"nnan", "ninf", "nsz"})  # type: ignore[untyped-decorator]
def _least(row):  # type: ignore[no-untyped-def]
    least = row[0]
    for c in range(1, len(row)):
        least = min(least, row[c])
    return least


@numba.njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def _nearer(gain, owner, products, half, half_picks, rows, picks, before):  # type: ignore[no-untyped-def]
    """Lower gains to the row's least distance, and note whose it is."""
    longest = half_picks.max()
    for i in range(len(gain)):
        off = np.float32(ROUNDING) * (half[i] + longest)
        least = _least(products[i])
        if least + half[i] - off >= gain[i]:
            continue
        for c in range(len(picks)):
            if products[i, c] <= least + 2 * off:
                distance = _distance(rows[i], picks[c])
                if distance < gain[i]:
                    gain[i] = distance
                    owner[i] = before + c


@numba.njit(nogil=True, cache=True)  # type: ignore[untyped-decorator]
def _nearer_if_it_can(gain, owner, apart, x, picks):  # type: ignore[no-untyped-def]
    """Do the same, only for the picks that lie within reach of the row's own centre."""
    before = len(apart)
    for i in range(len(gain)):
        reach = np.float32(4.001) * gain[i]
        between = apart[owner[i]]
        found = owner[i]
        for c in range(len(picks)):
            if between[c] < reach:
                distance = _distance(x[i], x[picks[c]])
                if distance < gain[i]:
                    gain[i] = distance
                    found = before + c
        owner[i] = found
