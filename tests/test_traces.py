"""The five traces against hand-worked values, float64 and each other."""

import math

import pytest
import torch
from torch import Tensor

from datapruner.traces import LEAST_LOG, TRACES, measure

LOSS, MARGIN, ERROR, ENTROPY, SHIFT = range(5)


def exact(logits: Tensor, labels: Tensor, before: Tensor | None = None) -> Tensor:
    """Work the definitions out in float64, 1 - p_y summed from the others: (5, b)."""
    z = logits.double()
    log_p = z.log_softmax(1)
    p = log_p.exp()
    onehot = torch.nn.functional.one_hot(labels, z.shape[1]).bool()
    miss = p.masked_fill(onehot, 0)
    one_minus = miss.sum(1)
    floored = log_p.clamp_min(math.log(1e-8))
    terms = torch.where(p > 0, p * log_p, 0)
    # log1p, because log_softmax rounds to 0 where 1 - p_y is below float64's 1e-16 too
    own = torch.where(one_minus < 0.5, -torch.log1p(-one_minus), -log_p[onehot])
    terms[onehot] = -own * p[onehot]
    return torch.stack(
        [
            own,
            z[onehot] - z.masked_fill(onehot, -math.inf).amax(1),
            (one_minus.square() + miss.square().sum(1)).sqrt(),
            -terms.sum(1),
            torch.full_like(own, math.nan)
            if before is None
            else (p * (floored - before.double())).abs().sum(1),
        ]
    )


def test_two_classes_by_hand():
    # z = (ln 3, 0): p = (3/4, 1/4)
    rows, log_p = measure(torch.tensor([[math.log(3), 0.0]] * 2), torch.tensor([0, 1]))
    entropy = 0.75 * math.log(4 / 3) + 0.25 * math.log(4)
    expected = [
        [math.log(4 / 3), math.log(4)],
        [math.log(3), -math.log(3)],
        [math.sqrt(2) / 4, 3 * math.sqrt(2) / 4],
        [entropy, entropy],
    ]
    torch.testing.assert_close(rows[:4], torch.tensor(expected))
    assert rows[SHIFT].isnan().all()
    torch.testing.assert_close(log_p, torch.tensor([[0.75, 0.25]] * 2).log())


def test_three_classes_by_hand():
    # z = (ln 6, ln 3, 0): p = (0.6, 0.3, 0.1), label 1: p - onehot = (0.6, -0.7, 0.1)
    rows, _ = measure(torch.tensor([[math.log(6), math.log(3), 0.0]]), torch.tensor([1]))
    assert rows[LOSS].item() == pytest.approx(-math.log(0.3))
    assert rows[MARGIN].item() == pytest.approx(-math.log(2))
    assert rows[ERROR].item() == pytest.approx(math.sqrt(0.36 + 0.49 + 0.01))
    entropy = -(0.6 * math.log(0.6) + 0.3 * math.log(0.3) + 0.1 * math.log(0.1))
    assert rows[ENTROPY].item() == pytest.approx(entropy)


def test_shift_by_hand_and_at_its_floor():
    # p was (1/2, 1/2), is (3/4, 1/4): |3/4 ln(3/2)| + |1/4 ln(1/2)|
    before = torch.tensor([[0.5, 0.5]]).log()
    rows, _ = measure(torch.tensor([[math.log(3), 0.0]]), torch.tensor([0]), before)
    expected = 0.75 * math.log(1.5) + 0.25 * math.log(2)
    assert rows[SHIFT].item() == pytest.approx(expected)
    # From p = (1, e^-40), its second logarithm taken as log 1e-8, to (1/2, 1/2).
    _, before = measure(torch.tensor([[40.0, 0.0]]), torch.tensor([0]))
    assert before[0, 1].item() == pytest.approx(LEAST_LOG) == pytest.approx(math.log(1e-8))
    rows, _ = measure(torch.zeros(1, 2), torch.tensor([0]), before)
    assert rows[SHIFT].item() == pytest.approx(0.5 * math.log(2) + 0.5 * math.log(0.5e8))


