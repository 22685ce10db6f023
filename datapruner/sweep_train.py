"""Training the last run of a point: from another run's weights, or with its masks, or from none."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from .checkpoint import load_tensors
from .distill import Lesson
from .engine import fit
from .errors import PrunerError
from .files import read_json, write_json
from .forecast import compared
from .history import History
from .hooks import Masks, Progress
from .loaders import Loader
from .masks.hold import GivenMasks
from .run import Run
from .samplers import Sampler
from .timed_masks import TimedMasks
from .training import finish, finished, make_loader, make_sampler, network

if TYPE_CHECKING:
    from .data import Data


@dataclass(frozen=True)
class Inherited:
    """What the last run takes over from the one before it.

    Attributes:
        start: weights to start from; None starts afresh.
        masks: held from the first step to the last; None leaves it to the run's own pruning.
    """

    start: Mapping[str, Tensor] | None = None
    masks: Masks | None = None

    @classmethod
    def of(cls, folder: Path | None, order: str) -> "Inherited":
        """Read what an order takes over from the folder of the first run.

        Dense first and data first start from its weights and prune by themselves. Weights first
        starts from its weights and holds its masks. Where a mask was found on another subset, the
        run starts afresh with it.
        """
        if folder is None:
            return cls()
        weights = load_tensors(folder / "model.safetensors")[0]["model"]
        if order in ("data first", "dense first"):
            return cls(start=weights)
        held = GivenMasks(masks_of_zeros(weights))
        return cls(start=weights if order == "weights first" else None, masks=held)


def masks_of_zeros(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return which weights of kernels and matrices are not 0: the masks that a run left.

    Example:
        >>> import torch
        >>> masks_of_zeros({"fc.weight": torch.tensor([[0.0, 2.0]]), "fc.bias": torch.zeros(1)})
        {'fc.weight': tensor([[False,  True]])}
    """
    return {n: w != 0 for n, w in weights.items() if w.ndim > 1 and w.is_floating_point()}


@dataclass(frozen=True)
class Trained:
    """A trained network, the loader that it was trained on, its history, and seconds by phase.

    Attributes:
        model: in eval mode.
        loader: of its training set.
        history: of its epochs.
        training: seconds of it.
        pruning: seconds of finding and holding masks.
        teacher: what its teacher was asked.
    """

    model: nn.Module
    loader: Loader
    history: History
    training: float
    pruning: float
    teacher: "Asked"


@dataclass(frozen=True)
class Asked:
    """What a teacher was asked: nothing where logits are looked up, or there is none.

    Attributes:
        flops: operations for one example.
        first: examples that it was asked before training, for a weight of auto.
        seconds: of loading it and asking it these.
    """

    flops: float = 0.0
    first: int = 0
    seconds: float = 0.0


def train_last(
    run: Run,
    data: "Data",
    inherited: Inherited,
    folder: Path,
    run_id: str,
    progress: Progress | None = None,
    *,
    teacher: str = "",
) -> Trained:
    """Train a run with what it takes over; a killed call goes on, a finished one is read.

    Args:
        run: what to train.
        data: the training set.
        inherited: what it starts from.
        folder: where its weights and history lie.
        run_id: what the checkpoint belongs to: the point's id.
        progress: see `fit`.
        teacher: fingerprint that a given teacher must have, which `run_id` names it by; "" any.

    Raises:
        PrunerError: it has another.
    """
    sampler, _ = make_sampler(run, data)
    loader, lesson, asked = _taught(run, data, sampler, teacher)
    model = network(run, data, loader)
    seconds = folder / "seconds.json"
    if (done := finished(folder, model)) is not None:
        took = read_json(seconds) if seconds.exists() else {"training": 0.0, "pruning": 0.0}
        return Trained(model.eval(), loader, done, **took, teacher=asked)
    masks = inherited.masks or run.weights
    timed = None if masks is None else TimedMasks(masks)
    history = fit(
        model,
        loader,
        sampler,
        run,
        loss=lesson,
        masks=timed,
        start=inherited.start,
        checkpoint=folder / "checkpoint.safetensors",
        run_id=run_id,
        progress=progress,
    )
    pruning, within = (0.0, 0.0) if timed is None else (timed.seconds, timed.in_steps)
    took = {"training": max(0.0, history.seconds - within), "pruning": pruning}
    write_json(seconds, took)
    finish(folder, model, history, run_id)
    return Trained(model.eval(), loader, history, **took, teacher=asked)


def _taught(
    run: Run, data: "Data", sampler: Sampler, named: str
) -> tuple[Loader, Lesson | None, Asked]:
    """Return the loader that suits the run's teacher, its lesson, and what asking costs."""
    loader = make_loader(data, run)
    if run.distill is None:
        return loader, None, Asked()
    from .teacher_words import taught

    began = time.perf_counter()
    lesson = taught(run, data, loader, sampler)
    seconds = time.perf_counter() - began
    if named and lesson.about["teacher"] != named:
        raise PrunerError(
            f"the teacher {run.distill.teacher} was changed while the sweep ran (its weights were "
            f"{named}, now {lesson.about['teacher']}); the same command takes it as it is"
        )
    drawn = round(lesson.fraction * int(data.readable.sum()))
    return lesson.loader, lesson, Asked(_asking(lesson, data), compared(run, drawn), seconds)


def _asking(lesson: Lesson, data: "Data") -> float:
    """Return the operations of asking a teacher for one example; 0 where logits are looked up."""
    if lesson.target is None or lesson.weight == 0:
        return 0.0
    few = next(iter(lesson.loader(data.readable.nonzero().flatten()[:2], train=True)))
    with FlopCounterMode(display=False) as counter:
        lesson.target(few)
    return float(counter.get_total_flops()) / len(few.index)
