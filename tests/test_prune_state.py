"""prune() over a DataLoader: broken-off passes, going on after a stop, listening."""

import json

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 # as users write it
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import (
    DataLoader,
    DistributedSampler,
    TensorDataset,
)

import datapruner as dp
from datapruner.errors import UsageError

N = 20


def loader_of(n=N, batch_size=4, **options):
    options.setdefault("shuffle", True)
    return DataLoader(torch.arange(n), batch_size=batch_size, **options)


def seen(loader, stop=None):
    """Go through a pass, or as many batches of it as `stop` says."""
    batches = []
    for batch in loader:
        assert loader.indices.tolist() == batch.tolist()
        batches.append(batch.tolist())
        if len(batches) == stop:
            break
    return batches


class Listening(dp.Fixed):
    """A small InfoBatch: drops half of what was below the mean, and counts the rest double."""

    def bind(self, n, labels=None, readable=None):
        self = Listening(seed=self.seed)
        vars(self).update(losses=torch.full((n,), torch.inf), waiting={}, ended=[])
        return self

    def draw(self, epoch):
        n, known = len(self.losses), self.losses.isfinite()
        weight = torch.ones(n)
        if not known.all():
            return torch.randperm(n, generator=torch.Generator().manual_seed(epoch)), weight
        easy = (self.losses < self.losses.mean()).nonzero().flatten()
        dropped = easy[epoch % 2 :: 2]
        weight[easy], weight[dropped] = 2, 0
        return weight.nonzero().flatten(), weight

    def observe(self, epoch, batch, logits, losses):
        assert losses.requires_grad is False
        assert logits is None
        self.waiting.update(zip(batch.index.tolist(), losses.tolist(), strict=True))

    def end_epoch(self, epoch):
        self.ended.append(epoch)
        for i, loss in self.waiting.items():
            self.losses[i] = loss
        self.waiting.clear()

    def state_dict(self):
        return {"losses": self.losses.clone(), "waiting": dict(self.waiting)}

    def load_state_dict(self, state):
        self.losses.copy_(state["losses"])
        vars(self)["waiting"] = dict(state["waiting"])


# passes that are broken off


@pytest.mark.parametrize(
    "options", [{}, {"num_workers": 2}, {"num_workers": 2, "persistent_workers": True}]
)
def test_a_broken_off_epoch_advances(options):
    whole = dp.prune(loader_of(), dp.RS2(0.5, seed=1))
    epochs = [seen(whole) for _ in range(4)]
    loader = dp.prune(loader_of(**options), dp.RS2(0.5, seed=1))
    assert seen(loader, stop=1) == epochs[0][:1]
    iter(loader)  # not even begun: a pass all the same
    assert seen(loader, stop=2) == epochs[2][:2]
    assert seen(loader) == epochs[3]


@pytest.mark.parametrize("options", [{}, {"num_workers": 2, "persistent_workers": True}])
def test_an_iterator_that_was_left_behind_takes_nothing_from_the_next(options):
    whole = dp.prune(loader_of(), dp.RS2(0.5, seed=1))
    epochs = [seen(whole) for _ in range(2)]
    loader = dp.prune(loader_of(**options), dp.RS2(0.5, seed=1))
    left, later = iter(loader), iter(loader)
    with pytest.raises(UsageError, match="a later pass over this loader has ended this one"):
        next(left)
    assert next(later).tolist() == epochs[1][0]
    assert loader.indices.tolist() == epochs[1][0]
    assert [batch.tolist() for batch in later] == epochs[1][1:]


def test_end_of_epoch_comes_once_each_whatever_happens():
    loader = dp.prune(loader_of(), Listening())
    ended = loader._cursor.sampler.ended
    seen(loader)
    assert ended == [0]
    seen(loader, stop=2)
    assert ended == [0]
    seen(loader, stop=2)
    assert ended == [0, 1]
    loader.set_epoch(9)
    assert ended == [0, 1, 2]
    seen(loader)
    assert ended == [0, 1, 2, 9]


def test_an_epoch_that_is_set_again_is_drawn_anew():
    loader = dp.prune(loader_of(), Listening())
    for batch in loader:
        loader.observe((batch % 7).float())
    loader.set_epoch(0)
    first, length = seen(loader), len(loader)
    loader.set_epoch(0)
    assert len(loader) == length == len(first) < 5


# going on after a stop


