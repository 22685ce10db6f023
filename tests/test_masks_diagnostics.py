"""Recall distortion, spectra, dead units: by hand, by property, and against wrong
variants that a careless reading would give."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import datapruner as dp
from datapruner.history import Epoch, History
from datapruner.masks import (
    dead_units,
    norm_product,
    recall_distortion,
    recall_distortion_of,
    silent_units,
    spectral_report,
    weights_times_rows,
)

# Three classes of ten. Right before: 10, 9, 8 (accuracy .9); after: 9, 8, 4 (accuracy .7).
LABELS = torch.arange(3).repeat_interleave(10)


def predictions(right: tuple[int, ...]) -> torch.Tensor:
    """Predict so many of each class right, the others as the class after."""
    own = [
        torch.cat([torch.full((k,), c), torch.full((10 - k,), (c + 1) % 3)])
        for c, k in enumerate(right)
    ]
    return torch.cat(own)


def test_recall_distortion_by_hand():
    found = recall_distortion(LABELS, predictions((10, 9, 8)), predictions((9, 8, 4)))
    assert found.classes == (0, 1, 2)
    assert (found.accuracy, found.accuracy_after) == pytest.approx((0.9, 0.7))
    assert found.recall == pytest.approx((1.0, 0.9, 0.8))
    assert found.recall_after == pytest.approx((0.9, 0.8, 0.4))
    assert found.balance == pytest.approx((1 / 9, 0, -1 / 9))
    assert found.balance_after == pytest.approx((2 / 7, 1 / 7, -3 / 7))
    first, none, last = found.intensification
    assert (first, last) == pytest.approx((18 / 7, 27 / 7))
    assert none is None, "a class with no gap before has no ratio"
    assert found.alpha == pytest.approx((2 / 63 + 3 / 63) / (2 / 81))
    assert found.alpha > 1, "the gaps widened"


def test_alpha_is_no_mean_of_ratios_and_no_regression_with_an_intercept():
    """A class near the accuracy has a tiny balance and a huge ratio; the slope hardly feels it."""
    labels = torch.arange(3).repeat_interleave(100)

    def predict(right):
        parts = [torch.full((100,), (c + 1) % 3) for c in range(3)]
        for c, k in enumerate(right):
            parts[c][:k] = c
        return torch.cat(parts)

    found = recall_distortion(labels, predict((95, 85, 91)), predict((90, 80, 70)))
    b, a = np.array(found.balance), np.array(found.balance_after)
    slope = float((a * b).sum() / (b * b).sum())
    mean_of_ratios = float(np.mean(a / b))
    ratio_of_sizes = float(np.abs(a).sum() / np.abs(b).sum())
    reversed_slope = float((a * b).sum() / (a * a).sum())
    unnormalised = slope * found.accuracy_after / found.accuracy
    assert found.alpha == pytest.approx(slope)
    for wrong in (mean_of_ratios, ratio_of_sizes, reversed_slope, unnormalised):
        assert abs(found.alpha - wrong) > 0.05


@given(st.lists(st.integers(2, 9), min_size=3, max_size=3), st.integers(1, 2))
def test_alpha_of_a_network_with_itself_is_one(right, scale):
    before = predictions(tuple(right))
    found = recall_distortion(LABELS.repeat(scale), before.repeat(scale), before.repeat(scale))
    assert sum(found.balance) == pytest.approx(0), "on balanced data"
    if len(set(right)) == 1:
        assert found.alpha is None
        assert set(found.intensification) == {None}
    else:
        assert found.alpha == pytest.approx(1)


def test_alpha_does_not_depend_on_the_order_of_examples_or_on_names():
    before, after = predictions((10, 9, 8)), predictions((9, 8, 4))
    shuffled = torch.randperm(30)
    alpha = recall_distortion(LABELS, before, after).alpha
    again = recall_distortion(
        LABELS[shuffled] * 7 + 3, before[shuffled] * 7 + 3, after[shuffled] * 7 + 3
    )
    assert again.alpha == pytest.approx(alpha)
    assert again.classes == (3, 10, 17)


def test_alpha_says_when_it_is_not_to_be_trusted():
    big = torch.arange(3).repeat_interleave(1000)
    wrong = torch.rand(3000) < 0.05
    before = torch.where(wrong, (big + 1) % 3, big)
    assert recall_distortion(big, before, before).warnings == ()
    worse = torch.where(torch.rand(3000) < 0.3, (big + 1) % 3, big)
    assert ["accuracy fell" in w for w in recall_distortion(big, before, worse).warnings] == [True]
    few = big.clone()
    few[:20] = 1
    assert ["only 20 test errors" in w for w in recall_distortion(big, few, few).warnings] == [True]
    uneven = torch.cat([big, torch.zeros(2000, dtype=torch.int64)])
    before = torch.cat([before, torch.zeros(2000, dtype=torch.int64)])
    (doubt,) = recall_distortion(uneven, before, before).warnings
    assert "1000 to 3000 test examples" in doubt


def test_the_line_where_accuracy_has_fallen_too_far():
    labels = torch.arange(2).repeat_interleave(500)

    def predict(right):
        part = [torch.where(torch.arange(500) < right, c, 1 - c) for c in (0, 1)]
        return torch.cat(part)

    fine = recall_distortion(labels, predict(450), predict(360)).warnings  # .72 = .8 x .9
    fallen = recall_distortion(labels, predict(450), predict(359)).warnings
    assert (len(fine), len(fallen)) == (0, 1)


def test_recall_distortion_of_a_pruned_training_set():
    """The same numbers whether weights or data were pruned: only predictions are compared."""
    data, test = dp.open_data("digits"), dp.open_data("digits", "test")
    loader, run = dp.TensorLoader(test), dp.Run(model="mlp", epochs=1, seed=0)
    networks = []
    for kept in (None, torch.arange(0, data.n, 5)):
        model = dp.make_model("mlp", 10, data.shape, seed=0)
        dp.fit(model, dp.TensorLoader(data), dp.Fixed(kept), run)
        networks.append(model)
    found = recall_distortion_of(*networks, loader)
    assert found.accuracy == pytest.approx(dp.evaluate(networks[0], loader))
    assert found.accuracy_after == pytest.approx(dp.evaluate(networks[1], loader))
    assert math.isfinite(found.alpha)
    assert found.warnings, "digits has too few test errors, and it says so"


@pytest.mark.parametrize(
    ("labels", "before", "after", "says"),
    [
        ([0, 1], [0, 1], [0], "same examples"),
        ([], [], [], "whole numbers|same examples"),
        ([0, 1], [1, 0], [0, 1], "nothing is right before"),
        ([0, 1], [0, 1], [1, 0], "nothing is right after"),
        ([0, 1], [0.0, 1.0], [0, 1], "take argmax"),
        ([0, 1], [[0, 1]], [0, 1], "take argmax"),
    ],
)
def test_recall_distortion_refuses(labels, before, after, says):
    with pytest.raises(dp.UsageError, match=says):
        recall_distortion(torch.tensor(labels), torch.tensor(before), torch.tensor(after))


# -- spectra, dead units, joint cost ---------------------------------------------------------------


def test_spectra_by_hand():
    model = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Conv2d(1, 2, (2, 2), bias=False))
    with torch.no_grad():
        model[0].weight.copy_(torch.diag(torch.tensor([6.0, 3.0, 2.0])))
        model[1].weight.copy_(torch.tensor([[3.0, 4, 0, 0], [0, 0, 6, 8]]).view(2, 1, 2, 2))
    report = spectral_report(model)
    first, second = report["0.weight"], report["1.weight"]
    assert (first.norm, first.condition, first.rank) == pytest.approx((6, 3, 3))
    assert (second.norm, second.smallest, second.full_rank) == pytest.approx((10, 5, 2))
    assert second.bound == pytest.approx(20), "a pixel is read by up to four places of the kernel"
    assert norm_product(report) == pytest.approx(120)
    dead = spectral_report(model, {"0.weight": torch.tensor([[True] * 3, [False] * 3, [True] * 3])})
    assert (dead["0.weight"].rank, dead["0.weight"].condition) == pytest.approx((2, 3))
    with torch.no_grad():
        model[0].weight.zero_()
    assert spectral_report(model)["0.weight"].rank == 0
    assert spectral_report(model)["0.weight"].condition == math.inf


@given(st.integers(0, 20))
def test_a_convolution_never_stretches_beyond_its_bound(seed):
    torch.manual_seed(seed)
    conv = nn.Conv2d(2, 3, 3, padding=1, bias=False)
    x = torch.randn(8, 2, 5, 5)
    with torch.no_grad():
        stretch = (conv(x).flatten(1).norm(dim=1) / x.flatten(1).norm(dim=1)).max()
    assert stretch <= spectral_report(conv)["weight"].bound


def test_dead_units_by_hand():
    model = nn.Sequential(nn.Conv2d(2, 3, 2, bias=False), nn.Linear(2, 2))
    mask = torch.ones(3, 2, 2, 2, dtype=torch.bool)
    mask[1] = False
    mask[:, 0] = False
    mask[2, 0, 0, 0] = True
    found = dead_units(model, {"0.weight": mask})
    assert (found["0.weight"].units, found["0.weight"].fed_by_nothing) == (3, 1)
    assert (found["0.weight"].inputs, found["0.weight"].unread) == (2, 0)
    assert (found["1.weight"].fed_by_nothing, found["1.weight"].unread) == (0, 0)
    with torch.no_grad():
        model[1].weight.copy_(torch.tensor([[0.0, 0.0], [0.0, 5.0]]))
    assert (dead_units(model)["1.weight"].fed_by_nothing, dead_units(model)["1.weight"].unread) == (
        1,
        1,
    )


class Twice(nn.Module):
    """One ReLU that is used twice, at two widths, as torchvision's bottleneck does."""

    def __init__(self):
        super().__init__()
        self.flatten, self.relu = nn.Flatten(), nn.ReLU()
        self.a, self.b, self.c = nn.Linear(64, 3), nn.Linear(3, 5), nn.Linear(5, 10)
        self.a.bias.data = torch.tensor([100.0, -100.0, 100.0])
        self.b.bias.data = torch.tensor([1000.0, 1000.0, -1000.0, -1000.0, -1000.0])

    def forward(self, x):
        return self.c(self.relu(self.b(self.relu(self.a(self.flatten(x))))))


