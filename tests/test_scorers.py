"""What every scorer in the table promises, tested over the table."""

import doctest
import inspect
import pkgutil
import re
from importlib import import_module

import pytest
import torch
from torch import Tensor
from toy_record import TRACES, Sources, auc, call, chosen, toy_record, with_holes

import scorers
from scorers import BUDGETED, ERRORS, PASS, SCORERS

NAMES = sorted(set(SCORERS) - set(BUDGETED))
# Those that rank in the order of their picks, and may stop early.
GREEDY = [n for n in NAMES if "limit" in inspect.signature(SCORERS[n]).parameters]
# Their scores depend on the other rows too, so a slice of them is not the score of the slice.
SETWISE = {
    *("prototypes", "class_prototypes", "moderate", "cal", "duplicates", "zcore_style"),
    *("vog", "random", *GREEDY),
}
# Wrong labels belong on top of these; rho_loss exists to put them at the bottom.
HARD = [
    *("el2n", "forgetting", "aum", "aum_probability", "loss", "confidence", "correctness"),
    *("first_learned", "grand", "grand_last_layer", "memorization", "ddd"),
]


def traces_read(name: str) -> list[str]:
    return [p for p in inspect.signature(SCORERS[name]).parameters if p in TRACES]


def sources(holes: bool = False) -> Sources:
    found = toy_record().sources
    return {k: with_holes(v) if holes and k in TRACES else v for k, v in found.items()}


def same_bits(a: Tensor, b: Tensor) -> bool:
    return torch.equal(a.contiguous().view(torch.uint8), b.contiguous().view(torch.uint8))


@pytest.mark.parametrize("holes", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_a_score_is_one_finite_float32_per_example_and_leaves_its_sources_alone(name, holes):
    given = sources(holes)
    before = {k: v.clone() if isinstance(v, Tensor) else v for k, v in given.items()}
    score = call(SCORERS[name], given)
    assert score.shape == (given["n"],)
    assert score.dtype == torch.float32
    assert score.isfinite().all()
    assert len(score.unique()) > 2
    for key, value in before.items():
        assert same_bits(value, given[key]) if isinstance(value, Tensor) else value == given[key]


@pytest.mark.parametrize("name", NAMES)
def test_asking_twice_gives_the_same_bits_and_touches_no_global_generator(name):
    state = torch.get_rng_state()
    assert same_bits(call(SCORERS[name], sources()), call(SCORERS[name], sources()))
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("holes", [False, True])
@pytest.mark.parametrize("name", [n for n in NAMES if n != "random"])
def test_reordering_the_examples_reorders_the_scores(name, holes):
    given = sources(holes)
    order = torch.randperm(given["n"], generator=torch.Generator().manual_seed(3))
    expected = call(SCORERS[name], given)[order]
    torch.testing.assert_close(call(SCORERS[name], chosen(given, order)), expected)


@pytest.mark.parametrize("name", [n for n in NAMES if n not in SETWISE])
def test_the_score_of_a_slice_is_the_slice_of_the_score(name):
    given, part = sources(holes=True), torch.arange(20, 75)
    expected = call(SCORERS[name], given)[part]
    torch.testing.assert_close(call(SCORERS[name], chosen(given, part)), expected)


@pytest.mark.parametrize("name", GREEDY)
def test_a_greedy_ranking_is_a_ladder_of_which_a_limit_gives_the_top(name):
    given = sources()
    n = given["n"]
    whole = call(SCORERS[name], given)
    assert whole.sort().values.tolist() == list(range(1, n + 1))
    few = call(SCORERS[name], given, limit=30)
    assert torch.equal(few, whole.where(whole > n - 30, -1.0))
    with pytest.raises(ValueError, match="limit=0 must be at least 1"):
        call(SCORERS[name], given, limit=0)


@pytest.mark.parametrize("name", sorted(SCORERS))
def test_the_signature_names_sources_first_and_options_by_keyword(name):
    for parameter in inspect.signature(SCORERS[name]).parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY:
            assert parameter.default is not parameter.empty, parameter
        else:
            assert parameter.kind is parameter.POSITIONAL_OR_KEYWORD, parameter
            assert parameter.default is parameter.empty, parameter
            assert parameter.name in toy_record().sources, "a source that no test provides"


@pytest.mark.parametrize("name", NAMES)
def test_the_docstring_says_source_and_side_and_shows_an_example(name):
    text = inspect.getdoc(SCORERS[name])
    assert re.search(r"\b(19|20)\d\d\b", text), "no paper with its year"
    assert "High means" in text
    assert "Returns:\n    (n,) float32" in text
    assert "Example:\n    >>> " in text


@pytest.mark.parametrize("name", sorted(SCORERS))
def test_a_scorer_stands_in_the_file_of_its_name(name):
    assert SCORERS[name].__name__ == name
    assert SCORERS[name].__module__ == f"scorers.{name}"


@pytest.mark.parametrize("module", [m.name for m in pkgutil.iter_modules(scorers.__path__)])
def test_doctests(module):
    found = import_module(f"scorers.{module}")
    assert "datapruner" not in inspect.getsource(found)
    result = doctest.testmod(found)
    assert result.attempted
    assert not result.failed


def test_the_tables_fit_each_other():
    assert set(PASS) == set(SCORERS)
    assert {name for name, side in PASS.items() if side == "clean"} == {
        *("el2n", "grand_last_layer", "top2_margin"),
    }
    for name, error in ERRORS.items():
        assert list(inspect.signature(error).parameters) == [
            p.name
            for p in inspect.signature(SCORERS[name]).parameters.values()
            if p.kind is not p.KEYWORD_ONLY
        ]
        assert (call(error, sources()) > 0).all()


@pytest.mark.parametrize("holes", [False, True])
@pytest.mark.parametrize("name", HARD)
def test_flipped_labels_land_on_top_of_the_hard_side(name, holes):
    assert auc(call(SCORERS[name], sources(holes)), toy_record().flipped) > 0.85


def test_flipped_labels_land_at_the_bottom_of_what_is_reducible():
    assert auc(call(SCORERS["rho_loss"], sources()), toy_record().flipped) < 0.15


@pytest.mark.parametrize("name", ["entropy", "least_confidence", "top2_margin", "deepfool"])
def test_the_uncertain_side_is_where_predictions_are_least_sure(name):
    given = sources()
    sure = given["probs"].amax(1)
    score = call(SCORERS[name], given)
    assert score[sure < sure.quantile(0.3)].mean() > score[sure > sure.quantile(0.7)].mean()


@pytest.mark.parametrize("name", [n for n in NAMES if traces_read(n)])
def test_an_example_that_was_never_visited_is_named(name):
    given = dict(sources())
    missing = torch.zeros(given["n"], dtype=torch.bool)
    missing[[17, 40, 41, 300]] = True
    for trace in traces_read(name):
        given[trace] = given[trace].masked_fill(missing, torch.nan)
    with pytest.raises(ValueError, match="example 17 and 3 others were "):
        call(SCORERS[name], given)
