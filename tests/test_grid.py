"""Grids: what a person writes, what it means, and every mistake named with its line."""

import pytest
from conftest import ROOT

import datapruner as dp
from datapruner.grid import Grid
from datapruner.sweep_plan import (
    EQUAL,
    FULL,
    RANDOM_DATA,
    RANDOM_MASK,
    Budget,
    equal_compute,
    points,
)

WHOLE = """\
data: digits
seeds: [3, 5]
validation: 0.2
base:
  model: mlp
  lr: 5e-2
  scoring: {epochs: 2}
grid:
  - fraction: [1, 0.3]
    keep: [random, el2n+ccs, rs2]
  - weights: {density: [0.1], schedule: cubic}
    teacher: full
    distill.weight: [auto, 0.5]
"""


def test_a_whole_grid():
    grid = Grid.from_text(WHOLE)
    assert grid.seeds == (3, 5)
    assert grid.validation == 0.2
    assert grid.base == {"model": "mlp", "lr": 0.05, "scoring.epochs": 2}
    assert grid.grids[0] == {"fraction": (1.0, 0.3), "keep": ("random", "el2n+ccs", "rs2")}
    assert grid.grids[1] == {
        "weights.density": (0.1,),
        "weights.schedule": ("cubic",),
        "distill.teacher": ("full",),
        "distill.weight": ("auto", 0.5),
    }
    assert Grid.from_dict(grid.plain()) == grid


WRONG = {
    "no key 'grd'; did you mean 'grid'": ("data: digits\ngrd:\n  fraction: [1]\n", 2),
    "no axis 'fracton'; did you mean 'fraction'": ("data: digits\ngrid:\n  fracton: [1]\n", 3),
    "no group 'wieghts'; did you mean 'weights'": (
        "data: digits\ngrid:\n  wieghts:\n    density: [1]\n",
        3,
    ),
    "weights has no 'densty'; did you mean 'density'": (
        "data: digits\ngrid:\n  weights:\n    densty: [1]\n",
        4,
    ),
    "scoring has no 'epoch'; did you mean 'epochs'": (
        "data: digits\nbase:\n  scoring: {epoch: 2}\n",
        3,
    ),
    "axis 'fraction' is empty": ("data: digits\nseeds: 2\ngrid:\n  fraction: []\n", 4),
    "fraction must be above 0 and at most 1, not 1.5": (
        "data: digits\ngrid:\n  fraction:\n    - 1\n    - 1.5\n",
        5,
    ),
    "density must be above 0": ("data: digits\ngrid:\n  density: [0.5, 0]\n", 3),
    "nor a scorer; did you mean 'el2n'": ("data: digits\ngrid:\n  keep: [el2m+ccs]\n", 3),
    "no rule 'cc'; did you mean 'ccs'": ("data: digits\ngrid:\n  keep: [el2n+cc]\n", 3),
    "did you mean 'magnitude'": ("data: digits\ngrid:\n  criterion: [magnitud]\n", 3),
    "no schedule is called 'cubc'": ("data: digits\ngrid:\n  weights: {schedule: [cubc]}\n", 3),
    "did you mean 'erk'": ("data: digits\nbase:\n  allocation: erkk\n", 3),
    "did you mean 'together'": ("data: digits\ngrid:\n  order: [togeter]\n", 3),
    "epochs must be at least 1, not 0": ("data: digits\nbase:\n  epochs: 0\n", 3),
    "epochs must be a whole number": ("data: digits\nbase:\n  epochs: ten\n", 3),
    "distill weight must be in": ("data: digits\ngrid:\n  distill: {weight: [2]}\n", 3),
    "'base' has one value for 'lr'": ("data: digits\nbase:\n  lr: [0.1, 0.2]\n", 3),
    "'lr' stands twice": ("data: digits\nbase:\n  lr: 0.1\n  lr: 0.2\n", 4),
    "has 0.1 twice": ("data: digits\ngrid:\n  fraction: [0.1, 0.1]\n", 3),
    "in epochs or in steps": ("data: digits\ngrid:\n  epochs: [1]\n  steps: [5]\n", 3),
    "seeds must be how many": ("data: digits\nseeds: 0\n", 2),
    "validation must be in": ("data: digits\nvalidation: 1\n", 2),
    "controls must be true or false": ("data: digits\ncontrols: maybe\n", 2),
    "say `fraction: 1`": ("data: digits\ngrid:\n  keep: [all]\n", 3),
    "a mask is found on one subset": ("data: digits\ngrid:\n  mask_on: [rs2]\n", 3),
}


@pytest.mark.parametrize("words", WRONG)
def test_mistakes_are_named_with_their_line(words):
    text, line = WRONG[words]
    with pytest.raises(dp.UsageError) as caught:
        Grid.from_text(text, "g.yaml")
    assert words in str(caught.value)
    assert str(caught.value).startswith(f"g.yaml, line {line}: ")


