"""One row for each scorer that a reader can work out by hand; a name without a row fails."""

from math import cos, log, nan, radians, sqrt
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from scorers import BUDGETED, SCORERS


class Row(NamedTuple):
    sources: tuple
    expected: list[float]
    options: dict = {}


def trace(*rows: list[float]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float32)


def of_p(*rows: list[float]) -> Tensor:
    """Give the losses at which the label has these probabilities; NaN stays."""
    return -torch.tensor(rows, dtype=torch.float64).log().float()


def line(*places: float) -> Tensor:
    return torch.tensor(places, dtype=torch.float32)[:, None]


def bits(*rows: str) -> Tensor:
    return torch.tensor([[c == "1" for c in row] for row in rows])


# Four examples: always right; forgotten once; never right; seen only in rows 0 and 2, right twice.
MARGIN = trace([2, 1, -1, 3], [2, -1, -3, nan], [2, 3, 0, 1])
RUNS = bits("10", "11", "01", "00")  # two examples, four runs
EMBEDDING = trace([1, 0], [0.6, 0.8], [-1, 0])
DEGREES_0_90_80 = trace([1, 0], [0, 2], [cos(radians(80)), cos(radians(10))])
TRIANGLE = trace([0, 0], [4, 0], [2, 3])
NEAR = 1 - 2 / sqrt(5)  # 1 - cosine between (1, 0), or (3, 4) / 5, and their direction (2, 1)

