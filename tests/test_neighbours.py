"""The page's neighbours: ends of clusters, near-copies in pairs, and data without pictures."""

import numpy as np
import pytest
import torch

import datapruner as dp
from datapruner.cli import main
from datapruner.report import write_report
from datapruner.report.neighbours import neighbours, neighbours_shown


@pytest.fixture(scope="module")
def points() -> dp.Data:
    """Two far-apart clusters of rows, the first with one copy; no pictures."""
    x = torch.randn(60, 4, generator=torch.Generator().manual_seed(0)) * 0.2
    x[:30, 0] += 3
    x[30:, 1] += 3
    x[7] = x[3]
    return dp.open_data(torch.utils.data.TensorDataset(x, (torch.arange(60) >= 30).long()))


def test_ends_of_clusters_and_pairs(points):
    options = {"prototypes": {"k": 2}, "duplicates": {"epsilon": 1e-6, "k": 1}}
    found = neighbours(points, points.x.numpy(), ["prototypes", "duplicates"], options)
    table = dp.score({"embedding": points.x}, ["prototypes"], options={"prototypes": {"k": 2}})
    score = table["prototypes"]
    assert [one["size"] for one in found["prototypes"]["clusters"]] == [30, 30]
    for one in found["prototypes"]["clusters"]:
        members = np.arange(30) + 30 * one["class"]
        assert one["share"] == 1
        order = members[np.argsort(-score[members], kind="stable")]
        assert [i for i, _ in one["far"]] == order[:10].tolist()
        assert {i for i, _ in one["near"]} == set(order[-10:].tolist())
        assert one["far"][0][1] == pytest.approx(score[order[0]], abs=1e-6)
    assert found["duplicates"]["count"] == 1
    assert sorted(found["duplicates"]["pairs"][0][:2]) == [3, 7]


def test_unreadable_rows_are_in_no_cluster(points):
    some = dp.open_data("digits")
    some.readable[[0, 5]] = False
    found = neighbours(some, some.x.flatten(1).numpy(), ["prototypes"], {"prototypes": {"k": 2}})
    shown = {i for one in found["prototypes"]["clusters"] for i, _ in one["near"] + one["far"]}
    assert sum(one["size"] for one in found["prototypes"]["clusters"]) == some.n - 2
    assert not {0, 5} & shown


def test_data_without_pictures_have_the_tables_alone(points, tmp_path):
    found = neighbours(points, points.x.numpy(), ["duplicates"], {})
    shown = neighbours_shown(points, found)
    assert shown.copies == []
    assert len(shown.pairs.rows) == found["duplicates"]["count"] > 0
    page = write_report(
        tmp_path / "p.html", title="points", data=points, provenance={}, neighbours=found
    )
    assert "Pairs and distances" in page.read_text()
    assert neighbours(points, points.x.numpy(), ["kcenter"], {}) == {}
    assert neighbours_shown(points, None) is None


def test_scorers_that_come_later_join_the_page(points, tmp_path, capsys):
    np.savez(tmp_path / "d.npz", x=points.x.numpy(), y=points.labels.numpy())
    np.save(tmp_path / "rows.npy", points.x.numpy())
    data, rows = str(tmp_path / "d.npz"), str(tmp_path / "rows.npy")
    assert main(["embed", data, "--encoder", rows, "--out", str(tmp_path / "e")]) == 0
    for scorer in ("prototypes", "duplicates"):
        words = ["score", data, "--embedding", str(tmp_path / "e"), "--scorers", scorer]
        assert main([*words, "--out", str(tmp_path / "s")]) == 0
    page = (tmp_path / "s" / "report.html").read_text()
    assert "Indices and distances" in page
    assert "Pairs and distances" in page
