"""What points of a sweep share: scores, subsets, teachers and first runs, each made once."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from .costs import Cost, Flops, flops_of, full_cost, saves, training_cost
from .data import open_data, stratified_split
from .errors import PrunerError, UsageError
from .files import whole_file
from .forecast import planned
from .grid import Grid
from .grid_words import Keep
from .history import History
from .hooks import Progress
from .provenance import fingerprint
from .run import Run
from .sampler_specs import KeepSpec
from .sharing import once
from .sweep_points import Point
from .traces import TRACES

if TYPE_CHECKING:
    from .data import Data

FED = {*TRACES, "labels", "n", "seed", "embedding"}  # what a recorded run gives to scorers
Show = Callable[[str], Progress | None]


@dataclass(frozen=True)
class Spent:
    """Counted work and seconds of something that was made before a run."""

    cost: Cost = Cost()
    seconds: float = 0.0


class Site:
    """Where the points of a sweep are run: the data in three parts, and the folder.

    Args:
        grid: its data, and the share to set aside.
        out: folder of the sweep.
        show: called with the name of a piece of work, returns what shows its progress.
        testing: read the test split, where there is one.

    Attributes:
        pool: the training set without what is set aside: those examples are not readable in it, so
            that indices never shift and nothing draws them.
        whole: the training set.
        held: (m,) indices set aside for choosing between points; empty for none.
        test: the test split, None where there is none; it is read once a run, at its end.
        out: folder of the sweep.
    """

    def __init__(
        self, grid: Grid, out: Path | str, *, show: Show | None = None, testing: bool = True
    ) -> None:
        self.out, self.show = Path(out), show
        self.whole: Data = open_data(grid.data)
        self.test: Data | None = None
        if testing:
            with suppress(PrunerError):
                self.test = open_data(grid.data, "test")
        if self.test is None and not grid.validation:
            raise UsageError(
                f"{grid.data} has no test split; set validation above 0 to have an accuracy"
            )
        self.pool, self.held = set_aside(self.whole, grid.validation)
        self._counted: dict[str, tuple[Flops, int]] = {}
        self._fits: set[str] = set()

    @property
    def shared(self) -> Path:
        """Folder of what points share."""
        return self.out / "shared"

    @cached_property
    def n(self) -> int:
        """Examples that may be trained on."""
        return int(self.pool.readable.sum())

    def progress(self, text: str) -> Progress | None:
        """Return what shows the progress of a piece of work."""
        return None if self.show is None else self.show(text)

    def counted(self, run: Run) -> tuple[Flops, int]:
        """Return the operations of an example under a run's network, and its weights."""
        from .networks import parameter_count
        from .training import make_loader, network

        key = f"{run.model} {run.image_size}"
        if key not in self._counted:
            loader = make_loader(self.pool, run)
            weights = parameter_count(network(run, self.pool, loader))
            self._counted[key] = (flops_of(run, self.pool), weights)
        return self._counted[key]

    def refuse_unfit(self, run: Run) -> None:
        """Refuse a network that cannot be built, and masks that mean nothing for it.

        Raises:
            UsageError: as said.
        """
        from .training import make_loader, network

        self.counted(run)
        key = f"{run.model} {run.image_size} {run.weights}"
        if run.weights is not None and key not in self._fits:
            run.weights.check(network(run, self.pool, make_loader(self.pool, run)))
            self._fits.add(key)

    def cost(self, run: Run, history: History) -> Cost:
        """Return what a training run did."""
        flops, weights = self.counted(run)
        pattern = run.weights is not None and saves(run.weights.pattern)
        return training_cost(history, flops, weights, saves=pattern)


def set_aside(data: "Data", share: float) -> tuple["Data", torch.Tensor]:
    """Cut a stratified part from the readable examples; return the data without it, and the part.

    Example:
        >>> pool, held = set_aside(open_data("digits"), 0.1)
        >>> len(held), int(pool.readable.sum())
        (144, 1294)
    """
    if not share:
        return data, torch.empty(0, dtype=torch.int64)
    usable = data.readable.nonzero().flatten()
    first, _ = stratified_split(data.labels[usable], share, 0)
    held = usable[first]
    readable = data.readable.clone()
    readable[held] = False
    known = np.frombuffer(bytes.fromhex(data.fingerprint), np.uint8)
    mark = fingerprint(known, held.numpy())
    return replace(data, readable=readable, fingerprint=mark), held


