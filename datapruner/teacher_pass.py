"""cache_teacher(): the logits of every example, asked once and written by shards."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from .claiming import refuse_file
from .errors import PrunerError, Refused, UsageError
from .files import read_json, write_json
from .hooks import Progress
from .loaders import Loader
from .provenance import versions
from .run import Run
from .teacher_cache import CachedTeacher, pictures
from .teachers import Logits, Teacher, as_teacher, first_batch
from .training import make_loader

if TYPE_CHECKING:
    from .data import Data

SHARD = 4096  # rows, about, between two notes of how far it is
STATE, PARTIAL = ".going-on.json", ".logits.npy.partial"


def cache_teacher(
    data: "Data",
    teacher: nn.Module | Teacher | Sequence[nn.Module | Teacher],
    out: Path | str,
    *,
    views: int = 0,
    run: Run | None = None,
    name: str = "",
    progress: Progress | None = None,
) -> CachedTeacher:
    """Ask a teacher about every readable example once, and keep its logits in a folder.

    Written are logits.npy, (n, classes) float16 by index, with stored views (views, n, classes),
    NaN where an example is not readable, and teacher.json beside it. float16 keeps 11 bits: a logit
    is off by at most 1/2048 of itself. A call that is killed goes on from the last shard when it
    is given again, and ends in the same bytes.

    Args:
        data: what is asked about.
        teacher: as for `Distill`.
        out: folder.
        views: 0 asks about the plain pictures, for students that train without augmentation; K
            asks about the views of epochs 0 to K - 1, which students then see in turn.
        run: batch size, seed and kind of augmentation, picture size, workers and device are read.
        name: what teacher.json calls the teacher.
        progress: called as progress(text, rows done, rows in all).

    Raises:
        UsageError: views that the data or the settings do not give.
        Refused: the teacher does not fit the data, or the folder holds something else.
        PrunerError: a logit is too large for float16, or is none.

    Example:
        >>> import tempfile, datapruner as dp
        >>> data, net = dp.open_data("digits"), dp.make_model("mlp", 10, (1, 8, 8))
        >>> run, out = dp.Run(augment="crop=1"), Path(tempfile.mkdtemp()) / "teacher"
        >>> cache_teacher(data, net, out, views=2, run=run).rows.shape
        torch.Size([2, 1438, 10])
    """
    if views < 0:
        raise UsageError(f"views must be 0 for the plain pictures, or above, not {views}")
    run, asked_of, out = run or Run(), as_teacher(teacher), Path(out)
    loader = make_loader(data, run)
    probes = [pictures(loader, k) for k in range(views)] or [pictures(loader, None)]
    if views > 1 and len(set(probes)) == 1:
        raise UsageError(
            f"{data.name} is not augmented (augment={run.augment!r}), so all {views} views are the "
            "same; leave views at 0, or give an augmentation such as crop=4"
        )
    plan = {
        "teacher": name or type(teacher).__name__,
        "weights": asked_of.fingerprint,
        "data": data.fingerprint,
        "n": data.n,
        "classes": data.num_classes,
        "views": views,
        "seed": run.seed,
        "augment": run.augment,
        "image_size": run.image_size,
        "batch_size": run.batch_size,
        "pictures": probes,
    }
    asked = asked_of.bind(loader)
    _refuse_other_classes(asked, loader, data)
    done = _claimed(out, plan)
    if done is not None:
        _Pass(data, loader, asked, out, plan, progress).go_on(done)
    return CachedTeacher(out, data)


def _refuse_other_classes(asked: Logits, loader: Loader, data: "Data") -> None:
    width = asked(first_batch(loader)).shape[1]
    if width != data.num_classes:
        raise Refused(
            f"the teacher has {width} classes, {data.name} has {data.num_classes}; take a teacher "
            "of the same classes"
        )


def _claimed(out: Path, plan: dict[str, Any]) -> int | None:
    """Take the folder for these logits; return the shards that are done, None where all are."""
    refuse_file(out)
    if (out / "teacher.json").exists():
        held = read_json(out / "teacher.json")
        if any(held.get(key) != value for key, value in plan.items()):
            raise Refused(f"{out}: {_difference(held, plan)}; give another --out")
        return None
    if (out / STATE).exists():
        state = read_json(out / STATE)
        if state["plan"] != plan:
            raise Refused(
                f"{out}: {_difference(state['plan'], plan)}; give another --out, or remove "
                "the folder"
            )
        return int(state["done"])
    if out.exists() and any(out.iterdir()):
        raise Refused(f"{out}: holds files that are not cached logits; give another --out")
    write_json(out / STATE, {"plan": plan, "done": 0})
    return 0


def _difference(held: dict[str, Any], plan: dict[str, Any]) -> str:
    key = next(key for key, value in plan.items() if held.get(key) != value)
    return f"holds logits of another {key} ({held.get(key)}, not {plan[key]})"


class _Pass:
    """One pass of a teacher over the data, for each view that is stored."""

    def __init__(
        self,
        data: "Data",
        loader: Loader,
        asked: Logits,
        out: Path,
        plan: dict[str, Any],
        progress: Progress | None,
    ) -> None:
        self.data, self.loader, self.asked = data, loader, asked
        self.out, self.plan, self.progress = out, plan, progress
        # whole batches, so that each holds the same rows however often the pass was broken off
        size = plan["batch_size"] * max(1, SHARD // plan["batch_size"])
        parts = data.readable.nonzero().flatten().split(size)
        self.shards = [(k, part) for k in range(max(1, plan["views"])) for part in parts]

    def go_on(self, done: int) -> None:
        """Write the shards that are left, then give the file its name."""
        partial, whole = self.out / PARTIAL, self.out / "logits.npy"
        if not whole.exists():  # else it was killed just after this
            file = self._file(partial, done)
            rows = file.reshape(-1, *self._shape())
            for number, (view, order) in enumerate(self.shards[done:], done + 1):
                self._fill(rows[view], view, order)
                file.flush()
                write_json(self.out / STATE, {"plan": self.plan, "done": number})
                if self.progress is not None:
                    self.progress("asking the teacher", number, len(self.shards))
            del rows, file
            partial.replace(whole)
        self._finish(whole)

    def _file(self, partial: Path, done: int) -> np.memmap:
        """Map the file of logits as it is, or begin it."""
        if done:
            return np.lib.format.open_memmap(partial, "r+")
        views = self.plan["views"]
        stored = (views, *self._shape()) if views else self._shape()
        file = np.lib.format.open_memmap(partial, "w+", np.float16, stored)
        file.reshape(-1, *self._shape())[:, ~self.data.readable.numpy()] = np.nan
        return file

    def _fill(self, rows: np.ndarray, view: int, order: torch.Tensor) -> None:
        train = self.plan["views"] > 0
        for batch in self.loader(order, epoch=view, train=train):
            logits = self.asked(batch).half()
            if not bool(logits.isfinite().all()):
                raise PrunerError(
                    "the teacher gives a logit that is none, or too large for float16; train it "
                    "anew with a lower rate, or ask it at each step instead"
                )
            rows[batch.index.numpy()] = logits.cpu().numpy()

    def _finish(self, whole: Path) -> None:
        """Write what the logits are, last of all."""
        rows = np.load(whole, mmap_mode="r", allow_pickle=False).reshape(-1, *self._shape())
        right = sum(
            int((rows[view, order.numpy()].argmax(1) == self.data.labels[order].numpy()).sum())
            for view, order in self.shards
        )
        digest = hashlib.blake2b(json.dumps(self.plan, sort_keys=True).encode(), digest_size=8)
        with whole.open("rb") as file:
            while block := file.read(2**24):
                digest.update(block)
        about = {
            "fingerprint": digest.hexdigest(),
            "accuracy": right / sum(len(order) for _, order in self.shards),
            "versions": versions(),
        }
        write_json(self.out / "teacher.json", self.plan | about)
        (self.out / STATE).unlink()

    def _shape(self) -> tuple[int, int]:
        return self.data.n, self.data.num_classes
