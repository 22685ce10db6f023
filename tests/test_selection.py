"""keep() and Selection: exact budgets over classes and chance, refusals, files."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from datapruner.errors import PrunerError, Refused, UsageError
from datapruner.rules import RULES
from datapruner.selection import Selection, keep

TEN = [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.0]
NAN, INF = float("nan"), float("inf")


def kept(*args, **options):
    return keep(*args, **options).indices.tolist()


def data_of(fingerprint, n=10):
    return SimpleNamespace(n=n, fingerprint=fingerprint, name="toy")


# sizes


@pytest.mark.parametrize(
    ("fraction", "n", "size"),
    [(1.0, 10, 10), (0.3, 10, 3), (0.25, 10, 2), (0.35, 10, 4), (0.001, 10, 1), (0.1, 1000, 100)],
)
def test_size_is_the_rounded_share_and_at_least_one(fraction, n, size):
    for rule in RULES:
        assert len(keep(np.arange(n), fraction, rule=rule)) == size


@pytest.mark.parametrize("k", [0, 1, 10])
@pytest.mark.parametrize("rule", RULES)
def test_k_is_exact_at_the_edges(rule, k):
    selection = keep(TEN, k=k, rule=rule)
    assert selection.indices.shape == (k,)
    assert selection.indices.dtype == torch.int64
    assert selection.weights is None


@settings(max_examples=150)
@given(
    n=st.integers(1, 60),
    classes=st.integers(1, 5),
    fraction=st.floats(0.01, 1),
    rule=st.sampled_from(list(RULES)),
    mode=st.sampled_from(["plain", "per_class", "floor"]),
    calibrate=st.sampled_from([0.0, 0.2, 1.0]),
    seed=st.integers(0, 3),
)
def test_exact_sorted_unique_readable(n, classes, fraction, rule, mode, calibrate, seed):
    rng = np.random.default_rng(seed)
    readable = rng.random(n) > 0.1
    assume(readable.any())
    options = {"per_class": mode == "per_class", "class_floor": 0.5 if mode == "floor" else 0.0}
    labels = rng.integers(0, classes, n) ** 2
    scores = np.where(readable, rng.integers(0, 6, n), NAN)
    settings = options | {"labels": labels, "calibrate": calibrate, "seed": seed, "rule": rule}
    selection = keep(scores, fraction, readable=readable, **settings)
    indices = selection.indices.numpy()
    assert len(indices) == max(1, round(fraction * readable.sum()))
    assert (np.diff(indices) > 0).all()
    assert readable[indices].all()
    assert kept(scores, fraction, readable=readable, **settings) == indices.tolist()
    for label, (of_class, size) in selection.meta["class_counts"].items():
        assert (labels[indices] == int(label)).sum() == of_class
        assert (labels[readable] == int(label)).sum() == size


# scores as they come


@pytest.mark.parametrize(
    "scores",
    [
        TEN,
        np.array(TEN, np.float16),
        torch.tensor(TEN, dtype=torch.bfloat16),
        torch.tensor(TEN, dtype=torch.float64, requires_grad=True),
        np.arange(10)[::-1],
        np.arange(10, dtype=np.uint8)[::-1],
    ],
)
def test_any_kind_of_number_will_do(scores):
    assert kept(scores, k=3) == [0, 1, 2]
    assert kept(scores, k=3, rule="bottom") == [7, 8, 9]


def test_float64_is_not_rounded():
    assert kept(torch.tensor([1.0, 1 + 1e-12], dtype=torch.float64), k=1) == [1]


def test_ties_are_stable_and_depend_on_the_seed():
    draws = [tuple(kept(np.ones(50), k=10, seed=s)) for s in (0, 0, 1)]
    assert draws[0] == draws[1] != draws[2]
    assert "splitmix64" in keep(np.ones(5), k=1).meta["ties"]


def test_unreadable_are_never_kept_and_do_not_count():
    readable = [True] * 8 + [False] * 2
    scores = [*TEN[:8], NAN, INF]
    assert len(keep(scores, 0.5, readable=readable)) == 4
    assert kept(scores, 1.0, readable=torch.tensor(readable)) == list(range(8))


# classes

LABELS = [0] * 6 + [1] * 4  # by TEN, class 0 is all above class 1


def test_per_class_takes_the_share_of_each_by_largest_remainder():
    # 5 of 10: 3 of the 6 and 2 of the 4
    assert kept(TEN, 0.5, labels=LABELS, per_class=True) == [0, 1, 2, 6, 7]
    # 3 of 10: 1.8 and 1.2, so 2 and 1
    assert kept(TEN, 0.3, labels=LABELS, per_class=True) == [0, 1, 6]


def test_window_and_beta_are_shares_of_the_class():
    # a quarter of six is 1.5, of four 1
    options = {"labels": LABELS, "per_class": True}
    assert kept(TEN, 0.5, rule="window", offset=0.25, **options) == [2, 3, 4, 7, 8]


def test_class_floor_lifts_only_who_is_short():
    # top 5 is class 0 alone; half of 0.5 * 4 is 1 for class 1
    assert kept(TEN, 0.5, labels=LABELS, class_floor=0.5) == [0, 1, 2, 3, 6]
    assert keep(TEN, 0.5, labels=LABELS, class_floor=0.5).meta["class_counts"] == {
        "0": [4, 6],
        "1": [1, 4],
    }
    # a full floor is the share of each class
    assert kept(TEN, 0.5, labels=LABELS, class_floor=1.0) == [0, 1, 2, 6, 7]
    # no one is short: nothing changes
    mixed = [0, 1] * 5
    assert kept(TEN, 0.4, labels=mixed, class_floor=0.5) == kept(TEN, 0.4)


@settings(max_examples=100)
@given(st.integers(0, 10_000), st.floats(0.05, 1), st.floats(0.1, 1))
def test_class_floor_holds_and_loses_the_least_score(seed, fraction, floor):
    rng = np.random.default_rng(seed)
    labels, scores = rng.integers(0, 4, 40), rng.permutation(40).astype(float)
    indices = keep(scores, fraction, labels=labels, class_floor=floor).indices.numpy()
    sizes, got = np.bincount(labels, minlength=4), np.bincount(labels[indices], minlength=4)
    least = np.floor(floor * fraction * sizes + 1e-9)
    assert (got >= least).all()
    if np.ceil(floor * fraction * sizes).sum() <= len(indices):
        least = np.ceil(floor * fraction * sizes - 1e-9)
        assert (got >= least).all()
        # the best that respects the floors: each class's best first, then the best of the rest
        must = np.concatenate(
            [
                np.flatnonzero(labels == c)[np.argsort(-scores[labels == c])][: int(m)]
                for c, m in enumerate(least)
            ]
        )
        rest = np.setdiff1d(np.arange(40), must)
        more = rest[np.argsort(-scores[rest])][: len(indices) - len(must)]
        assert sorted([*must, *more]) == indices.tolist()


def test_classes_without_examples_and_negative_labels():
    assert keep(TEN, k=4, labels=[-5] * 5 + [70_000] * 5, per_class=True).meta["class_counts"] == {
        "-5": [2, 5],
        "70000": [2, 5],
    }
    counts = keep(TEN, k=4, labels=[0] * 5 + [2] * 5, per_class=True).meta["class_counts"]
    assert counts == {"0": [2, 5], "1": [0, 0], "2": [2, 5]}


# chance


def test_calibrate_draws_its_share_from_the_rest():
    scores = np.arange(100.0)[::-1]
    indices = keep(scores, k=20, calibrate=0.25, seed=1).indices.numpy()
    assert set(range(15)) <= set(indices)  # the rule's part
    assert len(indices) == 20
    assert (indices[15:] >= 15).all()
    assert kept(scores, k=20, calibrate=0.25, seed=1) != kept(scores, k=20, calibrate=0.25, seed=2)


def test_calibrate_keeps_the_quota_of_each_class():
    selection = keep(TEN, k=5, labels=LABELS, per_class=True, calibrate=0.4)
    assert selection.meta["class_counts"] == {"0": [3, 6], "1": [2, 4]}


# a rule of one's own


def test_a_function_is_a_rule():
    def every_other(scores, k, generator):
        return torch.arange(0, 2 * k, 2)

    selection = keep(TEN, k=3, rule=every_other)
    assert selection.indices.tolist() == [0, 2, 4]
    assert selection.meta["rule"] == "every_other"
    assert kept(TEN, k=4, rule=every_other, labels=LABELS[::-1], per_class=True) == [0, 2, 4, 6]


@pytest.mark.parametrize(
    ("places", "words"),
    [([0, 0, 1], "3 different places"), ([0, 1], "3 different"), ([0, 1, 10], "outside 0 .. 9"),
     ([0.0, 1.0, 2.0], "float64"), ([-1, 0, 1], "outside")],
)  # fmt: skip
def test_a_function_that_returns_no_places_is_named(places, words):
    def mine(scores, k, generator):
        return np.array(places)

    with pytest.raises(UsageError, match=f"'mine' .*{words}"):
        keep(TEN, k=3, rule=mine)


# refusals, one line each


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"fraction": 0.0}, "fraction=0 must be above 0"),
        ({"fraction": 1.5}, "fraction=1.5 must be above 0 and at most 1; for a number say k=1.5"),
        ({"fraction": -0.1}, "above 0"),
        ({"fraction": NAN}, "fraction=nan"),
        ({}, "either fraction"),
        ({"fraction": 0.5, "k": 3}, "not both"),
        ({"k": 11}, "k=11 must be between 0 and the 10"),
        ({"k": -1}, "k=-1"),
        ({"k": 2.5}, "whole number"),
        ({"k": 3, "rule": "tpo"}, "did you mean 'top'"),
        ({"k": 3, "offset": 0.1}, "rule 'top' does not use offset; leave it out, or use 'window'"),
        ({"k": 3, "beta": 0.1}, "use 'ccs'"),
        ({"k": 3, "strata": 9}, "does not use strata"),
        ({"k": 3, "beta": 0.1, "rule": lambda s, k, g: range(k)}, "does not use beta"),
        ({"fraction": 0.5, "rule": "ccs", "beta": 0.6}, "beta=0.6 must be between 0 and 0.5"),
        ({"fraction": 0.5, "rule": "window", "offset": 0.6}, "offset=0.6 must be"),
        ({"fraction": 0.5, "rule": "ccs", "beta": NAN}, "beta=nan"),
        ({"k": 5, "rule": "ccs", "strata": 0}, "strata=0"),
        ({"k": 3, "per_class": True}, "need labels"),
        ({"k": 3, "class_floor": 0.5}, "need labels"),
        (
            {"k": 3, "labels": LABELS, "per_class": True, "class_floor": 0.5},
            "leave out class_floor",
        ),
        ({"k": 3, "labels": LABELS, "class_floor": 1.5}, "class_floor=1.5"),
        ({"k": 3, "calibrate": -0.5}, "calibrate=-0.5"),
        ({"k": 3, "labels": [0, 1]}, r"labels must be \(10,\)"),
        ({"k": 3, "labels": [0.5] * 10}, "whole numbers"),
        ({"k": 3, "readable": [True]}, r"readable must be \(10,\) bool"),
        ({"k": 3, "readable": [False] * 10}, "none of the 10"),
        ({"k": 3, "seed": 0.5}, "seed=0.5"),
    ],
)
def test_refused_in_one_line(options, words):
    with pytest.raises(UsageError, match=words) as caught:
        keep(TEN, **options)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("scores", "words"),
    [
        ([0.1, NAN, 0.2, NAN], "2 scores are NaN, first at 1"),
        ([0.1, 0.2, -INF], "1 score is infinite, first at 2"),
        ([[0.1, 0.2]], r"got \(1, 2\)"),
        ([], "numbers"),
        (["a", "b"], "numbers"),
        ({"aum": TEN}, r"scores\['el2n'\]"),
    ],
)
def test_scores_that_cannot_be_ranked(scores, words):
    with pytest.raises(UsageError, match=words):
        keep(scores, k=1)


def test_a_limited_ranking_gives_no_more_than_it_ranked():
    greedy = np.full(10, -1.0)
    greedy[[4, 7, 1]] = [10, 9, 8]
    assert kept(greedy, k=3) == [1, 4, 7]
    with pytest.raises(UsageError, match="only 3 were"):
        keep(greedy, k=4)
    with pytest.raises(UsageError, match="only 3 were"):
        keep(greedy, k=2, labels=[1, 0, 1, 1, 0, 1, 1, 0, 0, 0], class_floor=1.0)
    assert len(keep(greedy, k=4, calibrate=0.25)) == 4  # what is drawn needs no rank
    assert len(keep(greedy, k=4, rule="random")) == 4


def test_the_largest_beta_fits_also_where_both_halves_round_up():
    assert kept([0.0, 0.1, 0.2, 0.3, 9.0], 0.3, rule="ccs", beta=0.7) == [0, 1]


# Selection and its files


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
