"""From a grid to its points: all combinations, the controls beside them, and their names."""

import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from .errors import UsageError
from .forecast import planned
from .grid import Grid
from .grid_words import DEFAULTS, OWN, STAGES, Keep, read_keep, short_name
from .sweep_points import Point, Values

FULL, RANDOM_DATA, RANDOM_MASK = "full and dense", "random data", "random mask"
RANDOM_FOUND, EQUAL = "mask of a random subset", "equal compute"
_TIMES = ("weights.begin", "weights.end", "weights.every")  # of a schedule: none has another's
_NAMED = (  # what has words of its own in the name of an arm
    "keep",
    "fraction",
    "weights.density",
    "mask_on",
    "mask_fraction",
    "order",
    "distill.teacher",
)


def points(grid: Grid) -> list[Point]:
    """Return all points of a grid, seed by seed, then the controls that it lacks.

    All data for as many steps is not among them: how many those are is known with the data only;
    see `equal_compute`.

    Raises:
        UsageError: settings that do not fit each other.

    Example:
        >>> few = {"data": "digits", "seeds": 1, "grid": {"fraction": [0.1], "keep": ["el2n+ccs"]}}
        >>> [(point.arm, point.control) for point in points(Grid.from_dict(few))]
        [('el2n ccs 10 %', ''), ('all data', 'full and dense'), ('random 10 %', 'random data')]
    """
    found: dict[str, Point] = {}
    shown = shown_settings(grid)
    for values in _combinations(grid):
        for seed in grid.seeds:
            point = Point(values, seed, arm_of(values, shown))
            _ = point.run, point.first, point.scoring, point.teaching  # refused before any work
            found.setdefault(point.key, point)
    if grid.controls:
        for point in [one for of in list(found.values()) for one in controls(of)]:
            named = replace(point, arm=arm_of(point.values, shown))
            found.setdefault(named.key, named)
    return list(found.values())


def _combinations(grid: Grid) -> Iterator[dict[str, Any]]:
    for axes in grid.grids:
        for combined in itertools.product(*axes.values()):
            yield effective(dict(grid.base) | dict(zip(axes, combined, strict=True)))


def effective(values: Values) -> dict[str, Any]:
    """Return the settings that have an effect, in one spelling.

    Example:
        >>> effective({"fraction": 1.0, "keep": "el2n", "weights.density": 1.0, "lr": 0.2})
        {'keep': 'all', 'lr': 0.2}
    """
    of = {**DEFAULTS, **values}
    out = dict(values)
    keep = read_keep(of["keep"], of["rule"])
    if keep.kind == "infobatch":
        out["fraction"] = 1.0
    elif of["fraction"] == 1:
        keep = Keep("all")
    out["keep"] = keep.word
    sparse = of["weights.density"] < 1
    masks = sparse and of["mask_on"] != "same"
    if masks and of["order"] != "together":
        raise UsageError(
            f"order {of['order']!r} finds its own mask; leave mask_on at same, or order at together"
        )
    mask = read_keep(of["mask_on"], of["rule"]) if masks else Keep("all")
    if masks:
        out["mask_on"] = mask.word
    scored = "scored" in (keep.kind, mask.kind)
    use = {
        "epochs": not of["steps"]
        or (scored and "scoring.epochs" not in of)  # a fifth of them
        or any(of.get(f"{stage}.steps") == 0 for stage in STAGES),
        "rule": False,
        "ratio": keep.kind == "infobatch",
        "weights": sparse,
        "order": sparse,
        "mask_on": masks,
        "mask_fraction": masks and mask.kind != "all",
        "beta": "ccs" in (keep.rule, mask.rule),
        "per_class": {keep.kind, mask.kind} & {"scored", "random"},
        "distill": of["distill.teacher"] != "none",
        "scoring": scored,
        "teaching": of["distill.teacher"] == "full",
        "first": masks or (sparse and of["order"] != "together"),
    }
    assert set(STAGES) <= set(use)
    used = {name: v for name, v in out.items() if use.get(name.partition(".")[0], True)}
    return {name: v for name, v in sorted(used.items()) if v != DEFAULTS.get(name)}


