"""Traces of a training run: five numbers for each example and epoch, streamed to disk.

`Recorder` listens to any training loop, `Record` is what it leaves; `measure` has the formulas.
"""

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from .errors import PrunerError, UsageError, suggest
from .files import read_json, write_json

TRACES = ("loss", "margin", "error_norm", "entropy", "shift")
LEAST_LOG = float(np.log(1e-8))  # log-probabilities are cut off here for `shift`
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
        logits: (b, C), C at least 2.
        labels: (b,) int64.
        before: (b, C) log-probabilities at the visit before; NaN rows where there is none.

    Returns:
        (5, b) float32, shift NaN without a visit before; and (b, C) float32.

    Example:
        >>> rows, _ = measure(torch.tensor([[0.0, 0.0]]), torch.tensor([1]))
        >>> [round(v, 4) for v in rows[:4, 0].tolist()]
        [0.6931, 0.0, 0.7071, 0.6931]
    """
    logits, places = logits.float(), labels[:, None]
    own = logits.gather(1, places)
    others = logits.scatter(1, places, float("-inf"))
    odds = torch.logsumexp(others, 1, keepdim=True) - own
    loss, miss = functional.softplus(odds, threshold=80.0), torch.sigmoid(odds)
    wrong = torch.softmax(others, 1) * miss
    log_p = (logits - (own + loss)).scatter(1, places, -loss)
    p = torch.scatter(wrong, 1, places, torch.exp(-loss))
    log_p = log_p.clamp_min(LEAST_LOG)
    if before is None:
        shift = torch.full_like(loss[:, 0], float("nan"))
    else:
        shift = (p * (log_p - before)).abs().sum(1)
    rows = (
        loss[:, 0],
        (own - others.amax(1, keepdim=True))[:, 0],
        (miss[:, 0].square() + wrong.square().sum(1)).sqrt(),
        -(p * log_p).sum(1),
        shift,
    )
    return torch.stack(rows), log_p


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
        self._training = _Rows.read(self.folder / "training.safetensors")
        self._clean = _Rows.read(self.folder / "clean.safetensors")
        self.labels = torch.from_numpy(np.load(self.folder / "labels.npy", allow_pickle=False))
        self.readable = torch.ones(self.n, dtype=torch.bool)
        self.readable[torch.tensor(about["unreadable"], dtype=torch.int64)] = False
        self._temporary: Any = None  # keeps a temporary folder as long as the record

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


class Recorder:
    """Listens to a training loop and writes its traces, one row of each an epoch.

    Memory: one row of each trace, 20 bytes an example, and for `shift` the log-probabilities of the
    visit before, 4 bytes a class and example; above 1 GiB these are kept in float16.

    Args:
        n: examples in the full training set.
        path: folder to write; a sibling named PATH.partial holds the rows until `close`. None takes
            a temporary folder that lives as long as the record.
        shift: also record `shift`, the one trace that needs memory for every class.
        about: what goes into record.json beside the sizes: seed, fingerprint, run, unreadable.

    Raises:
        UsageError: an index outside 0..n-1, an epoch before the last one, or one logit only.

    Example:
        >>> recorder = Recorder(3)
        >>> for epoch in range(2):
        ...     recorder.observe(
        ...         epoch, torch.tensor([0, 2]), torch.zeros(2, 4), torch.tensor([1, 3])
        ...     )
        >>> record = recorder.close()
        >>> record.epochs, record.trace("loss").shape
        (2, torch.Size([2, 3]))
    """

    def __init__(
        self,
        n: int,
        path: Path | str | None = None,
        *,
        shift: bool = True,
        about: dict[str, Any] | None = None,
    ) -> None:
        self._temporary = tempfile.TemporaryDirectory() if path is None else None
        self.path = Path(self._temporary.name) / "record" if self._temporary else Path(path or "")
        self.folder = self.path.with_name(self.path.name + ".partial")
        if self.path.exists():
            raise UsageError(f"{self.path}: exists; remove it or record into another folder")
        self.folder.mkdir(parents=True, exist_ok=True)
        self.n, self.shift, self.about = n, shift, dict(about or {})
        self.labels = torch.full((n,), -1, dtype=torch.int64)
        self.clean_epochs: list[int] = []
        self._epoch, self._num_classes = 0, 0
        self._row: Tensor | None = None
        self._clean: tuple[int, Tensor] | None = None
        self._before: Tensor | None = None
        self._next: Tensor | None = None
        self._training = _Rows(self.folder / "training.safetensors", n)
        self._cleaned = _Rows(self.folder / "clean.safetensors", n)

    def observe(
        self, epoch: int, indices: Tensor, logits: Tensor, labels: Tensor, *, clean: bool = False
    ) -> None:
        """Take note of a batch, before its step; an example's first visit in an epoch counts.

        Args:
            epoch: 0 for the first; a new one closes the one before.
            indices: (b,) places in the full training set.
            logits: (b, C), before softmax.
            labels: (b,) plain labels, whatever the training loss made of them.
            clean: the batch is of a pass in eval mode without augmentation, after `epoch`.
        """
        indices = indices.to("cpu", torch.int64)
        self._check(epoch, indices, logits)
        with torch.no_grad():
            if clean:
                self._observe_clean(epoch, indices, logits, labels)
                return
            while self._epoch < epoch:
                self.end_epoch(self._epoch)
            row = self._row_on(logits)
            places = indices.to(logits.device)
            before = self._before_rows(logits, places)
            rows, log_p = measure(logits, labels.to(logits.device), before)
            fresh = row[0, places].isnan()
            row[:, places] = torch.where(fresh, rows, row[:, places])
            if self._next is not None:
                self._next[places] = log_p.to(self._next.dtype)
        self.labels[indices] = labels.to("cpu", torch.int64)

    def end_epoch(self, epoch: int) -> None:
        """Write the rows of this epoch; called by the next epoch's first batch where you do not."""
        if epoch != self._epoch:
            raise UsageError(f"epoch {self._epoch} is open, epoch {epoch} cannot be ended")
        row = torch.full((len(TRACES), self.n), float("nan")) if self._row is None else self._row
        self._training.append(row.cpu().numpy())
        self._row, self._epoch = None, epoch + 1
        if self._next is not None and self._before is not None:
            self._before.copy_(self._next)

    def close(self, *, epochs: int | None = None) -> Record:
        """Write what is open, give the folder its name and return the record."""
        if self._row is not None:
            self.end_epoch(self._epoch)
        self.end_clean()
        self._training.finish()
        self._cleaned.finish()
        np.save(self.folder / "labels.npy", self.labels.numpy())
        about = {"seed": 0, "fingerprint": "", "run": "", "unreadable": []} | self.about
        about |= {"n": self.n, "epochs": self._epoch, "num_classes": self._num_classes}
        write_json(self.folder / "record.json", about | {"clean_epochs": self.clean_epochs})
        for left in self.folder.glob("going-on-*"):
            left.unlink()
        self.folder.replace(self.path)
        record = Record(self.path)
        record._temporary = self._temporary
        return record

    def save_state(self) -> None:
        """Keep what the next epoch needs, so that `resume` can go on after a killed process."""
        if self._before is None:
            return
        path = self.folder / f"going-on-{self._epoch}.npz"
        with path.with_suffix(".partial").open("wb") as file:
            np.savez(file, before=self._before.cpu().numpy(), labels=self.labels.numpy())
        path.with_suffix(".partial").replace(path)
        (self.folder / f"going-on-{self._epoch - 2}.npz").unlink(missing_ok=True)

    def resume(self, epoch: int, clean_epochs: list[int]) -> None:
        """Go on before `epoch`, with the rows that an earlier process has written.

        Args:
            epoch: how many epochs are whole.
            clean_epochs: those of them that have a clean row.

        Raises:
            PrunerError: the rows are not there.
        """
        if epoch == 0:
            shutil.rmtree(self.folder)
            self.folder.mkdir()
            return
        path = self.folder / f"going-on-{epoch}.npz"
        if not path.exists():
            raise PrunerError(f"{self.folder}: cannot go on from epoch {epoch}; remove it")
        with np.load(path, allow_pickle=False) as state:
            self._before = torch.from_numpy(state["before"])
            self.labels = torch.from_numpy(state["labels"])
        self._next, self._num_classes = self._before.clone(), self._before.shape[1]
        self._training.keep(epoch)
        self._cleaned.keep(len(clean_epochs))
        self._epoch, self.clean_epochs = epoch, list(clean_epochs)

    def _check(self, epoch: int, indices: Tensor, logits: Tensor) -> None:
        if epoch < self._epoch - (1 if self._row is None else 0):
            raise UsageError(f"epoch {epoch} after epoch {self._epoch}; epochs are seen in order")
        if len(indices) and (int(indices.min()) < 0 or int(indices.max()) >= self.n):
            bad = int(indices.min()) if int(indices.min()) < 0 else int(indices.max())
            raise UsageError(f"index {bad} is outside the training set of {self.n} examples")
        if logits.ndim != 2 or logits.shape[1] < 2:
            raise UsageError(
                f"logits have shape {tuple(logits.shape)}, expected (batch, classes) with at least "
                "2 classes; a single logit z for two classes is [0, z]"
            )
        self._num_classes = int(logits.shape[1])

    def _row_on(self, logits: Tensor) -> Tensor:
        if self._row is None:
            size = (len(TRACES), self.n)
            self._row = torch.full(size, float("nan"), device=logits.device)
        return self._row

    def _before_rows(self, logits: Tensor, places: Tensor) -> Tensor | None:
        if not self.shift:
            return None
        if self._before is None:
            cells = self.n * logits.shape[1]
            dtype = torch.float32 if cells * 4 <= 2**30 else torch.float16
            size = (self.n, logits.shape[1])
            self._before = torch.full(size, float("nan"), dtype=dtype, device=logits.device)
            self._next = self._before.clone()
        elif self._before.device != logits.device:
            self._before = self._before.to(logits.device)
            self._next = self._before.clone()
        return self._before[places].float()

    def _observe_clean(self, epoch: int, indices: Tensor, logits: Tensor, labels: Tensor) -> None:
        if self._clean is None or self._clean[0] != epoch:
            self.end_clean()
            self._clean = epoch, torch.full((len(TRACES), self.n), float("nan"))
        rows, _ = measure(logits, labels.to(logits.device))
        self._clean[1][:, indices] = rows.cpu()

    def end_clean(self) -> None:
        """Write the clean row that is open, if one is."""
        if self._clean is not None:
            self._cleaned.append(self._clean[1].numpy())
            self.clean_epochs.append(self._clean[0])
            self._clean = None


class _Rows:
    """A safetensors file of one tensor (rows, 5, n) that grows by a row at a time.

    The header stands in 512 bytes kept for it and is filled in at the end.
    """

    def __init__(self, path: Path, n: int) -> None:
        self.path, self.n = path, n

    def append(self, rows: NDArray[np.float32]) -> None:
        """Write one more row (5, n) behind the others."""
        with self.path.open("ab") as file:
            if file.tell() == 0:
                file.write(b"\0" * _HEADER)
            file.write(np.ascontiguousarray(rows, np.float32).tobytes())

    def keep(self, rows: int) -> None:
        """Forget all but the first `rows`."""
        if self.path.exists():
            with self.path.open("rb+") as file:
                file.truncate(_HEADER + rows * len(TRACES) * self.n * 4)

    def finish(self) -> None:
        """Write the header, which makes it a whole safetensors file."""
        if not self.path.exists():
            return
        size = self.path.stat().st_size - _HEADER
        shape = [size // (len(TRACES) * self.n * 4), len(TRACES), self.n]
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
