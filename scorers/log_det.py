"""Log-determinant: picks that span the most volume."""

import torch
from torch import Tensor

from ._falling import Fall, falling_picks
from ._rows import picks_wanted, ranks, sorted_rows, squared_lengths


def log_det(embedding: Tensor, *, limit: int | None = None, ridge: float = 1.0) -> Tensor:
    """Rank the examples by how much each adds to the volume that the picks span.

    High means picked early. Greedy for log det(K_S + ridge I) with K the cosines of the picks:
    Kulesza and Taskar 2012, "Determinantal point processes for machine learning"; the gain is the
    logarithm of what the picks so far leave unexplained of the example. As K comes from d features
    the work is done in d x d, where the same gains are ridge (1 + x . A x), and A loses one rank a
    pick (Sherman and Morrison 1950). Diverse; takes outliers early, as k-center does.

    Args:
        embedding: (n, d), no row NaN or infinite.
        limit: how many to rank; None ranks all n.
        ridge: added to the diagonal, above 0. Small: only directions not seen yet count.

    Returns:
        (n,) float32: n, n - 1, ... in the order of the picks, -1 to those beyond `limit`. Equal
        gains go by a hash of the row, so the first is any. Memory: a copy of the rows, and d x d.

    Raises:
        ValueError: a row that is not finite, more than 2**24 rows, or a ridge that is not above 0.

    Example:
        >>> log_det(torch.tensor([[0.0, 1.0], [1.0, 0.1], [1.0, 0.11]]), limit=2)[0] > 1
        tensor(True)
    """
    if not ridge > 0:
        raise ValueError(f"ridge={ridge} must be above 0")
    rows = sorted_rows(embedding, unit=True)
    volume = _Volume(rows.x, ridge)
    gain = squared_lengths(rows.x) / ridge
    return ranks(falling_picks(gain, picks_wanted(limit, len(gain)), volume), rows.order)


class _Volume:
    """Gains x . A x, where A = inverse of (ridge I + sum of the picks' outer products).

    A pick p turns A into A - w w^T, w = A p / sqrt(1 + p . A p), so gains fall by (x . w)^2.
    """

    def __init__(self, x: Tensor, ridge: float) -> None:
        self._x = x
        self._inverse = torch.eye(x.shape[1], dtype=torch.float64) / ridge
        self._falls: list[Tensor] = []

    def open(self, places: Tensor) -> Fall:
        """Copy these rows; a pick then takes one product with the copy."""
        rows = self._x[places]

        def fall(pick: int, gain: Tensor) -> None:
            row = self._x[pick].to(torch.float64)
            ahead = self._inverse @ row
            w = ahead / (1 + row @ ahead).sqrt()
            self._inverse -= torch.outer(w, w)
            self._falls.append(w.to(torch.float32))
            gain -= (rows @ self._falls[-1]).square_()
            _keep_above_zero(gain)

        return fall

    def catch_up(self, gain: Tensor, picks: Tensor) -> None:
        """Lower the gains of all by the falls of these picks, a block of rows at a time."""
        falls = torch.stack(self._falls).T.contiguous()
        self._falls = []
        size = max(64, 2**20 // len(picks))
        for start in range(0, len(gain), size):
            part = gain[start : start + size]
            part -= (self._x[start : start + size] @ falls).square_().sum(1)
            _keep_above_zero(part)


def _keep_above_zero(gain: Tensor) -> None:
    """Undo rounding below 0, which would end the picking; those that are picked have -inf."""
    gain.masked_fill_((gain < _LEAST) & (gain > -torch.inf), _LEAST)


_LEAST = 1e-12
