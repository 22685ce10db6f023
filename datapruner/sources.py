"""Where a scorer's sources come from: a record, a mapping, or what the caller adds to it."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .errors import UsageError, suggest
from .traces import TRACES, Record


class Source(NamedTuple):
    """What is known of a source by its name.

    Attributes:
        axis: where the examples lie, 0 or -1; None when it has no row for each.
        get: how to come by it.
    """

    axis: int | None
    get: str


_RECORDED = "record a training run with dp.record(data, run)"
_ENSEMBLE = "train runs with datapruner.ensembles.ensemble(data, run, path, test=...)"

SOURCES: dict[str, Source] = {
    # known without asking
    "n": Source(None, "pass data="),
    "seed": Source(None, "pass it in the mapping"),
    "labels": Source(-1, "pass data=, or labels in the mapping"),
    # (epochs, n), from a training run
    **{name: Source(-1, _RECORDED) for name in TRACES},
    # (n, ...), from a pass over the data
    "embedding": Source(0, "make it with dp.embed(data, encoder)"),
    "probs": Source(0, "make it with datapruner.clean.probs(data, record)"),
    "holdout_loss": Source(-1, "make it with datapruner.holdout.holdout_loss(data, run)"),
    # what those that choose by a budget ask for; `datapruner.select` gives k
    "errors": Source(
        0, "probs less onehot of a clean pass, (n, classes), or pass probs and labels"
    ),
    "difficulty": Source(-1, "a score (n,) of any kind, high is important"),
    "validation_errors": Source(None, "as errors, (m, classes), of a validation set"),
    "validation_embedding": Source(None, "as embedding, (m, d), of a validation set"),
    "k": Source(None, "choose with dp.select(method, sources, fraction=...)"),
    # (n,), from a sweep of gradients
    "grad_norm": Source(-1, "make it with datapruner.gradients.grad_norm(data, record)"),
    "embedding_norm": Source(-1, "make it with datapruner.gradients.embedding_norm(data, record)"),
    "input_gradient_variance": Source(
        -1, "make it with datapruner.gradients.input_gradient_variance(data, record)"
    ),
    "boundary_distance": Source(
        -1, "make it with datapruner.gradients.boundary_distance(data, record)"
    ),
    # (runs, n) or (runs, m), from an ensemble
    "member": Source(-1, _ENSEMBLE),
    "correct": Source(-1, _ENSEMBLE),
    "test_correct": Source(None, _ENSEMBLE),
}

OF_THE_DATA = {"n", "labels"}  # the same in every run


class Sources:
    """The sources of one run, of the readable examples only, each read when first asked for.

    Args:
        run: a record, or a mapping from source names to arrays.
        extra: more sources; these go first.
        readable: (n,) bool.
        labels: (n,) or None.
        seed: of the run.
    """

    def __init__(
        self,
        run: Record | Mapping[str, Any],
        extra: Mapping[str, Any],
        readable: NDArray[np.bool_],
        labels: Tensor | None,
        seed: int,
    ) -> None:
        self.run, self.extra = run, extra
        self._readable = readable
        self._whole = bool(readable.all())
        self._known: dict[str, Any] = {"n": int(readable.sum()), "seed": seed}
        if labels is not None:
            self._known["labels"] = self._rows("labels", labels)
        self._read: dict[tuple[str, bool], Any] = {}

    def get(self, name: str, *, clean: bool, scorer: str) -> Any:
        """Return a source, with a row for each readable example.

        Args:
            name: of the source.
            clean: of a trace, the clean rows.
            scorer: whom it is for, as the message names it.

        Raises:
            UsageError: it is not there, or not of the size of the data.
        """
        if (name, clean) not in self._read:
            self._read[name, clean] = self._find(name, clean, scorer)
        return self._read[name, clean]

    def depends_on_run(self, name: str) -> bool:
        """Tell whether another run would give another source of that name."""
        return name not in self.extra and name not in OF_THE_DATA

    def _find(self, name: str, clean: bool, scorer: str) -> Any:
        if name in self.extra:
            return self._rows(name, self.extra[name])
        if name in self._known:
            return self._known[name]
        if isinstance(self.run, Record):
            if name in TRACES:
                return self._rows(name, self.run.trace(name, clean=clean))
            if (kept := self.run.source(name)) is not None:
                return self._rows(name, kept)
        elif name in self.run:
            return self._rows(name, self.run[name])
        raise UsageError(self._missing(name, scorer))

    def _missing(self, name: str, scorer: str) -> str:
        if name not in SOURCES:
            cure = f"pass extra={{{name!r}: ...}}; {suggest(name, SOURCES)}"
        elif isinstance(self.run, Record):
            cure = f"{SOURCES[name].get}, and pass extra={{{name!r}: ...}}"
        else:
            cure = f"{SOURCES[name].get}, or put {name!r} into the mapping"
        return f"scorer {scorer!r} needs {name!r}, which is not there: {cure}"

    def _rows(self, name: str, value: Any) -> Any:
        """Return a source as a tensor without the rows of unreadable examples."""
        if not isinstance(value, (Tensor, np.ndarray, list, tuple)):
            return value
        rows = value.detach().cpu() if isinstance(value, Tensor) else _tensor(value)
        n = len(self._readable)
        axis = _axis(name, tuple(rows.shape), n)
        if axis is None or self._whole:
            return rows
        return rows.index_select(axis % rows.ndim, torch.from_numpy(np.flatnonzero(self._readable)))


def count_examples(run: Mapping[str, Any], extra: Mapping[str, Any]) -> int:
    """Tell how many examples a mapping of sources is of.

    Raises:
        UsageError: no source in it says so.

    Example:
        >>> count_examples({"margin": np.zeros((3, 10))}, {})
        10
    """
    given = {**run, **extra}
    if "n" in given:
        return int(given["n"])
    for name, value in given.items():
        axis = SOURCES[name].axis if name in SOURCES else None
        if axis is not None:
            return int(np.shape(value)[axis])
    raise UsageError(f"none of {', '.join(given) or 'no sources'} says how many examples there are")


def _axis(name: str, shape: tuple[int, ...], n: int) -> int | None:
    """Tell where the examples lie; of a source that only the caller knows, by its size."""
    if name not in SOURCES:
        return next((axis for axis in (0, -1) if shape and shape[axis] == n), None)
    axis = SOURCES[name].axis
    if axis is not None and (not shape or shape[axis] != n):
        where = "(n, ...)" if axis == 0 else "(..., n)"
        raise UsageError(f"{name} must be {where} with n = {n:,} examples, got {shape}")
    return axis


def _tensor(value: Any) -> Tensor:
    """Make a tensor without copying where numpy's array can be shared."""
    array = np.asarray(value)
    return torch.from_numpy(array if array.flags.writeable else array.copy())
