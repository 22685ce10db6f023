"""What a sweep will take: the runs that have been timed, and by them the others."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

from .files import read_json
from .forecast import (
    BELOW,
    Forecasts,
    Work,
    below_of,
    compared,
    epochs_of,
    examples_read,
    planned,
    rankings,
)
from .run import Run
from .sweep_points import Earlier, Point
from .sweep_shared import Site, network_word
from .sweep_work import Outcome, outcome_of

Timed = tuple[Work, float]


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
    timed = [timing_of(site, point) for point in plan]
    shared = {one.place: one for point in plan for one in point.before(site.pool.fingerprint)}
    made = {place: _seconds_of(site, one) for place, one in shared.items()}
    known = [
        (network_word(p.run), *one) for p, one in zip(plan, timed, strict=True) if one is not None
    ]
    basis = f"from {len(known)} timed points"
    if not known and plan:
        plain = replace(plan[0].run, sampler=None, weights=None, distill=None)
        known = [
            (
                network_word(plain),
                _training(site, plain, 1.0, planned(plain, 1.0, site.n)),
                time_steps(site, plan[0]),
            )
        ]
        basis = "from a few timed steps"
    for place, took in made.items():
        if took:
            known.append((network_word(shared[place].run), work_before(site, shared[place]), took))
    if not known:
        return Foretold([], 0.0, basis)
    model = Forecasts(known)
    below = _below(site, plan)
    left = [point for point, done in zip(plan, timed, strict=True) if done is None]
    needed = {one.place for point in left for one in point.before(site.pool.fingerprint)}
    return Foretold(
        [
            model.seconds(network_word(point.run), work_of(site, point, below=below))
            if done is None
            else None
            for point, done in zip(plan, timed, strict=True)
        ],
        sum(
            model.seconds(network_word(shared[p].run), work_before(site, shared[p]))
            for p in needed
            if made[p] is None
        ),
        basis,
    )


def _below(site: Site, plan: Sequence[Point]) -> float:
    """Return the share below the mean loss, as the runs of InfoBatch that are done had it."""
    found = []
    for point in plan:
        if point.keep.kind == "infobatch" and (done := _outcome(site, point)) is not None:
            examples = done["cost"]["training"]["examples"]
            found.append(below_of(point.run, site.n, examples))
    said = [one for one in found if one is not None]
    return median(said) if said else BELOW


def timing_of(site: Site, point: Point) -> Timed | None:
    """Return what a point did and its seconds; None where it has not been run to its end."""
    outcome = _outcome(site, point)
    if outcome is None:
        return None
    work = work_of(site, point, outcome["cost"]["training"])
    return work, float(outcome["measured"]["own_seconds"])


def _outcome(site: Site, point: Point) -> Outcome | None:
    """Return the outcome of a point that has been run to its end."""
    outcome = outcome_of(site.folder(point))
    return outcome if outcome is not None and outcome["status"] == "done" else None


def work_of(
    site: Site, point: Point, counted: Mapping[str, Any] | None = None, below: float = BELOW
) -> Work:
    """Return what a point does, without what it shares.

    Args:
        site: where.
        point: which.
        counted: its counted training cost, where it has been run; else it is planned.
        below: see `planned`.
    """
    run, fraction = point.run, point.get("fraction")
    given = point.first is not None and point.get("order") not in ("data first", "dense first")
    taken = planned(run, fraction, site.n, below)
    if counted is not None:
        taken = counted["examples"], counted["steps"]
    work = _training(site, run, fraction, taken, given_masks=given)
    flops, _ = site.counted(run)
    judged = len(site.held) + (0 if site.test is None else int(site.test.readable.sum()))
    work = replace(work, judged=flops.forward * judged / 1e9)
    if run.distill is None or run.distill.weight == 0:
        return work
    teacher, _ = site.counted(point.teaching or run)
    rows = taken[0] + compared(run, round(fraction * site.n))
    return replace(work, asked=teacher.forward * rows / 1e9)


def work_before(site: Site, earlier: Earlier) -> Work:
    """Return what a run that points share does."""
    run = earlier.run
    taken = planned(run, earlier.fraction, site.n)
    work = _training(site, run, earlier.fraction, taken)
    if not earlier.recorded:
        return work
    flops, _ = site.counted(run)
    rows = site.n * epochs_of(run, 1.0, site.n)
    clean = site.n * max(1, len(run.clean_epochs))  # without any said, there is one
    return replace(work, recorded=(rows + clean) / 1e3, judged=flops.forward * clean / 1e9)


def _training(
    site: Site,
    run: Run,
    fraction: float,
    taken: tuple[int, int],
    *,
    given_masks: bool = False,
) -> Work:
    """Return what training on so many examples in so many steps takes, its masks with it."""
    examples, steps = taken
    flops, weights = site.counted(run)
    ranked, held = 0.0, 0.0
    if run.weights is not None:
        held = weights * steps / 1e6
        if not given_masks:
            ranked = weights * rankings(run.weights, steps) / 1e6
            examples += examples_read(run.weights, steps, round(fraction * site.n))
    return Work(
        operations=flops.step * examples / 1e9,
        steps=steps,
        epochs=epochs_of(run, fraction, site.n),
        ranked=ranked,
        held=held,
    )


def _seconds_of(site: Site, earlier: Earlier) -> float | None:
    """Return what a run that points share took; None where it has not been made."""
    folder = site.shared / earlier.place
    note = folder.with_name(f"{folder.name}.json")
    said = read_json(note) if note.exists() else {}
    return float(said["seconds"]) if said.get("done") else None
