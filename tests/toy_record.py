"""A small seeded training run with flipped labels, and every source that a scorer can ask for."""

import inspect
import math
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import one_hot

Sources = dict[str, Any]
TRACES = ("loss", "margin", "error_norm", "entropy", "shift")
CLASSES, DIMENSION, HIDDEN = 4, 6, 32


class Toy(NamedTuple):
    """Sources by the names that scorers use, and which labels are wrong (n,) bool."""

    sources: Sources
    flipped: Tensor


@cache
def toy_record(n: int = 400, epochs: int = 14, seed: int = 0) -> Toy:
    """Train a two-layer network on four blobs, a tenth of the labels flipped, and record it."""
    rng = torch.Generator().manual_seed(seed)
    centres = 1.6 * torch.randn(CLASSES, DIMENSION, generator=rng)
    x, truth = _blobs(n, centres, rng)
    flipped = torch.zeros(n, dtype=torch.bool)
    flipped[torch.randperm(n, generator=rng)[: n // 10]] = True
    labels = torch.where(flipped, (truth + 1) % CLASSES, truth)

    checkpoints, logits = _train(x, labels, epochs, rng)
    _, holdout = _train(*_blobs(n, centres, rng), epochs, rng, other=x)
    traces = traces_of(logits, labels)
    clean, hidden = _forward(x, checkpoints[-1])
    gradients = torch.stack([_input_gradients(x, c) for c in checkpoints])  # (K, n, classes, d)
    own = gradients[:, torch.arange(n), labels]
    # The gradient of the loss is (p - onehot) times that of the logits; one norm per example.
    error = clean.softmax(1) - one_hot(labels, CLASSES)
    return Toy(
        {
            "n": n,
            "seed": seed,
            "labels": labels,
            **traces,
            "probs": clean.softmax(1),
            "holdout_loss": traces_of(holdout[-1:], labels)["loss"][0],
            "grad_norm": error.norm(dim=1) * (hidden.square().sum(1) + 1).sqrt(),
            "embedding_norm": hidden.norm(dim=1),
            "embedding": hidden,
            "errors": error,
            "difficulty": error.norm(dim=1),
            "validation_errors": error[:50],
            "validation_embedding": hidden[:50],
            "k": n // 10,
            "input_gradient_variance": own.std(dim=0, correction=0).mean(1),
            "boundary_distance": _boundary_distance(clean, gradients[-1]),
            **_ensemble(x, labels, *_blobs(100, centres, rng), rng),
        },
        flipped,
    )


def traces_of(logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Derive the five traces (epochs, n) from logits (epochs, n, classes)."""
    labels = labels.expand(logits.shape[:2])
    target = one_hot(labels, logits.shape[2])
    logp = logits.double().log_softmax(2)
    p = logp.exp()
    own = logits.double().gather(2, labels[..., None])[..., 0]
    rest = logits.double().masked_fill(target.bool(), -math.inf).amax(2)
    moved = (p[1:] * (logp[1:] - logp[:-1])).abs().sum(2)
    traces = {
        "loss": -logp.gather(2, labels[..., None])[..., 0],
        "margin": own - rest,
        "error_norm": (p - target).norm(dim=2),
        "entropy": -(p * logp).sum(2),
        "shift": torch.cat([torch.full_like(own[:1], math.nan), moved]),
    }
    return {name: trace.float() for name, trace in traces.items()}


def with_holes(trace: Tensor, seed: int = 1) -> Tensor:
    """Unvisit a third of the cells, at the same places for every trace; the first rows stay."""
    rng = torch.Generator().manual_seed(seed)
    holes = torch.rand(trace.shape, generator=rng) < 1 / 3
    holes[:3] = False
    return trace.masked_fill(holes, math.nan)


def chosen(sources: Sources, index: Tensor) -> Sources:
    """Take some examples of every source that has them, whichever axis they stand on."""
    axis = dict.fromkeys(TRACES, 1) | {"member": 1, "correct": 1, "test_correct": None}
    axis |= dict.fromkeys(("validation_errors", "validation_embedding"))
    return {
        name: len(index)
        if name == "n"
        else value
        if name in ("seed", "k") or axis.get(name, 0) is None
        else value.index_select(axis.get(name, 0), index)
        for name, value in sources.items()
    }


def call(function: Callable[..., Tensor], sources: Sources, **options: object) -> Tensor:
    """Call a scorer with the sources that its positional parameters name."""
    parameters = inspect.signature(function).parameters.values()
    names = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    return function(*(sources[name] for name in names), **options)


def auc(score: Tensor, positive: Tensor) -> float:
    """How often a positive scores above a negative, ties counting half."""
    ahead = score[positive][:, None] - score[~positive][None]
    return float(((ahead > 0).double() + (ahead == 0).double() / 2).mean())


def _blobs(n: int, centres: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    labels = torch.arange(n) % len(centres)
    return centres[labels] + torch.randn(n, DIMENSION, generator=rng), labels


def _forward(x: Tensor, weights: list[Tensor]) -> tuple[Tensor, Tensor]:
    w1, b1, w2, b2 = weights
    hidden = torch.tanh(x @ w1 + b1)
    return hidden @ w2 + b2, hidden


def _train(
    x: Tensor, labels: Tensor, epochs: int, rng: torch.Generator, other: Tensor | None = None
) -> tuple[list[list[Tensor]], Tensor]:
    """Return the weights after each epoch, and noisy training-pass logits before its steps."""
    shapes = [(DIMENSION, HIDDEN), (HIDDEN,), (HIDDEN, CLASSES), (CLASSES,)]
    weights = [0.3 * torch.randn(shape, generator=rng) for shape in shapes]
    checkpoints, logits = [], []
    for _ in range(epochs):
        seen = x if other is None else other
        noise = 0.4 * torch.randn(seen.shape, generator=rng)
        logits.append(_forward(seen + noise, weights)[0])
        for part in torch.randperm(len(x), generator=rng).split(50):
            leaves = [w.detach().requires_grad_() for w in weights]
            loss = torch.nn.functional.cross_entropy(_forward(x[part], leaves)[0], labels[part])
            steps = torch.autograd.grad(loss, leaves)
            weights = [(w - 0.2 * g).detach() for w, g in zip(leaves, steps, strict=True)]
        checkpoints.append(weights)
    return checkpoints, torch.stack(logits)


def _input_gradients(x: Tensor, weights: list[Tensor]) -> Tensor:
    """Gradient of each logit with respect to the input, (n, classes, d)."""
    w1, _, w2, _ = weights
    _, hidden = _forward(x, weights)
    return torch.einsum("dh,nh,hc->ncd", w1, 1 - hidden.square(), w2)


def _boundary_distance(logits: Tensor, gradients: Tensor) -> Tensor:
    top = logits.argmax(1)
    rows = torch.arange(len(logits))
    gap = (logits - logits[rows, top][:, None]).abs()
    slope = (gradients - gradients[rows, top][:, None]).norm(dim=2)
    return (
        (gap / slope.clamp(min=1e-12)).masked_fill(one_hot(top, CLASSES).bool(), math.inf).amin(1)
    )


def _ensemble(
    x: Tensor, labels: Tensor, test_x: Tensor, test_labels: Tensor, rng: torch.Generator
) -> dict[str, Tensor]:
    """Fit 40 networks on 70 % subsets: narrow kernel regressions, which memorise."""
    member, correct, test_correct = [], [], []
    target = one_hot(labels, CLASSES).float()
    for _ in range(40):
        there = torch.rand(len(x), generator=rng) < 0.7
        kernel = torch.exp(-torch.cdist(x[there], x[there]).square() / 2)
        alpha = torch.linalg.solve(kernel + torch.eye(len(kernel)), target[there])
        member.append(there)
        for rows, wanted, store in ((x, labels, correct), (test_x, test_labels, test_correct)):
            guess = torch.exp(-torch.cdist(rows, x[there]).square() / 2) @ alpha
            store.append(guess.argmax(1) == wanted)
    names = ("member", "correct", "test_correct")
    parts = (member, correct, test_correct)
    return {name: torch.stack(part) for name, part in zip(names, parts, strict=True)}