def controls(point: Point) -> list[Point]:
    """Return the runs beside which this one means something, as far as the grid says them.

    Everything and dense; a random subset where a scored one is kept; a mask found on a random
    subset where one is found on a scored one; a random mask on a random subset, without a teacher,
    where weights are pruned. Their names are not set.
    """
    plain = dict(point.values) | {"distill.teacher": "none", "order": "together", "mask_on": "same"}
    everything = {"keep": "all", "fraction": 1.0, "weights.density": 1.0}
    made = [Point(effective(plain | everything), point.seed, control=FULL)]
    if point.keep.kind == "scored":
        random = dict(point.values) | {"keep": "random"}
        made.append(Point(effective(random), point.seed, control=RANDOM_DATA))
    apart = point.get("mask_on") != "same" and point.get("mask_fraction") < 1
    if apart and point.mask_keep.kind == "scored":
        found = dict(point.values) | {"mask_on": "random"}
        made.append(Point(effective(found), point.seed, control=RANDOM_FOUND))
    if point.get("weights.density") < 1 and point.get("weights.criterion") != "random":
        keep = "all" if point.get("fraction") == 1 else "random"
        drawn = plain | {"weights.criterion": "random", "weights.schedule": "before", "keep": keep}
        drawn = {name: value for name, value in drawn.items() if name not in _TIMES}
        made.append(Point(effective(drawn), point.seed, control=RANDOM_MASK))
    return made


@dataclass(frozen=True)
class Budget:
    """Steps of a point with those of the run that scores for it, and of all data by themselves.

    Attributes:
        steps: of the point.
        full: of all data.
        counted: whether it has been run, and these are its steps; what InfoBatch will leave out is
            not known before.
    """

    steps: int
    full: int
    counted: bool = False

    @classmethod
    def of(cls, point: Point, n: int) -> "Budget":
        """Count them, where n examples may be trained on."""
        run = point.run
        _, own = planned(run, point.get("fraction"), n)
        _, full = planned(replace(run, sampler=None), 1.0, n)
        scoring = 0 if point.scoring is None else planned(point.scoring, 1.0, n)[1]
        return cls(own + scoring, full)


def equal_compute(point: Point, budget: Budget, shown: Collection[str]) -> Point | None:
    """Return training on all data for as many steps as this point takes in all; None for none.

    It has the point's masks. There is none where all data take as many or fewer by themselves,
    unless the budget is in steps, to which a scoring run adds; for a random mask; and for a point
    with a teacher or a first run, beside which all data and no masks stand.

    Args:
        point: the point.
        budget: its steps and those of all data; of InfoBatch there is a control for counted ones.
        shown: settings that stand in the names of arms.
    """
    more = budget.steps >= budget.full and not (point.run.steps and budget.steps > budget.full)
    fresh = point.keep.kind == "infobatch"
    if more or point.keep.kind == "all" or (fresh and not budget.counted):
        return None
    if point.get("weights.density") < 1 and point.get("weights.criterion") == "random":
        return None
    if point.teaching is not None or point.first is not None or point.run.distill is not None:
        return None
    values = {name: v for name, v in point.values.items() if name != "epochs"}
    values = effective(values | {"keep": "all", "fraction": 1.0, "steps": budget.steps})
    name = arm_of(values, {*shown, "steps"})
    if fresh:  # each seed takes a number of steps of its own: the name is that of them all
        name = f"{arm_of(values, {*shown} - {'steps'})}, as many steps as {point.arm}"
    return Point(values, point.seed, name, EQUAL)


