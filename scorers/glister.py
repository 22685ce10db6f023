"""GLISTER: examples whose gradients lower the loss on a validation set."""

import torch
from torch import Tensor

from ._gradients import gradients, mean_one, with_one


def glister(
    errors: Tensor,
    embedding: Tensor,
    validation_errors: Tensor,
    validation_embedding: Tensor,
    k: int,
    *,
    rate: float = 1.0,
    refreshes: int = 20,
) -> tuple[Tensor, Tensor]:
    """Choose k examples, each by how much a step along its gradient lowers the validation loss.

    Killamsetty et al. 2021, "GLISTER: Generalization based Data Subset Selection for Efficient and
    Robust Learning": the first-order gain of x is g_x . (gradient of the validation loss at the
    weights after a step on those chosen so far). The last layer is linear, so that step changes the
    validation logits exactly, and the validation gradient is taken anew `refreshes` times on the
    way; without (1) this is the top k of one inner product.

    Args:
        errors: (n, classes), p - onehot of a clean pass.
        embedding: (n, d), the input of the last layer.
        validation_errors: (m, classes) of examples that are not trained on.
        validation_embedding: (m, d).
        k: how many.
        rate: length of the step on the mean loss of all k; those chosen so far make their share.
        refreshes: how often.

    Returns:
        indices (k,) int64 in the order of the picks, weights (k,) float32, all 1.

    Raises:
        ValueError: sources that do not fit each other, or k outside 1 to n.

    Example:
        >>> errors = torch.tensor([[-0.9, 0.9], [0.9, -0.9]])
        >>> same = torch.ones(2, 1)
        >>> glister(errors, same, errors[:1], same[:1], 1)[0].tolist()
        [0]
    """
    of = gradients(errors, embedding, k)
    wrong = (
        validation_errors.ndim != 2
        or validation_errors.shape[1:] != errors.shape[1:]
        or validation_embedding.shape[1:] != embedding.shape[1:]
        or not len(validation_errors) == len(validation_embedding) > 0
    )
    if wrong:
        raise ValueError(
            "the validation set must have the classes and the width of the training set, not "
            f"{tuple(validation_errors.shape)} and {tuple(validation_embedding.shape)}"
        )
    if refreshes < 1:
        raise ValueError(f"refreshes={refreshes} must be at least 1")
    feature = with_one(validation_embedding).to(torch.float64)
    onehot = torch.nn.functional.one_hot(validation_errors.argmin(1), errors.shape[1])
    # p = error + onehot, and log p are logits but for a constant in each row.
    logits = (validation_errors.to(torch.float64) + onehot).clamp(min=1e-12).log()
    stepped = torch.zeros(errors.shape[1], feature.shape[1], dtype=torch.float64)
    left = torch.zeros(len(of.error))
    picks = torch.empty(0, dtype=torch.int64)
    for quota in _split(k, min(refreshes, k)):
        error = (logits - rate / k * feature @ stepped.T).softmax(1) - onehot
        gain = of.along(error.T @ feature / len(feature)) + left
        best = gain.sort(descending=True, stable=True).indices[:quota]
        picks = torch.cat([picks, best])
        left[best] = -torch.inf
        stepped += of.error[best].to(torch.float64).T @ of.feature[best].to(torch.float64)
    return of.order[picks], mean_one(torch.ones(k))


def _split(k: int, parts: int) -> list[int]:
    """Split k into whole parts, the first ones the larger."""
    return [k // parts + (i < k % parts) for i in range(parts)]
