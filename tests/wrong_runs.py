"""Wrong forms of the scorers of a recorded run: of traces, predictions and gradients."""

import torch
from torch import Tensor
from toy_record import Sources, call
from wrong_form import Wrong

from scorers import SCORERS as S


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


def _top2(probs: Tensor) -> Tensor:
    return probs.topk(2, 1).values @ torch.tensor([1.0, -1.0])


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
]
