"""Greedy rankings against references of ten lines, which know no blocks, bounds or heaps."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from torch import Tensor
from torch.autograd.profiler import profile
from torch.nn.functional import normalize

from scorers import SCORERS
from scorers._facility import AllPairs, InBlocks, cosines, facility_picks
from scorers._falling import falling_picks
from scorers._rows import sorted_rows

SIZE, WIDTH = 700, 12


def blobs(n: int = SIZE, spread: float = 0.3, seed: int = 0, d: int = WIDTH) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    centres = 2 * torch.randn(9, d, generator=rng)
    return centres[torch.arange(n) % 9] + spread * torch.randn(n, d, generator=rng)


def order_of(score: Tensor, k: int | None = None) -> list[int]:
    picked = int((score > 0).sum()) if k is None else k
    return score.argsort(descending=True)[:picked].tolist()


def greedy(x: np.ndarray, k: int, gain: Callable[[list[int]], np.ndarray]) -> list[int]:
    """Pick k times the highest of `gain(picks so far)` (n,)."""
    picks: list[int] = []
    for _ in range(k):
        value = gain(picks)
        value[picks] = -np.inf
        picks.append(int(value.argmax()))
    return picks


def kcenter_by_hand(x: Tensor, k: int) -> list[int]:
    x = x.double().numpy()
    apart = cdist(x, x)
    first = -np.linalg.norm(x - x.mean(0), axis=1)
    return greedy(x, k, lambda picks: apart[picks].min(0) if picks else first.copy())


def herding_by_hand(x: Tensor, k: int) -> list[int]:
    x = normalize(x.double()).numpy()
    mean = x.mean(0)
    return greedy(
        x,
        k,
        lambda picks: -np.linalg.norm((len(picks) + 1) * mean - x[picks].sum(0) - x, axis=1),
    )


def facility_by_hand(x: Tensor, k: int) -> list[int]:
    x = normalize(x.double()).numpy()
    pairs = (x @ x.T).clip(0)

    def gain(picks: list[int]) -> np.ndarray:
        best = pairs[picks].max(0) if picks else 0
        return np.maximum(pairs - best, 0).sum(1)

    return greedy(x, k, gain)


def graph_cut_by_hand(x: Tensor, k: int, redundancy: float = 0.4) -> list[int]:
    x = normalize(x.double()).numpy()
    pairs = (1 + x @ x.T) / 2

    def value(picks: list[int]) -> float:
        return pairs[:, picks].sum() - redundancy * pairs[np.ix_(picks, picks)].sum()

    return greedy(
        x, k, lambda p: np.array([value([*p, i]) if i not in p else 0 for i in range(len(x))])
    )


def log_det_by_hand(x: Tensor, k: int, ridge: float, first: int) -> list[int]:
    x = normalize(x.double()).numpy()
    kernel = x @ x.T + ridge * np.eye(len(x))

    def value(picks: list[int]) -> float:
        return np.linalg.slogdet(kernel[np.ix_(picks, picks)])[1] if picks[0] == first else -9

    return greedy(
        x, k, lambda p: np.array([value([*p, i]) if i not in p else -9 for i in range(len(x))])
    )


def contextual_by_hand(p: Tensor, k: int) -> list[int]:
    p = p.double().clamp(min=1e-7).numpy()
    apart = np.array([((p - q) * (np.log(p) - np.log(q))).sum(1) for q in p])
    mean = p.mean(0)
    first = -((p - mean) * (np.log(p) - np.log(mean))).sum(1)
    return greedy(p, k, lambda picks: apart[picks].min(0) if picks else first.copy())


def predictions(n: int = SIZE) -> Tensor:
    return (2 * blobs(n, d=5)).softmax(1)


@pytest.mark.parametrize(
    ("name", "by_hand", "x", "k"),
    [
        ("kcenter", kcenter_by_hand, blobs(), SIZE),
        ("kcenter", kcenter_by_hand, blobs(2500, spread=0.01), 600),
        ("kcenter", kcenter_by_hand, blobs(2500, spread=3.0), 600),
        ("herding", herding_by_hand, blobs(), 300),
        ("graph_cut", graph_cut_by_hand, blobs(120), 40),
        ("contextual_diversity", contextual_by_hand, predictions(), 150),
    ],
    ids=lambda v: v if isinstance(v, str) else None,
)
def test_picks_are_those_of_the_plain_loop_however_the_rows_stand(name, by_hand, x, k):
    expected = by_hand(x, k)
    assert order_of(SCORERS[name](x, limit=k)) == expected
    shuffled = torch.randperm(len(x), generator=torch.Generator().manual_seed(1))
    again = order_of(SCORERS[name](x[shuffled], limit=k))
    assert shuffled[again].tolist() == expected


def test_facility_location_grows_as_the_plain_loop_does_however_the_rows_stand():
    """Two that are each other's nearest add the same, whichever is picked: picks may differ."""
    x, k = blobs(), 300
    picks = order_of(SCORERS["facility_location"](x, limit=k))
    pairs = cosines(normalize(x))
    growth = [pairs[p].clip(0) for p in (picks, facility_by_hand(x, k))]
    ours, plain = (np.maximum.accumulate(g).sum(1, dtype=np.float64) for g in growth)
    np.testing.assert_allclose(ours, plain, rtol=1e-5)
    shuffled = torch.randperm(len(x), generator=torch.Generator().manual_seed(1))
    again = order_of(SCORERS["facility_location"](x[shuffled], limit=k))
    assert shuffled[again].tolist() == picks


