import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ffcv_files import N, pictures, small_beton, small_data
from PIL import Image
from torch.utils.data import Dataset, TensorDataset

import datapruner as dp
from datapruner.augment import Normalise
from datapruner.errors import PrunerError, Refused, UsageError
from datapruner.ffcv import adopt_beton, open_beton, write_beton

pytestmark = pytest.mark.ffcv


class Photos(Dataset[Any]):
    """Pictures of different sizes, read one at a time; the third does not decode."""

    def __init__(self, n: int = 12) -> None:
        self.targets = [i % 3 for i in range(n)]
        self.classes = ["bee", "cat", "dog"]

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, i: int) -> tuple[Image.Image, int]:
        if i >= len(self):
            raise IndexError
        if i == 2:
            raise OSError("broken")
        smooth = np.linspace(0, 200, 40 + i).astype(np.uint8)
        picture = np.stack([np.tile(smooth, (50, 1)) + i] * 3, 2)
        return Image.fromarray(picture), self.targets[i]


def photo_data() -> dp.Data:
    return dp.open_data(Photos())


def test_every_row_comes_back() -> None:
    data, back = small_data(), dp.open_data(small_beton())
    assert data.x is not None
    assert back.fingerprint == data.fingerprint
    assert (back.n, back.classes, back.split, back.name) == (N, data.classes, "train", data.name)
    assert torch.equal(back.labels, data.labels)
    assert back.readable.all()
    assert back.is_image
    for i in (0, 1, 682, 683, N - 1, -1):
        x, y = back.dataset[i]
        assert torch.equal(x, data.x[i])
        assert y == data.labels[i]
    with pytest.raises(IndexError):
        back.dataset[N]
    assert np.array_equal(np.array(back.picture(5)), data.x[5].permute(1, 2, 0).numpy())


def test_rows_go_to_worker_processes() -> None:
    rows = dp.open_data(small_beton()).dataset
    rows[0]  # the file is mapped
    assert len(pickle.dumps(rows)) < 200_000
    again = pickle.loads(pickle.dumps(rows))
    assert torch.equal(again[7][0], rows[7][0])


def test_labels_and_indices_lie_in_ffcvs_own_fields() -> None:
    from ffcv.reader import Reader

    reader = Reader(str(small_beton()))
    assert list(reader.handlers) == ["image", "label", "index"]
    assert reader.metadata["f1"].tolist() == (torch.arange(N) % 10).tolist()
    assert reader.metadata["f2"].tolist() == list(range(N))
    assert reader.metadata["f2"].dtype == np.int64


