"""Batch norm statistics taken anew: from which rows, into what, and nothing else."""

import pytest
import torch
from torch import nn

import datapruner as dp
from datapruner.masks import recalibrate


def network(data: dp.Data) -> nn.Sequential:
    width = torch.Size(data.shape).numel()
    return nn.Sequential(nn.Flatten(), nn.BatchNorm1d(width), nn.Dropout(), nn.Linear(width, 10))


def test_the_statistics_are_those_of_the_subset():
    data = dp.open_data("digits")
    subset, model = torch.arange(5, 200, 3), network(data)
    model[1].running_mean.fill_(7.0)
    assert recalibrate(model, dp.TensorLoader(data, len(subset)), subset) == 1
    (batch,) = dp.TensorLoader(data, len(subset))(subset, train=False)
    x = batch.x.flatten(1)
    torch.testing.assert_close(model[1].running_mean, x.mean(0))
    torch.testing.assert_close(model[1].running_var, x.var(0), rtol=1e-4, atol=1e-5)


def test_nothing_else_changes():
    data = dp.open_data("digits")
    model = network(data).train()
    model[1].momentum = 0.3
    model[2].eval()
    weights = [p.detach().clone() for p in model.parameters()]
    recalibrate(model, dp.TensorLoader(data, 32), torch.arange(100))
    assert all(torch.equal(a, b) for a, b in zip(weights, model.parameters(), strict=True))
    assert [m.training for m in model] == [True, True, False, True]
    assert model[1].momentum == 0.3


def test_batches_are_mixed_and_the_same_each_time():
    """Sorted by class, the variance within a batch would miss that between the classes."""
    data = dp.open_data("digits")
    order = data.labels.argsort(stable=True)[:1200]
    found = []
    for _ in range(2):
        model = network(data)
        recalibrate(model, dp.TensorLoader(data, 100), order)
        found.append(model[1].running_var.clone())
    assert torch.equal(*found)
    x = torch.cat([b.x for b in dp.TensorLoader(data, 1200)(order, train=False)]).flatten(1)
    alive = x.var(0) > 1e-2
    ratio = found[0][alive] / x.var(0)[alive]
    assert 0.9 < ratio.mean() < 1.1


def test_it_mends_a_masked_network():
    """Masks shift what batch norm sees; what that leaves uneven is mended from 300 examples."""
    data = dp.open_data("digits")
    loader, model = dp.TensorLoader(data, 128), dp.make_model("resnet8", 10, data.shape)
    recalibrate(model, loader)
    with torch.no_grad():
        model.stem.conv.weight.mul_(0.5)  # as if half of what it adds up were masked
    (batch,) = dp.TensorLoader(data, 500)(torch.arange(500), train=False)

    def offset() -> float:
        with torch.no_grad():
            out = model.eval().stem.norm(model.stem.conv(batch.x))
        return float((out.std(dim=(0, 2, 3)) - 1).abs().mean())

    before = offset()
    recalibrate(model, loader, torch.arange(300))
    assert offset() < 0.2 * before


@pytest.mark.parametrize("batches", [0, 1])
def test_a_pass_that_fails_leaves_the_statistics_as_they_were(batches):
    class Broken(dp.TensorLoader):
        def __call__(self, order, **options):
            for number, batch in enumerate(super().__call__(order, **options)):
                if number == batches:
                    if batches:
                        raise OSError("the disk is gone")
                    return
                yield batch

    data = dp.open_data("digits")
    model = network(data)
    model[1].running_mean.fill_(7.0)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    words = "the disk is gone" if batches else "the loader gave no batch of the 100 examples"
    with pytest.raises((OSError, dp.PrunerError), match=words):
        recalibrate(model, Broken(data, 32), torch.arange(100))
    after = model.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert model[1].momentum == 0.1


def test_it_refuses():
    data = dp.open_data("digits")
    model = dp.make_model("mlp", 10, data.shape)
    with pytest.raises(dp.UsageError, match="no batch norm with running statistics"):
        recalibrate(model, dp.TensorLoader(data))
