"""score(): from the sources of one run, or of several, to the table of scores."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from scorers import ERRORS, PASS, SCORERS

from .errors import PrunerError, Refused, UsageError, suggest
from .provenance import refuse_other_data, versions
from .sources import Sources, count_examples
from .table import Scores
from .traces import TRACES, Record

if TYPE_CHECKING:
    from .data import Data

__all__ = ["Scores", "score"]

Scorer = Callable[..., Any]
Run = Record | Mapping[str, Any]


class _Task(NamedTuple):
    """A scorer with what it asks for."""

    name: str
    function: Scorer
    needs: list[str]
    options: dict[str, Any]  # every one, the defaults too
    given: dict[str, Any]  # those that the caller set
    clean: bool


def score(
    source: Run | Sequence[Run],
    names: str | Scorer | Sequence[str | Scorer],
    *,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    extra: Mapping[str, Any] | None = None,
    data: "Data | None" = None,
    readable: ArrayLike | Tensor | None = None,
) -> Scores:
    """Compute scores from what was recorded; nothing is trained here.

    Each scorer is given the sources that its positional parameters name: traces of the record, in
    the pass that it wants (`scorers.PASS`), labels, n, seed, and what `extra` adds. With several
    records each is scored and the mean goes into the table, the runs into `Scores.runs`, the
    standard error into `Scores.spread`; a scorer that looks at no run is computed once. For
    forgetting the paper sums the counts over runs; the mean is the same ranking.

    Unreadable examples are kept from the scorers, have score NaN and the flag "unreadable".

    Args:
        source: a Record; a list of them, of the same data and different seeds; or a mapping from
            source names to arrays, traces (epochs, n), labels (n,), embedding (n, d), ...
        names: scorers by name, or functions of your own, which score under their `__name__`.
        options: scorer name -> its options, such as {"el2n": {"window": 5}}.
        extra: more sources, such as {"embedding": dp.embed(data, record)}.
        data: where name, classes, labels and fingerprint are taken from.
        readable: (n,) bool; None takes it from `data` or the record.

    Returns:
        Scores, each (n,) float32, high kept first.

    Raises:
        UsageError: an unknown scorer or option, or a source that is not there.
        Refused: the records are of different data.
        PrunerError: a scorer returned something that is no score.

    Example:
        >>> table = score({"margin": [[2.0, -1.0, 0.5], [4.0, -3.0, 0.5]]}, ["aum"])
        >>> table["aum"].tolist()
        [-3.0, 2.0, -0.5]
    """
    runs = [source] if isinstance(source, (Record, Mapping)) else list(source)
    extra = dict(extra or {})
    n, seeds = _same_data(runs, extra, data), _seeds(runs)
    tasks = _tasks([names] if isinstance(names, str) or callable(names) else names, options or {})
    labels = _labels(runs[0], extra, data)
    usable = _readable(readable, runs[0], data, n)
    sources = [
        Sources(run, extra, usable, labels, seed) for run, seed in zip(runs, seeds, strict=True)
    ]
    _refuse_limits(tasks, sources)
    columns: dict[str, NDArray] = {}
    per_run: dict[str, NDArray] = {}
    errors: dict[str, NDArray] = {}
    made: dict[str, Any] = {}
    for task in tasks:
        of_runs = any(map(sources[0].depends_on_run, task.needs))
        used = sources if of_runs else sources[:1]
        values = np.stack([_compute(task, one, usable) for one in used])
        columns[task.name] = values.mean(0, dtype=np.float64)
        if len(values) > 1:
            per_run[task.name] = values
        if task.name in ERRORS and not task.given and task.function is SCORERS[task.name]:
            error = _Task(task.name, ERRORS[task.name], task.needs, {}, {}, task.clean)
            errors[task.name] = _compute(error, sources[0], usable)
        made[task.name] = _made(task, runs if of_runs else [], seeds if of_runs else [])
    return Scores(
        columns,
        None if labels is None else labels,
        flags={} if usable.all() else {"unreadable": ~usable},
        runs=per_run,
        errors=errors,
        meta=_facts(runs[0], data) | {"scores": made, "versions": versions()},
    )


def _same_data(runs: Sequence[Run], extra: Mapping[str, Any], data: "Data | None") -> int:
    """Return the number of examples, seeing to it that all runs are of the same data."""
    if not runs:
        raise UsageError("there is no record to score; record a training run first")
    for run in runs:
        if not isinstance(run, (Record, Mapping)):
            raise UsageError(f"cannot score a {type(run).__name__}; give a Record or a mapping")
        if isinstance(run, Record):
            refuse_other_data(str(run.folder), run.fingerprint or None, run.n, data)
    sizes = {r.n if isinstance(r, Record) else count_examples(r, extra) for r in runs}
    sizes |= set() if data is None else {data.n}
    marks = {r.fingerprint for r in runs if isinstance(r, Record)}
    if len(sizes) > 1 or len(marks) > 1:
        raise Refused(
            f"these are of different data (sizes {sorted(sizes)}, fingerprints {sorted(marks)}); "
            "score each by itself"
        )
    return sizes.pop()


def _seeds(runs: Sequence[Run]) -> list[int]:
    seeds = [r.seed if isinstance(r, Record) else int(r.get("seed", 0)) for r in runs]
    if len(set(seeds)) < len(seeds):
        raise UsageError(f"several runs need different seeds, these have {seeds}; record others")
    return seeds


def _tasks(names: Sequence[str | Scorer], options: Mapping[str, Mapping[str, Any]]) -> list[_Task]:
    """Look up the scorers, and read from their signatures what they need and may be told."""
    found: dict[str, _Task] = {}
    for one in names:
        if isinstance(one, str) and one not in SCORERS:
            raise UsageError(f"unknown scorer {one!r}; {suggest(one, SCORERS)}")
        name = one if isinstance(one, str) else getattr(one, "__name__", "<lambda>")
        function = SCORERS[one] if isinstance(one, str) else one
        if name == "<lambda>":
            raise UsageError("a scorer of your own needs a name: write it as a def")
        if name in found:
            raise UsageError(f"scorer {name!r} is named twice; once is enough")
        found[name] = _task(name, function, options.get(name, {}))
    if not found:
        raise UsageError(f"name at least one scorer; {suggest('', SCORERS)}")
    if unused := [name for name in options if name not in found]:
        raise UsageError(f"options for {unused[0]!r}, not scored here; {suggest(unused[0], found)}")
    return list(found.values())


def _task(name: str, function: Scorer, given: Mapping[str, Any]) -> _Task:
    parameters = inspect.signature(function).parameters.values()
    named = [p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    known = {
        p.name: p.default for p in named if p.kind is p.KEYWORD_ONLY or p.default is not p.empty
    }
    needs = [p.name for p in named if p.name not in known]
    for option in given:
        if option not in known:
            has = suggest(option, known) if known else "it has none"
            raise UsageError(f"scorer {name!r} has no option {option!r}; {has}")
    options = known | dict(given)
    if absent := [option for option, value in options.items() if value is inspect.Parameter.empty]:
        raise UsageError(f"scorer {name!r} needs the option {absent[0]!r}; pass it in options")
    clean = function is SCORERS.get(name) and PASS[name] == "clean"
    return _Task(name, function, needs, options, dict(given), clean)


def _refuse_limits(tasks: Sequence[_Task], sources: Sequence[Sources]) -> None:
    """Refuse to average rankings that end early: each run's leaves out others."""
    for task in tasks:
        limit = task.options.get("limit") if task.function is SCORERS.get(task.name) else None
        of_runs = any(map(sources[0].depends_on_run, task.needs))
        if limit is not None and of_runs and len(sources) > 1:
            raise UsageError(
                f"scorer {task.name!r}: with limit={limit} each of {len(sources)} runs leaves "
                "others unranked, and their mean is no ranking; leave limit out, or score one run"
            )


