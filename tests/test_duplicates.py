"""Near-copies: planted ones are found, chains, borders, and a reference of ten lines."""

import math
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components
from torch import Tensor
from torch.nn.functional import normalize

import datapruner as dp
from scorers import SCORERS
from scorers._copies import find_copies
from scorers.duplicates import duplicate_pairs

duplicates = SCORERS["duplicates"]


def cloud(n: int = 900, d: int = 8, seed: int = 0) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def at(*degrees: float) -> Tensor:
    angle = torch.tensor(degrees, dtype=torch.float64).deg2rad()
    return torch.stack([angle.cos(), angle.sin()], 1).float()


def by_hand(x: Tensor, mode: str, epsilon: float, first: str) -> np.ndarray:
    """Walk one cluster from its far or near end."""
    rows = normalize(x.double()).numpy()
    pairs, centre = rows @ rows.T, rows.mean(0) / np.linalg.norm(rows.mean(0))
    order = np.argsort(rows @ centre * (1 if first == "far" else -1), kind="stable")
    score, before = np.full(len(x), 2.0), []
    for i in order:
        if before:
            score[i] = 1 - pairs[i, before].max()
        if mode == "any-earlier" or score[i] > epsilon:
            before.append(i)
    return score


@pytest.mark.parametrize("mode", ["any-earlier", "kept-only"])
@pytest.mark.parametrize("first", ["far", "near"])
def test_one_cluster_is_walked_as_by_hand(mode, first, monkeypatch):
    monkeypatch.setattr("scorers._copies._BLOCK", 900 * 64)  # several blocks
    x = cloud()
    score = duplicates(x, mode=mode, epsilon=0.1, first=first, k=1)
    np.testing.assert_allclose(score, by_hand(x, mode, 0.1, first), atol=2e-6)


def test_a_chain_keeps_its_first_alone_or_every_other():
    """Each is 10 degrees from the next (cosine .985), 20 from the one after (.940)."""
    x = at(0, 10, 20, 30, 40)
    chain = duplicates(x, k=1, epsilon=0.02)
    assert (chain > 0.02).sum() == 2  # both ends are as far from the middle, and first
    kept = duplicates(x, k=1, epsilon=0.02, mode="kept-only")
    assert (kept > 0.02).tolist() == [True, False, True, False, True]


def test_components_keep_one_of_all_that_copies_connect():
    """Ends first, so that the middle of the chain joins what stood apart before it."""
    x = at(0, 10, 20, 30, 40, 90)
    joined = duplicates(x, k=1, epsilon=0.02, mode="components")
    kept = (joined > 0.02).nonzero()[:, 0].tolist()
    assert len(kept) == 2
    assert 5 in kept
    earlier = duplicates(x, k=1, epsilon=0.02)
    assert (earlier > 0.02).sum() > 2
    pairs, distance = duplicate_pairs(x, k=1, epsilon=0.02, mode="components")
    assert len(pairs) == 4
    assert (distance - (1 - math.cos(math.radians(10)))).abs().max() < 1e-6


def test_components_are_those_of_the_graph(monkeypatch):
    monkeypatch.setattr("scorers._copies._BLOCK", 300 * 64)
    x = cloud(300, d=3)
    rows = normalize(x.double())
    graph = csr_matrix((rows @ rows.T >= 1 - 0.01).numpy())
    count, member = connected_components(graph, directed=False)
    joined = duplicates(x, k=1, epsilon=0.01, mode="components")
    kept = (joined > 0.01).numpy()
    assert kept.sum() == count
    assert len(set(member[kept])) == count
    shuffled = torch.randperm(300, generator=torch.Generator().manual_seed(2))
    assert torch.equal(
        duplicates(x[shuffled], k=1, epsilon=0.01, mode="components"), joined[shuffled]
    )


def test_copies_over_a_border_are_seen_from_the_second_cluster():
    x = cloud(4000, d=3)
    one, two = (duplicates(x, k=40, searched=s) for s in (1, 2))
    assert (two <= one + 1e-6).all()
    missed = ((two <= 0.001) & (one > 0.001)).sum() / (two <= 0.001).sum()
    assert 0 < missed < 0.35
    whole = duplicates(x, k=40, searched=40)
    assert (whole <= two + 1e-6).all()


def test_pairs_name_the_copy_and_the_one_before_it():
    x = torch.cat([cloud(300), cloud(300)[:40] * 3 + 1e-4])
    pairs, distance = duplicate_pairs(x, epsilon=1e-4)
    assert len(pairs) == 40
    assert (pairs[:, 0] % 300 == pairs[:, 1] % 300).all()
    assert (distance.diff() >= 0).all()
    found = find_copies(x, "any-earlier", 0.05, "far", None, 1, 0)
    assert torch.equal(found.earlier[pairs[:, 0]], pairs[:, 1])
    assert (found.earlier[found.distance == 2] == -1).all()


@pytest.mark.parametrize("mode", ["any-earlier", "kept-only", "components"])
def test_exact_copies_have_distance_0_whatever_rounding_makes_of_their_cosine(mode):
    """Of unit rows about every other has a product with itself that is not 1 in float32."""
    x = cloud(200, d=64)
    twice = torch.cat([x, 3 * x])
    assert (duplicates(twice, mode=mode, epsilon=0.0, k=1) == 0).sum() == 200
    pairs, distance = duplicate_pairs(twice, mode=mode, epsilon=0.0, k=1)
    assert len(pairs) == 200
    assert (pairs[:, 0] % 200 == pairs[:, 1] % 200).all()
    assert not distance.any()


def recoded(picture: np.ndarray, shift: int = 0) -> np.ndarray:
    """Give the picture back from a JPEG, moved to the right."""
    file = BytesIO()
    Image.fromarray(np.roll(picture, shift, axis=1)).save(file, "JPEG", quality=90)
    return np.asarray(Image.open(file))


def test_planted_copies_are_found(shared_data):
    """Precision and recall for re-encoded copies; pixels less their mean are the embedding."""
    data = dp.open_data(shared_data / "cifar10-webp")
    pictures = np.stack([np.asarray(data.picture(i)) for i in range(2000)])
    whole = [*pictures, *(recoded(p) for p in pictures[:200])]
    x = torch.from_numpy(np.stack(whole)).flatten(1).float()
    pairs, _ = duplicate_pairs(x - x.mean(0), epsilon=0.02, k=2)
    planted = (pairs[:, 0] % 2000 == pairs[:, 1] % 2000) & (pairs.amax(1) >= 2000)
    assert planted.sum() >= 0.99 * 200
    assert planted.sum() >= 0.99 * len(pairs)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "all"}, "mode='all': use 'any-earlier', 'kept-only' or 'components'"),
        ({"first": "best"}, "first='best': use 'far' or 'near'"),
        ({"epsilon": 3.0}, "epsilon=3.0 must be a cosine distance, 0 to 2"),
        ({"mode": "kept-only", "searched": 2}, "searched=2: 1, or more in any mode but"),
        ({"k": 9}, "k=9 clusters cannot be made of 5"),
    ],
)
def test_options_that_do_not_fit_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        duplicates(cloud(5), **options)
