"""Allocations and patterns: worked out by hand, exact in number, and refused in one line."""

from dataclasses import replace
from math import prod
from pathlib import Path

import pytest
import torch
from torch import nn

import datapruner as dp
from datapruner import UsageError
from datapruner.masks import ALLOCATIONS, CRITERIA, PATTERNS, make_masks
from datapruner.masks.allocation import Budget, allocation_named
from datapruner.masks.counts import allocate, chosen
from datapruner.masks.criteria_gradients import synflow
from datapruner.masks.patterns import TRACED
from datapruner.masks.schedules import SCHEDULES, timing
from datapruner.masks.units import Group

LENET = {"fc1": (300, 784), "fc2": (100, 300), "fc3": (10, 100)}
# A 3x3 convolution of 72 weights, a matrix of 200 and a classifier of 30.
SMALL = {"conv": (4, 2, 3, 3), "fc": (10, 20), "head": (3, 10)}


def groups(shapes: dict[str, tuple[int, ...]]) -> list[Group]:
    return [Group(k, s, prod(s), 1, (), cell=prod(s[1:])) for k, s in shapes.items()]


def counts(shapes, density, word, floor=1, ranked=None) -> list[int]:
    found = groups(shapes)
    ends = {"first": 0 if "conv" in shapes else None, "classifier": len(found) - 1}
    budget = Budget(found, density, floor, ranked, **ends)
    return allocate(budget, *allocation_named(word))


# name: shapes, density, kept in each layer
ROWS = {
    # Densities .0385, .1113 and .9185.
    "erk": [
        (LENET, 0.05, [9051, 3340, 919]),
        # Σ / Π: 12/72, 30/200, 13/30; Σ raw · n = 12 + 30 + 13 = 55, of which 30.2 are wanted.
        (SMALL, 0.1, [7, 16, 7]),
        # At a half ε = 151/55 = 2.7: the head would need 35.7 of 30, so it stays whole and the
        # others share 121 over 42.
        (SMALL, 0.5, [35, 86, 30]),
    ],
    # (in + out) / (in · out), of the convolution's channels alone, so 54 : 30 : 13. The matrix
    # would get 9.3, but has 10 outputs; 20 are left for 54 : 13.
    "er": [(LENET, 0.05, [9051, 3340, 919]), (SMALL, 0.1, [16, 10, 4])],
    "uniform": [(LENET, 0.05, [11760, 1500, 50]), (SMALL, 0.5, [36, 100, 15])],
    # The convolution whole, and 151 - 72 for the rest; below a fifth, a fifth of the classifier.
    "uniform+": [(SMALL, 0.5, [72, 69, 10]), (LENET, 0.1, [23431, 2989, 200])],
    # The head whole, what is left by 12 : 30.
    "erk+": [(SMALL, 0.2, [9, 21, 30])],
}
RANKED = {"global", "lamp", "snip", "grasp", "synflow"}


def test_every_allocation_has_a_row_worked_out_by_hand():
    assert set(ALLOCATIONS) == ROWS.keys() | RANKED


@pytest.mark.parametrize("name", ROWS)
def test_densities_are_what_the_definition_says(name):
    for shapes, density, expected in ROWS[name]:
        assert counts(shapes, density, name) == expected
        assert sum(expected) == round(density * sum(map(prod, shapes.values())))


def two(first: list[float], second: list[float]) -> nn.Sequential:
    model = nn.Sequential(nn.Linear(len(first), 1, bias=False), nn.Linear(len(second), 1))
    model[0].weight.data[:] = torch.tensor(first)
    model[1].weight.data[:] = torch.tensor(second)
    return model


def test_a_global_ranking_and_lamp_worked_out_by_hand():
    """Magnitudes 1, 2, 4 and 10, 30; LAMP 1/21, 1/5, 1 and 1/10, 1."""
    model = two([1.0, -2.0, 4.0], [10.0, -30.0])
    by = {word: make_masks(model, density=0.6, allocation=word) for word in ("global", "lamp")}
    found = {word: [int(mask.sum()) for mask in masks.values()] for word, masks in by.items()}
    assert found == {"global": [1, 2], "lamp": [2, 1]}
    lamp = make_masks(model, density=0.6, criterion="lamp")
    assert [mask.tolist() for mask in lamp.values()] == [[[False, True, True]], [[False, True]]]


@pytest.mark.parametrize("name", sorted(RANKED - {"global"}))
def test_densities_of_a_criterion_with_the_positions_drawn_anew(name):
    model = dp.make_model("lenet", 10, (1, 8, 8))
    loader = [(torch.rand(16, 1, 8, 8), torch.arange(16) % 10)]
    own = make_masks(model, density=0.1, criterion=name, loader=loader)
    drawn = make_masks(model, density=0.1, criterion="random", allocation=name, loader=loader)
    assert {k: int(m.sum()) for k, m in own.items()} == {k: int(m.sum()) for k, m in drawn.items()}
    assert any(not torch.equal(own[k], drawn[k]) for k in own)


