"""Criteria: how important a weight is; the higher, the longer it is kept.

A criterion scores weights (`weights`), says how the scores of a unit's weights add up (`gather`),
and may compare units within a layer (`within`). A new one is one function and one line of
`CRITERIA`.
"""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, get_type_hints

import torch
import yaml
from torch import Tensor

from ..errors import UsageError, suggest
from ..seeds import generator
from ..typed import typed
from .criteria_gradients import diagonal, grad_x_weight, grasp, signed, snip, synflow, up
from .criteria_inputs import wanda
from .criteria_neighbours import lookahead
from .probe import Probe
from .units import Gather, Group, gathered

Weights = Callable[..., dict[str, Tensor]]


@dataclass(frozen=True)
class Criterion:
    """How weights are scored, high is kept.

    Attributes:
        weights: (Probe) -> a score for each weight of each parameter that is ranked; its
            keyword-only parameters are options.
        gather: how a unit's score is made of those of its weights; see `gathered`.
        within: of the scores of a group's units, what they are compared by instead.
        data: whether it needs examples.
        training: whether it is made of what happens in training, so that there is none before.
        rounds: it prunes in so many rounds, at densities d^(1/rounds), d^(2/rounds), ..., d.

    Example:
        >>> CRITERIA["snip"].data
        True
    """

    weights: Weights
    gather: Gather = "sum"
    within: Callable[[Group, Tensor], Tensor] | None = None
    data: bool = False
    training: bool = False
    rounds: int = 1


def magnitude(probe: Probe) -> dict[str, Tensor]:
    """Score by |w|; a unit by its Euclidean norm. The baseline that is hard to beat.

    Source: Han, Pool, Tran and Dally 2015.

    Example:
        >>> magnitude(Probe(torch.nn.Linear(1, 2), ("weight",)))["weight"].shape
        torch.Size([2, 1])
    """
    return {name: probe.model.get_parameter(name).detach().abs() for name in probe.names}


def random(probe: Probe) -> dict[str, Tensor]:
    """Score at random, uniform in [0, 1), by the seed alone.

    Source: Liu et al. 2022, who find random masks of good layer densities hard to beat in wide
    networks; the control of every other criterion.

    Example:
        >>> probe = Probe(torch.nn.Linear(1, 2), ("weight",), seed=3)
        >>> bool((random(probe)["weight"] == random(probe)["weight"]).all())
        True
    """
    scores = {}
    for position, name in enumerate(probe.names):
        weight = probe.model.get_parameter(name)
        source = generator(probe.seed, "random mask", position)
        scores[name] = torch.rand(weight.shape, generator=source).to(weight.device)
    return scores


def in_training(probe: Probe) -> dict[str, Tensor]:
    """Refuse: these scores are sums over training, which there has not been.

    Raises:
        UsageError: always.

    Example:
        >>> in_training(Probe(torch.nn.Linear(1, 2), ("weight",)))
        Traceback (most recent call last):
        ...
        datapruner.errors.UsageError: this criterion is made in training; use it in fit(masks=...)
    """
    raise UsageError("this criterion is made in training; use it in fit(masks=...)")


def layer_adaptive(group: Group, scores: Tensor) -> Tensor:
    """Return u² / Σ u'² over the units u' of the layer that are no smaller (LAMP).

    The largest unit of a layer scores 1, so a global threshold leaves no layer empty. Source: Lee,
    Park, Mo, Ahn and Shin 2021.

    Args:
        group: not used.
        scores: (count,) magnitudes.

    Example:
        >>> units = Group("w", (3, 1), 3, 1, ())
        >>> layer_adaptive(units, torch.tensor([1.0, 2.0, 2.0])).tolist()
        [0.1111111119389534, 0.5, 1.0]
    """
    squares, order = scores.double().square().sort(stable=True)
    rest = squares.flip(0).cumsum(0).flip(0)
    out = torch.zeros_like(squares)
    out[order] = squares / rest.clamp_min(torch.finfo(torch.float64).tiny)
    return out.float()


