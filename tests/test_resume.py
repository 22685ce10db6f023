"""Whatever is killed wherever goes on, and ends bit for bit as if it had not been."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from pyarrow import parquet

import datapruner as dp
from datapruner import Refused, Run, engine, recording
from datapruner.cli import main
from datapruner.run import RS2Spec
from datapruner.traces import Rows

# Dropout, augmentation and a partial last batch: all that draws numbers is in it.
RUN = Run(model="lenet", epochs=3, lr=0.02, batch_size=500, augment="crop=1", clean_epochs=(0, 2))

Kill = Callable[[pytest.MonkeyPatch], "dict | None"]


def contents(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def whole(digits, tmp_path_factory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("whole") / "record"
    dp.record(digits, RUN, folder)
    return contents(folder)


def interrupt_call(owner: object, name: str, nth: int, *, after: bool = False) -> Kill:
    """Break off the n-th call of a function, before or after it has done its work."""

    def kill(patch: pytest.MonkeyPatch) -> None:
        plain, calls = getattr(owner, name), []

        def broken(*args, **options):
            calls.append(None)
            if len(calls) != nth:
                return plain(*args, **options)
            if after:
                plain(*args, **options)
            raise KeyboardInterrupt

        patch.setattr(owner, name, broken)

    return kill


def in_the_clean_pass(nth: int) -> Kill:
    """Break off the n-th clean pass after its first batch."""

    def kill(patch: pytest.MonkeyPatch) -> None:
        plain, calls = recording.predict, []

        def broken(*args, **options):
            calls.append(None)
            for i, pair in enumerate(plain(*args, **options)):
                if len(calls) == nth and i == 1:
                    raise KeyboardInterrupt
                yield pair

        patch.setattr(recording, "predict", broken)

    return kill


def in_the_middle_of(epoch: int) -> Kill:
    def progress(text: str, done: int, total: int) -> None:
        if text == f"epoch {epoch}" and done == 2:
            raise KeyboardInterrupt

    return lambda patch: {"progress": progress}


def as_the_folder_gets_its_name(patch: pytest.MonkeyPatch) -> None:
    plain = Path.replace

    def broken(path: Path, target: Path) -> Path:
        if path.name == "record.partial":
            raise KeyboardInterrupt
        return plain(path, target)

    patch.setattr(Path, "replace", broken)


POINTS = {
    "middle of epoch 1": in_the_middle_of(1),
    "middle of epoch 2": in_the_middle_of(2),
    "middle of epoch 3": in_the_middle_of(3),
    "first clean pass": in_the_clean_pass(1),
    "second clean pass": in_the_clean_pass(2),
    "before the rows' state": interrupt_call(dp.Recorder, "save_state", 2),
    "before the checkpoint": interrupt_call(engine, "save_checkpoint", 1),
    "before the second checkpoint": interrupt_call(engine, "save_checkpoint", 2),
    "after the second checkpoint": interrupt_call(engine, "save_checkpoint", 2, after=True),
    "before the last checkpoint": interrupt_call(engine, "save_checkpoint", 3),
    "after the last checkpoint": interrupt_call(engine, "save_checkpoint", 3, after=True),
    "between the headers": interrupt_call(Rows, "finish", 2),
    "before the folder has its name": interrupt_call(Rows, "finish", 2, after=True),
    "as the folder gets its name": as_the_folder_gets_its_name,
}


@pytest.mark.parametrize("point", POINTS)
def test_a_killed_record_goes_on_to_the_same_bytes(point, digits, whole, tmp_path):
    with pytest.MonkeyPatch.context() as patch:
        options = POINTS[point](patch) or {}
        with pytest.raises(KeyboardInterrupt):
            dp.record(digits, RUN, tmp_path / "record", **options)
    assert not (tmp_path / "record").exists()
    epochs: list[str] = []
    dp.record(digits, RUN, tmp_path / "record", progress=lambda *a: epochs.append(a[0]))
    assert contents(tmp_path / "record") == whole
    assert [p.name for p in tmp_path.iterdir()] == ["record"]
    if "last" in point or "headers" in point or "name" in point:
        wanted = {"epoch 3"} if "before the last" in point else set()
        assert set(epochs) == wanted  # what was trained is not trained again


def test_killed_again_and_again_it_still_goes_on(digits, whole, tmp_path):
    kills = [in_the_middle_of(2), interrupt_call(engine, "save_checkpoint", 1)]
    for kill in [*kills, in_the_clean_pass(1)]:
        with pytest.MonkeyPatch.context() as patch:
            options = kill(patch) or {}
            with pytest.raises(KeyboardInterrupt):
                dp.record(digits, RUN, tmp_path / "record", **options)
    dp.record(digits, RUN, tmp_path / "record")
    assert contents(tmp_path / "record") == whole


def test_other_settings_do_not_go_on_from_a_killed_record(digits, tmp_path):
    with pytest.MonkeyPatch.context() as patch:
        options = in_the_middle_of(2)(patch)
        with pytest.raises(KeyboardInterrupt):
            dp.record(digits, RUN, tmp_path / "r", **options)
    with pytest.raises(Refused, match="holds another run"):
        dp.record(digits, Run(model="lenet", epochs=4), tmp_path / "r")


def test_weights_that_a_killed_record_did_not_keep_are_refused_before_it_goes_on(digits, tmp_path):
    with pytest.MonkeyPatch.context() as patch:
        options = in_the_middle_of(3)(patch)
        with pytest.raises(KeyboardInterrupt):
            dp.record(digits, RUN, tmp_path / "r", **options)
    epochs: list[str] = []
    with pytest.raises(Refused, match=r"2 epochs are done, and the weights after epochs 1 were"):
        dp.record(
            digits,
            RUN,
            tmp_path / "r",
            checkpoints=[0, 1, 2],
            progress=lambda *a: epochs.append(a[0]),
        )
    assert not epochs
    assert dp.record(digits, RUN, tmp_path / "r", checkpoints=[0, 2]).checkpoints == (0, 2)


@pytest.mark.parametrize(
    "run",
    [
        Run(model="lenet", epochs=4, lr=0.02, sampler=RS2Spec(0.3), augment="crop=1"),
        Run(model="lenet", steps=10, lr=0.02, batch_size=500, augment="crop=1"),
    ],
)
@pytest.mark.parametrize("epoch", [1, 3])
def test_a_killed_training_goes_on_to_the_same_weights(digits, run, epoch, tmp_path):
    test = dp.open_data("digits", "test")
    model, history = dp.train(run, digits, test=test)

    def progress(text: str, done: int, total: int) -> None:
        if text == f"epoch {epoch}" and done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        dp.train(run, digits, test=test, out=tmp_path / "t", progress=progress)
    again, resumed = dp.train(run, digits, test=test, out=tmp_path / "t")
    third, stored = dp.train(run, digits, test=test, out=tmp_path / "t")  # read, not trained
    for other in (again, third):
        for p, q in zip(model.state_dict().values(), other.state_dict().values(), strict=True):
            assert torch.equal(p, q)
    assert stored.rows() == resumed.rows()
    for a, b in zip(history.rows(), resumed.rows(), strict=True):
        assert a.keys() == b.keys()
        assert all(a[name] == b[name] for name in a if name not in ("seconds", "sampling"))
    assert sorted(p.name for p in (tmp_path / "t").iterdir()) == [
        "history.json",
        "model.safetensors",
        "run.json",
    ]


# -- the command, in a process of its own --------------------------------------------------------

SCORE = ["score", "digits", "--model", "mlp", "--epochs", "6", "--lr", "0.05", "--batch-size", "32"]
SCORE += ["--scorers", "el2n", "aum", "prototypes", "--seeds", "2"]


def table(path: Path) -> tuple[dict, dict]:
    file = parquet.read_table(path)
    columns = {name: file[name].to_numpy().tobytes() for name in file.column_names}
    return columns, file.schema.metadata


@pytest.fixture(scope="module")
def scored(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("scored") / "out"
    assert main([*SCORE, "--out", str(out)]) == 0
    return out


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_killed_score_command_goes_on_to_the_same_table(how, scored, tmp_path):
    out = tmp_path / "out"
    # a shell that starts its jobs in the background has them ignore SIGINT, and children inherit it
    heard = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    program = heard + "import sys; from datapruner.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", program, *SCORE, "--out", str(out)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ)
    deadline = time.monotonic() + 60
    while not (out / "record" / "seed-0.partial" / "checkpoint.safetensors").exists():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(how)
    _, said = process.communicate(timeout=30)
    assert not (out / "scores.parquet").exists()
    if how == signal.SIGINT:
        assert process.returncode == 130
        assert said.splitlines()[-1] == (
            "datapruner: interrupted; the same command goes on from here"
        )
        assert "Traceback" not in said
    else:
        assert process.returncode == -signal.SIGKILL
    assert main([*SCORE, "--out", str(out)]) == 0
    assert table(out / "scores.parquet") == table(scored / "scores.parquet")
    for seed in (0, 1):
        mine, theirs = (o / "record" / f"seed-{seed}" for o in (out, scored))
        assert contents(mine) == contents(theirs)
