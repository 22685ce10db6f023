"""What points of a sweep share: data, subsets, teachers and first runs, each made once."""

import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from .costs import Cost, Flops, Parts, Spent, flops_of, saves, training_cost
from .data import open_data, stratified_split
from .errors import PrunerError, UsageError
from .forecast import examples_read, mean_density
from .grid import Grid
from .history import History
from .hooks import Progress
from .provenance import fingerprint
from .run import Run
from .sampler_specs import KeepSpec
from .sweep_once import once_a_call
from .sweep_points import Point
from .sweep_scoring import scored
from .weight_specs import WeightPruning

if TYPE_CHECKING:
    from .data import Data

Show = Callable[[str], Progress | None]


class Site:
    """Where the points of a sweep are run: the data in three parts, and the folder.

    Args:
        grid: its data, and the share to set aside.
        out: folder of the sweep.
        show: called with the name of a piece of work, returns what shows its progress.
        testing: read the test split, where there is one.
        call: of the sweep, which several processes may share; None is one of its own. What points
            share and failed in a call is not tried again in it.

    Attributes:
        pool: the training set without what is set aside: those examples are not readable in it, so
            that indices never shift and nothing draws them.
        whole: the training set.
        held: (m,) indices set aside for choosing between points; empty for none.
        test: the test split, None where there is none; it is read once a run, at its end.
        out: folder of the sweep.
        call: of the sweep.
    """

    def __init__(
        self,
        grid: Grid,
        out: Path | str,
        *,
        show: Show | None = None,
        testing: bool = True,
        call: str | None = None,
    ) -> None:
        self.out, self.show, self.call = Path(out), show, call or uuid.uuid4().hex
        self.whole: Data = open_data(grid.data)
        self.test: Data | None = None
        if testing:
            with suppress(PrunerError):
                found = open_data(grid.data, "test")
                self.test = found if found.readable.any() else None
        if self.test is None and not grid.validation:
            raise UsageError(
                f"{grid.data} has no test split; set validation above 0 to have an accuracy"
            )
        self.pool, self.held = set_aside(self.whole, grid.validation)
        if grid.validation and not (len(self.held) and self.pool.readable.any()):
            raise UsageError(
                f"validation {grid.validation:g} of {int(self.whole.readable.sum())} examples "
                "leaves one part empty; take another share, or 0"
            )
        self._counted: dict[str, tuple[Flops, int]] = {}
        self._networks: dict[str, nn.Module] = {}
        self._fits: set[tuple[str, WeightPruning | None]] = set()
        self._teachers: dict[tuple[str, int], str] = {}

    @property
    def shared(self) -> Path:
        """Folder of what points share."""
        return self.out / "shared"

    @cached_property
    def n(self) -> int:
        """Examples that may be trained on."""
        return int(self.pool.readable.sum())

    def id(self, point: Point) -> str:
        """Return what names a point here: a teacher that it is given counts by its weights."""
        return point.id(self.pool.fingerprint, teacher=self.teacher_of(point))

    def folder(self, point: Point) -> Path:
        """Return where a point lies."""
        return self.out / "points" / self.id(point)

    def teacher_of(self, point: Point) -> str:
        """Return the fingerprint of a teacher that is given, as it was when first asked; else "".

        Raises:
            UsageError: its word names nothing.
            Refused: it does not fit the data.
        """
        if not point.given:
            return ""
        key = point.given, point.run.image_size
        if key not in self._teachers:
            from .teacher_words import load_teacher

            self._teachers[key] = load_teacher(point.given, self.pool, run=point.run).fingerprint
        return self._teachers[key]

    def progress(self, text: str) -> Progress | None:
        """Return what shows the progress of a piece of work."""
        return None if self.show is None else self.show(text)

    def counted(self, run: Run) -> tuple[Flops, int]:
        """Return the operations of an example under a run's network, and its weights."""
        from .networks import parameter_count

        key = network_word(run)
        if key not in self._counted:
            weights = parameter_count(self._network(run))
            self._counted[key] = (flops_of(run, self.pool), weights)
        return self._counted[key]

    def _network(self, run: Run) -> nn.Module:
        """Return an untrained network like a run's, to read sizes and names from; kept, one each.

        Its seed is that of the first run that asked.
        """
        from .training import make_loader, network

        key = network_word(run)
        if key not in self._networks:
            self._networks[key] = network(run, self.pool, make_loader(self.pool, run))
        return self._networks[key]

    def refuse_unfit(self, run: Run) -> None:
        """Refuse a network that cannot be built, and masks that mean nothing for it.

        Raises:
            UsageError: as said.
        """
        self.counted(run)
        key = network_word(run), run.weights
        if run.weights is not None and key not in self._fits:
            run.weights.check(self._network(run))
            self._fits.add(key)

    def active(self, run: Run, steps: int) -> float:
        """Return a run's active weights, averaged over its steps as its schedule has them."""
        from .masks.scope import prunable

        _, weights = self.counted(run)
        if run.weights is None:
            return weights
        model = self._network(run)
        names = prunable(model, run.weights.skip).names
        size = sum(model.get_parameter(name).numel() for name in names)
        return weights - (1 - mean_density(run.weights, steps)) * size

    def cost(self, run: Run, history: History, *, given_masks: bool = False) -> Cost:
        """Return what a training run did; masks that were given it did not have to find."""
        flops, weights = self.counted(run)
        if run.weights is None:
            return training_cost(history, flops, weights, saves=False)
        cost = training_cost(history, flops, weights, saves=saves(run.weights.pattern))
        if given_masks:
            return cost
        read = examples_read(run.weights, history.steps, history.epochs[0].examples)
        extra = read * (flops.forward if run.weights.criterion == "wanda" else flops.step)
        return cost + Cost(flops=extra, flops_possible=extra)


