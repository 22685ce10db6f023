"""Sweeps over weights: orders of pruning, masks found elsewhere, sparse scoring runs, phases."""

import shutil

import pytest
from sweep_rows import row

from datapruner.checkpoint import load_tensors
from datapruner.report.sweep_arms import controls_of, distortion, full_arm, gather_arms, pareto
from datapruner.report.sweep_controls import control_table
from datapruner.report.sweep_figures import heat_maps, worst_figure
from datapruner.report.sweep_findings import findings
from datapruner.report.sweep_page import write_sweep_report
from datapruner.results_table import write_rows
from datapruner.sweep_plan import EQUAL, FULL, RANDOM_FOUND, RANDOM_MASK
from datapruner.sweep_train import masks_of_zeros
from datapruner.sweeping import sweep

BASE = {"model": "mlp", "epochs": 3, "lr": 0.05, "scoring": {"epochs": 1}}
GRID = {
    "data": "digits",
    "seeds": 2,
    "base": BASE,
    "grid": [
        {"density": [1, 0.2], "fraction": [1, 0.5], "keep": ["random", "el2n+bottom"]},
        {"density": [0.2], "fraction": [0.5], "order": ["data first", "weights first"]},
        {"density": [0.2], "mask_on": ["random"], "mask_fraction": [0.5]},
    ],
}


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    folder = tmp_path_factory.mktemp("masks") / "out"
    return folder, sweep(GRID, folder)


def test_densities_are_met_and_counted(swept):
    _, rows = swept
    assert {row["status"] for row in rows} == {"done"}
    for one in rows:
        assert one["weights_left"] == pytest.approx(one["density"], abs=1e-4)
        dense = one["cost.examples"] * 50610
        sparse = one["density"] < 1
        assert (one["cost.weights_examples"] < dense) == sparse
        assert one["cost.flops_possible"] == one["cost.flops"]  # single weights save nothing
        assert (one["measured.pruning_seconds"] > 0) == sparse


def test_first_runs_are_charged_and_shared(swept):
    folder, rows = swept
    of = {row["arm"]: row for row in rows}
    both = of["random 50 %, density 20 %, data first"]
    assert both["cost.first.examples"] == both["cost.training.examples"] == 3 * 647
    whole = of["random 50 %, density 20 %, weights first"]
    assert whole["cost.first.examples"] == 3 * 1294
    firsts = list((folder / "shared" / "first").glob("*/model.safetensors"))
    assert len(firsts) == 2 * 3  # seeds, and three kinds of first runs


def test_a_mask_found_elsewhere_is_held(swept):
    folder, rows = swept
    row = next(row for row in rows if row["mask_on"] == "random")
    own = load_tensors(folder / "points" / row["id"] / "run" / "model.safetensors")[0]["model"]
    masks = masks_of_zeros(own)
    kept = []
    for file in (folder / "shared" / "first").glob("*/model.safetensors"):
        found = masks_of_zeros(load_tensors(file)[0]["model"])
        kept.append(all(bool((masks[n] <= found[n]).all()) for n in masks))
    assert any(kept)
    assert sum(int(m.sum()) for m in masks.values()) == pytest.approx(0.2 * 50200, abs=20)


def test_random_masks_stand_beside_found_ones(swept):
    _, rows = swept
    arms = gather_arms(rows)
    of = {arm.name: arm for arm in arms}
    found = controls_of(of["el2n bottom 50 %, density 20 %"], arms)
    assert {kind: arm.name for kind, arm in found.items()} == {
        "full and dense": "all data",
        "random data": "random 50 %, density 20 %",
        "random mask": "random 50 %, random mask 20 %",
        "equal compute": "all data, density 20 %, 29 steps",
    }


def test_the_page(swept):
    folder, _ = swept
    page = write_sweep_report(folder).read_text()
    for words in (
        "Full and dense, the network reaches",
        "Density and share of the data",
        "Recall distortion",
        "over random mask",
        "Class by class",
        "Accuracy against active weights",
    ):
        assert words in page
    files = {file.name for file in (folder / "figures").iterdir()}
    assert {"arms.csv", "recall-distortion.csv", "beside-its-controls.csv"} <= files
    assert write_sweep_report(folder).read_text() == page


def test_the_front_is_chosen_on_what_is_set_aside():
    arms = gather_arms(
        [
            row("cheap", 0.8, 1),
            row("lucky", 0.7, 2, **{"test.accuracy": 0.99}),
            row("good", 0.9, 3),
            row("dear", 0.9, 4),
        ]
    )
    assert [arm.name for arm in pareto(arms, "cost.weights_examples")] == ["cheap", "good"]


def test_controls_are_trained_as_the_arm_is():
    half = {"fraction": 0.5, "keep": "rs2", "cost.steps": 7}
    mask = {"density": 0.2, "criterion": "magnitude", "pattern": "weight"}
    rows = []
    for lr in (0.1, 0.2):
        of = {"lr": lr}
        rows += [
            row(f"all data, {lr}", 0.9, 4, **of),
            row(f"half, {lr}", 0.8, 2, **of, **half),
            row(f"7 steps, {lr}", 0.8, 2, **of, control=EQUAL, **{"cost.steps": 7}),
        ]
    for pattern in ("weight", "2:4"):
        of = {"lr": 0.2, **mask, "pattern": pattern}
        rows += [
            row(f"sparse, {pattern}", 0.8, 2, **of),
            row(f"random mask, {pattern}", 0.7, 2, **{**of, "criterion": "random"}),
        ]
    columns = {"lr": 0.1, "criterion": "magnitude", "pattern": "weight"}
    first = ("id", "arm", "control")  # the settings stand after these
    arms = gather_arms([{name: one[name] for name in first} | columns | one for one in rows])
    of = {arm.name: arm for arm in arms}
    for lr in (0.1, 0.2):
        found = controls_of(of[f"half, {lr}"], arms)
        assert found[FULL].name == f"all data, {lr}"
        assert found[EQUAL].name == f"7 steps, {lr}"
    for pattern in ("weight", "2:4"):
        found = controls_of(of[f"sparse, {pattern}"], arms)
        assert {kind: arm.name for kind, arm in found.items()} == {
            FULL: "all data, 0.2",
            RANDOM_MASK: f"random mask, {pattern}",
        }
    none = [arm for arm in arms if arm.first["lr"] != 0.2 or not arm.full]
    assert FULL not in controls_of(of["half, 0.2"], none)  # another rate is no control