def shown_settings(grid: Grid) -> set[str]:
    """Return the settings that differ between points, which are what arms are named by.

    Example:
        >>> parts = [{"lr": [0.2]}, {"batch_size": [32]}]  # the other has the default of each
        >>> own = shown_settings(Grid.from_dict({"data": "digits", "grid": parts})) - set(_NAMED)
        >>> sorted(own)
        ['batch_size', 'lr']
    """
    default: dict[str, Any] = {**DEFAULTS, **grid.base}
    names = {name for axes in grid.grids for name in axes}
    seen = {
        name: {repr(value) for axes in grid.grids for value in axes.get(name, [default.get(name)])}
        for name in names
    }
    return {name for name, values in seen.items() if len(values) > 1} | set(_NAMED)


def named_apart(plan: Sequence[Point]) -> list[Point]:
    """Return points of which no two that differ by more than their seed share the name of an arm.

    A control may differ from a point of the grid in what the grid keeps constant, and no name
    tells; then both names say it.

    Example:
        >>> drawn = {"weights.density": 0.1, "weights.criterion": "random"}
        >>> at_once = Point(drawn | {"weights.schedule": "before"}, 0, "random mask")
        >>> [point.arm for point in named_apart([Point(drawn, 0, "random mask"), at_once])]
        ['random mask, weights.schedule cubic', 'random mask, weights.schedule before']
    """
    arms: dict[str, list[Point]] = {}
    for point in plan:
        arms.setdefault(point.arm, []).append(point)
    more = {}
    for arm, same in arms.items():
        names = sorted({name for point in same for name in point.values})
        more[arm] = [n for n in names if len({repr(point.get(n)) for point in same}) > 1]
    return [
        replace(p, arm=", ".join([p.arm, *(f"{short_name(n)} {p.get(n)}" for n in more[p.arm])]))
        for p in plan
    ]


def arm_of(values: Values, shown: Collection[str]) -> str:
    """Name settings as a reader would: the data first, then what is done to the weights.

    Example:
        >>> arm_of({"keep": "rs2", "fraction": 0.1, "weights.density": 0.2, "lr": 0.2}, ())
        'RS2 10 %, density 20 %'
    """
    of: Mapping[str, Any] = {**DEFAULTS, **values}
    keep = read_keep(of["keep"]) if of["fraction"] < 1 or of["keep"] == "infobatch" else Keep("all")
    parts = [_chosen(keep, of["fraction"])]
    if of["weights.density"] < 1:
        word = "random mask" if of.get("weights.criterion") == "random" else "density"
        parts.append(f"{word} {_share(of['weights.density'])}")
    if of["mask_on"] != "same":
        parts.append(f"mask found on {_chosen(read_keep(of['mask_on']), of['mask_fraction'])}")
    elif of["order"] != "together":
        parts.append(of["order"])
    if of["distill.teacher"] != "none":
        parts.append(f"teacher {of['distill.teacher']}")
    for name in sorted(shown):
        value = of.get(name)
        if _told(name, value, of, values):
            number = f"{value:g}" if isinstance(value, float) else str(value)
            parts.append(f"{value} steps" if name == "steps" else f"{short_name(name)} {number}")
    return ", ".join(parts)


def _told(name: str, value: Any, of: Values, values: Values) -> bool:
    """Tell whether a setting that differs between points says something of this one."""
    if name in _NAMED or value in (None, 0, "random") or (name == "epochs" and of["steps"]):
        return False
    group, dot, _ = name.partition(".")
    if group == "weights":
        return bool(of["weights.density"] < 1)
    if group == "distill":
        return bool(of["distill.teacher"] != "none")
    return name in values or not (dot or name in OWN)


def _chosen(keep: Keep, fraction: float) -> str:
    share = _share(fraction)
    words = {"all": "all data", "infobatch": "InfoBatch", "rs2": f"RS2 {share}"}
    return words.get(keep.kind, f"{keep.scorer or 'random'} {keep.rule} {share}".replace("  ", " "))


def _share(share: float) -> str:
    return f"{100 * share:g} %"
