"""prune(): the one line that makes somebody's own loader give a subset."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
)
from torch.utils.data import Sampler as TorchSampler

from .cursor import Cursor, Pruned
from .errors import UsageError
from .samplers import Fixed, Sampler


def prune(
    loader: Any,
    sampler: Any,
    *,
    labels: Tensor | None = None,
    ragged: bool = False,
    rank: int | None = None,
    world: int | None = None,
) -> Any:
    """Make a loader give only what a sampler draws: a fixed subset, or a new one each epoch.

    Dataset, batch size, workers, collate function, pinning, drop_last and generator stay as they
    are; a loader that did not shuffle gives each epoch's examples in index order. Rank and world
    are read from a DistributedSampler: every rank draws the same order and takes its share of it,
    order[rank::world]. Weights of a Selection or a sampler count in `observe(losses)`. Where a draw
    leaves a rest that is much smaller than a batch, drop_last=True in the loader, or another batch
    size, spares the training a step on a handful; `fit` cuts its epochs evenly by itself.

    Args:
        loader: a torch DataLoader over a map-style dataset, or an ffcv Loader.
        sampler: a Selection, indices (k,), or a sampler such as `RS2(fraction=0.1)`.
        labels: (n,) for samplers that need them, such as a stratified RS2.
        ragged: under a DistributedSampler, whether the shares of the ranks may differ in size by
            one so that every drawn example is given exactly once (scoring); by default all are cut
            to one size (training).
        rank: of this process, where the loader does not say; give it together with `world`.
        world: number of processes.

    Returns:
        A loader with the batches of the one handed in, and with `indices`, `observe(losses)`,
        `set_epoch(epoch)`, `state_dict()`, `load_state_dict(state)`, and `bound`, the sampler over
        these data.

    Raises:
        UsageError: an iterable dataset, a batch sampler or sampler of somebody's own, a loader that
            is pruned already, or a sampler that does not fit the dataset.

    Example:
        >>> from torch.utils.data import DataLoader
        >>> loader = prune(DataLoader(torch.arange(10), batch_size=4), [1, 3, 5, 7, 9])
        >>> [batch.tolist() for batch in loader], len(loader)
        ([[1, 3, 5, 7], [9]], 2)
    """
    if isinstance(getattr(loader, "_cursor", None), Cursor):
        raise UsageError(
            "the loader is pruned already; prune loader.original, with the sampler that is wanted"
        )
    if isinstance(loader, DataLoader):
        return PrunedLoader(loader, sampler, labels=labels, ragged=ragged, rank=rank, world=world)
    if type(loader).__module__.split(".")[0] == "ffcv":
        from .ffcv import prune_ffcv

        bound = as_sampler(sampler, 0)
        return prune_ffcv(loader, bound, labels=labels, ragged=ragged, rank=rank, world=world)
    name = type(loader).__name__
    cure = "wrap the dataset in a DataLoader first"
    if type(loader).__module__.split(".")[0] == __package__:
        cure = f"hand fit() the {name} and the sampler, it gives what the sampler draws"
    raise UsageError(f"prune() takes a torch DataLoader or an ffcv Loader, not {name}; {cure}")


def as_sampler(sampler: Any, seed: int) -> Sampler:
    """Return a sampler as it is; make a Fixed one of a Selection or of indices.

    Raises:
        UsageError: it is none of these.

    Example:
        >>> as_sampler([3, 1], seed=0).bind(5).draw(0)[0].sort().values
        tensor([1, 3])
    """
    if isinstance(sampler, type):
        raise UsageError(f"{sampler.__name__} is a class; make one, such as RS2(fraction=0.1)")
    if hasattr(sampler, "draw") and hasattr(sampler, "bind"):
        bound: Sampler = sampler
        return bound
    if hasattr(sampler, "indices") or isinstance(sampler, Tensor | list | tuple | range):
        return Fixed(sampler, seed=seed)
    if hasattr(sampler, "__array__"):
        return Fixed(torch.as_tensor(sampler), seed=seed)
    raise UsageError(
        f"{type(sampler).__name__} is no sampler; give a Selection, indices, or RS2(fraction=0.1)"
    )


class PrunedLoader(Pruned):
    """A DataLoader that gives what a sampler draws; made by `prune`.

    Example:
        >>> from torch.utils.data import DataLoader
        >>> loader = PrunedLoader(DataLoader(torch.arange(6), batch_size=2), [5, 0, 3])
        >>> for batch in loader:
        ...     print(batch.tolist(), loader.indices.tolist())
        [0, 3] [0, 3]
        [5] [5]
    """

    def __init__(
        self,
        loader: DataLoader[Any],
        sampler: Any,
        *,
        labels: Tensor | None = None,
        ragged: bool = False,
        rank: int | None = None,
        world: int | None = None,
    ) -> None:
        shuffles, own_rank, own_world, seed = _order_of(loader)
        rank, world = own_rank if rank is None else rank, own_world if world is None else world
        if not 0 <= rank < world:
            raise UsageError(f"rank {rank} is not below world {world}; give both")
        size = loader.batch_size
        dataset: Any = loader.dataset
        if not hasattr(dataset, "__len__"):
            raise UsageError(f"{type(dataset).__name__} has no __len__, so no indices; add one")
        bound = as_sampler(sampler, seed).bind(len(dataset), labels, None)
        cursor = Cursor(
            bound,
            size or 1,
            drop_last=bool(loader.drop_last),
            rank=rank,
            world=world,
            ragged=ragged,
            ascending=not shuffles,
        )
        self._order = _Batches(alone=size is None)
        how: dict[str, Any] = {"batch_sampler": self._order}
        if size is None:  # the user's dataset gives whole batches, or single examples are wanted
            how = {"sampler": self._order, "batch_size": None}
        self.loader: DataLoader[Any] = DataLoader(
            dataset,
            **how,
            num_workers=loader.num_workers,
            collate_fn=loader.collate_fn,
            pin_memory=loader.pin_memory,
            timeout=loader.timeout,
            worker_init_fn=loader.worker_init_fn,
            multiprocessing_context=loader.multiprocessing_context,
            generator=loader.generator,
            prefetch_factor=loader.prefetch_factor,
            persistent_workers=loader.persistent_workers,
        )
        super().__init__(loader, cursor)

    def __iter__(self) -> Iterator[Any]:
        """Begin the next epoch; a pass that is broken off was an epoch all the same."""
        parts = self._cursor.begin()
        self._order.parts = parts
        return self._pass(parts, iter(self.loader))

    @property
    def batch_sampler(self) -> "_Whole":
        """What stands for the batch sampler of the loader, which would give everything."""
        return _Whole()

    def _pass(self, parts: list[Tensor], batches: Iterator[Any]) -> Iterator[Any]:
        for indices in parts:
            if self._order.parts is not parts:  # persistent workers read for the later one now
                raise UsageError(
                    "a later pass over this loader has ended this one; finish or leave a pass "
                    "before the next begins"
                )
            batch = next(batches)
            self._cursor.gave(indices)
            yield batch
        if self._order.parts is parts:
            self._cursor.end()


class _Batches(TorchSampler[Any]):
    """What the workers are to read, in the main process, so persistent workers are never stale."""

    def __init__(self, alone: bool) -> None:
        self.parts: list[Tensor] = []
        self.alone = alone

    def __iter__(self) -> Iterator[Any]:
        parts = self.parts  # of this pass, also when the next has begun
        return (int(part[0]) if self.alone else part.tolist() for part in parts)

    def __len__(self) -> int:
        return len(self.parts)


class _Whole:
    """Stops those that build a loader over everything from the parts of a pruned one.

    Accelerate's `skip_first_batches` does, and by it the Hugging Face Trainer when it goes on.
    """

    def __iter__(self) -> Iterator[Any]:
        raise UsageError(
            "skipping batches would go on with the whole dataset; a pruned loader goes on by its "
            "load_state_dict(), and in the Hugging Face Trainer with ignore_data_skip=True"
        )


def _order_of(loader: DataLoader[Any]) -> tuple[bool, int, int, int]:
    """Return whether the loader shuffles, its rank and world, and its seed; refuse the rest."""
    if isinstance(loader.dataset, IterableDataset):
        raise UsageError(
            f"{type(loader.dataset).__name__} is an IterableDataset, which has no indices to keep; "
            "give the DataLoader a map-style dataset (__getitem__ and __len__)"
        )
    batches = loader.batch_sampler
    if batches is not None and (loader.batch_size is None or type(batches) is not BatchSampler):
        raise UsageError(
            f"the loader has a batch sampler of its own ({type(batches).__name__}); build it with "
            "batch_size= and shuffle= instead, so that prune() can set the order"
        )
    if not getattr(loader, "in_order", True):
        raise UsageError("the loader has in_order=False; build it with in_order=True")
    own = loader.sampler
    generator = loader.generator or getattr(own, "generator", None)
    seed = generator.initial_seed() if generator is not None else 0
    if type(own) is DistributedSampler:
        return bool(own.shuffle), int(own.rank), int(own.num_replicas), int(own.seed)
    if type(own) is SequentialSampler:
        return False, 0, 1, seed
    dataset: Any = loader.dataset
    if type(own) is RandomSampler and not own.replacement and own.num_samples == len(dataset):
        return True, 0, 1, seed
    raise UsageError(
        f"the loader has a sampler of its own ({type(own).__name__}); build it with shuffle=True "
        "or shuffle=False instead, or hand prune() a sampler that does what yours does"
    )
