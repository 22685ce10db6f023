"""record(): one run's traces, its clean passes, what it refuses and what it leaves out."""

import json

import pytest
import torch
from torch.nn import functional

import datapruner as dp
from datapruner import Refused, Run, UsageError
from datapruner.checkpoint import load_tensors
from datapruner.run import RS2Spec
from datapruner.traces import TRACES, measure
from datapruner.trained import load_epoch

RUN = Run(model="mlp", epochs=3, lr=0.05)


@pytest.fixture(scope="module")
def whole(digits) -> dp.Record:
    return dp.record(digits, RUN)


def same(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Tell whether two tensors are the same bits; NaN is."""
    return torch.equal(a.view(torch.int32), b.view(torch.int32))


def test_training_rows_are_what_the_run_met(digits, whole):
    """Played again by hand: each batch before its step, in the run's own order."""
    rows: dict[int, torch.Tensor] = {}

    class Watch:
        def observe(self, epoch, batch, logits, losses):
            mine = torch.full((5, digits.n), float("nan")) if epoch not in rows else rows[epoch]
            mine[:, batch.index] = measure(logits, batch.y)[0]
            rows[epoch] = mine

        def end_epoch(self, epoch): ...
        def resume(self, epoch): ...

    model = dp.make_model("mlp", 10, digits.shape)
    history = dp.fit(model, dp.TensorLoader(digits), None, RUN, observers=[Watch()])
    for i, name in enumerate(TRACES[:4]):
        for epoch in range(3):
            assert same(whole.trace(name)[epoch], rows[epoch][i])
    loss = whole.trace("loss").mean(1).tolist()
    assert loss == pytest.approx([e.train_loss for e in history.epochs], rel=1e-5)
    kept = load_tensors(whole.folder / "model.safetensors")[0]["model"]
    assert all(torch.equal(kept[name], p) for name, p in model.state_dict().items())
    assert whole.trace("shift")[0].isnan().all()
    assert whole.trace("shift")[1:].isfinite().all()
    assert torch.equal(whole.labels, digits.labels)


def test_recording_changes_nothing_about_the_training(digits, whole):
    model = dp.make_model("mlp", 10, digits.shape)
    dp.fit(model, dp.TensorLoader(digits), None, RUN)
    kept = load_tensors(whole.folder / "model.safetensors")[0]["model"]
    assert all(torch.equal(kept[name], p) for name, p in model.state_dict().items())


def test_a_clean_row_is_evaluation_by_hand_after_its_epoch(digits):
    run = Run(model="mlp", epochs=3, lr=0.05, augment="flip,crop=2", clean_epochs=(2, 0))
    record = dp.record(digits, run)
    assert record.clean_epochs == (0, 2)
    loader = dp.TensorLoader(digits)
    for row, epoch in enumerate(record.clean_epochs):
        model = load_epoch(dp.make_model("mlp", 10, digits.shape), record, epoch).eval()
        with torch.no_grad():
            batches = [model(b.x) for b in loader(torch.arange(digits.n), train=False)]
        logits = torch.cat(batches)
        loss = functional.cross_entropy(logits, digits.labels, reduction="none")
        torch.testing.assert_close(
            record.trace("loss", clean=True)[row], loss, rtol=1e-5, atol=1e-6
        )
        error = (logits.softmax(1) - functional.one_hot(digits.labels, 10)).norm(dim=1)
        trace = record.trace("error_norm", clean=True)[row]
        torch.testing.assert_close(trace, error, rtol=1e-4, atol=1e-6)
    assert not same(record.trace("loss", clean=True)[1], record.trace("loss")[2])


@pytest.mark.parametrize("words", [{"criterion": "learned"}, {"schedule": "soft"}])
def test_a_clean_row_and_its_weights_are_of_the_network_as_it_is_masked(digits, words):
    pruning = dp.WeightPruning(0.2, allocation="uniform", begin=0.0, **words)
    run = Run(model="mlp", epochs=3, lr=0.05, clean_epochs=(1,), weights=pruning)
    record = dp.record(digits, run)
    model = load_epoch(dp.make_model("mlp", 10, digits.shape), record, 1).eval()
    weights = [p for name, p in model.named_parameters() if "weight" in name]
    small = sum(int((w.abs() < 1e-3 * w.abs().max()).sum()) for w in weights)
    assert small > 0.3 * sum(w.numel() for w in weights)
    (batch,) = dp.TensorLoader(digits, digits.n)(torch.arange(digits.n), train=False)
    with torch.no_grad():
        loss = functional.cross_entropy(model(batch.x), batch.y, reduction="none")
    torch.testing.assert_close(record.trace("loss", clean=True)[0], loss, rtol=1e-4, atol=1e-5)


def test_a_clean_row_is_float32_whatever_the_training_was(digits):
    record = dp.record(digits, Run(model="mlp", epochs=1, lr=0.05, precision="bf16"))
    model = load_epoch(dp.make_model("mlp", 10, digits.shape), record, 0).eval()
    (batch,) = dp.TensorLoader(digits, digits.n)(torch.arange(digits.n), train=False)
    with torch.no_grad():
        rows, _ = measure(model(batch.x), batch.y)
    torch.testing.assert_close(record.trace("margin", clean=True)[0], rows[1], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("run", "clean"),
    [
        ({"epochs": 1}, 0),
        ({"epochs": 2}, 1),
        ({"epochs": 14}, 2),
        ({"epochs": 40, "sampler": RS2Spec(0.1)}, 3),
        ({"steps": 2 * 35 + 1, "batch_size": 720}, 3),  # two steps an epoch: 36 epochs
    ],
)
def test_the_clean_pass_is_at_a_tenth_of_the_run_and_not_before_the_third_epoch(digits, run, clean):
    record = dp.record(digits, Run(model="mlp", **run))
    assert record.clean_epochs == (clean,)
    assert record.checkpoints == (clean,)


def test_a_clean_epoch_that_the_steps_do_not_reach_is_refused_before_training(digits, tmp_path):
    run = Run(model="mlp", steps=13, clean_epochs=(2,))
    with pytest.raises(UsageError, match=r"clean_epochs \[2\]: 13 steps are only 2 epochs"):
        dp.record(digits, run, tmp_path / "r")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("run", [{"epochs": 2}, {"steps": 13}])
def test_weights_of_an_epoch_that_never_comes_are_refused_before_training(digits, tmp_path, run):
    with pytest.raises(UsageError, match=r"checkpoints \[2\]: .* only 2 epochs here"):
        dp.record(digits, Run(model="mlp", **run), tmp_path / "r", checkpoints=[0, 2])
    assert list(tmp_path.iterdir()) == []


def test_several_seeds_are_several_runs(digits, tmp_path, whole):
    run = Run(model="mlp", epochs=2, lr=0.05, seed=4)
    first, second = dp.record(digits, run, tmp_path, seeds=2)
    assert (first.seed, second.seed) == (4, 5)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["seed-4", "seed-5"]
    assert (first.trace("loss") != second.trace("loss")).any(1).all()
    assert first.about["model_hash"] != second.about["model_hash"]
    alone = dp.record(digits, Run(model="mlp", epochs=2, lr=0.05, seed=5))
    assert same(alone.trace("loss"), second.trace("loss"))
    table = dp.score([first, second], ["aum", "el2n"], data=digits)
    assert table.runs["aum"].shape == (2, digits.n)
    assert (table.spread("aum") > 0).any()


def test_a_finished_record_is_read_and_not_trained_again(digits, tmp_path):
    first = dp.record(digits, RUN, tmp_path / "r")
    calls: list[str] = []
    again = dp.record(digits, RUN, tmp_path / "r", progress=lambda *a: calls.append(a[0]))
    assert calls == []
    assert same(first.trace("loss"), again.trace("loss"))


def test_a_folder_that_holds_something_else_is_refused_and_left_alone(digits, tmp_path):
    dp.record(digits, RUN, tmp_path / "r")
    before = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "r").iterdir()}
    for other in (Run(model="mlp", epochs=3, lr=0.06), Run(model="lenet", epochs=3, lr=0.05)):
        with pytest.raises(Refused, match="holds the record of another run"):
            dp.record(digits, other, tmp_path / "r")
    rows = torch.utils.data.TensorDataset(torch.randn(9, 3), torch.arange(9) % 2)
    with pytest.raises(Refused, match="another run"):
        dp.record(dp.open_data(rows), RUN, tmp_path / "r")
    assert {p.name: p.stat().st_mtime_ns for p in (tmp_path / "r").iterdir()} == before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    with pytest.raises(Refused, match="exists and is no record"):
        dp.record(digits, RUN, tmp_path / "mine")


