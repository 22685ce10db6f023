"""Controls of equal compute that a plan does not show: of InfoBatch, and of budgets in steps."""

import json

import pytest

from datapruner.cli import main
from datapruner.grid import Grid
from datapruner.report.sweep_arms import controls_of, gather_arms
from datapruner.report.sweep_controls import control_table
from datapruner.results_table import summary
from datapruner.sweep_plan import EQUAL, Budget, equal_compute
from datapruner.sweep_points import Point
from datapruner.sweep_shared import Site
from datapruner.sweeping import planned_points, sweep

BASE = {"model": "mlp", "epochs": 3, "lr": 0.05, "batch_size": 16, "scoring": {"epochs": 1}}
GRID = {
    "data": "digits",
    "seeds": 2,
    "base": BASE,
    "grid": {"keep": ["infobatch"], "ratio": [0.7]},
}


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    folder = tmp_path_factory.mktemp("equal") / "out"
    return folder, sweep(GRID, folder)


def test_infobatch_stands_beside_all_data_for_the_steps_that_it_took(swept):
    _, rows = swept
    assert {row["status"] for row in rows} == {"done"}
    steps = {(row["arm"], row["seed"]): row["cost.steps"] for row in rows}
    arm, name = "InfoBatch", "all data, as many steps as InfoBatch"
    for seed in (0, 1):
        assert steps[name, seed] == steps[arm, seed] < steps["all data", seed] == 3 * 81
    assert steps[arm, 0] != steps[arm, 1]  # else this grid shows nothing
    arms = gather_arms(rows)
    assert controls_of(arms[0], arms)[EQUAL].name == name
    (row,) = [row for row in summary(rows) if row["arm"] == name]
    assert row["n"] == 2
    assert row["steps"] is None


def test_a_call_that_goes_on_and_several_processes_give_the_same(swept, tmp_path):
    folder, rows = swept
    said = []
    assert sweep(GRID, folder, say=said.append) == rows
    assert not said
    known = {row["id"]: row["test.accuracy"] for row in rows}
    two = sweep(GRID | {"seeds": 1}, tmp_path / "two", jobs=2)
    assert [row["id"] for row in two] == [row["id"] for row in rows if row["seed"] == 0]
    assert all(row["test.accuracy"] == known[row["id"]] for row in two)


def test_the_plan_does_not_show_them_and_a_dry_run_does(swept, tmp_path, capsys):
    folder, rows = swept
    grid = Grid.from_dict(GRID)
    assert not [p for p in planned_points(Site(grid, folder), grid) if p.control == EQUAL]
    (tmp_path / "g.yaml").write_text(json.dumps(GRID))
    for out, done in ((folder, len(rows)), (tmp_path / "none", 0)):
        words = ["sweep", str(tmp_path / "g.yaml"), "--out", str(out), "--dry-run", "--json"]
        assert main(words) == 0
        points = json.loads(capsys.readouterr().out)["points"]
        assert [point["control"] for point in points].count(EQUAL) == 2
        assert [point["done"] for point in points].count(True) == done
    off = sweep(GRID | {"controls": False}, folder)
    assert len(off) == 2


def test_it_has_the_masks_of_the_point():
    sparse = Point({"keep": "infobatch", "weights.density": 0.2}, 0, "InfoBatch, density 20 %")
    assert equal_compute(sparse, Budget(50, 90), ()) is None
    found = equal_compute(sparse, Budget(50, 90, counted=True), ())
    assert found.arm == "all data, density 20 %, as many steps as InfoBatch, density 20 %"
    assert found.values == {"keep": "all", "steps": 50, "weights.density": 0.2}
    assert equal_compute(sparse, Budget(90, 90, counted=True), ()) is None


def test_a_scored_point_of_a_budget_in_steps(tmp_path):
    """Its scoring comes on top: all data for the steps of both is what is equal."""
    axes = {"steps": [60], "fraction": [0.1], "keep": ["random", "el2n"]}
    rows = sweep(GRID | {"seeds": 1, "grid": axes}, tmp_path / "out")
    arms = {arm.name: arm for arm in gather_arms(rows)}
    found = {name: controls_of(arm, list(arms.values())) for name, arm in arms.items()}
    assert found["random 10 %"][EQUAL].name == "all data"
    beside = found["el2n top 10 %"][EQUAL]
    assert beside.name == f"all data, {60 + 81} steps"
    assert beside.costs["cost.steps"] == arms["el2n top 10 %"].costs["cost.steps"] == 60 + 81
    assert not beside.full
    assert [a.name for a in arms.values() if a.control == EQUAL] == [beside.name]


def test_what_has_none_says_why(tmp_path):
    axes = {"fraction": [0.9], "keep": ["random", "el2n"], "teacher": ["none", "full"]}
    grids = [axes, {"keep": ["infobatch"]}]
    rows = sweep(GRID | {"seeds": 1, "base": BASE | {"epochs": 1}, "grid": grids}, tmp_path / "out")
    table = control_table(gather_arms(rows))
    assert table.columns[-1] == ("why none of equal compute", "text")
    why = {row[0]: row[-1] for row in table.rows}
    assert why == {
        "random 90 %": "",
        "random 90 %, teacher full": "a teacher's work is not in steps",
        "el2n top 90 %": "takes more steps than full and dense",
        "el2n top 90 %, teacher full": "a teacher's work is not in steps",
        "InfoBatch": "",  # one epoch leaves nothing out: full and dense is its equal
    }
