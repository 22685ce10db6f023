"""`datapruner report`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import PrunerError
from ..files import read_json
from .options import Common, Opening

if TYPE_CHECKING:
    from ..data import Data


def report(
    folder: str,
    opening: Opening,
    common: Common,
    *,
    quiet: bool = False,
    data: "Data | None" = None,
    notes: tuple[str, ...] = (),
) -> Path:
    """Write report.html from what lies in the folder: run.json, scores, selections and results."""
    from ..data import open_data
    from ..report import read_results, write_report
    from ..scores import Scores
    from ..selection import Selection

    home = Path(folder)
    if not (home / "run.json").exists():
        raise PrunerError(f"{home}: holds no run.json; give the --out of score or demo")
    about = read_json(home / "run.json")
    if data is None:
        spec = about["run"].get("data", "digits")
        data = open_data(spec, "train", download=opening.download, strict=opening.strict)
    table = home / "scores.parquet"
    scores = Scores.load(table, data=data) if table.exists() else None
    kept = sorted(p.parent for p in home.glob("*/selection.json"))
    selections = {p.name: Selection.load(p, data=data) for p in kept}
    results = home / "results.json"
    page = write_report(
        home / "report.html",
        title=f"{data.name}: which examples are worth training on",
        data=data,
        scores=scores,
        selections=selections,
        results=read_results(results) if results.exists() else None,
        provenance=_provenance(about, data),
        notes=notes,
    )
    if not quiet:
        print(page)
    return page


def _provenance(about: dict[str, Any], data: "Data") -> dict[str, Any]:
    from ..provenance import versions

    return {
        "data": {"name": data.name, "fingerprint": data.fingerprint, "examples": data.n},
        "run": {"id": about["id"], **about["run"]},
        "versions": versions(),
    }
