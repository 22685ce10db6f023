"""Wrong forms that circulate must not be what we compute, and bad input is refused by name."""

import importlib.util
import math
import re
from pathlib import Path

import pytest
import torch
from toy_record import auc, call, toy_record, traces_of, with_holes
from wrong_form import measure
from wrong_variants import WRONG

from scorers import SCORERS

ONE = torch.ones(3, 2)
SEEN_ONCE = torch.tensor([[1.0, 1.0], [1.0, math.nan], [math.nan, math.nan]])


@pytest.mark.parametrize("wrong", WRONG, ids=lambda w: f"{w.scorer}: {w.form}")
def test_a_wrong_form_does_what_the_table_says(wrong):
    spearman = measure(wrong, toy_record()).spearman
    if wrong.outcome == "order":
        assert spearman < 0.9999
    elif wrong.outcome == "reversed":
        assert spearman == pytest.approx(-1)
    else:
        assert wrong.outcome == "values"
        assert spearman == pytest.approx(1)
        right = call(SCORERS[wrong.scorer], toy_record().sources)
        assert not torch.allclose(wrong.score(toy_record().sources).float(), right)


def test_the_conformance_page_is_the_one_that_the_scorers_give():
    """Figures may differ in the last places between machines; words and rows may not."""
    page = Path(__file__).parent.parent / "benchmarks" / "conformance.py"
    spec = importlib.util.spec_from_file_location("conformance", page)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    figure = r"[+-]?\d+\.\d+|\d+(?=%)"
    kept, made = page.with_suffix(".md").read_text(encoding="utf-8"), module.conformance()
    assert re.sub(figure, "#", kept) == re.sub(figure, "#", made), f"run python {page}"
    for old, new in zip(re.findall(figure, kept), re.findall(figure, made), strict=True):
        assert float(old) == pytest.approx(float(new), abs=3 if old.isdigit() else 0.03)


def test_never_learned_as_zero_ranks_the_never_learned_easiest():
    margin = toy_record().sources["margin"]
    never = (margin <= 0).all(0)
    assert never.any()
    assert call(SCORERS["forgetting"], {"margin": margin})[never].min() == len(margin)
    wrong = SCORERS["forgetting"](margin, never_learned="zero")
    assert wrong[never].max() == wrong.min() == 0
    assert auc(wrong, toy_record().flipped) < 0.6


def test_visits_alone_do_not_move_a_mean():
    """Two examples that always do the same, one visited half as often."""
    row = torch.tensor([[0.5, 0.5]])
    trace = torch.cat([row, row, row, row])
    trace[1::2, 1] = math.nan
    for name in ("el2n", "aum", "loss", "entropy", "confidence", "correctness", "variability"):
        first, second = SCORERS[name](trace)
        assert first == second, name


def test_unvisited_rows_change_nothing_for_any_trace_scorer():
    """A row that nobody visited, put anywhere after the first, is not an epoch."""
    sources = dict(toy_record().sources)
    gap = {
        k: torch.cat([v[:4], v[:1] * math.nan, v[4:]]) for k, v in sources.items() if k in TRACED
    }
    for name in ("el2n", "aum", "loss", "entropy", "forgetting", "dyn_unc", "dual", "tdds"):
        expected = call(SCORERS[name], sources)
        assert torch.equal(call(SCORERS[name], sources | gap), expected), name


TRACED = ("loss", "margin", "error_norm", "entropy", "shift")


def test_ties_broken_by_the_last_error_never_disturb_the_counts():
    margin = with_holes(toy_record().sources["margin"])
    counts = SCORERS["forgetting"](margin)
    broken = SCORERS["forgetting"](margin, break_ties=True)
    assert torch.equal(broken.floor(), counts)
    assert len(broken.unique()) > len(counts.unique())


def test_the_traces_carry_the_easy_and_the_hard_end():
    """Logits 40 apart: 1 - p is 1e-17 and p_y too, neither is rounded to what its neighbour is."""
    logits = torch.tensor([[[0.0, -20], [0, -40], [0, 20], [0, 40]]])
    traces = traces_of(logits, torch.zeros(4, dtype=torch.int64))
    for name in ("aum", "least_confidence", "confidence", "loss"):
        score = call(SCORERS[name], traces)
        easy, easier = score[:2]
        assert easy > easier, name
    assert (call(SCORERS["least_confidence"], traces)[2:] < 1e-6).all()


