"""`datapruner compare`."""

# ruff: noqa: D417 - groups of options document themselves

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from ..errors import Refused, UsageError, suggest
from .options import Common, Say

if TYPE_CHECKING:
    from ..ranking import Comparison
    from ..scores import Scores

Word = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="SCORES[:NAME]")]


def compare(
    a: Word,
    b: Word,
    /,
    fraction: float = 0.3,
    common: Say = Common(),  # noqa: B008 - frozen
) -> None:
    """Compare two scores: rank correlation, what both keep at each budget, class by class.

    Give a scores.parquet or its folder, and behind a colon which score; without one, all scores
    that both tables have are compared.

    Args:
        a: the one.
        b: the other.
        fraction: share of the examples that is kept where classes are compared.
    """
    if not 0 < fraction <= 1:
        raise UsageError(f"fraction must be above 0 and at most 1, not {fraction}")
    _compare(a, b, fraction, common)


def _compare(a: str, b: str, fraction: float, common: Common) -> None:
    """Read the two tables, compare what is named, print."""
    from ..ranking import compare_scores

    (first, name_a), (second, name_b) = _read(a), _read(b)
    _refuse_other_examples(a, b, first, second)
    pairs = _pairs(first, second, name_a, name_b)
    classes = first.meta.get("classes") or second.meta.get("classes")
    labels = first.labels if first.labels is not None else second.labels
    if labels is not None and classes is not None and int(labels.max()) >= len(classes):
        classes = None  # names of something else
    found = {
        pair: compare_scores(
            first[pair[0]], second[pair[1]], labels=labels, classes=classes, fraction=fraction
        )
        for pair in pairs
    }
    if common.json:
        rows = [{"a": x, "b": y, **asdict(result)} for (x, y), result in found.items()]
        print(json.dumps(rows))
        return
    print(_table(found))
    if len(found) == 1:
        print(_by_class(next(iter(found.values()))))


def _read(word: str) -> tuple["Scores", str | None]:
    """Read PATH or PATH:NAME; a folder is that of `score`."""
    from ..scores import Scores

    path, name = Path(word), None
    if not path.exists() and ":" in word:
        before, _, name = word.rpartition(":")
        path = Path(before)
    table = Scores.load(path / "scores.parquet" if path.is_dir() else path)
    if name is not None and name not in table:
        raise UsageError(f"{path} has no score {name!r}; {suggest(name, table)}")
    return table, name


def _refuse_other_examples(a: str, b: str, first: "Scores", second: "Scores") -> None:
    marks = {t.fingerprint for t in (first, second)} - {None}
    labels = [t.labels for t in (first, second) if t.labels is not None]
    same = first.n == second.n and len(marks) < 2
    if same and len(labels) == 2:
        same = bool((labels[0] == labels[1]).all())
    if not same:
        raise Refused(
            f"{a} ({first.n:,} examples, {first.fingerprint}) and {b} ({second.n:,}, "
            f"{second.fingerprint}) are of different data; compare scores of the same"
        )


def _pairs(
    first: "Scores", second: "Scores", name_a: str | None, name_b: str | None
) -> list[tuple[str, str]]:
    """Say which scores are compared: the named ones, or all that both have."""
    if name_a or name_b:
        sides = []
        for name, table, other in ((name_a, first, name_b), (name_b, second, name_a)):
            chosen = name or (other if other in table else None)
            if chosen is None:
                raise UsageError(f"one table has no score {other!r}; {suggest(other or '', table)}")
            sides.append(chosen)
        return [(sides[0], sides[1])]
    shared = [(name, name) for name in first if name in second]
    if not shared:
        raise UsageError(
            f"the tables share no score ({', '.join(first)}; {', '.join(second)}); name one of "
            "each, as in a/scores.parquet:el2n b/scores.parquet:aum"
        )
    return shared


def _table(found: dict[tuple[str, str], "Comparison"]) -> str:
    """Return a line a pair: rank correlation, and the overlap at each budget."""
    names = {pair: pair[0] if pair[0] == pair[1] else " and ".join(pair) for pair in found}
    width = max(len("both keep, of"), *map(len, names.values()))
    budgets = [f"{100 * f:.0f} %" for f, _ in next(iter(found.values())).overlaps]
    lines = [f"{'both keep, of':{width}}  spearman  " + "  ".join(f"{w:>6}" for w in budgets)]
    for pair, result in found.items():
        cells = "  ".join(f"{100 * value:4.1f} %" for _, value in result.overlaps)
        lines.append(f"{names[pair]:{width}}  {result.spearman:8.3f}  {cells}")
    lines.append(f"{'by chance':{width}}  {0:8.3f}  " + "  ".join(f"{w:>6}" for w in budgets))
    return "\n".join(lines)


def _by_class(result: "Comparison") -> str:
    """Return a line a class: the mean rank by each score, and the share kept."""
    if not result.classes:
        return ""
    rows = result.classes[:20]
    width = max(5, *(len(row.name) for row in rows))
    share = f"kept of {100 * result.fraction:g} %"
    lines = [f"\n{'class':{width}}  examples  {'mean rank (1 is highest)':>24}  {share:>18}"]
    for row in rows:
        ranks = f"{row.rank[0]:.3f} {row.rank[1]:.3f} ({row.rank_difference:+.3f})"
        kept = f"{100 * row.kept[0]:.1f} % {100 * row.kept[1]:.1f} %"
        lines.append(f"{row.name:{width}}  {row.examples:8,}  {ranks:>24}  {kept:>18}")
    if len(rows) < len(result.classes):
        lines.append(f"and {len(result.classes) - len(rows)} classes that differ less; see --json")
    return "\n".join(lines)
