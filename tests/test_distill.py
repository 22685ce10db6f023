"""Distillation as a loss: its sum, what a weight of 0 or a schedule does, what it refuses."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import datapruner as dp
from datapruner import Batch, Refused, Run, UsageError
from datapruner.checkpoint import weights_hash
from datapruner.distill import softened_kl
from datapruner.distill_rules import auto_weight
from datapruner.losses import Adaptive, SmoothedCrossEntropy
from datapruner.noise import flip_labels

RUN = Run(model="mlp", epochs=3, lr=0.05)
LOG2, LOG3 = math.log(2), math.log(3)


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


class _Output(nn.Module):
    """Gives what many libraries' classifiers give."""

    def forward(self, x):
        return {"logits": x.flatten(1)[:, :10]}


class _Spoiled(nn.Module):
    def forward(self, x):
        return x.flatten(1)[:, :10] * float("nan")


def test_teachers_that_do_not_fit_are_refused_before_the_first_step(digits, loader, teacher):
    narrow = nn.Sequential(nn.Flatten(), nn.Linear(64, 7))
    wide = nn.Sequential(nn.Flatten(), nn.Linear(64, 12))
    for wrong, error, said in (
        (narrow, Refused, "has 7 classes, the labels go up to 9"),
        (nn.Linear(5, 10), Refused, r"cannot take examples of shape \(1, 8, 8\)"),
        (nn.Flatten(2), Refused, "not a row of logits"),
        (_Output(), Refused, "gives a dict, not a row of logits an example; wrap it"),
        (_Spoiled(), Refused, "gives logits that are not finite; its weights are spoiled"),
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
