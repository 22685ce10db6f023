"""What a run does, counted beforehand, and seconds from those that were timed."""

from dataclasses import astuple, replace

import pytest
import torch

from datapruner.files import read_json, write_json
from datapruner.forecast import (
    USUAL,
    Forecast,
    Forecasts,
    Work,
    below_of,
    epochs_of,
    planned,
    rankings,
)
from datapruner.grid import Grid
from datapruner.run import InfoBatchSpec, Run
from datapruner.sweep_forecast import foretell, timing_of, work_before, work_of
from datapruner.sweep_shared import Site
from datapruner.sweeping import Shard, planned_points, sweep
from datapruner.weight_specs import WeightPruning

GRID = {
    "data": "digits",
    "seeds": 2,
    "controls": False,
    "base": {"model": "mlp", "epochs": 2, "lr": 0.05, "scoring": {"epochs": 1}},
    "grid": [
        {"fraction": [0.3], "keep": ["random", "el2n"]},
        {"fraction": [0.3], "teacher": ["full"]},
        {"density": [0.5], "order": ["together", "weights first"]},
    ],
}


def test_what_a_run_will_take():
    assert planned(Run(epochs=3, batch_size=10), 1.0, 95) == (285, 30)
    assert planned(Run(epochs=3, batch_size=10), 0.1, 95) == (30, 3)
    assert planned(Run(steps=12, batch_size=10), 1.0, 95) == (115, 12)
    run = Run(sampler=InfoBatchSpec(0.5), epochs=8, batch_size=10)  # whole: epochs 1 and 8
    assert planned(run, 1.0, 100, below=0.6) == (8 * 78, 8 * 8)  # 2 * 100 + 6 * 70 is 620
    assert planned(Run(sampler=InfoBatchSpec(0.5), epochs=1), 1.0, 100)[0] == 100
    assert below_of(Run(epochs=8), 100, 700) is None
    assert epochs_of(Run(epochs=3, batch_size=10), 0.1, 95) == 3
    assert epochs_of(Run(steps=21, batch_size=10), 1.0, 95) == 3


def test_masks_change_as_often_as_their_schedule_says():
    """Counted by running the schedule, step by step."""
    for schedule in ("before", "after", "cubic", "linear", "staircase", "rigl"):
        for steps in (4, 30, 1000):
            pruning = WeightPruning(0.1, schedule=schedule)
            from datapruner.masks.schedules import timing

            when = timing(schedule)
            ticks = {when.tick(step / steps) for step in range(steps + 1)} - {0}
            assert abs(rankings(pruning, steps) - len(ticks)) <= 1
    assert rankings(WeightPruning(0.1, criterion="synflow", schedule="before"), 50) == 100


def some(seed):
    """Work of many kinds, drawn evenly."""
    generator = torch.Generator().manual_seed(seed)
    most = torch.tensor([100.0, 500.0, 20.0, 30.0, 100.0, 90.0, 80.0, 10.0])
    return [Work(*(torch.rand(8, generator=generator) * most).tolist()) for _ in range(24)]


def test_a_forecast_finds_the_prices():
    prices = Work(
        *(2 * p * w for p, w in zip(astuple(USUAL), (1, 2, 1, 3, 1, 1, 2, 1, 1), strict=True))
    )
    seconds = [Forecast(prices).seconds(work) for work in some(0)]
    model = Forecast.fit(zip(some(0), seconds, strict=True))
    for work in some(1):
        assert model.seconds(work) == pytest.approx(Forecast(prices).seconds(work), rel=0.02)