def test_what_is_reported(tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    data = dp.open_data(TensorDataset(pictures(300), torch.arange(300) % 2))
    path = tmp_path / "a.beton"
    written = write_beton(data, path, workers=1, progress=lambda *a: seen.append(a))
    assert (written.path, written.n, written.unreadable) == (path, 300, ())
    assert written.bytes == path.stat().st_size
    assert written.per_second > 0
    assert seen[-1] == ("writing a.beton", 300, 300)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.beton", "a.beton.json"]


def test_measures_what_tensor_loader_measures(tmp_path: Path) -> None:
    data = small_data()
    assert data.x is not None
    about = json.loads((small_beton().parent / "small.beton.json").read_text())
    assert Normalise(tuple(about["mean"]), tuple(about["std"])) == Normalise.of(data.x)


@pytest.mark.parametrize("mode", ["jpg", "smart"])
def test_jpeg_is_close(mode: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.beton"
    write_beton(photo_data(), path, mode=mode, smart_threshold=6000, quality=95, workers=1)
    rows = dp.open_data(path).dataset
    # the first has 6,000 bytes of pixels, and so has the black one in place of the third
    small = (0, 2) if mode == "smart" else ()
    assert rows.jpeg.tolist() == [i not in small for i in range(12)]
    for i in (0, 1, 11):
        want = np.array(Photos()[i][0]).transpose(2, 0, 1).astype(int)
        got = rows[i][0].numpy().astype(int)
        assert got.shape == want.shape
        assert np.abs(got - want).mean() < 3


def test_a_picture_that_does_not_decode_keeps_its_place(tmp_path: Path) -> None:
    path = tmp_path / "a.beton"
    written = write_beton(photo_data(), path, workers=2)
    assert written.unreadable == (2,)
    back = dp.open_data(path)
    assert back.readable.tolist() == [i != 2 for i in range(12)]
    assert not back.dataset[2][0].any()
    assert back.dataset[3][0].shape == (3, 50, 43)
    assert back.classes == ("bee", "cat", "dog")
    assert dp.open_data(path, strict=False).n == 12


def test_proportion_is_drawn_from_the_index(tmp_path: Path) -> None:
    data = dp.open_data(TensorDataset(pictures(200), torch.zeros(200, dtype=torch.int64)))
    stored = []
    for workers in (1, 2):
        path = tmp_path / f"{workers}.beton"
        write_beton(data, path, mode="proportion", compress_probability=0.3, workers=workers)
        stored.append(dp.open_data(path).dataset.jpeg)
    assert np.array_equal(*stored)
    assert 30 < stored[0].sum() < 90


def test_max_resolution(tmp_path: Path) -> None:
    path = tmp_path / "a.beton"
    write_beton(photo_data(), path, max_resolution=25, workers=1)
    assert dp.open_data(path).dataset[0][0].shape == (3, 25, 20)


@pytest.mark.parametrize(
    "x",
    [
        torch.randn(30, 7),
        torch.arange(60).reshape(30, 2),
        torch.arange(30 * 12, dtype=torch.int64)
        .remainder(256)
        .to(torch.uint8)
        .reshape(30, 1, 4, 3),
    ],
    ids=["features", "tokens", "grey"],
)
def test_arrays_keep_shape_and_type(x: torch.Tensor, tmp_path: Path) -> None:
    path = tmp_path / "a.beton"
    data = dp.open_data(TensorDataset(x, torch.arange(30) % 3))
    write_beton(data, path, workers=1)
    back = dp.open_data(path)
    assert back.is_image == data.is_image
    assert data.x is not None
    for i in (0, 29):
        assert back.dataset[i][0].dtype == data.x.dtype
        assert torch.equal(back.dataset[i][0], data.x[i])
    with pytest.raises(UsageError, match="stored raw"):
        write_beton(data, tmp_path / "b.beton", mode="jpg")


def test_refuses_to_overwrite(tmp_path: Path) -> None:
    path = tmp_path / "a.beton"
    path.write_bytes(b"mine")
    with pytest.raises(Refused, match="is there already"):
        write_beton(small_data(), path)
    assert path.read_bytes() == b"mine"


class Faulty(Dataset[Any]):
    """Arrays of which one is of another shape, or whose reading ends the process."""

    def __init__(self, how: str) -> None:
        self.targets, self.how = [0] * 250, how

    def __len__(self) -> int:
        return 250

    def __getitem__(self, i: int) -> Any:
        if i == 170 and self.how == "dies" and os.getpid() != MAIN:
            os._exit(9)
        return torch.zeros(5 if i == 170 and self.how == "shape" else 4), 0


MAIN = os.getpid()


@pytest.mark.parametrize(("how", "message"), [("shape", "row 170 is"), ("dies", "killed")])
def test_a_failing_worker_ends_the_writing_and_leaves_nothing(
    how: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(PrunerError, match=message):
        write_beton(dp.open_data(Faulty(how)), tmp_path / "a.beton", workers=2)
    assert list(tmp_path.iterdir()) == []


def test_arguments_are_checked_first(tmp_path: Path) -> None:
    for options, message in (
        ({"mode": "jpeg"}, "jpg"),
        ({"mode": "smart"}, "smart_threshold"),
        ({"quality": 0}, "quality"),
        ({"page_size": 3 << 20}, "power of two"),
    ):
        with pytest.raises(UsageError, match=message):
            write_beton(small_data(), tmp_path / "a.beton", **options)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="end in .beton"):
        write_beton(small_data(), tmp_path / "a.bin")


def test_a_row_larger_than_a_page_says_so(tmp_path: Path) -> None:
    big = dp.open_data(
        TensorDataset(torch.zeros(2, 3, 1000, 1000, dtype=torch.uint8), torch.zeros(2))
    )
    with pytest.raises(PrunerError, match="page_size"):
        write_beton(big, tmp_path / "a.beton", page_size=2 << 20, workers=1)


def test_the_other_split_is_looked_for(tmp_path: Path) -> None:
    data = dp.open_data("digits"), dp.open_data("digits", "test")
    write_beton(data[0], tmp_path / "d-train.beton", workers=1)
    with pytest.raises(PrunerError, match="d-test.beton"):
        open_beton(tmp_path / "d-train.beton", "test")
    write_beton(data[1], tmp_path / "d-test.beton", workers=1)
    assert open_beton(tmp_path / "d-train.beton", "test").n == 359
    assert open_beton(tmp_path / "d-test.beton", "train").n == data[0].n


def test_a_missing_or_foreign_json_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "a.beton"
    write_beton(dp.open_data("digits"), path, workers=1)
    beside = tmp_path / "a.beton.json"
    kept = beside.read_text()
    beside.unlink()
    with pytest.raises(PrunerError, match="adopt_beton"):
        dp.open_data(path)
    adopted = adopt_beton(path)
    assert adopted.n == 1438
    assert adopted.fingerprint != dp.open_data("digits").fingerprint
    beside.write_text(kept.replace('"bytes": ', '"bytes": 1'))
    with pytest.raises(PrunerError, match="another file"):
        dp.open_data(path)
    beside.write_text("{}")
    with pytest.raises(PrunerError, match="not written by datapruner"):
        dp.open_data(path)


def test_a_damaged_file_says_so(tmp_path: Path) -> None:
    path = tmp_path / "a.beton"
    path.write_bytes(b"\x02\x00" + bytes(200))
    with pytest.raises(PrunerError, match="not a whole .beton|no field"):
        adopt_beton(path)
    with pytest.raises(PrunerError, match="no such file"):
        open_beton(tmp_path / "none.beton")
    write_beton(dp.open_data("digits"), tmp_path / "whole.beton", workers=1)
    whole = (tmp_path / "whole.beton").read_bytes()
    for missing in (1, 24, 100, 24 * 1438):  # of the table at its end, from a copy that was cut off
        path.write_bytes(whole[:-missing])
        with pytest.raises(PrunerError, match="not a whole .beton"):
            adopt_beton(path)
