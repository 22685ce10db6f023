"""Counted cost by hand."""

import pytest
import torch
from torch import nn

import datapruner as dp
from datapruner.costs import Cost, Flops, count_flops, flops_of, saves, total, training_cost
from datapruner.history import Epoch, History
from datapruner.run import Run


def test_operations_by_hand():
    """A multiplication and an addition are two; the first layer passes no gradient back."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 7), nn.ReLU(), nn.Linear(7, 3))
    found = count_flops(model, torch.zeros(4, 3, 4))
    assert found.forward == 2 * (12 * 7 + 7 * 3)
    assert found.backward == 2 * (12 * 7 + 2 * 7 * 3)
    conv = nn.Sequential(nn.Conv2d(2, 5, 3, padding=1), nn.Flatten(), nn.Linear(5 * 16, 3))
    found = count_flops(conv, torch.zeros(2, 2, 4, 4))
    assert found.forward == 2 * (2 * 5 * 9 * 16 + 80 * 3)


def test_the_network_of_a_run():
    digits = dp.open_data("digits")
    assert flops_of(Run(model="mlp"), digits).forward == 2 * (64 * 300 + 300 * 100 + 100 * 10)


def rows(*active):
    return History(
        [
            Epoch(e, 100 * (e + 1), 10 * (e + 1), 1.0, 0.5, 0.5, active=a)
            for e, a in enumerate(active)
        ]
    )


def test_active_weights_times_examples():
    flops = Flops(2.0, 4.0)
    dense = training_cost(rows(None, None), flops, 50, saves=False)
    assert dense == Cost(200, 20, 1200.0, 1200.0, 50 * 200)
    sparse = training_cost(rows(50, 10), flops, 50, saves=False)
    assert sparse.weights_examples == 50 * 100 + 10 * 100
    assert sparse.flops_possible == sparse.flops == 1200.0
    blocks = training_cost(rows(50, 10), flops, 50, saves=True)
    assert blocks.flops == 1200.0
    assert blocks.flops_possible == pytest.approx(600 + 600 * 10 / 50)
    assert total([dense, sparse]).weights_examples == 16_000


def test_single_weights_save_nothing():
    assert not saves("weight")
    assert saves("2:4")
