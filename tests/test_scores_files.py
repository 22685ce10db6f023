"""The table of scores: its columns, its file, and what it refuses."""

import json

import numpy as np
import pytest
from pyarrow import parquet
from random_record import LABELS, data_of

from datapruner.errors import PrunerError, Refused, UsageError
from datapruner.scores import Scores, score
from datapruner.selection import keep


def test_a_table_is_a_mapping(recorded):
    table = score(recorded(), ["aum", "loss"])
    assert len(table) == 2
    assert "aum" in table
    assert "el2n" not in table
    assert dict(table.items()).keys() == {"aum", "loss"}
    assert table.get("el2n") is None
    with pytest.raises(UsageError, match="no score 'amu' in the table; did you mean 'aum'"):
        table["amu"]
    with pytest.raises(KeyError):
        table["amu"]
    with pytest.raises(UsageError):
        table.spread("amu")
    with pytest.raises(UsageError, match="length"):
        Scores({"a": [1.0], "b": [1.0, 2.0]})
    with pytest.raises(UsageError, match="length"):
        Scores({"a": [1.0]}, flags={"odd": [True, False]})


def test_saved_and_loaded_it_is_the_same(recorded, tmp_path):
    records = [recorded(seed, unreadable=[2]) for seed in (3, 1)]
    one = score(records, ["aum", "el2n"], data=data_of(), readable=records[0].readable)
    one.flags["suspect_label"] = np.arange(5) == 4
    one.save(tmp_path / "scores.parquet")
    two = Scores.load(tmp_path / "scores.parquet", data_of())
    assert list(two) == list(one)
    assert two.meta == one.meta
    assert two.meta["fingerprint"] == "00ff"
    assert two.meta["classes"] == ["a", "b", "c"]
    for name in one:
        assert np.array_equal(one[name], two[name], equal_nan=True)
        assert np.array_equal(one.runs[name], two.runs[name], equal_nan=True)
        assert np.array_equal(one.spread(name), two.spread(name), equal_nan=True)
    assert (two.labels == one.labels).all()
    assert {k: v.tolist() for k, v in two.flags.items()} == {
        k: v.tolist() for k, v in one.flags.items()
    }
    two.flags["mine"] = two["aum"] > 0  # what is loaded can be worked with
    two["aum"][0] = 1.0


def test_the_file_is_as_it_is_documented(recorded, tmp_path):
    score([recorded(3), recorded(1)], ["aum"], data=data_of()).save(tmp_path / "s.parquet")
    table = parquet.read_table(tmp_path / "s.parquet")
    assert [f"{f.name} {f.type}" for f in table.schema] == [
        "index int64",
        "label int64",
        "score.aum float",
        "stderr.aum float",
        "run.3.aum float",
        "run.1.aum float",
    ]
    assert table["index"].to_pylist() == [0, 1, 2, 3, 4]
    meta = json.loads(table.schema.metadata[b"datapruner"])
    assert {"data": "toy", "fingerprint": "00ff"}.items() <= meta.items()
    assert meta["scores"]["aum"]["seeds"] == [3, 1]
    assert "torch" in meta["versions"]


def test_the_same_scores_make_the_same_file(recorded, tmp_path):
    for name in ("a", "b"):
        score(recorded(), ["aum", "el2n"]).save(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_files_of_other_data_are_refused(recorded, tmp_path):
    path = tmp_path / "s.parquet"
    score(recorded(), ["aum"]).save(path)
    with pytest.raises(Refused, match="s.parquet: made for data 00ff .*11ff") as caught:
        Scores.load(path, data_of(fingerprint="11ff"))
    assert caught.value.exit_code == 3
    score({"margin": np.ones((2, 5)), "labels": LABELS}, ["aum"]).save(path)  # of unknown data
    Scores.load(path, data_of())
    with pytest.raises(Refused, match="labels"):
        Scores.load(path, data_of(labels=LABELS.flip(0)))
    with pytest.raises(Refused):
        Scores.load(path, data_of(n=6))


def test_damaged_files_are_named(recorded, tmp_path):
    path = tmp_path / "scores.parquet"
    with pytest.raises(PrunerError, match="no such file; check"):
        Scores.load(path)
    score(recorded(n=500), ["aum"]).save(path)
    with pytest.raises(PrunerError, match="did you mean .*scores.parquet"):
        Scores.load(tmp_path)
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 4] ^= 255
    for damaged in (whole[:-20], whole[:100], b"", b"rubbish", bytes(flipped)):
        path.write_bytes(damaged)
        with pytest.raises(PrunerError, match="scores.parquet: damaged") as caught:
            Scores.load(path)
        assert "\n" not in str(caught.value)
    parquet.write_table(parquet.read_table(_plain(tmp_path)), path)
    with pytest.raises(PrunerError, match="not a table of scores"):
        Scores.load(path)
    score(recorded(), ["aum"]).save(path)
    shuffled = parquet.read_table(path).take([1, 0, 2, 3, 4])
    parquet.write_table(shuffled, path)
    with pytest.raises(PrunerError, match="order"):
        Scores.load(path)


def _plain(folder):
    import pyarrow as pa

    parquet.write_table(pa.table({"score.x": [1.0]}), folder / "plain.parquet")
    return folder / "plain.parquet"


def test_merge_adds_columns_of_the_same_data(recorded):
    one = score([recorded(0), recorded(1)], ["aum", "loss"], data=data_of())
    two = score(recorded(2), ["loss", "el2n"], data=data_of())
    both = one.merge(two)
    assert list(both) == ["aum", "loss", "el2n"]
    assert (both["loss"] == two["loss"]).all()
    assert both.spread("aum") is not None
    assert both.spread("loss") is None  # of the one run it is from now
    assert both.meta["scores"]["loss"]["seeds"] == [2]
    assert both.meta["scores"]["aum"]["seeds"] == [0, 1]
    with pytest.raises(Refused, match="different data"):
        one.merge(score(recorded(2, fingerprint="11ff"), ["loss"]))


def test_a_selection_says_what_it_was_made_from(recorded):
    table = score(recorded(), ["aum"], data=data_of())
    meta = keep(table["aum"], k=2, about=table.about("aum")).meta
    assert (meta["score"], meta["fingerprint"], meta["data"]) == ("aum", "00ff", "toy")
    assert meta["made"]["seeds"] == [0]
