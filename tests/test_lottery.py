"""The lottery: absolute targets, what is rewound to, and going on where it was stopped."""

import json

import pytest
import torch

import datapruner as dp
from datapruner import Refused, UsageError
from datapruner.checkpoint import load_tensors
from datapruner.cli import main
from datapruner.masks import lottery, tickets
from datapruner.masks.tickets import Rewind
from datapruner.trained import saved_run

RUN = dp.Run(data="digits", model="mlp", epochs=1, lr=0.05, batch_size=128)


def of_round(folder, number: int) -> dict:
    return load_tensors(folder / f"round-{number}" / "model.safetensors")[0]


def first_weights() -> dict:
    return dp.make_model("mlp", 10, (1, 8, 8)).state_dict()


def starts(monkeypatch) -> list:
    """Collect what each round's `fit` starts from, and after how many steps."""
    found = []
    fit = tickets.fit

    def watched(model, loader, sampler, run, **options):
        start = {k: v.clone() for k, v in options["start"].items()}
        found.append((start, options["begun"], run))
        return fit(model, loader, sampler, run, **options)

    monkeypatch.setattr(tickets, "fit", watched)
    return found


def test_ten_rounds_of_twenty_per_cent_leave_the_tenth_power(tmp_path):
    found = lottery(RUN, rounds=10, rate=0.2, rewind="0", out=tmp_path / "l")
    assert [one.kept for one in found] == [round(0.8**r * 50200) for r in range(11)]
    assert found[10].density == pytest.approx(0.8**10, abs=1e-5)
    before = {}
    for number in range(1, 11):
        sections = of_round(tmp_path / "l", number)
        for name, mask in sections["masks"].items():
            assert (sections["model"][name][~mask] == 0).all()
            assert not (mask & ~before.get(name, mask)).any()  # nothing comes back
            before[name] = mask


def test_survivors_go_back_to_the_first_weights(tmp_path, monkeypatch):
    seen = starts(monkeypatch)
    lottery(RUN, rounds=2, rate=0.5, rewind="0", out=tmp_path / "l")
    for start, begun, run in seen:
        assert begun == 0
        assert run == RUN
        assert all(torch.equal(start[k], v) for k, v in first_weights().items())


@pytest.mark.parametrize(("word", "step"), [("25%", 3), ("5steps", 5)])
def test_survivors_go_back_to_a_step_and_the_rest_of_the_run_follows(
    word, step, tmp_path, monkeypatch
):
    seen = starts(monkeypatch)
    found = lottery(RUN, rounds=2, rate=0.5, rewind=word, out=tmp_path / "l")
    captured = of_round(tmp_path / "l", 0)["rewind"]
    assert not torch.equal(captured["fc1.weight"], first_weights()["fc1.weight"])
    for start, begun, run in seen[1:]:
        assert (begun, run.steps) == (step, 12)
        assert all(torch.equal(start[k], v) for k, v in captured.items())
    assert [one.steps for one in found] == [12, 12 - step, 12 - step]


def test_a_state_that_is_rewound_to_is_the_one_after_that_many_steps(tmp_path):
    """The first 5 steps at a constant rate are a run of 5 steps."""
    run = dp.Run(data="digits", model="mlp", epochs=1, lr=0.05, schedule="constant")
    lottery(run, rounds=1, rewind="5steps", out=tmp_path / "l")
    short, _ = dp.train(dp.Run(**{**run.changed(), "steps": 5}))
    captured = of_round(tmp_path / "l", 0)["rewind"]
    assert all(torch.equal(captured[k], v) for k, v in short.state_dict().items())


def test_only_the_learning_rate_goes_back_or_nothing_does(tmp_path, monkeypatch):
    for word, rate in (("lr", RUN.lr), ("none", RUN.lr / 100)):
        seen = starts(monkeypatch)
        lottery(RUN, rounds=1, rate=0.5, rewind=word, out=tmp_path / word)
        trained = of_round(tmp_path / word, 0)["model"]
        start, begun, run = seen[1]
        assert all(torch.equal(start[k], v) for k, v in trained.items())
        assert (begun, run.lr) == (0, rate)
        monkeypatch.undo()


def test_each_layer_by_itself_and_the_classifier_at_half_the_rate(tmp_path):
    options = {"rounds": 2, "rate": 0.2, "rewind": "0", "within": "layer"}
    lottery(RUN, classifier_rate=0.1, out=tmp_path / "l", **options)
    masks = of_round(tmp_path / "l", 2)["masks"]
    kept = {name: int(mask.sum()) for name, mask in masks.items()}
    assert kept == {"fc1.weight": 12288, "fc2.weight": 19200, "fc3.weight": 810}


def test_it_goes_on_where_it_was_stopped_and_takes_more_rounds(tmp_path, monkeypatch):
    whole = lottery(RUN, rounds=3, rate=0.5, rewind="25%", out=tmp_path / "whole")
    lottery(RUN, rounds=1, rate=0.5, rewind="25%", out=tmp_path / "parts")
    seen = starts(monkeypatch)
    again = lottery(RUN, rounds=3, rate=0.5, rewind="25%", out=tmp_path / "parts")
    assert len(seen) == 2
    assert [(a.kept, a.accuracy) for a in again] == [(b.kept, b.accuracy) for b in whole]
    for number in range(4):
        one, two = of_round(tmp_path / "whole", number), of_round(tmp_path / "parts", number)
        assert all(torch.equal(one["model"][k], v) for k, v in two["model"].items())


