"""advise: what a pilot may read, what it says by hand-made rows, and its budget."""

import json
from dataclasses import replace

import pytest

import datapruner as dp
from datapruner import advising, sweep_shared
from datapruner.advice import advice
from datapruner.advising import Pilot, advise, seconds_of
from datapruner.cli import main
from datapruner.files import read_json
from datapruner.run import RS2Spec, Run
from datapruner.sweep_shared import Site
from datapruner.sweeping import planned_points


def row(arm, seed, accuracy, cost, **settings):
    plain = {"fraction": 1.0, "keep": "all", "density": 1.0, "teacher": "none"}
    plain |= {"order": "together", "mask_on": "same"} | settings
    costs = dict.fromkeys(
        ("cost.flops", "cost.flops_possible", "cost.examples", "cost.steps", "measured.seconds"),
        cost,
    )
    judged = {"test.accuracy": None, "validation.accuracy": accuracy}
    return (
        {"id": "0", "arm": arm, "control": ""}
        | plain
        | {"seed": seed, "status": "done", "error": "", "cost.weights_examples": cost}
        | judged
        | {"validation.worst_recall": accuracy}
        | costs
    )


def rows(half, spread=0.002, **settings):
    found = []
    for seed in range(3):
        wobble = (seed - 1) * spread
        found.append(row("all data", seed, 0.90, 100))
        at = {"fraction": 0.5, "keep": "random"} | settings
        found.append(row("random 50 %", seed, half + wobble, 50, **at))
    return found


def said(found):
    return advice(found, 0.01, 10, 10, 5.0, 0)


def test_takes_what_is_cheaper_and_surely_near():
    found = said(rows(0.898))
    assert found.arm == "random 50 %"
    assert found.settings["fraction"] == 0.5
    assert found.cost == 0.5
    assert "Take random 50 %" in found.words[1]


@pytest.mark.parametrize(("half", "spread"), [(0.88, 0.002), (0.895, 0.02)])
def test_says_train_on_everything(half, spread):
    """Where the loss is too large, and where too few seeds cannot say that it is small."""
    found = said(rows(half, spread))
    assert found.arm == "all data"
    assert found.words[1].startswith("Train on everything: 90.00 ± 0.00 %.")
    assert "The nearest, random 50 %" in found.words[1]


def test_which_end_fresh_or_fixed_teacher_and_density():
    found = rows(0.85)
    for seed in range(3):
        wobble = 0.001 * (seed - 1)
        for keep, name, at in (("el2n+top", "hard", 0.70), ("el2n+bottom", "easy", 0.87)):
            found.append(row(name, seed, at + wobble, 60, fraction=0.5, keep=keep))
        found.append(row("fresh", seed, 0.88 + wobble, 50, fraction=0.5, keep="rs2"))
        taught = {"fraction": 0.5, "keep": "random", "teacher": "full"}
        found.append(row("taught", seed, 0.82 + wobble, 150, **taught))
        found.append(row("sparse", seed, 0.899 + wobble, 40, density=0.2))
        found.append(row("sparser", seed, 0.6 + wobble, 20, density=0.05))
    words = "\n".join(said(found).words)
    assert "keep the easiest" in words
    assert "A fresh subset each epoch (RS2) at 50 %: yes, +3.00" in words
    assert "A teacher at 50 %: no, -3.00" in words
    assert "20 % of the weights suffice" in words


def test_what_costs_more_is_not_the_nearest_of_what_is_cheaper():
    found = rows(0.85) + [row("taught", s, 0.93, 300, teacher="full") for s in range(3)]
    assert "The nearest, random 50 %, is at" in said(found).words[1]


def test_no_difference_is_no_reason():
    found = rows(0.90, 0.0)
    for seed in range(3):
        for keep, name in (("el2n+top", "hard"), ("el2n+bottom", "easy"), ("rs2", "fresh")):
            found.append(row(name, seed, 0.90, 60, fraction=0.5, keep=keep))
    words = "\n".join(said(found).words)
    assert "choose at random" in words
    assert "(RS2) at 50 %: not sure, +0.00" in words


