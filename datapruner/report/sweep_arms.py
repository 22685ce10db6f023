"""Runs of a sweep as arms: means over seeds, the Pareto front, differences to controls."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields

from ..grid_words import SHORT
from ..results_table import Row
from ..run import Run
from ..sweep_plan import EQUAL, FULL, RANDOM_DATA, RANDOM_FOUND, RANDOM_MASK
from .arms import Estimate, estimate

COSTS: dict[str, str] = {
    "cost.weights_examples": "active weights × examples",
    "cost.flops": "operations",
    "cost.flops_possible": "operations, what the pattern saves taken off",
    "cost.examples": "examples seen",
    "cost.steps": "optimizer steps",
    "measured.seconds": "seconds",
}
KINDS = (FULL, RANDOM_DATA, RANDOM_FOUND, RANDOM_MASK, EQUAL)


@dataclass(frozen=True)
class Arm:
    """What is compared: the runs that differ by their seed alone.

    Attributes:
        name: of the arm.
        control: why it was added; "" where the grid has it.
        first: its first row, for the settings, which all rows share.
        rows: one a seed.
        test: test accuracy, None where there is no test split.
        validation: accuracy on the part set aside, None where there is none.
        worst: recall of the worst class.
        costs: mean of each cost.
        recalls: mean recall of each class.
    """

    name: str
    control: str
    rows: Sequence[Row]
    test: Estimate | None
    validation: Estimate | None
    worst: Estimate
    costs: dict[str, float]
    recalls: dict[str, float] = field(default_factory=dict)

    @property
    def first(self) -> Row:
        """Its settings."""
        return self.rows[0]

    @property
    def accuracy(self) -> Estimate:
        """What is shown: test accuracy, or validation accuracy where there is no test split."""
        found = self.test or self.validation
        assert found is not None
        return found

    @property
    def chosen_by(self) -> Estimate:
        """What is chosen by: validation accuracy, or test accuracy where nothing is set aside."""
        found = self.validation or self.test
        assert found is not None
        return found

    @property
    def full(self) -> bool:
        """Tell whether it is full and dense, for the whole budget and without a teacher."""
        row = self.first
        whole = row["fraction"] == 1 and row["keep"] == "all" and row["density"] == 1
        return bool(whole and row["teacher"] == "none" and self.control in ("", FULL))


def gather_arms(rows: Sequence[Row]) -> list[Arm]:
    """Return the arms in the order of the plan; runs that failed are left out."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        if row["status"] == "done":
            groups.setdefault(row["arm"], []).append(row)
    return [_arm(name, of) for name, of in groups.items()]


def _arm(name: str, rows: Sequence[Row]) -> Arm:
    part = "test" if rows[0]["test.accuracy"] is not None else "validation"
    classes = [column for column in rows[0] if column.startswith("test.recall.")]
    known = [c for c in classes if all(row[c] is not None for row in rows)]
    return Arm(
        name,
        rows[0]["control"],
        rows,
        _estimate(rows, "test.accuracy"),
        _estimate(rows, "validation.accuracy"),
        estimate([row[f"{part}.worst_recall"] for row in rows]),
        {cost: estimate([float(row[cost]) for row in rows]).mean for cost in COSTS},
        {c.removeprefix("test.recall."): estimate([r[c] for r in rows]).mean for c in known},
    )


def _estimate(rows: Sequence[Row], column: str) -> Estimate | None:
    values = [row[column] for row in rows]
    return None if any(value is None for value in values) else estimate(values)


def pareto(arms: Sequence[Arm], cost: str) -> list[Arm]:
    """Return the arms than which none is as cheap and better, cheapest first.

    Better is by the part set aside, where there is one: the test set chooses nothing.
    """
    front: list[Arm] = []
    for arm in sorted(arms, key=lambda a: (a.costs[cost], -a.chosen_by.mean)):
        if not front or arm.chosen_by.mean > front[-1].chosen_by.mean:
            front.append(arm)
    return front


def full_arm(arms: Sequence[Arm]) -> Arm | None:
    """Return the arm that is full and dense; of several the costliest, then the best."""
    found = [arm for arm in arms if arm.full]
    size = "cost.examples"
    return max(found, key=lambda arm: (arm.costs[size], arm.chosen_by.mean), default=None)


def paired(arm: Arm, other: Arm, column: str = "test.accuracy") -> Estimate | None:
    """Return the mean difference of two arms over the seeds that both have."""
    if arm.test is None:
        column = "validation.accuracy"
    its = {row["seed"]: row[column] for row in other.rows}
    gaps = [row[column] - its[row["seed"]] for row in arm.rows if row["seed"] in its]
    return estimate(gaps) if gaps else None


