"""Distances, neighbours and coverage, against references of a few lines."""

import faiss
import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from torch import Tensor

from scorers import SCORERS
from scorers._centres import Centres
from scorers._neighbours import nearest_neighbours
from scorers._rows import MOST, sorted_rows

N = 300


def rows(n: int = N, d: int = 5, seed: int = 0) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed)) + 1


LABELS = torch.arange(N) % 7


def test_moderate_is_the_band_of_the_release_when_asked_by_mass():
    """The release keeps the places between (1 - rate) / 2 and (1 + rate) / 2 of the distances."""
    x = rows().numpy()
    centres = np.stack([np.median(x[c == LABELS], axis=0) for c in range(7)])
    distance = np.linalg.norm(x - centres[LABELS], axis=1)
    score = SCORERS["moderate"](rows(), LABELS, band="mass")
    for kept in (60, 150, 240):
        middle = distance.argsort()[(N - kept) // 2 : (N + kept) // 2]
        assert set(score.argsort(descending=True)[:kept].tolist()) == set(middle.tolist())
    near = SCORERS["moderate"](rows(), LABELS)
    np.testing.assert_allclose(near, -abs(distance - np.median(distance)), atol=1e-6)


def test_moderate_keeps_the_middle_and_not_its_complement():
    x = torch.tensor([[0.0], [1.0], [2.0], [3.0], [20.0], [-20.0]])
    score = SCORERS["moderate"](x, torch.zeros(6))
    assert score[4:].max() < score[:4].min()


def test_class_prototypes_are_distances_to_class_means():
    x = torch.nn.functional.normalize(rows()).double()
    means = torch.stack([x[c == LABELS].mean(0) for c in range(7)])
    cosine = torch.nn.functional.cosine_similarity(x, means[LABELS])
    score = SCORERS["class_prototypes"](rows(), LABELS)
    torch.testing.assert_close(score, (1 - cosine).float(), atol=2e-6, rtol=0)


def test_cal_is_the_mean_divergence_of_the_neighbours_from_the_example():
    x, probs = rows(), rows(d=4, seed=1).softmax(1)
    apart = cdist(x, x)
    np.fill_diagonal(apart, np.inf)
    near = apart.argsort(1)[:, :6]
    p = probs.double().numpy()
    expected = [(p[near[i]] * np.log(p[near[i]] / p[i])).sum(1).mean() for i in range(N)]
    np.testing.assert_allclose(SCORERS["cal"](probs, x, neighbours=6), expected, rtol=1e-5)
    certain = torch.eye(4)[torch.arange(N) % 4]
    assert SCORERS["cal"](certain, x).isfinite().all()


def test_neighbours_leave_out_the_row_itself_even_among_copies():
    x = torch.cat([torch.zeros(8, 3), torch.ones(4, 3)])
    gap, place = nearest_neighbours(x, 3, cosine=False)
    assert (gap == 0).all()
    assert not (place == torch.arange(12)[:, None].numpy()).any()
    with pytest.raises(ValueError, match="12 neighbours cannot be had of 12 examples"):
        nearest_neighbours(x, 12)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_neighbours_by_lists_are_nearly_those_of_all_pairs(monkeypatch):
    x = sorted_rows(rows(4000, 8), unit=True).x
    exact = nearest_neighbours(x, 10)[1]
    monkeypatch.setattr("scorers._neighbours.ALL_PAIRS", 100)
    listed = nearest_neighbours(x, 10)[1]
    same = np.mean([len(set(a) & set(b)) for a, b in zip(exact, listed, strict=True)])
    assert same > 8.5
    assert faiss.omp_get_max_threads() >= 1


def test_zcore_style_by_hand():
    """The same planes and points, with every distance taken."""
    x, options = rows(60), {"projections": 3, "points": 20, "neighbours": 4, "seed": 2}
    held = sorted_rows(x)
    rng = np.random.Generator(np.random.Philox(2))
    total = np.zeros(60)
    for _ in range(3):
        plane = torch.from_numpy(rng.standard_normal((5, 2)).astype(np.float32))
        flat = (held.x @ plane).double().numpy()
        low, high = flat.min(0), flat.max(0)
        for point in low + (high - low) * rng.random((20, 2)):
            winner = int(np.linalg.norm(flat - point, axis=1).argmin())
            gap = np.linalg.norm(flat - flat[winner], axis=1)
            scale = np.sort(gap)[5]  # itself, four that lose, and the one that sets the scale
            loss = np.clip(1 - gap / scale, 0, None) / 4
            loss[winner] = -1
            total -= loss
    score = SCORERS["zcore_style"](x, **options)
    np.testing.assert_allclose(score[held.order], total, atol=1e-4)


def test_zcore_style_finds_the_covered_and_the_redundant():
    crowd = 0.01 * rows(200, 2)
    lone = torch.tensor([[9.0, 9.0], [-9.0, 9.0], [9.0, -9.0], [-9.0, -9.0]])
    score = SCORERS["zcore_style"](torch.cat([crowd, lone]))
    assert score[-4:].min() > score[:-4].max()


def test_distances_by_products_and_by_the_triangle_inequality_are_those_of_the_differences():
    """Rows far from the origin and close together: products alone would lose every digit."""
    x = rows(3000, 6) * 1e-3 + 10 * torch.eye(6)[torch.arange(3000) % 6]
    gain, centres = torch.full((3000,), torch.inf), Centres(x)
    apart = cdist(x.double(), x.double())
    done: list[int] = []
    for picks in ([5], list(range(6, 12)), list(range(40, 90)), list(range(100, 900))):
        centres.catch_up(gain, torch.tensor(picks))
        done += picks
        np.testing.assert_allclose(gain, apart[:, done].min(1) ** 2 / 2, rtol=1e-4, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "sources", "options", "message"),
    [
        ("moderate", (rows(), LABELS), {"band": "all"}, "band='all': use 'distance' or 'mass'"),
        ("moderate", (rows(), LABELS[:9]), {}, r"labels \(n,\), not \(300, 5\) and \(9,\)"),
        ("class_prototypes", (rows() * torch.nan, LABELS), {}, "example 0 and 299 others were"),
        ("cal", (rows(9), rows()), {}, "probs has 9 rows and embedding 300"),
        ("cal", (rows(), rows()), {"neighbours": 0}, "neighbours=0 must be at least 1"),
        ("zcore_style", (rows(),), {"points": 0}, "must be at least 1"),
        ("contextual_diversity", (-rows(),), {}, "probs holds negative values"),
        ("kcenter", (torch.empty(0, 3),), {}, r"must be \(n, d\), not \(0, 3\)"),
        ("herding", (torch.empty(1).expand(MOST + 1, 1),), {}, "rank each part of them"),
    ],
)
def test_bad_input_is_refused(name, sources, options, message):
    with pytest.raises(ValueError, match=message):
        SCORERS[name](*sources, **options)


def test_a_graph_tells_nothing_of_the_order_of_the_rows():
    x = rows(500, 8)
    order = torch.randperm(500, generator=torch.Generator().manual_seed(0))
    for name, options in (("facility_location", {"neighbours": 9}), ("zcore_style", {})):
        score = SCORERS[name](x, **options)
        torch.testing.assert_close(SCORERS[name](x[order], **options), score[order])
