"""Randomness as a pure function: a seed for each purpose, epoch and example; none is global."""

import hashlib

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator

_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_MIX1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX2 = np.uint64(0x94D049BB133111EB)


def seed_for(seed: int, purpose: str, *numbers: int) -> int:
    """Return a 63-bit seed that depends on every argument, the same on every machine.

    Example:
        >>> seed_for(0, "order", 1) == seed_for(0, "order", 1)
        True
        >>> seed_for(0, "order", 1) == seed_for(0, "order", 2)
        False
    """
    text = "/".join([str(int(seed)), purpose, *(str(int(n)) for n in numbers)])
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def generator(seed: int, purpose: str, *numbers: int) -> Generator:
    """Return a CPU generator of its own for this purpose; see `seed_for`.

    Example:
        >>> a, b = generator(0, "order", 3), generator(0, "order", 3)
        >>> bool((torch.randperm(5, generator=a) == torch.randperm(5, generator=b)).all())
        True
    """
    return torch.Generator().manual_seed(seed_for(seed, purpose, *numbers))


def hash_rows(
    index: NDArray[np.integer], seed: int, purpose: str, *numbers: int
) -> NDArray[np.uint64]:
    """Return 64 random bits for each index, a function of (seed, purpose, numbers, index) alone.

    The finaliser is splitmix64 (Steele, Lea and Flood 2014). Row i does not depend on which other
    rows are asked for, so the view of an example is the same in every loader and batch.

    Example:
        >>> whole = hash_rows(np.arange(4), 0, "flip")
        >>> bool((hash_rows(np.array([2]), 0, "flip") == whole[2:3]).all())
        True
    """
    state = index.astype(np.uint64) * _GAMMA + np.uint64(seed_for(seed, purpose, *numbers))
    state = (state ^ (state >> np.uint64(30))) * _MIX1
    state = (state ^ (state >> np.uint64(27))) * _MIX2
    return state ^ (state >> np.uint64(31))
