"""The keep rules: exact sizes, one order, ties, and hand-worked strata."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from datapruner.errors import UsageError
from datapruner.rules import RULES, draw

SEVEN = np.array([0.4, 0.1, 0.7, 0.2, 0.6, 0.3, 0.5], np.float32)


def new(seed=0):
    return torch.Generator().manual_seed(seed)


# rule, options, k, the places kept of SEVEN (0.7 at 2, 0.6 at 4, 0.5 at 6, 0.4 at 0, 0.3 at 5, ...)
ROWS = {
    "top": ({}, 3, [2, 4, 6]),
    "bottom": ({}, 3, [1, 3, 5]),
    "middle": ({}, 3, [0, 5, 6]),
    "window": ({"offset": 2 / 7}, 3, [0, 5, 6]),
    # 0.7 is cut; strata [0.1, 0.35) = {1, 3, 5} and [0.35, 0.6] = {0, 4, 6}, all of them kept
    "ccs": ({"beta": 1 / 7, "strata": 2}, 6, [0, 1, 3, 4, 5, 6]),
    "random": ({}, 7, [0, 1, 2, 3, 4, 5, 6]),
    "proportional": ({}, 7, [0, 1, 2, 3, 4, 5, 6]),
}


@pytest.mark.parametrize("name", RULES)
def test_hand_worked_row(name):
    options, k, expected = ROWS[name]  # a rule without a row fails here
    assert RULES[name](SEVEN, k, new(), **options).tolist() == expected


@pytest.mark.parametrize("name", RULES)
@settings(max_examples=60)
@given(
    scores=hnp.arrays(np.float32, st.integers(1, 40), elements=st.integers(-3, 3).map(float)),
    part=st.floats(0, 1),
    seed=st.integers(0, 5),
)
def test_exact_sorted_unique_and_asked_twice_the_same(name, scores, part, seed):
    k = round(part * len(scores))
    scores = abs(scores) if name == "proportional" else scores
    kept = RULES[name](scores, k, new(seed))
    assert kept.dtype == np.int64
    assert len(kept) == k
    assert (np.diff(kept) > 0).all()
    assert k == 0 or (kept[0] >= 0 and kept[-1] < len(scores))
    assert (kept == RULES[name](scores, k, new(seed))).all()


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("k", [0, 1, 7])
def test_edges_of_the_budget(name, k):
    assert len(RULES[name](SEVEN, k, new())) == k


@pytest.mark.parametrize("name", RULES)
def test_scores_are_not_modified(name):
    before = SEVEN.copy()
    RULES[name](SEVEN, 3, new())
    assert (before == SEVEN).all()


@settings(max_examples=60)
@given(
    scores=hnp.arrays(np.float32, st.integers(1, 40), elements=st.integers(-2, 2).map(float)),
    k=st.integers(0, 40),
)
def test_bottom_is_what_top_leaves(scores, k):
    k = min(k, len(scores))
    both = np.concatenate(
        [RULES["top"](scores, len(scores) - k, new()), RULES["bottom"](scores, k, new())]
    )
    assert sorted(both.tolist()) == list(range(len(scores)))


@pytest.mark.parametrize("name", ["top", "bottom", "window", "random", "proportional"])
def test_a_smaller_budget_lies_in_a_larger_one(name):
    scores = np.repeat([0.0, 1.0, 2.0], 30)
    small, large = (set(RULES[name](scores, k, new(3)).tolist()) for k in (10, 40))
    assert small < large


def test_ties_are_pinned_and_depend_on_the_seed():
    scores = np.zeros(10)
    # literal, so that another numpy, torch or machine that chose otherwise would show
    assert RULES["top"](scores, 3, new(0)).tolist() == [2, 8, 9]
    assert RULES["top"](scores, 3, new(1)).tolist() == [0, 5, 8]


def test_ties_favour_no_place():
    scores = np.zeros(8)
    hits = np.bincount(
        np.concatenate([RULES["top"](scores, 4, new(s)) for s in range(400)]), minlength=8
    )
    assert (abs(hits - 200) < 50).all()


def test_only_the_tied_are_drawn():
    scores = np.array([3.0, 1, 1, 1, 1, 0, 2])
    for seed in range(5):
        kept = set(RULES["top"](scores, 4, new(seed)).tolist())
        assert {0, 6} < kept
        assert kept < {0, 1, 2, 3, 4, 6}


def test_ccs_worked_by_hand():
    # n = 20, beta = 0.1 cuts the two hardest (9.0 and 8.0). What is left spans 0 to 4: four strata
    # of width 1, sizes 10, 3, 1, 4. Smallest first with k = 12: stratum 2 has 1 and may give
    # 12 // 4 = 3, so 1; stratum 1 has 3, may give 11 // 3 = 3, so 3; stratum 3 has 4, may give
    # 8 // 2 = 4, so 4; stratum 0 gives the 4 left, drawn from its 10.
    scores = np.array([0.0, *[0.1] * 9, 1.0, 1.5, 1.9, 2.5, 3.0, 3.2, 3.9, 4.0, 8.0, 9.0])
    kept = RULES["ccs"](scores, 12, new(), beta=0.1, strata=4)
    stratum = np.digitize(scores[kept], [1, 2, 3])
    assert np.bincount(stratum).tolist() == [4, 3, 1, 4]
    assert set(range(10, 18)) < set(kept.tolist())
    draws = {tuple(RULES["ccs"](scores, 12, new(s), beta=0.1, strata=4)[:4]) for s in range(9)}
    assert len(draws) > 1


def test_ccs_gives_small_strata_no_more_than_the_even_share():
    # sizes 2, 8 with k = 3: 3 // 2 = 1 from the small one although it has 2, then 2 from the other
    scores = np.array([0.0] * 8 + [1.0] * 2)
    kept = RULES["ccs"](scores, 3, new(), strata=2)
    assert (kept < 8).sum() == 2


def test_ccs_cuts_the_hard_side_and_counts_beta_over_all():
    scores = np.arange(10.0)
    assert RULES["ccs"](scores, 7, new(), beta=0.3).tolist() == [0, 1, 2, 3, 4, 5, 6]


def test_ccs_of_equal_scores_is_a_random_draw():
    assert len(RULES["ccs"](np.ones(100), 30, new(), beta=0.2)) == 30


def test_draw_takes_each_candidate_equally_often():
    hits = np.bincount(np.concatenate([draw(np.arange(10), 3, s, "t") for s in range(1000)]))
    assert (abs(hits - 300) < 60).all()


def test_proportional_draws_one_after_another_by_score():
    # of scores 1, 2, 3 two: 1 is in with 1/6 + 2/6 * 1/4 + 3/6 * 1/3; two draws at once, or with
    # replacement, would give it 2/6 or 11/36
    scores = np.array([1.0, 2.0, 3.0])
    both = np.bincount(
        np.concatenate([RULES["proportional"](scores, 2, new(s)) for s in range(6000)]), minlength=3
    )
    np.testing.assert_allclose(both / 6000, [5 / 12, 11 / 15, 17 / 20], atol=0.02)


def test_proportional_takes_examples_without_weight_last_and_evenly():
    scores = np.array([0.0, 1e-40, 0.0, 5.0, 0.0])
    kept = [RULES["proportional"](scores, 3, new(s)).tolist() for s in range(300)]
    assert all({1, 3} < set(k) for k in kept)
    last = np.bincount([({*k} - {1, 3}).pop() for k in kept], minlength=5)
    assert last[[0, 2, 4]].min() > 60


def test_proportional_refuses_scores_below_0():
    with pytest.raises(UsageError, match=r"0 or more; 2 are below, first at 1: keep by rank"):
        RULES["proportional"](np.array([1.0, -1.0, 0.5, -2.0]), 1, new())
