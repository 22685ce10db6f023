"""Run: its ids, its refusals, and what does not change either."""

import json
from dataclasses import dataclass, field, fields, make_dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from datapruner import Run, Selection, UsageError, open_data
from datapruner.distill_specs import DistillSpec
from datapruner.run import KeepSpec, RS2Spec
from datapruner.training import make_sampler
from datapruner.weight_specs import WeightPruning

# Results are stored under these. Whatever changes one orphans every result that anybody has, so a
# new field, of a run or of a sampler, must leave them alone.
PINNED = [
    (Run(), "11bbb14fe3dc8d9a"),
    (Run(model="lenet", epochs=3), "39abc7903079dae5"),
    (Run(lr=0.05, seed=7), "b7ba9caed16d621c"),
    (Run(steps=400, schedule="one-cycle", clip_norm=1.0), "384f98941770d273"),
    (Run(sampler=RS2Spec(0.1)), "f81cc27de853cf06"),
    (Run(sampler=RS2Spec(0.1, replacement=True, stratified=True)), "cb1e70a3ac4e3c1a"),
    (Run(sampler=KeepSpec("runs/half")), "44704625e88355fd"),
    (Run(augment="flip,crop=4", image_size=64, precision="float32"), "c179b05f7e838365"),
    (Run(clean_epochs=(0, 3), label_smoothing=0.1), "97d819fd2da8f962"),
]


@pytest.mark.parametrize(("run", "pinned"), PINNED)
def test_ids_are_pinned(run, pinned):
    assert run.id(data="00ff") == pinned


@pytest.mark.parametrize(("run", "pinned"), PINNED)
def test_a_run_read_back_from_its_json_is_the_same_run(run, pinned):
    again = Run.from_dict(json.loads(json.dumps(run.changed())))
    assert again == run
    assert again.id(data="00ff") == pinned


def test_a_new_field_changes_no_id():
    text = "tomorrow's option"
    later = field(default=0.5, metadata={"help": text, "in_id": True})
    longer = make_dataclass("Longer", [("zeal", float, later)], bases=(Run,), frozen=True)
    assert longer(epochs=3, model="lenet").id(data="00ff") == PINNED[1][1]
    assert longer(epochs=3, model="lenet", zeal=0.6).id(data="00ff") != PINNED[1][1]


def test_a_new_option_of_a_sampler_changes_no_id():
    @dataclass(frozen=True)
    class Later(RS2Spec):
        warm: int = 0

    run = Run(sampler=RS2Spec(0.1))
    object.__setattr__(run, "sampler", Later(0.1))
    assert run.id(data="00ff") == PINNED[4][1]


def test_every_field_that_computes_something_else_is_in_the_id():
    other = {
        "sampler": RS2Spec(0.5),
        "distill": DistillSpec("runs/full"),
        "weights": WeightPruning(0.1),
        "model": "mlp",
        "schedule": "constant",
        "augment": "none",
        "precision": "bf16",
        "nesterov": False,
        "clean_epochs": (1,),
    }
    ids = {Run().id()}
    named = [f for f in fields(Run) if f.metadata["in_id"] and f.name != "data"]
    for f in named:
        value = other.get(
            f.name,
            f.default / 2
            if isinstance(f.default, float)
            else f.default + 1
            if isinstance(f.default, int)
            else None,
        )
        if f.name in ("warmup", "label_smoothing", "clip_norm"):
            value = 0.25
        ids.add(Run(**{f.name: value}).id())
    assert len(ids) == len(named) + 1


@pytest.mark.parametrize("how", [{"device": "cpu"}, {"workers": 3}, {"compile": True}])
def test_how_a_run_is_carried_out_is_not_in_its_id(how):
    assert Run(**how).id() == Run().id()
    assert Run(**how).changed() == how


def test_data_count_by_their_fingerprint_and_not_by_their_path():
    assert Run(data="here").id(data="1") == Run(data="there").id(data="1")
    assert Run(data="here").id(data="1") != Run(data="here").id(data="2")
    assert Run().id(data="1") != Run().id(teacher="1")


def test_a_kept_subset_counts_by_what_it_holds(tmp_path):
    data = open_data("digits")
    about = {"fingerprint": data.fingerprint}
    for name, picks in (("a", [0, 5]), ("same", [0, 5]), ("other", [0, 6])):
        Selection(torch.tensor(picks), data.n, meta=about).save(tmp_path / name)
    runs = {n: Run(sampler=KeepSpec(tmp_path / n)) for n in ("a", "same", "other")}
    ids = {name: run.id(**make_sampler(run, data)[1]) for name, run in runs.items()}
    assert ids["a"] == ids["same"]
    assert ids["a"] != ids["other"]


