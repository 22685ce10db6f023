"""What points of a sweep share: tried once a call where it fails."""

import pytest

from datapruner import sweep_once, training
from datapruner.errors import PrunerError
from datapruner.grid import Grid
from datapruner.sweep_once import once_a_call
from datapruner.sweep_shared import Site
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
