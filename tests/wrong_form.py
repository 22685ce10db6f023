"""Wrong forms of the scorers, where they circulate, and what each one changes.

One list for two readers: the tests hold every outcome to what is written here, and
benchmarks/conformance.py prints the table. `outcome` is
  "order"     another order: other examples are kept
  "reversed"  the order from the other end
  "values"    the same order, other values: harmless in one record, not across programs or seeds
"""

from collections.abc import Callable
from typing import NamedTuple

from scipy.stats import spearmanr
from torch import Tensor
from toy_record import TRACES, Sources, Toy, auc, call, with_holes

from scorers import SCORERS as S

KEPT = 0.3


class Wrong(NamedTuple):
    """A wrong form of a scorer, and where it was seen; `holes` compares with unvisited cells."""

    scorer: str
    form: str
    outcome: str
    score: Callable[[Sources], Tensor]
    holes: bool = False
    seen: str = ""


class Measured(NamedTuple):
    """What a wrong form does: correlation with the right one, flipped labels, kept examples."""

    spearman: float
    auc_right: float
    auc_wrong: float
    overlap: float


def measure(wrong: Wrong, toy: Toy) -> Measured:
    """Run both forms on one record; `overlap` is the share of the top 30 % that they agree on."""
    sources = {k: with_holes(v) if wrong.holes and k in TRACES else v for k, v in toy[0].items()}
    right, other = call(S[wrong.scorer], sources).double(), wrong.score(sources).double()
    top = [set(s.argsort(descending=True, stable=True).tolist()[: _k(s)]) for s in (right, other)]
    return Measured(
        float(spearmanr(right, other).statistic),
        auc(right, toy.flipped),
        auc(other, toy.flipped),
        len(top[0] & top[1]) / len(top[0]),
    )


def _k(score: Tensor) -> int:
    return round(KEPT * len(score))