def test_each_network_has_a_pace_of_its_own():
    """Three times as long for an operation, as of a small network; one price for both is wrong."""

    def took(name, work):
        return Forecast(replace(USUAL, operations=0.03 if name == "mlp" else 0.01)).seconds(work)

    runs = [(name, work) for place, name in enumerate(("mlp", "resnet8")) for work in some(place)]
    model = Forecasts([(name, work, took(name, work)) for name, work in runs[::2]])
    single = Forecast.fit([(work, took(name, work)) for name, work in runs[::2]])
    off, alike = (
        sorted(abs(told(name, work) / took(name, work) - 1) for name, work in runs)
        for told in (model.seconds, lambda _, work: single.seconds(work))
    )
    assert off[len(off) // 2] < 0.02
    assert off[-1] < 0.15 < alike[-1]
    assert alike[len(off) // 2] > 3 * off[len(off) // 2]
    untimed = Forecasts([("mlp", work, took("mlp", work)) for _, work in runs[:24]])
    assert untimed.seconds("lenet", runs[0][1]) == untimed.seconds("mlp", runs[0][1])


def test_repeated_runs_count_by_their_median():
    works = some(0)
    seconds = [Forecast(USUAL).seconds(work) for work in works]
    timed = [
        (work, took * slow) for work, took in zip(works, seconds, strict=True) for slow in (1, 1, 9)
    ]
    for work, took in zip(works, seconds, strict=True):
        assert Forecast.fit(timed).seconds(work) == pytest.approx(took, rel=0.02)


def test_what_was_never_timed_has_its_usual_price_at_this_machines_pace():
    dense = [replace(work, ranked=0.0, held=0.0) for work in some(0)]
    slow = Forecast(Work(*(5 * price for price in astuple(USUAL))))
    model = Forecast.fit([(work, slow.seconds(work)) for work in dense])
    assert model.prices.ranked == pytest.approx(5 * USUAL.ranked, rel=0.1)
    one = Forecast.fit([(dense[0], slow.seconds(dense[0]))])
    assert one.seconds(dense[1]) == pytest.approx(slow.seconds(dense[1]), rel=0.05)
    assert min(astuple(one.prices)) > 0


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The first seed of a grid, run; the second is to be foretold."""
    folder = tmp_path_factory.mktemp("forecast") / "sweep"
    rows = sweep(GRID | {"seeds": 1}, folder)
    assert {row["status"] for row in rows} == {"done"}
    grid = Grid.from_dict(GRID)
    return Site(grid, folder), planned_points(Site(grid, folder), grid)


def never(*_):
    raise AssertionError("points were timed already")


def test_what_was_run_did_what_was_planned(site):
    site, plan = site
    for point in plan[::2]:
        done, took = timing_of(site, point)
        assert done == work_of(site, point)
        assert took > 0
    kinds = {p.arm: work_of(site, p) for p in plan}
    assert kinds["all data, density 50 %"].ranked > 0
    assert kinds["all data, density 50 %, weights first"].ranked == 0  # given to it, and held
    assert kinds["all data, density 50 %, weights first"].held > 0
    assert kinds["random 30 %, teacher full"].asked > 0
    assert kinds["random 30 %"].judged > 0


def test_what_is_shared_is_found_where_it_was_made(site):
    site, plan = site
    for place, point in enumerate(plan):
        for one in point.before(site.pool.fingerprint):
            made = (site.shared / f"{one.place}.json").exists()
            assert made == (place % 2 == 0 or one.place.startswith("teachers/"))
    scored = next(p for p in plan if p.keep.kind == "scored")
    assert work_before(site, scored.before(site.pool.fingerprint)[0]).recorded > 0


def test_a_sweep_foretold(site):
    site, plan = site
    found = foretell(site, plan, never)
    assert [took is None for took in found.each] == [place % 2 == 0 for place in range(len(plan))]
    assert found.basis == f"from {len(plan) // 2} timed points"
    assert found.shared > 0  # the second seed's recorded run and first run
    assert found.total == pytest.approx(found.shared + sum(filter(None, found.each)))
    only = foretell(site, [p for p in plan if p.arm == "random 30 %"], never)
    assert only.shared == 0


def test_seconds_of_a_killed_call_count(site, tmp_path):
    """A point whose training was finished by a call that was killed before it was judged."""
    site, plan = site
    file = site.out / "points" / plan[0].id(site.pool.fingerprint) / "outcome.json"
    write_json(file.parent / "run" / "seconds.json", {"training": 100.0, "pruning": 0.0})
    held = read_json(file)
    file.unlink()
    try:
        sweep(GRID | {"seeds": 1}, site.out)
        measured = read_json(file)["measured"]
    finally:
        write_json(file, held)
    assert measured["own_seconds"] >= 100
    assert 0 < measured["own_processor_seconds"] < 50


def test_infobatch_is_foretold_by_what_its_runs_left_out(tmp_path):
    """After twenty epochs most digits are below the mean loss, more than the usual share."""
    run = {"model": "mlp", "epochs": 20, "lr": 0.05}
    axes = {"keep": ["infobatch"], "ratio": [0.5]}
    grid = {"data": "digits", "seeds": 2, "controls": False, "base": run, "grid": axes}
    (done, _) = sweep(grid, tmp_path / "out", shard=Shard(0, 2))
    site = Site(Grid.from_dict(grid), tmp_path / "out")
    other = planned_points(site, Grid.from_dict(grid))[1]
    guess = work_of(site, other).operations
    found = foretell(site, planned_points(site, Grid.from_dict(grid)), never)
    (_, later) = sweep(grid, tmp_path / "out")
    took = timing_of(site, other)[0].operations
    below = below_of(other.run, site.n, done["cost.examples"])
    assert abs(work_of(site, other, below=below).operations / took - 1) < 0.02
    assert abs(guess / took - 1) > 0.03
    assert found.each[0] is None
    assert later["status"] == "done"
