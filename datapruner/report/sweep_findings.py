"""What a sweep came to, in sentences: what is cheapest without loss, and what choosing is worth."""

from collections.abc import Sequence

from ..sweep_plan import EQUAL, RANDOM_DATA
from . import formats
from .arms import Estimate
from .outcome import plus_minus
from .sweep_arms import Arm, controls_of, full_arm, paired, told_apart

_NEAR = 0.01  # of accuracy: what may be lost for a lower cost
_COST = "cost.weights_examples"
Gap = tuple[Estimate, Arm, Arm]
"""How far an arm is above another, the arm, and the other."""


def findings(arms: Sequence[Arm]) -> list[str]:
    """Say the full cost, the cheapest arm that is near it, and what the controls say."""
    said = []
    full = full_arm(arms)
    if full is not None:
        seen = formats.count(full.costs["cost.examples"])
        reached = plus_minus(full.accuracy)
        said.append(f"Full and dense, the network reaches {reached} ({seen} examples seen).")
        said += _near(arms, full)
    said += _choosing(arms)
    said += _equal(arms)
    return said


def _near(arms: Sequence[Arm], full: Arm) -> list[str]:
    """Name the cheapest arm within a point of full and dense, chosen on what is set aside."""
    least = full.chosen_by.mean - _NEAR
    cheaper = [arm for arm in arms if arm.costs[_COST] < full.costs[_COST]]
    near = [arm for arm in cheaper if arm.chosen_by.mean >= least]
    if not cheaper:
        return []
    if not near:
        return [
            "Nothing cheaper comes within a point of it: on this grid, train on everything, dense."
        ]
    best = min(near, key=lambda arm: arm.costs[_COST])
    share = best.costs[_COST] / full.costs[_COST]
    gap = paired(best, full)
    told = "" if gap is None else f", {difference(gap)} full and dense"
    where = " on the part set aside" if best.validation and best.test else ""
    time = best.costs["measured.seconds"] / max(full.costs["measured.seconds"], 1e-9)
    return [
        f"The cheapest within a point of it{where} is {best.name}: {plus_minus(best.accuracy)}"
        f"{told}, at {formats.percent(share)} of the active weights × examples and "
        f"{formats.percent(time, 0)} of the seconds."
    ]


def difference(gap: Estimate) -> str:
    """Write a difference in points with what may be said of it.

    Example:
        >>> difference(Estimate(-0.01, 0.001, 3))
        '1.00 ± 0.10 points below'
    """
    side = "above" if gap.mean >= 0 else "below"
    points = f"{abs(100 * gap.mean):.2f}"
    apart = told_apart(gap)
    if apart is None:
        return f"{points} points (one seed) {side}"
    sure = "" if apart else f" (not told apart by {gap.n} seeds)"
    return f"{points} ± {100 * (gap.error or 0):.2f} points{sure} {side}"


def _beside(arms: Sequence[Arm], control: str) -> tuple[list[Gap], int]:
    """Return each arm beside its control of a kind, and how many a t-test puts above it."""
    gaps = []
    for arm in arms:
        other = controls_of(arm, arms).get(control)
        gap = None if other is None else paired(arm, other)
        if other is not None and gap is not None:
            gaps.append((gap, arm, other))
    return gaps, sum(map(_above, gaps))


def _above(one: Gap) -> bool:
    return bool(one[0].mean > 0 and told_apart(one[0]))


def _choosing(arms: Sequence[Arm]) -> list[str]:
    """Say how scored subsets, and those that are drawn anew, do beside random ones."""
    every, _ = _beside(arms, RANDOM_DATA)
    said = []
    for words, kind in (("scored arms", "+"), ("arms of RS2", "rs2")):
        gaps = [one for one in every if kind in str(one[1].first["keep"])]
        if gaps:
            better = sum(map(_above, gaps))
            best, arm, other = max(gaps, key=lambda one: one[0].mean)
            said.append(
                f"{better} of {len(gaps)} {words} beat a random subset of their size (t-test, "
                f"95 %); the best of them, {arm.name}, is {difference(best)} {other.name}."
            )
    return said


def _equal(arms: Sequence[Arm]) -> list[str]:
    """Say how arms on less data do beside all data for as many steps."""
    gaps, better = _beside(arms, EQUAL)
    if not gaps:
        return []
    best, arm, other = max(gaps, key=lambda one: one[0].mean)
    lead = f"{better} of {len(gaps)} arms on less data beat all data for as many steps"
    return [
        f"{lead} (t-test, 95 %), scoring counted; the best beside its own, {arm.name}, is "
        f"{difference(best)} it."
    ]
