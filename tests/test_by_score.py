"""Samplers that score as they go: what they choose, with what chances, in our loop and resumed."""

import functools
from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

import datapruner as dp
from datapruner.by_score import ByScore
from datapruner.loaders import Batch
from datapruner.mixed import Mixed

NOTHING = torch.empty(0)


def tell(sampler, epoch, losses):
    """Walk an epoch in which example i has losses[i]; return its order."""
    order, weight = sampler.draw(epoch)
    assert weight is None
    sampler.observe(epoch, Batch(order, NOTHING, NOTHING), None, torch.as_tensor(losses)[order])
    sampler.end_epoch(epoch)
    return order.tolist()


def ready(sampler, losses):
    """Let a bound sampler see everyone once."""
    for epoch in range(-(-len(losses) // sampler.size(0))):
        tell(sampler, epoch, losses)
    return sampler


@settings(max_examples=60)
@given(
    n=st.integers(2, 40),
    fraction=st.floats(0.05, 1),
    how=st.sampled_from(["softmax", "top"]),
    random=st.sampled_from([None, 0.0, 0.4, 1.0]),
    visits=st.integers(1, 3),
    seed=st.integers(0, 5),
)
def test_sizes_repeats_and_purity(n, fraction, how, random, visits, seed):
    sampler = ByScore(fraction, "loss", how, visits=visits, seed=seed)
    sampler = sampler if random is None else Mixed(sampler, random)
    readable = torch.arange(n) % 5 != 1
    bound, m = sampler.bind(n, None, readable), int(readable.sum())
    k, seen = max(1, round(fraction * m)), Counter()
    losses = torch.rand(n, generator=torch.Generator().manual_seed(seed))
    for epoch in range(12):
        assert torch.equal(bound.draw(epoch)[0], bound.draw(epoch)[0])
        order = tell(bound, epoch, losses)
        assert len(order) == len(set(order)) == k == bound.size(epoch)
        assert readable[order].all()
        if epoch < visits * m // k:  # everyone once, twice, ... before any score chooses
            seen.update(order)
            assert (
                max(seen.values()) - min(seen[i] for i in readable.nonzero().flatten().tolist())
                <= 1
            )


def test_top_takes_the_highest_and_chance_decides_among_equals():
    losses = [1.0, 5.0, 3.0, 3.0, 3.0, 3.0, 3.0, 0.0]
    chosen = []
    for seed in range(8):
        sampler = ready(ByScore(0.25, "loss", "top", seed=seed).bind(8), losses)
        order = sampler.draw(9)[0].tolist()
        assert 1 in order
        assert set(order) == set(sampler.draw(10)[0].tolist())
        chosen += [i for i in order if i != 1]
    assert set(chosen) <= {2, 3, 4, 5, 6}
    assert len(set(chosen)) > 1


def test_softmax_has_the_chances_it_says():
    """Against every ordered pair that drawing one after the other can give."""
    scores, temperature = torch.tensor([0.0, 0.5, 1.0, 2.0]), 0.7
    sampler = ready(ByScore(0.5, "loss", temperature=temperature).bind(4), scores)
    p = torch.exp(scores / temperature)
    expected = torch.zeros(4)
    for first in range(4):
        for second in range(4):
            if first != second:
                chance = p[first] / p.sum() * p[second] / (p.sum() - p[first])
                expected[[first, second]] += chance
    draws, found = 4000, torch.zeros(4)
    for epoch in range(10, 10 + draws):
        found[sampler.draw(epoch)[0]] += 1
    error = (expected * (1 - expected) / draws).sqrt()
    assert ((found / draws - expected).abs() < 4 * error).all()


def test_scores_are_kept_for_as_long_as_is_said():
    sampler = ready(ByScore(0.5, "loss", "top", every=3).bind(4), [4.0, 3.0, 2.0, 1.0])
    top = [set(tell(sampler, epoch, [0.0, 0.0, 9.0, 9.0])) for epoch in range(2, 4)]
    # scored after epochs 1 (everyone seen), 2, 5: only what was drawn has a new loss
    assert top[0] == {0, 1}
    assert set(sampler.draw(4)[0].tolist()) == {2, 3}
    assert set(tell(sampler, 4, [0.0, 0.0, -1.0, -1.0])) == {2, 3}
    assert set(tell(sampler, 5, [0.0, 0.0, -1.0, -1.0])) == {2, 3}
    assert set(sampler.draw(6)[0].tolist()) == {0, 1}


def test_a_scorer_is_given_the_last_visits_in_order():
    def newest_less_oldest(loss):
        assert not loss.isnan().any()
        return loss[-1] - loss[0]

    sampler = ByScore(1.0, newest_less_oldest, "top", visits=2).bind(3)
    rows = [[9.0, 9.0, 9.0], [1.0, 2.0, 3.0], [5.0, 1.0, 3.0]]
    for epoch, losses in enumerate(rows):
        tell(sampler, epoch, losses)
    assert sampler.choose(3, 1).tolist() == [0]
    assert sampler.choose(3, 2).sort().values.tolist() == [0, 2]


def test_a_loss_that_is_not_finite_is_not_taken_over():
    sampler = ready(ByScore(1.0, "loss", "top").bind(3), [1.0, 2.0, 3.0])
    tell(sampler, 1, [float("inf"), 2.5, float("nan")])
    assert sampler.state_dict()["rows"].flatten().tolist() == [1.0, 2.5, 3.0]


def test_mixed_is_part_chosen_and_part_fresh():
    n = 100
    inner = ByScore(0.2, "loss", "top")
    sampler = ready(Mixed(inner, random=0.25).bind(n), torch.arange(n).float())
    orders = [set(sampler.draw(epoch)[0].tolist()) for epoch in range(5, 45)]
    best = set(range(85, 100))
    assert all(best <= order and len(order) == 20 for order in orders)
    rest = Counter(i for order in orders for i in order - best)
    assert len(rest) > 70
    assert max(rest) < 85


@pytest.mark.parametrize("mixed", [False, True])
def test_going_on_in_the_middle_of_an_epoch(mixed):
    def fresh():
        sampler = ByScore(0.4, "loss", every=2, seed=1)
        sampler = Mixed(sampler, 0.3) if mixed else sampler
        return dp.prune(DataLoader(torch.arange(20), batch_size=3, shuffle=True), sampler)

    def walk(loader, stop=None):
        given = []
        for _ in range(loader.state_dict()["epoch"], 7):
            for x in loader:
                loader.observe((x * 7 % 5).float() + 0.1 * len(given))
                given.append(x.tolist())
                if len(given) == stop:
                    return given, loader.state_dict()
        return given, None

    whole, _ = walk(fresh())
    for stop in (2, 10, 14):
        _, state = walk(fresh(), stop)
        again = fresh()
        again.load_state_dict(state)
        # the loss above depends on how many batches there were
        rest = _continued(again, state, stop)
        assert whole[:stop] + rest == whole


def _continued(loader, state, stop):
    given = []
    for _ in range(state["epoch"], 7):
        for x in loader:
            loader.observe((x * 7 % 5).float() + 0.1 * (stop + len(given)))
            given.append(x.tolist())
    return given


@pytest.mark.parametrize("scorer", ["el2n", "aum", "entropy", "least_confidence", "forgetting"])
def test_scorers_feed_on_the_run_itself(scorer):
    data = dp.open_data("digits")
    model = dp.make_model("mlp", 10, data.shape)
    sampler = ByScore(0.34, scorer, visits=2 if scorer == "forgetting" else 1)
    history = dp.fit(
        model, dp.TensorLoader(data, augment="none"), sampler, dp.Run(epochs=7, lr=0.05)
    )
    assert history.examples == 7 * round(0.34 * data.n)


def test_hard_examples_are_chosen_in_fit():
    """By el2n at the top, training sees what it gets wrong: its accuracy on that falls."""
    data = dp.open_data("digits")

    def accuracy(sampler):
        model = dp.make_model("mlp", 10, data.shape)
        loader = dp.TensorLoader(data, augment="none")
        return dp.fit(model, loader, sampler, dp.Run(epochs=6, lr=0.05)).epochs

    hard = accuracy(ByScore(0.25, "el2n", "top"))
    plain = accuracy(dp.RS2(0.25))
    assert hard[3].train_accuracy == pytest.approx(plain[3].train_accuracy, abs=0.1)
    assert hard[4].train_accuracy < plain[4].train_accuracy - 0.05


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"fraction": 0.0}, "fraction"),
        ({"how": "tops"}, "top"),
        ({"temperature": 0.0}, "temperature"),
        ({"every": 0}, "every"),
        ({"visits": 0}, "visits"),
        ({"scorer": "elm"}, "no scorer 'elm'"),
        ({"scorer": "prototypes"}, "needs embedding"),
        ({"scorer": "tdds"}, "needs shift"),
        ({"scorer": lambda: None}, "needs nothing"),
        ({"scorer": "dyn_unc"}, "visits=1"),
        ({"scorer": lambda loss: loss.sum()}, r"gives \(\) for \(1, 2\) rows"),
        ({"scorer": lambda loss: loss[-1].tolist()}, "gives list for"),
    ],
)
def test_what_cannot_be_is_refused(options, words):
    with pytest.raises(dp.UsageError, match=words):
        ByScore(**{"fraction": 0.5, **options})


