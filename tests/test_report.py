"""The page is well formed, needs nothing else, escapes everything, and says what went in."""

import csv
import io
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
import torch
from torch.utils.data import TensorDataset
from toy_runs import runs

from datapruner import open_data
from datapruner.data import Data
from datapruner.errors import Refused, UsageError
from datapruner.report import Result, write_report
from datapruner.report.agreement import spearman
from datapruner.scores import Scores
from datapruner.selection import Selection, keep

VOID = {"meta", "link", "img", "br", "input", "hr"}
EVIL = "<script>alert('&\"')</script>"


class Page(HTMLParser):
    """Parses a page strictly: every tag closed in order, every id used once."""

    def __init__(self, path: Path) -> None:
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.links = [], [], []
        self.ids, self.words, self.tables = set(), [], []
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name == "id":
                assert value not in self.ids
                self.ids.add(value)
            if name in ("href", "src"):
                self.links.append(value)
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" in self.open:
            return
        self.words.append(data)
        if self.open and {"td", "th"} & set(self.open):
            self.tables[-1][-1][-1] += data.strip()

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def csv(self, head: str) -> list[dict[str, str]]:
        """Return the rows of the first CSV whose headings begin so."""
        start = "data:text/csv;charset=utf-8,"
        for link in self.links:
            content = unquote(link.removeprefix(start))
            if link.startswith(start) and content.startswith(head):
                return list(csv.DictReader(io.StringIO(content)))
        raise AssertionError(f"no CSV that begins with {head}")


def pictures(n=40, classes=4, size=8, names=None, unreadable=()):
    x = torch.randint(0, 256, (n, 3, size, size), dtype=torch.uint8)
    y = torch.arange(n) % classes
    readable = torch.ones(n, dtype=torch.bool)
    readable[list(unreadable)] = False
    names = names or tuple(f"class {c}" for c in range(classes))
    pairs = TensorDataset(x, y)
    return Data("made up", "train", y, tuple(names), "0" * 16, readable, x, pairs, True)


def keep_first(n, k, **meta):
    return Selection(torch.arange(k), n=n, meta={"rule": "top", **meta})


def written(tmp_path, **more) -> Page:
    settings = {"title": "A page", "data": pictures(), "provenance": {"seed": 0}, **more}
    return Page(write_report(tmp_path / "report.html", **settings))


@pytest.fixture
def everything():
    data = pictures(unreadable=[7])
    scores = {"aum": np.linspace(-1, 1, 40), "random": np.random.default_rng(0).random(40)}
    for values in scores.values():
        values[7] = np.nan
    seeds = {"aum": np.stack([scores["aum"], scores["aum"] + 0.1])}
    return {
        "data": data,
        "scores": Scores(
            scores,
            runs=seeds,
            flags={"suspect_label": np.arange(40) < 3, "unreadable": np.arange(40) == 7},
        ),
        "selections": {"first ten": keep_first(40, 6), "other": keep_first(40, 5)},
        "results": runs(),
        "notes": ["Beware."],
    }


def test_the_whole_page_stands_alone(tmp_path, everything):
    page = written(tmp_path, **everything)
    assert page.source.startswith("<!DOCTYPE html>")
    assert "http://" not in page.source
    assert "https://" not in page.source
    assert all(link.startswith(("data:", "#")) for link in page.links)
    assert set(re.findall(r"url\(([^)]*)\)", page.source)) == {"#inside-examples", "#inside-steps"}
    assert {link[1:] for link in page.links if link[0] == "#"} <= page.ids
    assert "@import" not in page.source
    assert not {"script", "iframe", "object", "form"} & set(page.tags)
    assert {"results", "pictures", "scores", "agreement", "kept", "provenance"} <= page.ids
    assert "unreadable 1" in page.text
    assert "suspect label 3" in page.text
    assert "Beware." in page.text


def test_the_same_input_gives_the_same_bytes(tmp_path, everything):
    first = write_report(tmp_path / "a.html", title="t", provenance={}, **everything)
    second = write_report(tmp_path / "b.html", title="t", provenance={}, **everything)
    assert first.read_bytes() == second.read_bytes()


