"""Sweeps: killed and gone on with, in parts, in several processes; failures; what is shared."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import datapruner as dp
from datapruner import sweep_work, sweeping
from datapruner.cli import main
from datapruner.grid import Grid
from datapruner.results_table import read_rows, summary
from datapruner.sharing import locked
from datapruner.sweep_shared import Site
from datapruner.sweeping import Shard, planned_points, sweep

GRID = {
    "data": "digits",
    "seeds": 1,
    "base": {"model": "mlp", "epochs": 3, "lr": 0.05, "scoring": {"epochs": 1}},
    "grid": {"fraction": [1, 0.3, 0.1], "keep": ["random", "el2n+ccs", "rs2"], "lr": [0.02, 0.05]},
}


def counted(rows):
    """The rows without what a clock says."""
    return [{k: v for k, v in row.items() if not k.startswith("measured.")} for row in rows]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The grid, run in one go."""
    folder = tmp_path_factory.mktemp("sweep") / "whole"
    said = []
    rows = sweep(GRID, folder, say=said.append)
    assert len(said) == len(rows)
    return folder, rows


def test_rows(whole):
    folder, rows = whole
    arms = {row["arm"]: row for row in rows}
    assert len(arms) == len(rows)
    grid = [row for row in rows if not row["control"]]
    assert len(grid) == 2 * (1 + 2 * 3)  # at fraction 1 the rows of `keep` are one
    assert {row["status"] for row in rows} == {"done"}
    full, tenth = arms["all data, lr 0.02"], arms["random 10 %, lr 0.02"]
    assert full["cost.examples"] == 3 * 1294  # a tenth of the 1,438 is set aside
    assert tenth["cost.examples"] == 3 * 129
    assert full["cost.weights_examples"] == 3 * 1294 * 50610
    assert full["cost.flops"] == pytest.approx(3 * 1294 * (3 * 100400 - 2 * 64 * 300))
    assert len([name for name in full if name.startswith("test.recall.")]) == 10
    assert full["test.worst_recall"] == min(full[f"test.recall.{c}"] for c in range(10))
    assert read_rows(folder) == rows


def test_scoring_is_charged_to_everyone_who_needs_it(whole):
    _, rows = whole
    arms = {row["arm"]: row for row in rows}
    scored, random = arms["el2n ccs 10 %, lr 0.05"], arms["random 10 %, lr 0.05"]
    assert scored["cost.scoring.examples"] == 1294
    assert scored["cost.examples"] == random["cost.examples"] + 1294
    assert scored["cost.flops"] > scored["cost.training.flops"] == random["cost.flops"]
    assert scored["measured.scoring_seconds"] > 0
    thirty = arms["el2n ccs 30 %, lr 0.05"]
    assert thirty["measured.scoring_seconds"] == scored["measured.scoring_seconds"]
    assert random["measured.seconds"] >= random["measured.training_seconds"]


def test_equal_compute_takes_the_steps_of_scoring_as_well(whole):
    _, rows = whole
    equal = {row["cost.steps"] for row in rows if row["control"] == "equal compute"}
    assert equal == {6, 12, 6 + 11, 12 + 11}  # 3 epochs of 2 or 4 batches, a scoring run of 11


def test_killed_and_started_again_it_ends_the_same(whole, tmp_path):
    _, rows = whole
    (tmp_path / "grid.json").write_text(json.dumps(GRID))
    words = [sys.executable, "-m", "tests_none"]
    code = (
        "import json, sys; from datapruner.sweeping import sweep;"
        "sweep(json.load(open(sys.argv[1])), sys.argv[2])"
    )
    words = [sys.executable, "-c", code, str(tmp_path / "grid.json"), str(tmp_path / "out")]
    process = subprocess.Popen(words)
    deadline = time.monotonic() + 600
    done = tmp_path / "out" / "points"
    while len(list(done.glob("*/outcome.json"))) < 4 and time.monotonic() < deadline:
        assert process.poll() is None
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    before = {p: p.stat().st_mtime_ns for p in done.glob("*/outcome.json")}
    assert 4 <= len(before) < len(rows)
    again = sweep(GRID, tmp_path / "out")
    assert counted(again) == counted(rows)
    assert all(p.stat().st_mtime_ns == mark for p, mark in before.items())  # none was run again


def test_two_processes_give_the_same(whole, tmp_path):
    _, rows = whole
    assert counted(sweep(GRID, tmp_path / "two", jobs=2)) == counted(rows)
    log = (tmp_path / "two" / "log.jsonl").read_text().splitlines()
    assert len({json.loads(line)["run"] for line in log}) == len(log) == len(rows)


