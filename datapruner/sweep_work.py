"""One point of a sweep: what it needs is made or found, it is trained, and judged once."""

import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .costs import Cost, Parts, Spent, peak_memory, start_peak, total
from .evaluation import predict
from .files import read_json, write_json
from .loaders import Loader
from .run import Run
from .sampler_specs import KeepSpec
from .sharing import locked
from .sweep_once import in_words
from .sweep_points import Point
from .sweep_shared import Site, started, subset, taught
from .sweep_train import Inherited, Trained, train_last
from .training import make_loader

PHASES = ("scoring", "selection", "teaching", "first", "training", "pruning", "judging")
Outcome = dict[str, Any]


def run_point(
    site: Site,
    point: Point,
    *,
    then: Callable[[Point, Outcome], None] | None = None,
    call: str = "",
) -> Outcome | None:
    """Run a point unless it has been run; an error is an outcome as well.

    Args:
        site: where.
        point: what.
        then: called with the outcome of a point that was run now.
        call: of processes that work side by side: what failed in one of them is not tried again by
            the others. "" tries again whatever failed.

    Returns:
        Its outcome, as `OUT/points/ID/outcome.json` has it; None where another process is at it.
    """
    folder = site.folder(point)
    with locked(folder.with_name(f"{folder.name}.lock"), wait=False) as mine:
        if not mine:
            return None
        done = outcome_of(folder) or {"status": "missing"}
        if done["status"] == "done" or (call and done.get("call") == call):
            return done
        try:
            outcome = {"status": "done", "error": "", **_run(site, point, folder)}
            write_json(folder / "outcome.json", outcome)  # refuses what is not finite
        except Exception as error:
            outcome = {"status": "failed", "error": in_words(error), "call": call}
            write_json(folder / "outcome.json", outcome)
    if then is not None:
        then(point, outcome)
    return outcome


def outcome_of(folder: Path) -> Outcome | None:
    """Return what a point came to; None where it has not been run."""
    file = folder / "outcome.json"
    return read_json(file) if file.exists() else None


def _run(site: Site, point: Point, folder: Path) -> Outcome:
    """Run the stages of a point in order, and add up what they took."""
    start_peak()
    run, spent, seconds = point.run, dict[str, Spent](), dict.fromkeys(PHASES, 0.0)
    scoring = Parts()
    if isinstance(run.sampler, KeepSpec):
        kept, scoring, seconds["selection"] = subset(site, point)
        run = replace(run, sampler=KeepSpec(str(kept)))
    if point.teaching is not None:
        teacher, spent["teaching"] = taught(site, point)
        assert run.distill is not None
        run = replace(run, distill=replace(run.distill, teacher=str(teacher)))
    before = None
    if point.first is not None:
        before, spent["first"], also, selecting = started(site, point)
        seconds["selection"] += selecting
        scoring |= also  # the same recorded run serves both
    if scoring:
        parts = list(scoring.values())
        costs = total([part.cost for part in parts])
        spent["scoring"] = Spent(costs, sum(part.seconds for part in parts))
    began, worked = time.perf_counter(), time.process_time()
    show = site.progress(f"{point.arm}, seed {point.seed}: ")
    inherited = Inherited.of(before, point.get("order"))
    named = site.teacher_of(point)
    last = train_last(run, site.pool, inherited, folder / "run", folder.name, show, teacher=named)
    seconds["training"], seconds["pruning"] = last.training, last.pruning
    judged = time.perf_counter()
    found = _judge(site, run, last)
    seconds["judging"] = time.perf_counter() - judged
    ours = sum(seconds[phase] for phase in ("training", "pruning", "judging"))
    ours += last.teacher.seconds
    seconds |= {phase: one.seconds for phase, one in spent.items()}
    seconds["teaching"] += last.teacher.seconds
    return {
        **found,
        "history": last.history.rows(),
        **_counted(site, run, last, inherited, spent),
        "measured": {
            **{f"{phase}_seconds": round(took, 4) for phase, took in seconds.items()},
            "seconds": round(sum(seconds.values()), 4),
            # a call that went on with a killed one counts what that one had trained as well
            "own_seconds": round(max(ours, time.perf_counter() - began), 4),
            "own_processor_seconds": round(time.process_time() - worked, 4),
            "peak_memory": peak_memory(),
            "threads": torch.get_num_threads(),
        },
    }


def _counted(
    site: Site, run: Run, last: Trained, inherited: Inherited, spent: dict[str, Spent]
) -> Outcome:
    """Return the counted cost of each phase, and of all."""
    own = site.cost(run, last.history, given_masks=inherited.masks is not None)
    costs = {phase: one.cost for phase, one in spent.items()} | {"training": own}
    if last.teacher.flops:  # asked for every row that is seen, and before that for auto's weight
        asked = last.teacher.flops * (own.examples + last.teacher.first)
        costs["teaching"] = costs.get("teaching", Cost()) + Cost(flops=asked, flops_possible=asked)
    return {
        "cost": {phase: asdict(cost) for phase, cost in costs.items()},
        "total": asdict(total(list(costs.values()))),
    }


def _judge(site: Site, run: Run, last: Trained) -> Outcome:
    """Read the part set aside and the test split, once each."""
    model, like = last.model, last.loader
    found: Outcome = {"weights_left": _left(model)}
    if len(site.held):
        whole = make_loader(site.whole, run, like=like)
        right = recalls(model, whole, run, site.whole.num_classes, site.held)
        found["validation"] = {"accuracy": right[0], "recall": right[1]}
    if site.test is not None:
        loader = make_loader(site.test, run, like=like)
        right = recalls(model, loader, run, site.whole.num_classes)
        found["test"] = {"accuracy": right[0], "recall": right[1]}
    return found


def recalls(
    model: nn.Module, loader: Loader, run: Run, classes: int, order: Tensor | None = None
) -> tuple[float, list[float | None]]:
    """Return accuracy, and the share of each class that is right; None for a class without any."""
    right, seen = torch.zeros(classes), torch.zeros(classes)
    for batch, logits in predict(model, loader, order, device=run.device, precision=run.precision):
        hit = (logits.argmax(1).cpu() == batch.y).float()
        right += torch.bincount(batch.y, hit, minlength=classes)
        seen += torch.bincount(batch.y, minlength=classes)
    each = [r / s if s else None for r, s in zip(right.tolist(), seen.tolist(), strict=True)]
    return float(right.sum() / seen.sum()), each


def _left(model: nn.Module) -> float:
    """Return the share of the weights of kernels and matrices that is not 0."""
    matrices = [p for p in model.parameters() if p.ndim > 1]
    count = sum(p.numel() for p in matrices)
    return sum(int(p.count_nonzero()) for p in matrices) / max(count, 1)
