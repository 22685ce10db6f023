"""`datapruner race`."""

# ruff: noqa: D417 - groups of options document themselves

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..console import Console
from ..errors import PrunerError
from .options import Common, DataWord, Open, Opening, Say, Train, Training, run_of

if TYPE_CHECKING:
    from ..data import Data
    from ..racing import Race
    from ..report import Result

NOTES = (
    "Every arm trains the same network with the same schedule over its own steps: an arm with a "
    "share of the examples takes that share of the steps, and its learning rate still runs its "
    "whole course. The arms named 'as many steps as' train on everything for as many steps: what "
    "those do better than a subset owes nothing to choosing, and what RS2 gains over a fixed "
    "subset is mostly what they have as well.",
    "Seconds are training with the sampler's own work, and scoring and selecting before it; tests "
    "after each epoch are left out.",
)
STEPS_NOTE = (
    "Every arm takes the same number of steps with the same schedule: a smaller share is seen more "
    "often, not for a shorter time."
)
KEPT = "kept: "
KEPT_NOTE = "What it cost to choose the arms named 'kept' is not in their seconds."


def race(
    data: DataWord,
    /,
    out: str,
    fraction: tuple[float, ...] = (0.1,),
    seeds: int = 3,
    infobatch: float = 0.5,
    keep: tuple[str, ...] = (),
    scorers: tuple[str, ...] = (),
    score_epochs: int = 0,
    rule: str = "top",
    training: Train = Training(),  # noqa: B008 - frozen
    opening: Open = Opening(),  # noqa: B008 - frozen
    common: Say = Common(),  # noqa: B008 - frozen
) -> None:
    """Race samplers: accuracy against wall time, steps and examples, and the time to accuracy.

    Trains on all data, on a fixed random subset, with RS2, with InfoBatch, on kept or scored
    subsets, and on all data for as many steps as RS2 and InfoBatch took. With --epochs each arm
    takes as many epochs of its own size; with --steps every arm takes that many. Each run lies in a
    folder of its own: an interrupted race goes on, and more --seeds, --keep or --scorers train only
    what is missing.

    Args:
        data: what to train on; its test split is read after each epoch.
        out: folder for results.json, report.html and every run.
        fraction: shares of the data, each with a random arm, RS2 and the scored arms.
        seeds: runs of each arm.
        infobatch: share of the examples below the mean loss that InfoBatch leaves out; 0 leaves out
            the arm.
        keep: folders that `keep` wrote, each an arm; what it cost to choose them is not known here.
        scorers: each an arm that keeps by this score of a recorded run, whose time counts.
        score_epochs: epochs of that recorded run; 0 is a fifth of what an arm of all data takes.
        rule: how scored arms keep: top, bottom, middle, ccs, ...
    """
    from ..racing import Race

    what = Race(
        run_of(training, data=data),
        fraction,
        infobatch or None,
        tuple((f"{KEPT}{Path(folder).name}", folder) for folder in keep),
        scorers,
        score_epochs,
        rule,
    )
    _race(what, out, seeds, opening, common)


def _race(what: "Race", out: str, seeds: int, opening: Opening, common: Common) -> None:
    """Train every arm, write the page, print the table."""
    from ..claiming import claim
    from ..data import open_data
    from ..racing import race as work
    from .estimate import estimate, text
    from .report import write_page

    word = what.run.data or ""
    with Console() as console:
        data = open_data(word, "train", download=opening.download, strict=opening.strict)
        console.say(f"{data}; {what.run.model}, {seeds} seeds")
        if common.dry_run:
            cost = estimate(what.run, data, recording=False)
            print(json.dumps(cost) if common.json else f"each run of all data: {text(cost)}")
            return
        test = open_data(word, "test", download=opening.download, strict=opening.strict)
        _same_classes(data, test)
        fingerprints = {"data": data.fingerprint}
        claim(out, "race", what.run.id(**fingerprints), what.run, fingerprints)
        results = work(what, data, test, out, seeds=seeds, progress=console.within)
    page = write_page(out, opening, data=data)
    _show(results, page, common)


def notes(run: dict[str, Any], results: "list[Result]") -> tuple[str, ...]:
    """Return what to mind of a race, from its run.json and results.json."""
    said: tuple[str, ...] = (STEPS_NOTE, *NOTES[1:]) if run.get("steps") else NOTES
    return said + ((KEPT_NOTE,) if any(r.arm.startswith(KEPT) for r in results) else ())


def _same_classes(data: "Data", test: "Data") -> None:
    if data.classes != test.classes:
        raise PrunerError(f"{data.name}: the test split has other classes than the training split")


def _show(results: "list[Result]", page: Path, common: Common) -> None:
    from ..report.pace import paces

    if common.json:
        rows = [{k: v for k, v in asdict(r).items() if k != "history"} for r in results]
        found = [asdict(pace) for pace in paces(results)]
        print(json.dumps({"report": str(page), "results": rows, "time_to_accuracy": found}))
        return
    print(table(results))
    print(f"\nspeed-up: how much longer all data takes to the arm's accuracy\nreport: {page}")


def table(results: "list[Result]") -> str:
    """Return arms, what they reached, what they cost, and when they reach shares of all data.

    Example:
        >>> from datapruner.report import Result
        >>> print(table([Result("all data", 0, 0.9, 100, 10, 4.0)]))
        arm       accuracy  examples  steps  seconds  to 90 %  to 95 %  to 99 %  speed-up
        all data   90.00 %       100     10      4.0        -        -        -         -
    """
    from ..report.arms import gather
    from ..report.pace import SHARES, paces, speed_ups

    when = {(p.arm, p.share): p.seconds for p in paces(results)}
    ups = speed_ups(results)
    head = ["arm", "accuracy", "examples", "steps", "seconds"]
    rows = [[*head, *(f"to {100 * s:.0f} %" for s in SHARES), "speed-up"]]
    for arm in gather(results):
        reached = [when.get((arm.name, share)) for share in SHARES]
        up = ups[arm.name]
        rows.append(
            [
                arm.name,
                f"{100 * arm.accuracy.mean:.2f} %",
                f"{arm.examples:,.0f}",
                f"{arm.steps:,.0f}",
                f"{arm.seconds:,.1f}",
                *("-" if time is None else f"{time.mean:,.1f}" for time in reached),
                "-" if up is None else f"{up:.1f}",
            ]
        )
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows
    )
