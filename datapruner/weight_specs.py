"""How a run prunes weights, as a frozen value that a Run holds and names."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .errors import UsageError
from .typed import set_typed

if TYPE_CHECKING:
    import torch
    from torch import nn

    from .loaders import Loader
    from .losses import Loss
    from .masks.engine import Pruning
    from .run import Run
    from .samplers import Sampler


@dataclass(frozen=True)
class WeightPruning:
    """Prune the weights of a network while it trains: `fit(masks=WeightPruning(0.1))`.

    Attributes:
        density: share of the prunable weights that is kept at the end, above 0 and at most 1.
        criterion: how important a weight is: a name in `masks.CRITERIA`, options after a colon.
        allocation: how much density each layer gets: a name in `masks.ALLOCATIONS`, densities by
            pattern (`*.h2h=0.2`), or both (`erk,fc3=1`).
        pattern: what is removed together: a name in `masks.PATTERNS`, N:M such as 2:4 (of every
            layer, so that density is N/M and allocation global or uniform), or blocks such as 4x4.
        schedule: when: a name in `masks.SCHEDULES`.
        begin: progress of the run, in [0, 1], at which it starts; None is the schedule's own.
        end: progress at which it is over; None is the schedule's own.
        every: progress between two changes; None is the schedule's own.
        skip: layers to leave alone, with commas between: first, classifier, or patterns of names.
        floor: least weights of each output row that stay; 0 lets a row lose all of them.
        examples: the most that a criterion reads, of what the first epoch draws; 0 for all.
        replaced: share of the active weights that rigl and set exchange at their first change.
        temperature: of soft masks, in squared weights.

    Raises:
        UsageError: a value outside its range.

    Example:
        >>> WeightPruning(0.1).criterion
        'magnitude'
    """

    density: float
    criterion: str = "magnitude"
    allocation: str = "global"
    pattern: str = "weight"
    schedule: str = "cubic"
    begin: float | None = None
    end: float | None = None
    every: float | None = None
    skip: str = ""
    floor: int = 1
    examples: int = 1024
    replaced: float = 0.3
    temperature: float = 1e-5

    def __post_init__(self) -> None:
        """Refuse a density that is none, and times outside of the run."""
        set_typed(self)
        if not 0 < self.density <= 1:
            raise UsageError(f"density must be above 0 and at most 1, not {self.density}")
        for name in ("begin", "end"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise UsageError(f"{name} is a progress in [0, 1], not {value}")
        if self.every is not None and not self.every > 0:
            raise UsageError(f"every must be above 0, not {self.every}")
        for name in ("floor", "examples"):
            if getattr(self, name) < 0:
                raise UsageError(f"{name} must be 0 or more, not {getattr(self, name)}")
        if not 0 < self.replaced < 1:
            raise UsageError(f"replaced must be in (0, 1), not {self.replaced}")
        if not self.temperature > 0:
            raise UsageError(f"temperature must be above 0, not {self.temperature}")

    def check(self, model: "nn.Module") -> None:
        """Refuse what means nothing for this network, before any work; see `masks.attaching.check`.

        Raises:
            UsageError: a word that is not known, or what does not fit the network.
        """
        from .masks.attaching import check

        check(model, self)

    def attach(
        self,
        model: "nn.Module",
        optimizer: "torch.optim.Optimizer",
        *,
        loader: "Loader",
        sampler: "Sampler",
        loss: "Loss",
        run: "Run",
        device: "torch.device",
    ) -> "Pruning":
        """Return the masks of one run, as `fit` asks for them; see `masks.attach`.

        Raises:
            UsageError: they do not fit the network or the run.
        """
        from .masks.attaching import attach

        return attach(
            model,
            optimizer,
            self,
            loader=loader,
            order=sampler.draw(0)[0],
            loss=loss,
            weight_decay=run.weight_decay,
            seed=run.seed,
        )
