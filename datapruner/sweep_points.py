"""A point of a sweep: settings and a seed, which are one Run or several, under one id."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from .distill_specs import DistillSpec
from .grid_words import DEFAULTS, Keep, read_keep
from .run import Run
from .sampler_specs import InfoBatchSpec, KeepSpec, RS2Spec
from .weight_specs import WeightPruning

Values = Mapping[str, Any]
_RUN = {f.name for f in fields(Run)}


@dataclass(frozen=True)
class Earlier:
    """A run that points need before their own, made once for all of them.

    Attributes:
        place: its folder within what a sweep shares; a .json beside it says what it took.
        run: what is trained.
        fraction: share of the data that it looks at.
        recorded: whether it is recorded, to score by.
    """

    place: str
    run: Run
    fraction: float = 1.0
    recorded: bool = False


@dataclass(frozen=True)
class Point:
    """One run of a sweep: settings that have an effect, by their whole names, and a seed.

    Attributes:
        values: what differs from the defaults; a setting without effect is not among them, so that
            two points that are the same run are equal.
        seed: of the run.
        arm: its name, which it shares with its other seeds.
        control: why a control is there; "" for a point of the grid.

    Example:
        >>> Point({"keep": "rs2", "fraction": 0.1}, 0).run.sampler.fraction
        0.1
    """

    values: Values
    seed: int
    arm: str = ""
    control: str = ""

    def get(self, name: str) -> Any:
        """Return a setting by its whole name, its default where it is not set."""
        return self.values.get(name, DEFAULTS.get(name))

    @property
    def key(self) -> str:
        """The settings and the seed as text: points with the same key are the same run."""
        return json.dumps([dict(self.values), self.seed], sort_keys=True)

    @property
    def keep(self) -> Keep:
        """How the data are chosen."""
        return read_keep(self.get("keep"))

    @property
    def run(self) -> Run:
        """The run, a kept folder and a teacher standing for what is made before it."""
        return run_of(self.values, self.seed)

    @property
    def scoring(self) -> Run | None:
        """The recorded run that a scored subset, or the mask's own, is chosen by."""
        if "scored" not in (self.keep.kind, self.mask_keep.kind):
            return None
        own = {"epochs": max(1, round(self.get("epochs") / 5)), "steps": 0}
        return self._stage("scoring", own)

    @property
    def teaching(self) -> Run | None:
        """The run of the teacher that `teacher: full` names: dense, on all data, seed 0."""
        return (
            self._stage("teaching", {"seed": 0}) if self.get("distill.teacher") == "full" else None
        )

    @property
    def given(self) -> str:
        """The word of a teacher that is there already; "" for none, and for one to be trained."""
        word = str(self.get("distill.teacher"))
        return "" if word in ("none", "full") else word

    @property
    def mask_keep(self) -> Keep:
        """What the mask is found on."""
        word = self.get("mask_on")
        return self.keep if word == "same" else read_keep(word)

    @property
    def first(self) -> Run | None:
        """The run before the last one: dense for a start, or pruned for its mask."""
        order = self.get("order")
        if order == "together" and self.get("mask_on") == "same":
            return None
        run = self._stage("first", {})
        pruned = order == "weights first" or self.get("mask_on") != "same"
        weights = weights_of(self.values) if pruned else None
        on_subset = order == "data first" or self.get("mask_on") not in ("same", "all")
        sampler = _sampler(self.mask_keep, self.first_fraction, self.get("ratio"))
        return replace(run, weights=weights, sampler=sampler if on_subset else None)

    @property
    def first_fraction(self) -> float:
        """The share of the data that the first run looks at."""
        if self.get("mask_on") == "all" or self.get("order") in ("weights first", "dense first"):
            return 1.0
        return float(self.get("fraction" if self.get("mask_on") == "same" else "mask_fraction"))

    def before(self, data: str) -> list[Earlier]:
        """Return the runs that this one needs before its own, on data of this fingerprint."""
        found = (self.recorded(data), self.teacher(data), self.start(data))
        return [one for one in found if one is not None]

    def recorded(self, data: str) -> Earlier | None:
        """Return `scoring`, and where it lies."""
        run = self.scoring
        return None if run is None else Earlier(f"records/{run.id(data=data)}", run, recorded=True)

    def teacher(self, data: str) -> Earlier | None:
        """Return `teaching`, and where it lies."""
        run = self.teaching
        return None if run is None else Earlier(f"teachers/{run.id(data=data)}", run)

    def start(self, data: str) -> Earlier | None:
        """Return `first`, and where it lies; whatever its subset is called, it counts by its id."""
        run = self.first
        if run is None:
            return None
        mark = self.selection_id(data, mask=True) if isinstance(run.sampler, KeepSpec) else ""
        name = digest([run.id(data=data, selection=mark)])
        return Earlier(f"first/{name}", run, self.first_fraction)

    def _stage(self, stage: str, own: Mapping[str, Any]) -> Run:
        """Return the run of another stage: the point's own training with settings of the stage."""
        values = {k: v for k, v in self.values.items() if k in _RUN} | dict(own)
        density = self.get(f"{stage}.density") or 1.0
        values |= {
            k.removeprefix(f"{stage}."): v
            for k, v in self.values.items()
            if k.startswith(f"{stage}.") and k != f"{stage}.density"
        }
        if density < 1:
            values["weights"] = WeightPruning(density)
        return Run.from_dict({"seed": self.seed} | values)

    def id(self, data: str, *, teacher: str = "") -> str:
        """Return 16 hex digits that name this run on these data, before anything of it is made.

        Args:
            data: their fingerprint.
            teacher: fingerprint of a teacher that is given; without it, it counts by its word.
        """
        fingerprints = {"selection": "", "teacher": teacher}
        if self.keep.kind in ("scored", "random"):
            fingerprints["selection"] = self.selection_id(data)
        if self.teaching is not None:
            fingerprints["teacher"] = self.teaching.id(data=data)
        own = self.run.id(data=data, **fingerprints)
        if self.first is None:
            return own
        first = self.first.id(data=data, selection=self.selection_id(data, mask=True))
        return digest([own, first, self.get("order"), self.get("mask_on")])

    def selection_id(self, data: str, *, mask: bool = False) -> str:
        """Return 16 hex digits that name the subset, by what it is chosen from and how."""
        keep = self.mask_keep if mask else self.keep
        fraction = self.first_fraction if mask else self.get("fraction")
        scoring = self.scoring.id(data=data) if keep.kind == "scored" and self.scoring else ""
        options = [self.get("beta"), self.get("per_class")]
        return digest([data, *keep, fraction, self.seed, scoring, *options])


