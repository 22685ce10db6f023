"""Distillation: the losses by hand and by gradient, and what a weight of 0 or a schedule does."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.autograd import gradcheck
from torch.nn import functional

import datapruner as dp
from datapruner import Batch, Refused, Run, UsageError
from datapruner.checkpoint import weights_hash
from datapruner.data import Data
from datapruner.distill import decoupled_kl, logit_mse, softened_kl
from datapruner.distill_rules import auto_weight
from datapruner.losses import Adaptive, SmoothedCrossEntropy
from datapruner.noise import flip_labels
from datapruner.teachers import disagreement

RUN = Run(model="mlp", epochs=3, lr=0.05)
LOG2, LOG3 = math.log(2), math.log(3)


@pytest.fixture(scope="module")
def digits() -> Data:
    return dp.open_data("digits")


@pytest.fixture(scope="module")
def loader(digits) -> dp.TensorLoader:
    return dp.TensorLoader(digits)


@pytest.fixture(scope="module")
def teacher(digits, loader) -> nn.Module:
    model = dp.make_model("mlp", 10, digits.shape, seed=9)
    dp.fit(model, loader, None, Run(epochs=10, lr=0.05, seed=9))
    return model


def trained(digits, loader, run: Run = RUN, sampler=None, **options) -> str:
    model = dp.make_model("mlp", 10, digits.shape)
    dp.fit(model, loader, sampler, run, **options)
    return weights_hash(model)


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


@pytest.mark.parametrize("kind", ["kl", "mse", "dkd"])
def test_sure_and_hopeless_rows_stay_finite(kind):
    student, teacher = torch.tensor([[300.0, -300.0, 0.0]]), torch.tensor([[-300.0, 300.0, 0.0]])
    student.requires_grad_()
    lesson = dp.Distill(_Fixed(teacher), 0.5, kind=kind).bind(1.0, _loader())
    loss = lesson(student, Batch(torch.tensor([0]), torch.zeros(1, 2), torch.tensor([0])))
    loss.sum().backward()
    assert loss.isfinite().all()
    assert student.grad.isfinite().all()


# -- the loss as a whole -------------------------------------------------------------------------


class _Fixed:
    """A teacher that says the same of every example."""

    fingerprint, views_seen = "00", "said"

    def __init__(self, logits: torch.Tensor) -> None:
        self.logits, self.asked = logits, 0

    def bind(self, loader):
        return self

    def __call__(self, batch):
        self.asked += 1
        return self.logits.expand(len(batch.index), -1)


def _loader() -> dp.TensorLoader:
    pairs = torch.utils.data.TensorDataset(torch.zeros(4, 2), torch.arange(4) % 3)
    return dp.TensorLoader(dp.open_data(pairs))


BATCH = Batch(torch.arange(2), torch.zeros(2, 2), torch.tensor([1, 2]))
LOGITS = torch.tensor([[0.3, -1.0, 2.0], [0.0, 0.5, -0.5]])


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weight", [0.0, 0.25, 1.0])
def test_a_row_is_the_sum_that_the_docstring_says(weight, smoothing):
    said = torch.tensor([[2.0, 0.0, -1.0]])
    lesson = dp.Distill(_Fixed(said), weight, 2.0, label_smoothing=smoothing).bind(0.1, _loader())
    found = lesson(LOGITS, BATCH, 0.0)
    hard = functional.cross_entropy(LOGITS, BATCH.y, reduction="none", label_smoothing=smoothing)
    p, q = (said / 2).softmax(1), (LOGITS / 2).softmax(1)
    soft = 4 * (p * (p.log() - q.log())).sum(1)
    assert found.dtype == torch.float32
    assert torch.allclose(found, (1 - weight) * hard + weight * soft, atol=1e-6)


def test_half_precision_logits_give_float32_losses():
    lesson = dp.Distill(_Fixed(LOGITS[:1]), 0.5).bind(0.1, _loader())
    assert lesson(LOGITS.bfloat16(), BATCH).dtype == torch.float32


def test_a_function_is_given_fraction_and_progress():
    teacher, given = _Fixed(LOGITS[:1]), []

    def weight(fraction: float, progress: float) -> float:
        given.append((fraction, progress))
        return progress

    lesson = dp.Distill(teacher, weight).bind(0.1, _loader())
    plain = dp.cross_entropy(LOGITS, BATCH)
    assert torch.equal(lesson(LOGITS, BATCH, 0.0), plain)
    assert teacher.asked == 0  # at 0 it is not even asked
    soft = softened_kl(LOGITS, LOGITS[:1].expand(2, -1))
    assert torch.allclose(lesson(LOGITS, BATCH, 1.0), soft)
    assert torch.allclose(lesson(LOGITS, BATCH, 0.5), (plain + soft) / 2)
    assert given == [(0.1, 0.0), (0.1, 1.0), (0.1, 0.5)]


def test_a_function_that_leaves_the_range_is_refused():
    lesson = dp.Distill(_Fixed(LOGITS[:1]), lambda fraction, progress: 2.0).bind(0.1, _loader())
    with pytest.raises(UsageError, match=r"weight\(0.1, 0.5\) is 2.0, not in \[0, 1\]"):
        lesson(LOGITS, BATCH, 0.5)


# -- training ------------------------------------------------------------------------------------


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_weight_0_is_plain_training_bit_for_bit(digits, loader, teacher, smoothing):
    run = Run(model="mlp", epochs=3, lr=0.05, label_smoothing=smoothing)
    plain = trained(digits, loader, run, dp.RS2(0.2))
    for weight in (0.0, lambda fraction, progress: 0.0):
        loss = dp.Distill(teacher, weight, label_smoothing=smoothing)
        assert trained(digits, loader, run, dp.RS2(0.2), loss=loss) == plain
    loss = dp.Distill(teacher, 0.1, label_smoothing=smoothing)
    assert trained(digits, loader, run, dp.RS2(0.2), loss=loss) != plain


def test_weight_0_asks_no_teacher(digits, loader):
    class Never(nn.Module):
        def forward(self, x):
            raise AssertionError("asked")

    loss = dp.Distill(Never(), 0.0)
    assert trained(digits, loader, loss=loss) == trained(digits, loader)


def test_the_teacher_is_in_eval_mode_without_gradients_and_is_put_back(digits, loader):
    class Spy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.last, self.modes = nn.BatchNorm2d(1), nn.Linear(64, 10), []

        def forward(self, x):
            self.modes.append((self.training, self.norm.training, torch.is_grad_enabled()))
            return self.last(self.norm(x).flatten(1))

    spy = Spy()
    spy.train()
    spy.norm.eval()  # parts may be in other modes than the whole
    before = weights_hash(spy)
    trained(digits, loader, loss=dp.Distill(spy, 0.5))
    assert set(spy.modes) == {(False, False, False)}
    assert (spy.training, spy.norm.training, spy.last.training) == (True, False, True)
    assert weights_hash(spy) == before
    assert all(p.grad is None and p.requires_grad for p in spy.parameters())


def test_a_teacher_helps_on_a_small_part(digits, loader, teacher):
    kept = dp.Fixed(dp.keep(torch.zeros(digits.n), 0.05, rule="random"))
    test = dp.TensorLoader(dp.open_data("digits", "test"), normalise=loader.normalise)
    run = Run(model="mlp", epochs=60, lr=0.05, batch_size=32)
    found = {}
    for weight in (0.0, 0.5):
        found[weight] = np.mean(
            [
                _accuracy(digits, loader, kept, run, seed, dp.Distill(teacher, weight), test)
                for seed in range(3)
            ]
        )
    assert found[0.5] > found[0.0] + 0.01


def _accuracy(digits, loader, kept, run, seed, loss, test) -> float:
    model = dp.make_model("mlp", 10, digits.shape, seed=seed)
    dp.fit(model, loader, kept, run, loss=loss)
    return dp.evaluate(model, test)


@pytest.mark.parametrize("sampler", [dp.RS2(0.3), dp.InfoBatch(3), None])
def test_samplers_weigh_the_whole_loss(digits, loader, teacher, sampler):
    """The sum that fit minimises is (weight * losses).mean(): InfoBatch's weights come on top."""
    seen = []

    class Watch:
        def observe(self, epoch, batch, logits, losses):
            target = teacher(batch.x)
            hard = functional.cross_entropy(logits, batch.y, reduction="none")
            seen.append((losses - (hard + softened_kl(logits, target)) / 2).abs().max())

        def end_epoch(self, epoch): ...

        def resume(self, epoch): ...

    loss = dp.Distill(teacher, 0.5)
    with torch.no_grad():
        teacher.eval()
    trained(digits, loader, sampler=sampler, loss=loss, observers=[Watch()])
    assert max(seen) < 1e-4


