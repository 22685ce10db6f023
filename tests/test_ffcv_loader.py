from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ffcv_files import BATCH, N, small_beton, small_data, threads
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset, TensorDataset

import datapruner as dp
from datapruner.augment import Normalise
from datapruner.errors import UsageError
from datapruner.ffcv import FFCVLoader, write_beton
from datapruner.ffcv.pictures import center_boxes, random_boxes
from datapruner.noise import flip_labels
from datapruner.sweep_shared import set_aside
from datapruner.training import make_loader

pytestmark = pytest.mark.ffcv

ORDER = torch.randperm(N, generator=torch.Generator().manual_seed(5))[:333]


@pytest.fixture(params=[(1, True), (3, True), (1, False), (3, False)], ids=str)
def small(request: Any) -> FFCVLoader:
    workers, os_cache = request.param
    return FFCVLoader(small_beton(), BATCH, workers=workers, os_cache=os_cache, seed=3)


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("augment", ["auto", "none", "flip,crop=4,cutout=8"])
def test_the_same_bits_as_tensor_loader(augment: str, train: bool) -> None:
    ours = FFCVLoader(small_beton(), BATCH, seed=3, augment=augment)
    theirs = dp.TensorLoader(small_data(), BATCH, seed=3, augment=augment)
    for epoch in range(2):
        pairs = zip(
            ours(ORDER, epoch=epoch, train=train),
            theirs(ORDER, epoch=epoch, train=train),
            strict=True,
        )
        for a, b in pairs:
            assert torch.equal(a.index, b.index)
            assert torch.equal(a.y, b.y)
            assert torch.equal(a.x, b.x)
            assert a.x.stride() == b.x.stride()


def test_every_kind_of_reading_gives_the_order(small: FFCVLoader) -> None:
    plain = dp.TensorLoader(small_data(), BATCH, seed=3)
    for order in (ORDER, ORDER[:1], torch.arange(N), ORDER[:BATCH]):
        given = list(small(order, epoch=1))
        assert torch.cat([b.index for b in given]).tolist() == order.tolist()
        sizes = [len(b.y) for b in given]
        assert len(given) == -(-len(order) // BATCH)
        assert max(sizes) - min(sizes) <= 1
        for a, b in zip(given, plain(order, epoch=1), strict=True):
            assert torch.equal(a.x, b.x)
    assert list(small(ORDER[:0])) == []


def test_rows_are_safe_to_keep(small: FFCVLoader) -> None:
    kept = list(small(torch.arange(N), train=False))
    copies = [b.x.clone() for b in kept]
    list(small(torch.arange(N).flip(0)))
    assert all(torch.equal(b.x, c) for b, c in zip(kept, copies, strict=True))
    kept[0].x.zero_()
    assert torch.equal(next(small(torch.arange(3), train=False)).x, copies[0][:3])


def test_breaking_off_leaves_no_thread(small: FFCVLoader) -> None:
    before = threads()
    for _ in small(torch.arange(N)):
        break
    passing = small(torch.arange(N))
    next(passing)
    del passing
    assert threads() == before
    with pytest.raises(UsageError, match="outside the data set"):
        next(small(torch.tensor([N])))


def test_passes_may_run_side_by_side(small: FFCVLoader) -> None:
    one = list(small(ORDER, epoch=1))
    both = zip(small(ORDER, epoch=1), small(ORDER, epoch=2), strict=True)
    for alone, (first, second) in zip(one, both, strict=True):
        assert torch.equal(alone.x, first.x)
        assert not torch.equal(first.x, second.x)


def test_drop_last() -> None:
    loader = FFCVLoader(small_beton(), BATCH, drop_last=True)
    assert [len(b.y) for b in loader(ORDER)] == [BATCH] * (len(ORDER) // BATCH)


@pytest.mark.parametrize("sampler", [dp.RS2(0.2), dp.InfoBatch(4)], ids=["rs2", "infobatch"])
def test_the_same_weights_as_the_other_loaders(sampler: Any) -> None:
    run = dp.Run(model="linear", epochs=4, batch_size=50, augment="none", lr=0.05, device="cpu")
    states, examples = [], set()
    for loader in (
        FFCVLoader(small_beton(), 50, augment="none"),
        dp.TorchLoader(small_data(), 50, augment="none"),
        dp.TensorLoader(small_data(), 50, augment="none"),
    ):
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3072, 10))
        examples.add(dp.fit(model, loader, sampler, run).examples)
        states.append(model[1].weight.detach().clone())
    assert torch.equal(states[0], states[1])
    assert torch.equal(states[0], states[2])
    assert max(examples) < 4 * N
    assert len(examples) == 1


