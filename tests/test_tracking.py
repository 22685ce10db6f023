"""Logs of a sweep's runs: JSON lines always; TensorBoard, MLflow and W&B where installed."""

import json
import os
import struct

import pytest

import datapruner as dp
from datapruner import sweeping
from datapruner.sweeping import sweep
from datapruner.tracking import JsonLines, Logged, check_tracker, log_run, make_tracker

FEW = {
    "data": "digits",
    "seeds": 1,
    "controls": False,
    "base": {"model": "mlp", "epochs": 2},
    "grid": {"fraction": [0.1]},
}
DONE = Logged(
    "run1",
    {"lr": 0.1, "keep": "random"},
    [{"epoch": 0, "train_loss": 0.5, "active": None}, {"epoch": 1, "train_loss": 0.25}],
    {"test.accuracy": 0.9},
)
FAILED = Logged("run2", {"lr": 9.0, "keep": "random"}, error="loss is not finite")


def library(name):
    """Skip where the library of a tracker is not installed, and say so."""
    return pytest.importorskip(name, reason=f"{name} is not installed; it is no dependency")


def test_curves_are_numbers():
    assert list(DONE.curves) == [(0, {"train_loss": 0.5}), (1, {"train_loss": 0.25})]
    assert DONE.words == {"lr": "0.1", "keep": "random"}


def test_a_line_a_run(tmp_path):
    rows = sweep(FEW, tmp_path / "out")
    (line,) = (tmp_path / "out" / "log.jsonl").read_text().splitlines()
    found = json.loads(line)
    assert found["run"] == rows[0]["id"]
    assert found["settings"]["arm"] == "random 10 %"
    assert found["result"]["test.accuracy"] == rows[0]["test.accuracy"]
    assert [row["epoch"] for row in found["epochs"]] == [0, 1]
    assert found["error"] == ""


class Broken:
    """A tracker whose server is not there."""

    def log(self, run):
        """Fail."""
        raise ConnectionError("no route\nto host")


def test_a_tracker_that_fails_stops_no_sweep(tmp_path, monkeypatch):
    monkeypatch.setattr(sweeping, "check_tracker", lambda name: None)
    monkeypatch.setattr(sweeping, "make_tracker", lambda name, folder: Broken())
    said = []
    rows = sweep(FEW | {"seeds": 2}, tmp_path / "out", track=["mlflow"], say=said.append)
    assert [row["status"] for row in rows] == ["done", "done"]
    assert said[0] == f"{rows[0]['id']} is not logged by Broken: no route to host"
    assert len((tmp_path / "out" / "log.jsonl").read_text().splitlines()) == 2
    with pytest.warns(UserWarning, match="is not logged by Broken"):
        sweep(FEW | {"seeds": [7]}, tmp_path / "out", track=["mlflow"])


def test_the_others_are_logged_to(tmp_path):
    file = tmp_path / "log.jsonl"
    assert len(log_run([Broken(), JsonLines(file)], FAILED)) == 1
    assert json.loads(file.read_text())["error"] == "loss is not finite"


def test_refused_before_the_folder_is_taken(tmp_path):
    with pytest.raises(dp.UsageError, match="did you mean 'wandb'"):
        sweep(FEW, tmp_path / "out", track=["wanb"])
    assert not (tmp_path / "out").exists()


