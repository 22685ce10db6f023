"""What a round of a lottery removes: a share or as SAP says; and what the rounds are trained by."""

import pytest
import torch
from torch import nn

import datapruner as dp
from datapruner import UsageError
from datapruner.checkpoint import load_tensors
from datapruner.cli import main
from datapruner.distill_specs import DistillSpec
from datapruner.masks import lottery, sap_count
from datapruner.masks.removing import Removal, Sap, whole

RUN = dp.Run(data="digits", model="mlp", epochs=1, lr=0.05, batch_size=128)


def of_round(folder, number: int) -> dict:
    return load_tensors(folder / f"round-{number}" / "model.safetensors")[0]


def row(*values: float) -> nn.Linear:
    layer = nn.Linear(len(values), 1)
    layer.weight.data = torch.tensor([values])
    return layer


def kept(layer: nn.Module, before: dict, rate: str) -> list[list[bool]]:
    return Removal.read(rate).masks(layer, before, 1, "")["weight"].tolist()


def test_two_rounds_of_sap_by_hand():
    """Roots 3, .5, 1, 1: I = 1 - (5.5 / 4)² / (11.25 / 4) = .328, so 3 of 4 must stay.

    Of 9, 1, 1 the roots are 3, 1, 1: I = 1 - (5 / 3)² / (11 / 3) = .242, all 3 of them must.
    """
    layer = row(9.0, -0.25, 1.0, -1.0)
    every = whole(layer, "")
    once = Removal.read("sap").masks(layer, every, 1, "")
    assert once["weight"].tolist() == [[True, False, True, True]]
    assert kept(layer, once, "sap") == [[True, False, True, True]]
    assert kept(layer, every, "sap:gamma=2") == [[True, False, False, True]], "2 (1 - 3/4) of 4"
    assert kept(layer, every, "sap:gamma=2,beta=0.25") == [[True, False, True, True]]
    # (1 - I)² = (11.25 / 4)² / (83.0625 / 4) = .381, so 2 of 4 must stay
    assert kept(layer, every, "sap:p=1,q=2") == [[True, False, False, True]]


def test_words_of_sap():
    assert Removal.read("sap").rate == Sap()
    assert Removal.read("sap:p=1,q=2,eta=0.1").rate == Sap(1.0, 2.0, 0.1)
    assert Removal.read("sap", "neuron").within == "neuron"


@pytest.mark.parametrize("within", ["network", "layer", "neuron"])
def test_every_round_removes_what_the_index_of_the_survivors_allows(within, tmp_path):
    found = lottery(
        RUN, rounds=2, rate="sap:gamma=1.5", rewind="0", within=within, out=tmp_path / "l"
    )
    assert found[0].kept == 50200 > found[1].kept > found[2].kept
    before = whole(dp.make_model("mlp", 10, (1, 8, 8)), "")
    for number in (1, 2):
        trained, masks = of_round(tmp_path / "l", number - 1), of_round(tmp_path / "l", number)
        gone = 0
        for name, mask in masks["masks"].items():
            assert not (mask & ~before[name]).any()
            assert (masks["model"][name][~mask] == 0).all()
            weight = trained["model"][name]
            pairs = [(weight, before[name])]
            if within == "neuron":
                pairs = list(zip(weight, before[name], strict=True))
            if within != "network":
                gone += sum(sap_count(w[m], gamma=1.5) for w, m in pairs)
        if within == "network":
            left = torch.cat([trained["model"][n][m] for n, m in before.items()])
            gone = sap_count(left, gamma=1.5)
        assert found[number - 1].kept - found[number].kept == gone
        before = masks["masks"]


WRONG = [
    ({"rate": "snap"}, ["'snap'", "0.2", "sap"]),
    ({"rate": "sap:gamma"}, ["'sap:gamma'", "sap:gamma=2"]),
    ({"rate": "sap:gama=2"}, ["'gama'", "'gamma'"]),
    ({"rate": "sap:p=2"}, ["0 < p < q"]),
    ({"rate": "sap:beta=2"}, ["beta in [0, 1]"]),
    ({"rate": "sap", "classifier_rate": 0.1}, ["classifier_rate"]),
    ({"within": "neuron"}, ["neuron", "rate='sap'"]),
    ({"within": "layers"}, ["'layers'"]),
]


@pytest.mark.parametrize(("options", "words"), WRONG)
def test_what_makes_no_sense_leaves_no_folder(options, words, tmp_path):
    with pytest.raises(UsageError) as refused:
        lottery(RUN, out=tmp_path / "l", **({"rewind": "0"} | options))
    assert [word for word in words if word not in str(refused.value)] == []
    assert not (tmp_path / "l").exists()


def test_the_command_takes_sap(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["lottery", "digits", "--rounds", "1", "--rewind", "0", "--model", "mlp"]
    assert main([*words, "--epochs", "1", "--rate", "sap:gamma=2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert main([*words, "--rate", "sap:gama=2"]) == 2
    assert "'gamma'" in capsys.readouterr().err


def test_skipped_layers_count_in_no_round(tmp_path):
    found = lottery(RUN, rounds=1, rewind="0", skip="classifier", out=tmp_path / "l")
    assert [one.kept for one in found] == [49200, round(0.8 * 49200)]
    assert found[0].density == 1


def test_the_rounds_have_the_teacher_of_the_run(tmp_path, monkeypatch, capsys):
    teacher = dp.Run(data="digits", model="mlp", epochs=1, seed=1)
    dp.train(teacher, out=tmp_path / "teacher")
    spec = DistillSpec(str(tmp_path / "teacher"), 0.5)
    run = dp.Run(data="digits", model="mlp", epochs=1, distill=spec)
    lottery(run, rounds=1, rewind="0", out=tmp_path / "l")
    taught, _ = dp.train(run)
    dense = of_round(tmp_path / "l", 0)["model"]
    assert all(torch.equal(dense[name], value) for name, value in taught.state_dict().items())
    assert (tmp_path / "l" / "distill.json").exists()
    with pytest.raises(UsageError, match="both given"):
        lottery(run, rounds=1, rewind="0", out=tmp_path / "m", loss=dp.cross_entropy)
    monkeypatch.chdir(tmp_path)
    words = ["lottery", "digits", "--rewind", "0", "--rounds", "1", "--model", "mlp"]
    more = ["--epochs", "1", "--teacher", "teacher", "--distill-weight", "0.5", "--out", "c"]
    assert main([*words, *more]) == 0
    same = of_round(tmp_path / "c", 0)["model"]
    assert all(torch.equal(dense[name], value) for name, value in same.items())