@pytest.mark.parametrize("spread", [0.1, 1.0, 4.0])
@pytest.mark.parametrize("classes", [2, 3, 10, 100])
def test_against_float64(spread, classes):
    logits = spread * torch.randn(500, classes)
    labels = torch.randint(classes, (500,))
    earlier = measure(spread * torch.randn(500, classes), labels)[1]
    rows, _ = measure(logits, labels, earlier)
    reference = exact(logits, labels, earlier)
    # Where logits are equal up to rounding the margin is their difference, so an absolute part.
    torch.testing.assert_close(rows.double(), reference, rtol=2e-6, atol=1e-6 * spread)
    positive = [LOSS, ERROR, ENTROPY]  # no absolute part: small values keep their digits
    torch.testing.assert_close(rows[positive].double(), reference[positive], rtol=3e-6, atol=0)


@pytest.mark.parametrize("gap", [20.0, 40.0, 60.0, 80.0])
def test_easy_and_hopeless_examples_are_not_rounding_noise(gap):
    """1 - p_y = e^-80 is far below float32's 1e-7, and every trace still has its digits."""
    logits = torch.tensor([[gap, 0.0, 1.0], [gap / 2, -gap / 2, -gap / 2], [-gap, 0.0, -1.0]])
    labels = torch.zeros(3, dtype=torch.int64)
    rows, _ = measure(logits, labels)
    # e^x is as precise as x: half a unit in the last place of an 80 is 4e-6.
    torch.testing.assert_close(rows[:4].double(), exact(logits, labels)[:4], rtol=8e-6, atol=0)
    assert (rows[[LOSS, ERROR, ENTROPY], :2] > 0).all()


def test_the_easy_end_keeps_its_order():
    logits = torch.stack([torch.linspace(15, 80, 200), torch.zeros(200)], 1)
    rows, _ = measure(logits, torch.zeros(200, dtype=torch.int64))
    for trace in (LOSS, ERROR, ENTROPY):
        assert (rows[trace].diff() < 0).all(), TRACES[trace]


@pytest.mark.parametrize("scale", [0.0, 1e-30, 1.0, 100.0, 1e4, 1e30])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_finite_logits_give_finite_traces(scale, dtype):
    logits = (scale * torch.randn(200, 7)).to(dtype)
    labels = torch.randint(7, (200,))
    rows, log_p = measure(logits, labels, measure(logits.flip(0), labels)[1])
    assert rows.isfinite().all()
    assert log_p.isfinite().all()
    assert rows.dtype == log_p.dtype == torch.float32


def test_a_masked_class_is_as_if_it_were_not_there():
    logits = torch.randn(50, 4)
    labels = torch.randint(4, (50,))
    masked = torch.cat([logits, torch.full((50, 1), -math.inf)], 1)
    rows, log_p = measure(masked, labels, torch.zeros(50, 5))
    torch.testing.assert_close(rows[:4], measure(logits, labels)[0][:4])
    assert rows.isfinite().all()
    assert (log_p[:, 4] == LEAST_LOG).all()


def test_what_the_traces_say_of_each_other():
    logits, labels = 3 * torch.randn(1000, 5), torch.randint(5, (1000,))
    rows, _ = measure(logits, labels)
    assert ((rows[MARGIN] > 0) == (logits.argmax(1) == labels)).all()
    p_y = torch.exp(-rows[LOSS])
    assert (rows[ERROR] >= 1 - p_y - 1e-6).all()
    assert (rows[ERROR] <= math.sqrt(2) * (1 - p_y) + 1e-6).all()
    assert (rows[ENTROPY] <= math.log(5) + 1e-6).all()
    assert (rows[MARGIN] >= math.log(2) - rows[LOSS] - math.log(5)).all()
    two, _ = measure(logits[:, :2], labels % 2)
    torch.testing.assert_close(two[LOSS], torch.nn.functional.softplus(-two[MARGIN]))
    torch.testing.assert_close(two[ERROR], math.sqrt(2) * torch.sigmoid(-two[MARGIN]))
    moved, _ = measure(logits + 7, labels)
    torch.testing.assert_close(moved[:4], rows[:4], rtol=1e-4, atol=1e-5)
