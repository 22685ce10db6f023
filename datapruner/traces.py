"""Traces of a training run: five numbers for each example and epoch, streamed to disk.

`measure` has the formulas, `Record` reads what a `Recorder` has written.
"""

import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from .errors import PrunerError, UsageError, suggest
from .files import read_json

TRACES = ("loss", "margin", "error_norm", "entropy", "shift")
LEAST_LOG = float(np.log(1e-8))  # log-probabilities are cut off here for `shift`
_NOTHING = -200.0  # e to this is 0 in float32, so that -inf, with which 0 * -inf is NaN, is not met
_HEADER = 512  # bytes kept for a safetensors header that is known only at the end
TraceName = Literal["loss", "margin", "error_norm", "entropy", "shift"]


def measure(logits: Tensor, labels: Tensor, before: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return the five traces of a batch, in the order of TRACES, and its log-probabilities.

    With p = softmax(logits) in float32 and y the label:
    loss is -log p_y; margin is the label's logit minus the largest other one, above 0 when right;
    error_norm is the length of p - onehot(y) (EL2N; Paul et al. 2021); entropy is -sum p log p;
    shift is sum |p (log p - log p_before)| over the classes (TDDS; Zhang et al. 2024), with
    probabilities below 1e-8 taken as 1e-8 in the logarithms.
    1 - p_y is summed from the other classes, so that it does not round to 0 where p_y rounds to 1.

    Args:
        logits: (b, C), C at least 2; finite, or -inf for classes that are masked out, which the
            label and at least one other may not be.
        labels: (b,) int64.
        before: (b, C) log-probabilities at the visit before; NaN rows where there is none.

    Returns:
        (5, b) float32, shift NaN without a visit before; and (b, C) float32.

    Example:
        >>> rows, _ = measure(torch.tensor([[0.0, 0.0]]), torch.tensor([1]))
        >>> [round(v, 4) for v in rows[:4, 0].tolist()]
        [0.6931, 0.0, 0.7071, 0.6931]
    """
    places = labels[:, None]
    gaps = logits.float() - logits.float().gather(1, places)  # the label's own is 0
    others = gaps.scatter(1, places, float("-inf"))
    odds = torch.logsumexp(others, 1, keepdim=True)  # log((1 - p_y) / p_y)
    loss, miss = functional.softplus(odds, threshold=80.0), torch.sigmoid(odds)
    spread = torch.softmax(others, 1)  # what the others share of 1 - p_y
    p = (spread * miss).scatter(1, places, torch.exp(-loss))
    log_p = (gaps - loss).clamp_min(LEAST_LOG)
    if before is None:
        shift = torch.full_like(loss[:, 0], float("nan"))
    else:
        shift = (p * (log_p - before)).abs().sum(1)
    rows = (
        loss[:, 0],
        0.0 - others.amax(1),
        # the factor taken out, because the square of 1 - p_y is 0 in float32 below 1e-23
        miss[:, 0] * (1 + spread.square().sum(1)).sqrt(),
        _entropy(logits.float()),
        shift,
    )
    return torch.stack(rows), log_p


def _entropy(logits: Tensor) -> Tensor:
    """Return -sum p log p (b,) as a sum of positive terms, so that a small one has its digits.

    With t the logits below the largest, and r the sum of e^t over all but that one, it is
    log(1 + r) - sum e^t t / (1 + r).
    """
    top = logits.argmax(1, keepdim=True)
    below = (logits - logits.gather(1, top)).clamp_min(_NOTHING)
    odds = below.exp().scatter(1, top, 0.0)
    rest = odds.sum(1)
    return torch.log1p(rest) - (odds * below).sum(1) / (1 + rest)


class Record:
    """The traces of one training run on disk, read through memory maps.

    Attributes:
        n: examples in the full training set.
        epochs: training epochs recorded.
        clean_epochs: the epoch after which each clean row was taken.
        labels: (n,) int64 as seen in training, -1 where an example was never seen.
        num_classes, seed, fingerprint (of the data), run_id: what the run was.
        readable: (n,) bool.
        folder: where the files lie.

    Example:
        >>> from datapruner import Recorder
        >>> recorder = Recorder(2)
        >>> recorder.observe(0, torch.tensor([1]), torch.zeros(1, 2), torch.tensor([0]))
        >>> recorder.close().trace("margin")
        tensor([[nan, 0.]])
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        about = read_json(self.folder / "record.json")
        self.about: dict[str, Any] = about
        self.n, self.num_classes = int(about["n"]), int(about["num_classes"])
        self.epochs, self.seed = int(about["epochs"]), int(about["seed"])
        self.clean_epochs: tuple[int, ...] = tuple(about["clean_epochs"])
        self.fingerprint, self.run_id = str(about["fingerprint"]), str(about["run"])
        try:
            self._training = Rows.read(self.folder / "training.safetensors")
            self._clean = Rows.read(self.folder / "clean.safetensors")
            self.labels = torch.from_numpy(np.load(self.folder / "labels.npy", allow_pickle=False))
        except (OSError, ValueError, KeyError) as error:
            raise PrunerError(
                f"{self.folder}: the record is damaged ({error}); remove it and record again"
            ) from None
        self.readable = torch.ones(self.n, dtype=torch.bool)
        self.readable[torch.tensor(about["unreadable"], dtype=torch.int64)] = False

    def trace(self, name: str, *, clean: bool = False) -> Tensor:
        """Return a trace (rows, n) float32; NaN where an example was not visited.

        Args:
            name: one of TRACES.
            clean: the clean rows (eval mode, no augmentation, one a `clean_epochs`) instead of what
                was met in training.

        Raises:
            UsageError: no such trace, or no clean row was recorded.
        """
        if name not in TRACES:
            raise UsageError(f"no trace {name!r}; {suggest(name, TRACES)}")
        rows = self._clean if clean else self._training
        if len(rows) == 0:
            raise UsageError(
                f"{self.folder}: no {'clean' if clean else 'training'} rows were recorded; "
                "record() takes a clean pass by itself, your own loop calls observe(clean=True)"
            )
        return torch.from_numpy(rows[:, TRACES.index(name)])

    @property
    def checkpoints(self) -> tuple[int, ...]:
        """Epochs after which the weights were kept, in `weights-EPOCH.safetensors`."""
        files = self.folder.glob("weights-*.safetensors")
        return tuple(sorted(int(path.stem.removeprefix("weights-")) for path in files))

    def source(self, name: str) -> NDArray | None:
        """Return what was computed from the network and kept beside the traces; None if it was not.

        A source is an array of the full training set in `NAME.npy`, such as `grad_norm`. `score`
        finds it here, for each run its own.
        """
        path = self.folder / f"{name}.npy"
        if not path.exists():
            return None
        kept: NDArray = np.load(path, mmap_mode="c", allow_pickle=False)
        return kept


class Rows:
    """A safetensors file of one tensor (rows, 5, n) that grows by a row at a time.

    The header stands in 512 bytes kept for it and is filled in at the end.
    """

    def __init__(self, path: Path, n: int) -> None:
        self.path, self.n, self.rows = path, n, 0

    def append(self, rows: NDArray[np.float32]) -> None:
        """Write one more row (5, n) behind the others; the first takes the place of an old file."""
        with self.path.open("ab" if self.rows else "wb") as file:
            if self.rows == 0:
                file.write(b"\0" * _HEADER)
            file.write(np.ascontiguousarray(rows, np.float32).tobytes())
        self.rows += 1

    def keep(self, rows: int) -> None:
        """Go on behind the first `rows` of an earlier process; the others are forgotten."""
        self.rows = rows
        if rows:
            size = _HEADER + rows * len(TRACES) * self.n * 4
            with self.path.open("rb+") as file:
                if file.seek(0, 2) < size:
                    raise PrunerError(f"{self.path}: rows are missing; remove {self.path.parent}")
                file.truncate(size)

    def finish(self) -> None:
        """Write the header, which makes it a whole safetensors file."""
        if self.rows == 0:
            self.path.unlink(missing_ok=True)  # of a process that was killed
            return
        shape = [self.rows, len(TRACES), self.n]
        size = 4 * self.rows * len(TRACES) * self.n
        header = json.dumps({"traces": {"dtype": "F32", "shape": shape, "data_offsets": [0, size]}})
        with self.path.open("rb+") as file:
            file.write((_HEADER - 8).to_bytes(8, "little") + header.encode().ljust(_HEADER - 8))

    @staticmethod
    def read(path: Path) -> NDArray[np.float32]:
        """Map a finished file; an absent one has no rows."""
        if not path.exists():
            return np.zeros((0, len(TRACES), 0), np.float32)
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            shape = tuple(json.loads(file.read(length))["traces"]["shape"])
        return np.memmap(path, np.float32, "c", 8 + length, shape)
