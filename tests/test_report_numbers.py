"""What stands behind the page: results, differences, sentences, bins."""

import json
from dataclasses import replace

import numpy as np
import pytest
from toy_runs import runs

from datapruner.errors import PrunerError
from datapruner.report import read_results, write_results
from datapruner.report.agreement import spearman
from datapruner.report.arms import gather
from datapruner.report.histograms import make_bins
from datapruner.report.outcome import sentences
from datapruner.report.pictures import ends


def test_results_come_back_and_damage_is_named(tmp_path):
    path = tmp_path / "results.json"
    write_results(path, runs())
    assert read_results(path) == runs()
    rows = json.loads(path.read_text())["results"]
    for spoil, match in [
        ({"acuracy": 1.0}, "result 0 has 'acuracy'; did you mean 'accuracy'"),
        ({"accuracy": 1.5}, r"result 0: accuracy .* outside \[0, 1\]"),
    ]:
        path.write_text(json.dumps({"results": [{**rows[0], **spoil}]}))
        with pytest.raises(PrunerError, match=match):
            read_results(path)
    path.write_text(json.dumps({"results": [{"arm": "a"}]}))
    with pytest.raises(PrunerError, match="lacks seed, accuracy"):
        read_results(path)
    path.write_text("[]")
    with pytest.raises(PrunerError, match="no list of results"):
        read_results(path)


def test_differences_are_paired_by_seed_where_seeds_agree():
    full, random, aum = gather(runs())
    assert full.difference is None
    assert random.difference is None
    assert (aum.difference.mean, aum.difference.error) == pytest.approx((0.05, 0.01))
    other = [replace(run, seed=run.seed + (5 if run.arm == "aum 30 %" else 0)) for run in runs()]
    unpaired = gather(other)[2].difference
    assert (unpaired.mean, unpaired.error) == pytest.approx((0.05, np.hypot(0.02, 0.01)))


def test_seconds_that_are_not_known_leave_the_curve_over_time_out():
    """A file may say null, as it may leave them out."""
    known, *_ = runs()
    for row in ({"seconds": None}, {}):
        rows = [{"epoch": 0, "examples": 9, "steps": 1, "test_accuracy": 0.5} | row]
        arm = gather([replace(known, history=rows)])[0]
        assert arm.curve[0][:3] == (9, 1, 0.5)
        assert np.isnan(arm.curve[0][4])


def test_sentences_do_not_claim_what_noise_explains():
    assert "2 seeds do not tell the two apart" in sentences(gather(runs()))[-1]  # t of 5
    close = [replace(run, accuracy=0.8 + 0.001 * run.seed) for run in runs()[2:4]]
    close += [replace(run, accuracy=0.85) for run in runs()[4:]]  # t of 99, 12.7 needed
    assert sentences(gather(close))[-1].endswith("4.95 ± 0.05 points above random 30 %.")
    worse = [replace(run, accuracy=run.accuracy - 0.2) for run in runs()[4:]]
    assert "nothing beats random 30 %" in sentences(gather([*runs()[2:4], *worse]))[-1]
    single = [run for run in runs() if run.seed == 0]
    assert "from one seed" in sentences(gather(single))[-1]


@pytest.mark.parametrize(
    "values",
    [
        np.random.default_rng(0).normal(size=500),
        np.random.default_rng(0).integers(0, 9, 500),
        np.random.default_rng(0).integers(-500, 500, 500),
        np.random.default_rng(0).integers(0, 30, (3, 500)).mean(0, dtype=np.float32),
        np.exp(np.random.default_rng(0).normal(scale=3, size=500)),
        np.append(np.random.default_rng(0).normal(size=500), [1e6, -1e6]),
        np.append(np.zeros(3), np.exp(np.random.default_rng(0).normal(scale=3, size=500))),
        np.full(5, 0.1),
        np.array([]),
    ],
    ids=[
        "normal",
        "few whole",
        "many whole",
        "means",
        "skewed",
        "far out",
        "skewed zeros",
        "same",
        "none",
    ],
)
def test_bins_hold_every_value_once(values):
    bins = make_bins(values.astype(np.float64))
    assert bins.count(values).sum() == len(values)
    assert len(bins.edges) <= 41
    assert (np.diff(bins.edges) > 0).all()
    if not bins.cut and len(values):
        assert bins.edges[0] <= values.min()
        assert values.max() <= bins.edges[-1] + 1e-12


def test_means_of_counts_lie_in_the_middle_of_their_bins():
    bins = make_bins(np.array([0, 1 / 3, 1 / 3, 4 / 3], dtype=np.float32).astype(np.float64))
    assert bins.edges == pytest.approx([-1 / 6, 1 / 6, 1 / 2, 5 / 6, 7 / 6, 3 / 2])
    assert bins.count(np.array([0, 1 / 3, 1 / 3, 4 / 3])).tolist() == [1, 2, 0, 0, 1]


def test_skewed_scores_get_a_logarithmic_axis():
    values = np.exp(np.random.default_rng(0).normal(scale=3, size=500))
    assert make_bins(values).log
    assert make_bins(np.geomspace(1e-4, 1.3, 500)).log  # el2n of a network that has learned most
    assert not make_bins(np.random.default_rng(0).random(500)).log
    assert not make_bins(values - 1).log
    assert make_bins(np.append(np.random.default_rng(0).normal(size=500), 1e6)).cut


def test_ends_are_stable_and_share_nothing():
    high, low = ends(np.array([1.0, 5.0, 1.0, 5.0, np.nan]), np.ones(5, dtype=bool), 10)
    assert high.tolist() == [1, 3]
    assert low.tolist() == [2, 0]


def test_rank_correlation():
    assert spearman([1, 2, 3, 4], [-1.0, -5.0, -9.0, -90.0]) == -1
    assert np.isnan(spearman([1, 1], [1, 2]))
    assert spearman([1, 2, np.nan, 3], [10, 20, 0, 30]) == 1
