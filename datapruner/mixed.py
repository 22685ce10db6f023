"""Mixed: part of each epoch chosen by score, the rest fresh random."""

from typing import Any

import torch
from torch import Tensor

from .by_score import ByScore
from .errors import UsageError
from .loaders import Batch
from .samplers import Draw
from .seeds import generator


class Mixed:
    """A share of each epoch chosen by score, the rest drawn at random from the others.

    The random part keeps the scores of everything fresh, and keeps the choice from leaving part of
    the data out for good (Ayed and Hayou 2023: choosing by score alone is inconsistent).

    Args:
        by_score: what chooses, and how large an epoch is.
        random: share of the epoch that is drawn at random, in [0, 1].

    Raises:
        UsageError: `random` is no share.

    Example:
        >>> sampler = Mixed(ByScore(0.2, "loss"), random=0.5).bind(100)
        >>> len(sampler.draw(0)[0])
        20
    """

    def __init__(self, by_score: ByScore, random: float = 0.5) -> None:
        if not 0 <= random <= 1:
            raise UsageError(f"random must be in [0, 1], not {random}")
        self.by_score, self.random = by_score, random

    def __repr__(self) -> str:
        return f"Mixed({self.by_score!r}, random={self.random:g})"

    def bind(self, n: int, labels: Tensor | None = None, readable: Tensor | None = None) -> "Mixed":
        """Return this sampler over `n` examples, with nothing observed yet."""
        return Mixed(self.by_score.bind(n, labels, readable), self.random)

    def draw(self, epoch: int) -> Draw:
        """Return the epoch's examples in random order; all weigh the same."""
        inner = self.by_score
        k = inner.size(epoch)
        chosen = inner.choose(epoch, k - round(self.random * k) if inner.ready else k)
        one = generator(inner.seed, "mixed", epoch)
        others = inner.all_but(chosen)
        lucky = others[torch.randperm(len(others), generator=one)[: k - len(chosen)]]
        return torch.cat([chosen, lucky])[torch.randperm(k, generator=one)], None

    def observe(self, epoch: int, batch: Batch, logits: Tensor | None, losses: Tensor) -> None:
        """Take note of a batch before its step."""
        self.by_score.observe(epoch, batch, logits, losses)

    def end_epoch(self, epoch: int) -> None:
        """Make the scores anew where they are due."""
        self.by_score.end_epoch(epoch)

    def size(self, epoch: int) -> int:
        """Return how many examples an epoch draws: always the same."""
        return self.by_score.size(epoch)

    def state_dict(self) -> dict[str, Any]:
        """Return the state of what chooses."""
        return self.by_score.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict()`."""
        self.by_score.load_state_dict(state)
