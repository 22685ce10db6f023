"""score() and the table: sources found by name, several runs, unreadable examples, files."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pyarrow import parquet
from toy_record import toy_record

from datapruner.errors import PrunerError, Refused, UsageError
from datapruner.recorder import Recorder
from datapruner.scores import Scores, score
from datapruner.selection import keep
from datapruner.traces import Record
from scorers import BUDGETED, PASS, SCORERS

NAN = float("nan")
LABELS = torch.tensor([0, 1, 2, 0, 1])


@pytest.fixture
def recorded(tmp_path_factory):
    """Give a function that makes a small record in a new folder."""

    def make(seed=0, n=5, fingerprint="00ff", unreadable=()):
        path = tmp_path_factory.mktemp("record") / "run"
        return random_record(path, seed, n, fingerprint, unreadable)

    return make


def random_record(path, seed, n, fingerprint, unreadable) -> Record:
    """Record three epochs of random logits, and a clean pass of other ones after epoch 0."""
    rng = torch.Generator().manual_seed(seed)
    about = {"seed": seed, "fingerprint": fingerprint, "run": "run", "model_hash": f"hash-{seed}"}
    recorder = Recorder(n, path, about=about | {"unreadable": list(unreadable)})
    seen = torch.tensor([i for i in range(n) if i not in unreadable])
    labels = LABELS.repeat(n)[:n][seen]
    for epoch in range(3):
        recorder.observe(epoch, seen, torch.randn(len(seen), 3, generator=rng), labels)
        recorder.end_epoch(epoch)
        if epoch == 0:
            logits = torch.randn(len(seen), 3, generator=rng)
            recorder.observe(epoch, seen, logits, labels, clean=True)
            recorder.end_clean()
    return recorder.close()


def data_of(n=5, fingerprint="00ff", labels=LABELS):
    return SimpleNamespace(
        n=n,
        fingerprint=fingerprint,
        name="toy",
        labels=labels,
        classes=("a", "b", "c"),
        readable=torch.ones(n, dtype=torch.bool),
    )


# what a scorer is given


def test_a_record_gives_each_scorer_the_pass_it_wants(recorded):
    record = recorded()
    table = score(record, ["aum", "el2n", "loss", "forgetting", "random"])
    assert list(table) == ["aum", "el2n", "loss", "forgetting", "random"]
    for name, trace in (("aum", "margin"), ("loss", "loss"), ("forgetting", "margin")):
        assert PASS[name] == "training"
        assert (table[name] == SCORERS[name](record.trace(trace)).numpy()).all()
    clean = record.trace("error_norm", clean=True)
    assert (table["el2n"] == SCORERS["el2n"](clean).numpy()).all()
    assert (table["random"] == SCORERS["random"](5, 0).numpy()).all()
    assert table["aum"].dtype == np.float32
    assert (table.labels == LABELS.numpy()).all()


def test_a_trace_is_read_once_and_only_when_needed(recorded, monkeypatch):
    read = []
    plain = Record.trace

    def trace(self, name, *, clean=False):
        read.append((name, clean))
        return plain(self, name, clean=clean)

    monkeypatch.setattr(Record, "trace", trace)
    score(recorded(), ["aum", "forgetting", "el2n"])
    assert read == [("margin", False), ("error_norm", True)]


def test_every_scorer_can_be_run_from_a_mapping():
    sources = toy_record().sources
    names = [name for name in SCORERS if name not in BUDGETED]
    table = score(sources, names)
    assert list(table) == names
    assert all(np.isfinite(values).all() and len(values) == 400 for values in table.values())
    assert table.spread("memorization").shape == (400,)  # an ensemble knows its own error
    assert table.spread("aum") is None


def test_the_same_from_arrays_lists_and_tensors():
    margin = [[2.0, -1.0, 0.5], [4.0, -3.0, 0.5]]
    frozen = np.array(margin, np.float32)
    frozen.setflags(write=False)
    for source in (margin, np.array(margin), torch.tensor(margin), frozen):
        assert score({"margin": source}, "aum")["aum"].tolist() == [-3.0, 2.0, -0.5]


def test_extra_sources_and_functions_of_ones_own(recorded):
    def far(embedding, labels, *, power=1.0):
        return embedding.norm(dim=1) ** power + labels

    embedding = torch.arange(10.0).reshape(5, 2)
    options = {"far": {"power": 2.0}}
    table = score(recorded(), ["aum", far], extra={"embedding": embedding}, options=options)
    assert np.allclose(table["far"], embedding.square().sum(1) + LABELS)
    made = table.meta["scores"]["far"]
    assert made["options"] == {"power": 2.0}
    assert made["function"].endswith("far")
    assert "pass" not in made


def test_options_reach_the_scorer_and_the_table(recorded):
    record = recorded()
    table = score(record, ["loss"], options={"loss": {"window": 2}})
    assert np.allclose(table["loss"], record.trace("loss")[:2].mean(0))
    assert table.meta["scores"]["loss"]["options"] == {"epoch": None, "window": 2}


# several runs


def test_several_runs_give_mean_spread_and_each(recorded):
    records = [recorded(seed) for seed in (3, 1)]
    table = score(records, ["aum", "forgetting", "random"])
    each = np.stack([score(r, "aum")["aum"] for r in records])
    assert (table.runs["aum"] == each).all()
    assert np.allclose(table["aum"], each.mean(0))
    assert np.allclose(table.spread("aum"), each.std(0, ddof=1) / 2**0.5)
    assert table.runs["random"].tolist() == [SCORERS["random"](5, s).tolist() for s in (3, 1)]
    made = table.meta["scores"]["aum"]
    assert made["seeds"] == [3, 1]
    assert made["epochs"] == [3, 3]
    assert made["models"] == ["hash-3", "hash-1"]
    assert (made["pass"], made["clean_epochs"]) == ("training", [[0], [0]])


def test_what_looks_at_no_run_is_computed_once(recorded):
    calls = []

    def far(embedding, labels, n):
        calls.append(n)
        return embedding.norm(dim=1)

    table = score([recorded(0), recorded(1)], [far], extra={"embedding": torch.ones(5, 2)})
    assert calls == [5]
    assert table.spread("far") is None
    assert "far" not in table.runs


def test_runs_of_one_seed_or_of_other_data_are_refused(recorded):
    with pytest.raises(UsageError, match=r"different seeds, these have \[0, 0\]"):
        score([recorded(), recorded()], ["aum"])
    with pytest.raises(Refused, match="different data"):
        score([recorded(), recorded(1, fingerprint="11ff")], ["aum"])
    with pytest.raises(Refused, match="00ff.*11ff"):
        score(recorded(), ["aum"], data=data_of(fingerprint="11ff"))
    with pytest.raises(UsageError, match="no record"):
        score([], ["aum"])
    with pytest.raises(UsageError, match="cannot score a str"):
        score(["aum"], ["aum"])


# unreadable examples


@pytest.mark.parametrize("given", ["record", "data", "mask"])
def test_unreadable_are_nan_flagged_and_not_shown_to_scorers(recorded, given):
    def sees(margin, embedding, labels, n, mine):
        assert (margin.shape, embedding.shape) == ((3, 4), (4, 2))
        assert (len(labels), n, mine.shape) == (4, 4, (4, 7))
        assert embedding[:, 0].tolist() == [0, 1, 3, 4]
        return labels.float()

    readable = torch.tensor([True, True, False, True, True])
    record = recorded(unreadable=[2] if given == "record" else [])
    data = data_of()
    data.readable = readable
    extra = {"embedding": torch.arange(5.0)[:, None].repeat(1, 2), "mine": np.ones((5, 7))}
    table = score(
        record,
        ["aum", sees],
        extra=extra,
        data=data if given == "data" else None,
        readable=readable if given == "mask" else None,
    )
    assert np.isnan(table["aum"]).tolist() == [False, False, True, False, False]
    assert (table.readable == readable.numpy()).all()
    assert table.flags["unreadable"].sum() == 1
    selection = keep(table["aum"], 0.5, readable=table.readable, about=table.about("aum"))
    assert len(selection) == 2
    assert 2 not in selection.indices


def test_no_flag_where_all_are_readable(recorded):
    table = score(recorded(), ["aum"])
    assert table.flags == {}
    assert table.readable.all()


# bad input, one line each


def returns(value):
    def mine(margin):
        return value

    return mine


@pytest.mark.parametrize(
    ("names", "options", "error", "words"),
    [
        (["el2m"], {}, UsageError, "unknown scorer 'el2m'; did you mean 'el2n'"),
        ([], {}, UsageError, "at least one"),
        (["aum", "aum"], {}, UsageError, "named twice"),
        (["el2n"], {"el2n": {"windw": 3}}, UsageError, "no option 'windw'; did you mean 'window'"),
        (
            ["el2n"],
            {"el2n": {"x": 3}},
            UsageError,
            "'el2n' has no option 'x'; known: epoch, window",
        ),
        (["aum"], {"aum": {"x": 3}}, UsageError, "no option 'x'; it has none"),
        (["aum"], {"el2n": {"window": 3}}, UsageError, "options for 'el2n', not scored here"),
        (["loss"], {"loss": {"window": 99}}, UsageError, "'loss': window=99"),
        (["prototypes"], {}, UsageError, "'prototypes' needs 'embedding'.*dp.embed.*extra="),
        ([lambda margin: margin[0]], {}, UsageError, "name"),
        ([returns(torch.ones(4))], {}, PrunerError, r"'mine' returned \(4,\).*expected \(5,\)"),
        ([returns((torch.ones(5), 1))], {}, PrunerError, "'mine'"),
        ([returns(torch.tensor([1, 2, 3, NAN, NAN]))], {}, PrunerError, "2 values.*example 3"),
    ],
)
def test_refused_in_one_line(recorded, names, options, error, words):
    with pytest.raises(error, match=words) as caught:
        score(recorded(), names, options=options)
    assert "\n" not in str(caught.value)


def test_a_source_that_is_missing_or_of_another_size(recorded):
    with pytest.raises(UsageError, match="'aum' needs 'margin'.*record.*into the mapping"):
        score({"loss": torch.ones(2, 5)}, ["aum"])
    with pytest.raises(UsageError, match=r"embedding must be \(n, ...\) with n = 5.*\(4, 2\)"):
        score(recorded(), ["prototypes"], extra={"embedding": torch.ones(4, 2)})
    with pytest.raises(UsageError, match="how many examples"):
        score({}, ["random"])

    def wants(margn):
        return margn

    with pytest.raises(UsageError, match="'wants' needs 'margn'.*did you mean 'margin'"):
        score(recorded(), [wants])
    with pytest.raises(UsageError, match=r"readable must be \(5,\)"):
        score(recorded(), ["aum"], readable=[True])


def test_an_example_that_was_never_visited_is_named():
    margin = torch.tensor([[1.0, NAN, 2.0], [1.0, NAN, 2.0]])
    with pytest.raises(UsageError, match="'aum': example 1 was never visited"):
        score({"margin": margin}, ["aum"])


# the table


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
