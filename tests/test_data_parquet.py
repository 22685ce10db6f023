"""Parquet in the Hugging Face image layout."""

import io
import json
import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from datapruner.data import open_data
from datapruner.errors import PrunerError
from datapruner.readers import passes
from datapruner.readers.shards import find_shards

CIFAR = Path("../shared/data/cifar10-webp")
STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def encoded(seed, size=(8, 6), mode="RGB", kind="PNG"):
    channels = (3,) if mode == "RGB" else ()
    values = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], *channels), np.uint8)
    out = io.BytesIO()
    Image.fromarray(values).save(out, kind)
    return out.getvalue()


def write(path, pictures, labels, names=None, columns=("image", "label"), rows=4):
    path.parent.mkdir(exist_ok=True)
    structs = [p if p is None else {"bytes": p, "path": None} for p in pictures]
    table = pa.table(
        {columns[0]: pa.array(structs, STRUCT), columns[1]: pa.array(labels)},
    )
    if names:
        features = {columns[1]: {"names": names, "_type": "ClassLabel"}}
        table = table.replace_schema_metadata(
            {"huggingface": json.dumps({"info": {"features": features}})}
        )
    pq.write_table(table, path, row_group_size=rows)
    return path


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def no_memory(monkeypatch):
    monkeypatch.setattr(passes, "MEMORY_LIMIT", 0)


def test_pictures_come_in_row_order_over_shards(tmp_path):
    pictures = [encoded(i) for i in range(9)]
    write(tmp_path / "train-00001-of-00002.parquet", pictures[5:], [1, 0, 1, 2], ["a", "b", "c"])
    write(tmp_path / "train-00000-of-00002.parquet", pictures[:5], [0] * 5, ["a", "b", "c"])
    write(tmp_path / "test.parquet", pictures[:1], [2], ["a", "b", "c"])
    data = open_data(tmp_path)
    assert (data.n, data.classes, data.shape) == (9, ("a", "b", "c"), (3, 6, 8))
    assert data.labels.tolist() == [0, 0, 0, 0, 0, 1, 0, 1, 2]
    for i, picture in enumerate(pictures):
        expected = np.asarray(Image.open(io.BytesIO(picture)))
        assert np.array_equal(data.x[i].permute(1, 2, 0).numpy(), expected)
        assert np.array_equal(np.asarray(data.picture(i)), expected)
    assert open_data(tmp_path, "test").labels.tolist() == [2]


def test_fingerprint_is_of_the_content_alone(tmp_path):
    pictures = [encoded(i) for i in range(6)]
    one = open_data(write(tmp_path / "a" / "train.parquet", pictures, [0, 1] * 3))
    write(tmp_path / "b" / "train-0.parquet", pictures[:2], [0, 1], rows=1)
    write(tmp_path / "b" / "train-1.parquet", pictures[2:], [0, 1, 0, 1])
    assert open_data(tmp_path / "b").fingerprint == one.fingerprint
    pictures[3] = encoded(99)
    assert open_data(write(tmp_path / "c.parquet", pictures, [0, 1] * 3)).fingerprint not in (
        one.fingerprint,
        open_data(write(tmp_path / "c.parquet", pictures, [1, 0] * 3)).fingerprint,
    )


def test_all_grey_is_one_channel_and_some_grey_is_three(tmp_path):
    grey = [encoded(i, mode="L") for i in range(3)]
    assert open_data(write(tmp_path / "grey.parquet", grey, [0, 1, 0])).shape == (1, 6, 8)
    mixed = open_data(write(tmp_path / "mixed.parquet", [*grey, encoded(9)], [0, 1, 0, 1]))
    assert mixed.shape == (3, 6, 8)
    assert mixed.x[0, 0].equal(mixed.x[0, 2])
    assert not mixed.x[3, 0].equal(mixed.x[3, 2])


