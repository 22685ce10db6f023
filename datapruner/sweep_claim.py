"""Taking a folder for a sweep, and what is written of it there: its data, grid and teachers."""

from collections.abc import Sequence

from .claiming import refuse_file
from .errors import Refused
from .files import read_json, write_json
from .grid import Grid
from .sweep_points import Point
from .sweep_shared import Site
from .sweep_work import outcome_of


def claim_sweep(site: Site, grid: Grid, plan: Sequence[Point]) -> list[str]:
    """Take the folder for a sweep of these data, and write down the grid and its teachers.

    Returns:
        A line for each given teacher that has other weights than it had.

    Raises:
        Refused: it holds something else.
    """
    file = site.out / "run.json"
    refuse_file(site.out)
    # looked at before run.json, which another shard may write just now; nor is what a killed one
    # left of it a stranger
    strange = site.out.exists() and any(
        not path.name.startswith(".run.json.") for path in site.out.iterdir()
    )
    if file.exists():
        held = read_json(file)
        if held.get("kind") != "sweep":
            raise Refused(f"{site.out}: holds a run of {held.get('kind')}; give another --out")
        if held.get("data") != site.pool.fingerprint:
            raise Refused(
                f"{site.out}: holds a sweep of other data, or with another share set aside; "
                "give another --out"
            )
    elif strange:
        raise Refused(f"{site.out}: holds files that are not a sweep's; give another --out")
    about = {"kind": "sweep", "data": site.pool.fingerprint, "grid": grid.plain()}
    if teachers := {p.given: site.teacher_of(p) for p in plan if p.given}:
        about["teachers"] = teachers
    before = read_json(file) if file.exists() else {}
    if before != about:
        write_json(file, about)
    return _changed(site, plan, teachers, before.get("teachers", {}))


def _changed(
    site: Site, plan: Sequence[Point], teachers: dict[str, str], before: dict[str, str]
) -> list[str]:
    """Say of which teachers points have to be run that were run with other weights of theirs."""
    lines = []
    for word, now in teachers.items():
        todo = [p for p in plan if p.given == word and outcome_of(site.folder(p)) is None]
        by_path = [p for p in todo if (site.out / "points" / p.id(site.pool.fingerprint)).exists()]
        if word in before and before[word] != now and todo:
            lines.append(
                f"teacher {word}: its weights are not those that this sweep ran with before "
                f"({before[word]}, now {now}); points to run with these: {len(todo)}"
            )
        elif word not in before and by_path:
            lines.append(
                f"teacher {word}: counts by its weights now ({now}), not by its path; "
                f"points to run again: {len(by_path)}"
            )
    return lines
