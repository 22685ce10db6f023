"""Sources from a clean pass: eval mode, no augmentation, float32."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy

from .errors import UsageError
from .evaluation import predict
from .files import whole_file
from .hooks import Progress
from .run import Run
from .trained import Network, Ready, ready

if TYPE_CHECKING:
    from .data import Data


def probs(
    data: "Data",
    network_of: Network,
    *,
    run: Run | None = None,
    out: Path | str | None = None,
    progress: Progress | None = None,
) -> NDArray[np.float32]:
    """Return the probabilities that a network gives each example; the source of `top2_margin`.

    Args:
        data: whose readable examples are passed through the network.
        network_of: a record, for its weights at the end; a network; or the name of one, untrained.
        run: batch size, picture size, workers and device are read; for a Record its own is taken.
        out: .npy file to stream to, so that memory is one batch; one that exists is replaced.
        progress: called as progress(text, rows done, rows in all).

    Returns:
        (n, classes) float32, rows adding up to 1, NaN where an example is not readable; with `out`
        a memory map.

    Example:
        >>> import datapruner as dp
        >>> probs(dp.open_data("digits"), "mlp").shape
        (1438, 10)
    """
    net = ready(data, network_of, run)
    if out is None:
        return _filled(net, np.full((data.n, data.num_classes), np.nan, np.float32), progress)
    with whole_file(out) as temporary:
        rows = np.lib.format.open_memmap(temporary, "w+", np.float32, (data.n, data.num_classes))
        rows[~data.readable.numpy()] = np.nan
        _filled(net, rows, progress).flush()  # type: ignore[attr-defined] # a memory map
        del rows
    kept: NDArray[np.float32] = np.load(out, mmap_mode="c", allow_pickle=False)
    return kept


def _filled(
    net: Ready, rows: NDArray[np.float32], progress: Progress | None
) -> NDArray[np.float32]:
    done = 0
    for batch, logits in predict(net.model, net.loader, device=net.run.device, precision="float32"):
        if logits.shape[1] != rows.shape[1]:
            raise UsageError(f"a network of {logits.shape[1]} outputs for {rows.shape[1]} classes")
        rows[batch.index.numpy()] = logits.softmax(1).cpu().numpy()
        done += len(batch.index)
        if progress is not None:
            progress("clean pass", done, len(rows))
    return rows


def clean_loss(
    data: "Data",
    network_of: Network,
    *,
    run: Run | None = None,
    order: Tensor | None = None,
    progress: Progress | None = None,
) -> Tensor:
    """Return the loss of each example under a network, in a clean pass.

    Args:
        data: whose readable examples are passed through the network.
        network_of: as in `probs`.
        run: as in `probs`.
        order: (m,) which examples; None is every readable one.
        progress: as in `probs`.

    Returns:
        (n,) float32, NaN for examples that are not in the order.

    Example:
        >>> import datapruner as dp
        >>> losses = clean_loss(dp.open_data("digits"), "mlp", order=torch.arange(3))
        >>> losses.isfinite().nonzero().flatten().tolist()
        [0, 1, 2]
    """
    net = ready(data, network_of, run)
    values, done = torch.full((data.n,), float("nan")), 0
    passes = predict(net.model, net.loader, order, device=net.run.device, precision="float32")
    for batch, logits in passes:
        labels = batch.y.to(logits.device)
        values[batch.index] = cross_entropy(logits, labels, reduction="none").cpu()
        done += len(batch.index)
        if progress is not None:
            progress("clean pass", done, data.n if order is None else len(order))
    return values
