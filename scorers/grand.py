"""GraNd: the norm of one example's gradient over all weights."""

from torch import Tensor

from ._ensembles import each_run


def grand(grad_norm: Tensor) -> Tensor:
    """Return the norm of each example's loss gradient, averaged over networks when there are more.

    High means a large gradient: hard. Paul, Ganguli and Dziugaite 2021, "Deep Learning on a Data
    Diet". The norm of an example's own gradient, summed and never averaged over a batch, BatchNorm
    in eval mode. At initialisation it does not reproduce: Kirsch 2023, arXiv 2303.14753, finds that
    it ranks like the norm of the input. Take it after some epochs, over several networks.

    Args:
        grad_norm: (n,), or (runs, n) for several networks.

    Returns:
        (n,) float32, 0 or more.

    Raises:
        ValueError: a norm that is not finite.

    Example:
        >>> import torch
        >>> grand(torch.tensor([[1.0, 4.0], [2.0, 4.0]])).tolist()
        [1.5, 4.0]
    """
    return each_run(grad_norm)
