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
    from ..report import Result


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
    about = _about(Path(folder))
    if common.dry_run:
        print(json.dumps({"report": str(page)}) if common.json else f"would write {page}")
        return
    if about["kind"] == "sweep":
        from ..report.sweep_page import write_sweep_report

        page = write_sweep_report(folder)
    else:
        page = write_page(folder, opening)
    print(json.dumps({"report": str(page)}) if common.json else page)


def _about(home: Path) -> dict[str, Any]:
    """Return what the folder says it is.

    Raises:
        PrunerError: it is of no command that makes a page.
    """
    makers = "give the --out of score, demo, race or sweep"
    if not (home / "run.json").exists():
        raise PrunerError(f"{home}: holds no run.json; {makers}")
    about: dict[str, Any] = read_json(home / "run.json")
    if (kind := about.get("kind", "another program")) not in ("score", "demo", "race", "sweep"):
        raise PrunerError(f"{home}: is of {kind}, which has no page; {makers}")
    return about


def write_page(
    folder: str,
    opening: Opening,
    *,
    data: "Data | None" = None,
) -> Path:
    """Write report.html from what lies in the folder: run.json, scores, selections and results."""
    from ..data import open_data
    from ..report import read_results, write_report
    from ..report.neighbours import read_neighbours
    from ..scores import Scores
    from ..selection import Selection

    home = Path(folder)
    about = _about(home)
    if data is None:
        spec = about["run"].get("data")
        if spec is None:
            raise PrunerError(f"{home}: its run.json names no data to open")
        data = open_data(spec, "train", download=opening.download, strict=opening.strict)
    table = home / "scores.parquet"
    scores = Scores.load(table, data=data) if table.exists() else None
    kept = sorted(p.parent for p in home.glob("*/selection.json"))
    selections = {p.name: Selection.load(p, data=data) for p in kept}
    table = home / "results.json"
    results = read_results(table) if table.exists() else None
    return write_report(
        home / "report.html",
        title=f"{data.name}: which examples are worth training on",
        data=data,
        scores=scores,
        selections=selections,
        results=results,
        provenance=_provenance(about, data),
        notes=_notes(about, results or []),
        neighbours=read_neighbours(home),
    )


def _notes(about: dict[str, Any], results: "list[Result]") -> tuple[str, ...]:
    """Return what the page says beside the results, the same whichever command writes it."""
    from . import demo, race

    if about["kind"] == "demo":
        return demo.NOTES
    return race.notes(about["run"], results) if about["kind"] == "race" else ()


def _provenance(about: dict[str, Any], data: "Data") -> dict[str, Any]:
    from ..provenance import versions

    return {
        "data": {"name": data.name, "fingerprint": data.fingerprint, "examples": data.n},
        "run": {"id": about["id"], **about["run"]},
        "versions": versions(),
    }