@pytest.mark.parametrize("text", ["", "- 1", "grid: {fraction: [1]}", "data: digits\ngrid: []"])
def test_no_grid_at_all(text):
    with pytest.raises(dp.UsageError, match="^g.yaml"):
        Grid.from_text(text, "g.yaml")


def test_no_yaml(tmp_path):
    with pytest.raises(dp.PrunerError, match=r"g.yaml, line 2: no YAML"):
        Grid.from_text("data: digits\ngrid: [", "g.yaml")
    with pytest.raises(dp.PrunerError, match="no such file"):
        Grid.read(tmp_path / "none.yaml")


def arms(text, **more):
    grid = {"data": "digits", "seeds": 1, **more, "grid": text}
    return {point.arm: point for point in points(Grid.from_dict(grid))}


def test_settings_without_effect_make_no_further_points():
    found = arms(
        {"fraction": [1, 0.1], "keep": ["random", "rs2", "el2n", "infobatch"]}, controls=False
    )
    assert list(found) == ["all data", "InfoBatch", "random 10 %", "RS2 10 %", "el2n top 10 %"]
    found = arms(
        {"density": [1, 0.1], "criterion": ["magnitude", "snip"], "order": ["together"]},
        controls=False,
    )
    assert len(found) == 3
    assert len(arms({"teacher": ["none"], "distill": {"weight": [0.1, 0.9]}})) == 1


def test_names_hold_what_differs():
    found = arms({"lr": [0.1, 0.2], "epochs": [4]}, controls=False)
    assert list(found) == ["all data, lr 0.1", "all data, lr 0.2"]
    found = arms({"density": [1, 0.1], "allocation": ["global", "erk"]}, controls=False)
    assert list(found) == [
        "all data",
        "all data, density 10 %, allocation global",
        "all data, density 10 %, allocation erk",
    ]


def test_controls_are_added_once():
    found = arms({"fraction": [0.1], "keep": ["el2n+ccs", "el2n"], "density": [0.2]})
    assert {arm: point.control for arm, point in found.items()} == {
        "el2n ccs 10 %, density 20 %": "",
        "el2n top 10 %, density 20 %": "",
        "all data": FULL,
        "random 10 %, density 20 %": RANDOM_DATA,
        "random 10 %, random mask 20 %": RANDOM_MASK,
    }
    assert len(arms({"fraction": [1, 0.1], "keep": ["random"]})) == 2  # they are there already


def test_equal_compute():
    point = arms({"fraction": [0.1]}, controls=False)["random 10 %"]
    control = equal_compute(point, Budget(steps=40, full=400), ())
    assert (control.arm, control.control, control.run.steps) == ("all data, 40 steps", EQUAL, 40)
    assert control.run.sampler is None
    assert equal_compute(point, Budget(steps=400, full=400), ()) is None
    taught = arms({"fraction": [0.1], "teacher": ["full"]}, controls=False)
    assert equal_compute(*taught.values(), Budget(steps=40, full=400), ()) is None


def test_ids_tell_points_apart_and_are_stable():
    found = arms(
        {"fraction": [0.1, 0.2], "keep": ["random", "el2n", "el2n+ccs", "rs2"]}, controls=False
    )
    ids = [point.id("00ff") for point in found.values()]
    assert len(set(ids)) == len(ids)
    assert ids == [point.id("00ff") for point in found.values()]
    assert found["random 10 %"].id("00ff") != found["random 10 %"].id("00fe")
    scoring = arms(
        {"fraction": [0.1], "keep": ["random", "el2n"], "scoring": {"epochs": [2, 3]}},
        controls=False,
    )
    assert len({point.id("00ff") for point in scoring.values()}) == 3  # random needs no scores


def test_runs_before_the_last_one():
    found = arms(
        [
            {"density": 0.1, "fraction": 0.2, "order": ["data first", "weights first"]},
            {"density": 0.1, "mask_on": ["all", "el2n"], "mask_fraction": [0.3]},
        ],
        controls=False,
    )
    data, weights, whole, hard = found.values()
    assert data.first.weights is None
    assert data.first.sampler is not None
    assert weights.first.weights.density == 0.1
    assert weights.first.sampler is None
    assert whole.first.sampler is None
    assert hard.first.sampler is not None
    assert hard.first_fraction == 0.3
    assert hard.scoring is not None
    with pytest.raises(dp.UsageError, match="leave mask_on at same"):
        arms({"density": [0.1], "mask_on": ["all"], "order": ["data first"]})


@pytest.mark.parametrize("path", sorted((ROOT / "benchmarks/joint").glob("*.yaml")), ids=str)
def test_the_ready_grids_can_be_read(path):
    found = points(Grid.read(path))
    assert len(found) == len({point.id("00ff") for point in found}) > 10
