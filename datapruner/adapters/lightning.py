"""Lightning: a pruned loader for this process, which the Trainer takes as it is."""

from collections.abc import Iterator
from typing import Any

from torch import Tensor

from ..errors import UsageError
from ..wrap import prune
from .around import Around


def prune_for(trainer: Any, loader: Any, sampler: Any, *, labels: Tensor | None = None) -> Any:
    """Return a loader over what a sampler draws, for `trainer.fit(model, loader)`.

    Lightning puts a sampler of its own into a DataLoader of several processes, and reads the length
    of a loader once. A pruned loader is no DataLoader, so its order stays; its rank and world come
    from the trainer; and `reload_dataloaders_every_n_epochs=1` makes Lightning read the length of
    every epoch, without which longer epochs than the first are cut off. Give `fit` this one loader
    (or return the same one from `train_dataloader` each time): it holds what was observed. Its
    epochs are the trainer's, also after going on from a checkpoint taken between epochs; what
    InfoBatch or a score observed is in `loader.state_dict()`, to be saved and loaded beside it.

    In `training_step`: `loss = self.trainer.train_dataloader.observe(losses)` with one loss for
    each row, for samplers that listen or weigh. `trainer.estimated_stepping_batches` is right for
    samplers whose epochs are of one size.

    Args:
        trainer: a `lightning.Trainer`, made with `reload_dataloaders_every_n_epochs=1`.
        loader: a DataLoader with its dataset, batch size of one process, and shuffle.
        sampler: as `datapruner.prune` takes it.
        labels: (n,) for samplers that need them.

    Raises:
        UsageError: the trainer does not read the length of every epoch; or as `datapruner.prune`.

    Example:
        >>> import torch
        >>> from types import SimpleNamespace
        >>> trainer = SimpleNamespace(  # as a Trainer has them
        ...     global_rank=0,
        ...     world_size=2,
        ...     current_epoch=0,
        ...     reload_dataloaders_every_n_epochs=1,
        ... )
        >>> loader = torch.utils.data.DataLoader(torch.arange(8), batch_size=2)
        >>> [batch.tolist() for batch in prune_for(trainer, loader, [0, 2, 3, 5, 6])]
        [[0, 3]]
    """
    if getattr(trainer, "reload_dataloaders_every_n_epochs", 0) != 1:
        raise UsageError(
            "Lightning reads the length of the loader once; make the Trainer with "
            "reload_dataloaders_every_n_epochs=1"
        )
    rank, world = trainer.global_rank, trainer.world_size
    return _Passes(trainer, prune(loader, sampler, labels=labels, rank=rank, world=world))


class _Passes(Around):
    """A pruned loader as Lightning uses one.

    Lightning makes iterators that it never asks, to see whether it can, so an epoch begins with its
    first batch; and it counts batches, never asking for the one after the last, so an epoch whose
    last batch was given has ended when the length of the next is read. Some of its strategies start
    the processes when fit begins (ddp_spawn, ddp_notebook), so which this is shows only then.
    """

    def __iter__(self) -> Iterator[Any]:
        self._be_this_process()
        self.loader.set_epoch(self.trainer.current_epoch)
        yield from self.loader

    def __len__(self) -> int:
        self._be_this_process()
        self.loader._cursor.end_if_given()
        return len(self.loader)

    def _be_this_process(self) -> None:
        self.loader._cursor.be(self.trainer.global_rank, self.trainer.world_size)