def test_the_pilot_times_the_network_that_is_trained(tmp_path):
    """By its own settings; and a call that goes on comes to the same epochs, whatever the clock."""
    run = Run(model="lenet", epochs=1, lr=0.02, image_size=12)
    grid = advising._grid("digits", Pilot(run), 1)
    site = Site(grid, tmp_path, testing=False)
    whole = planned_points(site, grid)[0]
    first = advising._seconds_an_epoch(site, whole)
    made = [read_json(file) for file in tmp_path.glob("points/*/outcome.json")]
    assert [outcome["status"] for outcome in made] == ["done", "done"]
    assert whole.run.image_size == 12
    assert {point.id(site.pool.fingerprint) for point in (whole, replace(whole, seed=1))} == {
        file.parent.name for file in tmp_path.glob("points/*/outcome.json")
    }
    assert advising._seconds_an_epoch(site, whole) == first


def test_a_shorter_pilot_says_so():
    found = advice(rows(0.898), 0.01, 3, 30, 5.0, 2)
    assert "3 of the 30 epochs" in found.words[0]
    assert "For 2 more there was no time" in found.words[0]
    assert "shorter than the real run" in found.words[-1]


def test_the_test_set_is_never_opened(tmp_path, monkeypatch):
    opened = []

    def open_data(spec, split="train", **_):
        opened.append(split)
        return dp.open_data(spec, split)

    monkeypatch.setattr(sweep_shared, "open_data", open_data)
    run = Run(model="mlp", epochs=2, lr=0.05)
    found = advise("digits", Pilot(run, budget=60, seeds=2), out=tmp_path / "pilot")
    assert set(opened) == {"train"}
    assert found.rows[0]["arm"] == "all data"
    assert {row["seeds"] for row in found.rows} <= {1, 2}


def test_a_budget_stops_the_pilot(tmp_path):
    """By a clock that ticks a second a look: there is time for some runs and not for others."""
    ticks = iter(range(100_000))
    run = Run(model="mlp", epochs=1, lr=0.05)
    pilot = Pilot(run, budget=40, seeds=2)
    found = advise("digits", pilot, out=tmp_path / "p", clock=lambda: float(next(ticks)))
    assert "there was no time" in found.words[0]


def test_refused():
    assert [seconds_of(word) for word in ("90s", "10m", "1.5h", "30")] == [90, 600, 5400, 30]
    for word in ("", "ten", "0m", "5d"):
        with pytest.raises(dp.UsageError, match="give a time such as"):
            seconds_of(word)
    with pytest.raises(dp.UsageError, match="at least 2 seeds"):
        Pilot(Run(), seeds=1)
    with pytest.raises(dp.UsageError, match="has no sampler"):
        Pilot(Run(sampler=RS2Spec(0.1)))
    with pytest.raises(dp.UsageError, match="a pilot of one epoch takes about"):
        advise("digits", Pilot(Run(model="mlp"), budget=0.01))


def test_the_command(capsys, tmp_path):
    words = ["advise", "digits", "--model", "mlp", "--epochs", "2", "--lr", "0.05", "--seeds", "2"]
    assert main([*words, "--budget", "1m", "--out", str(tmp_path / "p"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["words"]
    assert found["rows"][0]["arm"] == "all data"
    assert main([*words, "--budget", "soon"]) == 2
    assert main([*words, "--dry-run"]) == 0


def test_what_failed_is_said_and_nothing_else_is_recommended():
    found = rows(0.9)
    broken = [
        one | {"status": "failed", "error": "loss is not finite."} if one["fraction"] < 1 else one
        for one in found
    ]
    words = said(broken).words
    assert words[0].endswith("3 failed; the first: loss is not finite.")
    assert words[1].endswith(
        "Nothing cheaper was run to its end, so that there is nothing else to recommend."
    )


def test_one_seed_is_said():
    found = [one for one in rows(0.9) if one["fraction"] == 1 or one["seed"] == 0]
    assert "random 50 %, is at -0.20 points (one seed)." in said(found).words[1]
    sparse = rows(0.85) + [row("sparse", 0, 0.90, 40, density=0.2)]
    words = "20 %: +0.00 points (one seed); none is surely within 1 points: keep all weights."
    assert words in "\n".join(said(sparse).words)
