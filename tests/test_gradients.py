"""Gradient sources against loops of single examples, worked by hand, and within their memory."""

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import TensorDataset

import datapruner as dp
from datapruner import gradients
from datapruner.errors import Refused, UsageError
from datapruner.evaluation import evaluating
from datapruner.gradients import (
    boundary_distance,
    embedding_norm,
    grad_norm,
    input_gradient_variance,
)
from datapruner.recording import spread_epochs
from datapruner.trained import load_epoch, ready
from scorers import SCORERS

RNG = torch.Generator().manual_seed(5)


def pictures(n=20, classes=4, size=(3, 12, 12)):
    x = torch.randint(0, 256, (n, *size), dtype=torch.uint8, generator=RNG)
    return dp.open_data(TensorDataset(x, torch.arange(n) % classes))


def points(x, y):
    return dp.open_data(TensorDataset(torch.tensor(x), torch.tensor(y)))


@pytest.fixture(scope="module")
def trained():
    """Train a residual network a little, so that its BatchNorm has statistics of its own."""
    data = pictures(40)
    run = dp.Run(model="resnet8", epochs=3, batch_size=16, augment="none")
    return data, dp.record(data, run, checkpoints=spread_epochs(run))


def one_by_one(data, model, train=False):
    """Loop over single examples: the reference, and with train=True the wrong form."""
    loader, norms = dp.TensorLoader(data), []
    weights = [p for p in model.parameters()]
    with evaluating(model):
        model.train(train)
        for batch in loader(torch.arange(data.n), train=False):
            for i in range(len(batch.y)):
                loss = cross_entropy(model(batch.x[i : i + 1]), batch.y[i : i + 1])
                parts = torch.autograd.grad(loss, weights)
                norms.append(torch.cat([g.flatten() for g in parts]).norm())
    return torch.stack(norms).detach()


# norms of the weights' gradients


@pytest.mark.parametrize("name", ["mlp", "lenet", "resnet8"])
def test_grad_norm_is_what_a_loop_of_single_examples_gives(name):
    data = pictures()
    model = dp.make_model(name, data.num_classes, data.shape)
    torch.testing.assert_close(
        grad_norm(data, model)[0], one_by_one(data, model), rtol=1e-5, atol=1e-6
    )


def test_grad_norm_of_a_record_uses_the_weights_of_its_clean_epochs(trained):
    data, record = trained
    net = ready(data, record)
    load_epoch(net.model, record, record.clean_epochs[0])
    expected = one_by_one(data, net.model)
    torch.testing.assert_close(grad_norm(data, record)[0], expected, rtol=1e-5, atol=1e-6)
    assert grad_norm(data, record, epochs=[0, 2]).shape == (2, data.n)


def test_batch_norm_in_training_mode_gives_other_norms(trained):
    """The wrong form: the statistics of the batch couple its examples."""
    data, record = trained
    model = ready(data, record).model
    right, wrong = grad_norm(data, model)[0], one_by_one(data, model, train=True)
    assert ((right - wrong).abs() > 0.01 * right).float().mean() > 0.9


def test_a_mean_then_a_sum_depends_on_the_batch_and_ours_does_not(trained):
    data, record = trained
    model = ready(data, record).model
    whole = grad_norm(data, model, run=dp.Run(batch_size=40))
    parts = grad_norm(data, model, run=dp.Run(batch_size=7), memory=1)
    torch.testing.assert_close(whole, parts, rtol=1e-5, atol=1e-6)


def test_modes_weights_and_statistics_are_left_alone(trained):
    data, record = trained
    model = ready(data, record).model
    model.train()
    model.get_submodule("stem").eval()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    grad_norm(data, model)
    boundary_distance(data, model)
    assert model.training
    assert not model.get_submodule("stem").training
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in model.parameters())


def test_the_chunk_follows_from_the_memory(monkeypatch):
    data = pictures(64)
    model = dp.make_model("lenet", data.num_classes, data.shape)
    sizes = []

    def spy(function, in_dims):
        def call(weights, x, y):
            sizes.append(len(x))
            return torch.func.vmap(function, in_dims=in_dims)(weights, x, y)

        return call

    monkeypatch.setattr(gradients, "vmap", spy)
    weights = 4 * sum(p.numel() for p in model.parameters())
    grad_norm(data, model, memory=10 * weights)
    assert 5 <= max(sizes) <= 10, "ten sets of gradients, less the activations"
    sizes.clear()
    grad_norm(data, model, memory=1)
    assert set(sizes) == {1}


def test_tokens_have_weight_gradients_but_no_input_gradients():
    x = torch.randint(1, 50, (12, 6), generator=RNG)
    data = dp.open_data(TensorDataset(x, torch.arange(12) % 3))
    model = dp.make_model("bag:50", 3, (6,))
    torch.testing.assert_close(grad_norm(data, model)[0], one_by_one(data, model))
    with pytest.raises(UsageError, match="tokens"):
        boundary_distance(data, model)


def test_an_untrained_network_is_warned_about():
    data = pictures()
    with pytest.warns(UserWarning, match="2303.14753"):
        grad_norm(data, "lenet")


