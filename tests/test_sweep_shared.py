"""What points of a sweep share, tried once a call where it fails; and teachers that are given."""

import shutil

import pytest

from datapruner import sweep_once, sweep_work, sweeping, training
from datapruner.errors import PrunerError, UsageError
from datapruner.files import read_json, write_json
from datapruner.grid import Grid
from datapruner.results_table import read_rows
from datapruner.run import Run
from datapruner.sweep_once import once_a_call
from datapruner.sweep_plan import points
from datapruner.sweep_shared import Site
from datapruner.sweep_work import run_point
from datapruner.sweeping import sweep

BASE = {"model": "mlp", "epochs": 1, "lr": 0.05, "scoring": {"epochs": 1}}
GRID = {"data": "digits", "seeds": 1, "controls": False, "base": BASE}


def test_a_teacher_that_fails_is_tried_once_a_call(tmp_path, monkeypatch):
    grid = GRID | {"grid": {"fraction": [0.1, 0.2, 0.3], "teacher": ["none", "full"]}}
    tried, train = [], training.train

    def broken(run, *words, **more):
        tried.append(run)
        raise MemoryError("no room\nfor it")

    monkeypatch.setattr(training, "train", broken)
    rows = sweep(grid, tmp_path / "out")
    assert len(tried) == 1
    failed = [row for row in rows if row["status"] == "failed"]
    assert [row["status"] for row in rows] == ["done", "failed"] * 3
    (reason,) = {row["error"] for row in failed}
    assert reason.startswith("its teacher (shared/teachers/")
    assert reason.endswith(") failed: MemoryError: no room for it")
    sweep(grid, tmp_path / "out", jobs=1)
    assert len(tried) == 2  # the next call tries again, once
    monkeypatch.setattr(training, "train", train)
    rows = sweep(grid, tmp_path / "out")
    assert {row["status"] for row in rows} == {"done"}
    assert not list((tmp_path / "out/shared").rglob("*.failed.json"))


def test_a_failure_of_one_process_is_one_of_all_of_its_call(tmp_path):
    def work():
        tried.append(1)
        raise PrunerError("full disk; make room")

    tried, grid = [], Grid.from_dict(GRID)
    for call, times in (("a", 1), ("a", 1), ("b", 2)):
        site = Site(grid, tmp_path, call=call)  # as another process has it
        with pytest.raises(PrunerError, match=r"^its record \(shared/x\) failed: full disk"):
            once_a_call(site, site.shared / "x", "record", work)
        assert len(tried) == times
    assert once_a_call(Site(grid, tmp_path, call="c"), tmp_path / "shared/x", "record", dict)


def test_a_record_that_diverges_fails_each_point_with_its_reason(tmp_path):
    axes = {"fraction": [0.1, 0.2], "keep": ["random", "el2n"], "scoring": {"lr": [1e9]}}
    rows = sweep(GRID | {"grid": axes}, tmp_path / "out")
    assert [row["status"] for row in rows] == ["done", "failed"] * 2
    assert "training loss is not finite" in rows[1]["error"]
    assert rows[1]["error"] == rows[3]["error"]
    assert sweep_once.in_words(ValueError("")) == "ValueError: no message"


def test_a_teacher_that_is_given_counts_by_its_weights(tmp_path):
    grid = GRID | {"grid": {"fraction": [0.2], "teacher": [str(tmp_path / "t")]}}
    grid |= {"base": BASE | {"distill": {"weight": 0.5}}}
    site = Site(Grid.from_dict(GRID), tmp_path)
    out, said = tmp_path / "out", []
    (tmp_path / "t").mkdir()
    with pytest.raises(UsageError, match="holds no finished run"):
        sweep(grid, out)
    (tmp_path / "t").rmdir()
    assert not out.exists()

    def taught(lr):
        training.train(Run(model="mlp", epochs=1, lr=lr), site.pool, out=tmp_path / "t")
        (row,) = sweep(grid, out, say=said.append)
        return row

    first = taught(0.05)
    assert len(said) == 1
    assert sweep(grid, out, say=said.append) == [first]
    assert len(said) == 1
    shutil.rmtree(tmp_path / "t")
    other = taught(0.01)
    assert other["id"] != first["id"]
    assert other["test.accuracy"] != first["test.accuracy"]
    assert "its weights are not those that this sweep ran with before" in said[1]
    assert "points to run with these: 1" in said[1]
    assert len(said) == 3
    shutil.rmtree(tmp_path / "t")
    assert taught(0.05) == first  # known already
    assert len(said) == 3
    assert read_json(out / "run.json")["teachers"].keys() == {str(tmp_path / "t")}


