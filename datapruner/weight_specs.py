"""How a run prunes weights, as a frozen value that a Run holds and names."""

from dataclasses import dataclass

from .errors import UsageError
from .typed import set_typed


@dataclass(frozen=True)
class WeightPruning:
    """Prune the weights of a network while it trains.

    Attributes:
        density: share of the prunable weights that is kept at the end, above 0 and at most 1.
        criterion: how important a weight is.
        allocation: how much density each layer gets.
        pattern: what is removed together.
        schedule: when.

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

    def __post_init__(self) -> None:
        """Refuse a density that is none."""
        set_typed(self)
        if not 0 < self.density <= 1:
            raise UsageError(f"density must be above 0 and at most 1, not {self.density}")