@settings(max_examples=60)
@given(
    before=st.integers(0, 4),
    stop=st.integers(1, 3),
    fraction=st.sampled_from([0.3, 0.45, 0.5, 0.7]),
    set_epoch=st.booleans(),
)
def test_going_on_is_as_if_never_stopped(before, stop, fraction, set_epoch):
    whole = dp.prune(loader_of(batch_size=2), dp.RS2(fraction, seed=3))
    epochs = [seen(whole) for _ in range(before + 2)]
    stopped = dp.prune(loader_of(batch_size=2), dp.RS2(fraction, seed=3))
    for _ in range(before):
        seen(stopped)
    assert stopped.state_dict()["epoch"] == before  # between epochs, too
    seen(stopped, stop=stop)
    state = json.loads(json.dumps(stopped.state_dict()))  # plain numbers
    resumed = dp.prune(loader_of(batch_size=2), dp.RS2(fraction, seed=3))
    resumed.load_state_dict(state)
    assert resumed.state_dict() == state
    if set_epoch:
        resumed.set_epoch(before)  # as loops do at the start of each epoch
    assert seen(resumed) == epochs[before][stop:]
    assert seen(resumed) == epochs[before + 1]


@pytest.mark.parametrize("persistent", [False, True])
def test_going_on_with_workers_does_not_count_what_they_read_ahead(persistent):
    options = {"num_workers": 2, "persistent_workers": persistent, "batch_size": 2}
    whole = dp.prune(loader_of(batch_size=2), dp.RS2(0.9, seed=3))
    epochs = [seen(whole) for _ in range(2)]
    stopped = dp.prune(loader_of(**options), dp.RS2(0.9, seed=3))
    seen(stopped, stop=2)
    state = stopped.state_dict()
    assert (state["epoch"], state["batches"]) == (0, 2)
    stopped.load_state_dict(state)  # into itself, its workers ahead
    assert seen(stopped) == epochs[0][2:]
    assert seen(stopped) == epochs[1]


def test_a_state_after_the_last_batch_leaves_an_empty_rest():
    loader = dp.prune(loader_of(), dp.RS2(0.4))
    for _ in loader:
        state = loader.state_dict()  # the last one: two batches given, the pass not over
    second = seen(loader)
    loader.load_state_dict(state)
    assert seen(loader) == []
    assert seen(loader) == second


def test_a_state_of_other_batches_is_refused_in_the_middle_of_an_epoch():
    loader = dp.prune(loader_of(), dp.RS2(0.5))
    seen(loader)
    between = loader.state_dict()
    seen(loader, stop=1)
    other = dp.prune(loader_of(batch_size=3), dp.RS2(0.5))
    other.load_state_dict(between)
    with pytest.raises(UsageError, match="batch_size 4, here it is 3; go on with 4"):
        other.load_state_dict(loader.state_dict())
    own = DistributedSampler(range(N), num_replicas=2, rank=0)
    ranks = dp.prune(DataLoader(torch.arange(N), batch_size=4, sampler=own), dp.RS2(0.5))
    with pytest.raises(UsageError, match="world 1, here it is 2"):
        ranks.load_state_dict(loader.state_dict())


def test_a_listening_sampler_goes_on_as_if_never_stopped():
    def train(loader, orders, stop=None):
        for number, batch in enumerate(loader, 1):
            loader.observe((batch % 7).float())
            orders.append(batch.tolist())
            if number == stop:
                return

    whole, parted = [], []
    loader = dp.prune(loader_of(), Listening())
    for _ in range(3):
        train(loader, whole)
    first = dp.prune(loader_of(), Listening())
    train(first, parted)
    train(first, parted, stop=2)
    second = dp.prune(loader_of(), Listening())
    second.load_state_dict(first.state_dict())
    train(second, parted)
    train(second, parted)
    assert parted == whole
    assert len(whole) > 5


@pytest.mark.parametrize("stop", [2, 5])
def test_what_was_observed_counts_where_the_rest_of_an_epoch_is_not_wanted(stop):
    """Trainers that save after the last batch of an epoch go on with the next."""

    def train(loader, stop):
        for _, batch in zip(range(stop), loader, strict=False):
            loader.observe((batch % 7).float())
        return loader.state_dict()

    whole = dp.prune(loader_of(), dp.InfoBatch(epochs=9))
    state = train(whole, stop)
    whole.set_epoch(1)
    resumed = dp.prune(loader_of(), dp.InfoBatch(epochs=9))
    resumed.load_state_dict(state)
    resumed.set_epoch(1)
    assert seen(resumed) == seen(whole)
    assert resumed.bound.saved == whole.bound.saved


