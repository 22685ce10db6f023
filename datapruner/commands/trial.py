"""Trying the scorers of `score` on a few made-up examples, before anything is trained for them."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from .making import FROM_ENSEMBLE, Work
from .specs import TRACED, needs

if TYPE_CHECKING:
    from torch import Tensor

_FEW = 40  # examples
_LEAST_RUNS = 10  # over which an ensemble leaves every example out equally often


def refuse_unfit(
    work: Work, names: Sequence[str], options: Mapping[str, Mapping[str, Any]]
) -> None:
    """Refuse what a scorer would refuse once its sources are made, such as too long a window.

    Raises:
        UsageError: what it says of stand-ins, whose traces are as long as the run's will be.
    """
    from scorers import PASS, SCORERS

    _refuse_few_runs(work, names, options)
    if "input_gradient_variance" in needs(names) and len(set(work.checkpoints)) < 2:
        raise UsageError(
            "vog compares the weights after two epochs or more; give more --checkpoints or --epochs"
        )
    for name in names:
        own, clean = options.get(name, {}), PASS[name] == "clean"
        rows = len(set(work.run.clean_epochs)) or 1 if clean else work.epochs
        n = min(int(work.data.readable.sum()), max(_FEW, own.get("k") or 0))
        sources, asked = _stand_ins(rows, n), needs([name])
        if not asked <= sources.keys():
            continue
        try:
            SCORERS[name](**{source: sources[source] for source in asked}, **own)
        except ValueError as error:
            note = ""
            if asked & TRACED:
                each = "clean pass, see --clean-epochs" if clean else "epoch"
                note = f"; it reads {rows} row{'s' * (rows > 1)}, one for each {each}"
            raise UsageError(f"scorer {name!r}: {error}{note}") from error


def _stand_ins(rows: int, n: int) -> dict[str, "Tensor"]:
    """Return sources (rows, n), (n, ...) and (n,) as a run may have them, none of an ensemble."""
    import torch

    generator = torch.Generator().manual_seed(0)
    drawn = {name: torch.rand(rows, n, generator=generator) for name in sorted(TRACED)}
    drawn["shift"][0] = torch.nan  # of the first visit
    drawn["holdout_loss"] = torch.rand(n, generator=generator)
    drawn["labels"] = torch.arange(n) % 2
    drawn["embedding"] = torch.rand(n, 4, generator=generator)
    drawn["probs"] = torch.rand(n, 3, generator=generator).softmax(1)
    return drawn


def _refuse_few_runs(
    work: Work, names: Sequence[str], options: Mapping[str, Mapping[str, Any]]
) -> None:
    """Refuse an ensemble in which some examples are in all runs, or in none."""
    of_all = {name for name in names if options.get(name, {}).get("held_out") is False}
    asked = [name for name in names if name not in of_all and needs([name]) & FROM_ENSEMBLE]
    if asked and not work.more.pool and work.more.ensemble < _LEAST_RUNS:
        raise UsageError(
            f"{asked[0]} compares runs with an example and runs without it, and of "
            f"{work.more.ensemble} some examples are in all; give --ensemble {_LEAST_RUNS} or more"
        )
