"""keep(): exact budgets over classes and chance, refusals."""

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from datapruner.errors import UsageError
from datapruner.rules import RULES
from datapruner.selection import keep

TEN = [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.0]
NAN, INF = float("nan"), float("inf")


def kept(*args, **options):
    return keep(*args, **options).indices.tolist()


# sizes


@pytest.mark.parametrize(
    ("fraction", "n", "size"),
    [(1.0, 10, 10), (0.3, 10, 3), (0.25, 10, 2), (0.35, 10, 4), (0.001, 10, 1), (0.1, 1000, 100)],
)
def test_size_is_the_rounded_share_and_at_least_one(fraction, n, size):
    for rule in RULES:
        assert len(keep(np.arange(n), fraction, rule=rule)) == size


@pytest.mark.parametrize("k", [0, 1, 10])
@pytest.mark.parametrize("rule", RULES)
def test_k_is_exact_at_the_edges(rule, k):
    selection = keep(TEN, k=k, rule=rule)
    assert selection.indices.shape == (k,)
    assert selection.indices.dtype == torch.int64
    assert selection.weights is None


@settings(max_examples=150)
@given(
    n=st.integers(1, 60),
    classes=st.integers(1, 5),
    fraction=st.floats(0.01, 1),
    rule=st.sampled_from(list(RULES)),
    mode=st.sampled_from(["plain", "per_class", "floor"]),
    calibrate=st.sampled_from([0.0, 0.2, 1.0]),
    seed=st.integers(0, 3),
)
def test_exact_sorted_unique_readable(n, classes, fraction, rule, mode, calibrate, seed):
    rng = np.random.default_rng(seed)
    readable = rng.random(n) > 0.1
    assume(readable.any())
    options = {"per_class": mode == "per_class", "class_floor": 0.5 if mode == "floor" else 0.0}
    labels = rng.integers(0, classes, n) ** 2
    scores = np.where(readable, rng.integers(0, 6, n), NAN)
    settings = options | {"labels": labels, "calibrate": calibrate, "seed": seed, "rule": rule}
    selection = keep(scores, fraction, readable=readable, **settings)
    indices = selection.indices.numpy()
    assert len(indices) == max(1, round(fraction * readable.sum()))
    assert (np.diff(indices) > 0).all()
    assert readable[indices].all()
    assert kept(scores, fraction, readable=readable, **settings) == indices.tolist()
    for label, (of_class, size) in selection.meta["class_counts"].items():
        assert (labels[indices] == int(label)).sum() == of_class
        assert (labels[readable] == int(label)).sum() == size


# scores as they come


@pytest.mark.parametrize(
    "scores",
    [
        TEN,
        np.array(TEN, np.float16),
        torch.tensor(TEN, dtype=torch.bfloat16),
        torch.tensor(TEN, dtype=torch.float64, requires_grad=True),
        np.arange(10)[::-1],
        np.arange(10, dtype=np.uint8)[::-1],
    ],
)
def test_any_kind_of_number_will_do(scores):
    assert kept(scores, k=3) == [0, 1, 2]
    assert kept(scores, k=3, rule="bottom") == [7, 8, 9]


def test_float64_is_not_rounded():
    assert kept(torch.tensor([1.0, 1 + 1e-12], dtype=torch.float64), k=1) == [1]


def test_ties_are_stable_and_depend_on_the_seed():
    draws = [tuple(kept(np.ones(50), k=10, seed=s)) for s in (0, 0, 1)]
    assert draws[0] == draws[1] != draws[2]
    assert "splitmix64" in keep(np.ones(5), k=1).meta["ties"]


def test_unreadable_are_never_kept_and_do_not_count():
    readable = [True] * 8 + [False] * 2
    scores = [*TEN[:8], NAN, INF]
    assert len(keep(scores, 0.5, readable=readable)) == 4
    assert kept(scores, 1.0, readable=torch.tensor(readable)) == list(range(8))


# classes

LABELS = [0] * 6 + [1] * 4  # by TEN, class 0 is all above class 1


def test_per_class_takes_the_share_of_each_by_largest_remainder():
    # 5 of 10: 3 of the 6 and 2 of the 4
    assert kept(TEN, 0.5, labels=LABELS, per_class=True) == [0, 1, 2, 6, 7]
    # 3 of 10: 1.8 and 1.2, so 2 and 1
    assert kept(TEN, 0.3, labels=LABELS, per_class=True) == [0, 1, 6]


def test_window_and_beta_are_shares_of_the_class():
    # a quarter of six is 1.5, of four 1
    options = {"labels": LABELS, "per_class": True}
    assert kept(TEN, 0.5, rule="window", offset=0.25, **options) == [2, 3, 4, 7, 8]


