"""Training on a part of the data, in a folder that can be gone on with."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor, nn

from .hooks import Progress
from .run import KeepSpec, Run
from .selection import Selection
from .training import train

if TYPE_CHECKING:
    from .data import Data


def train_on(
    data: "Data",
    indices: Tensor,
    run: Run,
    folder: Path,
    *,
    progress: Progress | None = None,
) -> nn.Module:
    """Train the run's network on some of the examples; return it in eval mode.

    The folder holds the subset and the run. A killed call goes on, a finished one is read.

    Args:
        data: the full training set.
        indices: (k,) int64, ascending: what is trained on.
        run: network and training settings; its sampler is replaced. An epoch is a pass over the
            subset, so fewer examples take fewer steps.
        folder: where subset and run lie; the path is part of no result.
        progress: see `fit`.

    Raises:
        Refused: the folder holds another subset or run.

    Example:
        >>> import tempfile, torch, datapruner as dp
        >>> data, run = dp.open_data("digits"), dp.Run(model="mlp", epochs=1)
        >>> folder = Path(tempfile.mkdtemp()) / "half"
        >>> type(train_on(data, torch.arange(700), run, folder)).__name__
        'Sequential'
    """
    about = {"fingerprint": data.fingerprint, "rule": "given"}
    Selection(indices, data.n, meta=about).save(folder / "subset")
    spec = KeepSpec(str(folder / "subset"))
    return train(replace(run, sampler=spec), data, out=folder / "run", progress=progress)[0]
