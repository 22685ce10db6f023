import random

import numpy as np
import torch

from datapruner.seeds import generator, hash_rows, seed_for


def test_seeds_are_pinned_and_the_same_on_every_machine():
    """Results on disk depend on these numbers: they never change."""
    assert seed_for(0, "order", 1) == 8_024_286_156_118_006_313
    rows = hash_rows(np.arange(2), 0, "flip").tolist()
    assert rows == [
        11_879_282_046_680_979_248,
        15_267_603_709_249_352_442,
    ]


def test_hashing_is_splitmix64():
    """Worked with Python's own integers."""
    mask = 2**64 - 1
    state = (5 * 0x9E3779B97F4A7C15 + seed_for(7, "crop", 3)) & mask
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & mask
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & mask
    assert int(hash_rows(np.array([5]), 7, "crop", 3)[0]) == state ^ (state >> 31)


def test_every_argument_counts():
    calls = [(s, p, *n) for s in (0, 1, -1) for p in ("a", "b") for n in ((), (0,), (1,), (0, 1))]
    assert len({seed_for(*call) for call in calls}) == len(calls)
    assert all(0 <= seed_for(*call) < 2**63 for call in calls)


def test_numbers_of_any_integer_type_mean_the_same():
    assert seed_for(np.int32(3), "a", torch.tensor(4)) == seed_for(3, "a", 4)


def test_global_generators_are_left_alone():
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()  # noqa: NPY002
    torch.rand(3, generator=generator(0, "order"))
    hash_rows(np.arange(3), 0, "flip")
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert (np.random.get_state()[1] == before[2]).all()  # noqa: NPY002


def test_rows_do_not_depend_on_their_company_or_order():
    index = np.array([9, 2, 2, 2**31 + 5, 0])
    together = hash_rows(index, 1, "flip", 4)
    alone = [int(hash_rows(index[i : i + 1], 1, "flip", 4)[0]) for i in range(len(index))]
    assert together.tolist() == alone
    assert hash_rows(index[:0], 1, "flip").shape == (0,)


def test_bits_are_fair_and_neighbours_do_not_resemble_each_other():
    n = 20_000
    bits = np.unpackbits(hash_rows(np.arange(n), 0, "flip").view(np.uint8)).reshape(n, 64)
    tolerance = 5 * 0.5 / n**0.5  # five standard errors of a fair coin
    assert np.abs(bits.mean(0) - 0.5).max() < tolerance
    assert np.abs((bits[1:] != bits[:-1]).mean(0) - 0.5).max() < tolerance
    next_epoch = np.unpackbits(hash_rows(np.arange(n), 0, "flip", 1).view(np.uint8)).reshape(n, 64)
    assert np.abs((bits != next_epoch).mean(0) - 0.5).max() < tolerance
