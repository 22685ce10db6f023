"""The PQ index and SAP: by hand, by property, and against wrong variants."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import datapruner as dp
from datapruner.masks import pq_index, sap_count, sap_masks


def test_pq_index_by_hand():
    assert pq_index([9.0, 4.0, 1.0, 0.0]) == pytest.approx(1 - (6 / 4) ** 2 / (14 / 4))
    assert pq_index([3.0, 4.0], p=1, q=2) == pytest.approx(1 - (7 / 2) / math.sqrt(25 / 2))
    assert pq_index(torch.eye(4), p=1, q=2) == pytest.approx(1 - 4 / 16 * 2)


def test_pq_index_is_not_without_its_factor_of_d():
    values = np.array([9.0, 4.0, 1.0, 0.0])
    plain = 1 - (np.sqrt(values).sum() ** 2) / values.sum()
    assert plain < 0 <= pq_index(values)


VALUES = st.lists(st.floats(-10, 10).filter(lambda x: abs(x) > 1e-3), min_size=1, max_size=20)


@given(VALUES, st.floats(0.01, 100), st.sampled_from([(0.5, 1.0), (1.0, 2.0)]))
def test_pq_index_properties(values, scale, norms):
    index = pq_index(values, *norms)
    assert 0 <= index < 1
    assert pq_index([v * scale for v in values], *norms) == pytest.approx(index, abs=1e-9)
    assert pq_index(values * 3, *norms) == pytest.approx(index, abs=1e-9), "cloning"
    assert pq_index([*values, 0.0], *norms) >= index - 1e-9, "a zero more is sparser"
    even = float(np.mean(np.abs(values)))
    towards = [0.5 * abs(v) + 0.5 * even for v in values]
    assert pq_index(towards, *norms) <= index + 1e-9, "taking from the rich is less sparse"


@given(VALUES)
def test_sap_for_the_published_norms(values):
    """For (.5, 1) the share that goes is I; for (1, 2) it is 1 - (1 - I)^2."""
    d = len(values)
    for (p, q), share in [((0.5, 1.0), lambda i: i), ((1.0, 2.0), lambda i: 1 - (1 - i) ** 2)]:
        removed = sap_count(values, p, q, beta=1.0)
        assert removed == d - math.ceil(d * (1 - share(pq_index(values, p, q))) - 1e-6)


def test_sap_by_hand():
    values = [100.0] + [1.0] * 99  # sqrt: 109; I = 1 - (1.09^2 / 1.99) = .40296
    assert sap_count(values) == 40
    assert sap_count(values, gamma=2.0) == 80
    assert sap_count(values, gamma=3.0) == 90, "beta holds it"
    assert sap_count(values, beta=0.25) == 25
    assert sap_count(values, eta=1.0) == 85, "m = 100 / 4 x .59704, rounded up to 15"
    assert sap_count([1.0] * 10) == 0
    assert sap_count([1.0] * 10, eta=-0.5) == 0, "never below nothing"


def two_layers() -> nn.Sequential:
    model = nn.Sequential(nn.Linear(4, 2, bias=False), nn.Linear(2, 2, bias=False))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[16.0, 1.0, 0.25, 1.0], [2.0, 2.0, 2.0, 2.0]]))
        model[1].weight.copy_(torch.tensor([[0.1, 0.1], [0.1, 0.1]]))
    return model


def test_sap_masks_by_hand():
    model = two_layers()
    masks = {name: torch.ones_like(p).bool() for name, p in model.named_parameters()}
    whole = sap_masks(model, masks)
    assert [int((~whole[n]).sum()) for n in masks] == [1, 4], "smallest in all: all of layer 2"
    layers = sap_masks(model, masks, reach="layer")
    assert [int((~layers[n]).sum()) for n in masks] == [2, 0]
    rows = sap_masks(model, masks, reach="neuron")
    assert rows["0.weight"].tolist() == [[True, True, False, True], [True] * 4]
    assert masks["0.weight"].all(), "the masks given are left as they are"


def test_sap_ranks_and_counts_survivors_only():
    model = two_layers()
    masks = {"0.weight": torch.tensor([[True, True, False, True], [True] * 4])}
    once = sap_masks(model, masks)["0.weight"]
    assert not once[0, 2], "what is masked stays masked"
    assert int((masks["0.weight"] & ~once).sum()) == sap_count(model[0].weight[masks["0.weight"]])


def test_pq_and_sap_refuse():
    for p, q in [(0, 1), (1, 1), (2, 1), (1, math.inf)]:
        with pytest.raises(dp.UsageError, match="0 < p < q"):
            pq_index([1.0], p, q)
    for values in ([], [math.nan], [math.inf]):
        with pytest.raises(dp.UsageError, match="finite"):
            pq_index(values)
    with pytest.raises(dp.UsageError, match="all 0"):
        pq_index([0.0, 0.0])
    for wrong in ({"eta": -1.0}, {"gamma": -0.1}, {"beta": 1.1}):
        with pytest.raises(dp.UsageError, match="SAP needs"):
            sap_count([1.0], **wrong)
    with pytest.raises(dp.UsageError, match="did you mean 'layer'"):
        sap_masks(two_layers(), {}, reach="layers")
