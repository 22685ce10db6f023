"""TensorLoader and TorchLoader: the same bits in exactly the order that they are given."""

import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils.data import TensorDataset

import datapruner as dp
from datapruner.augment import Normalise
from datapruner.errors import UsageError

N = 50
ORDER = torch.tensor([7, 3, 49, 0, 11, 2, 3])  # 3 twice: an order is an order


@pytest.fixture(scope="module")
def colour():
    """Open colour pictures that are held in memory."""
    some = torch.Generator().manual_seed(5)
    x = torch.randint(0, 256, (N, 3, 12, 12), dtype=torch.uint8, generator=some)
    return dp.open_data(TensorDataset(x, torch.arange(N) % 4))


@pytest.fixture
def global_generators():
    """Check that the global generators are where they were."""

    def state():
        return torch.get_rng_state().tolist(), np.random.get_state()[1].tolist(), random.getstate()  # noqa: NPY002

    before = state()
    yield
    assert state() == before


def passes(loader, order=ORDER, *, epochs=(0, 3), train=True):
    return [list(loader(order, epoch=epoch, train=train)) for epoch in epochs]


def same(one, other):
    """Tell whether passes are the same, bit for bit."""
    for a, b in zip(one, other, strict=True):
        for left, right in zip(a, b, strict=True):
            for first, second in zip(left, right, strict=True):
                assert first.dtype == second.dtype
                assert torch.equal(first, second)
    return True


# both loaders


@pytest.mark.parametrize("augment", ["none", "auto", "flip,crop=2,cutout=4"])
@pytest.mark.parametrize("train", [True, False])
def test_the_same_bits(colour, augment, train, global_generators):
    tensor = dp.TensorLoader(colour, 3, seed=2, augment=augment)
    torch_ = dp.TorchLoader(colour, 3, seed=2, augment=augment)
    assert tensor.normalise == torch_.normalise
    assert same(passes(tensor, train=train), passes(torch_, train=train))


@pytest.mark.parametrize("kind", [dp.TensorLoader, dp.TorchLoader])
def test_order_indices_labels_and_even_batches(colour, kind):
    batches = passes(kind(colour, 3), epochs=[0])[0]
    assert [batch.index.tolist() for batch in batches] == [[7, 3, 49], [0, 11], [2, 3]]
    for batch in batches:
        assert batch.index.dtype == batch.y.dtype == torch.int64
        assert torch.equal(batch.y, colour.labels[batch.index])
        assert batch.x.dtype == torch.float32
        assert batch.x.shape == (len(batch.index), 3, 12, 12)
    assert passes(kind(colour, 3), torch.tensor([], dtype=torch.int64)) == [[], []]
    sizes = [len(b.index) for b in kind(colour, 7)(torch.arange(N))]
    assert sizes == [7] * 2 + [6] * 6


@pytest.mark.parametrize("kind", [dp.TensorLoader, dp.TorchLoader])
def test_a_view_is_of_seed_epoch_and_index_alone(colour, kind):
    loader = kind(colour, 3, seed=1, augment="flip,crop=3")
    seen = {int(i): x for b in loader(torch.arange(N), epoch=4) for i, x in zip(b.index, b.x)}  # noqa: B905
    for batch in kind(colour, 5, seed=1, augment="flip,crop=3")(ORDER, epoch=4):
        for i, x in zip(batch.index.tolist(), batch.x, strict=True):
            assert torch.equal(x, seen[i])
    other_epoch, other_seed = (
        next(iter(kind(colour, N, seed=s, augment="flip,crop=3")(torch.arange(N), epoch=e)))
        for s, e in ((1, 5), (2, 4))
    )
    for other in (other_epoch, other_seed):
        equal = sum(torch.equal(x, seen[i]) for i, x in enumerate(other.x))
        assert equal < N / 4


@pytest.mark.parametrize("kind", [dp.TensorLoader, dp.TorchLoader])
def test_scoring_is_not_augmented_and_of_no_epoch(colour, kind):
    plain = passes(kind(colour, 3, augment="none"), train=False)
    assert same(plain, passes(kind(colour, 3, augment="flip,crop=3,cutout=4"), train=False))
    assert same(plain[:1], plain[1:])
    everyone = next(iter(kind(colour, N)(torch.arange(N), train=False))).x
    torch.testing.assert_close(everyone.mean((0, 2, 3)), torch.zeros(3), rtol=0, atol=1e-4)
    torch.testing.assert_close(everyone.std((0, 2, 3)), torch.ones(3), rtol=0, atol=1e-3)


def test_batches_are_safe_to_keep_and_to_change(colour):
    loader = dp.TensorLoader(colour, 3)
    first, second = passes(loader, train=False)
    for batch in first:
        batch.x.fill_(7)
        batch.y.fill_(-1)
    assert same([second], passes(loader, train=False)[:1])


