"""What a sweep will take: the points that have been timed, and by them the others."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .files import read_json
from .forecast import Forecast, terms_before, terms_of
from .sweep_points import Point
from .sweep_shared import Site
from .sweep_work import outcome_of


@dataclass(frozen=True)
class Foretold:
    """Seconds of a sweep on one process.

    Attributes:
        each: of each point, without what it shares; None where it has been run.
        shared: of what has to be made before them.
        basis: what the seconds come from, in words.
    """

    each: list[float | None]
    shared: float
    basis: str

    @property
    def total(self) -> float:
        """All that is left to do."""
        return self.shared + sum(took for took in self.each if took is not None)


def foretell(
    site: Site, plan: Sequence[Point], time_steps: Callable[[Site, Point], float]
) -> Foretold:
    """Return the seconds that points will take.

    Args:
        site: where.
        plan: the points.
        time_steps: where no point has been run, times the training of one on everything.
    """
    timed, left = timings(site, plan)
    basis = f"from {len(timed)} timed points"
    if not timed and plan:
        first = plan[0]
        everything = Point(
            {
                k: v
                for k, v in first.values.items()
                if k in ("model", "epochs", "steps", "batch_size", "image_size")
            },
            first.seed,
        )
        timed = [(terms_of(site, everything), time_steps(site, first))]
        basis = "from a few timed steps"
    model = Forecast.fit(timed)
    each = [
        model.seconds(terms_of(site, point)) if todo else None
        for point, todo in zip(plan, left, strict=True)
    ]
    before: dict[str, float] = {}
    for point, todo in zip(plan, left, strict=True):
        if todo:
            before |= {
                key: model.seconds(terms) for key, terms in terms_before(site, point).items()
            }
    done = {
        f"{kind} {note.stem}"
        for kind, folder in _FOLDERS.items()
        for note in (site.shared / folder).glob("*.json")
        if read_json(note).get("done")
    }
    shared = sum(took for key, took in before.items() if " ".join(key.split()[:2]) not in done)
    return Foretold(each, shared, basis)


def timings(
    site: Site, plan: Sequence[Point]
) -> tuple[list[tuple[list[float], float]], list[bool]]:
    """Return (terms, seconds) of the points that have been run, and which have not."""
    timed, left = [], []
    for point in plan:
        outcome = outcome_of(site.out / "points" / point.id(site.pool.fingerprint))
        todo = outcome is None or outcome["status"] != "done"
        left.append(todo)
        if outcome is not None and not todo:
            terms = terms_of(site, point, outcome["cost"]["training"])
            timed.append((terms, float(outcome["measured"]["own_seconds"])))
    return timed, left


_FOLDERS = {"scoring": "records", "teaching": "teachers"}
