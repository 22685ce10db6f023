"""Embeddings on disk: a folder with a memory map of rows, and what they are of beside it."""

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .claiming import refuse_file
from .encoders import Encoder
from .errors import PrunerError, Refused, UsageError
from .evaluation import predict
from .files import read_json, write_json
from .heads import features
from .hooks import Progress
from .provenance import refuse_other_data, versions

if TYPE_CHECKING:
    from .data import Data

Width = Literal["float32", "float16"]
SHARD = 2048  # rows, about, between two notes of how far it is
ROWS, ABOUT, STATE, PARTIAL = "embedding.npy", "embedding.json", ".going-on.json", ".rows.partial"


def embed_to(
    data: "Data",
    encoder: Encoder | NDArray,
    out: Path | str,
    *,
    about: dict[str, Any] | None = None,
    dtype: Width = "float32",
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Write an embedding by shards: OUT/embedding.npy (n, d), and embedding.json beside it.

    A clean pass in eval mode and float32; rows that are not readable are 0. A call that is killed
    goes on from its last shard when it is given again, and ends in the same bytes.

    Args:
        data: what is embedded.
        encoder: a network, or rows (n, d) that exist already.
        out: folder.
        about: what the provenance says of rows that exist.
        dtype: on disk; float16 halves the file and keeps 11 bits.
        progress: called as progress(text, rows done, rows in all).

    Returns:
        What embedding.json says.

    Raises:
        Refused: the folder holds something else.
        PrunerError: a feature is not finite, or too large for float16.

    Example:
        >>> import tempfile, datapruner as dp
        >>> data, out = dp.open_data("digits"), Path(tempfile.mkdtemp()) / "emb"
        >>> embed_to(data, np.eye(data.n, 2, dtype="float32"), out)["d"]
        2
    """
    out = Path(out)
    rows = encoder if isinstance(encoder, np.ndarray) else None
    size = SHARD if rows is not None else _whole_batches(encoder)
    order = data.readable.nonzero().flatten()
    if not len(order):
        raise UsageError(f"{data.name}: no readable example to embed")
    plan = {
        "data": data.fingerprint,
        "n": data.n,
        "d": rows.shape[1] if rows is not None else _features(encoder, order[:1]).shape[1],
        "dtype": dtype,
        "shard": size,
        **(about or {} if rows is not None else _about(encoder)),
    }
    done = _claimed(out, plan)
    if done is None:
        return dict(read_json(out / ABOUT))
    shards, whole, partial = order.split(size), out / ROWS, out / PARTIAL
    if not whole.exists():  # else it was killed just after this
        file = _file(partial, plan, done)
        for number, part in enumerate(shards[done:], done + 1):
            values = rows[part.numpy()] if rows is not None else _features(encoder, part)
            file[part.numpy()] = _narrowed(values, dtype)
            file.flush()
            write_json(out / STATE, {"plan": plan, "done": number})
            if progress is not None:
                progress("embedding", number, len(shards))
        del file
        partial.replace(whole)
    about = plan | {"fingerprint": _digest(whole, plan), "versions": versions()}
    write_json(out / ABOUT, about)
    (out / STATE).unlink()
    return about


def load_embedding(
    folder: Path | str, data: "Data | None" = None
) -> tuple[NDArray, dict[str, Any]]:
    """Return the rows that `datapruner embed` wrote, (n, d) memory-mapped, and their provenance.

    Raises:
        PrunerError: there is none in the folder, or it is damaged.
        Refused: it is of other data.

    Example:
        >>> import tempfile, datapruner as dp
        >>> data, out = dp.open_data("digits"), Path(tempfile.mkdtemp()) / "emb"
        >>> _ = embed_to(data, np.eye(data.n, 2), out, dtype="float16")
        >>> load_embedding(out, data)[0].dtype
        dtype('float16')
    """
    folder = Path(folder)
    if not (folder / ABOUT).exists():
        hint = "give the same `datapruner embed` again, it was broken off"
        if not (folder / STATE).exists():
            hint = "give the --out of `datapruner embed`, which also takes a .npy of your own"
        raise PrunerError(f"{folder}: holds no finished embedding; {hint}")
    about = read_json(folder / ABOUT)
    refuse_other_data(str(folder), about["data"], about["n"], data)
    try:
        # "c", because torch shares only memory that can be written to, and copies other
        rows: NDArray = np.load(folder / ROWS, mmap_mode="c", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise PrunerError(
            f"{folder / ROWS}: missing or damaged ({error}); remove the folder and embed again"
        ) from None
    if rows.shape != (about["n"], about["d"]) or rows.dtype != about["dtype"]:
        raise PrunerError(f"{folder / ROWS}: is not what {ABOUT} says; embed again")
    return rows, about


def _about(encoder: Encoder | NDArray) -> dict[str, Any]:
    assert isinstance(encoder, Encoder)
    return encoder.about | {"batch_size": encoder.loader.batch_size}


def _whole_batches(encoder: Encoder | NDArray) -> int:
    """Return a shard of whole batches, so that each holds the same rows however often it stops."""
    assert isinstance(encoder, Encoder)
    size = encoder.loader.batch_size
    return size * max(1, SHARD // size)


def _features(encoder: Encoder | NDArray, order: Tensor) -> NDArray[np.float32]:
    """Return what the network's classifier is given for each example of the order."""
    assert isinstance(encoder, Encoder)
    parts: list[Tensor] = []
    with features(encoder.model, encoder.classes) as seen:
        for _ in predict(
            encoder.model, encoder.loader, order, device=encoder.device, precision="float32"
        ):
            if seen.last is None:
                raise UsageError(f"{type(encoder.model).__name__}: its classifier was not used")
            parts.append(seen.last.flatten(1).float().cpu())
    rows: NDArray[np.float32] = torch.cat(parts).numpy()
    return rows


def _narrowed(values: NDArray, dtype: Width) -> NDArray:
    with np.errstate(over="ignore"):
        stored = values.astype(dtype)
    if not np.isfinite(stored).all():
        why = "not finite" if not np.isfinite(values).all() else "too large for float16"
        raise PrunerError(
            f"a feature is {why}; "
            + ("use --dtype float32" if "16" in why else "check the encoder")
        )
    return stored


def _claimed(out: Path, plan: dict[str, Any]) -> int | None:
    """Take the folder; return the shards that are done, None where all are."""
    refuse_file(out)
    for file in (ABOUT, STATE):
        if (out / file).exists():
            held = read_json(out / file)
            kept = held if file == ABOUT else held["plan"]
            for key, value in plan.items():
                if kept.get(key) != value:
                    raise Refused(
                        f"{out}: holds an embedding of another {key} ({kept.get(key)}, not "
                        f"{value}); give another --out"
                    )
            return None if file == ABOUT else int(held["done"])
    if out.exists() and any(p.name != "encoder" for p in out.iterdir()):
        raise Refused(f"{out}: holds files that are not an embedding's; give another --out")
    write_json(out / STATE, {"plan": plan, "done": 0})
    return 0


def _file(partial: Path, plan: dict[str, Any], done: int) -> np.memmap:
    """Map the file of rows as it is, or begin it with zeros."""
    if done:
        return np.lib.format.open_memmap(partial, "r+")
    shape = (plan["n"], plan["d"])
    return np.lib.format.open_memmap(partial, "w+", np.dtype(plan["dtype"]), shape)


def _digest(path: Path, plan: dict[str, Any]) -> str:
    digest = hashlib.blake2b(json.dumps(plan, sort_keys=True).encode(), digest_size=8)
    with path.open("rb") as file:
        while block := file.read(2**24):
            digest.update(block)
    return digest.hexdigest()