def rank_in_row(group: Group, scores: Tensor) -> Tensor:
    """Return each weight's place in its output row, in (0, 1]: rows then lose equal shares.

    Ties in place are broken by the score itself. Units that are no single weights stay.

    Example:
        >>> units = Group("w", (2, 2), 4, 1, (), cell=2)
        >>> rank_in_row(units, torch.tensor([1.0, 3.0, 40.0, 20.0])).argsort().tolist()
        [0, 3, 1, 2]
    """
    if not group.cell or group.of_cell:
        return scores
    rows = scores.view(-1, group.cell)
    place = rows.argsort(stable=True, dim=1).argsort(stable=True, dim=1).double()
    nearly = rows / scores.max().clamp_min(torch.finfo(torch.float32).tiny)
    return ((place + 1 - 0.01 * (1 - nearly)) / group.cell).float().flatten()


CRITERIA: dict[str, Criterion] = {
    # nothing
    "magnitude": Criterion(magnitude, gather="norm"),
    "random": Criterion(random, gather="drawn"),
    "lamp": Criterion(magnitude, gather="norm", within=layer_adaptive),
    # the neighbours of a layer
    "lookahead": Criterion(lookahead, gather="norm"),
    "synflow": Criterion(synflow, rounds=100),
    # examples and their gradients
    "grad_x_weight": Criterion(grad_x_weight, data=True),
    "up": Criterion(up, data=True),
    "taylor": Criterion(signed, gather="square", data=True),
    "snip": Criterion(snip, data=True),
    "grasp": Criterion(grasp, data=True),
    "obs": Criterion(diagonal, data=True),
    # examples
    "wanda": Criterion(wanda, within=rank_in_row, data=True),
    # training
    "movement": Criterion(in_training, training=True),
    "learned": Criterion(in_training, training=True),
}


def criterion_named(word: str) -> Criterion:
    """Return the criterion of a word: a name of `CRITERIA`, and its options after a colon.

    Raises:
        UsageError: no criterion or no option is called that.

    Example:
        >>> criterion_named("grad_x_weight:decay=include").data
        True
    """
    name, _, rest = word.partition(":")
    if name not in CRITERIA:
        raise UsageError(f"no criterion is called {name!r}; {suggest(name, CRITERIA)}")
    criterion = CRITERIA[name]
    options: dict[str, Any] = {}
    hints = get_type_hints(criterion.weights)
    parameters = inspect.signature(criterion.weights).parameters.values()
    known = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]
    for part in filter(None, rest.split(",")):
        key, _, value = part.partition("=")
        if key not in known:
            hint = suggest(key, known) if known else "it has none"
            raise UsageError(f"criterion {name!r} has no option {key!r}; {hint}")
        options[key] = typed(f"{name}:{key}", hints[key], yaml.safe_load(value))
    return replace(criterion, weights=partial(criterion.weights, **options))


def unit_scores(
    criterion: Criterion,
    probe: Probe,
    groups: Sequence[Group],
    raw: dict[str, Tensor] | None = None,
) -> list[Tensor]:
    """Return the scores of the units of each group, each (count,) float32, high is kept.

    Args:
        criterion: what scores.
        probe: what it is given.
        groups: of the network.
        raw: the scores of the weights where they are known already.

    Raises:
        UsageError: it needs examples and there are none, or it is only made in training; or a
            score is not finite.
    """
    if criterion.data and not probe.batches and raw is None:
        raise UsageError("this criterion needs examples; hand over a loader")
    weights = criterion.weights(probe) if raw is None else raw
    scores = []
    for group in groups:
        score = gathered(group, weights, criterion.gather)
        if not score.isfinite().all():
            raise UsageError(f"scores of {group.name} are not finite; are its weights?")
        scores.append(score if criterion.within is None else criterion.within(group, score))
    return scores
