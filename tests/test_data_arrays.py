"""Arrays in `.npz` files."""

import numpy as np
import pytest
import torch

from datapruner.data import open_data
from datapruner.errors import PrunerError


def saved(folder, **arrays):
    path = folder / "set.npz"
    np.savez(path, **arrays)
    return path


def test_both_splits_and_names(tmp_path):
    path = saved(
        tmp_path,
        x=np.arange(6.0).reshape(3, 2),
        y=np.array([0, 1, 0]),
        x_test=np.ones((1, 2)),
        y_test=np.array([2]),
        classes=np.array(["a", "b", "c"]),
    )
    train, test = open_data(path), open_data(str(path), "test")
    assert (train.name, train.n, train.classes) == ("set", 3, ("a", "b", "c"))
    assert train.x.dtype == torch.float32
    assert not train.is_image
    assert (test.n, test.labels.tolist()) == (1, [2])


def test_classes_count_over_both_splits(tmp_path):
    path = saved(tmp_path, x=np.ones((2, 1)), y=[0, 1], x_test=np.ones((1, 1)), y_test=[4])
    assert open_data(path).num_classes == open_data(path, "test").num_classes == 5


@pytest.mark.parametrize(
    ("x", "shape", "dtype", "is_image"),
    [
        (np.zeros((2, 5, 4), np.uint8), (1, 5, 4), torch.uint8, True),
        (np.zeros((2, 5, 4, 3), np.uint8), (3, 5, 4), torch.uint8, True),
        (np.zeros((2, 3, 5, 4), np.uint8), (3, 5, 4), torch.uint8, True),
        (np.zeros((2, 7), np.uint8), (7,), torch.float32, False),
        (np.zeros((2, 7), np.int32), (7,), torch.int64, False),
        (np.zeros((2, 7), bool), (7,), torch.float32, False),
        (np.zeros((2, 3, 5, 4)), (3, 5, 4), torch.float32, True),
        (np.zeros((2, 9, 5)), (9, 5), torch.float32, False),
        (np.zeros(2), (1,), torch.float32, False),
    ],
)
def test_what_an_array_is_taken_for(tmp_path, x, shape, dtype, is_image):
    data = open_data(saved(tmp_path, x=x, y=[0, 1]))
    assert (data.shape, data.x.dtype, data.is_image) == (shape, dtype, is_image)


def test_fingerprint_follows_values_and_labels_not_the_place(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    x = np.ones((2, 3))
    here = open_data(saved(tmp_path, x=x, y=[0, 1])).fingerprint
    assert open_data(saved(tmp_path / "elsewhere", x=x, y=[0, 1])).fingerprint == here
    assert open_data(saved(tmp_path, x=x, y=[1, 0])).fingerprint != here
    assert open_data(saved(tmp_path, x=x * 2, y=[0, 1])).fingerprint != here


ONES = np.ones((2, 3))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": ONES}, "no array y for the train split, it holds x; save it with numpy.savez"),
        ({"images": ONES, "y": [0, 1]}, "no array x .* it holds images, y"),
        ({"x": ONES, "y": [0, 1, 1]}, "x has 2 rows but y has 3"),
        ({"x": ONES, "y": [0, -1]}, "label -1 in row 1 is not a whole number from 0"),
        (
            {"x": ONES, "y": [0, 7_205_111_309]},
            "label 7205111309 in row 1 is too large for a class",
        ),
        ({"x": ONES, "y": [0, 0.5]}, "label 0.5 in row 1 is not a whole number"),
        ({"x": ONES, "y": [0, np.nan]}, "label nan in row 1"),
        ({"x": ONES, "y": ["cat", "dog"]}, "label .*cat.* in row 0 is not a number"),
        ({"x": ONES, "y": np.eye(2)}, r"got an array of shape \(2, 2\); turn one-hot"),
        ({"x": ONES, "y": [0, 2], "classes": ["a", "b"]}, "label 2 in row 1 is outside the 2"),
        ({"x": [[1, np.nan], [0, 1]], "y": [0, 1]}, r"NaN or infinite values \(1 rows.* row 0"),
        ({"x": [[1, 2], [0, 1e300]], "y": [0, 1]}, "NaN or infinite values .* row 1"),
        ({"x": np.zeros((2, 4, 4, 4), np.uint8), "y": [0, 1]}, "must have 1 or 3 channels"),
        ({"x": np.ones((0, 3)), "y": []}, "holds no examples"),
        ({"x": ["a", "b"], "y": [0, 1]}, "x is not an array of numbers"),
        ({"x": np.array([{}, {}]), "y": [0, 1]}, "cannot be read as .npz .*write it again"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, arrays, message):
    path = saved(tmp_path, **arrays)
    with pytest.raises(PrunerError, match=message) as caught:
        open_data(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_test_split_that_is_not_there_is_named(tmp_path):
    path = saved(tmp_path, x=ONES, y=[0, 1])
    with pytest.raises(PrunerError, match="no array x_test and y_test for the test split"):
        open_data(path, "test")


def test_a_truncated_file_is_named(tmp_path):
    path = saved(tmp_path, x=np.random.default_rng(0).random((50, 50)), y=np.zeros(50, int))
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(PrunerError, match="cannot be read as .npz"):
        open_data(path)


@pytest.mark.parametrize("content", [b"", b"not a zip at all"])
def test_a_file_of_other_content_is_named(tmp_path, content):
    path = tmp_path / "set.npz"
    path.write_bytes(content)
    with pytest.raises(PrunerError, match="cannot be read as .npz"):
        open_data(path)


def test_a_single_array_is_named(tmp_path):
    path = tmp_path / "set.npz"
    with path.open("wb") as handle:
        np.save(handle, ONES)
    with pytest.raises(PrunerError, match="cannot be read as .npz"):
        open_data(path)
