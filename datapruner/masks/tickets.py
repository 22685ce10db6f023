"""Iterative magnitude pruning: train, prune a share of what is left, rewind, and again."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from ..checkpoint import load_tensors, load_weights, save_tensors
from ..engine import fit
from ..errors import UsageError
from ..heads import classifier
from ..hooks import Progress
from ..loaders import Loader
from ..losses import Loss
from ..run import Run
from ..samplers import Sampler
from .hold import Held, Holding
from .making import make_masks
from .scope import prunable

if TYPE_CHECKING:
    from ..data import Data

Within = Literal["network", "layer"]


@dataclass(frozen=True)
class Rewind:
    """What the weights that survive a round are put back to.

    Attributes:
        kind: `weights` of an earlier step, `rate` (the weights stay, the learning rate starts
            again), or `none` (the weights stay and train on at a hundredth of the peak rate).
        share: of the run, for weights.
        steps: for weights, where they are counted.

    Example:
        >>> Rewind.read("2%"), Rewind.read("500steps").steps
        (Rewind(kind='weights', share=0.02, steps=0), 500)
    """

    kind: Literal["weights", "rate", "none"] = "weights"
    share: float = 0.0
    steps: int = 0

    @classmethod
    def read(cls, word: str) -> "Rewind":
        """Read 0, 2%, 500steps, lr or none; a number needs its unit.

        Raises:
            UsageError: it is none of these.
        """
        if word in ("lr", "none"):
            return cls("rate" if word == "lr" else "none")
        if word == "0":
            return cls()
        if found := re.fullmatch(r"(\d+(?:\.\d+)?)%", word):
            share = float(found[1]) / 100
            if share < 1:
                return cls(share=share)
        if found := re.fullmatch(r"(\d+) ?steps?", word):
            return cls(steps=int(found[1]))
        raise UsageError(
            f"rewind {word!r} is not known; write 0, a share of the run such as 2%, steps such as "
            "500steps, lr to rewind the learning rate alone, or none"
        )


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
    rate: float = 0.2,
    rewind: str,
    within: Within = "network",
    classifier_rate: float | None = None,
    skip: str = "",
    test: "Data | None" = None,
    loss: Loss | None = None,
    out: Path | str,
    progress: Progress | None = None,
) -> list[Round]:
    """Look for a winning ticket: a sparse network that trains as well as the dense one.

    Round 0 trains the dense network. Each round then removes a share of the weights that are left,
    those of lowest magnitude, rewinds the others, and trains again under the mask; after r rounds
    (1 - rate)^r of the weights are left, to the nearest whole one. With a kept subset or RS2 in
    `run.sampler` the rounds are that much cheaper. Each round lies in a folder of its own, and a
    call that is stopped goes on from the last epoch. Source: Frankle and Carbin 2019; rewinding to
    a later step, Frankle, Dziugaite, Roy and Carbin 2019; the learning rate's, Renda, Frankle and
    Carbin 2020.

    Args:
        run: what each round trains; `weights` must be None.
        data: the training split; None opens `run.data`.
        rounds: of pruning, 1 or more.
        rate: share of the weights left that a round removes, in (0, 1).
        rewind: 0, 2%, 500steps, lr or none; see `Rewind`.
        within: rank the weights of the whole network together, or of each layer by itself.
        classifier_rate: the classifier's own rate, such as half; needs within="layer".
        skip: layers to leave alone; see `prunable`.
        test: read after each epoch.
        loss: see `fit`.
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
    from ..data import open_data
    from ..training import claim, make_loader, make_sampler, network

    plan = Rewind.read(rewind)
    _check(run, rounds, rate, within, classifier_rate)
    if data is None:
        if run.data is None:
            raise UsageError("nothing to train on; set run.data or hand over data")
        data = open_data(run.data)
        test = open_data(run.data, "test") if test is None else test
    sampler, fingerprints = make_sampler(run, data)
    settings = [rate, rewind, within, classifier_rate, skip]  # more rounds go on in the folder
    fingerprints["lottery"] = repr(settings)
    run_id = f"{run.id(**{k: v for k, v in fingerprints.items() if k != 'lottery'})} {settings}"
    loader = make_loader(data, run)
    tester = None if test is None else make_loader(test, run, like=loader)
    model = network(run, data, loader)
    first = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
    prunable(model, skip)
    folder = claim(out, "lottery", run_id, run, fingerprints)
    game = _Game(model, loader, sampler, run, plan, loss, tester, folder, run_id, progress)
    found: list[Round] = []
    masks: dict[str, Tensor] = {}
    at: Mapping[str, Tensor] = first
    for number in range(rounds + 1):
        if number:
            density = (1 - rate) ** number
            masks = _next(model, masks, density, number, within, classifier_rate, skip)
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
    loss: Loss | None
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
        held = _Capturing(masks, self.plan if not number and rewinds else Rewind())
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
        if held.wanted and not held.state:
            raise UsageError(
                f"rewind to step {self.plan.steps}: a round has only {history.steps} steps; rewind "
                "to an earlier one"
            )
        whole = sum(mask.numel() for mask in masks.values())
        kept = sum(int(mask.sum()) for mask in masks.values())
        if not masks:
            names = prunable(self.model).names
            whole = kept = sum(self.model.get_parameter(name).numel() for name in names)
        took = history.steps - begun
        one = Round(number, kept / whole, kept, history.accuracy, took, history.seconds)
        sections = {"model": self.model.state_dict(), "masks": masks}
        if held.state:
            sections["rewind"] = held.state
        about = {"round": asdict(one), "captured": held.taken, "total": history.steps}
        save_tensors(folder / "model.safetensors", sections, about)
        (folder / "checkpoint.safetensors").unlink(missing_ok=True)

    def _rewound(self) -> tuple[int, int]:
        _, about = load_tensors(self.folder / "round-0" / "model.safetensors")
        return int(about["captured"]), int(about["total"])


