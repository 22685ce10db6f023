"""score() and the table: sources found by name, several runs, unreadable examples."""

import numpy as np
import pytest
import torch
from random_record import LABELS, data_of
from toy_record import toy_record

from datapruner.errors import PrunerError, Refused, UsageError
from datapruner.scores import score
from datapruner.selection import keep
from datapruner.traces import Record
from scorers import BUDGETED, PASS, SCORERS

NAN = float("nan")


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


def test_rankings_that_end_early_are_not_averaged_over_runs():
    """Their mean has no ladder by which keep could tell what was not ranked."""
    runs = [{"probs": torch.eye(4).roll(s, 0).softmax(1), "seed": s} for s in range(2)]
    limit = {"contextual_diversity": {"limit": 2}}
    with pytest.raises(UsageError, match="with limit=2 each of 2 runs leaves others unranked"):
        score(runs, "contextual_diversity", options=limit)
    assert len(score(runs, "contextual_diversity").runs["contextual_diversity"]) == 2
    with pytest.raises(UsageError, match="not ranked, only 2 were"):
        keep(score(runs[0], "contextual_diversity", options=limit)["contextual_diversity"], k=3)


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
