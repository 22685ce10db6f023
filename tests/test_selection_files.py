"""Selection: what its files hold, what they refuse, and the formats that others read."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from datapruner.errors import PrunerError, Refused, UsageError
from datapruner.selection import Selection, keep

NAN = float("nan")
TEN = [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.0]
LABELS = [0] * 6 + [1] * 4  # by TEN, class 0 is all above class 1


def data_of(fingerprint, n=10):
    return SimpleNamespace(n=n, fingerprint=fingerprint, name="toy")


def selection(fingerprint=None, weights=None):
    meta = {"rule": "top"} | ({} if fingerprint is None else {"fingerprint": fingerprint})
    return Selection(torch.tensor([1, 4, 7]), 10, weights, meta)


@pytest.mark.parametrize("weights", [None, torch.tensor([0.5, 1.0, 1.5])])
def test_saved_and_loaded_it_is_the_same(tmp_path, weights):
    one = selection("00ff", weights)
    one.save(tmp_path / "half")
    two = Selection.load(tmp_path / "half", data_of("00ff"))
    assert (two.indices == one.indices).all()
    assert two.n == 10
    assert two.meta == one.meta
    assert two.fingerprint == one.fingerprint
    assert (two.weights is None) if weights is None else (two.weights == weights).all()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["half"]


def test_what_keep_knows_is_in_the_file(tmp_path):
    about = {"fingerprint": "00ff", "score": "aum"}
    keep(TEN, 0.5, rule="ccs", beta=0.1, strata=5, labels=LABELS, seed=3, about=about).save(
        tmp_path / "s"
    )
    there = json.loads((tmp_path / "s" / "selection.json").read_text())
    expected = {"rule": "ccs", "fraction": 0.5, "k": 5, "n": 10, "seed": 3, "score": "aum"}
    assert expected.items() <= there.items()
    assert there["options"] == {"beta": 0.1, "strata": 5}
    assert sum(of_class for of_class, _ in there["class_counts"].values()) == 5
    indices = np.load(tmp_path / "s" / "indices.npy")
    assert indices.dtype == np.int64
    assert not (tmp_path / "s" / "weights.npy").exists()


def test_numbers_of_numpy_can_be_saved(tmp_path):
    options = {"strata": np.int64(5), "beta": np.float32(0.1), "seed": np.int32(1)}
    selection = keep(TEN, np.float32(0.5), rule="ccs", calibrate=np.float64(0.2), **options)
    selection.save(tmp_path / "s")
    assert Selection.load(tmp_path / "s").meta == selection.meta


def test_saving_again_is_fine_saving_another_is_refused(tmp_path):
    selection("00ff").save(tmp_path / "half")
    selection("00ff").save(tmp_path / "half")
    for other in (selection("11ff"), Selection(torch.tensor([1]), 10)):
        with pytest.raises(Refused, match="another selection"):
            other.save(tmp_path / "half")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("x")
    with pytest.raises(Refused, match="no whole selection"):
        selection().save(tmp_path / "full")
    (tmp_path / "empty").mkdir()
    selection().save(tmp_path / "empty")
    assert len(Selection.load(tmp_path / "empty")) == 3


def test_other_data_are_refused(tmp_path):
    selection("00ff").save(tmp_path / "a")
    with pytest.raises(Refused, match="00ff.*toy here is 11ff") as caught:
        Selection.load(tmp_path / "a", data_of("11ff"))
    assert caught.value.exit_code == 3
    selection().save(tmp_path / "b")  # of unknown data: the size must do
    Selection.load(tmp_path / "b", data_of("11ff"))
    with pytest.raises(Refused):
        Selection.load(tmp_path / "b", data_of("11ff", n=11))


def test_damaged_files_are_named(tmp_path):
    folder = tmp_path / "half"
    with pytest.raises(PrunerError, match="selection.json: no such file"):
        Selection.load(folder)
    selection(weights=torch.ones(3)).save(folder)
    whole = (folder / "indices.npy").read_bytes()
    for damaged in (whole[:-4], b"", b"rubbish", whole.replace(b"\x04", b"\x05")):
        (folder / "indices.npy").write_bytes(damaged)
        with pytest.raises(PrunerError, match="half"):
            Selection.load(folder)
    (folder / "indices.npy").unlink()
    with pytest.raises(PrunerError, match="indices.npy: no such file"):
        Selection.load(folder)
    (folder / "indices.npy").write_bytes(whole)
    (folder / "weights.npy").unlink()
    with pytest.raises(PrunerError, match="differ"):
        Selection.load(folder)
    (folder / "selection.json").write_text("[]")
    with pytest.raises(PrunerError, match="not a selection"):
        Selection.load(folder)


@pytest.mark.parametrize(
    ("indices", "weights"),
    [
        ([2, 1], None), ([1, 1], None), ([-1, 2], None), ([1, 10], None), ([0.5, 1.0], None),
        ([1, 2], [1.0]), ([1, 2], [2.0, 2.0]), ([1, 2], [-1.0, 3.0]), ([1, 2], [NAN, 1.0]),
    ],
)  # fmt: skip
def test_a_selection_that_is_none(indices, weights):
    with pytest.raises(UsageError):
        Selection(torch.tensor(indices), 10, None if weights is None else torch.tensor(weights))


def test_fingerprint_is_of_the_subset():
    assert selection().fingerprint == selection("00ff").fingerprint == "3ca9e4e344a6abb5"
    assert selection().fingerprint != selection(weights=torch.ones(3)).fingerprint
    assert selection().fingerprint != Selection(torch.tensor([1, 4, 7]), 11).fingerprint


# for other tools


def test_export_as_text_and_csv(tmp_path):
    names = [f"img,{i}" for i in range(10)]
    selection().export(tmp_path / "ids.txt")
    assert (tmp_path / "ids.txt").read_text() == "1\n4\n7\n"
    selection().export(tmp_path / "names.txt", ids=names)
    assert (tmp_path / "names.txt").read_text() == "img,1\nimg,4\nimg,7\n"
    selection(weights=torch.tensor([0.5, 1.0, 1.5])).export(tmp_path / "ids.csv", ids=names)
    lines = (tmp_path / "ids.csv").read_bytes().decode().splitlines()
    assert lines == ["index,id,weight", '1,"img,1",0.5', '4,"img,4",1.0', '7,"img,7",1.5']


def test_export_for_datacomp_is_sorted_pairs(tmp_path):
    keys = [f"{10 - i:016x}{i:016x}" for i in range(10)]
    selection().export(tmp_path / "uids.npy", ids=keys)
    array = np.load(tmp_path / "uids.npy")
    assert array.dtype == np.dtype("u8,u8")
    assert array.tolist() == [(3, 7), (6, 4), (9, 1)]


def test_export_refusals(tmp_path):
    with pytest.raises(UsageError, match="32 hex digits"):
        selection().export(tmp_path / "uids.npy")
    with pytest.raises(UsageError, match="cannot export"):
        selection().export(tmp_path / "uids.xyz")
    with pytest.raises(UsageError, match="did you mean 'csv'"):
        selection().export(tmp_path / "uids", kind="cvs")
    with pytest.raises(UsageError, match="all 10 examples"):
        selection().export(tmp_path / "ids.txt", ids=["a"])
    with pytest.raises(UsageError, match="weights"):
        selection(weights=torch.ones(3)).export(tmp_path / "ids.txt")
    with pytest.raises(UsageError, match="line break"):
        selection().export(tmp_path / "ids.txt", ids=["a\nb"] * 10)
    assert list(tmp_path.iterdir()) == []