def test_class_shares_are_budgets_of_classes_that_hold_them():
    # three classes of 5, 3 and 2; k = 6 by errors .1, .3, .2 is 1, 3, 2: the two small ones whole
    labels = [0, 0, 0, 0, 0, 1, 1, 1, 2, 2]
    errors = np.array([0.1, 0.3, 0.2])
    assert kept(TEN, k=6, labels=labels, class_shares=errors)[1:] == [5, 6, 7, 8, 9]
    # 8: 1.33, 4, 2.67 do not fit into 3 and 2, so that the first gets the 3 that are left
    assert counts(TEN, labels, 8, errors) == [3, 3, 2]
    # equal parts of 7: 2.33 each; 2 is all that the third has, and the odd one goes to the first
    assert counts(TEN, labels, 7, [1, 1, 1]) == [3, 2, 2]
    # a class without a share gives when the others have nothing left
    assert counts(TEN, labels, 6, [0, 1, 1]) == [1, 3, 2]


def counts(scores, labels, k, shares):
    found = keep(scores, k=k, labels=labels, class_shares=shares)
    assert found.meta["class_shares"] == [float(s) for s in shares]
    return [number for number, _ in found.meta["class_counts"].values()]


def test_class_floor_lifts_only_who_is_short():
    # top 5 is class 0 alone; half of 0.5 * 4 is 1 for class 1
    assert kept(TEN, 0.5, labels=LABELS, class_floor=0.5) == [0, 1, 2, 3, 6]
    assert keep(TEN, 0.5, labels=LABELS, class_floor=0.5).meta["class_counts"] == {
        "0": [4, 6],
        "1": [1, 4],
    }
    # a full floor is the share of each class
    assert kept(TEN, 0.5, labels=LABELS, class_floor=1.0) == [0, 1, 2, 6, 7]
    # no one is short: nothing changes
    mixed = [0, 1] * 5
    assert kept(TEN, 0.4, labels=mixed, class_floor=0.5) == kept(TEN, 0.4)


@settings(max_examples=100)
@given(st.integers(0, 10_000), st.floats(0.05, 1), st.floats(0.1, 1))
def test_class_floor_holds_and_loses_the_least_score(seed, fraction, floor):
    rng = np.random.default_rng(seed)
    labels, scores = rng.integers(0, 4, 40), rng.permutation(40).astype(float)
    indices = keep(scores, fraction, labels=labels, class_floor=floor).indices.numpy()
    sizes, got = np.bincount(labels, minlength=4), np.bincount(labels[indices], minlength=4)
    least = np.floor(floor * fraction * sizes + 1e-9)
    assert (got >= least).all()
    if np.ceil(floor * fraction * sizes).sum() <= len(indices):
        least = np.ceil(floor * fraction * sizes - 1e-9)
        assert (got >= least).all()
        # the best that respects the floors: each class's best first, then the best of the rest
        must = np.concatenate(
            [
                np.flatnonzero(labels == c)[np.argsort(-scores[labels == c])][: int(m)]
                for c, m in enumerate(least)
            ]
        )
        rest = np.setdiff1d(np.arange(40), must)
        more = rest[np.argsort(-scores[rest])][: len(indices) - len(must)]
        assert sorted([*must, *more]) == indices.tolist()


def test_classes_without_examples_and_negative_labels():
    assert keep(TEN, k=4, labels=[-5] * 5 + [70_000] * 5, per_class=True).meta["class_counts"] == {
        "-5": [2, 5],
        "70000": [2, 5],
    }
    counts = keep(TEN, k=4, labels=[0] * 5 + [2] * 5, per_class=True).meta["class_counts"]
    assert counts == {"0": [2, 5], "1": [0, 0], "2": [2, 5]}


# chance


def test_calibrate_draws_its_share_from_the_rest():
    scores = np.arange(100.0)[::-1]
    indices = keep(scores, k=20, calibrate=0.25, seed=1).indices.numpy()
    assert set(range(15)) <= set(indices)  # the rule's part
    assert len(indices) == 20
    assert (indices[15:] >= 15).all()
    assert kept(scores, k=20, calibrate=0.25, seed=1) != kept(scores, k=20, calibrate=0.25, seed=2)


def test_calibrate_keeps_the_quota_of_each_class():
    selection = keep(TEN, k=5, labels=LABELS, per_class=True, calibrate=0.4)
    assert selection.meta["class_counts"] == {"0": [3, 6], "1": [2, 4]}


# a rule of one's own


def test_a_function_is_a_rule():
    def every_other(scores, k, generator):
        return torch.arange(0, 2 * k, 2)

    selection = keep(TEN, k=3, rule=every_other)
    assert selection.indices.tolist() == [0, 2, 4]
    assert selection.meta["rule"] == "every_other"
    assert kept(TEN, k=4, rule=every_other, labels=LABELS[::-1], per_class=True) == [0, 2, 4, 6]


