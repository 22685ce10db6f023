"""The 1,797 handwritten digits that come with scikit-learn: real data without a network."""

import torch

from ..data import Data, stratified_split
from .arrays import in_memory


def open_digits(split: str) -> Data:
    """Open the digits (Alpaydin and Kaynak 1998, UCI), 8 x 8 pixels, one channel.

    They have no split of their own; ours is stratified, of seed 0 and always the same: 80 % train
    (1,438) and 20 % test (359), each in the original order. The original 17 grey levels become
    round(level * 255 / 16).

    Example:
        >>> open_digits("train").shape
        (1, 8, 8)
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    labels = torch.from_numpy(bunch.target).long()
    levels = torch.from_numpy(bunch.images)[:, None]
    rows = stratified_split(labels, 0.8, seed=0)[0 if split == "train" else 1]
    x = (levels * (255 / 16)).round().to(torch.uint8)[rows]
    classes = tuple(str(digit) for digit in range(10))
    return in_memory("digits", split, x, labels[rows], classes, is_image=True)