def network_word(run: Run) -> str:
    """Return what runs of one network, and pictures of one size, have in common.

    Example:
        >>> network_word(Run(model="mlp", seed=1)) == network_word(Run(model="mlp", lr=0.2))
        True
    """
    return f"{run.model} {run.image_size}"


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


def subset(site: Site, point: Point, *, mask: bool = False) -> tuple[Path, Parts, float]:
    """Return the folder of a point's fixed subset, what scoring it took, and seconds of selecting.

    Args:
        site: where.
        point: whose.
        mask: the subset that its mask is found on.
    """
    from .selection import keep as choose

    keep = point.mask_keep if mask else point.keep
    fraction = point.first_fraction if mask else point.get("fraction")
    values, spent = np.zeros(site.whole.n, np.float32), Parts()
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

    return folder, spent, float(once_a_call(site, folder, "subset", work)["seconds"])


def taught(site: Site, point: Point) -> tuple[Path, Spent]:
    """Return the folder of a point's trained teacher, and what it took."""
    earlier = point.teacher(site.pool.fingerprint)
    assert earlier is not None
    folder = site.shared / earlier.place
    return folder, _trained(site, earlier.run, folder, "teacher")


def started(site: Site, point: Point) -> tuple[Path, Spent, Parts, float]:
    """Return the folder of a point's first run; what it took, scoring for it, and selecting."""
    earlier = point.start(site.pool.fingerprint)
    assert earlier is not None
    folder, run, scoring, selecting = site.shared / earlier.place, earlier.run, Parts(), 0.0
    if isinstance(run.sampler, KeepSpec):
        kept, scoring, selecting = subset(site, point, mask=True)
        run = replace(run, sampler=KeepSpec(str(kept)))
    return folder, _trained(site, run, folder, "first run"), scoring, selecting


def _trained(site: Site, run: Run, folder: Path, what: str) -> Spent:
    from .training import train

    def work() -> dict[str, Any]:
        _, history = train(run, site.pool, out=folder, progress=site.progress(f"{what}, "))
        return {"cost": asdict(site.cost(run, history))}

    said = once_a_call(site, folder, what, work)
    return Spent(Cost(**said["cost"]), said["seconds"])
