"""What prune() refuses, and what it says to do instead."""

import pytest
import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)

import datapruner as dp
from datapruner.errors import UsageError

N = 20


def loader_of(**options):
    return DataLoader(torch.arange(N), batch_size=4, shuffle=True, **options)


def seen(loader):
    return [batch.tolist() for batch in loader]


class Stream(IterableDataset):
    def __iter__(self):
        return iter(range(N))


class Endless(Dataset):
    def __getitem__(self, i):
        return i


DATA = torch.arange(N)
REFUSED = {
    "IterableDataset.*give the DataLoader a map-style dataset": DataLoader(Stream()),
    "Endless has no __len__": DataLoader(Endless()),
    r"batch sampler of its own \(BatchSampler\); build it with batch_size=": DataLoader(
        DATA, batch_sampler=BatchSampler(SequentialSampler(DATA), 4, False)
    ),
    r"batch sampler of its own \(list\)": DataLoader(DATA, batch_sampler=[[0, 1], [2]]),
    r"sampler of its own \(SubsetRandomSampler\); build it with shuffle=True": DataLoader(
        DATA, sampler=SubsetRandomSampler([1, 2])
    ),
    r"sampler of its own \(WeightedRandomSampler\)": DataLoader(
        DATA, sampler=WeightedRandomSampler([1.0] * N, N)
    ),
    r"sampler of its own \(RandomSampler\)": DataLoader(DATA, sampler=RandomSampler(DATA, True)),
    r"sampler of its own \(list\)": DataLoader(DATA, sampler=[3, 1]),
    "in_order=False; build it with in_order=True": DataLoader(DATA, num_workers=1, in_order=False),
    "not list; wrap the dataset in a DataLoader": [1, 2, 3],
    r"hand fit\(\) the TensorLoader and the sampler": dp.TensorLoader(dp.open_data("digits")),
    "pruned already; prune loader.original": dp.prune(DataLoader(DATA), [1]),
}


@pytest.mark.parametrize("message", REFUSED)
def test_refuses_loaders(message):
    with pytest.raises(UsageError, match=message) as error:
        dp.prune(REFUSED[message], [1])
    assert "\n" not in str(error.value)


def test_a_pruned_loader_is_pruned_anew_from_its_original():
    loader = dp.prune(loader_of(), [1, 2])
    again = dp.prune(loader.original, [3, 4])
    assert sorted(sum(seen(again), [])) == [3, 4]


def test_random_samplers_that_draw_all_are_replaced():
    """Also one that was written out: it is what shuffle=True makes."""
    own = RandomSampler(DATA, generator=torch.Generator().manual_seed(5))
    loader = dp.prune(DataLoader(DATA, sampler=own, batch_size=4), range(N))
    expected = dp.prune(loader_of(generator=torch.Generator().manual_seed(5)), range(N))
    assert seen(loader) == seen(expected)


@pytest.mark.parametrize(
    ("sampler", "message"),
    [
        ("runs/half", r"str is no sampler; give a Selection, indices, or RS2"),
        ({1, 2}, "set is no sampler"),
        (3, "int is no sampler"),
        (dp.InfoBatch, r"InfoBatch is a class; make one, such as RS2\(fraction=0.1\)"),
        ([N], f"index {N} is outside the data set of {N}"),
        (dp.Selection(torch.tensor([1]), n=7), "made from 7 examples, the data have 20"),
        (torch.rand(N), "make a Selection of scores with keep"),
        (dp.RS2(0.5, stratified=True), "pass labels="),
    ],
)
def test_refuses_samplers(sampler, message):
    with pytest.raises(UsageError, match=message):
        dp.prune(loader_of(), sampler)


def test_nobody_builds_a_loader_over_everything_from_the_parts():
    """As accelerate's skip_first_batches does, and by it the Hugging Face Trainer."""
    loader = dp.prune(loader_of(), [1, 2])
    with pytest.raises(UsageError, match="whole dataset; .* load_state_dict"):
        next(iter(DataLoader(loader.dataset, batch_sampler=loader.batch_sampler)))
