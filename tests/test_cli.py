"""The commands as somebody types them: what they print and what they write."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import datapruner as dp
from datapruner.cli import COMMANDS, main
from scorers import SCORERS

SMALL = ["--model", "mlp", "--epochs", "2", "--lr", "0.05"]
PROGRAM = "import sys; from datapruner.cli import main; code = main(sys.argv[1:])"


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


@pytest.fixture(scope="module")
def rows(tmp_path_factory) -> str:
    """Give a small .npz of features, no pictures; the class is the sign of their sum."""
    file = tmp_path_factory.mktemp("rows") / "rows.npz"
    x = np.random.default_rng(0).normal(size=(300, 6)).astype(np.float32)
    np.savez(file, x=x, y=(x.sum(1) > 0).astype(np.int64))
    return str(file)


# -- work that is done ---------------------------------------------------------------------------


def test_score_writes_a_table_of_these_data_and_a_page(scored):
    assert {p.name for p in Path(scored).iterdir()} == {
        "run.json",
        "record",
        "embedding-recorded.npy",
        "embedding-recorded.json",
        "neighbours.json",
        "scores.parquet",
        "report.html",
    }
    data = dp.open_data("digits")
    table = dp.Scores.load(Path(scored, "scores.parquet"), data=data)
    assert list(table) == ["el2n", "forgetting", "prototypes", "random"]
    record = dp.Record(Path(scored, "record", "seed-0"))
    again = dp.score(record, ["el2n", "forgetting"], data=data)
    for name in again:
        assert (table[name] == again[name]).all()
    embedding = np.load(Path(scored, "embedding-recorded.npy"))
    expected = dp.score({"embedding": embedding}, "prototypes", options={"prototypes": {"k": 10}})
    assert (table["prototypes"] == expected["prototypes"]).all()


def test_score_again_does_nothing_again(capsys, scored):
    before = {k: v for k, v in tree(Path(scored)).items() if "record" in k or "embedding" in k}
    table = Path(scored, "scores.parquet").read_bytes()
    words = ["score", "digits", "--scorers", "el2n", "forgetting", "prototypes", "random"]
    assert main([*words, *SMALL, "--out", scored, "--json"]) == 0
    after = {k: v for k, v in tree(Path(scored)).items() if "record" in k or "embedding" in k}
    assert after == before
    assert Path(scored, "scores.parquet").read_bytes() == table
    said = json.loads(capsys.readouterr().out)
    assert said["table"] == f"{scored}/scores.parquet"
    assert [s["score"] for s in said["scores"]] == ["el2n", "forgetting", "prototypes", "random"]


def test_of_two_calls_on_one_folder_the_second_waits(scored, monkeypatch):
    """Two that record into one folder at once would mix their rows."""
    fcntl = pytest.importorskip("fcntl")
    other = [os.open(Path(scored, "run.json"), os.O_RDWR)]
    fcntl.flock(other[0], fcntl.LOCK_EX)

    def say(console, text):
        if "another process works in it" in text:
            os.close(other.pop())  # it is done

    monkeypatch.setattr("datapruner.console.Console.say", say)
    assert main(["score", "digits", "--scorers", "el2n", *SMALL, "--out", scored]) == 0
    assert not other


def test_what_needs_no_training_trains_nothing(capsys):
    assert (
        main(["score", "digits", "--scorers", "random", "--model", "resnet18", "--out", "r"]) == 0
    )
    assert sorted(p.name for p in Path("r").iterdir()) == [
        "report.html",
        "run.json",
        "scores.parquet",
    ]
    words = ["score", "digits", "--scorers", "prototypes", "--encoder", "lenet", "--out", "e"]
    assert main(words) == 0
    assert not Path("e/record").exists()
    assert np.load("e/embedding-lenet.npy").shape == (1438, 84)


def test_several_seeds_go_into_one_table():
    words = ["score", "digits", "--scorers", "el2n", "aum", "--seeds", "2", *SMALL, "--out", "s"]
    assert main(words) == 0
    table = dp.Scores.load("s/scores.parquet")
    assert table.runs["aum"].shape == (2, 1438)
    np.testing.assert_allclose(table["aum"], table.runs["aum"].mean(0), rtol=1e-5, atol=1e-6)
    assert (table.runs["aum"][0] != table.runs["aum"][1]).any()


def test_keep_and_train_are_a_chain(capsys, kept):
    selection = dp.Selection.load(kept)
    assert len(selection) == 719
    capsys.readouterr()
    assert main(["train", "digits", *SMALL, "--keep", kept, "--json", "--out", "t"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["examples"], result["steps"]) == (1438, 12)
    assert result["run"]["sampler"] == {"folder": kept}
    assert 0.1 < result["test_accuracy"] < 1
    assert main(["train", "digits", *SMALL, "--keep", kept, "--json", "--out", "t"]) == 0
    assert json.loads(capsys.readouterr().out) == result  # read, not trained
    assert main(["train", "digits", *SMALL, "--rs2", "0.1", "--stratified"]) == 0
    line = capsys.readouterr().out
    assert "test accuracy" in line
    assert "288 examples seen, 4 steps" in line


def test_keep_says_and_exports_what_it_kept(capsys, scored):
    words = ["keep", scored, "--by", "el2n", "--k", "7", "--rule", "bottom"]
    assert main([*words, "--out", "seven", "--export", "seven.txt", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["kept"], said["rule"], said["score"]) == (7, "bottom", "el2n")
    scores = dp.Scores.load(Path(scored, "scores.parquet"))["el2n"]
    least = sorted(np.argsort(scores, kind="stable")[:7].tolist())
    assert [int(i) for i in Path("seven.txt").read_text().split()] == least
    assert dp.Selection.load("seven").indices.tolist() == least
    assert main([*words, "--out", "seven"]) == 0  # the same again is no other selection


@pytest.mark.parametrize(
    "words",
    [
        ["score", "digits", *SMALL, "--out", "x"],
        ["score", "digits", "--scorers", "random", "--out", "x"],
        ["train", "digits", *SMALL, "--out", "x"],
        ["train", "digits", *SMALL, "--rs2", "0.1", "--out", "x"],
        ["demo", "--out", "x"],
        ["keep", "SCORED", "--by", "el2n", "--fraction", "0.5", "--out", "x"],
        ["report", "SCORED"],
    ],
)
@pytest.mark.parametrize("form", [[], ["--json"]])
def test_a_dry_run_writes_nothing_and_says_what_it_would_take(capsys, scored, words, form):
    before = tree(Path(scored))
    words = [scored if word == "SCORED" else word for word in words]
    assert main([*words, "--dry-run", *form]) == 0
    said = capsys.readouterr().out
    assert said.count("\n") == 1
    if form:
        assert json.loads(said)
    assert list(Path().iterdir()) == []
    assert tree(Path(scored)) == before


def test_rows_of_features_go_the_whole_way(capsys, rows):
    words = ["--model", "mlp", "--epochs", "4", "--lr", "0.05", "--batch-size", "32"]
    assert main(["score", rows, *words, "--scorers", "el2n", "prototypes", "--out", "s"]) == 0
    assert "<svg" in Path("s/report.html").read_text()
    words = ["keep", "s", "--by", "el2n", "--fraction", "0.5", "--rule", "ccs", "--out", "half"]
    assert main(words) == 0
    capsys.readouterr()
    assert main(["train", rows, "--model", "mlp", "--keep", "half", "--json"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["test_accuracy"] is None
    assert "no test accuracy" in said.err


def test_report_writes_the_page_again(capsys, scored):
    page = Path(scored, "report.html")
    whole = page.read_text()
    page.unlink()
    capsys.readouterr()
    assert main(["report", scored]) == 0
    assert capsys.readouterr().out.strip() == str(page)
    assert page.read_text() == whole


def test_scorers_lists_them_and_tells_one(capsys):
    assert main(["scorers"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(SCORERS)
    assert main(["scorers", "--json"]) == 0
    assert [row["name"] for row in json.loads(capsys.readouterr().out)] == list(SCORERS)
    assert main(["scorers", "el2n"]) == 0
    assert "clean" in capsys.readouterr().out
    assert main(["scorers", "el2n", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["needs"] == ["error_norm"]


# -- the program ---------------------------------------------------------------------------------


def test_help_of_every_command_imports_no_torch():
    check = "assert code == 0; assert 'torch' not in sys.modules; print('light')"
    program = "import sys; from datapruner.cli import main"
    for command in ("", *COMMANDS):
        words = [command, "--help"] if command else ["--help"]
        program += f"; code = main({words!r}); {check}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("light\n") == len(COMMANDS) + 1
    for command in COMMANDS:
        assert f"usage: datapruner {command}" in done.stdout


def test_nobody_reading_the_output_is_no_error():
    program = PROGRAM + "; sys.exit(code)"
    command = [sys.executable, "-c", program, "scorers", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 0


def test_debug_shows_where_a_fault_is(capsys):
    with pytest.raises(dp.UsageError):
        main(["scorers", "el2m", "--debug"])
    assert main(["scorers", "el2m"]) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_the_version_and_the_module_as_a_program(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"datapruner {dp.__version__}\n"
    words = [sys.executable, "-m", "datapruner"]
    done = subprocess.run([*words, "--version"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, f"datapruner {dp.__version__}\n")
    done = subprocess.run([*words, "tran"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "train" in done.stderr
