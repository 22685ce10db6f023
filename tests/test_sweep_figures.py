"""The page of a sweep at its edges: one point, one seed, low accuracies, runs not there."""

import re

import pytest
from sweep_rows import row

from datapruner.report.sweep_arms import distortion, gather_arms
from datapruner.report.sweep_charts import cost_chart
from datapruner.report.sweep_controls import control_table
from datapruner.report.sweep_figures import (
    class_figure,
    cost_figures,
    distortion_figure,
    heat_maps,
    worst_figure,
)
from datapruner.report.sweep_findings import findings
from datapruner.report.sweep_page import _notes

GRID = {"grid": {"validation": 0.1}}
COST = "cost.weights_examples"


@pytest.mark.parametrize("reached", [0.0, 0.1, 0.35, 0.6, 0.95, 1.0])
def test_no_axis_leaves_what_an_accuracy_may_be(reached):
    arms = gather_arms([row("all data", reached, 2), row("x", reached, 1, density=0.2)])
    drawn = str(cost_chart(arms, COST, arms))
    ticks = [float(tick) for tick in re.findall(r">([\u2212\d.]+)\u00a0%</text>", drawn)]
    assert ticks
    assert all(0 <= tick <= 100 for tick in ticks)
    heights = [float(y) for y in re.findall(r'cy="([\d.]+)"', drawn)]
    assert all(30 <= y <= 290 for y in heights)


def test_one_point_is_drawn_and_advises_nothing():
    arms = gather_arms([row("all data", 0.9, 2)])
    assert len(findings(arms)) == 1
    assert "everything, dense" not in findings(arms)[0]
    assert len(cost_figures(arms)) > 1
    assert heat_maps(arms) == []
    assert class_figure(arms) is not None
    assert worst_figure(arms).table.rows
    assert distortion_figure(arms) is None
    assert control_table(arms).rows == []


def test_one_seed_has_no_bars_and_the_page_says_so():
    rows = [row("all data", 0.9, 2), row("x", 0.9, 1, density=0.2)]
    to_come = [one | {"seed": 1, "status": "missing"} for one in rows]
    arms = gather_arms(rows + to_come)
    assert "One seed: differences cannot be told from chance." in _notes(rows + to_come, GRID, arms)
    (shown, *_) = cost_figures(arms)
    assert shown.caption.endswith("One seed an arm: there are no bars.")
    assert "whisker" not in str(shown.drawing)
    assert "points (one seed)" in findings(arms)[1]
    both = gather_arms(rows + [row("x", 0.8, 1, seed=1, density=0.2)])
    assert cost_figures(both)[0].caption.endswith("Bars are standard errors over seeds.")
    assert not [note for note in _notes(rows, GRID, both) if "One seed" in note]


def test_a_full_run_that_knows_nothing_has_no_recall_to_compare_with():
    none = {"test.recall.a": 0.0, "test.recall.b": 0.0, "test.worst_recall": 0.0}
    arms = gather_arms([row("all data", 0.0, 2, **none), row("x", 0.5, 1, density=0.2)])
    assert distortion(arms[1], arms[0]) is None
    assert distortion_figure(arms) is None


def test_what_is_drawn_anew_is_no_scored_arm():
    half = {"fraction": 0.5, "density": 1.0}
    rows = [row("all data", 0.9, 4)]
    for seed in (0, 1):
        rows += [
            row("random 50 %", 0.8 + 0.001 * seed, 2, seed, keep="random", **half),
            row("RS2 50 %", 0.85, 2, seed, keep="rs2", **half),
            row("el2n ccs 50 %", 0.7, 2, seed, keep="el2n+ccs", **half),
        ]
    said = [words for words in findings(gather_arms(rows)) if "random subset" in words]
    assert [words.partition(" beat ")[0] for words in said] == [
        "0 of 1 scored arms",
        "1 of 1 arms of RS2",
    ]
    assert "the best of them, el2n ccs 50 %, is" in said[0]