def test_the_data_say_what_is_readable_and_labelled_how_not_the_file() -> None:
    data = dp.open_data(small_beton())
    flipped, wrong = flip_labels(data, 0.2)
    pool, held = set_aside(flipped, 0.1)
    loader = make_loader(pool, dp.Run(model="linear", batch_size=BATCH, augment="none"))
    batches = list(loader(torch.arange(N), train=False))
    assert torch.equal(torch.cat([b.y for b in batches]), flipped.labels)
    assert int((flipped.labels != data.labels).sum()) == int(wrong.sum()) > 0
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3072, 10))
    history = dp.fit(model, loader, None, dp.Run(epochs=1, lr=0.01, device="cpu"))
    assert history.examples == N - len(held)


def test_the_data_say_which_loader_they_need() -> None:
    data = dp.open_data(small_beton())
    assert data.dataset.beton == str(small_beton())
    assert FFCVLoader(small_beton()).readable.tolist() == data.readable.tolist()
    assert torch.equal(FFCVLoader(small_beton()).labels, data.labels)


@pytest.mark.parametrize(
    "x",
    [
        torch.randn(30, 7),
        torch.arange(60).reshape(30, 2),
        torch.arange(30 * 48).remainder(256).to(torch.uint8).reshape(30, 1, 8, 6),
    ],
    ids=["features", "tokens", "grey"],
)
def test_arrays_come_as_tensor_loader_gives_them(x: Tensor, tmp_path: Path) -> None:
    data = dp.open_data(TensorDataset(x, torch.arange(30) % 3))
    write_beton(data, tmp_path / "a.beton", workers=1)
    order = torch.randperm(30)
    ours, theirs = FFCVLoader(tmp_path / "a.beton", 8), dp.TensorLoader(data, 8)
    for a, b in zip(ours(order, epoch=2), theirs(order, epoch=2), strict=True):
        assert a.x.dtype == b.x.dtype
        assert torch.equal(a.x, b.x)
    with pytest.raises(UsageError, match="never resized"):
        FFCVLoader(tmp_path / "a.beton", preset="photo")


class Photos(Dataset[Any]):
    """Smooth pictures of different sizes."""

    targets = [i % 2 for i in range(40)]

    def __len__(self) -> int:
        return 40

    def __getitem__(self, i: int) -> tuple[Image.Image, int]:
        height, width = 60 + i, 90 - i
        rows, columns = np.mgrid[:height, :width]
        picture = np.stack([rows * 2, columns * 2, rows * 0 + 6 * i], 2).astype(np.uint8)
        return Image.fromarray(picture), self.targets[i]


