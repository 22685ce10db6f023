"""Cached teachers: logits that were written once, mapped and looked up by index."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from .errors import PrunerError, Refused
from .files import read_json
from .loaders import Batch, Loader
from .teachers import Logits, refuse_classes

if TYPE_CHECKING:
    from .data import Data

PROBED = 16  # examples whose pictures say which views a loader gives


class CachedTeacher:
    """Logits of every example, float16, from a folder that `cache_teacher` wrote.

    With no stored views they are of the plain pictures, for a loader without augmentation. With K,
    the view of example i in epoch e is view e mod K: train on `teacher.loader(loader)`, which gives
    just these; `train` does so itself. Criteria of weight masks read the plain pictures, of which
    there are no logits then: they get those of the view that was shown last.

    Args:
        folder: with logits.npy and teacher.json.
        data: what they must be of; None checks it by the number of rows and the pictures alone.

    Attributes:
        about: what teacher.json says.
        rows: (n, classes) float16, mapped; with stored views (views, n, classes).

    Raises:
        PrunerError: the folder is damaged, or not finished.
        Refused: the logits are of other data.

    Example:
        >>> import tempfile, datapruner as dp
        >>> data, out = dp.open_data("digits"), Path(tempfile.mkdtemp()) / "teacher"
        >>> teacher = dp.cache_teacher(data, dp.make_model("mlp", 10, data.shape), out)
        >>> CachedTeacher(out, data).rows.shape
        torch.Size([1438, 10])
    """

    def __init__(self, folder: Path | str, data: "Data | None" = None) -> None:
        self.folder = Path(folder)
        self.about: dict[str, Any] = read_json(self.folder / "teacher.json")
        if missing := {"fingerprint", "data", "n", "classes", "views", "pictures"} - {*self.about}:
            raise PrunerError(
                f"{self.folder}: its teacher.json says no {', '.join(sorted(missing))}; cache the "
                "teacher anew"
            )
        self.fingerprint: str = self.about["fingerprint"]
        self.views: int = self.about["views"]
        shape = (self.about["n"], self.about["classes"])
        self.rows = _mapped(
            self.folder / "logits.npy", (self.views, *shape) if self.views else shape
        )
        if data is not None and self.about["data"] != data.fingerprint:
            raise Refused(
                f"{self.folder}: logits of other data (fingerprint {self.about['data']} with "
                f"{shape[0]:,} rows, {data.name} has {data.fingerprint} with {data.n:,}); cache "
                "them for these"
            )
        if data is not None and shape[1] != data.num_classes:
            raise Refused(
                f"{self.folder}: logits of {shape[1]} classes, {data.name} has {data.num_classes}; "
                "take a teacher of the same classes"
            )

    @property
    def views_seen(self) -> str:
        """How what the teacher saw is what the student sees."""
        if not self.views:
            return "cached, without augmentation"
        return f"cached for {self.views} stored views, augmentation seed {self.about['seed']}"

    def loader(self, loader: Loader) -> Loader:
        """Return a loader that gives the stored views, in turn: view e mod K in epoch e."""
        return StoredViews(loader, self.views) if self.views else loader

    def bind(self, loader: Loader) -> Logits:
        """Return what looks up the logits of a batch.

        Raises:
            Refused: the loader has another number of examples, or gives other views.
        """
        if len(loader.labels) != self.about["n"]:
            raise Refused(
                f"{self.folder}: logits of {self.about['n']:,} rows, the loader has "
                f"{len(loader.labels):,}; cache them for these data"
            )
        refuse_classes(str(self.folder), self.rows.flatten(0, -2)[:1], loader.labels)
        self._refuse_other_views(loader)
        if not self.views:
            return lambda batch: self.rows[batch.index].float()
        assert isinstance(loader, StoredViews)  # else refused
        return lambda batch: self.rows[loader.view, batch.index].float()

    def _refuse_other_views(self, loader: Loader) -> None:
        of, stored = self.folder, self.about["pictures"]
        if not self.views:
            if pictures(loader, None) != stored[0]:
                raise Refused(
                    f"{of}: logits of other pictures than this loader gives (other data, size or "
                    "normalisation); cache them for these"
                )
            if any(pictures(loader, epoch) != stored[0] for epoch in (0, 1)):
                raise Refused(
                    f"{of}: logits of the plain pictures, but this run augments them; cache some "
                    "views (--views 10), train with --augment none, or take the run itself as "
                    "teacher, to be asked at each step"
                )
        elif not isinstance(loader, StoredViews) or loader.views != self.views:
            raise Refused(
                f"{of}: logits of {self.views} stored views, which this loader does not give; "
                "train on teacher.loader(loader)"
            )
        elif any(pictures(loader, epoch) != one for epoch, one in enumerate(stored)):
            raise Refused(
                f"{of}: logits of views by seed {self.about['seed']}, augment "
                f"{self.about['augment']!r}, image_size {self.about['image_size']}, but this "
                "loader gives others; give it the same settings, or cache anew"
            )


class StoredViews:
    """A loader that shows the same K views in turn: in epoch e, the view of epoch e mod K.

    Args:
        loader: whose views of epochs 0 to K - 1 are shown.
        views: K.

    Attributes:
        view: of the batch that was given last.

    Example:
        >>> import datapruner as dp
        >>> plain = dp.TensorLoader(dp.open_data("digits"), augment="crop=1")
        >>> some, loader = torch.arange(9), StoredViews(plain, 2)
        >>> a, b, c = (next(loader(some, epoch=epoch)).x for epoch in (0, 1, 2))
        >>> a.equal(b), a.equal(c)
        (False, True)
    """

    def __init__(self, loader: Loader, views: int) -> None:
        self.inner, self.views, self.view = loader, views, 0
        self.labels, self.readable = loader.labels, loader.readable
        self.batch_size = loader.batch_size
        self.normalise = getattr(loader, "normalise", None)  # a test loader takes it over

    def __call__(self, order: Tensor, *, epoch: int = 0, train: bool = True) -> Iterator[Batch]:
        """Give the examples of `order` (m,) in that order, `batch_size` at a time."""
        view = epoch % self.views
        for batch in self.inner(order, epoch=view, train=train):
            self.view = view  # said with each batch: passes may be under way side by side
            yield batch


def pictures(loader: Loader, epoch: int | None) -> str:
    """Return 16 hex digits over what the first examples look like in an epoch, None for plain.

    Example:
        >>> import datapruner as dp
        >>> loader = dp.TensorLoader(dp.open_data("digits"), augment="crop=1")
        >>> pictures(loader, 0) == pictures(loader, 1)
        False
    """
    # a whole batch, since loaders may leave out one that is not full; of which the first count
    rows = loader.readable.nonzero().flatten()[: max(PROBED, loader.batch_size)]
    digest, left = hashlib.blake2b(digest_size=8), PROBED
    for batch in loader(rows, epoch=epoch or 0, train=epoch is not None):
        x = batch.x[:left].detach().cpu().contiguous()
        if left == PROBED:
            digest.update(f"{x.dtype}{tuple(x.shape[1:])}".encode())
        digest.update(x.flatten().view(torch.uint8).numpy().data)
        left -= len(x)
    return digest.hexdigest()


def _mapped(path: Path, shape: tuple[int, ...]) -> Tensor:
    try:
        rows = np.load(path, mmap_mode="c", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise PrunerError(f"{path}: missing or damaged ({error}); cache the teacher anew") from None
    if rows.shape != shape or rows.dtype != np.float16:
        raise PrunerError(
            f"{path}: holds {rows.dtype} {rows.shape}, teacher.json says float16 {shape}; cache "
            "the teacher anew"
        )
    return torch.from_numpy(rows)
