"""Two sections of the page: what another seed would keep, and the labels that are suspect."""

import numpy as np
import pytest
import torch
from test_report import pictures, written

import datapruner as dp
from datapruner.ranking import FRACTIONS
from datapruner.report.stability import seed_overlap, split_half, stability
from datapruner.report.suspects import suspect_labels

RNG = np.random.default_rng(2)


def table(data, **more):
    aum = np.linspace(1, 0, data.n)
    return dp.Scores({"aum": aum}, data.labels, meta={"fingerprint": data.fingerprint}, **more)


# seeds


def test_split_halves_are_all_the_ways_of_halving():
    truth = RNG.normal(size=3000)
    runs = truth + RNG.normal(size=(4, 3000))
    expected = 2 / (2 + 1)  # variance of the truth over that of a mean of two
    assert split_half(runs) == pytest.approx(expected, abs=0.04)
    assert split_half(runs[:3]) == pytest.approx(1 / 2, abs=0.05)
    assert split_half(np.stack([truth, truth])) == 1


def test_overlap_is_counted_over_pairs_of_single_seeds():
    one = np.arange(100.0)
    assert seed_overlap(np.stack([one, one])) == [1.0] * 9
    assert seed_overlap(np.stack([one, -one]))[:5] == [0.0] * 5
    chance = seed_overlap(RNG.normal(size=(3, 20_000)))
    np.testing.assert_allclose(chance, FRACTIONS, atol=0.02)
    ties = seed_overlap(np.zeros((2, 20_000)))
    np.testing.assert_allclose(ties, FRACTIONS, atol=0.03)


def test_the_page_shows_both_for_each_score_with_seeds(tmp_path):
    data = pictures()
    runs = {"aum": RNG.normal(size=(4, data.n)), "random": RNG.normal(size=(4, data.n))}
    page = written(tmp_path, data=data, scores=table(data, runs=runs))
    (row,) = page.csv("scorer,seeds,split-half")
    assert (row["scorer"], row["seeds"]) == ("aum", "4")
    assert float(row["split-half rank correlation"]) == pytest.approx(split_half(runs["aum"]))
    assert float(row["overlap at 90 %"]) > 0.8
    assert "Would another seed keep the same?" in page.text


def test_one_seed_says_nothing_of_others():
    data = pictures()
    assert stability(table(data)) is None
    assert stability(table(data, runs={"aum": np.zeros((1, data.n))})) is None


def test_unreadable_examples_do_not_count():
    values = RNG.normal(size=(2, 50))
    values[:, 7] = np.nan
    assert 0 <= seed_overlap(values)[4] <= 1
    assert np.isfinite(split_half(values))


# suspects


def test_suspects_are_shown_with_the_label_that_the_networks_would_give(tmp_path):
    data = pictures(40, unreadable=[9])
    flag = np.isin(np.arange(40), [3, 8, 30])
    suggested = np.where(np.arange(40) == 8, data.labels, (data.labels.numpy() + 1) % 4)
    suggested[9] = -1
    scores = table(data, flags={"suspect_label": flag}, suggested=suggested)
    page = written(tmp_path, data=data, scores=scores)
    assert "suspects" in page.ids
    assert "3 labels of 39 (7.7 %) are suspect" in page.text
    assert "for 2 of them the networks name another class" in page.text
    assert "class 3 → class 0" in page.text
    rows = page.csv("index,label,network says,aum")
    assert [row["index"] for row in rows] == ["3", "8", "30"], "the surest first"
    assert [row["network says"] for row in rows] == ["class 0", "class 0", "class 3"]
    by_class = {r["class"]: r["suspect labels"] for r in page.csv("class,suspect labels")}
    assert by_class == {"class 0": "1", "class 1": "0", "class 2": "1", "class 3": "1"}


def test_where_no_label_was_judged_there_is_no_section():
    data = pictures()
    assert suspect_labels(data, table(data)) is None


def test_no_suspects_and_no_pictures_are_said_too(tmp_path):
    data = pictures()
    scores = table(data, flags={"suspect_label": np.zeros(data.n, bool)})
    page = written(tmp_path, data=data, scores=scores)
    assert "0 labels of 40 (0.0 %) are suspect." in page.text
    points = dp.open_data(torch.utils.data.TensorDataset(torch.zeros(8, 2), torch.arange(8) % 2))
    found = suspect_labels(points, table(points, flags={"suspect_label": np.ones(8, bool)}))
    assert found.shown == []
    assert len(found.rows.rows) == 8