def told_apart(difference: Estimate) -> bool | None:
    """Tell whether a difference is one by Student's t at 95 %; None where one seed cannot say."""
    from scipy.stats import t

    if difference.error is None:
        return None
    return bool(abs(difference.mean) > t.ppf(0.975, difference.n - 1) * difference.error)


def controls_of(arm: Arm, arms: Sequence[Arm]) -> dict[str, Arm]:
    """Return the arms beside which one means something, by what kind of control they are.

    Each is trained as the arm is; of several it is the one with the most settings in common, then
    the costliest.
    """
    found: dict[str, list[Arm]] = {}
    for other in arms:
        for kind in _kinds(arm, other) if other.name != arm.name else ():
            found.setdefault(kind, []).append(other)

    def far(other: Arm) -> tuple[int, float]:
        return len(_differs(arm.first, other.first)), -other.costs["cost.examples"]

    return {kind: min(of, key=far) for kind, of in found.items()}


_TRAINING = {f.name for f in fields(Run)} - {"epochs", "steps"}
_OF_WEIGHTS = {word for word, name in SHORT.items() if name.startswith("weights.")}
_OF_ITS_MASK = {"epochs", "steps", "fraction", "weights.skip", "weights.floor"}


def _kinds(arm: Arm, other: Arm) -> Iterator[str]:
    """Give what kinds of control another arm is; all data for a budget in steps may be two."""
    row, its = arm.first, other.first
    differs = _differs(row, its)
    if differs & _TRAINING:
        return
    if other.full:
        yield FULL
    chosen = {n for n in differs if not n.startswith(("scoring.", "beta"))}
    if row["keep"] not in ("random", "all") and its["keep"] == "random" and chosen == {"keep"}:
        yield RANDOM_DATA
    found = row["mask_on"] not in ("same", "all", "random") and chosen == {"mask_on"}
    if found and its["mask_on"] == "random":
        yield RANDOM_FOUND
    masks = {n for n in differs if n in _OF_WEIGHTS or n.startswith("weights.")}
    if row["density"] < 1 and its.get("criterion") == "random":
        alike = not differs & (_OF_ITS_MASK | _OF_WEIGHTS - {"criterion"})
        if alike and row.get("criterion") != "random":
            yield RANDOM_MASK
    elif its["keep"] == "all" != row["keep"] and row["teacher"] == its["teacher"] == "none":
        plain = its["order"] == "together" and its["mask_on"] == "same"
        if plain and not masks and _as_many_steps(arm, other):
            yield EQUAL


def _as_many_steps(arm: Arm, other: Arm) -> bool:
    """Tell whether two arms take as many steps seed by seed; InfoBatch takes others with each."""
    its = {row["seed"]: row["cost.steps"] for row in other.rows}
    both = [(row["cost.steps"], its[row["seed"]]) for row in arm.rows if row["seed"] in its]
    return bool(both) and all(own == steps for own, steps in both)


def _differs(row: Row, its: Row) -> set[str]:
    """Return the settings of a row that another does not share."""
    return {name for name in _settings(row) if name not in its or row[name] != its[name]}


def _settings(row: Row) -> set[str]:
    """Return the columns that are settings: those between the control and the seed."""
    names = list(row)
    return set(names[names.index("control") + 1 : names.index("seed")])


@dataclass(frozen=True)
class Distortion:
    """Recall distortion of an arm: how the gaps between classes change beside full and dense.

    Attributes:
        alpha: slope through the origin of (recall - accuracy) / accuracy over that of the full and
            dense run of the same seed (Good et al. 2022): above 1 the gaps widen.
        worst: change of the recall of the worst class.
        doubt: why not to trust it, or "".
    """

    alpha: Estimate
    worst: Estimate
    doubt: str


def distortion(arm: Arm, full: Arm) -> Distortion | None:
    """Return how much further apart the recalls of the classes are; None where it is not known."""
    classes = [c for c in arm.first if c.startswith("test.recall.") and arm.first[c] is not None]
    its = {row["seed"]: row for row in full.rows}
    pairs = [(its[row["seed"]], row) for row in arm.rows if row["seed"] in its]
    slopes, worst = [], []
    for before, after in pairs:
        if not before["test.accuracy"]:
            return None
        spread = [before[c] / before["test.accuracy"] - 1 for c in classes]
        square = sum(b * b for b in spread)
        if not square or not after["test.accuracy"]:
            return None
        now = [after[c] / after["test.accuracy"] - 1 for c in classes]
        slopes.append(sum(a * b for a, b in zip(spread, now, strict=True)) / square)
        worst.append(after["test.worst_recall"] - before["test.worst_recall"])
    if not slopes or not classes:
        return None
    fell = arm.accuracy.mean < 0.8 * full.accuracy.mean
    doubt = "accuracy fell below 0.8 of full and dense: the slope says nothing then" if fell else ""
    return Distortion(estimate(slopes), estimate(worst), doubt)