def test_log_det_picks_are_those_of_the_determinants():
    """Unit rows all span the same alone, so the first is any; ours is given to the reference."""
    x = blobs(150)
    for ridge in (1.0, 0.05):
        picks = order_of(SCORERS["log_det"](x, limit=40, ridge=ridge))
        assert log_det_by_hand(x, 40, ridge, picks[0]) == picks


@pytest.mark.parametrize("name", ["kcenter", "log_det"])
@pytest.mark.parametrize("spread", [0.0, 0.1, 2.0])
def test_the_size_of_the_block_changes_no_pick(name, spread, monkeypatch):
    x = torch.cat([blobs(3000, spread), torch.zeros(4, WIDTH)])
    module = __import__(f"scorers.{name}", fromlist=["falling_picks"])
    found = []
    for block in (None, 7, 300):
        monkeypatch.setattr(
            module, "falling_picks", lambda *a, b=block, **k: falling_picks(*a, **k, block=b)
        )
        found.append(order_of(SCORERS[name](x, limit=200)))
    assert found[0] == found[1] == found[2]


def test_copies_are_ranked_last_and_once():
    x = blobs(30).repeat(5, 1)
    score = SCORERS["kcenter"](x)
    assert sorted(score.tolist()) == list(range(1, 151))
    assert {i % 30 for i in order_of(score, 30)} == set(range(30))
    assert torch.equal(SCORERS["kcenter"](torch.ones(4, 2)).sort().values, torch.arange(1, 5.0))


def test_facility_location_on_blocks_and_samples_reaches_the_objective():
    x = sorted_rows(blobs(), unit=True).x
    pairs = cosines(x)
    stored, best = facility_picks(AllPairs(pairs), 60)
    in_blocks, same = facility_picks(InBlocks(len(x), lambda places: pairs[places]), 60)
    np.testing.assert_array_equal(stored, in_blocks)
    np.testing.assert_array_equal(best, same)
    drawn, near = facility_picks(AllPairs(pairs), 60, epsilon=0.01, seed=3)
    again, _ = facility_picks(AllPairs(pairs), 60, epsilon=0.01, seed=3)
    assert len(set(drawn.tolist())) == 60
    np.testing.assert_array_equal(drawn, again)
    assert 0.98 * best.sum() < near.sum() <= best.sum() * 1.001
    assert (best <= 1 + 1e-6).all()
    np.testing.assert_allclose(best, pairs[stored].max(0).clip(0))


def test_cosines_are_those_of_all_pairs_and_symmetric():
    x = sorted_rows(blobs(2300), unit=True).x
    pairs = cosines(x)
    np.testing.assert_array_equal(pairs, pairs.T)
    np.testing.assert_allclose(pairs, (x @ x.T).numpy(), atol=1e-6)


def test_a_graph_of_all_neighbours_is_all_pairs():
    x = blobs(200).abs()  # no negative cosines, which a graph leaves out
    pairs = cosines(normalize(x))
    reached = [
        pairs[order_of(SCORERS["facility_location"](x, limit=50, neighbours=k))].max(0).sum()
        for k in (0, 199, 20)
    ]
    assert reached[1] == pytest.approx(reached[0], rel=1e-5)
    assert reached[2] > 0.97 * reached[0]


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("kcenter", {}, "example 0 and 2 others were given a score"),
        ("graph_cut", {"redundancy": -1.0}, "redundancy=-1.0 must be 0 or more"),
        ("log_det", {"ridge": 0.0}, "ridge=0.0 must be above 0"),
        ("facility_location", {"epsilon": 1.0}, "epsilon=1.0 must be above 0, which is exact"),
    ],
)
def test_what_cannot_be_ranked_is_refused(name, options, message):
    rows = torch.full((3, 2), torch.nan) if not options else torch.eye(3)
    with pytest.raises(ValueError, match=message):
        SCORERS[name](rows, **options)


@pytest.mark.parametrize("name", ["kcenter", "herding", "graph_cut", "log_det"])
def test_nothing_larger_than_one_copy_of_the_rows_is_allocated(name):
    """torch's own sums in float64 make a copy of twice that size first."""
    x = torch.randn(40_000, 64, generator=torch.Generator().manual_seed(0))
    with profile(profile_memory=True) as seen:
        SCORERS[name](x, limit=5)
    made = [e.cpu_memory_usage for e in seen.function_events if e.name.startswith("aten::empty")]
    assert 0 < max(made) <= 4 * x.numel()


def test_pairs_beyond_the_memory_are_refused_with_what_would_fit(monkeypatch):
    monkeypatch.setattr("scorers._memory.free_memory", lambda: 10_000)
    with pytest.raises(ValueError, match="pass neighbours=64"):
        SCORERS["facility_location"](blobs(100))
    with pytest.raises(ValueError, match=r"a copy of 1,000 rows of 12 float32 take 0.0 GiB"):
        SCORERS["kcenter"](blobs(1000))
