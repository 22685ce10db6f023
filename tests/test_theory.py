"""Ridge regression with a teacher: closed form, simulation, and what the paper says of it."""

import numpy as np
import pytest

from datapruner import UsageError
from datapruner.theory.ridge import Ridge, drawn

SHARES = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0)


@pytest.fixture(scope="module")
def settings() -> list[Ridge]:
    return [drawn(n=400, d=20, noise=0.3, penalty=10.0, seed=seed) for seed in range(5)]


@pytest.mark.parametrize(
    ("fraction", "teacher", "weight"),
    [(0.1, 1.0, 0.0), (0.1, 1.0, 0.6), (0.1, 0.1, 1.0), (0.5, 0.2, 0.8), (1.0, 1.0, 0.5)],
)
def test_the_simulation_agrees_with_the_closed_form(fraction, teacher, weight):
    setting, runs = drawn(n=120, d=6, noise=0.8, penalty=5.0, seed=1), 4000
    error = setting.error(fraction, teacher, weight)
    found = setting.simulate(fraction, teacher, weight, runs)
    distance = ((found - setting.theta) ** 2).sum(1)
    standard_error = distance.std() / runs**0.5
    assert abs(distance.mean() - error.total) < 4 * standard_error
    spread = ((found - found.mean(0)) ** 2).sum(1).mean()
    assert spread == pytest.approx(error.variance, rel=0.1)
    bias = ((found.mean(0) - setting.theta) ** 2).sum()
    assert abs(bias - error.bias) < 4 * (error.bias * error.variance / runs) ** 0.5 + 1e-3


def test_in_one_dimension_by_hand():
    """x = (1, 1), penalty 2: the teacher halves, a student of one example takes a third."""
    setting = Ridge(np.ones((2, 1)), np.array([1.0]), noise=1.0, penalty=2.0)
    alone, taught = setting.error(0.5, 1.0, 0.0), setting.error(0.5, 1.0, 1.0)
    assert alone == pytest.approx(((1 - 1 / 3) ** 2, 1 / 9))
    assert taught == pytest.approx(((1 - 1 / 6) ** 2, 2 * (1 / 3 * 1 / 4) ** 2))
    # the parabola through: bias (4/6 + w/6)^2, variance (1/3 - w/4)^2 + (w/12)^2
    assert setting.best_weight(0.5, 1.0) == 0.0
    loud = Ridge(setting.x, setting.theta, noise=2.0, penalty=2.0)
    slope, curve = 4 / 36 - 4 / 12, 1 / 36 + 4 * (1 / 16 + 1 / 144)
    assert loud.best_weight(0.5, 1.0) == pytest.approx(-slope / curve)


@pytest.mark.parametrize("weight", [0.3, 0.7, 1.0])
@pytest.mark.parametrize("fraction", [0.05, 0.1, 0.3])
def test_bias_and_error_fall_as_the_teacher_sees_more(settings, fraction, weight):
    shares = [share for share in SHARES if share >= fraction]
    for setting in settings:
        errors = [setting.error(fraction, share, weight) for share in shares]
        assert np.all(np.diff([error.bias for error in errors]) < 0)
        assert np.all(np.diff([error.total for error in errors]) < 0)


def test_the_best_weight_rises_as_fewer_examples_are_kept(settings):
    for setting in settings:
        weights = [setting.best_weight(fraction, 1.0) for fraction in (1.0, 0.7, 0.5, 0.2, 0.05)]
        assert np.all(np.diff(weights) > 0)
    assert weights[0] == 0.0  # a teacher that saw no more than the student only shrinks it twice


def test_the_best_weight_rises_with_noise(settings):
    for setting in settings:
        for fraction in (0.1, 0.5):
            weights = [
                Ridge(setting.x, setting.theta, noise, 10.0).best_weight(fraction, 1.0)
                for noise in (0.1, 0.2, 0.3, 0.5, 1.0)
            ]
            assert np.all(np.diff(weights) >= 0)
            assert weights[0] < 0.1 < 0.9 < weights[-1]


def test_the_best_weight_is_the_least_error_of_a_grid(settings):
    grid = np.linspace(0, 1, 201)
    for fraction, teacher in ((0.1, 1.0), (0.3, 0.5), (0.5, 1.0)):
        errors = [settings[0].error(fraction, teacher, weight).total for weight in grid]
        best = settings[0].best_weight(fraction, teacher)
        assert abs(grid[int(np.argmin(errors))] - best) <= 0.005


@pytest.mark.parametrize(
    ("fraction", "weight", "said"),
    [(0.0, 0.5, "is no share"), (1.2, 0.5, "is no share"), (0.1, 1.5, r"must be in \[0, 1\]")],
)
def test_what_is_no_share_is_refused(settings, fraction, weight, said):
    with pytest.raises(UsageError, match=said):
        settings[0].error(fraction, 1.0, weight)


def test_what_is_no_setting_is_refused():
    with pytest.raises(UsageError, match="must be above 0"):
        drawn(10, 2, 0.1, 0.0)
    with pytest.raises(UsageError, match=r"must be \(n, d\) and \(d,\)"):
        Ridge(np.ones((3, 2)), np.ones(3), 0.1, 1.0)
