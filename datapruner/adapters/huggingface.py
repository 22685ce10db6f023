"""Hugging Face Trainer: the training loader that it would build, over what a sampler draws."""

from collections import deque
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from ..errors import UsageError
from ..rs2 import RS2
from ..wrap import prune
from .around import Around


def prune_for(trainer: Any, sampler: Any, *, labels: Tensor | None = None) -> Any:
    """Make a Trainer train on what a sampler draws; return the loader that it reads from.

    The loader is built from the Trainer's own dataset, collator and arguments, for this process.
    The Trainer reads the length of the first epoch and sizes the schedule by it. Where later ones
    are shorter (InfoBatch) training ends after its epochs, before the schedule does; longer ones
    would be cut off and are refused. What was going on in the middle of an epoch has to begin that
    epoch anew (`ignore_data_skip=True`): the Trainer would skip batches of the whole dataset. What
    InfoBatch or a score observed is in no checkpoint of the Trainer but in `loader.state_dict()`,
    to be saved and loaded beside it.

    For samplers that listen or weigh, make the Trainer with a loss that keeps rows apart::

        def loss(outputs, labels, num_items_in_batch):
            rows = functional.cross_entropy(outputs.logits, labels, reduction="none")
            return loader.observe(rows)

        trainer = Trainer(..., compute_loss_func=loss)
        loader = prune_for(trainer, dp.InfoBatch(epochs=3))

    `observe` finds each batch's indices where gradients are accumulated, divides by the batches of
    the step, which the Trainer leaves to such a loss, and takes no note of an evaluation, for which
    the Trainer calls the same loss.

    Args:
        trainer: a `transformers.Trainer`; its `get_train_dataloader` is replaced.
        sampler: as `datapruner.prune` takes it.
        labels: (n,) for samplers that need them.

    Raises:
        UsageError: epochs that grow; or as `datapruner.prune`.

    Example:
        >>> import torch
        >>> from types import SimpleNamespace
        >>> arguments = SimpleNamespace(  # as a Trainer has them
        ...     dataloader_drop_last=False,
        ...     dataloader_num_workers=0,
        ...     dataloader_pin_memory=False,
        ...     process_index=0,
        ...     world_size=1,
        ... )
        >>> trainer = SimpleNamespace(
        ...     args=arguments,
        ...     train_dataset=list(range(8)),
        ...     _train_batch_size=2,
        ...     data_collator=torch.tensor,
        ... )
        >>> loader = prune_for(trainer, [1, 4, 6])
        >>> sorted(torch.cat(list(trainer.get_train_dataloader())).tolist())
        [1, 4, 6]
    """
    arguments, collate = trainer.args, trainer.data_collator
    if hasattr(trainer, "_get_collator_with_removed_columns"):  # what the model does not take
        collate = trainer._get_collator_with_removed_columns(collate, description="training")
    if isinstance(sampler, RS2) and sampler.epochs is not None and callable(sampler.fraction):
        sizes = [sampler.fraction(epoch / sampler.epochs) for epoch in range(sampler.epochs)]
        if max(sizes) > sizes[0]:
            raise UsageError(
                "the Trainer cuts off epochs that are longer than its first; give RS2 a fraction "
                "that does not rise above its first value"
            )
    whole: DataLoader[Any] = DataLoader(
        trainer.train_dataset,
        batch_size=trainer._train_batch_size,
        shuffle=True,
        collate_fn=collate,
        drop_last=arguments.dataloader_drop_last,
        num_workers=arguments.dataloader_num_workers,
        pin_memory=arguments.dataloader_pin_memory,
        persistent_workers=getattr(arguments, "dataloader_persistent_workers", False),
        prefetch_factor=getattr(arguments, "dataloader_prefetch_factor", None),
    )
    rank, world = arguments.process_index, arguments.world_size
    loader = _Passes(trainer, prune(whole, sampler, labels=labels, rank=rank, world=world))
    trainer.get_train_dataloader = lambda: loader
    return loader


class _Passes(Around):
    """A pruned loader as the Trainer uses one.

    The Trainer takes all batches of an optimizer step before it trains on the first, so their
    indices wait for their losses; and it looks for a batch after the last before it trains on the
    last ones, so an epoch ends when the next begins.
    """

    def __init__(self, trainer: Any, loader: Any) -> None:
        super().__init__(trainer, loader)
        self._usual = int(getattr(trainer.args, "gradient_accumulation_steps", 1))
        self._waiting: deque[Tensor] = deque(maxlen=self._usual)

    def __iter__(self) -> Iterator[Any]:
        self._waiting.clear()
        batches = iter(self.loader)
        while not self.loader._cursor.all_given():
            batch = next(batches)
            self._waiting.append(self.loader.indices)
            yield batch

    def __len__(self) -> int:
        return len(self.loader)

    @property
    def indices(self) -> Tensor:
        """Full-set indices (b,) int64 of the batch whose losses come next, or came last."""
        found: Tensor = self._waiting[0] if self._waiting else self.loader.indices
        return found

    def observe(self, losses: Tensor) -> Tensor:
        """Tell the sampler the losses (b,) of a batch; return its part of the step's loss."""
        if not torch.is_grad_enabled():
            return losses.mean()  # an evaluation
        if self._waiting:
            self.loader._cursor.indices = self._waiting.popleft()
        mean: Tensor = self.loader.observe(losses)
        if getattr(self.trainer, "compute_loss_func", None) is None:
            return mean  # of a Trainer with a compute_loss of its own, which is divided later
        return mean / getattr(self.trainer, "current_gradient_accumulation_steps", self._usual)