class _Capturing:
    """Masks that stay, and a copy of the weights at a step of the run."""

    def __init__(self, masks: Mapping[str, Tensor], plan: Rewind) -> None:
        self.masks, self.plan = masks, plan
        self.wanted = bool(plan.share or plan.steps)
        self.state: dict[str, Tensor] = {}
        self.taken = 0

    def attach(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        loader: Loader,
        sampler: Sampler,
        loss: Loss,
        run: Run,
        device: torch.device,
    ) -> "_Watching":
        masks = {name: mask.to(device) for name, mask in self.masks.items()}
        return _Watching(Held(model, optimizer), masks, self)


class _Watching(Holding):
    def __init__(self, held: Held, masks: Mapping[str, Tensor], wanted: _Capturing) -> None:
        super().__init__(held, masks)
        self.into, self.steps = wanted, 0

    def after_step(self, progress: float) -> None:
        super().after_step(progress)
        self.steps += 1
        plan = self.into.plan
        due = self.steps >= plan.steps if plan.steps else progress >= plan.share - 1e-9
        if self.into.wanted and due and not self.into.state:
            model = self.held.model
            self.into.state = {k: v.detach().clone() for k, v in model.state_dict().items()}
            self.into.taken = self.steps

    def state_dict(self) -> dict[str, Any]:
        kept = {f"at.{name}": tensor for name, tensor in self.into.state.items()}
        return {**super().state_dict(), **kept, "steps": self.steps, "taken": self.into.taken}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        self.into.state = {k.removeprefix("at."): v for k, v in state.items() if k[:3] == "at."}
        self.steps, self.into.taken = int(state["steps"]), int(state["taken"])


def _next(
    model: nn.Module,
    masks: dict[str, Tensor],
    density: float,
    number: int,
    within: Within,
    classifier_rate: float | None,
    skip: str,
) -> dict[str, Tensor]:
    """Prune the trained network to this density of the whole, inside of what is left."""
    allocation = "global" if within == "network" else "uniform"
    if classifier_rate is not None:
        weight = classifier(model).weight
        name = next(n for n, p in model.named_parameters() if p is weight)
        allocation = f"{name}={(1 - classifier_rate) ** number}"
    return make_masks(
        model, density=density, allocation=allocation, skip=skip, within=masks or None
    )


def _check(run: Run, rounds: int, rate: float, within: str, classifier_rate: float | None) -> None:
    if run.weights is not None:
        raise UsageError("a lottery prunes between runs; leave run.weights at None")
    if rounds < 1:
        raise UsageError(f"rounds must be at least 1, not {rounds}")
    if not 0 < rate < 1:
        raise UsageError(f"rate is the share that a round removes, in (0, 1), not {rate}")
    if within not in ("network", "layer"):
        raise UsageError(f"within is network or layer, not {within!r}")
    if classifier_rate is not None and (within != "layer" or not 0 <= classifier_rate < 1):
        raise UsageError("classifier_rate is in [0, 1) and needs within='layer'")


def _named(progress: Progress | None, number: int) -> Progress | None:
    if progress is None:
        return None
    return lambda text, done, all_: progress(f"round {number}, {text}", done, all_)
