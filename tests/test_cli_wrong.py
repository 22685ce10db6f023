"""What somebody types wrongly, or on the wrong thing: one line, an exit code, nothing written."""

import json
from pathlib import Path

import numpy as np
import pytest

from datapruner.cli import main

SMALL = ["--model", "mlp", "--epochs", "2", "--lr", "0.05"]


def tree(folder: Path) -> dict[str, int]:
    return {str(p.relative_to(folder)): p.stat().st_mtime_ns for p in sorted(folder.rglob("*"))}


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def scored(tmp_path_factory) -> str:
    """Give the folder of a finished `score digits`."""
    out = tmp_path_factory.mktemp("cli") / "scored"
    words = ["score", "digits", "--scorers", "el2n", "forgetting", "prototypes", "random"]
    assert main([*words, *SMALL, "--out", str(out)]) == 0
    return str(out)


@pytest.fixture(scope="module")
def kept(scored) -> str:
    out = f"{scored}-half"
    assert main(["keep", scored, "--by", "el2n", "--fraction", "0.5", "--out", out]) == 0
    return out


def fails(capsys, words: list[str], code: int, *parts: str) -> None:
    """Check an error: its exit code, one line that says so, nothing on stdout, nothing written."""
    before = tree(Path())
    assert main(words) == code
    said = capsys.readouterr()
    assert said.out == ""
    last = said.err.splitlines()[-1]
    assert last.startswith("datapruner: ")
    for part in parts:
        assert part in last
    assert said.err.count("datapruner: ") == 1
    assert "Traceback" not in said.err
    assert tree(Path()) == before


# -- words that are wrong ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["scor", "digits"], ["no command 'scor'", "did you mean 'score'?"]),
        (["score"], ["Missing", "DATA", "see datapruner score --help"]),
        (["keep", "x"], ["--by", "--out", "see datapruner keep --help"]),
        (["score", "digits", "--epoch", "3"], ["--epoch", "did you mean '--epochs'?"]),
        (["train", "digits", "extra"], ["Unrecognized options: extra; see"]),
        (["score", "digits", "--epochs", "two"], ["--epochs", "'two'"]),
        (["keep", "x", "--by", "a", "--out", "b", "--k", "three"], ["--k", "three"]),
        (["score", "digits", "--schedule", "cosin"], ["'cosin'", "'cosine'"]),
        (["score", "digits", "--epochs", "0"], ["epochs must be at least 1, not 0"]),
        (["score", "digits", "--lr", "nan"], ["lr must be a finite number"]),
        (["score", "digits", "--seeds", "0"], ["seeds must be at least 1"]),
        (["score", "digits", "--scorers"], ["no scorer is named"]),
        (["score", "digits", "--scorers", "el2m"], ["no scorer 'el2m'", "did you mean 'el2n'?"]),
        (
            ["score", "digits", "--scorers", "craig"],
            ["craig must know the budget", "datapruner select"],
        ),
        (["score", "digits", "--scorers", "aum", "aum"], ["'aum' is named twice"]),
        (["score", "digits", "--scorers", "el2n:windw=5"], ["did you mean 'window'?"]),
        (["score", "digits", "--scorers", "el2n:window"], ["needs a value"]),
        (
            ["score", "digits", "--scorers", "el2n:window=five"],
            ["must be a whole number, not 'five'"],
        ),
        (
            ["score", "digits", "--scorers", "forgetting:never_learned=often"],
            ["forgetting:never_learned='often'", "infinity-capped"],
        ),
        (
            ["score", "digits", "--scorers", "aum", "el2n:window=5"],
            ["'el2n': window=5", "reads 1 row", "--clean-epochs"],
        ),
        (
            ["score", "digits", "--scorers", "tdds", "--steps", "20", "--batch-size", "128"],
            ["'tdds': the 2 rows", "record more epochs"],
        ),
        (["score", "digits", "--scorers", "prototypes:k=2000"], ["k=2000", "1438 examples"]),
        (["score", "digits", "--scorers", "log_det:ridge=0"], ["'log_det': ridge=0"]),
        (["score", "digits", "--scorers", "vog", "--epochs", "1"], ["vog compares", "--epochs"]),
        (
            ["score", "digits", "--scorers", "vog", "--epochs", "2", "--checkpoints", "1", "7"],
            ["checkpoints [7]: there are only 2 epochs"],
        ),
        (
            ["score", "digits", "--scorers", "influence", "--ensemble", "8"],
            ["influence compares runs", "of 8 some", "--ensemble 10 or more"],
        ),
        (["score", "digits", "--model", "mpl"], ["no model is called 'mpl'", "'mlp'"]),
        (["score", "digits", "--model", "torchvision:resnet19"], ["resnet1"]),
        (["score", "digits", "--model", "nothere:net"], ["nothere:net"]),
        (["score", "digits", "--augment", "flp"], ["augment: 'flp'", "'flip'"]),
        (["score", "digits", "--device", "cuda:7"], ["device 'cuda:7'"]),
        (["score", "digits", "--encoder", "nope", "--scorers", "prototypes"], ["'nope'"]),
        (["train", "digits", "--model", "mpl", "--out", "t"], ["no model is called 'mpl'"]),
        (["train", "digits", "--augment", "crop", "--out", "t"], ["'crop' needs a size"]),
        (["train", "digits", "--rs2", "0"], ["fraction must be above 0 and at most 1"]),
        (["train", "digits", "--rs2", "1.5"], ["fraction must be above 0 and at most 1"]),
        (["train", "digits", "--rs2", "0.1", "--keep", "x"], ["give one of them"]),
        (["scorers", "el2m"], ["no scorer 'el2m'", "did you mean 'el2n'?"]),
        (["demo", "--seeds", "0"], ["seeds must be at least 1"]),
    ],
)
def test_a_wrong_word_is_one_line_and_exit_2_before_anything_is_done(capsys, words, parts):
    fails(capsys, words, 2, *parts)


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["score", "here.npz"], ["here.npz"]),
        (["score", "no/such/folder"], ["no/such/folder"]),
        (["score", "no-such-data"], ["no-such-data"]),
        (["keep", "nowhere", "--by", "el2n", "--fraction", "0.5", "--out", "b"], ["no such file"]),
        (["train", "digits", "--keep", "nowhere"], ["nowhere", "no such file"]),
        (["report", "nowhere"], ["nowhere", "run.json"]),
    ],
)
def test_what_is_not_there_is_named(capsys, words, parts):
    before = tree(Path())
    assert main(words) in (1, 2)
    assert all(part in capsys.readouterr().err for part in parts[:1])
    assert tree(Path()) == before


