"""`datapruner report`."""

# ruff: noqa: D417 - groups of options document themselves

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from ..errors import PrunerError
from ..files import read_json
from .options import Common, Open, Opening, Say

if TYPE_CHECKING:
    from ..data import Data


def report(
    folder: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")],
    /,
    opening: Open = Opening(),  # noqa: B008 - frozen
    common: Say = Common(),  # noqa: B008 - frozen
) -> None:
    """Write report.html of a folder that `score`, `demo`, `race` or `sweep` made, anew.

    Args:
        folder: the folder.
    """
    page = Path(folder) / "report.html"
    if common.dry_run:
        print(json.dumps({"report": str(page)}) if common.json else f"would write {page}")
        return
    page = _sweep_page(folder) or write_page(folder, opening)
    print(json.dumps({"report": str(page)}) if common.json else page)


def _sweep_page(folder: str) -> Path | None:
    """Write the page of a sweep; None where the folder is another command's."""
    about = Path(folder) / "run.json"
    if not about.exists() or read_json(about).get("kind") != "sweep":
        return None
    from ..report.sweep_page import write_sweep_report

    return write_sweep_report(folder)


def write_page(
    folder: str,
    opening: Opening,
    *,
    data: "Data | None" = None,
    notes: tuple[str, ...] = (),
) -> Path:
    """Write report.html from what lies in the folder: run.json, scores, selections and results."""
    from ..data import open_data
    from ..report import read_results, write_report
    from ..report.neighbours import read_neighbours
    from ..scores import Scores
    from ..selection import Selection

    home = Path(folder)
    if not (home / "run.json").exists():
        raise PrunerError(f"{home}: holds no run.json; give the --out of score or demo")
    about = read_json(home / "run.json")
    if data is None:
        spec = about["run"].get("data")
        if spec is None:
            raise PrunerError(f"{home}: its run.json names no data to open")
        data = open_data(spec, "train", download=opening.download, strict=opening.strict)
    table = home / "scores.parquet"
    scores = Scores.load(table, data=data) if table.exists() else None
    kept = sorted(p.parent for p in home.glob("*/selection.json"))
    selections = {p.name: Selection.load(p, data=data) for p in kept}
    results = home / "results.json"
    return write_report(
        home / "report.html",
        title=f"{data.name}: which examples are worth training on",
        data=data,
        scores=scores,
        selections=selections,
        results=read_results(results) if results.exists() else None,
        provenance=_provenance(about, data),
        notes=notes,
        neighbours=read_neighbours(home),
    )


def _provenance(about: dict[str, Any], data: "Data") -> dict[str, Any]:
    from ..provenance import versions

    return {
        "data": {"name": data.name, "fingerprint": data.fingerprint, "examples": data.n},
        "run": {"id": about["id"], **about["run"]},
        "versions": versions(),
    }
