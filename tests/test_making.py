"""`score` makes each source once, keeps it beside its run, and says before it starts what lacks."""

import json

import numpy as np
import pytest

import datapruner as dp
from datapruner.cli import main
from datapruner.gradients import boundary_distance, grad_norm
from datapruner.noise import find_suspects
from datapruner.report.page import write_report
from datapruner.traces import Record
from scorers import SCORERS

TRAINING = ["--model", "mlp", "--epochs", "2", "--batch-size", "64", "--lr", "0.05"]


def run(out, *words):
    return main(["score", "digits", *TRAINING, "--out", str(out), "--scorers", *words])


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    out = tmp_path_factory.mktemp("made") / "digits"
    words = ["grand", "grand_last_layer", "vog", "deepfool", "top2_margin", "rho_loss", "ddd"]
    words += ["memorization", "influence", "aum", "--seeds", "2", "--ensemble", "10", "--suspects"]
    assert run(out, *words) == 0
    return out, dp.Scores.load(out / "scores.parquet")


def test_every_scorer_of_records_gradients_and_ensembles_has_a_column(scored):
    out, table = scored
    assert len(table) == 10
    record = Record(out / "record" / "seed-0")
    data = dp.open_data("digits")
    first = SCORERS["grand"](grad_norm(data, record))
    np.testing.assert_allclose(table.runs["grand"][0], first, rtol=1e-5)
    near = SCORERS["deepfool"](boundary_distance(data, record))
    np.testing.assert_allclose(table.runs["deepfool"][0], near, rtol=1e-4, atol=1e-7)


def test_gradient_scores_have_a_value_a_seed_and_ensemble_scores_an_error_of_their_own(scored):
    _, table = scored
    for name in ("grand", "vog", "deepfool", "top2_margin", "rho_loss"):
        assert len(table.runs[name]) == 2, name
    for name in ("memorization", "influence"):
        assert name not in table.runs
        assert (table.spread(name) > 0).all()
    assert table.meta["sources"]["input_gradient_variance"] == {"weights": [0, 1]}
    assert table.meta["sources"]["grad_norm"] == {"weights": [1]}


def test_suspects_are_those_that_python_finds(scored, tmp_path):
    out, table = scored
    data = dp.open_data("digits")
    settings = dp.Run(model="mlp", epochs=2, batch_size=64, lr=0.05, data="digits")
    found = find_suspects(data, settings, tmp_path)
    assert (table.flags["suspect_label"] == found.flag.numpy()).all()
    assert (table.suggested == found.suggested.numpy()).all()


def test_asking_again_makes_nothing_anew(scored, monkeypatch):
    out, before = scored
    for where in ("gradients.swept", "training.fit", "recording.fit", "clean.predict"):
        monkeypatch.setattr(f"datapruner.{where}", None)
    words = ["grand", "vog", "deepfool", "top2_margin", "memorization"]
    assert run(out, *words, "--seeds", "2", "--ensemble", "10") == 0
    after = dp.Scores.load(out / "scores.parquet")
    for name in words:
        assert (after[name] == before[name]).all()
    assert set(after) == set(before)  # what was not asked for again is still there
    assert (after.runs["aum"] == before.runs["aum"]).all()
    assert (after.flags["suspect_label"] == before.flags["suspect_label"]).all()
    assert after.meta["sources"] == before.meta["sources"]


def test_a_budget_in_steps_has_the_checkpoints_of_the_epochs_that_it_comes_to(tmp_path, capsys):
    assert run(tmp_path, "vog", "--steps", "46") == 0, capsys.readouterr().err
    assert Record(tmp_path / "record" / "seed-0").checkpoints == (0, 1)  # of 23 steps each


def test_an_ensemble_that_was_not_asked_for_is_refused_before_any_work(tmp_path, capsys):
    assert run(tmp_path / "x", "memorization") == 2
    assert "--ensemble 100" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_a_pool_of_runs_takes_the_place_of_an_ensemble(tmp_path, capsys):
    data, folders = dp.open_data("digits"), []
    for seed in range(6):
        settings = dp.Run(model="mlp", epochs=2, seed=seed, sampler=dp.run.RS2Spec(0.35))
        dp.train(settings, data, out=tmp_path / f"rs2-{seed}")
        folders.append(str(tmp_path / f"rs2-{seed}"))
    code = run(tmp_path / "out", "ddd:held_out=false", "--pool", *folders, "--json")
    assert code == 0, capsys.readouterr().err
    assert json.loads(capsys.readouterr().out)["scores"][0]["score"] == "ddd"


def test_a_dry_run_counts_the_runs_that_the_scorers_need(tmp_path, capsys, monkeypatch):
    one = {"seconds": 10.0}  # measured on the machine otherwise, which is never twice the same
    monkeypatch.setattr("datapruner.commands.estimate.estimate", lambda *_, **__: dict(one))
    costs = []
    for more in ([], ["--ensemble", "100"], ["--suspects", "--seeds", "2"]):
        assert run(tmp_path / "x", "aum", "--dry-run", "--json", *more) == 0
        costs.append(json.loads(capsys.readouterr().out)["seconds"])
    assert costs == [10.0, 710.0, 40.0]
    assert not (tmp_path / "x").exists()


def test_the_report_is_written_of_a_table_with_suspects(scored, tmp_path):
    _, table = scored
    data = dp.open_data("digits")
    page = write_report(tmp_path / "r.html", title="t", data=data, scores=table, provenance={})
    assert "suspect label" in page.read_text()
