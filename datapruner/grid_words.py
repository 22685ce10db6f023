"""The words of a grid: which settings and axes there are, and which values each may have."""

from dataclasses import MISSING, fields
from typing import Any, NamedTuple

from .distill_specs import DistillSpec
from .errors import UsageError, suggest
from .run import Run
from .typed import typed
from .weight_specs import WeightPruning

FRESH = ("random", "rs2", "infobatch")  # what `keep` may be besides a scorer
ORDERS = ("together", "data first", "weights first", "dense first")
STAGES = ("scoring", "teaching", "first")  # further runs, each with settings of its own
_TAKEN = ("data", "sampler", "distill", "weights", "seed")

OWN: dict[str, str] = {
    "fraction": "share of the training set that is kept, above 0 and at most 1",
    "keep": "how: random, rs2, infobatch, a scorer, or a scorer and a rule such as el2n+ccs",
    "rule": "rule of the scorers that are named without one",
    "beta": "share of the highest scores that the rule ccs cuts off",
    "ratio": "what InfoBatch leaves out of the examples below the mean loss",
    "per_class": "keep the same share of every class",
    "order": "together, data first, weights first or dense first",
    "mask_on": "what the mask is found on: same, all, random, a scorer or a scorer and a rule",
    "mask_fraction": "share of the training set that the mask is found on",
}
_RUN = tuple(f.name for f in fields(Run) if f.name not in _TAKEN)
_WEIGHTS = tuple(f.name for f in fields(WeightPruning))
_DISTILL = tuple(f.name for f in fields(DistillSpec))


GROUPS = ("weights", "distill", *STAGES)  # that names may be written in
NAMES = (  # in full
    *OWN,
    *_RUN,
    *(f"weights.{name}" for name in _WEIGHTS),
    *(f"distill.{name}" for name in _DISTILL),
    *(f"{stage}.{name}" for stage in STAGES for name in (*_RUN, "seed", "density")),
)
# What may be written without its group, because nothing else is called so.
SHORT = {
    **{name: f"weights.{name}" for name in ("density", "criterion", "allocation", "pattern")},
    "teacher": "distill.teacher",
    "scorer": "keep",
}


class Keep(NamedTuple):
    """What `keep` says: random, rs2, infobatch, all, or scored with a scorer and a rule."""

    kind: str
    scorer: str = ""
    rule: str = ""

    @property
    def word(self) -> str:
        """How it is written in one word, the rule told."""
        return f"{self.scorer}+{self.rule}" if self.kind == "scored" else self.kind


def whole_name(word: str) -> str:
    """Return the whole name of a setting; a word that is none is refused with the nearest.

    Example:
        >>> whole_name("density"), whole_name("schedule")
        ('weights.density', 'schedule')
    """
    name = SHORT.get(word, word)
    if name in NAMES:
        return name
    group, dot, _ = word.partition(".")
    if dot and group in GROUPS:
        inner = [
            name.removeprefix(f"{group}.")
            for name in NAMES
            if name[: len(group) + 1] == f"{group}."
        ]
        raise UsageError(
            f"{group} has no {word.partition('.')[2]!r}; {suggest(word.partition('.')[2], inner)}"
        )
    known = [*OWN, *_RUN, *SHORT]
    raise UsageError(f"no axis {word!r}; {suggest(word, [*known, *GROUPS])}")


def short_name(name: str) -> str:
    """Return the shortest way to write a whole name.

    Example:
        >>> short_name("weights.density"), short_name("weights.schedule")
        ('density', 'weights.schedule')
    """
    return next((word for word, whole in SHORT.items() if whole == name and word != "scorer"), name)