def test_tensorboard(tmp_path):
    library("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    tracker = make_tracker("tensorboard", tmp_path)
    assert log_run([tracker], DONE) == log_run([tracker], FAILED) == []
    found = EventAccumulator(str(tmp_path / "tensorboard" / "run1"))
    found.Reload()
    assert [(e.step, e.value) for e in found.Scalars("train_loss")] == [(0, 0.5), (1, 0.25)]
    assert found.Scalars("test.accuracy")[0].value == pytest.approx(0.9)
    failed = EventAccumulator(str(tmp_path / "tensorboard" / "run2"))
    failed.Reload()
    assert failed.Tags()["tensors"] == ["error/text_summary"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # MLflow's own, of its database
def test_mlflow(tmp_path, monkeypatch):
    mlflow = library("mlflow")
    library("sqlalchemy")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "my sweep"
    folder.mkdir()
    long = [{"epoch": e, "train_loss": 1.0 / (1 + e), "steps": e} for e in range(700)]
    many = Logged("run3", {"lr": 0.2}, long, {"test.accuracy": 0.5})
    again = Logged("run2", FAILED.settings, DONE.epochs, {"test.accuracy": 0.8})
    for run in (DONE, FAILED, many, again):  # the failed one is tried again, and is one run
        assert log_run([make_tracker("mlflow", folder)], run) == []
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{folder / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("my sweep").experiment_id
    runs = {run.info.run_name: run for run in client.search_runs([experiment])}
    assert sorted(runs) == ["run1", "run2", "run3"]
    assert runs["run1"].data.params == DONE.words
    curve = client.get_metric_history(runs["run1"].info.run_id, "train_loss")
    assert sorted((m.step, m.value) for m in curve) == [(0, 0.5), (1, 0.25)]
    assert runs["run1"].data.metrics["test.accuracy"] == 0.9
    assert runs["run2"].info.status == "FINISHED"
    assert runs["run2"].data.tags["error"] == ""
    assert len(client.get_metric_history(runs["run3"].info.run_id, "steps")) == 700
    assert mlflow.active_run() is None
    failed = Logged("run4", {}, error="no")
    assert log_run([make_tracker("mlflow", folder)], failed) == []
    runs = {run.info.run_name: run for run in client.search_runs([experiment])}
    assert (runs["run4"].info.status, runs["run4"].data.tags["error"]) == ("FAILED", "no")


def test_wandb_offline(tmp_path, monkeypatch, capfd):
    wandb = library("wandb")
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.chdir(tmp_path)
    own = wandb.init(dir=str(tmp_path), project="mine", settings=wandb.Settings(silent=True))
    tracker = make_tracker("wandb", tmp_path)
    assert log_run([tracker], DONE) == log_run([tracker], FAILED) == []
    assert wandb.run is own  # a run that the user has open stays open
    own.finish()
    wandb.teardown()
    found = {name: logged(tmp_path, name) for name in ("run1", "run2")}
    assert found["run1"]["history"] == [(0, 0.5), (1, 0.25)]
    assert found["run1"]["summary"]["test.accuracy"] == 0.9
    assert found["run1"]["exit"] == 0
    assert found["run2"]["summary"]["error"] == "loss is not finite"
    assert found["run2"]["exit"] == 1
    assert "wandb" not in capfd.readouterr().out


def logged(folder, name):
    """Read what W&B wrote of a run: (step, train_loss) of each epoch, its summary, exit code."""
    from wandb.proto.wandb_internal_pb2 import Record

    (file,) = folder.glob(f"wandb/offline-run-*-{name}/run-{name}.wandb")
    out = {"history": [], "summary": {}, "exit": None}
    for data in records(file.read_bytes()):
        record = Record()
        record.ParseFromString(data)
        kind = record.WhichOneof("record_type")
        if kind == "history":
            row = values(record.history.item)
            out["history"].append((row["_step"], row["train_loss"]))
        elif kind == "summary":
            out["summary"] |= values(record.summary.update)
        elif kind == "exit":
            out["exit"] = record.exit.exit_code
    return out


def values(items):
    """Return the values of a record by name."""
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}


def records(text):
    """Give the records of a log in LevelDB's format, shorter than one block of it."""
    assert len(text) < 2**15
    place = 7  # after W&B's header
    while place < len(text):
        _, size, whole = struct.unpack("<IHB", text[place : place + 7])
        assert whole == 1
        yield text[place + 7 : place + 7 + size]
        place += 7 + size


def test_wandb_without_an_account_is_refused_before_work(tmp_path, monkeypatch):
    library("wandb")
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with pytest.raises(dp.PrunerError, match="tracker 'wandb' cannot be opened"):
        make_tracker("wandb", tmp_path)


def test_what_is_not_installed_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "wandb", None)  # as if it were not there
    with pytest.raises(dp.PrunerError, match=r"pip install wandb, or leave out --track"):
        check_tracker("wandb")
