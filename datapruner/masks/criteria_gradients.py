"""Criteria made of gradients: of the loss over examples, or of the network's own flow.

`g` is the gradient of the mean loss over the calibration examples without weight decay, which is
the optimizer's; batch norms take the statistics of the batch, dropout is off.
"""

from math import inf
from typing import Literal

import torch
from torch import Tensor
from torch.func import functional_call, grad, vmap

from ..errors import UsageError
from ..evaluation import evaluating
from ..loaders import Batch
from .probe import Probe, gradient

CHUNK = 2**28  # bytes that the gradients of single examples may take


def grad_x_weight(
    probe: Probe, *, decay: Literal["exclude", "include"] = "exclude"
) -> dict[str, Tensor]:
    """Score by |w·g|: what removing a weight alone changes in the loss, to first order.

    With decay="include" g holds the gradient of the penalty too, weight_decay · w, as frameworks
    have it whose loss includes it; near a minimum the sum is nearly 0 and says little.

    Source: Mozer and Smolensky 1989; Molchanov et al. 2017.

    Example:
        >>> import inspect
        >>> [*inspect.signature(grad_x_weight).parameters]
        ['probe', 'decay']
    """
    eps = probe.weight_decay if decay == "include" else 0.0
    weights = probe.weights()
    return {n: (weights[n] * (g + eps * weights[n])).abs() for n, g in probe.gradients().items()}


def up(probe: Probe) -> dict[str, Tensor]:
    """Score by |-w·g + weight_decay · w²|, weight decay discounted (undecayed pruning).

    The form of the authors' release, which adds the term to the gradient of the plain loss.

    Source: Good et al. 2022.

    Example:
        >>> up.__name__
        'up'
    """
    weights, eps = probe.weights(), probe.weight_decay
    return {
        n: (eps * weights[n].square() - weights[n] * g).abs() for n, g in probe.gradients().items()
    }


def signed(probe: Probe) -> dict[str, Tensor]:
    """Return w·g with its sign; a unit's score is the square of the sum over its weights (Taylor).

    Source: Molchanov, Mallya, Tyree, Frosio and Kautz 2019.

    Example:
        >>> signed.__name__
        'signed'
    """
    weights = probe.weights()
    return {n: weights[n] * g for n, g in probe.gradients().items()}


def snip(probe: Probe) -> dict[str, Tensor]:
    """Score by |w·g| before training: how much the loss depends on the connection being there.

    The paper divides by the sum over the network, which ranks the same.

    Source: Lee, Ajanthan and Torr 2019.

    Example:
        >>> snip.__name__
        'snip'
    """
    return grad_x_weight(probe)


def grasp(probe: Probe) -> dict[str, Tensor]:
    """Score by w·Hg, before training; the highest are kept (GraSP).

    Removing w changes the squared norm of the gradient by -2 w·Hg to first order: a weight of high
    w·Hg is one whose removal would weaken the gradient flow. The paper's score is -w·Hg, of which
    it removes the highest.

    Source: Wang, Zhang and Grosse 2020.

    Example:
        >>> grasp.__name__
        'grasp'
    """
    weights, g = probe.weights(), probe.gradients()
    parameters = [probe.model.get_parameter(name) for name in probe.names]
    curved = [torch.zeros_like(p) for p in parameters]
    for share, loss in probe.losses():
        own = gradient(loss, parameters, again=True)
        along = torch.stack([(o * g[n]).sum() for n, o in zip(probe.names, own, strict=True)]).sum()
        for sum_, part in zip(curved, gradient(along, parameters), strict=True):
            sum_.add_(part.detach(), alpha=share)
    return {n: weights[n] * h for n, h in zip(probe.names, curved, strict=True)}


