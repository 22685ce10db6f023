"""Choosing by a budget: each method against a reference of ten lines, and select()'s promises."""

import inspect
import json
from importlib import import_module

import numpy as np
import pytest
import torch
from scipy.optimize import nnls
from scipy.spatial.distance import cdist
from torch import Tensor
from toy_record import Sources, call, chosen, toy_record

import datapruner as dp
from datapruner.spending import METHODS
from scorers import BUDGETED, SCORERS

K = 40


def sources() -> Sources:
    return toy_record().sources | {"k": K}


def last_layer(errors: Tensor, embedding: Tensor) -> np.ndarray:
    """Form every gradient (n, classes * (d + 1)), which the library never does."""
    feature = torch.cat([embedding, torch.ones(len(embedding), 1)], 1)
    return torch.einsum("nc,nd->ncd", errors, feature).flatten(1).double().numpy()


def craig_by_hand(apart: np.ndarray, k: int) -> list[int]:
    picks: list[int] = []
    for _ in range(k):
        least = apart[picks].min(0) if picks else np.full(len(apart), apart.max())
        cost = np.minimum(apart, least).sum(1)
        cost[picks] = np.inf
        picks.append(int(cost.argmin()))
    return picks


def gradmatch_by_hand(s: Sources, k: int) -> tuple[list[int], np.ndarray]:
    g = last_layer(s["errors"], s["embedding"])
    target, picks, w = g.mean(0), [], np.zeros(0)
    for _ in range(k):
        left = g @ (target - w @ g[picks])
        left[picks] = -np.inf
        picks.append(int(left.argmax()))
        wide = np.concatenate([g[picks].T, np.sqrt(0.5) * np.eye(len(picks))])
        w = nnls(wide, np.concatenate([target, np.zeros(len(picks))]))[0]
    return picks, w / w.mean()


def glister_by_hand(s: Sources, k: int) -> tuple[list[int], np.ndarray]:
    """Refresh at each pick, and take the validation gradient by autograd."""
    g = torch.from_numpy(last_layer(s["errors"], s["embedding"]))
    feature = torch.cat([s["validation_embedding"], torch.ones(50, 1)], 1).double()
    label = s["validation_errors"].argmin(1)
    onehot = torch.nn.functional.one_hot(label, s["errors"].shape[1])
    start = (s["validation_errors"].double() + onehot).clamp(min=1e-12).log()
    step, picks = torch.zeros(g.shape[1], dtype=torch.float64, requires_grad=True), []
    for _ in range(k):
        moved = start + feature @ step.reshape(start.shape[1], -1).T
        loss = torch.nn.functional.cross_entropy(moved, label)
        gain = g @ torch.autograd.grad(loss, step)[0]
        gain[picks] = -np.inf
        picks.append(int(gain.argmax()))
        step = (step - g[picks[-1]] / k).detach().requires_grad_()
    return picks, np.ones(k)


def d2_by_hand(s: Sources, k: int) -> tuple[list[int], np.ndarray]:
    x = torch.nn.functional.normalize(s["embedding"]).double().numpy()
    apart = cdist(x, x)
    np.fill_diagonal(apart, np.inf)
    near = apart.argsort(1)[:, :5]
    gap = np.take_along_axis(apart, near, 1)
    score = s["difficulty"].double().numpy()
    score = score + (np.exp(-gap) * score[near]).sum(1)
    picks: list[int] = []
    for _ in range(k):
        left = score.copy()
        left[picks] = -np.inf
        picks.append(int(left.argmax()))
        score[near[picks[-1]]] -= np.exp(-0.1 * gap[picks[-1]]) * score[picks[-1]]
    return picks, np.ones(k)