def _compute(task: _Task, sources: Sources, usable: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Run a scorer on the readable examples; the others get NaN."""
    found = [sources.get(name, clean=task.clean, scorer=task.name) for name in task.needs]
    pool = np.flatnonzero(usable)
    try:
        result = task.function(*found, **task.options)
    except ValueError as error:
        note = "" if usable.all() else " (counting readable examples only)"
        raise UsageError(f"scorer {task.name!r}: {error}{note}") from error
    if not isinstance(result, (Tensor, np.ndarray)):
        raise PrunerError(f"scorer {task.name!r} returned a {type(result).__name__}, not an array")
    values = np.asarray(result.detach().cpu() if isinstance(result, Tensor) else result)
    if values.shape != pool.shape or values.dtype.kind not in "biuf":
        raise PrunerError(
            f"scorer {task.name!r} returned {values.shape} {values.dtype}, expected {pool.shape} "
            "numbers, one for each example"
        )
    if (bad := ~np.isfinite(values)).any():
        raise PrunerError(
            f"scorer {task.name!r} returned {int(bad.sum()):,} values that are not finite, first "
            f"at example {pool[bad.argmax()]}"
        )
    whole = np.full(len(usable), np.nan, np.float32)
    whole[pool] = values
    return whole


def _labels(run: Run, extra: Mapping[str, Any], data: "Data | None") -> Any:
    """Return (n,) labels from the first that has them."""
    if data is not None:
        return data.labels
    if isinstance(run, Record):
        return run.labels
    return extra.get("labels", run.get("labels"))


def _readable(
    readable: ArrayLike | Tensor | None, run: Run, data: "Data | None", n: int
) -> NDArray[np.bool_]:
    if readable is None and data is not None:
        readable = data.readable
    if readable is None and isinstance(run, Record):
        readable = run.readable
    usable = np.ones(n, bool) if readable is None else np.asarray(readable)
    if usable.shape != (n,) or usable.dtype != bool or not usable.any():
        raise UsageError(f"readable must be ({n},) bool and not all False")
    return usable


def _facts(run: Run, data: "Data | None") -> dict[str, Any]:
    """Say which data the table is of, as far as it is known."""
    if data is not None:
        return {
            "data": data.name,
            "fingerprint": data.fingerprint,
            "classes": list(data.classes),
        }
    if isinstance(run, Record):
        classes = [str(c) for c in range(run.num_classes)]
        return {"data": None, "fingerprint": run.fingerprint or None, "classes": classes}
    return {"data": None, "fingerprint": None, "classes": None}


def _made(task: _Task, runs: Sequence[Run], seeds: Sequence[int]) -> dict[str, Any]:
    """Say how a score was made; lists have an entry for each run."""
    made: dict[str, Any] = {"sources": task.needs, "options": task.options}
    if task.function is not SCORERS.get(task.name):
        made["function"] = f"{task.function.__module__}.{task.function.__qualname__}"
    if runs:
        made["seeds"] = list(seeds)
    if any(name in TRACES for name in task.needs):
        made["pass"] = "clean" if task.clean else "training"
        records = [run for run in runs if isinstance(run, Record)]
        if records:
            made |= {
                "epochs": [r.epochs for r in records],
                "clean_epochs": [list(r.clean_epochs) for r in records],
                "runs": [r.run_id for r in records],
                "models": [r.about.get("model_hash") for r in records],
            }
    return made
