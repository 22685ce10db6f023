"""Ensembles, pools of saved runs, held-out losses, clean passes: who saw what, and what of it."""

import numpy as np
import pytest
import torch
from torch.utils.data import TensorDataset

import datapruner as dp
from datapruner.clean import clean_loss, probs
from datapruner.ensembles import Pool, ensemble, pool_of, trained_on
from datapruner.errors import Refused, UsageError
from datapruner.holdout import holdout_loss
from datapruner.noise import flip_labels, with_labels
from datapruner.run import KeepSpec, RS2Spec
from scorers import SCORERS

RUN = dp.Run(model="mlp", epochs=2, batch_size=32, lr=0.05)


def blobs(n=120, seed=0, classes=3):
    rng = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % classes
    x = torch.randn(n, 4, generator=rng) + 2 * torch.eye(4)[y]
    return dp.open_data(TensorDataset(x, y))


@pytest.fixture(scope="module")
def data():
    return blobs()


# ensembles


@pytest.fixture(scope="module")
def pool(data, tmp_path_factory):
    return ensemble(data, RUN, tmp_path_factory.mktemp("pool"), runs=20, test=blobs(30, 1))


def test_of_ten_runs_every_example_is_left_out_of_three(data, pool):
    assert pool.member.shape == pool.correct.shape == (20, data.n)
    assert pool.test_correct.shape == (20, 30)
    for block in pool.member.split(10):
        assert (block.sum(0) == 7).all()
    inside, outside = pool.counts
    assert (inside == 14).all()
    assert (outside == 6).all()
    assert not pool.member[0].equal(pool.member[10])


def test_examples_are_left_out_independently_of_each_other(data, pool):
    """Those left out of one run together are not left out of all the same runs."""
    rest = pool.member[1:10][:, ~pool.member[0]]
    assert len(torch.unique(rest, dim=1)[0]) > 9


def test_the_table_has_the_standard_error_that_few_runs_leave(data, pool):
    table = dp.score({"n": data.n}, ["memorization", "influence", "ddd"], extra=pool.sources)
    assert (table.spread("memorization") > 0.05).all()
    assert (table.spread("influence") > 0).any()
    assert table.spread("ddd") is None
    assert (table["ddd"] >= 0).all()


def test_one_run_on_a_side_has_no_standard_error_of_influence_and_that_is_said(pool):
    inside = pool.member[:, 0]
    rows = torch.cat([inside.nonzero()[:4, 0], (~inside).nonzero()[:1, 0]])
    sources = {name: value[rows] for name, value in pool.sources.items()}
    sources |= {name: sources[name][:, :1] for name in ("member", "correct")}
    assert SCORERS["influence"](sources["member"], sources["test_correct"]).isfinite().all()
    with pytest.raises(UsageError, match=r"example 0 was in one run only, or left out of one only"):
        dp.score({"n": 1}, ["influence"], extra=sources)


def test_wrong_labels_are_memorised(tmp_path):
    spoiled, wrong = flip_labels(blobs(90), 0.1)
    run = dp.Run(model="mlp", epochs=40, batch_size=16, lr=0.1, weight_decay=0.0)
    score = SCORERS["memorization"](*ensemble(spoiled, run, tmp_path, runs=10)[:2])
    assert score[wrong].mean() > score[~wrong].mean() + 0.3


def test_a_killed_ensemble_goes_on_and_more_runs_add_to_it(data, tmp_path, monkeypatch):
    trained = []
    real = dp.training.train

    def spy(run, *rest, **named):
        if len(trained) == 2 and "stop" in flags:
            raise KeyboardInterrupt
        trained.append(run.seed)
        return real(run, *rest, **named)

    flags = {"stop"}
    monkeypatch.setattr("datapruner.subsets.train", spy)
    with pytest.raises(KeyboardInterrupt):
        ensemble(data, RUN, tmp_path, runs=4)
    flags.clear()
    whole = ensemble(data, RUN, tmp_path, runs=4)
    assert trained == [0, 1, 2, 3]
    more = ensemble(data, RUN, tmp_path, runs=5)
    assert trained == [0, 1, 2, 3, 4]
    assert more.correct[:4].equal(whole.correct)
    with pytest.raises(Refused, match="another run"):
        ensemble(data, dp.Run(model="mlp", epochs=1), tmp_path, runs=2)


def test_shares_are_tenths(data, tmp_path):
    for share in (0.75, 0.0, 1.0):
        with pytest.raises(UsageError, match="share"):
            ensemble(data, RUN, tmp_path, runs=1, share=share)


# pools of runs that are there


