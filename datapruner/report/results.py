"""What a training run came to: one `Result` a run, and the file that holds them."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from ..errors import PrunerError, UsageError, suggest
from ..files import read_json, write_json


@dataclass(frozen=True)
class Result:
    """One training run: which arm it belongs to, what it reached, what it cost.

    The arm is what a reader compares: runs of one arm differ by seed alone. The arm "all data" is
    the full cost that shares are taken of; an arm whose name begins with "random" is a baseline.

    Args:
        arm: name of the arm, such as "all data", "random 30 %" or "RS2 30 %".
        seed: seed of the run.
        accuracy: test accuracy in [0, 1].
        examples: examples seen in training, over all epochs.
        steps: optimizer steps.
        seconds: wall time of training, and of what had to be done before it (preparation).
        history: a dict per epoch: epoch, examples, steps, train_loss, test_accuracy (or None);
            examples and steps counted from the start of the run, and seconds, where they are there,
            from the start of training.
        preparation: wall time of scoring and selecting, before training could start.

    Raises:
        UsageError: accuracy outside [0, 1], or a count below 0.

    Example:
        >>> Result("all data", 0, 0.97, 14370, 120, 3.5).accuracy
        0.97
    """

    arm: str
    seed: int
    accuracy: float
    examples: int
    steps: int
    seconds: float
    history: list[dict[str, Any]] = field(default_factory=list)
    preparation: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.accuracy <= 1:
            raise UsageError(
                f"accuracy of arm {self.arm!r}, seed {self.seed}: {self.accuracy} is outside [0, 1]"
            )
        times = 0 <= self.preparation <= self.seconds < math.inf
        if min(self.examples, self.steps) < 0 or not times:
            raise UsageError(
                f"cost of arm {self.arm!r}, seed {self.seed}: examples, steps and seconds must be"
                " finite and at least 0, and preparation part of the seconds"
            )


def write_results(path: Path | str, results: Sequence[Result]) -> None:
    """Write the runs as one JSON file, whole or not at all.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "results.json"
        >>> runs = [Result("all data", 0, 0.97, 14370, 120, 3.5)]
        >>> write_results(path, runs)
        >>> read_results(path) == runs
        True
    """
    write_json(path, {"results": [asdict(result) for result in results]})


def read_results(path: Path | str) -> list[Result]:
    """Read what `write_results` wrote; a field too many or too few is named.

    Raises:
        PrunerError: the file is missing, not JSON, or not a list of results.
    """
    content = read_json(path)
    if not isinstance(content, dict) or not isinstance(content.get("results"), list):
        raise PrunerError(f"{path}: holds no list of results; give a file of write_results")
    return [_result(path, place, row) for place, row in enumerate(content["results"])]


def _result(path: Path | str, place: int, row: Any) -> Result:
    known = [f.name for f in fields(Result)]
    if not isinstance(row, dict):
        raise PrunerError(f"{path}: result {place} is no object; give a file of write_results")
    for name in row:
        if name not in known:
            raise PrunerError(f"{path}: result {place} has {name!r}; {suggest(name, known)}")
    missing = [name for name in known if name not in (*row, "history", "preparation")]
    if missing:
        raise PrunerError(f"{path}: result {place} lacks {', '.join(missing)}; write it again")
    try:
        return Result(**row)
    except (TypeError, UsageError) as error:
        raise PrunerError(f"{path}: result {place}: {error}") from None
