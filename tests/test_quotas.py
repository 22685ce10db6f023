"""largest_remainder against exact fractions, with and without capacities."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datapruner.quotas import largest_remainder


def in_fractions(shares, total, room):
    """Split in exact arithmetic: fill what overflows, then floors, then the largest remainders."""
    free = [i for i in range(len(shares)) if room[i] > 0]
    parts = [0] * len(shares)
    while True:
        left = total - sum(parts)
        weight = {i: shares[i] for i in free}
        if not any(weight.values()):
            weight = dict.fromkeys(free, 1)
        exact = {i: Fraction(w * left, sum(weight.values())) for i, w in weight.items()}
        full = [i for i in free if exact[i] >= room[i]]
        for i in full:
            parts[i] = room[i]
        free = [i for i in free if i not in full]
        if not full:
            break
    for i in free:
        parts[i] = int(exact[i])
    ranked = sorted(free, key=lambda i: (parts[i] - exact[i], i))
    for i in ranked[: total - sum(parts)]:
        parts[i] += 1
    return parts


@given(shares=st.lists(st.integers(0, 30), min_size=1, max_size=12), total=st.integers(0, 400))
def test_agrees_with_exact_fractions(shares, total):
    found = largest_remainder(np.array(shares, float), total)
    assert found.dtype == np.int64
    assert found.tolist() == in_fractions(shares, total, [total] * len(shares))
    if sum(shares):
        exact = np.array(shares) * total / sum(shares)
        assert (np.abs(found - exact) < 1).all()


@given(
    parts=st.lists(st.tuples(st.integers(0, 30), st.integers(0, 20)), min_size=1, max_size=12),
    share=st.floats(0, 1),
)
def test_agrees_with_exact_fractions_under_capacities(parts, share):
    shares, room = (np.array(column) for column in zip(*parts, strict=True))
    total = round(share * int(room.sum()))
    found = largest_remainder(shares.astype(float), total, room)
    assert found.sum() == total
    assert (found >= 0).all()
    assert (found <= room).all()
    assert found.tolist() == in_fractions(shares.tolist(), total, room.tolist())


@pytest.mark.parametrize(
    ("shares", "total", "room", "expected"),
    [
        ([1, 1, 1], 10, None, [4, 3, 3]),  # equal remainders: the lower position first
        ([1, 2, 3], 0, None, [0, 0, 0]),
        ([3, 2, 1], 5, None, [2, 2, 1]),  # 2.5, 1.67, 0.83: the larger remainders get one more
        ([10, 2, 1], 13, [1, 50, 50], [1, 8, 4]),
        ([0, 0], 3, [1, 9], [1, 2]),  # no shares: alike
        ([1, 0], 5, [2, 9], [2, 3]),  # only a part without a share has room
        ([0.1, 0.2, 0.7], 10, None, [1, 2, 7]),  # not 0.7 * 10 = 6.999...
        ([0.9, 9.1, 90], 50, [1, 10, 50], [0, 5, 45]),
    ],
)
def test_hand_worked(shares, total, room, expected):
    room = None if room is None else np.array(room)
    assert largest_remainder(np.array(shares, float), total, room).tolist() == expected


def test_a_full_part_does_not_spoil_the_proportions_of_the_others():
    found = largest_remainder(np.array([100.0, 9.0, 0.9]), 30, np.array([1, 99, 99]))
    assert found.tolist() == [1, 26, 3]  # 29 * 9 / 9.9 = 26.4


def test_many_parts_and_large_totals():
    sizes = np.random.default_rng(0).integers(1, 10**6, 20_000)
    found = largest_remainder(sizes.astype(float), 3_000_000_001, sizes)
    assert found.sum() == 3_000_000_001
    assert (np.abs(found - sizes * (3_000_000_001 / sizes.sum())) < 1).all()


def test_what_does_not_fit_is_an_error():
    with pytest.raises(ValueError, match="5 do not fit in parts that hold 4"):
        largest_remainder(np.ones(2), 5, np.array([2, 2]))
