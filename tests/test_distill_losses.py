"""Distillation: the losses by hand and by gradient, and the rule of the automatic weight."""

import math

import pytest
import torch
from torch.autograd import gradcheck

import datapruner as dp
from datapruner import UsageError
from datapruner.distill import decoupled_kl, logit_mse, softened_kl
from datapruner.distill_rules import auto_weight
from datapruner.teachers import disagreement

LOG2, LOG3 = math.log(2), math.log(3)


def rows(*values: tuple[float, ...]) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


# -- the losses ----------------------------------------------------------------------------------


def test_kl_by_hand():
    """Teacher (1/4, 3/4), student (1/2, 1/2): log 2 - 2 log 2 / 4 ... = 3/4 log 3 - log 2."""
    even, odd = rows((0.0, 0.0)), rows((0.0, LOG3))
    assert softened_kl(even, odd, 1.0).item() == pytest.approx(0.75 * LOG3 - LOG2)
    assert softened_kl(odd, even, 1.0).item() == pytest.approx(LOG2 - 0.5 * LOG3)  # not symmetric
    assert softened_kl(2 * even, 2 * odd, 2.0).item() == pytest.approx(4 * (0.75 * LOG3 - LOG2))


def test_mse_by_hand():
    assert logit_mse(rows((1.0, 0.0, 2.0)), rows((0.0, 0.0, 4.0))).item() == pytest.approx(5 / 3)


def test_kl_tends_to_half_of_mse_as_it_is_softened():
    student, teacher = torch.randn(2, 6, 5, dtype=torch.float64)
    student, teacher = (x - x.mean(1, keepdim=True) for x in (student, teacher))
    soft = softened_kl(student, teacher, 1e4)
    assert torch.allclose(soft, logit_mse(student, teacher) / 2, rtol=1e-3)


def test_dkd_by_hand():
    """Teacher (1/2, 1/4, 1/4), student (1/2, 1/3, 1/6), label 0: as sure, other classes differ."""
    teacher, student = rows((LOG2, 0.0, 0.0)), rows((LOG3, LOG2, 0.0))
    label = torch.tensor([0])
    others = 0.5 * math.log(0.5 / (2 / 3)) + 0.5 * math.log(0.5 / (1 / 3))
    assert decoupled_kl(student, teacher, label, 1.0).item() == pytest.approx(8 * others)
    # label 1: (1/4, 3/4) against (1/3, 2/3); and (2/3, 1/3) against (3/4, 1/4)
    label = torch.tensor([1])
    two_way = 0.25 * math.log(0.25 * 3) + 0.75 * math.log(0.75 * 1.5)
    others = 2 / 3 * math.log((2 / 3) / 0.75) + 1 / 3 * math.log((1 / 3) / 0.25)
    found = decoupled_kl(student, teacher, label, 1.0, target=2.0, others=3.0)
    assert found.item() == pytest.approx(2 * two_way + 3 * others)


def test_dkd_decouples_what_kl_couples():
    """KL = TCKD + (1 - p of the label) NCKD, the paper's equation, at any temperature."""
    student, teacher = torch.randn(2, 50, 7, dtype=torch.float64) * 3
    labels = torch.randint(0, 7, (50,))
    rest = 1 - (teacher / 4).softmax(1).gather(1, labels[:, None])[:, 0]
    target = decoupled_kl(student, teacher, labels, others=0.0)
    others = decoupled_kl(student, teacher, labels, target=0.0, others=1.0)
    assert torch.allclose(softened_kl(student, teacher), target + rest * others)


def test_dkd_of_two_classes_has_no_others():
    student, teacher = torch.randn(2, 5, 2, dtype=torch.float64)
    labels = torch.randint(0, 2, (5,))
    assert torch.allclose(decoupled_kl(student, teacher, labels), softened_kl(student, teacher))


@pytest.mark.parametrize("temperature", [1.0, 4.0])
@pytest.mark.parametrize("kind", ["kl", "mse", "dkd"])
def test_gradients_are_those_of_autograd(kind, temperature):
    student = torch.randn(4, 6, dtype=torch.float64, requires_grad=True)
    teacher, labels = torch.randn(4, 6, dtype=torch.float64), torch.randint(0, 6, (4,))
    losses = {
        "kl": lambda x: softened_kl(x, teacher, temperature),
        "mse": lambda x: logit_mse(x, teacher),
        "dkd": lambda x: decoupled_kl(x, teacher, labels, temperature),
    }
    assert gradcheck(losses[kind], student)


def test_the_gradient_of_kl_keeps_its_size_with_the_temperature():
    """Its gradient is T (softmax(z / T) - softmax(t / T)), about the same at high temperatures."""
    student, teacher = torch.randn(2, 4, 6, dtype=torch.float64)
    for temperature in (0.5, 2.0, 8.0):
        z = student.clone().requires_grad_()
        softened_kl(z, teacher, temperature).sum().backward()
        p, q = ((x / temperature).softmax(1) for x in (student, teacher))
        assert torch.allclose(z.grad, temperature * (p - q))


def test_the_rule_by_hand_and_its_course():
    assert auto_weight(1.0, 0.0) == auto_weight(0.05, 0.0) == 0.5
    assert auto_weight(0.025, 0.0) == pytest.approx(0.46)
    assert auto_weight(0.0001, 0.0) == 0.3
    assert auto_weight(0.1, 0.135) == pytest.approx(0.7)
    assert auto_weight(0.1, 0.02) == 0.5  # a good teacher's own errors
    assert auto_weight(0.1, 0.25) == auto_weight(0.001, 1.0) == 0.9
    shares = [auto_weight(f, 0.1) for f in (0.001, 0.01, 0.03, 0.1, 1.0)]
    noises = [auto_weight(0.02, n) for n in (0.0, 0.05, 0.1, 0.2, 0.25, 0.5)]
    for course in (shares, noises):
        assert course == sorted(course)
        assert 0.3 <= course[0] < course[-1] <= 0.9
    for fraction, noise in ((0.0, 0.1), (1.1, 0.1), (0.5, -0.1), (0.5, 1.1)):
        with pytest.raises(UsageError, match=r"must be shares in \[0, 1\]"):
            auto_weight(fraction, noise)


def test_disagreement_is_a_share_of_a_fixed_sample():
    long = dp.TensorLoader(
        dp.open_data(torch.utils.data.TensorDataset(torch.zeros(5000, 2), torch.arange(5000) % 2))
    )
    always_0 = lambda batch: torch.tensor([[1.0, 0.0]]).expand(len(batch.index), -1)  # noqa: E731
    found = disagreement(always_0, long)
    assert found == disagreement(always_0, long) == pytest.approx(0.5, abs=0.04)
    assert disagreement(always_0, long, torch.arange(0, 5000, 2)) == 0.0
    assert disagreement(always_0, long, torch.tensor([1, 1, 1, 2])) == 0.5  # each counts once
