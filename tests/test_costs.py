"""Counted cost by hand, and the forecast of seconds from it."""

import pytest
import torch
from torch import nn

import datapruner as dp
from datapruner.costs import Cost, Flops, count_flops, flops_of, saves, total, training_cost
from datapruner.forecast import Forecast, planned
from datapruner.history import Epoch, History
from datapruner.run import InfoBatchSpec, Run


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


def test_what_a_run_will_take():
    assert planned(Run(epochs=3, batch_size=10), 1.0, 95) == (285, 30)
    assert planned(Run(epochs=3, batch_size=10), 0.1, 95) == (30, 3)
    assert planned(Run(steps=12, batch_size=10), 1.0, 95) == (115, 12)
    run = Run(sampler=InfoBatchSpec(0.5), epochs=2, batch_size=10)
    assert 100 < planned(run, 1.0, 95)[0] < 190


def test_a_forecast_finds_the_prices():
    prices = (0.5, 0.01, 0.03, 0.002, 0.4)
    generator = torch.Generator().manual_seed(0)
    work = [
        (torch.rand(4, generator=generator) * torch.tensor([100.0, 500.0, 500.0, 900.0])).tolist()
        + [1.0]
        for _ in range(12)
    ]
    seconds = [sum(p * w for p, w in zip(prices, one, strict=True)) for one in work]
    model = Forecast.fit(list(zip(work[:9], seconds[:9], strict=True)))
    assert model.prices == pytest.approx(prices, rel=1e-3)
    for one, took in zip(work[9:], seconds[9:], strict=True):
        assert model.seconds(one) == pytest.approx(took, rel=1e-3)


def test_one_timed_run_is_enough_for_a_guess():
    model = Forecast.fit([((10.0, 100.0, 0.0, 0.0, 1.0), 5.0)])
    assert model.seconds((20.0, 200.0, 0.0, 0.0, 1.0)) == pytest.approx(10.0)
    assert min(model.prices) >= 0