def test_points_by_the_path_of_a_teacher_are_run_again_with_a_line(tmp_path):
    """As a sweep had them before a teacher's weights counted."""
    grid = GRID | {"grid": {"fraction": [0.2], "teacher": [str(tmp_path / "t")]}}
    site = Site(Grid.from_dict(GRID), tmp_path / "out")
    training.train(Run(model="mlp", epochs=1), site.pool, out=tmp_path / "t")
    (point,) = points(Grid.from_dict(grid))
    old, now = point.id(site.pool.fingerprint), site.id(point)
    assert old != now
    write_json(tmp_path / "out/points" / old / "outcome.json", {"status": "done"})
    about = {"kind": "sweep", "data": site.pool.fingerprint, "grid": Grid.from_dict(grid).plain()}
    write_json(tmp_path / "out/run.json", about)
    said = []
    (row,) = sweep(grid, tmp_path / "out", say=said.append)
    assert (row["id"], row["status"]) == (now, "done")
    assert "counts by its weights now (" in said[0]
    assert said[0].endswith("points to run again: 1")


def test_a_teacher_that_changes_while_the_sweep_runs(tmp_path):
    grid = GRID | {"grid": {"fraction": [0.2], "teacher": [str(tmp_path / "t")]}}
    site = Site(Grid.from_dict(grid), tmp_path / "out")
    training.train(Run(model="mlp", epochs=1), site.pool, out=tmp_path / "t")
    (point,) = points(Grid.from_dict(grid))
    site.id(point)
    shutil.rmtree(tmp_path / "t")
    training.train(Run(model="mlp", epochs=1, lr=0.01), site.pool, out=tmp_path / "t")
    assert "was changed while the sweep ran" in run_point(site, point)["error"]
    assert run_point(Site(Grid.from_dict(grid), tmp_path / "out"), point)["status"] == "done"


def test_what_is_not_finite_fails_its_point_alone(tmp_path, monkeypatch):
    """JSON has no such numbers, which must not end the sweep."""
    nan = {"validation": {"accuracy": float("nan"), "recall": []}, "weights_left": 1.0}
    monkeypatch.setattr(sweep_work, "_judge", lambda *_: nan)
    rows = sweep(GRID | {"grid": {"fraction": [0.1, 0.2]}}, tmp_path / "out")
    assert [row["status"] for row in rows] == ["failed"] * 2
    assert "ValueError" in rows[0]["error"]


def test_a_share_to_set_aside_that_holds_nothing_is_refused(tmp_path):
    with pytest.raises(
        UsageError, match="validation 0.0001 of 1438 examples leaves one part empty"
    ):
        Site(Grid.from_dict(GRID | {"validation": 0.0001}), tmp_path)
    with pytest.raises(UsageError, match="leaves one part empty"):
        Site(Grid.from_dict(GRID | {"validation": 0.9999}), tmp_path)


def test_a_table_is_written_while_the_sweep_goes_on(tmp_path, monkeypatch):
    """One that is killed after many hours has left what there was."""
    monkeypatch.setattr(sweeping, "EVERY", 0.0)
    seen = []

    def say(_):
        file = tmp_path / "out" / "results.parquet"
        rows = read_rows(tmp_path / "out") if file.exists() else []
        seen.append([row["status"] for row in rows])

    sweep(GRID | {"grid": {"fraction": [0.1, 0.2, 0.3]}}, tmp_path / "out", say=say)
    assert seen == [[], ["done", "missing", "missing"], ["done", "done", "missing"]]
