"""Shares that change with progress, and the steps that a sampler will take."""

from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

import datapruner as dp
from datapruner.rs2 import RS2
from datapruner.samplers import Fixed
from datapruner.step_count import steps
from datapruner.streams import Stream

SHARES = st.lists(st.floats(0.01, 1), min_size=1, max_size=8)


def by_table(shares):
    return lambda progress: shares[round(progress * len(shares))]


@settings(max_examples=200)
@given(n=st.integers(1, 40), shares=SHARES, seed=st.integers(0, 9), replacement=st.booleans())
def test_sizes_repeats_coverage_of_a_changing_share(n, shares, seed, replacement):
    epochs = len(shares)
    sampler = RS2(by_table(shares), seed, replacement=replacement, epochs=epochs)
    bound, seen = sampler.bind(n), Counter({i: 0 for i in range(n)})
    orders = []
    for epoch in range(epochs + 3):
        k = max(1, round(shares[min(epoch, epochs - 1)] * n))
        orders.append(bound.draw(epoch)[0].tolist())
        assert len(orders[-1]) == len(set(orders[-1])) == k == bound.size(epoch)
        seen.update(orders[-1])
        assert len(seen) == n
        assert replacement or max(seen.values()) - min(seen.values()) <= 1
    again = sampler.bind(n)
    for epoch in (epochs, 0, epochs + 2, epochs // 2, epochs - 1):  # out of turn
        assert again.draw(epoch)[0].tolist() == orders[epoch]


@settings(max_examples=60)
@given(
    labels=st.lists(st.integers(0, 2), min_size=3, max_size=40),
    shares=st.lists(st.floats(0.3, 1), min_size=2, max_size=6),
)
def test_a_changing_share_of_every_class(labels, shares):
    labels = torch.tensor([0, 1, 2, *labels, 0, 1, 2, 0, 1, 2, 0, 1, 2])
    sampler = RS2(by_table(shares), stratified=True, epochs=len(shares)).bind(len(labels), labels)
    seen = Counter({i: 0 for i in range(len(labels))})
    for epoch, share in enumerate(shares):
        order = sampler.draw(epoch)[0].tolist()
        assert len(order) == len(set(order)) == max(1, round(share * len(labels)))
        assert set(labels[order].tolist()) == {0, 1, 2}
        seen.update(order)
        for c in range(3):
            own = [seen[i] for i in range(len(labels)) if labels[i] == c]
            assert max(own) - min(own) <= 1


def test_a_constant_function_is_the_share():
    plain, changing = RS2(0.3, seed=4).bind(20), RS2(lambda p: 0.3, seed=4, epochs=5).bind(20)
    for epoch in range(9):
        assert torch.equal(plain.draw(epoch)[0], changing.draw(epoch)[0])


def test_groups_of_any_sizes_walk_on():
    stream = Stream(7, [3, 7, 1, 2], seed=0, purpose="p")
    assert [stream.start(i) for i in range(7)] == [0, 3, 10, 11, 13, 15, 17]
    walked = torch.cat([stream.group(i) for i in range(13)])[:28].reshape(4, 7)
    counts = torch.bincount(walked.flatten(), minlength=7)
    assert counts.tolist() == [4] * 7


@pytest.mark.parametrize(
    ("sampler", "words"),
    [
        (lambda: RS2(lambda p: 0.5), "needs epochs"),
        (lambda: RS2(lambda p: 0.5, epochs=0), "needs epochs"),
        (lambda: RS2(lambda p: p, epochs=3), "above 0 and at most 1, not 0"),
        (lambda: RS2(lambda p: 1 + p, epochs=3), "above 0 and at most 1, not 1.33"),
        (
            lambda: RS2(lambda p: 0.1 + p / 2, epochs=3, stratified=True).bind(
                20, torch.arange(20) % 4
            ),
            "smaller than the 4 classes",
        ),
    ],
)
def test_what_cannot_be_is_refused(sampler, words):
    with pytest.raises(dp.UsageError, match=words):
        sampler()


# -- steps ---------------------------------------------------------------------------------------


@settings(max_examples=60)
@given(
    n=st.integers(1, 60),
    fraction=st.floats(0.05, 1),
    batch_size=st.integers(1, 9),
    drop_last=st.booleans(),
    epochs=st.integers(1, 5),
)
def test_steps_are_those_of_the_loader(n, fraction, batch_size, drop_last, epochs):
    loader = DataLoader(torch.arange(n), batch_size=batch_size, shuffle=True, drop_last=drop_last)
    loader = dp.prune(loader, RS2(fraction))
    told = steps(RS2(fraction), n, epochs=epochs, batch_size=batch_size, drop_last=drop_last)
    if told:
        assert told == sum(1 for _ in range(epochs) for _ in loader)
    else:
        with pytest.raises(dp.UsageError, match="less than one batch"):
            next(iter(loader))


def test_steps_of_processes_and_accumulation():
    assert steps(Fixed(), 100, epochs=2, batch_size=8, world=3) == 2 * 5  # 33 rows each
    assert steps(list(range(40)), 100, epochs=1, batch_size=8, accumulate=2) == 3
    changing = RS2(lambda progress: 0.2 + progress, epochs=2)
    assert steps(changing, 100, epochs=2, batch_size=10) == 2 + 7
    unreadable = torch.arange(100) >= 50
    assert steps(RS2(0.5), 100, epochs=1, batch_size=5, readable=unreadable) == 5
    assert steps(dp.InfoBatch(1), 100, epochs=1, batch_size=10) == 10


def test_steps_that_cannot_be_known_are_refused():
    with pytest.raises(dp.UsageError, match="schedules by progress"):
        steps(dp.InfoBatch(10), 100, epochs=10, batch_size=10)
    with pytest.raises(dp.UsageError, match="batch_size must be at least 1"):
        steps(RS2(0.1), 100, epochs=10, batch_size=0)
    with pytest.raises(dp.UsageError, match="epochs=2.5 must be a whole number"):
        steps(RS2(0.1), 100, epochs=2.5, batch_size=10)


def test_fit_takes_the_steps_that_were_told():
    data = dp.open_data("digits")
    run = dp.Run(epochs=3, lr=0.05, batch_size=64)
    model = dp.make_model("mlp", 10, data.shape)
    sampler = RS2(lambda progress: 0.1 + 0.3 * progress, epochs=3)
    history = dp.fit(model, dp.TensorLoader(data, 64), sampler, run)
    assert history.steps == steps(sampler, data.n, epochs=3, batch_size=64)
