"""Score files that others have published: NumPy arrays and CSVs, put into the order of the data."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from .columns import is_number, read_columns
from .errors import Refused, UsageError, suggest
from .provenance import fingerprint
from .ranking import spearman
from .table import Scores

if TYPE_CHECKING:
    from .data import Data

Order = Literal["data", "class", "index"]
High = Literal["hard", "easy"]

_LABELS = ("label", "labels", "y", "target", "targets", "class", "tr_labels", "train_labels")
_INDEX = ("index", "idx", "id", "indices", "sample_id", "example", "example_id")


@dataclass(frozen=True, eq=False)
class Published:
    """A published file as it lies there: its rows in its own order.

    Attributes:
        values: (rows,) float64.
        labels: (rows,) int64 where the file carries them.
        index: (rows,) int64 where the file says which example a row is of.
        column: what the values are called in it.

    Example:
        >>> Published(np.zeros(2), None, None, "score").column
        'score'
    """

    values: NDArray[np.float64]
    labels: NDArray[np.int64] | None
    index: NDArray[np.int64] | None
    column: str


def read_published(
    path: Path | str, column: str | None = None, labels: str | None = None
) -> Published:
    r"""Read a .npy, .npz, .csv or .tsv file; nothing is run that it holds.

    Args:
        path: the file.
        column: which of its columns or arrays is the score; of a .npy with two dimensions the
            number of the column. None where there is only one that it can be.
        labels: which of them are the labels; None finds the usual names.

    Raises:
        PrunerError: no such file, or not one that can be read.
        UsageError: no such column, or several that it could be.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "scores.csv"
        >>> _ = path.write_text("label,difficulty\n3,0.5\n7,0.25\n")
        >>> found = read_published(path)
        >>> found.column, found.values.tolist(), found.labels.tolist()
        ('difficulty', [0.5, 0.25], [3, 7])
    """
    path = Path(path)
    columns = read_columns(path)
    label = _named(columns, labels, _LABELS, path)
    index = _named(columns, None, _INDEX, path)
    if column is not None and column not in columns:
        raise UsageError(f"{path} has no column {column!r}; {suggest(column, columns)}")
    rest = [c for c in columns if c not in (label, index) and is_number(columns[c])]
    if column is None and len(rest) != 1:
        raise UsageError(
            f"{path}: say which is the score with --column; it has {', '.join(rest) or 'none'}"
        )
    chosen = column or rest[0]
    if not is_number(columns[chosen]):
        raise UsageError(f"{path}: column {chosen!r} does not hold a number in every row")
    values = columns[chosen].astype(np.float64)
    whole = [None if n is None else _whole(columns[n], n, path) for n in (label, index)]
    if any(w is not None and len(w) != len(values) for w in whole):
        raise UsageError(f"{path}: {chosen!r} and its labels or indices differ in length")
    return Published(values, whole[0], whole[1], chosen)


def align(
    found: Published, data: "Data", order: Order | None = None, what: str = "the file"
) -> tuple[NDArray[np.float64], Order, bool]:
    """Put the rows of a file into the order of the data.

    Args:
        found: the file's rows.
        data: whose order is wanted.
        order: "data": row i is example i. "class": rows are sorted by class, and within a class
            as in the data. "index": by the column that says so. None takes "index" where there is
            such a column, else what the labels in the file prove.
        what: the file, as messages name it.

    Returns:
        The values (n,), the order, and whether labels in the file confirmed it.

    Raises:
        UsageError: the order is not given, and nothing in the file says it.
        Refused: another number of rows, or labels that are not those of the data in this order.

    Example:
        >>> from datapruner import open_data
        >>> digits = open_data("digits")
        >>> rows = np.argsort(digits.labels.numpy(), kind="stable")
        >>> file = Published(rows * 1.0, digits.labels.numpy()[rows], None, "score")
        >>> values, order, sure = align(file, digits)
        >>> values[:3].tolist(), order, sure
        ([0.0, 1.0, 2.0], 'class', True)
    """
    own = data.labels.numpy()
    if len(found.values) != data.n:
        raise Refused(
            f"{what} has {len(found.values):,} rows, {data.name} has {data.n:,} examples; it is "
            "of other data, or of another split"
        )
    places = {"data": np.arange(data.n), "class": np.argsort(own, kind="stable")}
    if found.index is not None:
        if not np.array_equal(np.sort(found.index), places["data"]):
            raise Refused(f"{what}: its indices are not 0 to {data.n - 1}, each once")
        places["index"] = found.index
    if order is None:
        order = _proved(found, own, places, what)
    if order not in places:
        raise UsageError(f"{what} has no column of indices; give --order data or class")
    place = places[order]
    if found.labels is not None and (wrong := int((own[place] != found.labels).sum())):
        fits = [name for name, p in places.items() if np.array_equal(own[p], found.labels)]
        hint = f"--order {fits[0]} fits" if fits else "it is of other data or of another order"
        raise Refused(
            f"{what}: in the order {order!r} {wrong:,} of its {data.n:,} labels are not those of "
            f"{data.name}; {hint}"
        )
    values = np.empty(data.n, np.float64)
    values[place] = found.values
    return values, order, found.labels is not None


def import_scores(
    path: Path | str,
    data: "Data",
    *,
    name: str,
    high: High,
    order: Order | None = None,
    column: str | None = None,
    labels: str | None = None,
) -> Scores:
    """Read a published score file as a table in which high is kept first.

    Args:
        path: .npy, .npz, .csv or .tsv.
        data: what the scores are of.
        name: what the score is to be called.
        high: what a high value means in the file; of "easy" ones the sign is turned.
        order: see `align`.
        column: see `read_published`.
        labels: see `read_published`.

    Raises:
        UsageError: values that are not finite; and as `read_published` and `align`.
        Refused: it is of other data.

    Example:
        >>> import tempfile
        >>> from datapruner import open_data
        >>> digits, path = open_data("digits"), Path(tempfile.mkdtemp()) / "c.npy"
        >>> np.save(path, np.linspace(0, 1, digits.n))
        >>> table = import_scores(path, digits, name="c_score", high="easy", order="data")
        >>> float(table["c_score"][-1])
        -1.0
    """
    found = read_published(path, column, labels)
    values, order, checked = align(found, data, order, str(path))
    if (bad := ~np.isfinite(values) & data.readable.numpy()).any():
        raise UsageError(
            f"{path}: {int(bad.sum()):,} values are not finite, first that of example "
            f"{int(bad.argmax())}; a score needs a number for each"
        )
    if high == "easy":
        values = -values
    made: dict[str, Any] = {
        "imported": Path(path).name,
        "content": fingerprint(found.values),
        "column": found.column,
        "order": order,
        "order_checked_by_labels": checked,
        "high_in_the_file": high,
    }
    meta = {"data": data.name, "fingerprint": data.fingerprint, "classes": list(data.classes)}
    flags = {} if data.readable.all() else {"unreadable": ~data.readable.numpy()}
    return Scores({name: values}, data.labels, flags=flags, meta=meta | {"scores": {name: made}})


def hardness_hint(values: NDArray, data: "Data", most: int = 20_000) -> float | None:
    """Return how the values go with a rough difficulty that the labels and the data give.

    The difficulty is how much nearer an example lies to the mean of another class than to that of
    its own, in pixels at most 16 by 16 or in features. It is weak, but over thousands of examples
    its sign is plain: a clearly negative correlation says that high means easy.

    Args:
        values: (n,), high said to be hard.
        data: held in memory, else there is no hint.
        most: examples looked at, evenly spaced.

    Returns:
        The rank correlation, or None where it cannot be told from chance (three standard errors).
    """
    import torch

    if data.x is None or not (data.x.is_floating_point() or data.x.dtype == torch.uint8):
        return None
    rows = data.readable.nonzero().flatten()
    rows = rows[:: max(1, len(rows) // most)]
    x, y = data.x[rows].float(), data.labels[rows]
    if x.ndim == 4:
        side = min(16, *x.shape[2:])
        x = torch.nn.functional.adaptive_avg_pool2d(x, side)
    x = x.flatten(1)
    x = (x - x.mean(0)) / x.std(0).clamp_min(1e-6)
    present = y.unique()
    means = torch.stack([x[y == c].mean(0) for c in present])
    far = torch.cdist(x, means)
    own = torch.searchsorted(present, y)[:, None]
    other = far.scatter(1, own, float("inf")).amin(1)
    if len(present) < 2:
        return None
    hint = spearman(values[rows.numpy()], (far.gather(1, own)[:, 0] - other).numpy())
    return hint if abs(hint) > 3 / len(rows) ** 0.5 else None


def _proved(
    found: Published, own: NDArray[np.int64], places: dict[str, NDArray[np.int64]], what: str
) -> Order:
    """Find the order in which the labels of the file are those of the data."""
    if "index" in places:
        return "index"
    if found.labels is None:
        raise UsageError(
            f"{what} carries neither labels nor indices, so its order has to be given: --order "
            "data where row i is example i, --order class where rows are sorted by class"
        )
    if np.array_equal(own[places["class"]], found.labels):
        return "class" if not np.array_equal(own, found.labels) else "data"
    return "data"


def _named(
    columns: dict[str, NDArray], wanted: str | None, usual: tuple[str, ...], path: Path
) -> str | None:
    if wanted is not None:
        if wanted not in columns:
            raise UsageError(f"{path} has no column {wanted!r}; {suggest(wanted, columns)}")
        return wanted
    numbers = [c for c in columns if is_number(columns[c])]
    return next((c for c in numbers if c.lower() in usual), None)


def _whole(column: NDArray, name: str, path: Path) -> NDArray[np.int64]:
    if is_number(column) and np.isfinite(column).all():
        whole: NDArray[np.int64] = column.astype(np.int64)
        if (whole == column).all():
            return whole
    raise UsageError(f"{path}: column {name!r} does not hold whole numbers")
