"""InfoBatch: leave out part of what is learned already, and weigh the rest of it up."""

from typing import Any

import torch
from torch import Tensor

from .errors import UsageError
from .loaders import Batch
from .observed import Observed
from .samplers import Draw
from .seeds import generator


class InfoBatch:
    """Drop a random part of the examples below the mean loss, and weigh up those of them that stay.

    Qin et al. 2024, "InfoBatch: Lossless Training Speed Up by Unbiased Dynamic Data Pruning",
    ICLR. Before each epoch the threshold is the mean of the last loss of every example seen so far.
    Of those below it (strictly), a random share `ratio` is left out and the others count
    1 / (1 - ratio) times; the rest, and what was never seen, is all there and counts once. The
    expected gradient, summed over an epoch, is that of the full set. From epoch
    round(delta * epochs) on everything is drawn and every weight is 1.

    What it saves is ratio times the share below the mean, about a quarter of the visits where the
    losses are not skewed and more where a few are large; `saved` says how much it was. It needs a
    loss for each example, before AMP scales it and before gradients are accumulated: `fit` and
    `loader.observe(losses)` hand that on. Losses that are not finite are not taken over. Losses of
    mixed examples (mixup) belong to no example and break it.

    With several processes every one draws the same order; what they observed is gathered in
    `end_epoch`, which all of them must reach. A state saved in the middle of an epoch holds what
    its own process observed.

    Args:
        epochs: of the whole training, which decides when the annealing begins.
        ratio: share of the examples below the threshold that an epoch leaves out, in [0, 1).
        delta: share of the training after which nothing is left out, in [0, 1].
        seed: of the draws.

    Raises:
        UsageError: a value outside its range.

    Example:
        >>> from datapruner import Batch
        >>> sampler = InfoBatch(epochs=10).bind(4)
        >>> order, weight = sampler.draw(0)  # nothing is known yet
        >>> sorted(order.tolist()), weight
        ([0, 1, 2, 3], None)
        >>> batch = Batch(torch.arange(4), torch.zeros(4), torch.zeros(4))
        >>> sampler.observe(0, batch, None, torch.tensor([0.1, 0.1, 0.1, 9.0]))
        >>> sampler.end_epoch(0)
        >>> order, weight = sampler.draw(1)
        >>> len(order) < 4, weight.tolist()
        (True, [2.0, 2.0, 2.0, 1.0])
    """

    def __init__(
        self, epochs: int, ratio: float = 0.5, delta: float = 0.875, seed: int = 0
    ) -> None:
        if epochs < 1:
            raise UsageError(f"epochs must be at least 1, not {epochs}")
        if not 0 <= ratio < 1:
            raise UsageError(f"ratio must be at least 0 and below 1, not {ratio}")
        if not 0 <= delta <= 1:
            raise UsageError(f"delta must be in [0, 1], not {delta}")
        self.epochs, self.ratio, self.delta, self.seed = epochs, ratio, delta, seed
        self.whole_from = round(delta * epochs)  # the first epoch that leaves nothing out
        self._losses: Tensor | None = None  # (n,) NaN where never seen
        self._everyone: Tensor | None = None  # None where all n are readable
        self._observed = Observed(columns=1)
        self._drawn, self._ended = 0, 0

    def __repr__(self) -> str:
        return f"InfoBatch(epochs={self.epochs}, ratio={self.ratio:g}, delta={self.delta:g})"

    def bind(
        self, n: int, labels: Tensor | None = None, readable: Tensor | None = None
    ) -> "InfoBatch":
        """Return this sampler over `n` examples, with nothing observed yet."""
        if readable is not None and readable.shape != (n,):
            raise UsageError(f"readable has shape {tuple(readable.shape)}, expected ({n},)")
        bound = InfoBatch(self.epochs, self.ratio, self.delta, self.seed)
        bound._losses = torch.full((n,), float("nan"))
        if readable is not None and not bool(readable.all()):
            bound._everyone = readable.nonzero().flatten()
        if bound._size == 0:
            raise UsageError("no readable example to draw from")
        return bound

    def draw(self, epoch: int) -> Draw:
        """Return the epoch's examples in random order, and what each counts."""
        low, places = self._easy(epoch)
        if len(low) == 0:
            order, weight = self._all(), None
        else:
            left_out = torch.zeros(self._n, dtype=torch.bool)
            left_out[low] = True
            left_out[low[places]] = False
            everyone = self._all()
            order = everyone[~left_out[everyone]]
            weight = torch.ones(self._n)
            weight[low] = 1 / (1 - self.ratio)
        mixed = torch.randperm(len(order), generator=generator(self.seed, "order", epoch))
        return order[mixed], weight

    def observe(self, epoch: int, batch: Batch, logits: Tensor | None, losses: Tensor) -> None:
        """Take note of a batch's losses (b,), unweighted and unscaled."""
        self._observed.add(batch.index, losses[:, None])

    def end_epoch(self, epoch: int) -> None:
        """Put the losses of this epoch, of all processes, in the place of the ones before."""
        low, places = self._easy(epoch)
        self._drawn += self._size - len(low) + len(places)
        self._ended += 1
        index, rows = self._observed.gather()
        finite = rows[:, 0].isfinite()
        # numpy promises that of a repeated index the last one counts
        self._stored.numpy()[index[finite].numpy()] = rows[finite, 0].numpy()
        self._observed.clear()

    @property
    def saved(self) -> float:
        """Share of the visits that were left out in the epochs that have ended, in [0, 1)."""
        return 1 - self._drawn / (self._ended * self._size) if self._ended else 0.0

    def size(self, epoch: int) -> int:
        """Return how many examples an epoch draws, where that is known before it begins.

        Raises:
            UsageError: it depends on losses that are not known yet.
        """
        if epoch <= self._ended or epoch >= self.whole_from:
            low, places = self._easy(epoch)
            return self._size - len(low) + len(places)
        raise UsageError(
            f"how much InfoBatch draws in epoch {epoch} depends on losses of the epoch before; "
            "size schedules by progress instead: (epoch + batches done / len(loader)) / epochs"
        )

    def state_dict(self) -> dict[str, Any]:
        """Return the losses at the start of the epoch, and what was observed since."""
        counts = {"drawn": self._drawn, "ended": self._ended}
        return {"losses": self._stored.clone(), **counts, **self._observed.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict()`."""
        if len(state["losses"]) != self._n:
            raise UsageError(
                f"the saved state is of {len(state['losses'])} examples, the data have {self._n}; "
                "go on with the data that it was saved with"
            )
        self._losses = state["losses"].to("cpu", torch.float32, copy=True)
        self._drawn, self._ended = int(state["drawn"]), int(state["ended"])
        self._observed.load_state_dict(state)

    def _easy(self, epoch: int) -> tuple[Tensor, Tensor]:
        """Return the indices (m,) below the threshold, and the places among them that stay.

        On average exactly (1 - ratio) * m stay: what is not whole is decided by chance.
        """
        nobody = torch.empty(0, dtype=torch.int64)
        if epoch >= self.whole_from or self.ratio == 0:
            return nobody, nobody
        losses = self._stored
        seen = int((~losses.isnan()).sum())
        # summed in float64 and compared in float32: equal losses are never below their own mean
        mean = (torch.nansum(losses, dtype=torch.float64) / max(seen, 1)).to(torch.float32)
        low = (losses < mean).nonzero().flatten()  # NaN, never seen, is not below
        one = generator(self.seed, "infobatch", epoch)
        chance = float(torch.rand((), generator=one, dtype=torch.float64))
        stay = int((1 - self.ratio) * len(low) + chance)
        return low, torch.randperm(len(low), generator=one)[:stay]

    def _all(self) -> Tensor:
        return torch.arange(self._n) if self._everyone is None else self._everyone

    @property
    def _stored(self) -> Tensor:
        if self._losses is None:
            raise UsageError("this InfoBatch is not bound to data; hand it to prune() or fit()")
        return self._losses

    @property
    def _n(self) -> int:
        return len(self._stored)

    @property
    def _size(self) -> int:
        return self._n if self._everyone is None else len(self._everyone)