ROWS = {
    # Nothing to work out: pinned, because baselines that were published must stay what they were.
    "random": [Row((5, 0), [4, 0, 1, 3, 2])],
    "el2n": [
        Row((trace([0.5, 1.25, nan], [0.25, 0.75, 1]),), [0.375, 1, 1]),
        Row((trace([0.5, 1.25], [0.25, 0.75]),), [0.25, 0.75], {"epoch": -1}),
        Row((trace([1], [2], [4], [8]),), [3], {"epoch": 1, "window": 2}),
        Row((trace([1], [2], [4], [8]),), [1.5], {"window": 2}),
    ],
    "forgetting": [
        Row((MARGIN,), [0, 1, 3, 0]),
        Row((MARGIN,), [0, 1, 0, 0], {"never_learned": "zero"}),
        # Two visits, both wrong: two presentations, but three rows in the record.
        Row((trace([-1, 1], [nan, -1], [-1, 1]),), [2, 1]),
        Row((trace([-1, 1], [nan, -1], [-1, 1]),), [3, 1], {"never_learned": "infinity-capped"}),
        # The last error was in row 2, of rows 1 to 3: 2 / 4 of a count.
        Row((MARGIN,), [0, 1.5, 3.75, 0], {"break_ties": True}),
        # Right, not seen, wrong: the previous time it was seen is what counts.
        Row((trace([1], [nan], [-1]),), [1]),
    ],
    "aum": [Row((MARGIN,), [-2, -1, 4 / 3, -2])],
    # p_y 1/2, the largest other 1/4; then p_y 1/8, the largest other 1/2.
    "aum_probability": [
        Row((trace([log(2), log(1 / 4)]), of_p([1 / 2, 1 / 8])), [-1 / 4, 3 / 8]),
    ],
    "loss": [
        Row((trace([2, 4, nan], [1, 0, 3]),), [1.5, 2, 3]),
        Row((trace([2, 4], [1, 0]),), [1, 0], {"epoch": 1}),
    ],
    "entropy": [Row((trace([0.5, nan], [0.25, 1]),), [0.375, 1])],
    # p_y 1/2 and right: the largest is 1/2. p_y 1/8 and the largest other 1/2: again 1/2.
    "least_confidence": [
        Row((of_p([1 / 2, 1 / 8]), trace([log(2), log(1 / 4)])), [1 / 2, 1 / 2]),
    ],
    "confidence": [Row((of_p([0.5, 1, nan], [0.25, 1, 0.125]),), [0.625, 0, 0.875])],
    # Deviations of 1/4 either way; the population's 1/4, not the sample's 0.354.
    "variability": [Row((of_p([0.25, 0.5, nan], [0.75, 0.5, 0.3]),), [0.25, 0, 0])],
    "correctness": [Row((MARGIN,), [0, 1 / 3, 1, 0])],
    "first_learned": [
        Row((MARGIN,), [0, 2, 3, 0]),
        # Wrong in row 0, not seen in row 1, right in row 2: learned at the visit in row 2.
        Row((trace([-1, 1], [nan, 1], [1, -1]),), [2, 3]),
    ],
    # Windows (1/2, 1/2), (1/2, 3/4): 0 and (1/4) / sqrt 2, mean of both.
    "dyn_unc": [
        Row((of_p([0.5], [0.5], [0.75]),), [1 / 8 / sqrt(2)], {"window": 2}),
        Row((of_p([0.5], [0.5], [0.75]),), [0], {"window": 2, "epochs": -1}),
        # A window of 10 and three visits: one window, deviations -1/12, -1/12, 1/6.
        Row((of_p([0.5], [nan], [0.5], [0.75]),), [sqrt(1 / 48)]),
    ],
    # The same windows: 0, and (1/4) / sqrt 2 times 1 - 5/8.
    "dual": [Row((of_p([0.5], [0.5], [0.75]),), [3 / 64 / sqrt(2)], {"window": 2})],
    # A window of 3 epochs holds 2 shifts: (1, 3), (3, 3), (3, 7), norms sqrt 2, 0, sqrt 8.
    "tdds": [
        Row(
            (trace([nan], [1], [3], [3], [7]),),
            [0.009 * sqrt(2) + 0.09 * 0 + 0.9 * sqrt(8)],
            {"window": 3},
        ),
        Row((trace([nan], [1], [3], [3], [7]),), [0.5 * sqrt(2)], {"epochs": 3, "decay": 0.5}),
        Row((trace([nan], [1], [nan], [5]),), [0.9 * sqrt(8)]),
    ],
    "top2_margin": [Row((trace([0.5, 0.2, 0.3], [0, 1, 0], [0.5, 0.5, 0]),), [0.8, 0, 1])],
    "rho_loss": [
        Row((trace([2, 4], [1, nan]), torch.tensor([0.5, 5])), [1, -1]),
        Row((trace([2, 4], [1, 1]), trace([0, 1], [1, 1])), [0.5, 0], {"epoch": 1}),
    ],
    "grand": [
        Row((torch.tensor([1.0, 3.0]),), [1, 3]),
        Row((trace([1, 3], [3, 3]),), [2, 3]),
    ],
    "grand_last_layer": [
        Row((trace([0.5, 1]), torch.tensor([0, 2.0])), [0.5, sqrt(5)]),
        Row((trace([0.5, 1]), torch.tensor([0, 2.0])), [0, 2], {"bias": False}),
    ],
    # Class 0: mean 2, deviation 1. Class 1: one example. Class 2: no spread.
    "vog": [
        Row((torch.tensor([1.0, 3, 9, 5, 5]), torch.tensor([0, 0, 1, 2, 2])), [-1, 1, 0, 0, 0]),
        Row((torch.tensor([1.0, 3]), torch.tensor([0, 0])), [1, 3], {"per_class": False}),
    ],
    "deepfool": [Row((torch.tensor([0.25, 4.0]),), [-0.25, -4])],
    # Example 0: right in both runs with it, in one of two without. Example 1: 1 of 2, 2 of 2.
    "memorization": [Row((RUNS, bits("11", "11", "10", "01")), [0.5, -0.5])],
    # Accuracies 1, 1/2, 0, 1/2: runs 0, 1 against 2, 3; runs 1, 2 against 0, 3.
    "influence": [
        Row((RUNS, bits("11", "10", "00", "01")), [0.5, -0.5]),
        # First test example: 1 - 0 and 1/2 - 1/2; the second: 1/2 - 1/2 and 0 - 1.
        Row((RUNS, bits("11", "10", "00", "01")), [1, 0], {"over": "largest"}),
    ],
    "ddd": [
        Row((RUNS, bits("11", "11", "10", "01")), [0.5, 0]),
        Row((RUNS, bits("11", "11", "10", "01")), [0.25, 0.25], {"held_out": False}),
    ],
    "prototypes": [
        Row((EMBEDDING,), [NEAR, NEAR, 0], {"k": 2}),
        Row((EMBEDDING * torch.tensor([[9.0], [1], [5]]),), [NEAR, NEAR, 0], {"k": 2}),
        Row((TRIANGLE,), [sqrt(5), sqrt(5), 2], {"k": 1, "spherical": False}),
    ],
    "class_prototypes": [
        Row((EMBEDDING, torch.tensor([4, 4, 2])), [NEAR, NEAR, 0]),
        Row((TRIANGLE, torch.zeros(3)), [sqrt(5), sqrt(5), 2], {"spherical": False}),
        # Opposite rows: a class whose mean has no direction.
        Row((EMBEDDING[[0, 2]], torch.zeros(2)), [1, 1]),
    ],
    # Class 0: the median of each coordinate is (1, 1), distances sqrt 2, 4, 1; class 1: 0.
    "moderate": [
        Row(
            (trace([0, 0], [1, 5], [2, 1], [7, 7]), torch.tensor([0, 0, 0, 1])),
            [(1 - sqrt(2)) / 2, (1 + sqrt(2)) / 2 - 4, (1 - sqrt(2)) / 2, -(1 + sqrt(2)) / 2],
        ),
        Row(
            (trace([0, 0], [1, 5], [2, 1], [7, 7]), torch.tensor([0, 0, 0, 1])),
            [-0.5, -1.5, -0.5, -1.5],
            {"band": "mass"},
        ),
    ],
    # Mean 3.05, so 2.2 first; then 9; 0 is 2.2 from its nearest, and 1 is 1 from 0.
    "kcenter": [
        Row((line(0, 1, 2.2, 9),), [2, 1, 4, 3]),
        Row((line(0, 1, 2.2, 9),), [-1, -1, 4, 3], {"limit": 2}),
        # By direction: the second is nearest the mean, the third far from it.
        Row((trace([8, 0], [9, 0.9], [0, 1]),), [1, 3, 2], {"unit": True}),
    ],
    # Mean 2: first 2; then nearest to 4 - 2 = 2: 1; then nearest to 6 - 3 = 3: 5.
    "herding": [Row((line(0, 1, 2, 5),), [1, 3, 4, 2], {"unit": False})],
    # Cosines about 1, 0.9, 0: rows 0 and 1 are alike, row 1 is also a little like row 2.
    "graph_cut": [
        Row((trace([1, 0], [1, 0.1], [0, 1]),), [2, 3, 1]),
        Row((trace([1, 0], [1, 0.1], [0, 1]),), [1, 3, 2], {"redundancy": 2.0}),
    ],
    # The first three span the same alone: a hash says which is first. Then what is square to it;
    # the one between adds little, and the last nothing.
    "log_det": [Row((trace([1, 0], [0.8, 0.6], [0, 1], [0, 0]),), [3, 2, 4, 1])],
    # Sums of cosines: row 2 stands best for the first three; then row 3 for itself alone.
    "facility_location": [
        Row((trace([1, 0], [0.9, 0.1], [0.9, 0.3], [0, 1]),), [1, 2, 4, 3]),
        Row((trace([1, 0], [0.9, 0.1], [0.9, 0.3], [0, 1]),), [-1, -1, 4, 3], {"limit": 2}),
    ],
    # The centre is at 59 degrees: from it 0 is farthest, then 90, then 80.
    "duplicates": [
        Row((DEGREES_0_90_80,), [2, 1, 1 - cos(radians(10))]),
        Row((DEGREES_0_90_80,), [1 - cos(radians(80)), 1 - cos(radians(10)), 2], {"first": "near"}),
    ],
    # With nobody beside it, an example gains at each of 2 x 5 points.
    "zcore_style": [Row((trace([3, 4]),), [10], {"projections": 2, "points": 5})],
    # The mean is (1/2, 1/2) nearly: row 0; then the surest; row 1 is farther from these than 2.
    "contextual_diversity": [
        Row((trace([0.5, 0.5], [0.9, 0.1], [0.6, 0.4], [0.01, 0.99]),), [4, 2, 1, 3]),
    ],
    # The first two are each other's nearest and alike; the third's is the second.
    "cal": [
        Row(
            (trace([0.9, 0.1], [0.9, 0.1], [0.2, 0.8]), line(0, 1, 3)),
            [0, 0, 0.9 * log(4.5) - 0.1 * log(8)],
            {"neighbours": 1},
        ),
    ],
}


def test_every_name_has_a_hand_worked_row_and_no_row_is_left_over():
    assert sorted(ROWS) == sorted(set(SCORERS) - set(BUDGETED))  # those have theirs in test_select


@pytest.mark.parametrize(
    ("name", "row"),
    [pytest.param(n, r, id=f"{n}-{i}") for n in ROWS for i, r in enumerate(ROWS[n])],
)
def test_hand_worked(name, row):
    expected = torch.tensor(row.expected, dtype=torch.float32)
    score = SCORERS[name](*row.sources, **row.options)
    torch.testing.assert_close(score, expected, rtol=1e-6, atol=2e-7)
