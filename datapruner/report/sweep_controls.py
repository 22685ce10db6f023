"""Arms of a sweep beside their controls, and why one has none."""

from collections.abc import Sequence

from ..sweep_plan import EQUAL
from .sweep_arms import KINDS, Arm, controls_of, full_arm, paired
from .tables import Table


def control_table(arms: Sequence[Arm]) -> Table:
    """Return each arm beside its controls: differences in points and their errors, seed by seed."""
    rows: list[tuple[object, ...]] = []
    kinds = [k for k in KINDS if any(k in controls_of(a, arms) for a in arms if not a.control)]
    for arm in arms:
        found = controls_of(arm, arms)
        if arm.control or not found:
            continue
        row: list[object] = [arm.name]
        for kind in kinds:
            gap = paired(arm, found[kind]) if kind in found else None
            row += [None, None] if gap is None else [gap.mean, gap.error]
        rows.append((*row, "" if EQUAL in found else without_equal(arm, full_arm(arms))))
    columns = [("arm", "text")]
    for kind in kinds:
        columns += [(f"over {kind}", "points"), ("±", "error")]
    if any(row[-1] for row in rows):
        columns.append((f"why none of {EQUAL}", "text"))
    else:
        rows = [row[:-1] for row in rows]
    return Table("beside its controls", columns, rows)


def without_equal(arm: Arm, full: Arm | None) -> str:
    """Say why an arm has no control of equal compute, which is not beside it; "" for all data."""
    row = arm.first
    if row["keep"] == "all":
        return ""
    if row["teacher"] != "none":
        return "a teacher's work is not in steps"
    if row["order"] != "together" or row["mask_on"] != "same":
        return "a run before it finds its masks or weights"
    if row["density"] < 1 and row.get("criterion") == "random":
        return "its mask is random"
    if full is not None and arm.costs["cost.steps"] > full.costs["cost.steps"]:
        return "takes more steps than full and dense"
    return "was not run"
