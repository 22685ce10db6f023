"""Suspect labels: the threshold class, what it flags, what the table and `keep` make of it."""

import json

import numpy as np
import pytest
import torch
from torch.utils.data import TensorDataset

import datapruner as dp
from datapruner.cli import main
from datapruner.errors import UsageError
from datapruner.noise import cut_share, find_suspects, flip_labels
from datapruner.traces import Record
from scorers import SCORERS

RUN = dp.Run(model="mlp", epochs=6, batch_size=32, lr=0.05)


def blobs(n=400):
    rng = torch.Generator().manual_seed(0)
    y = torch.arange(n) % 4
    return dp.open_data(TensorDataset(torch.randn(n, 6, generator=rng) + 4 * torch.eye(6)[y], y))


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    spoiled, wrong = flip_labels(blobs(), 0.2)
    home = tmp_path_factory.mktemp("noise")
    return spoiled, wrong, find_suspects(spoiled, RUN, home), home


def test_flipped_labels_are_found_and_put_right(found):
    spoiled, wrong, suspects, _ = found
    assert wrong[suspects.flag].float().mean() > 0.8
    assert suspects.flag[wrong].float().mean() > 0.8
    truth = blobs().labels
    assert (suspects.suggested[wrong] == truth[wrong]).float().mean() > 0.9
    assert suspects.share == pytest.approx(float(suspects.flag.float().mean()))
    assert int(suspects.suggested.max()) < spoiled.num_classes, "the threshold class is no label"


def test_each_example_is_judged_by_a_run_in_which_it_kept_its_label(found):
    """Worked again from the two records: the margins, the percentiles, who judges whom."""
    spoiled, _, suspects, home = found
    records = [Record(home / f"run-{i}") for i in range(2)]
    there = [record.labels == spoiled.num_classes for record in records]
    assert [int(t.sum()) for t in there] == [80, 80], "n / (classes + 1)"
    assert not (there[0] & there[1]).any()
    means = [-SCORERS["aum"](record.trace("margin")) for record in records]
    for k in range(2):
        assert suspects.thresholds[k] == pytest.approx(np.percentile(means[k][there[k]], 99))
    expected = torch.where(there[0], means[1], means[0])
    assert expected.equal(suspects.margin)
    limit = torch.where(there[0], suspects.thresholds[1], suspects.thresholds[0])
    assert suspects.flag.equal(expected < limit)
    assert records[0].about["settings"]["schedule"] == "constant"
    assert records[0].seed != records[1].seed


def test_a_lower_percentile_flags_fewer(found):
    spoiled, _, suspects, home = found
    fewer = find_suspects(spoiled, RUN, home, percentile=50)
    assert fewer.flag.sum() < suspects.flag.sum()
    assert (suspects.flag | ~fewer.flag).all()
    with pytest.raises(UsageError, match="percentile"):
        find_suspects(spoiled, RUN, percentile=100)


def test_unreadable_examples_are_no_suspects():
    data = blobs(100)
    data.readable[[3, 60]] = False
    suspects = find_suspects(data, dp.Run(model="mlp", epochs=1))
    assert suspects.margin.isnan().nonzero().flatten().tolist() == [3, 60]
    assert suspects.suggested[[3, 60]].tolist() == [-1, -1]
    assert not suspects.flag[[3, 60]].any()


def test_what_is_cut_is_what_is_suspect_as_far_as_there_is_room():
    flag, readable = [True] * 4 + [False] * 6, [True] * 10
    assert cut_share(flag, readable, 0.5) == pytest.approx(0.4)
    assert cut_share(flag, readable, 0.7) == pytest.approx(0.3)
    assert cut_share(flag, [False] * 2 + [True] * 8, 0.5) == pytest.approx(0.25)


def test_the_table_carries_suspects_and_their_labels(tmp_path):
    table = dp.Scores({"aum": [1.0, 2.0]}, [0, 1], suggested=[0, 0])
    table.flags["suspect_label"] = np.array([False, True])
    table.save(tmp_path / "scores.parquet")
    again = dp.Scores.load(tmp_path / "scores.parquet")
    assert again.suggested.tolist() == [0, 0]
    assert again.flags["suspect_label"].tolist() == [False, True]
    assert dp.Scores({"aum": [1.0]}).suggested is None
    assert table.merge(dp.Scores({"loss": [1.0, 2.0]}, [0, 1])).suggested.tolist() == [0, 0]


@pytest.mark.parametrize("rule", ["ccs", "window"])
def test_keep_cuts_the_suspects_when_told_auto(rule, tmp_path, capsys):
    table = dp.Scores({"aum": np.arange(20.0)}, np.zeros(20))
    table.save(tmp_path / "scores.parquet")
    words = ["keep", str(tmp_path), "--by", "aum", "--fraction", "0.5", "--rule", rule]
    option = {"ccs": "beta", "window": "offset"}[rule]
    words += [f"--{option}", "auto", "--json", "--out"]
    assert main([*words, str(tmp_path / "a")]) == 2
    assert "--suspects" in capsys.readouterr().err
    table.flags["suspect_label"] = np.arange(20) >= 16
    table.save(tmp_path / "scores.parquet")
    assert main([*words, str(tmp_path / "b")]) == 0
    assert json.loads(capsys.readouterr().out)["options"][option] == pytest.approx(0.2)
    assert dp.Selection.load(tmp_path / "b").indices.max() < 16
