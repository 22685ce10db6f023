"""Contextual diversity: picks whose predictions confuse classes in different ways."""

import torch
from torch import Tensor

from ._falling import Fall, falling_picks
from ._rows import blocks, column_means, picks_wanted, ranks, sorted_rows

# Below this a probability counts as this: its logarithm is finite, and float32 tells it from 0.
_LEAST = 1e-7


def contextual_diversity(probs: Tensor, *, limit: int | None = None) -> Tensor:
    """Rank the examples by farthest-first traversal of what the network predicts for them.

    High means picked early: predicted unlike everything picked before. Agarwal et al. 2020,
    "Contextual Diversity for Active Learning": k-center on the symmetric Kullback-Leibler
    divergence, sum of (p - q)(log p - log q), which starts from the example nearest to the mean
    prediction. It covers the confusions of a network rather than its features.

    Args:
        probs: (n, classes), each row a distribution.
        limit: how many to rank; None ranks all n.

    Returns:
        (n,) float32: n, n - 1, ... in the order of the picks, -1 to those beyond `limit`. Equal
        divergences go by a hash of the row. Memory: six copies of the source.

    Raises:
        ValueError: a row that is not finite, or a negative probability.

    Example:
        >>> rows = torch.tensor([[0.5, 0.5], [0.9, 0.1], [0.6, 0.4], [0.01, 0.99]])
        >>> contextual_diversity(rows).tolist()
        [4.0, 2.0, 1.0, 3.0]
    """
    rows = sorted_rows(probs)
    if bool((rows.x < 0).any()):
        raise ValueError("probs holds negative values; they must be probabilities, after softmax")
    p = rows.x.clamp_(min=_LEAST)
    divergences = _Divergences(p)
    mean = column_means(p)
    from_mean = torch.cat([((q - mean) * (q.log() - mean.log())).sum(1) for q in blocks(p)])
    gain = torch.full((len(p),), torch.inf)
    k, first = picks_wanted(limit, len(p)), int(from_mean.argmin())
    return ranks(falling_picks(gain, k, divergences, first=first), rows.order)


class _Divergences:
    """The least divergence to a pick: h(p) + h(q) - (p, log p) . (log q, q), h = sum of p log p."""

    def __init__(self, p: Tensor) -> None:
        classes = p.shape[1]
        self._left = torch.cat([p, p.log()], 1)
        self._right = self._left.roll(classes, 1)
        self._own = torch.cat(
            [(q[:, :classes] * q[:, classes:]).sum(1) for q in blocks(self._left)]
        )

    def open(self, places: Tensor) -> Fall:
        """Copy these rows; a pick then takes one product with the copy."""
        left, own = self._left[places], self._own[places]

        def fall(pick: int, gain: Tensor) -> None:
            apart = torch.addmv(own, left, self._right[pick], alpha=-1).add_(self._own[pick])
            torch.minimum(gain, apart.clamp_(min=0), out=gain)

        return fall

    def catch_up(self, gain: Tensor, picks: Tensor) -> None:
        """Lower each gain to the least divergence to the picks, a block of rows at a time."""
        right, own = self._right[picks].T.contiguous(), self._own[picks]
        size = max(64, 2**20 // len(picks))
        for start in range(0, len(gain), size):
            part = slice(start, start + size)
            least = torch.addmm(own, self._left[part], right, alpha=-1).amin(1)
            least = least.add_(self._own[part]).clamp_(min=0)
            torch.minimum(gain[part], least, out=gain[part])