def test_prototypes_follow_the_seed_and_the_sample_and_not_the_order():
    rows = toy_record().sources["embedding"]
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(5))
    for options in ({}, {"spherical": False}, {"fit_at_most": 150, "k": 12}, {"seed": 4}):
        expected = SCORERS["prototypes"](rows, **options)[order]
        score = SCORERS["prototypes"](rows[order], **options)
        torch.testing.assert_close(score, expected, rtol=1e-5, atol=1e-6)
    one, other = (SCORERS["prototypes"](rows, seed=seed, restarts=1) for seed in (0, 1))
    assert not torch.equal(one, other)


def test_prototypes_take_duplicates_rows_of_zeros_and_single_rows():
    assert SCORERS["prototypes"](torch.ones(1, 3)).tolist() == [0]
    assert SCORERS["prototypes"](torch.ones(50, 3)).tolist() == pytest.approx([0] * 50, abs=1e-6)
    rows = torch.cat([torch.zeros(1, 3), torch.ones(4, 3)])
    assert SCORERS["prototypes"](rows, k=1)[0] == 1
    scaled = rows * torch.arange(1, 6)[:, None]
    torch.testing.assert_close(*(SCORERS["prototypes"](r, k=1) for r in (rows, scaled)))


@pytest.mark.parametrize(
    ("name", "sources", "options", "message"),
    [
        ("loss", (ONE * torch.nan,), {}, "example 0 and 1 other were never visited: score only"),
        ("loss", (ONE * math.inf,), {}, "example 0 and 1 other were given a score that is not"),
        ("loss", (ONE[0],), {}, r"must share one shape \(epochs, n\), not \[\(2,\)\]"),
        ("loss", (ONE,), {"epoch": 3}, "epoch=3 is not one of the 3 rows"),
        ("el2n", (ONE,), {"epoch": 1, "window": 3}, "window=3 from row 1 does not fit the 3 rows"),
        ("el2n", (ONE,), {"window": 0}, "choose a window between 1 and 3"),
        ("forgetting", (ONE,), {"never_learned": "inf"}, "never_learned='inf': use 'present"),
        ("aum_probability", (ONE, ONE[:2]), {}, "share one shape"),
        ("dyn_unc", (ONE[:1],), {}, "the 1 rows of the trace hold fewer than 2 values of any"),
        ("dyn_unc", (SEEN_ONCE,), {}, "example 1 was visited fewer than 2 times"),
        ("tdds", (SEEN_ONCE[1:],), {}, "the 2 rows of the trace hold fewer than 2 values of any"),
        ("dual", (ONE,), {"window": 1}, "a window of 1 has no spread"),
        ("tdds", (ONE,), {"window": 2}, "window=2 epochs hold fewer than two shifts"),
        ("top2_margin", (ONE[:, :1],), {}, "two classes or more"),
        ("rho_loss", (ONE, torch.ones(3)), {}, "loss scores 2 examples, holdout_loss 3"),
        ("grand", (torch.tensor([1, math.nan]),), {}, "example 1 was given a score"),
        ("vog", (ONE[0], torch.tensor([0])), {}, "2 values and 1 labels"),
        ("memorization", (ONE, ONE), {}, "example 0 and 1 other were in all of the 3 runs or"),
        ("memorization", (ONE, ONE[:2]), {}, "share one shape"),
        ("influence", (ONE, ONE), {"over": "max"}, "over='max': use 'mean' or 'largest'"),
        ("ddd", (ONE, ONE), {}, "in all of the 3 runs: add runs on random subsets"),
        ("prototypes", (ONE,), {"k": 4}, "k=4 clusters cannot be made of 3"),
        ("prototypes", (ONE * math.inf,), {}, "example 0 and 2 others were given a score"),
    ],
)
def test_bad_input_is_refused_in_one_line(name, sources, options, message):
    with pytest.raises(ValueError, match=message) as caught:
        SCORERS[name](*sources, **options)
    assert "\n" not in str(caught.value)
