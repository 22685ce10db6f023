"""prune() over a DataLoader: what it gives, in which order, epoch after epoch."""

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, DistributedSampler, TensorDataset

import datapruner as dp
from datapruner.errors import UsageError

N = 20
FIVE = [3, 5, 8, 13, 19]


def loader_of(n=N, batch_size=4, **options):
    options.setdefault("shuffle", True)
    return DataLoader(torch.arange(n), batch_size=batch_size, **options)


def seen(loader):
    """Go through a pass; each batch must be what `indices` says."""
    batches = []
    for batch in loader:
        assert loader.indices.tolist() == batch.tolist()
        batches.append(batch.tolist())
    return batches


def flat(loader):
    return [i for batch in seen(loader) for i in batch]


# order


def test_literal_order():
    assert seen(dp.prune(loader_of(shuffle=False), FIVE)) == [[3, 5, 8, 13], [19]]
    loader = dp.prune(loader_of(), FIVE)
    assert [seen(loader), seen(loader)] == LITERAL
    rs2 = dp.prune(loader_of(10, batch_size=5), dp.RS2(0.7, seed=1))
    assert flat(rs2) == [1, 4, 3, 7, 9, 5, 2]  # as in the tests of RS2
    assert flat(rs2) == [0, 8, 6, 4, 7, 2, 9]


LITERAL = [[[8, 13, 19, 5], [3]], [[5, 19, 8, 13], [3]]]


def test_a_new_order_each_epoch_set_epoch_and_asked_again():
    loader = dp.prune(loader_of(), FIVE)
    epochs = [seen(loader) for _ in range(4)]
    assert all(sorted(sum(epoch, [])) == FIVE for epoch in epochs)
    assert len({str(epoch) for epoch in epochs}) > 2
    loader.set_epoch(1)
    assert [seen(loader), seen(loader)] == epochs[1:3]
    with pytest.raises(UsageError, match="epoch -1 is negative"):
        loader.set_epoch(-1)


def test_a_loader_that_does_not_shuffle_ascends_each_epoch():
    loader = dp.prune(loader_of(shuffle=False), dp.RS2(0.5))
    first, second = flat(loader), flat(loader)
    assert first == sorted(first)
    assert second == sorted(second)
    assert sorted(first + second) == list(range(N))


def test_the_generators_seed_decides_the_order():
    def order(seed):
        generator = None if seed is None else torch.Generator().manual_seed(seed)
        return flat(dp.prune(loader_of(generator=generator), range(N)))

    assert order(1) == order(1)
    assert len({str(order(seed)) for seed in (None, 1, 2)}) == 3
    assert order(7) == dp.Fixed(seed=7).bind(N).draw(0)[0].tolist()


def test_the_global_generator_moves_as_the_loader_itself_moves_it():
    """A DataLoader without a generator draws its workers' seed from the global one."""

    def drawn(loader):
        torch.manual_seed(0)
        list(loader)
        return torch.get_rng_state()

    assert torch.equal(drawn(dp.prune(loader_of(), FIVE)), drawn(loader_of(shuffle=False)))
    generator = torch.Generator()
    before = torch.get_rng_state()
    list(dp.prune(loader_of(generator=generator), FIVE))
    assert torch.equal(torch.get_rng_state(), before)


# what is kept of the loader


class Squares(Dataset):
    """Gives where it was read as well."""

    def __len__(self):
        return N

    def __getitem__(self, i):
        info = torch.utils.data.get_worker_info()
        return i, i * i, -1 if info is None else info.id


def own_collate(rows):
    return {"index": torch.tensor([row[0] for row in rows]), "in": {row[2] for row in rows}}


@pytest.mark.parametrize("persistent", [False, True])
def test_workers_read_the_epoch_at_hand(persistent):
    options = {"shuffle": True, "batch_size": 2, "collate_fn": own_collate}
    plain = dp.prune(DataLoader(Squares(), **options), dp.RS2(0.3, seed=4))
    loader = dp.prune(
        DataLoader(Squares(), num_workers=2, persistent_workers=persistent, **options),
        dp.RS2(0.3, seed=4),
    )
    readers = set()
    for epoch in range(4):
        expected = [batch["index"].tolist() for batch in plain]
        found = []
        for batch in loader:
            assert loader.indices.tolist() == batch["index"].tolist()
            found.append(batch["index"].tolist())
            readers |= batch["in"]
            if epoch == 1:
                break
        assert found == expected[: len(found)]
        assert len(found) == (1 if epoch == 1 else 3)
    assert readers == {0, 1}


def test_what_is_the_loaders_stays():
    def init(worker):
        pass

    given = DataLoader(
        Squares(), 3, shuffle=True, num_workers=1, collate_fn=own_collate, timeout=30,
        worker_init_fn=init, prefetch_factor=3, drop_last=True,
        multiprocessing_context="fork", generator=torch.Generator(), persistent_workers=True,
    )  # fmt: skip
    loader = dp.prune(given, FIVE)
    for name in (
        "dataset", "num_workers", "collate_fn", "timeout", "worker_init_fn", "prefetch_factor",
        "pin_memory", "generator", "persistent_workers",
    ):  # fmt: skip
        assert getattr(loader.loader, name) is getattr(given, name)
        assert getattr(loader, name) is getattr(given, name)
    assert loader.loader.multiprocessing_context.get_start_method() == "fork"
    assert (loader.batch_size, loader.drop_last) == (3, True)
    assert [len(batch["index"]) for batch in loader] == [3]
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        loader.nothing  # noqa: B018 # the access is the test
    assert len(list(given)) == N // 3  # and it can be used as before


