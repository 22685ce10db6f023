"""The page: everything known about a run in one HTML file that needs nothing else."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import UsageError, suggest
from ..provenance import refuse_other_data
from . import formats
from .agreement import agreement, seed_spread
from .neighbours import neighbours_shown
from .outcome import outcome
from .rendering import render
from .results import Result
from .sections import kept_shown, scorers_shown
from .sheets import sheets
from .stability import stability
from .suspects import suspect_labels

if TYPE_CHECKING:
    from ..data import Data
    from ..scores import Scores
    from ..selection import Selection


def write_report(
    path: Path | str,
    *,
    title: str,
    data: "Data",
    scores: "Scores | None" = None,
    selections: "Mapping[str, Selection] | None" = None,
    results: Sequence[Result] | None = None,
    provenance: Mapping[str, Any],
    notes: Sequence[str] = (),
    pictures_by: str | None = None,
    neighbours: Mapping[str, Any] | None = None,
) -> Path:
    """Write one self-contained HTML page about scores, selections and results; return its path.

    What is not given is not on the page, nor are pictures of data that has none. The same input
    gives the same file, byte for byte.

    Args:
        path: the file to write; an older one is replaced.
        title: heading of the page.
        data: the training set that the scores and selections belong to.
        scores: one histogram a scorer, and their agreement.
        selections: a name for each; their kept examples are coloured and counted per class.
        results: one a training run; runs of one arm are averaged over seeds.
        provenance: options, seeds, versions, machine, command; may nest.
        notes: sentences set at the top, such as what to be careful about.
        pictures_by: the scorer whose hardest and easiest pictures are shown class by class;
            default the first that is not "random".
        neighbours: clusters and near-copies, as `report.neighbours.neighbours` finds them.

    Raises:
        UsageError: `pictures_by` is no scorer in `scores`.
        Refused: the scores or a selection were made for other data.

    Example:
        >>> import tempfile
        >>> from datapruner import open_data
        >>> target = Path(tempfile.mkdtemp()) / "report.html"
        >>> digits = open_data("digits")
        >>> write_report(target, title="Digits", data=digits, provenance={"seed": 0}).name
        'report.html'
    """
    selections = selections or {}
    by = _pictures_by(scores, pictures_by)
    if scores is not None:
        refuse_other_data("scores", scores.fingerprint, scores.n, data)
    for name, selection in selections.items():
        made_for = selection.meta.get("fingerprint")
        refuse_other_data(f"selection {name!r}", made_for, selection.n, data)
    values = {
        "title": title,
        "facts": _facts(data, scores, selections, results),
        "notes": list(notes),
        "outcome": outcome(results or []),
        "scorers": scorers_shown(data, scores, selections) if scores is not None else [],
        "agreement": agreement(scores) if scores is not None else None,
        "spread": seed_spread(scores) if scores is not None else None,
        "stability": stability(scores) if scores is not None else None,
        "suspects": suspect_labels(data, scores) if scores is not None else None,
        "neighbours": neighbours_shown(data, neighbours),
        "kept": kept_shown(data, selections),
        "sheets": sheets(data, scores, by) if scores is not None and by and data.is_image else None,
        "provenance": _provenance(data, scores, selections, provenance),
    }
    return render(Path(path), "template.html", values)


def _pictures_by(scores: "Scores | None", wanted: str | None) -> str | None:
    names = [] if scores is None else list(scores)
    if wanted is not None:
        if wanted not in names:
            raise UsageError(
                f"no score named {wanted!r} to sort pictures by; {suggest(wanted, names)}"
            )
        return wanted
    return next((name for name in names if name != "random"), None)


def _facts(
    data: "Data",
    scores: "Scores | None",
    selections: "Mapping[str, Selection]",
    results: Sequence[Result] | None,
) -> list[tuple[str, str]]:
    """Return the few numbers under the title, as (what, how many)."""
    readable = np.asarray(data.readable)
    facts = [
        ("examples", formats.count(len(readable))),
        ("classes", formats.count(data.num_classes)),
        ("unreadable", formats.count(int((~readable).sum()))),
    ]
    if scores is not None:
        facts.append(("scorers", formats.count(len(list(scores)))))
        for name, flags in scores.flags.items():
            if name != "unreadable":
                facts.append((name.replace("_", " "), formats.count(int(flags.sum()))))
    if selections:
        facts.append(("selections", formats.count(len(selections))))
    if results:
        facts.append(("training runs", formats.count(len(results))))
    return facts


def _provenance(
    data: "Data",
    scores: "Scores | None",
    selections: "Mapping[str, Selection]",
    given: Mapping[str, Any],
) -> list[tuple[str, list[tuple[str, str]]]]:
    """Return groups of (name, value) rows: the data, what the caller says, scores, selections."""
    about = {
        "name": data.name,
        "split": data.split,
        "fingerprint": data.fingerprint,
        "shape of an example": data.shape,
        "examples": len(data.labels),
        "classes": list(data.classes),
    }
    groups = [("Data", _flat(about)), ("Run", _flat(given))]
    if scores is not None:
        groups.append(("Scores", _flat(scores.meta)))
    groups += [(f"Selection: {name}", _flat(s.meta)) for name, s in selections.items()]
    return [(heading, rows) for heading, rows in groups if rows]


def _flat(values: Mapping[str, Any], before: str = "") -> list[tuple[str, str]]:
    """Return nested values as rows with dotted names, each value on one line."""
    rows: list[tuple[str, str]] = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            rows += _flat(value, f"{before}{key}.")
        elif isinstance(value, list | tuple):
            rows.append((f"{before}{key}", ", ".join(_plain(item) for item in value)))
        else:
            rows.append((f"{before}{key}", _plain(value)))
    return rows


def _plain(value: Any) -> str:
    if isinstance(value, str):
        return value
    return formats.NONE if value is None else json.dumps(value, default=str)