class TestUnreadable:
    pictures = (encoded(0), b"no picture", encoded(2)[:-40], None, encoded(4))

    def test_is_flagged_and_black(self, tmp_path):
        data = open_data(write(tmp_path / "a.parquet", self.pictures, [0, 1, 0, 1, 0]))
        assert data.readable.tolist() == [True, False, False, False, True]
        assert int(data.x[1:4].sum()) == 0
        assert int(data.x[4].sum()) > 0

    def test_strict_names_the_first_and_the_count(self, tmp_path):
        path = write(tmp_path / "a.parquet", self.pictures, [0, 1, 0, 1, 0])
        with pytest.raises(PrunerError, match="3 of 5 pictures cannot .* row 1 .*not a picture"):
            open_data(path, strict=True)

    def test_all_of_them_is_an_error(self, tmp_path):
        path = write(tmp_path / "a.parquet", [b"1", None], [0, 1])
        with pytest.raises(PrunerError, match="none of the 2 pictures decodes; the first"):
            open_data(path)

    @pytest.mark.usefixtures("no_memory")
    def test_is_found_by_a_scan_that_is_kept(self, tmp_path, cache, monkeypatch):
        path = write(tmp_path / "a.parquet", self.pictures, [0, 1, 0, 1, 0])
        assert open_data(path, scan=False).readable.all()
        assert not cache.exists()
        told = []
        data = open_data(path, progress=lambda *what: told.append(what))
        assert data.x is None
        assert data.readable.tolist() == [True, False, False, False, True]
        assert told[-1] == ("checking pictures", 5, 5)
        with pytest.raises(PrunerError, match=r"a.parquet, row 1: picture 1 cannot be read"):
            data.dataset[1]
        with monkeypatch.context() as patch:
            patch.setattr(passes, "_scan", None)  # a second one would fail
            assert open_data(path).readable.equal(data.readable)
            assert open_data(path, scan=False).readable.equal(data.readable)
        kept = next((cache / "datapruner" / "scans").iterdir())
        kept.write_text("{")
        assert open_data(path).readable.equal(data.readable)

    @pytest.mark.usefixtures("no_memory")
    def test_a_cache_that_cannot_be_written_is_no_matter(self, tmp_path, cache):
        cache.write_text("a file where the folder should be")
        data = open_data(write(tmp_path / "a.parquet", self.pictures, [0, 1, 0, 1, 0]))
        assert int(data.readable.sum()) == 2


def test_pictures_of_different_sizes_are_read_when_asked_for(tmp_path, cache):
    pictures = [encoded(i, size=(8, 6 + i % 2), mode="L" if i == 3 else "RGB") for i in range(10)]
    path = write(tmp_path / "a.parquet", pictures, [0, 1] * 5, rows=3)
    data = pickle.loads(pickle.dumps(open_data(path)))
    assert (data.x, data.shape) == (None, None)
    assert data.readable.all()
    for i in (9, 0, 3, 7, -1):
        picture, label = data.dataset[i]
        assert (picture.mode, label) == ("RGB", int(data.labels[i]))
        expected = Image.open(io.BytesIO(pictures[i])).convert("RGB")
        assert np.array_equal(np.asarray(picture), np.asarray(expected))
    with pytest.raises(IndexError):
        data.dataset[10]


@pytest.mark.usefixtures("no_memory")
def test_worker_processes_read_the_same(tmp_path, cache):
    path = write(tmp_path / "a.parquet", [encoded(i) for i in range(8)], list(range(8)))
    rows = open_data(path).dataset
    loader = torch.utils.data.DataLoader(rows, batch_size=None, num_workers=2)
    for i, (picture, label) in enumerate(loader):
        assert label == i
        assert picture.tobytes() == rows[i][0].tobytes()


def test_a_late_picture_of_another_size_ends_holding_them(tmp_path, cache):
    pictures = [encoded(0)] * 200 + [encoded(1, size=(9, 9))]
    data = open_data(write(tmp_path / "a.parquet", pictures, [0] * 201))
    assert data.x is None
    assert data.readable.all()


def test_classes_count_over_both_splits_when_there_are_no_names(tmp_path):
    write(tmp_path / "train.parquet", [encoded(0)] * 2, [0, 4])
    write(tmp_path / "test.parquet", [encoded(0)] * 2, [0, 1])
    assert open_data(tmp_path, "test").num_classes == open_data(tmp_path).num_classes == 5


@pytest.mark.parametrize("columns", [("image", "label"), ("image", "other")])
def test_a_test_split_without_labels_does_not_bar_the_training_split(tmp_path, columns):
    write(tmp_path / "train.parquet", [encoded(0)] * 2, [0, 4])
    write(tmp_path / "test.parquet", [encoded(0)] * 2, [-1, -1], columns=columns)
    assert open_data(tmp_path).num_classes == 5
    with pytest.raises(PrunerError, match="label -1 in row 0|no column of labels"):
        open_data(tmp_path, "test")


def test_other_columns_of_the_hub_are_known(tmp_path):
    path = write(tmp_path / "a.parquet", [encoded(0)] * 2, [0, 1], columns=("img", "fine_label"))
    assert open_data(path).n == 2
    pq.write_table(pa.table({"image": [encoded(0)], "label": [0]}), tmp_path / "plain.parquet")
    assert open_data(tmp_path / "plain.parquet").shape == (3, 6, 8)


