import importlib

import pytest
import torch

from datapruner import vision
from datapruner.errors import PrunerError
from datapruner.vision import operators_work, torchvision


def test_every_part_that_the_project_uses_opens_and_works():
    transforms = torchvision("transforms")
    picture = torch.arange(12.0).reshape(1, 3, 4)
    assert torch.equal(transforms.RandomHorizontalFlip(p=1.0)(picture), picture.flip(-1))
    assert torchvision("models").squeezenet1_1(num_classes=2)(torch.zeros(1, 3, 32, 32)).shape == (
        1,
        2,
    )
    assert torchvision("datasets").CIFAR10.__name__ == "CIFAR10"


def test_it_is_opened_once():
    assert torchvision() is torchvision()
    assert torchvision("transforms") is torchvision().transforms


def test_what_is_said_about_the_operators_is_true():
    torchvision("ops")
    call = torch.ops.torchvision.nms
    boxes, scores = torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.ones(1)
    if operators_work():
        assert call(boxes, scores, 0.5).tolist() == [0]
    else:
        with pytest.raises(NotImplementedError, match="nms"):
            call(boxes, scores, 0.5)


@pytest.fixture
def closed_door():
    torchvision.cache_clear()
    yield
    torchvision.cache_clear()


def test_without_torchvision_it_says_what_to_install(monkeypatch, closed_door):
    monkeypatch.setattr(vision, "find_spec", lambda name: None)
    with pytest.raises(PrunerError, match="pip install torchvision"):
        torchvision("models")


def test_a_pair_that_cannot_work_is_named(monkeypatch, closed_door):
    def unlike(name):
        raise RuntimeError("PyTorch and torchvision were compiled with different CUDA versions")

    monkeypatch.setattr(vision, "import_module", unlike)
    with pytest.raises(PrunerError, match="different CUDA versions.*from one index"):
        torchvision("models")


def test_missing_operators_are_declared_and_torchvision_is_tried_again(monkeypatch, closed_door):
    tried = []

    def unlike_once(name):
        tried.append(name)
        if len(tried) == 1:
            raise RuntimeError("operator torchvision::nms does not exist")
        return importlib.import_module(name)

    declared = []
    monkeypatch.setattr(vision, "import_module", unlike_once)
    monkeypatch.setattr(vision, "_declare_operators", lambda: declared.append(True))
    assert torchvision("transforms").__name__ == "torchvision.transforms"
    assert declared == [True]
    assert tried == ["torchvision", "torchvision.transforms"]
