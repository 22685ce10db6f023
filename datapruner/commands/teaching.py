"""Options that say what a run learns from beside the labels, and the spec that they come to."""

from dataclasses import dataclass, replace
from typing import Annotated

import tyro

from ..distill_specs import TEMPERATURE, DistillSpec, Kind
from ..errors import UsageError
from .drawing import Drawing


@dataclass(frozen=True)
class Teaching:
    """What the network learns from beside the labels: nothing, unless --teacher is given.

    Example:
        >>> Teaching(teacher="runs/full", distill_weight="0.5").spec()
        DistillSpec(teacher='runs/full', weight=0.5, temperature=4.0, kind='kl')
    """

    teacher: str | None = None
    """Folder of a trained run, or of what `teacher` cached, or NETWORK@FILE; several with commas
    between are an ensemble."""
    distill_weight: str = "auto"
    """Share of the teacher's term in the loss, from 0 to 1; auto sets it by rule (with
    --teacher)."""
    distill_kind: Kind = "kl"
    """KL of softened outputs, mse of logits, or dkd, the decoupled KL (with --teacher)."""
    temperature: float | None = None
    """That softens both outputs (with --teacher; 4), or of the softmax that draws (with
    --by-score; 1)."""

    def spec(self) -> DistillSpec | None:
        """Return what these options say, None where there is no teacher.

        Raises:
            UsageError: one that belongs to a teacher, and none is named; or a value out of range.
        """
        if self.teacher is None:
            stray = {"--distill-weight": self.distill_weight, "--distill-kind": self.distill_kind}
            if given := [w for w, value in stray.items() if value not in ("auto", "kl")]:
                raise UsageError(
                    f"{', '.join(given)} belongs to --teacher; give it, such as --teacher runs/full"
                )
            return None
        temperature = TEMPERATURE if self.temperature is None else self.temperature
        weight = self.distill_weight
        return DistillSpec(
            self.teacher,
            "auto" if weight == "auto" else _number(weight),
            temperature,
            self.distill_kind,
        )


@dataclass(frozen=True)
class Drawn(Drawing):
    """What an epoch looks at: everything, or what --keep, --rs2, --infobatch or --by-score say."""

    # its word is one of Teaching's, which serves both
    temperature: Annotated[tyro.conf.Fixed[float], tyro.conf.SuppressFixed] = 1.0

    def shared(self, teaching: Teaching) -> Drawing:
        """Return the options of drawing, with the temperature where it is meant for them.

        Raises:
            UsageError: both could be meant, or neither is there.
        """
        if teaching.temperature is None:
            return self
        if teaching.teacher is None:
            if self.by_score is None:
                raise UsageError(
                    "--temperature belongs to --teacher or to --by-score; give one, such as "
                    "--teacher runs/full"
                )
            return replace(self, temperature=teaching.temperature)
        if self.by_score is not None:
            raise UsageError(
                "--temperature could be that of --teacher or of --by-score; leave it at both "
                "defaults, or set them apart in a Run from Python"
            )
        return self


def _number(word: str) -> float:
    try:
        return float(word)
    except ValueError:
        raise UsageError(f"--distill-weight must be auto or in [0, 1], not {word!r}") from None


Teach = Annotated[Teaching, tyro.conf.OmitArgPrefixes]
Draw = Annotated[Drawn, tyro.conf.OmitArgPrefixes]
