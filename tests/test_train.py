"""train(): from a Run alone to a trained network, and the folders that runs lie in."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import datapruner as dp
from datapruner import PrunerError, Refused, Run, UsageError
from datapruner.checkpoint import load_tensors, save_tensors, weights_hash
from datapruner.claiming import claim
from datapruner.data import Data
from datapruner.run import KeepSpec, RS2Spec
from datapruner.training import make_loader, make_sampler, network

RUN = Run(data="digits", model="mlp", epochs=2, lr=0.05)


def kept(data: Data, folder, every: int = 3) -> str:
    picks = torch.arange(0, data.n, every)
    weights = torch.linspace(0.5, 1.5, len(picks))
    about = {"fingerprint": data.fingerprint}
    dp.Selection(picks, data.n, weights / weights.mean(), meta=about).save(folder)
    return str(folder)


def test_a_run_is_all_it_takes(digits):
    model, history = dp.train(RUN)
    by_hand = dp.make_model("mlp", 10, digits.shape)
    loader = dp.TensorLoader(digits)
    test = dp.TensorLoader(dp.open_data("digits", "test"), normalise=loader.normalise)
    theirs = dp.fit(by_hand, loader, dp.Fixed(), RUN, test=test)
    assert weights_hash(model) == weights_hash(by_hand)
    assert history.accuracy == theirs.accuracy == dp.evaluate(by_hand, test)
    assert not model.training
    assert [e.test_accuracy is not None for e in history.epochs] == [True, True]


def test_without_data_or_with_data_handed_over(digits):
    with pytest.raises(UsageError, match="nothing to train on"):
        dp.train(Run(model="mlp"))
    model, history = dp.train(Run(model="mlp", epochs=2, lr=0.05), digits)
    assert history.accuracy is None
    assert weights_hash(model) == weights_hash(dp.train(RUN)[0])


def test_the_seed_decides_and_how_it_is_carried_out_does_not(digits):
    hashes = [weights_hash(dp.train(Run(model="mlp", steps=3, seed=s), digits)[0]) for s in (0, 1)]
    assert hashes[0] != hashes[1]
    again = weights_hash(dp.train(Run(model="mlp", steps=3, workers=2), digits)[0])
    assert again == hashes[0]


def test_a_kept_subset_brings_its_weights(digits, tmp_path):
    run = Run(model="mlp", epochs=2, sampler=KeepSpec(kept(digits, tmp_path / "third")))
    model, history = dp.train(run, digits)
    assert history.examples == 2 * 480
    selection = dp.Selection.load(tmp_path / "third")
    by_hand = dp.make_model("mlp", 10, digits.shape)
    loader = dp.TensorLoader(digits)
    dp.fit(by_hand, loader, dp.Fixed(selection.indices, selection.weights), run)
    assert weights_hash(model) == weights_hash(by_hand)
    dp.fit(by_hand, loader, dp.Fixed(selection.indices), run)
    assert weights_hash(model) != weights_hash(by_hand)


def test_a_subset_of_other_data_is_refused_before_a_folder_is_made(digits, tmp_path):
    rows = dp.open_data(torch.utils.data.TensorDataset(torch.randn(9, 3), torch.arange(9) % 2))
    run = Run(model="mlp", sampler=KeepSpec(kept(rows, tmp_path / "other")))
    with pytest.raises(Refused, match="made for data"):
        dp.train(run, digits, out=tmp_path / "t")
    assert not (tmp_path / "t").exists()


@pytest.mark.parametrize(
    "wrong", [{"model": "mpl"}, {"augment": "flp"}, {"device": "cuda:9"}, {"model": "bag:x"}]
)
def test_a_wrong_word_leaves_no_folder(digits, tmp_path, wrong):
    with pytest.raises(UsageError):
        dp.train(Run(**{"model": "mlp", **wrong}), digits, out=tmp_path / "t")
    assert list(tmp_path.iterdir()) == []


def test_what_only_training_finds_out_leaves_no_folder_either(digits, tmp_path):
    """Whether there are residual blocks is seen when the network is traced, inside fit."""
    run = Run(model="mlp", epochs=1, weights=dp.WeightPruning(0.5, pattern="residual"))
    with pytest.raises(UsageError, match="no residual block"):
        dp.train(run, digits, out=tmp_path / "t")
    assert list(tmp_path.iterdir()) == []


def test_what_a_folder_of_a_run_holds(digits, tmp_path):
    model, history = dp.train(RUN, digits, out=tmp_path / "t")
    about = json.loads((tmp_path / "t" / "run.json").read_text())
    assert Run.from_dict(about["run"]) == RUN
    assert about["id"] == RUN.id(data=digits.fingerprint)
    assert about["fingerprints"] == {"data": digits.fingerprint}
    assert json.loads((tmp_path / "t" / "history.json").read_text()) == history.rows()
    sections, _ = load_tensors(tmp_path / "t" / "model.safetensors")
    assert sections["model"].keys() == model.state_dict().keys()


def test_a_folder_belongs_to_one_run(tmp_path):
    folder = claim(tmp_path / "a", "train", "1234", RUN, {})
    assert claim(folder, "train", "1234", RUN, {}) == folder
    for kind, run_id, words in (
        ("train", "9999", r"another run \(1234, not 9999\)"),
        ("score", "1234", r"another run \(of train, not score\)"),
    ):
        with pytest.raises(Refused, match=words):
            claim(folder, kind, run_id, RUN, {})
    longer = replace(RUN, epochs=RUN.epochs + 1, weights=dp.WeightPruning(0.1))
    words = rf"epochs {RUN.epochs} there and {RUN.epochs + 1} here; another weights; another data"
    with pytest.raises(Refused, match=words):
        claim(folder, "train", "9999", longer, {"data": "1"})
    (tmp_path / "empty").mkdir()
    claim(tmp_path / "empty", "train", "1234", RUN, {})
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "a.txt").touch()
    with pytest.raises(Refused, match="files that are not a run's"):
        claim(tmp_path / "mine", "train", "1234", RUN, {})
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["a.txt"]


def test_changed_code_is_no_reason_for_a_traceback(digits, tmp_path, monkeypatch):
    """A factory that makes another network than the one whose weights lie there."""
    (tmp_path / "factory_of_nets.py").write_text(
        "import os\nfrom torch import nn\n"
        "def net(num_classes):\n"
        "    width = int(os.environ['NET_WIDTH'])\n"
        "    layers = nn.Linear(64, width), nn.Linear(width, num_classes)\n"
        "    return nn.Sequential(nn.Flatten(), *layers)\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NET_WIDTH", "8")
    run = Run(model="factory_of_nets:net", steps=2)
    dp.train(run, digits, out=tmp_path / "t")
    monkeypatch.setenv("NET_WIDTH", "9")
    with pytest.raises(Refused, match="weights of another network"):
        dp.train(run, digits, out=tmp_path / "t")


def test_features_and_photographs_find_their_loader(digits):
    rows = dp.open_data(torch.utils.data.TensorDataset(torch.randn(40, 3), torch.arange(40) % 2))
    assert isinstance(make_loader(rows, RUN), dp.TensorLoader)
    _, history = dp.train(Run(model="mlp", epochs=2, batch_size=16), rows)
    assert (history.examples, history.steps) == (80, 6)
    larger = Run(model="lenet", image_size=16, steps=2, batch_size=32)
    loader = make_loader(digits, larger)
    assert isinstance(loader, dp.TorchLoader)
    assert next(iter(loader(torch.arange(3)))).x.shape == (3, 1, 16, 16)
    assert dp.train(larger, digits)[1].steps == 2


def test_the_test_data_are_normalised_as_the_training_data_are(digits):
    dark = torch.utils.data.TensorDataset(digits.x // 4, digits.labels)
    test = dp.open_data(dark, "test")
    model, history = dp.train(Run(model="mlp", epochs=2, lr=0.05), digits, test=test)
    train = dp.TensorLoader(digits)
    right = dp.evaluate(model, dp.TensorLoader(test, normalise=train.normalise))
    assert history.accuracy == right != dp.evaluate(model, dp.TensorLoader(test))


def test_rs2_is_bound_to_the_run(digits):
    run = Run(sampler=RS2Spec(0.2, replacement=True, stratified=True), seed=7)
    sampler, fingerprints = make_sampler(run, digits)
    assert fingerprints == {"data": digits.fingerprint}
    bound = sampler.bind(digits.n, digits.labels)
    mine = dp.RS2(0.2, 7, replacement=True, stratified=True).bind(digits.n, digits.labels)
    assert torch.equal(bound.draw(3)[0], mine.draw(3)[0])


def test_the_first_weights_are_of_the_seed(digits):
    loader = make_loader(digits, RUN)
    first, same, other = (
        weights_hash(network(Run(model="resnet8", seed=s), digits, loader)) for s in (0, 0, 1)
    )
    assert first == same != other


# -- weights on disk -----------------------------------------------------------------------------


def test_tensors_come_back_as_they_were(tmp_path):
    conv = nn.Conv2d(2, 3, 3).to(memory_format=torch.channels_last)
    sections = {"model": conv.state_dict(), "count": {"n": torch.tensor(3)}}
    save_tensors(tmp_path / "w", sections, {"run": "x", "rows": [1, None]})
    again, about = load_tensors(tmp_path / "w")
    assert about == {"run": "x", "rows": [1, None]}
    assert torch.equal(again["model"]["weight"], conv.weight)
    assert again["count"]["n"].item() == 3


@pytest.mark.parametrize("content", [b"", b"not at all", np.zeros(100).tobytes()])
def test_a_damaged_file_is_named(tmp_path, content):
    (tmp_path / "w").write_bytes(content)
    with pytest.raises(PrunerError, match="not a datapruner weights file"):
        load_tensors(tmp_path / "w")
    with pytest.raises(PrunerError, match="no such file"):
        load_tensors(tmp_path / "nowhere")
