"""Schedules at work: how dense the network is when, what goes, and what comes back."""

import pytest
import torch
from masked_runs import fitted, zeros
from torch import nn

import datapruner as dp
from datapruner.masks import average_active


@pytest.fixture(scope="module")
def digits() -> dp.Data:
    return dp.open_data("digits")


def test_the_mean_of_active_weights_is_that_of_the_ramp(digits):
    """Linear from a quarter to three quarters: N̄ / N = (1 + d) / 2."""
    weights = dp.WeightPruning(0.2, schedule="linear")
    _, history = fitted(digits, weights, run=dp.Run(model="mlp", epochs=10, batch_size=64))
    share = (average_active(history) - 410) / 50200
    assert share == pytest.approx(0.6, abs=0.01)


def test_a_schedule_means_the_same_on_a_tenth_of_the_data(digits):
    weights = dp.WeightPruning(0.1, schedule="cubic")
    few = dp.Run(model="mlp", epochs=10, batch_size=16)
    model = dp.make_model("mlp", digits.num_classes, digits.shape)
    loader = dp.TensorLoader(digits, 16, augment="none")
    history = dp.fit(model, loader, dp.RS2(0.1), few, masks=weights)
    other, many = fitted(digits, weights, run=dp.Run(model="mlp", epochs=10, batch_size=128))
    for one, two in zip(history.epochs, many.epochs, strict=True):
        assert one.active == pytest.approx(two.active, rel=0.08)
    assert zeros(model) == zeros(other)


def test_a_ramp_only_ever_removes_and_a_staircase_lets_weights_return(digits):
    for schedule, returns in (("cubic", False), ("staircase", True)):
        model = dp.make_model("mlp", digits.num_classes, digits.shape)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
        spec = dp.WeightPruning(0.2, schedule=schedule, begin=0.0, end=1.0, every=0.2)
        pruning = dp.masks.attach(model, optimizer, spec)
        pruning.begin()
        gone = torch.zeros_like(model.fc1.weight, dtype=torch.bool)
        came_back = False
        for step in range(10):
            x = torch.rand(32, *digits.shape)
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), torch.arange(32) % 10).backward()
            pruning.before_step(step / 10)
            optimizer.step()
            came_back |= bool((model.fc1.weight[gone] != 0).any())
            pruning.after_step((step + 1) / 10)
            gone |= model.fc1.weight == 0
        assert came_back == returns
        assert zeros(model) == 50200 - 10040


def test_rigl_drops_the_smallest_and_grows_the_highest_dense_gradient():
    model = nn.Linear(4, 1, bias=False)
    model.weight.data.copy_(torch.tensor([[3.0, 1.0, 0.1, 0.2]]))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0, momentum=0.9)
    spec = dp.WeightPruning(0.5, schedule="rigl", begin=0.0, end=1.0, every=0.1, replaced=0.5)
    pruning = dp.masks.attach(model, optimizer, spec)
    pruning.begin()
    assert model.weight.tolist() == [[3, 1, 0, 0]]
    model.weight.grad = torch.tensor([[9.0, 0.0, 1.0, -2.0]])
    pruning.before_step(0.1)
    assert model.weight.tolist() == [[3, 0, 0, 0]]
    assert pruning.masks["weight"].tolist() == [[True, False, False, True]]
    assert model.weight.grad.tolist() == [[9, 0, 0, -2]]


def test_rigl_keeps_n_of_m_and_exchanges_in_the_weakest_cells():
    model = nn.Linear(8, 1, bias=False)
    model.weight.data.copy_(torch.tensor([[4.0, 3.0, 0.0, 0.0, 2.0, 1.0, 0.0, 0.0]]))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    spec = dp.WeightPruning(0.5, pattern="2:4", schedule="rigl", end=1.0, every=0.1, replaced=0.25)
    pruning = dp.masks.attach(model, optimizer, spec)
    pruning.begin()
    model.weight.grad = torch.tensor([[0.0, 0.0, 5.0, 0.0, 0.0, 0.0, 1.0, 2.0]])
    pruning.before_step(0.1)
    assert pruning.masks["weight"].int().tolist() == [[1, 1, 0, 0, 1, 0, 0, 1]]


def test_a_soft_mask_is_the_sigmoid_of_squares_over_the_temperature():
    """Norms 1 and 2 at the edge: t² = 2.25; a weight of 1 passes σ((1 - 2.25) / τ) of itself."""
    model = nn.Linear(2, 1, bias=False)
    model.weight.data.copy_(torch.tensor([[1.0, -2.0]]))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    spec = dp.WeightPruning(0.5, schedule="soft", begin=0.0, end=0.5, temperature=2.0)
    pruning = dp.masks.attach(model, optimizer, spec)
    pruning.begin()
    pruning.after_step(0.5)
    soft = torch.sigmoid((model.weight.detach().square() - 2.25) / 2)
    out = pruning.forward(torch.tensor([[1.0, 1.0]]))
    assert out.item() == pytest.approx((soft * model.weight).sum().item())
    out.sum().backward()
    w = model.weight.detach()
    slope = soft + w * soft * (1 - soft) * 2 * w / 2  # through the mask too
    assert torch.allclose(model.weight.grad, slope)
    assert pruning.finalize()["weight"].tolist() == [[False, True]]