@pytest.mark.parametrize(("drop_last", "sizes"), [(False, [4, 4, 2]), (True, [4, 4])])
def test_drop_last(drop_last, sizes):
    loader = dp.prune(loader_of(drop_last=drop_last), dp.RS2(0.5))
    assert len(loader) == len(sizes)
    assert [len(batch) for batch in seen(loader)] == sizes
    small = dp.prune(loader_of(drop_last=True), [1, 2, 3])
    with pytest.raises(UsageError, match="less than one batch of 4 rows.*drop_last=False"):
        next(iter(small))


@pytest.mark.parametrize("workers", [0, 2])
def test_without_batches_examples_come_one_by_one(workers):
    given = DataLoader(Squares(), batch_size=None, shuffle=True, num_workers=workers)
    loader = dp.prune(given, FIVE)
    assert len(loader) == 5
    found = []
    for index, square, _ in loader:
        assert (loader.indices.tolist(), square) == ([index], index**2)
        found.append(index)
    assert sorted(found) == FIVE


@pytest.mark.parametrize(
    "chosen",
    [FIVE, tuple(FIVE), np.array(FIVE), np.array(FIVE, np.uint16), torch.tensor(FIVE).flip(0),
     dp.Fixed(FIVE), dp.Selection(torch.tensor(FIVE), n=N), dp.Fixed(torch.tensor(FIVE)).bind(N)],
)  # fmt: skip
def test_all_that_can_say_which(chosen):
    assert flat(dp.prune(loader_of(), chosen)) == flat(dp.prune(loader_of(), FIVE))


def test_stratified_takes_labels():
    labels = torch.arange(N) % 4
    data = TensorDataset(torch.arange(N), labels)
    loader = dp.prune(
        DataLoader(data, 8, shuffle=True), dp.RS2(0.4, stratified=True), labels=labels
    )
    for _ in range(3):
        ((_, of_class),) = list(loader)
        assert of_class.bincount().tolist() == [2, 2, 2, 2]


# len and indices


def test_length_before_during_and_after_an_epoch():
    class Growing(dp.Fixed):
        """Draws epoch + 1 examples."""

        def bind(self, n, labels=None, readable=None):
            return self

        def draw(self, epoch):
            drawn.append(epoch)
            return torch.arange(epoch + 1), None

    drawn = []
    loader = dp.prune(loader_of(batch_size=1), Growing())
    assert len(loader) == 1
    for epoch in range(4):
        for _ in loader:
            assert len(loader) == epoch + 1
        assert len(loader) == epoch + 2  # of the next one
    for _ in loader:
        break
    assert len(loader) == 5  # the pass counts until the next one begins
    loader.set_epoch(0)
    assert len(loader) == 1
    assert drawn == [0, 1, 2, 3, 4, 0]  # each once, however often the length was asked for


def test_indices_belong_inside_the_loop():
    loader = dp.prune(loader_of(), FIVE)
    with pytest.raises(UsageError, match="no batch was given yet"):
        loader.indices  # noqa: B018 # the access is the test
    for _ in loader:
        break
    assert loader.indices.dtype == torch.int64
    assert len(loader.indices) == 4
    iter(loader)
    with pytest.raises(UsageError, match="no batch was given yet"):
        loader.indices  # noqa: B018 # the access is the test


# several processes


@pytest.mark.parametrize("m", [8, 10, 11])
@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize("shuffle", [False, True])
def test_ranks_share_one_order(m, ragged, shuffle):
    sampler = dp.RS2(m / N, seed=5)
    order = sampler.bind(N).draw(0)[0]
    shares = []
    for rank in range(3):
        data = torch.arange(N)
        own = DistributedSampler(data, num_replicas=3, rank=rank, shuffle=shuffle, seed=2)
        loader = dp.prune(DataLoader(data, batch_size=2, sampler=own), sampler, ragged=ragged)
        batches = seen(loader)
        assert len(loader) == len(batches)
        shares.append(sum(batches, []))
    order = order if shuffle else order.sort().values
    expected = [order[rank::3].tolist() for rank in range(3)]
    if not ragged:
        expected = [part[: m // 3] for part in expected]
    assert shares == expected
    assert len(set(sum(shares, []))) == sum(map(len, shares)) == (m if ragged else m // 3 * 3)


def test_the_distributed_samplers_seed_orders_a_subset():
    def order(seed):
        own = DistributedSampler(range(N), num_replicas=1, rank=0, seed=seed)
        return flat(dp.prune(DataLoader(torch.arange(N), sampler=own), range(N)))

    assert order(1) == order(1) != order(2)


def test_more_processes_than_examples():
    own = DistributedSampler(range(N), num_replicas=4, rank=0)
    loader = dp.prune(DataLoader(torch.arange(N), sampler=own), [1, 2, 3])
    with pytest.raises(UsageError, match=r"fewer examples than there are processes \(4\)"):
        len(loader)
