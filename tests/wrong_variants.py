"""Wrong forms of the scorers, where they circulate, and what each one changes.

One list for two readers: the tests hold every outcome to what is written here, and
benchmarks/conformance.py prints the table. `outcome` is
  "order"     another order: other examples are kept
  "reversed"  the order from the other end
  "values"    the same order, other values: harmless in one record, not across programs or seeds
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
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


def _sum(trace: Tensor) -> Tensor:
    return trace.nan_to_num(0.0).sum(0)


def _probability(sources: Sources) -> Tensor:
    return torch.exp(-sources["loss"])


def _windows(sources: Sources) -> Tensor:
    return _probability(sources).unfold(0, 10, 1)


def _event_counts(margin: Tensor, first_counts: bool = False) -> Tensor:
    """Events between neighbouring rows, whoever was visited; a NaN compares as wrong."""
    right = margin > 0
    events = (right[:-1] & ~right[1:]).sum(0) + (~right[0] if first_counts else 0)
    return events.where(right.any(0), (~margin.isnan()).sum(0))


def _earliest_right(margin: Tensor) -> Tensor:
    right = margin > 0
    return right.double().argmax(0).where(right.any(0), len(margin))


def _tdds_first_window_only(shift: Tensor) -> Tensor:
    first = shift[1:10]
    return (first - first.mean(0)).norm(dim=0)


def _tdds_plain_mean(shift: Tensor) -> Tensor:
    parts = shift[1:].unfold(0, 9, 1)
    return (parts - parts.mean(2, keepdim=True)).norm(dim=2).mean(0)


def _batch_mean_gradient(sources: Sources) -> Tensor:
    """The gradient of a batch mean, read per example: the short last batch is inflated."""
    place, n = torch.arange(len(sources["grad_norm"])), len(sources["grad_norm"])
    return sources["grad_norm"] / torch.where(place < n - n % 128, 128, n % 128)


def _train_share(sources: Sources) -> Tensor:
    member, correct = sources["member"], sources["correct"]
    return (member & correct).sum(0) / member.sum(0)


def _class_centres(sources: Sources) -> Tensor:
    rows, labels = torch.nn.functional.normalize(sources["embedding"]), sources["labels"]
    centres = torch.stack([rows[labels == c].mean(0) for c in labels.unique()])
    return 1 - (rows * torch.nn.functional.normalize(centres)[labels]).sum(1)


def _top2(probs: Tensor) -> Tensor:
    return probs.topk(2, 1).values @ torch.tensor([1.0, -1.0])


def _moderate_of_means(sources: Sources) -> Tensor:
    rows, labels = sources["embedding"], sources["labels"]
    means = torch.stack([rows[labels == c].mean(0) for c in labels.unique()])
    distance = (rows - means[labels]).norm(dim=1)
    return -(distance - distance.median()).abs()


def _ladder(picks: list[int]) -> Tensor:
    score = torch.empty(len(picks))
    score[torch.tensor(picks)] = torch.arange(len(picks), 0, -1.0)
    return score


def _farthest_first(apart: Tensor, first: int) -> Tensor:
    nearest, picks = apart[first].clone(), [first]
    while len(picks) < len(apart):
        nearest[picks] = -1
        picks.append(int(nearest.argmax()))
        nearest = torch.minimum(nearest, apart[picks[-1]])
    return _ladder(picks)


def _kcenter_from_row_0(sources: Sources) -> Tensor:
    return _farthest_first(torch.cdist(sources["embedding"], sources["embedding"]), 0)


def _one_sided(sources: Sources) -> Tensor:
    p = sources["probs"].double().clamp(min=1e-7)
    apart = (p * p.log()).sum(1)[None] - p.log() @ p.T
    return _farthest_first(apart, int(((p - p.mean(0)) * (p / p.mean(0)).log()).sum(1).argmin()))


def _herding_farthest(sources: Sources) -> Tensor:
    x = torch.nn.functional.normalize(sources["embedding"].double())
    rest, picks = x.mean(0), []
    while len(picks) < len(x):
        gap = (x - rest).norm(dim=1)
        gap[picks] = -1
        picks.append(int(gap.argmax()))
        rest = rest + x.mean(0) - x[picks[-1]]
    return _ladder(picks)


def _without_ridge(sources: Sources) -> Tensor:
    return call(S["log_det"], sources, ridge=1e-6)


def _cal_other_way(sources: Sources) -> Tensor:
    p = sources["probs"].double().clamp(min=1e-12)
    apart = torch.cdist(sources["embedding"], sources["embedding"]).fill_diagonal_(math.inf)
    near = apart.topk(10, largest=False).indices
    return (p * p.log()).sum(1) - (p * p.log()[near].mean(1)).sum(1)


WRONG = [
    Wrong("el2n", "lowest kept first", "reversed", lambda s: -S["el2n"](s["error_norm"])),
    Wrong(
        "el2n", "1 - p_y for the norm of the error", "order", lambda s: S["confidence"](s["loss"])
    ),
    Wrong(
        "el2n",
        "sum over visits, when visits differ",
        "order",
        lambda s: _sum(s["error_norm"]),
        holes=True,
        seen="CCS, D2",
    ),
    Wrong(
        "forgetting",
        "never learned counts 0",
        "order",
        lambda s: S["forgetting"](s["margin"], never_learned="zero"),
        seen="DeepCore, CCS, DUAL, DRoP, dPrune",
    ),
    Wrong(
        "forgetting",
        "a wrong first visit is an event",
        "order",
        lambda s: _event_counts(s["margin"], first_counts=True),
    ),
    Wrong(
        "forgetting",
        "neighbouring epochs instead of own visits",
        "order",
        lambda s: _event_counts(s["margin"]),
        holes=True,
    ),
    Wrong(
        "aum", "the paper's sign, highest kept first", "reversed", lambda s: -S["aum"](s["margin"])
    ),
    Wrong(
        "aum",
        "probabilities for logits",
        "order",
        lambda s: call(S["aum_probability"], s),
        seen="CCS, D2, DUAL, DataCull",
    ),
    Wrong("aum", "last epoch only", "order", lambda s: -s["margin"][-1], seen="DUAL"),
    Wrong(
        "aum",
        "sum over visits, when visits differ",
        "order",
        lambda s: -_sum(s["margin"]),
        holes=True,
        seen="CCS, D2, DataCull",
    ),
    Wrong(
        "loss",
        "sum over visits, when visits differ",
        "order",
        lambda s: _sum(s["loss"]),
        holes=True,
    ),
    Wrong("loss", "last epoch only", "order", lambda s: s["loss"][-1]),
    Wrong(
        "entropy",
        "lowest kept first",
        "reversed",
        lambda s: -S["entropy"](s["entropy"]),
        seen="DeepCore, one branch",
    ),
    Wrong(
        "entropy",
        "scores saved in sorted order",
        "order",
        lambda s: S["entropy"](s["entropy"]).sort().values,
        seen="TDDS, of its own scores",
    ),
    Wrong(
        "least_confidence",
        "p_y for the largest p",
        "order",
        lambda s: S["confidence"](s["loss"]),
    ),
    Wrong(
        "least_confidence",
        "arg-min for arg-max: the sure kept first",
        "reversed",
        lambda s: -call(S["least_confidence"], s),
        seen="DeepCore, one branch",
    ),
    Wrong("top2_margin", "p1 - p2 kept highest first", "reversed", lambda s: _top2(s["probs"])),
    Wrong("top2_margin", "the label's margin instead", "order", lambda s: -s["margin"][-1]),
    Wrong(
        "confidence", "exp of the mean loss", "order", lambda s: 1 - torch.exp(-s["loss"].mean(0))
    ),
    Wrong("confidence", "the paper's sign", "reversed", lambda s: _probability(s).mean(0)),
    Wrong(
        "variability",
        "sample for population deviation",
        "values",
        lambda s: _probability(s).double().std(0, correction=1),
    ),
    Wrong("variability", "spread of the logit margin", "order", lambda s: s["margin"].std(0)),
    Wrong(
        "correctness", "the paper's sign", "reversed", lambda s: (s["margin"] > 0).double().mean(0)
    ),
    Wrong(
        "correctness",
        "an unvisited epoch counts as wrong",
        "order",
        lambda s: (~(s["margin"] > 0)).double().mean(0),
        holes=True,
    ),
    Wrong("first_learned", "first time right", "order", lambda s: _earliest_right(s["margin"])),
    Wrong(
        "dyn_unc",
        "population for sample deviation",
        "values",
        lambda s: _windows(s).double().std(2, correction=0).mean(0),
        seen="extrapolated-scores",
    ),
    Wrong("dyn_unc", "one window over the whole run", "order", lambda s: _probability(s).std(0)),
    Wrong(
        "dyn_unc",
        "deviation of the window means",
        "order",
        lambda s: _windows(s).mean(2).std(0),
    ),
    Wrong(
        "dual",
        "mean p_y for 1 - mean p_y",
        "order",
        lambda s: (_windows(s).std(2) * _windows(s).mean(2)).mean(0),
    ),
    Wrong(
        "dual",
        "mean of each factor, then the product",
        "order",
        lambda s: _windows(s).std(2).mean(0) * (1 - _probability(s).mean(0)),
    ),
    Wrong(
        "tdds",
        "every window is the first",
        "order",
        lambda s: _tdds_first_window_only(s["shift"]),
        seen="a copy in DUAL",
    ),
    Wrong("tdds", "plain mean over windows", "order", lambda s: _tdds_plain_mean(s["shift"])),
    Wrong(
        "rho_loss", "the holdout loss kept, not taken away", "order", lambda s: s["loss"].mean(0)
    ),
    Wrong("grand", "gradient of a batch mean", "order", _batch_mean_gradient),
    Wrong("grand_last_layer", "the error alone", "order", lambda s: s["error_norm"].mean(0)),
    Wrong(
        "vog",
        "no class normalisation",
        "order",
        lambda s: s["input_gradient_variance"],
        seen="the authors' demonstration",
    ),
    Wrong("deepfool", "farthest kept first", "reversed", lambda s: s["boundary_distance"]),
    Wrong("memorization", "training accuracy alone", "order", _train_share),
    Wrong(
        "influence",
        "accuracy of the runs with it alone, runs summed",
        "order",
        lambda s: s["member"].double().T @ s["test_correct"].double().mean(1),
    ),
    Wrong(
        "ddd",
        "networks that trained on it are asked too",
        "order",
        lambda s: call(S["ddd"], s, held_out=False),
    ),
    Wrong(
        "prototypes",
        "L2 of raw features for cosine",
        "order",
        lambda s: S["prototypes"](s["embedding"], spherical=False),
    ),
    Wrong("prototypes", "class means for clusters", "order", _class_centres),
    Wrong(
        "prototypes",
        "similarity kept highest first",
        "reversed",
        lambda s: -call(S["prototypes"], s),
    ),
    Wrong(
        "class_prototypes",
        "similarity kept highest first",
        "reversed",
        lambda s: -call(S["class_prototypes"], s),
    ),
    Wrong(
        "class_prototypes",
        "L2 of raw features for cosine",
        "order",
        lambda s: call(S["class_prototypes"], s, spherical=False),
    ),
    Wrong(
        "moderate",
        "the complement of the band kept",
        "reversed",
        lambda s: -call(S["moderate"], s),
        seen="D2",
    ),
    Wrong("moderate", "class means for medians", "order", _moderate_of_means),
    Wrong(
        "moderate",
        "a band of ranks for a band of distances",
        "order",
        lambda s: call(S["moderate"], s, band="mass"),
        seen="the authors' release",
    ),
    Wrong("kcenter", "starts from the first row", "order", _kcenter_from_row_0),
    Wrong("herding", "farthest from the residual", "order", _herding_farthest),
    Wrong(
        "graph_cut",
        "each pair of picks counted once",
        "order",
        lambda s: call(S["graph_cut"], s, redundancy=0.2),
    ),
    Wrong(
        "facility_location",
        "a graph of few neighbours for all pairs",
        "order",
        lambda s: call(S["facility_location"], s, neighbours=5),
    ),
    Wrong("log_det", "the longest unexplained rest, no ridge", "order", _without_ridge),
    Wrong(
        "duplicates",
        "likeness kept highest first",
        "reversed",
        lambda s: -call(S["duplicates"], s),
    ),
    Wrong(
        "duplicates",
        "the nearest to the centre stays",
        "order",
        lambda s: call(S["duplicates"], s, first="near"),
    ),
    Wrong("contextual_diversity", "one-sided divergence", "order", _one_sided),
    Wrong("cal", "lowest kept first", "reversed", lambda s: -call(S["cal"], s), seen="DeepCore"),
    Wrong("cal", "KL(example || neighbour)", "order", _cal_other_way),
]