@pytest.mark.parametrize(
    ("how", "parts"),
    [
        (["--fraction", "0"], ["fraction=0", "above 0 and at most 1"]),
        (["--fraction", "1.5"], ["fraction=1.5", "above 0 and at most 1"]),
        ([], ["fraction", "k"]),
        (["--fraction", "0.5", "--by", "el2m"], ["no score 'el2m'", "did you mean 'el2n'?"]),
        (["--fraction", "0.5", "--rule", "tpo"], ["'tpo'", "'top'"]),
        (["--fraction", "0.5", "--export", "kept.npy"], ["kept.npy", ".txt or .csv"]),
        (["--fraction", "0.5", "--rule", "ccs", "--beta", "0.9"], ["beta"]),
        (["--fraction", "0.5", "--rule", "ccs", "--beta", "auto"], ["suspect"]),
    ],
)
def test_a_wrong_way_to_keep_is_exit_2_and_writes_nothing(capsys, scored, how, parts):
    by = [] if "--by" in how else ["--by", "el2n"]
    fails(capsys, ["keep", scored, *by, "--out", "half", *how], 2, *parts)


# -- what belongs to something else --------------------------------------------------------------


def test_an_out_that_holds_another_run_is_refused_and_left_alone(capsys, scored):
    before = tree(Path(scored))
    for words in (
        ["score", "digits", *SMALL, "--seed", "1", "--out", scored],
        ["score", "digits", "--model", "lenet", "--out", scored],
        ["train", "digits", *SMALL, "--out", scored],
        ["demo", "--out", scored],
        ["keep", scored, "--by", "el2n", "--fraction", "0.5", "--out", scored],
    ):
        fails(capsys, words, 3, scored)
    assert tree(Path(scored)) == before
    Path("mine").mkdir()
    Path("mine/thesis.tex").touch()
    fails(capsys, ["score", "digits", *SMALL, "--out", "mine"], 3, "files that are not a run's")
    fails(capsys, ["train", "digits", *SMALL, "--out", "mine/thesis.tex"], 3, "is a file")


def test_scores_and_selections_of_other_data_are_refused(capsys, scored, kept):
    rows = "rows.npz"
    np.savez(rows, x=np.ones((9, 3), np.float32), y=np.arange(9) % 2)
    fails(capsys, ["train", rows, *SMALL, "--keep", kept, "--out", "t"], 3, "made for data")
    about = json.loads(Path(scored, "run.json").read_text())
    about["run"]["data"] = rows
    Path("moved").mkdir()
    Path("moved/run.json").write_text(json.dumps(about))
    Path("moved/scores.parquet").write_bytes(Path(scored, "scores.parquet").read_bytes())
    fails(capsys, ["report", "moved"], 3, "made for data")


def test_a_damaged_table_is_named(capsys, scored):
    whole = Path(scored, "scores.parquet").read_bytes()
    Path("scores.parquet").write_bytes(whole[: len(whole) // 2])
    words = ["keep", "scores.parquet", "--by", "el2n", "--fraction", "0.5", "--out", "half"]
    fails(capsys, words, 1, "scores.parquet", "score anew")
