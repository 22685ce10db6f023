"""Options that say what an epoch looks at, and the spec that they come to."""

from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal

import tyro

from ..errors import UsageError
from ..sampler_specs import ByScoreSpec, InfoBatchSpec, KeepSpec, RS2Spec, SamplerSpec


@dataclass(frozen=True)
class Drawing:
    """What an epoch looks at: everything, unless --keep, --rs2, --infobatch or --by-score is given.

    Example:
        >>> Drawing(rs2=0.1, stratified=True).spec()
        RS2Spec(fraction=0.1, replacement=False, stratified=True, final=None)
    """

    keep: str | None = None
    """Folder that `keep` wrote: the same examples every epoch."""
    rs2: float | None = None
    """RS2: share of the examples drawn anew each epoch."""
    replacement: bool = False
    """Draw each epoch by itself (with --rs2)."""
    stratified: bool = False
    """The same share of every class (with --rs2)."""
    final: float | None = None
    """Share that the epochs move to, evenly with progress (with --rs2)."""
    infobatch: float | None = None
    """InfoBatch: share of the examples below the mean loss that are left out, such as 0.5."""
    delta: float = 0.875
    """Share of the run after which nothing is left out (with --infobatch)."""
    by_score: str | None = None
    """Scorer that chooses each epoch by the traces of the run itself, such as el2n."""
    fraction: float | None = None
    """Share of the examples in an epoch (with --by-score, which needs it)."""
    how: Literal["softmax", "top"] = "softmax"
    """Draw by exp(score / temperature), or take the highest (with --by-score)."""
    temperature: float = 1.0
    """Of the softmax: high is nearly uniform (with --by-score)."""
    every: int = 1
    """Epochs that a score is kept (with --by-score)."""
    visits: int = 1
    """Last visits of each example that the scorer is given (with --by-score)."""
    random: float = 0.0
    """Share of an epoch that is drawn at random from the others (with --by-score)."""

    def spec(self) -> SamplerSpec | None:
        """Return what these options say, None for everything.

        Raises:
            UsageError: two that exclude each other, or one that belongs to another.
        """
        given = [name for name in _OWNED if getattr(self, name) is not None]
        if len(given) > 1:
            words = " and ".join(_word(name) for name in given)
            raise UsageError(f"{words} exclude each other; give one of them")
        for owner, names in _OWNED.items():
            if owner not in given and (stray := [n for n in names if self._is_set(n)]):
                words = ", ".join(_word(name) for name in stray)
                raise UsageError(f"{words} belongs to {_word(owner)}; give it, {_SUCH_AS[owner]}")
        if self.keep is not None:
            return KeepSpec(self.keep)
        if self.rs2 is not None:
            return RS2Spec(self.rs2, self.replacement, self.stratified, self.final)
        if self.infobatch is not None:
            return InfoBatchSpec(self.infobatch, self.delta)
        if self.by_score is not None:
            if self.fraction is None:
                raise UsageError("--by-score needs the share of an epoch, such as --fraction 0.1")
            own: dict[str, Any] = {name: getattr(self, name) for name in _OWNED["by_score"]}
            return ByScoreSpec(self.by_score, **own)
        return None

    def _is_set(self, name: str) -> bool:
        default = next(f.default for f in fields(self) if f.name == name)
        return bool(getattr(self, name) != default)


_OWNED = {
    "keep": (),
    "rs2": ("replacement", "stratified", "final"),
    "infobatch": ("delta",),
    "by_score": ("fraction", "how", "temperature", "every", "visits", "random"),
}
_SUCH_AS = {"rs2": "such as --rs2 0.1", "infobatch": "such as --infobatch 0.5"}
_SUCH_AS["by_score"] = "such as --by-score el2n --fraction 0.1"


def _word(name: str) -> str:
    return "--" + name.replace("_", "-")


Draw = Annotated[Drawing, tyro.conf.OmitArgPrefixes]
