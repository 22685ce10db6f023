"""`datapruner teacher`, and `train --teacher`: on the digits, from words to figures."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import datapruner as dp
from datapruner.cli import main
from datapruner.commands.teaching import Drawn, Teaching
from datapruner.distill_specs import DistillSpec
from datapruner.files import read_json

SMALL = ["--model", "mlp", "--lr", "0.05", "--epochs"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """Give a folder with a full run, what it says of everything, and a random tenth."""
    home = tmp_path_factory.mktemp("runs")
    assert main(["train", "digits", *SMALL, "8", "--out", str(home / "full")]) == 0
    words = ["teacher", "digits", "--run", str(home / "full"), "--out"]
    assert main([*words, str(home / "cached")]) == 0
    scored = ["score", "digits", "--scorers", "random", *SMALL, "1", "--out", str(home / "s")]
    assert main(scored) == 0
    keep = ["keep", str(home / "s"), "--by", "random", "--fraction", "0.1"]
    assert main([*keep, "--out", str(home / "tenth")]) == 0
    return home


def said(capsys, words: list[str], code: int = 0) -> str:
    capsys.readouterr()
    assert main(words) == code
    out, err = capsys.readouterr()
    return out if code == 0 else err.splitlines()[-1]


def test_from_a_run_to_cached_logits(capsys, runs):
    """Asked again, it is read; the line and the JSON say what there is."""
    words = ["teacher", "digits", "--run", str(runs / "full"), "--out", str(runs / "cached")]
    line = said(capsys, words)
    assert line.startswith(f"{runs / 'cached'}: 1,438 x 10 logits of {runs / 'full'}, of the plain")
    found = json.loads(said(capsys, [*words, "--json"]))
    assert (found["n"], found["classes"], found["views"]) == (1438, 10, 0)
    assert 0.9 < found["accuracy"] <= 1
    assert found == {"out": str(runs / "cached")} | read_json(runs / "cached" / "teacher.json")


def test_a_dry_run_asks_a_few_and_writes_nothing(capsys, runs, tmp_path):
    words = ["teacher", "digits", "--run", str(runs / "full"), "--out", str(tmp_path / "t")]
    views = ["--augment", "crop=1", "--views", "3", "--dry-run"]
    assert "4,314 examples to ask about, 0.1 MiB" in said(capsys, [*words, *views])
    assert json.loads(said(capsys, [*words, *views, "--json"]))["bytes"] == 3 * 1438 * 10 * 2
    assert not (tmp_path / "t").exists()


@pytest.mark.parametrize("kind", ["kl", "mse", "dkd"])
def test_a_student_on_a_kept_tenth(capsys, runs, tmp_path, kind):
    words = ["train", "digits", *SMALL, "30", "--keep", str(runs / "tenth"), "--json"]
    words += ["--lr", "0.005"] if kind == "dkd" else []  # whose gradients are large
    words += ["--teacher", str(runs / "cached"), "--distill-weight", "auto"]
    words += ["--distill-kind", kind] + ([] if kind == "mse" else ["--temperature", "4"])
    found = json.loads(said(capsys, [*words, "--out", str(tmp_path / "a")]))
    assert found["test_accuracy"] > (0.5 if kind == "dkd" else 0.7)
    assert found["run"]["distill"]["teacher"] == str(runs / "cached")
    about = read_json(tmp_path / "a" / "distill.json")
    assert about["kind"] == kind
    assert about["fraction"] == pytest.approx(0.1, abs=1e-3)
    assert 0.3 <= about["weight"] <= 1
    fingerprint = read_json(runs / "cached" / "teacher.json")["fingerprint"]
    assert read_json(tmp_path / "a" / "run.json")["fingerprints"]["teacher"] == fingerprint


def test_weight_0_gives_what_no_teacher_gives(capsys, runs):
    words = ["train", "digits", *SMALL, "3", "--rs2", "0.3", "--json"]
    plain = json.loads(said(capsys, words))
    zero = ["--teacher", str(runs / "full"), "--distill-weight", "0"]
    assert json.loads(said(capsys, [*words, *zero]))["test_accuracy"] == plain["test_accuracy"]


def test_a_dry_run_of_a_student_counts_its_steps(capsys, runs):
    words = ["train", "digits", *SMALL, "3", "--rs2", "0.3", "--dry-run", "--json"]
    found = json.loads(said(capsys, [*words, "--teacher", str(runs / "full")]))
    assert found["steps"] == 12


@pytest.mark.parametrize(
    ("words", "code", "part"),
    [
        (["--distill-weight", "0.5"], 2, "--distill-weight belongs to --teacher"),
        (["--distill-kind", "dkd"], 2, "--distill-kind belongs to --teacher"),
        (["--temperature", "4"], 2, "--temperature belongs to --teacher or to --by-score"),
        (["--teacher", "no/such"], 2, "no teacher 'no/such': no such folder"),
        (["--teacher", "{full},"], 2, "names no teacher"),
        (["--teacher", "{full}", "--distill-weight", "2"], 2, "must be in [0, 1] or auto, not 2"),
        (["--teacher", "{full}", "--distill-weight", "half"], 2, "must be auto or in [0, 1]"),
        (["--teacher", "{full}", "--temperature", "0"], 2, "temperature must be above 0"),
        (["--teacher", "{full}", "--distill-kind", "mse", "--temperature", "2"], 2, "leave it out"),
        (["--teacher", "{cached}", "--augment", "crop=1"], 3, "but this run augments them"),
        (["--teacher", "lenet@{full}/model.safetensors"], 3, "weights of another network"),
        (
            [
                *[
                    "--teacher",
                    "{full}",
                    "--temperature",
                    "2",
                    "--by-score",
                    "el2n",
                    "--fraction",
                    "0.5",
                ]
            ],
            2,
            "--temperature could be that of --teacher or of --by-score",
        ),
    ],
)
def test_wrong_words_are_refused_in_a_line_before_any_work(
    capsys, runs, tmp_path, words, code, part
):
    filled = [word.format(full=runs / "full", cached=runs / "cached") for word in words]
    out = tmp_path / "out"
    line = said(capsys, ["train", "digits", *SMALL, "1", "--out", str(out), *filled], code)
    assert line.startswith("datapruner: ")
    assert part in line
    assert not out.exists()


def test_the_temperature_is_that_of_what_is_there():
    warm = Teaching(temperature=3.0)
    assert Drawn(by_score="el2n", fraction=0.5).shared(warm).spec().temperature == 3.0
    taught = Teaching(teacher="t", temperature=3.0)
    assert taught.spec().temperature == 3.0
    assert Drawn(rs2=0.1).shared(taught).spec().fraction == 0.1
    assert Drawn(by_score="el2n", fraction=0.5).shared(Teaching()).spec().temperature == 1.0


def test_a_record_learns_from_the_teacher_of_its_run(tmp_path: Path) -> None:
    data, run = dp.open_data("digits"), dp.Run(model="mlp", epochs=2, lr=0.05)
    dp.train(run, data, out=tmp_path / "full")
    spec = DistillSpec(str(tmp_path / "full"), weight=1.0)
    plain, taught = dp.record(data, run), dp.record(data, replace(run, distill=spec))
    assert taught.run_id != plain.run_id
    # traces are of the plain label, so the first batch, before any step, shows the same
    first, second = plain.trace("loss"), taught.trace("loss")
    assert 0 < int((first[0] == second[0]).sum()) < data.n
    assert not torch.equal(first[1], second[1])