class TestSplits:
    @pytest.mark.parametrize(
        ("files", "split", "expected"),
        [
            (["train-0.parquet", "test-0.parquet"], "test", ["test-0.parquet"]),
            (["train.parquet", "validation.parquet"], "test", ["validation.parquet"]),
            (["test.parquet", "val.parquet", "train.parquet"], "test", ["test.parquet"]),
            (["data/train-0.parquet", "data/test-0.parquet"], "train", ["train-0.parquet"]),
            (["train/1.parquet", "train/0.parquet"], "train", ["0.parquet", "1.parquet"]),
            (["part-1.parquet", "part-0.parquet"], "train", ["part-0.parquet", "part-1.parquet"]),
            (["trainer.parquet"], "train", ["trainer.parquet"]),
        ],
    )
    def test_files_of_a_split(self, tmp_path, files, split, expected):
        for file in files:
            (tmp_path / file).parent.mkdir(exist_ok=True)
            (tmp_path / file).touch()
        assert [shard.name for shard in find_shards(tmp_path, split)] == expected

    @pytest.mark.parametrize(
        ("files", "split"),
        [
            (["train.parquet"], "test"),
            (["test.parquet"], "train"),
            (["part.parquet"], "test"),
            (["part.parquet", "test.parquet"], "train"),
        ],
    )
    def test_a_split_that_is_not_there_is_named(self, tmp_path, files, split):
        for file in files:
            write(tmp_path / file, [encoded(0)], [0])
        with pytest.raises(PrunerError, match=rf"no {split} split, looked for {split}\*.parquet"):
            open_data(tmp_path, split)

    def test_a_file_of_one_split_is_not_the_other(self, tmp_path):
        test = write(tmp_path / "test-0.parquet", [encoded(0)], [0])
        with pytest.raises(PrunerError, match="no train split"):
            open_data(test)
        train = write(tmp_path / "train-0.parquet", [encoded(0)] * 2, [0, 0])
        assert find_shards(train, "test") == [test]
        assert open_data(train).name == tmp_path.name

    @pytest.mark.parametrize("end", ["", "-54b1f3c0a2d9e871"])  # as the hub named them in 2023
    def test_a_missing_shard_is_named(self, tmp_path, end):
        write(tmp_path / f"train-00001-of-00003{end}.parquet", [encoded(0)], [0])
        with pytest.raises(PrunerError, match="1 of 3 shards named like train-00001-of-00003"):
            open_data(tmp_path)


PICTURE = [encoded(0)] * 2


@pytest.mark.parametrize(
    ("labels", "names", "message"),
    [
        ([0, 2], ["a", "b"], "label 2 in row 1 is outside the 2 classes"),
        ([0, -1], None, "label -1 in row 1 is not a whole number from 0"),
        ([0.5, 1.0], None, "label 0.5 in row 0 is not a whole number"),
        (["cat", "dog"], None, "label 'cat' in row 0 is not a number"),
        ([0, None], None, "row 1 has no label"),
    ],
)
def test_labels_that_are_none_are_named(tmp_path, labels, names, message):
    path = write(tmp_path / "train.parquet", PICTURE, labels, names)
    with pytest.raises(PrunerError, match=message) as caught:
        open_data(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (("photo", "label"), r"no column of pictures \(image\), it has photo, label; rename"),
        (("image", "target"), r"no column of labels \(label\), it has image, target"),
    ],
)
def test_missing_columns_are_named(tmp_path, columns, message):
    path = write(tmp_path / "a.parquet", PICTURE, [0, 1], columns=columns)
    with pytest.raises(PrunerError, match=message):
        open_data(path)


def test_an_image_column_without_pictures_is_named(tmp_path):
    pq.write_table(pa.table({"image": ["a.png"], "label": [0]}), tmp_path / "a.parquet")
    with pytest.raises(PrunerError, match="column image is string, not encoded pictures"):
        open_data(tmp_path / "a.parquet")


def test_no_rows_is_named(tmp_path):
    path = write(tmp_path / "a.parquet", [], pa.array([], pa.int64()))
    with pytest.raises(PrunerError, match="holds no rows"):
        open_data(path)


def test_a_truncated_file_is_named(tmp_path):
    path = write(tmp_path / "a.parquet", PICTURE, [0, 1])
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(PrunerError, match="a.parquet: cannot be read as Parquet .* fetch it again"):
        open_data(path)


def test_a_file_damaged_in_the_middle_is_named(tmp_path):
    path = write(tmp_path / "a.parquet", [encoded(i) for i in range(50)], [0] * 50, rows=50)
    raw = bytearray(path.read_bytes())
    raw[4:60] = bytes(range(200, 256))
    path.write_bytes(raw)
    with pytest.raises(PrunerError, match="cannot be read as Parquet") as caught:
        open_data(path)
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(not CIFAR.exists(), reason="needs the CIFAR-10 copy beside the project")
def test_the_cifar10_copy():
    data, test = open_data(CIFAR), open_data(CIFAR, "test")
    assert (data.n, test.n, data.shape) == (50_000, 10_000, (3, 32, 32))
    assert data.classes[:3] == ("airplane", "automobile", "bird")
    assert torch.bincount(data.labels).tolist() == [5000] * 10
    assert data.labels[:5].tolist() == [6, 9, 9, 4, 1]  # frog, truck, truck, deer, automobile
    assert data.readable.all()
    assert data.fingerprint == "207a294ec5c134a6"
    assert data.fingerprint != test.fingerprint
    column = pq.ParquetFile(next(CIFAR.glob("train*"))).read_row_group(0).column("image")
    for i in (0, 1234):  # the short cut for WebP gives Pillow's own pixels
        picture = Image.open(io.BytesIO(column[i]["bytes"].as_py()))
        assert np.array_equal(np.asarray(picture), data.x[i].permute(1, 2, 0).numpy())
