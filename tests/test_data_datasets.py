"""Dataset objects from Python."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import (
    ConcatDataset,
    DataLoader,
    Dataset,
    IterableDataset,
    Subset,
    TensorDataset,
)

from datapruner.data import open_data
from datapruner.errors import PrunerError, UsageError


class Rows(Dataset):
    """A list of (x, y), with whatever else is given as attributes."""

    def __init__(self, rows, **attributes):
        self.rows, self.asked = rows, 0
        vars(self).update(attributes)

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, i):
        self.asked += 1
        return self.rows[i]


class Stream(IterableDataset):
    def __iter__(self):
        return iter([])


def pictures(n=3):
    return [(Image.new("RGB", (4, 5), (i, 0, 0)), i % 2) for i in range(n)]


def test_labels_are_asked_of_the_rows_once():
    rows = Rows(pictures())
    told = []
    data = open_data(rows, progress=lambda *what: told.append(what))
    assert data.labels.tolist() == [0, 1, 0]
    assert (data.name, data.classes, data.x, data.is_image) == ("Rows", ("0", "1"), None, True)
    assert data.dataset is rows
    assert rows.asked == 4  # the first row tells what rows are
    assert data.picture(2).getpixel((0, 0)) == (2, 0, 0)
    assert told[-1] == ("reading labels", 3, 3)


@pytest.mark.parametrize("name", ["targets", "labels"])
@pytest.mark.parametrize(
    "kind", [list, np.array, torch.tensor, lambda v: [torch.tensor(i) for i in v]]
)
def test_labels_that_are_kept_beside_are_taken(name, kind):
    rows = Rows(pictures(), classes=["even", "odd"], **{name: kind([0, 1, 0])})
    data = open_data(rows, "test")
    assert (data.labels.tolist(), data.classes, data.split) == ([0, 1, 0], ("even", "odd"), "test")
    assert rows.asked == 2  # a row of each label


@pytest.mark.parametrize("targets", [[5, 6, 5], [0, 1], ["a", "b", "a"]])
def test_labels_beside_that_the_rows_contradict_are_not_taken(targets):
    assert open_data(Rows(pictures(), targets=targets)).labels.tolist() == [0, 1, 0]


def test_labels_that_a_transform_changes_are_those_of_the_rows():
    """The first label often stays, as 0 does where classes are merged."""

    class Merged(Rows):
        def __getitem__(self, i):
            x, y = super().__getitem__(i)
            return x, y // 2

    rows = [(torch.zeros(1), i // 3) for i in range(900)]
    merged = Merged(rows, targets=[y for _, y in rows])
    assert open_data(merged).labels.tolist() == [y // 2 for _, y in rows]
    assert open_data(Subset(merged, range(6))).labels.tolist() == [0] * 6
    kept = Rows(rows, targets=[y for _, y in rows])
    assert open_data(kept).num_classes == 300
    assert kept.asked <= 101


def test_a_row_that_cannot_be_read_leaves_kept_labels_as_they_are():
    class Broken(Rows):
        def __getitem__(self, i):
            if i == 1:
                raise OSError("disk on fire")
            return self.rows[i]

    assert open_data(Broken(pictures(), targets=[0, 1, 0])).labels.tolist() == [0, 1, 0]


def test_lists_of_labels_below_a_subset_are_named():
    rows = [(torch.zeros(1), [0]), (torch.zeros(1), [0, 1])]
    with pytest.raises(PrunerError, match="one whole number each"):
        open_data(Subset(Rows(rows, targets=[y for _, y in rows]), [0, 1]))


def test_global_generators_stay_untouched():
    class Drawing(Rows):
        def __getitem__(self, i):
            return torch.rand(3), self.rows[i][1]

    before = torch.get_rng_state()
    open_data(Drawing(pictures()))
    open_data(Drawing(pictures(), targets=[0, 1, 0]))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_subset_has_the_labels_of_its_rows():
    rows = Rows(pictures(4), targets=[0, 1, 0, 1], classes=["even", "odd"])
    data = open_data(Subset(rows, [3, 0]))
    assert (data.labels.tolist(), data.classes) == ([1, 0], ("even", "odd"))
    assert open_data(Subset(Rows(pictures(4)), [3, 0])).labels.tolist() == [1, 0]


def test_a_tensor_dataset_is_taken_into_memory():
    x, y = torch.arange(6.0, dtype=torch.float64).reshape(3, 2), torch.tensor([0, 2, 1])
    data = open_data(TensorDataset(x, y))
    assert data.x.equal(x.float())
    assert (data.num_classes, data.is_image) == (3, False)
    with pytest.raises(UsageError, match="no pictures"):
        data.picture(0)


@pytest.mark.parametrize(
    ("x", "is_image"),
    [
        (torch.zeros(3, 4, 4), True),
        (np.zeros((1, 4, 4), np.uint8), True),
        (torch.zeros(7), False),
        (torch.zeros(8, 4, 4), False),
        ("some text", False),
    ],
)
def test_what_can_be_shown(x, is_image):
    data = open_data(Rows([(x, 0), (x, 1)]))
    assert data.is_image == is_image
    if is_image:
        assert data.picture(0).size == (4, 4)


def test_fingerprint_follows_labels_and_kept_content():
    base = open_data(Rows(pictures(), data=np.zeros((3, 2)))).fingerprint
    assert open_data(Rows(pictures(), data=np.zeros((3, 2)))).fingerprint == base
    assert open_data(Rows(pictures(), data=np.ones((3, 2)))).fingerprint != base
    assert open_data(Rows(pictures(4), data=np.zeros((3, 2)))).fingerprint != base
    named = [open_data(Rows(pictures(), samples=[(f"{r}/a/1.png", 0)])) for r in ("x", "y")]
    assert named[0].fingerprint == named[1].fingerprint != base


@pytest.mark.parametrize(
    "part", [lambda data: Subset(data, [2, 0]), lambda data: ConcatDataset([data, data])]
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_fingerprint_follows_tensors_below_parts_and_joins(part, dtype):
    def fingerprint(x):
        return open_data(part(TensorDataset(x.to(dtype), torch.tensor([0, 1, 0])))).fingerprint

    assert fingerprint(torch.zeros(3, 2)) == fingerprint(torch.zeros(3, 2))
    assert fingerprint(torch.zeros(3, 2)) != fingerprint(torch.ones(3, 2))


def test_fingerprint_follows_where_joined_data_end():
    def fingerprint(first, second):
        joined = [Rows(pictures(n), data=np.zeros((n, 2))) for n in (first, second)]
        return open_data(ConcatDataset(joined)).fingerprint

    assert fingerprint(2, 4) != fingerprint(4, 2)


@pytest.mark.parametrize(
    ("dataset", "kind", "message"),
    [
        (Stream(), UsageError, "Stream: an IterableDataset has no indices .* read it into a list"),
        (DataLoader(Rows([(1, 0)])), UsageError, r"give its dataset, open_data\(loader.dataset\)"),
        (Rows([]), PrunerError, "Rows: holds no examples"),
        (Rows([{"image": 1}]), UsageError, r"row 0 is a dict, not a pair \(x, y\)"),
        (Rows([(1, 2, 3)]), UsageError, "row 0 is a tuple, not a pair"),
        (Rows([(1, 0), (1, "a")]), PrunerError, "not a number|one whole number"),
        (Rows([(1, 0), (1, -1)]), PrunerError, "label -1 in row 1"),
        (Rows([(1, 0), (1, 2)], classes=["a", "b"]), PrunerError, "outside the 2 classes"),
        (Rows([(1, torch.ones(2))]), PrunerError, "one whole number each"),
        (TensorDataset(torch.full((2, 2), torch.nan), torch.zeros(2)), PrunerError, "NaN"),
        (TensorDataset(torch.ones(2)), UsageError, "not a pair"),
    ],
)
def test_what_is_wrong_is_named(dataset, kind, message):
    with pytest.raises(kind, match=message) as caught:
        open_data(dataset)
    assert "\n" not in str(caught.value)


def test_a_row_that_cannot_be_read_is_named():
    class Broken(Rows):
        def __getitem__(self, i):
            if i == 2:
                raise OSError("disk on fire")
            return self.rows[i]

    with pytest.raises(PrunerError, match=r"Broken: row 2 .*OSError: disk on fire"):
        open_data(Broken(pictures()))