def read_keep(word: str, rule: str = "top") -> Keep:
    """Read what `keep` says.

    Args:
        word: random, rs2, infobatch, all, a scorer or SCORER+RULE.
        rule: of a scorer without one.

    Raises:
        UsageError: an unknown scorer or rule, with the nearest right one.

    Example:
        >>> read_keep("el2n+ccs")
        Keep(kind='scored', scorer='el2n', rule='ccs')
    """
    if word in (*FRESH, "all"):
        return Keep(word)
    from scorers import SCORERS

    from .rules import RULES

    scorer, plus, named = word.partition("+")
    if scorer not in SCORERS:
        hint = suggest(scorer, [*FRESH, *SCORERS])
        raise UsageError(f"keep {word!r}: neither {', '.join(FRESH)} nor a scorer; {hint}")
    if plus and named not in RULES:
        raise UsageError(f"keep {word!r}: no rule {named!r}; {suggest(named, RULES)}")
    return Keep("scored", scorer, named or rule)


def check_value(name: str, value: Any) -> Any:
    """Return the value of a setting in its own type, or refuse it.

    Raises:
        UsageError: it cannot be run with; one line that says why.

    Example:
        >>> check_value("fraction", 1)
        1.0
    """
    group, dot, inner = name.rpartition(".")
    if not dot:
        return _own(name, value) if name in OWN else getattr(Run(**{name: value}), name)
    if group == "weights":
        checked = _of_spec(WeightPruning, inner, value, {"density": 0.5})
        _refuse_unknown(inner, checked)
        return checked
    if group == "distill":
        if inner == "teacher":
            return "none" if value is None else typed("teacher", str, value)
        return _of_spec(DistillSpec, inner, value, {"teacher": "full"})
    if inner == "density":
        return _of_spec(WeightPruning, inner, value, {})
    return getattr(Run(**{inner: value}), inner)


def _refuse_unknown(name: str, word: Any) -> None:
    """Refuse a criterion, an allocation, a pattern or a schedule that there is not."""
    from .masks.allocation import allocation_named
    from .masks.criteria import criterion_named
    from .masks.patterns import pattern_named
    from .masks.schedules import timing

    named = {
        "criterion": criterion_named,
        "allocation": allocation_named,
        "pattern": pattern_named,
        "schedule": timing,
    }
    if name in named:
        named[name](word)


def _of_spec(kind: Any, name: str, value: Any, needed: dict[str, Any]) -> Any:
    return getattr(kind(**(needed | {name: value})), name)


def _own(name: str, value: Any) -> Any:
    if name in ("fraction", "mask_fraction"):
        share = typed(name, float, value)
        if not 0 < share <= 1:
            raise UsageError(f"{name} must be above 0 and at most 1, not {share:g}")
        return share
    if name in ("beta", "ratio"):
        share = typed(name, float, value)
        if not 0 <= share < 1:
            raise UsageError(f"{name} must be in [0, 1), not {share:g}")
        return share
    if name == "per_class":
        return typed(name, bool, value)
    word = typed(name, str, value)
    if name == "order" and word not in ORDERS:
        raise UsageError(f"order {word!r}; {suggest(word, ORDERS)}")
    if name == "rule":
        from .rules import RULES

        if word not in RULES:
            raise UsageError(f"no rule {word!r}; {suggest(word, RULES)}")
    if name == "keep" or (name == "mask_on" and word != "same"):
        read_keep(word)
        if (name, word) == ("keep", "all"):
            raise UsageError("keep 'all': say `fraction: 1`, whatever `keep` is")
        if name == "mask_on" and word in ("rs2", "infobatch"):
            raise UsageError(f"mask_on {word!r}: a mask is found on one subset; take random")
    return word


DEFAULTS: dict[str, Any] = {
    **{f"weights.{f.name}": f.default for f in fields(WeightPruning) if f.name != "density"},
    **{f"distill.{f.name}": f.default for f in fields(DistillSpec) if f.name != "teacher"},
    "fraction": 1.0,
    "keep": "random",
    "rule": "top",
    "beta": 0.0,
    "ratio": 0.5,
    "per_class": False,
    "order": "together",
    "mask_on": "same",
    "mask_fraction": 0.1,
    "weights.density": 1.0,
    "distill.teacher": "none",
    **{f.name: f.default for f in fields(Run) if f.name in _RUN and f.default is not MISSING},
}