def test_another_lottery_is_not_gone_on_with(tmp_path):
    lottery(RUN, rounds=1, rewind="0", out=tmp_path / "l")
    with pytest.raises(Refused, match="another run"):
        lottery(RUN, rounds=1, rate=0.3, rewind="0", out=tmp_path / "l")


def test_words_of_rewinding():
    assert Rewind.read("0") == Rewind()
    assert Rewind.read("0.1%").share == pytest.approx(0.001)
    assert Rewind.read("1step").steps == 1
    assert {Rewind.read(word).kind for word in ("lr", "none")} == {"rate", "none"}


WRONG = [
    ({"rewind": "500"}, ["'500'", "500steps"]),
    ({"rewind": "100%"}, ["'100%'"]),
    ({"rewind": "0", "rate": 20}, ["rate", "(0, 1)"]),
    ({"rewind": "0", "rounds": 0}, ["rounds"]),
    ({"rewind": "0", "classifier_rate": 0.1}, ["within='layer'"]),
    ({"rewind": "0", "skip": "conv9"}, ["'conv9'"]),
    ({"rewind": "13steps"}, ["step 13", "12 steps"]),
    ({"rewind": "99.9%"}, ["99.9", "12 steps"]),
]


@pytest.mark.parametrize(("options", "words"), WRONG)
def test_what_makes_no_sense_is_refused(options, words, tmp_path):
    with pytest.raises(UsageError) as refused:
        lottery(RUN, out=tmp_path / "l", **options)
    assert [word for word in words if word not in str(refused.value)] == []
    assert not (tmp_path / "l").exists(), "nothing was trained, and another lottery may have it"


def test_a_dry_run_refuses_what_the_run_would(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    train = ["train", "digits", "--model", "mlp", "--dry-run"]
    lottery = ["lottery", "digits", "--model", "mlp", "--epochs", "1", "--dry-run"]
    for words, error in (
        ([*train, "--density", "0.1", "--criterion", "magnitud"], "'magnitude'"),
        ([*train, "--density", "0.5", "--pattern", "2:4", "--allocation", "erk"], "2:4"),
        ([*lottery, "--rewind", "13steps"], "only 12 steps"),
        ([*lottery, "--rewind", "0", "--rounds", "60"], "fewer rounds"),
    ):
        assert main(words) == 2
        assert error in capsys.readouterr().err


def test_a_subset_of_the_data_plays_cheaper_rounds(tmp_path):
    data = dp.open_data("digits")
    indices, fingerprint = torch.arange(0, data.n, 4), {"fingerprint": data.fingerprint}
    dp.Selection(indices, data.n, meta=fingerprint).save(tmp_path / "kept")
    run = dp.Run.from_dict({**RUN.changed(), "sampler": {"folder": str(tmp_path / "kept")}})
    found = lottery(run, rounds=1, rewind="0", out=tmp_path / "l")
    assert [one.steps for one in found] == [3, 3]


def test_the_command_prints_the_rounds(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["lottery", "digits", "--rounds", "2", "--rate", "0.5", "--rewind", "25%", "--model",
             "mlp", "--epochs", "1"]  # fmt: skip
    assert main(words) == 0
    said = capsys.readouterr()
    lines = said.out.splitlines()
    assert "not pruned: 3 bias" in said.err
    assert [line.split()[2] for line in lines] == ["weights", "%", "%", "%"]
    assert main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [one["kept"] for one in found] == [50200, 25100, 12550]


def test_the_command_needs_the_unit(capsys):
    assert main(["lottery", "digits", "--rewind", "500"]) == 2
    assert "500steps" in capsys.readouterr().err


def test_train_prunes_and_says_what_it_left_alone(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["train", "digits", "--model", "mlp", "--epochs", "2", "--density", "0.1"]
    more = ["--criterion", "magnitude", "--allocation", "erk", "--schedule", "constant,cubic"]
    assert main([*words, *more]) == 0
    said = capsys.readouterr()
    assert "parameters active at the end" in said.out
    assert "not pruned: 3 bias" in said.err
    options = ["--prune-examples", "64", "--prune-replaced", "0.2", "--schedule", "rigl"]
    assert main([*words, *options, "--prune-temperature", "1e-4", "--out", "t"]) == 0
    weights = saved_run("t", dp.open_data("digits")).weights
    assert (weights.examples, weights.replaced, weights.temperature) == (64, 0.2, 1e-4)
    assert main([*words, "--prune-replaced", "2"]) == 2
    assert "replaced must be in (0, 1)" in capsys.readouterr().err
    assert main([*words, "--schedule", "cubik"]) == 2
    assert "'cubic'" in capsys.readouterr().err
    assert main([*words[:-2], "--criterion", "snip"]) == 2
    assert "--density" in capsys.readouterr().err
    assert main([*words, "--schedule", "cosine,constant"]) == 2
