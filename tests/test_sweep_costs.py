"""What is easily left out of a cost: embeddings, second scores, sparse scoring, masks, teachers."""

import pytest

import datapruner as dp
from datapruner.files import read_json
from datapruner.grid import Grid
from datapruner.masks.probe import Probe
from datapruner.run import Run
from datapruner.sweep_shared import Site
from datapruner.sweeping import sweep
from datapruner.teachers import NetworkTeacher
from datapruner.weight_specs import WeightPruning

BASE = {"model": "mlp", "epochs": 2, "lr": 0.05, "scoring": {"epochs": 1}}
N, FORWARD = 1294, 100400
STEP = 3 * FORWARD - 2 * 64 * 300


def run(folder, grid, **base):
    whole = {"data": "digits", "seeds": 1, "controls": False, "base": BASE | base, "grid": grid}
    rows = sweep(whole, folder)
    assert {row["status"] for row in rows} == {"done"}, [row["error"] for row in rows]
    return {row["arm"]: row for row in rows}


def test_an_embedding_is_charged_to_every_scorer_that_reads_it(tmp_path):
    rows = run(tmp_path / "out", {"fraction": 0.3, "keep": ["el2n", "prototypes", "herding"]})
    plain = rows["el2n top 30 %"]
    made = read_json(next((tmp_path / "out/shared/embeddings").glob("*-made.json")))["seconds"]
    recorded = read_json(next((tmp_path / "out/shared/records").glob("*.json")))["seconds"]
    for name in ("prototypes", "herding"):
        row = rows[f"{name} top 30 %"]
        assert row["cost.scoring.flops"] == plain["cost.scoring.flops"] + N * FORWARD
        assert row["cost.flops"] == plain["cost.flops"] + N * FORWARD
        assert row["measured.scoring_seconds"] >= made + recorded - 1e-3


def test_two_scorers_of_one_point_are_both_charged(tmp_path):
    """The recorded run serves both, and counts once."""
    axes = {"fraction": 0.3, "keep": "el2n", "density": 0.5, "mask_on": "forgetting"}
    (row,) = run(tmp_path / "out", axes, mask_fraction=0.3).values()
    assert row["cost.scoring.examples"] == N
    shared = tmp_path / "out/shared"
    notes = [
        read_json(file) for room in ("records", "scores") for file in (shared / room).glob("*.json")
    ]
    assert len(notes) == 3
    seconds = sum(note["seconds"] for note in notes)
    assert row["measured.scoring_seconds"] == pytest.approx(seconds, abs=1e-3)


def test_a_sparse_scoring_run_costs_its_active_weights(tmp_path):
    base = {"scoring": {"epochs": 2}}
    axes = {"fraction": 0.3, "keep": "el2n", "scoring": {"density": [1, 0.05]}}
    dense, sparse = run(tmp_path / "out", axes, **base).values()
    site = Site(Grid.from_dict({"data": "digits"}), tmp_path)
    pruned = Run(model="mlp", epochs=2, lr=0.05, weights=WeightPruning(0.05))
    _, history = dp.train(pruned, site.pool)
    active = site.cost(pruned, history).weights_examples
    saved = 2 * N * 50610 - active
    assert saved > 0.3 * 2 * N * 50610
    less = dense["cost.weights_examples"] - sparse["cost.weights_examples"]
    assert less == pytest.approx(saved, rel=1e-3)
    assert sparse["cost.flops"] == dense["cost.flops"]


def test_what_a_criterion_reads_is_counted(tmp_path, monkeypatch):
    read, losses = [], Probe.losses

    def counting(self):
        read.append(sum(len(batch.y) for batch in self.batches))
        return losses(self)

    monkeypatch.setattr(Probe, "losses", counting)
    ramp = {"schedule": ["cubic", "rigl"], "every": 0.2}
    axes = {"density": 0.2, "criterion": "snip"}
    axes = [axes | {"weights": {"schedule": "before"}}, axes | {"weights": ramp}]
    rows = run(tmp_path / "out", axes).values()
    counted = [(row["cost.flops"] - row["cost.examples"] * STEP) / STEP for row in rows]
    assert sum(counted) == pytest.approx(sum(read), rel=1e-3)
    assert counted == pytest.approx([1024, 4 * 1024, 1024])  # rigl goes on by the steps' gradients


def test_a_teacher_from_a_folder_is_charged_for_being_asked(tmp_path):
    site = Site(Grid.from_dict({"data": "digits"}), tmp_path)
    dp.train(Run(model="mlp", epochs=1, lr=0.05), site.pool, out=tmp_path / "teacher")
    axes = {"fraction": 0.3, "teacher": [str(tmp_path / "teacher"), "full"]}
    given, full = run(tmp_path / "out", axes, distill={"weight": 0.5}).values()
    assert given["cost.teaching.flops"] == 2 * 388 * FORWARD
    assert full["cost.teaching.flops"] == 2 * 388 * FORWARD + 2 * N * STEP


def test_what_auto_asks_before_training_is_counted(tmp_path, monkeypatch):
    """The teacher is run on up to 2,048 examples to set the weight, whoever trains on fewer."""
    asked, bind = [], NetworkTeacher.__call__

    def counting(self, batch):
        asked.append(len(batch.index))
        return bind(self, batch)

    monkeypatch.setattr(NetworkTeacher, "__call__", counting)
    axes = {"fraction": [1, 0.3], "teacher": "full"}
    rows = run(tmp_path / "out", axes, distill={"weight": "auto"})
    told = [row["cost.teaching.flops"] - 2 * N * STEP for row in rows.values()]
    assert told == [FORWARD * 3 * N, FORWARD * 3 * 388]
    # each is also tried on a batch of 128 and on two examples, which count for nothing
    assert sum(asked) == 3 * N + 3 * 388 + 2 * (128 + 2)
    assert all(row["measured.teaching_seconds"] > 0 for row in rows.values())