def test_a_test_loader_takes_over_the_mean_and_spread(colour):
    given = Normalise((0.1, 0.2, 0.3), (0.5, 0.5, 0.5))
    for kind in (dp.TensorLoader, dp.TorchLoader):
        loader = kind(colour, 2, normalise=given)
        assert loader.normalise is given
        x = next(iter(loader(torch.tensor([4]), train=False))).x
        own = colour.x[4].double() / 255
        own = (own - torch.tensor(given.mean)[:, None, None].double()) / 0.5
        torch.testing.assert_close(x[0].double(), own, rtol=0, atol=1e-6)
    grey = dp.open_data("digits")
    with pytest.raises(UsageError, match="of 3 channels for pictures of 1"):
        next(iter(dp.TensorLoader(grey, normalise=given)(ORDER)))


@pytest.mark.parametrize(
    ("x", "dtype"),
    [
        (np.random.default_rng(0).normal(size=(N, 6)), torch.float32),
        (np.random.default_rng(0).integers(0, 999, (N, 6)), torch.int64),
    ],
)
def test_what_is_no_picture_leaves_as_it_is(x, dtype, tmp_path):
    np.savez(tmp_path / "rows.npz", x=x, y=np.arange(N) % 3)
    data = dp.open_data(tmp_path / "rows.npz")
    tensor, torch_ = dp.TensorLoader(data, 3), dp.TorchLoader(data, 3)
    assert tensor.normalise is None
    assert same(passes(tensor), passes(torch_))
    batch = next(iter(tensor(ORDER)))
    assert batch.x.dtype == dtype
    assert torch.equal(batch.x, torch.from_numpy(x[ORDER[:3]]).to(dtype))
    for kind in (dp.TensorLoader, dp.TorchLoader):
        with pytest.raises(UsageError, match="flip.* is for uint8 pictures"):
            kind(data, 3, augment="flip")


def test_unreadable_pictures_do_not_count_in_the_mean(colour):
    readable = torch.ones(N, dtype=torch.bool)
    readable[:10] = False
    x = colour.x.clone()
    x[:10] = 0
    data = replace(colour, readable=readable, x=x)
    loaders = dp.TensorLoader(data, 3), dp.TorchLoader(data, 3)
    for loader in loaders:
        assert loader.readable is readable
        expected = x[10:].double().mean((0, 2, 3)) / 255
        torch.testing.assert_close(torch.tensor(loader.normalise.mean).double(), expected)
    none = replace(colour, readable=torch.zeros(N, dtype=torch.bool))
    for kind in (dp.TensorLoader, dp.TorchLoader):
        with pytest.raises(UsageError, match="no readable example"):
            kind(none)


@pytest.mark.parametrize("kind", [dp.TensorLoader, dp.TorchLoader])
def test_refuses(colour, kind):
    with pytest.raises(UsageError, match="batch_size=0 must be at least 1"):
        kind(colour, 0)
    with pytest.raises(UsageError, match="did you mean 'flip'"):
        kind(colour, augment="flipp")
    loader = kind(colour)
    for order, message in (([0, N], f"index {N} is outside"), ([-1], "index -1 is outside")):
        with pytest.raises(UsageError, match=message):
            next(loader(torch.tensor(order)))
    with pytest.raises(UsageError, match="one dimension"):
        next(loader(torch.zeros(2, 2)))
    for order in (torch.ones(N, dtype=torch.bool), torch.tensor([0.5, 1.5])):
        with pytest.raises(UsageError, match="places, whole numbers"):  # a mask would read row 1
            next(loader(order))


def test_what_is_read_when_asked_for_is_not_for_tensor_loader(colour):
    with pytest.raises(UsageError, match="not held in memory; use TorchLoader"):
        dp.TensorLoader(replace(colour, x=None))


# training


@pytest.mark.parametrize("augment", ["none", "flip,crop=1"])
@pytest.mark.parametrize("sampler", [None, dp.RS2(0.4, seed=3)])
def test_the_same_weights_bit_for_bit(augment, sampler):
    data = dp.open_data("digits")
    run = dp.Run(model="mlp", epochs=2, lr=0.1, precision="float32")
    states = []
    for kind in (dp.TensorLoader, dp.TorchLoader):
        model = dp.make_model("mlp", data.num_classes, data.shape, seed=1)
        history = dp.fit(model, kind(data, 64, seed=4, augment=augment), sampler, run)
        assert history.epochs[-1].train_accuracy > 0.15
        states.append(model.state_dict())
    untrained = dp.make_model("mlp", data.num_classes, data.shape, seed=1).state_dict()
    for name, value in states[0].items():
        assert torch.equal(value, states[1][name])
        assert not torch.equal(value, untrained[name])
