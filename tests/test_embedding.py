"""embed(): what a network makes of each example, and whose embedding a file holds."""

import numpy as np
import pytest
import torch
from torch import nn

import datapruner as dp
from datapruner import PrunerError, Refused, Run, UsageError
from datapruner.encoders import load_network
from datapruner.files import read_json, write_json
from datapruner.trained import ready


@pytest.fixture(scope="module")
def record(digits) -> dp.Record:
    return dp.record(digits, Run(model="mlp", epochs=1, lr=0.05))


def test_it_is_the_input_of_the_classifier(digits, record):
    model = ready(digits, record).model.eval()
    batch = next(iter(dp.TensorLoader(digits, digits.n)(torch.arange(digits.n), train=False)))
    with torch.no_grad():
        expected = model[:-1](batch.x).numpy()
    rows = dp.embed(digits, record)
    assert rows.shape == (1438, 100)
    assert rows.dtype == np.float32
    np.testing.assert_allclose(rows, expected, rtol=1e-5, atol=1e-6)
    assert (dp.embed(digits, model) == rows).all()
    assert (dp.embed(digits, "mlp") != rows).any()  # untrained


def test_the_network_is_left_as_it_was_and_the_pass_is_clean(digits):
    model = nn.Sequential(nn.Flatten(), nn.Dropout(0.9), nn.Linear(64, 5), nn.Linear(5, 10))
    first = dp.embed(digits, model, run=Run(augment="flip,crop=2", precision="bf16"))
    assert (first == dp.embed(digits, model)).all()
    assert model.training
    assert not model[3]._forward_pre_hooks


def test_unreadable_rows_are_zero(digits, record):
    some = dp.open_data("digits")
    some.readable[[3, 700]] = False
    rows = dp.embed(some, record)
    assert (rows == 0).all(1).nonzero()[0].tolist() == [3, 700]


def test_a_record_of_another_machine_is_read_on_this_ones_device(digits, tmp_path):
    record = dp.record(digits, Run(model="mlp", epochs=1), tmp_path / "r")
    expected = dp.embed(digits, record)
    about = read_json(tmp_path / "r" / "record.json")
    about["settings"]["device"] = "cuda:99"
    write_json(tmp_path / "r" / "record.json", about)
    moved = dp.Record(tmp_path / "r")
    for run in (None, Run(device="cpu")):
        np.testing.assert_allclose(dp.embed(digits, moved, run=run), expected, rtol=1e-4, atol=1e-5)
    assert ready(digits, moved, Run(device="cpu")).run.device == "cpu"
    assert load_network(str(tmp_path / "r"), digits, Run(device="cpu")).device == "cpu"
    assert dp.load_teacher(str(tmp_path / "r"), digits).fingerprint == record.about["model_hash"]


def test_a_file_is_read_again_where_it_is_of_the_same(digits, record, tmp_path):
    rows = dp.embed(digits, record, out=tmp_path / "e.npy")
    assert isinstance(rows, np.memmap)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["e.json", "e.npy"]
    calls: list[str] = []
    again = dp.embed(digits, record, out=tmp_path / "e.npy", progress=lambda *a: calls.append(a[0]))
    assert calls == []
    assert (again == rows).all()


def test_a_file_of_something_else_is_refused(digits, record, tmp_path):
    path = tmp_path / "e.npy"
    dp.embed(digits, record, out=path)
    same_size = dp.open_data(
        torch.utils.data.TensorDataset(torch.randn(1438, 1, 8, 8), torch.arange(1438) % 10)
    )
    for data, encoder in ((digits, "mlp"), (digits, nn.Linear(2, 2)), (same_size, "mlp")):
        with pytest.raises(Refused, match="not made of these data by this network"):
            dp.embed(data, encoder, out=path)
    (tmp_path / "e.json").unlink()
    with pytest.raises(Refused, match="not made of these data by this network"):
        dp.embed(digits, record, out=path)


def test_a_damaged_file_is_named(digits, record, tmp_path):
    path = tmp_path / "e.npy"
    dp.embed(digits, record, out=path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(PrunerError, match="damaged"):
        dp.embed(digits, record, out=path)


def test_what_cannot_embed_is_said(digits, record):
    with pytest.raises(UsageError, match=r"no nn\.Linear"):
        dp.embed(digits, nn.Flatten())
    with pytest.raises(UsageError, match="no model is called 'nope'"):
        dp.embed(digits, "nope")
    rows = dp.open_data(torch.utils.data.TensorDataset(torch.randn(9, 3), torch.arange(9) % 2))
    with pytest.raises(Refused, match="recorded on other data"):
        dp.embed(rows, record)


def test_prototypes_stand_on_it(digits, record):
    extra = {"embedding": dp.embed(digits, record)}
    table = dp.score(record, ["prototypes", "el2n"], extra=extra, data=digits)
    assert np.isfinite(table["prototypes"]).all()
    assert len(np.unique(table["prototypes"])) > 1000