def test_a_pool_of_saved_runs_knows_what_each_trained_on(data, tmp_path):
    kept = dp.Selection(torch.arange(40), data.n, meta={"fingerprint": data.fingerprint})
    kept.save(tmp_path / "kept")
    samplers = [KeepSpec(str(tmp_path / "kept")), RS2Spec(0.25), None]
    for i, sampler in enumerate(samplers):
        run = dp.Run(model="mlp", epochs=2, sampler=sampler)
        dp.train(run, data, out=tmp_path / f"run-{i}")
    dp.record(data, dp.Run(model="mlp", epochs=1, seed=4), tmp_path / "record")
    folders = [tmp_path / f"run-{i}" for i in range(3)] + [tmp_path / "record"]
    pool = pool_of(data, folders, tmp_path / "pool")
    assert pool.member.sum(1).tolist() == [40, 60, 120, 120]
    assert pool.member[0].equal(torch.arange(data.n) < 40)
    model, _ = dp.train(dp.Run(model="mlp", epochs=2), data, out=tmp_path / "run-2")
    assert pool.correct[2].double().mean() == dp.evaluate(model, dp.TensorLoader(data))
    with pytest.raises(Refused, match="other data"):
        pool_of(blobs(60), folders[2:], tmp_path / "other")
    with pytest.raises(UsageError, match="no finished run"):
        pool_of(data, [tmp_path], tmp_path / "other")


def test_what_rs2_drew_is_drawn_again(data):
    run = dp.Run(epochs=2, sampler=RS2Spec(0.1))
    bound = dp.RS2(0.1, seed=0).bind(data.n, data.labels, data.readable)
    drawn = torch.cat([bound.draw(epoch)[0] for epoch in range(2)])
    assert trained_on(run, data).nonzero().flatten().equal(drawn.unique())
    short = dp.Run(steps=1, batch_size=8, sampler=RS2Spec(0.1))
    assert trained_on(short, data).sum() == 6  # 12 rows in two batches


def test_counts_are_of_both_sides():
    pool = Pool(torch.tensor([[True, False], [True, True]]), torch.zeros(2, 2, dtype=torch.bool))
    assert [side.tolist() for side in pool.counts] == [[2, 1], [0, 1]]


# held-out losses and clean passes


def test_each_fold_is_judged_by_a_network_that_has_not_seen_it(data, tmp_path):
    losses = holdout_loss(data, RUN, tmp_path, folds=3)
    assert losses.isfinite().all()
    seen = torch.zeros(data.n, dtype=torch.int64)
    for fold in range(3):
        kept = dp.Selection.load(tmp_path / f"fold-{fold}" / "subset").indices
        out = torch.ones(data.n, dtype=torch.bool)
        out[kept] = False
        assert data.labels[out].bincount().tolist() == [14, 13, 13] or out.sum() == 40
        run = dp.Run(**{**vars(RUN), "sampler": KeepSpec(str(tmp_path / f"fold-{fold}/subset"))})
        model, _ = dp.train(run, data, out=tmp_path / f"fold-{fold}" / "run")
        torch.testing.assert_close(losses[out], clean_loss(data, model)[out])
        seen += ~out
    assert (seen == 2).all()


def test_data_set_aside_train_one_network(data, tmp_path):
    aside = blobs(60, seed=9)
    losses = holdout_loss(data, RUN, tmp_path, holdout=aside)
    model, _ = dp.train(RUN, aside)
    torch.testing.assert_close(losses, clean_loss(data, model))
    with pytest.raises(UsageError, match="classes"):
        holdout_loss(data, RUN, tmp_path / "b", holdout=blobs(classes=2))
    with pytest.raises(UsageError, match="folds"):
        holdout_loss(data, RUN, tmp_path / "c", folds=1)


def test_rho_loss_keeps_wrong_labels_low_where_the_loss_puts_them_high():
    spoiled, wrong = flip_labels(blobs(300), 0.2)
    run = dp.Run(model="mlp", epochs=6, batch_size=32, lr=0.05)
    record = dp.record(spoiled, run)
    table = dp.score(
        record, ["loss", "rho_loss"], extra={"holdout_loss": holdout_loss(spoiled, run)}
    )
    top = {name: np.argsort(-table[name])[:60] for name in table}
    share = {name: wrong.numpy()[index].mean() for name, index in top.items()}
    assert share["loss"] > 0.7
    assert share["rho_loss"] < 0.4


def test_probabilities_stream_to_a_file_and_are_those_of_the_network(data, tmp_path):
    model = dp.make_model("mlp", data.num_classes, data.shape)
    data = blobs()
    data.readable[5] = False
    found, streamed = probs(data, model), probs(data, model, out=tmp_path / "probs.npy")
    assert np.array_equal(found, streamed, equal_nan=True)
    assert isinstance(streamed, np.memmap)
    assert np.isnan(found[5]).all()
    expected = model(data.x).softmax(1).detach().numpy()
    np.testing.assert_allclose(found[6:], expected[6:], rtol=1e-5, atol=1e-7)
    with pytest.raises(UsageError, match="2 outputs for 3 classes"):
        probs(data, dp.make_model("mlp", 2, data.shape))


# labels


def test_flipped_labels_are_exactly_those_said_and_make_other_data(data):
    spoiled, wrong = flip_labels(data, 0.25, seed=3)
    assert wrong.sum() == 30
    assert (spoiled.labels != data.labels).equal(wrong)
    assert spoiled.fingerprint != data.fingerprint
    assert spoiled.fingerprint != flip_labels(data, 0.25, seed=4)[0].fingerprint
    assert spoiled.dataset[0][1] == spoiled.labels[0]
    assert next(iter(dp.TensorLoader(spoiled)(torch.arange(9)))).y.equal(spoiled.labels[:9])
    with pytest.raises(UsageError, match="outside|must lie"):
        with_labels(data, data.labels + 1)
