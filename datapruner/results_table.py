"""The table of a sweep: one row a run, and their means over seeds."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .files import whole_file
from .grid_words import DEFAULTS, short_name
from .report.arms import estimate

if TYPE_CHECKING:
    from .sweep_points import Point

Row = dict[str, Any]
ALWAYS = ("fraction", "keep", "weights.density", "distill.teacher", "order", "mask_on")
_MOST_CLASSES = 100  # with more, only the worst class has columns
_COUNTED = ("examples", "steps", "flops", "flops_possible", "weights_examples")


def row_of(
    point: "Point", outcome: dict[str, Any] | None, settings: Sequence[str], classes: Sequence[str]
) -> Row:
    """Return a run as one flat row; what is not known of it is None.

    Columns: what the run is (id, arm, control, its settings), what it reached (test.*,
    validation.*), what it cost (cost.* counted, scoring, teacher and first run in full with
    everybody who needs them; measured.* timed on this machine).

    Args:
        point: what was run.
        outcome: what it came to; None where it has not been run.
        settings: whole names of the settings to have columns.
        classes: names of the classes.
    """
    outcome = outcome or {"status": "missing", "error": ""}
    row: Row = {"id": outcome.get("run"), "arm": point.arm, "control": point.control}
    for name in settings:
        row[short_name(name)] = point.values.get(name, DEFAULTS.get(name))
    row |= {"seed": point.seed, "status": outcome["status"], "error": outcome["error"]}
    for part in ("test", "validation"):
        row |= _reached(part, outcome.get(part), classes)
    row["weights_left"] = outcome.get("weights_left")
    whole, parts = outcome.get("total", {}), outcome.get("cost", {})
    for name in _COUNTED:
        row[f"cost.{name}"] = whole.get(name)
    for phase in ("scoring", "teaching", "first", "training"):
        spent = parts.get(phase, {}) if outcome["status"] == "done" else None
        for name in ("examples", "steps", "flops"):
            row[f"cost.{phase}.{name}"] = None if spent is None else spent.get(name, 0)
    for name in _MEASURED:
        row[f"measured.{name}"] = outcome.get("measured", {}).get(name)
    return row


_MEASURED = (
    "seconds",
    "scoring_seconds",
    "selection_seconds",
    "teaching_seconds",
    "first_seconds",
    "training_seconds",
    "pruning_seconds",
    "judging_seconds",
    "own_seconds",
    "own_processor_seconds",
    "peak_memory",
    "threads",
)


def _reached(part: str, found: dict[str, Any] | None, classes: Sequence[str]) -> Row:
    recall: list[float | None] = (found or {}).get("recall") or [None] * len(classes)
    known = [(value, place) for place, value in enumerate(recall) if value is not None]
    worst, place = min(known, default=(None, None))
    row: Row = {
        f"{part}.accuracy": None if found is None else found["accuracy"],
        f"{part}.worst_recall": worst,
        f"{part}.worst_class": None if place is None else classes[place],
    }
    if part == "test" and len(classes) <= _MOST_CLASSES:
        row |= {f"test.recall.{name}": r for name, r in zip(classes, recall, strict=True)}
    return row


def settings_of(points: Sequence["Point"]) -> list[str]:
    """Return the settings that have a column: those always, and all that a point sets."""
    named = [name for point in points for name in point.values]
    return list(dict.fromkeys((*ALWAYS, *named)))


def write_rows(folder: Path, rows: Sequence[Row]) -> None:
    """Write results.parquet, results.csv and summary.csv, each whole or not at all."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {name: _one_type([row[name] for row in rows]) for name in rows[0]} if rows else {}
    with whole_file(folder / "results.parquet") as temporary:
        pq.write_table(pa.table(columns), temporary)
    for name, table in (("results", rows), ("summary", summary(rows))):
        with whole_file(folder / f"{name}.csv") as temporary:
            temporary.write_text(_csv(table), encoding="utf-8")


def read_rows(folder: Path) -> list[Row]:
    """Read results.parquet back.

    Raises:
        PrunerError: it is missing or damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    from .errors import PrunerError

    file = folder / "results.parquet"
    try:
        rows: list[Row] = pq.read_table(file).to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise PrunerError(f"{file}: cannot be read ({error}); run the sweep again") from None
    return rows


def summary(rows: Sequence[Row]) -> list[Row]:
    """Return one row an arm: mean, standard error and number of seeds of what was reached and cost.

    Example:
        >>> rows = [{"arm": "a", "control": "", "seed": s, "status": "done", "test.accuracy": v}
        ...     for s, v in enumerate((0.5, 0.7))]
        >>> summary(rows)
        [{'arm': 'a', 'control': '', 'n': 2, 'test.accuracy': 0.6, 'test.accuracy.error': 0.1}]
    """
    arms: dict[str, list[Row]] = {}
    for row in rows:
        if row["status"] == "done":
            arms.setdefault(row["arm"], []).append(row)
    return [_summed(name, runs) for name, runs in arms.items()]


def _summed(name: str, runs: Sequence[Row]) -> Row:
    out: Row = {"arm": name, "control": runs[0]["control"], "n": len(runs)}
    for column, first in runs[0].items():
        if column in out or column in ("seed", "status", "error", "id"):
            continue
        if not column.startswith(("test.", "validation.", "cost.", "measured.", "weights_left")):
            alike = all(row[column] == first for row in runs)
            out[column] = first if alike else None  # steps of a control of InfoBatch differ by seed
            continue
        values = [row[column] for row in runs]
        if all(isinstance(value, int | float) for value in values):
            found = estimate(values)
            out |= {column: found.mean, f"{column}.error": found.error}
    return out


def _one_type(values: list[Any]) -> list[Any]:
    """Return a column that has one type: text where numbers and words meet."""
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {int, float} and float in kinds:
        return [None if value is None else float(value) for value in values]
    if len(kinds) > 1 or not kinds <= {int, float, str, bool}:
        return [None if value is None else str(value) for value in values]
    return values


def _csv(rows: Sequence[Row]) -> str:
    out = io.StringIO()
    names = list(dict.fromkeys(name for row in rows for name in row))
    writer = csv.DictWriter(out, names, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()
