"""A page-aware order of our own, for files that do not fit in memory."""

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ..seeds import hash_rows

OPEN_BYTES = 256 << 20  # memory that the pages mixed by a page-aware order take


def by_page(order: Tensor, page: NDArray[np.int64], open_pages: int, seed: int) -> Tensor:
    """Return `order` so that only some pages are in use at a time, and each page is read once.

    The pages that are needed get a random order; the rows of the page at place r get random places
    between r and r + open_pages. At any time the rows at hand lie in `open_pages` pages, and are
    mixed among them; the more pages, the nearer to a random order.

    Args:
        order: (m,) int64 rows.
        page: (n,) the page of each row of the file.
        open_pages: pages that are mixed, at least 1.
        seed: of the order; another one for each epoch.

    Example:
        >>> import torch
        >>> page = np.array([7, 7, 8, 8, 9, 9])
        >>> order = by_page(torch.arange(6), page, open_pages=1, seed=0)
        >>> turns = page[order.numpy()].tolist()
        >>> turns[0::2] == turns[1::2]
        True
    """
    which = page[order.numpy()]
    needed = np.flatnonzero(np.bincount(which))
    place = np.zeros(int(page.max()) + 1)
    place[needed[np.argsort(hash_rows(needed, seed, "page"))]] = np.arange(len(needed))
    spread = (hash_rows(np.arange(len(order)), seed, "place in page") >> np.uint64(11)) * 2.0**-53
    return order[np.argsort(place[which] + open_pages * spread)]