BY_HAND = {
    "gradmatch": (gradmatch_by_hand, {}),
    "glister": (glister_by_hand, {"refreshes": K}),
    "d2": (d2_by_hand, {}),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_what_is_chosen_is_what_the_plain_form_chooses_however_the_rows_stand(name):
    by_hand, options = BY_HAND[name]
    given = sources()
    picks, weights = by_hand(given, K)
    order = torch.randperm(given["n"], generator=torch.Generator().manual_seed(4))
    moved = chosen(given, order) | {"k": K}
    here, there = (call(SCORERS[name], s, **options) for s in (given, moved))
    matched = weights > 1e-9  # gradmatch replaces those without a weight
    if matched.all():
        assert here[0].tolist() == picks
        np.testing.assert_allclose(here[1], weights, rtol=1e-4, atol=1e-6)
    else:
        kept = np.array(picks)[matched]
        assert here[0][: len(kept)].tolist() == kept.tolist()
        found = here[1][: len(kept)].numpy()
        np.testing.assert_allclose(
            found / found.mean(), weights[matched] / weights[matched].mean(), rtol=1e-3
        )
    assert sorted(order[there[0]].tolist()) == sorted(here[0].tolist())


def test_gradmatch_says_before_it_starts_that_its_products_do_not_fit(monkeypatch):
    monkeypatch.setattr("scorers._memory.free_memory", lambda: 100_000)
    with pytest.raises(ValueError, match="the products of 200 gradients take .* choose fewer"):
        call(SCORERS["gradmatch"], sources() | {"k": 200})


def test_d2_is_the_plain_loop_also_where_the_scores_left_are_below_0():
    """From there a pick raises its neighbours, which those that chose before could only lower."""
    given = sources()
    k = given["n"] * 9 // 10
    picks, _ = d2_by_hand(given, k)
    assert call(SCORERS["d2"], given | {"k": k})[0].tolist() == picks


@pytest.mark.parametrize("stored", [True, False])
def test_craig_is_as_near_to_all_as_the_plain_loop_and_weighs_by_cluster(stored, monkeypatch):
    """Two that are each other's nearest cost the same, whichever is picked: picks may differ."""
    if not stored:
        monkeypatch.setattr(import_module("scorers.craig"), "free_memory", lambda: 0)
    given = sources()
    g = last_layer(given["errors"], given["embedding"])
    apart = cdist(g, g)
    picks, weights = call(SCORERS["craig"], given)
    ours, plain = (
        np.minimum.accumulate(apart[p]).sum(1) for p in (picks.tolist(), craig_by_hand(apart, K))
    )
    np.testing.assert_allclose(ours, plain, rtol=1e-4)
    size = np.bincount(apart[picks.tolist()].argmin(0), minlength=K)
    np.testing.assert_allclose(weights, size / size.mean(), atol=1e-6)
    order = torch.randperm(given["n"], generator=torch.Generator().manual_seed(4))
    moved = call(SCORERS["craig"], chosen(given, order) | {"k": K})
    assert torch.equal(order[moved[0]], picks)
    assert torch.equal(moved[1], weights)


def test_gradmatch_fills_what_does_not_match_at_random_with_the_mean_weight():
    errors = torch.tensor([[-0.5, 0.5]] + [[0.1, -0.1]] * 3)
    indices, weights = SCORERS["gradmatch"](errors, torch.ones(4, 1), 3)
    assert indices[0] == 0  # the mean points its way, and the others' lead away
    assert weights.tolist() == [1, 1, 1]
    other = [SCORERS["gradmatch"](errors, torch.ones(4, 1), 2, seed=s)[0][1] for s in range(9)]
    assert len(set(map(int, other))) > 1
    matched = call(SCORERS["gradmatch"], sources(), tolerance=0.5)[1]
    assert matched.mean() == pytest.approx(1)


def test_glister_refreshes():
    once, often = (call(SCORERS["glister"], sources(), refreshes=r)[0] for r in (1, K))
    assert set(once.tolist()) != set(often.tolist())


@pytest.mark.parametrize("per_class", [False, True])
@pytest.mark.parametrize("method", METHODS)
def test_a_selection_is_of_the_size_and_says_how_it_was_made(method, per_class, tmp_path):
    given = {k: v for k, v in sources().items() if k not in ("n", "k", "errors")}
    kept = dp.select(method, given, fraction=0.1, seed=3, per_class=per_class)
    assert len(kept) == 40
    assert kept.n == 400
    assert (kept.indices.diff() > 0).all()
    assert (kept.weights is None) == (method not in ("craig", "gradmatch"))
    assert json.loads(json.dumps(kept.meta))["rule"] == method
    again = dp.select(method, given, k=40, seed=3, per_class=per_class)
    assert again.fingerprint == kept.fingerprint
    kept.save(tmp_path / "kept")
    assert dp.Selection.load(tmp_path / "kept").fingerprint == kept.fingerprint
    if per_class:
        count = given["labels"][kept.indices].bincount()
        share = given["labels"].bincount() * 0.1
        assert ((count - share).abs() < 1).all()


def test_per_class_is_each_class_by_itself():
    given = sources()
    own = (given["labels"] == 2).nonzero()[:, 0]
    kept = dp.select("craig", given, fraction=0.1, per_class=True)
    here = kept.indices[given["labels"][kept.indices] == 2]
    alone, _ = call(SCORERS["craig"], chosen(given, own) | {"k": len(here)})
    assert sorted(own[alone].tolist()) == here.tolist()


def test_unreadable_examples_are_never_chosen_and_change_nothing():
    given, readable = sources(), torch.ones(400, dtype=torch.bool)
    readable[::3] = False
    broken = given | {"embedding": given["embedding"].clone()}
    broken["embedding"][::3] = torch.nan
    kept = dp.select("d2", broken, k=20, readable=readable)
    assert readable[kept.indices].all()
    pool = readable.nonzero()[:, 0]
    part, _ = call(SCORERS["d2"], chosen(given, pool) | {"k": 20})
    assert sorted(pool[part].tolist()) == kept.indices.tolist()
    assert kept.meta["readable"] == len(pool)


@pytest.mark.parametrize(
    ("method", "change", "options", "message"),
    [
        ("crag", {}, {"fraction": 0.1}, "unknown method 'crag'; did you mean 'craig'"),
        ("el2n", {}, {"fraction": 0.1}, "'el2n' scores every example what.* dp.keep"),
        ("craig", {"errors": None}, {"fraction": 0.1}, "needs 'errors', .* probs less"),
        ("glister", {"validation_errors": None}, {"fraction": 0.1}, "needs 'validation_errors'"),
        ("craig", {}, {"fraction": 0.1, "options": {"ridge": 1}}, "no option 'ridge' here"),
        ("kcenter", {}, {"k": 3, "options": {"limit": 1}}, "no option 'limit' here"),
        ("craig", {}, {}, "say either fraction"),
        ("craig", {}, {"k": 0}, "k=0 leaves nothing to choose"),
        ("gradmatch", {}, {"k": 3, "options": {"ridge": -1.0}}, "'gradmatch': ridge=-1.0 must be"),
        ("craig", {"labels": None}, {"k": 3, "per_class": True}, "per_class needs labels"),
    ],
)  # fmt: skip
def test_what_cannot_be_chosen_is_refused(method, change, options, message):
    given = {name: v for name, v in (sources() | change).items() if v is not None}
    given.pop("probs")
    with pytest.raises(dp.UsageError, match=message):
        dp.select(method, given, **options)


def test_a_method_with_a_budget_is_no_score():
    with pytest.raises(dp.UsageError, match="choose with dp.select"):
        dp.score({name: v for name, v in sources().items() if name != "k"}, ["craig"])


def test_budgeted_methods_name_k_last_and_refuse_sizes_that_are_not_there():
    for name in BUDGETED:
        parameters = inspect.signature(SCORERS[name]).parameters.values()
        assert [p.name for p in parameters if p.kind is not p.KEYWORD_ONLY][-1] == "k"
        for k in (0, 401):
            with pytest.raises(ValueError, match=f"k={k} must be between 1 and the 400 examples"):
                call(SCORERS[name], sources() | {"k": k})
