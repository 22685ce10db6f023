"""Data, the dispatcher and the stratified split."""

import pickle

import pytest
import torch

from datapruner.data import Data, open_data, stratified_split
from datapruner.errors import PrunerError, UsageError


def test_digits_are_two_fixed_splits_that_share_nothing():
    train, test = open_data("digits"), open_data("digits", "test")
    assert (train.n, test.n) == (1438, 359)
    assert train.shape == (1, 8, 8)
    assert train.x.dtype == torch.uint8
    assert (int(train.x.min()), int(train.x.max())) == (0, 255)
    assert train.classes == tuple("0123456789")
    assert train.fingerprint == "af2981251d9bd436"  # the same on every machine
    assert test.fingerprint != train.fingerprint
    share = torch.bincount(test.labels) / torch.bincount(torch.cat([train.labels, test.labels]))
    assert (share - 0.2).abs().max() < 0.01


def test_digits_together_are_those_of_scikit_learn():
    from sklearn.datasets import load_digits

    whole = load_digits()
    train, test = stratified_split(torch.from_numpy(whole.target), 0.8, seed=0)
    opened = open_data("digits", "test")
    assert (
        (opened.x[:, 0].double() * (16 / 255)).round().equal(torch.from_numpy(whole.images)[test])
    )
    assert torch.cat([train, test]).sort().values.equal(torch.arange(1797))


def test_a_data_is_returned_as_it_is():
    data = open_data("digits", "test")
    assert open_data(data) is data


def test_data_goes_to_another_process():
    data = pickle.loads(pickle.dumps(open_data("digits")))
    x, y = data.dataset[5]
    assert x.equal(data.x[5])
    assert int(y) == int(data.labels[5])


def test_data_refuses_lengths_that_differ():
    labels = torch.tensor([0, 1])
    with pytest.raises(UsageError, match=r"lengths \[2, 3\]"):
        Data("a", "train", labels, ("0", "1"), "", torch.ones(3).bool(), None, [1, 2], False)


def test_a_picture_is_shown_in_its_own_size():
    picture = open_data("digits").picture(0)
    assert (picture.size, picture.mode) == ((8, 8), "L")


@pytest.mark.parametrize(
    ("spec", "kind", "message"),
    [
        ("digit", UsageError, "digit: neither a path nor the name.*did you mean 'digits'"),
        ("cifra10:somewhere", UsageError, "did you mean 'cifar10:ROOT'"),
        ("no/such/folder", PrunerError, "no/such/folder: no such file or folder; check the path"),
        ("absent.npz", PrunerError, "absent.npz: no such file or folder"),
        (3, UsageError, "int: neither a path nor a Dataset"),
    ],
)
def test_what_is_not_there_is_named(spec, kind, message):
    with pytest.raises(kind, match=message) as caught:
        open_data(spec)
    assert "\n" not in str(caught.value)


def test_an_unknown_split_is_named():
    with pytest.raises(UsageError, match="split 'tset' is not one of train, test; did you mean"):
        open_data("digits", "tset")


def test_a_file_of_another_kind_is_named(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("1,2\n")
    with pytest.raises(PrunerError, match=r"table.csv: not a kind of file.*\.npz, \.parquet"):
        open_data(path)


class TestStratifiedSplit:
    def test_sizes_are_exact(self):
        labels = torch.tensor([0] * 10 + [1] * 5 + [2] * 5)
        for fraction, expected in (
            (0.5, [5, 3, 2]),
            (0.1, [1, 1, 0]),
            (0, [0] * 3),
            (1, [10, 5, 5]),
        ):
            a, b = stratified_split(labels, fraction, seed=3)
            assert torch.bincount(labels[a], minlength=3).tolist() == expected
            assert torch.cat([a, b]).sort().values.equal(torch.arange(20))
            assert a.equal(a.sort().values)
            assert b.equal(b.sort().values)
            assert a.dtype == b.dtype == torch.int64

    def test_seed_decides(self):
        labels = torch.arange(100) % 4
        same = [stratified_split(labels, 0.5, seed=1)[0] for _ in range(2)]
        assert same[0].equal(same[1])
        assert not same[0].equal(stratified_split(labels, 0.5, seed=2)[0])

    def test_bad_calls_are_refused(self):
        with pytest.raises(UsageError, match="fraction 1.5 is not within 0 and 1"):
            stratified_split([0, 1], 1.5)
        with pytest.raises(UsageError, match="one-dimensional"):
            stratified_split(torch.zeros(2, 2), 0.5)