def test_what_is_not_given_is_not_there(tmp_path, everything):
    page = written(tmp_path)
    assert page.ids == {"provenance"}
    page = written(tmp_path, results=runs())
    assert page.ids == {"results", "provenance", "inside-examples", "inside-steps"}
    without = [replace(run, history=[]) for run in runs()]
    assert written(tmp_path, results=without).ids == {"results", "provenance"}
    page = written(tmp_path, scores=everything["scores"])
    assert page.ids == {"pictures", "suspects", "scores", "agreement", "provenance"}
    page = written(tmp_path, scores=Scores({"aum": np.arange(40)}))
    assert page.ids == {"pictures", "scores", "provenance"}
    page = written(tmp_path, selections=everything["selections"])
    assert page.ids == {"kept", "provenance"}


def test_the_headline_table_says_what_came_out(tmp_path):
    page = written(tmp_path, results=runs())
    head, full, random, aum = [[cell.replace("\xa0", " ") for cell in r] for r in page.tables[0]]
    assert head[:2] == ["arm", "test accuracy"]
    assert full[:2] == ["all data", "92.00 ± 2.00 %"]
    assert full[3:] == ["–", "100.0 %", "1,000", "100", "1.5", "2"]
    assert random[3] == "baseline"
    assert aum[:2] == ["aum 30 %", "85.00 ± 1.00 %"]
    assert aum[3:] == ["+5.00 ± 1.00", "30.0 %", "300", "30", "1.5", "2"]
    assert "aum 30 % reaches 85.00 ± 1.00 %, 5.00 ± 1.00 points above random" in page.text


def test_numbers_beside_figures_are_the_inputs(tmp_path, everything):
    page = written(tmp_path, **everything)
    rows = page.csv("arm,seed,")
    got = [(row["arm"], int(row["seed"]), float(row["accuracy"])) for row in rows]
    assert got == [(run.arm, run.seed, run.accuracy) for run in runs()]
    curve = page.csv("arm,examples seen,steps,accuracy")
    assert [float(row["examples seen"]) for row in curve[:2]] == [500, 1000]
    assert [float(row["accuracy"]) for row in curve[:2]] == pytest.approx([0.82, 0.92])
    bins = page.csv("from,to,examples")
    assert sum(int(row["examples"]) for row in bins) == 39
    assert sum(int(row["kept by first ten"]) for row in bins) == 6
    classes = page.csv("class,examples,median")
    assert [int(row["examples"]) for row in classes] == [10, 10, 10, 9]
    kept = page.csv("class,kept,dropped")
    assert [int(row["kept"]) for row in kept] == [2, 2, 1, 1]
    assert [int(row["dropped"]) for row in kept] == [8, 8, 9, 8]
    shown = page.csv("scorer,label,end")
    assert [int(row["index"]) for row in shown if row["label"] == "class 3"][:3] == [39, 35, 31]
    assert not any(row["index"] == "7" for row in shown)
    scores = everything["scores"]["aum"]
    assert all(float(row["score"]) == scores[int(row["index"])] for row in shown)
    (pair,) = page.csv("scorer,other scorer")
    assert float(pair["spearman"]) == spearman(scores, everything["scores"]["random"])
    assert "without a score 1" in page.text
    seeds = next(table for table in page.tables if table[0][:2] == ["scorer", "seeds"])
    assert seeds[1][:2] == ["aum", "2"]


def test_kept_parts_are_shown_where_they_were_chosen(tmp_path):
    scores = Scores({"aum": np.arange(40), "loss": np.arange(40)[::-1]})
    by_aum = keep(scores["aum"], fraction=0.25, about=scores.about("aum"))
    page = written(
        tmp_path, scores=scores, selections={"by aum": by_aum, "elsewhere": keep_first(40, 3)}
    )
    assert page.text.count("by aum: 10 kept") == 1
    assert page.text.count("elsewhere: 3 kept") == 2


def test_everything_is_escaped(tmp_path):
    data = replace(pictures(names=[EVIL, "a&b", '"', "</title>"]), name=EVIL)
    page = written(
        tmp_path,
        title=EVIL,
        data=data,
        scores=Scores({EVIL: np.arange(40), "aum": np.arange(40.0) ** 2}),
        selections={EVIL: keep_first(40, 8, note=EVIL)},
        results=[replace(run, arm=run.arm + EVIL) for run in runs()],
        provenance={EVIL: {EVIL: [EVIL]}, "command": "a path that is no text: \udc80"},
        notes=[EVIL],
    )
    assert "script" not in page.tags
    assert "<script" not in page.source
    assert page.text.count(EVIL) > 10


