"""What a network makes of examples that it has not seen: the second run of RHO-loss."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .clean import clean_loss
from .data import stratified_split
from .errors import UsageError
from .hooks import Progress
from .run import Run
from .subsets import train_on
from .training import train

if TYPE_CHECKING:
    from .data import Data


def holdout_loss(
    data: "Data",
    run: Run,
    path: Path | str | None = None,
    *,
    holdout: "Data | None" = None,
    folds: int = 2,
    progress: Progress | None = None,
) -> Tensor:
    """Return the loss of each example under a network that did not train on it.

    The source that `rho_loss` subtracts (Mindermann et al. 2022). With data set aside, one network
    trains on these. Without, the set is cut into stratified folds and each fold is judged by a
    network that trained on the others, the paper's way where nothing is held out; two folds cost
    as much as one run.

    Args:
        data: what is scored.
        run: network and training settings.
        path: folder for the runs, so that a killed call can go on; None takes a temporary one.
        holdout: data of the same classes that are no part of `data`; never the test set.
        folds: into how many parts the set is cut where there is no `holdout`.
        progress: called as progress(text, steps done, steps in this epoch).

    Returns:
        (n,) float32, NaN where an example is not readable.

    Raises:
        UsageError: fewer than two folds, or held-out data of other classes.

    Example:
        >>> import datapruner as dp
        >>> losses = holdout_loss(dp.open_data("digits"), dp.Run(model="mlp", epochs=1))
        >>> losses.shape
        torch.Size([1438])
    """
    if path is None:
        with tempfile.TemporaryDirectory(prefix="datapruner-") as folder:
            return holdout_loss(data, run, folder, holdout=holdout, folds=folds, progress=progress)
    home = Path(path)
    if holdout is not None:
        if holdout.num_classes != data.num_classes:
            raise UsageError(
                f"{holdout.name} has {holdout.num_classes} classes, {data.name} has "
                f"{data.num_classes}; hold out data of the same kind"
            )
        model, _ = train(run, holdout, out=home / "held-out", progress=progress)
        return clean_loss(data, model, run=run)
    if folds < 2:
        raise UsageError(f"folds must be 2 or more, not {folds}")
    losses = torch.full((data.n,), float("nan"))
    for number, fold in enumerate(_folds(data, folds, run.seed)):
        others = data.readable.clone()
        others[fold] = False
        where = home / f"fold-{number}"
        model = train_on(data, others.nonzero().flatten(), run, where, progress=progress)
        losses[fold] = clean_loss(data, model, run=run, order=fold)[fold]
    return losses


def _folds(data: "Data", folds: int, seed: int) -> list[Tensor]:
    """Cut the readable examples into stratified parts of nearly one size."""
    left, parts = data.readable.nonzero().flatten(), []
    for number in range(folds - 1):
        first, rest = stratified_split(data.labels[left], 1 / (folds - number), seed)
        parts.append(left[first])
        left = left[rest]
    return [*parts, left]
