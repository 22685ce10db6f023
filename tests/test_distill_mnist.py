"""What the README claims of a teacher, on MNIST: on a twentieth, and with wrong labels in it."""

import pytest
import torch

import datapruner as dp
from datapruner import Run
from datapruner.noise import flip_labels

RUN = Run(model="mlp", epochs=20, lr=0.05, augment="none")


@pytest.mark.slow
def test_a_teacher_makes_up_for_pruned_examples_and_for_wrong_labels(shared_data):
    if not (shared_data / "MNIST").is_dir():
        pytest.skip("no ../shared/data/MNIST beside the project")
    data, test = (dp.open_data(f"mnist:{shared_data}", split) for split in ("train", "test"))
    loader = dp.TensorLoader(data, augment="none")
    tester = dp.TensorLoader(test, 1000, normalise=loader.normalise)
    teacher = dp.make_model("mlp", 10, data.shape, seed=1)
    dp.fit(teacher, loader, None, Run(epochs=2, lr=0.05, seed=1))
    spoiled = dp.TensorLoader(flip_labels(data, 0.27)[0], augment="none")
    kept = dp.Fixed(dp.keep(torch.zeros(data.n), 0.05, rule="random"))

    def accuracy(of: dp.TensorLoader, weight: float) -> float:
        student = dp.make_model("mlp", 10, data.shape)
        dp.fit(student, of, kept, RUN, loss=dp.Distill(teacher, weight))
        return dp.evaluate(student, tester)

    assert accuracy(loader, 0.5) - accuracy(loader, 0.0) >= 0.02
    assert accuracy(spoiled, 0.9) - accuracy(spoiled, 0.0) >= 0.10
