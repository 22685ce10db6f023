"""TorchLoader with worker processes, and over data sets with transforms of their own."""

import random

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset, TensorDataset

import datapruner as dp
from datapruner.augment import Normalise
from datapruner.errors import PrunerError, UsageError

ORDER = torch.tensor([7, 3, 29, 0, 11, 2, 5, 8, 21])
HALF = Normalise((0.5,) * 3, (0.5,) * 3)


class Rows(Dataset):
    """Rows from a function of the index."""

    def __init__(self, make, n=30):
        self.make, self.labels = make, [i % 3 for i in range(n)]

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, i):
        return self.make(i), self.labels[i]


def noisy(i):
    """Make a row of numbers from the three global generators, as transforms do."""
    return torch.tensor([i, random.random(), np.random.rand(), torch.rand(()).item()])  # noqa: NPY002


def loaded(loader, order=ORDER, epoch=0, train=True):
    batches = list(loader(order, epoch=epoch, train=train))
    assert torch.cat([b.index for b in batches]).tolist() == order.tolist()
    return torch.cat([b.x for b in batches])


@pytest.fixture(scope="module")
def colour():
    some = torch.Generator().manual_seed(5)
    x = torch.randint(0, 256, (30, 3, 12, 12), dtype=torch.uint8, generator=some)
    return dp.open_data(TensorDataset(x, torch.arange(30) % 4))


def test_workers_give_the_same_bits_in_order_pass_after_pass(colour):
    tensor, torch_ = (
        dp.TensorLoader(colour, 2, seed=1),
        dp.TorchLoader(colour, 2, seed=1, workers=2),
    )
    for epoch, order in enumerate([ORDER, torch.arange(30).flip(0), ORDER[:1], ORDER[:0], ORDER]):
        for train in (True, False):
            expected = list(tensor(order, epoch=epoch, train=train))
            found = list(torch_(order, epoch=epoch, train=train))
            assert len(found) == len(expected)
            for a, b in zip(found, expected, strict=True):
                assert all(torch.equal(u, v) for u, v in zip(a, b, strict=True))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_pass_that_is_broken_off_leaves_nothing_behind(colour, workers):
    loader = dp.TorchLoader(colour, 2, seed=1, workers=workers)
    whole = loaded(loader, epoch=5)
    for _ in loader(torch.arange(30), epoch=1):
        break
    assert torch.equal(loaded(loader, epoch=5), whole)
    left = loader(torch.arange(30), epoch=1)
    next(left)
    assert torch.equal(loaded(loader, epoch=5), whole)
    if workers:
        with pytest.raises(UsageError, match="a later pass over this loader has ended this one"):
            next(left)
    else:  # nothing is shared, so both may go on
        assert next(left).index.tolist() == [2, 3]
        assert torch.equal(next(left).x, next(dp.TorchLoader(colour, 2, seed=1)([4, 5], epoch=1)).x)


def test_transforms_draw_by_seed_epoch_and_index():
    """Whatever the batch, the process, the order, and what was drawn before."""
    data = dp.open_data(Rows(noisy))
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    reference = loaded(dp.TorchLoader(data, 30), torch.arange(30), epoch=2)
    for workers, batch in ((0, 4), (2, 4), (2, 1)):
        loader = dp.TorchLoader(data, batch, workers=workers)
        for _ in range(2):
            assert torch.equal(loaded(loader, epoch=2), reference[ORDER])
        assert not torch.equal(loaded(loader, epoch=3), reference[ORDER])
    assert not torch.equal(loaded(dp.TorchLoader(data, 4, seed=1), epoch=2), reference[ORDER])
    assert (reference[:, 1:].unique(dim=0)).shape == (30, 3)  # each draws its own
    scoring = loaded(dp.TorchLoader(data, 4), epoch=2, train=False)
    assert torch.equal(loaded(dp.TorchLoader(data, 3), epoch=9, train=False), scoring)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()  # noqa: NPY002
    assert random.getstate() == before[2]


def test_passes_side_by_side_without_workers_keep_their_epochs():
    loader = dp.TorchLoader(dp.open_data(Rows(noisy)), 2)
    first, second = loader(ORDER, epoch=1), loader(ORDER.flip(0), epoch=2, train=False)
    mixed = [(next(first), next(second)) for _ in range(5)]
    assert torch.equal(torch.cat([a.x for a, _ in mixed]), loaded(loader, epoch=1))
    expected = loaded(loader, ORDER.flip(0), epoch=2, train=False)
    assert torch.equal(torch.cat([b.x for _, b in mixed]), expected)


def test_generators_are_put_back_when_reading_fails():
    def fails(i):
        torch.rand(3)
        if i == 4:
            raise ValueError("on purpose")
        return torch.zeros(2)

    loader = dp.TorchLoader(dp.open_data(Rows(fails)), 3)
    before = torch.get_rng_state()
    with pytest.raises(ValueError, match="on purpose"):
        list(loader(torch.tensor([1, 4])))
    assert torch.equal(torch.get_rng_state(), before)


