"""History: what a training run did, epoch by epoch."""

from dataclasses import asdict, dataclass, field, replace
from typing import Any


@dataclass(frozen=True)
class Epoch:
    """One epoch of a run.

    Attributes:
        epoch: 0 for the first.
        examples: rows seen in training so far.
        steps: optimizer steps so far.
        seconds: spent in training so far, the sampler included, evaluation and recording left out.
        train_loss: mean loss over the epoch, as each batch was met.
        train_accuracy: share right in the epoch, as each batch was met.
        test_accuracy: share right on the test loader after the epoch; None where it was not read.
        sampling: those of the seconds in which the sampler drew and took over what it observed.
        active: weights that no mask held at 0, averaged over the epoch's steps; None without masks.
    """

    epoch: int
    examples: int
    steps: int
    seconds: float
    train_loss: float
    train_accuracy: float
    test_accuracy: float | None = None
    sampling: float = 0.0
    active: float | None = None

    def with_sampling(self, seconds: float) -> "Epoch":
        """Return this epoch with so many seconds more, in which the sampler worked."""
        return replace(self, seconds=self.seconds + seconds, sampling=self.sampling + seconds)


@dataclass
class History:
    """The epochs of a run in order.

    Attributes:
        epochs: what was done.
        begun: optimizer steps that were taken before the first of them.

    Example:
        >>> History([Epoch(0, 100, 10, 1.5, 0.7, 0.5, 0.55)]).accuracy
        0.55
    """

    epochs: list[Epoch] = field(default_factory=list)
    begun: int = 0

    @property
    def accuracy(self) -> float | None:
        """The last test accuracy that was read, in [0, 1]; None when none was."""
        return next(
            (e.test_accuracy for e in reversed(self.epochs) if e.test_accuracy is not None), None
        )

    @property
    def examples(self) -> int:
        """Rows seen in training."""
        return self.epochs[-1].examples if self.epochs else 0

    @property
    def steps(self) -> int:
        """Optimizer steps taken, those before the first epoch included."""
        return self.epochs[-1].steps if self.epochs else self.begun

    @property
    def seconds(self) -> float:
        """Seconds spent in training."""
        return self.epochs[-1].seconds if self.epochs else 0.0

    @property
    def sampling(self) -> float:
        """Seconds of these that the sampler took."""
        return self.epochs[-1].sampling if self.epochs else 0.0

    @property
    def active(self) -> float | None:
        """Parameters that no mask held at 0, averaged over the last epoch; None without masks."""
        return self.epochs[-1].active if self.epochs else None

    def plus(self, epoch: Epoch) -> "History":
        """Return a history with one epoch more."""
        return History([*self.epochs, epoch])

    def rows(self) -> list[dict[str, Any]]:
        """Return the epochs as plain dictionaries, for JSON."""
        return [asdict(epoch) for epoch in self.epochs]

    @classmethod
    def from_rows(cls, rows: list[dict[str, Any]]) -> "History":
        """Build a history from `rows()`."""
        return cls([Epoch(**row) for row in rows])
