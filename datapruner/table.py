"""Scores: the table of scores, one row an example, and its file."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import PrunerError, Refused, UsageError, suggest
from .files import whole_file
from .provenance import Known, refuse_other_data

_KEY = b"datapruner"
_FORMAT = "datapruner scores 1"

Column = NDArray[np.float32]


class NoSuchScore(UsageError, KeyError):
    """A score that the table does not have; also a KeyError, as of any mapping."""

    __str__ = Exception.__str__


class Scores(Mapping[str, Column]):
    """Scores by name, aligned with the full training set; high is kept first by rule `top`.

    Args:
        scores: name -> (n,) numbers; NaN for examples that were not scored.
        labels: (n,) whole numbers, or None where they are not known.
        flags: name -> (n,) bool; "unreadable" marks examples that do not decode, "suspect_label"
            those whose label is probably wrong.
        runs: name -> (runs, n), the values of each run that a mean was taken over.
        errors: name -> (n,) standard error of the score.
        suggested: (n,) the label that the networks which judged the labels would give; None where
            nothing judged them.
        meta: what the scores are of and how they were made, JSON through and through:
            "fingerprint" and "data" (name), "classes", "versions", and "scores" by name.

    Raises:
        UsageError: columns of different lengths, or none.

    Example:
        >>> table = Scores({"aum": [0.5, -1.0]}, labels=[0, 1])
        >>> table["aum"].tolist(), "el2n" in table, list(table)
        ([0.5, -1.0], False, ['aum'])
    """

    def __init__(
        self,
        scores: Mapping[str, ArrayLike],
        labels: ArrayLike | None = None,
        *,
        flags: Mapping[str, ArrayLike] | None = None,
        runs: Mapping[str, ArrayLike] | None = None,
        errors: Mapping[str, ArrayLike] | None = None,
        suggested: ArrayLike | None = None,
        meta: Mapping[str, Any] | None = None,
    ) -> None:
        self._columns = {name: np.asarray(v, np.float32) for name, v in scores.items()}
        self.labels = None if labels is None else np.asarray(labels, np.int64)
        self.flags = {name: np.asarray(v, bool) for name, v in (flags or {}).items()}
        self.runs = {name: np.asarray(v, np.float32) for name, v in (runs or {}).items()}
        self._errors = {name: np.asarray(v, np.float32) for name, v in (errors or {}).items()}
        self.suggested = None if suggested is None else np.asarray(suggested, np.int64)
        self.meta: dict[str, Any] = dict(meta or {})
        if not self._columns:
            raise UsageError("a table needs at least one score")
        self.n = len(next(iter(self._columns.values())))
        single = [*self._columns.values(), *self.flags.values(), *self._errors.values()]
        single += [labels for labels in (self.labels, self.suggested) if labels is not None]
        if any(c.shape != (self.n,) for c in single) or any(
            c.ndim != 2 or c.shape[1] != self.n for c in self.runs.values()
        ):
            raise UsageError(f"all columns must have the length of the first score, {self.n:,}")

    def __getitem__(self, name: str) -> Column:
        if name not in self._columns:
            raise NoSuchScore(f"no score {name!r} in the table; {suggest(name, self._columns)}")
        return self._columns[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)

    def __repr__(self) -> str:
        return f"Scores({', '.join(self)}; {self.n:,} examples)"

    @property
    def readable(self) -> NDArray[np.bool_]:
        """(n,) bool: the examples that may be kept; what `keep` takes as `readable`."""
        return ~self.flags.get("unreadable", np.zeros(self.n, bool))

    @property
    def fingerprint(self) -> str | None:
        """Fingerprint of the data that were scored, or None where it is not known."""
        return self.meta.get("fingerprint") or None

    def spread(self, name: str) -> Column | None:
        """Return the standard error (n,) of a score, or None where one run is all there was.

        Over R runs it is their sample deviation over sqrt(R).

        Example:
            >>> Scores({"aum": [2.0]}, runs={"aum": [[1.0], [3.0]]}).spread("aum").tolist()
            [1.0]
        """
        self[name]  # an unknown name is an error, not None
        if name in self._errors:
            return self._errors[name]
        runs = self.runs.get(name)
        if runs is None or len(runs) < 2:
            return None
        error: Column = (runs.std(0, ddof=1, dtype=np.float64) / len(runs) ** 0.5).astype(
            np.float32
        )
        return error

    def about(self, name: str) -> dict[str, Any]:
        """Return what a selection by this score should say of it; `keep(..., about=...)`.

        Example:
            >>> Scores({"aum": [2.0]}, meta={"fingerprint": "00ff"}).about("aum")
            {'score': 'aum', 'made': {}, 'fingerprint': '00ff', 'data': None}
        """
        self[name]
        return {
            "score": name,
            "made": self.meta.get("scores", {}).get(name, {}),
            "fingerprint": self.fingerprint,
            "data": self.meta.get("data"),
        }

    def merge(self, other: "Scores") -> "Scores":
        """Return a table with the scores of both; of a score in both, the other's.

        Raises:
            Refused: they are of different data.

        Example:
            >>> list(Scores({"aum": [1.0]}).merge(Scores({"loss": [2.0]})))
            ['aum', 'loss']
        """
        same = self.n == other.n and self.fingerprint == other.fingerprint
        if self.labels is not None and other.labels is not None and same:
            same = bool((self.labels == other.labels).all())
        if not same:
            raise Refused(
                f"the tables are of different data ({self.fingerprint}, {self.n:,} examples; "
                f"{other.fingerprint}, {other.n:,}) and cannot be put together; score one anew"
            )
        made = dict(other.meta.get("scores", {}))
        if other.meta.get("versions") != self.meta.get("versions"):
            made = {k: v | {"versions": other.meta.get("versions")} for k, v in made.items()}
        kept = [name for name in self if name not in other]
        return Scores(
            {**self, **other},
            self.labels if other.labels is None else other.labels,
            flags=self.flags | other.flags,
            runs={k: self.runs[k] for k in kept if k in self.runs} | other.runs,
            errors={k: self._errors[k] for k in kept if k in self._errors} | other._errors,
            suggested=self.suggested if other.suggested is None else other.suggested,
            meta=other.meta | self.meta | {"scores": self.meta.get("scores", {}) | made},
        )

    def save(self, path: Path | str) -> None:
        """Write a Parquet file, whole or not at all: one row an example.

        Columns: index, label, score.NAME, stderr.NAME, run.SEED.NAME, flag.NAME, suggested_label;
        `meta` as JSON in the file's metadata under "datapruner".

        Example:
            >>> import tempfile
            >>> path = Path(tempfile.mkdtemp()) / "scores.parquet"
            >>> Scores({"aum": [0.5, -1.0]}).save(path)
            >>> Scores.load(path)["aum"].tolist()
            [0.5, -1.0]
        """
        import pyarrow as pa
        from pyarrow import parquet

        columns: dict[str, NDArray] = {"index": np.arange(self.n)}
        columns |= {} if self.labels is None else {"label": self.labels}
        columns |= {f"score.{name}": values for name, values in self.items()}
        spreads = {name: self.spread(name) for name in self}
        columns |= {f"stderr.{k}": error for k, error in spreads.items() if error is not None}
        for name, runs in self.runs.items():
            seeds = self.meta.get("scores", {}).get(name, {}).get("seeds", range(len(runs)))
            columns |= {f"run.{s}.{name}": v for s, v in zip(seeds, runs, strict=True)}
        columns |= {f"flag.{name}": values for name, values in self.flags.items()}
        columns |= {} if self.suggested is None else {"suggested_label": self.suggested}
        text = json.dumps({"format": _FORMAT} | self.meta, default=str)
        table = pa.table(columns).replace_schema_metadata({_KEY: text.encode()})
        with whole_file(path) as temporary:
            parquet.write_table(
                table,
                temporary,
                use_dictionary=False,
                compression="zstd",
                write_page_checksum=True,
            )

    @classmethod
    def load(cls, path: Path | str, data: Known | None = None) -> "Scores":
        """Read a table that `save` wrote.

        Args:
            path: the Parquet file.
            data: the data it is to be used with; None checks nothing.

        Raises:
            PrunerError: no such file, a damaged one, or one that is no table of scores.
            Refused: it is of other data.
        """
        meta, columns = _read(Path(path))
        n = len(columns["index"])
        if (columns["index"] != np.arange(n)).any():
            raise PrunerError(f"{path}: its rows are not in the order of the data; score anew")
        refuse_other_data(str(path), meta.get("fingerprint") or None, n, data)
        runs: dict[str, list[NDArray]] = {}
        for column in columns:
            if column.startswith("run."):
                runs.setdefault(column.split(".", 2)[2], []).append(columns[column])
        scores = cls(
            _starting(columns, "score."),
            columns.get("label"),
            flags=_starting(columns, "flag."),
            runs={name: np.stack(values) for name, values in runs.items()},
            errors=_starting(columns, "stderr."),
            suggested=columns.get("suggested_label"),
            meta=meta,
        )
        own, theirs = scores.labels, getattr(data, "labels", None)
        if own is not None and theirs is not None and (own != np.asarray(theirs)).any():
            raise Refused(f"{path}: its labels are not those of the data; score these anew")
        return scores


def _read(path: Path) -> tuple[dict[str, Any], dict[str, NDArray]]:
    """Return the metadata and the columns of a file of ours."""
    import pyarrow as pa
    from pyarrow import parquet

    if not path.is_file():
        hint = f"; did you mean {path / 'scores.parquet'}?" if path.is_dir() else "; check the path"
        raise PrunerError(f"{path}: no such file{hint}")
    try:
        table = parquet.ParquetFile(path, page_checksum_verification=True).read()
        text = (table.schema.metadata or {}).get(_KEY)
        meta = {} if text is None else json.loads(text)
        # copies, because Arrow's memory cannot be written to
        columns = {name: np.array(table[name].to_numpy()) for name in table.column_names}
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = str(error).splitlines()[0][:200]
        raise PrunerError(f"{path}: damaged or no Parquet file ({reason}); score anew") from None
    if meta.pop("format", None) != _FORMAT or not _starting(columns, "score."):
        raise PrunerError(f"{path}: a Parquet file, but not a table of scores that score wrote")
    return meta, columns


def _starting(columns: Mapping[str, NDArray], start: str) -> dict[str, NDArray]:
    return {k.removeprefix(start): v for k, v in columns.items() if k.startswith(start)}