@pytest.fixture(scope="module", params=["raw", "jpg", "proportion"])
def photos(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photos") / "p.beton"
    write_beton(dp.open_data(Photos()), path, mode=request.param, quality=95, workers=2)
    return path


@pytest.mark.parametrize(("workers", "os_cache"), [(1, True), (3, False)])
def test_a_photograph_looks_the_same_in_whatever_batch(
    photos: Path, workers: int, os_cache: bool
) -> None:
    loader = FFCVLoader(photos, 16, image_size=32, workers=workers, os_cache=os_cache, seed=1)
    alone = FFCVLoader(photos, 1, image_size=32, seed=1)
    order = torch.arange(40).flip(0)
    for train in (True, False):
        seen = {int(b.index): b.x[0] for b in alone(torch.arange(40), epoch=4, train=train)}
        for batch in loader(order, epoch=4, train=train):
            assert batch.x.shape[1:] == (3, 32, 32)
            assert batch.x.is_contiguous()
            for i, x in zip(batch.index.tolist(), batch.x, strict=True):
                assert torch.equal(x, seen[i])
    train = [next(loader(order[:16], epoch=e)).x for e in (0, 0, 1)]
    assert torch.equal(train[0], train[1])
    assert not torch.equal(train[0], train[2])


def test_scoring_looks_at_the_centre(photos: Path) -> None:
    plain = Normalise((0.0,) * 3, (1 / 255,) * 3)
    loader = FFCVLoader(photos, 40, image_size=28, normalise=plain)
    x = next(loader(torch.arange(40), train=False)).x
    for i in (0, 20, 39):
        height, width = 60 + i, 90 - i
        middle = 2 * torch.tensor([(height - 1) / 2, (width - 1) / 2, 3 * i])
        torch.testing.assert_close(x[i].mean((1, 2)), middle, atol=4, rtol=0.02)
        spread = x[i, 0].max() - x[i, 0].min()
        side = int(min(height, width) * 224 / 256)
        assert abs(spread - 2 * side * 27 / 28) < 8


def test_presets_are_checked(photos: Path) -> None:
    with pytest.raises(UsageError, match="use photo"):
        FFCVLoader(photos, preset="small")
    with pytest.raises(UsageError, match="did you mean 'photo'"):
        FFCVLoader(photos, preset="photos")  # type: ignore[arg-type]
    assert FFCVLoader(photos).shape == (3, 224, 224)
    assert FFCVLoader(small_beton()).shape == (3, 32, 32)
    assert FFCVLoader(small_beton(), image_size=24).shape == (3, 24, 24)


def test_unreadable_pictures_are_not_measured(tmp_path: Path) -> None:
    x = torch.full((20, 3, 4, 4), 100, dtype=torch.uint8)
    x[3] = 0
    data = dp.open_data(TensorDataset(x, torch.zeros(20)))
    data.readable[3] = False
    write_beton(data, tmp_path / "a.beton", workers=1)
    loader = FFCVLoader(tmp_path / "a.beton")
    assert loader.normalise is not None
    assert loader.normalise.mean == (100 / 255,) * 3
    assert not loader.readable[3]


def test_random_boxes_are_inside_and_as_torchvision_draws_them() -> None:
    index = np.arange(4000)
    height, width = np.full(4000, 300), np.full(4000, 400)
    boxes = random_boxes(index, height, width, seed=0, epoch=0)
    top, left, h, w = boxes.T
    assert (boxes >= 0).all()
    assert (top + h <= 300).all()
    assert (left + w <= 400).all()
    share = h * w / 120_000
    assert 0.07 < share.min() < share.max() <= 1
    ratio = w / h
    assert 0.74 < ratio.min() < ratio.max() < 1.35
    from datapruner.vision import torchvision

    crop = torchvision("transforms").RandomResizedCrop
    blank = torch.zeros(3, 300, 400)
    drawn = np.array([crop.get_params(blank, (0.08, 1.0), (3 / 4, 4 / 3)) for _ in range(4000)])
    np.testing.assert_allclose(
        share.mean(), (drawn[:, 2] * drawn[:, 3] / 120_000).mean(), atol=0.02
    )
    np.testing.assert_allclose(boxes.mean(0), drawn.mean(0), rtol=0.08)


def test_a_box_that_cannot_be_drawn_is_the_middle() -> None:
    boxes = random_boxes(np.arange(3), np.full(3, 10), np.full(3, 1000), seed=0, epoch=0)
    assert boxes.tolist() == center_boxes(np.full(3, 10), np.full(3, 1000)).tolist()
    assert boxes[0].tolist() == [0, 493, 10, 13]


@pytest.fixture(scope="module")
def operations() -> FFCVLoader:
    """Give a loader that runs FFCV's own operations."""
    from ffcv.fields.rgb_image import SimpleRGBImageDecoder
    from ffcv.transforms import Convert, RandomHorizontalFlip, ToTensor, ToTorchImage

    def ready() -> list[Any]:
        return [ToTensor(), ToTorchImage(), Convert(torch.float32)]

    return FFCVLoader(
        small_beton(),
        BATCH,
        workers=1,
        pipelines={
            "train": [SimpleRGBImageDecoder(), RandomHorizontalFlip(), *ready()],
            "eval": [
                SimpleRGBImageDecoder(),
                ToTensor(),
                ToTorchImage(),
                Convert(torch.float32),
            ],
        },
    )


def test_ffcvs_operations_give_the_order(operations: FFCVLoader) -> None:
    x = small_data().x
    assert x is not None
    for _ in range(2):
        kept = list(operations(ORDER, train=False))
        for batch in kept:
            assert torch.equal(batch.x, x[batch.index].float())
            assert torch.equal(batch.y, batch.index % 10)
        assert torch.cat([b.index for b in kept]).tolist() == ORDER.tolist()
    flipped = 0
    for batch in operations(ORDER):
        same = (batch.x == x[batch.index].float()).flatten(1).all(1)
        mirrored = (batch.x == x[batch.index].flip(3).float()).flatten(1).all(1)
        assert (same | mirrored).all()
        flipped += int(mirrored.sum())
    assert 100 < flipped < 233


def test_breaking_off_ffcvs_operations_leaves_no_thread(operations: FFCVLoader) -> None:
    before = threads()
    for _ in operations(ORDER, train=False):
        break
    assert threads() == before
    assert torch.get_num_threads() == 1


def test_both_pipelines_are_needed() -> None:
    with pytest.raises(UsageError, match="'eval'"):
        FFCVLoader(small_beton(), pipelines={"image": []})
