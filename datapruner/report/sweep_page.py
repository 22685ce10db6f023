"""The page of a sweep: one HTML file, and the numbers of each figure as CSV beside it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from ..errors import PrunerError
from ..files import read_json, whole_folder
from ..provenance import versions
from ..results_table import Row, read_rows
from ..sharing import locked
from . import formats
from .outcome import plus_minus
from .rendering import render
from .sweep_arms import Arm, gather_arms, pareto
from .sweep_charts import compact, key, styles_of
from .sweep_controls import control_table
from .sweep_figures import (
    class_figure,
    cost_figures,
    distortion_figure,
    heat_maps,
    worst_figure,
)
from .sweep_findings import findings
from .tables import Table


@dataclass(frozen=True)
class Shown:
    """One arm of the headline table, written out."""

    key: Markup
    name: str
    control: str
    accuracy: str
    worst: str
    examples: str
    operations: str
    active: str
    seconds: str
    seeds: str
    front: str


def write_sweep_report(folder: Path | str) -> Path:
    """Write report.html of a sweep's folder, and figures/*.csv; return the page's path.

    Reads results.parquet and run.json and nothing else, so that the same results give the same
    page.

    Args:
        folder: that `sweep` wrote.

    Raises:
        PrunerError: no point has been run to its end, or the table is damaged.

    Example:
        >>> import tempfile
        >>> from datapruner.sweeping import sweep
        >>> few = {"data": "digits", "seeds": 1, "base": {"model": "mlp", "epochs": 1}}
        >>> out = tempfile.mkdtemp() + "/sweep"
        >>> _ = sweep(few | {"grid": {"fraction": [1, 0.2]}}, out)
        >>> write_sweep_report(out).name
        'report.html'
    """
    home = Path(folder)
    with locked(home / "results.lock"):  # no shard's page after the results of a later one
        return _write(home)


def _write(home: Path) -> Path:
    rows, about = read_rows(home), read_json(home / "run.json")
    arms = gather_arms(rows)
    if not arms:
        raise PrunerError(f"{home}: no point has been run to its end; run the sweep again")
    costs, maps = cost_figures(arms), heat_maps(arms)
    classes = [f for f in (class_figure(arms), worst_figure(arms), distortion_figure(arms)) if f]
    tables = {"arms": _arm_table(arms), "beside its controls": control_table(arms)}
    values = {
        "title": f"{about['grid']['data']}: how little data and how few weights",
        "facts": _facts(arms, rows),
        "notes": _notes(rows, about, arms),
        "tested": arms[0].test is not None,
        "findings": findings(arms),
        "arms": _shown(arms),
        "tables": tables,
        "costs": costs,
        "maps": maps,
        "classes": classes,
        "failed": [row for row in rows if row["status"] == "failed"],
        "provenance": _provenance(about),
    }
    every = [*tables.values(), *(figure.table for figure in [*costs, *maps, *classes])]
    with whole_folder(home / "figures") as temporary:
        for table in every:
            (temporary / table.file_name).write_text(table.csv, encoding="utf-8")
    return render(home / "report.html", "sweep.html", values)


def _facts(arms: Sequence[Arm], rows: Sequence[Row]) -> list[tuple[str, str]]:
    done = sum(row["status"] == "done" for row in rows)
    facts = [("arms", formats.count(len(arms))), ("runs", formats.count(done))]
    facts.append(("seeds", formats.count(max(len(arm.rows) for arm in arms))))
    for status in ("failed", "missing"):
        if count := sum(row["status"] == status for row in rows):
            facts.append((status, formats.count(count)))
    seconds = sum(row["measured.own_seconds"] or 0 for row in rows)
    facts.append(("minutes of training", f"{seconds / 60:.1f}"))
    return facts


def _notes(rows: Sequence[Row], about: dict[str, Any], arms: Sequence[Arm]) -> list[str]:
    notes = []
    if missing := sum(row["status"] == "missing" for row in rows):
        notes.append(f"{missing} of {len(rows)} runs are still to be made: this page is not final.")
    if not about["grid"]["validation"]:
        notes.append(
            "Nothing was set aside (validation: 0): the front is chosen by test accuracy, which "
            "flatters what is on it."
        )
    if arms[0].test is None:
        notes.append(
            "There is no test split: accuracy is that on the part set aside, by which the front is "
            "chosen as well, which flatters what is on it."
        )
    if max(len(arm.rows) for arm in arms) == 1:
        notes.append("One seed: differences cannot be told from chance.")
    return notes


def _shown(arms: Sequence[Arm]) -> list[Shown]:
    styles = styles_of(arms)
    fronts = {
        "C": pareto(arms, "cost.weights_examples"),
        "operations": pareto(arms, "cost.flops"),
        "seconds": pareto(arms, "measured.seconds"),
    }
    return [
        Shown(
            key(styles[arm.name]),
            arm.name,
            arm.control,
            plus_minus(arm.accuracy),
            plus_minus(arm.worst),
            formats.count(arm.costs["cost.examples"]),
            compact(arm.costs["cost.flops"]),
            compact(arm.costs["cost.weights_examples"]),
            formats.seconds(arm.costs["measured.seconds"]),
            str(arm.accuracy.n),
            ", ".join(name for name, front in fronts.items() if arm in front),
        )
        for arm in arms
    ]


def _arm_table(arms: Sequence[Arm]) -> Table:
    columns = [
        ("arm", "text"),
        ("control", "text"),
        ("accuracy", "accuracy"),
        ("standard error", "error"),
        ("seeds", "count"),
        ("on the part set aside", "accuracy"),
        ("recall of the worst class", "accuracy"),
        ("examples seen", "count"),
        ("steps", "count"),
        ("operations", "number"),
        ("operations possible", "number"),
        ("active weights x examples", "number"),
        ("seconds", "seconds"),
        ("of these scoring", "seconds"),
        ("selection", "seconds"),
        ("teacher", "seconds"),
        ("first run", "seconds"),
        ("training", "seconds"),
        ("masks", "seconds"),
        ("peak memory, MiB", "count"),
    ]
    rows = [
        (
            arm.name,
            arm.control,
            arm.accuracy.mean,
            arm.accuracy.error,
            arm.accuracy.n,
            None if arm.validation is None else arm.validation.mean,
            arm.worst.mean,
            arm.costs["cost.examples"],
            arm.costs["cost.steps"],
            arm.costs["cost.flops"],
            arm.costs["cost.flops_possible"],
            arm.costs["cost.weights_examples"],
            arm.costs["measured.seconds"],
            *(_mean(arm, f"measured.{phase}_seconds") for phase in _PHASES),
            _mean(arm, "measured.peak_memory") / 2**20,
        )
        for arm in arms
    ]
    return Table("arms", columns, rows)


_PHASES = ("scoring", "selection", "teaching", "first", "training", "pruning")


def _mean(arm: Arm, column: str) -> float:
    values = [float(row[column] or 0) for row in arm.rows]
    return sum(values) / len(values)


def _provenance(about: dict[str, Any]) -> list[tuple[str, list[tuple[str, str]]]]:
    grid = about["grid"]
    rows = [(name, str(grid[name])) for name in ("data", "seeds", "validation", "controls")]
    rows += [(f"base: {name}", str(value)) for name, value in grid["base"].items()]
    for place, axes in enumerate(grid["grid"]):
        number = f" {place + 1}" if len(grid["grid"]) > 1 else ""
        rows += [(f"grid{number}: {n}", ", ".join(map(str, of))) for n, of in axes.items()]
    known = about.get("teachers", {})
    rows += [(f"fingerprint of the teacher {word}", mark) for word, mark in known.items()]
    rows.append(("fingerprint of what is trained on", about["data"]))
    return [("Grid", rows), ("Versions", list(versions().items()))]
