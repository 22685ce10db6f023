"""`datapruner keep`."""

# ruff: noqa: D417 - groups of options document themselves

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from ..errors import PrunerError, UsageError, suggest
from .options import Common, Say

if TYPE_CHECKING:
    from ..scores import Scores


def keep(
    scores: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="SCORES")],
    /,
    by: str,
    out: str,
    fraction: float | None = None,
    k: int | None = None,
    rule: str = "top",
    per_class: bool = False,
    class_floor: float = 0.0,
    class_shares: tuple[float, ...] = (),
    calibrate: float = 0.0,
    offset: float | Literal["auto"] = 0.0,
    beta: float | Literal["auto"] = 0.0,
    strata: int = 50,
    seed: int = 0,
    export: str | None = None,
    common: Say = Common(),  # noqa: B008 - frozen
) -> None:
    """Choose a subset by a score: a folder that `train --keep` and `prune` take.

    Args:
        scores: scores.parquet of `score`.
        by: which score.
        out: folder for the selection.
        fraction: share of the readable examples to keep, above 0 and at most 1.
        k: how many to keep, instead of a fraction.
        rule: top, bottom, middle, window, ccs, random, proportional.
        per_class: the same share of every class.
        class_floor: least share of its proportional part that each class keeps.
        class_shares: what the budgets of the classes are proportional to, a number each in the
            order of the labels: 1 1 1 for equal parts, validation errors for DRoP.
        calibrate: share of what is kept that is drawn at random.
        offset: share of the highest scores to leave out first (window); auto is the share of
            suspect labels that `score --suspects` found.
        beta: share of the hardest examples to leave out first (ccs); auto likewise.
        strata: slices of equal width (ccs).
        seed: of ties and draws.
        export: also write the kept indices to this .txt or .csv file.
    """
    _keep(
        scores,
        by,
        out,
        export,
        {
            "fraction": fraction,
            "k": k,
            "rule": rule,
            "per_class": per_class,
            "class_floor": class_floor,
            "class_shares": class_shares or None,
            "calibrate": calibrate,
            "offset": offset,
            "beta": beta,
            "strata": strata,
            "seed": seed,
        },
        common,
    )


def _keep(
    scores: str, by: str, out: str, export: str | None, how: dict[str, Any], common: Common
) -> None:
    """Choose by a score of a table, and write the folder."""
    from ..scores import Scores
    from ..selection import keep as choose

    if export is not None and Path(export).suffix not in (".txt", ".csv"):
        raise UsageError(f"--export {export}: give it a name that ends in .txt or .csv")
    if how["k"] == 0:
        raise UsageError("k must be at least 1, not 0")  # Selection may be empty, a training not
    path = Path(scores)
    if path.is_dir():
        path = path / "scores.parquet"
    if not path.exists():
        raise PrunerError(f"{path}: no such file; make it with: datapruner score DATA --out DIR")
    table = Scores.load(path)
    if by not in table:
        raise UsageError(f"{path} has no score {by!r}; {suggest(by, table)}")
    for option in ("offset", "beta"):
        if how[option] == "auto":
            how[option] = _cut(table, how["fraction"], how["k"], f"{path}: --{option} auto")
    about = table.about(by) | {"scores": path.name}
    kept = choose(table[by], labels=table.labels, readable=table.readable, about=about, **how)
    if not common.dry_run:
        kept.save(out)
        if export is not None:
            kept.export(export)
    if common.json:
        print(json.dumps({"folder": out, "kept": len(kept), "n": kept.n, **kept.meta}))
        return
    done = "would keep" if common.dry_run else "kept"
    print(f"{done} {len(kept):,} of {kept.n:,} examples by {by}, rule {how['rule']}: {out}")


def _cut(table: "Scores", fraction: float | None, k: int | None, what: str) -> float:
    """Return what `auto` stands for: the share of suspect labels, as far as there is room."""
    from ..noise import cut_share

    if "suspect_label" not in table.flags:
        raise UsageError(
            f"{what} needs suspect labels; make them with: datapruner score --suspects"
        )
    share = (k or 0) / int(table.readable.sum()) if fraction is None else fraction
    return cut_share(table.flags["suspect_label"], table.readable, share)