def test_densities_by_name_and_the_others_solved_for():
    assert counts(SMALL, 0.5, "fc=0.1") == [36, 20, 15]  # the others at the density itself
    assert counts(SMALL, 0.3, "uniform,fc=0.1") == [50, 20, 21]  # 71 over 102
    found = counts(SMALL, 0.3, "erk,head=1")
    assert found == counts(SMALL, 0.3, "erk+")
    ranked = [torch.arange(72.0), torch.arange(200.0), torch.arange(30.0)]
    found = counts(SMALL, 0.5, "global,conv=0.25", ranked=ranked)
    assert found[0] == 18
    assert sum(found) == 151


def test_the_last_pattern_that_matches_a_layer_counts():
    assert counts(SMALL, 0.5, "*=0.1,fc=1") == [7, 200, 3]


# A hundred rounds of synflow take long on the larger one.
NETWORKS = [(net, name) for name in sorted(ALLOCATIONS) for net in ("lenet", "resnet8")]
NETWORKS.remove(("resnet8", "synflow"))


@pytest.mark.parametrize("density", [0.05, 0.37])
@pytest.mark.parametrize(("model", "name"), NETWORKS)
def test_counts_are_exact_and_no_output_loses_all(model, name, density):
    net = dp.make_model(model, 10, (3, 8, 8))
    loader = [(torch.rand(4, 3, 8, 8), torch.arange(4))]
    masks = make_masks(net, density=density, allocation=name, loader=loader)
    weights = sum(m.numel() for m in masks.values())
    assert sum(int(m.sum()) for m in masks.values()) == round(density * weights)
    assert all(bool(m.flatten(1).any(1).all()) for m in masks.values())


def test_no_floor_where_it_is_told_so():
    model = two([1.0, 2.0], [10.0, 20.0])
    masks = make_masks(model, density=0.5, floor=0)
    assert [int(m.sum()) for m in masks.values()] == [0, 2]
    assert [int(m.sum()) for m in make_masks(model, density=0.5).values()] == [1, 1]


def test_chosen_keeps_nothing_that_is_gone():
    group = Group("w", (2, 2), 4, 1, (), cell=2)
    scores = torch.tensor([-torch.inf, -torch.inf, 1.0, 2.0])
    assert chosen(group, scores, 3).tolist() == [False, False, True, True]


# Patterns --------------------------------------------------------------------------------------

MATRIX = torch.tensor([[1.0, 9, 2, 8, 5, 6, 4, 7], [8.0, 7, 1, 2, 1, 2, 3, 9]])


def matrix_mask(pattern: str, density: float) -> list[str]:
    layer = nn.Linear(8, 2, bias=False)
    layer.weight.data.copy_(MATRIX)
    mask = make_masks(layer, density=density, pattern=pattern, floor=0)["weight"]
    return ["".join("x" if kept else "." for kept in row) for row in mask.tolist()]


def test_patterns_worked_out_by_hand():
    assert matrix_mask("weight", 0.25) == [".x.x....", "x......x"]
    assert matrix_mask("2:4", 0.5) == [".x.x.x.x", "xx....xx"]
    assert matrix_mask("1:4", 0.25) == [".x.....x", "x......x"]
    assert matrix_mask("2x2", 0.5) == ["xx....xx", "xx....xx"]
    assert matrix_mask("1x4", 0.75) == ["xxxxxxxx", "xxxx...."]
    assert matrix_mask("row", 0.5) == ["xxxxxxxx", "........"]
    assert matrix_mask("column", 0.25) == [".x.....x", ".x.....x"]


def test_n_of_m_lies_along_the_input_channels_of_a_convolution():
    torch.manual_seed(0)
    conv = nn.Conv2d(8, 3, 3)
    mask = make_masks(conv, density=0.5, pattern="2:4")["weight"]
    assert (mask.view(3, 2, 4, 3, 3).sum(2) == 2).all()


@pytest.mark.parametrize("pattern", ["row", "column", "2x2"])
def test_units_go_together(pattern):
    model = dp.make_model("mlp", 10, (1, 8, 8))
    masks = make_masks(model, density=0.3, pattern=pattern)
    mask = masks["fc1.weight"]
    same = {
        "row": mask.all(1) | ~mask.any(1),
        "column": mask.all(0) | ~mask.any(0),
        "2x2": mask.view(150, 2, 32, 2).float().mean((1, 3)) % 1 == 0,
    }
    assert bool(same[pattern].all())
    kept = sum(int(m.sum()) for m in masks.values())
    assert 0.3 * 50200 - 300 < kept <= 0.3 * 50200  # the largest unit has 300 weights


# Schedules -------------------------------------------------------------------------------------


def test_a_cubic_ramp_is_fast_first():
    when = timing("cubic", begin=0.0, end=0.5, every=0.125)
    done = [when.share(p) for p in (0.0, 0.12, 0.125, 0.25, 0.375, 0.5, 1.0)]
    assert done == pytest.approx([0, 0, 37 / 64, 7 / 8, 63 / 64, 1, 1])


