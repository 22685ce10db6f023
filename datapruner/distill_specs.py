"""How a run learns from a teacher, as a frozen value that a Run holds and names."""

from dataclasses import dataclass
from numbers import Real
from typing import Literal

from .errors import UsageError
from .typed import set_typed

Kind = Literal["kl", "mse", "dkd"]
TEMPERATURE = 4.0


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
    temperature: float = TEMPERATURE
    kind: Literal["kl", "mse", "dkd"] = "kl"

    def __post_init__(self) -> None:
        """Refuse what is no share and no temperature."""
        set_typed(self)
        if not all(word.strip() for word in self.teacher.split(",")):
            raise UsageError(
                f"distill teacher {self.teacher!r} names no teacher; give a run folder"
            )
        refuse_impossible(self.weight, self.temperature, self.kind)


def refuse_impossible(weight: float | str, temperature: float, kind: str) -> None:
    """Say which of these values cannot be distilled with.

    Raises:
        UsageError: a weight outside [0, 1], no temperature, or one for mse, which has none.

    Example:
        >>> refuse_impossible("auto", 4.0, "kl")
    """
    if not isinstance(weight, str) and not (isinstance(weight, Real) and 0 <= weight <= 1):
        raise UsageError(f"distill weight must be in [0, 1] or auto, not {weight}")
    if not isinstance(temperature, Real) or not 0 < temperature < float("inf"):
        raise UsageError(f"distill temperature must be above 0, not {temperature}")
    if kind == "mse" and temperature != TEMPERATURE:
        raise UsageError("distill kind mse compares logits, without a temperature; leave it out")
