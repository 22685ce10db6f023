"""What a command says while it works, on a terminal and elsewhere; and how it is broken off."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import datapruner as dp
from datapruner import training
from datapruner.cli import main
from datapruner.console import Console
from datapruner.doctor import Check


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_elsewhere_progress_is_a_line_now_and_then():
    stream = io.StringIO()
    with Console(stream, every=3600) as console:
        console.say("scoring [digits]")
        for done in range(1, 100):
            console.progress("epoch 1", done, 99)
    assert stream.getvalue() == "scoring [digits]\n"
    with Console(stream, every=0) as console:
        console.within("seed 1, ")("epoch 2", 1234, 2468)
        console.progress("nothing", 0, 0)
    assert stream.getvalue().splitlines()[1:] == [
        "seed 1, epoch 2: 1,234 of 2,468 (50 %)",
        "nothing: 0 of 0 (0 %)",
    ]


def test_on_a_terminal_it_is_a_bar(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    with Console(stream) as console:
        console.progress("epoch 1", 1, 2)
        console.say("scoring [digits]")
        console.progress("epoch 2", 2, 2)
    said = stream.getvalue()
    assert "epoch 1" in said
    assert "epoch 2" in said
    assert "scoring [digits]" in said  # brackets are no markup
    assert "\x1b[" in said


@pytest.mark.parametrize(
    ("words", "where"),
    [
        (["train", "digits"], "from the start"),
        (["train", "digits", "--out", "t"], "from here"),
        (["train", "digits", "--out=t"], "from here"),
    ],
)
def test_broken_off_it_says_where_the_same_command_goes_on(
    capsys, tmp_path, monkeypatch, words, where
):
    def broken(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(training, "fit", broken)
    assert main([*words, "--model", "mlp"]) == 130
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == f"datapruner: interrupted; the same command goes on {where}"


def test_a_fault_of_our_own_is_one_line(capsys, tmp_path, monkeypatch):
    def broken(*args, **options):
        raise ZeroDivisionError("of\nall things")

    monkeypatch.setattr(training, "fit", broken)
    assert main(["train", "digits", "--model", "mlp"]) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("datapruner: a fault of datapruner: ZeroDivisionError: of all things")
    with pytest.raises(ZeroDivisionError):
        main(["train", "digits", "--model", "mlp", "--debug"])


def test_doctor_ends_well_whatever_it_finds(capsys, monkeypatch):
    bad = Check("torch", False, "not there", "pip install torch")
    monkeypatch.setattr("datapruner.commands.doctor.checks", lambda: [bad])
    assert main(["doctor"]) == 0
    assert "pip install torch" in capsys.readouterr().out
    assert main(["doctor", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["name"] == "torch"


def test_pictures_that_do_not_decode_are_counted_and_left_out(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for label in ("cat", "dog"):
        (tmp_path / "pets" / label).mkdir(parents=True)
        for i in range(20):
            shade = rng.integers(0, 100, (12, 12, 3)) + (100 if label == "dog" else 0)
            picture = Image.fromarray(shade.astype(np.uint8))
            picture.save(tmp_path / "pets" / label / f"{i:02}.png")
    Path("pets/dog/03.png").write_bytes(b"no picture")
    small = ["--model", "lenet", "--epochs", "2", "--batch-size", "13"]
    words = ["score", "pets", "--scorers", "el2n", "prototypes", *small, "--out", "s"]
    assert main(words) == 0
    assert "1 do not decode and are left out" in capsys.readouterr().err
    table = dp.Scores.load("s/scores.parquet")
    assert table.flags["unreadable"].nonzero()[0].tolist() == [23]
    assert np.isnan(table["el2n"]).nonzero()[0].tolist() == [23]
    keep = ["keep", "s", "--by", "el2n", "--fraction", "1", "--out", "all", "--json"]
    assert main(keep) == 0
    assert json.loads(capsys.readouterr().out)["kept"] == 39
    assert main(["train", "pets", *small, "--keep", "all", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["examples"] == 2 * 39
    assert main([*words[:-1], "t", "--strict"]) == 1
    assert "03.png" in capsys.readouterr().err.splitlines()[-1]
    assert not Path("t").exists()