def digest(value: Any) -> str:
    """Return 16 hex digits over plain values.

    Example:
        >>> digest([1, "a"]) == digest([1, "a"])
        True
    """
    return hashlib.blake2b(json.dumps(value).encode(), digest_size=8).hexdigest()


def run_of(values: Values, seed: int) -> Run:
    """Build the run of settings by their whole names; UsageError where they do not fit."""
    plain = {k: v for k, v in values.items() if k in _RUN}
    keep = read_keep(values.get("keep", DEFAULTS["keep"]))
    fraction, ratio = values.get("fraction", 1.0), values.get("ratio", DEFAULTS["ratio"])
    teacher = values.get("distill.teacher", "none")
    distill = None
    if teacher != "none":
        own = {k.removeprefix("distill."): v for k, v in values.items() if k.startswith("distill.")}
        distill = DistillSpec(**own)
    return Run(
        **plain,
        seed=seed,
        sampler=_sampler(keep, fraction, ratio),
        weights=weights_of(values),
        distill=distill,
    )


def weights_of(values: Values) -> WeightPruning | None:
    """Return how the weights are pruned; None where all are kept."""
    own = {k.removeprefix("weights."): v for k, v in values.items() if k.startswith("weights.")}
    return WeightPruning(**own) if own.get("density", 1.0) < 1 else None


def _sampler(
    keep: Keep, fraction: float, ratio: float
) -> KeepSpec | RS2Spec | InfoBatchSpec | None:
    if keep.kind == "infobatch":
        return InfoBatchSpec(ratio)
    if fraction == 1 or keep.kind == "all":
        return None
    return RS2Spec(fraction) if keep.kind == "rs2" else KeepSpec("kept")
