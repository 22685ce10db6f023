"""Passes over a pruned FFCV loader: one inside another, and what is between them."""

import threading
from typing import Any

import pytest
import torch
from torch import Tensor

import datapruner as dp
from datapruner.errors import UsageError

pytestmark = pytest.mark.ffcv

files = pytest.importorskip("ffcv_files")
from ffcv_files import Sizes, ffcv_loader, rows_given, small_beton  # noqa: E402


def kept_whole(order: str) -> Any:
    """Return the loader of this order, keeping the last batch."""
    loader = ffcv_loader(1, True, order)
    loader.drop_last = False
    return loader


def epoch_of(loader: Any) -> list[int]:
    return [i for said, _ in rows_given(loader) for i in said]


class Growing(Sizes):
    """Everything weighs epoch + 1."""

    def draw(self, epoch: int) -> tuple[Tensor, Tensor]:
        """Return an order, and its weights."""
        return super().draw(epoch)[0], torch.full((self.n,), epoch + 1.0)


def test_a_pass_that_a_later_one_has_ended_says_so() -> None:
    pruned = dp.prune(kept_whole("RANDOM"), Sizes([200, 128, 128]))
    outer = iter(pruned)
    next(outer)
    assert len(epoch_of(pruned)) == 128
    with pytest.raises(UsageError, match="a later pass over this loader has ended this one"):
        next(outer)
    assert len(epoch_of(pruned)) == 128  # and the next is whole


def test_warming_up_changes_no_weight() -> None:
    pruned = dp.prune(kept_whole("RANDOM"), Growing([64, 64]))
    epoch_of(pruned)
    for _ in pruned:
        assert pruned.observe(torch.ones(64)) == 2
        pruned.warm_up()
        assert pruned.observe(torch.ones(64)) == 2
    for thread in threading.enumerate():
        if thread.name == "datapruner-warm-up":
            thread.join()


@pytest.mark.parametrize("order", ["RANDOM", "QUASI_RANDOM"])
def test_more_processes_than_rows_is_named(order: str) -> None:
    pruned = dp.prune(kept_whole(order), [3], rank=0, world=2)
    with pytest.raises(UsageError, match=r"fewer examples than there are processes \(2\)"):
        next(iter(pruned))


def test_a_batch_has_a_row_at_least() -> None:
    with pytest.raises(UsageError, match="batch_size=0 must be at least 1"):
        dp.FFCVLoader(small_beton(), batch_size=0)
