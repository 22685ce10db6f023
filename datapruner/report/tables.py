"""The numbers behind a figure: a table on the page, and the same as CSV."""

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from markupsafe import Markup

from . import formats

_WRITE = {
    "text": formats.text,
    "count": formats.count,
    "share": formats.percent,
    "accuracy": formats.accuracy,
    "points": formats.points,
    "error": formats.error,
    "number": formats.number,
    "seconds": formats.seconds,
}
_MOST_ROWS = 200


@dataclass(frozen=True)
class Table:
    r"""Rows of raw values with named columns.

    Args:
        name: what the table holds; also the name of its CSV file.
        columns: (heading, kind) of each; kinds are those of `formats`: text, count, share,
            accuracy, points, error, number, seconds.
        rows: one value a column; None is shown as a dash.

    Example:
        >>> table = Table("kept", [("class", "text"), ("share", "share")], [("ship", 0.25)])
        >>> table.cells[0][0], table.csv
        ('ship', 'class,share\nship,0.25\n')
    """

    name: str
    columns: Sequence[tuple[str, str]]
    rows: Sequence[Sequence[Any]]

    @property
    def cells(self) -> list[list[str]]:
        """The rows as written on the page: the first 200."""
        kinds = [kind for _, kind in self.columns]
        return [
            [_WRITE[kind](value) for kind, value in zip(kinds, row, strict=True)]
            for row in self.rows[:_MOST_ROWS]
        ]

    @property
    def left_out(self) -> int:
        """How many rows only the CSV has."""
        return max(0, len(self.rows) - _MOST_ROWS)

    @property
    def csv(self) -> str:
        """All rows with their raw values, a line of headings first; what is missing is empty."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow([heading for heading, _ in self.columns])
        for row in self.rows:
            writer.writerow(["" if _missing(value) else value for value in row])
        return out.getvalue()

    @property
    def csv_uri(self) -> str:
        """The CSV as a link that needs no network."""
        return "data:text/csv;charset=utf-8," + quote(self.csv, safe=",", errors="replace")

    @property
    def file_name(self) -> str:
        """A plain name for the CSV file."""
        return "".join(c if c.isalnum() else "-" for c in self.name.lower()).strip("-") + ".csv"


def _missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and not math.isfinite(value))


@dataclass(frozen=True)
class Figure:
    """A drawing with its caption, and the numbers that it draws."""

    title: str
    caption: str
    drawing: Markup
    table: Table
    legend: Sequence[tuple[Markup, str]] = ()
    wide: bool = False
