"""DeepFool: how near the decision boundary is."""

from torch import Tensor

from ._ensembles import each_run


def deepfool(boundary_distance: Tensor) -> Tensor:
    """Return minus the distance to the nearest linearised decision boundary.

    High means near a boundary. Moosavi-Dezfooli, Fawzi and Frossard 2016, "DeepFool", as a margin
    for choosing data: Ducoffe and Precioso 2018. The distance is the smallest |f_k - f_y| divided
    by the norm of the difference of their input gradients, over the other classes k; in pixels of
    the normalised input, so compare it only within one preprocessing.

    Args:
        boundary_distance: (n,), or (runs, n) for several networks, 0 or more.

    Returns:
        (n,) float32, 0 or less.

    Raises:
        ValueError: a distance that is not finite.

    Example:
        >>> import torch
        >>> deepfool(torch.tensor([0.5, 2.0])).tolist()
        [-0.5, -2.0]
    """
    return -each_run(boundary_distance)
