"""The sources that `score` makes on demand, each by one function: what the scorers ask for."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from ..errors import UsageError
from ..files import read_json, write_json
from ..run import Run
from .options import Opening

if TYPE_CHECKING:
    from ..console import Console
    from ..data import Data
    from ..hooks import Progress
    from ..traces import Record

FROM_ENSEMBLE = frozenset(("member", "correct", "test_correct"))


@dataclass(frozen=True)
class Further:
    """What scorers of more than one run read."""

    checkpoints: tuple[int, ...] = ()
    """Epochs (0 is the first) whose weights vog compares; default ten, spread evenly."""
    ensemble: int = 0
    """Runs to train on 70 % subsets, for memorization, influence and ddd."""
    pool: tuple[str, ...] = ()
    """Folders of trained runs to ask instead: outs of train, RS2 runs too."""
    holdout: str | None = None
    """Data that rho_loss's second network trains on; default the other half of DATA, twice."""
    suspects: bool = False
    """Train twice more, with a threshold class, and flag the labels that are probably wrong."""


More = Annotated[Further, tyro.conf.OmitArgPrefixes]


@dataclass(frozen=True)
class Work:
    """What the makers work on: the data, the run, a folder, and where to say how far they are."""

    data: "Data"
    run: Run
    folder: Path
    more: Further
    opening: Opening
    console: "Console"

    @property
    def epochs(self) -> int:
        """How many epochs the run has; a budget in steps ends within the last."""
        run, examples = self.run, int(self.data.readable.sum())
        return -(-run.steps // -(-examples // run.batch_size)) if run.steps else run.epochs

    @property
    def checkpoints(self) -> tuple[int, ...]:
        """The epochs that vog compares."""
        from ..recording import spread_epochs

        return self.more.checkpoints or spread_epochs(Run(epochs=self.epochs))


def grad_norm(work: Work, record: "Record", out: Path, progress: "Progress") -> Any:
    """Norms of each example's gradient over all weights, at the clean epochs."""
    from ..gradients import grad_norm as sweep

    return sweep(work.data, record, progress=progress)


def embedding_norm(work: Work, record: "Record", out: Path, progress: "Progress") -> Any:
    """Norms of the penultimate features, at the clean epochs."""
    from ..gradients import embedding_norm as sweep

    return sweep(work.data, record, progress=progress)


def boundary_distance(work: Work, record: "Record", out: Path, progress: "Progress") -> Any:
    """Distances to the nearest decision boundary of the trained network."""
    from ..gradients import boundary_distance as sweep

    return sweep(work.data, record, progress=progress)


def input_gradient_variance(work: Work, record: "Record", out: Path, progress: "Progress") -> Any:
    """How much input gradients change over the checkpoints."""
    from ..gradients import input_gradient_variance as sweep

    return sweep(work.data, record, epochs=work.checkpoints, progress=progress)


def probs(work: Work, record: "Record", out: Path, progress: "Progress") -> Any:
    """Probabilities of the trained network in a clean pass, streamed to the file."""
    from ..clean import probs as clean_pass

    return clean_pass(work.data, record, out=out, progress=progress)


# From the network of each recorded run; kept as NAME.npy beside its traces, where score() looks.
OF_A_RUN: dict[str, Callable[[Work, "Record", Path, "Progress"], Any]] = {
    "grad_norm": grad_norm,
    "embedding_norm": embedding_norm,
    "boundary_distance": boundary_distance,
    "input_gradient_variance": input_gradient_variance,
    "probs": probs,
}


def holdout_loss(work: Work) -> dict[str, Any]:
    """Losses under networks that did not train on what they judge."""
    from ..data import open_data
    from ..holdout import holdout_loss as losses

    aside = work.more.holdout
    held = None if aside is None else open_data(aside, download=work.opening.download)
    show = work.console.within("held-out, ")
    path = work.folder / "held-out"
    return {"holdout_loss": losses(work.data, work.run, path, holdout=held, progress=show)}


def outcomes(work: Work, *, test: bool) -> dict[str, Any]:
    """Who trained on what and who was right on what; with `test` on the test split as well."""
    from ..data import open_data
    from ..ensembles import ensemble, pool_of

    more, folder, show = work.more, work.folder / "ensemble", work.console.progress
    asked = open_data(work.run.data or "", "test") if test else None
    if more.pool:
        return pool_of(work.data, more.pool, folder / "pool", test=asked, progress=show).sources
    return ensemble(
        work.data, work.run, folder, runs=more.ensemble, test=asked, progress=show
    ).sources


def refuse_without_runs(sources: set[str], more: Further) -> None:
    """Say before anything is trained that an ensemble is asked for and none is named."""
    if sources & FROM_ENSEMBLE and not more.pool and more.ensemble < 1:
        raise UsageError(
            "memorization, influence and ddd ask many runs: give --ensemble 100 to train them "
            "(each trains on 70 % of the data), or --pool with the folders of runs that you have"
        )


def of_the_data(work: Work, sources: set[str]) -> dict[str, Any]:
    """Make the sources that are the same for every recorded run."""
    made: dict[str, Any] = {}
    if "holdout_loss" in sources:
        made |= holdout_loss(work)
    if sources & FROM_ENSEMBLE:
        made |= outcomes(work, test="test_correct" in sources)
    return made


def of_a_run(work: Work, record: "Record", sources: set[str], part: str) -> dict[str, Any]:
    """Make the sources that come from a run's network; return how, for the table's metadata."""
    import numpy as np

    from ..files import whole_file

    about, made = record.folder / "sources.json", {}
    held = read_json(about) if about.exists() else {}
    for name, make in OF_A_RUN.items():
        if name not in sources:
            continue
        facts = {"weights": _weights(name, work, record)}
        out = record.folder / f"{name}.npy"
        if not out.exists() or held.get(name) != facts:
            rows = make(work, record, out, work.console.within(part))
            if name != "probs":  # which has gone to the file already
                with whole_file(out) as temporary, temporary.open("wb") as file:
                    np.save(file, np.asarray(rows))
            write_json(about, held := held | {name: facts})
        made[name] = facts
    return made


def _weights(name: str, work: Work, record: "Record") -> list[int] | str:
    """Say which weights a source is made with: those after these epochs, or at the end."""
    if name in ("grad_norm", "embedding_norm"):
        return list(record.clean_epochs)
    return list(work.checkpoints) if name == "input_gradient_variance" else "at the end"
