"""Published score files: their columns, their order and their sign against labels and data."""

import json

import numpy as np
import pytest

import datapruner as dp
from datapruner.cli import main
from datapruner.errors import PrunerError, Refused, UsageError
from datapruner.published import align, hardness_hint, import_scores, read_published

DIGITS = dp.open_data("digits")
LABELS = DIGITS.labels.numpy()
RNG = np.random.default_rng(1)
VALUES = RNG.normal(size=DIGITS.n)
BY_CLASS = np.argsort(LABELS, kind="stable")


def write_csv(path, columns):
    rows = zip(*columns.values(), strict=True)
    lines = [",".join(columns), *(",".join(map(str, row)) for row in rows)]
    path.write_text("\n".join(lines) + "\n")
    return path


# columns


def test_an_array_is_one_column_and_needs_an_order(tmp_path):
    np.save(tmp_path / "el2n.npy", VALUES)
    found = read_published(tmp_path / "el2n.npy")
    assert (found.column, found.labels, found.index) == ("el2n", None, None)
    with pytest.raises(UsageError, match="--order"):
        align(found, DIGITS)
    values, order, checked = align(found, DIGITS, "data")
    assert np.array_equal(values, VALUES)
    assert (order, checked) == ("data", False)


def test_a_csv_finds_its_labels_and_indices_and_asks_which_score(tmp_path):
    columns = {"idx": BY_CLASS, "label": LABELS[BY_CLASS], "mem": VALUES[BY_CLASS]}
    found = read_published(write_csv(tmp_path / "a.csv", columns))
    assert found.column == "mem"
    values, order, checked = align(found, DIGITS)
    np.testing.assert_allclose(values, VALUES)
    assert (order, checked) == ("index", True)
    path = write_csv(tmp_path / "b.csv", {**columns, "infl": VALUES})
    with pytest.raises(UsageError, match="mem, infl"):
        read_published(path)
    assert read_published(path, "infl").column == "infl"
    with pytest.raises(UsageError, match="no column 'inl'"):
        read_published(path, "inl")


def test_other_shapes_of_file(tmp_path):
    two = np.stack([VALUES, -VALUES], 1)
    np.save(tmp_path / "two.npy", two)
    assert np.array_equal(read_published(tmp_path / "two.npy", "1").values, -VALUES)
    np.savez(tmp_path / "c.npz", scores=VALUES, labels=LABELS, matrix=two)
    assert read_published(tmp_path / "c.npz").labels is not None
    (tmp_path / "plain.csv").write_text("0.5\n0.25\n")
    assert read_published(tmp_path / "plain.csv").values.tolist() == [0.5, 0.25]
    (tmp_path / "named.tsv").write_text("file\tscore\na.png\t1\nb.png\t2\n")
    assert read_published(tmp_path / "named.tsv").values.tolist() == [1.0, 2.0]