def test_errors_say_what_to_do():
    with pytest.raises(dp.UsageError, match="not bound"):
        ByScore(0.5).draw(0)
    with pytest.raises(dp.UsageError, match="random must be"):
        Mixed(ByScore(0.5), random=1.2)
    with pytest.raises(dp.UsageError, match="no readable"):
        ByScore(0.5).bind(3, None, torch.zeros(3, dtype=torch.bool))
    with pytest.raises(dp.UsageError, match="scorer='loss'"):
        tell(ByScore(0.5, "el2n").bind(4), 0, [0.0] * 4)
    state = ByScore(0.5, "loss").bind(4).state_dict()
    with pytest.raises(dp.UsageError, match="the data have 5"):
        ByScore(0.5, "loss").bind(5).load_state_dict(state)


def test_scores_that_are_none_are_named():
    """NaN counts as the highest in a tensor."""
    sampler = ByScore(1.0, lambda loss: loss[-1].log(), "top").bind(4)
    with pytest.raises(dp.PrunerError, match=r"gave -inf to example 2 \(2 in all"):
        tell(sampler, 0, [1.0, 2.0, 0.0, -1.0])


def test_a_scorer_without_a_name_is_shown():
    assert "partial" in repr(ByScore(0.5, functools.partial(lambda loss: loss[-1])))
