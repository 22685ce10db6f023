"""`datapruner train`."""

# ruff: noqa: D417 - groups of options document themselves

import json
from typing import TYPE_CHECKING, Any

from ..console import Console
from ..errors import PrunerError, UsageError
from ..history import History
from ..run import Run
from ..sampler_specs import ByScoreSpec, InfoBatchSpec, KeepSpec, RS2Spec
from .options import Common, DataWord, Open, Opening, Say, run_of
from .smaller import line_of_smaller, rehearse, write_smaller
from .teaching import Draw, Drawn, Teach, Teaching
from .weighing import Trained, TrainPruned, Weigh, Weighing, both_schedules

if TYPE_CHECKING:
    from torch import nn

    from ..data import Data


def train(
    data: DataWord,
    /,
    out: str | None = None,
    drawing: Draw = Drawn(),  # noqa: B008 - frozen
    teaching: Teach = Teaching(),  # noqa: B008 - frozen
    weighing: Weigh = Weighing(),  # noqa: B008 - frozen
    training: TrainPruned = Trained(),  # noqa: B008 - frozen
    opening: Open = Opening(),  # noqa: B008 - frozen
    common: Say = Common(),  # noqa: B008 - frozen
) -> None:
    """Train on all, on a kept subset, or on what a sampler draws anew each epoch.

    Prints test accuracy beside the examples seen, the steps taken and the seconds. There are two
    budgets: with --epochs a smaller share takes fewer steps, with --steps every share takes as
    many. The learning rate runs its whole course in either. With --density the network is pruned
    as it trains, and with --remove made really smaller at the end.

    Args:
        data: what to train on; its test split is read after each epoch.
        out: folder for the network and its history; an interrupted run goes on from it.
    """
    sampler = drawing.shared(teaching).spec()
    training, when = both_schedules(training)
    specs = {"sampler": sampler, "distill": teaching.spec(), "weights": weighing.spec(when)}
    run = run_of(training, data=data, **specs)
    if weighing.remove and out is None:
        raise UsageError("--remove writes the smaller network into the run's folder; give --out")
    _train(data, out, run, weighing.remove, opening, common)


def _train(
    word: str, out: str | None, run: Run, remove: bool, opening: Opening, common: Common
) -> None:
    """Train what the run says; print accuracy beside what it cost."""
    from ..data import open_data
    from ..training import make_loader, network
    from ..training import train as work
    from .estimate import estimate, text

    with Console() as console:
        data = open_data(word, "train", download=opening.download, strict=opening.strict)
        console.say(f"{data}; {describe(run)}")
        if remove:
            rehearse(run, data)
        if common.dry_run:
            if run.weights is not None:
                run.weights.check(network(run, data, make_loader(data, run)))
            cost = estimate(run, data, recording=False)
            print(json.dumps(cost) if common.json else text(cost))
            return
        test = open_test(word, opening, console)
        model, history = work(run, data, test=test, out=out, progress=console.progress)
        kept = None if run.weights is None else _kept(run, model, history, console)
        smaller = write_smaller(run, data, model, out) if remove and out is not None else None
    result = summary(run, data, history)
    if kept is not None:
        result |= {"active": kept["active"], "weights": kept}
    if smaller is not None:
        result["smaller"] = smaller
    print(json.dumps(result) if common.json else line(result))
    if smaller is not None and not common.json:
        print(line_of_smaller(smaller))


def _kept(run: Run, model: "nn.Module", history: History, console: Console) -> dict[str, Any]:
    """Say which weights were left alone and how dense each layer is now; return the report."""
    from ..masks import average_active, density_report, prunable

    scope = prunable(model, run.weights.skip if run.weights else "")
    zeros = {name: model.get_parameter(name) != 0 for name in scope.names}
    found = density_report(model, zeros)
    layers = ", ".join(f"{name} {share:.4g}" for name, share in found["layers"].items())
    console.say(scope.text())
    console.say(f"density {found['density']:.4g} ({layers})")
    return {**found, "average_active": average_active(history), "skipped": scope.skipped}


def open_test(word: str, opening: Opening, console: Console) -> "Data | None":
    """Open the test split; say so where there is none, and go on without it."""
    from ..data import open_data

    try:
        return open_data(word, "test", download=opening.download, strict=opening.strict)
    except PrunerError as error:
        console.say(f"no test accuracy: {error}")
        return None


def describe(run: Run) -> str:
    """Say in a few words what a run trains on.

    Example:
        >>> describe(Run(sampler=RS2Spec(0.1), model="lenet"))
        'lenet on a fresh 10 % each epoch (RS2), seed 0'
    """
    what = "all examples"
    if isinstance(run.sampler, RS2Spec):
        what = f"a fresh {100 * run.sampler.fraction:g} % each epoch (RS2)"
    elif isinstance(run.sampler, InfoBatchSpec):
        what = f"what InfoBatch leaves, {100 * run.sampler.ratio:g} % of the easy part out"
    elif isinstance(run.sampler, ByScoreSpec):
        what = f"{100 * run.sampler.fraction:g} % chosen by {run.sampler.scorer} each epoch"
    elif isinstance(run.sampler, KeepSpec):
        what = f"the subset {run.sampler.folder}"
    taught = "" if run.distill is None else f", taught by {run.distill.teacher}"
    return f"{run.model} on {what}{taught}, seed {run.seed}"


def summary(run: Run, data: "Data", history: History) -> dict[str, Any]:
    """Return what a training run came to, for printing and for JSON."""
    return {
        "run": run.changed(),
        "data": data.name,
        "test_accuracy": history.accuracy,
        "examples": history.examples,
        "steps": history.steps,
        "seconds": round(history.seconds, 2),
        "saved": _saved(run, data, history),
    }


def _saved(run: Run, data: "Data", history: History) -> float | None:
    """Return the share of the visits that InfoBatch left out, None for other samplers."""
    if not isinstance(run.sampler, InfoBatchSpec) or run.steps:
        return None
    whole = int(data.readable.sum()) * len(history.epochs)
    return round(1 - history.examples / whole, 4)


def line(result: dict[str, Any]) -> str:
    """Return the summary as one line.

    Example:
        >>> found = {"test_accuracy": 0.9, "examples": 750, "steps": 10, "seconds": 1.5}
        >>> line(found | {"saved": 0.25})
        'test accuracy 90.00 %, 750 examples seen (25.0 % saved), 10 steps, 1.5 s'
    """
    accuracy = result["test_accuracy"]
    first = "no test split" if accuracy is None else f"test accuracy {100 * accuracy:.2f} %"
    saved = "" if result["saved"] is None else f" ({100 * result['saved']:.1f} % saved)"
    active = result.get("active")
    weights = "" if active is None else f", {active:,} parameters active at the end"
    return (
        f"{first}, {result['examples']:,} examples seen{saved}, {result['steps']:,} steps, "
        f"{result['seconds']:,.1f} s{weights}"
    )