@pytest.mark.parametrize(
    ("name", "text", "error", "says"),
    [
        ("a.csv", "label,score\n0,1\n0\n", PrunerError, "numbers of columns"),
        ("a.csv", "label,score\n0,hard\n", UsageError, "which is the score"),
        ("a.csv", "label,score\n0.5,1\n", UsageError, "whole numbers"),
        ("a.npy", "no array", PrunerError, "not readable"),
        ("a.npy", "", PrunerError, "not readable"),
        ("a.npz", "PK\x03\x04, and no more", PrunerError, "not readable"),
        ("a.csv", "a,b,a\n1,2,3\n", PrunerError, "two of its columns are called 'a'"),
        ("a.txt", "1", UsageError, "are read from"),
        ("nowhere/a.csv", None, PrunerError, "no such file"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path, name, text, error, says):
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(error, match=says):
        read_published(tmp_path / name)


@pytest.mark.parametrize(("head", "cell"), [("label", "cat"), ("index", "nan"), ("index", "inf")])
def test_labels_and_indices_that_are_no_numbers_are_named(tmp_path, head, cell):
    file = tmp_path / "a.csv"
    file.write_text(f"{head},score\n{cell},1\n0,2\n")
    with pytest.raises(UsageError, match=f"column '{head}' does not hold whole numbers"):
        read_published(file, "score", "label" if head == "label" else None)


def test_arrays_of_objects_are_not_unpickled(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(PrunerError, match="not readable"):
        read_published(tmp_path / "a.npy")


# order


def test_class_order_is_proved_by_labels_and_undone(tmp_path):
    np.savez(tmp_path / "c.npz", scores=VALUES[BY_CLASS], labels=LABELS[BY_CLASS])
    found = read_published(tmp_path / "c.npz")
    values, order, checked = align(found, DIGITS)
    assert np.array_equal(values, VALUES)
    assert (order, checked) == ("class", True)
    with pytest.raises(Refused, match="--order class fits"):
        align(found, DIGITS, "data")


def test_labels_of_other_data_are_refused(tmp_path):
    np.savez(tmp_path / "c.npz", scores=VALUES, labels=RNG.permutation(LABELS))
    with pytest.raises(Refused, match="other data or of another order"):
        align(read_published(tmp_path / "c.npz"), DIGITS)
    np.save(tmp_path / "short.npy", VALUES[:-1])
    with pytest.raises(Refused, match="1,437 rows"):
        align(read_published(tmp_path / "short.npy"), DIGITS, "data")
    write_csv(tmp_path / "i.csv", {"index": np.zeros(DIGITS.n, int), "score": VALUES})
    with pytest.raises(Refused, match="each once"):
        align(read_published(tmp_path / "i.csv"), DIGITS)


# sign


def test_easy_scores_are_turned_and_the_table_says_how_it_came_about(tmp_path):
    np.savez(tmp_path / "c.npz", scores=VALUES, labels=LABELS)
    table = import_scores(tmp_path / "c.npz", DIGITS, name="c_score", high="easy")
    np.testing.assert_allclose(table["c_score"], -VALUES, rtol=1e-6)
    made = table.meta["scores"]["c_score"]
    assert (made["high_in_the_file"], made["order"]) == ("easy", "data")
    assert made["order_checked_by_labels"] is True
    assert table.fingerprint == DIGITS.fingerprint
    np.save(tmp_path / "n.npy", np.where(np.arange(DIGITS.n) == 7, np.nan, VALUES))
    with pytest.raises(UsageError, match="first that of example 7"):
        import_scores(tmp_path / "n.npy", DIGITS, name="a", high="hard", order="data")


@pytest.fixture(scope="module")
def el2n():
    record = dp.record(DIGITS, dp.Run(model="mlp", epochs=3, lr=0.05))
    return dp.score(record, "el2n", data=DIGITS)["el2n"]


def test_a_real_score_shows_its_sign_and_chance_shows_none(el2n):
    assert hardness_hint(el2n, DIGITS) > 0.1
    assert hardness_hint(-el2n, DIGITS) < -0.1
    assert hardness_hint(VALUES, DIGITS) is None


def test_the_command_warns_of_a_wrong_sign_and_adds_to_a_table(el2n, tmp_path, capsys):
    np.save(tmp_path / "e.npy", el2n)
    words = ["import", str(tmp_path / "e.npy"), "digits", "--order", "data", "--out"]
    words += [str(tmp_path / "out")]
    assert main([*words, "--name", "right", "--high", "hard"]) == 0
    assert "careful" not in capsys.readouterr().err
    assert main([*words, "--name", "wrong", "--high", "easy", "--json"]) == 0
    said = capsys.readouterr()
    assert "is high really easy" in said.err
    assert json.loads(said.out)["hint"] < 0
    table = dp.Scores.load(tmp_path / "out/scores.parquet", data=DIGITS)
    assert list(table) == ["right", "wrong"]
    assert main([*words[:-2], "--name", "x"]) == 2
