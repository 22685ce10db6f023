"""Fixed: the same subset in a new order each epoch, its weights, and what it refuses."""

import numpy as np
import pytest
import torch

from datapruner.errors import UsageError
from datapruner.rs2 import RS2
from datapruner.samplers import Fixed
from datapruner.selection import Selection


def orders(sampler, epochs):
    return [sampler.draw(epoch)[0].tolist() for epoch in range(epochs)]


def test_literal_orders():
    """Orders are part of what is promised: a change here makes published runs unrepeatable."""
    assert orders(Fixed([8, 2, 5], seed=0).bind(10), 3) == [[8, 5, 2], [8, 2, 5], [2, 5, 8]]


def test_global_generators_stay_untouched():
    before = torch.get_rng_state()
    orders(Fixed().bind(50), 3)
    assert torch.equal(torch.get_rng_state(), before)


def test_fixed_gives_the_subset_in_a_new_order_each_epoch():
    bound = Fixed(torch.arange(0, 40, 2), seed=3).bind(40)
    drawn = orders(bound, 4)
    assert all(sorted(order) == list(range(0, 40, 2)) for order in drawn)
    assert len({tuple(order) for order in drawn}) == 4
    assert drawn[0] != sorted(drawn[0])
    assert drawn == orders(Fixed(torch.arange(0, 40, 2), seed=3).bind(40), 4)
    assert drawn != orders(Fixed(torch.arange(0, 40, 2), seed=4).bind(40), 4)


@pytest.mark.parametrize(
    "indices",
    [
        [3, 1, 8],
        (8, 1, 3),
        np.array([1, 3, 8], np.int32),
        torch.tensor([1, 8, 3]),
        range(1, 9)[::2],
    ],
)
def test_indices_of_any_kind_and_order(indices):
    bound = Fixed(indices, shuffle=False).bind(9)
    assert bound.draw(0)[0].tolist() == sorted(int(i) for i in indices)
    assert bound.draw(0)[0].dtype == torch.int64
    assert bound.draw(5)[0].tolist() == bound.draw(0)[0].tolist()


def test_the_order_does_not_depend_on_how_the_subset_is_listed():
    assert orders(Fixed([5, 2, 8]).bind(9), 3) == orders(Fixed([8, 5, 2]).bind(9), 3)


def test_weights_stay_with_their_examples():
    order, weight = Fixed([7, 2, 4], weights=torch.tensor([0.7, 0.2, 2.1])).bind(9).draw(0)
    assert sorted(order.tolist()) == [2, 4, 7]
    assert weight.dtype == torch.float32
    torch.testing.assert_close(weight, torch.tensor([0, 0, 0.2, 0, 2.1, 0, 0, 0.7, 0]))
    everyone = Fixed(weights=torch.arange(4.0)).bind(4)
    assert everyone.draw(0)[1].tolist() == [0, 1, 2, 3]


def test_a_selection_brings_its_size_and_weights():
    selection = Selection(torch.tensor([1, 4]), n=6, weights=torch.tensor([0.5, 1.5]))
    order, weight = Fixed(selection, shuffle=False).bind(6).draw(0)
    assert order.tolist() == [1, 4]
    assert weight.tolist() == [0, 0.5, 0, 0, 1.5, 0]
    own = Fixed(selection, weights=torch.tensor([1.0, 2.0])).bind(6).draw(0)[1]
    assert own.tolist() == [0, 1, 0, 0, 2, 0]
    with pytest.raises(UsageError, match="made from 6 examples, the data have 7; select again"):
        Fixed(selection).bind(7)


def test_binding_again_changes_nothing():
    fixed = Fixed([7, 2], weights=torch.tensor([0.5, 1.5]))
    bound = fixed.bind(9)
    assert fixed.indices == [7, 2]
    assert bound.bind(9).draw(1)[1].tolist() == bound.draw(1)[1].tolist()
    assert "tensor" not in repr(RS2(0.5).bind(10**6))
    rs2 = RS2(0.5, stratified=True).bind(8, torch.arange(8) % 2)
    assert orders(rs2.bind(8, torch.arange(8) % 2), 3) == orders(rs2, 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"indices": []}, "no indices to train on"),
        ({"indices": [1, 10]}, "index 10 is outside the data set of 10"),
        ({"indices": [1, -1]}, "index -1 is outside"),
        ({"indices": [1, 2, 1]}, "an index is repeated"),
        ({"indices": [0.9, 0.1]}, "whole numbers.*keep"),
        ({"indices": torch.ones(10, dtype=torch.bool)}, "not a mask"),
        ({"indices": ["a.png", "b.png"]}, "whole numbers.*str"),
        ({"indices": [[1], [2, 3]]}, r"must be \(k,\) whole numbers"),
        ({"indices": [[1, 2]]}, r"whole numbers, got \(1, 2\)"),
        ({"indices": [1, 2], "weights": torch.ones(3)}, r"weights of shape \(3,\) for 2 indices"),
        ({"indices": [1, 2], "weights": torch.tensor([1.0, -1])}, "finite and not negative"),
        ({"indices": [1, 2], "weights": torch.tensor([1.0, torch.nan])}, "finite and not negative"),
        ({"weights": torch.ones(3)}, r"for 10 indices"),
        ({"indices": [5]}, "example 5 is selected but cannot be read"),
    ],
)
def test_fixed_refuses(options, message):
    readable = torch.ones(10, dtype=torch.bool)
    readable[5] = False
    with pytest.raises(UsageError, match=message):
        Fixed(**options).bind(10, None, readable)
