"""race: arms, budgets, what time is counted, going on; and time to accuracy from results."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

import datapruner as dp
from datapruner.cli import main
from datapruner.files import read_json
from datapruner.racing import Race, race
from datapruner.report import Result, read_results
from datapruner.report.pace import pace_figure, paces, speed_ups

WORDS = ["race", "digits", "--model", "mlp", "--lr", "0.05", "--epochs", "3", "--seeds", "2"]


@pytest.fixture(scope="module")
def raced(tmp_path_factory):
    """One race over everything, by the command."""
    folder = tmp_path_factory.mktemp("race")
    data = dp.open_data("digits")
    kept = dp.keep(torch.arange(data.n).numpy(), 0.2, about={"fingerprint": data.fingerprint})
    kept.save(folder / "mine")
    words = [*WORDS, "--out", str(folder / "out"), "--fraction", "0.2", "--scorers", "el2n"]
    assert main([*words, "--keep", str(folder / "mine"), "--json"]) == 0
    return folder / "out"


def test_arms_and_what_they_cost(raced):
    results = read_results(raced / "results.json")
    arms = list(dict.fromkeys(result.arm for result in results))
    assert arms == [
        "all data",
        "random 20 %",
        "RS2 20 %",
        "el2n top 20 %",
        "InfoBatch",
        "kept: mine",
        "all data, as many steps as RS2 20 %",
        "all data, as many steps as InfoBatch",
    ]
    of = {(r.arm, r.seed): r for r in results}
    assert len(of) == len(results) == 16
    n = dp.open_data("digits").n
    for seed in (0, 1):
        assert of["all data", seed].examples == 3 * n
        assert of["RS2 20 %", seed].examples == 3 * round(0.2 * n)
        assert of["RS2 20 %", seed].steps == of["random 20 %", seed].steps == 9
        assert of["all data, as many steps as RS2 20 %", seed].steps == 9
        assert of["InfoBatch", seed].steps == of["all data, as many steps as InfoBatch", seed].steps
        assert of["InfoBatch", seed].examples < 3 * n
    assert of["random 20 %", 0].accuracy != of["random 20 %", 1].accuracy


def test_scoring_and_selecting_are_in_the_time(raced):
    for result in read_results(raced / "results.json"):
        training = result.history[-1]["seconds"]
        assert result.seconds == pytest.approx(training + result.preparation)
        assert (result.preparation > 0) == (result.arm.split()[0] in ("el2n", "random"))
    recorded = read_json(raced / "records" / "record-seed-0.json")["seconds"]
    chosen = read_json(raced / "kept" / "el2n-top-20-seed-0.json")["seconds"]
    scored = next(r for r in read_results(raced / "results.json") if r.arm.startswith("el2n"))
    assert scored.preparation == pytest.approx(recorded + chosen)


def test_seeds_have_subsets_of_their_own(raced):
    one, two = (
        np.load(raced / "kept" / f"random-20-seed-{seed}" / "indices.npy") for seed in (0, 1)
    )
    assert len(one) == len(two)
    assert (one != two).any()


def test_the_page_has_time_to_accuracy(raced):
    page = (raced / "report.html").read_text()
    assert "Time to accuracy" in page
    assert "On the way, against wall time" in page
    assert "owes nothing to choosing" in page


def test_a_race_goes_on_and_trains_only_what_is_missing(tmp_path, capsys):
    words = [*WORDS, "--out", str(tmp_path / "r"), "--infobatch", "0", "--fraction", "0.1"]
    words[words.index("2")] = "1"
    assert main(words) == 0
    before = read_results(tmp_path / "r" / "results.json")
    marks = {p: p.stat().st_mtime_ns for p in (tmp_path / "r" / "arms").glob("*/model.safetensors")}
    assert len(marks) == len(before) == 4
    words[words.index("--seeds") + 1] = "2"
    capsys.readouterr()
    assert main(words) == 0
    after = read_results(tmp_path / "r" / "results.json")
    assert [r for r in after if r.seed == 0] == before
    assert len(after) == 8
    assert all(p.stat().st_mtime_ns == mark for p, mark in marks.items())
    shown = capsys.readouterr().out
    assert shown.splitlines()[0].split()[:2] == ["arm", "accuracy"]
    words[words.index("0.05")] = "0.06"
    assert main(words) == 3  # another learning rate is another race


def test_a_run_that_was_stopped_ends_the_same(tmp_path, monkeypatch):
    data, test = dp.open_data("digits"), dp.open_data("digits", "test")
    what = Race(dp.Run(model="mlp", epochs=4, lr=0.05))

    class Stopped(Exception):
        pass

    def shows(name):
        def show(text, done, total):
            if name.startswith("InfoBatch") and text == "epoch 3":
                raise Stopped

        return show

    whole = race(what, data, test, tmp_path / "whole", seeds=1)
    with pytest.raises(Stopped):
        race(what, data, test, tmp_path / "part", seeds=1, progress=shows)
    again = race(what, data, test, tmp_path / "part", seeds=1)
    assert [(r.arm, r.accuracy, r.steps) for r in again] == [
        (r.arm, r.accuracy, r.steps) for r in whole
    ]


def test_with_steps_every_arm_takes_as_many(tmp_path):
    data, test = dp.open_data("digits"), dp.open_data("digits", "test")
    what = Race(dp.Run(model="mlp", steps=20, lr=0.05), fractions=(0.2, 0.4))
    results = race(what, data, test, tmp_path, seeds=1)
    assert [r.arm for r in results] == [
        "all data",
        "random 20 %",
        "RS2 20 %",
        "random 40 %",
        "RS2 40 %",
        "InfoBatch",
    ]
    assert {r.steps for r in results} == {20}


def test_a_fifth_of_the_run_is_recorded_in_steps_too(tmp_path):
    """30 steps are two and a half of 12: an epoch is recorded, not two of the default ten."""
    data, test = dp.open_data("digits"), dp.open_data("digits", "test")
    what = Race(dp.Run(model="mlp", steps=30, lr=0.05), ratio=None, scorers=("el2n",))
    race(what, data, test, tmp_path, seeds=1)
    assert read_json(tmp_path / "records" / "record-seed-0" / "record.json")["epochs"] == 1


def test_a_race_with_another_recording_is_refused(tmp_path):
    """It would show the scores of the old one under the new settings."""
    data, test = dp.open_data("digits"), dp.open_data("digits", "test")
    what = Race(dp.Run(model="mlp", epochs=2, lr=0.05), ratio=None, scorers=("el2n",))
    race(what, data, test, tmp_path, seeds=1)
    race(what, data, test, tmp_path, seeds=1)
    with pytest.raises(dp.Refused, match="holds the record of another run"):
        race(replace(what, score_epochs=2), data, test, tmp_path, seeds=1)


def test_what_cannot_be_raced(tmp_path):
    for options, words in (
        ({"fractions": (0.1, 0.0)}, "fraction"),
        ({"fractions": (0.1, 0.1)}, "share 0.1 is given twice"),
        ({"scorers": ("el2n", "el2n")}, "scorer 'el2n' is given twice"),
        ({"kept": (("kept: a", "x/a"), ("kept: a", "y/a"))}, "arm 'kept: a' is given twice"),
        ({"ratio": 1.0}, "infobatch ratio must be at least 0 and below 1"),
        ({"score_epochs": -1}, "score_epochs must be at least 0"),
        ({"rule": "topp"}, "unknown rule 'topp'; did you mean 'top'"),
        ({"scorers": ("el3n",)}, "no scorer 'el3n'"),
        ({"scorers": ("prototypes",)}, "needs embedding"),
    ):
        with pytest.raises(dp.UsageError, match=words):
            Race(dp.Run(), **options)
    with pytest.raises(dp.UsageError, match="has no sampler"):
        Race(dp.Run(sampler=dp.run.RS2Spec(0.1)))
    assert main([*WORDS, "--out", str(tmp_path / "x"), "--seeds", "0"]) == 2


def test_kept_folders_are_looked_at_before_anything_is_trained(tmp_path):
    data, test = dp.open_data("digits"), dp.open_data("digits", "test")
    dp.keep(torch.zeros(9), 0.5, rule="random", about={"fingerprint": "00ff"}).save(tmp_path / "k")
    for folder, error, words in (("k", dp.Refused, "00ff"), ("x", dp.PrunerError, "no such file")):
        what = Race(dp.Run(model="mlp", epochs=1), kept=(("mine", str(tmp_path / folder)),))
        with pytest.raises(error, match=words):
            race(what, data, test, tmp_path / "out", seeds=1)
    assert not (tmp_path / "out").exists()


def test_dry_run(capsys, tmp_path):
    assert main([*WORDS, "--out", str(tmp_path / "x"), "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["steps"] == 36
    assert not (tmp_path / "x").exists()


# -- time to accuracy ----------------------------------------------------------------------------


def ran(arm, seed, curve, preparation=0.0):
    """A run that tested at these (seconds, accuracy)."""
    rows = [
        {"epoch": i, "examples": i, "steps": i, "seconds": s, "test_accuracy": a}
        for i, (s, a) in enumerate(curve)
    ]
    seconds = curve[-1][0] + preparation
    return Result(arm, seed, curve[-1][1], 10, 3, seconds, rows, preparation)


RUNS = [
    ran("all data", 0, [(10, 0.5), (20, 0.75), (30, 0.8)]),
    ran("all data", 1, [(12, 0.5), (24, 0.72), (36, 0.8)]),
    ran("RS2 10 %", 0, [(1, 0.4), (2, 0.73), (3, 0.7)]),
    ran("RS2 10 %", 1, [(2, 0.4), (4, 0.71), (6, 0.75)]),
    ran("el2n 10 %", 0, [(1, 0.4), (2, 0.73), (3, 0.76)], preparation=8.0),
    ran("el2n 10 %", 1, [(1, 0.4), (2, 0.6), (3, 0.6)], preparation=8.0),
]


def test_time_to_accuracy_by_hand():
    """The marks are shares of 80 %: 72 % and 79.2 %."""
    found = {(p.arm, p.share): p for p in paces(RUNS, [0.9, 0.99])}
    full, fresh, scored = (found[arm, 0.9] for arm in ("all data", "RS2 10 %", "el2n 10 %"))
    assert full.accuracy == pytest.approx(0.72)
    assert full.seconds.mean == 22.0  # 20 and 24
    assert full.sooner == 1.0
    assert fresh.seconds.mean == 4.0  # 2, though it falls back later, and 6
    assert fresh.sooner == 5.5
    assert scored.seconds is None
    assert (scored.reached, scored.runs, scored.sooner) == (1, 2, None)
    assert found["all data", 0.99].seconds.mean == 33.0
    assert found["RS2 10 %", 0.99].reached == 0


def test_speed_up_to_the_accuracy_an_arm_ends_with():
    ups = speed_ups(RUNS)
    assert ups["RS2 10 %"] == pytest.approx((20 + 36) / 2 / 4.5)  # 72.5 % is reached at 20 and 36
    assert ups["el2n 10 %"] == pytest.approx((20 + 24) / 2 / 11)  # 68 %; scoring took 8 of its 11
    assert ups["all data"] == pytest.approx(1.0)


def test_without_times_there_is_no_pace():
    bare = [Result("all data", 0, 0.9, 10, 1, 2.0)]
    assert paces(bare) == []
    assert pace_figure(bare) is None
    assert speed_ups(bare) == {"all data": None}
    assert paces(RUNS[2:]) == []


def test_the_figure_names_every_arm():
    figure = pace_figure(RUNS)
    for arm in ("all data", "RS2 10 %", "el2n 10 %"):
        assert arm in figure.drawing
    assert figure.table.csv.splitlines()[1].startswith("all data,0.9,0.72")


def test_preparation_is_part_of_the_seconds():
    with pytest.raises(dp.UsageError, match="preparation"):
        Result("a", 0, 0.5, 1, 1, 2.0, [], 3.0)