def test_what_failed_in_one_process_is_not_tried_by_the_others(tmp_path):
    few = GRID | {"grid": {"fraction": [0.1], "lr": [1e9, 1e8, 0.05]}, "controls": False}
    grid = Grid.from_dict(few)
    site, said = Site(grid, tmp_path / "out"), []
    plan = planned_points(site, grid)
    sweeping.work(site, plan, [], said.append, "a call")
    sweeping.work(site, plan, [], said.append, "a call")  # as another process of it
    assert len(said) == 3
    sweeping.work(site, plan, [], said.append, "the next call")
    assert len(said) == 5


def test_processes_end_with_the_one_that_started_them(tmp_path):
    code = "import json, sys; from datapruner.sweeping import sweep;"
    code += "sweep(json.loads(sys.argv[1]), sys.argv[2], jobs=2)"
    words = [sys.executable, "-c", code, json.dumps(GRID | {"seeds": 50}), str(tmp_path / "out")]
    process = subprocess.Popen(words)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    found, deadline = [], time.monotonic() + 600
    while len(found) < 2 and time.monotonic() < deadline:
        assert process.poll() is None
        time.sleep(0.05)
        found = children.read_text().split()
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    while any(map(running, found)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(running, found))


def running(pid):
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"


def test_what_a_killed_call_left_is_no_stranger(tmp_path):
    few = GRID | {"grid": {"fraction": [0.1]}, "controls": False}
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".run.json.123.partial").write_text("{")
    assert sweep(few, tmp_path / "out")[0]["status"] == "done"


def test_no_shard_writes_what_it_read_before_another_wrote(tmp_path, monkeypatch):
    """The table is gathered and written under one lock."""
    held, gather = [], sweeping.gather

    def looking(site, plan):
        with locked(site.out / "results.lock", wait=False) as free:
            held.append(not free)
        return gather(site, plan)

    monkeypatch.setattr(sweeping, "gather", looking)
    monkeypatch.setattr(sweeping, "run_point", lambda *_, **__: None)
    sweep(GRID | {"grid": {"fraction": [0.1]}}, tmp_path / "out")
    assert held == [True]


def test_shards_make_up_the_whole(whole, tmp_path):
    _, rows = whole
    first = sweep(GRID, tmp_path / "parts", shard=Shard(0, 2))
    assert [row["status"] for row in first].count("missing") == len(rows) // 2
    assert counted(sweep(GRID, tmp_path / "parts", shard=Shard(1, 2))) == counted(rows)


def test_the_first_seed_of_everything_comes_first(tmp_path, monkeypatch):
    order = []
    monkeypatch.setattr(
        sweeping, "run_point", lambda site, point, then, call: order.append((point.seed, point.arm))
    )
    rows = sweep(GRID | {"seeds": [3, 1]}, tmp_path / "out")
    half = len(rows) // 2
    assert [seed for seed, _ in order] == [3] * half + [1] * half
    assert [arm for _, arm in order[:half]] == [arm for _, arm in order[half:]]
    assert [row["seed"] for row in rows[:4]] == [3, 1, 3, 1]  # the table goes by arms
    assert {row["status"] for row in rows} == {"missing"}


def test_settings_that_a_part_of_a_grid_leaves_out_name_its_arms(tmp_path):
    parts = [{"epochs": [1, 2]}, {"epochs": [1], "batch_size": [32]}]
    grid = Grid.from_dict(GRID | {"grid": parts, "controls": False})
    plan = planned_points(Site(grid, tmp_path), grid)
    assert len({point.arm for point in plan}) == len(plan) == 3


def test_a_grid_may_grow(whole, tmp_path):
    few = GRID | {"grid": {"fraction": [1, 0.1]}, "controls": False}
    assert len(sweep(few, tmp_path / "out")) == 2
    said = []
    more = sweep(few | {"seeds": 2}, tmp_path / "out", say=said.append)
    assert len(more) == 4
    assert len(said) == 2
    means = summary(more)
    assert [row["n"] for row in means] == [2, 2]
    assert means[0]["test.accuracy.error"] > 0
    with pytest.raises(dp.Refused, match="other data, or with another share set aside"):
        sweep(few | {"validation": 0.2}, tmp_path / "out")


def test_a_point_that_fails_is_recorded_and_the_rest_go_on(tmp_path, monkeypatch, capsys):
    few = GRID | {"grid": {"fraction": [0.1], "lr": [0.05, 1e9]}, "controls": False}
    rows = sweep(few, tmp_path / "out")
    assert [row["status"] for row in rows] == ["done", "failed"]
    assert "training loss is not finite" in rows[1]["error"]
    assert rows[1]["test.accuracy"] is None

    def broken(*_):
        raise RuntimeError("no such\nthing")

    monkeypatch.setattr(sweep_work, "_judge", broken)
    again = sweep(few | {"seeds": [7]}, tmp_path / "out")
    assert again[0]["error"] == "RuntimeError: no such thing"
    monkeypatch.undo()
    assert sweep(few | {"seeds": [7]}, tmp_path / "out")[0]["status"] == "done"  # tried again


