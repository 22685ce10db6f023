"""From scores to a subset: keep() spends a budget by a rule, Selection is what comes out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from .budget import EVERYONE, Classes, Spender, keep_per_class, keep_with_floor
from .checks import (
    choose_rule,
    ranked_by_a_greedy_scorer,
    refuse_odd_shares,
    shares_of_classes,
    size_of_budget,
    usable_scores,
    whole_number,
)
from .errors import PrunerError, Refused, UsageError
from .export import export
from .files import read_json, whole_folder, write_json
from .provenance import Known, fingerprint, refuse_other_data
from .rules import TIES, Rule

_FORMAT = "datapruner selection 1"


@dataclass(frozen=True, eq=False, repr=False)
class Selection:
    """The examples that are kept, by their indices in the full training set.

    Args:
        indices: (k,) int64, ascending, each once.
        n: size of the full set.
        weights: (k,) float32 aligned with indices, mean 1; None = every example counts the same.
        meta: how it was made, JSON through and through; "fingerprint" is that of the data.

    Raises:
        UsageError: indices out of order or out of range, or weights that do not fit.

    Example:
        >>> Selection(torch.tensor([0, 2]), n=4)
        Selection(2 of 4)
    """

    indices: Tensor
    n: int
    weights: Tensor | None = None
    meta: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        i, w = self.indices, self.weights
        if i.ndim != 1 or i.dtype != torch.int64:
            raise UsageError(f"indices must be (k,) int64, got {tuple(i.shape)} {i.dtype}")
        if len(i) and (i[0] < 0 or i[-1] >= self.n or bool((i[1:] <= i[:-1]).any())):
            raise UsageError(f"indices must ascend within 0 .. {self.n - 1}, each once; sort them")
        if w is None:
            return
        if w.shape != i.shape or w.dtype != torch.float32 or not bool((w >= 0).all()):
            raise UsageError(f"weights must be {tuple(i.shape)} float32, none negative or NaN")
        if len(w) and abs(float(w.double().mean()) - 1) > 1e-3:
            raise UsageError(f"weights must have mean 1, not {float(w.double().mean()):g}")

    def __len__(self) -> int:
        return len(self.indices)

    def __repr__(self) -> str:
        rule = f" by {self.meta['rule']}" if "rule" in self.meta else ""
        return f"Selection({len(self):,} of {self.n:,}{rule})"

    @property
    def fingerprint(self) -> str:
        """16 hex digits over n, indices and weights: the same subset has the same fingerprint.

        Example:
            >>> len(Selection(torch.tensor([0, 2]), n=4).fingerprint)
            16
        """
        arrays = [np.array(self.n), self.indices.numpy()]
        return fingerprint(*arrays, *([] if self.weights is None else [self.weights.numpy()]))

    def save(self, folder: Path | str) -> None:
        """Write selection.json, indices.npy and, where there are any, weights.npy.

        Saving the same selection of the same data again changes nothing.

        Raises:
            Refused: the folder holds something else.

        Example:
            >>> import tempfile
            >>> folder = Path(tempfile.mkdtemp()) / "half"
            >>> Selection(torch.tensor([0, 2]), n=4).save(folder)
            >>> Selection.load(folder).indices
            tensor([0, 2])
        """
        folder = Path(folder)
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            self._refuse_unless_there(folder)
            return
        head = {"format": _FORMAT, "selection": self.fingerprint, "n": self.n}
        with whole_folder(folder) as temporary:
            write_json(temporary / "selection.json", head | self.meta)
            np.save(temporary / "indices.npy", self.indices.numpy())
            if self.weights is not None:
                np.save(temporary / "weights.npy", self.weights.numpy())

    def _refuse_unless_there(self, folder: Path) -> None:
        try:
            there = Selection.load(folder)
        except PrunerError:
            what = "something that is no whole selection"
        else:
            if (there.fingerprint, there.meta.get("fingerprint")) == (
                self.fingerprint,
                self.meta.get("fingerprint"),
            ):
                return
            what = f"another selection ({len(there):,} of {there.n:,})"
        raise Refused(f"{folder}: holds {what}; choose another place, or remove it first")

    @classmethod
    def load(cls, folder: Path | str, data: Known | None = None) -> "Selection":
        """Read a selection that `save` wrote.

        Args:
            folder: where it lies.
            data: the data it is to be used with; None checks nothing.

        Raises:
            PrunerError: a file is missing or damaged; says which.
            Refused: it was made for other data.
        """
        folder = Path(folder)
        head = read_json(folder / "selection.json")
        if not isinstance(head, dict) or head.pop("format", None) != _FORMAT:
            raise PrunerError(f"{folder / 'selection.json'}: not a selection that keep wrote")
        found, n = head.pop("selection", None), head.pop("n", None)
        indices = _read_array(folder / "indices.npy")
        weights = folder / "weights.npy"
        try:
            selection = cls(indices, n, _read_array(weights) if weights.exists() else None, head)
            whole = selection.fingerprint == found
        except (UsageError, TypeError):
            whole = False
        if not whole:
            raise PrunerError(f"{folder}: its arrays and selection.json differ; keep again")
        refuse_other_data(str(folder), head.get("fingerprint"), n, data)
        return selection

    def export(
        self, path: Path | str, kind: str | None = None, ids: Sequence[str] | None = None
    ) -> None:
        """Write the kept ids for other tools; see `datapruner.export.export` for the kinds.

        Args:
            path: where to write.
            kind: "text", "csv" or "datacomp"; None goes by the ending: .txt, .csv, .npy.
            ids: (n,) what each example of the full set is called; None for its index.

        Raises:
            UsageError: ids of another length, an unknown kind, or weights where there is no room.
        """
        if ids is not None and len(ids) != self.n:
            raise UsageError(f"ids must name all {self.n:,} examples, got {len(ids):,}")
        kept = self.indices.tolist()
        names = [str(i) if ids is None else ids[i] for i in kept]
        export(path, kept, names, None if self.weights is None else self.weights.tolist(), kind)


def keep(
    scores: ArrayLike | Tensor,
    fraction: float | None = None,
    *,
    k: int | None = None,
    rule: str | Rule = "top",
    labels: ArrayLike | Tensor | None = None,
    per_class: bool = False,
    class_floor: float = 0.0,
    class_shares: ArrayLike | Tensor | None = None,
    calibrate: float = 0.0,
    seed: int = 0,
    offset: float = 0.0,
    beta: float = 0.0,
    strata: int = 50,
    readable: ArrayLike | Tensor | None = None,
    about: Mapping[str, Any] | None = None,
) -> Selection:
    """Keep a share of the examples by their scores; high is kept first by rule `top`.

    The size is exact: round(fraction * readable examples), halves to the even number, at least 1.
    Equal scores are ordered by a seeded hash, the same on every machine; see `meta["ties"]`.

    Rules: `top`, `bottom`, `middle` (around the median), `window` (leave out the `offset` share of
    the highest, then top), `ccs` (cut the `beta` share of the highest, then draw evenly from
    `strata` score strata), `random`, `proportional` (drawn one after another by score); or a
    function (scores, k, generator) -> k places in `scores`.

    Score-only pruning is inconsistent when little is kept (Ayed and Hayou 2023, arXiv 2302.06960):
    give `calibrate` then. It also empties classes (Sorscher et al. 2022 keep a floor of 0.5).

    Args:
        scores: (n,) finite; NaN only where `readable` is False.
        fraction: share of the readable examples to keep, in (0, 1]. Either this or `k`.
        k: how many to keep.
        rule: a name from `RULES`, or a function.
        labels: (n,) whole numbers; needed by the class options, else counted into `meta`.
        per_class: apply the rule inside each class, which keeps its share of k by largest
            remainder. `offset` and `beta` are then shares of the class.
        class_floor: every class keeps at least class_floor * fraction * its readable examples,
            rounded up while the budget lasts. A class that the rule leaves short is filled by the
            rule inside the class; the others share what is left.
        class_shares: (C,) what the budgets of the classes are proportional to, in the order of the
            labels: ones for equal parts, the classes' validation errors for DRoP (Vysogorets et
            al. 2024). A class smaller than its part is kept whole, the others share the rest, and
            the rule is applied inside each class.
        calibrate: share of k drawn uniformly from what the rule does not keep.
        seed: orders ties and makes the draws.
        offset: for `window`; at most 1 - fraction.
        beta: for `ccs`; at most 1 - fraction.
        strata: for `ccs`.
        readable: (n,) bool; False = never kept. None for all.
        about: facts about the scores to carry in `meta`; `Scores.about(name)` gives them.

    Returns:
        Selection: indices (k,) int64 ascending, no weights, and how it was made in `meta`.

    Raises:
        UsageError: scores that are not finite, or arguments that do not fit each other.

    Example:
        >>> keep([0.3, 0.9, 0.1, 0.7], fraction=0.5).indices
        tensor([1, 3])
        >>> keep([0.3, 0.9, 0.1, 0.7], k=2, labels=[0, 1, 0, 1], per_class=True).indices
        tensor([0, 1])
        >>> labels = [0, 0, 0, 1, 1, 1]
        >>> keep(range(6), k=4, labels=labels, class_shares=[0.3, 0.1]).indices
        tensor([0, 1, 2, 5])
    """
    values, pool = usable_scores(scores, readable)
    share, size = size_of_budget(fraction, k, len(pool))
    options = {"offset": offset, "beta": beta, "strata": strata}
    name, chosen, options = choose_rule(rule, options, share)
    refuse_odd_shares(class_floor=class_floor, calibrate=calibrate)
    if per_class and class_floor:
        raise UsageError("per_class keeps each class's full share already; leave out class_floor")
    if class_shares is not None and (per_class or class_floor):
        raise UsageError("class_shares says what each class keeps; leave out the other class words")
    if labels is None and (per_class or class_floor or class_shares is not None):
        raise UsageError("what is kept of a class needs labels; pass labels=data.labels")
    ranked = None if name == "random" else ranked_by_a_greedy_scorer(values[pool])
    spender = Spender(values, chosen, calibrate, whole_number("seed", seed), ranked)
    classes = None if labels is None else Classes.of(labels, pool, len(values))
    shares = None
    if classes is not None and class_shares is not None:
        shares = shares_of_classes(class_shares, len(classes.names))
    if classes is not None and (per_class or shares is not None):
        kept = keep_per_class(spender, classes, size, shares)
    elif classes is not None and class_floor:
        kept = keep_with_floor(spender, classes, size, class_floor * share)
    else:
        kept = spender.spend([(EVERYONE, pool)], np.array([size]))
    meta = dict(about or {}) | {
        "rule": name,
        "options": options,
        "fraction": None if fraction is None else share,
        "k": size,
        "readable": len(pool),
        "seed": spender.seed,
        "per_class": bool(per_class),
        "class_floor": float(class_floor),
        "class_shares": None if shares is None else shares.tolist(),
        "calibrate": float(calibrate),
        "class_counts": None if classes is None else classes.counts(kept),
        "ties": TIES,
        "rounding": "size half to even and at least 1; classes by largest remainder",
        "scores_fingerprint": fingerprint(values),
    }
    return Selection(torch.from_numpy(kept), len(values), meta=meta)


def _read_array(path: Path) -> Tensor:
    try:
        return torch.from_numpy(np.load(path, allow_pickle=False))
    except FileNotFoundError:
        raise PrunerError(f"{path}: no such file; the selection is not whole, keep again") from None
    except (ValueError, EOFError, OSError, TypeError) as error:
        raise PrunerError(f"{path}: damaged ({error}); keep again") from None
