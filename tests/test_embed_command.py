"""`datapruner embed`, and `score --embedding`: end to end on the digits, killed, and refused."""

import json
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save_file

import datapruner as dp
from datapruner import embedded
from datapruner.checkpoint import weights_hash
from datapruner.cli import main
from datapruner.embedded import embed_to, load_embedding
from datapruner.encoders import load_network
from datapruner.given_rows import read_rows
from datapruner.models import make_model

LENET = ("--model", "lenet", "--epochs", "1", "--batch-size", "256")


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("embed") / "simclr"
    assert main(["embed", "digits", "--encoder", "simclr", *LENET, "--out", str(out)]) == 0
    return out


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "mlp.safetensors"
    save_file(dp.make_model("mlp", 7, (1, 8, 8)).state_dict(), path)
    return path


def said(capsys, *words: str) -> tuple[int, str]:
    """Run a command; return its exit code and the one line it complains in."""
    code = main(list(words))
    lines = [x for x in capsys.readouterr().err.splitlines() if x.startswith("datapruner: ")]
    assert len(lines) <= 1
    return code, lines[0] if lines else ""


def test_from_the_pictures_to_a_page(digits, trained, tmp_path, capsys):
    rows, about = load_embedding(trained, digits)
    assert (rows.shape, rows.dtype, about["encoder"]) == ((1438, 84), np.float32, "simclr")
    assert isinstance(rows, np.memmap)
    assert about["data"] == digits.fingerprint
    assert about["transform"]["augmentation"] == "none"
    knn = json.loads((trained / "encoder" / "knn.json").read_text())
    assert len(knn["epochs"]) == 1
    words = ["score", "digits", "--embedding", str(trained), "--out", str(tmp_path / "s")]
    assert main([*words, "--scorers", "prototypes", "duplicates:epsilon=0.01"]) == 0
    table = dp.Scores.load(tmp_path / "s" / "scores.parquet", data=digits)
    options = {"prototypes": {"k": 10}}
    direct = dp.score({"embedding": np.asarray(rows)}, ["prototypes"], options=options)
    assert (table["prototypes"] == direct["prototypes"]).all()
    assert table.meta["sources"]["embedding"]["weights"] == about["weights"]
    page = (tmp_path / "s" / "report.html").read_text()
    assert "Near-copies" in page
    assert page.count(">farthest</h4>") == 10
    capsys.readouterr()
    assert main(["report", str(tmp_path / "s")]) == 0
    assert (tmp_path / "s" / "report.html").read_text() == page


def test_a_finished_call_does_nothing_again(trained, capsys):
    before = (trained / "embedding.npy").stat().st_mtime_ns
    assert main(["embed", "digits", "--encoder", "simclr", *LENET, "--out", str(trained)]) == 0
    assert (trained / "embedding.npy").stat().st_mtime_ns == before


def test_a_network_with_weights(digits, weights, tmp_path):
    for word in (f"mlp@{weights}", f"datapruner.models:mlp@{weights}"):
        encoder = load_network(word, digits)
        embed_to(digits, encoder, tmp_path / "e" / word[:3], dtype="float16")
        rows, about = load_embedding(tmp_path / "e" / word[:3], digits)
        model = dp.make_model("mlp", 7, (1, 8, 8))
        expected = dp.embed(digits, model)
        assert rows.dtype == np.float16
        np.testing.assert_allclose(rows, expected, rtol=1e-3, atol=1e-4)
        assert about["weights"] == encoder.about["weights"]


def test_torchvision_sees_pictures_as_on_imagenet(tmp_path):
    x = np.random.default_rng(0).integers(0, 256, (6, 3, 32, 32), np.uint8)
    pairs = torch.utils.data.TensorDataset(torch.from_numpy(x), torch.arange(6) % 2)
    data = dp.open_data(pairs)
    model = dp.make_model("torchvision:squeezenet1_0", 4, (3, 32, 32))
    torch.save(model.state_dict(), tmp_path / "w.pt")
    with pytest.raises(dp.Refused, match="holds no linear layer"):
        load_network(f"torchvision:squeezenet1_0@{tmp_path / 'w.pt'}", data)
    model = dp.make_model("torchvision:shufflenet_v2_x0_5", 4, (3, 32, 32))
    torch.save(model.state_dict(), tmp_path / "w.pt")
    encoder = load_network(f"torchvision:shufflenet_v2_x0_5@{tmp_path / 'w.pt'}", data)
    assert encoder.about["transform"]["normalise"][0] == [0.485, 0.456, 0.406]
    assert embed_to(data, encoder, tmp_path / "e")["d"] == 1024


