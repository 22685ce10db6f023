"""Options that say which weights a run keeps, and the spec that they come to."""

from dataclasses import dataclass, field, fields, make_dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, get_args

import tyro

from ..errors import UsageError, suggest
from ..run import Schedule
from ..weight_specs import WeightPruning
from .options import Training

_RATES = get_args(Schedule)
_WHOLE = ("channel", "residual", "layer")  # masks.patterns.TRACED, without torch
_PARTS = ("weight", "row", "column")  # and N:M, and blocks
_WHEN = ("before", "after", "cubic", "linear", "staircase", "rigl", "set", "soft")


@dataclass(frozen=True)
class Weighing:
    """Which weights of the network are kept: all, unless --density is given.

    Example:
        >>> Weighing(density=0.1, allocation="erk").spec("linear").schedule
        'linear'
    """

    density: float | None = None
    """Share of the weights that is kept, such as 0.1; weights are pruned while the network
    trains."""
    criterion: str = "magnitude"
    """What is kept first (with --density): magnitude, random, lamp, lookahead, synflow,
    grad_x_weight, up, taylor, snip, grasp, obs, wanda, movement, learned."""
    allocation: str = "global"
    """Density of each layer (with --density): global, lamp, snip, grasp, synflow, uniform,
    uniform+, er, erk, erk+; densities by layer such as 'fc1=0.05,fc3=1'; or both: 'erk,fc3=1'."""
    pattern: str = "weight"
    """What is removed together (with --density): weight, 2:4, 4x4, row, column, channel, residual,
    layer. N:M such as 2:4 keeps N/M of every layer: it takes that --density, and no --allocation
    but global or uniform."""
    skip: str = ""
    """Layers to leave whole (with --density): first, classifier, or patterns of names, with commas
    between."""
    floor: int = 1
    """Least weights that each output keeps (with --density)."""
    prune_begin: float | None = None
    """Share of the run at which pruning begins (with --density)."""
    prune_end: float | None = None
    """Share of the run at which the density is reached (with --density)."""
    prune_every: float | None = None
    """Share of the run between two changes (with --density)."""
    prune_examples: int = WeightPruning.examples
    """Most examples that a criterion reads, of those the run trains on; 0 for all (with
    --density)."""
    prune_replaced: float = WeightPruning.replaced
    """Share of the kept weights that rigl and set exchange at first (with --density)."""
    prune_temperature: float = WeightPruning.temperature
    """Temperature of the soft schedule, in squared weights (with --density)."""
    remove: bool = False
    """Take what was pruned out, too: write the smaller network beside the masked one, as small.pt2,
    which torch alone loads (torch.export.load), and print its size, operations and time before and
    after (with --density, --pattern channel, residual or layer, and --out)."""

    def spec(self, schedule: str | None = None) -> WeightPruning | None:
        """Return what these options say, None where all weights are kept.

        Args:
            schedule: when weights go; None is the default.

        Raises:
            UsageError: an option that belongs to --density, and there is none; or what the pattern
                prunes cannot be taken out.
        """
        if self.density is None:
            own = {f.name: f.default for f in fields(self)}
            stray = [name for name, default in own.items() if getattr(self, name) != default]
            words = ["--" + name.replace("_", "-") for name in stray]
            if words or schedule is not None:
                words += [f"--schedule {schedule}"] if schedule is not None else []
                raise UsageError(
                    f"{', '.join(words)} belongs to --density; give it, such as --density 0.1"
                )
            return None
        if self.remove and self.pattern not in _WHOLE:
            known = self.pattern in _PARTS or self.pattern[:1].isdigit()
            leaves = "only leaves zeros, so give --pattern channel"
            what = leaves if known else f"is not known; {suggest(self.pattern, _WHOLE)}"
            raise UsageError(
                f"--remove takes out {', '.join(_WHOLE)}; pattern {self.pattern!r} {what}"
            )
        return WeightPruning(
            self.density,
            self.criterion,
            self.allocation,
            self.pattern,
            schedule or "cubic",
            self.prune_begin,
            self.prune_end,
            self.prune_every,
            self.skip,
            self.floor,
            self.prune_examples,
            self.prune_replaced,
            self.prune_temperature,
        )


def _with_both_schedules() -> type:
    text = (
        f"the learning rate over progress: {', '.join(_RATES)}; and, with --density, when weights "
        f"go: {', '.join(_WHEN)}; both with a comma between: constant,cubic"
    )
    kind = Annotated.__class_getitem__((str, tyro.conf.arg(help=text)))  # type: ignore[attr-defined] # at run time
    column = ("schedule", kind, field(default=_RATES[0]))
    made = make_dataclass("Trained", [column], bases=(Training,), frozen=True)
    made.__doc__ = "How the network is trained."
    return made


if TYPE_CHECKING:
    Trained = Any
else:
    Trained = _with_both_schedules()


def both_schedules(training: Any) -> tuple[Any, str | None]:
    """Return the training options with the learning rate's schedule, and the one of the weights.

    Raises:
        UsageError: a word is none of either, or two are of one kind.

    Example:
        >>> both_schedules(Trained(schedule="cubic"))[1]
        'cubic'
    """
    words = [word.strip() for word in training.schedule.split(",")]
    if unknown := [word for word in words if word not in (*_RATES, *_WHEN)]:
        hint = suggest(unknown[0], (*_RATES, *_WHEN))
        raise UsageError(f"--schedule {unknown[0]!r} is not known; {hint}")
    rates, when = [w for w in words if w in _RATES], [w for w in words if w in _WHEN]
    if len(rates) > 1 or len(when) > 1:
        raise UsageError(
            f"--schedule {training.schedule!r} names two of a kind; give one for the learning rate "
            "and one for the weights"
        )
    rate = rates[0] if rates else _RATES[0]
    return replace(training, schedule=rate), when[0] if when else None


Weigh = Annotated[Weighing, tyro.conf.OmitArgPrefixes]
TrainPruned = Annotated[Trained, tyro.conf.OmitArgPrefixes]
