"""InfoBatch: its draw against its definition, over processes, resumed."""

import json

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from hypothesis import given, settings
from hypothesis import strategies as st

import datapruner as dp
from datapruner.infobatch import InfoBatch
from datapruner.loaders import Batch
from datapruner.observed import Observed

NOTHING = torch.empty(0)


def told(sampler, losses, epoch=0, index=None):
    """End an epoch in which these losses were seen."""
    losses = torch.as_tensor(losses)
    index = torch.arange(len(losses)) if index is None else torch.as_tensor(index)
    sampler.observe(epoch, Batch(index, NOTHING, NOTHING), None, losses)
    sampler.end_epoch(epoch)
    return sampler


def same(one, other):
    """Whether two draws are the same, order and weights."""
    if (one[1] is None) != (other[1] is None):
        return False
    return torch.equal(one[0], other[0]) and (one[1] is None or torch.equal(one[1], other[1]))


@settings(max_examples=60)
@given(
    losses=st.lists(st.floats(0, 20, width=32), min_size=1, max_size=60),
    ratio=st.sampled_from([0.0, 0.3, 0.5, 0.9]),
    seed=st.integers(0, 5),
    hidden=st.integers(0, 3),
)
def test_a_draw_is_what_the_paper_says(losses, ratio, seed, hidden):
    n = len(losses) + hidden  # the last ones are not readable
    readable = torch.arange(n) < len(losses)
    sampler = told(InfoBatch(8, ratio, seed=seed).bind(n, None, readable), losses)
    order, weight = sampler.draw(1)
    drawn = set(order.tolist())
    assert len(drawn) == len(order) == sampler.size(1)
    assert drawn <= set(range(len(losses)))
    values = torch.tensor(losses)
    low = values < values.double().mean().float()
    if ratio == 0 or not low.any():
        assert weight is None
        assert len(order) == len(losses)
        return
    high = set((~low).nonzero().flatten().tolist())
    assert high <= drawn
    kept = len(drawn) - len(high)
    assert abs(kept - (1 - ratio) * int(low.sum())) < 1
    assert torch.allclose(weight[: len(losses)][low], torch.tensor(1 / (1 - ratio)))
    assert (weight[: len(losses)][~low] == 1).all()
    assert same(sampler.draw(1), (order, weight))
    assert sampler.saved == 0.0  # the first epoch left nothing out
    sampler.end_epoch(1)
    assert sampler.saved == pytest.approx(1 - (len(losses) + len(order)) / (2 * len(losses)))


@pytest.mark.parametrize("value", [0.1, 1 / 3, 2.7e-8, 7.3])
def test_equal_losses_are_not_below_their_mean(value):
    """In float32 the mean of many equal numbers can round to more than they are."""
    order, weight = told(InfoBatch(8).bind(10_007), torch.full((10_007,), value)).draw(1)
    assert (len(order), weight) == (10_007, None)


def test_what_was_never_seen_is_drawn_and_counts_once():
    sampler = told(InfoBatch(8, seed=1).bind(6), [0.0, 0.0, 4.0], index=[0, 1, 2])
    order, weight = sampler.draw(1)
    assert {2, 3, 4, 5} <= set(order.tolist())
    assert len(order) == 5
    assert weight.tolist() == [2, 2, 1, 1, 1, 1]


def test_a_loss_that_is_not_finite_changes_nothing():
    sampler = told(InfoBatch(8).bind(3), [1.0, 2.0, 3.0])
    told(sampler, [float("nan"), float("inf"), 3.5], epoch=1)
    assert sampler.state_dict()["losses"].tolist() == [1.0, 2.0, 3.5]


def test_half_precision_losses_are_kept_in_float32():
    losses = torch.tensor([0.5, 60000.0, 60000.0, 0.25], dtype=torch.float16)  # sum: inf in half
    sampler = told(InfoBatch(8).bind(4), losses)
    assert sampler.state_dict()["losses"].dtype == torch.float32
    assert sampler.draw(1)[1].tolist() == [2, 1, 1, 2]


def test_indices_beyond_what_float32_counts():
    n = 2**24 + 2  # float32 does not tell 2**24 + 1 from 2**24
    sampler = told(InfoBatch(8).bind(n), [1.0, 3.0], index=[2**24, 2**24 + 1])
    assert sampler.state_dict()["losses"][-2:].tolist() == [1.0, 3.0]