def test_a_classifier_is_found_by_its_place_not_by_its_name(digits, tmp_path, monkeypatch):
    """safetensors sorts by name, where torch.save keeps the order of the network."""
    (tmp_path / "named_nets.py").write_text(
        "from collections import OrderedDict\n"
        "from torch import nn\n"
        "def deep(num_classes):\n"
        "    parts = dict(flat=nn.Flatten(), last=nn.Linear(64, 5), act=nn.ReLU(),\n"
        "                 head=nn.Linear(5, num_classes))\n"
        "    return nn.Sequential(OrderedDict(parts))\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    deep = make_model("named_nets:deep", 7, digits.shape)
    save_file(deep.state_dict(), "w.safetensors")
    torch.save(deep.state_dict(), "w.pt")
    for file in ("w.safetensors", "w.pt"):
        encoder = load_network(f"named_nets:deep@{file}", digits)
        assert encoder.classes == 7
        assert encoder.about["weights"] == weights_hash(deep)


def test_a_recorded_run(digits, tmp_path):
    record = dp.record(digits, dp.Run(model="mlp", epochs=1), tmp_path / "r")
    embed_to(digits, load_network(str(tmp_path / "r"), digits), tmp_path / "e")
    assert (load_embedding(tmp_path / "e", digits)[0] == dp.embed(digits, record)).all()


def test_a_killed_pass_ends_in_the_same_bytes(digits, weights, tmp_path, monkeypatch):
    monkeypatch.setattr(embedded, "SHARD", 256)
    encoder = load_network(f"mlp@{weights}", digits)
    seen: list[int] = []

    def stop(text: str, done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        embed_to(digits, encoder, tmp_path / "killed", progress=stop)
    with pytest.raises(dp.PrunerError, match="give the same `datapruner embed` again"):
        load_embedding(tmp_path / "killed", digits)
    embed_to(digits, encoder, tmp_path / "killed", progress=lambda _, done, n: seen.append(done))
    embed_to(digits, encoder, tmp_path / "whole")
    assert seen == [4, 5, 6]
    for file in ("embedding.npy", "embedding.json"):
        assert (tmp_path / "killed" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()
    assert sorted(p.name for p in (tmp_path / "killed").iterdir()) == [
        "embedding.json",
        "embedding.npy",
    ]


def test_unreadable_rows_are_zero(weights, tmp_path):
    some = dp.open_data("digits")
    some.readable[[3, 700]] = False
    embed_to(some, load_network(f"mlp@{weights}", some), tmp_path / "e")
    rows, _ = load_embedding(tmp_path / "e", some)
    assert (rows == 0).all(1).nonzero()[0].tolist() == [3, 700]


def test_rows_that_exist(digits, tmp_path):
    mine = np.random.default_rng(0).normal(size=(digits.n, 3))
    np.save(tmp_path / "mine.npy", mine)
    out = tmp_path / "e"
    assert (
        main(["embed", "digits", "--encoder", str(tmp_path / "mine.npy"), "--out", str(out)]) == 0
    )
    np.testing.assert_allclose(load_embedding(out, digits)[0], mine, rtol=1e-6)
    order = np.random.default_rng(1).permutation(digits.n)
    table = pa.table({"index": order, "embedding": list(mine[order])})
    pq.write_table(table, tmp_path / "mine.parquet")
    assert (read_rows(tmp_path / "mine.parquet", digits) == mine).all()


def test_rows_that_do_not_fit_are_refused(digits, tmp_path):
    file, mine = tmp_path / "a.npy", np.ones((digits.n, 3))
    for rows, error, message in (
        (mine[1:], dp.Refused, "has 1,437 rows, digits has 1,438 examples"),
        (mine[:, 0], dp.PrunerError, r"an embedding is \(n, d\) numbers"),
        (mine * np.where(np.arange(digits.n) == 70, np.nan, 1)[:, None], dp.PrunerError, "row 70"),
    ):
        np.save(file, rows)
        with pytest.raises(error, match=message):
            read_rows(file, digits)
    file.write_bytes(b"no")
    with pytest.raises(dp.PrunerError, match="cannot be read as an embedding"):
        read_rows(file, digits)
    twice = pa.table({"index": np.zeros(digits.n, int), "embedding": list(mine)})
    pq.write_table(twice, tmp_path / "b.parquet")
    with pytest.raises(dp.PrunerError, match="'index' is not 0 to 1437"):
        read_rows(tmp_path / "b.parquet", digits)
    pq.write_table(pa.table({"x": np.zeros(3)}), tmp_path / "b.parquet")
    with pytest.raises(dp.PrunerError, match="none called 'embedding'"):
        read_rows(tmp_path / "b.parquet", digits)


@pytest.mark.parametrize(
    ("encoder", "code", "message"),
    [
        ("simcl", 2, "did you mean 'simclr'?"),
        ("torchvision:resnet18", 2, "has random weights; give a file"),
        ("torchvision:resnet18@no.pt", 1, "no.pt: no such file"),
        ("no.npy", 1, "no.npy: no such file"),
        ("resnet8@{weights}", 3, "holds the weights of another network"),
        ("nope@{weights}", 2, "no model is called 'nope'"),
    ],
)
def test_words_that_name_nothing(encoder, code, message, weights, tmp_path, capsys):
    out = tmp_path / "e"
    word = encoder.format(weights=weights)
    got, line = said(capsys, "embed", "digits", "--encoder", word, "--out", str(out))
    assert got == code
    assert message in line
    assert not out.exists()


def test_other_data_and_other_folders_are_refused(trained, weights, tmp_path, capsys):
    other = tmp_path / "other.npz"
    np.savez(other, x=np.zeros((9, 8, 8), np.uint8), y=np.arange(9) % 3)
    scoring = ["--scorers", "prototypes", "--out", str(tmp_path / "s")]
    code, line = said(capsys, "score", str(other), "--embedding", str(trained), *scoring)
    assert code == 3
    assert "1,438 examples" in line
    code, line = said(capsys, "score", "digits", "--embedding", str(tmp_path), *scoring)
    assert code == 1
    assert "holds no finished embedding" in line
    both = ["--embedding", str(trained), "--encoder", "mlp"]
    code, line = said(capsys, "score", "digits", *both, *scoring)
    assert code == 2
    assert "exclude each other" in line
    code, line = said(
        capsys, "embed", "digits", "--encoder", f"mlp@{weights}", "--out", str(trained)
    )
    assert code == 3
    assert "holds an embedding of another" in line
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    for encoder in (f"mlp@{weights}", "simclr"):
        words = ("embed", "digits", "--encoder", encoder, "--out", str(tmp_path / "full"))
        code, line = said(capsys, *words)
        assert code == 3
        assert line.endswith("give another --out")


def test_one_table_holds_scores_of_one_embedding(trained, weights, tmp_path, capsys):
    for encoder, name, code in ((None, trained, 0), (f"mlp@{weights}", tmp_path / "e", 3)):
        if encoder:
            main(["embed", "digits", "--encoder", encoder, "--out", str(name)])
        words = ("score", "digits", "--embedding", str(name), "--scorers", "prototypes")
        got, line = said(capsys, *words, "--out", str(tmp_path / "s"))
        assert got == code
    assert "has scores of another embedding (simclr)" in line
    for own in ([], ["--encoder", "mlp"]):  # the run's network, and an untrained one
        got, line = said(
            capsys, "score", "digits", *own, "--scorers", "kcenter", "--out", str(tmp_path / "s")
        )
        assert got == 3
        assert "has scores of another embedding (simclr)" in line
    assert not (tmp_path / "s" / "record").exists()


def test_a_table_of_the_runs_own_embedding_takes_no_other(trained, tmp_path, capsys):
    words = ("score", "digits", *LENET, "--out", str(tmp_path))
    for scorer in ("kcenter:limit=9", "moderate"):
        assert said(capsys, *words, "--scorers", scorer) == (0, "")
    sources = dp.Scores.load(tmp_path / "scores.parquet").meta["sources"]
    assert sources["embedding"] == {"encoder": "the recorded run"}
    got, line = said(capsys, *words, "--embedding", str(trained), "--scorers", "prototypes")
    assert got == 3
    assert "has scores of another embedding (the recorded run)" in line


def test_rows_on_disk_are_scored_where_they_lie(digits, trained):
    """Nothing of the size of the embedding is copied to hand it to a scorer."""
    rows, _ = load_embedding(trained, digits)
    seen = []

    def place(embedding):
        seen.append(embedding.data_ptr())
        return torch.zeros(len(embedding))

    dp.score({"embedding": rows}, place, data=digits)
    assert seen == [rows.ctypes.data]
    before = (trained / "embedding.npy").read_bytes()
    rows[0] = 0  # a copy of the page
    assert (trained / "embedding.npy").read_bytes() == before


def test_numbers_too_large_for_float16_are_said(digits, tmp_path):
    with pytest.raises(dp.PrunerError, match="too large for float16; use --dtype float32"):
        embed_to(digits, np.full((digits.n, 2), 1e6), tmp_path / "e", dtype="float16")


def test_a_dry_run_writes_nothing(tmp_path, capsys):
    words = ["embed", "digits", "--encoder", "vicreg", *LENET, "--dry-run", "--json"]
    assert main([*words, "--out", str(tmp_path / "e")]) == 0
    assert json.loads(capsys.readouterr().out) == {"rows": 1438, "steps": 6, "views": 3072}
    wrong = [*words, "--out", str(tmp_path / "e"), "--model", "lenett"]
    assert main(wrong) == 2  # as it would be
    assert "did you mean 'lenet'" in capsys.readouterr().err
    assert not (tmp_path / "e").exists()
