"""race(): arms that differ in what they look at, trained alike, with what each cost."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from scorers import SCORERS

from .checks import choose_rule
from .errors import UsageError, suggest
from .files import read_json, write_json
from .history import History
from .hooks import Progress
from .report import Result, write_results
from .run import Run
from .sampler_specs import InfoBatchSpec, KeepSpec, RS2Spec, SamplerSpec
from .selection import Selection, keep
from .traces import TRACES
from .training import train

if TYPE_CHECKING:
    from .data import Data

FULL, INFOBATCH = "all data", "InfoBatch"


@dataclass(frozen=True)
class Race:
    """What is compared, all with one network and schedule.

    Args:
        run: how every arm is trained. With `steps` every arm takes that many; else every arm takes
            `epochs` of its own size, and arms of all data with as many steps stand beside them.
        fractions: shares of the data, each with its random, RS2 and scored arms.
        ratio: of InfoBatch; None leaves it out.
        kept: selections, by the name of their arm: folders.
        scorers: each makes an arm that keeps the top by this score of a recorded run of its own,
            whose time counts.
        score_epochs: of that recorded run; 0 is a fifth of the run's, one at least.
        rule: how a scored arm keeps.

    Raises:
        UsageError: a fraction or ratio that is none, two arms of one name, a rule that is not
            known, a run that has a sampler of its own, or a scorer that the traces of one run do
            not feed.

    Example:
        >>> Race(Run(model="mlp"), fractions=(0.1, 0.3)).ratio
        0.5
    """

    run: Run
    fractions: tuple[float, ...] = (0.1,)
    ratio: float | None = 0.5
    kept: tuple[tuple[str, str], ...] = ()
    scorers: tuple[str, ...] = ()
    score_epochs: int = 0
    rule: str = "top"

    def __post_init__(self) -> None:
        """Refuse what cannot be raced."""
        for fraction in self.fractions:
            if not 0 < fraction <= 1:
                raise UsageError(f"fraction must be above 0 and at most 1, not {fraction}")
        if self.run.sampler is not None:
            raise UsageError("the run of a race has no sampler; its arms have")
        if self.ratio is not None:
            InfoBatchSpec(self.ratio)
        if self.score_epochs < 0:
            raise UsageError(f"score_epochs must be at least 0, not {self.score_epochs}")
        choose_rule(self.rule, {}, 1.0)
        arms = tuple(name for name, _ in self.kept)
        given: dict[str, tuple[object, ...]]
        given = {"share": self.fractions, "scorer": self.scorers, "arm": arms}
        for what, every in given.items():
            for one in every:
                if every.count(one) > 1:  # its runs would count twice in one arm
                    raise UsageError(f"{what} {one!r} is given twice; give it once, or rename one")
        for name in self.scorers:
            if name not in SCORERS:
                raise UsageError(f"no scorer {name!r}; {suggest(name, SCORERS)}")
            kinds = signature(SCORERS[name]).parameters.values()
            needs = {p.name for p in kinds if p.kind is not p.KEYWORD_ONLY}
            if needs - set(TRACES):
                raise UsageError(
                    f"scorer {name!r} needs {', '.join(sorted(needs))}; a race records "
                    f"{', '.join(TRACES)}; keep by it beforehand and give its folder as an arm"
                )


def race(
    what: Race,
    data: "Data",
    test: "Data",
    out: Path | str,
    *,
    seeds: int = 3,
    progress: Callable[[str], Progress | None] | None = None,
) -> list[Result]:
    """Train every arm with every seed; return what each run came to, and write results.json.

    Each run lies in a folder of its own under OUT/arms, so that a race that is killed goes on, and
    one that is asked for more seeds or arms trains only those.

    Args:
        what: the arms and how they are trained.
        data: the training set.
        test: read after each epoch, for the curves alone: nothing is chosen by it.
        out: folder.
        seeds: runs of each arm, with seeds run.seed, run.seed + 1, ...
        progress: called with the name of a run, returns what shows its progress.

    Raises:
        Refused: the folder holds a race with other settings, or an arm was kept from other data.

    Example:
        >>> import tempfile, datapruner as dp
        >>> data, test = dp.open_data("digits"), dp.open_data("digits", "test")
        >>> what = Race(Run(model="mlp", epochs=2), ratio=None)
        >>> results = race(what, data, test, tempfile.mkdtemp(), seeds=1)
        >>> [result.arm for result in results]
        ['all data', 'random 10 %', 'RS2 10 %', 'all data, as many steps as RS2 10 %']
    """
    if seeds < 1:
        raise UsageError(f"seeds must be at least 1, not {seeds}")
    for _, folder in what.kept:  # before anything is trained
        Selection.load(folder, data=data)
    results: list[Result] = []
    for seed in range(what.run.seed, what.run.seed + seeds):
        racing = _Seed(what, data, test, Path(out), seed, progress)
        results += racing.results()
        write_results(Path(out) / "results.json", sorted(results, key=_place(results)))
    return sorted(results, key=_place(results))


def _place(results: Sequence[Result]) -> Callable[[Result], int]:
    """Order arms as they first appear, each with its seeds together."""
    names = list(dict.fromkeys(result.arm for result in results))
    return lambda result: names.index(result.arm)


class _Seed:
    """All arms with one seed."""

    def __init__(
        self,
        what: Race,
        data: "Data",
        test: "Data",
        out: Path,
        seed: int,
        progress: Callable[[str], Progress | None] | None,
    ) -> None:
        self.what, self.data, self.test, self.out, self.seed = what, data, test, out, seed
        self.progress = progress
        self.run = replace(what.run, seed=seed, data=None)

    def results(self) -> list[Result]:
        """Train the arms in order: those with a budget of their own, then their controls."""
        what = self.what
        found = [self._trained(FULL, None)]
        for fraction in what.fractions:
            found.append(self._random(fraction))
            found.append(self._trained(f"RS2 {_percent(fraction)}", RS2Spec(fraction)))
            found += [self._scored(name, fraction) for name in what.scorers]
        if what.ratio is not None:
            found.append(self._trained(INFOBATCH, InfoBatchSpec(what.ratio)))
        found += [self._trained(name, KeepSpec(folder)) for name, folder in what.kept]
        if self.run.steps:
            return found  # all arms take as many steps already
        for result in [r for r in found if r.arm.startswith("RS2 ") or r.arm == INFOBATCH]:
            if result.steps < found[0].steps:
                name = f"{FULL}, as many steps as {result.arm}"
                found.append(self._trained(name, None, steps=result.steps))
        return found

    def _random(self, fraction: float) -> Result:
        """Train on one random subset, drawn anew for each seed."""
        name = f"random {_percent(fraction)}"
        folder = self._folder("kept", name)
        nothing = torch.zeros(self.data.n).numpy()
        took = _timed(folder, lambda: self._keep(nothing, fraction, "random", folder))
        return self._trained(name, KeepSpec(str(folder)), preparation=took)

    def _scored(self, scorer: str, fraction: float) -> Result:
        """Record a run, score, keep, train; all of it counts, though scorers share the record."""
        from .recording import record
        from .scores import score

        name = f"{scorer} {self.what.rule} {_percent(fraction)}"
        run = replace(self.run, epochs=self.what.score_epochs or self._fifth(), steps=0)
        recorded, folder = self._folder("records", "record"), self._folder("kept", name)
        show = self._shown("scoring")
        took = _timed(recorded, lambda: record(self.data, run, recorded, progress=show))
        traces = record(self.data, run, recorded)  # refused where it is of other settings

        def choose() -> None:
            chosen = score(traces, [scorer], data=self.data)[scorer]
            self._keep(chosen, fraction, self.what.rule, folder)

        took += _timed(folder, choose)
        return self._trained(name, KeepSpec(str(folder)), preparation=took)

    def _fifth(self) -> int:
        """Return a fifth of the run in epochs of all data, which a run in steps may have few of."""
        whole = -(-int(self.data.readable.sum()) // self.run.batch_size)
        epochs = self.run.steps / whole if self.run.steps else self.run.epochs
        return max(1, round(epochs / 5))

    def _keep(self, scores: Any, fraction: float, rule: str, folder: Path) -> None:
        keep(
            scores,
            fraction,
            rule=rule,
            labels=self.data.labels,
            readable=self.data.readable,
            seed=self.seed,
            about={"fingerprint": self.data.fingerprint},
        ).save(folder)

    def _folder(self, kind: str, name: str) -> Path:
        return self.out / kind / f"{_slug(name)}-seed-{self.seed}"

    def _trained(
        self, name: str, spec: SamplerSpec | None, *, steps: int = 0, preparation: float = 0.0
    ) -> Result:
        run = replace(self.run, sampler=spec, steps=steps or self.run.steps)
        folder, show = self._folder("arms", name), self._shown(name)
        _, history = train(run, self.data, test=self.test, out=folder, progress=show)
        return _result(name, self.seed, history, preparation)

    def _shown(self, name: str) -> Progress | None:
        return None if self.progress is None else self.progress(f"{name}, seed {self.seed}: ")


def _result(name: str, seed: int, history: History, preparation: float) -> Result:
    return Result(
        arm=name,
        seed=seed,
        accuracy=history.accuracy or 0.0,
        examples=history.examples,
        steps=history.steps,
        seconds=history.seconds + preparation,
        history=history.rows(),
        preparation=preparation,
    )


def _timed(done: Path, work: Callable[[], object]) -> float:
    """Do what makes the folder `done`, once; return the seconds it took, broken-off calls too."""
    note = done.parent / f"{done.name}.json"
    spent = float(read_json(note)["seconds"]) if note.exists() else 0.0
    if done.exists():
        return spent
    done.parent.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    try:
        work()
    finally:
        spent += time.perf_counter() - began
        write_json(note, {"seconds": spent})
    return spent


def _percent(fraction: float) -> str:
    """Return a share as it stands in the names of arms."""
    return f"{100 * fraction:g} %"


def _slug(name: str) -> str:
    """Return a name as a folder: letters, digits and hyphens."""
    words = "".join(c if c.isalnum() or c == "." else " " for c in name.lower())
    return "-".join(words.split())
