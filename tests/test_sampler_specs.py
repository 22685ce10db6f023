"""Samplers as a Run names them: specs, what they build, and the words of the command line."""

import json

import pytest
import torch

import datapruner as dp
from datapruner.cli import main
from datapruner.commands.drawing import Drawing
from datapruner.sampler_specs import ByScoreSpec, InfoBatchSpec, KeepSpec, RS2Spec, sampler_from
from datapruner.training import make_sampler

SPECS = [
    KeepSpec("runs/half"),
    RS2Spec(0.1),
    RS2Spec(0.1, final=0.5),
    InfoBatchSpec(0.5),
    InfoBatchSpec(0.3, delta=0.5),
    ByScoreSpec("el2n", 0.1),
    ByScoreSpec("aum", 0.2, "top", 0.5, 5, 3, 0.25),
]
# Results are stored under these; see tests/test_run.py.
PINNED = {
    3: "a1d9e1089adc0480",
    4: "4d41928ffdc24a01",
    5: "23e3e753ba8d4cbf",
    6: "bc78b6aa10b61ec7",
    2: "8578f44b0fc84a8d",
}


@pytest.mark.parametrize("spec", SPECS)
def test_a_run_comes_back_from_its_json(spec):
    run = dp.Run(sampler=spec)
    again = dp.Run.from_dict(json.loads(json.dumps(run.changed())))
    assert again == run
    assert again.id() == run.id()


@pytest.mark.parametrize("place", PINNED)
def test_ids_are_pinned(place):
    assert dp.Run(sampler=SPECS[place]).id(data="00ff") == PINNED[place]


def test_specs_build_the_samplers_they_name():
    data = dp.open_data("digits")

    def made(spec, **fields):
        return make_sampler(dp.Run(sampler=spec, **fields), data)[0]

    growing = made(RS2Spec(0.1, final=0.5), epochs=4).bind(100)
    assert [growing.size(epoch) for epoch in range(5)] == [10, 20, 30, 40, 40]
    info = made(InfoBatchSpec(0.3, 0.5), epochs=8, seed=4)
    assert (info.epochs, info.ratio, info.delta, info.seed) == (8, 0.3, 0.5, 4)
    assert made(InfoBatchSpec(0.3), steps=25, batch_size=128).epochs == 3  # 12 steps an epoch
    mixed = made(ByScoreSpec("aum", 0.2, "top", 0.5, 5, 3, 0.25), seed=2)
    inner = mixed.by_score
    assert (mixed.random, inner.scorer, inner.fraction, inner.how) == (0.25, "aum", 0.2, "top")
    assert (inner.temperature, inner.every, inner.visits, inner.seed) == (0.5, 5, 3, 2)
    assert isinstance(made(ByScoreSpec("el2n", 0.1)), dp.ByScore)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: InfoBatchSpec(1.0), "ratio"),
        (lambda: InfoBatchSpec(0.5, 2.0), "delta"),
        (lambda: RS2Spec(0.1, final=0.0), "final"),
        (lambda: RS2Spec(0.1, final="much"), "final must be a finite number"),
        (lambda: ByScoreSpec("el2n", 0.0), "fraction"),
        (lambda: ByScoreSpec("el2n", 0.1, "soft"), "softmax"),
        (lambda: ByScoreSpec("el2n", 0.1, random=1.5), "random"),
        (lambda: dp.Run(sampler=RS2Spec(0.1, final=0.2), steps=10), "needs epochs"),
        (lambda: sampler_from({"ratio": 0.5, "fraction": 0.1}), "no field 'fraction'"),
        (lambda: sampler_from({"scorer": "el2n"}), "needs a field 'fraction'"),
        (lambda: sampler_from({}), "'ratio'"),
    ],
)
def test_what_cannot_be_is_refused(make, words):
    with pytest.raises(dp.UsageError, match=words):
        make()


@pytest.mark.parametrize("spec", [None, *SPECS])
def test_words_of_the_command_line_say_the_same(spec):
    words = {
        KeepSpec: lambda s: {"keep": s.folder},
        RS2Spec: lambda s: {"rs2": s.fraction, "final": s.final},
        InfoBatchSpec: lambda s: {"infobatch": s.ratio, "delta": s.delta},
        ByScoreSpec: lambda s: {"by_score": s.scorer, **_but(s, "scorer")},
        type(None): lambda s: {},
    }[type(spec)](spec)
    assert Drawing(**words).spec() == spec


def _but(spec, name):
    return {key: value for key, value in vars(spec).items() if key != name}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"keep": "x", "rs2": 0.1}, "--keep and --rs2 exclude each other"),
        ({"stratified": True}, "--stratified belongs to --rs2"),
        ({"rs2": 0.1, "delta": 0.5}, "--delta belongs to --infobatch"),
        ({"every": 2, "fraction": 0.1}, "--fraction, --every belongs to --by-score"),
        ({"by_score": "el2n"}, "--fraction 0.1"),
    ],
)
def test_words_that_do_not_go_together(options, words):
    with pytest.raises(dp.UsageError, match=words):
        Drawing(**options).spec()


def test_train_says_what_infobatch_saved(capsys):
    words = ["train", "digits", "--model", "mlp", "--epochs", "5", "--lr", "0.05"]
    assert main([*words, "--infobatch", "0.5", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    data = dp.open_data("digits")
    assert 0.05 < result["saved"] < 0.4
    assert result["examples"] == pytest.approx((1 - result["saved"]) * 5 * data.n, abs=1)
    assert torch.tensor(result["test_accuracy"]) > 0.5
    assert main([*words, "--infobatch", "0.5", "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["steps"] == 5 * 12