# listening


def test_observe_weighs_and_listens():
    x, y = torch.randn(N, 3), torch.arange(N) % 2
    model = torch.nn.Linear(3, 2)
    loader = dp.prune(DataLoader(TensorDataset(x, y), 6, shuffle=True), Listening())
    lengths = []
    for epoch in range(3):
        lengths.append(len(loader))
        for xs, ys in loader:
            losses = F.cross_entropy(model(xs), ys, reduction="none")
            loss = loader.observe(losses)
            weight = loader._cursor.sampler.draw(epoch)[1][loader.indices]
            torch.testing.assert_close(loss, (weight * losses).mean())
            assert epoch == 0 or set(weight.tolist()) <= {1.0, 2.0}
            model.zero_grad()
            loss.backward()
            expected = torch.autograd.grad(
                (weight * F.cross_entropy(model(xs), ys, reduction="none")).sum() / len(xs),
                model.weight,
            )[0]
            torch.testing.assert_close(model.weight.grad, expected)
    assert lengths[0] == 4
    assert lengths[1] < 4  # what was observed took effect


def test_weights_of_a_selection_count_in_observe():
    selection = dp.Selection(torch.tensor([2, 5, 7]), n=N, weights=torch.tensor([0.5, 1.5, 1]))
    loader = dp.prune(loader_of(batch_size=3, shuffle=False), selection)
    for _ in loader:
        losses = torch.tensor([1.0, 10, 100], requires_grad=True)
        loader.observe(losses).backward()
        torch.testing.assert_close(losses.grad, torch.tensor([0.5, 1.5, 1]) / 3)
    (plain,) = [loader.observe(torch.tensor([1.0, 3])) for loader in [_first([2, 5])]]
    assert plain == 2


def _first(indices):
    loader = dp.prune(loader_of(shuffle=False), indices)
    next(iter(loader))
    return loader


def test_half_losses_are_averaged_in_float32():
    selection = dp.Selection(torch.tensor([2, 5]), n=N, weights=torch.tensor([1.001, 0.999]))
    loader = dp.prune(loader_of(shuffle=False), selection)
    next(iter(loader))
    mean = loader.observe(torch.tensor([1000, 1.0], dtype=torch.float16))
    assert mean.dtype == torch.float32
    torch.testing.assert_close(mean, torch.tensor(1001.999 / 2))


def test_processes_that_cannot_hear_each_other_are_refused():
    """Each would draw by its own losses: shares would overlap and leave examples out."""
    loader = dp.prune(loader_of(), dp.InfoBatch(4), rank=0, world=2)
    next(iter(loader))
    with pytest.raises(UsageError, match="2 processes.* joins 1; call torch.distributed.init"):
        loader.observe(torch.ones(4))
    deaf = dp.prune(loader_of(), dp.RS2(0.5), rank=0, world=2)
    next(iter(deaf))
    assert deaf.observe(torch.ones(4)) == 1


@pytest.mark.parametrize("sampler", [dp.InfoBatch(4), dp.ByScore(0.5, "loss")])
def test_a_loop_that_forgets_to_tell_is_told_once(sampler):
    loader = dp.prune(loader_of(), sampler)
    next(iter(loader))  # a look at a batch is no epoch
    with pytest.warns(UserWarning, match="heard no loss in a whole epoch.*loader.observe"):
        seen(loader)
    seen(loader)  # a warning would be an error here
    seen(dp.prune(loader_of(), dp.RS2(0.5)))


def test_observe_says_what_is_wrong():
    loader = dp.prune(loader_of(), dp.RS2(0.5))
    with pytest.raises(UsageError, match="inside the loop"):
        loader.observe(torch.ones(4))
    for _ in loader:
        for losses in (torch.tensor(1.0), torch.ones(3), torch.ones(4, 1)):
            with pytest.raises(UsageError, match=r'the 4 rows, got shape .*reduction="none"'):
                loader.observe(losses)
        with pytest.raises(UsageError, match="a tensor of one loss for each.* got list"):
            loader.observe([1.0, 2.0, 3.0, 4.0])
        break
