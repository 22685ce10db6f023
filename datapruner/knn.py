"""Accuracy of nearest neighbours: what an embedding knows of the labels, without training on it."""

from torch import Tensor
from torch.nn.functional import normalize, one_hot

from .errors import UsageError


def knn_accuracy(
    bank: Tensor,
    bank_labels: Tensor,
    queries: Tensor,
    query_labels: Tensor,
    *,
    k: int = 20,
    temperature: float = 0.1,
) -> float:
    """Return the share of queries whose label their k nearest in the bank vote for.

    Neighbours by cosine, each vote weighs exp(cosine / temperature) (Wu, Xiong, Yu and Lin 2018).
    Blocks of queries: memory is one block times the bank.

    Args:
        bank: (n, d) rows whose labels vote.
        bank_labels: (n,) int64.
        queries: (m, d), none of them in the bank.
        query_labels: (m,) int64.
        k: voters; at most n.
        temperature: above 0; low counts the nearest most.

    Returns:
        In [0, 1].

    Raises:
        UsageError: rows and labels are not of one length, or there are none.

    Example:
        >>> import torch
        >>> rows, labels = torch.eye(2), torch.tensor([0, 1])
        >>> knn_accuracy(rows, labels, rows * 3, labels, k=1)
        1.0
    """
    if not (len(bank) == len(bank_labels) > 0 and len(queries) == len(query_labels) > 0):
        raise UsageError("knn_accuracy needs rows and as many labels, of the bank and the queries")
    bank = normalize(bank.float())
    classes = int(max(bank_labels.max(), query_labels.max())) + 1
    votes, right = one_hot(bank_labels, classes).float(), 0
    for rows, labels in zip(queries.split(256), query_labels.split(256), strict=True):
        near = (normalize(rows.float()) @ bank.T).topk(min(k, len(bank)), dim=1)
        weight = ((near.values - 1) / temperature).exp()
        found = (weight[:, :, None] * votes[near.indices]).sum(1).argmax(1)
        right += int((found == labels).sum())
    return right / len(queries)