def test_a_point_of_the_grid_may_be_the_equal_compute():
    tenth = row("tenth", 0.8, 1, fraction=0.1, keep="random", **{"cost.steps": 7})
    arms = gather_arms(
        [tenth, row("all data", 0.9, 9, **{"cost.steps": 70})]
        + [row("all data, 7 steps", 0.8, 1, **{"cost.steps": 7, "cost.examples": 0.5})]
    )
    found = controls_of(arms[0], arms)
    assert {kind: arm.name for kind, arm in found.items()} == {
        FULL: "all data",
        EQUAL: "all data, 7 steps",
    }


def test_the_best_of_several_full_arms_is_what_is_compared_with():
    sparse = row("cheap", 0.85, 1, density=0.2)
    arms = gather_arms([row("lr 1", 0.5, 2), row("lr 0.1", 0.9, 2), sparse])
    assert full_arm(arms).name == "lr 0.1"


def test_figures_say_what_they_do_not_draw():
    rows = [
        row(f"{density} {fraction} {lr}", 0.9, 1, lr=lr, density=density, fraction=fraction)
        for lr in (0.1, 0.2)
        for density in (1.0, 0.2)
        for fraction in (1.0, 0.5)
    ]
    (shown,) = heat_maps(gather_arms(rows))
    assert "4 more arms of these cells differ in other settings" in shown.caption
    assert "1.0 0.5 0.1" in shown.table.csv
    assert "0.2 0.5 0.2" not in shown.table.csv
    (plain,) = heat_maps(gather_arms(rows[:4]))
    assert "more arms" not in plain.caption
    many = gather_arms([row(str(place), 0.9, 1) for place in range(33)])
    assert "3 more arms are in the table" in worst_figure(many).caption


def test_what_is_near_is_near_where_it_was_chosen():
    """Its test accuracy, which chose nothing, may be far away."""
    arms = gather_arms(
        [row("all data", 0.9, 2), row("x", 0.9, 1, **{"test.accuracy": 0.6}, density=0.2)]
    )
    words = findings(arms)[1]
    assert words.startswith("The cheapest within a point of it on the part set aside is x: 60.00")


def test_without_a_test_split_the_page_says_so(swept, tmp_path):
    folder, rows = swept
    blind = [
        {n: None if n.startswith("test.") and "class" not in n else v for n, v in one.items()}
        for one in rows
    ]
    shutil.copy(folder / "run.json", tmp_path)
    write_rows(tmp_path, blind)
    page = write_sweep_report(tmp_path).read_text()
    assert "There is no test split" in page
    assert "accuracy is that on the part set aside." in page
    assert "of the test split" not in page


def test_recall_distortion_by_hand():
    """Balances are +-0.05/0.8 before and +-0.1/0.8 after: a slope of 2."""
    full = row("all data", 0.8, 2)
    wide = row("x", 0.8, 1, **{"test.recall.a": 0.9, "test.recall.b": 0.7})
    arms = gather_arms([full, wide])
    found = distortion(arms[1], arms[0])
    assert found.alpha.mean == pytest.approx(2.0)
    assert found.doubt == ""
    low = gather_arms([full, row("y", 0.5, 1)])
    assert "below 0.8" in distortion(low[1], low[0]).doubt


def test_a_sparse_network_scores(tmp_path):
    few = {
        "data": "digits",
        "seeds": 1,
        "controls": False,
        "base": BASE,
        "grid": {"fraction": [0.3], "keep": ["el2n"], "scoring": {"density": [1, 0.05]}},
    }
    rows = sweep(few, tmp_path / "out")
    assert [r["arm"] for r in rows] == [
        "el2n top 30 %, scoring.density 1",
        "el2n top 30 %, scoring.density 0.05",
    ]
    assert rows[0]["test.accuracy"] != rows[1]["test.accuracy"]


def test_a_mask_of_a_scored_subset_stands_beside_one_of_a_random_subset():
    mask = {"density": 0.2, "criterion": "magnitude", "beta": 0.0, "mask_fraction": 0.3}
    rows = [
        row("scored", 0.8, 2, **mask | {"mask_on": "el2n+ccs", "beta": 0.1}),
        row("random", 0.7, 2, **mask | {"mask_on": "random"}),
        row("another part", 0.7, 2, **mask | {"mask_on": "random", "mask_fraction": 0.1}),
        row("everything", 0.7, 2, **mask | {"mask_on": "all"}),
    ]
    first = ("id", "arm", "control")
    arms = gather_arms([{n: one[n] for n in first} | mask | one for one in rows])
    found = [{kind: a.name for kind, a in controls_of(arm, arms).items()} for arm in arms]
    assert found == [{RANDOM_FOUND: "random"}, {}, {}, {}]
    assert "over mask of a random subset" in dict(control_table(arms).columns)
