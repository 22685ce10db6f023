"""Scores that points of a sweep choose by: a recorded run, its embedding and its scores."""

from dataclasses import asdict
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .costs import Cost, Parts, Spent, full_cost
from .errors import UsageError
from .files import whole_file
from .forecast import planned
from .grid_words import Keep
from .run import Run
from .sweep_once import once_a_call
from .sweep_points import Point
from .traces import TRACES

if TYPE_CHECKING:
    from .sweep_shared import Site

FED = {*TRACES, "labels", "n", "seed", "embedding"}  # what a recorded run gives to scorers


def scored(site: "Site", point: Point, keep: Keep) -> tuple[np.ndarray, Parts]:
    """Return the scores (n,) of a recorded run, and what recording and scoring took."""
    refuse_unfed(keep.scorer)
    earlier = point.recorded(site.pool.fingerprint)
    assert earlier is not None
    folder = site.shared / earlier.place
    said = once_a_call(site, folder, "record", lambda: _record(site, earlier.run, folder))
    spent = {earlier.place: Spent(Cost(**said["cost"]), said["seconds"])}
    if "embedding" in needs_of(keep.scorer):
        spent[f"embeddings/{folder.name}"] = _embedded(site, earlier.run, folder)
    file = site.shared / "scores" / f"{keep.scorer}-{folder.name}.npy"
    made = file.with_suffix("")
    also = once_a_call(site, made, "score", lambda: _score(site, keep.scorer, folder, file))
    spent[f"scores/{file.stem}"] = Spent(seconds=also["seconds"])
    return np.load(file, allow_pickle=False), spent


def refuse_unfed(scorer: str) -> None:
    """Refuse a scorer that one recorded run does not feed.

    Raises:
        UsageError: says what it would need.
    """
    if lacks := sorted(needs_of(scorer) - FED):
        raise UsageError(
            f"keep {scorer!r} needs {', '.join(lacks)}; a sweep records {', '.join(sorted(FED))}"
        )


def needs_of(scorer: str) -> set[str]:
    """Return the names of the sources that a scorer needs.

    Example:
        >>> needs_of("el2n")
        {'error_norm'}
    """
    from scorers import SCORERS

    kinds = signature(SCORERS[scorer]).parameters.values()
    return {p.name for p in kinds if p.kind is not p.KEYWORD_ONLY}


def _record(site: "Site", run: Run, folder: Path) -> dict[str, Any]:
    from .recording import record

    made = record(site.pool, run, folder, progress=site.progress("scoring, "))
    flops, _ = site.counted(run)
    seen, steps = planned(run, 1.0, site.n)
    clean = flops.forward * site.n * len(made.clean_epochs)
    active = site.active(run, steps)
    return {"cost": asdict(full_cost(seen, steps, flops, active, extra=clean))}


def _embedded(site: "Site", run: Run, folder: Path) -> Spent:
    """Make the embedding that scorers share; return what it took, whoever made it."""
    from .embedding import embed
    from .traces import Record

    out = site.shared / "embeddings" / f"{folder.name}.npy"

    def work() -> dict[str, Any]:
        embed(site.pool, Record(folder), out=out)
        return {}

    made = out.with_name(f"{folder.name}-made")  # .json beside `out` is its own
    said = once_a_call(site, made, "embedding", work)
    flops, weights = site.counted(run)
    passed = full_cost(0, 0, flops, weights, extra=flops.forward * site.n)
    return Spent(passed, said["seconds"])


def _score(site: "Site", scorer: str, folder: Path, file: Path) -> dict[str, Any]:
    from .scores import score
    from .traces import Record

    traces, extra = Record(folder), {}
    options = {}
    if "embedding" in needs_of(scorer):
        made = site.shared / "embeddings" / f"{folder.name}.npy"
        extra["embedding"] = np.load(made, mmap_mode="r", allow_pickle=False)
    if scorer == "prototypes":
        options[scorer] = {"k": site.pool.num_classes}
    values = score(traces, [scorer], data=site.pool, extra=extra, options=options)[scorer]
    with whole_file(file) as temporary, temporary.open("wb") as opened:
        np.save(opened, values)
    return {}