def test_what_is_set_aside_is_never_trained_on(tmp_path):
    site = Site(Grid.from_dict(GRID), tmp_path)
    assert len(site.held) == 144
    assert not site.pool.readable[site.held].any()
    assert site.whole.readable.all()
    assert site.pool.fingerprint != site.whole.fingerprint
    counts = site.whole.labels[site.held].bincount()
    assert int(counts.max() - counts.min()) <= 2


def test_refused_before_any_work(tmp_path):
    for axes, words in (
        ({"keep": ["rho_loss"], "fraction": [0.1]}, "needs holdout_loss"),
        ({"epochs": [3], "clean_epochs": [5]}, "clean_epochs"),
        ({"model": ["resnet9", "resnt8"]}, "no model is called 'resnt8'; did you mean 'resnet8'"),
        ({"density": [0.2], "weights.skip": ["fc9"]}, "all data, density 20 %: .*'fc9'"),
        ({"density": [0.2], "criterion": ["snip"], "weights.schedule": ["soft"]}, "soft"),
        (
            {"density": [0.2], "order": ["weights first"], "pattern": ["3:7"]},
            "weights first: pattern 3:7",
        ),
    ):
        with pytest.raises(dp.UsageError, match=words):
            sweep(GRID | {"grid": axes}, tmp_path / "x")
    with pytest.raises(dp.UsageError, match="jobs must be at least 1"):
        sweep(GRID, tmp_path / "x", jobs=0)
    with pytest.raises(dp.PrunerError, match="pip install tensorboard"):
        sweep(GRID, tmp_path / "x", track=["tensorboard"])
    assert not (tmp_path / "x").exists()
    for word in ("2/2", "1", "a/b", "0/0"):
        with pytest.raises(dp.UsageError, match="shard"):
            Shard.read(word)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").touch()
    with pytest.raises(dp.Refused, match="not a sweep's"):
        sweep(GRID, tmp_path / "mine")


def test_a_teacher_is_trained_once(tmp_path):
    few = GRID | {
        "seeds": 2,
        "grid": {"fraction": [0.1], "teacher": ["none", "full"], "distill": {"weight": [0.5]}},
    }
    rows = sweep(few, tmp_path / "out")
    assert {row["status"] for row in rows} == {"done"}
    taught = [row for row in rows if row["teacher"] == "full" and not row["control"]]
    assert len(taught) == 2
    assert len(list((tmp_path / "out/shared/teachers").glob("*/model.safetensors"))) == 1
    assert all(row["cost.teaching.examples"] == 3 * 1294 for row in taught)
    plain = next(row for row in rows if row["arm"] == "random 10 %")
    assert taught[0]["test.accuracy"] != plain["test.accuracy"]


def test_the_command(whole, tmp_path, capsys):
    folder, rows = whole
    (tmp_path / "g.yaml").write_text(json.dumps(GRID))
    assert main(["sweep", str(tmp_path / "g.yaml"), "--out", str(folder), "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert f"{len(rows)} points, {len(rows)} of them done" in said
    words = ["sweep", str(tmp_path / "g.yaml"), "--out", str(tmp_path / "x"), "--json"]
    assert main([*words, "--dry-run"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert len(found["points"]) == len(rows)
    assert found["seconds"] > 0
    assert not (tmp_path / "x").exists()
    (tmp_path / "g.yaml").write_text("data: digits\ngrid:\n  fracton: [1]\n")
    assert main(words) == 2
    assert "line 3: no axis 'fracton'; did you mean 'fraction'?" in capsys.readouterr().err


def test_the_command_says_what_failed(tmp_path, capsys):
    few = GRID | {"grid": {"fraction": [0.1], "lr": [0.05, 1e9]}, "controls": False}
    (tmp_path / "g.yaml").write_text(json.dumps(few))
    assert main(["sweep", str(tmp_path / "g.yaml"), "--out", str(tmp_path / "out")]) == 1
    said = capsys.readouterr()
    assert "random 10 %, lr 0.05" in said.out
    assert "1 of 2 points failed; the first, random 10 %, lr 1e+09, seed 0" in said.err


def test_planned_points_do_not_depend_on_the_folder(tmp_path):
    grid = Grid.from_dict(GRID)
    plans = [planned_points(Site(grid, tmp_path / name), grid) for name in ("a", "b")]
    assert [p.key for p in plans[0]] == [p.key for p in plans[1]]
