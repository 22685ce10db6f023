"""How a run learns from a teacher, as a frozen value that a Run holds and names."""

from dataclasses import dataclass
from typing import Literal

from .errors import UsageError
from .typed import set_typed


@dataclass(frozen=True)
class DistillSpec:
    """Learn from a teacher's outputs beside the labels; see `Distill`.

    Attributes:
        teacher: folder of a trained run, a folder of cached logits, torchvision:NAME or
            module:factory with @weights; several with commas between are an ensemble.
        weight: share of the distillation term in the loss, in [0, 1]; auto sets it by rule.
        temperature: that the logits of both are divided by, above 0.
        kind: kl on softened outputs, mse on logits, or dkd (decoupled).

    Raises:
        UsageError: a value outside its range.

    Example:
        >>> DistillSpec("runs/full").temperature
        4.0
    """

    teacher: str
    weight: float | Literal["auto"] = "auto"
    temperature: float = 4.0
    kind: Literal["kl", "mse", "dkd"] = "kl"

    def __post_init__(self) -> None:
        """Refuse what is no share and no temperature."""
        set_typed(self)
        if self.weight != "auto" and not 0 <= self.weight <= 1:
            raise UsageError(f"distill weight must be in [0, 1] or auto, not {self.weight}")
        if not self.temperature > 0:
            raise UsageError(f"distill temperature must be above 0, not {self.temperature}")
