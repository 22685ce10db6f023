"""Distillation on pruned data in ridge regression: closed form, simulation, and the best weight.

Inputs x in R^d, labels y = x . theta + noise. The teacher is the ridge solution on a share f_t of
the examples; the student that on a share f of them, whose targets are weight * teacher(x) +
(1 - weight) * y. Both are linear in the labels, so bias and variance for given inputs are exact:
the model in which Ben-Baruch et al. 2024 explain what a teacher gives. The examples of the smaller
share are among those of the larger one, as a kept subset is among those its teacher saw.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import UsageError

Array = NDArray[np.float64]


class Error(NamedTuple):
    """What a student's estimate of theta is off by, in expectation over the noise of the labels.

    Attributes:
        bias: squared distance of its mean from theta.
        variance: mean squared distance from its mean.

    Example:
        >>> Error(0.25, 0.5).total
        0.75
    """

    bias: float
    variance: float

    @property
    def total(self) -> float:
        """Bias and variance together: the expected squared distance from theta."""
        return self.bias + self.variance


@dataclass(frozen=True, eq=False)
class Ridge:
    """The setting: inputs, the truth, and the shares that teacher and student see.

    Args:
        x: (n, d) inputs; a share f means the first round(f n) of them.
        theta: (d,) the truth.
        noise: standard deviation of the labels' noise.
        penalty: the ridge of both, above 0.

    Raises:
        UsageError: shapes that do not fit, a penalty that is none, or negative noise.

    Example:
        >>> setting = drawn(n=200, d=10, noise=0.5, penalty=1.0, seed=0)
        >>> alone, taught = (setting.error(0.1, 1.0, weight).total for weight in (0.0, 0.5))
        >>> taught < alone
        True
    """

    x: Array
    theta: Array
    noise: float
    penalty: float

    def __post_init__(self) -> None:
        """Refuse what is no setting."""
        if self.x.ndim != 2 or self.theta.shape != self.x.shape[1:]:
            raise UsageError(
                f"x {self.x.shape} and theta {self.theta.shape} must be (n, d) and (d,)"
            )
        if not self.penalty > 0 or not self.noise >= 0:
            raise UsageError(
                f"penalty {self.penalty} must be above 0, and noise {self.noise} at least 0"
            )

    def error(self, fraction: float, teacher_fraction: float, weight: float) -> Error:
        """Return bias and variance of the student, exactly.

        Args:
            fraction: f, share of the examples that the student sees, in (0, 1].
            teacher_fraction: f_t, that which its teacher saw.
            weight: of the teacher in the targets, in [0, 1].

        Raises:
            UsageError: a value outside its range, or a share without an example.
        """
        if not 0 <= weight <= 1:
            raise UsageError(f"weight must be in [0, 1], not {weight}")
        of_labels, of_teacher = self._maps(fraction, teacher_fraction)
        bias_0, bias_1 = self._biases(of_labels, of_teacher)
        estimate = of_labels + weight * (of_teacher - of_labels)
        bias = bias_0 + weight * (bias_1 - bias_0)
        return Error(float(bias @ bias), float(self.noise**2 * (estimate**2).sum()))

    def best_weight(self, fraction: float, teacher_fraction: float) -> float:
        """Return the weight in [0, 1] with the least total error, exactly.

        The error is a parabola in the weight.

        Args:
            fraction: as in `error`.
            teacher_fraction: as in `error`.

        Raises:
            UsageError: as in `error`.
        """
        of_labels, of_teacher = self._maps(fraction, teacher_fraction)
        bias_0, bias_1 = self._biases(of_labels, of_teacher)
        step, turn = of_teacher - of_labels, bias_1 - bias_0
        slope = bias_0 @ turn + self.noise**2 * (of_labels * step).sum()
        curve = turn @ turn + self.noise**2 * (step**2).sum()
        return 0.0 if curve == 0 else float(np.clip(-slope / curve, 0.0, 1.0))

    def simulate(
        self, fraction: float, teacher_fraction: float, weight: float, runs: int, seed: int = 0
    ) -> Array:
        """Fit teacher and student to labels drawn anew; return the students' estimates.

        Args:
            fraction: as in `error`.
            teacher_fraction: as in `error`.
            weight: as in `error`.
            runs: how often.
            seed: of the labels' noise.

        Returns:
            (runs, d); their mean and spread are what `error` gives in closed form.
        """
        rng = np.random.default_rng(seed)
        kept, seen = self._count(fraction), self._count(teacher_fraction)
        estimates = np.empty((runs, len(self.theta)))
        for run in range(runs):
            y = self.x @ self.theta + self.noise * rng.standard_normal(len(self.x))
            teacher = self._fitted(self.x[:seen], y[:seen])
            target = weight * (self.x[:kept] @ teacher) + (1 - weight) * y[:kept]
            estimates[run] = self._fitted(self.x[:kept], target)
        return estimates

    def _fitted(self, x: Array, y: Array) -> Array:
        gram = x.T @ x + self.penalty * np.eye(x.shape[1])
        solved: Array = np.linalg.solve(gram, x.T @ y).astype(np.float64)
        return solved

    def _count(self, fraction: float) -> int:
        count = round(fraction * len(self.x))
        if not 0 < fraction <= 1 or count < 1:
            raise UsageError(f"{fraction} of {len(self.x)} examples is no share of them")
        return count

    def _maps(self, fraction: float, teacher_fraction: float) -> tuple[Array, Array]:
        """Return (d, n) each: from all labels to a student of labels only, or the teacher only."""
        kept, seen = self._count(fraction), self._count(teacher_fraction)
        of_labels, of_teacher = np.zeros(self.x.T.shape), np.zeros(self.x.T.shape)
        of_labels[:, :kept] = self._fitted(self.x[:kept], np.eye(kept))
        teacher = self._fitted(self.x[:seen], np.eye(seen))
        of_teacher[:, :seen] = of_labels[:, :kept] @ self.x[:kept] @ teacher
        return of_labels, of_teacher

    def _biases(self, of_labels: Array, of_teacher: Array) -> tuple[Array, Array]:
        """Return (d,) each: what a student of labels only, or of the teacher only, is off by."""
        clean = self.x @ self.theta
        return of_labels @ clean - self.theta, of_teacher @ clean - self.theta


def drawn(n: int, d: int, noise: float, penalty: float, seed: int = 0) -> Ridge:
    """Return a setting with Gaussian inputs and a truth of length 1.

    Args:
        n: examples.
        d: dimensions.
        noise: as in `Ridge`.
        penalty: as in `Ridge`.
        seed: of the inputs and the truth.

    Example:
        >>> drawn(n=50, d=5, noise=0.1, penalty=1.0).x.shape
        (50, 5)
    """
    rng = np.random.default_rng(seed)
    theta = rng.standard_normal(d)
    return Ridge(rng.standard_normal((n, d)), theta / np.linalg.norm(theta), noise, penalty)