def test_fit_binds_the_share_of_the_first_epoch(digits, loader, teacher):
    shares = []
    loss = dp.Distill(teacher, lambda fraction, progress: shares.append(fraction) or 0.5)
    trained(digits, loader, sampler=dp.RS2(0.25), loss=loss)
    assert len(set(shares)) == 1
    assert shares[0] == pytest.approx(0.25, abs=1e-3)
    assert isinstance(loss, Adaptive)


# -- the automatic weight ------------------------------------------------------------------------


def test_auto_takes_the_fraction_and_the_disagreement_on_what_is_kept(digits, teacher):
    spoiled, wrong = flip_labels(digits, 0.3)
    loader, rows = dp.TensorLoader(spoiled), torch.arange(digits.n)
    for order, low, high in ((rows, 0.25, 0.36), (rows[wrong], 0.97, 1.0), (rows[~wrong], 0, 0.05)):
        lesson = dp.Distill(teacher).bind(0.3, loader, order)
        assert low <= lesson.about["noise"] <= high
        assert lesson.weight == auto_weight(0.3, lesson.about["noise"])
    assert dp.Distill(teacher, noise=0.2).bind(0.3, loader).weight == auto_weight(0.3, 0.2)


def test_the_rule_by_hand_and_its_course():
    assert auto_weight(1.0, 0.0) == auto_weight(0.05, 0.0) == 0.5
    assert auto_weight(0.025, 0.0) == pytest.approx(0.46)
    assert auto_weight(0.0001, 0.0) == 0.3
    assert auto_weight(0.1, 0.125) == pytest.approx(0.7)
    assert auto_weight(0.1, 0.25) == auto_weight(0.001, 1.0) == 0.9
    shares = [auto_weight(f, 0.1) for f in (0.001, 0.01, 0.03, 0.1, 1.0)]
    noises = [auto_weight(0.02, n) for n in (0.0, 0.05, 0.1, 0.2, 0.25, 0.5)]
    for course in (shares, noises):
        assert course == sorted(course)
        assert 0.3 <= course[0] < course[-1] <= 0.9
    for fraction, noise in ((0.0, 0.1), (1.1, 0.1), (0.5, -0.1), (0.5, 1.1)):
        with pytest.raises(UsageError, match=r"must be shares in \[0, 1\]"):
            auto_weight(fraction, noise)


