"""fit names what it cannot use before the first step."""

import os
import stat

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import datapruner as dp
from datapruner.checkpoint import load_tensors, save_tensors
from datapruner.errors import PrunerError, UsageError


def fitted(data, **other):
    """Call fit with one argument exchanged."""
    given = {
        "model": dp.make_model("mlp", data.num_classes, data.shape),
        "loader": dp.TensorLoader(data),
        "sampler": None,
        "run": dp.Run(epochs=1),
    }
    test = other.pop("test", None)
    return dp.fit(*{**given, **other}.values(), test=test)


def plain(data):
    return DataLoader(TensorDataset(data.x.float(), data.labels), batch_size=8)


@pytest.mark.parametrize(
    ("name", "make", "words"),
    [
        ("loader", plain, "not a DataLoader; .*prune"),
        ("loader", lambda data: data, r"TensorLoader\(data\), not a Data"),
        ("test", plain, "reads a test loader .* not a DataLoader"),
        ("sampler", lambda data: dp.RS2, "not a RS2"),
        ("sampler", lambda data: dp.keep(data.labels, k=9), r"Fixed\(selection\).*Selection"),
        ("run", lambda data: {"epochs": 2}, r"Run\(epochs=10\), not a dict"),
    ],
)
def test_an_argument_of_another_kind_is_named(digits, name, make, words):
    with pytest.raises(UsageError, match=words):
        fitted(digits, **{name: make(digits)})


def test_a_network_of_too_few_outputs_is_named(digits):
    with pytest.raises(UsageError, match=r"shape \(120, 4\), and there are 10 classes"):
        fitted(digits, model=dp.make_model("mlp", 4, digits.shape))


def test_a_network_that_gives_no_tensor_is_named(digits):
    class Pair(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(64, 10)

        def forward(self, x):
            return self.layer(x.flatten(1)), x

    with pytest.raises(UsageError, match=r"gives a tuple, not logits"):
        fitted(digits, model=Pair())


def test_a_network_of_more_outputs_than_classes_trains(digits):
    assert fitted(digits, model=dp.make_model("mlp", 12, digits.shape)).steps > 0


def test_weights_have_the_rights_of_any_file_made_here(tmp_path):
    path, other = tmp_path / "a.safetensors", tmp_path / "b"
    before = os.umask(0o022)
    try:
        save_tensors(path, {"model": {"w": torch.zeros(2)}}, {})
        other.touch()
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(other.stat().st_mode) == 0o644


def test_a_file_that_cannot_be_read_is_not_called_damaged(tmp_path, monkeypatch):
    path = tmp_path / "a.safetensors"
    save_tensors(path, {"model": {"w": torch.zeros(2)}}, {})

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("datapruner.checkpoint.safe_open", refuse)
    with pytest.raises(PrunerError, match="may not be read"):
        load_tensors(path)
