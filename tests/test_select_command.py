"""`datapruner select`, from words to the folder."""

import json

import pytest
import torch

import datapruner as dp
from datapruner.cli import main


def select(*words: str) -> int:
    return main(["select", "digits", "--epochs", "1", "--model", "mlp", *words])


@pytest.mark.parametrize("method", ["craig", "glister:refreshes=3", "d2", "kcenter:unit=true"])
def test_select_records_once_and_writes_a_selection(method, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert select("--method", method, "--fraction", "0.05", "--out", "kept", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    kept = dp.Selection.load("kept", dp.open_data("digits"))
    assert told["kept"] == len(kept) == (72 if "glister" not in method else 65)
    assert (kept.weights is not None) == (method == "craig")
    assert (tmp_path / "runs" / "digits" / "record" / "seed-0").is_dir()
    assert select("--method", method, "--fraction", "0.05", "--out", "kept") == 0
    assert f"by {method.split(':')[0]}" in capsys.readouterr().out
    assert torch.equal(dp.Selection.load("kept").indices, kept.indices)


def test_score_goes_on_from_the_run_that_select_recorded(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert select("--method", "craig", "--k", "5", "--model", "mpl") == 2
    assert not list(tmp_path.iterdir())
    assert select("--method", "craig", "--k", "5") == 0
    monkeypatch.setattr("datapruner.recording.fit", None)
    words = ["score", "digits", "--epochs", "1", "--model", "mlp", "--scorers", "aum"]
    assert main(words) == 0, capsys.readouterr().err
    assert (tmp_path / "runs" / "digits" / "scores.parquet").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--method", "crag", "--k", "5"], "unknown method 'crag'; did you mean 'craig'"),
        (["--method", "craig:epsilon", "--k", "5"], "option 'epsilon' needs a value"),
        (["--method", "craig"], "say either fraction"),
    ],
)
def test_words_that_cannot_be_are_refused_before_anything_is_trained(
    words, message, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    assert select(*words) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_dry_run_says_what_it_costs_and_does_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert select("--k", "5", "--dry-run", "--json") == 0
    assert "seconds" in json.loads(capsys.readouterr().out)
    assert not list(tmp_path.iterdir())