def test_kinds_of_pictures():
    """PIL in any mode, arrays and tensors (C, H, W): all leave as float32 (C, H, W)."""
    array = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    picture = Image.fromarray(array)
    planes = array.transpose(2, 0, 1).copy()
    plain = loaded(dp.TorchLoader(dp.open_data(Rows(lambda i: picture)), 2, augment="none"))
    assert plain.shape == (9, 3, 5, 7)
    assert plain.dtype == torch.float32
    for same in (planes, torch.from_numpy(planes), picture.convert("RGBA")):
        data = dp.open_data(Rows(lambda i, same=same: same))
        assert torch.equal(loaded(dp.TorchLoader(data, 2, augment="none")), plain)
    few = picture.quantize(4)
    palette, colours = (
        loaded(dp.TorchLoader(dp.open_data(Rows(lambda i, x=x: x)), 2, augment="none"))
        for x in (few, few.convert("RGB"))
    )
    assert torch.equal(palette, colours)  # colours, not places in the palette
    for grey in ("L", "1", "LA"):
        data = dp.open_data(Rows(lambda i, grey=grey: picture.convert(grey)))
        assert loaded(dp.TorchLoader(data, 2)).shape == (9, 1, 5, 7)
    floats = dp.open_data(Rows(lambda i: planes / 255))
    torch.testing.assert_close(
        loaded(dp.TorchLoader(floats, 2))[0], torch.from_numpy(planes / 255).float()
    )


def test_rows_of_numbers_are_float32():
    data = dp.open_data(Rows(lambda i: np.arange(4) + i / 8))
    x = loaded(dp.TorchLoader(data, 2))
    assert x.dtype == torch.float32
    assert x[1].tolist() == [3.375 - 3 + k for k in range(4)]
    tokens = dp.open_data(Rows(lambda i: np.arange(4)))
    assert loaded(dp.TorchLoader(tokens, 2)).dtype == torch.int64


@pytest.mark.parametrize("workers", [0, 1])
def test_what_goes_wrong_is_one_line(workers):
    sizes = dp.open_data(Rows(lambda i: Image.new("RGB", (4 + i, 5))))
    with pytest.raises(
        UsageError, match=r"^examples of a batch differ in shape: .*image_size"
    ) as e:
        loaded(dp.TorchLoader(sizes, 2, workers=workers, normalise=None, augment="none"))
    assert "\n" not in str(e.value)

    def unreadable(i):
        if i == 3:
            raise PrunerError("3.png: cannot be read; remove it")
        return torch.zeros(2)

    loader = dp.TorchLoader(dp.open_data(Rows(unreadable)), 2, workers=workers)
    with pytest.raises(PrunerError, match=r"^3.png: cannot be read; remove it$"):
        loaded(loader)


@pytest.mark.parametrize("x", ["some text", {"ids": [1]}, (torch.zeros(2), torch.ones(2)), None])
def test_an_example_that_is_no_tensor_is_named(x):
    kind = type(x).__name__
    with pytest.raises(UsageError, match=f"example 0 is a {kind}, which is no tensor of numbers"):
        dp.TorchLoader(dp.open_data([(x, 0), (x, 1)]))


@pytest.fixture(scope="module")
def photographs(shared_data, tmp_path_factory):
    """Open a folder of twelve photographs in two classes, no two of one size."""
    root, pictures = tmp_path_factory.mktemp("photographs"), shared_data / "imagenette-mini"
    for i, path in enumerate(sorted(pictures.rglob("*.JPEG"))[::20][:12]):
        folder = root / "train" / f"class{i % 2}"
        folder.mkdir(parents=True, exist_ok=True)
        picture = Image.open(path).convert("RGB")
        picture.crop((0, 0, picture.width - 5 * i, picture.height - 2 * i)).save(
            folder / f"{i:02d}.jpg"
        )
    return dp.open_data(root)


def test_photographs_are_brought_to_a_size(photographs):
    data, order = photographs, torch.tensor([3, 11, 0, 5])
    assert (data.n, data.x) == (12, None)
    loader = dp.TorchLoader(data, 3, seed=1, image_size=112, normalise=HALF)
    first = loaded(loader, order, epoch=1)
    assert first.shape == (4, 3, 112, 112)
    assert torch.equal(loaded(loader, order, epoch=1), first)
    assert not torch.equal(loaded(loader, order, epoch=2), first)
    workers = dp.TorchLoader(data, 2, seed=1, image_size=112, normalise=HALF, workers=2)
    assert torch.equal(loaded(workers, order, epoch=1), first)
    scoring = loaded(loader, order, train=False)
    assert torch.equal(loaded(workers, order, epoch=7, train=False), scoring)
    for row, i in zip(scoring, order.tolist(), strict=True):
        picture = data.picture(i)
        side = min(picture.size) * 112 / 128  # resized to 128, of which the centre is cut
        left, top = (picture.width - side) / 2, (picture.height - side) / 2
        box = (left, top, left + side, top + side)
        centre = np.asarray(picture.resize((112, 112), Image.Resampling.BILINEAR, box))
        found = (row * 0.5 + 0.5).permute(1, 2, 0).numpy() * 255
        assert np.abs(found - centre).mean() < 8


def test_pictures_in_memory_can_be_brought_to_a_size_as_well(colour):
    loader = dp.TorchLoader(colour, 4, image_size=8)
    assert loaded(loader).shape == (9, 3, 8, 8)
    assert not torch.equal(loaded(loader), loaded(loader, epoch=1))
    whole = loaded(loader, torch.arange(30), train=False)
    torch.testing.assert_close(whole.std((0, 2, 3)), torch.ones(3), rtol=0, atol=1e-3)
    with pytest.raises(UsageError, match="made by image_size; leave it at auto or none"):
        dp.TorchLoader(colour, 4, image_size=8, augment="flip")


def test_photographs_of_many_sizes_need_one(photographs):
    with pytest.raises(UsageError, match="differ in shape.*image_size"):
        dp.TorchLoader(photographs, 3, augment="none")