def test_rs2_leaves_what_it_did_not_draw_unvisited(digits):
    record = dp.record(digits, Run(model="mlp", epochs=4, lr=0.05, sampler=RS2Spec(0.25)))
    visited = record.trace("loss").isfinite()
    assert visited.sum(1).tolist() == [360] * 4
    for epoch in range(4):
        drawn = dp.RS2(0.25).bind(digits.n).draw(epoch)[0]
        assert visited[epoch].nonzero().flatten().tolist() == sorted(drawn.tolist())
    assert record.trace("loss", clean=True).isfinite().all()  # the clean pass sees everyone


def test_unreadable_examples_are_in_no_pass(digits):
    some = dp.open_data("digits")
    some.readable[[3, 700]] = False
    record = dp.record(some, Run(model="mlp", epochs=2, lr=0.05))
    for clean in (False, True):
        blank = record.trace("loss", clean=clean).isnan()
        assert blank.any(0).nonzero().flatten().tolist() == [3, 700]
        assert blank.all(0).sum() == 2
    assert (~record.readable).nonzero().flatten().tolist() == [3, 700]
    table = dp.score(record, ["el2n", "aum"], data=some)
    assert torch.from_numpy(table["el2n"]).isnan().nonzero().flatten().tolist() == [3, 700]


def test_what_a_record_says_of_itself(digits, tmp_path):
    record = dp.record(digits, RUN, tmp_path / "r")
    about = json.loads((tmp_path / "r" / "record.json").read_text())
    assert about["fingerprint"] == record.fingerprint == digits.fingerprint
    assert about["run"] == record.run_id == RUN.id(data=digits.fingerprint)
    assert Run.from_dict(about["settings"]) == RUN
    assert (about["n"], about["epochs"], about["num_classes"]) == (1438, 3, 10)
    assert sorted(p.name for p in (tmp_path / "r").iterdir()) == [
        "clean.safetensors",
        "labels.npy",
        "model.safetensors",
        "record.json",
        "training.safetensors",
        "weights-2.safetensors",
    ]
    assert [p.name for p in tmp_path.iterdir()] == ["r"]