def test_a_linear_ramp_from_a_quarter_to_three_quarters_keeps_half_of_it_on_average():
    when = timing("linear")
    shares = [when.share(p / 1000) for p in range(1000)]
    assert sum(shares) / 1000 == pytest.approx(0.5, abs=0.01)  # N / N0 = (1 + d) / 2


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_reaches_its_end_and_never_turns_back(name):
    when = timing(name)
    shares = [when.share(p / 97) for p in range(98)]
    ticks = [when.tick(p / 97) for p in range(98)]
    assert shares == sorted(shares)
    assert ticks == sorted(ticks)
    assert (shares[-1], ticks[-1]) == (1.0, when.last)


def test_rigl_exchanges_less_and_less_and_set_always_as_much():
    rigl, at_random = timing("rigl"), timing("set")
    assert [rigl.replaced(p, 0.3) for p in (0.0, 0.375, 0.75)] == pytest.approx([0.3, 0.15, 0])
    assert [at_random.replaced(p, 0.3) for p in (0.0, 0.4)] == [0.3, 0.3]


# Refusals --------------------------------------------------------------------------------------

WRONG = [
    ({"density": 0.0}, ["density", "above 0"]),
    ({"density": 1.5}, ["density", "at most 1"]),
    ({"criterion": "magnitud"}, ["'magnitud'", "'magnitude'"]),
    ({"criterion": "magnitude:decay=include"}, ["'decay'", "none"]),
    ({"criterion": "snip"}, ["examples", "loader"]),
    ({"allocation": "grasp"}, ["examples", "loader"]),
    ({"criterion": "movement"}, ["training"]),
    ({"allocation": "erk2"}, ["'erk2'", "'erk'"]),
    ({"allocation": "fc9=0.2"}, ["'fc9'", "matches no layer"]),
    ({"allocation": "fc1=2"}, ["'fc1=2'", "at most 1"]),
    ({"allocation": "uniform,*=0.5"}, ["density", "0.1"]),
    ({"skip": "conv*"}, ["'conv*'", "matches no layer"]),
    ({"skip": "fc*"}, ["nothing left"]),
    ({"pattern": "3:5", "density": 0.6}, ["3:5", "fc1.weight", "64"]),
    ({"pattern": "2:4"}, ["2:4", "0.5"]),
    ({"pattern": "4:2", "density": 0.5}, ["4:2", "below M"]),
    ({"pattern": "7x7"}, ["7x7", "fc1.weight", "300 by 64"]),
    ({"pattern": "weights"}, ["'weights'", "'weight'"]),
    ({"density": 0.001}, ["0.001", "floor"]),
    ({"floor": -1}, ["floor"]),
]


@pytest.mark.parametrize(("options", "words"), WRONG)
def test_what_does_not_fit_is_refused_in_one_line(options, words):
    model = dp.make_model("mlp", 10, (1, 8, 8))
    with pytest.raises(UsageError) as refused:
        make_masks(model, **({"density": 0.1} | options))
    text = str(refused.value)
    assert "\n" not in text
    assert [word for word in words if word not in text] == []


def test_the_skip_list_says_what_is_left_alone_and_why():
    model = dp.make_model("resnet8", 10, (3, 8, 8))
    found = dp.masks.prunable(model, "first,classifier,*.shortcut.conv")
    assert found.skipped["stem.conv.weight"] == "skipped by 'first'"
    assert found.skipped["fc.weight"] == "skipped by 'classifier'"
    assert found.skipped["stem.norm.weight"] == "norm"
    assert found.skipped["fc.bias"] == "bias"
    assert [name for name in found.names if "shortcut" in name] == []
    assert {*found.names, *found.skipped} == {name for name, _ in model.named_parameters()}


def test_help_lists_the_tables():
    from datapruner.commands import weighing

    text = Path(weighing.__file__).read_text(encoding="utf-8")
    for table in (CRITERIA, ALLOCATIONS, SCHEDULES):
        assert [name for name in table if name not in text] == []
    assert [name for name in PATTERNS if name not in text and name not in ("n:m", "block")] == []
    assert (tuple(SCHEDULES), TRACED) == (weighing._WHEN, weighing._WHOLE)


def test_the_densities_of_the_criterion_itself_are_one_ranking_of_all(monkeypatch):
    """And not a ranking for each of its own hundred rounds."""
    model, x, rounds = nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 3)), torch.zeros(1, 6), []

    def counted(probe):
        rounds.append(1)
        return synflow(probe)

    monkeypatch.setitem(CRITERIA, "synflow", replace(CRITERIA["synflow"], weights=counted))
    options = {"density": 0.4, "criterion": "synflow", "example": x}
    one = make_masks(model, allocation="global", **options)
    two = make_masks(model, allocation="synflow", **options)
    assert len(rounds) == 2 * 100
    assert all(torch.equal(one[name], two[name]) for name in one)
