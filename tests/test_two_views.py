"""Views of a picture: pure in (seed, epoch, index, view), and what is done to it."""

import numpy as np
import pytest
import torch

import datapruner as dp
from datapruner.augment import Normalise
from datapruner.two_views import TwoViewLoader, Views, draw_views, parameters

PLAIN = Normalise((0.0,) * 3, (1.0,) * 3)
STILL = Views(least=1.0, flip=False, jitter=0.0, grey=0.0)


@pytest.fixture(scope="module")
def colours() -> dp.Data:
    x = np.random.default_rng(0).integers(0, 256, (40, 3, 8, 8), np.uint8)
    rows = torch.utils.data.TensorDataset(torch.from_numpy(x), torch.arange(40) % 4)
    return dp.open_data(rows)


def how(views: Views, n: int = 500, **changed: int) -> np.ndarray:
    key = {"seed": 0, "epoch": 0, "view": 0} | changed
    return parameters(np.arange(n), views, (8, 8), **key)


@pytest.mark.parametrize("key", ["seed", "epoch", "view"])
def test_a_view_depends_on_seed_epoch_and_view(key):
    assert (how(Views()) == how(Views())).all()
    assert (how(Views()) != how(Views(), **{key: 1})).any(1).all()


def test_a_view_does_not_depend_on_the_batch_it_is_in(colours):
    order = torch.randperm(40, generator=torch.Generator().manual_seed(1))
    one, many = TwoViewLoader(colours, 40), TwoViewLoader(colours, 7)
    whole = next(one(torch.arange(40), epoch=3)).x
    for batch in many(order, epoch=3):
        assert torch.equal(batch.x, whole[torch.cat([batch.index, batch.index + 40])])
    assert not torch.equal(whole[:40], whole[40:])
    other = next(one(torch.arange(40), epoch=4)).x
    assert not torch.equal(whole, other)


def test_still_views_are_the_pictures(colours):
    square = how(STILL, 40)
    square[:, :4] = 0, 0, 8, 8
    x = draw_views(colours.x, torch.arange(40), square, PLAIN)
    torch.testing.assert_close(x, colours.x / 255)
    square[:, 4] = 1
    flipped = draw_views(colours.x, torch.arange(40), square, PLAIN)
    torch.testing.assert_close(flipped, (colours.x / 255).flip(3))


def test_a_crop_is_resized_bilinearly(colours):
    """Against torch's own, which clamps at the picture's edge where ours does."""
    square = how(STILL, 40)
    square[:, :4] = 0, 0, 8, 8
    small = draw_views(colours.x, torch.arange(40), square, PLAIN, size=5)
    expected = torch.nn.functional.interpolate(colours.x / 255, size=5, mode="bilinear")
    torch.testing.assert_close(small, expected, atol=1e-6, rtol=1e-5)


def test_crops_stay_inside_and_have_their_area():
    top, left, h, w = how(Views(least=0.2), 5000).T[:4]
    assert min(top.min(), left.min()) >= 0
    assert max((top + h).max(), (left + w).max()) <= 8 + 1e-5
    assert (h * w / 64).max() <= 1 + 1e-6
    assert (np.maximum(h / w, w / h) <= 4 / 3 + 1e-5).all()
    assert abs(np.mean(h * w / 64) - 0.59) < 0.02  # 0.6, less what the edge cuts off


def test_shares_of_what_happens():
    flip, grey = how(Views(), 5000)[:, 4].mean(), how(Views(), 5000)[:, 10].mean()
    still = (how(Views(), 5000)[:, 5] == 1).mean()
    np.testing.assert_allclose([flip, grey, still], [0.5, 0.2, 0.2], atol=0.03)


def test_colours_change_as_they_are_said_to():
    """One red picture, by hand: brightness, contrast, saturation, grey, and half a turn of hue."""
    x = torch.zeros(1, 3, 8, 8, dtype=torch.uint8)
    x[:, 0] = 200
    x[:, :, :, 4:] = 100
    still = how(STILL, 1)
    still[:, :4] = 0, 0, 8, 8

    def first_pixel(**changed: float) -> np.ndarray:
        columns = {"bright": 5, "contrast": 6, "saturation": 7, "cos": 8, "sin": 9, "grey": 10}
        one = still.copy()
        for name, value in changed.items():
            one[0, columns[name]] = value
        return draw_views(x, torch.tensor([0]), one, PLAIN)[0, :, 0, 0].numpy()

    red = 200 / 255
    pixel = np.array([red, 0, 0])
    np.testing.assert_allclose(first_pixel(bright=0.5), [red / 2, 0, 0], atol=1e-6)
    np.testing.assert_allclose(first_pixel(grey=1), [0.299 * red] * 3, atol=1e-6)
    mean = (0.299 * red + 100 / 255) / 2
    half = np.maximum(mean + (pixel - mean) / 2, 0)
    np.testing.assert_allclose(first_pixel(contrast=0.5), half, atol=1e-6)
    y = 0.299 * red
    np.testing.assert_allclose(first_pixel(saturation=0.5), y + (pixel - y) / 2, atol=1e-6)
    turned = first_pixel(cos=-1, sin=0.0001)
    assert turned[0] < turned[1:].min()  # red becomes its complement


def test_grey_pictures_are_not_flipped_and_stay_grey():
    loader = TwoViewLoader(dp.open_data("digits"), 8)
    batch = next(loader(torch.arange(8)))
    assert batch.x.shape == (16, 1, 8, 8)
    assert not loader.views.flip


def test_without_training_the_pictures_are_plain(colours):
    plain = next(TwoViewLoader(colours, 40)(torch.arange(40), train=False)).x
    expected = next(dp.TensorLoader(colours, 40)(torch.arange(40), train=False)).x
    assert torch.equal(plain, expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"least": 0.0}, "least=0.0 must be a share"),
        ({"jitter": 2.0}, "jitter=2.0 and grey=0.2 must be within"),
        ({"size": -1}, "size=-1 must be a side"),
    ],
)
def test_impossible_views_are_refused(options, message):
    with pytest.raises(dp.UsageError, match=message):
        Views(**options)


def test_what_has_no_views_is_refused(colours):
    rows = dp.open_data(torch.utils.data.TensorDataset(torch.randn(9, 3), torch.arange(9) % 2))
    with pytest.raises(dp.UsageError, match="not a set of small pictures"):
        TwoViewLoader(rows)
    with pytest.raises(dp.UsageError, match="must be at least 2"):
        TwoViewLoader(colours, 1)
