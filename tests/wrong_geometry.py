"""Wrong forms of the scorers of an embedding, and of embeddings with predictions."""

import math

import torch
from torch import Tensor
from toy_record import Sources, call
from wrong_form import Wrong

from scorers import SCORERS as S


def _class_centres(sources: Sources) -> Tensor:
    rows, labels = torch.nn.functional.normalize(sources["embedding"]), sources["labels"]
    centres = torch.stack([rows[labels == c].mean(0) for c in labels.unique()])
    return 1 - (rows * torch.nn.functional.normalize(centres)[labels]).sum(1)


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
