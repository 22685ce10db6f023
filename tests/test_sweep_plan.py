"""Points of a grid: no two under one name or one id, and no run twice under two."""

from pathlib import Path

import pytest

import datapruner as dp
from datapruner.grid import Grid
from datapruner.sweep_plan import EQUAL, RANDOM_FOUND, RANDOM_MASK, points
from datapruner.sweep_points import digest
from datapruner.sweep_shared import Site
from datapruner.sweeping import planned_points

BASE = {"data": "digits", "seeds": 2, "base": {"model": "mlp", "epochs": 4, "batch_size": 32}}


def plan(folder, grid, **more):
    whole = Grid.from_dict(BASE | more | {"grid": grid})
    return planned_points(Site(whole, folder), whole)


def test_a_control_has_a_name_of_its_own(tmp_path):
    """The grid's random mask is drawn by steps, its control before training."""
    found = plan(tmp_path, {"density": [0.1], "criterion": ["random", "magnitude"]})
    of = {}
    for point in found:
        of.setdefault(point.arm, set()).add(tuple(point.values.items()))
    assert all(len(settings) == 1 for settings in of.values())
    assert list(of) == [
        "all data, random mask 10 %, weights.schedule cubic",
        "all data, density 10 %, criterion magnitude",
        "all data",
        "all data, random mask 10 %, weights.schedule before",
    ]
    assert [p.control for p in found if "before" in p.arm] == [RANDOM_MASK] * 2


def test_a_random_mask_has_no_times_of_another_schedule(tmp_path):
    """A ramp's end would refuse the whole grid for the sake of a control."""
    found = plan(tmp_path, {"density": [0.1], "weights": {"begin": 0.2, "end": 0.6, "every": 0.1}})
    (mask,) = {p.run.weights for p in found if p.control == RANDOM_MASK}
    assert (mask.schedule, mask.begin, mask.end, mask.every) == ("before", None, None, None)


def test_a_budget_in_steps_is_one_whatever_the_epochs(tmp_path):
    """All data for as many steps as a tenth takes is what the grid has already."""
    found = plan(tmp_path, [{"fraction": [0.1]}, {"steps": [20]}])
    assert [point.control for point in found].count(EQUAL) == 0
    assert len({point.arm for point in found}) == len(found) / 2
    # a scoring run takes a fifth of the epochs, unless it is told how many
    scored = {"steps": [20], "fraction": [0.1], "keep": ["el2n"]}
    assert "epochs" in plan(tmp_path, scored)[0].values
    told = scored | {"scoring": {"epochs": [2]}}
    assert "epochs" not in plan(tmp_path, told)[0].values


def test_no_axis_over_what_names_no_run():
    with pytest.raises(dp.UsageError, match="line 2: 'device' says how a run is carried out"):
        Grid.from_text("data: digits\ngrid: {device: [cpu, cuda]}")
    Grid.from_text("data: digits\ngrid: {device: [cpu]}")


def test_ids_stay():
    """A long grid goes on over releases: neither its points nor what they share is named anew."""
    file = Path(__file__).parents[1] / "benchmarks" / "joint" / "cifar10.yaml"
    found = points(Grid.read(file))
    ids = [[point.id("00ff"), *(one.place for one in point.before("00ff"))] for point in found]
    assert len(ids) == 93
    assert digest(ids) == "019415ac65313ad6"


def test_a_mask_found_on_a_scored_subset_has_one_found_on_a_random_one(tmp_path):
    axes = {"density": [0.2], "mask_on": ["el2n+ccs"], "mask_fraction": [0.3], "beta": [0.1]}
    found = plan(tmp_path, axes | {"fraction": [0.5]}, seeds=1)
    (control,) = [point for point in found if point.control == RANDOM_FOUND]
    assert control.arm == "random 50 %, density 20 %, mask found on random 30 %"
    scored = found[0].values
    assert control.values == {n: v for n, v in scored.items() if n != "beta"} | {
        "mask_on": "random"
    }
    assert not any(p.control == RANDOM_FOUND for p in plan(tmp_path, {"density": [0.2, 0.1]}))
    has = axes | {"mask_on": ["el2n+ccs", "random"]}
    assert not any(p.control == RANDOM_FOUND for p in plan(tmp_path, has))  # the grid's own
    whole = axes | {"mask_fraction": [1.0]}  # of which there is one alone
    assert not any(p.control == RANDOM_FOUND for p in plan(tmp_path, whole))
    alone = plan(tmp_path, {"density": [0.2], "mask_on": ["all", "random"]})
    assert not any(p.control == RANDOM_FOUND for p in alone)