def test_silent_units_by_hand():
    test = dp.open_data("digits", "test")
    loader = dp.TensorLoader(test)
    model = Twice().train()
    assert silent_units(model, loader) == {"relu": (1, 3), "relu#2": (3, 5)}
    assert silent_units(model, loader, torch.arange(3)) == {"relu": (1, 3), "relu#2": (3, 5)}
    assert model.training
    assert not model.relu._forward_hooks, "nothing is left behind"
    with pytest.raises(dp.UsageError, match="no nn.ReLU"):
        silent_units(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), loader)


def test_weights_times_rows_follows_the_ramp():
    """Dense to 25 %, linearly down to d at 75 %, then d: the mean is (1 + d) / 2 (Jin et al.)."""
    density, weights, epochs = 0.2, 1000, 400
    middle = [(e + 0.5) / epochs for e in range(epochs)]
    active = [weights * (1 - (1 - density) * min(1, max(0, 2 * t - 0.5))) for t in middle]
    rows = [Epoch(e, 60 * (e + 1), e + 1, 1.0, 0.5, 0.5, active=a) for e, a in enumerate(active)]
    history = History(rows)
    assert weights_times_rows(history) / history.examples == pytest.approx(weights * 0.6, rel=1e-6)
    assert dp.masks.average_active(history) == pytest.approx(weights * 0.6, rel=1e-6)


def test_weights_times_rows_counts_rows_not_epochs():
    history = History(
        [Epoch(0, 100, 10, 1.0, 0.5, 0.5, active=10.0), Epoch(1, 120, 12, 1.0, 0.5, 0.5)]
    )
    assert weights_times_rows(history, dense=40) == 100 * 10 + 20 * 40
    with pytest.raises(dp.UsageError, match="epoch 1 ran without masks"):
        weights_times_rows(history)
