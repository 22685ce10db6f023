"""Recorder: listens to any training loop and writes its traces, an epoch at a time."""

import shutil
import tempfile
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .errors import PrunerError, UsageError
from .files import write_json
from .traces import TRACES, Record, Rows, measure

LARGEST = 2**30  # bytes that log-probabilities may take in float32


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
        UsageError: the folder exists; an index outside 0..n-1, labels that are none, an epoch
            before the last one, or one logit only.

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
        self._temporary = None if path is not None else Path(tempfile.mkdtemp(prefix="datapruner-"))
        self._remove = weakref.finalize(self, _remove, self._temporary)
        self.path = Path(path or "") if self._temporary is None else self._temporary / "record"
        self.folder = self.path.with_name(self.path.name + ".partial")
        if self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
            raise UsageError(f"{self.path}: exists; remove it or record into another folder")
        self.folder.mkdir(parents=True, exist_ok=True)
        self.n, self.shift, self.about = n, shift, dict(about or {})
        self.labels = torch.full((n,), -1, dtype=torch.int64)
        self.clean_epochs: list[int] = []
        self._epoch, self._num_classes = 0, 0
        self._row: Tensor | None = None
        self._clean: tuple[int, Tensor] | None = None
        self._before: Tensor | None = None
        self._training = Rows(self.folder / "training.safetensors", n)
        self._cleaned = Rows(self.folder / "clean.safetensors", n)

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
        indices = torch.as_tensor(indices).to("cpu", torch.int64)
        self._check(epoch, indices, logits, labels, clean)
        first = _first_of_each(indices)
        if first is not None:
            indices, logits, labels = indices[first], logits[first], labels[first]
        labels = labels.to(logits.device, torch.int64)
        with torch.no_grad():
            if clean:
                self._observe_clean(epoch, indices, logits, labels)
                return
            while self._epoch < epoch:
                self.end_epoch(self._epoch)
            self._observe_training(indices.to(logits.device), logits, labels)

    def end_epoch(self, epoch: int) -> None:
        """Write the rows of this epoch; called by the next epoch's first batch where you do not."""
        if epoch != self._epoch:
            raise UsageError(f"epoch {self._epoch} is open, epoch {epoch} cannot be ended")
        row = torch.full((len(TRACES), self.n), float("nan")) if self._row is None else self._row
        self._training.append(row.cpu().numpy())
        self._row, self._epoch = None, epoch + 1

    def close(self) -> Record:
        """Write what is open, give the folder its name and return the record."""
        if self._row is not None:
            self.end_epoch(self._epoch)
        self.end_clean()
        self._training.finish()
        self._cleaned.finish()
        np.save(self.folder / "labels.npy", self.labels.cpu().numpy())
        about = {"seed": 0, "fingerprint": "", "run": "", "unreadable": []} | self.about
        about |= {"n": self.n, "epochs": self._epoch, "num_classes": self._num_classes}
        write_json(self.folder / "record.json", about | {"clean_epochs": self.clean_epochs})
        self.folder.replace(self.path)
        for left in self.path.glob("going-on-*"):  # only now: a process killed before goes on
            left.unlink()
        record = Record(self.path)
        self._remove.detach()
        weakref.finalize(record, _remove, self._temporary)
        return record

    def save_state(self) -> None:
        """Keep what the next epoch needs, so that `resume` can go on after a killed process."""
        path = self.folder / f"going-on-{self._epoch}.npz"
        before = torch.zeros(0, self._num_classes) if self._before is None else self._before
        with path.with_suffix(".partial").open("wb") as file:
            np.savez(file, before=before.cpu().numpy(), labels=self.labels.cpu().numpy())
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
            self.labels, before = map(torch.from_numpy, (state["labels"], state["before"]))
        self._before, self._num_classes = before if len(before) else None, before.shape[1]
        self._training.keep(epoch)
        self._cleaned.keep(len(clean_epochs))
        self._epoch, self.clean_epochs = epoch, list(clean_epochs)

    def _check(
        self, epoch: int, indices: Tensor, logits: Tensor, labels: Tensor, clean: bool
    ) -> None:
        last = max(self.clean_epochs, default=-1) + 1 if clean else self._epoch
        if epoch < last:
            done = "clean epoch" if clean else "epoch"
            raise UsageError(f"{done} {epoch} after the end of {last - 1}; epochs go up")
        if len(indices) and (int(indices.min()) < 0 or int(indices.max()) >= self.n):
            bad = int(indices.min()) if int(indices.min()) < 0 else int(indices.max())
            raise UsageError(f"index {bad} is outside the training set of {self.n} examples")
        if logits.ndim != 2 or logits.shape[1] < 2:
            raise UsageError(
                f"logits have shape {tuple(logits.shape)}, expected (batch, classes) with at least "
                "2 classes; a single logit z for two classes is [0, z]"
            )
        if self._num_classes not in (0, logits.shape[1]):
            raise UsageError(f"{logits.shape[1]} logits a row, earlier {self._num_classes}")
        self._num_classes = int(logits.shape[1])
        if not indices.shape == labels.shape == logits.shape[:1]:
            raise UsageError(
                f"indices {tuple(indices.shape)}, logits {tuple(logits.shape)} and labels "
                f"{tuple(labels.shape)} must have a row for each example of the batch"
            )
        if labels.device.type == "cpu" and len(labels):  # a look at a GPU's would wait for it
            low, high = int(labels.min()), int(labels.max())
            if low < 0 or high >= self._num_classes:
                bad = low if low < 0 else high
                raise UsageError(f"label {bad} is outside the {self._num_classes} classes")

    def _observe_training(self, places: Tensor, logits: Tensor, labels: Tensor) -> None:
        """Fill in the cells of this epoch that are still empty; all on the device of the logits."""
        device = logits.device
        if self._row is None:
            self._row = torch.full((len(TRACES), self.n), float("nan"), device=device)
        if self.shift and self._before is None:
            size = (self.n, logits.shape[1])
            dtype = torch.float32 if 4 * size[0] * size[1] <= LARGEST else torch.float16
            self._before = torch.full(size, float("nan"), dtype=dtype)
        if self._before is not None:
            self._before = self._before.to(device)
        self.labels = self.labels.to(device)
        before = None if self._before is None else self._before[places]
        rows, log_p = measure(logits, labels, None if before is None else before.float())
        fresh = self._row[0, places].isnan()
        self._row[:, places] = torch.where(fresh, rows, self._row[:, places])
        if self._before is not None and before is not None:
            new = log_p.to(before.dtype)
            self._before[places] = torch.where(fresh[:, None], new, before)
        self.labels[places] = labels

    def _observe_clean(self, epoch: int, indices: Tensor, logits: Tensor, labels: Tensor) -> None:
        if self._clean is None or self._clean[0] != epoch:
            self.end_clean()
            self._clean = epoch, torch.full((len(TRACES), self.n), float("nan"))
        rows, _ = measure(logits, labels)
        self._clean[1][:, indices] = rows.cpu()

    def end_clean(self) -> None:
        """Write the clean row that is open, if one is."""
        if self._clean is not None:
            self._cleaned.append(self._clean[1].numpy())
            self.clean_epochs.append(self._clean[0])
            self._clean = None


def _first_of_each(indices: Tensor) -> Tensor | None:
    """Return where each index of a batch stands first, or None where none is repeated."""
    values, inverse = indices.unique(return_inverse=True)
    if len(values) == len(indices):
        return None
    places = torch.arange(len(indices))
    return torch.full_like(values, len(indices)).scatter_reduce(0, inverse, places, "amin")


def _remove(folder: Path | None) -> None:
    """Remove a temporary folder; its maps stay readable as long as they are held."""
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)
