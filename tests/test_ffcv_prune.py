from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

import datapruner as dp
from datapruner.errors import Refused, UsageError
from datapruner.ffcv.orders import by_page

pytestmark = pytest.mark.ffcv

files = pytest.importorskip("ffcv_files")
from ffcv_files import (  # noqa: E402
    BATCH,
    KINDS,
    N,
    Sizes,
    ffcv_loader,
    rows_given,
    small_beton,
    threads,
)


@pytest.fixture(params=KINDS, ids=lambda k: "-".join(map(str, k)), scope="module")
def kind(request: Any) -> Any:
    return request.param


@pytest.fixture
def loader(kind: Any) -> Any:
    """Give the compiled loader of this kind, keeping the last batch."""
    found = ffcv_loader(*kind)
    found.drop_last = False
    return found


def epoch_of(loader: Any) -> list[int]:
    given: list[int] = []
    for said, found in rows_given(loader):
        assert said == found
        given += found
    return given


def expected(order: Tensor, kind: Any) -> list[int] | None:
    """Return the order that rows must come in; None where only the set is promised."""
    if kind[2] == "QUASI_RANDOM":
        return None
    return order.sort().values.tolist() if kind[2] == "SEQUENTIAL" else order.tolist()


def check_epoch(loader: Any, order: Tensor, kind: Any) -> None:
    assert len(loader) == -(-len(order) // BATCH)
    given = epoch_of(loader)
    assert sorted(given) == order.sort().values.tolist()
    wanted = expected(order, kind)
    assert wanted is None or given == wanted


def test_everything_is_given_once(loader: Any, kind: Any) -> None:
    check_epoch(dp.prune(loader, dp.Fixed()), torch.from_numpy(_all(0)), kind)


def _all(epoch: int) -> np.ndarray:
    return dp.Fixed().bind(N).draw(epoch)[0].numpy()


def test_a_fixed_subset_in_a_new_order_each_epoch(loader: Any, kind: Any) -> None:
    subset = torch.arange(5, N, 3)
    pruned = dp.prune(loader, dp.Fixed(subset, seed=4))
    bound = dp.Fixed(subset, seed=4).bind(N)
    for epoch in range(3):
        check_epoch(pruned, bound.draw(epoch)[0], kind)


def test_rs2_gives_each_example_once_in_ten_epochs(loader: Any, kind: Any) -> None:
    pruned = dp.prune(loader, dp.RS2(0.1, seed=2))
    seen = Counter(i for _ in range(10) for i in epoch_of(pruned))
    assert len(seen) == N
    assert set(seen.values()) == {1}


def test_sizes_that_shrink_and_grow_without_compiling_again(loader: Any, kind: Any) -> None:
    sizes = [700, 330, 1500, 5, N, 1]
    sampler = Sizes(sizes)
    pruned = dp.prune(loader, sampler)
    stages = [stage for stage, _ in loader.code[0]]
    compiled = None
    for epoch in range(len(sizes)):
        check_epoch(pruned, sampler.draw(epoch)[0], kind)
        now = [
            (name, len(f.signatures))
            for stage in stages
            for name, f in stage.__globals__.items()
            if hasattr(f, "signatures")
        ]
        assert compiled in (None, now)
        compiled = now
    assert sampler.ended == list(range(len(sizes)))


def test_drop_last_leaves_out_the_tail_and_says_when_that_is_all(loader: Any, kind: Any) -> None:
    loader.drop_last = True
    pruned = dp.prune(loader, Sizes([700, 64, 63]))
    for size in (640, 64):
        assert len(pruned) == size // BATCH
        assert len(epoch_of(pruned)) == size
    with pytest.raises(UsageError, match="drop_last=True"):
        next(iter(pruned))


def test_a_broken_off_epoch_advances_and_leaves_no_thread(loader: Any, kind: Any) -> None:
    epoch_of(dp.prune(loader, Sizes([64])))
    before = threads()
    sampler = Sizes([1000, 900, 800])
    pruned = dp.prune(loader, sampler)
    for _ in pruned:
        break
    assert threads() == before
    assert len(pruned) == -(-1000 // BATCH)  # the pass counts until the next one begins
    check_epoch_rows = epoch_of(pruned)
    assert sorted(check_epoch_rows) == sampler.draw(1)[0].sort().values.tolist()
    assert sampler.ended == [0, 1]
    held = iter(pruned)
    next(held)
    pruned.set_epoch(0)
    assert sorted(epoch_of(pruned)) == sampler.draw(0)[0].sort().values.tolist()
    assert threads() == before


def test_going_on_in_the_middle_of_an_epoch(loader: Any, kind: Any) -> None:
    whole = dp.prune(loader, dp.RS2(0.3, seed=1))
    epoch_of(whole)
    second = epoch_of(whole)
    stopped = dp.prune(loader, dp.RS2(0.3, seed=1))
    epoch_of(stopped)
    for count, _ in enumerate(rows_given(stopped), 1):
        if count == 4:
            state = stopped.state_dict()
            break
    resumed = dp.prune(loader, dp.RS2(0.3, seed=1))
    resumed.load_state_dict(state)
    assert epoch_of(resumed) == second[4 * BATCH :]
    assert epoch_of(resumed) == epoch_of(whole)


def test_the_same_batches_as_a_dataloader(loader: Any, kind: Any) -> None:
    data = TensorDataset(torch.arange(N))
    theirs = DataLoader(data, batch_size=BATCH, shuffle=kind[2] != "SEQUENTIAL")
    plain, pruned = dp.prune(theirs, dp.RS2(0.2, seed=7)), dp.prune(loader, dp.RS2(0.2, seed=7))
    for _ in range(2):
        ours = [index.flatten().tolist() for _, _, index in pruned]
        wanted = [rows.tolist() for (rows,) in plain]
        if kind[2] == "QUASI_RANDOM":  # DataLoader has no page-aware order: the same rows
            assert [len(rows) for rows in ours] == [len(rows) for rows in wanted]
            assert sorted(sum(ours, [])) == sorted(sum(wanted, []))
        else:
            assert ours == wanted


class Harder(Sizes):
    """A sampler in the manner of InfoBatch: drops examples below the mean loss, keeps the sum."""

    def __init__(self) -> None:
        super().__init__([])
        self.losses, self.waiting = torch.ones(N), {}

    def draw(self, epoch: int) -> tuple[Tensor, Tensor]:
        kept = (self.losses >= self.losses.mean()).nonzero().flatten()
        weight = torch.zeros(N)
        weight[kept] = N / len(kept)
        return kept, weight

    def observe(self, epoch: int, batch: Any, logits: Any, losses: Tensor) -> None:
        self.waiting.update(zip(batch.index.tolist(), losses.tolist(), strict=True))

    def end_epoch(self, epoch: int) -> None:
        for i, loss in self.waiting.items():
            self.losses[i] = loss
        self.waiting = {}


def test_what_is_observed_takes_effect_in_the_next_epoch() -> None:
    loader = ffcv_loader(1, True, "RANDOM")
    loader.drop_last = False
    pruned = dp.prune(loader, Harder())
    assert len(pruned) == -(-N // BATCH)
    for _, _, index in pruned:
        losses = (index.flatten() % 3).float().requires_grad_()
        mean = pruned.observe(losses)
        assert mean == losses.mean()
        mean.backward()
    hard = [i for i in range(N) if i % 3 >= 1]
    assert len(pruned) == -(-len(hard) // BATCH)
    for _ in pruned:
        losses = torch.ones(len(pruned.indices))
        torch.testing.assert_close(pruned.observe(losses), torch.tensor(N / len(hard)))
        with pytest.raises(UsageError, match="reduction"):
            pruned.observe(torch.tensor(1.0))
    with pytest.raises(UsageError, match="inside the loop"):
        dp.prune(loader, dp.Fixed()).observe(torch.ones(1))


def test_the_users_loader_stays_as_it_is() -> None:
    loader = ffcv_loader(1, True, "RANDOM")
    loader.drop_last = False
    before = loader.next_epoch, len(loader)
    pruned = dp.prune(loader, dp.RS2(0.1))
    epoch_of(pruned)
    assert (loader.next_epoch, len(loader)) == before
    assert sum(len(index) for _, _, index in loader) == N
    assert pruned.num_workers == loader.num_workers


def test_only_the_loaders_own_indices_are_drawn() -> None:
    loader = ffcv_loader(1, True, "RANDOM")
    loader.indices, everything = np.arange(100, 300, dtype=np.uint64), loader.indices
    try:
        assert sorted(epoch_of(dp.prune(loader, dp.Fixed()))) == list(range(100, 300))
        with pytest.raises(UsageError, match="cannot be read"):
            dp.prune(loader, [5])
    finally:
        loader.indices = everything


def test_refuses_what_does_not_fit() -> None:
    loader = ffcv_loader(1, True, "RANDOM")
    other = dp.Selection(torch.tensor([1, 2]), n=N, meta={"fingerprint": "0" * 16})
    with pytest.raises(Refused, match="other|made for"):
        dp.prune(loader, other)
    with pytest.raises(Refused, match="made for"):
        dp.prune(loader, dp.Fixed(other))
    same = dp.open_data(small_beton()).fingerprint
    mine = dp.Selection(torch.tensor([1, 2]), n=N, meta={"fingerprint": same})
    assert sorted(epoch_of(dp.prune(loader, mine))) == [1, 2]

    class Own:
        pass

    theirs, loader.traversal_order = loader.traversal_order, Own()
    try:
        with pytest.raises(UsageError, match="Own"):
            dp.prune(loader, dp.Fixed())
    finally:
        loader.traversal_order = theirs


def test_a_failing_pipeline_is_an_error_not_a_wait() -> None:
    from ffcv.fields.basics import IntDecoder
    from ffcv.pipeline.operation import Operation

    from datapruner.ffcv.epochs import quiet_loader

    class Broken(Operation):
        def generate_code(self) -> Any:
            def broken(x: Any, _: Any) -> Any:
                raise RuntimeError("on purpose")

            return broken

        def declare_state_and_memory(self, state: Any) -> Any:
            from dataclasses import replace

            return replace(state, jit_mode=False), None

    loader = quiet_loader(
        str(small_beton()),
        batch_size=8,
        num_workers=1,
        pipelines={"image": None, "index": None, "label": [IntDecoder(), Broken()]},
    )
    before = threads()
    with pytest.raises(dp.PrunerError, match="on purpose"):
        list(dp.prune(loader, dp.Fixed()))
    assert threads() == before


def test_threads_of_torch_stay_as_they_were() -> None:
    epoch_of(dp.prune(ffcv_loader(3, True, "RANDOM"), dp.RS2(0.1)))
    assert torch.get_num_threads() == 1


def test_page_order_keeps_few_pages_open_and_skips_those_not_needed() -> None:
    page = np.arange(20_000) // 100
    drawn = torch.arange(0, 20_000, 3)
    drawn = drawn[(page[drawn.numpy()] % 2) == 0]
    order = by_page(drawn, page, open_pages=8, seed=3)
    assert order.sort().values.tolist() == drawn.tolist()
    assert order.tolist() != by_page(drawn, page, open_pages=8, seed=4).tolist()
    touched = page[order.numpy()]
    first = {p: i for i, p in reversed(list(enumerate(touched)))}
    last = {p: i for i, p in enumerate(touched)}
    open_at = np.zeros(len(order) + 1, int)
    for p in first:
        open_at[first[p]] += 1
        open_at[last[p] + 1] -= 1
    assert open_at.cumsum().max() <= 8 + 1
    assert len(set(touched[:200].tolist())) >= 6  # and they are mixed


def test_memory_of_a_page_aware_epoch_is_bounded() -> None:
    from ffcv.memory_managers.process_cache.schedule import compute_schedule

    n, batch = 60_000, 64
    page = np.arange(n) // 100

    def slots(order: Tensor) -> int:
        parts = [set(page[p.numpy()].tolist()) for p in order.split(batch)]
        return int(compute_schedule(parts).num_slots)

    drawn = torch.randperm(n, generator=torch.Generator().manual_seed(0))[: n // 3]
    # pages that are mixed, those that four batches need (FFCV reads three ahead), and the edges
    assert slots(by_page(drawn, page, open_pages=8, seed=0)) <= 8 + 4 * batch // 33 + 3
    assert slots(drawn) > 500
