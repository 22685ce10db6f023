"""How the command line words what it cannot read, what the system refuses, and its help."""

import errno
import json
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from datapruner import cli
from datapruner.cli import COMMANDS, main
from datapruner.errors import UsageError
from datapruner.report import Result, write_results
from datapruner.typed import typed


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


KEEP = ["keep", "x", "--by", "el2n", "--out", "y"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([*KEEP, "--fraction", "10%"], "--fraction must be a number such as 0.1, not '10%'"),
        ([*KEEP, "--k", "3.5"], "--k must be a whole number, not '3.5'"),
        ([*KEEP, "--beta", "most"], "--beta must be a number such as 0.1, or auto, not 'most'"),
        (["train", "digits", "--epochs", "two"], "--epochs must be a whole number, not 'two'"),
        (["train", "digits", "--lr", "high"], "--lr must be a number such as 0.1, not 'high'"),
        (
            ["race", "digits", "--out", "y", "--fraction", "10%"],
            "--fraction cannot be read from '10%'",
        ),
        (["train", "digits", "--keep"], "--keep needs a value"),
        (["train"], "Missing: DATA"),
        (["keep"], "Missing: SCORES, --by, --out"),
        (["sweep", "--out", "y"], "Missing: GRID.yaml"),
    ],
)
@pytest.mark.parametrize("lines", ["utf-8", "ascii"])
def test_what_cannot_be_read_is_told_in_plain_words(capsys, monkeypatch, words, said, lines):
    monkeypatch.setenv("PYTHONIOENCODING", lines)  # with which boxes are drawn, or are not
    assert main(words) == 2
    line = f"datapruner: {said}; see datapruner {words[0]} --help\n"
    assert capsys.readouterr().err == line


def test_the_list_of_commands_has_a_sentence_of_each(capsys):
    assert main(["--help"]) == 0
    said = capsys.readouterr().out
    assert len(said.splitlines()) < 4 * len(COMMANDS)
    assert "Rank the examples of a training set" in said
    assert "an interrupted run goes on" not in said
    assert main(["score", "--help"]) == 0
    assert "an interrupted run goes on" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("kind", "run", "arm", "there", "absent"),
    [
        ("demo", {}, "all data", "A toy: 1,438 digits", "in their seconds"),
        ("race", {}, "all data", "Every arm trains the same network", "in their seconds"),
        ("race", {"steps": 9}, "kept: half", "is not in their seconds", "over its own steps"),
    ],
)
def test_report_says_again_what_the_command_said_beside_its_results(kind, run, arm, there, absent):
    about = {"kind": kind, "id": "0", "run": {"data": "digits"} | run, "fingerprints": {}}
    Path("out").mkdir()
    Path("out/run.json").write_text(json.dumps(about))
    write_results("out/results.json", [Result(arm, 0, 0.9, 100, 10, 1.0)])
    assert main(["report", "out"]) == 0
    page = Path("out/report.html").read_text()
    assert there in page
    assert absent not in page


@pytest.mark.parametrize("kind", ["train", "lottery", "another program"])
@pytest.mark.parametrize("form", [[], ["--dry-run"]])
def test_a_run_without_a_page_gets_none(capsys, tmp_path, kind, form):
    about = {"run": {"data": "digits"}} | ({} if " " in kind else {"kind": kind})
    (tmp_path / "run.json").write_text(json.dumps(about))
    assert main(["report", str(tmp_path), *form]) == 1
    line = f"is of {kind}, which has no page; give the --out of score, demo, race or sweep\n"
    assert capsys.readouterr().err.endswith(line)
    assert [p.name for p in tmp_path.iterdir()] == ["run.json"]


@pytest.mark.parametrize(
    ("holds", "said"),
    [("run.json", "holds a run of train"), ("notes.txt", "holds files that are not a pilot's")],
)
def test_a_pilot_leaves_the_folder_of_something_else_alone(capsys, tmp_path, holds, said):
    (tmp_path / holds).write_text(json.dumps({"kind": "train"}))
    assert main(["advise", "digits", "--out", str(tmp_path), "--model", "mlp"]) == 3
    assert f"{said}; give another --out" in capsys.readouterr().err
    assert main(["advise", "digits", "--out", str(tmp_path / holds)]) == 3
    assert "is a file; give another --out" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == [holds]


@pytest.mark.parametrize("command", ["convert", "import"])
def test_what_would_be_written_is_json_where_that_is_asked_for(capsys, tmp_path, command):
    np.save("s.npy", np.zeros(1438, dtype=np.float32))
    words = ["convert", "digits", "d.beton"]
    if command == "import":
        words = ["import", "s.npy", "digits", "--name", "a", "--high", "hard", "--out", "y"]
        words += ["--order", "data"]
    assert main([*words, "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["n"] == 1438
    assert [p.name for p in tmp_path.iterdir()] == ["s.npy"]


def test_nothing_to_keep_is_refused(capsys):
    assert main([*KEEP, "--k", "0"]) == 2
    assert "k must be at least 1, not 0" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("number", "do"),
    [
        (errno.ENOSPC, "make room, or give another place"),
        (errno.EACCES, "see to its permissions, or give another place"),
        (errno.ENOENT, "check the path"),
    ],
)
def test_what_the_system_refuses_says_where_and_what_to_do(capsys, monkeypatch, number, do):
    def refused(*args, **options):
        raise OSError(number, "that does not go", "runs/.half.my-host-77.partial/indices.npy")

    monkeypatch.setattr("datapruner.scores.Scores.load", refused)
    monkeypatch.setattr("pathlib.Path.exists", lambda path: True)
    assert main([*KEEP, "--k", "3"]) == 1
    said = capsys.readouterr().err
    assert said == f"datapruner: runs/half/indices.npy: that does not go; {do}\n"


@pytest.mark.parametrize("command", ["score", "select", "lottery"])
def test_a_command_with_a_folder_of_its_own_goes_on_there(capsys, monkeypatch, command):
    def broken(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("datapruner.data.open_data", broken)
    words = ["--rewind", "0"] if command == "lottery" else ["--k", "3"]
    words = [] if command == "score" else words
    assert cli.main([command, "digits", *words]) == 130
    assert capsys.readouterr().err.endswith("the same command goes on from here\n")


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (int | None, "a whole number"),
        (float | Literal["auto"], "a finite number or auto"),
        (int | str | None, "a whole number or text"),
    ],
)
def test_a_value_of_another_type_is_told_without_pythons_names(kind, said):
    with pytest.raises(UsageError, match=f"^x must be {said}, not \\[1\\]$"):
        typed("x", kind, [1])
    with pytest.raises(UsageError, match="known: a, b$"):
        typed("x", Literal["a", "b"], "none")


@pytest.mark.parametrize("there", [True, False])
def test_a_score_that_could_not_begin_leaves_its_folder_as_it_was(tmp_path, there):
    if there:
        (tmp_path / "out").mkdir()
    words = ["score", "digits", "--model", "json:dumps", "--out", str(tmp_path / "out")]
    assert main(words) == 1
    assert [p.name for p in tmp_path.rglob("*")] == ["out"] * there
