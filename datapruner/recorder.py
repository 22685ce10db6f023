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
        self._temporary = None if path is not None else Path(tempfile.mkdtemp(prefix="datapruner-"))
        self._remove = weakref.finalize(self, _remove, self._temporary)
        self.path = Path(path or "") if self._temporary is None else self._temporary / "record"
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
        self._remove.detach()
        weakref.finalize(record, _remove, self._temporary)
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


def _remove(folder: Path | None) -> None:
    """Remove a temporary folder; its maps stay readable as long as they are held."""
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)
