"""`datapruner demo`: the whole path on the digits, small enough to watch."""

# ruff: noqa: D417 - groups of options document themselves

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..console import Console
from ..errors import Refused, UsageError
from ..files import read_json
from ..run import Run
from .options import Common, Opening, Say

if TYPE_CHECKING:
    from ..data import Data
    from ..report import Result
    from ..samplers import Sampler
    from ..selection import Selection

FRACTION = 0.3
RUN = Run(data="digits", model="lenet", epochs=20, batch_size=32, lr=0.05)
SCORERS = ("el2n", "forgetting", "aum", "loss", "prototypes")
NOTES = (
    "A toy: 1,438 digits of 8 by 8 pixels. It shows the path and the page, not what pruning does "
    "to large data.",
    "Every arm but the last takes 20 epochs of its own size, so an arm with 30 % of the examples "
    "takes 30 % of the steps; the last arm is the control that trains on everything for as many "
    "steps as those.",
    "Scores come from three recorded runs of the same network on all examples; what they cost is "
    "not in the arms' figures.",
)


def demo(
    out: str = "runs/demo",
    seeds: int = 3,
    common: Say = Common(),  # noqa: B008 - frozen
) -> None:
    """Show the whole path on the digits that come with scikit-learn, in about a minute.

    Args:
        out: folder for report.html and everything behind it; done again from the start.
        seeds: runs of each arm.
    """
    _demo(out, seeds, common)


def _demo(out: str, seeds: int, common: Common) -> None:
    """Score the digits, keep 30 % by several rules, train on each, write the page."""
    from ..claiming import claim
    from ..data import open_data
    from ..report import write_results
    from .report import write_page

    if seeds < 1:
        raise UsageError(f"seeds must be at least 1, not {seeds}")
    folder = Path(out)
    if common.dry_run:
        work = {"runs_to_score": seeds, "runs_of_arms": 6 * seeds, "out": out}
        text = f"would train {seeds} runs for the scores and {6 * seeds} for the arms, into {out}"
        print(json.dumps(work) if common.json else text)
        return
    _clear(folder)
    with Console() as console, _one_thread():
        data, test = open_data("digits"), open_data("digits", "test")
        claim(folder, "demo", RUN.id(data=data.fingerprint), RUN, {"data": data.fingerprint})
        console.say(f"{data}: scoring with {seeds} runs of {RUN.model}")
        kept = _selections(data, folder, seeds, console)
        results = _results(data, test, kept, seeds, console)
        write_results(folder / "results.json", results)
        page = write_page(out, Opening(), data=data)
    _show(results, page, common)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Compute on one core: steps this small lose more in waiting for a second than they gain."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _clear(folder: Path) -> None:
    """Remove what an earlier demo left; refuse a folder that holds anything else."""
    if not folder.exists():
        return
    mark = folder / "run.json"
    if not mark.exists() or read_json(mark).get("kind") != "demo":
        raise Refused(f"{folder}: exists and is not a demo's; give another --out")
    shutil.rmtree(folder)


def _selections(data: "Data", folder: Path, seeds: int, console: Console) -> dict[str, "Selection"]:
    """Record, score, and keep 30 % by three rules."""
    from ..embedding import embed
    from ..recording import record
    from ..scores import score
    from ..selection import keep

    records = record(data, RUN, folder / "record", seeds=seeds, progress=console.progress)
    table = score(records, SCORERS, extra={"embedding": embed(data, records[0])}, data=data)
    table.save(folder / "scores.parquet")
    share = f"{100 * FRACTION:g} %"
    about = {"fingerprint": data.fingerprint, "score": "el2n"}
    el2n, labels = table["el2n"], data.labels
    kept = {
        f"random {share}": keep(el2n, FRACTION, rule="random", labels=labels, about=about),
        f"EL2N top {share}": keep(el2n, FRACTION, rule="top", labels=labels, about=about),
        f"CCS {share}": keep(el2n, FRACTION, rule="ccs", beta=0.1, labels=labels, about=about),
    }
    for name, selection in kept.items():
        selection.save(folder / name.lower().replace(" %", "").replace(" ", "-"))
    return kept


def _results(
    data: "Data", test: "Data", kept: dict[str, "Selection"], seeds: int, console: Console
) -> list["Result"]:
    """Train every arm with every seed."""
    from ..engine import fit
    from ..report import Result
    from ..rs2 import RS2
    from ..samplers import Fixed
    from ..training import make_loader, network

    results = []
    equal = -(-round(FRACTION * data.n) // RUN.batch_size) * RUN.epochs
    for seed in range(seeds):
        arms: dict[str, tuple[Sampler, int]] = {"all data": (Fixed(seed=seed), 0)}
        arms |= {name: (Fixed(selection, seed=seed), 0) for name, selection in kept.items()}
        arms |= {
            f"RS2 {100 * FRACTION:g} %": (RS2(FRACTION, seed), 0),
            "all data, as many steps": (Fixed(seed=seed), equal),
        }
        for name, (sampler, steps) in arms.items():
            run = replace(RUN, seed=seed, steps=steps)
            loader = make_loader(data, run)
            tester = make_loader(test, run, like=loader)
            history = fit(network(run, data, loader), loader, sampler, run, test=tester)
            results.append(
                Result(
                    arm=name,
                    seed=seed,
                    accuracy=history.accuracy or 0.0,
                    examples=history.examples,
                    steps=history.steps,
                    seconds=history.seconds,
                    history=history.rows(),
                )
            )
            console.progress("training arms", len(results), seeds * len(arms))
    return results


def _show(results: list["Result"], page: Path, common: Common) -> None:
    if common.json:
        rows = [{k: v for k, v in asdict(r).items() if k != "history"} for r in results]
        print(json.dumps({"report": str(page), "results": rows}))
        return
    arms = list(dict.fromkeys(r.arm for r in results))
    width = max(map(len, arms))
    print(f"{'arm':{width}}  accuracy  examples seen  steps")
    for arm in arms:
        runs = [r for r in results if r.arm == arm]
        mean = sum(r.accuracy for r in runs) / len(runs)
        print(f"{arm:{width}}  {100 * mean:6.2f} %  {runs[0].examples:13,}  {runs[0].steps:5,}")
    print(f"\nreport: {page}")