def test_a_standard_error_without_runs_is_shown(tmp_path):
    page = written(
        tmp_path, scores=Scores({"aum": np.arange(40)}, errors={"aum": np.full(40, 0.5)})
    )
    row = next(table for table in page.tables if table[0][:2] == ["scorer", "seeds"])[1]
    assert row == ["aum", "–", "0.5", "11.54", "–"]


def test_data_without_pictures_has_no_picture_section(tmp_path):
    x, y = torch.rand(12, 3), torch.arange(12) % 3
    data = open_data(TensorDataset(x, y))
    page = written(tmp_path, data=data, scores=Scores({"aum": np.arange(12)}))
    assert "pictures" not in page.ids
    assert "img" not in page.tags
    assert "scores" in page.ids


@pytest.mark.parametrize("value", [0.0, 0.3, -7.25, 1e-30])
def test_one_class_one_picture_one_score(tmp_path, value):
    page = written(
        tmp_path,
        data=pictures(n=1, classes=1),
        scores=Scores({"aum": [value], "loss": [value]}),
        selections={"all": keep_first(1, 1), "none": keep_first(1, 0)},
        results=[Result("all data", 0, 1.0, 0, 0, 0.0)],
    )
    assert page.tags.count("img") == 2
    assert not re.search(r"\bnan\b", page.source, re.IGNORECASE)


def test_a_score_nobody_has(tmp_path):
    page = written(tmp_path, scores=Scores({"aum": np.full(40, np.nan)}))
    assert "scored 0 of 40" in page.text
    assert "img" not in page.tags


def test_many_classes_are_cut_and_said_to_be(tmp_path):
    data = pictures(n=300, classes=60, size=4)
    scores = Scores({"aum": np.random.default_rng(0).normal(size=300)})
    page = written(tmp_path, data=data, scores=scores, selections={"k": keep_first(300, 100)})
    assert "40 more are left out" in page.text
    assert "by median score, of 60" in page.text
    assert "by share kept, of 60" in page.text
    assert len(page.csv("class,kept")) == 60
    rows = page.csv("class,examples")
    shares = [sum(float(row[tenth]) for tenth in row if tenth.endswith("%")) for row in rows]
    assert shares == pytest.approx([1] * 60)


def test_the_file_stays_small(tmp_path):
    data = pictures(n=1000, classes=10, size=32)  # noise: no picture compresses worse
    page = written(tmp_path, data=data, scores=Scores({"aum": np.arange(1000)}))
    assert page.tags.count("img") == 200
    assert len(page.source) < 3_000_000


def test_large_pictures_become_thumbnails(tmp_path):
    data = pictures(n=4, classes=2, size=300)
    page = written(tmp_path, data=data, scores=Scores({"aum": np.arange(4)}))
    assert sum(link.startswith("data:image/jpeg") for link in page.links) == 4
    assert len(page.source) < 200_000


def test_a_picture_that_fails_leaves_a_gap(tmp_path):
    data = pictures(n=4, classes=1, unreadable=[2])  # scored all the same, by mistake
    page = written(tmp_path, data=data, scores=Scores({"aum": np.arange(4)}))
    assert "does not decode" in page.text
    assert page.tags.count("img") == 3


def test_the_digits(tmp_path):
    data = open_data("digits")
    page = written(tmp_path, data=data, scores=Scores({"aum": np.arange(data.n)}))
    assert page.tags.count("img") == 200
    assert data.fingerprint in page.text


def test_errors_say_what_to_do(tmp_path):
    target = tmp_path / "report.html"
    settings = {"title": "t", "data": pictures(), "provenance": {}}
    with pytest.raises(UsageError, match="'aun'.*did you mean 'aum'"):
        write_report(target, **settings, scores=Scores({"aum": np.arange(40)}), pictures_by="aun")
    with pytest.raises(Refused, match="scores: made for data .* 39 examples"):
        write_report(target, **settings, scores=Scores({"aum": np.arange(39)}))
    with pytest.raises(Refused, match="selection 'half': made for data ffff"):
        write_report(
            target, **settings, selections={"half": keep_first(40, 20, fingerprint="ffff")}
        )
    assert not target.exists()