@pytest.mark.parametrize(("epochs", "whole_from"), [(30, 26), (200, 175)])
def test_the_end_is_whole(epochs, whole_from):
    losses = torch.rand(50, generator=torch.Generator().manual_seed(0))
    sampler = InfoBatch(epochs).bind(50)
    for epoch in range(epochs):
        order, weight = sampler.draw(epoch)
        if epoch == 0 or epoch >= whole_from:
            assert (len(order), weight) == (50, None)
        else:
            assert len(order) < 50
            assert set(weight.tolist()) == {1.0, 2.0}
        told(sampler, losses[order], epoch, order)
    assert sampler.saved == pytest.approx(0.25, abs=0.1)


def test_the_expected_sum_is_the_full_one():
    """The weighted sum over an epoch is the sum over everything, on average, also of gradients."""
    make = torch.Generator().manual_seed(3)
    gradients = torch.randn(101, 4, generator=make, dtype=torch.float64)
    losses = torch.rand(101, generator=make) ** 3
    sums = []
    for seed in range(1500):
        order, weight = told(InfoBatch(8, 0.3, seed=seed).bind(101), losses).draw(1)
        sums.append((weight[order].double()[:, None] * gradients[order]).sum(0))
    sums = torch.stack(sums)
    error = sums.std(0) / len(sums) ** 0.5
    assert (error > 0).all()
    assert ((sums.mean(0) - gradients.sum(0)).abs() < 4 * error).all()


def test_seeds_and_epochs_differ():
    def drawn(seed, epoch):
        losses = torch.arange(100.0)
        return told(InfoBatch(50, seed=seed).bind(100), losses).draw(epoch)[0].tolist()

    assert drawn(0, 1) == drawn(0, 1)
    assert len({tuple(drawn(seed, epoch)) for seed in (0, 1) for epoch in (1, 2)}) == 4


def test_observations_wait_for_the_end_of_the_epoch():
    sampler = InfoBatch(8).bind(4)
    sampler.observe(0, Batch(torch.arange(4), NOTHING, NOTHING), None, torch.arange(4.0))
    assert sampler.draw(1)[1] is None
    sampler.end_epoch(0)
    assert sampler.draw(1)[1] is not None


@pytest.mark.parametrize("bad", [{"epochs": 0}, {"ratio": 1.0}, {"ratio": -0.1}, {"delta": 1.5}])
def test_values_out_of_range_are_refused(bad):
    with pytest.raises(dp.UsageError, match=next(iter(bad))):
        InfoBatch(**{"epochs": 10, **bad})


def test_errors_say_what_to_do():
    with pytest.raises(dp.UsageError, match="not bound"):
        InfoBatch(3).draw(0)
    with pytest.raises(dp.UsageError, match="no readable"):
        InfoBatch(3).bind(2, None, torch.zeros(2, dtype=torch.bool))
    state = InfoBatch(3).bind(2).state_dict()
    with pytest.raises(dp.UsageError, match="2 examples, the data have 3"):
        InfoBatch(3).bind(3).load_state_dict(state)
    with pytest.raises(dp.UsageError, match="schedules by progress"):
        InfoBatch(30).bind(4).size(3)


# -- over processes ------------------------------------------------------------------------------


def _of_a_rank(rank, world, folder):
    torch.set_num_threads(1)
    meeting = f"file://{folder / 'meeting'}"
    dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=world)
    sampler = InfoBatch(8, seed=2).bind(9)
    order, _ = sampler.draw(0)
    mine = order[rank::world]  # five and four
    batch = Batch(mine, NOTHING, NOTHING)
    sampler.observe(0, batch, None, mine.float())
    state = sampler.state_dict()
    sampler.end_epoch(0)
    order, weight = sampler.draw(1)
    losses = sampler.state_dict()["losses"].tolist()
    found = [losses, order.tolist(), weight.tolist(), len(state["observed"])]
    (folder / f"{rank}.json").write_text(json.dumps(found))
    dist.destroy_process_group()


def test_two_processes_know_the_same(tmp_path):
    mp.spawn(_of_a_rank, args=(2, tmp_path), nprocs=2)
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2))
    assert first[:3] == second[:3]
    assert first[0] == [float(i) for i in range(9)]
    assert (first[3], second[3]) == (5, 4)


def test_observed_rows_are_copies_in_order():
    observed = Observed(columns=2)
    rows = torch.zeros(1, 2)
    observed.add(torch.tensor([5]), rows)
    rows += 1
    observed.add(torch.tensor([5]), rows)
    again = Observed(columns=2)
    again.load_state_dict(observed.state_dict())
    assert again.gather()[0].tolist() == [5, 5]
    assert again.gather()[1].tolist() == [[0, 0], [1, 1]]
    again.load_state_dict(Observed(columns=2).state_dict())
    assert len(again.here()[0]) == 0