@pytest.mark.parametrize(
    ("places", "words"),
    [([0, 0, 1], "3 different places"), ([0, 1], "3 different"), ([0, 1, 10], "outside 0 .. 9"),
     ([0.0, 1.0, 2.0], "float64"), ([-1, 0, 1], "outside")],
)  # fmt: skip
def test_a_function_that_returns_no_places_is_named(places, words):
    def mine(scores, k, generator):
        return np.array(places)

    with pytest.raises(UsageError, match=f"'mine' .*{words}"):
        keep(TEN, k=3, rule=mine)


# refusals, one line each


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"fraction": 0.0}, "fraction=0 must be above 0"),
        ({"fraction": 1.5}, "fraction=1.5 must be above 0 and at most 1; for a number say k=1.5"),
        ({"fraction": -0.1}, "above 0"),
        ({"fraction": NAN}, "fraction=nan"),
        ({}, "either fraction"),
        ({"fraction": 0.5, "k": 3}, "not both"),
        ({"k": 11}, "k=11 must be between 0 and the 10"),
        ({"k": -1}, "k=-1"),
        ({"k": 2.5}, "whole number"),
        ({"k": 3, "rule": "tpo"}, "did you mean 'top'"),
        ({"k": 3, "offset": 0.1}, "rule 'top' does not use offset; leave it out, or use 'window'"),
        ({"k": 3, "beta": 0.1}, "use 'ccs'"),
        ({"k": 3, "strata": 9}, "does not use strata"),
        ({"k": 3, "beta": 0.1, "rule": lambda s, k, g: range(k)}, "does not use beta"),
        ({"fraction": 0.5, "rule": "ccs", "beta": 0.6}, "beta=0.6 must be between 0 and 0.5"),
        ({"fraction": 0.5, "rule": "window", "offset": 0.6}, "offset=0.6 must be"),
        ({"fraction": 0.5, "rule": "ccs", "beta": NAN}, "beta=nan"),
        ({"k": 5, "rule": "ccs", "strata": 0}, "strata=0"),
        ({"k": 3, "per_class": True}, "needs labels"),
        ({"k": 3, "class_floor": 0.5}, "needs labels"),
        ({"k": 3, "class_shares": [1, 1]}, "needs labels"),
        ({"k": 3, "labels": LABELS, "class_shares": [1]}, r"each of the 2 classes, got \(1,\)"),
        ({"k": 3, "labels": LABELS, "class_shares": [1, -1]}, "no share, first at 1"),
        ({"k": 3, "labels": LABELS, "class_shares": [0, 0]}, "are all 0"),
        (
            {"k": 3, "labels": LABELS, "class_shares": [1, 1], "per_class": True},
            "leave out the other class words",
        ),
        (
            {"k": 3, "labels": LABELS, "per_class": True, "class_floor": 0.5},
            "leave out class_floor",
        ),
        ({"k": 3, "labels": LABELS, "class_floor": 1.5}, "class_floor=1.5"),
        ({"k": 3, "calibrate": -0.5}, "calibrate=-0.5"),
        ({"k": 3, "labels": [0, 1]}, r"labels must be \(10,\)"),
        ({"k": 3, "labels": [0.5] * 10}, "whole numbers"),
        ({"k": 3, "readable": [True]}, r"readable must be \(10,\) bool"),
        ({"k": 3, "readable": [False] * 10}, "none of the 10"),
        ({"k": 3, "seed": 0.5}, "seed=0.5"),
    ],
)
def test_refused_in_one_line(options, words):
    with pytest.raises(UsageError, match=words) as caught:
        keep(TEN, **options)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("scores", "words"),
    [
        ([0.1, NAN, 0.2, NAN], "2 scores are NaN, first at 1"),
        ([0.1, 0.2, -INF], "1 score is infinite, first at 2"),
        ([[0.1, 0.2]], r"got \(1, 2\)"),
        ([], "numbers"),
        (["a", "b"], "numbers"),
        ({"aum": TEN}, r"scores\['el2n'\]"),
    ],
)
def test_scores_that_cannot_be_ranked(scores, words):
    with pytest.raises(UsageError, match=words):
        keep(scores, k=1)


def test_a_limited_ranking_gives_no_more_than_it_ranked():
    greedy = np.full(10, -1.0)
    greedy[[4, 7, 1]] = [10, 9, 8]
    assert kept(greedy, k=3) == [1, 4, 7]
    with pytest.raises(UsageError, match="only 3 were"):
        keep(greedy, k=4)
    with pytest.raises(UsageError, match="only 3 were"):
        keep(greedy, k=2, labels=[1, 0, 1, 1, 0, 1, 1, 0, 0, 0], class_floor=1.0)
    assert len(keep(greedy, k=4, calibrate=0.25)) == 4  # what is drawn needs no rank
    assert len(keep(greedy, k=4, rule="random")) == 4


def test_the_largest_beta_fits_also_where_both_halves_round_up():
    assert kept([0.0, 0.1, 0.2, 0.3, 9.0], 0.3, rule="ccs", beta=0.7) == [0, 1]
