"""`datapruner advise`."""

# ruff: noqa: D417 - groups of options document themselves

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from ..claiming import refuse_file
from ..console import Console
from ..errors import Refused
from ..files import read_json
from .options import Common, DataWord, Say, Train, Training, run_of

if TYPE_CHECKING:
    from ..advice import Advice


def advise(
    data: DataWord,
    /,
    budget: str = "10m",
    out: str | None = None,
    seeds: int = 3,
    lose: float = 0.01,
    training: Train = Training(),  # noqa: B008 - frozen
    common: Say = Common(),  # noqa: B008 - frozen
) -> None:
    """Try a few short runs, and say what to train on: how much, which end, fresh or fixed.

    A fifth of the training set is set aside, the same for all runs; the test set is never read.
    Tried are everything, halves and fifths (random, fresh each epoch, the hardest, the easiest),
    all data for as many steps, a teacher, and sparser networks, each with several seeds, for as
    many epochs as fit into the budget. What is recommended costs less than everything and loses,
    at 90 % over the seeds, no more than --lose; where there is no such thing, the advice is to
    train on everything.

    Args:
        data: what will be trained on; its training split is read.
        budget: time for the pilot: 90s, 10m, 1h.
        out: folder for the runs, so that the same command goes on; default none is kept.
        seeds: runs of each arm, at least 2.
        lose: accuracy that may be lost for a lower cost; 0.01 is a point.
    """
    from ..advising import Pilot, seconds_of
    from ..advising import advise as work

    pilot = Pilot(run_of(training), seconds_of(budget), seeds, lose)
    if common.dry_run:
        said = {"seconds": pilot.budget, "seeds": seeds, "at_most_epochs": pilot.run.epochs}
        text = f"a pilot of at most {pilot.budget:,.0f} s and {pilot.run.epochs} epochs a run"
        print(json.dumps(said) if common.json else text)
        return
    if out is not None:
        _refuse_another(Path(out))
    with Console() as console:
        found = work(data, pilot, out=out, say=console.say)
    if common.json:
        print(json.dumps(asdict(found)))
        return
    print("\n".join(found.words))
    print(f"\n{table(found)}")


def _refuse_another(folder: Path) -> None:
    """Refuse a folder that is no pilot's before runs are put into it."""
    refuse_file(folder)
    if (folder / "run.json").exists():
        kind = read_json(folder / "run.json").get("kind")
        raise Refused(f"{folder}: holds a run of {kind}; give another --out")
    ours = ("points", "shared")
    if folder.exists() and any(path.name not in ours for path in folder.iterdir()):
        raise Refused(f"{folder}: holds files that are not a pilot's; give another --out")


def table(found: "Advice") -> str:
    """Return what was tried, a line an arm."""
    lines = [["arm", "accuracy", "beside all", "±", "cost", "seconds"]]
    for row in found.rows:
        gap, error = row["difference"], row["difference_error"]
        lines.append(
            [
                row["arm"],
                f"{100 * row['accuracy']:.2f} %",
                "-" if gap is None else f"{100 * gap:+.2f}",
                "-" if error is None else f"{100 * error:.2f}",
                f"{100 * row['cost']:.0f} %",
                f"{row['seconds']:,.1f}",
            ]
        )
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return "\n".join(
        "  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])])
        for line in lines
    )
