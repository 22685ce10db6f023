"""Embeddings: what a network makes of each example just before it decides."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import nn

from .checkpoint import weights_hash
from .errors import PrunerError, Refused, UsageError
from .evaluation import predict
from .files import read_json, whole_file, write_json
from .heads import features
from .hooks import Progress
from .run import Run
from .selfsup import blind
from .trained import Network, ready

if TYPE_CHECKING:
    from .data import Data


def embed(
    data: "Data",
    encoder: Network,
    *,
    run: Run | None = None,
    out: Path | str | None = None,
    progress: Progress | None = None,
) -> np.ndarray:
    """Return the penultimate features of each example: the input of the network's classifier.

    A clean pass: eval mode, no augmentation, float32; pictures in memory are normalised by their
    own mean and spread. Rows that cannot be read are 0. No label is read where a network is handed
    over.

    Args:
        data: what to embed.
        encoder: a Record, for the network it trained; a network; or the name of a network from
            models.MODELS or "torchvision:NAME", whose weights are random and which is then a
            baseline and nothing more.
        run: batch size, picture size, workers and device are read; for a Record its own is taken,
            but for a device that is named here.
        out: .npy file to write, with what it is of in a .json beside it; one that exists is read
            instead, when it is of these data and this network.
        progress: called as progress(text, rows done, rows in all).

    Returns:
        (n, d) float32; with `out` a memory map of it.

    Raises:
        UsageError: the network has no linear classifier to take the input of.
        Refused: the record is of other data, or `out` holds another embedding.

    Example:
        >>> import datapruner as dp
        >>> data = dp.open_data("digits")
        >>> embed(data, "mlp").shape
        (1438, 100)
    """
    seen_by = blind(data) if isinstance(encoder, nn.Module) else data
    model, loader, run = ready(seen_by, encoder, run)
    about = {"data": data.fingerprint, "image_size": run.image_size, "weights": weights_hash(model)}
    if out is not None and Path(out).exists():
        return _existing(Path(out), about, data.n)
    rows: np.ndarray | None = None
    done = 0
    with features(model, data.num_classes if not isinstance(encoder, nn.Module) else None) as seen:
        for batch, _ in predict(model, loader, device=run.device, precision="float32"):
            if seen.last is None:
                raise UsageError(f"{type(model).__name__}: its classifier was not used")
            part = seen.last.flatten(1).float().cpu().numpy()
            if rows is None:
                rows = np.zeros((data.n, part.shape[1]), np.float32)
            rows[batch.index.numpy()] = part
            done += len(part)
            if progress is not None:
                progress("embedding", done, data.n)
    if rows is None:
        raise UsageError(f"{data.name}: no readable example to embed")
    if out is not None:
        write_json(_beside(out), about)
        with whole_file(out) as temporary, temporary.open("wb") as file:
            np.save(file, rows)
        return _existing(Path(out), about, data.n)
    return rows


def _beside(path: Path | str) -> Path:
    return Path(path).with_suffix(".json")


def _existing(path: Path, about: dict[str, Any], n: int) -> np.ndarray:
    if not _beside(path).exists() or read_json(_beside(path)) != about:
        raise Refused(f"{path}: was not made of these data by this network; remove it")
    try:
        # "c", because torch shares only memory that can be written to, and copies other
        rows: np.ndarray = np.load(path, mmap_mode="c", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise PrunerError(f"{path}: damaged ({error}); remove it") from None
    if rows.ndim != 2 or len(rows) != n:
        raise Refused(f"{path}: has shape {rows.shape}, the data have {n} rows; remove the file")
    return rows