def test_disagreement_is_a_share_of_a_fixed_sample(digits, loader):
    long = dp.TensorLoader(
        dp.open_data(torch.utils.data.TensorDataset(torch.zeros(5000, 2), torch.arange(5000) % 2))
    )
    always_0 = lambda batch: torch.tensor([[1.0, 0.0]]).expand(len(batch.index), -1)  # noqa: E731
    found = disagreement(always_0, long)
    assert found == disagreement(always_0, long) == pytest.approx(0.5, abs=0.04)
    assert disagreement(always_0, long, torch.arange(0, 5000, 2)) == 0.0
    assert disagreement(always_0, long, torch.tensor([1, 1, 1, 2])) == 0.5  # each counts once


# -- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"weight": 1.5}, r"weight must be in \[0, 1\] or auto, not 1.5"),
        ({"weight": -0.1}, r"weight must be in \[0, 1\]"),
        ({"weight": float("nan")}, r"weight must be in \[0, 1\]"),
        ({"weight": "autom"}, "did you mean 'auto'"),
        ({"weight": None}, r"weight must be in \[0, 1\] or auto, not None"),
        ({"temperature": 0}, "temperature must be above 0"),
        ({"temperature": "4"}, "temperature must be above 0, not 4"),
        ({"temperature": float("inf")}, "temperature must be above 0"),
        ({"kind": "dk"}, "did you mean 'dkd'"),
        ({"kind": "mse", "temperature": 2.0}, "without a temperature"),
        ({"label_smoothing": 1.0}, r"label_smoothing must be in \[0, 1\)"),
        ({"noise": 2.0}, r"noise must be a share in \[0, 1\]"),
    ],
)
def test_values_out_of_range_are_refused(options, said):
    with pytest.raises(UsageError, match=said):
        dp.Distill(nn.Linear(2, 2), **options)


@pytest.mark.parametrize("given", ["runs/full", 3, None])
def test_what_is_no_teacher_is_refused(given):
    with pytest.raises(UsageError, match=r"is no teacher; give a network"):
        dp.Distill(given)


def test_teachers_that_do_not_fit_are_refused_before_the_first_step(digits, loader, teacher):
    narrow = nn.Sequential(nn.Flatten(), nn.Linear(64, 7))
    wide = nn.Sequential(nn.Flatten(), nn.Linear(64, 12))
    for wrong, error, said in (
        (narrow, Refused, "has 7 classes, the labels go up to 9"),
        (nn.Linear(5, 10), Refused, r"cannot take examples of shape \(1, 8, 8\)"),
        (nn.Flatten(2), Refused, "not a row of logits"),
        ([teacher, wide], Refused, "teachers of 10, 12 classes make no ensemble"),
        ([], UsageError, "an ensemble of no teacher"),
        (wide, UsageError, "gives 12 logits an example, the network 10"),
    ):
        model = dp.make_model("mlp", 10, digits.shape)
        before = weights_hash(model)
        with pytest.raises(error, match=said):
            dp.fit(model, loader, None, RUN, loss=dp.Distill(wrong, 0.5))
        assert weights_hash(model) == before


def test_an_ensemble_is_the_mean_of_logits(digits, loader, teacher):
    other = dp.make_model("mlp", 10, digits.shape, seed=4)
    asked = dp.Distill([teacher, other], 0.5).teacher.bind(loader)
    batch = next(loader(torch.arange(5)))
    with torch.no_grad():
        mean = (teacher.eval()(batch.x) + other.eval()(batch.x)) / 2
    assert torch.allclose(asked(batch), mean, atol=1e-6)


def test_smoothing_is_that_of_the_plain_loss():
    lesson = dp.Distill(_Fixed(LOGITS[:1]), 0.0, label_smoothing=0.2).bind(0.1, _loader())
    assert torch.equal(lesson(LOGITS, BATCH), SmoothedCrossEntropy(0.2)(LOGITS, BATCH))
