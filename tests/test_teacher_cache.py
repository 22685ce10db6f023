"""Cached logits: what they are, the views they are of, what they refuse, and passes killed."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import datapruner as dp
from datapruner import PrunerError, Refused, Run, UsageError, teacher_pass
from datapruner.checkpoint import weights_hash
from datapruner.distill_specs import DistillSpec
from datapruner.files import read_json
from datapruner.noise import flip_labels
from datapruner.teacher_cache import CachedTeacher, StoredViews

FULL = Run(model="mlp", epochs=5, lr=0.05, seed=7)
VIEWS = Run(augment="crop=1", batch_size=500)


@pytest.fixture(scope="module")
def full(digits, tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("runs") / "full"
    dp.train(FULL, digits, out=folder)
    return str(folder)


@pytest.fixture(scope="module")
def net(digits, full) -> nn.Module:
    return dp.train(FULL, digits, out=full)[0]


def logits_of(teacher, loader, order=None, **options) -> torch.Tensor:
    asked, order = teacher.bind(loader), torch.arange(200) if order is None else order
    return torch.cat([asked(batch) for batch in loader(order, **options)])


# -- cached logits -------------------------------------------------------------------------------


def test_cached_logits_are_the_recomputed_ones_rounded_to_float16(digits, net, tmp_path):
    cached = dp.cache_teacher(digits, net, tmp_path / "t")
    loader = dp.TensorLoader(digits, 7)  # other batches than they were asked in
    order = torch.randperm(digits.n)
    exact, found = (logits_of(t, loader, order) for t in (dp.Distill(net).teacher, cached))
    assert found.dtype == torch.float32
    assert bool(((found - exact).abs() <= exact.abs() / 2048 + 1e-5).all())
    assert not torch.equal(found, exact)
    assert cached.about["accuracy"] == pytest.approx(
        dp.evaluate(net, dp.TensorLoader(digits)), abs=2e-3
    )
    plain = np.load(tmp_path / "t" / "logits.npy")
    assert (plain.shape, plain.dtype) == ((digits.n, 10), np.float16)
    assert sorted(p.name for p in (tmp_path / "t").iterdir()) == ["logits.npy", "teacher.json"]


def test_what_cannot_be_read_is_nan_and_in_no_batch(digits, net, tmp_path):
    holes = replace(digits, readable=torch.arange(digits.n) != 5)
    cached = dp.cache_teacher(holes, net, tmp_path / "t")
    assert cached.rows[5].isnan().all()
    assert cached.rows[torch.arange(digits.n) != 5].isfinite().all()


def test_stored_views_are_what_the_student_sees_whatever_its_seed(digits, net, tmp_path):
    """In epoch e, view e mod K, of the seed that the teacher was asked with."""
    cached = dp.cache_teacher(digits, net, tmp_path / "t", views=3, run=VIEWS)
    assert cached.rows.shape == (3, digits.n, 10)
    loader = cached.loader(dp.TensorLoader(digits, augment="crop=1"))
    exact = dp.Distill(net).teacher
    for epoch in range(5):
        wanted, found = (logits_of(t, loader, epoch=epoch) for t in (exact, cached))
        assert bool(((found - wanted).abs() <= wanted.abs() / 2048 + 1e-5).all())
    run = Run(
        model="mlp",
        epochs=2,
        lr=0.05,
        augment="crop=1",
        seed=5,
        distill=DistillSpec(str(tmp_path / "t"), 0.5),
    )
    one, _ = dp.train(run, digits, out=tmp_path / "s")
    about = read_json(tmp_path / "s" / "distill.json")
    assert about["views"] == "cached for 3 stored views, augmentation seed 0"
    same = dp.make_model("mlp", 10, digits.shape, seed=5)
    dp.fit(same, loader, None, run, loss=dp.Distill(cached, 0.5))
    assert weights_hash(one) == weights_hash(same)


def test_stored_views_and_recomputed_ones_train_alike(digits, net, tmp_path):
    """The same student, but for the rounding of the logits."""
    cached = dp.cache_teacher(digits, net, tmp_path / "t", views=2, run=VIEWS)
    losses = []
    for teacher in (net, cached):
        loader = StoredViews(dp.TensorLoader(digits, augment="crop=1"), 2)
        student = dp.make_model("mlp", 10, digits.shape)
        history = dp.fit(
            student, loader, None, Run(epochs=4, lr=0.05), loss=dp.Distill(teacher, 0.7)
        )
        losses.append([epoch.train_loss for epoch in history.epochs])
    assert losses[0] == pytest.approx(losses[1], rel=2e-3)
    assert losses[0] != losses[1]


def test_passes_side_by_side_keep_their_views(digits):
    loader = StoredViews(dp.TensorLoader(digits, 4, augment="crop=1"), 2)
    first, second = (loader(torch.arange(8), epoch=epoch) for epoch in (0, 1))
    seen = [(next(it) and None, loader.view)[1] for it in (first, second, first, second)]
    assert seen == [0, 1, 0, 1]


def test_an_ensemble_is_cached_as_one(digits, full, net, tmp_path):
    other = dp.make_model("mlp", 10, digits.shape, seed=1)
    cached = dp.cache_teacher(digits, [net, other], tmp_path / "t")
    loader = dp.TensorLoader(digits)
    exact = logits_of(dp.Distill([net, other]).teacher, loader)
    assert torch.allclose(logits_of(cached, loader), exact, rtol=1e-3, atol=1e-4)


# -- the wrong cache -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def plain(digits, net, tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("cached") / "plain"
    dp.cache_teacher(digits, net, folder)
    return str(folder)


@pytest.fixture(scope="module")
def viewed(digits, net, tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("cached") / "viewed"
    dp.cache_teacher(digits, net, folder, views=2, run=VIEWS)
    return str(folder)


def test_other_data_are_refused(digits, plain):
    other, _ = flip_labels(digits, 0.1)
    with pytest.raises(Refused, match=f"logits of other data .*{other.fingerprint}"):
        CachedTeacher(plain, other)
    test = dp.open_data("digits", "test")
    with pytest.raises(Refused, match="logits of 1,438 rows, the loader has 359"):
        dp.Distill(CachedTeacher(plain)).bind(1.0, dp.TensorLoader(test))
    dark = torch.utils.data.TensorDataset(digits.x.flip(2), digits.labels)
    with pytest.raises(Refused, match="logits of other pictures than this loader gives"):
        dp.Distill(CachedTeacher(plain)).bind(1.0, dp.TensorLoader(dp.open_data(dark)))


def test_other_views_are_refused(digits, plain, viewed):
    augmented = dp.TensorLoader(digits, augment="crop=1")
    for folder, loader, said in (
        (plain, augmented, "of the plain pictures, but this run augments them"),
        (viewed, augmented, r"train on teacher.loader\(loader\)"),
        (viewed, StoredViews(augmented, 3), "2 stored views, which this loader does not give"),
        (
            viewed,
            StoredViews(dp.TensorLoader(digits, augment="crop=1", seed=1), 2),
            "views by seed 0, augment 'crop=1'",
        ),
        (viewed, StoredViews(dp.TensorLoader(digits, augment="crop=2"), 2), "gives others"),
    ):
        with pytest.raises(Refused, match=said):
            dp.Distill(CachedTeacher(folder), 0.5).bind(1.0, loader)


def test_a_damaged_cache_is_named(digits, net, tmp_path):
    dp.cache_teacher(digits, net, tmp_path / "t")
    file = tmp_path / "t" / "logits.npy"
    whole = file.read_bytes()
    for content in (b"", whole[:1000], b"nonsense"):
        file.write_bytes(content)
        with pytest.raises(PrunerError, match="missing or damaged"):
            CachedTeacher(tmp_path / "t", digits)
    (tmp_path / "t" / "teacher.json").write_text('{"views": 0}')
    with pytest.raises(PrunerError, match="says no classes, data, fingerprint, n, pictures"):
        CachedTeacher(tmp_path / "t", digits)


def test_logits_of_another_shape_are_named(digits, net, tmp_path):
    dp.cache_teacher(digits, net, tmp_path / "t")
    file = tmp_path / "t" / "logits.npy"
    np.save(file, np.zeros((3, 10), np.float16))
    with pytest.raises(PrunerError, match=r"holds float16 \(3, 10\)"):
        CachedTeacher(tmp_path / "t", digits)


def test_what_cannot_be_cached_is_refused(digits, net, tmp_path):
    for options, error, said in (
        ({"views": -1}, UsageError, "views must be 0"),
        ({"views": 3}, UsageError, "all 3 views are the same"),
        ({"teacher": nn.Sequential(nn.Flatten(), nn.Linear(64, 11))}, Refused, "has 11 classes"),
        ({"teacher": nn.Sequential(nn.Flatten(), nn.Linear(64, 3))}, Refused, "has 3 classes"),
    ):
        with pytest.raises(error, match=said):
            dp.cache_teacher(digits, options.pop("teacher", net), tmp_path / "t", **options)
        assert not (tmp_path / "t").exists()
    loud = dp.make_model("mlp", 10, digits.shape)
    with torch.no_grad():
        loud.fc3.bias += 1e6
    with pytest.raises(PrunerError, match="too large for float16"):
        dp.cache_teacher(digits, loud, tmp_path / "loud")


def test_a_folder_of_something_else_is_left_alone(digits, net, full, tmp_path):
    file = tmp_path / "file"
    file.write_text("mine")
    with pytest.raises(Refused, match="is a file"):
        dp.cache_teacher(digits, net, file)
    with pytest.raises(Refused, match="holds files that are not cached logits"):
        dp.cache_teacher(digits, net, full)
    dp.cache_teacher(digits, net, tmp_path / "t")
    with pytest.raises(Refused, match=r"holds logits of another views \(0, not 2\)"):
        dp.cache_teacher(digits, net, tmp_path / "t", views=2, run=VIEWS)
    other = dp.make_model("mlp", 10, digits.shape, seed=1)
    with pytest.raises(Refused, match="holds logits of another weights"):
        dp.cache_teacher(digits, other, tmp_path / "t")


# -- killed --------------------------------------------------------------------------------------


def contents(folder) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(folder.iterdir())}


@pytest.mark.parametrize(("name", "nth"), [("write_json", n) for n in range(2, 8)])
@pytest.mark.parametrize("after", [False, True])
def test_a_killed_pass_goes_on_to_the_same_bytes(name, nth, after, digits, net, tmp_path):
    run, shards = replace(VIEWS, batch_size=100), []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(teacher_pass, "SHARD", 600)
        whole = tmp_path / "whole"
        dp.cache_teacher(digits, net, whole, views=2, run=run)
        plain, calls = getattr(teacher_pass, name), []

        def broken(*args):
            calls.append(None)
            if len(calls) == nth and not after:
                raise KeyboardInterrupt
            plain(*args)
            if len(calls) == nth:
                raise KeyboardInterrupt

        patch.setattr(teacher_pass, name, broken)
        with pytest.raises(KeyboardInterrupt):
            dp.cache_teacher(digits, net, tmp_path / "t", views=2, run=run)
        assert not (tmp_path / "t" / "teacher.json").exists() or nth == 8
        patch.setattr(teacher_pass, name, plain)
        with pytest.raises(Refused, match="holds logits of another"):
            dp.cache_teacher(digits, net, tmp_path / "t", views=3, run=run)
        show = lambda text, done, total: shards.append((done, total))  # noqa: E731
        dp.cache_teacher(digits, net, tmp_path / "t", views=2, run=run, progress=show)
    assert contents(tmp_path / "t") == contents(whole)
    done = nth - 1 if after else nth - 2  # the first note is that nothing is done
    assert shards == [(n, 6) for n in range(done + 1, 7)]
    dp.cache_teacher(digits, net, tmp_path / "t", views=2, run=run, progress=show)
    assert len(shards) == 6 - done  # what is there is not asked again


def test_a_pass_that_is_not_through_is_no_teacher(digits, full, net, tmp_path, monkeypatch):
    monkeypatch.setattr(teacher_pass._Pass, "_finish", lambda *args: None)
    with pytest.raises(PrunerError, match="no such file"):
        dp.cache_teacher(digits, net, tmp_path / "t")
    with pytest.raises(Refused, match="was broken off; give the same `datapruner teacher` again"):
        dp.load_teacher(str(tmp_path / "t"), digits)