def synflow(probe: Probe) -> dict[str, Tensor]:
    """Score by |w|·∂R/∂|w|, R the sum of the outputs for an input of ones, all weights absolute.

    Needs no examples, only the shape of one. Batch norms are in eval mode, all is in float64, for R
    is a product over the layers; scores that float32 would not hold are divided by the highest,
    which ranks the same. Pruned in 100 rounds, which is what keeps layers from emptying.

    Source: Tanaka, Kunin, Yamins and Ganguli 2020.

    Raises:
        UsageError: the shape of an input is not known, or inputs are tokens.

    Example:
        >>> from torch import nn
        >>> layer = nn.Linear(2, 1, bias=False)
        >>> probe = Probe(layer, ("weight",), example=torch.zeros(1, 2))
        >>> torch.allclose(synflow(probe)["weight"], layer.weight.abs())
        True
    """
    if probe.example is None:
        raise UsageError("synflow needs the shape of an input; hand over a loader or an example")
    if not probe.example.is_floating_point():
        raise UsageError("synflow puts in ones, which tokens are not; take another criterion")
    model = probe.model
    state = {k: _positive(v) for k, v in [*model.named_parameters(), *model.named_buffers()]}
    for name in probe.names:
        state[name].requires_grad_()
    ones = torch.ones_like(probe.example[:1], dtype=torch.float64)
    device = ones.device.type
    with evaluating(model), torch.enable_grad(), torch.autocast(device, enabled=False):
        flow = functional_call(model, state, (ones,)).sum()
    weights = [state[name] for name in probe.names]
    found = torch.autograd.grad(flow, weights, allow_unused=True, materialize_grads=True)
    scores = [(w * d).detach() for w, d in zip(weights, found, strict=True)]
    highest = max(float(score.max()) for score in scores)
    scale = 1.0 if 1e-24 < highest < 1e24 or not 0 < highest < inf else highest
    return {n: (s / scale).float() for n, s in zip(probe.names, scores, strict=True)}


def diagonal(probe: Probe) -> dict[str, Tensor]:
    """Score by ½ w² h, h the mean of the squared gradients of single examples (diagonal OBS).

    What removing a weight changes in the loss, to second order and near a minimum, if nothing else
    may move; the Hessian's diagonal is taken from the empirical Fisher matrix. Batch norms are in
    eval mode, so that an example has a gradient of its own.

    Source: LeCun, Denker and Solla 1990; Hassibi and Stork 1993, of whose Hessian the diagonal.

    Example:
        >>> diagonal.__name__
        'diagonal'
    """
    model, weights = probe.model, probe.weights()
    fixed = {k: p.detach() for k, p in model.named_parameters() if k not in weights}

    def along(ranked: dict[str, Tensor], x: Tensor, slope: Tensor) -> Tensor:
        logits: Tensor = functional_call(model, {**fixed, **ranked}, (x[None],)).float()
        return (logits[0] * slope).sum()

    single = vmap(grad(along), in_dims=(None, 0, 0))
    chunk = max(1, CHUNK // (4 * sum(w.numel() for w in weights.values())))
    squares = {name: torch.zeros_like(w) for name, w in weights.items()}
    with evaluating(model), torch.autocast(probe.batches[0].x.device.type, enabled=False):
        for batch in probe.batches:
            slopes = _slopes(probe, batch)
            for x, slope in zip(batch.x.split(chunk), slopes.split(chunk), strict=True):
                for name, own in single(weights, x, slope).items():
                    squares[name] += own.square().sum(0)
    rows_in_all = sum(len(batch.y) for batch in probe.batches)
    return {n: 0.5 * w.square() * squares[n] / rows_in_all for n, w in weights.items()}


def _slopes(probe: Probe, batch: Batch) -> Tensor:
    """Return the gradient of each row's loss by its logits, (b, C).

    By itself, so that a loss may do what no vectorised function can: look rows up, run a teacher.
    """
    with torch.no_grad():
        logits = probe.model(batch.x).float()
    with torch.enable_grad():
        losses = probe.loss(logits.requires_grad_(), batch, 0.0)
        (slopes,) = gradient(losses.sum(), [logits])
        return slopes


def _positive(tensor: Tensor) -> Tensor:
    return tensor.detach().double().abs() if tensor.is_floating_point() else tensor
