"""`datapruner select`."""

# ruff: noqa: D417 - groups of options document themselves

import inspect
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..console import Console
from ..errors import UsageError, suggest
from ..run import Run
from .options import Common, DataWord, Open, Opening, Say, Train, Training, run_of
from .score import alone

if TYPE_CHECKING:
    from torch import Tensor

    from ..data import Data
    from ..selection import Selection


def select(
    data: DataWord,
    /,
    method: str = "craig",
    fraction: float | None = None,
    k: int | None = None,
    out: str | None = None,
    work: str | None = None,
    per_class: bool = False,
    encoder: str | None = None,
    difficulty: str = "el2n",
    validation: float = 0.1,
    training: Train = Training(),  # noqa: B008 - frozen
    opening: Open = Opening(),  # noqa: B008 - frozen
    common: Say = Common(),  # noqa: B008 - frozen
) -> None:
    """Choose a subset by a method that must know its size: a folder that `train --keep` takes.

    Reads the network that `score` recorded, or records one first: its features and predictions are
    what these methods choose by. craig and gradmatch weigh what they choose.

    Args:
        data: what to choose from; its training split is read.
        method: craig, gradmatch, glister, d2, or a greedy scorer such as kcenter; with options
            behind a colon, such as gradmatch:ridge=0.1; see `scorers`.
        fraction: share of the readable examples to choose, above 0 and at most 1.
        k: how many to choose, instead of a fraction.
        out: folder for the selection; default runs/NAME-METHOD.
        work: folder of `score`, whose run is read; default runs/NAME.
        per_class: choose in each class by itself, the same share of each.
        encoder: network whose features are read, such as torchvision:resnet18; default the recorded
            one.
        difficulty: score of that run that d2 starts from.
        validation: share set aside for glister to lower the loss on, and not chosen.
    """
    run = run_of(training, data=data)
    name, options = _read(method)
    how = {"fraction": fraction, "k": k, "per_class": per_class, "options": options}
    given = {"encoder": encoder, "difficulty": difficulty, "validation": validation}
    _select(data, name, how, given, out, work, run, opening, common)


def _read(method: str) -> tuple[str, dict[str, Any]]:
    """Return the name and the options of `name:option=value,...`."""
    import yaml

    from ..spending import METHODS

    name, _, rest = method.partition(":")
    if name not in METHODS:
        raise UsageError(f"unknown method {name!r}; {suggest(name, METHODS)}")
    options = {}
    for part in filter(None, rest.split(",")):
        key, equals, value = part.partition("=")
        if not equals:
            raise UsageError(f"{method!r}: option {key!r} needs a value, such as {key}=...")
        options[key] = yaml.safe_load(value)
    return name, options


def _select(
    word: str,
    method: str,
    how: dict[str, Any],
    given: dict[str, Any],
    out: str | None,
    work: str | None,
    run: Run,
    opening: Opening,
    common: Common,
) -> None:
    """Record or read a run, take from it what the method needs, choose, and write the folder."""
    from ..checks import size_of_budget
    from ..data import open_data
    from ..spending import select as choose
    from .estimate import estimate, text

    with Console() as console:
        data = open_data(word, "train", download=opening.download, strict=opening.strict)
        size_of_budget(how["fraction"], how["k"], int(data.readable.sum()))
        console.say(f"{data}")
        if common.dry_run:
            cost = estimate(run, data, recording=True)
            print(json.dumps(cost) if common.json else text(cost))
            return
        home = Path(work or f"runs/{data.name}")
        sources, readable = _sources(data, method, given, home, run, console)
        kept = choose(method, sources, data=data, readable=readable, seed=run.seed, **how)
    folder = Path(out or f"runs/{data.name}-{method}")
    kept.save(folder)
    _show(kept, folder, method, common)


def _sources(
    data: "Data", method: str, given: dict[str, Any], work: Path, run: Run, console: Console
) -> tuple[dict[str, Any], "Tensor"]:
    """Make what the method asks for, and say who can be chosen."""
    import torch

    from scorers import SCORERS

    from ..clean import probs
    from ..embedding import embed
    from ..recording import record
    from ..scores import score
    from ..selection import keep

    needs = set(inspect.signature(SCORERS[method]).parameters)
    sources: dict[str, Any] = {"labels": data.labels}
    readable = data.readable.clone()
    recorded: Any = None
    if needs & {"errors", "probs", "difficulty"} or given["encoder"] is None:
        _claim(work, data, run)
        with alone(work, console):
            recorded = record(data, run, work / "record" / f"seed-{run.seed}")
    if "embedding" in needs:
        encoder = given["encoder"] or recorded
        sources["embedding"] = torch.from_numpy(embed(data, encoder, run=run).copy())
    if "difficulty" in needs:
        wanted = given["difficulty"]
        sources["difficulty"] = torch.from_numpy(score(recorded, wanted, data=data)[wanted])
    if needs & {"errors", "probs"}:
        sources["probs"] = torch.from_numpy(probs(data, recorded, run=run))
    if "validation_errors" in needs:
        aside = keep(
            torch.zeros(data.n),
            fraction=given["validation"],
            rule="random",
            labels=data.labels,
            per_class=True,
            readable=readable,
            seed=run.seed,
        ).indices
        onehot = torch.nn.functional.one_hot(data.labels[aside], data.num_classes)
        sources["validation_errors"] = sources["probs"][aside] - onehot
        sources["validation_embedding"] = sources["embedding"][aside]
        readable[aside] = False
    return sources, readable


def _claim(work: Path, data: "Data", run: Run) -> None:
    """Make a folder that is not there, or empty, one of `score`, which can then go on in it."""
    from ..claiming import claim
    from ..training import make_loader, network

    if work.exists() and (not work.is_dir() or any(work.iterdir())):
        return
    network(run, data, make_loader(data, run))  # a wrong word leaves no folder behind
    claim(work, "score", run.id(data=data.fingerprint), run, {"data": data.fingerprint})


def _show(kept: "Selection", folder: Path, method: str, common: Common) -> None:
    if common.json:
        print(json.dumps({"folder": str(folder), "kept": len(kept), "n": kept.n, **kept.meta}))
        return
    weights = "" if kept.weights is None else f", weights up to {float(kept.weights.max()):.3g}"
    print(f"chose {len(kept):,} of {kept.n:,} examples by {method}{weights}: {folder}")
