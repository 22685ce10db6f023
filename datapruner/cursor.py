"""Where a wrapped loader stands: which epoch, how far in it, and what the sampler made of it."""

import warnings
from typing import Any

import torch
from torch import Tensor

from .batching import in_batches
from .by_score import ByScore
from .errors import UsageError
from .infobatch import InfoBatch
from .loaders import Batch
from .mixed import Mixed
from .ranks import processes
from .samplers import Sampler

_LISTENING = (InfoBatch, ByScore, Mixed)  # ours, which gather what all processes observed


class Cursor:
    """The epoch at hand of a sampler, for loaders that are iterated over by their user.

    An epoch begins when a pass over the loader begins, and each pass is an epoch, broken off or
    not. What was observed in it takes effect in the next.

    Args:
        sampler: bound.
        batch_size: full-set rows of a batch.
        drop_last: leave out a last batch that is not full.
        rank, world: this process's share is order[rank::world].
        ragged: whether shares may differ in size by one, so that every example is in exactly one;
            False cuts all to the size of the smallest, which collective training needs.
        ascending: give an epoch's examples in index order.

    Example:
        >>> from datapruner import Fixed
        >>> cursor = Cursor(Fixed(torch.tensor([2, 5, 7])).bind(10), batch_size=2, ascending=True)
        >>> len(cursor), [part.tolist() for part in cursor.begin()]
        (2, [[2, 5], [7]])
    """

    def __init__(
        self,
        sampler: Sampler,
        batch_size: int,
        *,
        drop_last: bool = False,
        rank: int = 0,
        world: int = 1,
        ragged: bool = False,
        ascending: bool = False,
    ) -> None:
        self.sampler, self.batch_size, self.drop_last = sampler, batch_size, drop_last
        self.rank, self.world, self.ragged, self.ascending = rank, world, ragged, ascending
        self.epoch = -1  # of the pass under way or last made
        self.indices: Tensor | None = None
        self._next, self._skip, self._given = 0, 0, 0
        self._weight: Tensor | None = None
        self._open = self._heard = False
        self._shared: tuple[int, Tensor] | None = None

    def set_epoch(self, epoch: int) -> None:
        """Make the next pass this epoch; without it each pass is the epoch after the last.

        Ends the pass under way, or the epoch that `load_state_dict` left off in. Setting that same
        epoch, as many loops do at the start of each, still gives what was left of it.

        Raises:
            UsageError: the epoch is negative.
        """
        if epoch < 0:
            raise UsageError(f"epoch {epoch} is negative; the first is 0")
        self.end()
        if epoch != self._next:
            if self._skip:  # the rest of that epoch is not wanted; what was observed in it counts
                self.sampler.end_epoch(self._next)
            self._next, self._skip = int(epoch), 0

    def be(self, rank: int, world: int) -> None:
        """Take the shares of this process from now on."""
        if (rank, world) != (self.rank, self.world):
            self.rank, self.world, self._shared = rank, world, None

    def share(self, epoch: int) -> Tensor:
        """Return the order of this process in an epoch, (m,) int64.

        Raises:
            UsageError: nothing is left for it.
        """
        order, self._weight = self.sampler.draw(epoch)
        if self.ascending:
            order = order.sort().values
        if self.world > 1:
            size = len(order) // self.world
            order = order[self.rank :: self.world]
            order = order if self.ragged else order[:size]
        return self._batches_of(order, epoch)

    def _batches_of(self, order: Tensor, epoch: int) -> Tensor:
        """Return a share without what drop_last leaves out; nothing left is a UsageError."""
        if self.drop_last:
            order = order[: len(order) // self.batch_size * self.batch_size]
        if not len(order):
            cause = (
                f"less than one batch of {self.batch_size} rows, and the loader has "
                "drop_last=True; give drop_last=False or a smaller batch_size"
            )
            few = f"fewer examples than there are processes ({self.world}); draw more"
            raise UsageError(f"epoch {epoch} draws {cause if self.drop_last else few}")
        return order

    def _drawn(self, epoch: int) -> Tensor:
        """Return `share(epoch)`, drawn once: loops ask for the length again and again."""
        if self._shared is None or self._shared[0] != epoch:
            self._shared = epoch, self.share(epoch)
        return self._shared[1]

    def begin(self) -> list[Tensor]:
        """Begin a pass: return what its batches are to hold, less what was given before a stop."""
        self.end()
        epoch, skip = self._next, self._skip
        parts = in_batches(self._drawn(epoch), self.batch_size)[skip:]
        self._next, self._skip = epoch + 1, 0
        self.epoch, self._given, self._open, self.indices = epoch, skip, True, None
        return parts

    def gave(self, indices: Tensor) -> None:
        """Take note that a batch was handed over."""
        self.indices = indices
        self._given += 1

    def end(self) -> None:
        """End the pass under way, if there is one."""
        if self._open:
            if isinstance(self.sampler, _LISTENING) and not self._heard and self.all_given():
                self._heard = True  # said once
                name = type(self.sampler).__name__
                warnings.warn(
                    f"{name} heard no loss in a whole epoch, so it does not choose; call "
                    "loader.observe(losses) for each batch",
                    stacklevel=3,
                )
            self._open, self._shared = False, None
            self.sampler.end_epoch(self.epoch)

    def end_if_given(self) -> None:
        """End the pass under way if its last batch was handed over.

        Some trainers count batches and never ask for the one after the last.
        """
        if self._open and self.all_given():
            self.end()

    def all_given(self) -> bool:
        """Tell whether the last batch of the pass under way was handed over."""
        return self._given >= len(self)

    def __len__(self) -> int:
        epoch = self.epoch if self._open else self._next
        return -(-len(self._drawn(epoch)) // self.batch_size)

    def observe(self, losses: Tensor) -> Tensor:
        """Hand the losses of the batch at hand to the sampler; return their weighted mean.

        Args:
            losses: (b,) one for each row, with reduction="none".

        Returns:
            (weight * losses).mean(), to call backward on.

        Raises:
            UsageError: there is no batch at hand, the losses are not one a row, or other processes
                share the epoch and cannot be told.
        """
        if self.indices is None:
            raise UsageError("observe() belongs inside the loop over the loader; no batch is there")
        if not isinstance(losses, Tensor) or losses.shape != self.indices.shape:
            tensor = isinstance(losses, Tensor)
            got = f"shape {tuple(losses.shape)}" if tensor else type(losses).__name__
            raise UsageError(
                "observe() takes a tensor of one loss for each of the "
                f'{len(self.indices)} rows, got {got}; compute the loss with reduction="none"'
            )
        if self.world > processes() and isinstance(self.sampler, _LISTENING):
            raise UsageError(
                f"the loader is one of {self.world} processes, which draw alike only if they hear "
                f"what the others observe, and torch.distributed joins {processes()}; call "
                "torch.distributed.init_process_group first"
            )
        self._heard = True
        rows = losses.detach()
        nothing = torch.empty(0)
        self.sampler.observe(self.epoch, Batch(self.indices, nothing, nothing), None, rows)
        if self._weight is None:
            return losses.mean()
        weight = self._weight[self.indices].to(losses.device)  # in float32, so half becomes float32
        return (weight * losses).mean()

    def state_dict(self) -> dict[str, Any]:
        """Return where the loader stands, in the middle of an epoch too.

        A pass that was broken off counts as under way until the next begins or `set_epoch` is
        called: what was left of it is what a loader that goes on from here gives first.
        """
        epoch, batches = (self.epoch, self._given) if self._open else (self._next, self._skip)
        return {
            "epoch": epoch,
            "batches": batches,
            "batch_size": self.batch_size,
            "world": self.world,
            "sampler": self.sampler.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict()`: the next pass gives what was left of that epoch.

        Raises:
            UsageError: the state is of the middle of an epoch with other batches.
        """
        for name, here in (("batch_size", self.batch_size), ("world", self.world)):
            there = state.get(name, here)
            if state["batches"] and there != here:
                raise UsageError(
                    f"the state is of the middle of an epoch with {name} {there}, here it is "
                    f"{here}; go on with {there}, or from the end of an epoch"
                )
        self.sampler.load_state_dict(state["sampler"])
        self._open, self.indices, self._shared = False, None, None
        self._heard = True
        self._next, self._skip = int(state["epoch"]), int(state["batches"])


class Pruned:
    """What a wrapped loader is, whichever library made it; iterating over it is each kind's own.

    Attributes that are not its own are those of the loader it was made from.

    Attributes:
        original: the loader it was made from.

    Example:
        >>> from torch.utils.data import DataLoader
        >>> from datapruner import prune
        >>> isinstance(prune(DataLoader(range(4)), [1, 2]), Pruned)
        True
    """

    def __init__(self, original: Any, cursor: Cursor) -> None:
        self.original, self._cursor = original, cursor

    def __len__(self) -> int:
        """Return the number of batches of the epoch under way, or of the next one."""
        return len(self._cursor)

    def __getattr__(self, name: str) -> Any:
        if name in ("original", "_cursor"):
            raise AttributeError(name)
        return getattr(self.original, name)

    @property
    def indices(self) -> Tensor:
        """Full-set indices (b,) int64 of the batch just given."""
        if self._cursor.indices is None:
            raise UsageError("no batch was given yet; read loader.indices inside the loop")
        return self._cursor.indices

    @property
    def bound(self) -> Sampler:
        """The sampler over these data; that of InfoBatch says in `saved` what it left out."""
        return self._cursor.sampler

    def observe(self, losses: Tensor) -> Tensor:
        """Tell the sampler the losses (b,) of this batch; return their weighted mean."""
        return self._cursor.observe(losses)

    def set_epoch(self, epoch: int) -> None:
        """Make the next pass this epoch."""
        self._cursor.set_epoch(epoch)

    def state_dict(self) -> dict[str, Any]:
        """Return where the loader stands, in the middle of an epoch too."""
        return self._cursor.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict()`: the next pass gives what was left of that epoch."""
        self._cursor.load_state_dict(state)
