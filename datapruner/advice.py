"""What a pilot says: which arm to take, in words and numbers, and how sure that is."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .report.arms import Estimate
from .report.sweep_arms import Arm, full_arm, gather_arms, paired
from .results_table import Row
from .sweep_plan import EQUAL

_SURE = 0.9
_COST = "cost.weights_examples"


@dataclass(frozen=True)
class Advice:
    """A recommendation.

    Attributes:
        arm: what to take: the name of an arm of the pilot; "all data" is to train on everything.
        settings: fraction, keep, density and teacher of it.
        accuracy: of that arm in the pilot, on what was set aside.
        full: of everything, on the same.
        cost: share of the cost of everything, in active weights times examples.
        words: the recommendation and what it rests on, a sentence each.
        rows: arm, accuracy, error, difference, its error and cost, of everything that was tried.
    """

    arm: str
    settings: dict[str, Any]
    accuracy: Estimate
    full: Estimate
    cost: float
    words: tuple[str, ...]
    rows: tuple[dict[str, Any], ...]


def advice(
    rows: Sequence[Row],
    lose: float,
    epochs: int,
    planned: int,
    seconds: float,
    skipped: int,
) -> Advice:
    """Read a recommendation from the rows of a pilot.

    Args:
        rows: of the pilot's runs, with validation accuracies.
        lose: accuracy that may be lost.
        epochs: of the pilot's runs.
        planned: epochs of the real run.
        seconds: that the pilot took.
        skipped: runs that there was no time for.
    """
    arms = gather_arms(rows)
    full = full_arm(arms)
    failed = [row["error"].rstrip(".") for row in rows if row["status"] == "failed"]
    if full is None:
        from .errors import PrunerError

        raise PrunerError(f"no run on everything ended well: {failed[0] if failed else 'no time'}")
    gaps = {arm.name: paired(arm, full) for arm in arms if arm.name != full.name}
    cheaper = [arm for arm in arms if arm.name in gaps and arm.costs[_COST] < full.costs[_COST]]
    sure = [arm for arm in cheaper if surely_within(gaps[arm.name], lose)]
    best = min(sure, key=lambda arm: (arm.costs[_COST], -arm.accuracy.mean), default=full)
    share = best.costs[_COST] / full.costs[_COST]
    scope = f"{epochs} of the {planned} epochs" if epochs < planned else f"all {planned} epochs"
    words = [
        f"Pilot: {sum(len(arm.rows) for arm in arms)} runs of {scope} in {seconds:,.0f} s, judged "
        f"on a fifth of the training set that was set aside; the test set was not read."
        + (f" For {skipped} more there was no time." if skipped else "")
        + (f" {len(failed)} failed; the first: {failed[0]}." if failed else "")
    ]
    near = {arm.name: gaps[arm.name] for arm in cheaper}
    words.append(_recommended(best, full, near, share, lose))
    words += _ends(arms, full)
    words += _pairs(arms)
    words += _densities(arms, gaps, lose)
    if epochs < planned:
        words.append(
            f"The pilot is shorter than the real run ({epochs} epochs against {planned}): short "
            "runs favour more steps, so what a subset loses here it may lose less of there. Try "
            "the recommendation once in full, beside everything."
        )
    first = best.first
    settings = {name: first[name] for name in ("fraction", "keep", "density", "teacher")}
    if best.control == EQUAL:
        settings["steps_share"] = round(share, 4)
    table = tuple(_table_row(arm, gaps.get(arm.name), full) for arm in arms)
    return Advice(best.name, settings, best.accuracy, full.accuracy, share, tuple(words), table)


def surely_within(gap: Estimate | None, lose: float) -> bool:
    """Tell whether a loss is within `lose`, at 90 % by Student's t, one-sided.

    Example:
        >>> surely_within(Estimate(-0.002, 0.001, 3), 0.01)
        True
        >>> surely_within(Estimate(-0.008, 0.004, 3), 0.01)
        False
    """
    from scipy.stats import t

    if gap is None or gap.error is None:
        return False
    return bool(gap.mean - t.ppf(_SURE, gap.n - 1) * gap.error >= -lose)


def surely_above(gap: Estimate) -> bool:
    """Tell whether a difference is above 0, at 90 % by Student's t, one-sided.

    Example:
        >>> surely_above(Estimate(0.02, 0.001, 3)), surely_above(Estimate(0.0, 0.0, 3))
        (True, False)
    """
    return gap.mean > 0 and surely_within(gap, 0.0)


def _percent(value: Estimate) -> str:
    if value.error is None:
        return f"{100 * value.mean:.2f} % (one seed)"
    return f"{100 * value.mean:.2f} ± {100 * value.error:.2f} %"


def _points(gap: Estimate) -> str:
    if gap.error is None:
        return f"{100 * gap.mean:+.2f} points (one seed)"
    return f"{100 * gap.mean:+.2f} ± {100 * gap.error:.2f} points"


def _recommended(
    best: Arm, full: Arm, gaps: dict[str, Estimate | None], share: float, lose: float
) -> str:
    if best is full:
        near = max(
            (arm for arm in gaps if gaps[arm] is not None),
            key=lambda name: _mean(gaps[name]),
            default=None,
        )
        if near is None:
            return (
                f"Train on everything: {_percent(full.accuracy)}. Nothing cheaper was run to its "
                "end, so that there is nothing else to recommend."
            )
        gap = gaps[near]
        assert gap is not None
        nearest = f" The nearest, {near}, is at {_points(gap)}."
        return (
            f"Train on everything: {_percent(full.accuracy)}. Nothing cheaper is surely (90 %) "
            f"within {100 * lose:g} points of it.{nearest}"
        )
    gap = gaps[best.name]
    assert gap is not None
    seconds = best.costs["measured.seconds"] / max(full.costs["measured.seconds"], 1e-9)
    name = best.name
    if best.control == EQUAL:
        name = f"all data with {100 * share:.0f} % of the steps"
    return (
        f"Take {name}: {_percent(best.accuracy)} against {_percent(full.accuracy)} on everything "
        f"({_points(gap)}; within {100 * lose:g} points at 90 %, {gap.n} seeds), for "
        f"{100 * share:.0f} % of the active weights x examples and {100 * seconds:.0f} % of the "
        "seconds, scoring and teacher counted."
    )


def _mean(gap: Estimate | None) -> float:
    return -1.0 if gap is None else gap.mean


def _of(arms: Sequence[Arm], **settings: Any) -> Arm | None:
    wanted = {"density": 1, "teacher": "none"} | settings
    fits = [a for a in arms if all(a.first[name] == value for name, value in wanted.items())]
    return next((arm for arm in fits if arm.control != EQUAL), None)


def _ends(arms: Sequence[Arm], full: Arm) -> list[str]:
    """Say which end to keep at each fraction."""
    said = []
    for fraction in sorted({arm.first["fraction"] for arm in arms} - {1.0}, reverse=True):
        random = _of(arms, fraction=fraction, keep="random")
        ends = {
            "hardest": _of(arms, fraction=fraction, keep="el2n+top"),
            "easiest": _of(arms, fraction=fraction, keep="el2n+bottom"),
        }
        known = {end: arm for end, arm in ends.items() if arm is not None}
        if random is None or len(known) < 2:
            continue
        gaps = {end: paired(arm, random) for end, arm in known.items()}
        parts = [f"the {end} {_points(gap)}" for end, gap in gaps.items() if gap is not None]
        best = max(gaps, key=lambda end: _mean(gaps[end]))
        gap = gaps[best]
        sure = gap is not None and surely_above(gap)
        verdict = f"keep the {best}" if sure else "neither is surely above it: choose at random"
        said.append(f"At {100 * fraction:g} %, beside random: {', '.join(parts)}; {verdict}.")
    return said


def _pairs(arms: Sequence[Arm]) -> list[str]:
    """Say whether fresh subsets and a teacher help."""
    said = []
    for fraction in sorted({arm.first["fraction"] for arm in arms} - {1.0}, reverse=True):
        fixed = _of(arms, fraction=fraction, keep="random")
        for other, name in (
            (_of(arms, fraction=fraction, keep="rs2"), "A fresh subset each epoch (RS2)"),
            (_of(arms, fraction=fraction, keep="random", teacher="full"), "A teacher"),
        ):
            gap = None if fixed is None or other is None else paired(other, fixed)
            if gap is None:
                continue
            if surely_above(gap):
                verdict = "yes"
            elif surely_above(Estimate(-gap.mean, gap.error, gap.n)):
                verdict = "no"
            else:
                verdict = "not sure"
            said.append(f"{name} at {100 * fraction:g} %: {verdict}, {_points(gap)}.")
    return said


def _densities(arms: Sequence[Arm], gaps: dict[str, Estimate | None], lose: float) -> list[str]:
    sparse = [arm for arm in arms if arm.first["density"] < 1 and arm.first["fraction"] == 1]
    known = [(arm, gap) for arm in sparse if (gap := gaps.get(arm.name)) is not None]
    if not known:
        return []
    parts = ", ".join(f"{100 * arm.first['density']:g} %: {_points(gap)}" for arm, gap in known)
    fit = [arm for arm, gap in known if surely_within(gap, lose)]
    least = min((arm.first["density"] for arm in fit), default=None)
    verdict = f"none is surely within {100 * lose:g} points: keep all weights"
    if least is not None:
        verdict = f"{100 * least:g} % of the weights suffice"
    return [
        f"Weights kept, beside dense: {parts}; {verdict}. Single weights that are masked make a "
        "network smaller to store, not faster on dense kernels."
    ]


def _table_row(arm: Arm, gap: Estimate | None, full: Arm) -> dict[str, Any]:
    return {
        "arm": arm.name,
        "accuracy": arm.accuracy.mean,
        "error": arm.accuracy.error,
        "difference": None if gap is None else gap.mean,
        "difference_error": None if gap is None else gap.error,
        "seeds": arm.accuracy.n,
        "cost": arm.costs[_COST] / full.costs[_COST],
        "seconds": arm.costs["measured.seconds"],
    }