def scored(site: Site, point: Point, keep: Keep) -> tuple[np.ndarray, Spent]:
    """Return the scores (n,) of a recorded run, and what recording and scoring took."""
    refuse_unfed(keep.scorer)
    earlier = point.recorded(site.pool.fingerprint)
    assert earlier is not None
    folder = site.shared / earlier.place
    said = once(folder, lambda: _record(site, earlier.run, folder))
    file = site.shared / "scores" / f"{keep.scorer}-{folder.name}.npy"
    also = once(file.with_suffix(""), lambda: _score(site, keep.scorer, folder, file))
    cost = Cost(**said["cost"])
    return np.load(file, allow_pickle=False), Spent(cost, said["seconds"] + also["seconds"])


def refuse_unfed(scorer: str) -> None:
    """Refuse a scorer that one recorded run does not feed.

    Raises:
        UsageError: says what it would need.
    """
    from scorers import SCORERS

    kinds = signature(SCORERS[scorer]).parameters.values()
    needs = {p.name for p in kinds if p.kind is not p.KEYWORD_ONLY}
    if lacks := sorted(needs - FED):
        raise UsageError(
            f"keep {scorer!r} needs {', '.join(lacks)}; a sweep records {', '.join(sorted(FED))}"
        )


def _record(site: Site, run: Run, folder: Path) -> dict[str, Any]:
    from .recording import record

    made = record(site.pool, run, folder, progress=site.progress("scoring, "))
    flops, weights = site.counted(run)
    seen, steps = planned(run, 1.0, site.n)
    clean = flops.forward * site.n * len(made.clean_epochs)
    return {"cost": asdict(full_cost(seen, steps, flops, weights, extra=clean))}


def _score(site: Site, scorer: str, folder: Path, file: Path) -> dict[str, Any]:
    from scorers import SCORERS

    from .embedding import embed
    from .scores import score
    from .traces import Record

    traces, extra = Record(folder), {}
    options = {}
    if "embedding" in signature(SCORERS[scorer]).parameters:
        out = site.shared / "embeddings" / f"{folder.name}.npy"
        extra["embedding"] = embed(site.pool, traces, out=out)
    if scorer == "prototypes":
        options[scorer] = {"k": site.pool.num_classes}
    values = score(traces, [scorer], data=site.pool, extra=extra, options=options)[scorer]
    with whole_file(file) as temporary, temporary.open("wb") as opened:
        np.save(opened, values)
    return {}


def subset(site: Site, point: Point, *, mask: bool = False) -> tuple[Path, Spent, float]:
    """Return the folder of a point's fixed subset, what scoring it took, and seconds of selecting.

    Args:
        site: where.
        point: whose.
        mask: the subset that its mask is found on.
    """
    from .selection import keep as choose

    keep = point.mask_keep if mask else point.keep
    fraction = point.first_fraction if mask else point.get("fraction")
    values, spent = np.zeros(site.whole.n, np.float32), Spent()
    if keep.kind == "scored":
        values, spent = scored(site, point, keep)
    name = point.selection_id(site.pool.fingerprint, mask=mask)
    folder = site.shared / "kept" / name

    def work() -> dict[str, Any]:
        options = {"beta": point.get("beta")} if keep.rule == "ccs" else {}
        choose(
            values,
            fraction,
            rule=keep.rule or "random",
            labels=site.pool.labels,
            per_class=point.get("per_class"),
            readable=site.pool.readable,
            seed=point.seed,
            about={"fingerprint": site.pool.fingerprint},
            **options,
        ).save(folder)
        return {}

    return folder, spent, float(once(folder, work)["seconds"])


def taught(site: Site, point: Point) -> tuple[Path, Spent]:
    """Return the folder of a point's trained teacher, and what it took."""
    earlier = point.teacher(site.pool.fingerprint)
    assert earlier is not None
    folder = site.shared / earlier.place
    return folder, _trained(site, earlier.run, folder, "teacher, ")


def started(site: Site, point: Point) -> tuple[Path, Spent, Spent, float]:
    """Return the folder of a point's first run; what it took, scoring for it, and selecting."""
    earlier = point.start(site.pool.fingerprint)
    assert earlier is not None
    folder, run, scoring, selecting = site.shared / earlier.place, earlier.run, Spent(), 0.0
    if isinstance(run.sampler, KeepSpec):
        kept, scoring, selecting = subset(site, point, mask=True)
        run = replace(run, sampler=KeepSpec(str(kept)))
    return folder, _trained(site, run, folder, "first run, "), scoring, selecting


def _trained(site: Site, run: Run, folder: Path, text: str) -> Spent:
    from .training import train

    def work() -> dict[str, Any]:
        _, history = train(run, site.pool, out=folder, progress=site.progress(text))
        return {"cost": asdict(site.cost(run, history))}

    said = once(folder, work)
    return Spent(Cost(**said["cost"]), said["seconds"])
