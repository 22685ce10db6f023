"""The claim that the README makes of RS2, on MNIST: what fresh draws gain, and what they do not."""

import importlib.util

import pytest
from conftest import ROOT

import datapruner as dp


def benchmark():
    place = ROOT / "benchmarks" / "time_to_accuracy.py"
    spec = importlib.util.spec_from_file_location("time_to_accuracy", place)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_fresh_draws_beat_a_fixed_one_and_equal_all_data_for_as_many_steps(shared_data, tmp_path):
    if not (shared_data / "MNIST").is_dir():
        pytest.skip("no ../shared/data/MNIST beside the project")
    module = benchmark()
    data, test = (dp.open_data(f"mnist:{shared_data}", split) for split in ("train", "test"))
    static, fresh, whole = (
        module.measured(arm, 0.01, 0, data, test, tmp_path)
        for arm in ("static random", "RS2", "all data, as many steps")
    )
    assert static["steps"] == fresh["steps"] == whole["steps"] == 500
    assert fresh["accuracy"] - static["accuracy"] > 0.05
    assert abs(fresh["accuracy"] - whole["accuracy"]) < 0.005
