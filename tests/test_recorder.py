"""The Recorder in somebody's own training loop."""

import gc

import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from datapruner import PrunerError, Record, Recorder, UsageError
from datapruner import recorder as recorder_module
from datapruner.traces import TRACES, measure

LOSS, SHIFT = TRACES.index("loss"), TRACES.index("shift")


def batch(*indices: int, classes: int = 3, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    rng = torch.Generator().manual_seed(seed)
    index = torch.tensor(indices)
    return index, torch.randn(len(indices), classes, generator=rng), index % classes


def test_what_is_recorded_is_what_was_measured(tmp_path):
    recorder = Recorder(6, tmp_path / "record")
    first, second = batch(0, 2, 4, seed=1), batch(1, 3, seed=2)
    recorder.observe(0, *first)
    recorder.observe(0, *second)
    later = batch(2, 1, seed=3)
    recorder.observe(1, *later)
    record = recorder.close()
    assert (record.n, record.epochs, record.num_classes, record.clean_epochs) == (6, 2, 3, ())
    assert record.labels.tolist() == [0, 1, 2, 0, 1, -1]
    both = torch.cat([first[1], second[1]])
    rows, log_p = measure(both, torch.cat([first[2], second[2]]))
    places = torch.cat([first[0], second[0]])
    for i, name in enumerate(TRACES[:4]):
        trace = record.trace(name)
        assert trace.shape == (2, 6)
        assert trace.dtype == torch.float32
        assert torch.equal(trace[0, places], rows[i])
        assert trace[0, 5].isnan()
        assert trace[1].isnan().tolist() == [True, False, False, True, True, True]
    again, _ = measure(later[1], later[2], log_p[[1, 3]])
    assert torch.equal(record.trace("shift")[1, [2, 1]], again[SHIFT])
    assert record.trace("shift")[0].isnan().all()


def test_shift_is_from_the_last_time_an_example_was_seen(tmp_path):
    recorder = Recorder(2, tmp_path / "record")
    seen = {epoch: batch(0, seed=epoch) for epoch in (0, 3)}
    recorder.observe(0, *seen[0])
    recorder.observe(1, *batch(1))
    recorder.observe(3, *seen[3])  # epoch 2 was skipped altogether
    record = recorder.close()
    assert record.epochs == 4
    assert record.trace("loss").isnan().tolist() == [
        [False, True],
        [True, False],
        [True, True],
        [False, True],
    ]
    before = measure(*seen[0][1:])[1]
    assert record.trace("shift")[3, 0] == measure(*seen[3][1:], before)[0][SHIFT, 0]


def test_the_first_visit_in_an_epoch_counts(tmp_path):
    """Of a repeat in the same batch or a later one, as padded distributed samplers make them."""
    recorder = Recorder(3, tmp_path / "record")
    logits, label = torch.tensor([[1.0, 0.0], [2.0, 0.0], [9.0, 0.0]]), torch.zeros(3).long()
    recorder.observe(0, torch.tensor([1, 0, 1]), logits, label)
    recorder.observe(0, torch.tensor([0, 2]), logits[1:] + 5 * torch.eye(2), label[1:])
    recorder.observe(1, torch.tensor([1, 0]), logits[:2], label[:2])
    record = recorder.close()
    assert record.trace("margin")[0].tolist() == [2.0, 1.0, 4.0]
    # The first visit is also what the next epoch's is compared to.
    assert record.trace("shift")[1, :2].tolist() == [0, 0]


def test_clean_rows_are_kept_apart(tmp_path):
    recorder = Recorder(4, tmp_path / "record")
    recorder.observe(0, *batch(0, 1))
    recorder.observe(0, *batch(0, 1, seed=1), clean=True)
    recorder.observe(0, *batch(2, 3, seed=1), clean=True)
    recorder.observe(1, *batch(0, 1, seed=2))
    recorder.observe(2, *batch(0, 1, seed=3))
    recorder.observe(2, *batch(0, 1, 2, seed=4), clean=True)
    record = recorder.close()
    assert record.clean_epochs == (0, 2)
    clean = record.trace("loss", clean=True)
    assert clean.isnan().sum(1).tolist() == [0, 1]
    assert torch.equal(clean[0, :2], measure(*batch(0, 1, seed=1)[1:])[0][LOSS])
    assert record.trace("loss").shape == (3, 4)


def test_files_are_safetensors_that_anybody_can_open(tmp_path):
    recorder = Recorder(5, tmp_path / "record")
    for epoch in range(3):
        recorder.observe(epoch, *batch(0, 1, 2, 3, 4, seed=epoch))
        recorder.observe(epoch, *batch(0, 1, 2, 3, 4, seed=9), clean=True)
    record = recorder.close()
    for file, clean in (("training", False), ("clean", True)):
        with safe_open(tmp_path / "record" / f"{file}.safetensors", framework="pt") as opened:
            assert list(opened.keys()) == ["traces"]
            whole = opened.get_tensor("traces")
        assert whole.shape == (3, 5, 5)
        for i, name in enumerate(TRACES):
            torch.testing.assert_close(
                whole[:, i], record.trace(name, clean=clean), rtol=0, atol=0, equal_nan=True
            )
    assert sorted(p.name for p in tmp_path.iterdir()) == ["record"]
    again = Record(tmp_path / "record")
    assert torch.equal(again.trace("loss"), record.trace("loss"))


def test_without_shift_no_memory_goes_to_the_classes(tmp_path):
    recorder = Recorder(2, tmp_path / "record", shift=False)
    recorder.observe(0, *batch(0, 1))
    recorder.observe(1, *batch(0, 1))
    assert recorder._before is None
    assert recorder.close().trace("shift").isnan().all()


def test_above_the_limit_earlier_probabilities_are_float16(tmp_path, monkeypatch):
    exact, rough = Recorder(10, tmp_path / "exact"), Recorder(10, tmp_path / "rough")
    for recorder in (exact, rough):
        monkeypatch.setattr(recorder_module, "LARGEST", 119 if recorder is rough else 120)
        for epoch in range(3):
            recorder.observe(epoch, *batch(*range(10), seed=epoch))
    assert (exact._before.dtype, rough._before.dtype) == (torch.float32, torch.float16)
    a, b = exact.close(), rough.close()
    assert torch.equal(a.trace("loss"), b.trace("loss"))
    torch.testing.assert_close(
        a.trace("shift"), b.trace("shift"), rtol=0.02, atol=2e-3, equal_nan=True
    )


def test_a_temporary_record_lives_as_long_as_it_is_held():
    recorder = Recorder(2)
    recorder.observe(0, *batch(0, 1))
    record = recorder.close()
    del recorder
    gc.collect()
    folder, trace = record.folder, record.trace("loss")
    assert folder.exists()
    assert Record(folder).epochs == 1
    del record
    gc.collect()
    assert not folder.parent.exists()
    assert trace.isfinite().all()
    left = Recorder(2)
    folder = left.folder
    del left
    gc.collect()
    assert not folder.parent.exists()


def test_a_killed_loop_that_begins_again_leaves_nothing_of_the_first(tmp_path):
    killed = Recorder(3, tmp_path / "record")
    for epoch in range(3):
        killed.observe(epoch, *batch(0, 1, 2, seed=9))
        killed.observe(epoch, *batch(0, 1, 2, seed=9), clean=True)
    del killed
    recorder = Recorder(3, tmp_path / "record")
    recorder.observe(0, *batch(0, 1, seed=1))
    record = recorder.close()
    assert (record.epochs, record.clean_epochs) == (1, ())
    assert record.trace("loss").shape == (1, 3)
    with pytest.raises(UsageError, match="no clean rows were recorded"):
        record.trace("loss", clean=True)


def test_an_existing_folder_is_not_written_over(tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").touch()
    with pytest.raises(UsageError, match="exists; remove it"):
        Recorder(3, tmp_path / "full")
    (tmp_path / "empty").mkdir()
    recorder = Recorder(3, tmp_path / "empty")
    recorder.observe(0, *batch(0, 1))
    assert recorder.close().folder == tmp_path / "empty"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ((1, torch.tensor([3]), torch.zeros(1, 2), torch.tensor([0])), "index 3 is outside"),
        ((1, torch.tensor([-1]), torch.zeros(1, 2), torch.tensor([0])), "index -1 is outside"),
        ((1, torch.tensor([0]), torch.zeros(1, 1), torch.tensor([0])), r"is \[0, z\]"),
        ((1, torch.tensor([0]), torch.zeros(1), torch.tensor([0])), "expected .batch, classes."),
        ((1, torch.tensor([0]), torch.zeros(1, 5), torch.tensor([0])), "5 logits a row, earlier 2"),
        ((1, torch.tensor([0]), torch.zeros(1, 2), torch.tensor([2])), "label 2 is outside the 2"),
        ((1, torch.tensor([0]), torch.zeros(1, 2), torch.tensor([-1])), "label -1 is outside"),
        ((1, torch.tensor([0]), torch.zeros(1, 2), torch.zeros(1, 2)), "must have a row for each"),
        ((1, torch.tensor([0, 1]), torch.zeros(1, 2), torch.tensor([0])), "must have a row for"),
        (
            (0, torch.tensor([0]), torch.zeros(1, 2), torch.tensor([0])),
            "epoch 0 after the end of 0",
        ),
        ((-1, torch.tensor([0]), torch.zeros(1, 2), torch.tensor([0])), "epoch -1 after the end"),
    ],
)
def test_wrong_observations_are_refused_and_leave_no_mark(wrong, message):
    recorder = Recorder(3)
    recorder.observe(0, torch.tensor([0]), torch.zeros(1, 2), torch.tensor([0]))
    recorder.end_epoch(0)
    with pytest.raises(UsageError, match=message):
        recorder.observe(*wrong)
    record = recorder.close()
    assert record.epochs == 1
    assert record.trace("loss").isnan().tolist() == [[False, True, True]]


def test_a_clean_row_is_taken_once():
    recorder = Recorder(2)
    recorder.observe(0, *batch(0, 1), clean=True)
    recorder.end_clean()
    with pytest.raises(UsageError, match="clean epoch 0 after the end of 0"):
        recorder.observe(0, *batch(0, 1), clean=True)
    assert recorder.close().clean_epochs == (0,)


def test_an_unknown_trace_and_a_damaged_record_are_named(tmp_path):
    recorder = Recorder(3, tmp_path / "record")
    recorder.observe(0, *batch(0, 1, 2))
    record = recorder.close()
    with pytest.raises(UsageError, match="did you mean 'entropy'"):
        record.trace("entropie")
    file = tmp_path / "record" / "training.safetensors"
    file.write_bytes(file.read_bytes()[:-4])
    with pytest.raises(PrunerError, match="damaged"):
        Record(tmp_path / "record")
    np.save(tmp_path / "record" / "labels.npy", np.zeros(3))
    (tmp_path / "record" / "record.json").unlink()
    with pytest.raises(PrunerError, match=r"record\.json"):
        Record(tmp_path / "record")
