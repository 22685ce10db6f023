"""Views and rendering: against a reference that goes pixel by pixel, and against each other."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from datapruner.augment import Augment, Normalise, _render_torch, render, views
from datapruner.errors import UsageError

TABLE = Normalise((0.4, 0.5, 0.6), (0.2, 0.25, 0.3)).table()


def pictures(n=20, shape=(3, 9, 11), seed=0):
    some = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (n, *shape), dtype=torch.uint8, generator=some)


def slowly(picture, view, augment, table):
    """Pad, cut out the window, mirror, look up, cover: one step after the other."""
    channels, height, width = picture.shape
    pad = augment.crop
    row, column, flip, y0, x0 = view.tolist()
    padded = np.zeros((channels, height + 2 * pad, width + 2 * pad), np.uint8)
    padded[:, pad : pad + height, pad : pad + width] = picture
    window = padded[:, row : row + height, column : column + width]
    if flip:
        window = window[:, :, ::-1]
    out = np.empty((channels, height, width), np.float32)
    for c in range(channels):
        for i in range(height):
            for j in range(width):
                out[c, i, j] = table[c, window[c, i, j]]
                top, left = y0 - augment.cutout // 2, x0 - augment.cutout // 2
                if top <= i < top + augment.cutout and left <= j < left + augment.cutout:
                    out[c, i, j] = 0
    return out


@settings(max_examples=80)
@given(
    flip=st.booleans(),
    crop=st.sampled_from([0, 1, 4, 13]),  # also more than the side
    cutout=st.sampled_from([0, 1, 4, 5, 30]),
    shape=st.sampled_from([(3, 9, 11), (3, 8, 8), (3, 1, 1), (3, 11, 4)]),
    seed=st.integers(0, 99),
)
def test_kernel_equals_reference_and_torch_path(flip, crop, cutout, shape, seed):
    source, augment = pictures(shape=shape), Augment(flip, crop, cutout)
    rows = torch.tensor([3, 19, 0, 3, 7])
    view = views(rows.numpy(), augment, shape, seed, 2)
    found = render(source, rows, view, augment, TABLE)
    assert found.shape == (5, *shape)
    assert found.dtype == torch.float32
    for b, row in enumerate(rows.tolist()):
        expected = slowly(source[row].numpy(), view[b], augment, TABLE.numpy())
        assert (found[b].numpy() == expected).all()
    on_gpu = _render_torch(source, rows, torch.from_numpy(view), augment, TABLE)
    assert torch.equal(found, on_gpu)
    assert on_gpu.is_contiguous()


@pytest.mark.gpu
def test_the_same_on_a_gpu():
    source, rows, augment = pictures(), torch.arange(20), Augment(True, 2, 4)
    view = views(rows.numpy(), augment, (3, 9, 11), 0, 0)
    here = render(source, rows, view, augment, TABLE)
    assert torch.equal(here, render(source.cuda(), rows, view, augment, TABLE).cpu())


@pytest.mark.parametrize(("row", "column"), [(0, 0), (0, 10), (8, 0), (8, 10), (4, 5)])
@pytest.mark.parametrize("side", [1, 2, 5])
def test_cutout_reaches_over_edges_and_nowhere_else(row, column, side):
    source = torch.full((1, 3, 9, 11), 255, dtype=torch.uint8)
    view = np.array([[0, 0, 0, row, column]], np.int32)
    grey = render(source, torch.tensor([0]), view, Augment(cutout=side), TABLE)[0, 0] == 0
    top, left = row - side // 2, column - side // 2
    expected = torch.zeros(9, 11, dtype=torch.bool)
    expected[max(0, top) : max(0, top + side), max(0, left) : max(0, left + side)] = True
    assert torch.equal(grey, expected)


def test_hand_worked_crop_and_flip():
    source = torch.tensor([[[[10, 20, 30]]]], dtype=torch.uint8)  # one picture of one row
    table = torch.arange(256.0)[None]

    def row(*view):
        view = np.array([[*view, 0, 0]], np.int32)
        return render(source, torch.tensor([0]), view, Augment(True, 1), table).flatten().tolist()

    assert row(1, 1, 0) == [10, 20, 30]
    assert row(1, 0, 0) == [0, 10, 20]  # the window stands one to the left
    assert row(1, 2, 0) == [20, 30, 0]
    assert row(1, 1, 1) == [30, 20, 10]
    assert row(1, 0, 1) == [20, 10, 0]
    assert row(0, 1, 0) == [0, 0, 0]


# views


@given(
    index=st.lists(st.integers(0, 10**12), min_size=1, max_size=20),
    seed=st.integers(0, 2**40),
    epoch=st.integers(0, 1000),
)
def test_a_view_does_not_depend_on_the_others(index, seed, epoch):
    augment = Augment(True, 4, 8)
    whole = views(np.array(index), augment, (3, 32, 32), seed, epoch)
    for place, i in enumerate(index):
        alone = views(np.array([i]), augment, (3, 32, 32), seed, epoch)
        assert (alone[0] == whole[place]).all()


def test_views_cover_everything_evenly():
    n, augment = 40_000, Augment(True, 2, 3)
    found = views(np.arange(n), augment, (3, 7, 6), seed=1, epoch=4)
    for column, choices in enumerate([5, 5, 2, 7, 6]):
        counts = np.bincount(found[:, column], minlength=choices)
        assert len(counts) == choices
        assert (np.abs(counts - n / choices) < 5 * (n / choices) ** 0.5).all()
    joint = np.bincount(found[:, 0] * 10 + found[:, 1] * 2 + found[:, 2], minlength=50)
    assert (np.abs(joint - n / 50) < 5 * (n / 50) ** 0.5).all()  # and they are independent


def test_views_change_with_epoch_and_seed_and_only_what_is_asked_for():
    index = np.arange(500)
    first = views(index, Augment(True, 4, 8), (3, 32, 32), 0, 0)
    for seed, epoch in ((0, 1), (1, 0)):
        other = views(index, Augment(True, 4, 8), (3, 32, 32), seed, epoch)
        agree = (first == other).mean(0)
        assert (agree[:2] < 0.2).all()
        assert 0.4 < agree[2] < 0.6
    plain = views(index, Augment(cutout=8), (3, 32, 32), 0, 0)
    assert (plain[:, :3] == 0).all()
    assert (plain[:, 3:] == first[:, 3:]).all()  # the same hole with or without a crop


# normalisation


def test_normalise_agrees_with_numpy():
    x = pictures(300, (3, 5, 6), seed=1)
    x[:, 1] = x[:, 1] // 3
    rows = torch.arange(0, 300, 7)
    for chosen in (None, rows):
        found = Normalise.of(x, chosen)
        own = (x if chosen is None else x[chosen]).numpy().astype(np.float64) / 255
        np.testing.assert_allclose(found.mean, own.mean((0, 2, 3)), rtol=1e-12)
        np.testing.assert_allclose(found.std, own.std((0, 2, 3)), rtol=1e-9)
        own = (own - own.mean((0, 2, 3))[:, None, None]) / own.std((0, 2, 3))[:, None, None]
        at = rows if chosen is not None else torch.arange(300)
        np.testing.assert_allclose(
            render(x, at, None, Augment(), found.table()).numpy(), own, rtol=0, atol=1e-6
        )


def test_large_pictures_are_measured_in_parts():
    x = pictures(9, (1, 1500, 1000))  # three at once
    assert Normalise.of(x).mean[0] == pytest.approx(float(x.double().mean()) / 255, rel=1e-12)


def test_a_constant_channel_is_not_blown_up():
    x = torch.full((4, 1, 3, 3), 128, dtype=torch.uint8)
    assert Normalise.of(x).std == (1.0,)


def test_a_table_of_other_channels_is_refused():
    with pytest.raises(UsageError, match="of 1 channels for pictures of 3"):
        render(pictures(), torch.tensor([0]), None, Augment(), TABLE[:1])


# words


@pytest.mark.parametrize(
    ("text", "shape", "expected"),
    [
        ("auto", (3, 32, 32), Augment(True, 4)),
        ("auto", (3, 4, 4), Augment(True, 1)),
        ("auto", (1, 28, 28), Augment()),
        ("auto", (), Augment()),
        ("none", (3, 32, 32), Augment()),
        ("", (3, 32, 32), Augment()),
        (" flip , cutout=8", (), Augment(True, 0, 8)),
        ("crop=4,cutout=16,flip", (), Augment(True, 4, 16)),
    ],
)
def test_what_can_be_written(text, shape, expected):
    assert Augment.parse(text, shape) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("flop", "'flop' is not known; did you mean 'flip'"),
        ("crop", "'crop' needs a size in pixels, such as crop=4"),
        ("crop=-1", "needs a size"),
        ("crop=2.5", "needs a size"),
        ("cutout=²", "needs a size"),
        ("flip=3", "flip has no size"),
        ("auto,cutout=8", "'auto' stands alone"),
        ("flip,none", "'none' stands alone"),
    ],
)
def test_what_cannot(text, message):
    with pytest.raises(UsageError, match=message):
        Augment.parse(text)