def test_grand_of_the_last_layer_is_its_gradient(trained):
    """||e|| sqrt(||h||^2 + 1) against autograd's gradient of the classifier."""
    data, record = trained
    net = ready(data, record)
    load_epoch(net.model, record, record.clean_epochs[0])
    error = record.trace("error_norm", clean=True)
    closed = SCORERS["grand_last_layer"](error, embedding_norm(data, record))
    head = net.model.get_submodule("fc")
    with evaluating(net.model):
        batch = next(iter(dp.TensorLoader(data)(torch.arange(5), train=False)))
        for i in range(5):
            loss = cross_entropy(net.model(batch.x[i : i + 1]), batch.y[i : i + 1])
            parts = torch.autograd.grad(loss, list(head.parameters()))
            norm = torch.cat([g.flatten() for g in parts]).norm()
            assert closed[i].item() == pytest.approx(norm.item(), rel=1e-4)


# gradients of the input


def linear(weight, bias):
    layer = nn.Linear(len(weight[0]), len(weight))
    layer.weight.data, layer.bias.data = torch.tensor(weight), torch.tensor(bias)
    return layer


def test_the_boundary_of_a_linear_network_is_where_algebra_puts_it():
    """Three classes in the plane; the distance of a point from the nearest of two lines."""
    data = points([[3.0, 1.0], [0.0, 2.0], [-1.0, -1.0], [0.2, 0.0]], [0, 1, 2, 1])
    model = linear([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]], [0.0, 0.0, 0.0])
    expected = [2 / 2**0.5, 2 / 2**0.5, 3 / 5**0.5, 0.2 / 2**0.5]
    assert boundary_distance(data, model).tolist() == pytest.approx(expected)


def test_the_boundary_is_that_of_the_prediction_whatever_the_label():
    model = linear([[1.0, 0.0], [0.0, 1.0]], [0.0, 0.0])
    a, b = points([[3.0, 1.0]] * 2, [0, 1]), points([[3.0, 1.0]] * 2, [1, 0])
    assert boundary_distance(a, model).equal(boundary_distance(b, model))


def test_only_the_most_probable_classes_are_looked_at():
    data = points([[3.0, 1.0], [0.0, 2.0]], [0, 1])
    model = linear([[1.0, 0.0], [0.9, 0.0], [-5.0, 9.0]], [0.0, 0.0, 0.0])
    few, all_classes = (boundary_distance(data, model, among=a) for a in (2, 3))
    assert few[0] == pytest.approx(0.3 / 0.1, rel=1e-4)
    assert all_classes[0] < few[0]
    with pytest.raises(UsageError, match="among"):
        boundary_distance(data, model, among=1)


def test_the_variance_of_input_gradients_is_what_a_loop_gives(trained):
    data, record = trained
    net = ready(data, record)
    batch = next(iter(dp.TensorLoader(data)(torch.arange(data.n), train=False)))
    slopes = []
    with evaluating(net.model):
        for epoch in record.checkpoints:
            load_epoch(net.model, record, epoch)
            x = batch.x.clone().requires_grad_()
            own = net.model(x)[torch.arange(data.n), batch.y]
            slopes.append(torch.autograd.grad(own.sum(), x)[0])
    expected = torch.stack(slopes).std(0, correction=0).flatten(1).mean(1)
    found = input_gradient_variance(data, record)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(
        found, input_gradient_variance(data, record, memory=1), rtol=1e-4, atol=1e-7
    )
    part = input_gradient_variance(data, record, epochs=record.checkpoints[:2])
    assert not torch.allclose(found, part)


# what is refused, and where weights come from


def test_checkpoints_are_kept_where_asked_and_the_last_is_the_end(trained, tmp_path):
    data, record = trained
    assert record.checkpoints == (0, 1, 2)
    last = load_epoch(ready(data, record).model, record, 2).state_dict()
    end = ready(data, record).model.state_dict()
    assert all(torch.equal(v, end[k]) for k, v in last.items())
    with pytest.raises(UsageError, match="no weights of epoch 7"):
        grad_norm(data, record, epochs=[7])
    run = dp.Run(model="mlp", epochs=3)
    dp.record(data, run, tmp_path / "r")
    with pytest.raises(Refused, match="without keeping the weights after epochs 1"):
        dp.record(data, run, tmp_path / "r", checkpoints=[1])
    with pytest.raises(UsageError, match="0 epochs|1 epochs"):
        input_gradient_variance(data, dp.record(data, run))


def test_a_record_of_other_data_or_of_ones_own_loop_is_refused(trained):
    with pytest.raises(Refused, match="other data"):
        grad_norm(pictures(), trained[1])
    recorder = dp.Recorder(20, about={"fingerprint": pictures().fingerprint})
    recorder.observe(0, torch.arange(20), torch.zeros(20, 4), torch.zeros(20, dtype=torch.int64))
    data = pictures()
    own = recorder.close()
    own.fingerprint = data.fingerprint
    with pytest.raises(UsageError, match="loop of your own"):
        grad_norm(data, own)


def test_unreadable_examples_are_left_out():
    data = pictures()
    data.readable[3] = False
    norms = grad_norm(data, dp.make_model("mlp", data.num_classes, data.shape))[0]
    assert norms.isnan().nonzero().flatten().tolist() == [3]
