"""`datapruner train --remove`: the smaller network beside the masked one, and what is refused."""

import json
import subprocess
import sys

import pytest
import torch

import datapruner as dp
from datapruner.checkpoint import load_tensors
from datapruner.cli import main

PRUNED = ["--density", "0.5", "--allocation", "uniform", "--schedule", "before", "--remove"]
LOADS = """
import sys, torch
x = torch.load("x.pt", weights_only=True)
torch.save(torch.export.load("t/small.pt2").module()(x), "y.pt")
assert "datapruner" not in sys.modules
"""


def words(model: str, pattern: str, *more: str) -> list[str]:
    steps = ["--steps", "3", "--batch-size", "32"]
    return ["train", "digits", "--model", model, *steps, *PRUNED, "--pattern", pattern, *more]


@pytest.fixture
def here(tmp_path, monkeypatch):
    pytest.importorskip("torch_pruning", reason="the structured extra is not installed")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def masked(model: str) -> torch.nn.Module:
    network = dp.make_model(model, 10, (1, 8, 8))
    network.load_state_dict(load_tensors("t/model.safetensors")[0]["model"])
    return network.eval()


def test_torch_alone_loads_what_computes_the_same(here, capsys):
    assert main(words("mlp", "channel", "--out", "t")) == 0
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 2
    # 64-300-100-10 with biases, and half of both hidden layers
    small = 64 * 150 + 150 + 150 * 50 + 50 + 50 * 10 + 10
    assert f"t/small.pt2: parameters 50,610 -> {small:,}, operations an example" in said[1]
    assert "a batch of 32" in said[1]
    x = torch.rand(5, 1, 8, 8)
    torch.save(x, "x.pt")
    subprocess.run([sys.executable, "-c", LOADS], check=True, timeout=300)
    got = torch.load("y.pt", weights_only=True)
    torch.testing.assert_close(got, masked("mlp")(x), rtol=1e-5, atol=1e-5)
    assert main([*words("mlp", "channel", "--out", "t"), "--json"]) == 0, "asked again"
    found = json.loads(capsys.readouterr().out)["smaller"]
    assert found["parameters"] == [50610, small]
    assert found["operations"] == [2 * 50200, 2 * (64 * 150 + 150 * 50 + 50 * 10)]
    assert min(found["seconds"]) > 0
    assert (found["batch"], found["file"]) == (32, "t/small.pt2")


def test_blocks_are_taken_out_as_well(here, capsys):
    assert main([*words("resnet8", "residual", "--out", "t"), "--json"]) == 0
    whole, few = json.loads(capsys.readouterr().out)["smaller"]["parameters"]
    assert few < whole
    x = torch.rand(5, 1, 8, 8)
    small = torch.export.load("t/small.pt2").module()
    torch.testing.assert_close(small(x), masked("resnet8")(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("given", "code", "words_of_it"),
    [
        (words("mlp", "weight", "--out", "t"), 2, ["--remove", "'weight'", "--pattern channel"]),
        (words("mlp", "2:4", "--out", "t"), 2, ["'2:4'"]),
        (words("resnet8", "chanel", "--out", "t"), 2, ["'chanel' is not known", "'channel'"]),
        (words("mlp", "channel"), 2, ["--out"]),
        (["train", "digits", "--remove", "--out", "t"], 2, ["--remove", "--density"]),
        (words("mlp", "residual", "--out", "t"), 2, ["no residual block"]),
        (
            words("resnet8", "residual", "--out", "t", "--density", "1"),
            2,
            ["density 1", "take out"],
        ),
    ],
)
def test_what_cannot_be_taken_out_is_refused_before_training(
    given, code, words_of_it, here, capsys
):
    assert main(given) == code
    said = capsys.readouterr()
    assert said.out == ""
    last = said.err.strip().splitlines()[-1]
    assert [word for word in words_of_it if word not in last] == []
    assert not (here / "t").exists()


def test_without_torch_pruning_nothing_is_trained(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "torch_pruning", None)
    assert main(words("mlp", "channel", "--out", str(tmp_path / "t"))) == 1
    assert "datapruner[structured]" in capsys.readouterr().err
    assert not (tmp_path / "t").exists()
