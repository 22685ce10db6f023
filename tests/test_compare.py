"""Comparing two scores: correlation, overlap at each budget, classes; and the command's words."""

import json

import numpy as np
import pytest

import datapruner as dp
from datapruner.cli import main
from datapruner.errors import Refused
from datapruner.ranking import compare_scores, kept_by, overlap, spearman

RNG = np.random.default_rng(0)


def test_a_score_agrees_with_itself_and_disagrees_with_its_reverse():
    score = RNG.normal(size=500)
    same, reverse = compare_scores(score, 3 * score + 1), compare_scores(score, -score)
    assert same.spearman == 1
    assert reverse.spearman == -1
    assert [share for _, share in same.overlaps] == [1.0] * 9
    assert [share for f, share in reverse.overlaps if f <= 0.5] == [0.0] * 5
    assert dict(reverse.overlaps)[0.9] == pytest.approx(0.8 / 0.9)


def test_ties_overlap_by_chance_and_no_more():
    nothing = np.zeros(4000)
    assert overlap(nothing, nothing, 0.3) == pytest.approx(0.3, abs=0.03)


def test_unrelated_scores_overlap_by_the_fraction():
    a, b = RNG.normal(size=(2, 20_000))
    for fraction, share in compare_scores(a, b).overlaps:
        assert share == pytest.approx(fraction, abs=0.02)


def test_only_what_both_score_counts():
    a, b = np.array([1.0, 2.0, np.nan, 4.0]), np.array([1.0, 2.0, 9.0, np.nan])
    found = compare_scores(a, b, labels=[0, 0, 1, 1])
    assert found.examples == 2
    assert [row.name for row in found.classes] == ["0"]
    assert kept_by(a, 1.0).tolist() == [True, True, False, True]
    assert np.isnan(spearman([1.0, 1.0], [1.0, 2.0]))


def test_classes_are_worked_by_hand():
    found = compare_scores(
        [1.0, 2.0, 3.0, 4.0],
        [3.0, 4.0, 1.0, 2.0],
        labels=[0, 0, 1, 1],
        classes=("cat", "dog"),
        fraction=0.5,
    )
    cat, dog = sorted(found.classes, key=lambda row: row.name)
    assert (cat.rank, dog.rank) == ((0.25, 0.75), (0.75, 0.25))
    assert (cat.kept, dog.kept) == ((0.0, 1.0), (1.0, 0.0))
    assert cat.rank_difference == 0.5
    with pytest.raises(Refused, match="same examples"):
        compare_scores([1.0], [1.0, 2.0])


@pytest.fixture
def tables(tmp_path):
    """Write two tables of the same examples that share one score."""
    labels = np.arange(40) % 4
    meta = {"fingerprint": "00ff", "classes": list("abcd")}
    el2n, aum = RNG.normal(size=(2, 40))
    dp.Scores({"el2n": el2n, "aum": aum}, labels, meta=meta).save(tmp_path / "a/scores.parquet")
    dp.Scores({"el2n": el2n, "loss": aum}, labels, meta=meta).save(tmp_path / "b/scores.parquet")
    other = {"fingerprint": "1111"}
    dp.Scores({"el2n": el2n}, labels, meta=other).save(tmp_path / "c/scores.parquet")
    return tmp_path


def test_the_command_compares_what_both_tables_have(tables, capsys):
    assert main(["compare", str(tables / "a"), str(tables / "b/scores.parquet"), "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["a"], row["b"], row["spearman"]) == ("el2n", "el2n", 1.0)
    assert {c["name"] for c in row["classes"]} == set("abcd")


def test_the_command_compares_named_scores_of_one_table(tables, capsys):
    table = str(tables / "a")
    assert main(["compare", f"{table}:el2n", f"{table}:aum"]) == 0
    said = capsys.readouterr().out
    assert "el2n and aum" in said
    assert "by chance" in said
    assert "mean rank" in said


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["a:el2n", "c"], 3, "different data"),
        (["a:nothing", "b"], 2, "no score 'nothing'"),
        (["a:aum", "b"], 2, "no score 'aum'"),
        (["a", "nowhere"], 1, "no such file"),
        (["a", "b", "--fraction", "2"], 2, "fraction"),
    ],
)
def test_what_cannot_be_compared_is_named(tables, capsys, words, code, says):
    paths = [str(tables / w) if w[0] in "abcn" and "-" not in w else w for w in words]
    assert main(["compare", *paths]) == code
    assert says in capsys.readouterr().err
