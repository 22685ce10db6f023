"""Lotteries: train, prune a share of what is left by magnitude, rewind, and again."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor, nn

from ..checkpoint import load_tensors, load_weights, save_tensors
from ..engine import fit
from ..errors import UsageError
from ..files import write_json
from ..hooks import Progress
from ..loaders import Loader
from ..losses import Adaptive, Loss
from ..run import Run
from ..samplers import Sampler
from ..step_count import steps
from .removing import Removal, Within, whole
from .rewinding import Capturing, Rewind

if TYPE_CHECKING:
    from ..data import Data


@dataclass(frozen=True)
class Round:
    """What one round of a lottery came to.

    Attributes:
        number: 0 for the dense network.
        density: share of the prunable weights that it trained with.
        kept: these weights.
        accuracy: on the test data after training; None where there are none.
        steps: optimizer steps that it took by itself.
        seconds: in training.

    Example:
        >>> Round(0, 1.0, 266_200, 0.98, 4690, 12.5).number
        0
    """

    number: int
    density: float
    kept: int
    accuracy: float | None
    steps: int
    seconds: float


def lottery(
    run: Run,
    data: "Data | None" = None,
    *,
    rounds: int = 10,
    rate: float | str = 0.2,
    rewind: str,
    within: Within = "network",
    classifier_rate: float | None = None,
    skip: str = "",
    test: "Data | None" = None,
    loss: Loss | Adaptive | None = None,
    out: Path | str,
    progress: Progress | None = None,
) -> list[Round]:
    """Look for a winning ticket: a sparse network that trains as well as the dense one.

    Round 0 trains the dense network. Each round then removes a share of the weights that are left,
    those of lowest magnitude, rewinds the others, and trains again under the mask; after r rounds
    (1 - rate)^r of the weights are left, to the nearest whole one. With rate="sap" a round removes
    as much as the PQ index of what is left allows (see `sap_count`): much while few weights stand
    out, ever less later. With a kept subset or RS2 in `run.sampler` the rounds are that much
    cheaper. Each round lies in a folder of its own, and a call that is stopped goes on from the
    last epoch. Source: Frankle and Carbin 2019; rewinding to a later step, Frankle, Dziugaite, Roy
    and Carbin 2019; the learning rate's, Renda, Frankle and Carbin 2020; SAP, Diao et al. 2023.

    Args:
        run: what each round trains; `weights` must be None.
        data: the training split; None opens `run.data`.
        rounds: of pruning, 1 or more.
        rate: share of the weights left that a round removes, in (0, 1); or sap, with numbers of
            its own after a colon, as in sap:gamma=2 or sap:p=1,q=2.
        rewind: 0, 2%, 500steps, lr or none; see `Rewind`.
        within: rank the weights of the whole network together, of each layer by itself, or with
            SAP of each neuron.
        classifier_rate: the classifier's own rate, such as half; needs within="layer".
        skip: layers to leave alone; see `prunable`.
        test: read after each epoch.
        loss: see `fit`; None with `run.distill`.
        out: folder of the rounds: round-0, round-1, ... with weights and masks.
        progress: called as progress(text, steps done, steps in this epoch).

    Returns:
        The rounds, the dense one first.

    Raises:
        UsageError: a value outside its range, or there are fewer steps than are to be rewound to.
        Refused: the folder holds another lottery.

    Example:
        >>> import datapruner as dp
        >>> run = dp.Run(data="digits", model="mlp", epochs=1)
        >>> found = lottery(run, rounds=2, rate=0.2, rewind="0", out="tickets")
        >>> [round(one.density, 2) for one in found]
        [1.0, 0.8, 0.64]
    """
    from ..claiming import claim
    from ..data import open_data
    from ..training import make_lesson, make_loader, make_sampler, network

    plan, removal = Rewind.read(rewind), Removal.read(rate, within, classifier_rate)
    if loss is not None and run.distill is not None:
        raise UsageError("loss and run.distill are both given; give one of them")
    if data is None:
        if run.data is None:
            raise UsageError("nothing to train on; set run.data or hand over data")
        data = open_data(run.data)
        test = open_data(run.data, "test") if test is None else test
    sampler, fingerprints = make_sampler(run, data)
    loader, lesson = make_lesson(run, data, sampler, fingerprints)
    settings = [rate, rewind, within, classifier_rate, skip]  # more rounds go on in the folder
    run_id = f"{run.id(**fingerprints)} {settings}"
    fingerprints["lottery"] = repr(settings)
    tester = None if test is None else make_loader(test, run, like=loader)
    model = network(run, data, loader)
    first = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
    masks = whole(model, skip)
    check(run, model, loader, sampler, rounds=rounds, removal=removal, plan=plan, skip=skip)
    folder = claim(out, "lottery", run_id, run, fingerprints)
    if lesson is not None:
        write_json(folder / "distill.json", lesson.about)
        loss = lesson
    game = _Game(model, loader, sampler, run, plan, loss, tester, folder, run_id, progress)
    found: list[Round] = []
    at: Mapping[str, Tensor] = first
    for number in range(rounds + 1):
        if number:
            masks = removal.masks(model, masks, number, skip)
        one, at = game.play(number, masks, at)
        found.append(one)
    return found


@dataclass
class _Game:
    """What all rounds share."""

    model: nn.Module
    loader: Loader
    sampler: Sampler
    run: Run
    plan: Rewind
    loss: Loss | Adaptive | None
    tester: Loader | None
    folder: Path
    run_id: str
    progress: Progress | None

    def play(
        self, number: int, masks: dict[str, Tensor], at: Mapping[str, Tensor]
    ) -> tuple[Round, Mapping[str, Tensor]]:
        """Train one round, or read it; leave its weights in the model, return what to rewind to."""
        folder = self.folder / f"round-{number}"
        done = folder / "model.safetensors"
        if not done.exists():
            self._train(number, masks, at, folder)
        sections, about = load_tensors(done)
        load_weights(self.model, sections["model"], done)
        back = sections.get("rewind", dict(at))
        return Round(**about["round"]), back

    def _train(
        self, number: int, masks: dict[str, Tensor], at: Mapping[str, Tensor], folder: Path
    ) -> None:
        run, begun = self.run, 0
        rewinds = self.plan.kind == "weights"
        if number and rewinds and (self.plan.share or self.plan.steps):
            begun, total = self._rewound()
            run = replace(run, steps=total)
        if number and self.plan.kind == "none":
            run = replace(run, lr=run.lr / 100, schedule="constant", warmup=0.0)
        start = at if rewinds or not number else self.model.state_dict()
        held = Capturing(masks, self.plan if not number and rewinds else Rewind())
        history = fit(
            self.model,
            self.loader,
            self.sampler,
            run,
            loss=self.loss,
            masks=held,
            start=start,
            begun=begun,
            test=self.tester,
            checkpoint=folder / "checkpoint.safetensors",
            run_id=f"{self.run_id} round {number}",
            progress=_named(self.progress, number),
        )
        if held.wanted and not (held.state and held.taken < history.steps):
            raise _too_late(self.plan, history.steps)
        weights = sum(mask.numel() for mask in masks.values())
        kept = sum(int(mask.sum()) for mask in masks.values())
        took = history.steps - begun
        one = Round(number, kept / weights, kept, history.accuracy, took, history.seconds)
        sections = {"model": self.model.state_dict(), "masks": masks}
        if held.state:
            sections["rewind"] = held.state
        about = {"round": asdict(one), "captured": held.taken, "total": history.steps}
        save_tensors(folder / "model.safetensors", sections, about)
        (folder / "checkpoint.safetensors").unlink(missing_ok=True)

    def _rewound(self) -> tuple[int, int]:
        _, about = load_tensors(self.folder / "round-0" / "model.safetensors")
        return int(about["captured"]), int(about["total"])


def check(
    run: Run,
    model: nn.Module,
    loader: Loader,
    sampler: Sampler,
    *,
    rounds: int,
    removal: Removal,
    plan: Rewind,
    skip: str = "",
) -> None:
    """Refuse a lottery that could not come to its end, before the first round trains.

    Raises:
        UsageError: the run prunes by itself, too little would be left, or there are fewer steps
            than are to be rewound to. What InfoBatch leaves of them is known after round 0 alone.
    """
    if run.weights is not None:
        raise UsageError("a lottery prunes between runs; leave run.weights at None")
    if rounds < 1:
        raise UsageError(f"rounds must be at least 1, not {rounds}")
    removal.check(model, rounds, skip)
    if plan.share or plan.steps:
        replace(run, steps=run.steps or 1)  # as later rounds have it: refused where it cannot be
    total = run.steps or _steps(run, loader, sampler)
    if total is not None and max(plan.steps, ceil(plan.share * total - 1e-9)) >= total:
        raise _too_late(plan, total)


def _steps(run: Run, loader: Loader, sampler: Sampler) -> int | None:
    """Return the steps of a round, None where they depend on losses."""
    try:
        return steps(
            sampler,
            len(loader.labels),
            epochs=run.epochs,
            batch_size=loader.batch_size,
            labels=loader.labels,
            readable=loader.readable,
        )
    except UsageError:
        return None


def _too_late(plan: Rewind, steps: int) -> UsageError:
    at = f"step {plan.steps}" if plan.steps else f"{plan.share:.4%} of it"
    return UsageError(
        f"rewind to {at}: a round has only {steps} steps, and some must follow; rewind to an "
        "earlier one"
    )


def _named(progress: Progress | None, number: int) -> Progress | None:
    if progress is None:
        return None
    return lambda text, done, all_: progress(f"round {number}, {text}", done, all_)