def test_equal_runs_have_equal_ids_whatever_the_numbers_came_as():
    assert Run(lr=1) == Run(lr=1.0)
    assert Run(lr=1).id() == Run(lr=1.0).id() == Run(lr=np.float64(1)).id()
    assert Run(epochs=np.int64(3)).id() == Run(epochs=3).id()
    assert Run(clean_epochs=[0, 2]).id() == Run(clean_epochs=(0, 2)).id()
    assert Run(data=Path("x")) == Run(data="x")
    assert Run(sampler=RS2Spec(1)).id() == Run(sampler=RS2Spec(1.0)).id()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"epochs": 0}, "epochs must be at least 1, not 0"),
        ({"epochs": "3"}, "epochs must be a whole number, not '3'"),
        ({"epochs": 2.5}, "epochs must be a whole number, not 2.5"),
        ({"epochs": True}, "epochs must be a whole number, not True"),
        ({"batch_size": 0}, "batch_size must be at least 1, not 0"),
        ({"steps": -1}, "steps must be at least 0, not -1"),
        ({"workers": -1}, "workers must be at least 0, not -1"),
        ({"image_size": -8}, "image_size must be at least 0, not -8"),
        ({"seed": None}, "seed must be a whole number, not None"),
        ({"lr": 0}, "lr must be above 0, not 0"),
        ({"lr": float("nan")}, "lr must be a finite number, not nan"),
        ({"lr": float("inf")}, "lr must be a finite number, not inf"),
        ({"lr": "0.1"}, "lr must be a finite number, not '0.1'"),
        ({"momentum": 1.0}, "momentum must be in [0, 1), not 1.0"),
        ({"warmup": 1}, "warmup must be in [0, 1), not 1.0"),
        ({"label_smoothing": -0.1}, "label_smoothing must be in [0, 1), not -0.1"),
        ({"weight_decay": -1}, "weight_decay must be at least 0, not -1"),
        ({"clip_norm": float("nan")}, "clip_norm must be a finite number, not nan"),
        ({"nesterov": 1}, "nesterov must be True or False, not 1"),
        ({"schedule": "cosin"}, "schedule='cosin'; did you mean 'cosine'?"),
        ({"precision": "fp16"}, "precision='fp16'; did you mean 'bf16'?"),
        ({"precision": 16}, "precision must be auto or bf16 or float32, not 16"),
        ({"data": 3}, "data must be text, not 3"),
        ({"model": None}, "model must be text, not None"),
        ({"sampler": 0.3}, "sampler must be "),
        ({"clean_epochs": 3}, "clean_epochs must be a list of whole numbers, not 3"),
        ({"clean_epochs": [1.5]}, "clean_epochs must be a whole number, not 1.5"),
        ({"clean_epochs": [10]}, "clean_epochs [10] are not in the run; 0 is the first epoch, 9"),
        ({"clean_epochs": [-1], "steps": 9}, "clean_epochs [-1] are not in the run; 0 is the"),
    ],
)
def test_a_bad_value_is_named_in_one_line(wrong, message):
    with pytest.raises(UsageError) as caught:
        Run(**wrong)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("fraction", [0, -0.5, 1.5, float("nan"), "a third"])
def test_rs2_refuses_a_fraction_that_is_none(fraction):
    with pytest.raises(UsageError, match="fraction must be"):
        RS2Spec(fraction)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"epoch": 3}, "run has no field 'epoch'; did you mean 'epochs'?"),
        ({"sampler": {"fracton": 0.1}}, "sampler has no field 'fracton'; did you mean 'fraction'?"),
        ({"sampler": {"folder": "x", "k": 1}}, "sampler has no field 'k'"),
        ({"sampler": {}}, "sampler needs a field 'folder'"),
    ],
)
def test_unknown_keys_are_refused_with_the_nearest_right_one(values, message):
    with pytest.raises(UsageError) as caught:
        Run.from_dict(values)
    assert str(caught.value).startswith(message)


def test_every_field_has_help_and_a_default_that_is_no_change():
    for f in fields(Run):
        assert f.metadata["help"]
        assert Run(**{f.name: f.default}).changed() == {}


def test_specs_are_built_from_plain_values():
    run = Run.from_dict({"distill": {"teacher": "runs/full"}, "weights": {"density": 0.1}})
    assert run.distill == DistillSpec("runs/full")
    assert run.weights == WeightPruning(0.1)
    assert Run.from_dict(run.changed()) == run


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"weights": {"densty": 0.1}}, "weights has no field 'densty'; did you mean 'density'"),
        ({"weights": {}}, "weights needs a field 'density'"),
        ({"weights": {"density": 0}}, "density must be above 0 and at most 1, not 0"),
        ({"distill": 3}, "distill must be a table of settings, not 3"),
        ({"distill": {"teacher": "t", "weight": 2}}, r"must be in \[0, 1\] or auto, not 2"),
        ({"distill": {"teacher": "t", "temperature": 0}}, "temperature must be above 0"),
    ],
)
def test_wrong_specs_are_refused_in_one_line(values, message):
    with pytest.raises(UsageError, match=message):
        Run.from_dict(values)


def test_a_teacher_counts_by_its_weights_not_by_its_path():
    here, there = (Run(distill=DistillSpec(path)) for path in ("runs/a", "runs/b"))
    assert here.id() != there.id()
    assert here.id(teacher="00aa") == there.id(teacher="00aa") != here.id(teacher="00bb")
