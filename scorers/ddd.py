"""DDD: dichotomous data difficulty, the share of many networks that get an example wrong."""

import torch
from torch import Tensor

from ._visits import finished, named


def ddd(member: Tensor, correct: Tensor, *, held_out: bool = True) -> Tensor:
    """Return the share of the ensemble's networks that are wrong on the example.

    High means wrong in many networks: 0 is trivial, 1 impossible. Meding et al. 2022, "Trivial or
    Impossible: Dichotomous Data Difficulty Masks Model Differences". A network that trained on the
    example nearly always gets it right, so only those that did not are asked; with test images, or
    networks stopped early, ask all.

    Args:
        member: (runs, n) bool, whether the run trained on the example.
        correct: (runs, n) bool, whether the trained network was right on it.
        held_out: ask only runs that did not train on the example.

    Returns:
        (n,) float32 in [0, 1], in steps of one network, so with many ties. Memory: two (n,)
        vectors.

    Raises:
        ValueError: with `held_out`, an example that every run trained on.

    Example:
        >>> member = torch.tensor([[True, False], [False, False]])
        >>> ddd(member, torch.tensor([[True, False], [False, True]])).tolist()
        [1.0, 0.5]
    """
    if member.dim() != 2 or member.shape != correct.shape:
        raise ValueError(f"{tuple(member.shape)} members and {tuple(correct.shape)} outcomes")
    wrong, asked = (torch.zeros(member.shape[1], dtype=torch.int32) for _ in range(2))
    for there, right in zip(member.bool(), correct.bool(), strict=True):
        ask = ~there if held_out else torch.ones_like(there)
        wrong += ask & ~right
        asked += ask
    if (none := asked == 0).any():
        raise ValueError(
            f"{named(none)} in all of the {len(member)} runs: "
            "add runs on random subsets, or pass held_out=False"
        )
    return finished(wrong / asked)
