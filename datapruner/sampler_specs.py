"""What an epoch looks at, as frozen values that a Run holds and names."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

from .errors import UsageError, suggest
from .typed import set_typed


@dataclass(frozen=True)
class KeepSpec:
    """Train on one fixed subset.

    Attributes:
        folder: where `Selection.save` put it.

    Example:
        >>> KeepSpec(folder="runs/half").folder
        'runs/half'
    """

    folder: str

    def __post_init__(self) -> None:
        """Refuse what is no path."""
        set_typed(self)


@dataclass(frozen=True)
class RS2Spec:
    """Train on a fresh random subset each epoch (RS2, Okanovic et al. 2023).

    Attributes:
        fraction: share of the readable examples in an epoch, above 0 and at most 1.
        replacement: each epoch drawn by itself, instead of walking through a permutation.
        stratified: the same share of every class.
        final: share that the epochs move to, evenly with progress; None stays at `fraction`.

    Raises:
        UsageError: a share is none.

    Example:
        >>> RS2Spec(0.1).replacement
        False
    """

    fraction: float
    replacement: bool = False
    stratified: bool = False
    final: float | None = None

    def __post_init__(self) -> None:
        """Refuse a fraction that is none."""
        set_typed(self)
        if not 0 < self.fraction <= 1:
            raise UsageError(f"rs2 fraction must be above 0 and at most 1, not {self.fraction}")
        if self.final is not None and not 0 < self.final <= 1:
            raise UsageError(f"rs2 final must be above 0 and at most 1, not {self.final}")


@dataclass(frozen=True)
class InfoBatchSpec:
    """Leave out part of what is learned already (InfoBatch, Qin et al. 2024).

    It anneals over the run's epochs; with a budget in steps, over as many epochs as these steps
    make of the full set.

    Attributes:
        ratio: share of the examples below the mean loss that an epoch leaves out, in [0, 1).
        delta: share of the run after which nothing is left out, in [0, 1].

    Raises:
        UsageError: a value outside its range.

    Example:
        >>> InfoBatchSpec(0.5).delta
        0.875
    """

    ratio: float
    delta: float = 0.875

    def __post_init__(self) -> None:
        """Refuse what is no share."""
        set_typed(self)
        if not 0 <= self.ratio < 1:
            raise UsageError(f"infobatch ratio must be at least 0 and below 1, not {self.ratio}")
        if not 0 <= self.delta <= 1:
            raise UsageError(f"infobatch delta must be in [0, 1], not {self.delta}")


@dataclass(frozen=True)
class ByScoreSpec:
    """Choose each epoch's examples by a score of the run's own traces; see `ByScore`.

    Attributes:
        scorer: its name.
        fraction: share of the readable examples in an epoch, above 0 and at most 1.
        how: "softmax" draws by exp(score / temperature), "top" takes the highest.
        temperature: of the softmax.
        every: how many epochs a score is kept.
        visits: how many of the last visits of each example the scorer is given.
        random: share of an epoch that is drawn at random from the others (`Mixed`), in [0, 1].

    Raises:
        UsageError: a share is none; what the scorer needs is checked when the sampler is made.

    Example:
        >>> ByScoreSpec("el2n", 0.1).how
        'softmax'
    """

    scorer: str
    fraction: float
    how: Literal["softmax", "top"] = "softmax"
    temperature: float = 1.0
    every: int = 1
    visits: int = 1
    random: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what is no share."""
        set_typed(self)
        if not 0 < self.fraction <= 1:
            raise UsageError(f"fraction must be above 0 and at most 1, not {self.fraction}")
        if not 0 <= self.random <= 1:
            raise UsageError(f"random must be in [0, 1], not {self.random}")


SamplerSpec = KeepSpec | RS2Spec | InfoBatchSpec | ByScoreSpec

# The field that every value of a kind has, and no value of the kinds after it.
_MARKS: dict[str, type[SamplerSpec]] = {
    "folder": KeepSpec,
    "scorer": ByScoreSpec,
    "ratio": InfoBatchSpec,
    "fraction": RS2Spec,
}


def sampler_from(values: Mapping[str, Any]) -> SamplerSpec:
    """Build a spec from plain values; an unknown key is refused with the nearest right one.

    Example:
        >>> sampler_from({"ratio": 0.5})
        InfoBatchSpec(ratio=0.5, delta=0.875)
    """
    mark = next((mark for mark in _MARKS if mark in values), "fraction")
    known = [f.name for f in fields(_MARKS[mark])]
    for key in values:
        if key not in known:
            raise UsageError(f"sampler has no field {key!r}; {suggest(key, known)}")
    if mark not in values:
        raise UsageError(
            "sampler needs a field 'folder' (a kept subset), 'fraction' (RS2), 'ratio' "
            "(InfoBatch), or 'scorer' and 'fraction' (by score)"
        )
    if mark == "scorer" and "fraction" not in values:
        raise UsageError("sampler with a 'scorer' needs a field 'fraction'")
    return _MARKS[mark](**values)
